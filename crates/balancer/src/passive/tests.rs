//! Who is taken out, for how long, and who brings it back.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::group::{Group, Lease};
use crate::settings::{Check, OnAllDown};

const SECOND: Duration = Duration::from_secs(1);

/// A group without checks.
fn group(targets: u16, change: impl FnOnce(&mut GroupSettings)) -> Arc<Group> {
    let addresses = (1..=targets).map(|port| ([127, 0, 0, 1], port).into());
    let mut settings = GroupSettings::new("g", addresses);
    settings.health.check = Check::Off;
    change(&mut settings);
    Group::build(settings, None)
}

fn state(group: &Group, target: usize) -> &TargetState {
    group.targets()[target].state()
}

/// A lease on this target for its own merit; none while it is out.
fn lease(group: &Group, now: Instant, target: usize) -> Option<Lease> {
    if group.settings().outlier.is_some() && !state(group, target).passive.may_be_used(now) {
        return None;
    }
    let others: Vec<_> = group.targets().iter().map(|target| target.id()).collect();
    let others: Vec<_> = others
        .into_iter()
        .filter(|id| id.index() != target)
        .collect();
    let lease = group.pick(now, 1 << 40, None, &others)?;
    assert_eq!(lease.target().id().index(), target);
    Some(lease)
}

fn fail(group: &Group, now: Instant, target: usize, times: usize) {
    for _ in 0..times {
        if let Some(lease) = lease(group, now, target) {
            lease.finish(now, Outcome::Reset);
        }
    }
}

fn succeed(group: &Group, now: Instant, target: usize) {
    lease(group, now, target).unwrap().finish(now, Outcome::Ok);
}

#[test]
fn five_errors_in_a_row_take_a_target_out() {
    let (group, now) = (group(3, |_| {}), Instant::now());
    fail(&group, now, 0, 4);
    succeed(&group, now, 0);
    fail(&group, now, 0, 4);
    assert_eq!(state(&group, 0).passive(), Phase::Ok, "a success between");
    fail(&group, now, 0, 1);
    assert_eq!(state(&group, 0).passive(), Phase::Ejected);
    let ejection = state(&group, 0).ejection().unwrap();
    assert_eq!(
        (ejection.times, ejection.errors, ejection.last),
        (1, 5, Outcome::Reset)
    );
    assert_eq!(group.usable(now), 2);
    let picked = (0..30).map(|_| group.pick(now, 0, None, &[]).unwrap());
    assert!(
        picked
            .map(|lease| lease.target().id().index())
            .all(|target| target != 0)
    );
}

#[test]
fn one_that_was_taken_out_is_a_way_out_for_who_has_tried_the_others() {
    for (on_all_down, way_out) in [(OnAllDown::Try, Some(0)), (OnAllDown::Refuse, None)] {
        let (group, now) = (
            group(2, |settings| settings.on_all_down = on_all_down),
            Instant::now(),
        );
        fail(&group, now, 0, 5);
        let retry = group.pick(now, 0, None, &[group.targets()[1].id()]);
        let retry = retry.map(|lease| lease.target().id().index());
        assert_eq!(retry, way_out, "{on_all_down:?}");
        assert!(!group.fails_open(now));
    }
}

#[test]
fn what_counts_as_an_error() {
    let now = Instant::now();
    let is_out_after = |outcome, count_5xx| {
        let group = group(2, |settings| {
            settings.outlier = Some(OutlierSettings {
                count_5xx,
                ..OutlierSettings::default()
            });
        });
        for _ in 0..5 {
            lease(&group, now, 0).unwrap().finish(now, outcome);
        }
        state(&group, 0).passive() == Phase::Ejected
    };
    for bad in [
        Outcome::ConnectFailed,
        Outcome::Reset,
        Outcome::TimedOut,
        Outcome::BadResponse,
        Outcome::GrpcError(14),
        Outcome::ServerError(502),
        Outcome::ServerError(503),
        Outcome::ServerError(504),
    ] {
        assert!(is_out_after(bad, false), "{bad:?}");
    }
    for good in [
        Outcome::Ok,
        Outcome::ClientGone,
        Outcome::GrpcError(13),
        Outcome::ServerError(500),
        Outcome::ServerError(501),
    ] {
        assert!(!is_out_after(good, false), "{good:?}");
    }
    assert!(is_out_after(Outcome::ServerError(500), true));
    assert!(is_out_after(Outcome::GrpcError(13), true));
    assert!(!is_out_after(Outcome::GrpcError(4), true));
}

#[test]
fn one_request_tries_it_when_the_time_is_up() {
    let (group, start) = (group(2, |_| {}), Instant::now());
    fail(&group, start, 0, 5);
    // 30 s, a tenth more or less.
    assert!(lease(&group, start + 26 * SECOND, 0).is_none());
    let later = start + 34 * SECOND;
    let probe = lease(&group, later, 0).unwrap();
    assert_eq!(state(&group, 0).passive(), Phase::Probing);
    assert!(lease(&group, later, 0).is_none(), "one, not all");
    probe.finish(later, Outcome::Ok);
    assert_eq!(state(&group, 0).passive(), Phase::Ok);
    assert!(state(&group, 0).ejection().is_none());
    assert!(lease(&group, later, 0).is_some());
}

#[test]
fn a_try_that_fails_makes_it_longer_and_one_that_says_nothing_is_made_again() {
    let (group, start) = (group(2, |_| {}), Instant::now());
    fail(&group, start, 0, 5);
    let second = start + 34 * SECOND;
    drop(lease(&group, second, 0).unwrap());
    assert_eq!(state(&group, 0).passive(), Phase::Ejected);
    lease(&group, second, 0)
        .unwrap()
        .finish(second, Outcome::ClientGone);
    fail(&group, second, 0, 1);
    let ejection = state(&group, 0).ejection().unwrap();
    let length = ejection.until - second;
    assert_eq!(ejection.times, 2);
    assert!((54 * SECOND..=66 * SECOND).contains(&length), "{length:?}");
    assert_eq!(state(&group, 0).ejections_total(), 2);
}

#[test]
fn healthy_times_are_counted_in_its_favour() {
    let (group, start) = (group(2, |_| {}), Instant::now());
    let mut now = start;
    for _ in 0..3 {
        fail(&group, now, 0, 5);
        now += 100 * SECOND;
    }
    assert_eq!(state(&group, 0).ejection().unwrap().times, 3);
    succeed(&group, now, 0);
    // Two stretches of 30 s take off two.
    fail(&group, now + 61 * SECOND, 0, 5);
    assert_eq!(state(&group, 0).ejection().unwrap().times, 2);
}

#[test]
fn a_check_that_passes_brings_nobody_back_and_one_that_fails_takes_it_out_as_well() {
    let group = group(2, |settings| settings.health.check = Check::Tcp);
    let start = Instant::now();
    for target in group.targets() {
        target.state().set_health(Health::Up);
    }
    fail(&group, start, 0, 5);
    state(&group, 0).set_health(Health::Up);
    assert_eq!(state(&group, 0).passive(), Phase::Ejected);
    assert!(lease(&group, start, 0).is_none());
    state(&group, 0).set_health(Health::Down);
    assert!(lease(&group, start + 60 * SECOND, 0).is_none());
}

#[test]
fn in_flight_at_the_moment_of_ejection_says_nothing_later() {
    let (group, start) = (group(2, |_| {}), Instant::now());
    let old: Vec<_> = (0..3).map(|_| lease(&group, start, 0).unwrap()).collect();
    fail(&group, start, 0, 5);
    let until = state(&group, 0).ejection().unwrap().until;
    for (lease, outcome) in old
        .into_iter()
        .zip([Outcome::Ok, Outcome::Reset, Outcome::Ok])
    {
        lease.finish(start + SECOND, outcome);
    }
    let ejection = state(&group, 0).ejection().unwrap();
    assert_eq!((ejection.until, ejection.times), (until, 1));
    assert_eq!(state(&group, 0).passive(), Phase::Ejected);
}

#[test]
fn the_only_one_stays() {
    let (group, now) = (group(1, |_| {}), Instant::now());
    fail(&group, now, 0, 50);
    assert_eq!(state(&group, 0).passive(), Phase::Ok);
}

#[test]
fn the_last_that_could_take_over_stays() {
    let now = Instant::now();
    // Two thirds of three is two, but not if the third is down or ordered away.
    let with = |settings: &mut GroupSettings| {
        settings.health.check = Check::Tcp;
        settings.outlier = Some(OutlierSettings {
            max_ejected: 100,
            ..OutlierSettings::default()
        });
    };
    let group = group(3, with);
    for target in group.targets() {
        target.state().set_health(Health::Up);
    }
    state(&group, 1).set_health(Health::Down);
    state(&group, 2).set_order(Order::Drain);
    fail(&group, now, 0, 10);
    assert_eq!(state(&group, 0).passive(), Phase::Ok);
    state(&group, 2).set_order(Order::Ready);
    fail(&group, now, 0, 1);
    assert_eq!(state(&group, 0).passive(), Phase::Ejected);
    fail(&group, now, 2, 10);
    assert_eq!(state(&group, 2).passive(), Phase::Ok);
}

#[test]
fn when_nobody_else_is_left_one_that_is_out_is_tried_before_one_that_fails_its_check() {
    let now = Instant::now();
    for (on_all_down, wanted) in [(OnAllDown::Try, Some(0)), (OnAllDown::Refuse, None)] {
        let group = group(2, |settings| {
            settings.health.check = Check::Tcp;
            settings.on_all_down = on_all_down;
        });
        for target in group.targets() {
            target.state().set_health(Health::Up);
        }
        fail(&group, now, 0, 5);
        state(&group, 1).set_health(Health::Down);
        let lease = group.pick(now, 0, None, &[]);
        let picked = lease.as_ref().map(|lease| lease.target().id().index());
        assert_eq!((picked, group.usable(now)), (wanted, 0));
        let _ = lease.map(|lease| lease.finish(now, Outcome::Ok));
        assert_eq!(
            state(&group, 0).passive(),
            Phase::Ejected,
            "its time counts"
        );
    }
}

#[test]
fn it_is_kept_over_a_reload_and_switched_off_by_one() {
    let (before, now) = (group(2, |_| {}), Instant::now());
    fail(&before, now, 0, 5);
    let with = |change: fn(&mut GroupSettings)| {
        let mut settings = before.settings().clone();
        change(&mut settings);
        Group::build(settings, Some(&before))
    };
    let after = with(|settings| settings.slow_start = Some(SECOND));
    assert!(lease(&after, now, 0).is_none());
    let off = with(|settings| settings.outlier = None);
    assert!(lease(&off, now, 0).is_some());
}

#[test]
fn threads_never_take_out_more_than_allowed() {
    let group = group(4, |_| {});
    let now = Instant::now();
    let work = |_| {
        let group = Arc::clone(&group);
        std::thread::spawn(move || {
            for random in 0..2_000 {
                if let Some(lease) = group.pick(now, random, None, &[]) {
                    lease.finish(now, Outcome::Reset);
                }
            }
        })
    };
    let threads: Vec<_> = (0..4).map(work).collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let out = (0..4).filter(|target| state(&group, *target).passive() != Phase::Ok);
    assert_eq!(out.count(), 2);
}

proptest! {
    /// Whatever happens, the share is kept, counted with the one taken out last, and one that works is left.
    #[test]
    fn the_share_holds(
        targets in 1u16..7,
        max_ejected in 0u8..=100,
        events in proptest::collection::vec((0usize..7, 0u8..6, 0u64..20), 0..200),
    ) {
        let outlier = OutlierSettings { consecutive_errors: 2, max_ejected, ..OutlierSettings::default() };
        let allowed = outlier.allowed(usize::from(targets));
        let group = group(targets, |settings| settings.outlier = Some(outlier));
        let mut now = Instant::now();
        for (target, what, seconds) in events {
            now += SECOND * u32::try_from(seconds).unwrap();
            let target = target % usize::from(targets);
            let outcome = [Outcome::Reset, Outcome::ConnectFailed, Outcome::TimedOut, Outcome::Ok, Outcome::ClientGone];
            match (lease(&group, now, target), outcome.get(usize::from(what))) {
                (Some(lease), Some(outcome)) => lease.finish(now, *outcome),
                (lease, _) => drop(lease),
            }
            let out = (0..usize::from(targets)).filter(|target| state(&group, *target).passive() != Phase::Ok);
            let out = out.count();
            prop_assert!(out <= allowed, "{out} out, {allowed} allowed");
            prop_assert!(out < usize::from(targets));
            prop_assert!(group.pick(now, 0, None, &[]).is_some());
        }
    }
}
