//! Targets that refuse, close or keep silent: what is tried again, and what the client is told.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use balancer::OnAllDown;

use crate::support::*;

#[test]
fn a_target_that_refuses_is_passed_over() {
    let (dead, alive) = (dead_place(), Origin::answering("a"));
    let (forwarder, place) = proxy(&[dead.address, alive.address]);
    let mut client = Client::connect(place.address);
    for _ in 0..6 {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxy");
        assert_eq!(client.answer().text(), "a");
    }
    let targets = &forwarder.snapshot().groups[0].targets;
    assert!(targets[0].errors_total >= 2, "{targets:?}");
}

#[test]
fn refusals_have_a_status_and_a_cause() {
    let dead = dead_place();
    let (_forwarder, place) = proxy(&[dead.address]);
    let mut client = Client::connect(place.address);
    let answer = client.get("/");
    assert_eq!(
        (
            answer.status,
            answer.text().ends_with("connect-refused@connect\n")
        ),
        (502, true)
    );
    assert_eq!(
        client.get("/").status,
        502,
        "the client's connection goes on"
    );

    let (_forwarder, place) = proxy(&[]);
    let answer = Client::connect(place.address).get("/");
    assert_eq!(
        (answer.status, answer.text().ends_with("target-down@pick\n")),
        (503, true)
    );
}

#[test]
fn refusing_when_all_are_down_is_503() {
    let dead = dead_place();
    let (forwarder, place) = proxy_with(&[dead.address], |_, group| {
        group.on_all_down = OnAllDown::Refuse;
        group.health.check = balancer::Check::Tcp;
    });
    eventually("checked", || forwarder.ready().first_health_round_done);
    assert_eq!(Client::connect(place.address).get("/").status, 503);
}

#[test]
fn a_silent_target_is_504() {
    let silent = Origin::start(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let (_forwarder, place) = proxy_with(&[silent.address], |_, group| {
        group.timeouts.first_byte = Duration::from_millis(200);
    });
    let mut client = Client::connect(place.address);
    let answer = client.get("/");
    assert_eq!(
        (
            answer.status,
            answer.text().ends_with("target-timeout@headers\n")
        ),
        (504, true)
    );
}

#[test]
fn answers_that_cannot_be_understood_are_502() {
    let rows: [(&[u8], &str); 8] = [
        (b"junk junk junk\r\n\r\n", "target-malformed@headers"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
            "target-malformed@headers",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "target-malformed@headers",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "target-malformed@headers",
        ),
        (
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "target-malformed@headers",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "target-malformed@headers",
        ),
        (b"", "target-reset@headers"),
        (b"HTTP/1.1 200 OK\r\nConte", "target-reset@headers"),
    ];
    for (answer, cause) in rows {
        let origin = Origin::saying(answer);
        let (_forwarder, place) = proxy(&[origin.address]);
        let got = Client::connect(place.address).get("/");
        assert_eq!(
            (got.status, got.text().lines().last()),
            (502, Some(cause)),
            "{:?}",
            String::from_utf8_lossy(answer)
        );
        assert_eq!(
            origin.connections(),
            1,
            "a fresh connection is not tried again"
        );
    }
}

#[test]
fn both_framings_in_an_answer_chunked_wins_and_the_connection_ends() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_vec()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(
            (answer.body.as_slice(), answer.field("Content-Length")),
            (&b"1\r\na\r\n0\r\n\r\n"[..], None)
        );
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_large_answer_head_passes() {
    let origin = Origin::http(|_| {
        format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 1\r\n\r\na",
            "x".repeat(40_000)
        )
        .into_bytes()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    assert_eq!(Client::connect(place.address).get("/").text(), "a");
}

/// A target whose first connection answers one request and closes as the second arrives; how often it saw `/second`.
fn closing_on_the_second() -> (Origin, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let origin = Origin::start(move |mut stream, number| {
        let mut input = Vec::new();
        while let Some(head) = read_until(&mut stream, &mut input, b"\r\n\r\n") {
            let second = String::from_utf8_lossy(&head).contains(" /second ");
            if second {
                count.fetch_add(1, SeqCst);
                if number == 0 {
                    return;
                }
                input.clear();
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
                .unwrap();
        }
    });
    (origin, seen)
}

/// Status of the second request, how often the target saw it, and connections to the target.
fn second_request(request: &str) -> (u16, usize, usize) {
    let (origin, seen) = closing_on_the_second();
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    assert_eq!(client.get("/first").status, 200);
    client.send(request);
    let answer = client.answer();
    if answer.status == 502 {
        assert!(
            answer.text().ends_with("reused-closed@headers\n"),
            "{}",
            answer.text()
        );
    }
    (answer.status, seen.load(SeqCst), origin.connections())
}

#[test]
fn a_kept_connection_that_closes_under_a_request() {
    assert_eq!(
        second_request("GET /second HTTP/1.1\r\nHost: test\r\n\r\n"),
        (200, 2, 2)
    );
    assert_eq!(
        second_request("DELETE /second HTTP/1.1\r\nHost: test\r\n\r\n"),
        (200, 2, 2)
    );
    assert_eq!(
        second_request("PUT /second HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxy"),
        (200, 2, 2)
    );
    assert_eq!(
        second_request("POST /second HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxy"),
        (502, 1, 1)
    );
    assert_eq!(
        second_request("POST /second HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"),
        (502, 1, 1)
    );
    assert_eq!(
        second_request("PATCH /second HTTP/1.1\r\nHost: test\r\n\r\n"),
        (502, 1, 1)
    );
}

#[test]
fn a_post_whose_body_was_not_begun_is_sent_again() {
    let (origin, seen) = closing_on_the_second();
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.get("/first");
    client.send("POST /second HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n");
    eventually("the target closed and was asked again", || {
        seen.load(SeqCst) == 2
    });
    client.send("xy");
    assert_eq!(client.answer().status, 200);
    assert_eq!(origin.connections(), 2);
}

/// Status of a second request whose body comes after its head, and connections to the target, which closes its first
/// connection when it has read that request whole.
fn second_request_in_pieces(method: &str, body: usize) -> (u16, usize) {
    let origin = Origin::start(move |mut stream, number| {
        let mut input = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut input) {
            if number == 0 && request.head.contains(" /second ") {
                return;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
                .unwrap();
        }
    });
    let (forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    assert_eq!(client.get("/first").status, 200);
    client.send(format!(
        "{method} /second HTTP/1.1\r\nHost: test\r\nContent-Length: {body}\r\n\r\n"
    ));
    eventually("the head has gone out", || {
        in_flight(&forwarder.snapshot()) == 1
    });
    client.send(vec![b'x'; body]);
    (client.answer().status, origin.connections())
}

#[test]
fn a_body_is_held_for_a_second_try_as_far_as_it_is_small_and_may_be_repeated() {
    assert_eq!(second_request_in_pieces("PUT", 3000), (200, 2));
    assert_eq!(second_request_in_pieces("PUT", 200_000), (502, 1));
    assert_eq!(second_request_in_pieces("POST", 3000), (502, 1));
}

#[test]
fn a_kept_connection_that_has_closed_before_is_noticed() {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
            .unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    for _ in 0..5 {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxy");
        assert_eq!(client.answer().text(), "a");
        std::thread::sleep(Duration::from_millis(20)); // for the end of the connection to arrive
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn idle_connections_to_targets_are_closed_in_time() {
    let (closed, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (closed_too, count_too) = (Arc::clone(&closed), Arc::clone(&count));
    let origin = Origin::start(move |mut stream, _| {
        let mut input = Vec::new();
        while read_request(&mut stream, &mut input).is_some() {
            count_too.fetch_add(1, SeqCst);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
                .unwrap();
        }
        closed_too.fetch_add(1, SeqCst);
    });
    let (_forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.timeouts.pool_idle = Duration::from_millis(100);
    });
    Client::connect(place.address).get("/");
    eventually("closed", || closed.load(SeqCst) == 1);
    assert_eq!(count.load(SeqCst), 1);
}

#[test]
fn what_does_not_go_well_is_counted_by_cause() {
    let dead = dead_place();
    let (forwarder, place) = proxy(&[dead.address]);
    let mut client = Client::connect(place.address);
    client.get("/");
    client.get("/");
    exchange(place.address, "GET / HTTP/1.1\r\n\r\n");
    exchange(place.address, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
    let causes = forwarder.snapshot().listeners[0].causes.clone();
    let want = [
        ("client-malformed@headers", 1),
        ("unsupported@headers", 1),
        ("connect-refused@connect", 2),
    ];
    assert_eq!(causes, want);

    let short = Origin::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    let (forwarder, place) = proxy(&[short.address]);
    exchange(place.address, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("counted", || {
        forwarder.snapshot().listeners[0].causes == [("target-reset@body", 1)]
    });
}
