//! The director's part in tracking: what the runner has to look at, what comes of it, and how it is shown.

use std::time::Instant;

use config::{Effect, TrackedCheck};
use control::{EventKind, TrackedStatus};

use super::Director;
use super::instance::Instance;
use super::journal::Entry;
use super::tracking::LinkFact;
use crate::runner::Finding;

impl Director {
    /// Has the runner look at what the running configuration tracks.
    pub(super) fn follow_checks(&mut self, now: Instant) {
        let config = &self.running.config;
        self.checks
            .set(now, config.vrrp.iter().map(|router| &**router));
        let node = self.node_name();
        self.runner.watch(node, self.checks.watches());
        self.order_runner();
    }

    /// The runner has looked at something.
    pub(super) fn on_found(&mut self, now: Instant, number: u64, finding: Finding) {
        let Some(changed) = self.checks.note(now, number, finding) else {
            return;
        };
        let mut tracked = (self.running.config.vrrp.iter()).flat_map(|router| &router.track.checks);
        let label = tracked
            .find(|tracked| tracked.watch == changed.watch)
            .map_or_else(|| changed.watch.probe.to_string(), TrackedCheck::label);
        let entry = Entry::new(EventKind::Tracking, label, changed.why);
        self.journal.record(entry.states(changed.from, changed.to));
        self.judge(now);
    }

    /// Everything that a virtual router tracks besides its own interface and the data plane.
    pub(super) fn tracked_status(&self, instance: &Instance, now: Instant) -> Vec<TrackedStatus> {
        let track = &instance.config.track;
        let interfaces = track.interfaces.iter().map(|tracked| {
            let fact = self.facts.link_fact(&tracked.name);
            let up = fact == LinkFact::Running;
            simple(
                format!("interface {}", tracked.name),
                Some(up),
                tracked.weight,
                format!("it {}", fact.words()),
            )
        });
        let groups = track.groups.iter().map(|tracked| {
            let usable = self.plane.usable().get(&tracked.name);
            let why = match usable {
                Some(usable) => format!("{usable} usable, {} wanted", tracked.min_usable),
                None => "the forwarder has not said anything of it".to_owned(),
            };
            let up = usable.map(|usable| *usable as u64 >= u64::from(tracked.min_usable));
            simple(format!("group {}", tracked.name), up, tracked.weight, why)
        });
        let checks = track.checks.iter();
        let checks = checks.filter_map(|tracked| self.check_status(tracked, now));
        interfaces.chain(groups).chain(checks).collect()
    }

    fn check_status(&self, tracked: &TrackedCheck, now: Instant) -> Option<TrackedStatus> {
        let standing = self.checks.standing(tracked)?;
        let last = standing.last(now);
        let overdue = standing.overdue(now, &tracked.watch);
        let why = match (last, overdue) {
            (_, Some(silent)) => format!("nothing heard of it for {} s", silent.as_secs()),
            (Some((finding, _)), None) => finding.words.clone(),
            (None, None) => standing.why.clone(),
        };
        Some(TrackedStatus {
            what: tracked.label(),
            state: standing.word(now).to_owned(),
            effect: effect_words(tracked.effect),
            why,
            age_ms: last.map(|(_, age)| age.as_millis() as u64),
            took_ms: last.map(|(finding, _)| finding.took_ms),
        })
    }

    /// What is looked at no more although it should be: the runner is silent, or a look is stuck.
    pub(super) fn tracking_problems(&self, now: Instant) -> Vec<String> {
        let all = (self.running.config.vrrp.iter()).flat_map(|router| &router.track.checks);
        let mut problems: Vec<String> = all
            .filter_map(|tracked| {
                let standing = self.checks.standing(tracked)?;
                let problem = standing.problem(now, &tracked.watch)?;
                let (label, word) = (tracked.label(), standing.word(now));
                Some(format!("{label} {problem}; it counts as {word}"))
            })
            .collect();
        problems.sort_unstable();
        problems.dedup();
        problems
    }
}

fn simple(what: String, up: Option<bool>, weight: Option<i16>, why: String) -> TrackedStatus {
    let state = match up {
        Some(true) => "up",
        Some(false) => "down",
        None => "pending",
    };
    TrackedStatus {
        what,
        state: state.to_owned(),
        effect: effect_words(weight.map_or(Effect::Fault, Effect::Weight)),
        why,
        age_ms: None,
        took_ms: None,
    }
}

fn effect_words(effect: Effect) -> String {
    match effect {
        Effect::Fault => "fault".to_owned(),
        Effect::Weight(weight) => format!("weight {weight:+}"),
        Effect::Number(1) => "number".to_owned(),
        Effect::Number(factor) => format!("number x {factor}"),
    }
}
