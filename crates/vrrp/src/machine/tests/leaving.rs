//! Leaving on purpose: shutdown, handover, and being held back afterwards.

use super::*;

/// Active since 3.609375 s, told to leave at 4 s.
fn leaving(settings: Settings, event: Event) -> Bench {
    let mut bench = Bench::active(settings, 3_609_375);
    assert_eq!(bench.handle(4_000_000, event), ["send ipv4 0"]);
    bench
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_shutdown_nobody_answers_ends_after_one_interval() {
    let mut bench = leaving(pair(), Event::Shutdown);
    let end = [
        "stop announcing",
        "release",
        "active to initialize: stopped on request",
        "stopped",
    ];
    assert_eq!(
        bench.run(5_000_000),
        [
            (4_010_000, words(&["send ipv4 0"])),
            (5_000_000, words(&end))
        ]
    );
    assert_eq!((bench.phase(), bench.deadline()), ("initialize", None));
}

#[test]
fn a_shutdown_the_peer_takes_over_ends_150_ms_later() {
    let mut bench = leaving(pair(), Event::Shutdown);
    assert_eq!(bench.hear(4_003_000, "10.0.0.3", 50), ["stop announcing"]);
    assert!(
        bench.hear(4_020_000, "10.0.0.3", 50).is_empty(),
        "the linger is not prolonged"
    );
    let end = [
        "release",
        "active to initialize: stopped on request",
        "stopped",
    ];
    assert_eq!(bench.run(9_000_000), [(4_153_000, words(&end))]);
}

#[test]
fn a_handover_taken_leaves_the_node_held_back() {
    let mut bench = leaving(pair(), Event::Handover);
    bench.hear(4_003_000, "10.0.0.3", 50);
    let end = [
        "release",
        "active to backup: handed over to 10.0.0.3 on request",
        "handed over",
    ];
    assert_eq!(bench.run(4_153_000), [(4_153_000, words(&end))]);
    assert_eq!(bench.router.status().held_back, Some(ip("10.0.0.3")));
    for at in [5_003_000, 6_003_000, 7_003_000, 8_003_000, 9_003_000] {
        assert!(bench.hear(at, "10.0.0.3", 50).is_empty());
    }
    assert_eq!(
        bench.deadline(),
        Some(12_612_375),
        "obeys although its priority is better"
    );
}

#[test]
fn being_held_back_ends_when_the_peer_leaves_or_dies() {
    let mut handed_over = leaving(pair(), Event::Handover);
    handed_over.hear(4_003_000, "10.0.0.3", 50);
    handed_over.run(4_153_000);
    let mut leaves = handed_over.clone();
    assert_eq!(leaves.hear(5_000_000, "10.0.0.3", 0), ["claim"]);
    assert_eq!(leaves.router.status().held_back, None);
    let mut dies = handed_over;
    assert_eq!(dies.run(7_612_375), [(7_612_375, words(&["claim"]))]);
    dies.handle(7_613_000, Event::Claimed);
    assert_eq!(dies.router.status().held_back, None);
}

#[test]
fn a_handover_that_is_forgotten_lets_the_better_router_preempt() {
    let mut bench = leaving(pair(), Event::Handover);
    bench.hear(4_003_000, "10.0.0.3", 50);
    bench.run(4_153_000);
    bench.hear(5_003_000, "10.0.0.3", 50);
    bench.router.forget_handover();
    assert_eq!(bench.router.status().held_back, None);
    // The down interval of three seconds and a skew runs on from the advertisement that was obeyed last.
    for at in [6_003_000, 7_003_000, 8_003_000] {
        assert!(bench.hear(at, "10.0.0.3", 50).is_empty());
    }
    assert_eq!(bench.run(9_000_000), [(8_612_375, words(&["claim"]))]);
}

#[test]
fn even_an_owner_is_held_back_after_a_handover() {
    let mut bench = Bench::new(Settings {
        priority: Priority::OWNER,
        ..pair()
    });
    bench.handle(0, Event::Startup);
    bench.handle(0, Event::Claimed);
    bench.handle(100_000, Event::Handover);
    bench.hear(103_000, "10.0.0.3", 50);
    bench.run(300_000);
    bench.hear(1_103_000, "10.0.0.3", 50);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("backup", Some(4_106_907))
    );
}

#[test]
fn a_handover_nobody_takes_is_resumed_without_announcing() {
    let mut bench = leaving(pair(), Event::Handover);
    let resumed = words(&["send ipv4 100", "handover failed"]);
    assert_eq!(
        bench.run(6_100_000),
        [(4_010_000, words(&["send ipv4 0"])), (6_100_000, resumed)]
    );
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("active", Some(7_100_000))
    );
    assert_eq!(bench.router.status().held_back, None);
}

#[test]
fn a_handover_at_100_ms_waits_300_ms() {
    let mut bench = Bench::active(
        Settings {
            advert_interval: centis(10),
            ..pair()
        },
        360_938,
    );
    bench.handle(400_000, Event::Handover);
    let log = bench.run(700_000);
    assert_eq!(
        log.last().unwrap(),
        &(700_000, words(&["send ipv4 100", "handover failed"]))
    );
}

#[test]
fn a_handover_resumed_after_a_reload_claims_the_new_addresses() {
    let mut bench = leaving(pair(), Event::Handover);
    bench.handle(
        4_500_000,
        Event::Reconfigure(Settings {
            vips: vec![ip("10.0.0.11")],
            ..pair()
        }),
    );
    let log = bench.run(6_100_000);
    assert_eq!(
        log.last().unwrap().1,
        ["send ipv4 100", "claim", "handover failed"]
    );
    assert_eq!(
        bench.handle(6_110_000, Event::Claimed),
        ["announce VipsChanged"]
    );
}

#[test]
fn two_nodes_that_both_leave_both_stop() {
    let mut bench = leaving(pair(), Event::Shutdown);
    assert!(bench.hear(4_001_000, "10.0.0.3", 0).is_empty());
    assert!(bench.hear(4_011_000, "10.0.0.3", 0).is_empty());
    let log = bench.run(5_000_000);
    assert_eq!(log.last().unwrap().1.last().unwrap(), "stopped");
}

#[test]
fn a_peer_that_takes_over_and_leaves_again_gives_the_addresses_back() {
    let mut bench = leaving(pair(), Event::Handover);
    bench.hear(4_003_000, "10.0.0.3", 50);
    let back = bench.hear(4_020_000, "10.0.0.3", 0);
    assert_eq!(
        back,
        [
            "send ipv4 100",
            "announce ConflictResolved",
            "handover failed"
        ]
    );
    assert_eq!(bench.phase(), "active");
}

#[test]
fn a_handover_slept_through_is_not_resumed() {
    let mut bench = leaving(pair(), Event::Handover);
    bench.timer(4_010_000);
    let end = ["stop announcing", "release"];
    let log = bench.timer(7_010_000);
    assert_eq!(log[..2], end);
    assert_eq!(log[3], "handover failed");
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("listening", Some(9_010_000))
    );
}

#[test]
fn a_shutdown_slept_through_just_ends() {
    let mut bench = leaving(pair(), Event::Shutdown);
    let end = [
        "stop announcing",
        "release",
        "active to initialize: stopped on request",
        "stopped",
    ];
    assert_eq!(bench.timer(60_000_000), end);
}

#[test]
fn a_stop_during_a_handover_waits_one_interval_at_most() {
    let mut bench = leaving(pair(), Event::Handover);
    assert_eq!(
        bench.handle(4_200_000, Event::Shutdown),
        ["handover failed"]
    );
    let log = bench.run(5_200_000);
    assert_eq!(log.last().unwrap().0, 5_200_000);
    assert_eq!(bench.phase(), "initialize");
}

#[test]
fn the_last_will_is_a_farewell_for_each_family_with_a_source() {
    let mut bench = Bench::active(dual(), 3_609_375);
    let will = |bench: &Bench| {
        let adverts = bench.router.release_adverts();
        adverts
            .iter()
            .map(|advert| (advert.family, advert.priority.value()))
            .collect::<Vec<_>>()
    };
    assert_eq!(will(&bench), [(Family::V4, 0), (Family::V6, 0)]);
    bench.source(4_000_000, Family::V6, None);
    assert_eq!(will(&bench), [(Family::V4, 0)]);
    let now = bench.start + Duration::from_micros(4_100_000);
    let sent: Vec<Action> = bench.router.handle(now, Event::Shutdown);
    let wills: Vec<Action> = bench
        .router
        .release_adverts()
        .into_iter()
        .map(Action::Send)
        .collect();
    assert_eq!(sent, wills);
}

#[test]
fn a_shorter_interval_by_reload_is_no_absence_while_waiting() {
    let short = || {
        Event::Reconfigure(Settings {
            advert_interval: centis(10),
            ..pair()
        })
    };
    let mut handing_over = leaving(pair(), Event::Handover);
    handing_over.timer(4_010_000);
    handing_over.handle(4_900_000, short());
    assert!(handing_over.timer(4_900_001).is_empty());
    assert_eq!(handing_over.phase(), "handing-over");
    let mut claiming = Bench::backup(pair());
    claiming.timer(3_609_375);
    claiming.handle(4_500_000, short());
    assert!(claiming.timer(4_500_001).is_empty());
    assert_eq!(claiming.phase(), "claiming");
}
