//! Health checks: what they ask, and what follows from the answers.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use balancer::{Check, GroupSettings, HealthSettings, Order, SendProxy};
use forwarder::{CheckStanding, Forwarder, TargetSnapshot, TargetStanding};

use crate::support::*;

fn fast(check: Check) -> HealthSettings {
    HealthSettings {
        check,
        every: Duration::from_millis(50),
        timeout: Duration::from_millis(500),
        fast: Duration::from_millis(20),
        ..HealthSettings::default()
    }
}

fn target(forwarder: &Forwarder, index: usize) -> TargetSnapshot {
    forwarder.snapshot().groups[0].targets[index].clone()
}

/// A target whose check answers with a status that can be changed.
fn with_status(body: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let current = Arc::clone(&status);
    let origin = Origin::http(move |request| {
        let status = if request.head.starts_with("GET /healthz ") {
            current.load(SeqCst)
        } else {
            200
        };
        format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    (origin, status)
}

#[test]
fn a_target_goes_down_and_up_and_traffic_follows() {
    let ((a, status), (b, _)) = (with_status("a"), with_status("b"));
    let (forwarder, place) = proxy_with(&[a.address, b.address], |_, group| {
        group.health = fast(Check::http("/healthz"))
    });
    eventually("first round", || forwarder.ready().first_health_round_done);
    assert_eq!(forwarder.snapshot().groups[0].usable, 2);

    status.store(503, SeqCst);
    eventually("down", || {
        target(&forwarder, 0).state == TargetStanding::Down
    });
    let down = target(&forwarder, 0);
    assert_eq!(
        (down.check, down.why.as_str()),
        (CheckStanding::Down, "http 503 (want 200-399) 3/3")
    );
    assert_eq!(forwarder.snapshot().groups[0].usable, 1);
    let mut client = Client::connect(place.address);
    assert!((0..6).all(|_| client.get("/").text() == "b"));

    status.store(204, SeqCst);
    eventually("up", || target(&forwarder, 0).state == TargetStanding::Up);
    assert_eq!(target(&forwarder, 0).why, "");
    let bodies: String = (0..4).map(|_| client.get("/").text().to_owned()).collect();
    assert!(bodies == "abab" || bodies == "baba", "{bodies}");
}

#[test]
fn the_first_round_decides_at_once() {
    let (dead, (alive, _)) = (dead_place(), with_status("a"));
    let (forwarder, place) = proxy_with(&[dead.address, alive.address], |_, group| {
        group.health = HealthSettings {
            every: Duration::from_secs(3600),
            ..fast(Check::Tcp)
        };
    });
    eventually("first round", || forwarder.ready().first_health_round_done);
    let snapshot = forwarder.snapshot();
    assert_eq!(snapshot.groups[0].usable, 1);
    assert_eq!(snapshot.groups[0].targets[0].why, "connect refused 1/3");
    let mut client = Client::connect(place.address);
    assert!((0..4).all(|_| client.get("/").text() == "a"));
    assert_eq!(target(&forwarder, 0).requests_total, 0);
}

#[test]
fn a_check_is_a_get_with_a_host_on_a_new_connection() {
    let (origin, notes) = noting();
    let (_forwarder, _place) = proxy_with(&[origin.address], |_, group| {
        group.health = fast(Check::Http {
            path: "/up?x".into(),
            host: Some("app".into()),
            status: vec![200..=200],
            body: None,
        });
    });
    eventually("two checks", || notes.lock().unwrap().len() >= 2);
    let notes = notes.lock().unwrap();
    assert!(
        notes[0]
            .head
            .starts_with("GET /up?x HTTP/1.1\r\nHost: app\r\nUser-Agent: tandem-health/"),
        "{}",
        notes[0].head
    );
    assert!(notes[0].has_line("Connection: close"));
    assert!(origin.connections() >= 2);
}

/// How targets stand that answer their check like this, when it wants this text.
fn checked_for(text: &str, answer: &'static [u8]) -> TargetSnapshot {
    let origin = Origin::saying(answer);
    let (forwarder, _place) = proxy_with(&[origin.address], |_, group| {
        let Check::Http {
            path, host, status, ..
        } = Check::http("/")
        else {
            panic!("it is one by http")
        };
        let body = Some(text.to_owned());
        group.health = fast(Check::Http {
            path,
            host,
            status,
            body,
        });
    });
    eventually("checked", || forwarder.ready().first_health_round_done);
    target(&forwarder, 0)
}

#[test]
fn a_check_can_ask_for_a_text_in_the_body() {
    let rows: [(&'static [u8], bool); 5] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall ready", true),
        (b"HTTP/1.1 200 OK\r\n\r\nnot yet, but ready soon", true),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n",
            true,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nreaready", false),
        (b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nready", false),
    ];
    for (answer, passes) in rows {
        let got = checked_for("ready", answer);
        let words = String::from_utf8_lossy(answer);
        assert_eq!(got.check == CheckStanding::Up, passes, "{words}: {got:?}");
    }
    let lacking = checked_for("ready", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    assert!(
        lacking.why.starts_with("body lacks \"ready\" "),
        "{}",
        lacking.why
    );
}

#[test]
fn a_check_that_gets_no_answer_fails_in_time() {
    let silent = Origin::start(|stream, _| {
        std::thread::sleep(LIMIT);
        drop(stream);
    });
    let (forwarder, _place) = proxy_with(&[silent.address], |_, group| {
        group.health = HealthSettings {
            timeout: Duration::from_millis(100),
            ..fast(Check::http("/"))
        };
    });
    eventually("down", || {
        target(&forwarder, 0).state == TargetStanding::Down
    });
    assert!(
        target(&forwarder, 0).why.starts_with("no answer in time "),
        "{}",
        target(&forwarder, 0).why
    );
}

#[test]
fn orders_are_another_axis_than_health() {
    let ((a, _), (b, _)) = (with_status("a"), with_status("b"));
    let (forwarder, place) = proxy_with(&[a.address, b.address], |_, group| {
        group.health = fast(Check::Tcp)
    });
    eventually("first round", || forwarder.ready().first_health_round_done);
    let name = a.address.to_string();
    forwarder.order("g", &name, Order::Drain).unwrap();
    let drained = target(&forwarder, 0);
    assert_eq!(
        (drained.state, drained.check, drained.order),
        (TargetStanding::Drain, CheckStanding::Up, Order::Drain)
    );
    let mut client = Client::connect(place.address);
    assert!((0..4).all(|_| client.get("/").text() == "b"));
    forwarder.order("g", &name, Order::Ready).unwrap();
    assert!((0..4).any(|_| client.get("/").text() == "a"));
    assert_eq!(
        forwarder
            .order("x", &name, Order::Ready)
            .unwrap_err()
            .to_string(),
        "there is no group x"
    );
    assert_eq!(
        forwarder
            .order("g", "x", Order::Ready)
            .unwrap_err()
            .to_string(),
        "group g has no target x"
    );
}

#[test]
fn health_and_orders_outlive_a_reload() {
    let ((a, status), (b, _)) = (with_status("a"), with_status("b"));
    status.store(500, SeqCst);
    let place = place();
    let forwarder = forwarder();
    let settings = |every| {
        let mut group = GroupSettings::new("g", [a.address, b.address]);
        group.health = HealthSettings {
            every,
            ..fast(Check::http("/healthz"))
        };
        group
    };
    forwarder
        .apply(
            vec![http_listener(&place)],
            vec![settings(Duration::from_millis(50))],
        )
        .unwrap();
    eventually("first round", || forwarder.ready().first_health_round_done);
    forwarder
        .order("g", &b.address.to_string(), Order::Drain)
        .unwrap();
    for millis in [60, 70, 80] {
        forwarder
            .apply(
                vec![http_listener(&place)],
                vec![settings(Duration::from_millis(millis))],
            )
            .unwrap();
        let snapshot = forwarder.snapshot();
        assert_eq!(snapshot.groups[0].targets[0].state, TargetStanding::Down);
        assert_eq!(snapshot.groups[0].targets[1].state, TargetStanding::Drain);
        assert!(forwarder.ready().first_health_round_done);
    }
}

/// A place on another address that answers checks, and nothing else, with a status that can be changed.
fn check_place(status: u16) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let current = Arc::clone(&status);
    let origin = Origin::start_at(Ipv4Addr::new(127, 0, 0, 2), move |mut stream, _| {
        let Some(request) = read_request(&mut stream, &mut Vec::new()) else {
            return;
        };
        // Also what goes before a request to a target that wants to be told whose it is.
        let status = match request.head.starts_with("GET /healthz ") {
            true => current.load(SeqCst),
            false => 404,
        };
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
    });
    (origin, status)
}

#[test]
fn a_target_is_checked_at_an_address_of_its_own() {
    let target_place = Origin::answering("served");
    let ((first, status), (second, _)) = (check_place(200), check_place(200));
    let (place, forwarder) = (place(), forwarder());
    let apply = |check: &Origin| {
        let mut group = GroupSettings::new("g", [target_place.address]);
        group.targets[0].check = Some(check.address);
        group.health = fast(Check::http("/healthz"));
        // For one port everybody has; the address goes before it.
        group.health.port = Some(1);
        group.send_proxy = Some(SendProxy::V1);
        forwarder
            .apply(vec![http_listener(&place)], vec![group])
            .unwrap();
    };
    apply(&first);
    eventually("up", || target(&forwarder, 0).state == TargetStanding::Up);
    assert!(first.connections() > 0);
    assert_eq!(target_place.connections(), 0, "it is for traffic alone");
    assert!(Client::connect(place.address).get("/").status == 200);
    let connections = target_place.connections();
    assert!(connections > 0, "traffic goes where it always does");

    status.store(503, SeqCst);
    eventually("down", || {
        target(&forwarder, 0).state == TargetStanding::Down
    });
    let why = format!("at {}: http 503 (want 200-399) ", first.address);
    let down = target(&forwarder, 0);
    assert!(down.why.starts_with(&why), "{}", down.why);
    let name = target_place.address.to_string();
    forwarder.order("g", &name, Order::Drain).unwrap();

    apply(&second);
    let moved = target(&forwarder, 0);
    assert_eq!(
        (moved.order, moved.requests_total),
        (Order::Drain, down.requests_total),
        "what is known of the target is kept"
    );
    eventually("up at the other", || {
        target(&forwarder, 0).check == CheckStanding::Up
    });
    assert!(second.connections() > 0);
    let before = first.connections();
    let other = second.connections();
    eventually("checked again", || second.connections() > other + 2);
    assert!(
        first.connections() <= before + 1,
        "the first is left alone, but for one that was under way"
    );
    assert_eq!(target_place.connections(), connections);
}

#[test]
fn a_check_at_the_port_of_the_group_says_where_it_fails() {
    let busy = |_: &Received| b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (served, checked) = (Origin::answering("a"), Origin::http(busy));
    let (forwarder, _place) = proxy_with(&[served.address], |_, group| {
        group.health = HealthSettings {
            check: Check::http("/"),
            port: Some(checked.address.port()),
            ..HealthSettings::default()
        };
    });
    let why = format!("at {}: http 503 (want 200-399) ", checked.address);
    eventually("down", || target(&forwarder, 0).why.starts_with(&why));
}
