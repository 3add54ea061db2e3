//! Claiming: the kernel has been asked for the addresses, and nothing is said until it has confirmed them.

use std::time::Instant;

use super::VirtualRouter;
use super::member::{MemberId, Out};
use super::peers::Heard;
use super::phase::{Backup, Claiming, Phase};
use crate::action::{Action, AnnounceReason, Reason, State};
use crate::settings::Settings;
use crate::types::{Preempt, Priority};

impl VirtualRouter {
    /// The addresses of one member are there. Once all are, say so, first to the routers, then to the neighbours.
    pub(super) fn claimed(
        &mut self,
        claiming: Claiming,
        now: Instant,
        member: MemberId,
        out: &mut Out,
    ) -> Phase {
        if self.confirm(member) {
            self.take_over(claiming, now, out)
        } else {
            Phase::Claiming(claiming)
        }
    }

    fn take_over(&mut self, claiming: Claiming, now: Instant, out: &mut Out) -> Phase {
        self.forget_intervals();
        self.held_back = None;
        for member in self.members.values_mut() {
            member.pause = None;
            member.peers.forget_pauses();
        }
        let active = self.begin_active(now);
        self.send(self.priority, out);
        out.push(Action::Announce(AnnounceReason::TookOver));
        self.moved(now, State::Backup, State::Active, claiming.cause, out);
        Phase::Active(active)
    }

    pub(super) fn claiming_timer(
        &mut self,
        mut claiming: Claiming,
        now: Instant,
        out: &mut Out,
    ) -> Phase {
        if self.is_confirmed() {
            return self.take_over(claiming, now, out);
        }
        if claiming.give_up_at <= now {
            self.call_off(&claiming, out);
            let cause = Reason::ClaimFailed("no answer within 5 s".to_owned());
            return self.fail(now, State::Backup, cause, out);
        }
        claiming.seen_at = now;
        Phase::Claiming(claiming)
    }

    /// A claim comes to nothing. The others wait for a router that announced a pause, and are told not to.
    pub(super) fn call_off(&self, claiming: &Claiming, out: &mut Out) {
        if claiming.cause == Reason::Resumed {
            self.send(Priority::RELEASE, out);
        }
    }

    /// Rows 6 to 8 as for any Backup: a router that has to be obeyed ends the claim.
    pub(super) fn claiming_hears(
        &mut self,
        claiming: Claiming,
        now: Instant,
        heard: Heard,
        out: &mut Out,
    ) -> Phase {
        let preempting = matches!(claiming.cause, Reason::Preempting { .. })
            || self.preempt() == Preempt::Immediately;
        let lower = heard.priority < self.priority;
        let obeys = heard.priority != Priority::RELEASE && !(lower && preempting);
        if !obeys || !self.concerns(heard.leg) {
            return Phase::Claiming(claiming);
        }
        self.release(out);
        let backup = Backup::until(now, now + self.down_interval());
        self.backup_hears(backup, now, heard, out)
    }

    pub(super) fn claiming_reconfigure(
        &mut self,
        mut claiming: Claiming,
        now: Instant,
        (member, settings): (MemberId, Settings),
        out: &mut Out,
    ) -> Phase {
        let old = &self.members[&member].settings;
        let same_election = old.same_election(&settings);
        let same_vips = old.same_vips(&settings);
        if !same_election {
            self.call_off(&claiming, out);
        }
        self.adopt(member, settings);
        // With a shorter interval the time since the last run would count for more.
        claiming.seen_at = now;
        let phase = if !same_election {
            self.restart(now, out)
        } else if !same_vips {
            self.claim(now, claiming.cause, out)
        } else {
            Phase::Claiming(claiming)
        };
        self.unless_fault(phase, now, out)
    }
}
