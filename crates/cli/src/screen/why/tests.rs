//! The story as it must look.

use std::sync::Arc;

use super::*;

const WHY: &str = include_str!("../../../../control/tests/recorded/why.json");

fn recorded() -> Recording {
    serde_json::from_str(WHY).unwrap()
}

fn now() -> Timestamp {
    "2026-03-04T05:06:07.000Z".parse().unwrap()
}

fn happened(at_us: i64, words: &str) -> Fact {
    Fact {
        at_us,
        what: Arc::new(What::Happened {
            words: words.to_owned(),
        }),
    }
}

fn assert_narrow(screen: &str) {
    for line in screen.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn a_takeover() {
    let expected = "\
main  BACKUP -> ACTIVE on lb2, 4m12s ago (2026-03-04T05:01:55.000Z, event 41)
because     no active router heard for 362 ms
decided by  silence of the active router
            last heard: 10.0.0.2 with priority 200, 362.6ms before; 97 of these,
              each 100ms by its own word, longest gap 103.2ms
            312.1ms before: interface eth1 has no carrier
measured    priority 100; silence of 360.9ms means that the active router is
              down: 3 intervals of 100ms (learned) and skew 60.9ms
            timer active down ran out, noticed 1.1ms late
took        361.1ms from the last advertisement to the decision
            1.5ms from the decision until the kernel had confirmed the addresses
            1.5ms from the decision until the first advertisement was sent
            1.7ms from the decision until the neighbours were told

   -362.6ms  heard 10.0.0.2, priority 200, 97 times since -9962.6ms, longest gap
             103.2ms
   -312.1ms  interface eth1 has no carrier
     -1.6ms  timer active down ran out, noticed 1.1ms late
     -1.6ms  waiting for the kernel to confirm the addresses: no active router
             heard for 362 ms
     -1.5ms  asked the kernel for the addresses
     +0.0ms  the kernel confirmed the addresses
     +0.0ms  began to announce: took over
     +0.0ms  advertised over ipv4, priority 100
     +0.0ms  backup to active: no active router heard for 362 ms
     +0.2ms  told the neighbours about 1 addresses
   +900.0ms  forwarder: runs as process 812
  +1900.2ms  advertised over ipv4, priority 100, 19 times since +100.1ms,
             longest gap 100.7ms
";
    let screen = why(&recorded(), false, now());
    assert_eq!(screen, expected, "got:\n{screen}");
    assert_narrow(&screen);
}

#[test]
fn a_fault_names_what_led_to_it() {
    let mut recording = recorded();
    recording.summary.cause = "fault".to_owned();
    recording.summary.transition.from = VrrpState::Active;
    recording.summary.transition.to = VrrpState::Fault;
    recording.complete = false;
    recording.facts = vec![
        happened(-3_000_000, "long before"),
        happened(-400, "fault: interface eth1 has no carrier"),
        Fact {
            at_us: 100,
            what: What::Release.into(),
        },
    ];
    let screen = why(&recording, false, now());
    assert_narrow(&screen);
    for part in [
        "decided by  something tracked\n            0.4ms before: fault: interface eth1 has no carrier\n",
        "took        0.1ms until the addresses were released\n",
        "still being recorded",
    ] {
        assert!(screen.contains(part), "{part} is missing:\n{screen}");
    }
    assert!(!screen.contains("before: long before"));
}

#[test]
fn a_long_recording_shows_what_is_near_the_change() {
    let mut recording = recorded();
    let facts = (-300..100).map(|at| happened(at * 1000, "something"));
    recording.facts = facts.collect();
    let shown = |screen: &str| {
        let lines = screen.lines();
        lines.filter(|line| line.contains("ms  something")).count()
    };
    let near = why(&recording, false, now());
    assert_eq!(shown(&near), 40);
    assert!(near.contains(" 280 earlier: tandem why 41 --all\n") && near.contains(" 80 later"));
    assert_eq!(shown(&why(&recording, true, now())), 400);
}

#[test]
fn the_list_has_the_newest_first() {
    let recording = recorded();
    let mut other = recording.summary.clone();
    other.seq = 142;
    assert_eq!(
        recordings(&[recording.summary, other], now()),
        "   142  4m12s ago  main  backup -> active  no active router heard for 362 ms\n    \
         41  4m12s ago  main  backup -> active  no active router heard for 362 ms\n"
    );
    assert_eq!(
        recordings(&[], now()),
        "no virtual router has changed its state\n"
    );
}
