//! What the runner looks at, and how it stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use config::{Effect, TrackedCheck, Vrrp, Watch};

use super::debounce::Debounce;
use crate::runner::Finding;

/// Without a finding for so much longer than it should take, what is known is old.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that is looked at for any virtual router, each thing once.
#[derive(Debug, Clone, Default)]
pub(in crate::director) struct Checks {
    standings: BTreeMap<Key, Standing>,
    numbers: u64,
    begun: bool,
}

/// What makes one thing another: what is looked at, and how many looks make a standing.
type Key = (Watch, u32, u32);

/// How one thing stands.
#[derive(Debug, Clone)]
pub(in crate::director) struct Standing {
    number: u64,
    debounce: Debounce,
    /// What the standing was reached by, in words.
    pub(in crate::director) why: String,
    /// The number in a file that could be read last.
    pub(in crate::director) value: Option<i64>,
    last: Option<(Instant, Finding)>,
    watched_since: Instant,
    /// Looked at since the start of the director.
    from_start: bool,
}

/// A standing that has changed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::director) struct Changed {
    pub(in crate::director) from: &'static str,
    pub(in crate::director) to: String,
    pub(in crate::director) why: String,
    pub(in crate::director) watch: Watch,
}

impl Checks {
    /// Looks at just what these virtual routers track. What is known of things that stay is kept.
    pub(in crate::director) fn set<'v>(
        &mut self,
        now: Instant,
        routers: impl Iterator<Item = &'v Vrrp>,
    ) {
        let mut before = std::mem::take(&mut self.standings);
        let from_start = !std::mem::replace(&mut self.begun, true);
        for tracked in routers.flat_map(|router| &router.track.checks) {
            let key = key(tracked);
            if self.standings.contains_key(&key) {
                continue;
            }
            let standing = before.remove(&key).unwrap_or_else(|| {
                self.numbers += 1;
                Standing::new(now, self.numbers, tracked, from_start)
            });
            self.standings.insert(key, standing);
        }
    }

    /// Whether there is nothing to look at.
    pub(in crate::director) fn is_empty(&self) -> bool {
        self.standings.is_empty()
    }

    /// What the runner has to look at.
    pub(in crate::director) fn watches(&self) -> Vec<(u64, Watch)> {
        let watches = self.standings.iter();
        watches
            .map(|((watch, _, _), standing)| (standing.number, watch.clone()))
            .collect()
    }

    /// Takes in what the runner has found; the change of standing that makes.
    pub(in crate::director) fn note(
        &mut self,
        now: Instant,
        number: u64,
        finding: Finding,
    ) -> Option<Changed> {
        let (key, standing) = self
            .standings
            .iter_mut()
            .find(|(_, standing)| standing.number == number)?;
        let from = standing.word(now);
        let new_value = finding.number.is_some() && finding.number != standing.value;
        standing.value = finding.number.or(standing.value);
        let turned = standing.debounce.note(now, finding.passed);
        if turned || new_value {
            standing.why.clone_from(&finding.words);
        }
        standing.last = Some((now, finding));
        (turned || new_value).then(|| Changed {
            from,
            to: match standing.value {
                Some(value) => value.to_string(),
                None => standing.word(now).to_owned(),
            },
            why: standing.why.clone(),
            watch: key.0.clone(),
        })
    }

    /// Has something stand as it does not, for a copy that is only thought about.
    pub(in crate::director) fn assume(&mut self, tracked: &TrackedCheck, up: bool) {
        if let Some(standing) = self.standings.get_mut(&key(tracked)) {
            standing.debounce = Debounce::assumed(tracked.rise, tracked.fall, up);
            standing.why = "assumed".to_owned();
        }
    }

    /// Has a file hold a number that it does not, for a copy that is only thought about.
    pub(in crate::director) fn assume_number(&mut self, tracked: &TrackedCheck, number: i64) {
        self.assume(tracked, true);
        if let Some(standing) = self.standings.get_mut(&key(tracked)) {
            standing.value = Some(number);
        }
    }

    /// How something that a virtual router tracks stands.
    pub(in crate::director) fn standing(&self, tracked: &TrackedCheck) -> Option<&Standing> {
        self.standings.get(&key(tracked))
    }
}

fn key(tracked: &TrackedCheck) -> Key {
    (tracked.watch.clone(), tracked.rise, tracked.fall)
}

impl Standing {
    fn new(now: Instant, number: u64, tracked: &TrackedCheck, from_start: bool) -> Self {
        Self {
            number,
            debounce: Debounce::new(tracked.rise, tracked.fall),
            why: "not looked at yet".to_owned(),
            value: None,
            last: None,
            watched_since: now,
            from_start,
        }
    }

    /// Whether it is as it should be; none before the first finding.
    pub(in crate::director) fn up(&self) -> Option<bool> {
        self.debounce.up()
    }

    /// Whether nothing is known of it although it has been looked at since the start: a node that has just started stays low until then.
    /// What a reload adds does nothing before it is known.
    pub(super) fn holds_back(&self) -> bool {
        self.from_start && self.up().is_none()
    }

    /// In a word: `pending`, `up`, `down` or `flapping`.
    pub(in crate::director) fn word(&self, now: Instant) -> &'static str {
        match self.debounce.up() {
            None => "pending",
            Some(true) => "up",
            Some(false) if self.debounce.is_flapping(now) => "flapping",
            Some(false) => "down",
        }
    }

    /// The last finding and its age.
    pub(in crate::director) fn last(&self, now: Instant) -> Option<(&Finding, Duration)> {
        let (at, finding) = self.last.as_ref()?;
        Some((finding, now.saturating_duration_since(*at)))
    }

    /// For how long nothing has been found, if that is longer than it may take.
    pub(in crate::director) fn overdue(&self, now: Instant, watch: &Watch) -> Option<Duration> {
        let since = self.last.as_ref().map_or(self.watched_since, |(at, _)| *at);
        let silent = now.saturating_duration_since(since);
        // An unkillable program is reported some two seconds after its limit.
        (silent > watch.every + watch.timeout + PATIENCE).then_some(silent)
    }

    /// Why it is not looked at any more although it should be, in words that its name goes before.
    pub(in crate::director) fn problem(&self, now: Instant, watch: &Watch) -> Option<String> {
        if let Some(silent) = self.overdue(now, watch) {
            let silent = silent.as_secs();
            return Some(format!("has not been looked at for {silent} s"));
        }
        let (_, finding) = self.last.as_ref()?;
        let words = "is stuck: the look before has not come back, and no other is made meanwhile";
        finding.is_stuck().then(|| words.to_owned())
    }

    /// What it adds to the priority by `effect`; an error is a fault.
    pub(super) fn delta(&self, effect: Effect) -> Result<i16, ()> {
        match (effect, self.up()) {
            (Effect::Fault, Some(false)) => Err(()),
            (Effect::Fault, _) => Ok(0),
            (Effect::Weight(weight), Some(up)) if (weight < 0) != up => Ok(weight),
            (Effect::Weight(_), _) => Ok(0),
            (Effect::Number(factor), _) => {
                let value = self.value.unwrap_or(0);
                let product = value.saturating_mul(i64::from(factor));
                if product < LEAST_NUMBER {
                    return Err(());
                }
                Ok(i16::try_from(product.min(254)).unwrap_or(254))
            }
        }
    }
}

/// A number in a file that takes away more than this is a fault, as with Keepalived.
const LEAST_NUMBER: i64 = -253;
