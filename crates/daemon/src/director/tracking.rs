//! What the world outside means for an election: a fault, or a change of priority.
//!
//! Pure: facts in, verdict out. The effective priority is always computed from the whole of them, so that nothing is counted twice.

mod checks;
mod debounce;

use std::collections::BTreeMap;
use std::time::Duration;

use config::{TrackedCheck, TrackedGroup, Vrrp};
use vrrp::Contribution;

pub(super) use self::checks::Checks;

/// How long a node that has just started stays low at most while its first health round runs.
pub(super) const FIRST_ROUND_LIMIT: Duration = Duration::from_secs(10);

/// What the director knows of the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataPlane {
    /// No listener is configured.
    Off,
    /// Started or starting, not listening yet.
    Starting,
    /// Ended, with the way it ended.
    Down(String),
    /// Runs but says nothing, or a thread of it does not turn.
    Stuck(String),
    /// Runs, but could not put to work what it was given, and serves nothing.
    Refused(String),
    /// Listening on everything configured.
    Serving {
        /// Whether each target has been probed once.
        first_health_round_done: bool,
    },
}

/// A link as tracking sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkFact {
    /// There is no interface of that name.
    Missing,
    /// Administratively down.
    Down,
    /// Up, but without carrier.
    NoCarrier,
    /// Up and with carrier.
    Running,
}

impl LinkFact {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Missing => "does not exist",
            Self::Down => "is down",
            Self::NoCarrier => "has no carrier",
            Self::Running => "is running",
        }
    }
}

/// What all the facts come to for one virtual router.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Verdict {
    /// Why it cannot take part; none when it can.
    pub(super) fault: Option<String>,
    /// What moves the priority.
    pub(super) contributions: Vec<Contribution>,
}

/// Everything that is known of the node.
pub(super) struct World<'w> {
    pub(super) plane: &'w DataPlane,
    /// Whether the node has been up for [`FIRST_ROUND_LIMIT`].
    pub(super) settled: bool,
    /// Usable targets by group, as far as known.
    pub(super) usable: &'w BTreeMap<String, usize>,
    pub(super) checks: &'w Checks,
}

/// Judges the facts for one virtual router.
pub(super) fn judge(
    instance: &Vrrp,
    world: &World<'_>,
    link: impl Fn(&str) -> LinkFact,
) -> Verdict {
    let mut verdict = Verdict::default();
    let own = link(&instance.interface);
    if own != LinkFact::Running {
        verdict.fault = Some(format!("interface {} {}", instance.interface, own.words()));
    }
    for tracked in &instance.track.interfaces {
        let fact = link(&tracked.name);
        let what = || format!("{} {}", tracked.name, fact.words());
        match tracked.weight {
            None if fact != LinkFact::Running => {
                verdict.fail(|| format!("tracked interface {}", what()));
            }
            None => {}
            Some(weight) => verdict.weigh(weight, fact == LinkFact::Running, what),
        }
    }
    judge_groups(&instance.track.groups, world, &mut verdict);
    for tracked in &instance.track.checks {
        judge_check(tracked, world, &mut verdict);
    }
    if instance.track.forwarder {
        judge_plane(world.plane, world.settled, &mut verdict);
    }
    verdict
}

impl Verdict {
    /// The first reason for a fault stands.
    fn fail(&mut self, why: impl FnOnce() -> String) {
        self.fault.get_or_insert_with(why);
    }

    /// A negative weight counts while something is down, a positive one while it is up.
    fn weigh(&mut self, weight: i16, up: bool, what: impl FnOnce() -> String) {
        if (weight < 0) != up {
            self.add(what(), weight, None);
        }
    }

    fn add(&mut self, what: String, delta: i16, cap: Option<u8>) {
        self.contributions.push(Contribution { what, delta, cap });
    }
}

/// A group of which nothing is known changes nothing: without a forwarder that says something, it is the forwarder that counts.
fn judge_groups(groups: &[TrackedGroup], world: &World<'_>, verdict: &mut Verdict) {
    for tracked in groups {
        let Some(usable) = world.usable.get(&tracked.name) else {
            continue;
        };
        let up = *usable as u64 >= u64::from(tracked.min_usable);
        let what = || {
            format!(
                "group {} has {usable} usable targets, {} wanted",
                tracked.name, tracked.min_usable
            )
        };
        match tracked.weight {
            None if !up => verdict.fail(what),
            None => {}
            Some(weight) => verdict.weigh(weight, up, what),
        }
    }
}

fn judge_check(tracked: &TrackedCheck, world: &World<'_>, verdict: &mut Verdict) {
    let Some(standing) = world.checks.standing(tracked) else {
        return;
    };
    let label = tracked.label();
    if standing.holds_back() {
        if !world.settled {
            verdict.add(format!("{label} pending"), 0, Some(1));
        }
        return;
    }
    match standing.delta(tracked.effect) {
        Err(()) => verdict.fail(|| format!("{label}: {}", standing.why)),
        Ok(0) => {}
        Ok(delta) => verdict.add(format!("{label}: {}", standing.why), delta, None),
    }
}

fn judge_plane(plane: &DataPlane, settled: bool, verdict: &mut Verdict) {
    let fault = match plane {
        DataPlane::Off
        | DataPlane::Serving {
            first_health_round_done: true,
        } => None,
        DataPlane::Serving {
            first_health_round_done: false,
        } => {
            if !settled {
                verdict.add("first health round pending".to_owned(), 0, Some(1));
            }
            None
        }
        DataPlane::Starting => Some("the forwarder is starting".to_owned()),
        DataPlane::Down(how) => Some(format!("the forwarder ended with {how}")),
        DataPlane::Stuck(how) => Some(how.clone()),
        DataPlane::Refused(why) => Some(format!("the forwarder serves nothing: {why}")),
    };
    if let Some(fault) = fault {
        verdict.fail(|| fault);
    }
}

#[cfg(test)]
mod tests;
