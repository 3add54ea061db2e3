//! What becomes of orders: they are kept, told to the forwarder, followed, answered, and end.

use std::time::Instant;

use control::internal::ToForwarder;

use super::{CLOCK_INTERVAL, Kept, Ordered, Outcome, TELL_INTERVAL, Taken, shown, today_to};
use crate::director::{Director, timestamp, tracking};

impl Director {
    /// There is another state of orders to keep and to tell.
    pub(super) fn keep_overrides(&mut self) {
        let overrides = &mut self.overrides;
        overrides.number += 1;
        overrides.disk_error = None;
        // An order with an end may have come or gone.
        overrides.clock_at = Some(Instant::now());
        overrides
            .store
            .keep(overrides.number, overrides.book.to_text());
    }

    /// Tells a forwarder that has just begun, or that a new director adopts, what stands ordered.
    pub(in crate::director) fn introduce_overrides(&mut self, now: Instant) {
        self.overrides.told = 0;
        self.overrides.followed = 0;
        self.tell_overrides(now);
    }

    pub(super) fn tell_overrides(&mut self, now: Instant) {
        let overrides = &mut self.overrides;
        overrides.tell_at = None;
        if self.plane.pid().is_none() || overrides.told >= overrides.number {
            return;
        }
        let message = overrides.book.message(overrides.number, timestamp());
        if self.plane.order(ToForwarder::Overrides(message)) == Taken::Queued {
            overrides.told = overrides.number;
        } else {
            overrides.tell_at = Some(now + TELL_INTERVAL);
        }
    }

    /// The forwarder follows a change, or cannot.
    pub(in crate::director) fn on_overridden(
        &mut self,
        now: Instant,
        number: u64,
        error: Option<String>,
    ) {
        match error {
            None => {
                self.overrides.followed = self.overrides.followed.max(number);
                self.overrides.plane_error = None;
            }
            Some(error) => self.overrides.plane_error = Some((number, error)),
        }
        self.answer_orders(now);
    }

    /// The disk has taken a change, or not.
    pub(in crate::director) fn on_kept(&mut self, now: Instant, kept: Kept) {
        match kept.error {
            None => {
                self.overrides.kept = self.overrides.kept.max(kept.number);
                self.overrides.disk_error = None;
            }
            Some(error) => self.overrides.disk_error = Some(error),
        }
        self.answer_orders(now);
    }

    /// Does what is due: ends orders whose time is over, tells, and answers.
    pub(in crate::director) fn run_due_overrides(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.overrides.tell_at) {
            self.tell_overrides(now);
        }
        if is_due(self.overrides.clock_at) {
            self.end_orders(now);
        }
        let give_up = self.overrides.waiting.iter();
        if give_up.into_iter().any(|waiting| waiting.give_up_at <= now) {
            self.answer_orders(now);
        }
    }

    /// Follows an order for the node itself that an earlier run was given.
    pub(in crate::director) fn resume_maintenance(&mut self, now: Instant) {
        // Nothing is Active yet that could be handed over.
        drop(self.follow_node(now));
    }

    /// Follows an order for the node itself, if it is another one now.
    pub(super) fn follow_node(&mut self, now: Instant) -> Option<Outcome> {
        let words = self.maintenance_words();
        if words == self.overrides.node {
            return None;
        }
        self.overrides.node = words;
        self.follow_maintenance(now)
    }

    /// Ends orders whose time is over, by the clock on the wall.
    pub(super) fn end_orders(&mut self, now: Instant) {
        let today = timestamp();
        let ended = self.overrides.book.take_ended(today);
        for entry in &ended {
            let words = format!("its time is over; it was {}", shown::ordered(entry));
            self.note_order(entry, &words);
        }
        if !ended.is_empty() {
            self.keep_overrides();
            self.tell_overrides(now);
            drop(self.follow_node(now));
        }
        let left = self
            .overrides
            .book
            .ends_at()
            .map(|until| today_to(today, until));
        self.overrides.clock_at = left.map(|left| now + left.min(CLOCK_INTERVAL));
    }

    /// Answers whoever waited for what has now come, or has waited for long enough.
    pub(super) fn answer_orders(&mut self, now: Instant) {
        let nobody = self.plane.pid().is_none();
        let needs_none = self.plane.view(now) == tracking::DataPlane::Off;
        let overrides = &mut self.overrides;
        for waiting in std::mem::take(&mut overrides.waiting) {
            let refused = overrides.plane_error.as_ref();
            let refused = refused.filter(|(number, _)| *number >= waiting.number);
            let applied = overrides.followed >= waiting.number;
            let kept = overrides.is_kept(waiting.number);
            let plane_done = applied || nobody || refused.is_some();
            let disk_done = kept || overrides.disk_error.is_some();
            if !(plane_done && disk_done) && now < waiting.give_up_at {
                overrides.waiting.push(waiting);
                continue;
            }
            let mut result = waiting.result;
            (result.kept, result.applied) = (kept, applied);
            if !kept {
                let why = overrides.disk_error.as_deref();
                let why = why.unwrap_or("the disk has not answered yet");
                result
                    .notes
                    .push(format!("not on disk, a restart would lose it: {why}"));
            }
            if !applied && !needs_none {
                result.notes.push(match refused {
                    Some((_, error)) => format!("the forwarder does not follow it: {error}"),
                    None if nobody => "no forwarder runs; the next one follows it".to_owned(),
                    None => "the forwarder has not confirmed it yet".to_owned(),
                });
            }
            // Whoever asked may have gone.
            let handover = waiting.handover;
            drop(waiting.answer.send(Ok(Ordered { result, handover })));
        }
    }
}
