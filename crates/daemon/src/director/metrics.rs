//! The figures in Prometheus text format.

use std::time::Instant;

use control::{GroupStatus, Status, TargetCondition, TargetStatus};

use super::Director;

mod family;
mod node;
mod protocols;
mod standing;
mod traffic;

use self::family::Family;

impl Director {
    /// Everything that has a number, from the same values as `tandem status`.
    pub(super) fn metrics(&self, now: Instant) -> String {
        let mut text = String::new();
        write_status(&mut text, &self.status(now));
        let mut adverts = Family::new(
            "tandem_vrrp_advertisements_total",
            "counter",
            "Advertisements by what became of them.",
        );
        for instance in &self.instances {
            for (what, count) in instance.counters.iter() {
                adverts.sample(
                    &[("name", &instance.config.name), ("result", what)],
                    count as f64,
                );
            }
        }
        adverts.finish(&mut text);
        self.write_evidence(&mut text, now);
        self.write_tracking(&mut text, now);
        self.write_hooks(&mut text);
        self.write_orders(&mut text);
        self.write_certificates(&mut text, now);
        self.write_history(&mut text);
        self.write_access_log(&mut text);
        self.write_limits(&mut text);
        self.write_reloads(&mut text);
        text
    }
}

fn write_status(text: &mut String, status: &Status) {
    let mut info = Family::new(
        "tandem_config_info",
        "gauge",
        "The running configuration, by hash.",
    );
    info.sample(
        &[
            ("hash", &status.config.hash),
            ("node", &status.node),
            ("version", &status.version),
        ],
        1.0,
    );
    info.finish(text);
    let mut states = Family::new(
        "tandem_vrrp_state",
        "gauge",
        "1 for the state a virtual router is in.",
    );
    let mut priorities = Family::new("tandem_vrrp_priority", "gauge", "Priority after tracking.");
    for router in &status.vrrp {
        let labels = [
            ("name", router.name.as_str()),
            ("family", router.family.as_str()),
        ];
        states.sample(
            &[labels[0], labels[1], ("state", router.state.as_str())],
            1.0,
        );
        priorities.sample(&labels, f64::from(router.effective_priority));
    }
    states.finish(text);
    priorities.finish(text);
    let mut connections = Family::new(
        "tandem_listener_connections",
        "gauge",
        "Client connections open.",
    );
    let mut requests = Family::new(
        "tandem_listener_requests_total",
        "counter",
        "Requests answered.",
    );
    let mut rules = Family::new(
        "tandem_rule_requests_total",
        "counter",
        "Requests or connections that have met a rule.",
    );
    let mut datagrams = Family::new(
        "tandem_listener_datagrams_total",
        "counter",
        "Datagrams passed on, by where to.",
    );
    let mut causes = Family::new(
        "tandem_listener_failures_total",
        "counter",
        "What did not go well, by cause.",
    );
    for listener in &status.listeners {
        let name = ("listener", listener.name.as_str());
        if let Some(totals) = listener.datagrams {
            datagrams.sample(&[name, ("to", "targets")], totals.to_targets as f64);
            datagrams.sample(&[name, ("to", "clients")], totals.to_clients as f64);
        }
        for (cause, count) in &listener.causes {
            causes.sample(&[name, ("cause", cause)], *count as f64);
        }
        for rule in &listener.rules {
            let labels = [
                ("listener", listener.name.as_str()),
                ("rule", rule.name.as_str()),
            ];
            rules.sample(&labels, rule.requests_total as f64);
        }
        connections.sample(&[("listener", &listener.name)], listener.connections as f64);
        requests.sample(
            &[("listener", &listener.name)],
            listener.requests_total as f64,
        );
    }
    connections.finish(text);
    requests.finish(text);
    datagrams.finish(text);
    causes.finish(text);
    rules.finish(text);
    protocols::write(text, status);
    write_targets(text, status);
    standing::write(text, status);
    traffic::write(text, status);
    write_sticky(text, status);
}

/// How clients stay where they were sent.
fn write_sticky(text: &mut String, status: &Status) {
    let new = |name, help| Family::new(name, "counter", help);
    let mut groups = new(
        "tandem_sticky_requests_total",
        "Requests of a group that binds clients to targets, by what became of that.",
    );
    let mut refused = new(
        "tandem_sticky_refused_total",
        "Cookies of a group that were not believed.",
    );
    let mut rules = new(
        "tandem_rule_sticky_requests_total",
        "Requests of a rule that binds clients to groups, by what became of that.",
    );
    for group in &status.groups {
        let Some(sticky) = &group.sticky else {
            continue;
        };
        let label = ("group", group.name.as_str());
        for (outcome, total) in sticky.requests() {
            groups.sample(&[label, ("outcome", outcome)], total as f64);
        }
        refused.sample(&[label], sticky.refused_total as f64);
    }
    for listener in &status.listeners {
        for rule in &listener.rules {
            let requests = rule.sticky.iter().flat_map(|sticky| sticky.requests());
            for (outcome, total) in requests {
                let labels = [
                    ("listener", listener.name.as_str()),
                    ("rule", rule.name.as_str()),
                    ("outcome", outcome),
                ];
                rules.sample(&labels, total as f64);
            }
        }
    }
    for family in [groups, refused, rules] {
        family.finish(text);
    }
}

fn write_targets(text: &mut String, status: &Status) {
    let mut usable = Family::new(
        "tandem_group_targets_usable",
        "gauge",
        "Targets that may get traffic.",
    );
    let mut up = Family::new("tandem_target_up", "gauge", "1 when a target gets traffic.");
    let mut in_flight = Family::new(
        "tandem_target_in_flight",
        "gauge",
        "Requests or connections on their way.",
    );
    let mut requests = Family::new(
        "tandem_target_requests_total",
        "counter",
        "Requests or connections sent.",
    );
    for group in &status.groups {
        usable.sample(&[("group", &group.name)], f64::from(group.usable));
        for target in &group.targets {
            let labels = [
                ("group", group.name.as_str()),
                ("target", target.name.as_str()),
            ];
            up.sample(
                &labels,
                f64::from(u8::from(matches!(
                    target.state,
                    TargetCondition::Up | TargetCondition::Starting
                ))),
            );
            in_flight.sample(&labels, target.in_flight as f64);
            requests.sample(&labels, target.requests_total as f64);
        }
    }
    for family in [usable, up, in_flight, requests] {
        family.finish(text);
    }
    write_protection(text, status);
}

/// What a metric reads of a group or target.
type Figure<T> = fn(&T) -> u64;

/// What kept targets and clients from each other's trouble.
fn write_protection(text: &mut String, status: &Status) {
    let new = |name, kind, help| Family::new(name, kind, help);
    let groups: [(Family, Figure<GroupStatus>); 6] = [
        (
            new(
                "tandem_group_queue",
                "gauge",
                "Requests or connections that wait for a place.",
            ),
            |group| group.queued,
        ),
        (
            new(
                "tandem_group_queued_total",
                "counter",
                "Requests or connections that had to wait.",
            ),
            |group| group.queued_total,
        ),
        (
            new(
                "tandem_group_queue_overflows_total",
                "counter",
                "Those that found the queue full.",
            ),
            |group| group.queue_overflows_total,
        ),
        (
            new(
                "tandem_group_queue_timeouts_total",
                "counter",
                "Those that got no place in time.",
            ),
            |group| group.queue_timeouts_total,
        ),
        (
            new(
                "tandem_group_retries_total",
                "counter",
                "Attempts made again.",
            ),
            |group| group.retries_total,
        ),
        (
            new(
                "tandem_group_retries_refused_total",
                "counter",
                "Retries the budget did not allow.",
            ),
            |group| group.retries_refused_total,
        ),
    ];
    for (mut family, value) in groups {
        for group in &status.groups {
            family.sample(&[("group", &group.name)], value(group) as f64);
        }
        family.finish(text);
    }
    let targets: [(Family, Figure<TargetStatus>); 2] = [
        (
            new(
                "tandem_target_errors_total",
                "counter",
                "Failed by the target's fault.",
            ),
            |target| target.errors_total,
        ),
        (
            new(
                "tandem_target_ejections_total",
                "counter",
                "Times live traffic took it out.",
            ),
            |target| target.ejections_total,
        ),
    ];
    for (mut family, value) in targets {
        for group in &status.groups {
            for target in &group.targets {
                let labels = [
                    ("group", group.name.as_str()),
                    ("target", target.name.as_str()),
                ];
                family.sample(&labels, value(target) as f64);
            }
        }
        family.finish(text);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_metric_is_documented() {
        let page = include_str!("../../../../docs/metrics.md");
        let sources = [
            include_str!("metrics.rs"),
            include_str!("metrics/node.rs"),
            include_str!("metrics/protocols.rs"),
            include_str!("metrics/standing.rs"),
            include_str!("metrics/traffic.rs"),
        ];
        let written = sources.map(|source| source.split("#[cfg(test)]").next().unwrap_or_default());
        let names = (written.iter())
            .flat_map(|source| source.split('"'))
            .filter(|text| text.starts_with("tandem_"));
        for name in names {
            assert!(
                page.contains(&format!("| `{name}` |")),
                "{name} is not in docs/metrics.md"
            );
        }
    }
}
