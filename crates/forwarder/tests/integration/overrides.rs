//! Orders and weights that stand beside the settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use balancer::{Order, Overrides, RuleAction};
use forwarder::{Forwarder, TargetSnapshot, TargetStanding};

use crate::support::*;

fn target(forwarder: &Forwarder, index: usize) -> TargetSnapshot {
    forwarder.snapshot().groups[0].targets[index].clone()
}

#[test]
fn orders_given_before_the_first_settings_hold_from_the_first_request() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, place) = (forwarder(), place());
    let mut overrides = Overrides::default();
    let since = Instant::now() - Duration::from_secs(60);
    overrides.order("g", &a.address.to_string(), Order::Maint, since);
    overrides.order("g", "nobody", Order::Maint, since);
    forwarder.override_with(overrides).unwrap();
    let groups = || vec![group("g", &[a.address, b.address])];
    for _ in 0..3 {
        forwarder
            .apply(vec![http_listener(&place)], groups())
            .unwrap();
        let mut client = Client::connect(place.address);
        assert!((0..4).all(|_| client.get("/").text() == "b"));
    }
    let ordered = target(&forwarder, 0);
    assert_eq!(ordered.state, TargetStanding::Maint);
    // Four of the five minutes of the group are left.
    let left = ordered.leaves_in.unwrap();
    assert!(left > Duration::from_secs(230) && left <= Duration::from_secs(240));
    forwarder.override_with(Overrides::default()).unwrap();
    assert_eq!(target(&forwarder, 0).leaves_in, None);
    let mut client = Client::connect(place.address);
    assert!((0..4).any(|_| client.get("/").text() == "a"));
}

#[test]
fn a_target_that_joins_is_ordered_before_it_gets_a_request() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, place) = proxy(&[b.address]);
    let mut overrides = Overrides::default();
    overrides.order("g", &a.address.to_string(), Order::Drain, Instant::now());
    forwarder.override_with(overrides).unwrap();
    forwarder
        .apply(
            vec![http_listener(&place)],
            vec![group("g", &[a.address, b.address])],
        )
        .unwrap();
    let mut client = Client::connect(place.address);
    assert!((0..10).all(|_| client.get("/").text() == "b"));
    assert_eq!(a.connections(), 0);
}

#[test]
fn a_weight_counts_at_once_and_after_a_reload_until_it_is_taken_back() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, place) = proxy(&[a.address, b.address]);
    let shares = || {
        let mut client = Client::connect(place.address);
        (0..40).filter(|_| client.get("/").text() == "a").count()
    };
    assert_eq!(shares(), 20);
    let mut overrides = Overrides::default();
    overrides.weigh("g", &a.address.to_string(), 3);
    forwarder.override_with(overrides).unwrap();
    assert_eq!((shares(), target(&forwarder, 0).weight), (30, 3));
    let requests_total = target(&forwarder, 0).requests_total;
    forwarder
        .apply(
            vec![http_listener(&place)],
            vec![group("g", &[a.address, b.address])],
        )
        .unwrap();
    assert_eq!(target(&forwarder, 0).requests_total, requests_total, "kept");
    assert_eq!(shares(), 30);
    forwarder.override_with(Overrides::default()).unwrap();
    assert_eq!((shares(), target(&forwarder, 0).weight), (20, 1));
}

#[test]
fn a_split_moves_under_open_connections() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let (forwarder, place) = (forwarder(), place());
    let mut listener = http_listener(&place);
    listener.default = RuleAction::Split(vec![("blue".to_owned(), 100), ("green".to_owned(), 0)]);
    let groups = vec![
        group("blue", &[blue.address]),
        group("green", &[green.address]),
    ];
    forwarder.apply(vec![listener], groups).unwrap();
    let mut client = Client::connect(place.address);
    assert!((0..20).all(|_| client.get("/").text() == "blue"));
    let mut overrides = Overrides::default();
    let weights = [("blue".to_owned(), 0), ("green".to_owned(), 100)];
    overrides.split("web", None, BTreeMap::from(weights));
    forwarder.override_with(overrides).unwrap();
    assert!((0..20).all(|_| client.get("/").text() == "green"));
    assert_eq!(
        forwarder.snapshot().listeners[0].action.to_string(),
        "blue 0, green 100"
    );
}

#[test]
fn draining_back_and_forth_under_load_fails_no_request() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, place) = proxy(&[a.address, b.address]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), place.address);
            thread::spawn(move || {
                let mut kept = Client::connect(address);
                let mut answers = 0;
                while !stop.load(SeqCst) {
                    assert_eq!(kept.get("/").status, 200);
                    assert_eq!(Client::connect(address).get("/").status, 200);
                    answers += 2;
                }
                answers
            })
        })
        .collect();
    for round in 0..60 {
        forwarder.override_with(Overrides::default()).unwrap();
        let away = if round % 2 == 0 { &a } else { &b };
        let mut overrides = Overrides::default();
        overrides.order("g", &away.address.to_string(), Order::Drain, Instant::now());
        forwarder.override_with(overrides).unwrap();
        let before = target(&forwarder, round % 2).requests_total;
        thread::sleep(Duration::from_millis(5));
        let after = target(&forwarder, round % 2).requests_total;
        // Who had picked it the moment before is counted a moment later: at most one for each client.
        assert!(after - before <= 3, "{before} to {after} while draining");
    }
    stop.store(true, SeqCst);
    let answers: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert!(answers > 50, "{answers}");
}
