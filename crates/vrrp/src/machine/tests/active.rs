//! Active: its timer, conflicts, bounded replies, lateness, reload.

use super::*;
use crate::types::ChecksumPolicy;

/// Active since 3.609375 s, next advertisement at 4.609375 s.
fn active(settings: Settings) -> Bench {
    Bench::active(settings, 3_609_375)
}

#[test]
fn it_advertises_each_own_interval_without_drift() {
    let mut bench = active(pair());
    assert_eq!(bench.timer(4_612_000), ["send ipv4 100"]);
    assert_eq!(bench.timer(5_620_000), ["send ipv4 100"]);
    let log = bench.run(8_700_000);
    let times: Vec<u64> = log.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [6_609_375, 7_609_375, 8_609_375]);
}

#[test]
fn a_round_missed_is_not_made_up() {
    let mut bench = active(pair());
    assert_eq!(bench.timer(6_000_000), ["send ipv4 100"]);
    assert_eq!(bench.deadline(), Some(7_000_000));
}

#[test]
fn the_learned_interval_is_dropped_on_becoming_active() {
    let mut bench = Bench::backup(pair());
    bench.hear_each(1_000_000, "10.0.0.3", 150, 300);
    bench.timer(11_828_125);
    bench.handle(11_828_125, Event::Claimed);
    assert_eq!(bench.router.status().learned_interval, None);
    let times: Vec<u64> = bench.run(15_000_000).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [12_828_125, 13_828_125, 14_828_125]);
}

#[test]
fn the_interval_of_a_higher_router_is_learned_on_yielding() {
    let mut bench = active(unknown());
    bench.hear_each(4_000_000, "10.0.0.3", 200, 300);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("backup", Some(14_828_125))
    );
}

#[test]
fn a_pair_yields_make_before_break_and_others_at_once() {
    let mut of_pair = active(pair());
    let words = of_pair.hear(4_000_000, "10.0.0.3", 200);
    let outranked = "active to backup: 10.0.0.3 is active with priority 200, ours is 100";
    assert_eq!(words, ["stop announcing", outranked]);
    assert_eq!(of_pair.deadline(), Some(4_150_000));
    assert_eq!(of_pair.timer(4_150_000), ["release"]);
    assert_eq!(of_pair.deadline(), Some(7_609_375));
    let mut of_unknown = active(unknown());
    let words = of_unknown.hear(4_000_000, "10.0.0.3", 200);
    assert_eq!(words, ["stop announcing", "release", outranked]);
}

#[test]
fn addresses_still_held_are_claimed_without_a_release() {
    let mut bench = active(pair());
    bench.hear(4_000_000, "10.0.0.3", 200);
    assert_eq!(bench.hear(4_010_000, "10.0.0.3", 0), ["claim"]);
    assert_eq!(bench.run(4_100_000), []);
    assert_eq!(bench.handle(4_110_000, Event::Claimed)[0], "send ipv4 100");
}

#[test]
fn equal_priorities_are_decided_by_the_higher_source_address() {
    let mut above = active(pair());
    above.hear(4_000_000, "10.0.0.3", 100);
    assert_eq!(above.phase(), "backup");
    let mut below = active(pair());
    below.hear(4_000_000, "10.0.0.1", 100);
    assert_eq!(below.phase(), "active");
    let mut unsigned = active(pair());
    unsigned.hear(4_000_000, "200.0.0.1", 100);
    assert_eq!(unsigned.phase(), "backup");
}

#[test]
fn two_owners_meet_in_the_election() {
    let mut bench = Bench::new(Settings {
        priority: Priority::OWNER,
        ..pair()
    });
    bench.handle(0, Event::Startup);
    bench.handle(0, Event::Claimed);
    let words = bench.hear(500_000, "10.0.0.1", 255);
    assert_eq!(
        words,
        [
            "alarm two_owners",
            "send ipv4 255",
            "announce ConflictResolved"
        ]
    );
    bench.hear(600_000, "10.0.0.3", 255);
    assert_eq!(bench.phase(), "backup");
}

#[test]
fn replies_are_bounded_whatever_arrives() {
    let mut bench = active(pair());
    let (mut sent, mut announced) = (0, 0);
    for at in (4_700_000..6_700_000).step_by(500) {
        let words = bench.hear(at, "10.0.0.3", if at % 1_000 == 0 { 50 } else { 100 - 1 });
        sent += words.iter().filter(|word| word.starts_with("send")).count();
        announced += words
            .iter()
            .filter(|word| word.starts_with("announce"))
            .count();
    }
    assert_eq!((sent, announced), (20, 2), "one in 100 ms, one in a second");
}

#[test]
fn replies_at_a_short_interval_are_10_ms_apart() {
    let mut bench = Bench::active(
        Settings {
            advert_interval: centis(10),
            ..pair()
        },
        360_938,
    );
    let sent = |words: Vec<String>| words.iter().any(|word| word.starts_with("send"));
    assert!(sent(bench.hear(400_000, "10.0.0.3", 50)));
    assert!(!sent(bench.hear(409_999, "10.0.0.3", 50)));
    assert!(sent(bench.hear(410_000, "10.0.0.3", 50)));
}

#[test]
fn neither_farewells_nor_losers_postpone_the_advertisements() {
    let mut bench = active(pair());
    let mut last_sent = 3_609_375;
    for at in (3_610_000..9_000_000).step_by(1_000) {
        let mut words = bench.hear(at, "10.0.0.3", u8::from(at % 2_000 == 0) * 50);
        words.extend(bench.timer(at));
        if words.iter().any(|word| word.starts_with("send")) {
            last_sent = at;
        }
        assert!(at - last_sent <= 1_000_000, "silent since {last_sent}");
    }
}

#[test]
fn three_intervals_after_the_last_advertisement_it_is_late() {
    let mut in_time = active(pair());
    assert_eq!(in_time.timer(6_609_374), ["send ipv4 100"]);
    let mut late = active(pair());
    let words = late.timer(6_609_375);
    let reason = "active to backup: no sign of life for 3000 ms, another router may be active";
    assert_eq!(words, ["stop announcing", "release", reason]);
    assert_eq!(
        (late.phase(), late.deadline()),
        ("listening", Some(8_609_375))
    );
}

#[test]
fn lateness_is_seen_at_every_event() {
    let events = [
        Event::Claimed,
        Event::PriorityChanged(Priority::new(50)),
        Event::SendFailed("x".to_owned()),
        Event::Reconfigure(pair()),
        Event::FaultCleared,
        Event::Handover,
    ];
    for event in events {
        let mut bench = active(pair());
        let words = bench.handle(9_000_000, event.clone());
        assert_eq!(words[1], "release", "{event:?}");
        assert_eq!(bench.phase(), "listening", "{event:?}");
    }
    let mut hears_lower = active(pair());
    assert_eq!(hears_lower.hear(9_000_000, "10.0.0.3", 50)[1], "release");
    let mut hears_higher = active(pair());
    assert_eq!(hears_higher.hear(9_000_000, "10.0.0.3", 150)[1], "release");
    assert_eq!(hears_higher.deadline(), Some(12_609_375));
}

#[test]
fn having_been_late_it_takes_over_again_if_nobody_is_there() {
    let mut bench = active(pair());
    bench.timer(20_000_000);
    assert_eq!(
        bench.run(22_000_000),
        [(22_000_000, vec!["claim".to_owned()])]
    );
    bench.handle(22_001_000, Event::Claimed);
    assert_eq!(bench.phase(), "active");
}

#[test]
fn listening_is_long_enough_for_a_peer_that_is_slower() {
    let mut bench = Bench::backup(pair());
    bench.hear_each(1_000_000, "10.0.0.3", 150, 300);
    bench.hear_each(2_000_000, "10.0.0.3", 0, 300);
    bench.handle(2_001_000, Event::Claimed);
    bench.timer(10_000_000);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("listening", Some(16_000_000))
    );
}

#[test]
fn a_pause_that_has_ended_in_a_takeover_is_not_listened_for() {
    let mut bench = Bench::backup(pair());
    bench.hear(1_000_000, "10.0.0.3", 150);
    bench.hear_each(2_000_000, "10.0.0.3", 150, 1_000);
    let end = bench.deadline().unwrap();
    assert!(end > 32_000_000, "{end}");
    let mut late = bench.clone();
    assert_eq!(bench.timer(end), ["claim"]);
    bench.handle(end, Event::Claimed);
    bench.timer(end + 10_000_000);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("listening", Some(end + 12_000_000))
    );
    // Before the takeover it may go on at any time.
    late.timer(end + 5_000_000);
    assert_eq!(
        (late.phase(), late.deadline()),
        ("listening", Some(end + 25_000_000))
    );
}

#[test]
fn a_shorter_interval_by_reload_pulls_the_next_advertisement_in_and_is_no_lateness() {
    let mut bench = active(pair());
    let short = Settings {
        advert_interval: centis(10),
        ..pair()
    };
    assert!(
        bench
            .handle(4_500_000, Event::Reconfigure(short))
            .is_empty()
    );
    assert_eq!(bench.deadline(), Some(4_600_000));
    assert_eq!(bench.timer(4_600_000), ["send ipv4 100"]);
    assert_eq!(bench.deadline(), Some(4_700_000));
    let mut longer = active(pair());
    longer.handle(
        4_500_000,
        Event::Reconfigure(Settings {
            advert_interval: centis(500),
            ..pair()
        }),
    );
    assert_eq!(longer.deadline(), Some(4_609_375));
}

#[test]
fn a_reload_of_the_addresses_claims_and_announces_when_confirmed() {
    let mut bench = active(pair());
    let more = Settings {
        vips: vec![ip("10.0.0.10"), ip("10.0.0.11")],
        ..pair()
    };
    assert_eq!(bench.handle(4_000_000, Event::Reconfigure(more)), ["claim"]);
    assert_eq!(
        bench.handle(4_010_000, Event::Claimed),
        ["announce VipsChanged"]
    );
    assert_eq!(bench.phase(), "active");
    let turned = Settings {
        vips: vec![ip("10.0.0.11"), ip("10.0.0.10")],
        ..pair()
    };
    assert!(
        bench
            .handle(4_020_000, Event::Reconfigure(turned))
            .is_empty(),
        "the same set"
    );
}

#[test]
fn a_claim_by_reload_that_fails_or_stays_unanswered_is_a_fault() {
    let other = Settings {
        vips: vec![ip("10.0.0.11")],
        ..pair()
    };
    let mut refused = active(pair());
    refused.handle(4_000_000, Event::Reconfigure(other.clone()));
    let words = refused.handle(4_010_000, Event::ClaimFailed("refused".to_owned()));
    assert_eq!(words[..3], ["send ipv4 0", "stop announcing", "release"]);
    assert_eq!(refused.phase(), "fault");
    let mut unanswered = active(pair());
    unanswered.handle(4_000_000, Event::Reconfigure(other));
    unanswered.run(8_999_999);
    assert_eq!(unanswered.phase(), "active");
    unanswered.run(9_000_000);
    assert_eq!(unanswered.phase(), "fault");
}

#[test]
fn the_checksum_form_of_the_peer_is_adopted() {
    let form = |bench: &Bench| bench.router.status().checksum_sent;
    let mut bench = Bench::backup(pair());
    assert_eq!(form(&bench), ChecksumForm::Rfc5798);
    let plain = bench.advertisement("10.0.0.3", 150, 100, ChecksumForm::Rfc9568);
    assert_eq!(
        bench.handle(1_000_000, plain.clone()),
        ["alarm checksum_form"]
    );
    assert_eq!(form(&bench), ChecksumForm::Rfc9568);
    assert_eq!(
        bench.router.release_adverts()[0].checksum,
        ChecksumForm::Rfc9568
    );
    let fixed = Settings {
        checksum: ChecksumPolicy::Fixed(ChecksumForm::Rfc5798),
        ..pair()
    };
    let mut fixed = Bench::backup(fixed);
    fixed.handle(1_000_000, plain);
    assert_eq!(form(&fixed), ChecksumForm::Rfc5798);
}

#[test]
fn a_lower_active_router_is_an_alarm_only_after_it_had_time_to_hear_us() {
    let mut bench = active(pair());
    assert_eq!(bench.hear(4_000_000, "10.0.0.3", 50).len(), 2);
    bench.timer(4_609_375);
    let words = bench.hear(4_700_000, "10.0.0.3", 50);
    assert_eq!(words, ["alarm two_active", "send ipv4 100"]);
}

#[test]
fn the_same_alarm_comes_once_a_minute_and_one_kind_once_a_second() {
    let mut bench = Bench::backup(pair());
    let alarms = |bench: &mut Bench, at: u64, from: &str| bench.hear_each(at, from, 150, 300).len();
    assert_eq!(alarms(&mut bench, 1_000_000, "10.0.0.3"), 1);
    assert_eq!(alarms(&mut bench, 4_000_000, "10.0.0.3"), 0);
    assert_eq!(alarms(&mut bench, 4_100_000, "10.0.0.4"), 1);
    assert_eq!(alarms(&mut bench, 4_200_000, "10.0.0.5"), 0);
    for at in (5_000_000..64_000_000).step_by(3_000_000) {
        assert_eq!(alarms(&mut bench, at, "10.0.0.4"), 0);
    }
    assert_eq!(alarms(&mut bench, 64_100_000, "10.0.0.4"), 1);
}

#[test]
fn the_advertisement_carries_the_settings_and_the_effective_priority() {
    let mut bench = active(Settings {
        vips: vec![ip("10.0.0.11"), ip("10.0.0.10")],
        ..pair()
    });
    bench.handle(4_000_000, Event::PriorityChanged(Priority::new(70)));
    let actions = bench
        .router
        .handle(bench.start + Duration::from_micros(4_609_375), Event::Timer);
    let [Action::Send(advert)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (
            advert.vrid.value(),
            advert.priority.value(),
            advert.interval
        ),
        (51, 70, centis(100))
    );
    assert_eq!(advert.addresses, [ip("10.0.0.11"), ip("10.0.0.10")]);
    assert_eq!(
        (advert.source, &advert.destinations[..]),
        (ip("10.0.0.2"), &[ip("224.0.0.18")][..])
    );
}

#[test]
fn a_pause_is_announced_at_once_and_until_it_is_over() {
    let mut bench = active(pair());
    let mut said = |at: u64, event: Event| {
        let now = bench.start + Duration::from_micros(at);
        let sent = bench.router.handle(now, event);
        let interval = sent.iter().find_map(|action| match action {
            Action::Send(advert) => Some(advert.interval.centis()),
            _ => None,
        });
        (interval, bench.deadline())
    };
    // Announced, not kept: the timer goes on as it was.
    let pause = Event::Pause(Some(centis(200)));
    assert_eq!(said(4_000_000, pause), (Some(200), Some(4_609_375)));
    assert_eq!(said(4_609_375, Event::Timer), (Some(200), Some(5_609_375)));
    assert_eq!(
        said(5_000_000, Event::Pause(None)),
        (Some(100), Some(5_609_375))
    );
    assert_eq!(said(5_609_375, Event::Timer), (Some(100), Some(6_609_375)));
    // A farewell speaks of the interval that others reckon with.
    said(6_000_000, Event::Pause(Some(centis(200))));
    let farewells = bench.router.release_adverts();
    assert_eq!(farewells[0].interval, centis(100));
}

#[test]
fn who_goes_on_claims_at_once_and_keeps_the_interval_of_the_settings() {
    let mut bench = Bench::new(pair());
    let begun = bench.handle(0, Event::Resume);
    assert_eq!(begun, ["initialize to backup: started", "claim"]);
    let claimed = bench.handle(2_000, Event::Claimed);
    let resumed = "backup to active: goes on after a planned restart";
    assert_eq!(claimed, ["send ipv4 100", "announce TookOver", resumed]);
    assert_eq!(bench.deadline(), Some(1_002_000));
    // So does an owner, which has claimed and started long ago.
    let mut owner = Bench::new(Settings {
        priority: Priority::OWNER,
        ..pair()
    });
    owner.handle(0, Event::Resume);
    let claimed = owner.handle(2_000, Event::Claimed);
    assert_eq!(claimed, ["send ipv4 255", "announce TookOver", resumed]);
    // And one that hears a better router gives up what is there.
    let mut late = Bench::new(pair());
    late.handle(0, Event::Resume);
    assert_eq!(late.hear(1_000, "10.0.0.3", 200), ["release"]);
}

/// The others wait three of the announced intervals, unless they are told.
#[test]
fn who_cannot_go_on_says_farewell() {
    let begun = || {
        let mut bench = Bench::new(pair());
        bench.handle(0, Event::Resume);
        bench
    };
    let refused = begun().handle(1_000, Event::ClaimFailed("refused".to_owned()));
    assert_eq!(refused[..2], ["send ipv4 0", "release"]);
    let lost = begun().handle(1_000, Event::AddressLost("gone".to_owned()));
    assert_eq!(lost[..2], ["send ipv4 0", "release"]);
    assert_eq!(begun().fault(1_000)[..2], ["send ipv4 0", "release"]);
    let stopped = begun().handle(1_000, Event::Shutdown);
    assert_eq!(stopped[..2], ["send ipv4 0", "release"]);
    let renamed = Settings {
        vrid: Vrid::new(52).unwrap(),
        ..pair()
    };
    let renamed = begun().handle(1_000, Event::Reconfigure(renamed));
    assert_eq!(renamed[..2], ["send ipv4 0", "release"]);
    let unanswered = begun().run(5_000_000);
    assert_eq!(unanswered[0].1[..2], ["send ipv4 0", "release"]);
    // One that is at fault from the beginning does not go on either.
    let mut faulty = Bench::new(pair());
    faulty.fault(0);
    let words = faulty.handle(0, Event::Resume);
    let fault = "initialize to fault: eth1 is down";
    assert_eq!(words, ["send ipv4 0", "release", fault]);
}
