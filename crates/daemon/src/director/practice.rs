//! A takeover for practice: everything it needs has run once, and is in memory, before the day it is needed.
//!
//! The program is locked as it is touched, and a backup may never have touched what makes it Active. So the ways are gone through once
//! after the start, with a copy of a decision, addresses for a link that is not there, and frames to this host itself: nothing real is
//! changed, and what comes of it does not matter. `netns-tests/tests/memory.rs` holds the real takeover to what is locked by then.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use linux::address::Vip;
use linux::neighbour::Announcer;
use vrrp::{Priority, Rehearsal};

use super::Director;
use super::addresses::{Addresses, Order};
use super::instance::Instance;
use super::testament;
use crate::experiment::{self, LOOPBACK, NOWHERE};

/// Number of no virtual router: they are counted up from 1.
const NOBODY: u64 = 0;
/// The made-up addresses: of this host itself, in case anything should come of it.
const VIPS: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::LOCALHOST), 32),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];

impl Director {
    /// Goes through a takeover and what follows it, without consequences.
    pub(super) fn practise(&self, now: Instant) {
        let Some(instance) = self.instances.iter().find(|one| one.started) else {
            return;
        };
        practise_decision(now, instance);
        self.practise_claim();
        practise_frames(instance);
        testament::practise();
        self.recorder
            .practise(now, &instance.lane, &self.journal.lane);
    }

    /// Its outcome comes back under the number of nobody, and is passed over.
    fn practise_claim(&self) {
        let vip = |(address, prefix_len)| Vip {
            ifindex: NOWHERE,
            address,
            prefix_len,
            lease: Some(Duration::from_secs(2)),
            parent: None,
        };
        let addresses = Addresses::new(
            NOBODY,
            Rc::clone(&self.kernel),
            Rc::clone(&self.settings),
            self.outcomes.clone(),
        );
        addresses.order(Order::Claim {
            number: 0,
            links: Vec::new(),
            vips: VIPS.map(vip).to_vec(),
        });
    }
}

/// The other router falls silent, and one with a higher priority appears.
fn practise_decision(now: Instant, instance: &Instance) {
    let horizon = instance.router.status().down_interval * 2;
    for peer in [None, Some(Priority::new(254))] {
        let rehearsal = Rehearsal {
            peer,
            peer_address: None,
            events: Vec::new(),
            cut: BTreeSet::new(),
            horizon,
        };
        let _ = instance.router.copy().rehearse(now, &rehearsal);
    }
}

/// Advertisements are made and dropped; a packet of no protocol and announcements of our own loopback addresses go to this host itself.
fn practise_frames(instance: &Instance) {
    for advertisement in instance.router.release_adverts() {
        for destination in &advertisement.destinations {
            let packet = advertisement.encode_at(*destination, vrrp::Stamp::default());
            std::hint::black_box(packet);
        }
    }
    for (address, _) in VIPS {
        // A host without IPv6 has no such socket, and needs none.
        if let Some(sender) = experiment::sender(address.is_ipv6()) {
            let _ = sender.send(address, address, &experiment::packet(address));
        }
    }
    if let Ok(announcer) = Announcer::open(LOOPBACK, [0; 6]) {
        for (address, _) in VIPS {
            for reply_form in [false, true] {
                let _ = announcer.announce(address, reply_form, false);
            }
        }
    }
}
