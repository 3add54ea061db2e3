//! Orders of operators under load: a target that drains, a node in maintenance; and what they outlive.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{LIMIT, assert_lost, measured, probe, watch_on};
use netns_tests::{Address, Device as _, Host, Lab, PairConfig, Part, Tandem, wait_until};

fn cli(node: &Tandem<'_>, words: &[&str]) -> String {
    let (code, out, err) = node.cli(words).unwrap();
    assert_eq!(code, 0, "{words:?}: {out}{err}\n{}", node.tail());
    out
}

/// Kills a part of a node and waits until another one is in its place and the address is back.
fn replace(lab: &Lab, node: &Tandem<'_>, part: Part) {
    let before = node.pids(part);
    node.kill(part).unwrap();
    wait_until("the part runs again", LIMIT, || {
        let now = node.pids(part);
        now.len() == 1 && now != before
    })
    .unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    node.wait_state("active", LIMIT).unwrap();
}

#[test]
fn a_target_that_drains_gets_nothing_whatever_dies_and_its_requests_finish() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let origin = lab.origin(Host::Backend1).unwrap();
        let target = format!("app/{}:{}", Host::Backend1.v4(), Address::ORIGIN);
        let prober = probe(&lab, &config);
        let begun = Instant::now();

        // Some of them are at the target that is about to drain.
        let slow: Vec<TcpStream> = (0..12).map(|_| ask(&lab, &config, "/slow/3000")).collect();
        let at_target = || {
            let status = one.status().unwrap();
            let count = status["groups"][0]["targets"][0]["in_flight"].as_u64();
            count.unwrap()
        };
        wait_until("some are in flight there", LIMIT, || at_target() >= 3).unwrap();
        for node in [&one, &two] {
            let said = cli(node, &["drain", &target, "--why", "disk swap"]);
            assert!(
                said.ends_with(
                    "kept across reload and restart, until cleared (tandem overrides)\n"
                ),
                "{said}"
            );
        }
        let shown = cli(&one, &["targets"]);
        assert!(shown.contains("drain 4m5"), "{shown}");
        for stream in slow {
            let answer = answer(stream);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        let drained = origin.requests();
        for node in [&one, &two] {
            let other = PairConfig {
                health_every: Duration::from_millis(700),
                ..config.clone()
            };
            node.write_config(&other.tandem(node.host())).unwrap();
            cli(node, &["reload"]);
        }
        let (_, summary) = watch_on(prober, begun);
        assert_lost(&summary, 0, [&one, &two]);

        // What the kills cost is measured elsewhere; here counts who is asked.
        let prober = probe(&lab, &config);
        replace(&lab, &one, Part::Director);
        replace(&lab, &one, Part::Forwarder);
        prober.wait_steady(300, LIMIT).unwrap();
        drop(prober);
        assert_eq!(origin.requests(), drained, "{}", one.tail());
        assert!(cli(&one, &["overrides"]).contains("disk swap"));

        for node in [&one, &two] {
            cli(node, &["ready", &target]);
        }
        let prober = probe(&lab, &config);
        wait_until("it takes part again", LIMIT, || origin.requests() > drained).unwrap();
        drop(prober);
    });
}

#[test]
fn a_node_in_maintenance_gives_the_address_away_and_takes_it_only_when_nobody_else_is_there() {
    measured(|| {
        let lab = Lab::new().unwrap();
        // Nobody takes the address from a node that is there: it has to be given.
        let config = PairConfig {
            preempt: Some("false".into()),
            ..PairConfig::default()
        };
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        one.start().unwrap();
        one.wait_state("active", LIMIT).unwrap();
        let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
        two.start().unwrap();
        one.wait_ready(LIMIT).unwrap();
        two.wait_ready(LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        let prober = probe(&lab, &config);
        let begun = Instant::now();
        let said = cli(&one, &["maint", "on", "--why", "new kernel"]);
        assert!(said.contains("handed over to lb2 in "), "{said}");
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
        let (_, summary) = watch_on(prober, begun);
        assert_lost(&summary, 0, [&one, &two]);
        let shown = cli(&one, &["vrrp"]);
        assert!(
            shown.contains("200, at most 1 (maintenance by root: new kernel) = 1"),
            "{shown}"
        );

        one.stop(LIMIT).unwrap();
        one.start().unwrap();
        one.wait_state("backup", LIMIT).unwrap();
        assert!(cli(&one, &["status"]).contains("orders  node maint"));
        wait_until("it is last again", LIMIT, || priority(&one) == 1).unwrap();

        // Nobody else: it serves. Somebody again: it gives, although nobody may preempt.
        two.stop(LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        two.start().unwrap();
        two.wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
        assert_eq!(one.state(), "backup");

        cli(&one, &["maint", "off"]);
        wait_until("its priority is its own", LIMIT, || priority(&one) == 200).unwrap();
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb2], "preempt is false");
    });
}

#[test]
fn a_node_comes_back_from_maintenance_as_preempt_says() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (one, two) = Tandem::pair(&lab, &config).unwrap();
    cli(&one, &["maint", "on"]);
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
    two.wait_state("active", LIMIT).unwrap();
    let said = cli(&one, &["maint", "off"]);
    assert!(said.contains("node: maint is cleared"), "{said}");
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    one.wait_state("active", LIMIT).unwrap();
}

fn priority(node: &Tandem<'_>) -> u64 {
    let status = node.status().unwrap_or_default();
    status["vrrp"][0]["effective_priority"]
        .as_u64()
        .unwrap_or(0)
}

/// Sends a request through the floating address; the answer is to come.
fn ask(lab: &Lab, config: &PairConfig, path: &str) -> TcpStream {
    let address = SocketAddr::new(config.address(), Address::HTTP);
    let stream = lab
        .net(Host::Client)
        .enter(|| TcpStream::connect(address))
        .unwrap();
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
