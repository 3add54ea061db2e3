//! Links of our own on top of another, with a hardware address that several hosts have in turn: macvlans.
//!
//! The mode is `bridge`: frames from the other host that has the address, which come from our own hardware address, must still be seen by
//! the link below. In mode `private` the kernel gives them to the macvlan alone.
//!
//! A link that is down takes no frame and sends none. That is how a host that is not to use the address keeps it.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::kernel::{absent_is_success, attempted};
use super::{AddressError, Attempt, Kernel, Link};
use crate::sysctl::{self, Protocol};

/// A link to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualLink {
    /// Index of the link below.
    pub parent: u32,
    /// Its name, at most 15 octets.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// What is written on it, so that it can be told from others (`ip link` shows it as alias).
    pub alias: String,
    /// The one protocol it is for.
    pub protocol: Protocol,
}

/// What a virtual link for IPv4 is set to: it answers for its own addresses only, does not mind that the way back leads through the
/// link below, and keeps the other addresses of a prefix when one goes. It has no IPv6.
const IPV4_SETTINGS: &[(Protocol, &str, &str)] = &[
    (Protocol::Ipv4, "arp_ignore", "1"),
    (Protocol::Ipv4, "rp_filter", "2"),
    (Protocol::Ipv4, "promote_secondaries", "1"),
    (Protocol::Ipv6, "disable_ipv6", "1"),
];

/// The same for IPv6: it answers no ARP (for no address of the host, 8), no address is made from the hardware address, none is learned from routers, none is checked for duplicates.
const IPV6_SETTINGS: &[(Protocol, &str, &str)] = &[
    (Protocol::Ipv4, "arp_ignore", "8"),
    (Protocol::Ipv6, "addr_gen_mode", "1"),
    (Protocol::Ipv6, "accept_ra", "0"),
    (Protocol::Ipv6, "autoconf", "0"),
    (Protocol::Ipv6, "router_solicitations", "0"),
    (Protocol::Ipv6, "accept_dad", "0"),
    (Protocol::Ipv6, "dad_transmits", "0"),
    (Protocol::Ipv6, "disable_ipv6", "0"),
];

impl Kernel {
    /// Makes a link, set and down; returns its index. One of the same name that is there already makes place.
    ///
    /// # Errors
    /// [`AddressError`]; nothing is left behind then.
    pub async fn make_link(&self, wanted: &VirtualLink) -> Result<u32, AddressError> {
        let attempt = Attempt::MakeLink(wanted.name.clone());
        attempted(attempt, async {
            if let Ok(old) = nix::net::if_::if_nametoindex(wanted.name.as_str()) {
                self.delete(old).await?;
            }
            let request = RouteNetlinkMessage::NewLink(creation(wanted));
            self.ask(request, NLM_F_CREATE | NLM_F_EXCL).await?;
            let index = nix::net::if_::if_nametoindex(wanted.name.as_str())?;
            let finished = self.finish(index, wanted).await;
            if finished.is_err() {
                // What cannot be set must not be used; that it cannot be removed either changes nothing for the caller.
                drop(self.delete(index).await);
            }
            finished.map(|()| index)
        })
        .await
    }

    async fn finish(&self, index: u32, wanted: &VirtualLink) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::IfAlias(wanted.alias.clone())];
        self.ask(RouteNetlinkMessage::SetLink(message), 0).await?;
        let settings = match wanted.protocol {
            Protocol::Ipv4 => IPV4_SETTINGS,
            Protocol::Ipv6 => IPV6_SETTINGS,
        };
        for (protocol, key, value) in settings {
            match sysctl::write(*protocol, &wanted.name, key, value) {
                // A kernel without IPv6 has no settings for it, and needs none.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && *protocol != wanted.protocol => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Sets a link up or down. A link that is gone is down.
    ///
    /// # Errors
    /// [`AddressError`].
    pub async fn set_link(&self, ifindex: u32, up: bool) -> Result<(), AddressError> {
        attempted(Attempt::SetLink { ifindex, up }, async {
            let request = RouteNetlinkMessage::SetLink(switch(ifindex, up));
            let outcome = self.ask(request, 0).await;
            if up {
                outcome
            } else {
                absent_is_success(outcome)
            }
        })
        .await
    }

    /// Removes a virtual link with everything on it. That it is gone already is success.
    ///
    /// # Errors
    /// [`AddressError`].
    pub async fn remove_link(&self, ifindex: u32) -> Result<(), AddressError> {
        attempted(Attempt::RemoveLink { ifindex }, self.delete(ifindex)).await
    }

    async fn delete(&self, ifindex: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        absent_is_success(self.ask(RouteNetlinkMessage::DelLink(message), 0).await)
    }

    /// Removes every link that `left_behind` says is a left-over; returns them.
    ///
    /// # Errors
    /// [`AddressError`] of the first that could not be removed, after all were tried.
    pub async fn sweep_links(
        &self,
        left_behind: impl Fn(&Link) -> bool,
    ) -> Result<Vec<Link>, AddressError> {
        let mut failure = None;
        let mut swept = Vec::new();
        for link in self.links().await?.into_iter().filter(left_behind) {
            match self.remove_link(link.index).await {
                Ok(()) => swept.push(link),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(swept), Err)
    }
}

fn creation(wanted: &VirtualLink) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(wanted.name.clone()),
        LinkAttribute::Link(wanted.parent),
        LinkAttribute::Address(wanted.mac.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(
                MacVlanMode::Bridge,
            )])),
        ]),
    ];
    message
}

/// The message that sets a link up or down.
pub(super) fn switch(ifindex: u32, up: bool) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up {
        LinkFlags::Up
    } else {
        LinkFlags::empty()
    };
    message
}
