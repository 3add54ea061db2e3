//! What a node can tell of itself: the story of a takeover, and what it costs when the disk, the clock, the kernel or a program misbehaves.

#![allow(clippy::unwrap_used)]

mod common;

use common::LIMIT;
use netns_tests::{Device as _, Lab, PairConfig, Part, Tandem, wait_until};
use serde_json::Value;

/// The latest recording of a node, when it is complete.
fn complete_story(node: &Tandem<'_>) -> Value {
    let mut story = Value::Null;
    wait_until("the recording is complete", LIMIT, || {
        let (_, out, _) = node.cli(&["--json", "why"]).unwrap_or_default();
        story = serde_json::from_str(&out).unwrap_or_default();
        story["complete"] == true
    })
    .unwrap();
    story
}

/// Facts of one kind.
fn facts<'s>(story: &'s Value, kind: &str) -> Vec<&'s Value> {
    let all = story["facts"].as_array().unwrap();
    all.iter().filter(|fact| fact["kind"] == kind).collect()
}

#[test]
fn a_takeover_is_told_in_words_and_survives_the_director() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (one, two) = Tandem::pair(&lab, &config).unwrap();
    one.kill(Part::All).unwrap();
    two.wait_state("active", LIMIT).unwrap();

    let story = complete_story(&two);
    assert_eq!(story["cause"], "silence", "{story}");
    let last = facts(&story, "heard").pop().unwrap()["at_us"]
        .as_i64()
        .unwrap();
    let claim = facts(&story, "claim").pop().unwrap()["at_us"]
        .as_i64()
        .unwrap();
    // Three intervals of 100 ms and the skew of priority 100, 60.9 ms.
    assert!(claim - last >= 360_000, "{story}");
    for kind in ["claimed", "announced", "timer", "decision"] {
        assert!(!facts(&story, kind).is_empty(), "{kind}: {story}");
    }

    let (code, words, _) = two.cli(&["why", "main"]).unwrap();
    assert_eq!(code, 0);
    for part in [
        "main  BACKUP -> ACTIVE on lb2",
        "silence of the active router",
        "last heard: 10.0.0.2 with priority 200",
        "3 intervals of 100ms (learned)",
        "until the kernel had confirmed the addresses",
    ] {
        assert!(words.contains(part), "{part} is missing:\n{words}");
    }

    // The next director has read it from the disk.
    let seq = story["seq"].as_u64().unwrap().to_string();
    two.kill(Part::Director).unwrap();
    wait_until("the next director tells it", LIMIT, || {
        two.cli(&["why", &seq])
            .is_ok_and(|(code, out, _)| code == 0 && out.contains("silence of the active router"))
    })
    .unwrap();
    let (_, list, _) = two.cli(&["why", "--list"]).unwrap();
    assert!(
        list.contains("backup -> active  no active router"),
        "{list}"
    );
}
