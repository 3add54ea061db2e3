//! Active: rows 9 to 13 of RFC 9568 §6.4.3, bounded replies, and what takes the role away.

use std::time::Instant;

use super::member::{Leg, MemberId, Out};
use super::peers::Heard;
use super::phase::{
    Active, Backup, CLAIM_LIMIT, CONFLICT_ANNOUNCE, LATE_INTERVALS, LINGER, Phase, REPLY_FLOOR,
    Round, SEND_FAILURES,
};
use super::{Member, VirtualRouter};
use crate::action::{Action, AlarmKind, AnnounceReason, Reason, State};
use crate::settings::Settings;
use crate::types::{Interval, Priority};

/// An Active time after which earlier failures no longer count.
const STABLE: std::time::Duration = std::time::Duration::from_secs(10);

impl VirtualRouter {
    /// The state after an advertisement has been sent at `now`.
    pub(super) fn begin_active(&self, now: Instant) -> Active {
        Active {
            since: now,
            rounds: self
                .members
                .iter()
                .map(|(id, member)| (*id, begin_round(member, now)))
                .collect(),
            claim_limit_at: None,
            announce_at: now,
        }
    }

    /// Announces a pause, or its end, at once and from here on.
    pub(super) fn active_pauses(
        &mut self,
        mut active: Active,
        now: Instant,
        (member, interval): (MemberId, Option<Interval>),
        out: &mut Out,
    ) -> Phase {
        self.member_mut(member).pause = interval;
        if let Some(round) = active.rounds.get_mut(&member) {
            self.advertise(member, round, now, out);
        }
        Phase::Active(active)
    }

    /// Row 10. The phase of the timer is kept, so that lateness does not add up.
    pub(super) fn active_timer(
        &mut self,
        mut active: Active,
        now: Instant,
        out: &mut Out,
    ) -> Phase {
        if self.is_confirmed() {
            self.claim_answered(&mut active, now, out);
        }
        if active.claim_limit_at.is_some_and(|at| at <= now) {
            let cause = Reason::ClaimFailed("no answer within 5 s".to_owned());
            return self.fail(now, State::Active, cause, out);
        }
        for (id, round) in &mut active.rounds {
            if round.advert_at <= now {
                let interval = self.members[id].own_interval();
                let next_at = round.advert_at + interval;
                self.advertise(*id, round, now, out);
                round.advert_at = if next_at > now {
                    next_at
                } else {
                    now + interval
                };
            }
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
        out: &mut Out,
    ) -> Phase {
        if !self.concerns(heard.leg) {
            return Phase::Active(active);
        }
        if heard.priority.is_release() {
            if self.reply(&mut active, now, heard.leg.member, out) {
                let interval = self.members[&heard.leg.member].own_interval();
                let round = active.rounds.get_mut(&heard.leg.member);
                round
                    .into_iter()
                    .for_each(|round| round.advert_at = now + interval);
            }
            return Phase::Active(active);
        }
        self.note_rival(&active, now, heard, out);
        if self.is_outranked_by(heard, now) {
            return self.yield_to(now, heard, out);
        }
        if self.reply(&mut active, now, heard.leg.member, out) && active.announce_at <= now {
            active.announce_at = now + CONFLICT_ANNOUNCE;
            out.push(Action::Announce(AnnounceReason::ConflictResolved));
        }
        Phase::Active(active)
    }

    /// Row 12. In a pair the addresses stay for connections in flight: the other holds them already.
    fn yield_to(&mut self, now: Instant, heard: Heard, out: &mut Out) -> Phase {
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
        self.forget_intervals();
        self.backup_obeys(backup, now, heard)
    }

    /// Higher priority, or the same and the higher source address in the family that leads.
    fn is_outranked_by(&self, heard: Heard, now: Instant) -> bool {
        if heard.priority != self.priority {
            return heard.priority > self.priority;
        }
        let ours = *self.members[&heard.leg.member].sources.of(heard.leg.family);
        Some(heard.leg) == self.lead_leg(now) && ours.is_some_and(|ours| heard.source > ours)
    }

    /// Where routers of equal priority compare addresses: the first member by name and its IPv4, unless the peer is
    /// known to be silent there. Both have to compare in the same place, or both yield, or neither.
    pub(super) fn lead_leg(&self, now: Instant) -> Option<Leg> {
        let mut legs: Vec<Leg> = self.legs().filter(|&leg| self.can_speak(leg)).collect();
        legs.sort_by_key(|leg| (&self.members[&leg.member].settings.name, leg.family));
        let heard = legs.iter().find(|&&leg| !self.is_silent(leg, now));
        heard.or(legs.first()).copied()
    }

    /// Sends at once where it was heard, at most once in a tenth of the interval or 10 ms; returns whether it did.
    fn reply(
        &mut self,
        active: &mut Active,
        now: Instant,
        member: MemberId,
        out: &mut Out,
    ) -> bool {
        let interval = self.members[&member].own_interval();
        let Some(round) = active
            .rounds
            .get_mut(&member)
            .filter(|round| round.reply_at <= now)
        else {
            return false;
        };
        round.reply_at = now + (interval / 10).max(REPLY_FLOOR);
        self.advertise(member, round, now, out);
        true
    }

    fn advertise(&self, member: MemberId, round: &mut Round, now: Instant, out: &mut Out) {
        self.send_for(member, self.priority, out);
        round.late_at = now + self.members[&member].own_interval() * LATE_INTERVALS;
        if !round.failed {
            round.failed_in_a_row = 0;
        }
        round.failed = false;
    }

    pub(super) fn active_send_failed(
        &mut self,
        mut active: Active,
        now: Instant,
        member: MemberId,
        cause: String,
        out: &mut Out,
    ) -> Phase {
        let Some(round) = active.rounds.get_mut(&member).filter(|round| !round.failed) else {
            return Phase::Active(active);
        };
        round.failed = true;
        round.failed_in_a_row += 1;
        if round.failed_in_a_row >= SEND_FAILURES {
            return self.fail(now, State::Active, Reason::SendFailed(cause), out);
        }
        let words = format!("advertisement could not be sent: {cause}");
        self.raise(now, member, AlarmKind::SendFailed, words, out);
        Phase::Active(active)
    }

    /// The answer to a claim that a reload made.
    pub(super) fn active_claimed(
        &mut self,
        mut active: Active,
        now: Instant,
        member: MemberId,
        out: &mut Out,
    ) -> Phase {
        if self.confirm(member) {
            self.claim_answered(&mut active, now, out);
        }
        Phase::Active(active)
    }

    /// Every address of a claim that a reload made is there. A member that has joined speaks from here on.
    fn claim_answered(&mut self, active: &mut Active, now: Instant, out: &mut Out) {
        if active.claim_limit_at.take().is_none() {
            return;
        }
        for (id, member) in &self.members {
            if !active.rounds.contains_key(id) {
                self.send_for(*id, self.priority, out);
                active.rounds.insert(*id, begin_round(member, now));
            }
        }
        out.push(Action::Announce(AnnounceReason::VipsChanged));
    }

    pub(super) fn active_claim_failed(
        &mut self,
        active: Active,
        now: Instant,
        cause: String,
        out: &mut Out,
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
        (member, settings): (MemberId, Settings),
        out: &mut Out,
    ) -> Phase {
        let old = &self.members[&member].settings;
        let same_vips = old.same_vips(&settings);
        if !old.same_election(&settings) {
            self.send(Priority::RELEASE, out);
            out.push(Action::StopAnnouncing);
            self.adopt(member, settings);
            self.release(out);
            self.moved(now, State::Active, State::Backup, Reason::Reconfigured, out);
            let phase = self.restart(now, out);
            return self.unless_fault(phase, now, out);
        }
        self.adopt(member, settings);
        let soonest = now + self.members[&member].own_interval();
        if let Some(round) = active.rounds.get_mut(&member) {
            round.advert_at = round.advert_at.min(soonest);
        }
        if !same_vips {
            active.claim_limit_at = Some(now + CLAIM_LIMIT);
            self.ask_for_addresses(out);
        }
        self.unless_fault(Phase::Active(active), now, out)
    }

    /// A lower router in the first interval is one that has not heard of us yet: no alarm. A higher one is no alarm
    /// either, it takes over.
    fn note_rival(&mut self, active: &Active, now: Instant, heard: Heard, out: &mut Out) {
        let Heard {
            leg,
            source,
            priority,
            ..
        } = heard;
        let interval = self.members[&leg.member].own_interval();
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
        } else if priority < self.priority && now >= active.since + interval {
            let ours = self.priority;
            (
                AlarmKind::TwoActive,
                format!("{source} is active with priority {priority}, ours is {ours}"),
            )
        } else {
            return;
        };
        self.raise(now, leg.member, kind, words, out);
    }
}

fn begin_round(member: &Member, now: Instant) -> Box<Round> {
    Box::new(Round {
        advert_at: now + member.own_interval(),
        late_at: now + member.own_interval() * LATE_INTERVALS,
        reply_at: now,
        failed_in_a_row: 0,
        failed: false,
    })
}
