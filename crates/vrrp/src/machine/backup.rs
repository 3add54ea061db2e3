//! Backup: rows 4 to 8 of RFC 9568 §6.4.2, pair timing, delayed preemption, listening after having been late.

use std::time::{Duration, Instant};

use std::collections::BTreeMap;

use super::VirtualRouter;
use super::member::{Leg, MemberId, Out};
use super::peers::Heard;
use super::phase::{Backup, CLAIM_LIMIT, Claiming, LATE_INTERVALS, Phase, Rival};
use crate::action::{AlarmKind, Reason};
use crate::settings::Settings;
use crate::types::{Preempt, Priority};

impl VirtualRouter {
    /// Row 5, and the other timers of a Backup.
    pub(super) fn backup_timer(
        &mut self,
        mut backup: Backup,
        now: Instant,
        out: &mut Out,
    ) -> Phase {
        if backup.release_at.is_some_and(|at| at <= now) {
            backup.release_at = None;
            self.release(out);
        }
        let preempt_at = backup
            .preempt_at(self.preempt_delay())
            .filter(|&at| at <= now);
        let due_at = match (preempt_at, backup.down_at <= now) {
            (Some(at), true) => at.min(backup.down_at),
            (Some(at), false) => at,
            (None, true) => backup.down_at,
            (None, false) => return Phase::Backup(backup),
        };
        let overdue = now.saturating_duration_since(due_at);
        let limit = self.quickest_interval() * if backup.listening { LATE_INTERVALS } else { 1 };
        if overdue > limit {
            return self.listen(backup, now, out);
        }
        let cause = self.cause_of_claim(&backup, now);
        self.claim(now, cause, out)
    }

    /// Rows 6, 7 and 8.
    pub(super) fn backup_hears(
        &mut self,
        mut backup: Backup,
        now: Instant,
        heard: Heard,
        out: &mut Out,
    ) -> Phase {
        if !self.concerns(heard.leg) {
            return Phase::Backup(backup);
        }
        if heard.priority.is_release() {
            return self.backup_hears_farewell(backup, now, heard, out);
        }
        if heard.priority >= self.priority {
            backup.eligible_at = None;
            backup.rival = None;
            return self.backup_obeys(backup, now, heard);
        }
        backup.rival = Some(Rival {
            address: heard.source,
            priority: heard.priority,
        });
        // It has taken the place of whoever left.
        backup.left = None;
        match self.preempt() {
            Preempt::Immediately => {
                if backup.listening {
                    backup.listening = false;
                    backup.down_at = backup.down_at.max(backup.since + self.down_interval());
                }
                Phase::Backup(backup)
            }
            Preempt::After(_) => {
                backup.eligible_at.get_or_insert(now);
                self.backup_obeys(backup, now, heard)
            }
            Preempt::Never => self.backup_obeys(backup, now, heard),
        }
    }

    /// Row 7: the sender is the Active router.
    pub(super) fn backup_obeys(&mut self, mut backup: Backup, now: Instant, heard: Heard) -> Phase {
        backup.listening = false;
        backup.left = None;
        backup.hear(heard.leg, now + self.learn(heard));
        Phase::Backup(backup)
    }

    /// Row 6. With one backup there is nobody to order by Skew_Time.
    fn backup_hears_farewell(
        &mut self,
        mut backup: Backup,
        now: Instant,
        heard: Heard,
        out: &mut Out,
    ) -> Phase {
        self.held_back = None;
        if self.is_pair() {
            return self.claim(now, Reason::PeerLeft(heard.source), out);
        }
        backup.left = Some(heard.source);
        backup.eligible_at = None;
        backup.rival = None;
        backup.listening = false;
        backup.legs_down_at.clear();
        let skew = self.members[&heard.leg.member].skew_time(self.priority);
        backup.down_at = backup.down_at.min(now + skew);
        Phase::Backup(backup)
    }

    /// The timer keeps what has run of it; only the difference of the two lengths is applied.
    pub(super) fn backup_priority(
        &mut self,
        backup: Backup,
        member: MemberId,
        priority: Priority,
    ) -> Phase {
        let before = self.lengths();
        self.set_priority(member, priority);
        Phase::Backup(self.shifted(backup, before))
    }

    pub(super) fn backup_reconfigure(
        &mut self,
        backup: Backup,
        now: Instant,
        (member, settings): (MemberId, Settings),
        out: &mut Out,
    ) -> Phase {
        if !self.members[&member].settings.same_election(&settings) {
            self.adopt(member, settings);
            let phase = self.restart(now, out);
            return self.unless_fault(phase, now, out);
        }
        let before = self.lengths();
        self.adopt(member, settings);
        let backup = self.shifted(backup, before);
        self.unless_fault(Phase::Backup(backup), now, out)
    }

    /// Asks the kernel for the addresses. What is still held from before stays.
    pub(super) fn claim(&mut self, now: Instant, cause: Reason, out: &mut Out) -> Phase {
        self.ask_for_addresses(out);
        Phase::Claiming(Claiming {
            cause,
            give_up_at: now + CLAIM_LIMIT,
            seen_at: now,
        })
    }

    /// Waits to hear whether another router is Active. What the process slept through may still be in the socket.
    fn listen(&mut self, mut backup: Backup, now: Instant, out: &mut Out) -> Phase {
        let overdue = now.saturating_duration_since(backup.down_at);
        let words = format!(
            "timers ran {} ms late, listening before taking over",
            overdue.as_millis()
        );
        let first = self.first();
        self.raise(now, first, AlarmKind::Late, words, out);
        backup.since = now;
        backup.listening = true;
        backup.legs_down_at.clear();
        backup.down_at = now + self.listen_time();
        Phase::Backup(backup)
    }

    fn cause_of_claim(&self, backup: &Backup, now: Instant) -> Reason {
        match (backup.left, backup.rival) {
            (Some(peer), _) => Reason::PeerLeft(peer),
            (None, Some(rival)) if self.rival_lives(rival, now) => Reason::Preempting {
                peer: rival.address,
                theirs: rival.priority,
                ours: self.priority,
            },
            (None, _) => {
                let heard = self
                    .last_heard()
                    .map_or(backup.since, |heard| heard.max(backup.since));
                Reason::Silence(now.saturating_duration_since(heard))
            }
        }
    }

    /// Whether the lower router has been heard as lately as an Active router has to be.
    fn rival_lives(&self, rival: Rival, now: Instant) -> bool {
        self.is_heard(rival.address, now)
    }

    /// Down intervals as they are: by leg, and the governing one.
    fn lengths(&self) -> Lengths {
        let of = |leg: Leg| self.members[&leg.member].down_interval_of(leg.family, self.priority);
        Lengths {
            legs: self.legs().map(|leg| (leg, of(leg))).collect(),
            governing: self.down_interval(),
        }
    }

    fn shifted(&self, mut backup: Backup, before: Lengths) -> Backup {
        if backup.listening {
            return backup;
        }
        let after = self.lengths();
        for (leg, at) in &mut backup.legs_down_at {
            if let (Some(before), Some(after)) = (before.legs.get(leg), after.legs.get(leg)) {
                *at = *at + *after - *before;
            }
        }
        let latest = backup.legs_down_at.values().max().copied();
        backup.down_at = latest.unwrap_or(backup.down_at + after.governing - before.governing);
        backup
    }
}

/// Down intervals before a change.
struct Lengths {
    legs: BTreeMap<Leg, Duration>,
    governing: Duration,
}
