//! Balance of the ring, who moves when a target leaves, and the same answer wherever it is asked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::*;

const VNODES: u16 = 160;

fn ring(names: &[String]) -> Ring {
    Ring::new(names.iter().map(|name| (name.as_str(), 1)), VNODES)
}

/// The part of all keys each of `count` members owns, worked out from the arcs.
fn shares(ring: &Ring, count: usize) -> Vec<f64> {
    let mut shares = vec![0.0; count];
    for (at, point) in ring.points.iter().enumerate() {
        let next = (at + 1) % ring.points.len();
        let half = ring.points[next].wrapping_sub(*point) as f64 / 2f64.powi(65);
        shares[ring.owners[at] as usize] += half;
        shares[ring.owners[next] as usize] += half;
    }
    shares
}

/// Names as people give them, and names nobody would.
fn names(rng: &mut StdRng, count: usize) -> Vec<String> {
    let base: u16 = rng.random();
    let style = rng.random_range(0..5);
    let mut names = BTreeMap::new();
    while names.len() < count {
        let number = names.len();
        let name = match style {
            0 => format!("10.{}.{}.{number}:8080", base >> 8, base & 255),
            1 => format!("app-{base}-{number}"),
            2 => format!("{}{base}", char::from(b'a' + number as u8)),
            3 => format!("[2001:db8:{base:x}::{number:x}]:{}", 8000 + number),
            _ => (0..rng.random_range(1..40))
                .map(|_| rng.random::<char>())
                .collect(),
        };
        names.insert(name, ());
    }
    names.into_keys().collect()
}

fn keys(rng: &mut StdRng, count: usize) -> Vec<PickKey> {
    (0..count)
        .map(|_| PickKey::of_bytes(&rng.random::<u64>().to_le_bytes()))
        .collect()
}

#[test]
fn ten_equal_targets_share_evenly_whatever_their_names() {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut worst, mut sum) = (0f64, 0.0);
    for round in 0..300 {
        let names = names(&mut rng, 10);
        let most = shares(&ring(&names), 10).into_iter().fold(0.0, f64::max) * 10.0;
        assert!(most <= 1.25, "round {round}: {most} with {names:?}");
        worst = worst.max(most);
        sum += most;
    }
    let mean = sum / 300.0;
    assert!(mean <= 1.10, "max/mean is {mean:.3}, at worst {worst:.3}");
}

#[test]
fn who_leaves_moves_its_own_keys_and_no_others() {
    let mut rng = StdRng::seed_from_u64(2);
    for round in 0..40 {
        let count = rng.random_range(2..=12);
        let names = names(&mut rng, count);
        let gone = rng.random_range(0..count);
        let whole = ring(&names);
        let weight = |index| u32::from(index != gone);
        let rest = names.iter().enumerate();
        let rest = Ring::new(
            rest.map(|(index, name)| (name.as_str(), weight(index))),
            VNODES,
        );
        let mut moved = 0;
        for key in keys(&mut rng, 10_000) {
            let before = whole.owner(key, |_| true).unwrap();
            let after = rest.owner(key, |_| true).unwrap();
            // Out of service and not there at all are the same to everybody else.
            assert_eq!(
                whole.owner(key, |owner| owner as usize != gone),
                Some(after)
            );
            if before as usize == gone {
                moved += 1;
            } else {
                assert_eq!(before, after, "round {round}: a survivor's key moved");
            }
        }
        let limit = 1.25 / count as f64;
        assert!(
            f64::from(moved) / 10_000.0 <= limit,
            "round {round}: {moved}"
        );
    }
}

#[test]
fn shares_follow_the_weights() {
    let members = [("a", 1), ("b", 2), ("c", 5), ("d", 0)];
    let shares = shares(&Ring::new(members, VNODES), 4);
    for (share, (name, weight)) in shares.iter().zip(members) {
        let want = f64::from(weight) / 8.0;
        assert!((share - want).abs() <= 0.15 * want, "{name}: {share}");
    }
}

#[test]
fn another_weight_moves_keys_to_or_from_that_target_only() {
    let light = Ring::new([("a", 2), ("b", 2), ("c", 1)], VNODES);
    let heavy = Ring::new([("a", 2), ("b", 2), ("c", 3)], VNODES);
    for key in keys(&mut StdRng::seed_from_u64(3), 10_000) {
        let (before, after) = (light.owner(key, |_| true), heavy.owner(key, |_| true));
        assert!(before == after || after == Some(2));
    }
}

#[test]
fn the_owners_are_what_they_always_were() {
    let names: Vec<String> = (1..=4).map(|n| format!("10.0.0.{n}:80")).collect();
    let ring = ring(&names);
    let owner = |key: &str| {
        ring.owner(PickKey::of_bytes(key.as_bytes()), |_| true)
            .unwrap()
    };
    // Worked out apart from this code, from the definition in the docs.
    let owners: Vec<u32> = (0..16).map(|n| owner(&format!("user-{n}"))).collect();
    assert_eq!(owners, [1, 3, 1, 0, 1, 3, 3, 0, 2, 0, 3, 3, 3, 2, 2, 1]);
}

#[test]
fn nobody_owns_an_empty_ring_or_one_where_nobody_is_allowed() {
    let key = PickKey::of_bytes(b"k");
    assert_eq!(Ring::new([], VNODES).owner(key, |_| true), None);
    assert_eq!(Ring::new([("a", 0)], VNODES).owner(key, |_| true), None);
    assert_eq!(Ring::new([("a", 3)], VNODES).owner(key, |_| false), None);
}

proptest! {
    #[test]
    fn the_order_of_the_targets_does_not_matter(seed: u64) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let names = names(rng, 6);
        let mut shuffled = names.clone();
        shuffled.shuffle(rng);
        let (one, other) = (ring(&names), ring(&shuffled));
        for key in keys(rng, 200) {
            let one = one.owner(key, |_| true).unwrap() as usize;
            let other = other.owner(key, |_| true).unwrap() as usize;
            prop_assert_eq!(&names[one], &shuffled[other]);
        }
    }

    /// Against the definition: of all points of those allowed, the nearest.
    #[test]
    fn the_owner_has_the_nearest_point(
        points in proptest::collection::btree_map(any::<u64>(), 0u32..5, 1..40),
        key: u64,
        allowed in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let ring = Ring {
            points: points.keys().copied().collect(),
            owners: points.values().copied().collect(),
        };
        let distance = |point: u64| point.wrapping_sub(key).min(key.wrapping_sub(point));
        let nearest = points
            .iter()
            .filter(|(_, owner)| allowed[**owner as usize])
            .min_by_key(|(point, _)| (distance(**point), **point != key.wrapping_add(distance(**point))))
            .map(|(_, owner)| *owner);
        prop_assert_eq!(ring.owner(PickKey(key), |owner| allowed[owner as usize]), nearest);
    }
}

#[test]
fn balance_follows_the_number_of_points_and_who_leaves_takes_its_share() {
    // Targets, points each, and the most of the mean share that a ring of that size gives one of them.
    let rows = [
        (3, 16, 1.15),
        (3, 160, 1.049),
        (5, 160, 1.073),
        (10, 1, 2.36),
        (10, 16, 1.28),
        (10, 100, 1.11),
        (10, 160, 1.08),
        (10, 512, 1.05),
        (10, 1024, 1.04),
        (50, 160, 1.13),
        (50, 1024, 1.06),
    ];
    const RINGS: u32 = 20;
    for (count, vnodes, expected) in rows {
        let (mut most, mut left) = (0.0, 0.0);
        for number in 0..RINGS {
            let names = (0..count).map(|target| format!("10.{number}.0.{target}:8080"));
            let names: Vec<String> = names.collect();
            let ring = Ring::new(names.iter().map(|name| (name.as_str(), 1)), vnodes);
            let shares = shares(&ring, count);
            most += shares.iter().copied().fold(0.0, f64::max) * count as f64;
            left += shares[number as usize % count];
        }
        let (most, left) = (most / f64::from(RINGS), left / f64::from(RINGS));
        let row = format!("{count} targets with {vnodes} points: {most:.3} of the mean");
        assert!(most <= expected * 1.1, "{row}, not {expected}");
        // What moves when one leaves is what it had (`who_leaves_moves_its_own_keys_and_no_others`): 1/N on average.
        if vnodes > 1 {
            let ideal = 1.0 / count as f64;
            assert!(
                left <= ideal * 1.1,
                "{row}: {left:.4} moves, not {ideal:.4}"
            );
        }
    }
}
