//! Two nodes that tell each other, and a third who listens and repeats.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use vrrp::{Freshness, Key};

const INTERVAL: Duration = Duration::from_millis(100);
const WALL: WallTime = WallTime(Duration::from_secs(1_700_000_000));

fn authentication(octet: u8) -> Arc<Authentication> {
    let mut authentication =
        Authentication::new(vec![Key::new(1, &[octet; 32]).unwrap()], 1).unwrap();
    authentication.freshness = Freshness::Growth;
    Arc::new(authentication)
}

fn node(start: Instant, own: u8, nonce: u64, key: u8) -> Heartbeat {
    let address = |last| SocketAddr::from(([10, 9, 0, last], 5112));
    let settings = config::Heartbeat {
        own: address(own),
        peer: address(if own == 2 { 3 } else { 2 }),
        peer_name: "other".to_owned(),
        authentication: authentication(key),
    };
    Heartbeat::new(start, &settings, INTERVAL, nonce)
}

fn active() -> Summary {
    Summary {
        config_hash: "abc".to_owned(),
        routers: [("main".to_owned(), ("active".to_owned(), 200))].into(),
        facts: None,
    }
}

/// One beat of `from` to `to`; the octets.
fn beat(now: Instant, from: &mut Heartbeat, to: &mut Heartbeat) -> Vec<u8> {
    let octets = from.due(now, WALL, draw(), active).unwrap();
    to.receive(now, WALL, draw(), from.own.ip(), &octets);
    octets
}

/// Another number each time.
fn draw() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1000);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Each says something once an interval, until both are believed; how many intervals that took.
fn meet(mut now: Instant, one: &mut Heartbeat, two: &mut Heartbeat) -> (Instant, u32) {
    for round in 0..10 {
        if one.is_alive(now) && two.is_alive(now) {
            return (now, round);
        }
        now += INTERVAL;
        (one.next_at, two.next_at) = (now, now);
        beat(now, one, two);
        beat(now, two, one);
    }
    panic!("they do not meet");
}

#[test]
fn after_an_exchange_each_knows_the_other_and_forgets_it_when_it_is_silent() {
    let start = Instant::now();
    let (mut one, mut two) = (node(start, 2, 11, 1), node(start, 3, 22, 1));
    beat(start, &mut one, &mut two);
    assert!(
        !two.is_alive(start),
        "nobody knows yet that this was meant for now"
    );
    let (now, rounds) = meet(start, &mut one, &mut two);
    assert!(rounds <= 3, "{rounds} rounds");
    assert_eq!(two.peer_router(now, "main"), Some((now, "active", 200)));
    assert_eq!(two.peer_router(now, "other"), None);
    let silent = now + 4 * INTERVAL;
    assert!(two.is_alive(silent - Duration::from_millis(1)));
    assert!(!two.is_alive(silent));
    assert_eq!(two.peer_router(silent, "main"), None);
    assert!(
        one.due(now, WALL, draw(), active).is_none(),
        "one beat in an interval"
    );
}

#[test]
fn nothing_recorded_is_believed_neither_in_this_life_nor_in_the_next() {
    let start = Instant::now();
    let (mut one, mut two) = (node(start, 2, 11, 1), node(start, 3, 22, 1));
    let (now, _) = meet(start, &mut one, &mut two);
    let now = now + INTERVAL;
    let recorded = beat(now, &mut one, &mut two);
    let source = one.own.ip();
    two.receive(now, WALL, draw(), source, &recorded);
    assert_eq!(two.refused().get("replay"), Some(&1));
    // One that never arrived, kept for later: when the exchange has ended, it says nothing.
    let kept = one.due(now + INTERVAL, WALL, draw(), active).unwrap();
    let silent = now + 10 * INTERVAL;
    two.due(silent, WALL, draw(), active).unwrap();
    for octets in [&kept, &recorded, &kept] {
        two.receive(silent, WALL, draw(), source, octets);
    }
    assert!(!two.is_alive(silent));
    // The node starts again with the same clock: what was said to the old one says nothing, and the two meet.
    let mut again = node(start, 3, 33, 1);
    again.receive(silent, WALL, draw(), source, &recorded);
    assert!(!again.is_alive(silent));
    meet(silent, &mut one, &mut again);
}

#[test]
fn a_node_that_starts_again_is_believed_although_its_clock_went_back() {
    let start = Instant::now();
    let (mut one, mut two) = (node(start, 2, 11, 1), node(start, 3, 22, 1));
    let (mut now, _) = meet(start, &mut one, &mut two);
    let earlier = WallTime(WALL.0 - Duration::from_secs(3600));
    let mut again = node(now, 3, 33, 1);
    // Until the old exchange has ended by silence it is not spoken to; its stamps have nothing to do with it.
    for _ in 0..2 * MISSED {
        now += INTERVAL;
        (one.next_at, again.next_at) = (now, now);
        let octets = again.due(now, earlier, draw(), active).unwrap();
        one.receive(now, WALL, draw(), again.own.ip(), &octets);
        beat(now, &mut one, &mut again);
    }
    assert!(one.is_alive(now) && again.is_alive(now));
    assert_eq!(one.refused().get("replay"), None);
}

#[test]
fn forged_and_senseless_ones_are_counted_and_nothing_else() {
    let start = Instant::now();
    let (mut one, mut two) = (node(start, 2, 11, 1), node(start, 3, 22, 1));
    let mut stranger = node(start, 2, 44, 9);
    beat(start, &mut stranger, &mut two);
    assert_eq!(two.refused().get("hmac"), Some(&1));
    assert_eq!(two.peer_nonce, 0);
    let octets = one.due(start, WALL, draw(), active).unwrap();
    two.receive(start, WALL, draw(), "10.9.0.4".parse().unwrap(), &octets);
    assert_eq!(two.refused().get("source"), Some(&1));
    for len in 0..octets.len() {
        two.receive(start, WALL, draw(), one.own.ip(), &octets[..len]);
        let mut changed = octets.clone();
        // Two octets are left out of every signature and are zero here.
        changed[len] ^= u8::from(!(6..8).contains(&len));
        two.receive(start, WALL, draw(), one.own.ip(), &changed);
    }
    assert!(!two.is_alive(start));
}

#[test]
fn what_people_want_to_know_is_kept_though_it_is_not_in_every_message() {
    let start = Instant::now();
    let (mut one, mut two) = (node(start, 2, 11, 1), node(start, 3, 22, 1));
    let (mut now, _) = meet(start, &mut one, &mut two);
    assert!(two.heard_facts(now).is_none());
    let millis = i64::try_from(WALL.0.as_millis()).unwrap();
    let facts = NodeFacts {
        version: "0.1.0".to_owned(),
        config_hash: "abc".to_owned(),
        said_at: control::Timestamp::from_millis(millis + 250),
        ticket_keys: Vec::new(),
        certificates: BTreeMap::new(),
        overrides: Vec::new(),
        not_up: BTreeMap::new(),
        left_out: 0,
    };
    now += INTERVAL;
    let mut told = active();
    told.facts = Some(Box::new(facts.clone()));
    let octets = one.due(now, WALL, draw(), || told).unwrap();
    two.receive(now, WALL, draw(), one.own.ip(), &octets);
    now += INTERVAL;
    beat(now, &mut one, &mut two);
    let heard = two.heard_facts(now).unwrap();
    assert_eq!((&heard.facts, heard.clock_ahead_ms), (&facts, 250));
    assert!(
        two.heard_facts(now + INTERVAL * 5).is_none(),
        "it is silent"
    );
}
