//! Groups: what one virtual router decides, the others of its group carry out; and who belongs to which by a reload.

use std::collections::VecDeque;
use std::time::Instant;

use control::internal::ToForwarder;
use vrrp::Event;

use super::Director;
use super::instance::Notice;

/// From the moment another router has the addresses until what is left here is ended: in time before they go from here, 150 ms after it.
const CUT_AFTER_MS: u64 = 100;

impl Director {
    /// Acts on what virtual routers have to say. What concerns others of a group is carried out in order, and what
    /// failed there becomes an event when all of it is done.
    pub(super) fn on_notices(&mut self, notices: Vec<Notice>) {
        let mut notices = VecDeque::from(notices);
        let mut failures: VecDeque<(u64, Instant, Event)> = VecDeque::new();
        loop {
            while let Some(notice) = notices.pop_front() {
                match notice {
                    Notice::Journal(entry) => drop(self.journal.record(entry)),
                    Notice::Moved(entry, moved) => self.on_moved(entry, *moved),
                    Notice::Handover { name, failed } => self.on_handover_end(&name, failed),
                    Notice::Parting { number, taken } => self.part_from_clients(number, taken),
                    Notice::Elsewhere {
                        number,
                        now,
                        action,
                    } => {
                        let Some(index) = self.instances.position(number) else {
                            continue;
                        };
                        let mut more = Vec::new();
                        let failed =
                            self.instances[index].follow_mate(now, *action, &self.wires, &mut more);
                        notices.extend(more);
                        failures.extend(failed.map(|event| (number, now, event)));
                    }
                }
            }
            let Some((number, now, event)) = failures.pop_front() else {
                return;
            };
            if let Some(index) = self.instances.position(number) {
                notices.extend(self.instances[index].handle(now, event, &self.wires));
            }
        }
    }

    /// Has the forwarder ask clients of a virtual router's addresses to come anew; and if another router has the addresses already, end
    /// what is left just before they go from here.
    fn part_from_clients(&self, number: u64, taken: bool) {
        let Some(index) = self.instances.position(number) else {
            return;
        };
        let instance = &self.instances[index];
        let addresses = || {
            let vips = instance.config.vips.iter();
            vips.map(|vip| vip.address).collect()
        };
        // Where the forwarder does not take it, clients find out by themselves.
        let _ = self.plane.order(ToForwarder::Part {
            addresses: addresses(),
        });
        // They may be gone by now: then nobody can be told.
        if taken && instance.is_holding() {
            let _ = self.plane.order(ToForwarder::Cut {
                addresses: addresses(),
                in_ms: CUT_AFTER_MS,
            });
        }
    }

    /// Lets the virtual routers at these positions go for good. Those whose group goes on without them end at once: a
    /// farewell would tell the peer that the group leaves.
    pub(super) fn dismiss(&mut self, now: Instant, positions: &[usize]) {
        let staying: Vec<usize> = positions
            .iter()
            .copied()
            .filter(|index| !self.instances[*index].departing)
            .collect();
        for index in &staying {
            self.instances[*index].departing = true;
            // With the last of the process all tables go at once.
            if self.leaving.is_none() {
                self.instances[*index].stop_steering(now);
            }
        }
        for index in staying {
            let stays = |number: &u64| {
                let position = self.instances.position(*number);
                position.is_some_and(|index| !self.instances[index].departing)
            };
            let goes_on = self.instances[index].router.mates().iter().any(stays);
            self.instances.touch_mates(index);
            let instance = &mut self.instances[index];
            let notices = if goes_on {
                instance.abandon(now, &self.wires)
            } else {
                instance.handle(now, Event::Shutdown, &self.wires)
            };
            self.on_notices(notices);
        }
    }

    /// Brings every virtual router into the group that its configuration names.
    pub(super) fn regroup(&mut self, now: Instant) {
        for index in 0..self.instances.len() {
            self.seat(now, index);
        }
    }

    /// Brings one virtual router into its group.
    pub(super) fn seat(&mut self, now: Instant, index: usize) {
        let instance = &self.instances[index];
        let wanted = instance.config.group.clone();
        let apart = instance.departing || !instance.started;
        if apart || instance.router.group() == wanted.as_deref() {
            return;
        }
        if instance.router.group().is_some() {
            self.instances.touch_mates(index);
            self.instances[index].router.leave_group(now);
        }
        let Some(group) = wanted else { return };
        let mate = self
            .instances
            .iter()
            .position(|other| !other.departing && other.router.group() == Some(&group));
        let notices = self.instances.join(now, index, &group, mate, &self.wires);
        self.on_notices(notices);
    }
}
