//! What the kernel says: changes of links and addresses, whole listings, and answers to what was asked of it.

use std::rc::Rc;
use std::time::Instant;

use linux::address::Address;
use linux::monitor::Change;

use super::addresses::Outcome;
use super::tracking::LinkFact;
use super::{Director, inputs};

impl Director {
    pub(super) fn on_change(&mut self, now: Instant, change: &Change) {
        if matches!(change, Change::Overrun) {
            self.list_again();
            return;
        }
        self.listing.note(change);
        if let Change::Link(link) = change
            && link.running
            && self.facts.link_fact(&link.name) != LinkFact::Running
        {
            inputs::forget_unanswered(Rc::clone(&self.kernel), link.index);
        }
        self.journal.lane.change(now, change);
        self.facts.apply(change);
        let (index, name) = match change {
            // Our own renewal, most often, or our own removal: nothing that an election depends on has changed.
            Change::AddressAdded(added) if added.ours => return,
            Change::AddressAdded(added) => (added.ifindex, None),
            Change::AddressRemoved(gone) => {
                self.put_back(now, gone);
                if gone.ours {
                    return;
                }
                (gone.ifindex, None)
            }
            Change::Link(link) => (link.index, Some(link.name.as_str())),
            Change::LinkGone { index, name } => (*index, Some(name.as_str())),
            Change::Overrun => return,
        };
        self.judge(now);
        for position in 0..self.instances.len() {
            let instance = &self.instances[position];
            if instance.uses_link(index) || name == Some(&instance.config.interface) {
                if matches!(change, Change::LinkGone { .. }) {
                    self.instances[position].note_link_gone(index);
                }
                self.reconcile_one(now, position);
            }
        }
    }

    /// Has an address that has vanished put back, by the virtual router that it belongs to.
    fn put_back(&mut self, now: Instant, gone: &Address) {
        for index in 0..self.instances.len() {
            let instance = &self.instances[index];
            if instance.uses_link(gone.ifindex)
                && (instance.config.vips.iter()).any(|vip| vip.address == gone.address)
            {
                let notices = self.instances[index].on_address_removed(now, gone, &self.wires);
                self.on_notices(notices);
            }
        }
    }

    pub(super) fn on_listed(&mut self, now: Instant, listed: Option<inputs::Listed>) {
        let Some(listed) = listed else {
            return self.listing.fail(now);
        };
        self.facts.replace(listed.links, listed.addresses);
        for change in self.listing.arrive(now) {
            self.facts.apply(&change);
        }
        for index in 0..self.instances.len() {
            let known = self.instances[index].virtual_indexes();
            for gone in known.into_iter().filter(|link| !self.facts.knows(*link)) {
                self.instances[index].note_link_gone(gone);
            }
        }
        self.reconcile(now);
        for index in 0..self.instances.len() {
            let notices = self.instances[index].put_back_missing(now, &self.facts, &self.wires);
            self.on_notices(notices);
        }
    }

    pub(super) fn on_outcome(&mut self, now: Instant, number: u64, outcome: Outcome) {
        let Some(index) = self.instances.position(number) else {
            return;
        };
        let about_links = matches!(
            outcome,
            Outcome::LinksMade { .. } | Outcome::LinksFailed { .. } | Outcome::Refused { .. }
        );
        let notices = self.instances[index].on_outcome(now, outcome, &self.wires);
        self.on_notices(notices);
        if about_links {
            self.instances.note_layout_change();
            self.reconcile_one(now, index);
            self.start_if_prepared(now, index);
            self.close_unused_wires();
        }
    }
}
