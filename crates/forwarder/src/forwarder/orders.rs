//! What operators have ordered while the forwarder runs: kept here beside the settings, and followed by each plan.

use std::time::Instant;

use balancer::{GroupSettings, ListenerSettings, Order, Overrides, Plan, TargetState};

use super::{Forwarder, whole};
use crate::error::{ApplyError, OrderError};
use crate::tls::acceptor::Acceptors;

/// The last settings that were put in force, and what was ordered beside them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) settings: Option<Settings>,
    pub(super) overrides: Overrides,
}

/// Settings as the file has them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) listeners: Vec<ListenerSettings>,
    pub(super) groups: Vec<GroupSettings>,
    pub(super) acceptors: Acceptors,
}

impl Forwarder {
    /// Puts orders and weights in force that stand beside the settings, in place of those before; blocking as
    /// [`Forwarder::apply`] does. Without settings they wait for the first ones, so that no traffic comes before them.
    /// What a target serves that is ordered away may go on for the `drain` time of its group, counted from the order.
    pub fn override_with(&self, overrides: Overrides) -> Result<(), ApplyError> {
        let mut wanted = whole(&self.changing);
        let result = match &wanted.settings {
            Some(settings) => {
                let plan = self.plan_with(&settings.listeners, &settings.groups, &overrides)?;
                self.put_in_force(plan, &settings.acceptors, &overrides)
            }
            None => Ok(()),
        };
        if is_in_force(&result) {
            wanted.overrides = overrides;
        }
        result
    }

    /// Orders one target to take part, drain, or rest, as of now; kept over `apply`.
    pub fn order(&self, group: &str, target: &str, order: Order) -> Result<(), OrderError> {
        let plan = self.plan.load();
        let found = plan
            .group(group)
            .ok_or_else(|| OrderError::UnknownGroup(group.to_owned()))?;
        if found.find(target).is_none() {
            return Err(OrderError::UnknownTarget {
                group: group.to_owned(),
                target: target.to_owned(),
            });
        }
        let mut wanted = whole(&self.changing);
        let now = Instant::now();
        wanted.overrides.order(group, target, order, now);
        self.obey(&self.plan.load(), &wanted.overrides, now);
        Ok(())
    }

    /// The plan that settings and orders come to.
    pub(super) fn plan_with(
        &self,
        listeners: &[ListenerSettings],
        groups: &[GroupSettings],
        overrides: &Overrides,
    ) -> Result<Plan, ApplyError> {
        let (mut listeners, mut groups) = (listeners.to_vec(), groups.to_vec());
        overrides.apply_to(&mut listeners, &mut groups);
        Ok(Plan::build(listeners, groups, Some(&self.plan.load()))?)
    }

    /// Has every target of a plan follow what is ordered for it. Those that take part again come first, so that no
    /// group is without a target in between.
    pub(super) fn obey(&self, plan: &Plan, overrides: &Overrides, now: Instant) {
        for back in [true, false] {
            for group in plan.groups() {
                let settings = group.settings();
                for target in group.targets() {
                    let ordered = overrides.ordered(&settings.name, &target.settings().name);
                    if ordered.is_none() == back {
                        let (order, since) = ordered.unwrap_or((Order::Ready, now));
                        self.obey_one(target.state(), now, order, since + settings.drain);
                    }
                }
            }
        }
    }

    fn obey_one(&self, target: &TargetState, now: Instant, order: Order, leave_at: Instant) {
        if order != Order::Ready && target.order() != order {
            self.leaving.expect(leave_at);
        }
        target.obey(now, order, leave_at);
    }
}

/// Whether a plan has come into force, if perhaps not yet on every thread.
pub(super) fn is_in_force(result: &Result<(), ApplyError>) -> bool {
    match result {
        Ok(()) | Err(ApplyError::Unconfirmed(_)) => true,
        Err(
            ApplyError::Plan(_)
            | ApplyError::Tls { .. }
            | ApplyError::TargetTls { .. }
            | ApplyError::Bind { .. },
        ) => false,
    }
}
