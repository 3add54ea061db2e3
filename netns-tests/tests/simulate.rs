//! `tandem simulate` tells what then happens, and touches nothing.

#![allow(clippy::unwrap_used)]

mod common;

use common::{LIMIT, measured};
use netns_tests::{Host, Lab, PairConfig, Tandem};
use serde_json::Value;

fn simulate(node: &Tandem<'_>, words: &[&str]) -> Value {
    let all = [&["--json", "simulate"], words].concat();
    let (code, out, err) = node.cli(&all).unwrap();
    assert_eq!(code, 0, "{words:?}: {out}{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    told["routers"][0].clone()
}

/// State of this node and of the other one in the end, and when the other one becomes active.
fn end(told: &Value) -> (&str, &str, Option<u64>) {
    let steps = told["steps"].as_array().unwrap();
    let taken = steps.iter().find(|step| {
        let words = step["words"].as_str().unwrap();
        step["node"] == "lb2" && words.starts_with("backup to active")
    });
    (
        told["state_then"].as_str().unwrap(),
        told["peer_state_then"].as_str().unwrap_or("-"),
        taken.map(|step| step["after_ms"].as_u64().unwrap()),
    )
}

#[test]
fn what_is_told_is_what_happens_and_nothing_is_touched() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
        extra: "\n[vrrp.main.track]\nforwarder = true\nscripts = { disk = { run = [\"/bin/true\"], every = \"1s\", weight = -150 } }\nfiles = { manual = { path = \"/nonexistent/tandem-weight\" } }\n".to_owned(),
        ..PairConfig::default()
    };
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap());

        // The other one waits for three intervals and its skew: 360.9 ms at priority 100.
        let told = simulate(&one, &["eth0", "down"]);
        let (ours, theirs, taken) = end(&told);
        assert_eq!((ours, theirs), ("fault", "active"), "{told}");
        assert!((250..=361).contains(&taken.unwrap()), "{told}");
        // With a farewell, a pair moves at once.
        let told = simulate(&one, &["forwarder", "down"]);
        assert_eq!(end(&told), ("fault", "active", Some(0)), "{told}");
        // 200 - 150 is less than 100, and the other one preempts after its down interval.
        let told = simulate(&one, &["track", "disk", "fail"]);
        assert_eq!(told["priority_then"], 50, "{told}");
        let (ours, theirs, taken) = end(&told);
        assert_eq!((ours, theirs), ("backup", "active"), "{told}");
        assert!(taken.unwrap() <= 361, "{told}");
        // By a file with a number just as well.
        let told = simulate(&one, &["track", "manual", "-150"]);
        assert_eq!(told["priority_then"], 50, "{told}");
        assert_eq!(end(&told).1, "active", "{told}");
        let told = simulate(&one, &["peer", "priority", "100"]);
        assert_eq!(end(&told), ("active", "backup", None), "{told}");
        // What an operator may order, and from whom the address goes: lb1 has never heard lb2, but knows where it is.
        let told = simulate(&one, &["handover"]);
        assert_eq!(end(&told), ("backup", "active", Some(0)), "{told}");
        assert!(
            told.to_string().contains("handed over to 10.0.0.3"),
            "{told}"
        );
        let told = simulate(&one, &["stop"]);
        assert_eq!(end(&told), ("initialize", "active", Some(0)), "{told}");
        let told = simulate(&two, &["peer", "silent"]);
        assert_eq!(end(&told).0, "active", "{told}");
        let (code, out, _) = two.cli(&["simulate", "maint", "on"]).unwrap();
        assert_eq!(code, 0);
        assert!(
            out.contains("priority 100 -> 1") && out.contains("nothing moves"),
            "{out}"
        );
        assert_eq!(two.cli(&["maint", "on"]).unwrap().0, 0);
        let told = simulate(&two, &["maint", "off"]);
        assert_eq!(
            (&told["priority"], &told["priority_then"]),
            (&Value::from(1), &Value::from(100)),
            "{told}"
        );
        assert_eq!(two.cli(&["maint", "off"]).unwrap().0, 0);
        for (words, says) in [
            ("eth7 down", "runs on or tracks `eth7`"),
            ("track nothing fail", "nothing tracked is called `nothing`"),
            ("track manual ok", "say which number"),
            ("track disk 7", "say ok or fail"),
            ("group nothing down", "tracks a group `nothing`"),
            ("eth0 sideways", "IFACE down|up, peer silent"),
        ] {
            let (code, out, err) = one.cli(&["simulate", words]).unwrap();
            assert_eq!(code, 1, "{words}: {out}{err}");
            assert!(format!("{out}{err}").contains(says), "{words}: {out}{err}");
        }

        let after = [&one, &two].map(|node| node.last_transition().unwrap());
        assert_eq!(before, after, "a simulation moved something");
        // And so it comes.
        lab.cut_cable(Host::Lb1).unwrap();
        one.wait_state("fault", LIMIT).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        let told = simulate(&one, &["eth0", "up"]);
        assert_eq!(told["state"], "fault", "{told}");
        assert_ne!(told["state_then"], "fault", "{told}");
    });
}
