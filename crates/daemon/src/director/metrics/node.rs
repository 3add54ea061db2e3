//! What the director itself has to say: tracking, certificates, hooks, orders, evidence, history.

use std::time::Instant;

use super::Family;
use crate::director::{Director, timestamp};

impl Director {
    /// How everything tracked stands.
    pub(super) fn write_tracking(&self, text: &mut String, now: Instant) {
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
    pub(super) fn write_certificates(&self, text: &mut String, now: Instant) {
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
    pub(super) fn write_hooks(&self, text: &mut String) {
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
    pub(super) fn write_access_log(&self, text: &mut String) {
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
    pub(super) fn write_reloads(&self, text: &mut String) {
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
    pub(super) fn write_orders(&self, text: &mut String) {
        let mut age = Family::new(
            "tandem_override",
            "gauge",
            "Age in seconds of each order that stands beside the file.",
        );
        let today = timestamp();
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
    pub(super) fn write_evidence(&self, text: &mut String, now: Instant) {
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
        let mut age = Family::new(
            "tandem_pair_sync_age_seconds",
            "gauge",
            "Since the other node was last heard on the second path, where both compare what they run.",
        );
        if let Some((at, _)) = heartbeat.heard() {
            age.sample(&[peer], now.saturating_duration_since(at).as_secs_f64());
        }
        age.finish(text);
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
    pub(super) fn write_history(&self, text: &mut String) {
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
        let mut outage = Family::new(
            "tandem_failover_outage_seconds",
            "gauge",
            "Of the last takeover, from the last word of the router before to the announcement of the addresses here.",
        );
        for instance in &self.instances {
            if let Some(length) = instance.outage {
                outage.sample(&[("name", &instance.config.name)], length.as_secs_f64());
            }
        }
        outage.finish(text);
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
