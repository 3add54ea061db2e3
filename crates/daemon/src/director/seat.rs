//! A virtual router's seat in a decision: a decision of its own, or one it shares with the others of its group.
//!
//! The core is shared by the seats of a group and by nothing else; it is borrowed for the time of one call.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use vrrp::{
    Advertisement, Directive, Event, Expectation, MemberId, PeerStatus, PhaseName, Settings, State,
    Status, Timer, VirtualRouter,
};

pub(super) struct Seat {
    member: MemberId,
    group: Option<String>,
    core: Rc<RefCell<VirtualRouter>>,
    expectation: Expectation,
}

impl Seat {
    /// A decision of its own. `number` is never used twice.
    pub(super) fn alone(number: u64, settings: Settings) -> Self {
        let member = MemberId(number);
        Self {
            member,
            group: None,
            expectation: Expectation::new(&settings),
            core: Rc::new(RefCell::new(VirtualRouter::with_member(member, settings))),
        }
    }

    /// Hands an event of this virtual router to the core.
    pub(super) fn handle(&mut self, now: Instant, event: Event) -> Vec<Directive> {
        if let Event::Reconfigure(settings) = &event {
            self.expectation = Expectation::new(settings);
        }
        self.core.borrow_mut().handle_for(now, self.member, event)
    }

    /// The numbers of the others that share its decision.
    pub(super) fn mates(&self) -> Vec<u64> {
        let core = self.core.borrow();
        core.members()
            .filter(|member| *member != self.member)
            .map(|member| member.0)
            .collect()
    }

    /// Whether a directive is for this virtual router.
    pub(super) fn is_meant(&self, directive: &Directive) -> bool {
        directive.member.is_none_or(|member| member == self.member)
    }

    /// The group whose decision it shares.
    pub(super) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Takes a place in a group: in the decision of `mate`, or as the first of its group.
    pub(super) fn join(
        &mut self,
        now: Instant,
        group: &str,
        mate: Option<&Seat>,
    ) -> Vec<Directive> {
        self.group = Some(group.to_owned());
        let Some(mate) = mate else {
            return Vec::new();
        };
        let own = self.core.borrow().clone();
        let directives = mate.core.borrow_mut().join(now, own);
        self.core = Rc::clone(&mate.core);
        directives
    }

    /// Leaves its group and goes on alone in the same state.
    pub(super) fn leave_group(&mut self, now: Instant) {
        self.group = None;
        let alone = self.core.borrow_mut().split(now, self.member);
        if let Some(alone) = alone {
            self.core = Rc::new(RefCell::new(alone));
        }
    }

    /// Preempts as configured again, whoever the addresses were handed over to.
    pub(super) fn forget_handover(&mut self) {
        self.core.borrow_mut().forget_handover();
    }

    /// Ends at once, without a word to other routers.
    pub(super) fn abandon(&mut self, now: Instant) -> Vec<Directive> {
        self.core.borrow_mut().abandon(now)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.core.borrow().deadline()
    }

    /// The timer of its decision that ends first.
    pub(super) fn next_timer(&self) -> Option<Timer> {
        self.core.borrow().next_timer()
    }

    pub(super) fn state(&self) -> State {
        self.core.borrow().state()
    }

    /// Its state in more detail.
    pub(super) fn phase(&self) -> PhaseName {
        self.core.borrow().phase_name()
    }

    /// The router it heard last.
    pub(super) fn peer(&self) -> Option<PeerStatus> {
        self.core.borrow().peer_of(self.member)
    }

    pub(super) fn status(&self) -> Status {
        let core = self.core.borrow();
        core.status_of(self.member).unwrap_or_else(|| core.status())
    }

    pub(super) fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// A copy of its decision, to think about.
    pub(super) fn copy(&self) -> VirtualRouter {
        self.core.borrow().clone()
    }

    /// Its name in its decision.
    pub(super) fn member(&self) -> MemberId {
        self.member
    }

    /// Its part of the last will.
    pub(super) fn release_adverts(&self) -> Vec<Advertisement> {
        self.core.borrow().release_adverts_of(self.member)
    }
}
