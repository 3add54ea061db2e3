//! What concerns the node and all its virtual routers: links and addresses, the journal, absences of this process.

use std::time::{Duration, Instant};

use control::{Event, EventKind, What};
use linux::address::{Address, Link};
use linux::monitor::Change;

use super::lane::{Lane, micros};

impl Lane {
    /// The kernel reports a change. Renewals of our own addresses are no news.
    pub(in crate::director) fn change(&mut self, now: Instant, change: &Change) {
        let (index, words) = match change {
            Change::Link(link) => (link.index, link_words(link)),
            Change::LinkGone { index, name } => (*index, format!("interface {name} is gone")),
            Change::AddressAdded(address) if address.ours => return,
            Change::AddressAdded(address) => (address.ifindex, address_words(address, "added")),
            Change::AddressRemoved(address) => (address.ifindex, address_words(address, "removed")),
            Change::Overrun => (0, "more changes than could be followed".to_owned()),
        };
        self.kernel(now, index, words);
    }

    /// The journal has a new event. Alarms are in the lane of their virtual router.
    pub(in crate::director) fn journaled(&mut self, now: Instant, event: &Event) {
        if event.kind == EventKind::Alarm {
            return;
        }
        let states = match (&event.from, &event.to) {
            (Some(from), Some(to)) => format!("{from} to {to}: "),
            (None, _) | (_, None) => String::new(),
        };
        let words = format!("{states}{}", event.reason);
        let subject = event.subject.clone();
        self.note(now, What::Node { subject, words });
    }

    /// This process was away for longer than it may.
    pub(in crate::director) fn away(&mut self, now: Instant, time: Duration) {
        let for_us = micros(time);
        self.note(now, What::Away { for_us });
    }
}

fn link_words(link: &Link) -> String {
    let state = match (link.up, link.running) {
        (false, _) => "is down",
        (true, false) => "has no carrier",
        (true, true) => "is running",
    };
    format!("interface {} {state}", link.name)
}

fn address_words(address: &Address, what: &str) -> String {
    format!(
        "address {}/{} {what} on link {}",
        address.address, address.prefix_len, address.ifindex
    )
}
