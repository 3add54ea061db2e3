//! What one node needs and shows.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{LIMIT, assert_lost, measured, probe};
use netns_tests::{Device as _, Host, Lab, PairConfig, Part, Tandem, memory_kib, wait_until};

/// Keeper and director together, in KiB.
const MEMORY_BOUND: u64 = 16 * 1024;

#[test]
fn keeper_and_director_need_less_than_16_mb() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (one, _two) = Tandem::pair(&lab, &config).unwrap();
    let prober = probe(&lab, &config);
    prober.wait_steady(1000, LIMIT).unwrap();
    let of = |part| -> u64 {
        one.pids(part)
            .into_iter()
            .map(|pid| memory_kib(pid).unwrap())
            .sum()
    };
    let (keeper, director) = (of(Part::Keeper), of(Part::Director));
    assert!(keeper > 0 && director > 0);
    assert!(
        keeper + director < MEMORY_BOUND,
        "keeper {keeper} KiB + director {director} KiB, bound {MEMORY_BOUND} KiB"
    );
}

#[test]
fn both_origins_are_asked_and_a_sick_one_is_left_out() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let prober = probe(&lab, &config);
        let begun = Instant::now();
        prober.wait_steady(500, LIMIT).unwrap();
        assert_eq!(prober.run().summary(Some(begun)).backends.len(), 2);
        lab.origin(Host::Backend1).unwrap().set_healthy(false);
        wait_until("backend1 gets nothing", LIMIT, || {
            let from = Instant::now();
            prober.wait_steady(200, LIMIT).unwrap();
            !prober
                .run()
                .summary(Some(from))
                .backends
                .contains_key("backend1")
        })
        .unwrap();
        let summary = prober.finish().unwrap().summary(Some(begun));
        assert_lost(&summary, 0, [&one, &two]);
    });
}

#[test]
fn the_command_line_shows_both_nodes() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        for (node, state) in [(&one, "active"), (&two, "backup")] {
            let (code, out, err) = node.cli(&["status"]).unwrap();
            assert_eq!(code, 0, "{out}{err}");
            assert!(
                out.contains(node.host().name()) && out.to_lowercase().contains(state),
                "{out}"
            );
            let (code, out, err) = node.cli(&["--json", "status"]).unwrap();
            assert_eq!(code, 0, "{out}{err}");
            let status: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(status["node"], node.host().name());
            let router = &status["vrrp"][0];
            for key in [
                "name",
                "vrid",
                "family",
                "interface",
                "state",
                "priority",
                "effective_priority",
                "vips",
                "peer",
                "last_transition",
            ] {
                assert!(router.get(key).is_some(), "no `{key}` in {router:#}");
            }
            assert_eq!(router["state"], state);
            for key in ["name", "bind", "connections", "requests_total"] {
                assert!(
                    status["listeners"][0].get(key).is_some(),
                    "no `{key}` in {status:#}"
                );
            }
            for key in ["name", "algorithm", "usable", "total", "targets"] {
                assert!(
                    status["groups"][0].get(key).is_some(),
                    "no `{key}` in {status:#}"
                );
            }
            for key in ["state", "pid", "restarts"] {
                assert!(
                    status["forwarder"].get(key).is_some(),
                    "no `{key}` in {status:#}"
                );
            }
        }
    });
}

#[test]
fn an_unreachable_daemon_is_exit_code_69() {
    let lab = Lab::new().unwrap();
    let one = Tandem::new(&lab, Host::Lb1, &PairConfig::default()).unwrap();
    let (code, out, err) = one.cli(&["status"]).unwrap();
    assert_eq!(code, 69, "{out}{err}");
}
