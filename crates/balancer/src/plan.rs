//! The immutable whole of listeners and groups, built from settings and the plan before it.
//!
//! A plan is exchanged whole; requests in flight finish on the one they started with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Method;

use crate::group::Group;
use crate::ring::Ring;
use crate::settings::{Algorithm, GroupSettings, ListenerSettings, RuleAction, TargetSettings};

/// What is wrong with the settings; all of it the operator's to mend.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two listeners have one name.
    #[error("listener {0} is given twice")]
    DuplicateListener(String),
    /// Two groups have one name.
    #[error("group {0} is given twice")]
    DuplicateGroup(String),
    /// Two targets of a group have one name.
    #[error("group {group} has two targets named {target}")]
    DuplicateTarget {
        /// The group.
        group: String,
        /// The name given twice.
        target: String,
    },
    /// Two listeners, or one twice, accept on the same address.
    #[error("listener {listener} binds {address}, which is bound already")]
    DuplicateBind {
        /// The later listener.
        listener: String,
        /// The address.
        address: SocketAddr,
    },
    /// A listener forwards to a group that does not exist.
    #[error("listener {listener} forwards to group {group}, which does not exist")]
    UnknownGroup {
        /// The listener.
        listener: String,
        /// The missing group.
        group: String,
    },
    /// A weight is above [`TargetSettings::MAX_WEIGHT`].
    #[error("target {target} of group {group} has weight {weight}, above {max}", max = TargetSettings::MAX_WEIGHT)]
    WeightTooLarge {
        /// The group.
        group: String,
        /// The target.
        target: String,
        /// The weight given.
        weight: u32,
    },
    /// The ring of a group that hashes has no points for a unit of weight, or more in all than [`Ring::MAX_POINTS`].
    #[error("group {group} has a ring of {points} points, which must be from 1 to {max}", max = Ring::MAX_POINTS)]
    RingSize {
        /// The group.
        group: String,
        /// The points it would have.
        points: u64,
    },
    /// A number or time that must be above 0 is not.
    #[error("group {group} has {key} = 0")]
    Zero {
        /// The group.
        group: String,
        /// The setting that is 0.
        key: &'static str,
    },
    /// A number or time of a health check is 0.
    #[error("group {group} has a health check with {key} = 0")]
    ZeroHealth {
        /// The group.
        group: String,
        /// The setting that is 0.
        key: &'static str,
    },
}

/// What rules may look at in a request; a TCP connection has only a peer.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Address of the client.
    pub peer: IpAddr,
    /// Method; `None` on a TCP listener.
    pub method: Option<&'a Method>,
    /// Host as sent, port included; empty on a TCP listener or if none was sent.
    pub host: &'a str,
    /// Path with query; empty on a TCP listener.
    pub path: &'a str,
}

/// What becomes of a request or connection.
#[derive(Clone, Copy, Debug)]
pub enum Route<'p> {
    /// It goes to a target of this group.
    Forward(&'p Arc<Group>),
    /// The connection is closed without an answer.
    Close,
}

/// A listener in one plan, its groups resolved; it stays usable after the plan is gone.
#[derive(Debug)]
pub struct Listener {
    settings: ListenerSettings,
    default: Action,
}

#[derive(Debug)]
enum Action {
    Forward(Arc<Group>),
    Close,
}

impl Listener {
    /// What the operator wrote about it.
    pub fn settings(&self) -> &ListenerSettings {
        &self.settings
    }

    /// Decides about one request or connection.
    pub fn route(&self, _view: &RequestView<'_>) -> Route<'_> {
        match &self.default {
            Action::Forward(group) => Route::Forward(group),
            Action::Close => Route::Close,
        }
    }
}

/// Listeners and groups, checked against each other.
#[derive(Debug, Default)]
pub struct Plan {
    listeners: BTreeMap<String, Arc<Listener>>,
    groups: BTreeMap<String, Arc<Group>>,
}

impl Plan {
    /// Checks the settings and makes a plan of them. What `previous` knows about targets is carried over by (group,
    /// target) name where the address is the same.
    pub fn build(
        listeners: Vec<ListenerSettings>,
        groups: Vec<GroupSettings>,
        previous: Option<&Plan>,
    ) -> Result<Plan, PlanError> {
        let mut plan = Plan::default();
        for group in groups {
            check_group(&group)?;
            let name = group.name.clone();
            let kept = previous.and_then(|plan| plan.groups.get(&name));
            let group = Group::build(group, kept);
            if plan.groups.insert(name.clone(), group).is_some() {
                return Err(PlanError::DuplicateGroup(name));
            }
        }
        let mut bound = BTreeSet::new();
        for settings in listeners {
            for address in &settings.binds {
                if !bound.insert(*address) {
                    return Err(PlanError::DuplicateBind {
                        listener: settings.name,
                        address: *address,
                    });
                }
            }
            let name = settings.name.clone();
            let default = plan.resolve(&settings)?;
            if plan
                .listeners
                .insert(name.clone(), Arc::new(Listener { settings, default }))
                .is_some()
            {
                return Err(PlanError::DuplicateListener(name));
            }
        }
        Ok(plan)
    }

    fn resolve(&self, settings: &ListenerSettings) -> Result<Action, PlanError> {
        match &settings.default {
            RuleAction::Close => Ok(Action::Close),
            RuleAction::Forward(group) => match self.groups.get(group) {
                Some(group) => Ok(Action::Forward(Arc::clone(group))),
                None => Err(PlanError::UnknownGroup {
                    listener: settings.name.clone(),
                    group: group.clone(),
                }),
            },
        }
    }

    /// The listener with this name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.get(name)
    }

    /// All listeners, by name.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.values()
    }

    /// The group with this name.
    pub fn group(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups.get(name)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.values()
    }

    /// Decides about one request or connection that came in through `listener`.
    pub fn route<'p>(&self, listener: &'p Listener, view: &RequestView<'_>) -> Route<'p> {
        listener.route(view)
    }
}

fn check_group(group: &GroupSettings) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    for target in &group.targets {
        if !names.insert(&target.name) {
            return Err(PlanError::DuplicateTarget {
                group: group.name.clone(),
                target: target.name.clone(),
            });
        }
        if target.weight > TargetSettings::MAX_WEIGHT {
            return Err(PlanError::WeightTooLarge {
                group: group.name.clone(),
                target: target.name.clone(),
                weight: target.weight,
            });
        }
    }
    let points = group.ring_points();
    let no_vnodes = matches!(group.algorithm, Algorithm::ConsistentHash { vnodes: 0, .. });
    if points > Ring::MAX_POINTS || no_vnodes {
        return Err(PlanError::RingSize {
            group: group.name.clone(),
            points,
        });
    }
    let health = &group.health;
    let zero = [
        ("every", health.every.is_zero()),
        ("timeout", health.timeout.is_zero()),
        ("fast", health.fast.is_zero()),
        ("rise", health.rise == 0),
        ("fall", health.fall == 0),
    ];
    check_protection(group)?;
    match zero
        .into_iter()
        .find(|(_, zero)| *zero && health.check.is_on())
    {
        Some((key, _)) => Err(PlanError::ZeroHealth {
            group: group.name.clone(),
            key,
        }),
        None => Ok(()),
    }
}

fn check_protection(group: &GroupSettings) -> Result<(), PlanError> {
    let outlier = group.outlier.as_ref();
    let zero = [
        (
            "outlier.consecutive_errors",
            outlier.is_some_and(|outlier| outlier.consecutive_errors == 0),
        ),
        (
            "outlier.eject",
            outlier.is_some_and(|outlier| outlier.eject.is_zero()),
        ),
        ("limits.per_target", group.limits.per_target == Some(0)),
    ];
    match zero.into_iter().find(|(_, zero)| *zero) {
        Some((key, _)) => Err(PlanError::Zero {
            group: group.name.clone(),
            key,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
