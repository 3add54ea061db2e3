//! What requests came to: times as histograms, answers, bytes.

use control::{GroupStatus, ListenerStatus, Status, Times};

use super::Family;

/// Writes them, of what has had any.
pub(super) fn write(text: &mut String, status: &Status) {
    write_listeners(text, &status.listeners);
    write_groups(text, &status.groups);
    write_targets(text, &status.groups);
}

fn write_listeners(text: &mut String, listeners: &[ListenerStatus]) {
    let mut requests = Family::new(
        "tandem_request_seconds",
        "histogram",
        "How long requests took, by the class of their answer.",
    );
    let mut bytes = Family::new(
        "tandem_listener_bytes_total",
        "counter",
        "Octets received from clients and sent to them.",
    );
    for listener in listeners {
        let name = ("listener", listener.name.as_str());
        for (class, times) in &listener.request_times {
            histogram(&mut requests, &[name, ("class", class)], times);
        }
        let directions = [
            ("in", listener.bytes_in_total),
            ("out", listener.bytes_out_total),
        ];
        for (direction, total) in directions {
            bytes.sample(&[name, ("direction", direction)], total as f64);
        }
    }
    requests.finish(text);
    bytes.finish(text);
}

fn write_groups(text: &mut String, groups: &[GroupStatus]) {
    let new = |name, help| Family::new(name, "histogram", help);
    let mut queue = new(
        "tandem_queue_seconds",
        "How long requests or connections of a group waited for a place, of those that had to.",
    );
    let mut connect = new(
        "tandem_connect_seconds",
        "How long it took to open connections to targets.",
    );
    let mut first_byte = new(
        "tandem_first_byte_seconds",
        "From the moment a request was given to a target until its answer began.",
    );
    let mut total = Family::new("tandem_group_targets", "gauge", "Targets of a group.");
    let mut fails_open = Family::new(
        "tandem_group_fail_open",
        "gauge",
        "1 while no target is usable and they are tried all the same.",
    );
    for group in groups {
        let name = [("group", group.name.as_str())];
        total.sample(&name, f64::from(group.total));
        fails_open.sample(&name, f64::from(u8::from(group.fails_open)));
        let Some(times) = &group.times else { continue };
        histogram(&mut queue, &name, &times.queue);
        histogram(&mut connect, &name, &times.connect);
        histogram(&mut first_byte, &name, &times.first_byte);
    }
    for family in [total, fails_open, queue, connect, first_byte] {
        family.finish(text);
    }
}

/// A histogram for each target would be too much of a text: of targets there is the mean.
fn write_targets(text: &mut String, groups: &[GroupStatus]) {
    let mut answers = Family::new(
        "tandem_target_answers_total",
        "counter",
        "Answers of a target itself, by class of status.",
    );
    let mut first_byte = Family::new(
        "tandem_target_first_byte_seconds",
        "summary",
        "From the moment a request was given to the target until its answer began.",
    );
    let mut weight = Family::new(
        "tandem_target_weight",
        "gauge",
        "Its weight, as it counts at this moment.",
    );
    for group in groups {
        for target in &group.targets {
            let labels = [
                ("group", group.name.as_str()),
                ("target", target.name.as_str()),
            ];
            weight.sample(&labels, f64::from(target.weight));
            let Some(totals) = &target.answers else {
                continue;
            };
            let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
            for (class, count) in classes.into_iter().zip(totals.by_class) {
                answers.sample(&[labels[0], labels[1], ("class", class)], count as f64);
            }
            first_byte.part("_sum", &labels, seconds(totals.first_byte_sum_us));
            first_byte.part("_count", &labels, totals.first_bytes as f64);
        }
    }
    for family in [answers, first_byte, weight] {
        family.finish(text);
    }
}

/// The samples of one histogram: Prometheus wants each bucket to hold what is in those before it.
fn histogram(family: &mut Family, labels: &[(&str, &str)], times: &Times) {
    let mut up_to = 0;
    let bounds = balancer::Timings::BOUNDS_US.map(|bound| seconds(bound).to_string());
    let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
    for (bound, count) in bounds.zip(&times.counts) {
        up_to += count;
        let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
        family.part("_bucket", &labels, up_to as f64);
    }
    family.part("_sum", labels, seconds(times.sum_us));
    family.part("_count", labels, times.total() as f64);
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_written_as_prometheus_reads_it() {
        let mut counts = vec![0; balancer::Timings::BUCKETS];
        (counts[0], counts[2], counts[15]) = (3, 2, 1);
        let times = Times {
            counts,
            sum_us: 31_500_000,
        };
        let mut family = Family::new("tandem_connect_seconds", "histogram", "Time.");
        histogram(&mut family, &[("group", "app")], &times);
        let mut text = String::new();
        family.finish(&mut text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..5],
            [
                "# HELP tandem_connect_seconds Time.",
                "# TYPE tandem_connect_seconds histogram",
                "tandem_connect_seconds_bucket{group=\"app\",le=\"0.0005\"} 3",
                "tandem_connect_seconds_bucket{group=\"app\",le=\"0.001\"} 3",
                "tandem_connect_seconds_bucket{group=\"app\",le=\"0.0025\"} 5",
            ]
        );
        assert_eq!(
            lines[16..],
            [
                "tandem_connect_seconds_bucket{group=\"app\",le=\"30\"} 5",
                "tandem_connect_seconds_bucket{group=\"app\",le=\"+Inf\"} 6",
                "tandem_connect_seconds_sum{group=\"app\"} 31.5",
                "tandem_connect_seconds_count{group=\"app\"} 6",
            ]
        );
    }
}
