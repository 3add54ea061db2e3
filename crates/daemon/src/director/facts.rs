//! The director's picture of links and addresses, kept true by kernel events and, after lost ones, by asking again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linux::address::{Address, Link};
use linux::monitor::Change;
use vrrp::{Family, Local, Network};

use super::tracking::LinkFact;

/// Links and addresses of this host.
#[derive(Debug, Default)]
pub(super) struct Facts {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<u32, OnLink>,
    /// How often sockets of a link had to be opened anew so far; see [`Facts::generation`].
    generations: BTreeMap<u32, u64>,
}

/// The addresses of one link, in the order of the kernel; three times, because each packet is compared with the bare ones, and some with
/// the networks of those that we have not put there.
#[derive(Debug, Default)]
struct OnLink {
    known: Vec<Address>,
    bare: Vec<IpAddr>,
    networks: Vec<Network>,
}

impl OnLink {
    fn take(&mut self, address: Address) {
        let before = match self.place(address.address) {
            Some(place) => Some(std::mem::replace(&mut self.known[place], address)),
            None => {
                self.known.push(address);
                self.bare.push(address.address);
                None
            }
        };
        // The renewal of a lease, the most frequent of all changes, is of an address of ours.
        if !address.ours || before.is_some_and(|before| !before.ours) {
            self.refresh_networks();
        }
    }

    fn forget(&mut self, address: IpAddr) {
        if let Some(place) = self.place(address) {
            self.bare.remove(place);
            if !self.known.remove(place).ours {
                self.refresh_networks();
            }
        }
    }

    fn refresh_networks(&mut self) {
        let own = self.known.iter().filter(|known| !known.ours);
        let networks = own.map(|known| Network::new(known.address, known.prefix_len));
        self.networks.clear();
        self.networks.extend(networks);
    }

    fn place(&self, address: IpAddr) -> Option<usize> {
        self.bare.iter().position(|known| *known == address)
    }
}

impl Facts {
    /// Replaces everything by what the kernel has just listed.
    pub(super) fn replace(&mut self, links: Vec<Link>, addresses: Vec<Address>) {
        let gone: Vec<u32> = self
            .links
            .keys()
            .filter(|index| !links.iter().any(|link| link.index == **index))
            .copied()
            .collect();
        for index in gone {
            self.links.remove(&index);
            self.generations.remove(&index);
        }
        self.addresses.clear();
        for address in addresses {
            self.take_address(address);
        }
        for link in links {
            self.take_link(link);
        }
    }

    /// Takes one change over. [`Change::Overrun`] changes nothing here: the caller asks the kernel again.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Link(link) => self.take_link(link.clone()),
            Change::LinkGone { index, .. } => {
                self.links.remove(index);
                self.generations.remove(index);
                self.addresses.remove(index);
            }
            Change::AddressAdded(address) => self.take_address(*address),
            Change::AddressRemoved(address) => {
                if let Some(on_link) = self.addresses.get_mut(&address.ifindex) {
                    on_link.forget(address.address);
                }
                let family = Family::of(address.address);
                if !self.has_family(address.ifindex, family) {
                    self.renew(address.ifindex);
                }
            }
            Change::Overrun => {}
        }
    }

    fn take_link(&mut self, link: Link) {
        let known = self.links.get(&link.index);
        let came_up = link.running && known.is_some_and(|known| !known.running);
        let moved = known.is_some_and(|known| known.master != link.master);
        if came_up || moved {
            self.renew(link.index);
        }
        self.links.insert(link.index, link);
    }

    fn renew(&mut self, ifindex: u32) {
        *self.generations.entry(ifindex).or_default() += 1;
    }

    fn has_family(&self, ifindex: u32, family: Family) -> bool {
        self.known_on(ifindex)
            .iter()
            .any(|known| Family::of(known.address) == family)
    }

    /// Grows whenever group memberships on this link may be gone or unknown to the switch: the carrier came back, the link went under
    /// another master, or a family lost its last address (the kernel may have ended the family there). Sockets of an older
    /// generation are opened anew, which joins their groups and says so on the wire.
    pub(super) fn generation(&self, ifindex: u32) -> u64 {
        self.generations.get(&ifindex).copied().unwrap_or_default()
    }

    fn take_address(&mut self, address: Address) {
        let on_link = self.addresses.entry(address.ifindex).or_default();
        on_link.take(address);
    }

    fn known_on(&self, ifindex: u32) -> &[Address] {
        let on_link = self.addresses.get(&ifindex);
        on_link.map_or(&[], |on_link| on_link.known.as_slice())
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// Whether there is a link of this index.
    pub(super) fn knows(&self, ifindex: u32) -> bool {
        self.links.contains_key(&ifindex)
    }

    /// The name of a link; its index in words if it is not known.
    pub(super) fn name_of(&self, ifindex: u32) -> String {
        match self.links.get(&ifindex) {
            Some(link) => link.name.clone(),
            None => format!("link {ifindex}"),
        }
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

    /// Whether a link of this host has this hardware address.
    pub(super) fn has_mac(&self, mac: [u8; 6]) -> bool {
        self.links.values().any(|link| link.mac == Some(mac))
    }

    /// All addresses of a link, and its networks.
    pub(super) fn local(&self, ifindex: u32) -> Local<'_> {
        let on_link = self.addresses.get(&ifindex);
        on_link.map_or_else(Local::default, |on_link| Local {
            addresses: &on_link.bare,
            networks: &on_link.networks,
        })
    }

    /// Whether this address is on the link and marked as put there by us.
    pub(super) fn is_ours(&self, ifindex: u32, address: IpAddr) -> bool {
        self.known_on(ifindex)
            .iter()
            .any(|known| known.address == address && known.ours)
    }

    /// Whether an address is on the link, but not ready for use.
    pub(super) fn is_tentative(&self, ifindex: u32, family: Family) -> bool {
        self.known_on(ifindex)
            .iter()
            .any(|known| Family::of(known.address) == family && known.tentative)
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
            Family::of(known.address) == family
                && !known.ours
                && !known.tentative
                && !known.dad_failed
                && !vips.contains(&known.address)
        };
        let mut candidates = self
            .known_on(ifindex)
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
    fn the_networks_are_those_of_addresses_that_are_not_virtual() {
        let ours = Address {
            ours: true,
            ..address("192.0.2.10")
        };
        let mut facts = facts(vec![ours, address("10.0.0.2")]);
        let first = Network::new("10.0.0.2".parse().unwrap(), 24);
        assert_eq!(facts.local(2).networks, [first]);
        facts.apply(&Change::AddressAdded(address("10.1.0.2")));
        assert_eq!(facts.local(2).networks.len(), 2);
        facts.apply(&Change::AddressRemoved(address("10.1.0.2")));
        facts.apply(&Change::AddressRemoved(ours));
        assert_eq!(facts.local(2).networks, [first]);
        assert!(facts.local(3).networks.is_empty());
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

    fn link(master: Option<&str>, running: bool) -> Link {
        Link {
            index: 2,
            name: "eth0".to_owned(),
            up: true,
            running,
            mac: None,
            mtu: 1500,
            kind: None,
            alias: None,
            parent: None,
            master: master.map(|kind| linux::address::Master {
                index: 9,
                kind: kind.to_owned(),
            }),
        }
    }

    #[test]
    fn sockets_are_opened_anew_when_memberships_may_be_gone() {
        let mut facts = facts(vec![address("10.0.0.2"), address("fe80::1")]);
        let mut after = |change: Change| {
            facts.apply(&change);
            facts.generation(2)
        };
        assert_eq!(after(Change::Link(link(None, true))), 0);
        assert_eq!(after(Change::Link(link(None, true))), 0);
        assert_eq!(after(Change::Link(link(None, false))), 0);
        assert_eq!(after(Change::Link(link(None, true))), 1, "carrier");
        assert_eq!(after(Change::Link(link(Some("vrf"), true))), 2, "master");
        assert_eq!(after(Change::AddressRemoved(address("fe80::1"))), 3);
        assert_eq!(after(Change::AddressAdded(address("fe80::1"))), 3);
        facts.replace(vec![link(None, true)], Vec::new());
        assert_eq!(facts.generation(2), 4, "listed under another master");
        facts.replace(Vec::new(), Vec::new());
        assert_eq!(facts.generation(2), 0);
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
