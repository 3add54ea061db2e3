//! What is counted of requests, and what answers of our own tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use balancer::{Check, OnAllDown, Timings};
use forwarder::{Forwarder, GroupSnapshot, ListenerSnapshot};

use crate::support::*;

fn listener(forwarder: &Forwarder) -> ListenerSnapshot {
    forwarder.snapshot().listeners.remove(0)
}

fn only_group(forwarder: &Forwarder) -> GroupSnapshot {
    forwarder.snapshot().groups.remove(0)
}

/// How many requests of each class were counted.
fn classes(listener: &ListenerSnapshot) -> Vec<(&'static str, u64)> {
    let times = listener.request_times.iter();
    times
        .map(|(class, times)| (*class, times.total()))
        .collect()
}

#[test]
fn requests_are_counted_by_class_and_time_and_answers_by_who_gave_them() {
    let origin = Origin::http(|request| {
        let status = match request.head.split(' ').nth(1) {
            Some("/missing") => 404,
            Some("/broken") => 503,
            Some("/slow") => {
                std::thread::sleep(Duration::from_millis(30));
                200
            }
            _ => 200,
        };
        format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nab").into_bytes()
    });
    let dead = dead_place();
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| group.outlier = None);
    let mut client = Client::connect(place.address);
    let mut answered = 0;
    for path in ["/", "/", "/missing", "/broken", "/slow"] {
        let answer = client.get(path);
        answered += (answer.head.len() + answer.body.len()) as u64;
    }
    eventually("all are counted", || {
        classes(&listener(&forwarder)) == [("2xx", 3), ("4xx", 1), ("5xx", 1)]
    });
    let shown = listener(&forwarder);
    let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".len() as u64;
    let paths = "/missing/broken/slow".len() as u64 - 3;
    assert_eq!(shown.bytes_total, (5 * request + paths, answered));
    // One of those answered well took at least 30 ms; that is a fact of the target, not of the machine.
    let well = shown.request_times[0].1;
    assert!(well.counts[6..].iter().sum::<u64>() >= 1, "{well:?}");
    assert!(well.sum_us >= 30_000, "{well:?}");

    let figures = only_group(&forwarder);
    assert_eq!(figures.times.first_byte.total(), 5);
    assert!(figures.times.first_byte.sum_us >= 30_000);
    assert_eq!(
        figures.times.connect.total(),
        1,
        "one connection served all"
    );
    assert_eq!(figures.times.queue, Timings::default(), "nobody waited");
    let target = &figures.targets[0];
    assert_eq!(target.answers_total, [0, 3, 0, 1, 1]);
    assert_eq!(target.first_byte, figures.times.first_byte);

    // Figures of a group live on over a reload; an answer of our own is nobody else's.
    let mut changed = group("g", &[dead.address]);
    changed.outlier = None;
    forwarder
        .apply(vec![http_listener(&place)], vec![changed])
        .unwrap();
    assert_eq!(client.get("/").status, 502);
    eventually("it is counted", || {
        classes(&listener(&forwarder)) == [("2xx", 3), ("4xx", 1), ("5xx", 2)]
    });
    let figures = only_group(&forwarder);
    assert_eq!(figures.times.first_byte.total(), 5);
    assert_eq!(figures.times.connect.total(), 2, "a failed one counts");
    assert_eq!(figures.targets[0].answers_total, [0; 5]);
}

#[test]
fn who_waits_for_a_place_is_counted_with_how_long() {
    let free = Arc::<AtomicBool>::default();
    let may = Arc::clone(&free);
    let origin = Origin::http(move |_| {
        eventually("told to go on", || may.load(SeqCst));
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.limits.per_target = Some(1);
    });
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(place.address)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    eventually("two wait", || only_group(&forwarder).queued == 2);
    free.store(true, SeqCst);
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    eventually("both are counted", || {
        only_group(&forwarder).times.queue.total() == 2
    });
    assert!(only_group(&forwarder).times.queue.sum_us > 0);
}

#[test]
fn a_trusted_proxy_is_told_the_cause_in_a_field_and_others_are_not() {
    let dead = dead_place();
    let (_forwarder, place) = proxy(&[dead.address]);
    let answer = Client::connect(place.address).get("/");
    assert_eq!((answer.status, answer.field("X-Tandem-Cause")), (502, None));
    let (_forwarder, place) = proxy_with(&[dead.address], |listener, _| {
        listener.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let answer = Client::connect(place.address).get("/");
    assert_eq!(answer.status, 502);
    let cause = answer.field("X-Tandem-Cause");
    assert_eq!(cause, Some("connect-refused@connect"));
    let malformed = exchange(place.address, "GET / HTTP/1.1\r\n\r\n");
    assert!(
        malformed.contains("\r\nX-Tandem-Cause: client-malformed@headers\r\n"),
        "{malformed}"
    );
}

#[test]
fn who_asks_for_json_is_told_in_json() {
    let dead = dead_place();
    let (_forwarder, place) = proxy(&[dead.address]);
    let ask = |accept: &str| {
        let mut client = Client::connect(place.address);
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n"
        ));
        client.answer()
    };
    let answer = ask("application/json, */*;q=0.1");
    assert_eq!(answer.field("Content-Type"), Some("application/json"));
    assert_eq!(
        answer.text(),
        "{\"status\":502,\"error\":\"Bad Gateway\",\"cause\":\"connect-refused@connect\",\"detail\":\"\"}\n"
    );
    let answer = ask("text/html, application/json");
    assert_eq!(answer.field("Content-Type"), Some("text/plain"));
    assert_eq!(answer.text(), "502 Bad Gateway\nconnect-refused@connect\n");
}

#[test]
fn a_group_that_fails_open_says_so() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| {
        // A check that cannot pass: the target speaks no such status.
        group.health.check = Check::Http {
            path: "/".into(),
            host: None,
            status: vec![299..=299],
            body: None,
        };
    });
    eventually("the check has failed", || only_group(&forwarder).fails_open);
    let shown = only_group(&forwarder);
    assert_eq!((shown.usable, shown.total), (0, 1));
    assert_eq!(Client::connect(place.address).get("/").status, 200);
    let mut refusing = group("g", &[origin.address]);
    refusing.health = forwarder_health();
    refusing.on_all_down = OnAllDown::Refuse;
    forwarder
        .apply(vec![http_listener(&place)], vec![refusing])
        .unwrap();
    assert!(!only_group(&forwarder).fails_open);
    assert_eq!(Client::connect(place.address).get("/").status, 503);
}

/// The check of [`a_group_that_fails_open_says_so`], again.
fn forwarder_health() -> balancer::HealthSettings {
    balancer::HealthSettings {
        check: Check::Http {
            path: "/".into(),
            host: None,
            status: vec![299..=299],
            body: None,
        },
        ..balancer::HealthSettings::default()
    }
}

#[test]
fn a_connection_that_is_old_serves_no_other_request() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.timeouts.pool_age = Duration::from_millis(1);
    });
    let mut client = Client::connect(place.address);
    for count in 1..=3 {
        assert_eq!(client.get("/").status, 200);
        assert_eq!(origin.connections(), count);
        std::thread::sleep(Duration::from_millis(2)); // what makes it old is time
    }
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    (0..3).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!(origin.connections(), 4, "one that is not old serves all");
}
