//! What a virtual router is told to be. Checked by whoever reads the configuration, not here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::authentication::Authentication;
use crate::types::{
    ChecksumPolicy, Family, Interval, Password, PeerKnowledge, Preempt, Priority, Version, Vrid,
};

/// One configured virtual router: both address families, one decision.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Name in the configuration; only for people.
    pub name: String,
    /// Virtual router identifier, the same for both families.
    pub vrid: Vrid,
    /// Protocol version. V2 knows IPv4 and whole seconds only.
    pub version: Version,
    /// Clear-text password; V2 only. `None` means authentication type 0.
    pub password: Option<Password>,
    /// Checksum forms accepted and sent; v3 over IPv4 only.
    pub checksum: ChecksumPolicy,
    /// The virtual addresses, in the order of the file. The families follow from them.
    pub vips: Vec<IpAddr>,
    /// Base priority, 1..=255; 255 owns the addresses.
    pub priority: Priority,
    /// Own advertisement interval.
    pub advert_interval: Interval,
    /// When to take over from a lower Active router.
    pub preempt: Preempt,
    /// What is known of the others.
    pub peer: PeerKnowledge,
    /// Peers to send to, of both families; empty means multicast.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether an advertisement with another address list is dropped unless its sender is the owner (RFC 3768 §7.1).
    pub list_mismatch_drops: bool,
    /// Whether an IPv4 advertisement is dropped that comes from an address in no network of the interface.
    pub off_link_drops: bool,
    /// Unicast peers behind a router: the lowest TTL or hop limit that is believed of each; 255 for the others.
    pub least_hop_limits: BTreeMap<IpAddr, u8>,
    /// The trailer that what is sent and received carries; V3 only. `None` = no authentication.
    pub authentication: Option<Arc<Authentication>>,
}

impl Settings {
    /// VRRPv3 with the defaults of this product: 100 ms, priority 100, preempt at once, peers unknown, multicast.
    #[must_use]
    pub fn new(name: &str, vrid: Vrid, vips: Vec<IpAddr>) -> Self {
        Self {
            name: name.to_owned(),
            vrid,
            version: Version::V3,
            password: None,
            checksum: ChecksumPolicy::Auto,
            vips,
            priority: Priority::DEFAULT,
            advert_interval: DEFAULT_INTERVAL,
            preempt: Preempt::Immediately,
            peer: PeerKnowledge::Unknown,
            unicast_peers: Vec::new(),
            list_mismatch_drops: false,
            off_link_drops: false,
            least_hop_limits: BTreeMap::new(),
            authentication: None,
        }
    }

    /// Whether there is a virtual address of this family.
    #[must_use]
    pub fn has_family(&self, family: Family) -> bool {
        self.vips.iter().any(|&vip| Family::of(vip) == family)
    }

    /// The families with a virtual address, IPv4 first.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        Family::ALL
            .into_iter()
            .filter(|&family| self.has_family(family))
    }

    /// The addresses of one family in the order of the wire: as in the file, but link-local IPv6 first
    /// (RFC 9568 §5.2.9). A list without a link-local address goes out as it is.
    #[must_use]
    pub fn wire_list(&self, family: Family) -> Vec<IpAddr> {
        let mut list: Vec<IpAddr> = self
            .vips
            .iter()
            .copied()
            .filter(|&vip| Family::of(vip) == family)
            .collect();
        list.sort_by_key(|&vip| !is_link_local(vip) && family == Family::V6);
        list
    }

    /// Where advertisements of one family go: the unicast peers of that family, or the group.
    #[must_use]
    pub fn destinations(&self, family: Family) -> Vec<IpAddr> {
        if self.unicast_peers.is_empty() {
            return vec![crate::wire::group(family)];
        }
        self.unicast_peers
            .iter()
            .copied()
            .filter(|&peer| Family::of(peer) == family)
            .collect()
    }

    /// Whether both describe the same virtual router on the wire: another VRID or version is another election.
    pub(crate) fn same_election(&self, other: &Self) -> bool {
        self.vrid == other.vrid && self.version == other.version
    }

    /// Whether both name the same virtual addresses, in whatever order.
    pub(crate) fn same_vips(&self, other: &Self) -> bool {
        let sorted = |settings: &Self| {
            let mut vips = settings.vips.clone();
            vips.sort_unstable();
            vips
        };
        sorted(self) == sorted(other)
    }
}

/// 100 ms, the interval of this product.
const DEFAULT_INTERVAL: Interval = match Interval::from_centis(10) {
    Some(interval) => interval,
    None => Interval::SECOND,
};

/// Whether this is an fe80::/10 address.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(&address),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings(vips: &[&str]) -> Settings {
        Settings::new(
            "t",
            Vrid::new(1).unwrap(),
            vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        )
    }

    #[test]
    fn the_link_local_address_goes_first_and_the_rest_keeps_its_order() {
        let settings = settings(&[
            "2001:db8::2",
            "10.0.0.2",
            "fe80::9",
            "2001:db8::1",
            "10.0.0.1",
        ]);
        let words = |family| {
            settings
                .wire_list(family)
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(Family::V4), ["10.0.0.2", "10.0.0.1"]);
        assert_eq!(words(Family::V6), ["fe80::9", "2001:db8::2", "2001:db8::1"]);
    }

    #[test]
    fn a_list_without_link_local_stays_as_written() {
        let settings = settings(&["2001:db8::2", "2001:db8::1"]);
        let words: Vec<String> = settings
            .wire_list(Family::V6)
            .iter()
            .map(IpAddr::to_string)
            .collect();
        assert_eq!(words, ["2001:db8::2", "2001:db8::1"]);
    }

    #[test]
    fn destinations_are_the_group_or_the_peers_of_the_family() {
        let mut settings = settings(&["10.0.0.1", "2001:db8::1"]);
        assert_eq!(
            settings.destinations(Family::V4),
            ["224.0.0.18".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            settings.destinations(Family::V6),
            ["ff02::12".parse::<IpAddr>().unwrap()]
        );
        settings.unicast_peers = vec!["192.0.2.2".parse().unwrap()];
        assert_eq!(settings.destinations(Family::V4), settings.unicast_peers);
        assert!(settings.destinations(Family::V6).is_empty());
    }
}
