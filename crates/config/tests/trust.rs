//! Whom to believe and what besides advertisements may decide: unicast through routers, evidence, the second path.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use config::{Config, Evidence, Facts, OnEvidence, diff, load};

const HEAD: &str = "[pair]\nnodes = { lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }\n";
const SECOND_PATH: &str =
    "key_file = \"/k\"\nheartbeat = { lb1 = \"10.9.0.2:5112\", lb2 = \"10.9.0.3:5113\" }\n";
const ROUTER: &str = "[vrrp.a]\ninterface = \"eth0\"\nvrid = 1\nvips = [\"10.0.0.10/24\"]\n";

fn on(node: &str, text: &str) -> Config {
    let facts = Facts {
        host_name: node.to_owned(),
        ..Facts::default()
    };
    let outcome = load(Path::new("t.toml"), text, &facts);
    let lines = outcome.report.lines(Path::new("t.toml"));
    outcome.config.unwrap_or_else(|| panic!("{lines}"))
}

#[test]
fn each_node_sees_the_second_path_from_its_end() {
    let text = format!("{HEAD}{SECOND_PATH}{ROUTER}");
    let ends = |node| {
        let heartbeat = on(node, &text).pair.unwrap().heartbeat.unwrap();
        let authentication = heartbeat.authentication;
        assert_eq!(authentication.freshness, vrrp::Freshness::Growth);
        (
            heartbeat.own.to_string(),
            heartbeat.peer.to_string(),
            heartbeat.peer_name,
        )
    };
    let words =
        |own: &str, peer: &str, name: &str| (own.to_owned(), peer.to_owned(), name.to_owned());
    assert_eq!(ends("lb1"), words("10.9.0.2:5112", "10.9.0.3:5113", "lb2"));
    assert_eq!(ends("lb2"), words("10.9.0.3:5113", "10.9.0.2:5112", "lb1"));
}

#[test]
fn evidence_has_its_defaults_and_its_differences() {
    let plain = on("lb1", &format!("{HEAD}{ROUTER}"));
    let expected = Evidence {
        address_answers: OnEvidence::Hold,
        peer_lives: OnEvidence::Promote,
    };
    assert_eq!(plain.vrrp[0].evidence, expected);
    let turned = format!(
        "{HEAD}{SECOND_PATH}{ROUTER}[vrrp.a.evidence]\naddress_answers = \"promote\"\npeer_lives = \"hold\"\n"
    );
    let turned = on("lb1", &turned);
    let changes: Vec<String> = diff(&plain, &turned)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        changes,
        [
            "pair: heartbeat off -> 10.9.0.2:5112 to 10.9.0.3:5113 (socket opened or closed)",
            "vrrp.a: evidence.address_answers hold -> promote (in place)",
            "vrrp.a: evidence.peer_lives promote -> hold (in place)",
        ]
    );
}

#[test]
fn a_lowest_ttl_is_one_for_all_or_one_for_each_sender() {
    let least = |value: &str| {
        let text = format!(
            "{HEAD}{ROUTER}unicast = true\nauth = {{ hmac_file = \"/k\" }}\nunicast_min_ttl = {value}\n"
        );
        let settings = on("lb1", &text).vrrp[0].settings.clone();
        let limits = settings.least_hop_limits.into_iter();
        limits
            .map(|(peer, ttl)| format!("{peer} {ttl}"))
            .collect::<Vec<String>>()
    };
    assert_eq!(least("250"), ["10.0.0.2 250", "10.0.0.3 250"]);
    assert_eq!(
        least("{ lb1 = 255, lb2 = 64 }"),
        ["10.0.0.2 255", "10.0.0.3 64"]
    );
}

#[test]
fn a_window_follows_the_interval_and_growth_the_number_of_nodes() {
    let of = |head: &str, more: &str| {
        let text = format!("{head}{ROUTER}auth = {{ hmac_file = \"/k\" }}\n{more}");
        let settings = on("lb1", &text).vrrp[0].settings.clone();
        let authentication = settings.authentication.unwrap();
        (
            authentication.freshness,
            Duration::from_secs(authentication.window_s().into()),
        )
    };
    let seconds = Duration::from_secs;
    assert_eq!(of(HEAD, ""), (vrrp::Freshness::Growth, seconds(5)));
    assert_eq!(of("", ""), (vrrp::Freshness::Window, seconds(5)));
    assert_eq!(
        of("", "advert_interval = \"4s\"\n"),
        (vrrp::Freshness::Window, seconds(12))
    );
}
