#![allow(clippy::unwrap_used)]

use super::*;
use crate::settings::{Algorithm, HashKey, Protocol, RuleSettings};

fn group(name: &str, weights: &[u32]) -> GroupSettings {
    let addresses = (1..=weights.len()).map(|n| format!("10.0.0.{n}:80").parse().unwrap());
    let mut group = GroupSettings::new(name, addresses);
    for (target, weight) in group.targets.iter_mut().zip(weights) {
        target.weight = *weight;
    }
    group
}

fn weights(group: &GroupSettings) -> Vec<u32> {
    group.targets.iter().map(|target| target.weight).collect()
}

fn map(weights: &[(&str, u32)]) -> BTreeMap<String, u32> {
    let owned = weights
        .iter()
        .map(|(group, weight)| ((*group).to_owned(), *weight));
    owned.collect()
}

fn split(weights: &[(&str, u32)]) -> RuleAction {
    let owned = weights
        .iter()
        .map(|(group, weight)| ((*group).to_owned(), *weight));
    RuleAction::Split(owned.collect())
}

#[test]
fn a_weight_counts_for_its_target_alone() {
    let mut overrides = Overrides::default();
    overrides.weigh("a", "10.0.0.2:80", 0);
    overrides.weigh("a", "10.0.0.9:80", 7);
    overrides.weigh("gone", "10.0.0.1:80", 7);
    overrides.weigh("b", "10.0.0.1:80", 5000);
    let mut groups = [group("a", &[1, 1]), group("b", &[1, 2])];
    overrides.apply_to(&mut [], &mut groups);
    assert_eq!(weights(&groups[0]), [1, 0]);
    assert_eq!(weights(&groups[1]), [999, 2], "no weight above the largest");
}

#[test]
fn a_ring_that_would_be_too_large_keeps_the_weights_of_the_file() {
    let mut hashing = group("a", &[1, 2]);
    hashing.algorithm = Algorithm::ConsistentHash {
        key: HashKey::Source,
        vnodes: 1024,
    };
    // 1024 * (999 + 999) is above 1048576, 1024 * (999 + 2) is not.
    let mut overrides = Overrides::default();
    overrides.weigh("a", "10.0.0.1:80", 999);
    let mut groups = [hashing.clone()];
    overrides.apply_to(&mut [], &mut groups);
    assert_eq!(weights(&groups[0]), [999, 2]);
    overrides.weigh("a", "10.0.0.2:80", 999);
    let mut groups = [hashing];
    overrides.apply_to(&mut [], &mut groups);
    assert_eq!(weights(&groups[0]), [1, 2]);
}

#[test]
fn a_split_is_found_by_listener_and_rule() {
    let mut listener = ListenerSettings::new("web", Protocol::Http, Vec::new(), "a");
    listener.default = split(&[("a", 95), ("b", 5)]);
    listener.rules = vec![
        RuleSettings::new("site", Vec::new(), "a"),
        RuleSettings::new("plain", Vec::new(), "a"),
    ];
    listener.rules[0].action = split(&[("a", 95), ("b", 5)]);
    let mut overrides = Overrides::default();
    overrides.split("web", Some("site"), map(&[("b", 25), ("gone", 3)]));
    overrides.split("web", Some("plain"), map(&[("b", 25)]));
    overrides.split("other", None, map(&[("b", 25)]));
    let mut listeners = [listener.clone()];
    overrides.apply_to(&mut listeners, &mut []);
    assert_eq!(
        listeners[0].rules[0].action,
        split(&[("a", 95), ("b", 25)]),
        "who is not named keeps the weight of the file"
    );
    assert_eq!(
        listeners[0].rules[1].action,
        RuleAction::Forward("a".to_owned())
    );
    assert_eq!(listeners[0].default, split(&[("a", 95), ("b", 5)]));
    overrides.split("web", None, map(&[("a", 0)]));
    overrides.apply_to(&mut listeners, &mut []);
    assert_eq!(listeners[0].default, split(&[("a", 0), ("b", 5)]));
}

#[test]
fn a_split_that_would_leave_nobody_stays_as_in_the_file() {
    let mut listener = ListenerSettings::new("web", Protocol::Http, Vec::new(), "a");
    listener.default = split(&[("a", 95), ("b", 5)]);
    let mut overrides = Overrides::default();
    overrides.split("web", None, map(&[("a", 0), ("b", 0)]));
    let mut listeners = [listener];
    overrides.apply_to(&mut listeners, &mut []);
    assert_eq!(listeners[0].default, split(&[("a", 95), ("b", 5)]));
}

#[test]
fn ready_takes_an_order_back() {
    let now = Instant::now();
    let mut overrides = Overrides::default();
    overrides.order("a", "x", Order::Drain, now);
    assert_eq!(overrides.ordered("a", "x"), Some((Order::Drain, now)));
    assert_eq!(overrides.ordered("a", "y"), None);
    overrides.order("a", "x", Order::Maint, now);
    assert_eq!(overrides.ordered("a", "x"), Some((Order::Maint, now)));
    overrides.order("a", "x", Order::Ready, now);
    assert_eq!(overrides, Overrides::default());
}
