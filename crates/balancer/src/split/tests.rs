#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::settings::GroupSettings;
use crate::target::Health;

fn split(weights: &[u32]) -> Split {
    let share = |(number, weight): (usize, &u32)| Share {
        group: Group::build(
            GroupSettings::new(format!("g{number}"), ["10.0.0.1:80".parse().unwrap()]),
            None,
        ),
        weight: *weight,
    };
    Split::new(weights.iter().enumerate().map(share).collect())
}

fn set(split: &Split, number: usize, health: Health) {
    split.shares()[number].group.targets()[0]
        .state()
        .set_health(health);
}

fn shares(split: &Split, draws: u32) -> Vec<u32> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut counts = vec![0; split.shares().len()];
    for _ in 0..draws {
        let drawn = split.draw(Instant::now(), rng.random()).unwrap();
        let at = split
            .shares()
            .iter()
            .position(|share| Arc::ptr_eq(&share.group, drawn));
        counts[at.unwrap()] += 1;
    }
    counts
}

#[test]
fn groups_share_by_weight() {
    let split = split(&[95, 5, 0]);
    let counts = shares(&split, 20_000);
    assert!((900..1100).contains(&counts[1]), "{counts:?}");
    assert_eq!(counts[2], 0);
}

#[test]
fn a_group_that_cannot_serve_leaves_its_part_to_the_others() {
    let split = split(&[90, 5, 5]);
    let now = Instant::now();
    assert_eq!(split.effective_weights(now), [90, 5, 5]);
    set(&split, 0, Health::Down);
    assert_eq!(split.effective_weights(now), [0, 5, 5]);
    let counts = shares(&split, 10_000);
    assert_eq!(counts[0], 0);
    assert!((4700..5300).contains(&counts[1]), "{counts:?}");
    assert_eq!(split.bound(now, GroupMark::of("g0")).map(|_| ()), None);
    assert!(split.bound(now, GroupMark::of("g1")).is_some());
    assert!(split.bound(now, GroupMark::of("stranger")).is_none());
}

#[test]
fn when_no_group_can_serve_the_weights_hold_again() {
    let split = split(&[1, 1]);
    set(&split, 0, Health::Down);
    set(&split, 1, Health::Down);
    assert!(shares(&split, 1000).iter().all(|count| *count > 400));
    // And whoever is bound stays.
    assert!(split.bound(Instant::now(), GroupMark::of("g1")).is_some());
    assert_eq!(split.effective_weights(Instant::now()), [1, 1]);
}

#[test]
fn a_group_with_weight_that_is_down_does_not_hand_over_to_one_without() {
    let split = split(&[1, 0]);
    set(&split, 0, Health::Down);
    assert_eq!(shares(&split, 100), [100, 0]);
    // But whoever is bound to the one without stays there.
    assert!(split.bound(Instant::now(), GroupMark::of("g1")).is_some());
}
