//! Addresses on links: leased from the kernel, marked as ours, listed and swept.
//!
//! A leased address carries a valid lifetime. If nobody renews it, the kernel itself takes it away: a process that is
//! dead, hung or stopped cannot hold an address. Who should hold one, and for how long, is decided elsewhere.

mod blocking;
mod kernel;
pub(crate) mod message;
mod renewal;
mod unanswered;
mod virtual_link;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

pub use blocking::{BlockingNetlink, remove_all_blocking, remove_blocking, set_down_blocking};
pub use kernel::Kernel;
pub use virtual_link::VirtualLink;

use crate::sysctl::{self, Protocol};

/// The IFA_PROTO value on every address this project adds (shown by `ip address` as `proto 0x70`).
///
/// Kernels before 5.18 keep no such mark: there [`Address::ours`] is never true and a sweep finds nothing.
pub const OWNER_MARK: u8 = 112;

/// How long the kernel may take to answer one request.
pub const TIME_LIMIT: Duration = Duration::from_secs(1);

/// An address to hold on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vip {
    /// The link, by index.
    pub ifindex: u32,
    /// The address itself.
    pub address: IpAddr,
    /// Bits of the prefix: at most 32 for IPv4, 128 for IPv6.
    pub prefix_len: u8,
    /// How long the kernel keeps the address after each [`Kernel::add`]: whole seconds, at least one.
    /// `None` is for ever.
    pub lease: Option<Duration>,
    /// The link below, for an address on a virtual link: if that has the prefix, the route to it is there already.
    pub parent: Option<u32>,
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// A network link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index; a link that is made anew under the same name gets another.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Set up by the administrator.
    pub up: bool,
    /// Up, and the carrier is there: frames can leave and arrive.
    pub running: bool,
    /// The hardware address, where it has one of six octets.
    pub mac: Option<[u8; 6]>,
    /// Largest packet, in octets.
    pub mtu: u32,
    /// What kind of virtual link it is, such as `macvlan` or `bond`; `None` for hardware.
    pub kind: Option<String>,
    /// What somebody wrote on it (`ip link set alias`).
    pub alias: Option<String>,
    /// Index of the link below it, for a link made on top of another.
    pub parent: Option<u32>,
    /// The link it was put under.
    pub master: Option<Master>,
}

/// The link that another was put under: a bridge, a bond, a VRF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Its index.
    pub index: u32,
    /// What it is: `bridge`, `bond`, `team`, `vrf`; empty if the kernel does not say.
    pub kind: String,
}

impl Master {
    /// Whether the master takes the frames of its ports, so that nothing above the port gets any. A VRF does not.
    pub fn takes_frames(&self) -> bool {
        self.kind != "vrf"
    }
}

/// An address as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link, by index.
    pub ifindex: u32,
    /// The address itself (of a point-to-point link: the local end).
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix_len: u8,
    /// Carries [`OWNER_MARK`].
    pub ours: bool,
    /// IPv4: another address of the link came first with the same prefix. Never true for IPv6.
    pub secondary: bool,
    /// IPv6: duplicate address detection has not finished; the address can not be used as a source.
    pub tentative: bool,
    /// IPv6: duplicate address detection found another holder.
    pub dad_failed: bool,
    /// Time left until the kernel removes it, in whole seconds; `None` is for ever.
    pub valid: Option<Duration>,
}

/// What was asked of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// Add or renew an address.
    Add(Vip),
    /// Remove an address.
    Remove(Vip),
    /// List the links.
    Links,
    /// List the addresses.
    Addresses,
    /// Forget the neighbours of a link that did not answer.
    ForgetUnanswered {
        /// Index of the link.
        ifindex: u32,
    },
    /// Make a virtual link of this name.
    MakeLink(String),
    /// Set a link up or down.
    SetLink {
        /// Index of the link.
        ifindex: u32,
        /// Up, or down.
        up: bool,
    },
    /// Remove a virtual link.
    RemoveLink {
        /// Index of the link.
        ifindex: u32,
    },
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attempt::Add(vip) => write!(f, "add {vip} to {}", LinkName(vip.ifindex)),
            Attempt::Remove(vip) => write!(f, "remove {vip} from {}", LinkName(vip.ifindex)),
            Attempt::Links => f.write_str("list the links"),
            Attempt::Addresses => f.write_str("list the addresses"),
            Attempt::ForgetUnanswered { ifindex } => {
                write!(f, "forget unanswered neighbours of {}", LinkName(*ifindex))
            }
            Attempt::MakeLink(name) => write!(f, "make the link {name}"),
            Attempt::SetLink { ifindex, up } => {
                let way = if *up { "up" } else { "down" };
                write!(f, "set {} {way}", LinkName(*ifindex))
            }
            Attempt::RemoveLink { ifindex } => write!(f, "remove {}", LinkName(*ifindex)),
        }
    }
}

/// A link for a reader: its name where it still has one, and its index.
struct LinkName(u32);

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::net::if_::if_indextoname(self.0) {
            Ok(name) if !name.is_empty() => {
                write!(f, "{} (link {})", name.to_string_lossy(), self.0)
            }
            Ok(_) | Err(_) => write!(f, "link {}", self.0),
        }
    }
}

/// Why an address or a list could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The request makes no sense; nothing was sent. Our caller's fault.
    #[error("cannot {attempt}: {problem}")]
    Invalid {
        /// What was asked.
        attempt: Attempt,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The kernel said no, or the socket failed.
    #[error("cannot {attempt}")]
    Refused {
        /// What was asked.
        attempt: Attempt,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The kernel did not answer within [`TIME_LIMIT`]; whether it acted is not known.
    #[error("cannot {attempt}: no answer from the kernel within a second")]
    TimedOut {
        /// What was asked.
        attempt: Attempt,
    },
}

/// Lets the other addresses of a prefix live on when its first one is removed.
///
/// Without it, removing the first IPv4 address of a prefix takes every virtual address of that prefix along.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if `link_name` can not be the name of a link; otherwise what writing the setting gave.
pub fn set_promote_secondaries(link_name: &str) -> io::Result<()> {
    sysctl::write(Protocol::Ipv4, link_name, "promote_secondaries", "1")
}
