//! A group of targets: picks one for a request or connection, and accounts for it until it ends.
//!
//! A pick prefers targets that are known healthy, then those not checked yet, then the backups in the same order, then
//! (if the group fails open) those that live traffic has taken out, then those that fail their check, and of these first
//! those with which live traffic goes well. An order to drain or maintain is never overridden. Among targets of one standing the group's algorithm decides. A target that has as much
//! to do as it may have is passed over; if all of that standing have, the request has to wait.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::key::PickKey;
use crate::latency::GroupLatency;
use crate::passive::{Guard, Phase};
use crate::queue::Queue;
use crate::retry::RetryBudget;
use crate::ring::Ring;
use crate::schedule::Schedule;
use crate::settings::{Algorithm, GroupSettings, HashKey, OnAllDown, TargetSettings};
use crate::sticky::{BindingCounts, GroupMark};
use crate::target::{Health, Order, Outcome, Target, TargetId, TargetState, WHOLE_SHARE};

use bound::Marks;
use pick::Candidates;

pub use bound::BoundPick;

mod bound;
mod candidates;
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
    guard: Arc<Guard>,
    budget: Arc<RetryBudget>,
    mark: GroupMark,
    marks: Marks,
    bindings: Arc<BindingCounts>,
    latency: Arc<GroupLatency>,
}

/// Why there is no target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPick {
    /// None may be tried.
    Nobody,
    /// Each that may be tried has as much to do as it may have, or others wait already.
    Full,
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

/// What clients are bound by, if they are.
fn marks(settings: &GroupSettings) -> Marks {
    match settings.sticky {
        Some(_) => Marks::new(settings.targets.iter().map(|target| target.name.as_str())),
        None => Marks::default(),
    }
}

/// The state of each target, kept from before where the address is the same.
fn states(settings: &GroupSettings, previous: Option<&Arc<Group>>) -> Vec<Arc<TargetState>> {
    let joins_others = previous.is_some_and(|group| !group.targets.is_empty());
    let state = |target: &TargetSettings| {
        let kept = previous.and_then(|group| group.find(&target.name));
        match kept.filter(|kept| kept.settings.address == target.address) {
            Some(kept) => Arc::clone(&kept.state),
            None if joins_others => Arc::new(TargetState::added()),
            None => Arc::new(TargetState::default()),
        }
    };
    settings.targets.iter().map(state).collect()
}

/// Looks at the targets before giving up, should others be faster each time.
const LOOKS: usize = 4;

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
    /// Taken out by live traffic, primary or backup, in a group that fails open.
    Ejected,
    /// Failing, in a group that fails open.
    Failing,
    /// A backup that is failing, in a group that fails open.
    BackupFailing,
    /// Failing, primary or backup, and live traffic fails there too: what keeps trying it uses up the retries of the group.
    Hopeless,
}

impl Group {
    pub(crate) fn build(settings: GroupSettings, previous: Option<&Arc<Group>>) -> Arc<Group> {
        if let Some(previous) = previous.filter(|previous| previous.settings == settings) {
            return Arc::clone(previous);
        }
        let states = states(&settings, previous);
        let weighty = settings.targets.iter().zip(&states);
        let members = weighty.filter(|(target, _)| target.weight > 0);
        let guard = Arc::new(Guard::new(
            &settings,
            members.map(|(_, state)| Arc::clone(state)).collect(),
            previous.map(|group| &*group.guard),
        ));
        let targets = settings.targets.iter().zip(states).zip(0u32..);
        let targets = targets.map(|((target, state), id)| {
            Arc::new(Target {
                id: TargetId(id),
                checked_at: settings.health.elsewhere(target),
                settings: target.clone(),
                state,
                guard: Arc::clone(&guard),
            })
        });
        Arc::new(Group {
            targets: targets.collect(),
            guard: Arc::clone(&guard),
            budget: previous.map_or_else(Arc::default, |group| Arc::clone(&group.budget)),
            primaries: Rank::build(&settings, false, previous.map(|group| &group.primaries)),
            backups: Rank::build(&settings, true, previous.map(|group| &group.backups)),
            ring: ring(&settings),
            mark: GroupMark::of(&settings.name),
            marks: marks(&settings),
            bindings: previous.map_or_else(Arc::default, |group| Arc::clone(&group.bindings)),
            latency: previous.map_or_else(Arc::default, |group| Arc::clone(&group.latency)),
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
    pub fn usable(&self, now: Instant) -> usize {
        let count = |one, other| {
            self.targets
                .iter()
                .filter_map(|target| self.standing(target, now))
                .filter(|standing| *standing == one || *standing == other)
                .count()
        };
        match count(Standing::Healthy, Standing::BackupHealthy) {
            0 => count(Standing::Unknown, Standing::BackupUnknown),
            healthy => healthy,
        }
    }

    /// True if nobody could get traffic for its own merit, and the others are tried all the same.
    pub fn fails_open(&self, now: Instant) -> bool {
        self.best_standing(now, &[]) >= Some(Standing::Ejected)
    }

    /// Number of targets.
    pub fn total(&self) -> usize {
        self.targets.len()
    }

    /// Who waits for a place at its targets.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.guard.queue
    }

    /// What is left for retries.
    pub fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// What its requests or connections have waited for.
    pub fn latency(&self) -> &GroupLatency {
        &self.latency
    }

    /// Requests or connections its targets were ever picked for.
    pub fn picks_total(&self) -> u64 {
        let totals = self.targets.iter();
        totals.map(|target| target.state.requests_total()).sum()
    }

    /// Picks a target that is not in `exclude`; `None` if there is none to try. `random` is for algorithms that draw,
    /// `key` for a group that hashes ([`Group::hash_key`]): without one it goes round.
    pub fn pick(
        &self,
        now: Instant,
        random: u64,
        key: Option<PickKey>,
        exclude: &[TargetId],
    ) -> Option<Lease> {
        self.try_pick(now, random, key, exclude).ok()
    }

    /// The same, with the reason why not. While others wait for a place, one that has not waited gets none.
    pub fn try_pick(
        &self,
        now: Instant,
        random: u64,
        key: Option<PickKey>,
        exclude: &[TargetId],
    ) -> Result<Lease, NoPick> {
        if self.settings.limits.per_target.is_some() && self.guard.queue.waiting() > 0 {
            return match self.best_standing(now, exclude) {
                Some(_) => Err(NoPick::Full),
                None => Err(NoPick::Nobody),
            };
        }
        self.pick_in_line(now, random, key, exclude)
    }

    /// The same, for one who has waited.
    pub fn pick_in_line(
        &self,
        now: Instant,
        random: u64,
        key: Option<PickKey>,
        exclude: &[TargetId],
    ) -> Result<Lease, NoPick> {
        let first = match self.settings.algorithm {
            Algorithm::RoundRobin => self.next_turn(&self.primaries),
            Algorithm::LeastConnections
            | Algorithm::PowerOfTwo
            | Algorithm::Random
            | Algorithm::First
            | Algorithm::ConsistentHash { .. } => None,
        };
        let first = first.filter(|first| self.keeps_turn(first, now, random));
        if let Some(first) = first
            && self.standing(first, now) == Some(Standing::Healthy)
            && !exclude.contains(&first.id)
            && let Some(lease) = self.lease(first, now, random)
        {
            return Ok(lease);
        }
        // Further looks, should things change during the first.
        for _ in 0..LOOKS {
            let candidates = Candidates {
                group: self,
                standing: self.best_standing(now, exclude).ok_or(NoPick::Nobody)?,
                exclude,
                now,
            };
            let first = first.filter(|first| candidates.allows(first));
            let chosen = first.or_else(|| candidates.choose(random, key));
            if let Some(lease) = chosen.and_then(|chosen| self.lease(chosen, now, random)) {
                return Ok(lease);
            }
        }
        match self.settings.limits.per_target {
            Some(_) => Err(NoPick::Full),
            None => Err(NoPick::Nobody),
        }
    }

    /// True if there is another target worth trying than this one and those tried before: one that fails its check is not.
    pub fn has_other(&self, now: Instant, than: TargetId, tried: &[TargetId]) -> bool {
        let is_other = |target: &&Arc<Target>| target.id != than && !tried.contains(&target.id);
        let mut others = self.targets.iter().filter(is_other);
        others.any(|target| (self.standing(target, now)).is_some_and(|how| how < Standing::Failing))
    }

    /// True if a target that may be picked has a place to give.
    pub fn has_place(&self, now: Instant) -> bool {
        let Some(standing) = self.best_standing(now, &[]) else {
            return false;
        };
        let candidates = Candidates {
            group: self,
            standing,
            exclude: &[],
            now,
        };
        self.targets.iter().any(|target| candidates.allows(target))
    }

    /// The lease on a chosen target; `None` if somebody was faster.
    fn lease(&self, target: &Arc<Target>, now: Instant, random: u64) -> Option<Lease> {
        let state = &target.state;
        let probe = match (self.guard.outlier.is_some(), state.passive()) {
            (false, _) | (true, Phase::Ok) => false,
            (true, Phase::Ejected | Phase::Probing) => state.passive.claim(now),
        };
        if !state.start(self.limit(target, now)) {
            if probe {
                self.guard.give_up_probe(state);
            }
            return None;
        }
        Some(Lease {
            target: Arc::clone(target),
            random,
            probe: Cell::new(probe),
            ended: false,
        })
    }

    /// How much a target may have to do: less in its slow start, or one that is idle is flooded.
    fn limit(&self, target: &Target, now: Instant) -> Option<u32> {
        let limit = self.settings.limits.per_target?;
        let share = u64::from(self.share(target, now));
        let limit = u64::from(limit) * share / u64::from(WHOLE_SHARE);
        Some(u32::try_from(limit).unwrap_or(u32::MAX).max(1))
    }

    fn share(&self, target: &Target, now: Instant) -> u32 {
        target.state.share(now, self.settings.slow_start)
    }

    /// True unless the target is in its slow start and lets this turn pass, which the next in turn takes.
    fn keeps_turn(&self, target: &Target, now: Instant, random: u64) -> bool {
        let share = self.share(target, now);
        if share >= WHOLE_SHARE {
            return true;
        }
        let drawn = (random ^ u64::from(target.id.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        drawn < u64::from(share) || !self.others_are_warm(target, now)
    }

    /// True if somebody else is healthy and not in its slow start: where all begin at once, nobody begins slowly.
    fn others_are_warm(&self, target: &Target, now: Instant) -> bool {
        let others = self.targets.iter().filter(|other| other.id != target.id);
        let warm = |other: &&Arc<Target>| {
            self.share(other, now) == WHOLE_SHARE && self.is_peer(other, target, now)
        };
        others.into_iter().any(|other| warm(&other))
    }

    fn is_peer(&self, other: &Target, target: &Target, now: Instant) -> bool {
        self.standing(other, now).is_some()
            && self.standing(other, now) <= self.standing(target, now)
    }

    fn rank(&self, standing: Standing) -> &Rank {
        match standing {
            Standing::Healthy
            | Standing::Unknown
            | Standing::Ejected
            | Standing::Failing
            | Standing::Hopeless => &self.primaries,
            Standing::BackupHealthy | Standing::BackupUnknown | Standing::BackupFailing => {
                &self.backups
            }
        }
    }

    fn next_turn(&self, rank: &Rank) -> Option<&Arc<Target>> {
        let turn = rank.schedule.turn(rank.position.fetch_add(1, Relaxed))?;
        self.targets.get(turn as usize)
    }

    /// The best standing of a target outside `exclude`. One that fails its check is only tried when nobody at all is better:
    /// that the better ones were tried for this request does not make it worth trying. One that was taken out is: what
    /// took it out may be over, and the next one to break should not find nobody left.
    fn best_standing(&self, now: Instant, exclude: &[TargetId]) -> Option<Standing> {
        let (mut best_of_all, mut best) = (None, None);
        for target in &self.targets {
            let Some(standing) = self.standing(target, now) else {
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
        let fails = |standing: Option<Standing>| standing >= Some(Standing::Failing);
        best.filter(|_| !fails(best) || best_of_all >= Some(Standing::Ejected))
    }

    /// How good it is to pick this target; `None` if it must not be.
    fn standing(&self, target: &Target, now: Instant) -> Option<Standing> {
        if target.state.order() != Order::Ready || target.settings.weight == 0 {
            return None;
        }
        let health = if self.settings.health.check.is_on() {
            target.state.health()
        } else {
            Health::Up
        };
        let fails_open = self.settings.on_all_down == OnAllDown::Try;
        if health != Health::Down
            && self.guard.outlier.is_some()
            && !target.state.passive.may_be_used(now)
        {
            return fails_open.then_some(Standing::Ejected);
        }
        match (health, target.settings.backup) {
            (Health::Up, false) => Some(Standing::Healthy),
            (Health::Up, true) => Some(Standing::BackupHealthy),
            (Health::Unknown, false) => Some(Standing::Unknown),
            (Health::Unknown, true) => Some(Standing::BackupUnknown),
            (Health::Down, _) if !fails_open => None,
            (Health::Down, _) if self.guard.condemns(&target.state, now) => {
                Some(Standing::Hopeless)
            }
            (Health::Down, false) => Some(Standing::Failing),
            (Health::Down, true) => Some(Standing::BackupFailing),
        }
    }
}

/// The use of a target by one request or connection. Dropped without [`Lease::finish`] it counts as cancelled.
#[derive(Debug)]
pub struct Lease {
    target: Arc<Target>,
    /// For the jitter of an ejection.
    random: u64,
    /// It is the one that tries a target taken out, and nothing has come of that yet.
    probe: Cell<bool>,
    ended: bool,
}

impl Lease {
    /// The target that was picked.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// True if it tries a target that was taken out, and nobody else is sent there until it is known what comes of that.
    pub fn is_trial(&self) -> bool {
        self.probe.get()
    }

    /// Says before the end that the target serves: what it was tried with may last for hours, and others need not wait so long.
    pub fn serves(&self, now: Instant) {
        if self.probe.take() {
            let Target { state, guard, .. } = &*self.target;
            guard.observe(now, state, Outcome::Ok, true, self.random);
        }
    }

    /// Gives the target back and says how it went.
    pub fn finish(mut self, now: Instant, outcome: Outcome) {
        self.ended = true;
        let Target { state, guard, .. } = &*self.target;
        guard.observe(now, state, outcome, self.probe.get(), self.random);
        state.ended(Some(outcome));
        guard.queue.call_next();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended {
            let Target { state, guard, .. } = &*self.target;
            if self.probe.get() {
                guard.give_up_probe(state);
            }
            state.ended(None);
            guard.queue.call_next();
        }
    }
}

#[cfg(test)]
mod tests;
