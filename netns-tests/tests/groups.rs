//! Two wires, one group: what happens on one of them concerns both.
//!
//! ```text
//!   lb1 ── eth0 ── switch br0 ── eth0 ── lb2        client, origins on br0
//!   lb1 ── eth1 ── switch br1 ── eth1 ── lb2
//! ```

#![allow(clippy::unwrap_used)]

mod common;

use std::net::Ipv4Addr;
use std::time::Instant;

use common::{LIMIT, assert_blackout, assert_lost, measured, probe, watch_on};
use netns_tests::{Address, Device as _, Host, Lab, PairConfig, Part, Tandem, wait_until};

/// The floating address of the second wire.
const INNER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);

const GROUP: &str = "group = \"edge\"\n";

/// The pair of every scenario, with a second virtual router on the second wire.
fn config(group: bool) -> PairConfig {
    let group = if group { GROUP } else { "" };
    PairConfig {
        extra: format!(
            "\n[vrrp.inner]\ninterface = \"eth1\"\nvrid = 52\nvips = [\"{INNER}/24\"]\nadvert_interval = \"200ms\"\n\
             priority = {{ lb1 = 200, lb2 = 100 }}\npreempt = true\n{group}"
        ),
        ..PairConfig::default()
    }
}

fn write(node: &Tandem<'_>, group: bool) {
    let text = config(group).tandem(node.host());
    let first = if group { GROUP } else { "" };
    let text = text.replace("vrid = 51\n", &format!("vrid = 51\n{first}"));
    node.write_config(&text).unwrap();
}

fn second_wire(lab: &Lab) {
    let switch = lab.switch();
    switch
        .ip_batch("link add br1 type bridge stp_state 0 mcast_snooping 0 forward_delay 0\nlink set br1 up\n")
        .unwrap();
    for (host, number) in [(Host::Lb1, 2), (Host::Lb2, 3)] {
        let port = format!("{}b", host.name());
        switch
            .ip_batch(&format!(
                "link add {port} type veth peer name eth1 netns {}\nlink set {port} master br1\nlink set {port} up\n",
                lab.net(host).name()
            ))
            .unwrap();
        lab.net(host)
            .ip_batch(&format!(
                "addr add 10.1.0.{number}/24 dev eth1\nlink set eth1 up\n"
            ))
            .unwrap();
    }
}

fn started(lab: &Lab) -> [Tandem<'_>; 2] {
    [Host::Lb1, Host::Lb2].map(|host| {
        let mut node = Tandem::new(lab, host, &config(true)).unwrap();
        write(&node, true);
        node.start().unwrap();
        node
    })
}

fn wait_both(lab: &Lab, host: Host) {
    lab.wait_holder(Address::VIP4, host, LIMIT).unwrap();
    lab.wait_holder(INNER, host, LIMIT).unwrap();
}

/// Every `[vrrp.NAME]` with its state and when it came to it.
fn states(node: &Tandem<'_>) -> Vec<(String, String, String)> {
    let status = node.status().unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let routers = status["vrrp"].as_array().unwrap();
    routers
        .iter()
        .map(|router| {
            (
                word(&router["name"]),
                word(&router["state"]),
                word(&router["since"]),
            )
        })
        .collect()
}

fn has_alarm(node: &Tandem<'_>, name: &str, kind: &str) -> bool {
    let (code, out, err) = node.cli(&["--json", "vrrp"]).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    let routers: serde_json::Value = serde_json::from_str(&out).unwrap();
    let of = |value: &serde_json::Value| {
        let alarms = value["alarms"].as_array().cloned().unwrap_or_default();
        value["name"] == name && alarms.iter().any(|alarm| alarm["kind"] == kind)
    };
    routers.as_array().unwrap().iter().any(of)
}

#[test]
fn a_group_moves_as_one_and_is_not_split_by_a_silent_wire() {
    measured(|| {
        let lab = Lab::new().unwrap();
        second_wire(&lab);
        let [one, two] = started(&lab);
        Tandem::wait_pair([&one, &two], &config(true)).unwrap();
        wait_both(&lab, Host::Lb1);

        // The second wire drops everything with the carrier up: an alarm there, and no transition.
        let before = [states(&one), states(&two)];
        lab.switch().bridge("link set dev lb1b state 0").unwrap();
        wait_until("the silent wire is named", LIMIT, || {
            has_alarm(&two, "inner", "partial_hearing")
        })
        .unwrap();
        assert_eq!([states(&one), states(&two)], before, "{}", two.tail());
        assert_eq!(lab.holders(INNER), [Host::Lb1]);
        lab.switch().bridge("link set dev lb1b state 3").unwrap();

        // The cable of the second wire: both addresses go.
        let prober = probe(&lab, &config(true));
        let cut = Instant::now();
        lab.switch().ip("link set lb1b down").unwrap();
        wait_both(&lab, Host::Lb2);
        let (_, summary) = watch_on(prober, cut);
        assert_blackout(&summary, 400.0, [&one, &two]);
        lab.switch().ip("link set lb1b up").unwrap();
        wait_both(&lab, Host::Lb1);
    });
}

#[test]
fn a_handover_of_one_is_one_of_the_group_and_the_last_will_is_of_all() {
    measured(|| {
        let lab = Lab::new().unwrap();
        second_wire(&lab);
        let [one, two] = started(&lab);
        Tandem::wait_pair([&one, &two], &config(true)).unwrap();
        wait_both(&lab, Host::Lb1);

        // The key goes and comes by reloads: nothing moves.
        let prober = probe(&lab, &config(true));
        let begun = Instant::now();
        let before = [states(&one), states(&two)];
        for group in [false, true] {
            for node in [&one, &two] {
                write(node, group);
                let (code, out, err) = node.cli(&["reload"]).unwrap();
                assert_eq!(code, 0, "{out}{err}");
            }
        }
        let (_, out, _) = one.cli(&["vrrp"]).unwrap();
        assert!(out.contains("group edge"), "{out}");

        let (code, out, err) = one.cli(&["handover", "inner"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        wait_both(&lab, Host::Lb2);
        let (_, summary) = watch_on(prober, begun);
        assert_lost(&summary, 0, [&one, &two]);
        assert_ne!([states(&one), states(&two)], before);

        let prober = probe(&lab, &config(true));
        let killed = two.kill(Part::Director);
        let killed = killed.unwrap();
        wait_both(&lab, Host::Lb1);
        let (_, summary) = watch_on(prober, killed);
        assert_blackout(&summary, 400.0, [&one, &two]);
    });
}
