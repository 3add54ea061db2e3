//! Active: rows 9 to 13 of RFC 9568 §6.4.3, bounded replies, and what takes the role away.

use std::time::Instant;

use super::VirtualRouter;
use super::peers::Heard;
use super::phase::{
    Active, Backup, CLAIM_LIMIT, CONFLICT_ANNOUNCE, LATE_INTERVALS, LINGER, Phase, REPLY_FLOOR,
    SEND_FAILURES,
};
use crate::action::{Action, Alarm, AlarmKind, AnnounceReason, Reason, State};
use crate::settings::Settings;
use crate::types::{Family, Priority};

/// An Active time after which earlier failures no longer count.
const STABLE: std::time::Duration = std::time::Duration::from_secs(10);

impl VirtualRouter {
    /// The state after an advertisement has been sent at `now`.
    pub(super) fn begin_active(&self, now: Instant) -> Active {
        Active {
            since: now,
            advert_at: now + self.own_interval(),
            late_at: now + self.own_interval() * LATE_INTERVALS,
            claim_limit_at: None,
            reply_at: now,
            announce_at: now,
            failed_rounds: 0,
            round_failed: false,
        }
    }

    /// Row 10. The phase of the timer is kept, so that lateness does not add up.
    pub(super) fn active_timer(
        &mut self,
        mut active: Active,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Phase {
        if active.claim_limit_at.is_some_and(|at| at <= now) {
            let cause = Reason::ClaimFailed("no answer within 5 s".to_owned());
            return self.fail(now, State::Active, cause, out);
        }
        if active.advert_at <= now {
            let next_at = active.advert_at + self.own_interval();
            self.advertise(&mut active, now, out);
            active.advert_at = if next_at > now {
                next_at
            } else {
                now + self.own_interval()
            };
        }
        if now.saturating_duration_since(active.since) >= STABLE {
            self.retries = 0;
        }
        Phase::Active(active)
    }

    /// Rows 11, 12 and 13.
    pub(super) fn active_hears(
        &mut self,
        mut active: Active,
        now: Instant,
        heard: Heard,
        out: &mut Vec<Action>,
    ) -> Phase {
        if !self.settings.has_family(heard.family) {
            return Phase::Active(active);
        }
        if heard.priority.is_release() {
            if self.reply(&mut active, now, out) {
                active.advert_at = now + self.own_interval();
            }
            return Phase::Active(active);
        }
        self.note_rival(&active, now, heard, out);
        if self.is_outranked_by(heard, now) {
            return self.yield_to(now, heard, out);
        }
        if self.reply(&mut active, now, out) && active.announce_at <= now {
            active.announce_at = now + CONFLICT_ANNOUNCE;
            out.push(Action::Announce(AnnounceReason::ConflictResolved));
        }
        Phase::Active(active)
    }

    /// Row 12. In a pair the addresses stay for connections in flight: the other holds them already.
    fn yield_to(&mut self, now: Instant, heard: Heard, out: &mut Vec<Action>) -> Phase {
        out.push(Action::StopAnnouncing);
        let mut backup = Backup::until(now, now);
        if self.is_pair() {
            backup.release_at = Some(now + LINGER);
        } else {
            self.release(out);
        }
        let reason = Reason::Outranked {
            peer: heard.source,
            theirs: heard.priority,
            ours: self.priority,
        };
        self.moved(now, State::Active, State::Backup, reason, out);
        self.peers.forget_intervals();
        self.backup_obeys(backup, now, heard)
    }

    /// Higher priority, or the same and the higher source address in the family that leads.
    fn is_outranked_by(&self, heard: Heard, now: Instant) -> bool {
        if heard.priority != self.priority {
            return heard.priority > self.priority;
        }
        let ours = *self.sources.of(heard.family);
        heard.family == self.lead_family(now) && ours.is_some_and(|ours| heard.source > ours)
    }

    /// IPv4 if both routers speak it: both have to compare in the same family, or both yield, or neither.
    pub(super) fn lead_family(&self, now: Instant) -> Family {
        let speaks = |family| self.speaks(family) && self.sources.of(family).is_some();
        if !speaks(Family::V4) || (speaks(Family::V6) && self.peers.is_silent_in(Family::V4, now)) {
            Family::V6
        } else {
            Family::V4
        }
    }

    /// Sends at once, at most once in a tenth of the interval or 10 ms; returns whether it did.
    fn reply(&mut self, active: &mut Active, now: Instant, out: &mut Vec<Action>) -> bool {
        if now < active.reply_at {
            return false;
        }
        active.reply_at = now + (self.own_interval() / 10).max(REPLY_FLOOR);
        self.advertise(active, now, out);
        true
    }

    fn advertise(&mut self, active: &mut Active, now: Instant, out: &mut Vec<Action>) {
        self.send(self.priority, out);
        active.late_at = now + self.own_interval() * LATE_INTERVALS;
        if !active.round_failed {
            active.failed_rounds = 0;
        }
        active.round_failed = false;
    }

    pub(super) fn active_send_failed(
        &mut self,
        mut active: Active,
        now: Instant,
        cause: String,
        out: &mut Vec<Action>,
    ) -> Phase {
        if active.round_failed {
            return Phase::Active(active);
        }
        active.round_failed = true;
        active.failed_rounds += 1;
        if active.failed_rounds >= SEND_FAILURES {
            return self.fail(now, State::Active, Reason::SendFailed(cause), out);
        }
        let words = format!("advertisement could not be sent: {cause}");
        self.alarms.raise(
            now,
            Alarm {
                kind: AlarmKind::SendFailed,
                words,
            },
            out,
        );
        Phase::Active(active)
    }

    /// The answer to a claim that a reload made.
    pub(super) fn active_claimed(&mut self, mut active: Active, out: &mut Vec<Action>) -> Phase {
        if active.claim_limit_at.take().is_some() {
            out.push(Action::Announce(AnnounceReason::VipsChanged));
        }
        Phase::Active(active)
    }

    pub(super) fn active_claim_failed(
        &mut self,
        active: Active,
        now: Instant,
        cause: String,
        out: &mut Vec<Action>,
    ) -> Phase {
        if active.claim_limit_at.is_none() {
            return Phase::Active(active);
        }
        self.fail(now, State::Active, Reason::ClaimFailed(cause), out)
    }

    pub(super) fn active_reconfigure(
        &mut self,
        mut active: Active,
        now: Instant,
        settings: Settings,
        out: &mut Vec<Action>,
    ) -> Phase {
        if !self.settings.same_election(&settings) {
            self.send(Priority::RELEASE, out);
            out.push(Action::StopAnnouncing);
            self.adopt(settings);
            self.release(out);
            self.moved(now, State::Active, State::Backup, Reason::Reconfigured, out);
            let phase = self.restart(now, out);
            return self.unless_fault(phase, now, out);
        }
        let same_vips = self.settings.same_vips(&settings);
        self.adopt(settings);
        active.advert_at = active.advert_at.min(now + self.own_interval());
        if !same_vips {
            active.claim_limit_at = Some(now + CLAIM_LIMIT);
            out.push(Action::Claim);
        }
        self.unless_fault(Phase::Active(active), now, out)
    }

    /// A lower router in the first interval is one that has not heard of us yet: no alarm. A higher one is no alarm
    /// either, it takes over.
    fn note_rival(&mut self, active: &Active, now: Instant, heard: Heard, out: &mut Vec<Action>) {
        let Heard {
            source, priority, ..
        } = heard;
        let (kind, words) = if priority == self.priority && priority.is_owner() {
            (
                AlarmKind::TwoOwners,
                format!("{source} claims to own the addresses as well"),
            )
        } else if priority == self.priority {
            (
                AlarmKind::EqualPriorities,
                format!("{source} has the same priority {priority}"),
            )
        } else if priority < self.priority && now >= active.since + self.own_interval() {
            let ours = self.priority;
            (
                AlarmKind::TwoActive,
                format!("{source} is active with priority {priority}, ours is {ours}"),
            )
        } else {
            return;
        };
        self.alarms.raise(now, Alarm { kind, words }, out);
    }
}
