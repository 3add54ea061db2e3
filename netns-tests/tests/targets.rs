//! Targets that vanish behind a node that goes on: what its clients see of it.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{LIMIT, assert_within, measured, quick_checks};
use netns_tests::{Address, Host, Lab, Outcome, ProbeSettings, Prober, Tandem, wait_until};

/// How long a target that has vanished may be felt: checks each 200 ms.
const NOTICED: Duration = Duration::from_secs(1);

/// The checks of the target at `host` as the node shows them.
fn check_of(node: &Tandem<'_>, host: Host) -> String {
    let address = format!("{}:{}", host.v4(), Address::ORIGIN);
    let status = node.status().unwrap();
    let targets = status["groups"][0]["targets"].as_array().unwrap();
    let found = targets
        .iter()
        .find(|target| target["address"] == address.as_str());
    found.unwrap()["check"].as_str().unwrap().to_owned()
}

#[test]
fn a_target_behind_a_black_hole_costs_no_request_and_after_a_second_no_time() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (one, _two) = Tandem::pair(&lab, &quick_checks(Address::ORIGIN)).unwrap();
        let prober = Prober::start(
            lab.net(Host::Client),
            ProbeSettings {
                every: Duration::from_millis(4),
                limit: Duration::from_secs(5),
                ..ProbeSettings::new(SocketAddr::from((Address::VIP4, Address::HTTP)))
            },
        )
        .unwrap();
        prober.wait_steady(100, LIMIT).unwrap();

        let event = Instant::now();
        lab.partition(Host::Backend1).unwrap();
        wait_until("the check has failed", LIMIT, || {
            check_of(&one, Host::Backend1) == "down"
        })
        .unwrap();
        let noticed = event.elapsed();
        prober.wait_steady(300, LIMIT).unwrap();
        lab.heal(Host::Backend1).unwrap();
        wait_until("the check passes", LIMIT, || {
            check_of(&one, Host::Backend1) == "up"
        })
        .unwrap();
        let healed = Instant::now();
        wait_until("it is asked again", LIMIT, || {
            prober
                .run()
                .summary(Some(healed))
                .backends
                .contains_key("backend1")
        })
        .unwrap();

        assert_within("the black hole was noticed", noticed, NOTICED);
        let run = prober.finish().unwrap();
        for probe in &run.probes {
            assert_eq!(
                probe.outcome,
                Outcome::Answered,
                "{:#?}\n{}",
                run.summary(Some(event)),
                one.tail()
            );
            let took = probe.ended - probe.started;
            let felt = probe.started < event + NOTICED;
            let bound = if felt { 2 * NOTICED } else { NOTICED / 4 };
            assert_within("a request", took, bound);
        }
    });
}
