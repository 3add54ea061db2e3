//! The receive checks: from octets to an [`Accepted`] advertisement, or to a counted reason.
//!
//! The checks stand in one order, cheapest and least trusting first. Only [`accept`] makes an `Accepted`, and
//! only an `Accepted` is an event for the virtual router: a packet that is refused changes nothing but a counter.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};

use crate::authentication::{Authentication, Proof};
use crate::counters::Reject;
use crate::settings::{Settings, is_link_local};
use crate::types::{
    ChecksumForm, ChecksumPolicy, Family, Interval, Password, PerFamily, Priority, Version, Vrid,
};
use crate::wire::{
    AUTH_NONE, AUTH_PASSWORD, HOP_LIMIT, MessageView, PROTOCOL, TYPE_ADVERTISEMENT, group,
    v2_seconds,
};

mod guard;
mod local;
#[cfg(test)]
mod tests;

pub use guard::{Guard, claimed_skew_s, open_sealed};
use guard::{Parted, authenticate};
pub use local::{Local, Network};

/// A VRRP message as a socket delivers it, with what the IP header said.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Family of the carrying packet.
    pub family: Family,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit as received.
    pub hop_limit: u8,
    /// The VRRP message, without IP header and without padding of the frame.
    pub payload: &'a [u8],
}

/// What the receive checks need to know of one virtual router.
#[derive(Clone, PartialEq, Debug)]
pub struct Expectation {
    version: Version,
    password: Option<Password>,
    checksum: ChecksumPolicy,
    interval: Interval,
    /// Own address lists in wire order; empty where the family is not configured.
    lists: PerFamily<Vec<IpAddr>>,
    unicast_peers: Vec<IpAddr>,
    least_hop_limits: BTreeMap<IpAddr, u8>,
    list_mismatch_drops: bool,
    off_link_drops: bool,
    authentication: Option<Arc<Authentication>>,
}

impl Expectation {
    /// The expectation that follows from the settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            version: settings.version,
            password: settings.password.clone(),
            checksum: settings.checksum,
            interval: settings.advert_interval,
            lists: PerFamily {
                v4: settings.wire_list(Family::V4),
                v6: settings.wire_list(Family::V6),
            },
            unicast_peers: settings.unicast_peers.clone(),
            least_hop_limits: settings.least_hop_limits.clone(),
            list_mismatch_drops: settings.list_mismatch_drops,
            off_link_drops: settings.off_link_drops,
            authentication: settings.authentication.clone(),
        }
    }

    /// Whether this virtual router has addresses of the family.
    #[must_use]
    pub fn has_family(&self, family: Family) -> bool {
        !self.lists.of(family).is_empty()
    }

    /// The lowest TTL or hop limit that is believed of a sender: 255, unless it is a routed peer.
    fn least_hop_limit(&self, source: IpAddr) -> u8 {
        let routed = self.least_hop_limits.get(&source).copied();
        routed.unwrap_or(HOP_LIMIT)
    }

    fn skew_s(&self, proof: Option<Proof>, guard: Option<&Guard<'_>>) -> Option<i64> {
        let authentication = self.authentication.as_ref()?;
        authentication.noteworthy_skew(proof?.stamp, guard?.wall)
    }

    /// Whether the sender is near enough. What is link-local is a neighbour's, and a unicast peer is known by its address.
    fn believes(&self, datagram: &Datagram<'_>, local: &Local<'_>) -> bool {
        let anybody = !self.off_link_drops || datagram.family == Family::V6;
        anybody || local.is_neighbour(datagram.source)
    }

    fn takes(&self, datagram: &Datagram<'_>) -> bool {
        if self.unicast_peers.is_empty() {
            datagram.destination == group(datagram.family)
        } else {
            datagram.destination != group(datagram.family)
                && self.unicast_peers.contains(&datagram.source)
        }
    }
}

/// What an accepted advertisement says that is worth an alarm. None of it changes the election.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// Its addresses are not ours (RFC 9568 §7.1).
    pub list_differs: bool,
    /// Its interval is not ours (RFC 9568 §7.1); it is used all the same.
    pub interval_differs: bool,
    /// Its first IPv6 address is not link-local, and neither is ours (erratum 8300).
    pub no_link_local: bool,
    /// Its wall clock is near the edge of what is believed, or past it: seconds by which ours is ahead.
    pub skew_s: Option<i64>,
}

/// An advertisement that passed every check. Only [`accept`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    priority: Priority,
    interval: Interval,
    addresses: Vec<IpAddr>,
    checksum: Option<ChecksumForm>,
    notes: Notes,
    proof: Option<Proof>,
}

impl Accepted {
    /// The sender's priority; 0 means that it leaves.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The sender's advertisement interval.
    #[must_use]
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// The addresses it names, in its order.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// What its checksum covers; `None` where there is only one form (IPv6 and v2).
    #[must_use]
    pub fn checksum(&self) -> Option<ChecksumForm> {
        self.checksum
    }

    /// What is worth an alarm.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// How it was signed; `None` if it was not.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        self.proof
    }
}

/// Looks at a whole IPv4 packet from a raw socket. What follows the header's total length is padding.
///
/// # Errors
/// [`Reject::Short`], [`Reject::IpLength`] or [`Reject::Protocol`].
pub fn parse_ipv4(packet: &[u8]) -> Result<Datagram<'_>, Reject> {
    let header = Ipv4Packet::new(packet).ok_or(Reject::Short)?;
    let header_len = usize::from(header.get_header_length()) * 4;
    let total_len = usize::from(header.get_total_length());
    let whole =
        header.get_flags() & Ipv4Flags::MoreFragments == 0 && header.get_fragment_offset() == 0;
    if header.get_version() != 4 || header_len < Ipv4Packet::minimum_packet_size() || !whole {
        return Err(Reject::IpLength);
    }
    let payload = packet
        .get(..total_len)
        .and_then(|packet| packet.get(header_len..))
        .ok_or(Reject::IpLength)?;
    if header.get_next_level_protocol().0 != PROTOCOL {
        return Err(Reject::Protocol);
    }
    Ok(Datagram {
        family: Family::V4,
        source: IpAddr::V4(header.get_source()),
        destination: IpAddr::V4(header.get_destination()),
        hop_limit: header.get_ttl(),
        payload,
    })
}

/// Checks a message for a virtual router that does not authenticate; one that does believes nothing signed by this
/// door, since it has no clock. See [`accept_authentic`].
///
/// # Errors
/// The first [`Reject`] in the order of the checks.
pub fn accept<'e>(
    datagram: &Datagram<'_>,
    local: Local<'_>,
    find: impl FnOnce(Vrid) -> Option<&'e Expectation>,
) -> Result<(Vrid, Accepted), Reject> {
    check(datagram, local, |vrid| Some((find(vrid)?, None)))
}

/// Checks a message for the virtual router that `find` knows under its VRID on the interface it came from.
///
/// # Errors
/// The first [`Reject`] in the order of the checks.
pub fn accept_authentic<'e>(
    datagram: &Datagram<'_>,
    local: Local<'_>,
    find: impl FnOnce(Vrid) -> Option<(&'e Expectation, Guard<'e>)>,
) -> Result<(Vrid, Accepted), Reject> {
    check(datagram, local, |vrid| {
        find(vrid).map(|(expected, guard)| (expected, Some(guard)))
    })
}

fn check<'e>(
    datagram: &Datagram<'_>,
    local: Local<'_>,
    find: impl FnOnce(Vrid) -> Option<(&'e Expectation, Option<Guard<'e>>)>,
) -> Result<(Vrid, Accepted), Reject> {
    let view = MessageView::new(datagram.family, datagram.payload).ok_or(Reject::Short)?;
    let vrid = Vrid::new(view.vrid());
    let (expected, guard) = vrid
        .and_then(find)
        .filter(|(expected, _)| expected.has_family(datagram.family))
        .unzip();
    let mut guard = guard.flatten();
    check_envelope(datagram, &local, expected)?;
    let version = view
        .version()
        .filter(|&version| expected.is_none_or(|expected| expected.version == version));
    let version = version.ok_or(Reject::Version)?;
    let parted = Parted::new(datagram.payload, view.exact_len(version), expected)?;
    let view = MessageView::new(datagram.family, parted.message).ok_or(Reject::Short)?;
    if view.message_type() != TYPE_ADVERTISEMENT {
        return Err(Reject::Type);
    }
    let (vrid, expected) = vrid.zip(expected).ok_or(Reject::UnknownVrid)?;
    let proof = match &expected.authentication {
        Some(authentication) => authenticate(datagram, parted, authentication, guard.as_ref())?,
        None => None,
    };
    let checksum = check_checksum(datagram, &view, expected)?;
    if view.count() == 0 {
        return Err(Reject::CountZero);
    }
    let interval = interval_of(&view, version)?;
    let addresses = view.addresses();
    check_link_local(datagram, &addresses, expected)?;
    if version == Version::V2 {
        check_v2(&view, expected)?;
    }
    let priority = Priority::new(view.priority());
    let list_differs = !same_list(&addresses, expected.lists.of(datagram.family));
    if list_differs && expected.list_mismatch_drops && !priority.is_owner() {
        return Err(Reject::AddressList);
    }
    let notes = Notes {
        list_differs,
        interval_differs: version == Version::V3 && interval != expected.interval,
        no_link_local: datagram.family == Family::V6 && !starts_link_local(&addresses),
        skew_s: expected.skew_s(proof, guard.as_ref()),
    };
    if let (Some(proof), Some(guard)) = (proof, &mut guard) {
        guard.marks.note(datagram.source, proof.stamp);
    }
    Ok((
        vrid,
        Accepted {
            priority,
            interval,
            addresses,
            checksum,
            notes,
            proof,
        },
    ))
}

/// Destination, source, hop limit.
fn check_envelope(
    datagram: &Datagram<'_>,
    local: &Local<'_>,
    expected: Option<&Expectation>,
) -> Result<(), Reject> {
    let to_us = datagram.destination == group(datagram.family)
        || local.addresses.contains(&datagram.destination);
    if !to_us || expected.is_some_and(|expected| !expected.takes(datagram)) {
        return Err(Reject::Destination);
    }
    if local.addresses.contains(&datagram.source) {
        return Err(Reject::OwnSource);
    }
    if expected.is_some_and(|expected| !expected.believes(datagram, local)) {
        return Err(Reject::OffLink);
    }
    let least = expected.map_or(HOP_LIMIT, |expected| {
        expected.least_hop_limit(datagram.source)
    });
    if datagram.hop_limit < least {
        return Err(Reject::HopLimit);
    }
    Ok(())
}

/// The form in which the checksum holds, where there is more than one. Over IPv6 it covers an authentication trailer.
fn check_checksum(
    datagram: &Datagram<'_>,
    view: &MessageView<'_>,
    expected: &Expectation,
) -> Result<Option<ChecksumForm>, Reject> {
    let holds = |form| view.checksum_holds(form, datagram.source, datagram.destination);
    match (expected.version, datagram.family, expected.checksum) {
        (Version::V2, _, _) => view.plain_checksum_holds().then_some(None),
        (Version::V3, Family::V6, _) => MessageView::new(Family::V6, datagram.payload)
            .ok_or(Reject::Short)?
            .pseudo_checksum_holds(datagram.source, datagram.destination)
            .then_some(None),
        (Version::V3, Family::V4, ChecksumPolicy::Fixed(form)) => holds(form).then_some(Some(form)),
        (Version::V3, Family::V4, ChecksumPolicy::Auto) => {
            [ChecksumForm::Rfc5798, ChecksumForm::Rfc9568]
                .into_iter()
                .find(|&form| holds(form))
                .map(Some)
        }
    }
    .ok_or(Reject::Checksum)
}

/// The interval. A v2 one that our unit cannot hold is cut here and refused as not ours later.
fn interval_of(view: &MessageView<'_>, version: Version) -> Result<Interval, Reject> {
    match version {
        Version::V3 => Interval::from_centis(view.interval_centis()).ok_or(Reject::IntervalZero),
        Version::V2 => match view.interval_seconds() {
            0 => Err(Reject::IntervalZero),
            seconds => Ok(Interval::from_centis(u16::from(seconds) * 100).unwrap_or(Interval::MAX)),
        },
    }
}

/// Source of multicast, and first address where ours is: the strict rule would part two routers that have only
/// global addresses to share.
fn check_link_local(
    datagram: &Datagram<'_>,
    addresses: &[IpAddr],
    expected: &Expectation,
) -> Result<(), Reject> {
    if datagram.family == Family::V4 {
        return Ok(());
    }
    let source_holds = is_link_local(datagram.source) || !expected.unicast_peers.is_empty();
    let list_holds =
        starts_link_local(addresses) || !starts_link_local(expected.lists.of(Family::V6));
    if source_holds && list_holds {
        Ok(())
    } else {
        Err(Reject::NotLinkLocal)
    }
}

fn starts_link_local(addresses: &[IpAddr]) -> bool {
    addresses.first().is_some_and(|&first| is_link_local(first))
}

/// Authentication type, password, interval (RFC 2338 and 3768 §7.1).
fn check_v2(view: &MessageView<'_>, expected: &Expectation) -> Result<(), Reject> {
    let auth_type = if expected.password.is_some() {
        AUTH_PASSWORD
    } else {
        AUTH_NONE
    };
    if view.auth_type() != auth_type {
        return Err(Reject::AuthType);
    }
    let given = view.auth_data();
    let holds = |password: &Password| given.is_some_and(|data| password.matches(data));
    if !expected.password.as_ref().is_none_or(holds) {
        return Err(Reject::Password);
    }
    if view.interval_seconds() != v2_seconds(expected.interval) {
        return Err(Reject::V2Interval);
    }
    Ok(())
}

/// Whether both name the same addresses. The order is advice, no rule (RFC 9568 §5.2.9).
fn same_list(theirs: &[IpAddr], ours: &[IpAddr]) -> bool {
    let sorted = |list: &[IpAddr]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    theirs.len() == ours.len() && sorted(theirs) == sorted(ours)
}
