//! What a node can tell of itself: the story of a takeover, and what it costs when the disk, the clock, the kernel or a program misbehaves.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::time::{Duration, Instant};

use common::{
    LIMIT, assert_at_least, assert_heard, assert_lost, assert_within, measured, probe, watch_on,
};
use netns_tests::{
    Address, Device as _, Host, Lab, Observer, PairConfig, Part, Tandem, VipWatch, get, wait_until,
};
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

/// What a node counts of its virtual router, by table and name.
fn count(node: &Tandem<'_>, table: &str, name: &str) -> u64 {
    let all = get(&node.socket(), "/vrrp").unwrap_or_default();
    all[0][table][name].as_u64().unwrap_or(0)
}

#[test]
fn a_takeover_is_told_in_words_and_survives_the_director() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (_one, two) = Tandem::pair(&lab, &config).unwrap();
        wait_until("some advertisements were heard", LIMIT, || {
            let (_, out, _) = two.cli(&["--json", "vrrp"]).unwrap_or_default();
            let routers: Value = serde_json::from_str(&out).unwrap_or_default();
            routers[0]["counters"]["accepted"].as_u64() >= Some(20)
        })
        .unwrap();
        lab.partition(Host::Lb1).unwrap();
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
        // Each advertisement counts once: not more of them than intervals, but for a reply or two.
        for run in facts(&story, "heard") {
            let number = |key: &str| run[key].as_i64().unwrap();
            let intervals = (number("at_us") - number("first_us")) / 100_000;
            assert!(number("count") <= intervals + 3, "{run}");
        }
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
            two.cli(&["why", &seq]).is_ok_and(|(code, out, _)| {
                code == 0 && out.contains("silence of the active router")
            })
        })
        .unwrap();
        let (_, list, _) = two.cli(&["why", "--list"]).unwrap();
        assert!(
            list.contains("backup -> active  no active router"),
            "{list}"
        );
    });
}

#[test]
fn a_full_disk_costs_records_and_nothing_else() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, mut two) = Tandem::pair(&lab, &config).unwrap();
        two.stop(LIMIT).unwrap();
        two.fill_disk();
        two.start().unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        two.wait_ready(LIMIT).unwrap();
        let observer = Observer::start(&lab).unwrap();
        let (code, out, err) = one.cli(&["handover"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        two.wait_state("active", LIMIT).unwrap();
        let began = Instant::now();

        let story = complete_story(&two);
        assert_eq!(story["cause"], "peer_left", "{story}");
        let lost = |what: &str| two.status().unwrap()["recorder"][what].as_u64().unwrap();
        wait_until("what is lost is counted", LIMIT, || {
            lost("lost") > 0 && lost("journal_lines_lost") > 0
        })
        .unwrap();
        assert_eq!(lost("written"), 0);
        let problems = two.status().unwrap()["problems"].to_string();
        assert!(problems.contains("could not be written"), "{problems}");
        assert_heard(&observer, Host::Lb2, &config, began);
    });
}

#[test]
fn a_storm_of_kernel_events_moves_nothing() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let net = lab.net(Host::Lb1);
        net.ip_batch("link add storm0 type veth peer name storm1\nlink set storm0 up\n")
            .unwrap();
        let before = [
            one.last_transition().unwrap(),
            two.last_transition().unwrap(),
        ];
        let observer = Observer::start(&lab).unwrap();
        let began = Instant::now();
        // 50 addresses come and go in each of 100 rounds of 50 ms: 2,000 events a second.
        let (rounds, pace) = (100, Duration::from_millis(50));
        for round in 0..rounds {
            let lines: String = ["add", "del"]
                .iter()
                .flat_map(|verb| {
                    (1..=50).map(move |n| format!("addr {verb} 10.77.0.{n}/32 dev storm0\n"))
                })
                .collect();
            net.ip_batch(&lines).unwrap();
            // The pace is the scenario.
            std::thread::sleep(
                (began + pace * (round + 1)).saturating_duration_since(Instant::now()),
            );
        }
        let rate = f64::from(rounds * 100) / began.elapsed().as_secs_f64();
        assert_heard(&observer, Host::Lb1, &config, began);
        eprintln!("{rate:.0} events a second");
        // A busy machine makes fewer; what the storm may not do is asserted above and below.
        assert_at_least("events a second", rate, 300.0);
        let after = [
            one.last_transition().unwrap(),
            two.last_transition().unwrap(),
        ];
        assert_eq!(before, after, "nothing had a cause to move");
    });
}

#[test]
fn two_nodes_that_sleep_for_ten_seconds_wake_as_one() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let observer = Observer::start(&lab).unwrap();
        one.freeze(Part::All).unwrap();
        let slept = two.freeze(Part::All).unwrap();
        // The length of the sleep is the scenario.
        std::thread::sleep(
            (slept + Duration::from_secs(10)).saturating_duration_since(Instant::now()),
        );
        assert!(
            lab.holders(Address::VIP4).is_empty(),
            "the lease ended in the sleep"
        );
        two.thaw(Part::All).unwrap();
        let woke = one.thaw(Part::All).unwrap();
        wait_until("lb1 advertises again", LIMIT, || {
            !observer.adverts(Host::Lb1.v4(), woke).is_empty()
        })
        .unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        one.wait_state("active", LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        let overlap = watch.log().longest_overlap(woke);
        assert_within("both had the address", overlap, Duration::from_secs(1));
        let (_, all, _) = one.cli(&["why", "main", "--all"]).unwrap();
        assert!(all.contains("this process did not run for"), "{all}");
    });
}

#[test]
fn a_clock_that_jumps_by_an_hour_moves_nothing() {
    measured(|| {
        let lab = Lab::new().unwrap();
        // Signed, because a signature is the one thing in an advertisement that knows what time it is.
        let config = PairConfig {
            keys: Some(format!("1 hex:{}\n", "5a".repeat(32))),
            ..PairConfig::default()
        };
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
        one.give_clock().unwrap();
        two.give_clock().unwrap();
        one.start().unwrap();
        two.start().unwrap();
        Tandem::wait_pair([&one, &two], &config).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap());
        let observer = Observer::start(&lab).unwrap();
        let prober = probe(&lab, &config);
        let began = Instant::now();
        for (node, offset) in [
            (&one, "+3600"),
            (&one, "-3600"),
            (&two, "+3600"),
            (&two, "-3600"),
        ] {
            node.set_clock(offset).unwrap();
            let jumped = Instant::now();
            wait_until("lb1 has advertised twenty times more", LIMIT, || {
                observer.adverts(Host::Lb1.v4(), jumped).len() >= 20
            })
            .unwrap();
        }
        assert_heard(&observer, Host::Lb1, &config, began);
        let after = [&one, &two].map(|node| node.last_transition().unwrap());
        assert_eq!(before, after, "nothing had a cause to move");
        // Nor has a client noticed, whose requests the forwarder of lb1 has served under that clock.
        let (_, summary) = watch_on(prober, began);
        assert_lost(&summary, 0, [&one, &two]);
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        // The clock did jump: the journal is an hour behind.
        let (code, out, err) = one.cli(&["reload"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        let (_, events, _) = one.cli(&["events"]).unwrap();
        let reload = events.lines().rfind(|line| line.contains("reload"));
        let shown = reload.unwrap().get(..13).unwrap();
        let date = std::process::Command::new("date")
            .args(["-u", "+%Y-%m-%dT%H"])
            .output();
        let real = String::from_utf8(date.unwrap().stdout).unwrap();
        assert_ne!(shown, real.trim(), "the clock of lb1 is an hour behind");
        // And what the keeper says for a director that died under that clock is believed.
        let farewells = || count(&two, "counters", "priority_zero_received");
        let said = farewells();
        one.kill(Part::Director).unwrap();
        wait_until("the keeper's farewell is believed", LIMIT, || {
            farewells() > said
        })
        .unwrap();
        assert_eq!(count(&two, "rejects", "replay"), 0);
        two.wait_state("active", LIMIT).unwrap();
        // It is believed when it comes back, too.
        one.wait_state("active", LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
    });
}
