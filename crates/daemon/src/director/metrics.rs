//! The figures in Prometheus text format.

use std::fmt::Write;
use std::time::Instant;

use control::{GroupStatus, Status, TargetCondition, TargetStatus};

use super::Director;

mod protocols;
mod traffic;

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
        self.write_reloads(&mut text);
        text
    }
}

impl Director {
    /// How everything tracked stands.
    fn write_tracking(&self, text: &mut String, now: Instant) {
        let mut up = Family::new(
            "tandem_track_up",
            "gauge",
            "1 while something tracked is up, 0 while it is down, flapping or not known yet.",
        );
        let mut took = Family::new(
            "tandem_track_look_seconds",
            "gauge",
            "How long the last look at something tracked took.",
        );
        for instance in &self.instances {
            for tracked in self.tracked_status(instance, now) {
                let labels = [
                    ("name", instance.config.name.as_str()),
                    ("what", tracked.what.as_str()),
                ];
                up.sample(&labels, f64::from(u8::from(tracked.state == "up")));
                if let Some(took_ms) = tracked.took_ms {
                    took.sample(&labels, took_ms as f64 / 1000.0);
                }
            }
        }
        up.finish(text);
        took.finish(text);
    }

    /// How long certificates are valid.
    fn write_certificates(&self, text: &mut String, now: Instant) {
        let status = self.status(now);
        let mut ends = Family::new(
            "tandem_cert_not_after_seconds",
            "gauge",
            "When a certificate ceases to be valid, in seconds since 1970.",
        );
        for certificate in &status.certificates {
            let labels = [("certificate", certificate.name.as_str())];
            ends.sample(&labels, (certificate.not_after.as_millis() / 1000) as f64);
        }
        ends.finish(text);
    }

    /// What became of hooks and of lines for the FIFO.
    fn write_hooks(&self, text: &mut String) {
        let mut runs = Family::new(
            "tandem_hook_runs_total",
            "counter",
            "Hooks by what became of them.",
        );
        let with_hooks = |name: &str| {
            let routers = &self.running.config.vrrp;
            let mut own = routers.iter().filter(|router| router.name == name);
            own.any(|router| !router.hooks.programs.is_empty())
        };
        for instance in &self.instances {
            let name = &instance.config.name;
            for (result, count) in self.hooks.results(name) {
                if count > 0 || with_hooks(name) {
                    runs.sample(&[("name", name), ("result", result)], count as f64);
                }
            }
        }
        runs.finish(text);
        if let Some((_, written, dropped)) = self.hooks.fifo.counts() {
            let mut lines = Family::new(
                "tandem_notify_fifo_lines_total",
                "counter",
                "Lines for the FIFO by what became of them.",
            );
            lines.sample(&[("result", "written")], written as f64);
            lines.sample(&[("result", "dropped")], dropped as f64);
            lines.finish(text);
        }
    }

    /// What has become of access log lines.
    fn write_access_log(&self, text: &mut String) {
        let mut lines = Family::new(
            "tandem_access_log_lines_total",
            "counter",
            "Lines of the access log by what became of them.",
        );
        let counts = &self.figures.access_log;
        lines.sample(&[("result", "written")], counts.written as f64);
        lines.sample(&[("result", "lost")], counts.lost as f64);
        lines.finish(text);
    }

    /// What became of reloads.
    fn write_reloads(&self, text: &mut String) {
        let mut reloads = Family::new(
            "tandem_config_reloads_total",
            "counter",
            "Reloads by what became of them.",
        );
        for (result, count) in self.reload.results() {
            reloads.sample(&[("result", result)], count as f64);
        }
        reloads.finish(text);
    }

    /// What operators have ordered, to find what was forgotten.
    fn write_orders(&self, text: &mut String) {
        let mut age = Family::new(
            "tandem_override",
            "gauge",
            "Age in seconds of each order that stands beside the file.",
        );
        let today = super::timestamp();
        for order in self.overrides_status() {
            let labels = [
                ("subject", order.subject.as_str()),
                ("kind", order.kind.as_str()),
            ];
            age.sample(&labels, order.at.age(today).as_secs_f64());
        }
        age.finish(text);
    }

    /// Claims of others, and the second path.
    fn write_evidence(&self, text: &mut String, now: Instant) {
        let mut conflicts = Family::new(
            "tandem_vrrp_address_conflicts_total",
            "counter",
            "Claims by others of addresses that are held here.",
        );
        for instance in &self.instances {
            let labels = [("name", instance.config.name.as_str())];
            conflicts.sample(&labels, instance.evidence.conflicts() as f64);
        }
        conflicts.finish(text);
        let Some(heartbeat) = &self.second_path.heartbeat else {
            return;
        };
        let peer = ("peer", heartbeat.peer_name.as_str());
        let mut alive = Family::new(
            "tandem_heartbeat_alive",
            "gauge",
            "1 while the other node is heard on the second path.",
        );
        alive.sample(&[peer], f64::from(u8::from(heartbeat.is_alive(now))));
        alive.finish(text);
        let mut refused = Family::new(
            "tandem_heartbeat_refused_total",
            "counter",
            "Messages on the second path that were not believed.",
        );
        for (reason, count) in heartbeat.refused() {
            refused.sample(&[peer, ("reason", reason)], *count as f64);
        }
        refused.finish(text);
    }

    /// Changes of state by cause, and what could not be written of them.
    fn write_history(&self, text: &mut String) {
        let mut transitions = Family::new(
            "tandem_vrrp_transitions_total",
            "counter",
            "Changes of state by cause.",
        );
        for instance in &self.instances {
            for (cause, count) in &instance.causes {
                transitions.sample(
                    &[("name", &instance.config.name), ("cause", cause)],
                    *count as f64,
                );
            }
        }
        transitions.finish(text);
        let status = self.recorder.status(self.journal.lost());
        let mut written = Family::new(
            "tandem_flight_recordings_total",
            "counter",
            "Recordings of changes of state by what became of them.",
        );
        written.sample(&[("result", "written")], status.written as f64);
        written.sample(&[("result", "lost")], status.lost as f64);
        written.finish(text);
        let mut lines = Family::new(
            "tandem_journal_lines_lost_total",
            "counter",
            "Lines of the journal that could not be written.",
        );
        lines.sample(&[], status.journal_lines_lost as f64);
        lines.finish(text);
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

/// One metric with its samples.
struct Family {
    name: &'static str,
    head: String,
    samples: String,
}

impl Family {
    fn new(name: &'static str, kind: &str, help: &str) -> Self {
        Self {
            name,
            head: format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
            samples: String::new(),
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.part("", labels, value);
    }

    /// A sample whose name goes on with `ending`.
    fn part(&mut self, ending: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.samples,
            "{}{ending}{{{}}} {value}",
            self.name,
            labels.join(",")
        );
    }

    /// Appends the metric, if it has samples.
    fn finish(self, text: &mut String) {
        if !self.samples.is_empty() {
            text.push_str(&self.head);
            text.push_str(&self.samples);
        }
    }
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_written_as_prometheus_reads_it() {
        let mut text = String::new();
        let mut family = Family::new("tandem_target_up", "gauge", "1 when a target gets traffic.");
        family.sample(&[("group", "app"), ("target", "a\"b")], 1.0);
        family.finish(&mut text);
        Family::new("tandem_none", "gauge", "Nothing.").finish(&mut text);
        assert_eq!(
            text,
            "# HELP tandem_target_up 1 when a target gets traffic.\n# TYPE tandem_target_up gauge\ntandem_target_up{group=\"app\",target=\"a\\\"b\"} 1\n"
        );
    }

    #[test]
    fn every_metric_is_documented() {
        let page = include_str!("../../../../docs/metrics.md");
        let sources = [
            include_str!("metrics.rs"),
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
