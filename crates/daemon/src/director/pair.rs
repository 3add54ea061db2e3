//! Both nodes side by side: what this one tells the other of itself on the second path, and where the two differ.
//!
//! It is for people. Nothing is decided by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use control::internal::ToForwarder;
use control::{CheckState, ErrorAnswer, NodeFacts, NodeReport, PairReport};

use super::heartbeat::HeardFacts;
use super::{Director, plane, timestamp};

/// Between two messages that tell it: twice the slowest heartbeat, so that a way on which long messages are lost carries every second one.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// Between two questions to the forwarder about targets that have changed: its answer is long.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// Octets of the names and words of each list that are told: with the virtual routers it has to fit into one message.
const LISTED: usize = 2048;
/// Clocks that are further apart than this are worth a word.
const SAME_TIME_MS: i64 = 1000;

impl Director {
    /// What this node says of itself.
    pub(super) fn own_facts(&self) -> NodeFacts {
        let mut left_out = 0;
        let ticket_keys = plane::ticket_marks(&self.running.config);
        let certificates = self.certificate_status().into_iter();
        let certificates = certificates.map(|one| (one.name, one.serial));
        let pair = |(name, words): &(String, String)| name.len() + words.len();
        let overrides = self.overrides_status().into_iter();
        let overrides = overrides.map(|order| format!("{} {}", order.subject, order.words));
        let targets = self.figures.groups.iter().flat_map(|group| {
            let not_up = |check| matches!(check, CheckState::Down | CheckState::Unknown);
            let targets = group.targets.iter();
            targets
                .filter(move |target| not_up(target.check))
                .map(|target| {
                    let name = format!("{}/{}", group.name, target.name);
                    (name, target.check.as_str().to_owned())
                })
        });
        NodeFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: self.running.config.hash.clone(),
            said_at: timestamp(),
            ticket_keys,
            certificates: some(certificates, pair, &mut left_out),
            overrides: some(overrides, String::len, &mut left_out),
            not_up: some(targets, pair, &mut left_out),
            left_out,
        }
    }

    /// Asks the forwarder again where targets have changed since it was asked, so that what is told is not of yesterday.
    pub(super) fn look_at_targets(&mut self, now: Instant) {
        let asked = self.figures.asked_at;
        let rests = asked.is_some_and(|at| now.saturating_duration_since(at) < ASK_INTERVAL);
        if self.figures.stale && !rests && self.plane.ask(ToForwarder::Snapshot) {
            self.figures.stale = false;
            self.figures.asked_at = Some(now);
        }
    }

    /// Both nodes; what to say where there are not two.
    pub(super) fn pair_report(&self, now: Instant) -> Result<PairReport, ErrorAnswer> {
        let Some(pair) = &self.running.config.pair else {
            return Err(ErrorAnswer {
                error: "this node is not one of a pair".to_owned(),
                remedy: Some("nodes = {...} under [pair] makes it one".to_owned()),
            });
        };
        let heartbeat = self.second_path.heartbeat.as_ref();
        let heard = heartbeat.and_then(|heartbeat| heartbeat.heard_facts(now));
        let heard_at = heartbeat.and_then(|heartbeat| Some(heartbeat.heard()?.0));
        let heard_ms = heard_at.map(|at| {
            let age = now.saturating_duration_since(at).as_millis();
            u64::try_from(age).unwrap_or(u64::MAX)
        });
        let report = |(index, node): (usize, &config::Node)| {
            let this = index == pair.this;
            let other = heard.filter(|_| !this);
            NodeReport {
                name: node.name.clone(),
                address: node.address,
                this,
                heard_ms: heard_ms.filter(|_| !this),
                clock_ahead_ms: other.map(|heard| heard.clock_ahead_ms),
                facts: match this {
                    true => Some(self.own_facts()),
                    false => other.map(|HeardFacts { facts, .. }| facts.clone()),
                },
            }
        };
        let nodes: Vec<NodeReport> = pair.nodes.iter().enumerate().map(report).collect();
        let own = nodes.iter().find(|node| node.this);
        let other = nodes.iter().find(|node| !node.this);
        let differences = own.zip(other).map_or_else(Vec::new, differences);
        Ok(PairReport { nodes, differences })
    }
}

/// The first of a list, as many as there is room for; the others are counted.
fn some<T, C: FromIterator<T>>(
    all: impl Iterator<Item = T>,
    len: impl Fn(&T) -> usize,
    left_out: &mut u64,
) -> C {
    let mut room = LISTED;
    let fits = |entry: &T| {
        let left = room.checked_sub(len(entry));
        room = left.unwrap_or(0);
        *left_out += u64::from(left.is_none());
        left.is_some()
    };
    all.filter(fits).collect()
}

/// Where two nodes differ and should not, a sentence each.
fn differences((own, other): (&NodeReport, &NodeReport)) -> Vec<String> {
    let (Some(a), Some(b)) = (&own.facts, &other.facts) else {
        return Vec::new();
    };
    let (own, name) = (&own.name, &other.name);
    let mut found = Vec::new();
    if a.version != b.version {
        found.push(format!(
            "{name} runs tandemd {}, {own} {}",
            b.version, a.version
        ));
    }
    if a.config_hash != b.config_hash {
        found.push(format!(
            "{name} runs configuration {}, {own} {}: copy the file and reload",
            b.config_hash, a.config_hash
        ));
    }
    if let Some(ahead) = other
        .clock_ahead_ms
        .filter(|ahead| ahead.abs() > SAME_TIME_MS)
    {
        let seconds = ahead.unsigned_abs() as f64 / 1000.0;
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        found.push(format!(
            "the clock of {name} is {seconds:.1} s {way} that of {own}"
        ));
    }
    if a.ticket_keys != b.ticket_keys {
        found.push(format!(
            "{name} makes session tickets with {}, {own} with {}: keys of the pair differ",
            keys(&b.ticket_keys),
            keys(&a.ticket_keys)
        ));
    }
    let whole = a.left_out + b.left_out == 0;
    let nothing = "none".to_owned();
    for (certificate, [ours, theirs]) in both(&a.certificates, &b.certificates) {
        if ours != theirs && (whole || (ours.is_some() && theirs.is_some())) {
            let (ours, theirs) = (ours.unwrap_or(&nothing), theirs.unwrap_or(&nothing));
            found.push(format!(
                "certificate {certificate}: {name} has serial {theirs}, {own} {ours}"
            ));
        }
    }
    let only = |ours: &[String], theirs: &[String], node: &str| -> Vec<String> {
        let missing = ours.iter().filter(|order| whole && !theirs.contains(order));
        missing
            .map(|order| format!("ordered on {node} only: {order}"))
            .collect()
    };
    found.extend(only(&a.overrides, &b.overrides, own));
    found.extend(only(&b.overrides, &a.overrides, name));
    let up = "up".to_owned();
    for (target, [ours, theirs]) in both(&a.not_up, &b.not_up) {
        if ours != theirs && (whole || (ours.is_some() && theirs.is_some())) {
            let (ours, theirs) = (ours.unwrap_or(&up), theirs.unwrap_or(&up));
            found.push(format!("{name} sees {target} {theirs}, {own} {ours}"));
        }
    }
    found
}

fn keys(marks: &[String]) -> String {
    match marks.is_empty() {
        true => "keys of its own".to_owned(),
        false => marks.join(", "),
    }
}

/// What two maps have for each key of either.
fn both<'a>(
    a: &'a BTreeMap<String, String>,
    b: &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, [Option<&'a String>; 2]> {
    let names = a.keys().chain(b.keys());
    names
        .map(|name| (name.as_str(), [a.get(name), b.get(name)]))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn facts() -> NodeFacts {
        NodeFacts {
            version: "0.1.0".to_owned(),
            config_hash: "8f3a17c0ffee".to_owned(),
            said_at: control::Timestamp::from_millis(0),
            ticket_keys: vec!["1f2e3d4c".to_owned()],
            certificates: [("web".to_owned(), "03a1".to_owned())].into(),
            overrides: vec!["app/a drain".to_owned()],
            not_up: [("app/b".to_owned(), "down".to_owned())].into(),
            left_out: 0,
        }
    }

    fn node(name: &str, this: bool, facts: Option<NodeFacts>, ahead: Option<i64>) -> NodeReport {
        NodeReport {
            name: name.to_owned(),
            address: "10.0.0.2".parse().unwrap(),
            this,
            heard_ms: None,
            clock_ahead_ms: ahead,
            facts,
        }
    }

    fn found(other: NodeFacts, ahead: i64) -> Vec<String> {
        let own = node("lb1", true, Some(facts()), None);
        differences((&own, &node("lb2", false, Some(other), Some(ahead))))
    }

    #[test]
    fn nodes_that_agree_and_one_that_is_silent_have_no_differences() {
        let mut later = facts();
        later.said_at = control::Timestamp::from_millis(900);
        assert_eq!(found(later, 900), Vec::<String>::new());
        let own = node("lb1", true, Some(facts()), None);
        let silent = node("lb2", false, None, None);
        assert_eq!(differences((&own, &silent)), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_a_sentence() {
        let other = NodeFacts {
            version: "0.2.0".to_owned(),
            config_hash: "0123456789ab".to_owned(),
            ticket_keys: Vec::new(),
            certificates: [("web".to_owned(), "04".to_owned())].into(),
            overrides: vec!["site web-v2=25".to_owned()],
            not_up: [("app/c".to_owned(), "unknown".to_owned())].into(),
            ..facts()
        };
        let expected = [
            "lb2 runs tandemd 0.2.0, lb1 0.1.0",
            "lb2 runs configuration 0123456789ab, lb1 8f3a17c0ffee: copy the file and reload",
            "the clock of lb2 is 3.2 s behind that of lb1",
            "lb2 makes session tickets with keys of its own, lb1 with 1f2e3d4c: keys of the pair differ",
            "certificate web: lb2 has serial 04, lb1 03a1",
            "ordered on lb1 only: app/a drain",
            "ordered on lb2 only: site web-v2=25",
            "lb2 sees app/b up, lb1 down",
            "lb2 sees app/c unknown, lb1 up",
        ];
        assert_eq!(found(other, -3210), expected);
    }

    #[test]
    fn what_was_left_out_of_a_list_is_no_difference() {
        let mut other = facts();
        other.overrides.clear();
        other.not_up.clear();
        other.certificates.clear();
        other.left_out = 1;
        assert_eq!(found(other, 0), Vec::<String>::new());
        let mut left_out = 0;
        let names = (0..300).map(|number| format!("target{number:04}"));
        let listed: Vec<String> = some(names, String::len, &mut left_out);
        assert_eq!((listed.len(), left_out), (204, 96));
    }
}
