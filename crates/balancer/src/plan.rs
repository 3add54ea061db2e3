//! The immutable whole of listeners and groups, built from settings and the plan before it.
//!
//! A plan is exchanged whole; requests in flight finish on the one they started with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::group::Group;
use crate::listener::Listener;
use crate::ring::Ring;
use crate::settings::{Algorithm, GroupSettings, ListenerSettings, TargetSettings};

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
    /// Two rules of a listener have one name.
    #[error("listener {listener} has two rules named {rule}")]
    DuplicateRule {
        /// The listener.
        listener: String,
        /// The name given twice.
        rule: String,
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
                // Datagrams and streams have ports of their own.
                if !bound.insert((settings.protocol.is_datagrams(), *address)) {
                    return Err(PlanError::DuplicateBind {
                        listener: settings.name,
                        address: *address,
                    });
                }
            }
            let name = settings.name.clone();
            let kept = previous.and_then(|plan| plan.listeners.get(&name));
            let listener = Listener::build(settings, &plan.groups, kept)?;
            if plan.listeners.insert(name.clone(), listener).is_some() {
                return Err(PlanError::DuplicateListener(name));
            }
        }
        Ok(plan)
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
        ("udp.idle", group.udp.idle.is_zero()),
        ("udp.responses", group.udp.responses == Some(0)),
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
