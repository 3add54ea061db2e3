//! A group of targets: picks one for a request or connection, and accounts for it until it ends.
//!
//! A pick prefers targets that are known healthy, then those not checked yet, then the backups in the same order, then
//! (if the group fails open) those that fail their check. An order to drain or maintain is never overridden. Among
//! targets of one standing the group's algorithm decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::key::PickKey;
use crate::ring::Ring;
use crate::schedule::Schedule;
use crate::settings::{Algorithm, GroupSettings, HashKey, OnAllDown};
use crate::target::{Health, Order, Outcome, Target, TargetId, TargetState};

use pick::Candidates;

mod pick;

/// A group in one plan. The positions in the schedules are shared with the plans before and after.
#[derive(Debug)]
pub struct Group {
    settings: GroupSettings,
    targets: Vec<Arc<Target>>,
    primaries: Rank,
    backups: Rank,
    /// Only if the group hashes. Primaries and backups are on one ring: who cannot be picked is passed over.
    ring: Option<Ring>,
}

/// The turns of the primaries, or of the backups.
#[derive(Debug)]
struct Rank {
    /// A turn is the place of a target in the whole group.
    schedule: Schedule,
    position: Arc<AtomicU64>,
}

impl Rank {
    fn build(settings: &GroupSettings, backup: bool, previous: Option<&Rank>) -> Rank {
        // Who is of the other rank has a weight of 0 here, and so no turn.
        let weights = settings
            .targets
            .iter()
            .map(|target| match target.backup == backup {
                true => target.weight,
                false => 0,
            });
        Rank {
            schedule: Schedule::new(&weights.collect::<Vec<u32>>()),
            position: previous.map_or_else(Arc::default, |rank| Arc::clone(&rank.position)),
        }
    }
}

fn ring(settings: &GroupSettings) -> Option<Ring> {
    let members = settings
        .targets
        .iter()
        .map(|target| (target.name.as_str(), target.weight));
    match &settings.algorithm {
        Algorithm::ConsistentHash { vnodes, .. } => Some(Ring::new(members, *vnodes)),
        Algorithm::RoundRobin
        | Algorithm::LeastConnections
        | Algorithm::PowerOfTwo
        | Algorithm::Random
        | Algorithm::First => None,
    }
}

/// How good it is to pick a target, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Standing {
    /// Known healthy, or not to be checked.
    Healthy,
    /// Not checked yet.
    Unknown,
    /// A backup that is known healthy.
    BackupHealthy,
    /// A backup not checked yet.
    BackupUnknown,
    /// Failing, in a group that fails open.
    Failing,
    /// A backup that is failing, in a group that fails open.
    BackupFailing,
}

impl Group {
    pub(crate) fn build(settings: GroupSettings, previous: Option<&Arc<Group>>) -> Arc<Group> {
        if let Some(previous) = previous.filter(|previous| previous.settings == settings) {
            return Arc::clone(previous);
        }
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
            primaries: Rank::build(&settings, false, previous.map(|group| &group.primaries)),
            backups: Rank::build(&settings, true, previous.map(|group| &group.backups)),
            ring: ring(&settings),
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

    /// What a pick goes by, if the group hashes; whoever asks for a pick makes a key of it.
    pub fn hash_key(&self) -> Option<&HashKey> {
        match &self.settings.algorithm {
            Algorithm::ConsistentHash { key, .. } => Some(key),
            Algorithm::RoundRobin
            | Algorithm::LeastConnections
            | Algorithm::PowerOfTwo
            | Algorithm::Random
            | Algorithm::First => None,
        }
    }

    /// Number of targets that could get traffic for their own merit at `now`, backups included: healthy, or unknown
    /// while none is known healthy. A group that fails open has 0 here.
    pub fn usable(&self, _now: Instant) -> usize {
        let count = |one, other| {
            self.targets
                .iter()
                .filter_map(|target| self.standing(target))
                .filter(|standing| *standing == one || *standing == other)
                .count()
        };
        match count(Standing::Healthy, Standing::BackupHealthy) {
            0 => count(Standing::Unknown, Standing::BackupUnknown),
            healthy => healthy,
        }
    }

    /// Number of targets.
    pub fn total(&self) -> usize {
        self.targets.len()
    }

    /// Picks a target that is not in `exclude`; `None` if there is none to try. `random` is for algorithms that draw,
    /// `key` for a group that hashes ([`Group::hash_key`]): without one it goes round.
    pub fn pick(
        &self,
        _now: Instant,
        random: u64,
        key: Option<PickKey>,
        exclude: &[TargetId],
    ) -> Option<Lease> {
        let first = match self.settings.algorithm {
            Algorithm::RoundRobin => self.next_turn(&self.primaries),
            Algorithm::LeastConnections
            | Algorithm::PowerOfTwo
            | Algorithm::Random
            | Algorithm::First
            | Algorithm::ConsistentHash { .. } => None,
        };
        if let Some(first) = first
            && self.standing(first) == Some(Standing::Healthy)
            && !exclude.contains(&first.id)
        {
            return Some(Lease::new(first));
        }
        // A second look, should the health of all candidates change during the first.
        (0..2).find_map(|_| {
            let candidates = Candidates {
                group: self,
                standing: self.best_standing(exclude)?,
                exclude,
            };
            let first = first.filter(|first| candidates.allows(first));
            first
                .or_else(|| candidates.choose(random, key))
                .map(Lease::new)
        })
    }

    fn rank(&self, standing: Standing) -> &Rank {
        match standing {
            Standing::Healthy | Standing::Unknown | Standing::Failing => &self.primaries,
            Standing::BackupHealthy | Standing::BackupUnknown | Standing::BackupFailing => {
                &self.backups
            }
        }
    }

    fn next_turn(&self, rank: &Rank) -> Option<&Arc<Target>> {
        let turn = rank.schedule.turn(rank.position.fetch_add(1, Relaxed))?;
        self.targets.get(turn as usize)
    }

    /// The best standing of a target outside `exclude`. Failing ones are only tried when nobody at all is better: that
    /// the better ones were tried for this request does not make a failing one worth trying.
    fn best_standing(&self, exclude: &[TargetId]) -> Option<Standing> {
        let (mut best_of_all, mut best) = (None, None);
        for target in &self.targets {
            let Some(standing) = self.standing(target) else {
                continue;
            };
            let better = |than: Option<Standing>| than.is_none_or(|than| standing < than);
            if better(best_of_all) {
                best_of_all = Some(standing);
            }
            if better(best) && !exclude.contains(&target.id) {
                best = Some(standing);
            }
        }
        let last_resort = |standing: Option<Standing>| standing >= Some(Standing::Failing);
        best.filter(|_| !last_resort(best) || last_resort(best_of_all))
    }

    /// How good it is to pick this target; `None` if it must not be.
    fn standing(&self, target: &Target) -> Option<Standing> {
        if target.state.order() != Order::Ready || target.settings.weight == 0 {
            return None;
        }
        let health = if self.settings.health.check.is_on() {
            target.state.health()
        } else {
            Health::Up
        };
        match (health, target.settings.backup) {
            (Health::Up, false) => Some(Standing::Healthy),
            (Health::Up, true) => Some(Standing::BackupHealthy),
            (Health::Unknown, false) => Some(Standing::Unknown),
            (Health::Unknown, true) => Some(Standing::BackupUnknown),
            (Health::Down, backup) => match (self.settings.on_all_down, backup) {
                (OnAllDown::Try, false) => Some(Standing::Failing),
                (OnAllDown::Try, true) => Some(Standing::BackupFailing),
                (OnAllDown::Refuse, _) => None,
            },
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
