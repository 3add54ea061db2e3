//! Who keeps the clients that are bound to it.

use super::*;
use crate::settings::OutlierSettings;
use crate::sticky::{StickySettings, TargetMark};
use std::time::Duration;

fn sticky(weights: &[u32], change: impl FnOnce(&mut GroupSettings)) -> Arc<Group> {
    let mut settings = group(weights).settings().clone();
    settings.sticky = Some(StickySettings {
        cookie: "TANDEM".to_owned(),
        ttl: StickySettings::DEFAULT_TTL,
    });
    change(&mut settings);
    let group = Group::build(settings, None);
    set_all(&group, Health::Up);
    group
}

/// What becomes of a client bound to the target of this name: its number, or why not.
fn bound(group: &Group, name: &str) -> Result<usize, &'static str> {
    match group.pick_bound(Instant::now(), 0, TargetMark::of(name), &[]) {
        BoundPick::Leased(lease) => Ok(lease.target().id().index()),
        BoundPick::Full => Err("full"),
        BoundPick::Gone => Err("gone"),
    }
}

#[test]
fn a_bound_client_meets_its_target_whoevers_turn_it_is() {
    let group = sticky(&[1, 1, 5], |_| {});
    for _ in 0..10 {
        assert_eq!(bound(&group, "t1"), Ok(1));
    }
    assert_eq!(group.targets()[1].state().requests_total(), 10);
    assert_eq!(bound(&group, "t7"), Err("gone"));
    assert_eq!(
        super::group(&[1]).bound(TargetMark::of("t0")).map(|_| ()),
        None
    );
}

#[test]
fn bound_clients_count_where_loads_are_compared() {
    for algorithm in [Algorithm::LeastConnections, Algorithm::PowerOfTwo] {
        let group = sticky(&[1, 1], |settings| settings.algorithm = algorithm);
        let mark = TargetMark::of("t0");
        let busy = || match group.pick_bound(Instant::now(), 0, mark, &[]) {
            BoundPick::Leased(lease) => lease,
            other => panic!("{other:?}"),
        };
        let _busy = [busy(), busy(), busy()];
        // Three free ones go where nobody is bound to.
        let free = [0, 1 << 62, u64::MAX].map(|random| {
            let lease = group.pick(Instant::now(), random, None, &[]).unwrap();
            (lease.target().id().index(), lease)
        });
        assert!(free.iter().all(|(index, _)| *index == 1), "{free:?}");
    }
}

#[test]
fn marks_are_found_among_many() {
    let group = sticky(&[1; 200], |_| {});
    for index in 0..200 {
        assert_eq!(bound(&group, &format!("t{index}")), Ok(index));
    }
}

#[test]
fn an_order_to_drain_and_weight_0_keep_who_is_bound_and_maintenance_does_not() {
    let group = sticky(&[1, 1, 0], |_| {});
    let state = group.targets()[0].state();
    state.set_order(Order::Drain);
    state.set_leave_at(Some(Instant::now() + Duration::from_secs(300)));
    assert_eq!(bound(&group, "t0"), Ok(0));
    assert_eq!(shares(&group, 10), BTreeMap::from([(1, 10)]));
    state.set_leave_at(Some(Instant::now()));
    assert_eq!(bound(&group, "t0"), Err("gone"), "its time is up");
    assert_eq!(bound(&group, "t2"), Ok(2));
    group.targets()[1].state().set_order(Order::Maint);
    assert_eq!(bound(&group, "t1"), Err("gone"));
}

#[test]
fn a_target_that_is_down_loses_its_clients_unless_all_are() {
    let group = sticky(&[1, 1], |_| {});
    let (first, second) = (group.targets()[0].state(), group.targets()[1].state());
    first.set_health(Health::Unknown);
    assert_eq!(bound(&group, "t0"), Ok(0), "nothing is known against it");
    first.set_health(Health::Down);
    assert_eq!(bound(&group, "t0"), Err("gone"));
    second.set_health(Health::Down);
    assert_eq!(bound(&group, "t0"), Ok(0), "the group tries all the same");
    let refuses = sticky(&[1, 1], |settings| settings.on_all_down = OnAllDown::Refuse);
    set_all(&refuses, Health::Down);
    assert_eq!(bound(&refuses, "t0"), Err("gone"));
}

#[test]
fn an_ejected_target_loses_its_clients() {
    let group = sticky(&[1, 1], |settings| {
        settings.outlier = Some(OutlierSettings {
            consecutive_errors: 1,
            ..OutlierSettings::default()
        });
    });
    let now = Instant::now();
    let BoundPick::Leased(lease) = group.pick_bound(now, 0, TargetMark::of("t0"), &[]) else {
        panic!("it was there a moment ago");
    };
    lease.finish(now, Outcome::Reset);
    assert_eq!(bound(&group, "t0"), Err("gone"));
    assert_eq!(bound(&group, "t1"), Ok(1));
}

#[test]
fn a_target_that_was_tried_is_not_tried_again() {
    let group = sticky(&[1, 1], |_| {});
    let tried = [group.targets()[0].id()];
    let again = group.pick_bound(Instant::now(), 0, TargetMark::of("t0"), &tried);
    assert!(matches!(again, BoundPick::Gone), "{again:?}");
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let group = sticky(&[1, 1], |settings| settings.limits.per_target = Some(1));
    let lease = group.pick_bound(Instant::now(), 0, TargetMark::of("t0"), &[]);
    assert_eq!(bound(&group, "t0"), Err("full"));
    let waiting = group.queue().join(10).unwrap();
    drop(lease);
    assert_eq!(bound(&group, "t0"), Err("full"), "somebody waits");
    drop(waiting);
    assert_eq!(bound(&group, "t0"), Ok(0));
}

#[test]
fn who_is_bound_where_survives_a_reload() {
    let before = sticky(&[1, 1], |_| {});
    before.bindings().count(crate::sticky::Binding::Hit);
    let mut settings = before.settings().clone();
    settings.targets.reverse();
    let after = Group::build(settings, Some(&before));
    assert_eq!(
        bound(&after, "t0"),
        Ok(1),
        "by its name, wherever it stands"
    );
    assert_eq!(after.bindings().total(crate::sticky::Binding::Hit), 1);
}
