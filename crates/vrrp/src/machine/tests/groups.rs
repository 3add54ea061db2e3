//! Several virtual routers, one decision. `a` is VRID 51 and `b` VRID 52; each action says whom it is for.

use super::*;
use crate::types::Version;

const A: MemberId = MemberId(7);
const B: MemberId = MemberId(3);
/// Joins later.
const C: MemberId = MemberId(9);

/// A second, priority 100, a pair: down interval 3.609375 s.
fn member(name: &str, vrid: u8) -> Settings {
    let vip = IpAddr::from([10, 0, vrid, 10]);
    Settings {
        name: name.to_owned(),
        vrid: Vrid::new(vrid).unwrap(),
        vips: vec![vip],
        ..pair()
    }
}

#[derive(Clone)]
struct Group {
    router: VirtualRouter,
    start: Instant,
}

impl Group {
    /// Not started; the member of the higher id is the first by name.
    fn of(a: Settings, b: Settings) -> Self {
        let start = Instant::now();
        let mut router = VirtualRouter::with_member(A, a);
        let joined = router.join(start, VirtualRouter::with_member(B, b));
        assert_eq!(joined, []);
        let mut group = Self { router, start };
        for (member, host) in [(A, 51), (B, 52)] {
            group.source(0, member, Some(IpAddr::from([10, 0, host, 2])));
        }
        group
    }

    fn backup() -> Self {
        let mut group = Self::of(member("a", 51), member("b", 52));
        assert_eq!(
            group.handle(0, A, Event::Startup),
            ["all: initialize to backup: started"]
        );
        assert!(group.handle(0, B, Event::Startup).is_empty());
        group
    }

    /// Active since 3.609375 s.
    fn active() -> Self {
        let mut group = Self::backup();
        assert_eq!(group.deadline(), Some(3_609_375));
        assert_eq!(group.handle(3_609_375, B, Event::Timer), ["all: claim"]);
        assert!(group.handle(3_609_375, B, Event::Claimed).is_empty());
        assert_eq!(
            group.handle(3_609_375, A, Event::Claimed),
            [
                "b: send ipv4 100",
                "a: send ipv4 100",
                "all: announce TookOver",
                "all: backup to active: no active router heard for 3609 ms"
            ]
        );
        group
    }

    fn handle(&mut self, at: u64, member: MemberId, event: Event) -> Vec<String> {
        let now = self.start + Duration::from_micros(at);
        said(&self.router.handle_for(now, member, event))
    }

    fn timer(&mut self, at: u64) -> Vec<String> {
        self.handle(at, A, Event::Timer)
    }

    fn source(&mut self, at: u64, member: MemberId, source: Option<IpAddr>) -> Vec<String> {
        let family = Family::V4;
        self.handle(at, member, Event::SourceChanged { family, source })
    }

    fn hear(&mut self, at: u64, member: MemberId, host: u8, priority: u8) -> Vec<String> {
        let status = self.router.status_of(member).unwrap();
        self.hear_each(at, member, host, priority, status.advert_interval.centis())
    }

    /// From host `.host` of the member's own network, through the wire.
    fn hear_each(
        &mut self,
        at: u64,
        member: MemberId,
        host: u8,
        priority: u8,
        interval: u16,
    ) -> Vec<String> {
        let mut advert = self.router.release_adverts_of(member).remove(0);
        let IpAddr::V4(ours) = advert.source else {
            panic!("an IPv4 group")
        };
        let [.., net, _] = ours.octets();
        advert.source = IpAddr::from([10, 0, net, host]);
        advert.priority = Priority::new(priority);
        advert.interval = centis(interval);
        let octets = advert.encode(group(Family::V4));
        let datagram = parse_ipv4(&octets).unwrap();
        let expectation = self.router.expectation_of(member).unwrap();
        let (_, accepted) = accept(&datagram, Local::default(), |_| Some(&expectation)).unwrap();
        let (family, source) = (Family::V4, advert.source);
        let event = Event::Advertisement {
            family,
            source,
            accepted,
        };
        self.handle(at, member, event)
    }

    fn deadline(&self) -> Option<u64> {
        let at = self.router.deadline()?;
        Some(u64::try_from((at - self.start).as_nanos().div_ceil(1_000)).unwrap())
    }

    fn phase(&self) -> &'static str {
        self.router.status().phase.as_str()
    }

    fn split(&mut self, at: u64, member: MemberId) -> Option<VirtualRouter> {
        let now = self.start + Duration::from_micros(at);
        self.router.split(now, member)
    }

    fn join(&mut self, at: u64, other: VirtualRouter) -> Vec<String> {
        let now = self.start + Duration::from_micros(at);
        said(&self.router.join(now, other))
    }
}

fn said(directives: &[Directive]) -> Vec<String> {
    let whom = |member| match member {
        None => "all",
        Some(A) => "a",
        Some(B) => "b",
        Some(_) => "c",
    };
    let line = |directive: &Directive| {
        let action = match &directive.action {
            Action::Alarm(alarm) => format!("alarm {}", alarm.words),
            other => word(other),
        };
        format!("{}: {action}", whom(directive.member))
    };
    directives.iter().map(line).collect()
}

#[test]
fn every_address_is_there_before_anything_is_said() {
    let group = Group::active();
    assert_eq!(group.deadline(), Some(4_609_375));
}

#[test]
fn a_claim_that_one_member_is_refused_is_a_fault_of_all() {
    let mut group = Group::backup();
    group.timer(3_609_375);
    group.handle(3_609_375, A, Event::Claimed);
    let refused = group.handle(3_610_000, B, Event::ClaimFailed("in use".to_owned()));
    assert_eq!(
        refused,
        [
            "all: release",
            "all: backup to fault: virtual addresses could not be added: in use"
        ]
    );
}

#[test]
fn a_fault_of_one_member_takes_all_along_and_is_named() {
    let mut group = Group::active();
    let fault = Event::Fault(FaultReason::new("interface eth1 is down"));
    assert_eq!(
        group.handle(4_000_000, B, fault),
        [
            "b: send ipv4 0",
            "a: send ipv4 0",
            "all: stop announcing",
            "all: release",
            "all: active to fault: b: interface eth1 is down"
        ]
    );
    assert!(group.handle(4_100_000, A, Event::FaultCleared).is_empty());
    assert_eq!(
        group.handle(4_200_000, B, Event::FaultCleared),
        ["all: fault to backup: no fault any more"]
    );
    let lost = group.source(5_000_000, A, None);
    assert_eq!(
        lost,
        ["all: backup to fault: a: no source address to advertise from"]
    );
}

#[test]
fn a_better_router_on_one_wire_takes_the_whole_group() {
    let mut group = Group::active();
    assert_eq!(
        group.hear(4_000_000, B, 3, 150),
        [
            "all: stop announcing",
            "all: active to backup: 10.0.52.3 is active with priority 150, ours is 100"
        ]
    );
    assert_eq!(group.timer(4_150_000), ["all: release"]);
}

#[test]
fn a_farewell_on_one_wire_is_the_farewell_of_the_group() {
    let mut group = Group::backup();
    group.hear(1_000_000, A, 3, 150);
    group.hear(1_000_000, B, 3, 150);
    assert_eq!(group.hear(1_500_000, B, 3, 0), ["all: claim"]);
}

#[test]
fn heard_on_one_wire_only_is_an_alarm_and_no_split() {
    let mut group = Group::backup();
    group.hear(500_000, B, 3, 150);
    let mut alarms = Vec::new();
    for at in (1_000_000..=9_000_000).step_by(500_000) {
        for words in group.hear(at, A, 3, 150) {
            alarms.push((at, words));
        }
    }
    let words = "b: alarm 10.0.51.3 is heard on a by ipv4, but nobody here by ipv4";
    assert_eq!(alarms, [(5_000_000, words.to_owned())]);
    assert_eq!(group.phase(), "backup");
    assert_eq!(
        group.deadline(),
        Some(12_609_375),
        "the wire that is heard holds the timer"
    );
    assert_eq!(group.timer(12_609_375), ["all: claim"]);
}

#[test]
fn the_wire_that_speaks_last_holds_the_timer() {
    let mut group = Group::backup();
    group.hear_each(1_000_000, A, 3, 150, 300);
    group.hear_each(1_500_000, B, 3, 150, 20);
    assert_eq!(group.deadline(), Some(11_828_125));
    group.handle(2_000_000, A, Event::PriorityChanged(Priority::new(200)));
    assert_eq!(group.deadline(), Some(11_828_125), "b is the weaker one");
    group.handle(2_000_000, B, Event::PriorityChanged(Priority::new(200)));
    assert_eq!(group.deadline(), Some(10_656_250));
}

#[test]
fn the_group_is_as_strong_as_its_weakest_member() {
    let mut group = Group::active();
    group.handle(4_000_000, A, Event::PriorityChanged(Priority::new(70)));
    group.handle(4_000_000, B, Event::PriorityChanged(Priority::new(130)));
    let both = ["b: send ipv4 70", "a: send ipv4 70"];
    assert_eq!(group.timer(4_609_375), both);
    let b = group.split(4_650_000, B).unwrap();
    assert_eq!(b.status().effective_priority, Priority::new(130));
    group.join(4_700_000, b);
    assert_eq!(group.router.status().effective_priority, Priority::new(70));
}

#[test]
fn each_member_advertises_at_its_own_pace_and_in_its_own_version() {
    let slow = Settings {
        version: Version::V2,
        ..member("b", 52)
    };
    let quick = Settings {
        advert_interval: centis(40),
        ..member("a", 51)
    };
    let mut group = Group::of(quick, slow);
    group.handle(0, A, Event::Startup);
    // v2 at 1 s: 3 s and (256 - 100) / 256 s; v3 at 400 ms would be 1.44375 s.
    assert_eq!(group.deadline(), Some(3_609_375));
    group.timer(3_609_375);
    group.handle(3_610_000, A, Event::Claimed);
    group.handle(3_610_000, B, Event::Claimed);
    let mut log = Vec::new();
    while let Some(at) = group.deadline().filter(|&at| at <= 4_820_000) {
        log.extend(group.timer(at).into_iter().map(|words| (at, words)));
    }
    let sends: Vec<(u64, &str)> = log.iter().map(|(at, words)| (*at, &words[..])).collect();
    let (a, b) = ("a: send ipv4 100", "b: send ipv4 100");
    assert_eq!(
        sends,
        [
            (4_010_000, a),
            (4_410_000, a),
            (4_610_000, b),
            (4_810_000, a)
        ]
    );
    // Three intervals of the quick one after its last: somebody may have taken over.
    assert_eq!(
        group.timer(6_010_000),
        [
            "all: stop announcing",
            "all: release",
            "all: active to backup: no sign of life for 1200 ms, another router may be active"
        ]
    );
    assert_eq!(
        group.deadline(),
        Some(8_010_000),
        "two of the slow intervals"
    );
}

#[test]
fn a_losing_router_is_answered_where_it_was_heard() {
    let mut group = Group::active();
    let answer = group.hear(3_700_000, B, 3, 50);
    assert_eq!(
        answer,
        ["b: send ipv4 100", "all: announce ConflictResolved"]
    );
    assert_eq!(group.hear(3_700_001, A, 3, 0), ["a: send ipv4 100"]);
    assert_eq!(group.timer(4_609_375), ["b: send ipv4 100"]);
    assert_eq!(group.timer(4_700_001), ["a: send ipv4 100"]);
}

#[test]
fn equal_priorities_are_compared_at_the_first_member_by_name() {
    let mut group = Group::active();
    group.hear(3_800_000, B, 3, 100);
    assert_eq!(group.phase(), "active");
    group.hear(3_900_000, A, 3, 100);
    assert_eq!(group.phase(), "backup");
}

#[test]
fn a_member_that_cannot_send_three_times_takes_the_group_to_fault() {
    let mut group = Group::active();
    let mut states = Vec::new();
    for round in 0..3 {
        let at = 4_609_375 + round * 1_000_000;
        group.timer(at);
        group.handle(at, B, Event::SendFailed("no buffer".to_owned()));
        states.push(group.phase());
    }
    assert_eq!(states, ["active", "active", "fault"]);
}

#[test]
fn a_handover_and_a_stop_move_all_members() {
    let mut group = Group::active();
    let farewell = ["b: send ipv4 0", "a: send ipv4 0"];
    assert_eq!(group.handle(4_000_000, B, Event::Handover), farewell);
    assert_eq!(group.timer(4_010_000), farewell);
    assert_eq!(group.hear(4_020_000, A, 3, 50), ["all: stop announcing"]);
    assert_eq!(
        group.timer(4_170_000),
        [
            "all: release",
            "all: active to backup: handed over to 10.0.51.3 on request",
            "all: handed over"
        ]
    );
    let mut stopping = Group::active();
    assert_eq!(stopping.handle(4_000_000, A, Event::Shutdown), farewell);
    assert_eq!(
        stopping.timer(5_000_000),
        [
            "all: stop announcing",
            "all: release",
            "all: active to initialize: stopped on request",
            "all: stopped"
        ]
    );
}

#[test]
fn who_has_not_begun_begins_with_a_group_that_listens() {
    let mut group = Group::backup();
    let mut other = VirtualRouter::with_member(MemberId(9), member("c", 53));
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
    let mut other = VirtualRouter::with_member(MemberId(9), member("c", 53));
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
        group.handle(4_002_000, MemberId(9), Event::Claimed),
        ["c: send ipv4 100", "all: announce VipsChanged"]
    );
    let without_source = VirtualRouter::with_member(MemberId(9), member("c", 53));
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
    let joined = MemberId(9);
    let mut other = VirtualRouter::with_member(joined, member("c", 53));
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
        group.handle(6_102_000, joined, Event::Claimed),
        ["c: send ipv4 100", "all: announce VipsChanged"]
    );
}

#[test]
fn a_quicker_member_that_joins_during_a_handover_makes_nobody_late() {
    let mut group = Group::active();
    group.handle(4_000_000, A, Event::Handover);
    group.timer(4_010_000);
    let joined = MemberId(9);
    let mut quick = member("c", 53);
    quick.advert_interval = Interval::from_centis(5).unwrap();
    let mut other = VirtualRouter::with_member(joined, quick);
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

#[test]
fn an_event_of_a_member_that_is_not_there_is_nothing() {
    let mut group = Group::backup();
    assert!(group.handle(0, MemberId(99), Event::Shutdown).is_empty());
    assert_eq!(group.phase(), "backup");
}
