//! A takeover for practice: everything it needs has run once, and is in memory, before the day it is needed.
//!
//! The program is locked as it is touched, and a backup may never have touched what makes it Active. So the ways are gone through once
//! after the start: by an understudy without wires, whose addresses are for a link that is not there, with a journal and a recorder of its
//! own, a copy of a decision, and frames to this host itself. Nothing real is changed, and what comes of it does not matter.
//! `netns-tests/tests/memory.rs` holds the real takeover to what is locked by then.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use linux::address::{Address, Vip};
use linux::monitor::Change;
use linux::neighbour::Announcer;
use vrrp::{Priority, Rehearsal};

use super::Director;
use super::addresses::Addresses;
use super::facts::Facts;
use super::flight::Lane;
use super::instance::{Instance, Notice, PRACTICE_VIPS as VIPS};
use super::steer::Steering;
use super::{outlook, testament};
use crate::experiment::{self, LOOPBACK, NOWHERE};

impl Director {
    /// Goes through a takeover and what follows it, without consequences.
    pub(super) fn practise(&mut self, now: Instant) {
        let Some(instance) = self.instances.iter().find(|one| one.started) else {
            return;
        };
        practise_decision(now, instance);
        practise_frames(instance);
        if instance.is_steered() {
            Steering::practise();
        }
        practise_change(now);
        // The outcome of its claim comes back under the number of nobody, and is passed over.
        let addresses = Addresses::new(
            Instance::NOBODY,
            Rc::clone(&self.kernel),
            Rc::clone(&self.settings),
            self.outcomes.clone(),
        );
        let mut understudy = instance.understudy(now, addresses);
        let notices = understudy.rehearse(now);
        testament::practise(&understudy);
        self.practise_renewal(now);
        for notice in notices {
            self.practise_notice(notice, &understudy);
        }
    }

    /// The kernel was never given this address by us, so that it is passed over.
    fn practise_renewal(&self, now: Instant) {
        let lease = Duration::from_secs(2);
        let (address, prefix_len) = VIPS[0];
        let vip = Vip {
            ifindex: NOWHERE,
            address,
            prefix_len,
            lease: Some(lease),
            parent: None,
        };
        let vips = vec![(Instance::NOBODY, vip)];
        self.renewals.ask(vips, now + lease);
    }

    /// As [`Director::on_notices`], but nobody hears of it.
    fn practise_notice(&mut self, notice: Notice, understudy: &Instance) {
        match notice {
            Notice::Journal(entry) => self.journal.practise(entry),
            Notice::Moved(entry, mut moved) => {
                self.journal.practise(entry);
                moved.summary.node = self.node_name();
                // Nobody has hooks.
                self.call_hooks(&moved);
                (self.recorder).practise(*moved, &understudy.lane, &self.journal.lane);
            }
            // To nobody.
            Notice::Parting { .. } | Notice::Elsewhere { .. } => self.on_notices(vec![notice]),
            Notice::Handover { .. } => {}
        }
    }
}

/// The kernel tells of an address of ours that came and went.
fn practise_change(now: Instant) {
    let (address, prefix_len) = VIPS[0];
    let address = Address {
        ifindex: NOWHERE,
        address,
        prefix_len,
        ours: true,
        secondary: false,
        tentative: false,
        dad_failed: false,
        valid: None,
    };
    let (mut facts, mut lane) = (Facts::default(), Lane::default());
    for change in [
        Change::AddressAdded(address),
        Change::AddressRemoved(address),
    ] {
        lane.change(now, &change);
        facts.apply(&change);
    }
    let _ = outlook::gateway(now, "lo");
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
