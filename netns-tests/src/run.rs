//! What a prober saw, and what it comes to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 200 with the whole body.
    Answered,
    /// Another status, or something that is no HTTP.
    BadAnswer,
    /// Nobody listens.
    Refused,
    /// Reset after the connection stood.
    Reset,
    /// Closed before the answer was whole.
    Closed,
    /// No answer within the limit.
    TimedOut,
    /// No neighbour, no route.
    Unreachable,
    /// The prober's own fault (no descriptor, no port).
    Local,
}

/// One probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// When the connection was asked for.
    pub started: Instant,
    /// When the last octet of the answer came, or when it was given up.
    pub ended: Instant,
    /// How it ended.
    pub outcome: Outcome,
    /// Which origin answered.
    pub backend: Option<String>,
    /// The address the origin saw, that is which node carried the request.
    pub node: Option<IpAddr>,
}

/// All probes of a prober.
#[derive(Clone, Debug)]
pub struct Run {
    /// In the order in which they ended.
    pub probes: Vec<Probe>,
    lag: Duration,
    ended: Instant,
}

/// What a run comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Probes that ended after the moment asked about.
    pub probes: usize,
    /// Of these, answered.
    pub answered: usize,
    /// Of these, lost.
    pub lost: usize,
    /// The longest time between the ends of two answered probes, in milliseconds. A probe answered late fills a gap
    /// only when its answer came.
    pub blackout_ms: f64,
    /// No probe was answered at the end; the blackout is then as long as the watching was.
    pub still_out: bool,
    /// How late the prober itself started a probe at worst, in milliseconds: the noise in `blackout_ms`.
    pub prober_lag_ms: f64,
    /// How the probes ended.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// Answers by origin.
    pub backends: BTreeMap<String, usize>,
    /// Answers by the node that carried them.
    pub nodes: BTreeMap<IpAddr, usize>,
}

impl Run {
    pub(crate) fn new(probes: Vec<Probe>, lag: Duration, ended: Instant) -> Run {
        Run { probes, lag, ended }
    }

    /// Sums up what happened from `since` (from the beginning if `None`). The last answer before `since` counts as
    /// the begin of a gap.
    pub fn summary(&self, since: Option<Instant>) -> Summary {
        let counted: Vec<&Probe> = self
            .probes
            .iter()
            .filter(|p| since.is_none_or(|since| p.ended >= since))
            .collect();
        let mut summary = Summary {
            probes: counted.len(),
            answered: counted
                .iter()
                .filter(|p| p.outcome == Outcome::Answered)
                .count(),
            lost: counted
                .iter()
                .filter(|p| p.outcome != Outcome::Answered)
                .count(),
            blackout_ms: 0.0,
            still_out: false,
            prober_lag_ms: millis(self.lag),
            outcomes: BTreeMap::new(),
            backends: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        for probe in counted {
            *summary.outcomes.entry(probe.outcome).or_default() += 1;
            if let Some(backend) = &probe.backend {
                *summary.backends.entry(backend.clone()).or_default() += 1;
            }
            if let Some(node) = probe.node {
                *summary.nodes.entry(node).or_default() += 1;
            }
        }
        let gaps = self.gaps(since);
        summary.blackout_ms = millis(
            gaps.iter()
                .map(|(from, to)| to.duration_since(*from))
                .max()
                .unwrap_or_default(),
        );
        summary.still_out = self
            .ends()
            .last()
            .is_none_or(|last| self.ended.duration_since(*last) > Duration::from_millis(500));
        summary
    }

    /// The gaps of at least `length` between answered probes after `since` in which probes were lost, as times since
    /// `since`: where the service was interrupted, and how often. A gap in which every probe was answered late is the
    /// machine's pause, not the service's.
    pub fn interruptions(&self, since: Instant, length: Duration) -> Vec<(Duration, Duration)> {
        let lost: Vec<Instant> = self
            .probes
            .iter()
            .filter(|probe| probe.outcome != Outcome::Answered)
            .map(|probe| probe.started)
            .collect();
        self.gaps(Some(since))
            .into_iter()
            .filter(|(from, to)| to.duration_since(*from) >= length)
            .filter(|(from, to)| lost.iter().any(|started| started >= from && started <= to))
            .map(|(from, to)| {
                (
                    from.saturating_duration_since(since),
                    to.duration_since(since),
                )
            })
            .collect()
    }

    fn ends(&self) -> Vec<Instant> {
        let answered = self
            .probes
            .iter()
            .filter(|probe| probe.outcome == Outcome::Answered);
        let mut ends: Vec<Instant> = answered.map(|probe| probe.ended).collect();
        ends.sort_unstable();
        ends
    }

    fn gaps(&self, since: Option<Instant>) -> Vec<(Instant, Instant)> {
        let mut ends = self.ends();
        ends.push(self.ended.max(ends.last().copied().unwrap_or(self.ended)));
        let pairs = ends.windows(2).map(|pair| (pair[0], pair[1]));
        pairs
            .filter(|(_, to)| since.is_none_or(|since| *to >= since))
            .collect()
    }
}

/// Milliseconds with two places.
fn millis(length: Duration) -> f64 {
    (length.as_secs_f64() * 100_000.0).round() / 100.0
}
