//! Fairness and bookkeeping of picks.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::settings::{Check, TargetSettings};

mod bound;
mod protection;

fn group(weights: &[u32]) -> Arc<Group> {
    let mut settings = GroupSettings::new("g", []);
    for (index, weight) in weights.iter().enumerate() {
        let address = format!("10.0.0.{}:80", index + 1).parse().unwrap();
        settings.targets.push(TargetSettings {
            name: format!("t{index}"),
            weight: *weight,
            address,
            check: None,
            backup: false,
        });
    }
    let group = Group::build(settings, None);
    set_all(&group, Health::Up);
    group
}

fn set_all(group: &Group, health: Health) {
    for target in group.targets() {
        target.state().set_health(health);
    }
}

#[test]
fn another_one_is_one_that_is_worth_trying() {
    let group = group(&[1, 1, 1]);
    set_all(&group, Health::Up);
    let now = Instant::now();
    let other = |tried: &[TargetId]| group.has_other(now, TargetId(0), tried);
    assert!(other(&[]) && other(&[TargetId(1)]));
    assert!(!other(&[TargetId(1), TargetId(2)]), "each was tried");
    set_all(&group, Health::Down);
    assert!(!other(&[]), "all of them fail their check");
    group.targets()[2].state().set_health(Health::Up);
    assert!(other(&[]) && !other(&[TargetId(2)]));
}

fn pick(group: &Group) -> Option<usize> {
    group
        .pick(Instant::now(), 0, None, &[])
        .map(|lease| lease.target().id().index())
}

fn shares(group: &Group, picks: usize) -> BTreeMap<usize, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..picks {
        if let Some(index) = pick(group) {
            *shares.entry(index).or_default() += 1;
        }
    }
    shares
}

#[test]
fn turns_go_round() {
    let group = group(&[1, 1, 1]);
    let picks: Vec<_> = (0..6).map(|_| pick(&group).unwrap()).collect();
    assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_neighbour_of_a_missing_target_gets_no_double_share() {
    let group = group(&[1, 1, 1, 1]);
    group.targets()[1].state().set_health(Health::Down);
    assert_eq!(
        shares(&group, 300),
        BTreeMap::from([(0, 100), (2, 100), (3, 100)])
    );
}

#[test]
fn unknown_targets_wait_until_nobody_is_known_healthy() {
    let group = group(&[1, 1]);
    group.targets()[1].state().set_health(Health::Unknown);
    assert_eq!(shares(&group, 10), BTreeMap::from([(0, 10)]));
    assert_eq!(group.usable(Instant::now()), 1);
    group.targets()[0].state().set_health(Health::Down);
    assert_eq!(shares(&group, 10), BTreeMap::from([(1, 10)]));
    assert_eq!(group.usable(Instant::now()), 1);
}

#[test]
fn all_down_fails_open_or_refuses_as_told() {
    let open = group(&[1, 1]);
    set_all(&open, Health::Down);
    assert_eq!(shares(&open, 10), BTreeMap::from([(0, 5), (1, 5)]));
    assert_eq!(open.usable(Instant::now()), 0);
    let refusing = GroupSettings {
        on_all_down: OnAllDown::Refuse,
        ..open.settings().clone()
    };
    let refusing = Group::build(refusing, Some(&open));
    assert_eq!(pick(&refusing), None);
}

#[test]
fn of_targets_that_all_fail_their_check_those_that_answer_get_the_traffic() {
    let group = group(&[1, 1, 1]);
    set_all(&group, Health::Down);
    let now = Instant::now();
    let errors = group.settings().outlier.clone().unwrap().consecutive_errors;
    // The first one is dead indeed. Nobody is left who could take over, so it is not ejected.
    for _ in 0..errors {
        let others: Vec<_> = group.targets()[1..]
            .iter()
            .map(|target| target.id())
            .collect();
        let lease = group.pick(now, 0, None, &others).unwrap();
        lease.finish(now, Outcome::ConnectFailed);
    }
    assert_eq!(shares(&group, 10), BTreeMap::from([(1, 5), (2, 5)]));
    assert_eq!(group.usable(now), 0);
    assert!(group.fails_open(now));
    // Where all are as bad, all are tried.
    for target in &group.targets()[1..] {
        target.state().set_order(Order::Maint);
    }
    assert_eq!(pick(&group), Some(0));
}

#[test]
fn orders_are_honoured_even_when_all_else_fails() {
    let group = group(&[1, 1, 1]);
    group.targets()[0].state().set_order(Order::Drain);
    group.targets()[1].state().set_order(Order::Maint);
    assert_eq!(shares(&group, 6), BTreeMap::from([(2, 6)]));
    group.targets()[2].state().set_health(Health::Down);
    assert_eq!(shares(&group, 6), BTreeMap::from([(2, 6)]), "fail open");
    group.targets()[2].state().set_order(Order::Drain);
    assert_eq!(pick(&group), None);
}

#[test]
fn without_a_check_every_target_is_healthy() {
    let checked = group(&[1, 1]);
    let mut settings = checked.settings().clone();
    settings.health.check = Check::Off;
    let unchecked = Group::build(settings, Some(&checked));
    set_all(&unchecked, Health::Down);
    assert_eq!(unchecked.usable(Instant::now()), 2);
    assert_eq!(shares(&unchecked, 10), BTreeMap::from([(0, 5), (1, 5)]));
}

#[test]
fn excluded_targets_are_not_tried_again_and_a_failing_one_is_no_way_out() {
    let group = group(&[1, 1, 1]);
    let now = Instant::now();
    let (first, second) = (TargetId(0), TargetId(1));
    for _ in 0..10 {
        let lease = group.pick(now, 0, None, &[first, second]).unwrap();
        assert_eq!(lease.target().id(), TargetId(2));
    }
    group.targets()[2].state().set_health(Health::Down);
    assert!(group.pick(now, 0, None, &[first, second]).is_none());
}

#[test]
fn a_lease_counts_until_it_ends_also_when_dropped() {
    let group = group(&[1]);
    let now = Instant::now();
    let state = group.targets()[0].state();
    let one = group.pick(now, 0, None, &[]).unwrap();
    let two = group.pick(now, 0, None, &[]).unwrap();
    assert_eq!(
        (
            state.in_flight(),
            state.requests_total(),
            state.errors_total()
        ),
        (2, 2, 0)
    );
    one.finish(now, Outcome::Reset);
    assert_eq!((state.in_flight(), state.errors_total()), (1, 1));
    drop(two);
    assert_eq!((state.in_flight(), state.errors_total()), (0, 1));
}

#[test]
fn a_group_without_targets_or_weight_has_nothing_to_give() {
    assert_eq!(pick(&group(&[])), None);
    assert_eq!(pick(&group(&[0, 0])), None);
    assert_eq!(group(&[0, 1]).usable(Instant::now()), 1);
}

#[test]
fn threads_share_one_cycle() {
    let group = group(&[3, 2, 1]);
    let mut threads = Vec::new();
    for _ in 0..4 {
        let group = Arc::clone(&group);
        threads.push(std::thread::spawn(move || shares(&group, 600)));
    }
    let mut sum = BTreeMap::new();
    for thread in threads {
        for (index, count) in thread.join().unwrap() {
            *sum.entry(index).or_default() += count;
        }
    }
    assert_eq!(sum, BTreeMap::from([(0, 1200), (1, 800), (2, 400)]));
}

proptest! {
    /// Whatever is down, each of the others gets its weight's share of what is left, to within one turn a cycle cut.
    #[test]
    fn shares_follow_the_weights_of_those_left(
        members in proptest::collection::vec((1u32..10, any::<bool>()), 1..8),
        start in 0usize..50,
    ) {
        let weights: Vec<u32> = members.iter().map(|(weight, _)| *weight).collect();
        let group = group(&weights);
        shares(&group, start);
        for ((_, up), target) in members.iter().zip(group.targets()) {
            target.state().set_health(if *up { Health::Up } else { Health::Down });
        }
        prop_assume!(members.iter().any(|(_, up)| *up));
        let left: usize = members.iter().filter(|(_, up)| *up).map(|(weight, _)| *weight as usize).sum();
        let cycles = 20;
        let shares = shares(&group, left * cycles);
        for (index, (weight, up)) in members.iter().enumerate() {
            let got = shares.get(&index).copied().unwrap_or(0);
            let want = if *up { *weight as usize * cycles } else { 0 };
            prop_assert!(got.abs_diff(want) <= *weight as usize, "target {index}: {got}, want {want}");
        }
    }
}
