//! Rules: where requests go, what is answered instead, and what is changed on the way.

use std::time::Duration;

use balancer::{
    AddressSet, Condition, FixedAnswer, Glob, GroupSettings, HeaderEdits, ListenerSettings,
    Protocol, Redirect, RuleAction, RuleSettings, Template,
};
use forwarder::Forwarder;

use crate::support::*;

fn paths(pattern: &str) -> Vec<Condition> {
    vec![Condition::Path(vec![Glob::new(pattern)])]
}

fn rule(name: &str, when: Vec<Condition>, action: RuleAction) -> RuleSettings {
    RuleSettings {
        action,
        ..RuleSettings::new(name, when, "")
    }
}

fn forward(name: &str, when: Vec<Condition>, group: &str) -> RuleSettings {
    RuleSettings::new(name, when, group)
}

fn respond(status: u16, body: &str) -> RuleAction {
    RuleAction::Respond(FixedAnswer {
        status,
        content_type: Some("text/plain".to_owned()),
        body: body.to_owned(),
    })
}

/// A forwarder whose groups are named by what their targets answer.
fn ruled(groups: &[&'static str], rules: Vec<RuleSettings>) -> (Forwarder, Place, Vec<Origin>) {
    ruled_with(groups, rules, |_| {})
}

fn ruled_with(
    groups: &[&'static str],
    rules: Vec<RuleSettings>,
    change: impl FnOnce(&mut ListenerSettings),
) -> (Forwarder, Place, Vec<Origin>) {
    let origins: Vec<Origin> = groups.iter().map(|name| Origin::answering(name)).collect();
    let groups: Vec<GroupSettings> = groups
        .iter()
        .zip(&origins)
        .map(|(name, origin)| group(name, &[origin.address]))
        .collect();
    let (place, forwarder) = (place(), forwarder());
    let mut listener = ListenerSettings {
        rules,
        ..ListenerSettings::new(
            "web",
            Protocol::Http,
            vec![place.address],
            groups[0].name.clone(),
        )
    };
    change(&mut listener);
    forwarder.apply(vec![listener], groups).unwrap();
    (forwarder, place, origins)
}

#[test]
fn requests_go_where_their_rule_says_and_else_where_the_listener_says() {
    let header =
        |name: &str, value: &str| Condition::Header(name.to_owned(), vec![Glob::any_case(value)]);
    let rules = vec![
        forward("api", paths("/api/*"), "api"),
        forward("beta", vec![header("x-beta", "yes")], "beta"),
    ];
    let (forwarder, place, _origins) = ruled(&["app", "api", "beta"], rules);
    let mut client = Client::connect(place.address);
    assert_eq!(client.get("/").text(), "app");
    assert_eq!(client.get("/api/x?y").text(), "api");
    assert_eq!(client.get("/x/../api/y").text(), "api");
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Beta: Yes\r\n\r\n");
    assert_eq!(client.answer().text(), "beta");
    assert_eq!(
        client.get("/x%2f..%2fapi/y").status,
        400,
        "two ways to read it"
    );
    let counts: Vec<(String, u64)> = forwarder
        .rules()
        .into_iter()
        .map(|rule| (rule.name, rule.requests_total))
        .collect();
    assert_eq!(counts, [("api".to_owned(), 2), ("beta".to_owned(), 1)]);
}

#[test]
fn a_redirect_and_a_fixed_answer_need_no_target() {
    let moved = Redirect {
        status: 301,
        https: None,
        host: Some(Template::parse("app.example.com").unwrap()),
        port: None,
        path: Some(Template::parse("/shop#{path}").unwrap()),
        query: None,
    };
    let rules = vec![
        rule("old", paths("/old/*"), RuleAction::Redirect(moved)),
        rule("status", paths("/lb-status"), respond(200, "ok")),
        rule(
            "secure",
            paths("/secure"),
            RuleAction::Redirect(Redirect::to_https()),
        ),
        rule("gone", paths("/gone"), RuleAction::Close),
        rule("nothing", paths("/nothing"), respond(204, "")),
    ];
    let (_forwarder, place, origins) = ruled(&["app"], rules);
    let mut client = Client::connect(place.address);
    client.send("GET /old/a?b=c HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.field("Location"), answer.text()),
        (301, Some("http://app.example.com/shop/old/a?b=c"), "")
    );
    client.send("GET /secure HTTP/1.1\r\nHost: a.example:8080\r\n\r\n");
    assert_eq!(
        client.answer().field("Location"),
        Some("https://a.example/secure")
    );
    let answer = client.get("/lb-status");
    assert_eq!(
        (
            answer.status,
            answer.text(),
            answer.field("Content-Type"),
            answer.field("Connection")
        ),
        (200, "ok", Some("text/plain"), None)
    );
    client.send("HEAD /lb-status HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(
        (head.status, head.field("Content-Length")),
        (200, Some("2"))
    );
    let answer = client.get("/nothing");
    assert_eq!((answer.status, answer.field("Content-Length")), (204, None));
    assert_eq!(client.get("/").text(), "app", "the connection goes on");
    client.send("GET /gone HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.try_answer(), None);
    assert_eq!(origins[0].connections(), 1);
}

#[test]
fn http_1_0_is_answered_in_its_own_way() {
    let rules = vec![rule(
        "secure",
        vec![],
        RuleAction::Redirect(Redirect::to_https()),
    )];
    let (_forwarder, place, _origins) = ruled(&["app"], rules);
    let answer = exchange(place.address, "GET /a HTTP/1.0\r\n\r\n");
    assert!(
        answer.contains("\r\nLocation: https://127.0.0.1/a\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
}

#[test]
fn the_body_of_a_request_that_is_answered_at_once_is_read_away() {
    let rules = vec![rule("status", paths("/status"), respond(200, "ok"))];
    let (_forwarder, place, _origins) = ruled(&["app"], rules);
    let mut client = Client::connect(place.address);
    client.send("POST /status HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n01234");
    assert_eq!(
        client.answer().text(),
        "ok",
        "the answer does not wait for the body"
    );
    client.send("56789GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer().text(), "app");
    client
        .send("POST /status HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc");
    assert_eq!(client.answer().text(), "ok");
    client.send("de\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer().text(), "app");
}

#[test]
fn a_body_that_is_too_much_or_may_not_come_ends_the_connection() {
    let rules = vec![rule("status", paths("/status"), respond(200, "ok"))];
    let (_forwarder, place, _origins) = ruled(&["app"], rules);
    for fields in [
        "Content-Length: 100000\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = Client::connect(place.address);
        client.send(format!(
            "POST /status HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
        ));
        let answer = client.answer();
        assert_eq!(
            (answer.text(), answer.field("Connection")),
            ("ok", Some("close"))
        );
        assert_eq!(client.rest().unwrap(), b"");
    }
    let mut client = Client::connect(place.address);
    client.send("POST /status HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    // A stream without end is not read without end.
    client.stream.set_write_timeout(Some(LIMIT)).unwrap();
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let ended =
        (0..1000).any(|_| std::io::Write::write_all(&mut client.stream, chunk.as_bytes()).is_err());
    assert!(ended, "the connection ends");
}

#[test]
fn headers_change_both_ways() {
    let (origin, notes) = noting();
    let edits = |set: (&str, &str), remove: &str| HeaderEdits {
        set: vec![(set.0.to_owned(), set.1.to_owned())],
        remove: vec![remove.to_owned()],
    };
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        let mut all = forward("all", vec![], "g");
        all.request_headers = edits(("X-Api-Edge", "1"), "X-Internal");
        all.answer_headers = edits(("Strict-Transport-Security", "max-age=1"), "Content-Type");
        listener.rules = vec![all];
    });
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nx-internal: secret\r\nX-Api-Edge: forged\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("Strict-Transport-Security"), Some("max-age=1"));
    let notes = notes.lock().unwrap();
    assert!(notes[0].has_line("X-Api-Edge: 1"), "{}", notes[0].head);
    assert!(!notes[0].head.contains("forged") && !notes[0].head.contains("secret"));
}

#[test]
fn groups_share_by_weight_and_one_that_is_down_leaves_its_part() {
    let split = RuleAction::Split(vec![("blue".to_owned(), 50), ("green".to_owned(), 50)]);
    let (forwarder, place, origins) = ruled(&["blue", "green"], vec![rule("site", vec![], split)]);
    let mut client = Client::connect(place.address);
    let answers: Vec<String> = (0..200)
        .map(|_| client.get("/").text().to_owned())
        .collect();
    let blue = answers.iter().filter(|answer| *answer == "blue").count();
    assert!((60..140).contains(&blue), "{blue} of 200");
    let green = origins[1].address.to_string();
    forwarder
        .order("green", &green, balancer::Order::Maint)
        .unwrap();
    assert!((0..50).all(|_| client.get("/").text() == "blue"));
}

#[test]
fn the_client_behind_a_trusted_proxy_is_the_source() {
    let office = AddressSet::new(["198.51.100.0/24".parse().unwrap()]);
    let rules = || {
        vec![rule(
            "office",
            vec![Condition::Source(office.clone())],
            respond(200, "office"),
        )]
    };
    let ask = |place: &Place| {
        let mut client = Client::connect(place.address);
        client
            .send("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.7\r\n\r\n");
        client.answer().text().to_owned()
    };
    let (_one, place, _origins) = ruled(&["app"], rules());
    assert_eq!(ask(&place), "app", "anybody can write this");
    let (_two, place, _origins) = ruled_with(&["app"], rules(), |listener| {
        listener.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    assert_eq!(ask(&place), "office");
}

#[test]
fn a_reload_changes_rules_under_open_connections_and_keeps_their_counts() {
    let rules = |target: &str| {
        vec![
            forward("all", vec![], target),
            forward("rest", vec![], "app"),
        ]
    };
    let (forwarder, place, origins) = ruled(&["app", "api"], rules("app"));
    let mut client = Client::connect(place.address);
    assert_eq!(client.get("/").text(), "app");
    let listener = ListenerSettings {
        rules: rules("api"),
        ..ListenerSettings::new("web", Protocol::Http, vec![place.address], "app")
    };
    let groups = vec![
        group("app", &[origins[0].address]),
        group("api", &[origins[1].address]),
    ];
    forwarder.apply(vec![listener], groups).unwrap();
    assert_eq!(client.get("/").text(), "api", "on the same connection");
    assert_eq!(forwarder.rules()[0].requests_total, 2);
}

#[test]
fn tcp_goes_by_address() {
    let (a, b) = (Origin::start(hello("a")), Origin::start(hello("b")));
    let (place, forwarder) = (place(), forwarder());
    let local = AddressSet::new(["127.0.0.0/8".parse().unwrap()]);
    let listener = |when| ListenerSettings {
        rules: vec![forward("local", vec![when], "b")],
        ..ListenerSettings::new("db", Protocol::Tcp, vec![place.address], "a")
    };
    let groups = || vec![group("a", &[a.address]), group("b", &[b.address])];
    let ask = || {
        let mut client = Client::connect(place.address);
        client
            .stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        String::from_utf8(client.rest().unwrap()).unwrap()
    };
    forwarder
        .apply(
            vec![listener(Condition::PeerSource(local.clone()))],
            groups(),
        )
        .unwrap();
    assert_eq!(ask(), "b");
    let elsewhere = Condition::Not(vec![Condition::Source(local)]);
    forwarder
        .apply(vec![listener(elsewhere)], groups())
        .unwrap();
    assert_eq!(ask(), "a");
}

fn hello(word: &'static str) -> impl Fn(std::net::TcpStream, usize) + Send + Sync {
    move |mut stream, _| {
        let _ = std::io::Write::write_all(&mut stream, word.as_bytes());
    }
}
