//! How things stand: the forwarder, what listeners may have, targets axis by axis.

use control::{CheckState, ForwarderState, GroupStatus, PassiveState, Status, TargetStatus};

use super::Family;
use crate::director::Director;

impl Director {
    /// How many connections each listener may have.
    pub(super) fn write_limits(&self, text: &mut String) {
        let mut limits = Family::new(
            "tandem_listener_connections_limit",
            "gauge",
            "Client connections a listener may have.",
        );
        for listener in &self.running.config.listeners {
            let labels = [("listener", listener.name.as_str())];
            limits.sample(&labels, f64::from(listener.limits.connections));
        }
        limits.finish(text);
    }
}

pub(super) fn write(text: &mut String, status: &Status) {
    write_forwarder(text, status);
    write_conditions(text, status);
    write_checks(text, status);
}

fn write_forwarder(text: &mut String, status: &Status) {
    let forwarder = &status.forwarder;
    if forwarder.state == ForwarderState::Off {
        return;
    }
    let mut up = Family::new(
        "tandem_forwarder_up",
        "gauge",
        "1 while the forwarder serves what is configured.",
    );
    let is_up = forwarder.state == ForwarderState::Running;
    up.sample(&[], f64::from(u8::from(is_up)));
    up.finish(text);
    let mut restarts = Family::new(
        "tandem_forwarder_restarts_total",
        "counter",
        "Times a forwarder that had ended was started again.",
    );
    restarts.sample(&[], forwarder.restarts as f64);
    restarts.finish(text);
    let mut connections = Family::new(
        "tandem_listener_connections_total",
        "counter",
        "Client connections accepted.",
    );
    for listener in &status.listeners {
        let labels = [("listener", listener.name.as_str())];
        connections.sample(&labels, listener.connections_total as f64);
    }
    connections.finish(text);
}

fn write_conditions(text: &mut String, status: &Status) {
    let mut states = Family::new(
        "tandem_target_state",
        "gauge",
        "1 for the state a target is in, what was observed and ordered together.",
    );
    let mut checks = Family::new(
        "tandem_target_check_up",
        "gauge",
        "1 while the check of a target passes, 0 while it fails; absent where it is not checked.",
    );
    let mut ejected = Family::new(
        "tandem_target_ejected",
        "gauge",
        "1 while live traffic keeps a target out; absent where it cannot.",
    );
    for (group, target) in targets(status) {
        let labels = labels(group, target);
        let state = ("state", target.state.as_str());
        states.sample(&[labels[0], labels[1], state], 1.0);
        match target.check {
            CheckState::Up => checks.sample(&labels, 1.0),
            CheckState::Down => checks.sample(&labels, 0.0),
            CheckState::Off | CheckState::Unknown => {}
        }
        match target.passive {
            PassiveState::Ok => ejected.sample(&labels, 0.0),
            PassiveState::Ejected => ejected.sample(&labels, 1.0),
            PassiveState::Off | PassiveState::Unknown => {}
        }
    }
    for family in [states, checks, ejected] {
        family.finish(text);
    }
}

/// What checks have found over time.
fn write_checks(text: &mut String, status: &Status) {
    let new = |name, help| Family::new(name, "counter", help);
    let mut checks = new(
        "tandem_target_checks_total",
        "Checks of a target by what they found.",
    );
    let mut falls = new(
        "tandem_target_falls_total",
        "Times the check took a target down.",
    );
    let mut down = new(
        "tandem_target_down_seconds_total",
        "How long the check has kept a target down.",
    );
    for (group, target) in targets(status) {
        let Some(totals) = target.checks else {
            continue;
        };
        let labels = labels(group, target);
        for (result, count) in [("passed", totals.passed), ("failed", totals.failed)] {
            checks.sample(&[labels[0], labels[1], ("result", result)], count as f64);
        }
        falls.sample(&labels, totals.falls as f64);
        down.sample(&labels, totals.down_s);
    }
    for family in [checks, falls, down] {
        family.finish(text);
    }
}

fn targets(status: &Status) -> impl Iterator<Item = (&GroupStatus, &TargetStatus)> {
    let groups = status.groups.iter();
    groups.flat_map(|group| group.targets.iter().map(move |target| (group, target)))
}

fn labels<'a>(group: &'a GroupStatus, target: &'a TargetStatus) -> [(&'static str, &'a str); 2] {
    [
        ("group", group.name.as_str()),
        ("target", target.name.as_str()),
    ]
}
