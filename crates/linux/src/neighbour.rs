//! Tells the neighbours on a link which hardware address an IP address has, asks them, and hears what they say.
//!
//! When to tell or ask, and what to make of an answer, is the caller's.

mod frame;
mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

pub use frame::{
    ArpForm, address_probe, arp_request, gratuitous_arp, neighbour_probe, unsolicited_na,
};
pub use watch::{Claim, Watcher, claim};

/// Highest priority in the queue of the link that needs no capability.
const QUEUE_PRIORITY: u32 = 6;

/// A packet socket of one link that announces addresses under one hardware address.
#[derive(Debug)]
pub struct Announcer {
    socket: Socket,
    mac: [u8; 6],
}

impl Announcer {
    /// Opens the socket, in the network namespace of the calling thread. Needs no runtime.
    ///
    /// # Errors
    /// `ENODEV` without the link, `EPERM` without CAP_NET_RAW.
    pub fn open(ifindex: u32, mac: [u8; 6]) -> io::Result<Self> {
        // Protocol 0: the socket is given no frame that arrives.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        socket.bind(&link_address(ifindex, 0)?)?;
        socket.set_priority(QUEUE_PRIORITY)?;
        Ok(Self { socket, mac })
    }

    /// Sends one frame that says `address` is at our hardware address; never blocks.
    ///
    /// IPv4: a gratuitous ARP, as a reply if `reply_form`, else as a request; some hosts learn only from the one, some
    /// only from the other. IPv6: an unsolicited neighbour advertisement, with the router flag if `router`.
    ///
    /// # Errors
    /// What the system says: `ENETDOWN`, `ENXIO`, `ENOBUFS`.
    pub fn announce(&self, address: IpAddr, reply_form: bool, router: bool) -> io::Result<()> {
        let form = if reply_form {
            ArpForm::Reply
        } else {
            ArpForm::Request
        };
        let frame = match address {
            IpAddr::V4(vip) => gratuitous_arp(self.mac, vip, form),
            IpAddr::V6(vip) => unsolicited_na(self.mac, vip, router),
        };
        self.socket.send(&frame).map(drop)
    }

    /// Asks whether anybody has `address`, without saying that we have it (RFC 5227 §2.1.1, RFC 4861 §7.2.2); never blocks. A [`Watcher`]
    /// hears the answer. `source` is our link-local address if there is one: over IPv6 the answer then comes to us alone, also through
    /// a switch that loses multicasts.
    ///
    /// # Errors
    /// As [`Announcer::announce`].
    pub fn probe(&self, address: IpAddr, source: Option<Ipv6Addr>) -> io::Result<()> {
        let frame = match address {
            IpAddr::V4(address) => address_probe(self.mac, address),
            IpAddr::V6(address) => neighbour_probe(self.mac, source, address),
        };
        self.socket.send(&frame).map(drop)
    }

    /// Asks `target` where it is, in the name of `sender`, which `target` learns by that to be here; never blocks.
    ///
    /// # Errors
    /// As [`Announcer::announce`].
    pub fn ask(&self, sender: Ipv4Addr, target: Ipv4Addr) -> io::Result<()> {
        let frame = arp_request(self.mac, sender, target);
        self.socket.send(&frame).map(drop)
    }
}

/// The address of a link for a packet socket that receives frames of `protocol`; of none with 0.
#[allow(unsafe_code)]
fn link_address(ifindex: u32, protocol: i32) -> io::Result<SockAddr> {
    let ifindex = i32::try_from(ifindex)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "link index out of range"))?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the system's socket addresses and fits the storage; it is made of integers only,
    // so the zeroed storage is a valid value of it.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_ifindex = ifindex;
    address.sll_protocol = (protocol as u16).to_be();
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a sockaddr_ll with its family set, and `len` is the size of just that type.
    Ok(unsafe { SockAddr::new(storage, len) })
}
