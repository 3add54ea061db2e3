//! The forwarder's own figures in the words of the control socket.

use control::internal::FromForwarder;
use control::{
    CheckState, GroupStatus, ListenerStatus, Order, PassiveState, TargetCondition, TargetStatus,
};
use forwarder::{
    CheckStanding, GroupSnapshot, ListenerSnapshot, PassiveStanding, Snapshot, TargetSnapshot,
    TargetStanding,
};

/// The message that answers a request for a snapshot.
pub(crate) fn message(snapshot: Snapshot) -> FromForwarder {
    FromForwarder::Snapshot {
        listeners: snapshot.listeners.into_iter().map(listener).collect(),
        groups: snapshot.groups.into_iter().map(group).collect(),
    }
}

fn listener(listener: ListenerSnapshot) -> ListenerStatus {
    ListenerStatus {
        name: listener.name,
        bind: listener.binds,
        protocol: listener.protocol.as_str().to_owned(),
        connections: u64::from(listener.connections),
        connections_total: listener.connections_total,
        requests_total: listener.requests_total,
        action: match listener.action {
            balancer::RuleAction::Forward(group) => group,
            balancer::RuleAction::Close => "close".to_owned(),
        },
    }
}

fn group(group: GroupSnapshot) -> GroupStatus {
    GroupStatus {
        name: group.name,
        algorithm: group.algorithm.to_owned(),
        usable: group.usable as u32,
        total: group.total as u32,
        queued: u64::from(group.queued),
        queued_total: group.queue_totals.waited,
        queue_overflows_total: group.queue_totals.overflows,
        queue_timeouts_total: group.queue_totals.timeouts,
        retries_total: group.retries_total,
        retries_refused_total: group.retries_refused_total,
        targets: group.targets.into_iter().map(target).collect(),
    }
}

/// One target.
pub(crate) fn target(target: TargetSnapshot) -> TargetStatus {
    TargetStatus {
        name: target.name,
        address: target.address,
        state: match target.state {
            TargetStanding::Up => TargetCondition::Up,
            TargetStanding::Down => TargetCondition::Down,
            TargetStanding::Unknown => TargetCondition::Unknown,
            TargetStanding::Ejected => TargetCondition::Ejected,
            TargetStanding::Probing => TargetCondition::Probing,
            TargetStanding::Starting => TargetCondition::Starting,
            TargetStanding::Drain => TargetCondition::Drain,
            TargetStanding::Maint => TargetCondition::Maint,
        },
        check: match target.check {
            CheckStanding::Off => CheckState::Off,
            CheckStanding::Unknown => CheckState::Unknown,
            CheckStanding::Up => CheckState::Up,
            CheckStanding::Down => CheckState::Down,
        },
        passive: match target.passive {
            PassiveStanding::Off => PassiveState::Off,
            PassiveStanding::Ok => PassiveState::Ok,
            PassiveStanding::Ejected | PassiveStanding::Probing => PassiveState::Ejected,
        },
        order: match target.order {
            balancer::Order::Ready => Order::Ready,
            balancer::Order::Drain => Order::Drain,
            balancer::Order::Maint => Order::Maint,
        },
        weight: target.weight,
        in_flight: u64::from(target.in_flight),
        requests_total: target.requests_total,
        errors_total: target.errors_total,
        ejections_total: target.ejections_total,
        warm_percent: target.warm_percent,
        why: (!target.why.is_empty()).then_some(target.why),
    }
}
