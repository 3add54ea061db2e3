//! The algorithms: one of several targets that are all as good.
//!
//! Nothing here locks or allocates. Threads share the counters of the targets, so what was read may be a little old by
//! the time it is used: that costs a perfect balance, never a wrong target.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use super::{Group, Standing};
use crate::key::PickKey;
use crate::settings::Algorithm;
use crate::target::{Target, TargetId, WHOLE_SHARE};

/// The targets one pick may take: all of one standing, but those tried before and those that are full.
#[derive(Clone, Copy)]
pub(super) struct Candidates<'g> {
    pub(super) group: &'g Group,
    pub(super) standing: Standing,
    pub(super) exclude: &'g [TargetId],
    pub(super) now: Instant,
}

impl<'g> Candidates<'g> {
    /// One of them, by the group's algorithm; `None` if their health changed in the meantime.
    pub(super) fn choose(&self, random: u64, key: Option<PickKey>) -> Option<&'g Arc<Target>> {
        match &self.group.settings.algorithm {
            // Where nobody has a place, turns are not gone through for one, nor is the ring: they are long.
            Algorithm::RoundRobin | Algorithm::ConsistentHash { .. } if !self.has_any() => None,
            Algorithm::RoundRobin => self.turn(random, |_| true),
            Algorithm::LeastConnections => self.least_connections(random),
            Algorithm::PowerOfTwo => self.power_of_two(random),
            Algorithm::Random => self.draw(random, None),
            Algorithm::First => self.first(),
            Algorithm::ConsistentHash { .. } => match key {
                Some(key) => self.owner(key),
                None => self.turn(random, |_| true),
            },
        }
    }

    pub(super) fn allows(&self, target: &Target) -> bool {
        self.group.standing(target, self.now) == Some(self.standing)
            && !self.exclude.contains(&target.id)
            && !target.state.is_full(self.group.limit(target, self.now))
    }

    fn iter(&self) -> impl Iterator<Item = &'g Arc<Target>> {
        let candidates = *self;
        self.group
            .targets
            .iter()
            .filter(move |target| candidates.allows(target))
    }

    fn has_any(&self) -> bool {
        self.first().is_some()
    }

    /// The first in the order of the file.
    fn first(&self) -> Option<&'g Arc<Target>> {
        self.iter().next()
    }

    /// The one whose turn it is, among those who are `wanted`.
    fn turn(&self, random: u64, wanted: impl Fn(&Target) -> bool) -> Option<&'g Arc<Target>> {
        let rank = self.group.rank(self.standing);
        let mut random = random;
        for _ in 0..rank.schedule.len() {
            let target = self.group.next_turn(rank)?;
            random = another(random);
            if self.allows(target)
                && wanted(target)
                && self.group.keeps_turn(target, self.now, random)
            {
                return Some(target);
            }
        }
        // Other threads took turns in between: any will do.
        self.iter().find(|target| wanted(target))
    }

    /// The one least loaded, by turns if several are.
    fn least_connections(&self, random: u64) -> Option<&'g Arc<Target>> {
        let idle_first = self.idle_first();
        let load = |target: &Target| self.load(target).with_one_more(idle_first);
        let mut best: Option<(&Arc<Target>, Load)> = None;
        let mut tied = false;
        for target in self.iter() {
            let load = load(target);
            match best.as_ref().map(|(_, least)| load.cmp(least)) {
                None | Some(Ordering::Less) => (best, tied) = (Some((target, load)), false),
                Some(Ordering::Equal) => tied = true,
                Some(Ordering::Greater) => {}
            }
        }
        let (target, least) = best?;
        if !tied {
            return Some(target);
        }
        let turn = self.turn(random, |other| load(other) == least);
        Some(turn.unwrap_or(target))
    }

    /// Whether idle targets come before all others. Not if the only idle ones are in their slow start and others are
    /// not: they would get each request that comes.
    fn idle_first(&self) -> bool {
        if self.group.settings.slow_start.is_none() {
            return true;
        }
        let is_warm = |target: &Arc<Target>| self.group.share(target, self.now) == WHOLE_SHARE;
        let warm_and_idle = |target: &Arc<Target>| is_warm(target) && target.state.in_flight() == 0;
        self.iter().any(warm_and_idle) || !self.iter().any(is_warm)
    }

    /// The less loaded of two that are drawn; the first drawn if they are equal.
    fn power_of_two(&self, random: u64) -> Option<&'g Arc<Target>> {
        let one = self.draw(random, None)?;
        match self.draw(another(random), Some(one.id)) {
            Some(two) if self.load(two) < self.load(one) => Some(two),
            Some(_) | None => Some(one),
        }
    }

    /// One at random, by weight, but not `except`.
    fn draw(&self, random: u64, except: Option<TargetId>) -> Option<&'g Arc<Target>> {
        let others = || self.iter().filter(|target| Some(target.id) != except);
        let total: u64 = others().map(|target| self.weight(target)).sum();
        let place = (u128::from(random) * u128::from(total)) >> 64;
        let mut left = u64::try_from(place).unwrap_or(u64::MAX);
        let mut last = None;
        for target in others() {
            let weight = self.weight(target);
            if left < weight {
                return Some(target);
            }
            left -= weight;
            last = Some(target);
        }
        last // one before it has become unusable in between
    }

    pub(super) fn owner(&self, key: PickKey) -> Option<&'g Arc<Target>> {
        let targets = &self.group.targets;
        let at = |index: u32| targets.get(index as usize);
        let allowed = |index| at(index).is_some_and(|target| self.allows(target));
        let ring = self.group.ring.as_ref()?;
        ring.owner(key, allowed).and_then(at)
    }

    /// Its weight, as far as it is ready for it.
    fn weight(&self, target: &Target) -> u64 {
        let share = self.group.share(target, self.now);
        u64::from(target.settings.weight) * u64::from(share)
    }

    /// What is in flight there.
    fn load(&self, target: &Target) -> Load {
        Load {
            count: u64::from(target.state.in_flight()),
            weight: self.weight(target),
        }
    }
}

/// A second random number of the first (the step of SplitMix64).
fn another(random: u64) -> u64 {
    let mixed = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// How much a target has to do for its weight.
#[derive(Clone, Copy, Debug)]
struct Load {
    count: u64,
    weight: u64,
}

impl Load {
    /// What would be in flight after the pick, but nothing if it is idle and that counts: all idle targets are as good,
    /// or the heaviest would get everything as long as there is little to do.
    fn with_one_more(self, idle_first: bool) -> Self {
        let idle = self.count == 0 && idle_first;
        Self {
            count: if idle { 0 } else { self.count + 1 },
            ..self
        }
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.count * other.weight).cmp(&(other.count * self.weight))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Load {}

#[cfg(test)]
mod tests;
