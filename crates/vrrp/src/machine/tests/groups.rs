//! Several virtual routers, one decision. `a` is VRID 51 and `b` VRID 52; each action says whom it is for.

use super::*;
use crate::types::Version;

mod reloads;

const A: MemberId = MemberId(7);
const B: MemberId = MemberId(3);

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
fn an_event_of_a_member_that_is_not_there_is_nothing() {
    let mut group = Group::backup();
    assert!(group.handle(0, MemberId(99), Event::Shutdown).is_empty());
    assert_eq!(group.phase(), "backup");
}
