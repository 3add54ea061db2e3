//! What several states have in common: beginning to take part, ending it, other settings, and what must hold after every event.

use std::time::Instant;

use super::VirtualRouter;
use super::member::{MemberId, Out};
use super::phase::{Backup, Fault, Phase};
use crate::action::{Action, Reason, State, Transition};
use crate::settings::Settings;
use crate::types::{PeerKnowledge, Priority};

impl VirtualRouter {
    /// Begins to take part: Fault if something is at fault, a claim for the owner, else a full down interval.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        from: State,
        reason: Reason,
        out: &mut Out,
    ) -> Phase {
        if let Some(fault) = self.standing_fault() {
            self.moved(now, from, State::Fault, fault, out);
            return Phase::Fault(Fault { retry: None });
        }
        self.forget_intervals();
        self.moved(now, from, State::Backup, reason, out);
        if self.priority.is_owner() && self.held_back.is_none() {
            return self.claim(now, Reason::Owner, out);
        }
        Phase::Backup(Backup::until(now, now + self.down_interval()))
    }

    /// Begins to take part with addresses that are there already: asks the kernel for them again, so that they are held and renewed by us.
    /// The others wait for a router that announced a pause: one that cannot go on says so.
    pub(super) fn go_on(&mut self, now: Instant, out: &mut Out) -> Phase {
        if self.standing_fault().is_some() {
            self.send(Priority::RELEASE, out);
            out.push(Action::Release);
            return self.enter(now, State::Initialize, Reason::Startup, out);
        }
        self.forget_intervals();
        self.moved(now, State::Initialize, State::Backup, Reason::Startup, out);
        self.claim(now, Reason::Resumed, out)
    }

    /// A stop that needs no farewell.
    pub(super) fn shut_down(&mut self, now: Instant, from: State, out: &mut Out) -> Phase {
        self.release(out);
        self.moved(now, from, State::Initialize, Reason::Shutdown, out);
        self.stopped(out)
    }

    pub(super) fn stopped(&mut self, out: &mut Out) -> Phase {
        self.held_back = None;
        out.push(Action::Stopped);
        Phase::Initialize
    }

    pub(super) fn refuse_handover(&mut self, phase: Phase, out: &mut Out) -> Phase {
        out.push(Action::HandoverFailed(format!(
            "this node is not active, it is in state {}",
            phase.state()
        )));
        phase
    }

    /// Another virtual router by the wire: nothing heard so far counts. The caller has said farewell under the old one.
    pub(super) fn restart(&mut self, now: Instant, out: &mut Out) -> Phase {
        self.release(out);
        Phase::Backup(Backup::until(now, now + self.down_interval()))
    }

    /// Takes over settings; what follows from them alone follows.
    pub(super) fn adopt(&mut self, member: MemberId, settings: Settings) {
        let member = self.member_mut(member);
        let same = member.settings.same_election(&settings);
        member.adopt(settings);
        if !same {
            self.held_back = None;
        }
        self.weigh();
    }

    pub(super) fn moved(
        &mut self,
        now: Instant,
        from: State,
        to: State,
        reason: Reason,
        out: &mut Out,
    ) {
        let transition = Transition { from, to, reason };
        self.last_transition = Some((now, transition.clone()));
        out.push(Action::Transition(transition));
    }

    pub(super) fn release(&mut self, out: &mut Out) {
        if self.holds {
            self.holds = false;
            out.push(Action::Release);
        }
    }

    pub(super) fn is_pair(&self) -> bool {
        self.settings().peer == PeerKnowledge::Pair
    }

    pub(super) fn check_invariants(&self) {
        match &self.phase {
            Phase::Initialize | Phase::Fault(_) => {
                debug_assert!(!self.holds, "addresses held without taking part")
            }
            Phase::Backup(backup) => {
                debug_assert_eq!(
                    self.holds,
                    backup.release_at.is_some(),
                    "a backup holds only until its release"
                );
            }
            Phase::Claiming(_) | Phase::Active(_) | Phase::Leaving(_) => {
                debug_assert!(self.holds, "no addresses held")
            }
        }
        let waits = !matches!(self.phase, Phase::Initialize | Phase::Fault(_));
        debug_assert!(
            !waits || self.deadline().is_some(),
            "a state that waits has a deadline"
        );
        debug_assert!(
            !waits || self.standing_fault().is_none(),
            "takes part in spite of a fault"
        );
        debug_assert!(self.retries == 0 || self.phase != Phase::Initialize || !self.holds);
    }
}
