//! Fault: ways in, ways out, and the wait before another attempt.

use super::*;

fn lose(bench: &mut Bench, at: u64) {
    bench.handle(at, Event::AddressLost("taken away".to_owned()));
    assert_eq!(bench.phase(), "fault");
}

#[test]
fn a_node_that_starts_with_a_fault_starts_in_fault() {
    let mut bench = Bench::new(pair());
    bench.fault(0);
    assert_eq!(
        bench.handle(100_000, Event::Startup),
        ["initialize to fault: eth1 is down"]
    );
    assert_eq!(bench.router.status().why, "eth1 is down");
    let mut without_source = Bench::new(pair());
    without_source.source(0, Family::V4, None);
    let words = without_source.handle(100_000, Event::Startup);
    assert_eq!(
        words,
        ["initialize to fault: no source address to advertise from"]
    );
    let back = without_source.source(200_000, Family::V4, Some("10.0.0.2"));
    assert_eq!(back, ["fault to backup: no fault any more"]);
    assert_eq!(without_source.deadline(), Some(3_809_375));
}

#[test]
fn every_standing_fault_has_to_end() {
    let mut bench = Bench::backup(pair());
    bench.fault(1_000_000);
    bench.source(1_100_000, Family::V4, None);
    assert!(bench.handle(1_200_000, Event::FaultCleared).is_empty());
    assert_eq!(
        bench.router.status().why,
        "no source address to advertise from"
    );
    assert_eq!(
        bench.source(1_300_000, Family::V4, Some("10.0.0.2")).len(),
        1
    );
    assert_eq!(bench.phase(), "backup");
}

#[test]
fn an_owner_that_recovers_claims_at_once() {
    let mut bench = Bench::backup(Settings {
        priority: Priority::OWNER,
        ..pair()
    });
    bench.fault(1_000_000);
    let words = bench.handle(2_000_000, Event::FaultCleared);
    assert_eq!(words, ["fault to backup: no fault any more", "claim"]);
}

#[test]
fn attempts_wait_1_2_4_8_16_and_then_30_s() {
    let mut bench = Bench::active(pair(), 3_609_375);
    let mut now = 4_000_000;
    for wait in [1, 2, 4, 8, 16, 30, 30] {
        lose(&mut bench, now);
        assert_eq!(bench.deadline(), Some(now + wait * 1_000_000));
        now += wait * 1_000_000;
        assert_eq!(bench.timer(now), ["fault to backup: no fault any more"]);
        now += 3_609_375;
        assert_eq!(bench.timer(now), ["claim"]);
        bench.handle(now, Event::Claimed);
        now += 100_000;
    }
}

#[test]
fn ten_seconds_of_service_clear_the_record() {
    let mut bench = Bench::active(pair(), 3_609_375);
    lose(&mut bench, 4_000_000);
    bench.run(5_000_000);
    bench.run(8_609_375);
    bench.handle(8_610_000, Event::Claimed);
    bench.run(18_700_000);
    lose(&mut bench, 18_700_000);
    assert_eq!(bench.deadline(), Some(19_700_000));
}

#[test]
fn a_tracked_fault_that_clears_does_not_cut_the_wait_short() {
    let mut bench = Bench::active(pair(), 3_609_375);
    lose(&mut bench, 4_000_000);
    bench.fault(4_100_000);
    bench.handle(4_200_000, Event::FaultCleared);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("fault", Some(5_000_000))
    );
}

#[test]
fn three_rounds_that_cannot_be_sent_are_a_fault() {
    let mut bench = Bench::active(dual(), 3_609_375);
    let failed = || Event::SendFailed("no buffer".to_owned());
    assert_eq!(bench.handle(3_609_400, failed()), ["alarm send_failed"]);
    assert!(
        bench.handle(3_609_500, failed()).is_empty(),
        "the same round"
    );
    bench.timer(4_609_375);
    bench.handle(4_609_400, failed());
    bench.timer(5_609_375);
    let words = bench.handle(5_609_400, failed());
    let reason = "active to fault: advertisements could not be sent: no buffer";
    assert_eq!(
        words,
        [
            "send ipv4 0",
            "send ipv6 0",
            "stop announcing",
            "release",
            reason
        ]
    );
}

#[test]
fn a_round_that_went_out_clears_the_failures() {
    let mut bench = Bench::active(pair(), 3_609_375);
    for at in [4_609_375, 6_609_375, 8_609_375, 10_609_375] {
        bench.timer(at - 1_000_000);
        bench.timer(at);
        bench.handle(at, Event::SendFailed("no buffer".to_owned()));
        assert_eq!(bench.phase(), "active");
    }
}

#[test]
fn a_fault_while_addresses_linger_releases_them() {
    let mut bench = Bench::active(pair(), 3_609_375);
    bench.hear(4_000_000, "10.0.0.3", 200);
    assert_eq!(
        bench.fault(4_010_000),
        ["release", "backup to fault: eth1 is down"]
    );
}

#[test]
fn a_reload_that_takes_away_the_only_family_with_a_source_is_a_fault() {
    let mut bench = Bench::active(dual(), 3_609_375);
    bench.source(4_000_000, Family::V6, None);
    let v6_only = Settings {
        vips: vec![ip("fe80::10")],
        ..pair()
    };
    bench.handle(4_100_000, Event::Reconfigure(v6_only));
    assert_eq!(bench.phase(), "fault");
}
