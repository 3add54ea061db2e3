//! What answers, claims and silence come to, at instants worked out by hand.
#![allow(clippy::unwrap_used)]

use super::*;

const THEM: Mac = [2, 0, 0, 0, 0, 3];
const INTERVAL: Duration = Duration::from_millis(100);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn vip() -> IpAddr {
    ip("10.0.0.10")
}

fn gateway() -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1)
}

/// The instants, in milliseconds since `start`, at which `wanted` is ordered when everything is done on time.
fn times(
    evidence: &mut Evidence,
    start: Instant,
    listens: bool,
    until_ms: u64,
    wanted: &Order,
) -> Vec<u64> {
    let mut found = Vec::new();
    for tick in 0..until_ms {
        let now = start + Duration::from_millis(tick);
        evidence.arm(now, listens);
        if evidence.deadline().is_some_and(|at| at <= now) {
            let orders = evidence.due(now, INTERVAL, || None);
            found.extend(orders.iter().filter(|order| *order == wanted).map(|_| tick));
        }
    }
    found
}

#[test]
fn who_knows_nobody_asks_before_it_takes_over_and_who_does_does_not() {
    let start = Instant::now();
    let mut unknowing = Evidence::default();
    assert_eq!(
        times(&mut unknowing, start, true, 400, &Order::Probe),
        [0, 100, 200, 300]
    );
    let mut idle = Evidence::default();
    assert_eq!(
        times(&mut idle, start, false, 400, &Order::Probe),
        [0_u64; 0]
    );
    let mut knowing = Evidence::default();
    knowing.note_peer();
    assert_eq!(
        times(&mut knowing, start, true, 400, &Order::Probe),
        [0_u64; 0]
    );
}

#[test]
fn an_answer_withholds_until_it_ends_or_a_peer_is_heard() {
    let start = Instant::now();
    let answered = || {
        let mut evidence = Evidence::default();
        evidence.note_claim(start, vip(), THEM, false);
        evidence
    };
    let words = "10.0.0.10 answers at 02:00:00:00:00:03 although no advertisement was ever heard: \
                 somebody is active whom this node does not hear";
    let mut evidence = answered();
    let Weighed::Hold(alarm) = evidence.weigh(start + INTERVAL, OnEvidence::Hold) else {
        panic!("it takes over");
    };
    assert_eq!(
        (alarm.kind, alarm.words.as_str()),
        (AlarmKind::AddressAnswers, words)
    );
    assert_eq!(evidence.obstacle().as_deref(), Some(words));
    assert!(evidence.take_changed() && !evidence.take_changed());
    // One probe a second; three seconds after the last answer it lets go.
    let probes = times(&mut evidence, start, false, 3_500, &Order::Probe);
    assert_eq!(probes, [1_100, 2_100, 3_100]);
    assert_eq!(evidence.obstacle(), None);
    assert!(evidence.take_changed());
    assert_eq!(
        evidence.weigh(start + Duration::from_secs(4), OnEvidence::Hold),
        Weighed::Promote(None)
    );

    let mut evidence = answered();
    evidence.weigh(start, OnEvidence::Hold);
    evidence.note_peer();
    assert_eq!(evidence.obstacle(), None);
    // From here on silence means what it means in VRRP.
    evidence.note_claim(start, vip(), THEM, false);
    assert_eq!(
        evidence.weigh(start, OnEvidence::Hold),
        Weighed::Promote(None)
    );
}

#[test]
fn the_policy_may_be_to_take_over_all_the_same_but_never_silently() {
    let start = Instant::now();
    let mut evidence = Evidence::default();
    evidence.note_claim(start, vip(), THEM, false);
    let Weighed::Promote(Some(alarm)) = evidence.weigh(start, OnEvidence::Promote) else {
        panic!("silent or withheld");
    };
    assert!(alarm.words.ends_with("taking over all the same"), "{alarm}");
    assert_eq!(evidence.obstacle(), None);
}

#[test]
fn the_gateway_is_asked_until_it_answers_and_the_addresses_announced_again() {
    let start = Instant::now();
    let mut evidence = Evidence::default();
    evidence.note_active(start, Some(gateway()), None);
    let asks = times(&mut evidence, start, false, 30_000, &Order::Ask(gateway()));
    assert_eq!(asks, [0, 200, 1_000, 5_000, 15_000, 25_000]);

    let mut evidence = Evidence::default();
    evidence.note_active(start, Some(gateway()), None);
    let told = times(&mut evidence, start, false, 30_000, &Order::Announce);
    assert_eq!(told, [15_000, 25_000]);

    let mut evidence = Evidence::default();
    evidence.note_active(start, Some(gateway()), None);
    evidence.note_claim(start + INTERVAL, ip("10.0.0.1"), THEM, true);
    assert_eq!(
        evidence.words(start + INTERVAL, "eth0", None),
        ["the gateway 10.0.0.1 answered 100 ms after the takeover"]
    );
    let asks = times(&mut evidence, start, false, 30_000, &Order::Ask(gateway()));
    assert_eq!(asks, [0_u64; 0]);
    assert_eq!(evidence.conflicts(), 0);
}

#[test]
fn claims_of_others_are_counted_always_and_answered_once_a_second() {
    let start = Instant::now();
    let mut evidence = Evidence::default();
    evidence.note_active(start, None, None);
    let mut told = Vec::new();
    for at_ms in 0..5_000 {
        let now = start + Duration::from_millis(at_ms);
        match at_ms {
            // The one who held it may still say so.
            999 => evidence.note_claim(now, vip(), THEM, true),
            1_000 | 1_200 | 1_499 | 1_600 | 2_600 => evidence.note_claim(now, vip(), THEM, true),
            // It is leaving.
            4_000 => evidence.note_claim(now, vip(), THEM, false),
            _ => {}
        }
        if !evidence.due(now, INTERVAL, || None).is_empty() {
            told.push((at_ms, evidence.conflicts()));
        }
    }
    assert_eq!(told, [(1_500, 3), (3_100, 5)]);
    let shown = evidence.words(start + Duration::from_secs(9), "eth0", None);
    assert_eq!(
        shown,
        ["5 claims of our addresses by others, the last of 10.0.0.10 by 02:00:00:00:00:03 6 s ago"]
    );
}

#[test]
fn a_claim_before_which_this_node_yields_is_no_conflict() {
    let start = Instant::now();
    for yields in [Evidence::note_inactive, Evidence::absolve] {
        let mut evidence = Evidence::default();
        evidence.note_active(start, None, None);
        let claimed = start + Duration::from_secs(3);
        evidence.note_claim(claimed, vip(), THEM, true);
        assert_eq!(evidence.deadline(), Some(claimed + SUSPENSE));
        yields(&mut evidence);
        assert_eq!(evidence.deadline(), None);
        assert_eq!(evidence.due(claimed + SUSPENSE, INTERVAL, || None), []);
        assert_eq!(evidence.conflicts(), 0);
    }
}

#[test]
fn after_a_takeover_the_old_holder_is_looked_for_and_deafness_noticed() {
    let start = Instant::now();
    let mut evidence = Evidence::default();
    evidence.note_active(start, None, Some(7));
    let probes = times(&mut evidence, start, false, 12_000, &Order::Probe);
    assert_eq!(probes, [3_000, 10_000]);

    let asked = Some(gateway());
    for (gateway, frames, deaf) in [(asked, 7, true), (asked, 8, false), (None, 7, false)] {
        let mut evidence = Evidence::default();
        evidence.note_active(start, gateway, Some(7));
        evidence.arm(start, false);
        let now = start + Duration::from_secs(3);
        let orders = evidence.due(now, INTERVAL, || Some(frames));
        let told = orders
            .iter()
            .any(|order| matches!(order, Order::Alarm(alarm) if alarm.kind == AlarmKind::Deaf));
        assert_eq!(told, deaf, "{orders:?}");
    }
    // Who is not asked may be silent; it is shown all the same.
    let mut evidence = Evidence::default();
    evidence.note_active(start, None, Some(7));
    let now = start + Duration::from_secs(3);
    let quiet = ["eth0 has received nothing in the 3 s since the takeover"];
    assert_eq!(evidence.words(now, "eth0", Some(7)), quiet);
    assert!(evidence.words(now, "eth0", Some(8)).is_empty());
}

#[test]
fn what_the_link_has_received_is_said_in_words() {
    let now = Instant::now();
    let mut evidence = Evidence::default();
    assert!(evidence.words(now, "eth0", Some(9)).is_empty());
    evidence.begin(Some(10));
    evidence.begin(Some(99));
    assert_eq!(
        evidence.words(now, "eth0", Some(10)),
        ["eth0 has received nothing at all since the start: deaf, or alone"]
    );
    assert_eq!(
        evidence.words(now, "eth0", Some(52)),
        ["eth0 has received 42 frames since the start"]
    );
}

#[test]
fn a_silent_peer_that_says_it_is_active_is_believed_only_after_its_silence_began() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let says = |ms, state: &str| PeerSays {
        name: "lb1".to_owned(),
        at: at(ms),
        state: state.to_owned(),
    };
    let weigh = |says: Option<&PeerSays>, policy| {
        let mut evidence = Evidence::default();
        evidence.note_peer();
        let weighed = evidence.weigh_peer(at(361), at(150), says, policy);
        (weighed, evidence)
    };
    // It may have died just after it said so.
    let (weighed, _) = weigh(Some(&says(150, "active")), OnEvidence::Hold);
    assert_eq!(weighed, Weighed::Promote(None));
    let (weighed, _) = weigh(Some(&says(300, "fault")), OnEvidence::Hold);
    assert_eq!(weighed, Weighed::Promote(None));
    assert_eq!(weigh(None, OnEvidence::Hold).0, Weighed::Promote(None));

    let words = "lb1 is silent here, but said 61 ms ago on the second path that it is active: a fault between the nodes";
    let (weighed, mut evidence) = weigh(Some(&says(300, "active")), OnEvidence::Hold);
    let alarm = Alarm {
        kind: AlarmKind::FaultBetween,
        words: words.to_owned(),
    };
    assert_eq!(weighed, Weighed::Hold(alarm));
    assert_eq!(evidence.obstacle().as_deref(), Some(words));
    // No answer to a probe is asked for: the hold lasts as long as the peer says so.
    assert_eq!(
        times(&mut evidence, at(361), false, 9_000, &Order::Probe),
        [0_u64; 0]
    );
    evidence.hear_peer(Some(&says(9_000, "active")));
    assert!(evidence.obstacle().is_some());
    evidence.hear_peer(None);
    assert_eq!(evidence.obstacle(), None);

    let (weighed, evidence) = weigh(Some(&says(300, "active")), OnEvidence::Promote);
    let Weighed::Promote(Some(alarm)) = weighed else {
        panic!("silent or withheld");
    };
    assert_eq!(alarm.words, format!("{words}; taking over all the same"));
    assert_eq!(evidence.obstacle(), None);
}
