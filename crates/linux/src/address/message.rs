//! Links and addresses as netlink messages, both ways. Pure.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use nix::libc;

use super::{Address, Link, Master, OWNER_MARK, Vip};

/// A lifetime without end, as the kernel writes it.
const FOREVER: u32 = u32::MAX;
const LINK_HEADER_LEN: usize = 16;
/// Where a route message says what kind of route it is (struct rtmsg, rtnetlink(7)).
const ROUTE_KIND: usize = 7;
const MAC_LEN: usize = 6;

/// Whether the kernel shall make no route for the prefix of `vip`, because another address of the link gives it one.
///
/// - A host prefix needs none.
/// - IPv4, same prefix: the kernel makes the address a secondary one, which has no route of its own. The flag would be
///   harm: a secondary that is promoted later must bring the route back.
/// - IPv4, wider prefix of another, and IPv6 either way: the route would compete with the one that is there, and go
///   and come with the address.
///
/// - Either way, on a virtual link: the link below has the prefix, and the route through it stays when the address moves.
///
/// Our own addresses do not count: they leave together.
pub(crate) fn without_prefix_route(vip: &Vip, addresses: &[Address]) -> bool {
    if vip.prefix_len >= bits(vip.address) {
        return true;
    }
    addresses
        .iter()
        .filter(|other| !other.ours && other.address != vip.address)
        .filter(|other| {
            let below = Some(other.ifindex) == vip.parent;
            let beside = other.ifindex == vip.ifindex
                && (vip.address.is_ipv6() || other.prefix_len < vip.prefix_len);
            below || beside
        })
        .any(|other| {
            other.prefix_len <= vip.prefix_len
                && same_prefix(vip.address, other.address, other.prefix_len)
        })
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn same_prefix(left: IpAddr, right: IpAddr, prefix_len: u8) -> bool {
    let differing = match (left, right) {
        (IpAddr::V4(left), IpAddr::V4(right)) => (left.to_bits() ^ right.to_bits()).leading_zeros(),
        (IpAddr::V6(left), IpAddr::V6(right)) => (left.to_bits() ^ right.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differing >= u32::from(prefix_len)
}

/// What is wrong with `vip`, if anything.
pub(crate) fn problem(vip: &Vip) -> Option<&'static str> {
    match vip.lease {
        _ if vip.prefix_len > bits(vip.address) => Some("the prefix is longer than the address"),
        Some(lease) if lease.as_secs() == 0 => Some("the lease is shorter than a second"),
        Some(lease) if lease.subsec_nanos() != 0 => Some("the lease is not in whole seconds"),
        Some(lease) if lease.as_secs() >= u64::from(FOREVER) => Some("the lease is too long"),
        Some(_) | None => None,
    }
}

/// The message that adds or renews `vip`. Flags and lifetimes of a renewal must equal those of the addition: only
/// then does the kernel touch nothing but the time of expiry.
pub(crate) fn add(vip: &Vip, no_prefix_route: bool) -> AddressMessage {
    let mut flags = AddressFlags::empty();
    flags.set(AddressFlags::Noprefixroute, no_prefix_route);
    flags.set(AddressFlags::Nodad, vip.address.is_ipv6());

    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = vip.lease.map_or(FOREVER, |lease| {
        u32::try_from(lease.as_secs()).unwrap_or(FOREVER)
    });
    // A deprecated IPv6 address is no source for connections of the host. IPv4 knows no such thing.
    lifetime.ifa_preferred = if vip.address.is_ipv6() {
        0
    } else {
        lifetime.ifa_valid
    };

    let mut message = identify(vip);
    message.attributes.extend([
        AddressAttribute::Flags(flags),
        AddressAttribute::CacheInfo(lifetime),
        AddressAttribute::Protocol(AddressProtocol::Other(OWNER_MARK)),
    ]);
    message
}

/// The message that removes `vip`.
pub(crate) fn remove(vip: &Vip) -> AddressMessage {
    identify(vip)
}

/// The question which route a packet to `vip` would take from its link.
pub(crate) fn route_to(vip: &Vip) -> RouteMessage {
    let (family, destination) = match vip.address {
        IpAddr::V4(address) => (AddressFamily::Inet, RouteAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, RouteAddress::Inet6(address)),
    };
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.destination_prefix_length = bits(vip.address);
    message.attributes = vec![
        RouteAttribute::Destination(destination),
        RouteAttribute::Oif(vip.ifindex),
    ];
    message
}

/// Whether the payload of RTM_NEWROUTE is a route to this host itself.
pub(crate) fn is_local_route(payload: &[u8]) -> bool {
    payload.get(ROUTE_KIND) == Some(&libc::RTN_LOCAL)
}

fn identify(vip: &Vip) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match vip.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.index = vip.ifindex;
    message.header.prefix_len = vip.prefix_len;
    message.attributes = vec![
        AddressAttribute::Local(vip.address),
        AddressAttribute::Address(vip.address),
    ];
    message
}

/// Reads the payload of RTM_NEWADDR or RTM_DELADDR; `None` if it names no unicast address.
pub(crate) fn parse_address(payload: &[u8]) -> Option<Address> {
    let message = AddressMessage::parse(payload).ok()?;
    let mut flags = header_flags(message.header.flags);
    let (mut local, mut address, mut ours, mut valid) = (None, None, false, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => address = Some(*found),
            AddressAttribute::Flags(found) => flags = *found,
            AddressAttribute::Protocol(mark) => ours = u8::from(*mark) == OWNER_MARK,
            AddressAttribute::CacheInfo(times) if times.ifa_valid != FOREVER => {
                valid = Some(Duration::from_secs(times.ifa_valid.into()));
            }
            _ => {}
        }
    }
    let address = local.or(address)?;
    Some(Address {
        ifindex: message.header.index,
        address,
        prefix_len: message.header.prefix_len,
        ours,
        // The same bit means "temporary" on an IPv6 address.
        secondary: address.is_ipv4() && flags.contains(AddressFlags::Secondary),
        tentative: flags.contains(AddressFlags::Tentative),
        dad_failed: flags.contains(AddressFlags::Dadfailed),
        valid,
    })
}

fn header_flags(flags: AddressHeaderFlags) -> AddressFlags {
    AddressFlags::from_bits_retain(flags.bits().into())
}

/// Reads the payload of RTM_NEWLINK or RTM_DELLINK; `None` if it is not about a link as such (bridges speak of their
/// ports in the same words) or has no name.
pub(crate) fn parse_link(payload: &[u8]) -> Option<Link> {
    let header = LinkHeader::parse(payload).ok()?;
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let (mut name, mut mac, mut mtu) = (None, None, 0);
    let (mut alias, mut parent, mut master, mut kinds) = (None, None, None, Kinds::default());
    // Attributes by hand: of the many a link has, one that cannot be read must not hide the link.
    for attribute in NlasIterator::new(payload.get(LINK_HEADER_LEN..)?).map_while(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => {
                name = Some(text(value));
            }
            libc::IFLA_ADDRESS => mac = <[u8; MAC_LEN]>::try_from(value).ok(),
            libc::IFLA_MTU => mtu = number(value).unwrap_or(0),
            libc::IFLA_IFALIAS => alias = Some(text(value)),
            libc::IFLA_LINK => parent = number(value),
            libc::IFLA_MASTER => master = number(value),
            libc::IFLA_LINKINFO => kinds = Kinds::parse(value),
            _ => {}
        }
    }
    let up = header.flags.contains(LinkFlags::Up);
    Some(Link {
        index: header.index,
        name: name?,
        up,
        // One alone is not enough: "running" holds also while the operational state is still unknown, and a carrier
        // may be there while the link is dormant.
        running: header
            .flags
            .contains(LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp),
        mac,
        mtu,
        kind: kinds.own,
        alias,
        parent,
        master: master.map(|index| Master {
            index,
            kind: kinds.master.unwrap_or_default(),
        }),
    })
}

/// What IFLA_LINKINFO says of a link and of its master.
#[derive(Default)]
struct Kinds {
    own: Option<String>,
    master: Option<String>,
}

impl Kinds {
    fn parse(value: &[u8]) -> Self {
        let mut kinds = Self::default();
        for attribute in NlasIterator::new(value).map_while(Result::ok) {
            match attribute.kind() {
                libc::IFLA_INFO_KIND => kinds.own = Some(text(attribute.value())),
                libc::IFLA_INFO_SLAVE_KIND => kinds.master = Some(text(attribute.value())),
                _ => {}
            }
        }
        kinds
    }
}

/// Text up to its end or its first zero.
fn text(value: &[u8]) -> String {
    let text = value.split(|octet| *octet == 0).next().unwrap_or(value);
    String::from_utf8_lossy(text).into_owned()
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests;
