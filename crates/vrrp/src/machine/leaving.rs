//! Leaving: said farewell, and serves on until the peer is heard. Make before break.

use std::time::Instant;

use super::VirtualRouter;
use super::member::{MemberId, Out};
use super::peers::Heard;
use super::phase::{
    Active, Backup, CLAIM_LIMIT, FAREWELL_REPEAT, HANDOVER_GRACE, LINGER, Leaving, Phase, Purpose,
    Taken,
};
use crate::action::{Action, AnnounceReason, Reason, State};
use crate::settings::Settings;
use crate::types::Priority;

impl VirtualRouter {
    /// Row 9, without its haste.
    pub(super) fn leave(
        &mut self,
        active: &Active,
        now: Instant,
        purpose: Purpose,
        out: &mut Out,
    ) -> Phase {
        self.send(Priority::RELEASE, out);
        let patience = match purpose {
            Purpose::Shutdown => self.slowest_interval(),
            Purpose::Handover => self.slowest_interval() * 2 + HANDOVER_GRACE,
        };
        Phase::Leaving(Leaving {
            purpose,
            active_since: active.since,
            repeat_at: Some(now + FAREWELL_REPEAT),
            give_up_at: now + patience,
            taken: None,
            seen_at: now,
            vips_changed: active.claim_limit_at.is_some(),
            spoke: active.rounds.keys().copied().collect(),
        })
    }

    pub(super) fn leaving_timer(
        &mut self,
        mut leaving: Leaving,
        now: Instant,
        out: &mut Out,
    ) -> Phase {
        leaving.seen_at = now;
        if let Some(taken) = &leaving.taken {
            return if taken.release_at <= now {
                self.left(leaving, now, out)
            } else {
                Phase::Leaving(leaving)
            };
        }
        if leaving.give_up_at <= now {
            return match leaving.purpose {
                Purpose::Shutdown => self.left(leaving, now, out),
                Purpose::Handover => self.resume(leaving, now, "no router took over", out),
            };
        }
        if leaving.repeat_at.is_some_and(|at| at <= now) {
            leaving.repeat_at = None;
            self.send(Priority::RELEASE, out);
        }
        Phase::Leaving(leaving)
    }

    /// Any advertisement that is no farewell tells that its sender has the addresses.
    pub(super) fn leaving_hears(
        &mut self,
        mut leaving: Leaving,
        now: Instant,
        heard: Heard,
        out: &mut Out,
    ) -> Phase {
        leaving.seen_at = now;
        if !self.concerns(heard.leg) {
            return Phase::Leaving(leaving);
        }
        if heard.priority.is_release() {
            return match leaving.purpose {
                Purpose::Shutdown => Phase::Leaving(leaving),
                Purpose::Handover => {
                    self.resume(leaving, now, "the other router leaves as well", out)
                }
            };
        }
        let (release_at, backup) = match leaving.taken.take() {
            Some(taken) => (taken.release_at, taken.next),
            None => {
                leaving.repeat_at = None;
                out.push(Action::StopAnnouncing);
                (now + LINGER, Backup::until(now, now))
            }
        };
        let mut next = backup;
        next.hear(heard.leg, now + self.learn(heard));
        leaving.taken = Some(Taken {
            by: heard.source,
            release_at,
            next,
        });
        Phase::Leaving(leaving)
    }

    /// Takes back that the addresses were handed over on request: who preempts whom is as configured again.
    pub fn forget_handover(&mut self) {
        self.held_back = None;
    }

    /// A stop has precedence over a handover.
    pub(super) fn leaving_shutdown(
        &mut self,
        mut leaving: Leaving,
        now: Instant,
        out: &mut Out,
    ) -> Phase {
        if leaving.purpose == Purpose::Handover {
            leaving.purpose = Purpose::Shutdown;
            leaving.give_up_at = leaving.give_up_at.min(now + self.slowest_interval());
            if leaving.taken.is_some() {
                out.push(Action::HandedOver);
            } else {
                out.push(Action::HandoverFailed("this node is stopping".to_owned()));
            }
        }
        Phase::Leaving(leaving)
    }

    pub(super) fn leaving_handover(&mut self, leaving: Leaving, out: &mut Out) -> Phase {
        match leaving.purpose {
            // Under way: its result answers both requests.
            Purpose::Handover => {}
            Purpose::Shutdown => {
                out.push(Action::HandoverFailed("this node is stopping".to_owned()))
            }
        }
        Phase::Leaving(leaving)
    }

    pub(super) fn leaving_reconfigure(
        &mut self,
        mut leaving: Leaving,
        now: Instant,
        (member, settings): (MemberId, Settings),
        out: &mut Out,
    ) -> Phase {
        let old = &self.members[&member].settings;
        let same_vips = old.same_vips(&settings);
        if !old.same_election(&settings) {
            if leaving.purpose == Purpose::Shutdown {
                self.adopt(member, settings);
                return self.left(leaving, now, out);
            }
            self.end_handover(&leaving, "virtual router id or version changed", out);
            self.stop_announcing(&leaving, out);
            self.adopt(member, settings);
            self.release(out);
            self.moved(now, State::Active, State::Backup, Reason::Reconfigured, out);
            let phase = self.restart(now, out);
            return self.unless_fault(phase, now, out);
        }
        // With a shorter interval the time since the last run would count for more.
        leaving.seen_at = now;
        leaving.vips_changed |= !same_vips;
        self.adopt(member, settings);
        self.unless_fault(Phase::Leaving(leaving), now, out)
    }

    /// A fault gives no grace. The farewell is said again if its repetition is still due.
    pub(super) fn leaving_fault(
        &mut self,
        leaving: &Leaving,
        now: Instant,
        failure: Option<Reason>,
        out: &mut Out,
    ) -> Phase {
        if leaving.repeat_at.is_some() {
            self.send(Priority::RELEASE, out);
        }
        self.stop_announcing(leaving, out);
        self.release(out);
        if leaving.purpose == Purpose::Shutdown {
            self.moved(now, State::Active, State::Initialize, Reason::Shutdown, out);
            return self.stopped(out);
        }
        let phase = self.enter_fault(now, State::Active, failure, out);
        self.end_handover(leaving, "a fault came in between", out);
        phase
    }

    /// The process was away: what happened meanwhile is not known, so nothing may be resumed.
    pub(super) fn leaving_late(&mut self, leaving: Leaving, now: Instant, out: &mut Out) -> Phase {
        if leaving.purpose == Purpose::Shutdown || leaving.taken.is_some() {
            return self.left(leaving, now, out);
        }
        let away = now.saturating_duration_since(leaving.seen_at);
        let phase = self.step_back(now, State::Active, away, out);
        out.push(Action::HandoverFailed(format!(
            "this process was away for {} ms",
            away.as_millis()
        )));
        phase
    }

    /// The end of leaving: the addresses go.
    fn left(&mut self, leaving: Leaving, now: Instant, out: &mut Out) -> Phase {
        self.stop_announcing(&leaving, out);
        self.release(out);
        match (leaving.purpose, leaving.taken) {
            (Purpose::Shutdown, _) => {
                self.moved(now, State::Active, State::Initialize, Reason::Shutdown, out);
                self.stopped(out)
            }
            (Purpose::Handover, Some(taken)) => {
                self.held_back = Some(taken.by);
                self.moved(
                    now,
                    State::Active,
                    State::Backup,
                    Reason::HandedOver(Some(taken.by)),
                    out,
                );
                out.push(Action::HandedOver);
                Phase::Backup(taken.next)
            }
            (Purpose::Handover, None) => {
                self.step_back(now, State::Active, self.quickest_interval(), out)
            }
        }
    }

    /// Nobody took the addresses: Active again. They never left, so neighbours are told only if another told them.
    fn resume(&mut self, leaving: Leaving, now: Instant, why: &str, out: &mut Out) -> Phase {
        self.forget_intervals();
        let mut active = self.begin_active(now);
        active.since = leaving.active_since;
        active.rounds.retain(|id, _| leaving.spoke.contains(id));
        for id in active.rounds.keys() {
            self.send_for(*id, self.priority, out);
        }
        if leaving.taken.is_some() {
            active.announce_at = now + super::phase::CONFLICT_ANNOUNCE;
            out.push(Action::Announce(AnnounceReason::ConflictResolved));
        }
        if leaving.vips_changed {
            active.claim_limit_at = Some(now + CLAIM_LIMIT);
            self.ask_for_addresses(out);
        }
        out.push(Action::HandoverFailed(why.to_owned()));
        Phase::Active(active)
    }

    /// Answers a handover that ends otherwise than by itself.
    fn end_handover(&mut self, leaving: &Leaving, why: &str, out: &mut Out) {
        match leaving.taken {
            Some(_) => out.push(Action::HandedOver),
            None => out.push(Action::HandoverFailed(why.to_owned())),
        }
    }

    /// Announcing ended already if the peer was heard.
    fn stop_announcing(&self, leaving: &Leaving, out: &mut Out) {
        if leaving.taken.is_none() {
            out.push(Action::StopAnnouncing);
        }
    }
}
