//! Fault, the ways into it and out of it, and stepping back after having been late.

use std::time::{Duration, Instant};

use super::VirtualRouter;
use super::member::{Member, Out};
use super::phase::{Backup, Fault, LATE_INTERVALS, Phase};
use crate::action::{Action, FaultReason, Reason, State};
use crate::types::{Family, Priority};

/// First and longest wait before a failure of our own is tried again; it doubles in between.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

impl VirtualRouter {
    /// What stands against taking part, outside this machine.
    pub(super) fn standing_fault(&self) -> Option<Reason> {
        let mut members: Vec<&Member> = self.members.values().map(Box::as_ref).collect();
        members.sort_by_key(|member| &member.settings.name);
        let (fault, member) = members
            .iter()
            .find_map(|member| Some((fault_of(member)?, member)))?;
        if members.len() == 1 {
            return Some(fault);
        }
        let words = format!("{}: {fault}", member.settings.name);
        Some(Reason::Fault(FaultReason::new(words)))
    }

    /// Leaves the phase for Fault if something is at fault.
    pub(super) fn unless_fault(&mut self, phase: Phase, now: Instant, out: &mut Out) -> Phase {
        if self.standing_fault().is_none() {
            return phase;
        }
        match phase {
            Phase::Initialize | Phase::Fault(_) => phase,
            Phase::Claiming(claiming) => {
                self.call_off(&claiming, out);
                self.release(out);
                self.enter_fault(now, State::Backup, None, out)
            }
            Phase::Backup(_) => {
                self.release(out);
                self.enter_fault(now, State::Backup, None, out)
            }
            Phase::Active(_) => {
                self.drop_everything(out);
                self.enter_fault(now, State::Active, None, out)
            }
            Phase::Leaving(leaving) => self.leaving_fault(&leaving, now, None, out),
        }
    }

    /// A failure of our own: give up the addresses now, try again later.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        from: State,
        failure: Reason,
        out: &mut Out,
    ) -> Phase {
        match from {
            State::Active => self.drop_everything(out),
            State::Initialize | State::Backup | State::Fault => self.release(out),
        }
        self.enter_fault(now, from, Some(failure), out)
    }

    /// Fault, with the reason that stands or with a failure and its retry. The addresses are released already.
    pub(super) fn enter_fault(
        &mut self,
        now: Instant,
        from: State,
        failure: Option<Reason>,
        out: &mut Out,
    ) -> Phase {
        let retry = failure.map(|failure| {
            let wait = (RETRY_FIRST * 2_u32.pow(self.retries.min(5))).min(RETRY_LAST);
            self.retries = self.retries.saturating_add(1);
            (failure, now + wait)
        });
        let failure = retry.as_ref().map(|(failure, _)| failure.clone());
        let reason = failure
            .or_else(|| self.standing_fault())
            .unwrap_or(Reason::NoSource);
        self.moved(now, from, State::Fault, reason, out);
        Phase::Fault(Fault { retry })
    }

    pub(super) fn fault_timer(&mut self, mut fault: Fault, now: Instant, out: &mut Out) -> Phase {
        fault.retry = fault.retry.filter(|&(_, at)| now < at);
        self.recover(fault, now, out)
    }

    /// Has the timer end at once where nothing stands against taking part any more: what did concerned a member that is gone.
    pub(super) fn look_again(&mut self) {
        let stands = self.standing_fault().is_some();
        if let Phase::Fault(fault) = &mut self.phase
            && fault.retry.is_none()
            && !stands
        {
            let last = self.last_transition.as_ref();
            fault.retry = last.map(|(at, transition)| (transition.reason.clone(), *at));
        }
    }

    /// Takes part again once nothing stands against it.
    pub(super) fn recover(&mut self, fault: Fault, now: Instant, out: &mut Out) -> Phase {
        if fault.retry.is_some() || self.standing_fault().is_some() {
            return Phase::Fault(fault);
        }
        self.enter(now, State::Fault, Reason::Recovered, out)
    }

    /// Checked at every event: an Active router that was away may no longer be the only one.
    pub(super) fn step_back_if_late(&mut self, phase: Phase, now: Instant, out: &mut Out) -> Phase {
        let limit = self.quickest_interval() * LATE_INTERVALS;
        match phase {
            Phase::Active(active) if active.late_at().is_some_and(|at| now >= at) => {
                let late_at = active.late_at().unwrap_or(now);
                let away = limit + now.saturating_duration_since(late_at);
                self.step_back(now, State::Active, away, out)
            }
            Phase::Claiming(claiming) if now >= claiming.seen_at + limit => {
                let away = now.saturating_duration_since(claiming.seen_at);
                self.step_back(now, State::Backup, away, out)
            }
            Phase::Leaving(leaving) if now >= leaving.seen_at + limit => {
                self.leaving_late(leaving, now, out)
            }
            Phase::Initialize
            | Phase::Backup(_)
            | Phase::Claiming(_)
            | Phase::Active(_)
            | Phase::Leaving(_)
            | Phase::Fault(_) => phase,
        }
    }

    /// Gives up the addresses without a word, since another may hold them, and listens before asserting again.
    pub(super) fn step_back(
        &mut self,
        now: Instant,
        from: State,
        away: Duration,
        out: &mut Out,
    ) -> Phase {
        if from == State::Active {
            out.push(Action::StopAnnouncing);
        }
        self.release(out);
        if from == State::Active {
            self.moved(now, State::Active, State::Backup, Reason::Late(away), out);
        }
        let mut backup = Backup::until(now, now + self.listen_time());
        backup.listening = true;
        Phase::Backup(backup)
    }

    /// Farewell and release at once.
    fn drop_everything(&mut self, out: &mut Out) {
        self.send(Priority::RELEASE, out);
        out.push(Action::StopAnnouncing);
        self.release(out);
    }
}

/// What stands against a member.
fn fault_of(member: &Member) -> Option<Reason> {
    if let Some(reason) = &member.tracked_fault {
        return Some(Reason::Fault(reason.clone()));
    }
    let mut families = Family::ALL.into_iter();
    (!families.any(|family| member.can_speak(family))).then_some(Reason::NoSource)
}
