//! One metric as Prometheus reads it.

use std::fmt::Write;

/// One metric with its samples.
pub(super) struct Family {
    name: &'static str,
    head: String,
    samples: String,
}

impl Family {
    pub(super) fn new(name: &'static str, kind: &str, help: &str) -> Self {
        Self {
            name,
            head: format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
            samples: String::new(),
        }
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.part("", labels, value);
    }

    /// A sample whose name goes on with `ending`.
    pub(super) fn part(&mut self, ending: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.samples, "{}{ending}{labels} {value}", self.name);
    }

    /// Appends the metric, if it has samples.
    pub(super) fn finish(self, text: &mut String) {
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
        let mut bare = Family::new("tandem_forwarder_up", "gauge", "1 while it serves.");
        bare.sample(&[], 1.0);
        bare.finish(&mut text);
        Family::new("tandem_none", "gauge", "Nothing.").finish(&mut text);
        assert_eq!(
            text,
            "# HELP tandem_target_up 1 when a target gets traffic.\n# TYPE tandem_target_up gauge\ntandem_target_up{group=\"app\",target=\"a\\\"b\"} 1\n\
             # HELP tandem_forwarder_up 1 while it serves.\n# TYPE tandem_forwarder_up gauge\ntandem_forwarder_up 1\n"
        );
    }
}
