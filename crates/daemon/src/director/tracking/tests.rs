//! Facts and verdicts.
#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Instant;

use config::{
    Announce, Effect, FileExpectation, Probe, Track, TrackedInterface, VipAddress, Watch,
};

use crate::runner::Finding;

fn instance(track: Track) -> Vrrp {
    let vip = "10.0.0.10".parse().unwrap();
    Vrrp {
        name: "main".to_owned(),
        group: None,
        interface: "eth0".to_owned(),
        vips: vec![VipAddress {
            address: vip,
            prefix_len: 24,
        }],
        settings: vrrp::Settings::new("main", vrrp::Vrid::new(51).unwrap(), vec![vip]),
        lease: None,
        announce: Announce::default(),
        track,
        hooks: config::Hooks::default(),
        peer_priority: None,
        evidence: config::Evidence::default(),
        unicast: None,
        virtual_mac: false,
        accept_mode: true,
    }
}

fn tracked(name: &str, weight: Option<i16>) -> TrackedInterface {
    TrackedInterface {
        name: name.to_owned(),
        weight,
    }
}

/// The world with nothing in it but a data plane.
fn judged(
    track: Track,
    plane: &DataPlane,
    settled: bool,
    link: impl Fn(&str) -> LinkFact,
) -> Verdict {
    let world = World {
        plane,
        settled,
        usable: &BTreeMap::new(),
        checks: &Checks::default(),
    };
    judge(&instance(track), &world, link)
}

const SERVING: DataPlane = DataPlane::Serving {
    first_health_round_done: true,
};

#[test]
fn its_own_interface_is_always_tracked() {
    let words = [
        (LinkFact::Missing, Some("interface eth0 does not exist")),
        (LinkFact::Down, Some("interface eth0 is down")),
        (LinkFact::NoCarrier, Some("interface eth0 has no carrier")),
        (LinkFact::Running, None),
    ];
    for (fact, fault) in words {
        let verdict = judged(Track::default(), &DataPlane::Off, true, |_| fact);
        assert_eq!(verdict.fault.as_deref(), fault);
    }
}

#[test]
fn a_weight_counts_in_one_state_only_and_none_means_fault() {
    let interfaces = vec![
        tracked("eth1", Some(-30)),
        tracked("eth2", Some(20)),
        tracked("eth3", None),
    ];
    let track = Track {
        interfaces,
        ..Track::default()
    };
    let all_up = judged(track.clone(), &DataPlane::Off, true, |_| LinkFact::Running);
    let deltas = |verdict: &Verdict| -> Vec<i16> {
        verdict.contributions.iter().map(|one| one.delta).collect()
    };
    assert_eq!((all_up.fault.clone(), deltas(&all_up)), (None, vec![20]));
    let down = |name: &str| {
        if name == "eth0" {
            LinkFact::Running
        } else {
            LinkFact::NoCarrier
        }
    };
    let some_down = judged(track, &DataPlane::Off, true, down);
    assert_eq!(
        some_down.fault.as_deref(),
        Some("tracked interface eth3 has no carrier")
    );
    assert_eq!(deltas(&some_down), [-30]);
}

#[test]
fn no_data_plane_no_address_unless_it_is_not_tracked() {
    let judge_plane = |forwarder: bool, plane: &DataPlane, settled: bool| {
        judged(
            Track {
                forwarder,
                ..Track::default()
            },
            plane,
            settled,
            |_| LinkFact::Running,
        )
    };
    for plane in [
        DataPlane::Starting,
        DataPlane::Down("signal 9".to_owned()),
        DataPlane::Stuck("silent".to_owned()),
        DataPlane::Refused("port 80 is in use".to_owned()),
    ] {
        assert!(judge_plane(true, &plane, true).fault.is_some(), "{plane:?}");
        assert_eq!(
            judge_plane(false, &plane, true),
            Verdict::default(),
            "{plane:?}"
        );
    }
    assert_eq!(judge_plane(true, &DataPlane::Off, true), Verdict::default());
    assert_eq!(judge_plane(true, &SERVING, false), Verdict::default());
    let waiting = DataPlane::Serving {
        first_health_round_done: false,
    };
    let low = judge_plane(true, &waiting, false);
    assert_eq!((low.fault, low.contributions[0].cap), (None, Some(1)));
    assert_eq!(judge_plane(true, &waiting, true), Verdict::default());
}

fn check(effect: Effect) -> TrackedCheck {
    TrackedCheck {
        name: "disk".to_owned(),
        watch: Watch {
            probe: Probe::File {
                path: "/x".into(),
                expect: FileExpectation::Number,
            },
            every: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
        },
        rise: 1,
        fall: 2,
        effect,
    }
}

/// A world in which one thing is looked at.
struct Looked {
    checks: Checks,
    router: Vrrp,
    now: Instant,
}

impl Looked {
    fn at(effect: Effect) -> Self {
        let now = Instant::now();
        let router = instance(Track {
            checks: vec![check(effect)],
            ..Track::default()
        });
        let mut checks = Checks::default();
        checks.set(now, std::iter::once(&router));
        Self {
            checks,
            router,
            now,
        }
    }

    fn find(&mut self, passed: bool, number: Option<i64>) {
        let words = if passed { "fine" } else { "full" };
        self.find_in_words(passed, number, words);
    }

    fn find_in_words(&mut self, passed: bool, number: Option<i64>, words: &str) {
        let (watched, _) = self.checks.watches()[0].clone();
        let finding = Finding {
            passed,
            number,
            words: words.to_owned(),
            took_ms: 1,
        };
        drop(self.checks.note(self.now, watched, finding));
    }

    fn verdict(&self, settled: bool) -> Verdict {
        let world = World {
            plane: &DataPlane::Off,
            settled,
            usable: &BTreeMap::new(),
            checks: &self.checks,
        };
        judge(&self.router, &world, |_| LinkFact::Running)
    }

    /// What it does to a priority of 100, or the fault.
    fn effect(&self) -> Result<u8, String> {
        let verdict = self.verdict(true);
        let base = vrrp::Priority::new(100);
        let priority = vrrp::effective_priority(base, &verdict.contributions).value();
        verdict.fault.map_or(Ok(priority), Err)
    }
}

#[test]
fn a_check_without_weight_is_a_fault_after_as_many_failures_as_it_says() {
    let mut looked = Looked::at(Effect::Fault);
    looked.find(true, None);
    assert_eq!(looked.effect(), Ok(100));
    looked.find(false, None);
    assert_eq!(looked.effect(), Ok(100));
    looked.find(false, None);
    assert_eq!(looked.effect(), Err("file disk: full".to_owned()));
    looked.find(true, None);
    assert_eq!(looked.effect(), Ok(100));
}

#[test]
fn a_weight_is_taken_away_while_down_or_added_while_up() {
    for (weight, up, down) in [
        (-20, 100, 80),
        (20, 120, 100),
        (-254, 100, 1),
        (254, 254, 100),
    ] {
        let mut looked = Looked::at(Effect::Weight(weight));
        looked.find(true, None);
        assert_eq!(looked.effect(), Ok(up), "{weight}");
        looked.find(false, None);
        looked.find(false, None);
        assert_eq!(looked.effect(), Ok(down), "{weight}");
    }
}

#[test]
fn a_number_is_added_at_once_and_too_low_a_one_is_a_fault() {
    let mut looked = Looked::at(Effect::Number(-2));
    for (number, effect) in [
        (0, Ok(100)),
        (10, Ok(80)),
        (-10, Ok(120)),
        (126, Ok(1)),
        (127, Err("file disk: fine".to_owned())),
        (i64::MAX, Err("file disk: fine".to_owned())),
        (i64::MIN, Ok(254)),
    ] {
        looked.find(true, Some(number));
        assert_eq!(looked.effect(), effect, "{number}");
    }
    looked.find(true, Some(10));
    for _ in 0..5 {
        looked.find(false, None);
    }
    assert_eq!(
        looked.effect(),
        Ok(80),
        "what cannot be read stays as it was"
    );
}

#[test]
fn a_node_that_has_just_started_stays_low_until_it_knows() {
    let mut looked = Looked::at(Effect::Weight(50));
    let caps = |looked: &Looked, settled| {
        let contributions = looked.verdict(settled).contributions;
        contributions.iter().map(|one| one.cap).collect::<Vec<_>>()
    };
    assert_eq!(caps(&looked, false), [Some(1)]);
    assert_eq!(caps(&looked, true), [], "it does not wait for ever");
    looked.find(true, None);
    assert_eq!(caps(&looked, false), [None]);
    // What a reload adds is not waited for.
    let mut more = looked.router.clone();
    more.track.checks[0].rise = 7;
    looked.checks.set(looked.now, std::iter::once(&more));
    looked.router = more;
    assert_eq!(caps(&looked, false), []);
}

#[test]
fn a_reload_keeps_what_is_known_and_equal_things_are_looked_at_once() {
    let mut looked = Looked::at(Effect::Fault);
    looked.find(false, None);
    let fault = looked.effect();
    assert!(fault.is_err(), "the first finding decides");
    let before = looked.checks.watches();
    let mut other = looked.router.clone();
    other.track.checks[0].name = "the same".to_owned();
    let both = [looked.router.clone(), other];
    looked.checks.set(looked.now, both.iter());
    assert_eq!(looked.checks.watches(), before);
    assert_eq!(looked.effect(), fault);
    looked.checks.set(looked.now, std::iter::empty());
    assert!(looked.checks.is_empty());
}

#[test]
fn what_is_not_looked_at_any_more_is_said() {
    let looked = Looked::at(Effect::Fault);
    let tracked = &looked.router.track.checks[0];
    let standing = looked.checks.standing(tracked).unwrap();
    let overdue = |seconds_tenths: u64| {
        let later = looked.now + Duration::from_millis(100 * seconds_tenths);
        standing.overdue(later, &tracked.watch).is_some()
    };
    assert!(!overdue(65) && overdue(66));
}

#[test]
fn what_is_stuck_is_said_until_it_comes_back() {
    let mut looked = Looked::at(Effect::Weight(-10));
    let problem = |looked: &Looked| {
        let tracked = &looked.router.track.checks[0];
        let standing = looked.checks.standing(tracked).unwrap();
        standing.problem(looked.now, &tracked.watch)
    };
    looked.find(false, None);
    assert_eq!(
        problem(&looked),
        None,
        "what fails is no problem of the node"
    );
    looked.find_in_words(false, None, Finding::STUCK);
    let words = problem(&looked).unwrap();
    assert!(words.starts_with("is stuck"), "{words}");
    looked.find(true, None);
    assert_eq!(problem(&looked), None);
}

#[test]
fn a_group_with_too_few_usable_targets_counts_as_down() {
    let group = |weight| TrackedGroup {
        name: "web".to_owned(),
        min_usable: 2,
        weight,
    };
    let verdict = |weight, usable: Option<usize>| {
        let router = instance(Track {
            groups: vec![group(weight)],
            ..Track::default()
        });
        let usable = usable.map(|usable| ("web".to_owned(), usable));
        let world = World {
            plane: &SERVING,
            settled: true,
            usable: &usable.into_iter().collect(),
            checks: &Checks::default(),
        };
        let verdict = judge(&router, &world, |_| LinkFact::Running);
        let delta: i16 = verdict.contributions.iter().map(|one| one.delta).sum();
        (delta, verdict.fault)
    };
    let words = "group web has 1 usable targets, 2 wanted".to_owned();
    assert_eq!(verdict(Some(-50), Some(1)), (-50, None));
    assert_eq!(verdict(Some(-50), Some(2)), (0, None));
    assert_eq!(verdict(Some(50), Some(2)), (50, None));
    assert_eq!(verdict(None, Some(1)), (0, Some(words)));
    assert_eq!(verdict(None, None), (0, None), "nothing known");
}
