//! The configuration changes, or is broken, while a client asks once a millisecond.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{LIMIT, assert_lost, measured, probe, watch_on};
use netns_tests::{Device as _, Host, Lab, PairConfig, Tandem, wait_until};

fn hash(node: &Tandem<'_>) -> String {
    node.status().unwrap()["config"]["hash"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn transitions(nodes: [&Tandem<'_>; 2]) -> [String; 2] {
    nodes.map(|node| node.last_transition().unwrap().to_string())
}

#[test]
fn a_reload_each_second_moves_nothing_and_loses_nothing() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = transitions([&one, &two]);
        let pids = [&one, &two].map(|node| node.pids(netns_tests::Part::All));
        let prober = probe(&lab, &config);

        let begun = Instant::now();
        for round in 1..=8_u64 {
            let changed = PairConfig {
                health_every: Duration::from_millis(1000 + 100 * round),
                // Every other round opens and closes a listener.
                extra: if round % 2 == 1 {
                    "\n[listener.more]\nbind = \"10.0.0.10:8081\"\nforward = \"app\"\n".into()
                } else {
                    String::new()
                },
                ..config.clone()
            };
            for node in [&one, &two] {
                let old = hash(node);
                node.write_config(&changed.tandem(node.host())).unwrap();
                let (code, out, err) = node.cli(&["reload"]).unwrap();
                assert_eq!(code, 0, "round {round}: {out}{err}");
                assert_ne!(hash(node), old, "round {round}: the new configuration runs");
            }
            // One reload a second is the scenario.
            let next = begun + Duration::from_secs(round);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let (_, summary) = watch_on(prober, begun);
        assert_lost(&summary, 0, [&one, &two]);
        assert_eq!(
            transitions([&one, &two]),
            before,
            "a reload moved a state\n{}",
            one.tail()
        );
        assert_eq!(
            [&one, &two].map(|node| node.pids(netns_tests::Part::All)),
            pids,
            "a process was replaced"
        );
        assert_eq!(
            hash(&one),
            hash(&two),
            "the same file has the same hash on both nodes"
        );
    });
}

#[test]
fn sighup_reloads() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (one, _two) = Tandem::pair(&lab, &config).unwrap();
    let old = hash(&one);
    let changed = PairConfig {
        health_every: Duration::from_secs(2),
        ..config
    };
    one.write_config(&changed.tandem(Host::Lb1)).unwrap();
    one.signal(netns_tests::Part::Keeper, nix::sys::signal::Signal::SIGHUP)
        .unwrap();
    wait_until("the new configuration runs", LIMIT, || {
        one.status()
            .is_ok_and(|status| status["config"]["hash"].as_str() != Some(&old))
    })
    .unwrap();
}

#[test]
fn a_broken_or_unreadable_file_leaves_the_running_configuration_alone() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = transitions([&one, &two]);
        let (old, generation) = (
            hash(&one),
            one.status().unwrap()["config"]["generation"].clone(),
        );
        let prober = probe(&lab, &config);
        let begun = Instant::now();

        // Three mistakes, all of which must be named at once, with line and remedy.
        let broken = config
            .tandem(Host::Lb1)
            .replace("forward = \"app\"", "forward = \"apq\"")
            .replace("vrid = 51", "vrid = 300")
            .replace("health = {", "healht = {");
        one.write_config(&broken).unwrap();
        let (code, out, err) = one.cli(&["reload"]).unwrap();
        let said = format!("{out}{err}");
        assert_eq!(code, 78, "{said}");
        for word in ["apq", "300", "healht"] {
            assert!(said.contains(word), "`{word}` is not named in:\n{said}");
        }
        assert!(
            said.contains("did you mean") && said.contains("health"),
            "no suggestion in:\n{said}"
        );

        std::fs::remove_file(one.config_path()).unwrap();
        let (code, out, err) = one.cli(&["reload"]).unwrap();
        assert_ne!(code, 0, "{out}{err}");
        assert!(
            format!("{out}{err}").contains("tandem.toml"),
            "the file is not named: {out}{err}"
        );

        std::fs::create_dir(one.config_path()).unwrap();
        let (code, out, err) = one.cli(&["reload"]).unwrap();
        assert_ne!(code, 0, "a folder is no configuration: {out}{err}");
        std::fs::remove_dir(one.config_path()).unwrap();

        std::fs::write(one.config_path(), [0xff, 0xfe, 0x00]).unwrap();
        let (code, out, err) = one.cli(&["reload"]).unwrap();
        assert_ne!(code, 0, "bytes that are no text: {out}{err}");

        assert_eq!(hash(&one), old);
        assert_eq!(one.status().unwrap()["config"]["generation"], generation);
        let (_, summary) = watch_on(prober, begun);
        assert_lost(&summary, 0, [&one, &two]);
        assert_eq!(
            transitions([&one, &two]),
            before,
            "a refused reload moved a state\n{}",
            one.tail()
        );
    });
}

#[test]
fn a_daemon_does_not_start_with_a_broken_file() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
    one.write_config("[vrrp.main]\ninterfase = \"eth0\"\nvrid = 0\n")
        .unwrap();
    one.start().unwrap();
    let status = one.wait_end(LIMIT).unwrap();
    assert_eq!(status.code(), Some(78), "{}", one.tail());
    let said = one.log().join("\n");
    assert!(
        said.contains("interfase") && said.contains("interface"),
        "no suggestion in:\n{said}"
    );
}
