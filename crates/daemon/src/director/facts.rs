//! The director's picture of links and addresses, kept true by kernel events and, after lost ones, by asking again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linux::address::{Address, Link};
use linux::monitor::Change;
use vrrp::Family;

use super::tracking::LinkFact;

/// Links and addresses of this host.
#[derive(Debug, Default)]
pub(super) struct Facts {
    links: BTreeMap<u32, Link>,
    addresses: Vec<Address>,
}

impl Facts {
    /// Replaces everything by what the kernel has just listed.
    pub(super) fn replace(&mut self, links: Vec<Link>, addresses: Vec<Address>) {
        self.links = links.into_iter().map(|link| (link.index, link)).collect();
        self.addresses = addresses;
    }

    /// Takes one change over. [`Change::Overrun`] changes nothing here: the caller asks the kernel again.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Link(link) => drop(self.links.insert(link.index, link.clone())),
            Change::LinkGone { index, .. } => {
                self.links.remove(index);
                self.addresses.retain(|address| address.ifindex != *index);
            }
            Change::AddressAdded(address) => {
                self.forget(address);
                self.addresses.push(*address);
            }
            Change::AddressRemoved(address) => self.forget(address),
            Change::Overrun => {}
        }
    }

    fn forget(&mut self, address: &Address) {
        self.addresses
            .retain(|known| (known.ifindex, known.address) != (address.ifindex, address.address));
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// What tracking needs to know of a link.
    pub(super) fn link_fact(&self, name: &str) -> LinkFact {
        match self.link(name) {
            None => LinkFact::Missing,
            Some(link) if !link.up => LinkFact::Down,
            Some(link) if !link.running => LinkFact::NoCarrier,
            Some(_) => LinkFact::Running,
        }
    }

    /// All addresses of a link.
    pub(super) fn addresses_of(&self, ifindex: u32) -> Vec<IpAddr> {
        self.addresses
            .iter()
            .filter(|address| address.ifindex == ifindex)
            .map(|address| address.address)
            .collect()
    }

    /// Whether this address is on the link and marked as put there by us.
    pub(super) fn is_ours(&self, ifindex: u32, address: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|known| known.ifindex == ifindex && known.address == address && known.ours)
    }

    /// The address advertisements of `family` come from: `preferred` if it is there, else the primary IPv4 address or the link-local
    /// IPv6 address of the link (RFC 9568 §7.2); never one of `vips`, never one that is not usable yet.
    pub(super) fn source(
        &self,
        ifindex: u32,
        family: Family,
        preferred: Option<IpAddr>,
        vips: &[IpAddr],
    ) -> Option<IpAddr> {
        let usable = |known: &&Address| {
            known.ifindex == ifindex
                && Family::of(known.address) == family
                && !known.ours
                && !known.tentative
                && !known.dad_failed
                && !vips.contains(&known.address)
        };
        let mut candidates = self
            .addresses
            .iter()
            .filter(usable)
            .filter(|known| is_source_kind(known.address, preferred));
        let all: Vec<&Address> = candidates.by_ref().collect();
        let by_preference = all.iter().find(|known| Some(known.address) == preferred);
        let primary = all.iter().find(|known| !known.secondary);
        by_preference
            .or(primary)
            .or(all.first())
            .map(|known| known.address)
    }
}

/// IPv4, link-local IPv6, or whatever was asked for by name.
fn is_source_kind(address: IpAddr, preferred: Option<IpAddr>) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || Some(address) == preferred,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address {
            ifindex: 2,
            address: text.parse().unwrap(),
            prefix_len: 24,
            ours: false,
            secondary: false,
            tentative: false,
            dad_failed: false,
            valid: None,
        }
    }

    fn facts(addresses: Vec<Address>) -> Facts {
        let mut facts = Facts::default();
        facts.replace(Vec::new(), addresses);
        facts
    }

    #[test]
    fn the_source_is_the_primary_address_and_never_a_virtual_one() {
        let secondary = Address {
            secondary: true,
            ..address("10.0.0.9")
        };
        let ours = Address {
            ours: true,
            ..address("10.0.0.10")
        };
        let facts = facts(vec![
            ours,
            secondary,
            address("10.0.0.2"),
            address("10.0.0.11"),
        ]);
        let vips = ["10.0.0.11".parse().unwrap()];
        assert_eq!(
            facts.source(2, Family::V4, None, &vips),
            Some("10.0.0.2".parse().unwrap())
        );
        assert_eq!(
            facts.source(2, Family::V4, "10.0.0.9".parse().ok(), &vips),
            Some("10.0.0.9".parse().unwrap())
        );
        assert_eq!(facts.source(3, Family::V4, None, &vips), None);
    }

    #[test]
    fn over_ipv6_it_is_a_link_local_address_that_is_ready() {
        let tentative = Address {
            tentative: true,
            ..address("fe80::1")
        };
        let before = facts(vec![tentative, address("2001:db8::2")]);
        assert_eq!(before.source(2, Family::V6, None, &[]), None);
        let after = facts(vec![address("fe80::1"), address("2001:db8::2")]);
        assert_eq!(
            after.source(2, Family::V6, None, &[]),
            Some("fe80::1".parse().unwrap())
        );
        assert_eq!(
            after.source(2, Family::V6, "2001:db8::2".parse().ok(), &[]),
            Some("2001:db8::2".parse().unwrap())
        );
    }

    #[test]
    fn a_vanished_link_takes_its_addresses_along() {
        let mut facts = facts(vec![address("10.0.0.2")]);
        facts.apply(&Change::LinkGone {
            index: 2,
            name: "eth0".to_owned(),
        });
        assert_eq!(facts.source(2, Family::V4, None, &[]), None);
        assert_eq!(facts.link_fact("eth0"), LinkFact::Missing);
    }
}
