//! What a reload says it would do.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use super::diff;
use crate::{Config, Facts, load};

const TEXT: &str = r#"
[pair]
nodes = { lb1 = "10.0.0.2", lb2 = "10.0.0.3" }
[vrrp.main]
interface = "eth0"
vrid = 51
vips = ["10.0.0.10/24"]
[listener.web]
bind = "10.0.0.10:80"
forward = "app"
[group.app]
targets = ["10.0.0.21:8080", { name = "two", address = "10.0.0.22:8080", weight = 2 }]
health = { http = "/healthz" }
"#;

fn config(text: &str) -> Config {
    let facts = Facts {
        host_name: "lb1".to_owned(),
        ..Facts::default()
    };
    let outcome = load(Path::new("t"), text, &facts);
    outcome
        .config
        .unwrap_or_else(|| panic!("{}", outcome.report.lines(Path::new("t"))))
}

/// The changes after replacing parts of the text.
fn changes(replacements: &[(&str, &str)]) -> Vec<String> {
    let mut text = TEXT.to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    diff(&config(TEXT), &config(&text))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn nothing_changed_is_nothing_to_do() {
    assert_eq!(changes(&[]), [""; 0]);
    // Another text with the same meaning.
    assert_eq!(
        changes(&[("vrid = 51", "vrid = 0x33   # the same")]),
        [""; 0]
    );
}

#[test]
fn sockets_are_opened_and_closed() {
    assert_eq!(
        changes(&[("10.0.0.10:80\"", "10.0.0.10:8080\"\nprotocol = \"http\"")]),
        ["listener.web: bind 10.0.0.10:80 -> 10.0.0.10:8080 (socket opened and closed)"]
    );
    assert_eq!(
        changes(&[("\"10.0.0.10:80\"", "[\"10.0.0.10:80\", \"10.0.0.2:80\"]")]),
        ["listener.web: bind 10.0.0.10:80 -> 10.0.0.10:80, 10.0.0.2:80 (socket opened)"]
    );
}

#[test]
fn parts_come_and_go() {
    let other = "[listener.other]\nbind = \"10.0.0.10:81\"\nforward = \"app\"\n";
    assert_eq!(
        changes(&[("[group.app]", &format!("{other}[group.app]"))]),
        ["listener.other: 10.0.0.10:81 added (sockets opened)"]
    );
    assert_eq!(
        changes(&[("[listener.web]", "[listener.site]")]),
        [
            "listener.site: 10.0.0.10:80 added (sockets opened)",
            "listener.web: 10.0.0.10:80 removed (sockets closed, connections drain)",
        ]
    );
}

#[test]
fn targets_by_name() {
    assert_eq!(
        changes(&[
            ("10.0.0.21:8080", "10.0.0.23:8080"),
            ("weight = 2", "weight = 3")
        ]),
        [
            "group.app: target 10.0.0.21:8080 weight 1 removed (drains)",
            "group.app: target 10.0.0.23:8080 weight 1 added (checked first, then used)",
            "group.app: target two 10.0.0.22:8080 weight 2 -> 10.0.0.22:8080 weight 3 (in place)",
        ]
    );
    assert_eq!(
        changes(&[("10.0.0.22:8080", "10.0.0.22:8081")]),
        [
            "group.app: target two 10.0.0.22:8080 weight 2 -> 10.0.0.22:8081 weight 2 (old one drains, state starts anew)"
        ]
    );
}

#[test]
fn where_and_inside_what_targets_are_checked_changes_in_place() {
    let to = |from: &str, to: &str| changes(&[(from, to)]);
    assert_eq!(
        to("weight = 2", "weight = 2, check = \"10.9.0.22:9000\""),
        [
            "group.app: target two 10.0.0.22:8080 weight 2 -> 10.0.0.22:8080 weight 2 checked at 10.9.0.22:9000 (in place)"
        ]
    );
    assert_eq!(
        to("\"/healthz\"", "\"/healthz\", tls = false"),
        ["group.app: health.tls as the traffic -> off (in place)"]
    );
    assert_eq!(
        to("\"/healthz\"", "\"/healthz\", tls = true"),
        [
            "group.app: health.tls as the traffic -> each its own address, vouched for by /etc/ssl/certs/ca-certificates.crt (in place)"
        ]
    );
}

#[test]
fn another_algorithm_and_a_backup_are_in_place() {
    let with = |algorithm: &str| format!("[group.app]\nalgorithm = {algorithm}");
    assert_eq!(
        changes(&[
            ("[group.app]", &with("\"least_connections\"")),
            ("weight = 2", "weight = 2, backup = true")
        ]),
        [
            "group.app: algorithm round-robin -> least-connections (in place)",
            "group.app: target two 10.0.0.22:8080 weight 2 -> 10.0.0.22:8080 weight 2 backup (in place)",
        ]
    );
    let hash = "{ consistent_hash = \"header:X-User\", vnodes = 200 }";
    assert_eq!(
        changes(&[("[group.app]", &with(hash))]),
        [
            "group.app: algorithm round-robin -> consistent-hash by header:X-User, 200 vnodes (in place)"
        ]
    );
}

#[test]
fn several_parts_in_a_fixed_order() {
    let all = [
        (
            "vrid = 51",
            "vrid = 52\npriority = { lb1 = 150, lb2 = 100 }\nadvert_interval = \"200ms\"",
        ),
        ("/healthz", "/up"),
        (
            "[pair]",
            "[global]\nlog = { level = \"debug\" }\naccess_log = { to = \"journal\" }\nthreads = 2\n[pair]",
        ),
        ("10.0.0.3", "10.0.0.4"),
    ];
    assert_eq!(
        changes(&all),
        [
            "global: access_log.to off -> journal (in place)",
            "global: log.level info -> debug (in place)",
            "global: threads auto -> 2 (from the next start on)",
            "pair: nodes lb1 10.0.0.2, lb2 10.0.0.3 -> lb1 10.0.0.2, lb2 10.0.0.4 (node names and peer timing change)",
            "vrrp.main: advert_interval 100ms -> 200ms (in place)",
            "vrrp.main: priority 200 -> 150 (in place; the VIPs may move)",
            "vrrp.main: vrid 51 -> 52 (leaves and starts anew as backup)",
            "group.app: health http /healthz status 200-399 -> http /up status 200-399 (in place)",
        ]
    );
}

#[test]
fn a_password_is_compared_but_never_shown() {
    let mut old = config(TEXT);
    Arc::make_mut(&mut old.vrrp[0]).settings.password = vrrp::Password::new(b"before");
    let mut new = old.clone();
    Arc::make_mut(&mut new.vrrp[0]).settings.password = vrrp::Password::new(b"after");
    let changes: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["vrrp.main: secret of auth (changed in place)"]);
}

#[test]
fn rules_are_compared_one_by_one_and_in_their_order() {
    const RULE: &str =
        "[[listener.web.rule]]\nname = \"a\"\nwhen = { path = \"/a\" }\nrespond = 403\n";
    const OTHER: &str =
        "[[listener.web.rule]]\nname = \"b\"\nwhen = { path = \"/b\" }\nforward = \"app\"\n";
    let with = |rules: &str| config(&TEXT.replace("[group.app]", &format!("{rules}[group.app]")));
    let changes = |from: &str, to: &str| -> Vec<String> {
        let changes = diff(&with(from), &with(to));
        changes.iter().map(ToString::to_string).collect()
    };
    let (ab, ba) = (format!("{RULE}{OTHER}"), format!("{OTHER}{RULE}"));
    assert_eq!(
        changes(&ab, &ba),
        ["listener.web: rule order a, b -> b, a (for the next request or connection)"]
    );
    let edited = ab.replace(
        "forward = \"app\"",
        "forward = \"app\"\nset_headers = { X = \"1\" }",
    );
    assert_eq!(
        changes(&ab, &edited),
        [
            "listener.web: rule b path /b: forward to app -> path /b: forward to app; set X: 1 (for the next request or connection)"
        ]
    );
    // Every word of a fixed answer counts.
    let body = RULE.replace("403", "{ status = 403, body = \"x\" }");
    assert_eq!(changes(RULE, &body).len(), 1);
    assert_eq!(changes(RULE, RULE), Vec::<String>::new());
}

#[test]
fn what_is_said_about_datagrams_changes_in_place() {
    let text = "[listener.dns]\nbind = \"127.0.0.1:53\"\nprotocol = \"udp\"\nforward = \"dns\"\n[group.dns]\ntargets = [\"10.0.0.9:53\"]\n\
                health = { udp = { send = \"hex:00ff\" } }\nudp = { idle = \"5s\" }\n";
    let other = text
        .replace("hex:00ff\"", "ping\", expect = \"pong\"")
        .replace("\"5s\"", "\"5s\", responses = 1");
    let changes = diff(&config(text), &config(&other));
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "group.dns: health udp send hex:00ff expect any -> udp send hex:70696e67 expect hex:706f6e67 (in place)",
            "group.dns: udp.responses off -> 1 (in place)",
        ]
    );
}
