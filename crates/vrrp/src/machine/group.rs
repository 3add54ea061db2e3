//! Joining and parting: how virtual routers come to share one decision, and how one of them leaves the others.
//!
//! Both happen by a reload alone. Whoever joins takes over the state of the group; whoever parts keeps it, but alone.

use std::time::Instant;

use super::VirtualRouter;
use super::member::{Directive, MemberId, Out};
use super::phase::{CLAIM_LIMIT, LATE_INTERVALS, Phase};
use crate::action::{Action, Reason, State, Transition};
use crate::types::Priority;

impl VirtualRouter {
    /// The members, in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.members.keys().copied()
    }

    /// Takes the members of another decision in. They follow the state of this one: with it Active their addresses are
    /// claimed, otherwise what they hold is given up, with a farewell. The election goes on from there.
    pub fn join(&mut self, now: Instant, other: VirtualRouter) -> Vec<Directive> {
        let mut out = Out::default();
        let keeps = self.holds && !matches!(self.phase, Phase::Backup(_));
        let (from, to) = (other.state(), self.state());
        self.note_alive(now);
        for (id, mut member) in other.members {
            if other.holds && !keeps {
                for advertisement in member.advertisements(Priority::RELEASE) {
                    out.push_for(id, Action::Send(advertisement));
                }
                out.push_for(id, Action::Release);
            }
            if from == State::Active && to != State::Active {
                out.push_for(id, Action::StopAnnouncing);
            }
            if from != to {
                let reason = match (from, to) {
                    (State::Initialize, State::Backup) => Reason::Startup,
                    _ => Reason::Joined,
                };
                out.push_for(id, Action::Transition(Transition { from, to, reason }));
            }
            member.confirmed = false;
            self.members.insert(id, member);
        }
        self.held_back = self.held_back.or(other.held_back);
        self.weigh();
        let phase = std::mem::replace(&mut self.phase, Phase::Initialize);
        let phase = self.welcome(phase, other.phase, now, &mut out);
        self.phase = self.unless_fault(phase, now, &mut out);
        self.check_invariants();
        out.into_directives()
    }

    /// A sign of life as good as the next one: by the intervals of members that come it may be late, by those it was promised by it is not.
    fn note_alive(&mut self, now: Instant) {
        let limit = self.quickest_interval() * LATE_INTERVALS;
        if let Phase::Leaving(leaving) = &mut self.phase
            && now < leaving.seen_at + limit
        {
            leaving.seen_at = now;
        }
    }

    /// What members that have just come mean for a phase: with the group Active they claim their addresses.
    fn welcome(&mut self, phase: Phase, theirs: Phase, now: Instant, out: &mut Out) -> Phase {
        match phase {
            Phase::Claiming(claiming) => self.claim(now, claiming.cause, out),
            Phase::Active(mut active) => {
                // Who was Active alone has its addresses, and is heard all the while.
                if let Phase::Active(theirs) = theirs {
                    active.rounds.extend(theirs.rounds);
                }
                active.claim_limit_at = Some(now + CLAIM_LIMIT);
                self.ask_for_addresses(out);
                Phase::Active(active)
            }
            Phase::Leaving(mut leaving) => {
                leaving.vips_changed = true;
                Phase::Leaving(leaving)
            }
            Phase::Backup(mut backup) => {
                if let Phase::Backup(theirs) = theirs {
                    backup.legs_down_at.extend(theirs.legs_down_at);
                    backup.down_at = backup.down_at.max(theirs.down_at);
                }
                Phase::Backup(backup)
            }
            Phase::Initialize | Phase::Fault(_) => phase,
        }
    }

    /// Lets one member go on alone, in the state it is in. Nothing is said and nothing released. Who is in Fault for the
    /// other part alone, or silent until the other part has its addresses, has a timer that has ended, and who waits for what
    /// only the other part has heard waits for one down interval of its own at most: both deadlines are to be asked for anew.
    /// None when it is the only one, or none of ours.
    #[must_use]
    pub fn split(&mut self, now: Instant, member: MemberId) -> Option<VirtualRouter> {
        if self.members.len() < 2 || !self.members.contains_key(&member) {
            return None;
        }
        let mut alone = self.clone();
        alone.members.retain(|id, _| *id == member);
        alone.part(now);
        self.members.remove(&member);
        self.part(now);
        self.check_invariants();
        Some(alone)
    }

    /// Ends at once and without a farewell, which would tell a peer that the whole group leaves: for who was split off.
    pub fn abandon(&mut self, now: Instant) -> Vec<Directive> {
        let mut out = Out::default();
        let from = self.state();
        if from == State::Active {
            out.push(Action::StopAnnouncing);
        }
        self.release(&mut out);
        if from != State::Initialize {
            self.moved(now, from, State::Initialize, Reason::Parted, &mut out);
        }
        self.phase = self.stopped(&mut out);
        out.into_directives()
    }

    /// Other members have gone.
    fn part(&mut self, now: Instant) {
        self.weigh();
        let fresh = now + self.down_interval();
        self.keep_legs_of_members(fresh);
        self.look_again();
        self.end_claim(now);
    }

    /// Has the timer end at once where only those who are gone had not got their addresses: no answer of the kernel is left
    /// that would tell so, and who has joined is silent until then.
    fn end_claim(&mut self, now: Instant) {
        let confirmed = self.is_confirmed();
        if let Phase::Active(active) = &mut self.phase
            && confirmed
            && let Some(limit_at) = &mut active.claim_limit_at
        {
            *limit_at = now;
        }
    }

    fn keep_legs_of_members(&mut self, fresh: Instant) {
        let members = &self.members;
        match &mut self.phase {
            Phase::Backup(backup) => backup.keep_legs(members, fresh),
            Phase::Active(active) => active.rounds.retain(|id, _| members.contains_key(id)),
            Phase::Leaving(leaving) => {
                if let Some(taken) = &mut leaving.taken {
                    taken.next.keep_legs(members, fresh);
                }
            }
            Phase::Initialize | Phase::Claiming(_) | Phase::Fault(_) => {}
        }
    }
}
