//! Two families, one decision.

use super::*;

#[test]
fn both_families_are_sent_and_either_is_heard() {
    let mut bench = Bench::active(dual(), 3_609_375);
    assert_eq!(bench.timer(4_609_375), ["send ipv4 100", "send ipv6 100"]);
    let mut by_v6 = Bench::backup(dual());
    by_v6.hear(1_000_000, "fe80::3", 150);
    assert_eq!(by_v6.deadline(), Some(4_609_375));
    by_v6.hear(1_500_000, "10.0.0.3", 150);
    assert_eq!(by_v6.deadline(), Some(5_109_375));
    assert_eq!(by_v6.hear(2_000_000, "fe80::3", 0), ["claim"]);
}

#[test]
fn a_family_that_is_not_configured_is_not_heard() {
    let mut bench = Bench::backup(pair());
    let foreign = Bench::backup(dual()).advertisement("fe80::3", 150, 100, ChecksumForm::Rfc5798);
    assert!(bench.handle(1_000_000, foreign).is_empty());
    assert_eq!(
        (bench.deadline(), bench.router.status().peer),
        (Some(3_609_375), None)
    );
}

#[test]
fn the_families_may_have_learned_different_intervals() {
    let mut bench = Bench::backup(dual());
    bench.hear_each(1_000_000, "10.0.0.3", 150, 300);
    bench.hear_each(1_000_000, "fe80::3", 150, 20);
    assert_eq!(
        bench.deadline(),
        Some(11_828_125),
        "the family that speaks seldom still holds the timer"
    );
    bench.hear_each(11_500_000, "fe80::3", 150, 20);
    assert_eq!(bench.deadline(), Some(12_221_875));
    bench.handle(11_600_000, Event::PriorityChanged(Priority::new(200)));
    assert_eq!(bench.deadline(), Some(12_143_750));
}

#[test]
fn losing_one_source_silences_that_family_with_an_alarm() {
    let mut bench = Bench::active(dual(), 3_609_375);
    assert_eq!(
        bench.source(4_000_000, Family::V6, None),
        ["alarm family_silent"]
    );
    assert_eq!(bench.router.status().silent_families, [Family::V6]);
    assert_eq!(bench.timer(4_609_375), ["send ipv4 100"]);
    assert!(
        bench
            .source(5_000_000, Family::V6, Some("fe80::2"))
            .is_empty()
    );
    assert_eq!(bench.timer(5_609_375), ["send ipv4 100", "send ipv6 100"]);
    bench.source(6_000_000, Family::V6, None);
    let words = bench.source(6_100_000, Family::V4, None);
    assert_eq!(
        words.last().unwrap(),
        "active to fault: no source address to advertise from"
    );
}

#[test]
fn a_peer_heard_in_one_family_only_is_an_alarm_after_four_intervals() {
    let mut bench = Bench::backup(dual());
    let mut alarms = Vec::new();
    for at in (1_000_000..=8_000_000).step_by(500_000) {
        if bench.hear(at, "fe80::3", 150) == ["alarm partial_hearing"] {
            alarms.push(at);
        }
    }
    assert_eq!(alarms, [5_000_000]);
}

#[test]
fn equal_priorities_are_compared_in_ipv4_alone() {
    let mut bench = Bench::active(dual(), 3_609_375);
    bench.hear(4_000_000, "fe80::3", 100);
    assert_eq!(
        bench.phase(),
        "active",
        "a higher IPv6 address decides nothing"
    );
    bench.hear(4_100_000, "10.0.0.1", 100);
    assert_eq!(bench.phase(), "active");
    bench.hear(4_200_000, "10.0.0.3", 100);
    assert_eq!(bench.phase(), "backup");
}

#[test]
fn ipv6_leads_once_the_peer_is_known_to_have_no_ipv4() {
    let mut bench = Bench::active(dual(), 3_609_375);
    for at in [4_000_000, 5_000_000, 6_000_000, 7_000_000, 7_999_000] {
        bench.run(at);
        bench.hear(at, "fe80::3", 100);
        assert_eq!(bench.phase(), "active");
    }
    bench.hear(8_000_000, "fe80::3", 100);
    assert_eq!(bench.phase(), "backup");
}

#[test]
fn ipv6_leads_where_we_have_no_ipv4() {
    let v6 = Settings {
        vips: vec![ip("fe80::10")],
        ..pair()
    };
    let mut above = Bench::active(v6.clone(), 3_609_375);
    above.hear(4_000_000, "fe80::3", 100);
    assert_eq!(above.phase(), "backup");
    let mut below = Bench::active(v6, 3_609_375);
    below.hear(4_000_000, "fe80::1", 100);
    assert_eq!(below.phase(), "active");
    let mut without_source = Bench::active(dual(), 3_609_375);
    without_source.source(4_000_000, Family::V4, None);
    without_source.hear(4_100_000, "fe80::3", 100);
    assert_eq!(without_source.phase(), "backup");
}

#[test]
fn unicast_speaks_only_the_families_that_have_a_peer() {
    let mut bench = Bench::active(
        Settings {
            unicast_peers: vec![ip("10.0.0.3")],
            ..dual()
        },
        3_609_375,
    );
    let actions = bench
        .router
        .handle(bench.start + Duration::from_micros(4_609_375), Event::Timer);
    let [Action::Send(advert)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(advert.destinations, [ip("10.0.0.3")]);
    assert!(bench.router.status().silent_families.is_empty());
}

#[test]
fn routers_with_only_global_addresses_hear_each_other() {
    let mut bench = Bench::backup(Settings {
        vips: vec![ip("2001:db8::10")],
        ..pair()
    });
    assert!(bench.hear(1_000_000, "fe80::3", 150).is_empty());
    assert_eq!(bench.deadline(), Some(4_609_375));
}

/// A peer with the same list was configured so; one with another list may have been meant otherwise.
#[test]
fn a_peer_without_link_local_is_an_alarm_where_its_list_is_another() {
    let mut bench = Bench::backup(Settings {
        vips: vec![ip("2001:db8::10")],
        ..pair()
    });
    let mut advert = bench.advert("fe80::3", 150, 100, ChecksumForm::Rfc5798);
    advert.addresses = vec![ip("2001:db8::11")];
    let event = bench.arrival(&advert);
    let alarms = bench.handle(1_000_000, event);
    assert_eq!(alarms, ["alarm list_mismatch", "alarm no_link_local"]);
}

#[test]
fn the_status_shows_the_peer_by_family_and_the_timers() {
    let mut bench = Bench::backup(dual());
    bench.hear(1_000_000, "10.0.0.3", 150);
    bench.hear(1_000_001, "fe80::3", 150);
    let status = bench.router.status();
    assert_eq!(
        (status.state, status.phase),
        (State::Backup, PhaseName::Backup)
    );
    assert_eq!(status.peer.map(|peer| peer.address), Some(ip("fe80::3")));
    assert_eq!(status.peers.len(), 2);
    assert_eq!(
        (status.timers[0].name, status.timers.len()),
        ("active_down", 1)
    );
    assert_eq!(status.skew, Duration::from_micros(609_375));
    assert_eq!(status.down_interval, Duration::from_micros(3_609_375));
    assert_eq!(
        status.last_transition.unwrap().1.to_string(),
        "initialize to backup: started"
    );
}
