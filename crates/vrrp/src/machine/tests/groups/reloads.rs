//! Members that a reload takes into a group or out of it.

use super::*;

/// Joins later.
const C: MemberId = MemberId(9);

#[test]
fn who_has_not_begun_begins_with_a_group_that_listens() {
    let mut group = Group::backup();
    let mut other = VirtualRouter::with_member(C, member("c", 53));
    let source = Some(ip("10.0.53.2"));
    let family = Family::V4;
    other.handle(group.start, Event::SourceChanged { family, source });
    assert_eq!(
        group.join(1_000, other),
        ["c: initialize to backup: started"]
    );
}

#[test]
fn who_joins_an_active_group_claims_first_and_speaks_then() {
    let mut group = Group::active();
    let mut other = VirtualRouter::with_member(C, member("c", 53));
    let source = Some(ip("10.0.53.2"));
    let family = Family::V4;
    other.handle(group.start, Event::SourceChanged { family, source });
    let mut silent = group.clone();
    assert_eq!(
        group.join(4_000_000, other),
        [
            "c: initialize to active: follows the group it joined",
            "all: claim"
        ]
    );
    for member in [A, B] {
        assert!(group.handle(4_001_000, member, Event::Claimed).is_empty());
    }
    assert_eq!(
        group.handle(4_002_000, C, Event::Claimed),
        ["c: send ipv4 100", "all: announce VipsChanged"]
    );
    let without_source = VirtualRouter::with_member(C, member("c", 53));
    let words = silent.join(4_000_000, without_source);
    assert_eq!(silent.phase(), "fault", "{words:?}");
}

#[test]
fn who_joins_a_backup_gives_up_what_it_holds() {
    let mut group = Group::backup();
    group.hear(1_000_000, A, 3, 150);
    let mut active = Group::active().router;
    let alone = active.split(group.start, B).unwrap();
    let mut lone = Group::of(member("a", 51), member("x", 53));
    assert_eq!(
        lone.split(0, B).map(|router| router.state()),
        Some(State::Initialize)
    );
    lone.handle(0, A, Event::Startup);
    lone.hear(1_000_000, A, 3, 150);
    assert_eq!(
        lone.join(4_000_000, alone),
        [
            "b: send ipv4 0",
            "b: release",
            "b: stop announcing",
            "b: active to backup: follows the group it joined"
        ]
    );
    assert_eq!(lone.deadline(), Some(4_609_375), "the timer goes on");
}

#[test]
fn who_joins_during_a_handover_that_fails_says_nothing_before_it_has_its_addresses() {
    let mut group = Group::active();
    group.handle(4_000_000, A, Event::Handover);
    group.timer(4_010_000);
    let mut other = VirtualRouter::with_member(C, member("c", 53));
    let source = Some(ip("10.0.53.2"));
    let family = Family::V4;
    other.handle(group.start, Event::SourceChanged { family, source });
    group.join(4_100_000, other);
    // Nobody takes over within two intervals and 100 ms.
    let back = group.timer(6_100_000);
    assert_eq!(
        back[..3],
        ["b: send ipv4 100", "a: send ipv4 100", "all: claim"]
    );
    for member in [A, B] {
        assert!(group.handle(6_101_000, member, Event::Claimed).is_empty());
    }
    assert_eq!(
        group.handle(6_102_000, C, Event::Claimed),
        ["c: send ipv4 100", "all: announce VipsChanged"]
    );
}

#[test]
fn a_quicker_member_that_joins_during_a_handover_makes_nobody_late() {
    let mut group = Group::active();
    group.handle(4_000_000, A, Event::Handover);
    group.timer(4_010_000);
    let mut quick = member("c", 53);
    quick.advert_interval = Interval::from_centis(5).unwrap();
    let mut other = VirtualRouter::with_member(C, quick);
    let source = Some(ip("10.0.53.2"));
    let family = Family::V4;
    other.handle(group.start, Event::SourceChanged { family, source });
    group.join(4_300_000, other);
    assert_eq!(
        group.timer(4_300_000),
        [""; 0],
        "it was seen 290 ms ago, of 3 s"
    );
    assert_eq!(group.phase(), "handing-over");
}

#[test]
fn who_goes_alone_keeps_its_state_and_who_ends_says_no_farewell() {
    let mut group = Group::active();
    let mut ended = group.clone();
    let mut alone = group.split(4_000_000, B).unwrap();
    assert_eq!((alone.state(), group.phase()), (State::Active, "active"));
    assert_eq!(group.timer(4_609_375), ["a: send ipv4 100"]);
    let at = group.start + Duration::from_micros(4_609_375);
    assert_eq!(
        said(&alone.handle_for(at, B, Event::Timer)),
        ["b: send ipv4 100"]
    );
    assert!(group.split(4_700_000, A).is_none(), "the last one stays");
    let words = ended.split(4_609_375, B).unwrap().abandon(at);
    assert_eq!(
        said(&words),
        [
            "all: stop announcing",
            "all: release",
            "all: active to initialize: taken out of its group, which goes on without it",
            "all: stopped"
        ]
    );
    assert_eq!(ended.timer(4_609_375), ["a: send ipv4 100"]);
}

#[test]
fn a_fault_stays_with_the_member_that_has_it() {
    let mut group = Group::active();
    let fault = Event::Fault(FaultReason::new("interface eth1 is down"));
    group.handle(4_000_000, B, fault);
    let mut other = group.clone();
    let start = group.start;
    let at = |us| start + Duration::from_micros(us);
    let mut b = group.split(4_100_000, B).unwrap();
    // The rest has a timer that has ended, and takes part again.
    assert_eq!(group.deadline(), Some(4_000_000));
    assert_eq!(
        group.timer(4_500_000),
        ["all: fault to backup: no fault any more"]
    );
    assert_eq!(b.deadline(), None);
    assert!(b.handle_for(at(5_000_000), B, Event::Timer).is_empty());
    assert_eq!(b.state(), State::Fault);
    // Whoever of the two it is that leaves.
    let mut a = other.split(4_100_000, A).unwrap();
    assert_eq!(
        said(&a.handle_for(at(4_500_000), A, Event::Timer)),
        ["all: fault to backup: no fault any more"]
    );
    assert_eq!((other.phase(), other.deadline()), ("fault", None));
}

#[test]
fn a_claim_does_not_wait_for_a_member_that_has_gone() {
    let mut group = Group::backup();
    group.timer(3_609_375);
    group.handle(3_610_000, A, Event::Claimed);
    assert!(group.split(3_620_000, B).is_some());
    assert_eq!(group.deadline(), Some(4_609_375));
    let words = group.timer(4_609_375);
    assert_eq!(words[0], "a: send ipv4 100");
    assert_eq!(group.phase(), "active");
}

#[test]
fn who_goes_alone_waits_for_no_pause_that_it_has_not_heard() {
    let mut group = Group::backup();
    // A restart of 10 s is announced, and heard on b alone.
    group.hear_each(1_000_000, B, 3, 150, 1_000);
    let paused = group.deadline().unwrap();
    assert!(paused > 30_000_000, "{paused}");
    let mut alone = group.clone();
    let b = alone.split(2_000_000, B).unwrap();
    assert_eq!(alone.deadline(), Some(2_000_000 + 3_609_375));
    let until = b.next_timer().unwrap().at - alone.start;
    assert_eq!(until, Duration::from_micros(paused));
    // Whoever of the two it is that leaves.
    let a = group.split(2_000_000, A).unwrap();
    let until = a.next_timer().unwrap().at - group.start;
    assert_eq!(until, Duration::from_micros(2_000_000 + 3_609_375));
}

/// Active since 3.609375 s, and another member that is about to join.
fn active_and_other() -> (Group, VirtualRouter) {
    let group = Group::active();
    let mut other = VirtualRouter::with_member(C, member("c", 53));
    let source = Some(ip("10.0.53.2"));
    let family = Family::V4;
    other.handle(group.start, Event::SourceChanged { family, source });
    (group, other)
}

#[test]
fn who_is_active_and_joins_an_active_group_is_heard_all_the_while() {
    let (mut group, mut other) = active_and_other();
    let at = |us| group.start + Duration::from_micros(us);
    other.handle(group.start, Event::Startup);
    other.handle(at(3_609_375), Event::Timer);
    other.handle(at(3_900_000), Event::Claimed);
    assert_eq!(other.state(), State::Active);
    assert_eq!(group.join(4_000_000, other), ["all: claim"]);
    // The kernel has not answered anybody yet.
    assert_eq!(
        group.timer(4_609_375),
        ["b: send ipv4 100", "a: send ipv4 100"]
    );
    assert_eq!(group.timer(4_900_000), ["c: send ipv4 100"]);
}

#[test]
fn who_goes_alone_with_its_addresses_there_speaks_at_once() {
    let (mut group, other) = active_and_other();
    group.join(4_000_000, other);
    let start = group.start;
    let at = |us| start + Duration::from_micros(us);
    assert!(group.handle(4_001_000, C, Event::Claimed).is_empty());
    // The others have not been answered: without them nothing is left to wait for.
    let mut alone = group.split(4_002_000, C).unwrap();
    assert_eq!(alone.deadline(), Some(at(4_002_000)));
    assert_eq!(
        said(&alone.handle_for(at(4_002_000), C, Event::Timer)),
        ["c: send ipv4 100", "all: announce VipsChanged"]
    );
    assert_eq!(alone.deadline(), Some(at(5_002_000)));
    assert_eq!(group.deadline(), Some(4_609_375));
}

#[test]
fn who_goes_alone_without_its_addresses_says_nothing_before_they_are_there() {
    let (mut group, other) = active_and_other();
    group.join(4_000_000, other);
    let start = group.start;
    let at = |us| start + Duration::from_micros(us);
    let mut alone = group.split(4_002_000, C).unwrap();
    assert!(alone.handle_for(at(5_000_000), C, Event::Timer).is_empty());
    assert_eq!(
        said(&alone.handle_for(at(5_001_000), C, Event::Claimed)),
        ["c: send ipv4 100", "all: announce VipsChanged"]
    );
}

#[test]
fn no_claim_fails_for_want_of_the_answer_of_a_member_that_has_gone() {
    let slow = |name, vrid| Settings {
        advert_interval: Interval::from_centis(4_000).unwrap(),
        ..member(name, vrid)
    };
    let mut group = Group::of(slow("a", 51), slow("b", 52));
    group.handle(0, A, Event::Startup);
    let down = group.deadline().unwrap();
    assert_eq!(group.timer(down), ["all: claim"]);
    let mut active = group.clone();
    // Before the takeover.
    group.handle(down + 1_000, A, Event::Claimed);
    assert!(group.split(down + 2_000, B).is_some());
    let at = group.deadline().unwrap();
    assert_eq!(group.timer(at)[0], "a: send ipv4 100");
    // After it, when a reload has brought addresses.
    active.handle(down + 1_000, A, Event::Claimed);
    active.handle(down + 1_000, B, Event::Claimed);
    assert_eq!(active.phase(), "active");
    let more = Settings {
        vips: vec![ip("10.0.51.10"), ip("10.0.51.11")],
        ..slow("a", 51)
    };
    let claim = active.handle(down + 2_000, A, Event::Reconfigure(more));
    assert_eq!(claim, ["all: claim"]);
    active.handle(down + 3_000, A, Event::Claimed);
    assert!(active.split(down + 4_000, B).is_some());
    assert_eq!(active.deadline(), Some(down + 4_000));
    assert_eq!(active.timer(down + 4_000), ["all: announce VipsChanged"]);
    assert_eq!(active.phase(), "active");
}
