//! What each algorithm chooses, and what all of them owe to health, orders, backups and what was tried before.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;
use crate::group::Lease;
use crate::settings::{GroupSettings, HashKey, OnAllDown, TargetSettings};
use crate::target::{Health, Order};

const HASH: Algorithm = Algorithm::ConsistentHash {
    key: HashKey::Source,
    vnodes: 160,
};

const ALL: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
    Algorithm::PowerOfTwo,
    Algorithm::Random,
    Algorithm::First,
    HASH,
];

fn settings(algorithm: Algorithm, members: &[(u32, bool)]) -> GroupSettings {
    let mut settings = GroupSettings::new("g", []);
    settings.algorithm = algorithm;
    for (index, (weight, backup)) in members.iter().enumerate() {
        settings.targets.push(TargetSettings {
            name: format!("t{index}"),
            address: format!("10.0.0.{}:80", index + 1).parse().unwrap(),
            check: None,
            weight: *weight,
            backup: *backup,
        });
    }
    settings
}

/// A group whose targets are up; each has a weight, and may be a backup.
fn group_of(algorithm: Algorithm, members: &[(u32, bool)]) -> Arc<Group> {
    let group = Group::build(settings(algorithm, members), None);
    for target in group.targets() {
        target.state().set_health(Health::Up);
    }
    group
}

fn group(algorithm: Algorithm, weights: &[u32]) -> Arc<Group> {
    let members: Vec<_> = weights.iter().map(|weight| (*weight, false)).collect();
    group_of(algorithm, &members)
}

fn set(group: &Group, index: usize, health: Health) {
    group.targets()[index].state().set_health(health);
}

/// Picks for a group that hashes have a key each, made of the random number.
fn lease(group: &Group, rng: &mut StdRng, exclude: &[TargetId]) -> Option<Lease> {
    let random: u64 = rng.random();
    let key = PickKey::of_bytes(&random.to_le_bytes());
    group.pick(Instant::now(), random, Some(key), exclude)
}

fn index(lease: &Lease) -> usize {
    lease.target().id().index()
}

/// Who is picked how often when each lease ends at once.
fn shares(group: &Group, picks: usize) -> BTreeMap<usize, usize> {
    let rng = &mut StdRng::seed_from_u64(7);
    let mut shares = BTreeMap::new();
    for _ in 0..picks {
        if let Some(lease) = lease(group, rng, &[]) {
            *shares.entry(index(&lease)).or_default() += 1;
        }
    }
    shares
}

fn in_flight(group: &Group) -> Vec<u32> {
    group
        .targets()
        .iter()
        .map(|target| target.state().in_flight())
        .collect()
}

// ---- each algorithm ----

#[test]
fn an_idle_pair_takes_turns_with_least_connections() {
    let group = group(Algorithm::LeastConnections, &[1, 1]);
    let picks: Vec<_> = (0..6)
        .map(|_| index(&group.pick(Instant::now(), 0, None, &[]).unwrap()))
        .collect();
    assert_eq!(picks, [0, 1, 0, 1, 0, 1]);
    assert_eq!(shares(&group, 10), BTreeMap::from([(0, 5), (1, 5)]));
}

#[test]
fn least_connections_avoids_the_busy_one() {
    let group = group(Algorithm::LeastConnections, &[1, 1]);
    let _hanging = group.pick(Instant::now(), 0, None, &[]).unwrap();
    let busy = in_flight(&group)
        .iter()
        .position(|count| *count == 1)
        .unwrap();
    assert_eq!(shares(&group, 10), BTreeMap::from([(1 - busy, 10)]));
}

#[test]
fn idle_ones_come_first_whatever_their_weight() {
    let group = group(Algorithm::LeastConnections, &[100, 1, 1]);
    let rng = &mut StdRng::seed_from_u64(1);
    let leases: Vec<_> = (0..3).map(|_| lease(&group, rng, &[]).unwrap()).collect();
    assert_eq!(in_flight(&group), [1, 1, 1]);
    // From here on the load after the pick counts: 2/100 against 2/1.
    assert_eq!(index(&lease(&group, rng, &[]).unwrap()), 0);
    drop(leases);
    assert_eq!(in_flight(&group), [0, 0, 0]);
}

/// Leases on one target, so that it is as busy as a test wants it.
fn busy(group: &Group, target: usize, count: usize) -> Vec<Lease> {
    let others: Vec<_> = group.targets().iter().map(|target| target.id()).collect();
    let others: Vec<_> = others
        .into_iter()
        .filter(|id| id.index() != target)
        .collect();
    (0..count)
        .map(|_| group.pick(Instant::now(), 0, None, &others).unwrap())
        .collect()
}

#[test]
fn the_load_after_the_pick_counts() {
    let group = group(Algorithm::LeastConnections, &[1, 3]);
    let _leases = (busy(&group, 0, 1), busy(&group, 1, 4));
    // 2/1 against 5/3; before the pick it would be 1/1 against 4/3.
    assert_eq!(shares(&group, 10), BTreeMap::from([(1, 10)]));
}

#[test]
fn the_two_draws_have_nothing_to_do_with_each_other() {
    let group = group(Algorithm::PowerOfTwo, &[1, 1, 1]);
    let _leases = (busy(&group, 0, 1), busy(&group, 1, 1));
    // The idle one is among two of three in two of three pairs.
    let shares = shares(&group, 9_000);
    assert!(shares[&2].abs_diff(6_000) <= 200, "{shares:?}");
    assert!(shares[&0].abs_diff(1_500) <= 150, "{shares:?}");
}

#[test]
fn what_is_in_flight_follows_the_weights() {
    let rng = &mut StdRng::seed_from_u64(2);
    for (algorithm, slack) in [
        (Algorithm::LeastConnections, 2),
        (Algorithm::PowerOfTwo, 12),
    ] {
        let group = group(algorithm.clone(), &[1, 2, 3]);
        let leases: Vec<_> = (0..600).map(|_| lease(&group, rng, &[]).unwrap()).collect();
        for (got, want) in in_flight(&group).into_iter().zip([100u32, 200, 300]) {
            assert!(
                got.abs_diff(want) <= slack,
                "{algorithm}: {:?}",
                in_flight(&group)
            );
        }
        drop(leases);
    }
}

#[test]
fn picks_of_idle_targets_follow_the_weights() {
    for (algorithm, slack) in [
        (Algorithm::RoundRobin, 1),
        (Algorithm::LeastConnections, 1),
        (Algorithm::PowerOfTwo, 400),
        (Algorithm::Random, 400),
        // 160 points for a unit of weight: as good as the ring is.
        (HASH, 2_000),
    ] {
        let shares = shares(&group(algorithm.clone(), &[1, 2, 3]), 24_000);
        for (member, want) in [(0, 4_000usize), (1, 8_000), (2, 12_000)] {
            assert!(
                shares[&member].abs_diff(want) <= slack,
                "{algorithm}: {shares:?}"
            );
        }
    }
}

#[test]
fn power_of_two_draws_two_different_ones() {
    let group = group(Algorithm::PowerOfTwo, &[1, 1]);
    let _hanging = group.pick(Instant::now(), 0, None, &[]).unwrap();
    let busy = in_flight(&group)
        .iter()
        .position(|count| *count == 1)
        .unwrap();
    assert_eq!(shares(&group, 1_000), BTreeMap::from([(1 - busy, 1_000)]));
}

#[test]
fn power_of_two_takes_the_only_one_there_is() {
    let group = group(Algorithm::PowerOfTwo, &[1, 1]);
    set(&group, 0, Health::Down);
    assert_eq!(shares(&group, 10), BTreeMap::from([(1, 10)]));
}

#[test]
fn the_ends_of_the_random_range_are_targets_too() {
    for algorithm in [Algorithm::Random, Algorithm::PowerOfTwo] {
        let group = group(algorithm, &[3, 1, 0]);
        for random in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            assert!(group.pick(Instant::now(), random, None, &[]).is_some());
        }
    }
}

#[test]
fn first_stays_with_the_first_while_it_is_usable() {
    let group = group(Algorithm::First, &[1, 9, 9]);
    assert_eq!(shares(&group, 10), BTreeMap::from([(0, 10)]));
    set(&group, 0, Health::Down);
    assert_eq!(shares(&group, 10), BTreeMap::from([(1, 10)]));
    group.targets()[1].state().set_order(Order::Drain);
    assert_eq!(shares(&group, 10), BTreeMap::from([(2, 10)]));
    set(&group, 0, Health::Up);
    assert_eq!(shares(&group, 10), BTreeMap::from([(0, 10)]));
}

#[test]
fn a_key_keeps_its_target_and_comes_back_to_it() {
    let group = group(HASH, &[1, 1, 1, 1]);
    let pick = |key: u32| {
        let key = PickKey::of_bytes(&key.to_le_bytes());
        index(&group.pick(Instant::now(), 0, Some(key), &[]).unwrap())
    };
    let before: Vec<_> = (0..400).map(pick).collect();
    set(&group, 2, Health::Down);
    for (key, owner) in (0..400).zip(&before) {
        assert_eq!(pick(key) == *owner, *owner != 2, "key {key}");
    }
    set(&group, 2, Health::Up);
    assert_eq!((0..400).map(pick).collect::<Vec<_>>(), before);
}

#[test]
fn without_a_key_hashing_goes_round() {
    let group = group(HASH, &[1, 1, 1]);
    let picks: Vec<_> = (0..6)
        .map(|_| index(&group.pick(Instant::now(), 0, None, &[]).unwrap()))
        .collect();
    assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
}

// ---- what all of them owe ----

#[test]
fn backups_wait_until_no_primary_is_usable() {
    for algorithm in ALL {
        let group = group_of(
            algorithm.clone(),
            &[(1, false), (1, true), (1, false), (1, true)],
        );
        let used = || shares(&group, 200).into_keys().collect::<Vec<_>>();
        let first = algorithm == Algorithm::First;
        let two = |one, other| if first { vec![one] } else { vec![one, other] };
        assert_eq!(used(), two(0, 2), "{algorithm}");
        set(&group, 0, Health::Down);
        assert_eq!(used(), [2], "{algorithm}: one primary left");
        set(&group, 2, Health::Unknown);
        assert_eq!(used(), [2], "{algorithm}: a primary that may be well");
        set(&group, 2, Health::Down);
        assert_eq!(used(), two(1, 3), "{algorithm}: no primary left");
        set(&group, 1, Health::Down);
        assert_eq!(used(), [3], "{algorithm}: one backup left");
        set(&group, 3, Health::Down);
        assert_eq!(
            used(),
            two(0, 2),
            "{algorithm}: fails open on the primaries"
        );
        set(&group, 2, Health::Up);
        assert_eq!(used(), [2], "{algorithm}: a primary is back");
    }
}

#[test]
fn a_backup_is_tried_when_the_primaries_were_for_this_request() {
    for algorithm in ALL {
        let group = group_of(algorithm.clone(), &[(1, false), (1, true)]);
        let rng = &mut StdRng::seed_from_u64(3);
        let second = lease(&group, rng, &[TargetId(0)]).unwrap();
        assert_eq!(index(&second), 1, "{algorithm}");
        assert!(lease(&group, rng, &[TargetId(0), TargetId(1)]).is_none());
        // That the good one was tried does not make a failing one worth trying.
        set(&group, 1, Health::Down);
        assert!(lease(&group, rng, &[TargetId(0)]).is_none(), "{algorithm}");
    }
}

#[test]
fn backups_take_turns_too() {
    let group = group_of(Algorithm::RoundRobin, &[(1, false), (2, true), (1, true)]);
    set(&group, 0, Health::Down);
    assert_eq!(shares(&group, 300), BTreeMap::from([(1, 200), (2, 100)]));
}

#[test]
fn backups_change_nothing_about_the_keys_of_the_primaries() {
    let with = group_of(HASH, &[(1, false), (1, false), (1, false), (2, true)]);
    let without = group(HASH, &[1, 1, 1]);
    for key in 0..2_000u32 {
        let key = Some(PickKey::of_bytes(&key.to_le_bytes()));
        let pick = |group: &Group| index(&group.pick(Instant::now(), 0, key, &[]).unwrap());
        assert_eq!(pick(&with), pick(&without));
    }
}

#[test]
fn backups_take_no_turns_from_the_primaries() {
    let group = group_of(Algorithm::RoundRobin, &[(3, false), (1, false), (1, true)]);
    let turn = || index(&group.pick(Instant::now(), 0, None, &[]).unwrap());
    let turns: Vec<_> = (0..4).map(|_| turn()).collect();
    assert_eq!(turns, [0, 0, 1, 0]);
}

#[test]
fn turns_go_on_after_a_reload() {
    let before = group(Algorithm::RoundRobin, &[1, 1, 1]);
    let turn = |group: &Group| index(&group.pick(Instant::now(), 0, None, &[]).unwrap());
    assert_eq!(turn(&before), 0);
    let mut settings = before.settings().clone();
    settings.on_all_down = OnAllDown::Refuse;
    assert_eq!(turn(&Group::build(settings, Some(&before))), 1);
}

#[test]
fn backups_count_as_usable() {
    let group = group_of(Algorithm::RoundRobin, &[(1, false), (1, true)]);
    let usable = || group.usable(Instant::now());
    assert_eq!(usable(), 2);
    set(&group, 0, Health::Down);
    assert_eq!(usable(), 1);
    set(&group, 1, Health::Unknown);
    assert_eq!(usable(), 1);
    set(&group, 1, Health::Down);
    assert_eq!(usable(), 0);
}

/// What a pick may take, straight from the rules.
fn expected(group: &Group, exclude: &[TargetId]) -> Vec<usize> {
    let takes_part =
        |t: &&Arc<Target>| t.state().order() == Order::Ready && t.settings().weight > 0;
    let members = || group.targets().iter().filter(takes_part);
    let tiers = [
        (Health::Up, false),
        (Health::Unknown, false),
        (Health::Up, true),
        (Health::Unknown, true),
        (Health::Down, false),
        (Health::Down, true),
    ];
    let of_tier = |(health, backup), exclude: &[TargetId]| -> Vec<usize> {
        members()
            .filter(|t| t.state().health() == health && t.settings().backup == backup)
            .filter(|t| !exclude.contains(&t.id()))
            .map(|t| t.id().index())
            .collect()
    };
    let nobody_better = tiers[..4].iter().all(|tier| of_tier(*tier, &[]).is_empty());
    let fails_open = nobody_better && group.settings().on_all_down == OnAllDown::Try;
    let tiers = if fails_open { &tiers[..] } else { &tiers[..4] };
    let found = tiers.iter().map(|tier| of_tier(*tier, exclude));
    found
        .into_iter()
        .find(|tier| !tier.is_empty())
        .unwrap_or_default()
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Up), Just(Health::Unknown), Just(Health::Down)]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![4 => Just(Order::Ready), 1 => Just(Order::Drain), 1 => Just(Order::Maint)]
}

proptest! {
    #[test]
    fn every_algorithm_picks_among_those_it_may(
        members in proptest::collection::vec(
            (0u32..4, any::<bool>(), health(), order(), any::<bool>()), 0..7),
        fails_open: bool,
        seed: u64,
    ) {
        let rng = &mut StdRng::seed_from_u64(seed);
        for algorithm in ALL {
            let kinds: Vec<_> = members.iter().map(|(weight, backup, ..)| (*weight, *backup)).collect();
            let mut settings = settings(algorithm.clone(), &kinds);
            if !fails_open {
                settings.on_all_down = OnAllDown::Refuse;
            }
            let group = Group::build(settings, None);
            let mut exclude = Vec::new();
            for ((_, _, health, order, tried), target) in members.iter().zip(group.targets()) {
                target.state().set_health(*health);
                target.state().set_order(*order);
                if *tried {
                    exclude.push(target.id());
                }
            }
            let expected = expected(&group, &exclude);
            let mut leases = Vec::new();
            for _ in 0..20 {
                let lease = lease(&group, rng, &exclude);
                let picked = lease.as_ref().map(index);
                prop_assert!(
                    picked.map_or(expected.is_empty(), |picked| expected.contains(&picked)),
                    "{algorithm}: {picked:?} of {expected:?}"
                );
                leases.extend(lease.filter(|_| rng.random()));
            }
        }
    }
}
