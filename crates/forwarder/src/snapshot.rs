//! What the forwarder shows of itself: values copied out, cheap enough for a call each second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use balancer::{Group, Health, Order, Plan, Protocol, RuleAction, Target};

/// Everything at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Listeners by name.
    pub listeners: Vec<ListenerSnapshot>,
    /// Groups by name.
    pub groups: Vec<GroupSnapshot>,
}

/// One listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSnapshot {
    /// Its name.
    pub name: String,
    /// Addresses it accepts on.
    pub binds: Vec<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Connections being served.
    pub connections: u32,
    /// Connections ever accepted.
    pub connections_total: u64,
    /// HTTP requests ever read; on TCP the connections given to a target.
    pub requests_total: u64,
    /// What it does with them.
    pub action: RuleAction,
    /// How often something did not go well, by cause (`target-reset@headers`, ...); those that came up, in a fixed
    /// order.
    pub causes: Vec<(&'static str, u64)>,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSnapshot {
    /// Its name.
    pub name: String,
    /// How it chooses, in the word of the configuration.
    pub algorithm: &'static str,
    /// Targets that would get traffic for their own merit; 0 when the group fails open.
    pub usable: usize,
    /// Targets in all.
    pub total: usize,
    /// Its targets, in the order of the file.
    pub targets: Vec<TargetSnapshot>,
}

/// One target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetSnapshot {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The two axes in one word: the order if there is one, else what the check says.
    pub state: TargetStanding,
    /// What the active check says.
    pub check: CheckStanding,
    /// What live traffic says.
    pub passive: PassiveStanding,
    /// What the operator ordered.
    pub order: Order,
    /// Its weight.
    pub weight: u32,
    /// Requests or connections it is serving.
    pub in_flight: u32,
    /// Requests or connections it was ever picked for.
    pub requests_total: u64,
    /// Requests or connections that failed by its fault.
    pub errors_total: u64,
    /// Why it is not up, in words; empty when there is nothing to say.
    pub why: String,
}

/// Whether a target gets traffic, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetStanding {
    /// It does.
    Up,
    /// Its check fails.
    Down,
    /// Its first check has not finished.
    Unknown,
    /// It is ordered to drain.
    Drain,
    /// It is in maintenance.
    Maint,
}

impl TargetStanding {
    /// The word used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// What the active check says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckStanding {
    /// There is none.
    Off,
    /// None has finished yet.
    Unknown,
    /// It passes.
    Up,
    /// It fails.
    Down,
}

impl CheckStanding {
    /// The word used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What live traffic says about a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PassiveStanding {
    /// Nothing against it.
    Ok,
}

impl PassiveStanding {
    /// The word used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
        }
    }
}

/// Whether the node may be trusted with traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// A plan is applied and every address of it is bound on every thread.
    pub listening: bool,
    /// Every target that is checked has been checked at least once; true from then on, whatever a reload adds.
    pub first_health_round_done: bool,
    /// A worker thread has not come round for a second.
    pub stalled: bool,
}

/// The groups of a plan.
pub(crate) fn groups(plan: &Plan) -> Vec<GroupSnapshot> {
    plan.groups().map(group).collect()
}

/// True once every target that is checked has been checked.
pub(crate) fn first_health_round_done(plan: &Plan) -> bool {
    plan.groups()
        .filter(|group| group.settings().health.check.is_on())
        .flat_map(|group| group.targets())
        .all(|target| target.state().health() != Health::Unknown)
}

fn group(group: &Arc<Group>) -> GroupSnapshot {
    let checked = group.settings().health.check.is_on();
    GroupSnapshot {
        name: group.settings().name.clone(),
        algorithm: group.settings().algorithm.as_str(),
        usable: group.usable(Instant::now()),
        total: group.total(),
        targets: group
            .targets()
            .iter()
            .map(|each| target(each, checked))
            .collect(),
    }
}

fn target(target: &Target, checked: bool) -> TargetSnapshot {
    let settings = target.settings();
    let state = target.state();
    let check = match (checked, state.health()) {
        (false, Health::Unknown | Health::Up | Health::Down) => CheckStanding::Off,
        (true, Health::Unknown) => CheckStanding::Unknown,
        (true, Health::Up) => CheckStanding::Up,
        (true, Health::Down) => CheckStanding::Down,
    };
    let standing = match (state.order(), check) {
        (Order::Maint, _) => TargetStanding::Maint,
        (Order::Drain, _) => TargetStanding::Drain,
        (Order::Ready, CheckStanding::Off | CheckStanding::Up) => TargetStanding::Up,
        (Order::Ready, CheckStanding::Unknown) => TargetStanding::Unknown,
        (Order::Ready, CheckStanding::Down) => TargetStanding::Down,
    };
    let why = if checked { state.why() } else { None };
    TargetSnapshot {
        name: settings.name.clone(),
        address: settings.address,
        state: standing,
        check,
        passive: PassiveStanding::Ok,
        order: state.order(),
        weight: settings.weight,
        in_flight: state.in_flight(),
        requests_total: state.requests_total(),
        errors_total: state.errors_total(),
        why: why.map(|why| why.as_ref().clone()).unwrap_or_default(),
    }
}
