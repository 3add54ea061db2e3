//! Limits, the right to wait, and slow starts.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::health::{CheckFailure, HealthMachine};
use crate::settings::{HashKey, HealthSettings, TargetLimits};

const ALL: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
    Algorithm::PowerOfTwo,
    Algorithm::Random,
    Algorithm::First,
    Algorithm::ConsistentHash {
        key: HashKey::Source,
        vnodes: 160,
    },
];

fn with(weights: &[u32], change: impl FnOnce(&mut GroupSettings)) -> Arc<Group> {
    let mut settings = group(weights).settings().clone();
    change(&mut settings);
    let group = Group::build(settings, None);
    set_all(&group, Health::Up);
    group
}

fn limited(algorithm: Algorithm, weights: &[u32], limit: u32) -> Arc<Group> {
    with(weights, |settings| {
        settings.algorithm = algorithm;
        settings.limits.per_target = Some(limit);
    })
}

fn keyed(group: &Group, random: u64) -> Result<Lease, NoPick> {
    let key = PickKey::of_bytes(&random.to_le_bytes());
    group.try_pick(Instant::now(), random, Some(key), &[])
}

#[test]
fn nobody_gets_more_than_the_limit_and_the_rest_has_to_wait() {
    for algorithm in ALL {
        let group = limited(algorithm.clone(), &[1, 2, 1], 3);
        let leases: Vec<_> = (0..9)
            .map(|n| keyed(&group, n << 60 | n).unwrap())
            .collect();
        let counts = group.targets().iter().map(|t| t.state().in_flight());
        assert_eq!(counts.collect::<Vec<_>>(), [3, 3, 3], "{algorithm}");
        assert_eq!(keyed(&group, 1).unwrap_err(), NoPick::Full, "{algorithm}");
        assert!(!group.has_place(Instant::now()));
        drop(leases);
        assert!(group.has_place(Instant::now()));
        assert!(keyed(&group, 1).is_ok());
    }
}

#[test]
fn first_fills_the_first_before_the_second() {
    let group = limited(Algorithm::First, &[1, 1], 2);
    let leases: Vec<_> = (0..4)
        .map(|_| group.pick(Instant::now(), 0, None, &[]))
        .collect();
    let order = leases.iter().flatten();
    let order: Vec<_> = order.map(|lease| lease.target().id().index()).collect();
    assert_eq!(order, [0, 0, 1, 1]);
}

#[test]
fn a_full_primary_is_waited_for_while_backups_rest() {
    let group = limited(Algorithm::RoundRobin, &[1], 1);
    let mut settings = group.settings().clone();
    settings.targets.push(TargetSettings {
        backup: true,
        ..TargetSettings::new("10.0.0.9:80".parse().unwrap())
    });
    let group = Group::build(settings, Some(&group));
    set_all(&group, Health::Up);
    let _lease = keyed(&group, 0).unwrap();
    assert_eq!(keyed(&group, 0).unwrap_err(), NoPick::Full);
}

#[test]
fn newcomers_do_not_overtake_those_who_wait() {
    let group = limited(Algorithm::RoundRobin, &[1], 1);
    let ticket = group.queue().join(10).unwrap();
    assert_eq!(keyed(&group, 0).unwrap_err(), NoPick::Full);
    let lease = group.pick_in_line(Instant::now(), 0, None, &[]);
    assert!(lease.is_ok());
    drop(ticket);
    drop(lease);
    assert!(keyed(&group, 0).is_ok());
    set_all(&group, Health::Up);
    group.targets()[0].state().set_order(Order::Maint);
    let _ticket = group.queue().join(10).unwrap();
    assert_eq!(keyed(&group, 0).unwrap_err(), NoPick::Nobody);
}

#[test]
fn the_end_of_a_lease_calls_the_next_also_over_a_reload() {
    let before = limited(Algorithm::RoundRobin, &[1], 1);
    let lease = keyed(&before, 0).unwrap();
    let mut settings = before.settings().clone();
    settings.limits = TargetLimits {
        per_target: Some(1),
        queue: 5,
        queue_for: Duration::from_secs(1),
    };
    let after = Group::build(settings, Some(&before));
    let ticket = after.queue().join(5).unwrap();
    let waker = std::task::Waker::noop();
    assert!(ticket.take_call(waker) && !ticket.take_call(waker));
    lease.finish(Instant::now(), Outcome::Ok);
    assert!(ticket.take_call(waker));
}

#[test]
fn threads_keep_the_limit() {
    let group = limited(Algorithm::LeastConnections, &[1, 1], 3);
    let work = |seed| {
        let group = Arc::clone(&group);
        std::thread::spawn(move || {
            let mut leases = Vec::new();
            let rng = &mut StdRng::seed_from_u64(seed);
            for _ in 0..3_000 {
                leases.extend(group.pick(Instant::now(), 0, None, &[]));
                for target in group.targets() {
                    assert!(target.state().in_flight() <= 3);
                }
                leases.retain(|_| rng.random_bool(0.6));
            }
        })
    };
    let threads: Vec<_> = (0..4).map(work).collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(group.targets().iter().all(|t| t.state().in_flight() == 0));
}

// ---- slow start ----

const LENGTH: Duration = Duration::from_secs(30);

fn slowly(algorithm: Algorithm, weights: &[u32]) -> Arc<Group> {
    with(weights, |settings| {
        settings.algorithm = algorithm;
        settings.slow_start = Some(LENGTH);
    })
}

/// Part of the picks the target gets at `now`, each ending at once.
fn part(group: &Group, now: Instant, target: usize) -> f64 {
    let rng = &mut StdRng::seed_from_u64(5);
    let picks = 20_000;
    let got = (0..picks).filter(|_| {
        let lease = group.pick(now, rng.random(), None, &[]).unwrap();
        lease.target().id().index() == target
    });
    got.count() as f64 / f64::from(picks)
}

#[test]
fn one_that_comes_back_gets_a_growing_share() {
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::LeastConnections,
        Algorithm::Random,
    ] {
        let group = slowly(algorithm.clone(), &[1, 1]);
        let start = Instant::now();
        group.targets()[0].state().warm_up(start);
        // Shares 0.1, 0.5 and 1 against 1.
        for (seconds, want) in [(0, 0.0909), (15, 0.3333), (30, 0.5)] {
            let got = part(&group, start + Duration::from_secs(seconds), 0);
            assert!((got - want).abs() < 0.02, "{algorithm} {seconds} s: {got}");
        }
    }
}

#[test]
fn power_of_two_draws_it_seldom() {
    let group = slowly(Algorithm::PowerOfTwo, &[1, 1, 1]);
    let start = Instant::now();
    group.targets()[0].state().warm_up(start);
    let got = part(&group, start, 0);
    assert!(got < 0.1, "{got}");
}

#[test]
fn an_idle_one_in_its_slow_start_is_not_flooded() {
    let group = slowly(Algorithm::LeastConnections, &[1, 1, 1]);
    let start = Instant::now();
    let busy: Vec<_> = (0..30)
        .map(|_| group.pick(start, 0, None, &[]).unwrap())
        .collect();
    // It comes back with nothing to do, and the others have ten each.
    let idle = &group.targets()[0];
    let (mine, others): (Vec<_>, Vec<_>) = busy
        .into_iter()
        .partition(|lease| lease.target().id() == idle.id());
    drop(mine);
    idle.state().warm_up(start);
    let more: Vec<_> = (0..20)
        .map(|_| group.pick(start, 0, None, &[]).unwrap())
        .collect();
    // At a tenth of its share: (1 + 1) / 0.1 against the (n + 1) / 1 of the others.
    assert_eq!(idle.state().in_flight(), 1);
    drop((others, more));
}

#[test]
fn its_limit_grows_with_its_share() {
    let group = with(&[1, 1], |settings| {
        settings.algorithm = Algorithm::First;
        settings.slow_start = Some(LENGTH);
        settings.limits.per_target = Some(20);
    });
    let start = Instant::now();
    group.targets()[0].state().warm_up(start);
    let fill = |now| {
        let leases: Vec<_> = (0..40).map(|_| group.pick(now, 0, None, &[])).collect();
        let count = group.targets()[0].state().in_flight();
        drop(leases);
        count
    };
    assert_eq!(fill(start), 1, "a tenth, rounded down");
    assert_eq!(fill(start + LENGTH / 2), 10);
    assert_eq!(fill(start + LENGTH), 20);
}

#[test]
fn where_all_begin_at_once_nobody_begins_slowly() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections] {
        let group = slowly(algorithm.clone(), &[1, 3]);
        let start = Instant::now();
        for target in group.targets() {
            target.state().warm_up(start);
        }
        let got = part(&group, start, 0);
        assert!((got - 0.25).abs() < 0.01, "{algorithm}: {got}");
    }
}

#[test]
fn who_begins_slowly() {
    let now = Instant::now();
    let settings = HealthSettings::default();
    let percent = |group: &Group, target: usize| {
        let state = group.targets()[target].state();
        state.warm_percent(now, group.settings().slow_start)
    };
    let check = |group: &Group, target: usize, results: &[bool]| {
        let state = group.targets()[target].state();
        let mut machine = HealthMachine::resume(settings.clone(), state.health());
        for passes in results {
            let result = if *passes {
                Ok(())
            } else {
                Err(CheckFailure::Timeout)
            };
            let change = machine.observe(now, result);
            state.observe(now, &machine, change);
        }
    };
    // After the start everybody is unknown, and warm: the other node may have used them a moment ago.
    let mut written = group(&[1, 1]).settings().clone();
    written.slow_start = Some(LENGTH);
    let first = Group::build(written.clone(), None);
    check(&first, 0, &[true]);
    assert_eq!(percent(&first, 0), None);
    // One that was down.
    check(&first, 0, &[false, false, false]);
    let state = first.targets()[0].state();
    assert_eq!((state.falls(), state.is_silent()), (1, true));
    check(&first, 0, &[true, true]);
    assert_eq!(percent(&first, 0), Some(9));
    assert!(!state.is_silent());
    // One that is added to others.
    written
        .targets
        .push(TargetSettings::new("10.0.0.9:80".parse().unwrap()));
    let second = Group::build(written, Some(&first));
    check(&second, 2, &[true]);
    assert_eq!(percent(&second, 2), Some(9));
    assert_eq!(percent(&second, 1), None);
}
