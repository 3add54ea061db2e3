//! The election of one virtual router: takes an event, returns ordered actions (RFC 9568 §6.4).
//!
//! No clock, no socket, no log: `now` is an argument, effects are values, and the failure of an effect is an event.
//! Beyond the RFC: Fault, claims that wait for the kernel, leaving make before break, listening after having been
//! late, pair timing, groups. `phase` draws the machine; one module holds the rows of each state.

use std::net::IpAddr;
use std::time::Instant;

use crate::action::{Action, Reason, State, Transition};
use crate::event::Event;
use crate::receive::Expectation;
use crate::settings::Settings;
use crate::types::Priority;
use crate::wire::Advertisement;

mod active;
mod backup;
mod claiming;
mod common;
mod fault;
mod group;
mod leaving;
mod member;
mod peers;
mod phase;
mod rehearsal;
mod status;
mod terms;
#[cfg(test)]
mod tests;

use member::{Member, Members, Out};
use peers::Heard;
use phase::Phase;

pub use member::{Directive, MemberId};
pub use rehearsal::{Outlook, Rehearsal, Step};
pub use status::{PeerStatus, PhaseName, Status, Timer};

/// One decision: a configured virtual router, or several that are tied into a group and are Active together or not at
/// all. What was heard, and the state of the election.
///
/// A group has one priority, the lowest of its members', and one way to preempt: members are expected to be configured
/// alike in both, and the first by name speaks for all.
#[derive(Clone, Debug)]
pub struct VirtualRouter {
    members: Members,
    priority: Priority,
    phase: Phase,
    /// Who the addresses were handed to: no preemption until that router leaves.
    held_back: Option<IpAddr>,
    /// Failures of our own in a row; the wait for the next attempt grows with them.
    retries: u32,
    /// Whether the addresses are asked for or held.
    holds: bool,
    /// Earliest next look at which legs are silent.
    hearing_check_at: Option<Instant>,
    last_transition: Option<(Instant, Transition)>,
}

impl VirtualRouter {
    /// A virtual router in Initialize. Its effective priority is the base until `PriorityChanged`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_member(MemberId::default(), settings)
    }

    /// The same with a name for its first member, for a decision that others may join.
    #[must_use]
    pub fn with_member(member: MemberId, settings: Settings) -> Self {
        Self {
            priority: settings.priority,
            members: Members::from([(member, Box::new(Member::new(settings)))]),
            phase: Phase::Initialize,
            held_back: None,
            retries: 0,
            holds: false,
            hearing_check_at: None,
            last_transition: None,
        }
    }

    /// Takes one event and returns what to do, in order. `now` never goes back. For a virtual router on its own: with
    /// several members the event is the first one's.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let first = self.first();
        let directives = self.handle_for(now, first, event);
        directives
            .into_iter()
            .map(|directive| directive.action)
            .collect()
    }

    /// Takes one event of one member and returns what to do and where, in order. Nothing happens for a member that is
    /// not there any more.
    pub fn handle_for(&mut self, now: Instant, member: MemberId, event: Event) -> Vec<Directive> {
        let mut out = Out::default();
        if !self.members.contains_key(&member) {
            return Vec::new();
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Initialize);
        let phase = self.step_back_if_late(phase, now, &mut out);
        self.take_note(now, member, &event, phase.state(), &mut out);
        self.phase = self.next(phase, now, member, event, &mut out);
        self.check_invariants();
        out.into_directives()
    }

    /// When to call `handle(now, Event::Timer)`, at this instant or later.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.next_timer().map(|timer| timer.at)
    }

    /// The timer that ends first.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timer> {
        self.timers().min_by_key(|timer| timer.at)
    }

    fn timers(&self) -> impl Iterator<Item = Timer> {
        let (delay, interval) = (|| self.preempt_delay(), || self.quickest_interval());
        self.phase.timers(delay, interval)
    }

    /// The public state.
    #[must_use]
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// What the receive checks need to know of the first member. It follows from the settings alone: whoever receives keeps it.
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        Expectation::new(&self.lead().settings)
    }

    /// What the receive checks need to know of one member.
    #[must_use]
    pub fn expectation_of(&self, member: MemberId) -> Option<Expectation> {
        Some(Expectation::new(&self.members.get(&member)?.settings))
    }

    /// The settings in force; those of the first member by name.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.lead().settings
    }

    /// The last will: a farewell for every member and family that has a source.
    #[must_use]
    pub fn release_adverts(&self) -> Vec<Advertisement> {
        let members = self.members.values();
        members
            .flat_map(|member| member.advertisements(Priority::RELEASE))
            .collect()
    }

    /// The part of the last will that concerns one member.
    #[must_use]
    pub fn release_adverts_of(&self, member: MemberId) -> Vec<Advertisement> {
        let member = self.members.get(&member);
        member.map_or_else(Vec::new, |member| member.advertisements(Priority::RELEASE))
    }

    /// Every pair of state and event. The numbers are the rows of RFC 9568 §6.4 in order: 1 to 3 Initialize,
    /// 4 to 8 Backup, 9 to 13 Active.
    fn next(
        &mut self,
        phase: Phase,
        now: Instant,
        member: MemberId,
        event: Event,
        out: &mut Out,
    ) -> Phase {
        match (phase, event) {
            // Rows 1 and 2; an owner claims first, so that nothing is said before it is true.
            (Phase::Initialize, Event::Startup) => {
                self.enter(now, State::Initialize, Reason::Startup, out)
            }
            (Phase::Initialize, Event::Resume) => self.go_on(now, out),
            // Row 3. What concerns the surroundings is noted, nothing else.
            (Phase::Initialize, Event::Shutdown) => self.stopped(out),
            (Phase::Initialize, Event::Handover) => self.refuse_handover(Phase::Initialize, out),
            (Phase::Initialize, Event::PriorityChanged(priority)) => {
                self.set_priority(member, priority);
                Phase::Initialize
            }
            (Phase::Initialize, Event::Reconfigure(settings)) => {
                self.adopt(member, settings);
                Phase::Initialize
            }
            (
                Phase::Initialize,
                Event::Advertisement { .. }
                | Event::Pause(_)
                | Event::Timer
                | Event::SourceChanged { .. }
                | Event::Fault(_)
                | Event::FaultCleared
                | Event::Claimed
                | Event::ClaimFailed(_)
                | Event::AddressLost(_)
                | Event::SendFailed(_),
            ) => Phase::Initialize,

            // Row 4: nothing is sent.
            (Phase::Backup(_), Event::Shutdown) => self.shut_down(now, State::Backup, out),
            (Phase::Backup(backup), Event::Handover) => {
                self.refuse_handover(Phase::Backup(backup), out)
            }
            // Row 5, behind a claim.
            (Phase::Backup(backup), Event::Timer) => self.backup_timer(backup, now, out),
            // Rows 6 to 8.
            (
                Phase::Backup(backup),
                Event::Advertisement {
                    family,
                    source,
                    accepted,
                },
            ) => self.backup_hears(
                backup,
                now,
                Heard::new(member, family, source, &accepted),
                out,
            ),
            (Phase::Backup(backup), Event::PriorityChanged(priority)) => {
                self.backup_priority(backup, member, priority)
            }
            (Phase::Backup(backup), Event::Reconfigure(settings)) => {
                self.backup_reconfigure(backup, now, (member, settings), out)
            }
            (
                Phase::Backup(backup),
                Event::Fault(_) | Event::FaultCleared | Event::SourceChanged { .. },
            ) => self.unless_fault(Phase::Backup(backup), now, out),
            (
                Phase::Backup(backup),
                Event::Startup
                | Event::Resume
                | Event::Pause(_)
                | Event::Claimed
                | Event::ClaimFailed(_)
                | Event::AddressLost(_)
                | Event::SendFailed(_),
            ) => Phase::Backup(backup),

            (Phase::Claiming(claiming), Event::Shutdown) => {
                self.call_off(&claiming, out);
                self.shut_down(now, State::Backup, out)
            }
            (Phase::Claiming(claiming), Event::Handover) => {
                self.refuse_handover(Phase::Claiming(claiming), out)
            }
            (Phase::Claiming(claiming), Event::Timer) => self.claiming_timer(claiming, now, out),
            (Phase::Claiming(claiming), Event::Claimed) => self.claimed(claiming, now, member, out),
            (Phase::Claiming(claiming), Event::ClaimFailed(cause)) => {
                self.call_off(&claiming, out);
                self.fail(now, State::Backup, Reason::ClaimFailed(cause), out)
            }
            (Phase::Claiming(claiming), Event::AddressLost(cause)) => {
                self.call_off(&claiming, out);
                self.fail(now, State::Backup, Reason::AddressLost(cause), out)
            }
            (
                Phase::Claiming(claiming),
                Event::Advertisement {
                    family,
                    source,
                    accepted,
                },
            ) => self.claiming_hears(
                claiming,
                now,
                Heard::new(member, family, source, &accepted),
                out,
            ),
            (Phase::Claiming(claiming), Event::PriorityChanged(priority)) => {
                self.set_priority(member, priority);
                Phase::Claiming(claiming)
            }
            (Phase::Claiming(claiming), Event::Reconfigure(settings)) => {
                self.claiming_reconfigure(claiming, now, (member, settings), out)
            }
            (
                Phase::Claiming(claiming),
                Event::Fault(_) | Event::FaultCleared | Event::SourceChanged { .. },
            ) => self.unless_fault(Phase::Claiming(claiming), now, out),
            (
                Phase::Claiming(claiming),
                Event::Startup | Event::Resume | Event::Pause(_) | Event::SendFailed(_),
            ) => Phase::Claiming(claiming),

            // Row 9, make before break.
            (Phase::Active(active), Event::Shutdown) => {
                self.leave(&active, now, phase::Purpose::Shutdown, out)
            }
            (Phase::Active(active), Event::Handover) => {
                self.leave(&active, now, phase::Purpose::Handover, out)
            }
            // Row 10.
            (Phase::Active(active), Event::Timer) => self.active_timer(active, now, out),
            // Rows 11 to 13.
            (
                Phase::Active(active),
                Event::Advertisement {
                    family,
                    source,
                    accepted,
                },
            ) => self.active_hears(
                active,
                now,
                Heard::new(member, family, source, &accepted),
                out,
            ),
            (Phase::Active(active), Event::PriorityChanged(priority)) => {
                self.set_priority(member, priority);
                Phase::Active(active)
            }
            (Phase::Active(active), Event::Reconfigure(settings)) => {
                self.active_reconfigure(active, now, (member, settings), out)
            }
            (Phase::Active(active), Event::Claimed) => {
                self.active_claimed(active, now, member, out)
            }
            (Phase::Active(active), Event::ClaimFailed(cause)) => {
                self.active_claim_failed(active, now, cause, out)
            }
            (Phase::Active(_), Event::AddressLost(cause)) => {
                self.fail(now, State::Active, Reason::AddressLost(cause), out)
            }
            (Phase::Active(active), Event::SendFailed(cause)) => {
                self.active_send_failed(active, now, member, cause, out)
            }
            (
                Phase::Active(active),
                Event::Fault(_) | Event::FaultCleared | Event::SourceChanged { .. },
            ) => self.unless_fault(Phase::Active(active), now, out),
            (Phase::Active(active), Event::Pause(interval)) => {
                self.active_pauses(active, now, (member, interval), out)
            }
            (Phase::Active(active), Event::Startup | Event::Resume) => Phase::Active(active),

            (Phase::Leaving(leaving), Event::Shutdown) => self.leaving_shutdown(leaving, now, out),
            (Phase::Leaving(leaving), Event::Handover) => self.leaving_handover(leaving, out),
            (Phase::Leaving(leaving), Event::Timer) => self.leaving_timer(leaving, now, out),
            (
                Phase::Leaving(leaving),
                Event::Advertisement {
                    family,
                    source,
                    accepted,
                },
            ) => self.leaving_hears(
                leaving,
                now,
                Heard::new(member, family, source, &accepted),
                out,
            ),
            (Phase::Leaving(leaving), Event::PriorityChanged(priority)) => {
                self.set_priority(member, priority);
                Phase::Leaving(leaving)
            }
            (Phase::Leaving(leaving), Event::Reconfigure(settings)) => {
                self.leaving_reconfigure(leaving, now, (member, settings), out)
            }
            (Phase::Leaving(leaving), Event::AddressLost(cause)) => {
                self.leaving_fault(&leaving, now, Some(Reason::AddressLost(cause)), out)
            }
            (
                Phase::Leaving(leaving),
                Event::Fault(_) | Event::FaultCleared | Event::SourceChanged { .. },
            ) => self.unless_fault(Phase::Leaving(leaving), now, out),
            (
                Phase::Leaving(leaving),
                Event::Startup
                | Event::Resume
                | Event::Pause(_)
                | Event::Claimed
                | Event::ClaimFailed(_)
                | Event::SendFailed(_),
            ) => Phase::Leaving(leaving),

            (Phase::Fault(_), Event::Shutdown) => self.shut_down(now, State::Fault, out),
            (Phase::Fault(fault), Event::Handover) => {
                self.refuse_handover(Phase::Fault(fault), out)
            }
            (Phase::Fault(fault), Event::Timer) => self.fault_timer(fault, now, out),
            (
                Phase::Fault(fault),
                Event::Fault(_) | Event::FaultCleared | Event::SourceChanged { .. },
            ) => self.recover(fault, now, out),
            (Phase::Fault(fault), Event::PriorityChanged(priority)) => {
                self.set_priority(member, priority);
                Phase::Fault(fault)
            }
            (Phase::Fault(fault), Event::Reconfigure(settings)) => {
                self.adopt(member, settings);
                self.recover(fault, now, out)
            }
            (
                Phase::Fault(fault),
                Event::Startup
                | Event::Resume
                | Event::Pause(_)
                | Event::Advertisement { .. }
                | Event::Claimed
                | Event::ClaimFailed(_)
                | Event::AddressLost(_)
                | Event::SendFailed(_),
            ) => Phase::Fault(fault),
        }
    }
}
