//! A group of targets: picks one for a request or connection, and accounts for it until it ends.
//!
//! A pick prefers targets that are known healthy, then those not checked yet, then (if the group fails open) those
//! that fail their check. An order to drain or maintain is never overridden.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::schedule::Schedule;
use crate::settings::{GroupSettings, OnAllDown};
use crate::target::{Health, Order, Outcome, Target, TargetId, TargetState};

/// A group in one plan. The position in the schedule is shared with the plans before and after.
#[derive(Debug)]
pub struct Group {
    settings: GroupSettings,
    targets: Vec<Arc<Target>>,
    schedule: Schedule,
    position: Arc<AtomicU64>,
}

/// Which targets a pick may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tier {
    /// Known healthy, or not to be checked.
    Healthy,
    /// Not checked yet.
    Unknown,
    /// Failing, in a group that fails open.
    Failing,
}

impl Group {
    pub(crate) fn build(settings: GroupSettings, previous: Option<&Arc<Group>>) -> Arc<Group> {
        if let Some(previous) = previous.filter(|previous| previous.settings == settings) {
            return Arc::clone(previous);
        }
        let weights: Vec<u32> = settings
            .targets
            .iter()
            .map(|target| target.weight)
            .collect();
        let targets = settings.targets.iter().zip(0u32..).map(|(target, id)| {
            let kept = previous.and_then(|group| group.find(&target.name));
            let state = match kept.filter(|kept| kept.settings.address == target.address) {
                Some(kept) => Arc::clone(&kept.state),
                None => Arc::new(TargetState::default()),
            };
            Arc::new(Target {
                id: TargetId(id),
                settings: target.clone(),
                state,
            })
        });
        Arc::new(Group {
            targets: targets.collect(),
            schedule: Schedule::new(&weights),
            position: previous.map_or_else(Arc::default, |group| Arc::clone(&group.position)),
            settings,
        })
    }

    /// What the operator wrote about the group.
    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// Its targets, in the order of the file.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The target with this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets
            .iter()
            .find(|target| target.settings.name == name)
    }

    /// Number of targets that would get traffic for their own merit at `now`: healthy, or unknown while none is known
    /// healthy. A group that fails open has 0 here.
    pub fn usable(&self, _now: Instant) -> usize {
        let count = |tier| {
            self.targets
                .iter()
                .filter(|target| self.eligible(target, tier))
                .count()
        };
        match count(Tier::Healthy) {
            0 => count(Tier::Unknown),
            healthy => healthy,
        }
    }

    /// Number of targets.
    pub fn total(&self) -> usize {
        self.targets.len()
    }

    /// Picks a target that is not in `exclude`; `None` if there is none to try. `_rng` is for algorithms that draw.
    pub fn pick(&self, _now: Instant, _rng: u64, exclude: &[TargetId]) -> Option<Lease> {
        let first = self.next_turn()?;
        if self.eligible(first, Tier::Healthy) && !exclude.contains(&first.id) {
            return Some(Lease::new(first));
        }
        let tier = self.tier(exclude)?;
        let allowed =
            |target: &Target| self.eligible(target, tier) && !exclude.contains(&target.id);
        if allowed(first) {
            return Some(Lease::new(first));
        }
        for _ in 1..self.schedule.len() {
            let target = self.next_turn()?;
            if allowed(target) {
                return Some(Lease::new(target));
            }
        }
        // Other threads took turns in between: any allowed one will do.
        self.targets
            .iter()
            .find(|target| allowed(target))
            .map(Lease::new)
    }

    fn next_turn(&self) -> Option<&Arc<Target>> {
        let turn = self.schedule.turn(self.position.fetch_add(1, Relaxed))?;
        self.targets.get(turn as usize)
    }

    /// The best tier with a target outside `exclude`. Failing ones are only tried when nobody at all is better: that
    /// the better ones were tried for this request does not make a failing one worth trying.
    fn tier(&self, exclude: &[TargetId]) -> Option<Tier> {
        let any = |tier, exclude: &[TargetId]| {
            self.targets
                .iter()
                .any(|target| self.eligible(target, tier) && !exclude.contains(&target.id))
        };
        if any(Tier::Healthy, exclude) {
            return Some(Tier::Healthy);
        }
        if any(Tier::Unknown, exclude) {
            return Some(Tier::Unknown);
        }
        let nobody_better = !any(Tier::Healthy, &[]) && !any(Tier::Unknown, &[]);
        (nobody_better && any(Tier::Failing, exclude)).then_some(Tier::Failing)
    }

    fn eligible(&self, target: &Target, tier: Tier) -> bool {
        if target.state.order() != Order::Ready || target.settings.weight == 0 {
            return false;
        }
        let health = if self.settings.health.check.is_on() {
            target.state.health()
        } else {
            Health::Up
        };
        match tier {
            Tier::Healthy => health == Health::Up,
            Tier::Unknown => health == Health::Unknown,
            Tier::Failing => health == Health::Down && self.settings.on_all_down == OnAllDown::Try,
        }
    }
}

/// The use of a target by one request or connection. Dropped without [`Lease::finish`] it counts as cancelled.
#[derive(Debug)]
pub struct Lease {
    target: Arc<Target>,
    ended: bool,
}

impl Lease {
    fn new(target: &Arc<Target>) -> Self {
        target.state.started();
        Self {
            target: Arc::clone(target),
            ended: false,
        }
    }

    /// The target that was picked.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Gives the target back and says how it went.
    pub fn finish(mut self, _now: Instant, outcome: Outcome) {
        self.ended = true;
        self.target.state.ended(Some(outcome));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended {
            self.target.state.ended(None);
        }
    }
}

#[cfg(test)]
mod tests;
