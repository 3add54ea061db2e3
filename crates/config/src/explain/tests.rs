#![allow(clippy::unwrap_used)]

use std::path::Path;

use balancer::{Health, Order, TargetMark};

use super::*;
use crate::{Facts, load};

const TEXT: &str = r#"
[listener.web]
bind = "192.0.2.10:80"
forward = "app"
[[listener.web.rule]]
name = "status"
when = { path = "/lb-status", source = "10.0.0.0/8" }
respond = { status = 200, content_type = "text/plain", body = "ok" }
[[listener.web.rule]]
name = "site"
when = { host = "*.example.com", not = { source = "203.0.113.0/24" } }
forward = { v1 = 90, v2 = 10 }
sticky = { cookie = "G" }
set_headers = { X-Edge = "1" }
remove_headers = ["X-Internal"]
set_answer_headers = { X-Served = "tandem" }
[[listener.web.rule]]
when = { path = "/old/*" }
redirect = { host = "new.example.com", path = "/x#{path}", status = 301 }
[[listener.web.rule]]
name = "dark"
when = { path = "/dark" }
respond = "close"
[listener.raw]
bind = "192.0.2.10:81"
protocol = "tcp"
forward = "app"
[listener.also]
bind = "192.0.2.11:80"
forward = "app"
[group.app]
algorithm = { consistent_hash = "source" }
targets = ["10.0.0.1:80", "10.0.0.2:80"]
[group.v1]
targets = ["10.0.1.1:80", "10.0.1.2:80"]
sticky = { cookie = "T" }
[group.v2]
targets = [{ name = "green", address = "10.0.2.1:80" }]
"#;

fn config() -> Config {
    let outcome = load(Path::new("t.toml"), TEXT, &Facts::default());
    let lines = outcome.report.lines(Path::new("t.toml"));
    outcome.config.unwrap_or_else(|| panic!("{lines}"))
}

fn plan() -> Plan {
    let config = config();
    Plan::build(config.listeners, config.groups, None).unwrap()
}

fn get(host: &str, path: &str) -> Question {
    Question {
        method: "GET".to_owned(),
        scheme: "http".to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        from: "198.51.100.7".parse().unwrap(),
        listener: Some("web".to_owned()),
    }
}

/// Cookies whose value is the mark.
struct Plain;

impl Cookies for Plain {
    fn mark(&self, _: Option<&Group>, _: &StickySettings, value: &[u8]) -> Option<u64> {
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

fn asked(plan: &Plan, question: &Question) -> Explanation {
    explain(plan, question, Instant::now(), Some(&Plain)).unwrap()
}

#[test]
fn each_rule_says_why_not_up_to_the_one_that_is_met() {
    let plan = plan();
    let site = asked(&plan, &get("a.example.com", "/x/../lb-status"));
    let words: Vec<_> = site
        .rules
        .iter()
        .map(|rule| (rule.rule.as_str(), rule.matches, rule.because.as_str()))
        .collect();
    assert_eq!(
        words,
        [
            ("status", false, "source 10.0.0.0/8"),
            (
                "site",
                true,
                "host *.example.com, not (source 203.0.113.0/24)"
            ),
        ]
    );
    assert_eq!(site.path, "/lb-status");
    assert_eq!(
        (site.rule.as_deref(), site.action.as_str()),
        (Some("site"), "v1 90, v2 10")
    );
    assert!(site.answered && site.live);
    assert!(
        site.sent.contains(&"set X-Edge: 1".to_owned()),
        "{:?}",
        site.sent
    );
    assert!(site.sent.contains(&"remove X-Internal".to_owned()));
    assert!(site.sent.contains(&"remove cookie G".to_owned()));
    assert_eq!(site.answer_changes, ["set X-Served: tandem"]);
    let none = asked(&plan, &get("other.test", "/"));
    assert_eq!((none.rules.len(), none.rule), (4, None));
    assert_eq!(none.action, "app");
}

#[test]
fn answers_of_our_own_are_told_and_what_is_refused_is_no_answer() {
    let plan = plan();
    let answer = |question: &Question| {
        let explanation = asked(&plan, question);
        (explanation.answer.unwrap_or_default(), explanation.answered)
    };
    let local = Question {
        from: "10.1.2.3".parse().unwrap(),
        ..get("x.test", "/lb-status")
    };
    assert_eq!(
        answer(&local),
        ("200 (text/plain, 2 bytes)".to_owned(), true)
    );
    let old = answer(&get("x.test", "/old/a?b"));
    assert_eq!(
        old,
        ("301 to http://new.example.com/x/old/a?b".to_owned(), true)
    );
    let dark = answer(&get("x.test", "/dark"));
    assert_eq!(dark, ("none: the connection is closed".to_owned(), false));
    let ambiguous = answer(&get("x.test", "/a//../dark"));
    assert_eq!(ambiguous, ("400 ambiguous path".to_owned(), false));
    let trace = Question {
        method: "TRACE".to_owned(),
        ..get("x.test", "/lb-status")
    };
    let explanation = asked(&plan, &trace);
    assert_eq!(
        explanation.answer.as_deref(),
        Some("405 method not allowed")
    );
    assert!(!explanation.answered && explanation.rules.is_empty());
    let long = answer(&get("x.test", &format!("/{}", "a".repeat(8192))));
    assert_eq!(long, ("414 URL too long".to_owned(), false));
}

#[test]
fn groups_share_as_they_can_serve_and_a_cookie_binds() {
    let plan = plan();
    let mut question = get("a.example.com", "/");
    let targets = |name: &str| plan.group(name).unwrap().targets().to_vec();
    for target in targets("v1") {
        target.state().set_health(Health::Down);
    }
    let explanation = asked(&plan, &question);
    let weights: Vec<_> = explanation
        .shares
        .iter()
        .map(|share| (share.weight, share.effective_weight, share.usable))
        .collect();
    assert_eq!(weights, [(90, 0, 0), (10, 10, 1)]);
    let groups: Vec<_> = explanation
        .groups
        .iter()
        .map(|group| group.group.as_str())
        .collect();
    assert_eq!(groups, ["v2"]);
    // Bound to v1, which can serve again, and there to the second target, which drains.
    for target in targets("v1") {
        target.state().set_health(Health::Up);
    }
    targets("v1")[1].state().set_order(Order::Drain);
    let (group, target) = (
        plan.group("v1").unwrap().mark().0,
        TargetMark::of("10.0.1.2:80").0,
    );
    question.headers = vec![("Cookie".to_owned(), format!("G={group}; T={target}"))];
    let explanation = asked(&plan, &question);
    assert_eq!(
        explanation.sticky.as_deref(),
        Some("cookie G: stays with v1")
    );
    let [v1] = &explanation.groups[..] else {
        panic!("{:?}", explanation.groups);
    };
    assert_eq!(
        v1.sticky.as_deref(),
        Some("cookie T: stays with 10.0.1.2:80")
    );
    assert_eq!(v1.certain.as_deref(), Some("10.0.1.2:80"));
    let chances: Vec<_> = v1
        .targets
        .iter()
        .map(|target| (target.chance.as_str(), target.why.as_str()))
        .collect();
    assert_eq!(
        chances,
        [("candidate", "healthy"), ("bound only", "ordered to drain")]
    );
    // A dry run: nobody was picked.
    let picks: u64 = plan.groups().map(|group| group.picks_total()).sum();
    assert_eq!(picks, 0);
}

#[test]
fn where_nobody_can_serve_there_is_no_answer() {
    let plan = plan();
    for target in plan.group("app").unwrap().targets() {
        target.state().set_order(Order::Maint);
    }
    let explanation = asked(&plan, &get("x.test", "/"));
    assert_eq!(explanation.answer.as_deref(), Some("503 target-down@pick"));
    assert!(!explanation.answered && explanation.sent.is_empty());
}

#[test]
fn a_key_has_its_owner() {
    let plan = plan();
    let explanation = asked(&plan, &get("x.test", "/"));
    let key = balancer::PickKey::of_address("198.51.100.7".parse().unwrap());
    let owner = plan
        .group("app")
        .unwrap()
        .pick(Instant::now(), 0, Some(key), &[]);
    let owner = owner.unwrap().target().settings().name.clone();
    assert_eq!(explanation.groups[0].certain, Some(owner));
}

#[test]
fn a_listener_is_found_by_scheme_and_port_and_a_file_knows_no_cookies() {
    let error = |question: Question| {
        let answer = explain_offline(&config(), &question, Instant::now());
        answer
            .map(|explanation| explanation.listener)
            .map_err(|error| error.to_string())
    };
    let by_url = |host: &str, scheme: &str| Question {
        scheme: scheme.to_owned(),
        listener: None,
        ..get(host, "/")
    };
    assert_eq!(
        error(by_url("x.test", "http")),
        Err("also, web take this; name one with --listener".to_owned())
    );
    assert_eq!(
        error(by_url("x.test", "https")),
        Err("no listener takes https on port 443; there are also, raw, web".to_owned())
    );
    let named = |name: &str| Question {
        listener: Some(name.to_owned()),
        ..get("a.example.com", "/")
    };
    assert_eq!(error(named("raw")), Ok("raw".to_owned()));
    assert_eq!(error(named("x")), Err("there is no listener x".to_owned()));
    let mut question = named("web");
    question.headers = vec![("cookie".to_owned(), "G=1".to_owned())];
    let offline = explain_offline(&config(), &question, Instant::now()).unwrap();
    assert!(!offline.live);
    assert_eq!(
        offline.sticky.as_deref(),
        Some("cookie G: only the daemon can read it")
    );
}

#[test]
fn a_listener_that_ends_tls_says_so_and_what_becomes_of_the_clients_name() {
    let asked = |keys: &str| {
        let text = format!(
            "[listener.web]\nbind = \"192.0.2.10:443\"\nforward = \"app\"\n\
             [listener.web.tls]\ncertificates = [\"a\", \"b\"]\n{keys}\n\
             [certificate.a]\ncert = \"/a\"\nkey = \"/a\"\n[certificate.b]\ncert = \"/b\"\nkey = \"/b\"\n\
             [group.app]\ntargets = [\"10.0.0.1:80\"]\n"
        );
        let outcome = load(Path::new("t.toml"), &text, &Facts::default());
        let config = outcome.config.unwrap();
        explain_offline(&config, &get("a.example.com", "/"), Instant::now()).unwrap()
    };
    let name = "X-Client-Cert-Name: (whom the client's certificate is for)".to_owned();
    let rows = [
        ("", "1.2", "clients are not asked who they are"),
        (
            "min = \"1.3\"\nclient_ca = \"/c\"",
            "1.3",
            "clients have to show a certificate",
        ),
        (
            "client_ca = \"/c\"\nclient_certificate = \"allow\"",
            "1.2",
            "clients may show a certificate",
        ),
    ];
    for (keys, min, clients) in rows {
        let explanation = asked(keys);
        let expected =
            format!("TLS {min} or newer, inside h2 or http/1.1, certificates a, b; {clients}");
        assert_eq!(explanation.tls, Some(expected));
        assert_eq!(explanation.sent.contains(&name), keys.contains("client_ca"));
    }
}
