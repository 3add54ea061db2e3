//! One file for each kind of problem, with the place and the words that are reported.
//!
//! The lines are written out in full: place, code and words are what people and scripts see.
#![allow(clippy::unwrap_used)]

mod cases;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use cases::{CASES, PAIR, WEB};
use config::{Code, Facts, Network, Problem, load};

/// Problems of a text on node lb1, which has no address but those in the file.
fn problems(text: &str) -> Vec<Problem> {
    let facts = Facts {
        host_name: "lb1".to_owned(),
        ..Facts::default()
    };
    load(Path::new("t.toml"), text, &facts).report.problems
}

fn lines(problems: &[Problem]) -> Vec<String> {
    let line = |problem: &Problem| problem.one_line(Path::new("t.toml"));
    problems
        .iter()
        .map(|problem| line(problem).replacen("t.toml:", "", 1))
        .collect()
}

#[test]
fn every_code_is_reported_at_its_place_in_its_words() {
    let mut seen = BTreeSet::new();
    for (base, more, expected) in CASES {
        let problems = problems(&format!("{base}{more}"));
        assert_eq!(lines(&problems), *expected, "for {more}");
        seen.extend(problems.iter().map(|problem| problem.code));
    }
    // The password file needs a file: see `tests/passwords.rs`.
    seen.extend([Code::File, Code::Password]);
    // The limit of descriptors is the host's: see `the_sum_of_the_limits_has_to_fit_the_host`.
    seen.insert(Code::Descriptors);
    assert_eq!(
        seen,
        Code::ALL.iter().copied().collect(),
        "a code without a case"
    );
}

#[test]
fn twelve_mistakes_are_twelve_errors_in_the_order_of_the_file() {
    let text = r#"[pair]
nodes = { lb1 = "10.0.0.2", lb2 = "10.0.0.3" }

[vrrp.main]
interface = "eth0"
vrid = 300
vips = ["10.0.0.10/24"]
advert_interval = 5
interfaces = ["eth1"]

[listener.web]
bind = "10.0.0.11:80"
forward = "apii"
timeouts = { header = "10sec" }

[group.api]
algoritm = "round_robin"
targets = ["10.0.0.21:8080", "10.0.0.22", "app.internal:80", "10.0.0.10:80"]
health = { http = "healthz", rise = 0 }
"#;
    let problems = problems(text);
    let places: Vec<String> = problems
        .iter()
        .map(|p| format!("{}:{} {} {}", p.line, p.column, p.code, p.key))
        .collect();
    assert_eq!(
        places,
        [
            "6:8 E014 vrrp.main.vrid",
            "8:19 E010 vrrp.main.advert_interval",
            "9:1 E012 vrrp.main.interfaces",
            "12:8 E023 listener.web.bind",
            "13:11 E021 listener.web.forward",
            "14:23 E010 listener.web.timeouts.header",
            "17:1 E012 group.api.algoritm",
            "18:30 E010 group.api.targets[1]",
            "18:43 E010 group.api.targets[2]",
            "18:62 E052 group.api.targets[3]",
            "19:19 E031 group.api.health.http",
            "19:37 E014 group.api.health.rise",
        ]
    );
}

#[test]
fn one_mistake_does_not_drag_others_along() {
    // The node and the VIP cannot be read: nothing is said about who is missing or which address is foreign.
    let text = r#"[pair]
nodes = { lb1 = "10.0.0.2.1", lb2 = "10.0.0.3" }
[vrrp.main]
interface = { lb1 = "eth0", lb2 = "eth1" }
vrid = 51
vips = ["10.0.0.300/24"]
unicast = true
[listener.web]
bind = "10.0.0.30:80"
forward = "app"
[group.app]
targets = ["10.0.0.21:8080"]
"#;
    assert_eq!(
        lines(&problems(text)),
        [
            "2:17: error[E010]: expected an address like \"10.0.0.2\", got \"10.0.0.2.1\"",
            "6:9: error[E010]: expected an address with prefix length like \"192.0.2.10/24\", got \"10.0.0.300/24\"",
        ]
    );
}

#[test]
fn an_address_of_this_host_can_be_bound() {
    let text = format!("{PAIR}[listener.x]\nbind = \"10.7.0.1:99\"\nrespond = \"close\"\n");
    let own: IpAddr = "10.7.0.1".parse().unwrap();
    let facts = Facts {
        host_name: "lb1".to_owned(),
        addresses: vec![own],
        ..Facts::default()
    };
    assert!(load(Path::new("t.toml"), &text, &facts).config.is_some());
    assert_eq!(problems(&text)[0].code, Code::ForeignBind);
}

#[test]
fn a_vip_belongs_into_a_network_of_its_interface() {
    let network = |interface: &str, net: &str| Network {
        interface: interface.to_owned(),
        net: net.parse().unwrap(),
    };
    let report = |networks: Vec<Network>| {
        let facts = Facts {
            host_name: "lb1".to_owned(),
            networks,
            ..Facts::default()
        };
        lines(&load(Path::new("t.toml"), PAIR, &facts).report.problems)
    };
    let none: [&str; 0] = [];
    assert_eq!(report(vec![network("eth0", "10.0.0.2/24")]), none);
    assert_eq!(
        report(vec![
            network("eth0", "10.0.1.2/24"),
            network("eth1", "10.0.0.2/24"),
            network("eth0", "2001:db8::2/64"),
            network("eth0", "10.0.0.10/24"),
        ]),
        [
            "6:9: warning[E024]: VIP 10.0.0.10 is in none of the networks of eth0 (10.0.1.0/24); is the interface right? if so, the clients' routers need a route to it"
        ],
        "neither another interface nor the other family nor the VIP itself vouches for it"
    );
    assert_eq!(
        report(vec![network("eth0", "2001:db8::2/64")]),
        none,
        "an address may come later"
    );
}

#[test]
fn the_sum_of_the_limits_has_to_fit_the_host() {
    let text = format!(
        "{WEB}[listener.more]\nbind = \"0.0.0.0:81\"\nforward = \"app\"\nlimits = {{ connections = 30000 }}\n"
    );
    let report = |descriptors| {
        let facts = Facts {
            host_name: "lb1".to_owned(),
            descriptors: Some(descriptors),
            ..Facts::default()
        };
        lines(&load(Path::new("t.toml"), &text, &facts).report.problems)
    };
    let none: [&str; 0] = [];
    assert_eq!(report(60_256), none);
    assert_eq!(
        report(60_255),
        [
            "9:26: warning[E060]: 30000 connections, the sum of the limits in the file, need 60256 descriptors, but this host allows 60255; lower `connections`, or raise LimitNOFILE of the service"
        ]
    );
}
