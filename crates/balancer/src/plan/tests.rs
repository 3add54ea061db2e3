//! What a plan refuses, and what it carries over.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::settings::Protocol;
use crate::target::{Health, Order};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn listener(name: &str, bind: &str, group: &str) -> ListenerSettings {
    ListenerSettings::new(name, Protocol::Http, vec![address(bind)], group)
}

fn group(name: &str, targets: &[&str]) -> GroupSettings {
    GroupSettings::new(name, targets.iter().map(|target| address(target)))
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let app = || group("app", &["10.0.0.1:80"]);
    let web = || listener("web", "127.0.0.1:80", "app");
    let refused = |listeners, groups| {
        Plan::build(listeners, groups, None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(vec![web()], vec![]),
        "listener web forwards to group app, which does not exist"
    );
    assert_eq!(
        refused(vec![], vec![app(), app()]),
        "group app is given twice"
    );
    let twin = listener("web", "127.0.0.1:81", "app");
    assert_eq!(
        refused(vec![web(), twin], vec![app()]),
        "listener web is given twice"
    );
    let clash = listener("b", "127.0.0.1:80", "app");
    assert_eq!(
        refused(vec![web(), clash], vec![app()]),
        "listener b binds 127.0.0.1:80, which is bound already"
    );
    let double = group("app", &["10.0.0.1:80", "10.0.0.1:80"]);
    assert_eq!(
        refused(vec![], vec![double]),
        "group app has two targets named 10.0.0.1:80"
    );
    let mut heavy = app();
    heavy.targets[0].weight = 1000;
    assert_eq!(
        refused(vec![], vec![heavy]),
        "target 10.0.0.1:80 of group app has weight 1000, above 999"
    );
    let mut zero = app();
    zero.health.fall = 0;
    assert_eq!(
        refused(vec![], vec![zero]),
        "group app has a health check with fall = 0"
    );
}

#[test]
fn target_state_is_carried_over_by_name_while_the_address_stays() {
    let first = Plan::build(
        vec![],
        vec![group("app", &["10.0.0.1:80", "10.0.0.2:80"])],
        None,
    )
    .unwrap();
    let state =
        |plan: &Plan, index: usize| Arc::clone(plan.group("app").unwrap().targets()[index].state());
    state(&first, 1).set_health(Health::Up);
    state(&first, 1).set_order(Order::Drain);

    let second = Plan::build(
        vec![],
        vec![group("app", &["10.0.0.3:80", "10.0.0.2:80"])],
        Some(&first),
    )
    .unwrap();
    assert!(Arc::ptr_eq(&state(&first, 1), &state(&second, 1)));
    assert_eq!(state(&second, 1).order(), Order::Drain);
    assert_eq!(state(&second, 0).health(), Health::Unknown);

    let mut moved = group("app", &["10.0.0.3:80", "10.0.0.9:80"]);
    moved.targets[1].name = "10.0.0.2:80".into();
    let third = Plan::build(vec![], vec![moved], Some(&second)).unwrap();
    assert!(Arc::ptr_eq(&state(&second, 0), &state(&third, 0)));
    assert!(
        !Arc::ptr_eq(&state(&second, 1), &state(&third, 1)),
        "another address is another target"
    );

    let renamed = Plan::build(vec![], vec![group("api", &["10.0.0.3:80"])], Some(&third)).unwrap();
    assert_eq!(
        renamed.group("api").unwrap().targets()[0].state().health(),
        Health::Unknown
    );
}

#[test]
fn an_unchanged_group_is_the_same_group() {
    let settings = || vec![group("app", &["10.0.0.1:80"])];
    let first = Plan::build(vec![], settings(), None).unwrap();
    let second = Plan::build(vec![], settings(), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(
        first.group("app").unwrap(),
        second.group("app").unwrap()
    ));
}

#[test]
fn a_ring_has_limits() {
    use crate::settings::HashKey;
    let build = |vnodes, weight| {
        let mut group = group("app", &["10.0.0.1:80", "10.0.0.2:80"]);
        group.algorithm = Algorithm::ConsistentHash {
            key: HashKey::Source,
            vnodes,
        };
        group.targets[0].weight = weight;
        Plan::build(vec![], vec![group], None).map(|_| ())
    };
    let refused = |points| {
        Err(PlanError::RingSize {
            group: "app".into(),
            points,
        })
    };
    assert_eq!(build(160, 999), Ok(()));
    assert_eq!(build(0, 1), refused(0));
    assert_eq!(build(1024, 999), Ok(()));
    assert_eq!(build(2000, 999), refused(2_000_000));
}

#[test]
fn another_algorithm_keeps_what_is_known_of_the_targets() {
    let old = group("app", &["10.0.0.1:80", "10.0.0.2:80"]);
    let mut new = old.clone();
    new.algorithm = Algorithm::LeastConnections;
    new.targets[1].backup = true;
    let first = Plan::build(vec![], vec![old], None).unwrap();
    let now = std::time::Instant::now();
    let _lease = first.group("app").unwrap().pick(now, 0, None, &[]).unwrap();
    let second = Plan::build(vec![], vec![new], Some(&first)).unwrap();
    let in_flight: Vec<_> = second
        .group("app")
        .unwrap()
        .targets()
        .iter()
        .map(|target| target.state().in_flight())
        .collect();
    assert_eq!(in_flight, [1, 0]);
}
