//! How much there is in a second: made of totals, over the last five to ten seconds.
//!
//! Two readings of each total are kept. Every [`TURN`] the older is forgotten and a third is taken, so that the older one is always
//! one to two turns old, and nothing is kept on the way of requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use control::{GroupStatus, ListenerStatus};

/// Between two readings.
const TURN: Duration = Duration::from_secs(5);
/// What is said of a shorter time would be chance.
const SHORTEST: Duration = Duration::from_secs(1);

/// What has totals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Subject {
    Listener(String),
    Target(String, String),
}

/// Requests, and answers of 5xx where they are counted.
type Totals = [u64; 2];

/// Totals at a time.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    totals: Totals,
}

/// Readings of everything that has totals.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    readings: BTreeMap<Subject, [Reading; 2]>,
    turned_at: Option<Instant>,
}

impl Rates {
    /// Whether it is time for [`Rates::turn`].
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.turned_at
            .is_none_or(|at| now.saturating_duration_since(at) >= TURN)
    }

    /// Takes a reading. What is not in it is forgotten.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        listeners: &[ListenerStatus],
        groups: &[GroupStatus],
    ) {
        let mut before = std::mem::take(&mut self.readings);
        let all = listeners.iter().map(of_listener);
        let targets = groups.iter().flat_map(of_targets);
        for (subject, totals) in all.chain(targets) {
            let newest = Reading { at: now, totals };
            let older = before.remove(&subject).map_or(newest, |[_, newer]| newer);
            self.readings.insert(subject, [older, newest]);
        }
        self.turned_at = Some(now);
    }

    /// Fills in how much there is in a second.
    pub(crate) fn fill(
        &self,
        now: Instant,
        listeners: &mut [ListenerStatus],
        groups: &mut [GroupStatus],
    ) {
        for listener in listeners {
            let (subject, totals) = of_listener(listener);
            let rates = self.rates(now, &subject, totals);
            listener.requests_per_s = rates.map(|[requests, _]| requests);
            listener.failures_per_s = rates
                .map(|[_, failures]| failures)
                .filter(|_| !listener.request_times.is_empty());
        }
        for group in groups {
            let rates: Vec<_> = of_targets(group)
                .map(|(subject, totals)| self.rates(now, &subject, totals))
                .collect();
            for (target, rates) in group.targets.iter_mut().zip(rates) {
                target.requests_per_s = rates.map(|[requests, _]| requests);
            }
        }
    }

    fn rates(&self, now: Instant, subject: &Subject, totals: Totals) -> Option<[f64; 2]> {
        let [older, _] = self.readings.get(subject)?;
        let passed = now.saturating_duration_since(older.at);
        (passed >= SHORTEST).then(|| {
            // Totals of a listener or target that is another one by now begin anew.
            std::array::from_fn(|place| {
                let more = totals[place].saturating_sub(older.totals[place]);
                more as f64 / passed.as_secs_f64()
            })
        })
    }
}

fn of_listener(listener: &ListenerStatus) -> (Subject, Totals) {
    let failed = listener.request_times.get("5xx");
    let failed = failed.map_or(0, control::Times::total);
    let subject = Subject::Listener(listener.name.clone());
    (subject, [listener.requests_total, failed])
}

fn of_targets(group: &GroupStatus) -> impl Iterator<Item = (Subject, Totals)> {
    group.targets.iter().map(|target| {
        let subject = Subject::Target(group.name.clone(), target.name.clone());
        (subject, [target.requests_total, 0])
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status(requests: u64) -> (Vec<ListenerStatus>, Vec<GroupStatus>) {
        let text = include_str!("../../control/tests/recorded/status.json");
        let mut status: control::Status = serde_json::from_str(text).unwrap();
        status.listeners.truncate(1);
        status.listeners[0].requests_total = requests;
        status.groups.truncate(1);
        status.groups[0].targets.truncate(1);
        status.groups[0].targets[0].requests_total = requests / 2;
        (status.listeners, status.groups)
    }

    /// What is told at a time with so many requests so far: of the listener, of the target.
    fn told(rates: &Rates, at: Instant, requests: u64) -> (Option<f64>, Option<f64>) {
        let (mut listeners, mut groups) = status(requests);
        rates.fill(at, &mut listeners, &mut groups);
        let of_target = groups[0].targets[0].requests_per_s;
        (listeners[0].requests_per_s, of_target)
    }

    fn turn(rates: &mut Rates, at: Instant, requests: u64) {
        assert!(rates.is_due(at));
        let (listeners, groups) = status(requests);
        rates.turn(at, &listeners, &groups);
        assert!(!rates.is_due(at));
    }

    #[test]
    fn a_rate_is_of_the_last_five_to_ten_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rates = Rates::default();
        assert_eq!(told(&rates, start, 1000), (None, None));
        turn(&mut rates, start, 1000);
        assert_eq!(told(&rates, at(900), 1090), (None, None), "too short");
        assert_eq!(told(&rates, at(2000), 1200), (Some(100.0), Some(50.0)));
        turn(&mut rates, at(5000), 1500);
        assert_eq!(told(&rates, at(8000), 1800), (Some(100.0), Some(50.0)));
        turn(&mut rates, at(10_000), 2000);
        // Nothing came since the reading of five seconds ago.
        turn(&mut rates, at(15_000), 2000);
        assert_eq!(told(&rates, at(18_000), 2000), (Some(0.0), Some(0.0)));
        // A listener that begins anew counts from nothing.
        assert_eq!(told(&rates, at(18_000), 7), (Some(0.0), Some(0.0)));
    }
}
