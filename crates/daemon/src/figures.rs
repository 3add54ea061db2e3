//! The forwarder's own figures in the words of the control socket.

use balancer::{Binding, Timings};
use control::internal::{AccessLogCounts, FromForwarder};
use control::{
    AnswerTotals, CheckState, CheckTotals, DatagramTotals, GroupStatus, GroupTimes, ListenerStatus,
    Order, PassiveState, RuleStatus, StickyStatus, TargetCondition, TargetStatus, Times,
};
use forwarder::{
    AccessLogFigures, CheckStanding, GroupSnapshot, ListenerSnapshot, PassiveStanding,
    RuleSnapshot, Snapshot, StickySnapshot, TargetSnapshot, TargetStanding,
};

/// The message that answers a request for a snapshot.
pub(crate) fn message(
    snapshot: Snapshot,
    rules: Vec<RuleSnapshot>,
    access_log: AccessLogFigures,
) -> FromForwarder {
    let mut listeners: Vec<ListenerStatus> = snapshot.listeners.into_iter().map(listener).collect();
    for rule in rules {
        if let Some(listener) = listeners
            .iter_mut()
            .find(|listener| listener.name == rule.listener)
        {
            listener.rules.push(RuleStatus {
                name: rule.name,
                action: rule.action.to_string(),
                requests_total: rule.requests_total,
                sticky: rule.sticky.map(sticky),
            });
        }
    }
    FromForwarder::Snapshot {
        listeners,
        groups: snapshot.groups.into_iter().map(group).collect(),
        access_log: AccessLogCounts {
            written: access_log.written,
            lost: access_log.lost,
            why: access_log.why,
        },
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
        requests_per_s: None,
        failures_per_s: None,
        http2_requests_total: listener.http2.requests_total,
        http2_streams: listener.http2.streams,
        http2_connections: u64::from(listener.http2.connections),
        http2_connections_total: listener.http2.connections_total,
        tunnels: u64::from(listener.tunnels),
        tunnels_total: listener.tunnels_total,
        request_times: (listener.request_times.iter())
            .map(|(class, timings)| ((*class).to_owned(), times(timings)))
            .collect(),
        bytes_in_total: listener.bytes_total.0,
        bytes_out_total: listener.bytes_total.1,
        handshakes_total: listener.handshakes.total(),
        resumed_total: listener.handshakes.resumed(),
        tls12_total: listener.handshakes.full_12 + listener.handshakes.resumed_12,
        tls12_resumed_total: listener.handshakes.resumed_12,
        datagrams: listener
            .datagrams_total
            .map(|(to_targets, to_clients)| DatagramTotals {
                to_targets,
                to_clients,
            }),
        causes: listener
            .causes
            .into_iter()
            .map(|(cause, count)| (cause.to_owned(), count))
            .collect(),
        action: action(listener.rules, &listener.action.to_string()),
        rules: Vec::new(),
    }
}

/// `app`, or `3 rules, else app`.
fn action(rules: usize, otherwise: &str) -> String {
    match rules {
        0 => otherwise.to_owned(),
        1 => format!("1 rule, else {otherwise}"),
        more => format!("{more} rules, else {otherwise}"),
    }
}

fn group(group: GroupSnapshot) -> GroupStatus {
    GroupStatus {
        name: group.name,
        algorithm: group.algorithm.to_owned(),
        speech: group.speech,
        usable: group.usable as u32,
        total: group.total as u32,
        queued: u64::from(group.queued),
        queued_total: group.queue_totals.waited,
        queue_overflows_total: group.queue_totals.overflows,
        queue_timeouts_total: group.queue_totals.timeouts,
        retries_total: group.retries_total,
        retries_refused_total: group.retries_refused_total,
        fails_open: group.fails_open,
        times: group_times(&group.times),
        sticky: group.sticky.map(sticky),
        targets: group.targets.into_iter().map(target).collect(),
    }
}

fn times(timings: &Timings) -> Times {
    Times {
        counts: timings.counts.to_vec(),
        sum_us: timings.sum_us,
    }
}

fn group_times(group: &forwarder::GroupTimes) -> Option<GroupTimes> {
    let all = [&group.queue, &group.connect, &group.first_byte];
    let used = all.into_iter().any(|timings| timings.total() > 0);
    used.then(|| GroupTimes {
        queue: times(&group.queue),
        connect: times(&group.connect),
        first_byte: times(&group.first_byte),
    })
}

/// What a target has answered, if it has.
fn answers(target: &TargetSnapshot) -> Option<AnswerTotals> {
    let first_byte = times(&target.first_byte);
    let used = first_byte.total() > 0 || target.answers_total.iter().any(|count| *count > 0);
    used.then(|| AnswerTotals {
        by_class: target.answers_total,
        first_bytes: first_byte.total(),
        first_byte_sum_us: first_byte.sum_us,
        first_byte_counts: first_byte.counts,
    })
}

/// How clients stay where they were sent.
fn sticky(sticky: StickySnapshot) -> StickyStatus {
    let total = |wanted| {
        let mut requests = sticky.requests.iter();
        let found = requests.find(|(binding, _)| *binding == wanted);
        found.map_or(0, |(_, total)| *total)
    };
    StickyStatus {
        new_total: total(Binding::New),
        hit_total: total(Binding::Hit),
        moved_total: total(Binding::Moved),
        none_total: total(Binding::None),
        refused_total: sticky.refused_total,
        cookie: sticky.cookie,
    }
}

/// One target.
pub(crate) fn target(target: TargetSnapshot) -> TargetStatus {
    TargetStatus {
        answers: answers(&target),
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
        since: None,
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
        leaves_in_ms: (target.leaves_in)
            .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        weight: target.weight,
        weight_in_file: None,
        in_flight: u64::from(target.in_flight),
        requests_total: target.requests_total,
        requests_per_s: None,
        errors_total: target.errors_total,
        ejections_total: target.ejections_total,
        checks: target.checks_total.map(|totals| CheckTotals {
            passed: totals.passed,
            failed: totals.failed,
            falls: totals.falls,
            down_s: totals.down.as_secs_f64(),
        }),
        warm_percent: target.warm_percent,
        why: (!target.why.is_empty()).then_some(target.why),
    }
}
