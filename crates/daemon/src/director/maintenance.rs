//! The node in maintenance: it gives its addresses to another router if there is one, and stands last in every election.
//!
//! It still takes over when nobody else is Active: an address on a node in maintenance is better than one on no node. As
//! long as it is Active it offers the addresses now and then, so that a router that has come back gets them whatever its
//! own `preempt` says. To another router that is last as well it offers nothing, or the two would pass them to and fro.

use std::time::{Duration, Instant};

use control::{ErrorAnswer, HandoverRequest, HandoverResult};
use tokio::sync::oneshot;
use vrrp::{Contribution, Event, State};

use super::Director;
use super::instance::Instance;

/// Between two offers of the addresses, as long as nobody takes them,
const OFFER_INTERVAL: Duration = Duration::from_secs(10);
/// but at least so many of the slowest advertisements: an offer is open for two of them.
const OFFER_ADVERTISEMENTS: u32 = 10;
/// What a node in maintenance advertises at most.
const LAST: u8 = 1;

/// Where the outcome of a handover comes.
pub(super) type Outcome = oneshot::Receiver<Result<HandoverResult, ErrorAnswer>>;

/// Whether the node is in maintenance, and what is to be done for it.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    on: bool,
    offer_at: Option<Instant>,
}

impl Maintenance {
    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.offer_at
    }
}

impl Director {
    /// Follows what stands ordered for the node. When maintenance begins the addresses are handed over; the outcome comes
    /// where the answer says.
    pub(super) fn follow_maintenance(&mut self, now: Instant) -> Option<Outcome> {
        let on = self.rest().is_some();
        let begins = on && !self.maintenance.on;
        let ends = !on && self.maintenance.on;
        self.maintenance.on = on;
        self.maintenance.offer_at = on.then(|| self.next_offer(now));
        let outcome = begins.then(|| {
            let (answer, outcome) = oneshot::channel();
            self.begin_handover(now, &HandoverRequest::default(), answer);
            outcome
        });
        if ends {
            // The configuration alone says who is preferred.
            for index in 0..self.instances.len() {
                self.instances[index].router.forget_handover();
            }
        }
        self.judge(now);
        outcome
    }

    /// Offers the addresses again, if this node has them.
    pub(super) fn run_due_maintenance(&mut self, now: Instant) {
        if self.maintenance.offer_at.is_none_or(|at| at > now) {
            return;
        }
        self.maintenance.offer_at = Some(self.next_offer(now));
        if self.handover.is_some() || self.leaving.is_some() {
            return;
        }
        for index in 0..self.instances.len() {
            if wants_to_give(&self.instances[index]) {
                let notices = self.instances[index].handle(now, Event::Handover, &self.wires);
                self.on_notices(notices);
            }
        }
    }

    fn next_offer(&self, now: Instant) -> Instant {
        let routers = self.running.config.vrrp.iter();
        let intervals = routers.map(|router| router.settings.advert_interval.as_duration());
        let slowest = intervals.max().unwrap_or_default() * OFFER_ADVERTISEMENTS;
        now + OFFER_INTERVAL.max(slowest)
    }

    /// What maintenance does to the priority of every virtual router; none when there is no maintenance.
    pub(super) fn rest(&self) -> Option<Contribution> {
        let words = self.maintenance_words()?;
        Some(Contribution {
            what: format!("maintenance {words}"),
            delta: 0,
            cap: Some(LAST),
        })
    }
}

/// Whether there may be a better place for its addresses.
fn wants_to_give(instance: &Instance) -> bool {
    let heard = instance.router.peer().map(|peer| peer.priority.value());
    instance.state() == State::Active && !instance.departing && heard != Some(LAST)
}
