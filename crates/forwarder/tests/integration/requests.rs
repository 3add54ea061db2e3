//! Ordinary requests: balanced, kept alive, pipelined, and how connections begin and end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use balancer::{Protocol, RuleAction};

use crate::support::*;

#[test]
fn requests_alternate_between_two_targets_on_one_kept_connection() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, place) = proxy(&[a.address, b.address]);
    let mut client = Client::connect(place.address);
    let bodies: Vec<String> = (0..10).map(|_| client.get("/").text().to_owned()).collect();
    assert_eq!(bodies.concat(), "ababababab");
    assert_eq!(
        (a.connections(), b.connections()),
        (1, 1),
        "connections to targets are used again"
    );
    let snapshot = forwarder.snapshot();
    let listener = &snapshot.listeners[0];
    assert_eq!(
        (
            listener.connections,
            listener.connections_total,
            listener.requests_total
        ),
        (1, 1, 10)
    );
    assert_eq!(snapshot.groups[0].targets[0].requests_total, 5);
    eventually("nothing in flight", || {
        in_flight(&forwarder.snapshot()) == 0
    });
    drop(client);
    eventually("no connection", || {
        forwarder.snapshot().listeners[0].connections == 0
    });
}

#[test]
fn the_target_sees_who_asked_for_what() {
    let (origin, notes) = noting();
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("GET /a?b HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 9.9.9.9\r\nX-A: b\r\nConnection: x-b\r\nX-B: c\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let port = place.address.port();
    let head = notes.lock().unwrap()[0].head.clone();
    let (head, id) = head.split_once("X-Request-Id: ").unwrap();
    assert!(
        id.len() == 36 && id.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(
        head,
        format!(
            "GET /a?b HTTP/1.1\r\nHost: test\r\nX-A: b\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: test\r\nX-Forwarded-Port: {port}\r\n"
        )
    );
}

#[test]
fn a_trusted_proxy_is_believed() {
    let (origin, notes) = noting();
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n");
    client.answer();
    let notes = notes.lock().unwrap();
    assert!(
        notes[0].has_line("X-Forwarded-For: 9.9.9.9, 127.0.0.1"),
        "{}",
        notes[0].head
    );
    assert!(
        notes[0].has_line("X-Forwarded-Proto: https"),
        "{}",
        notes[0].head
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::http(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
            path.len()
        )
        .into_bytes()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    let requests: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"))
        .collect();
    client.send(requests);
    for n in 0..20 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
    client.send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer().text(), "/a");
    assert_eq!(client.answer().text(), "/b");
}

#[test]
fn a_head_in_single_bytes_is_understood() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    for byte in b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxy" {
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "a");
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let answer = exchange(place.address, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");

    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.text(), answer.field("Connection")),
            ("a", Some("keep-alive"))
        );
    }
}

#[test]
fn a_connection_ends_with_the_last_request_it_may_have() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.limits.requests = Some(3);
    });
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(5));
    let last = [None, None, Some("close")];
    for last in last {
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("Connection")), (200, last));
    }
    assert_eq!(client.rest().unwrap(), b"", "no more on this one");
    assert_eq!(Client::connect(place.address).get("/").status, 200);
}

#[test]
fn a_connection_that_is_old_ends_with_its_next_answer() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy(&[origin.address]);
    let aged = |age| {
        let mut listener = http_listener(&place);
        listener.timeouts.age = age;
        let group = group("g", &[origin.address]);
        forwarder.apply(vec![listener], vec![group]).unwrap();
    };
    let mut client = Client::connect(place.address);
    aged(Some(Duration::from_secs(3600)));
    assert_eq!(client.get("/").field("Connection"), None);
    std::thread::sleep(Duration::from_millis(30)); // for it to be as old as that
    aged(Some(Duration::from_millis(1)));
    assert_eq!(client.get("/").field("Connection"), Some("close"));
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn connection_close_is_honoured() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy(&[origin.address]);
    let answer = exchange(
        place.address,
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"
    );
}

#[test]
fn the_last_answer_is_whole_whatever_its_size() {
    let origin = Origin::http(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        let (coding, octets) = path[1..].split_once('/').unwrap();
        let body = "x".repeat(octets.parse().unwrap());
        match coding {
            "chunked" => format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\na: b\r\n\r\n",
                body.len()
            ),
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {octets}\r\n\r\n{body}"),
        }
        .into_bytes()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    // Some fit into one segment, some into what the client takes at once, some into neither.
    for octets in [1, 1_500, 3_000, 70_000, 8 << 20] {
        for (coding, after) in [("sized", ""), ("chunked", "\r\n0\r\na: b\r\n\r\n")] {
            let answer = exchange(
                place.address,
                format!(
                    "GET /{coding}/{octets} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
                ),
            );
            let body = answer.strip_suffix(after).unwrap();
            assert_eq!(
                body.len() - body.trim_end_matches('x').len(),
                octets,
                "{coding}"
            );
        }
    }
}

#[test]
fn a_client_that_is_silent_at_first_is_served() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    // The kernel hands it over in the end, though it has said nothing.
    eventually("taken", || {
        forwarder.snapshot().listeners[0].connections == 1
    });
    assert_eq!(client.get("/").text(), "a");
}

#[test]
fn a_client_that_ends_its_direction_is_answered() {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        std::thread::sleep(Duration::from_millis(100)); // long enough for the end to arrive first
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
            .unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().text(), "a");
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn a_slow_head_gets_408_and_a_silent_client_is_closed() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.timeouts.header = Duration::from_millis(200);
        listener.timeouts.keepalive = Duration::from_millis(300);
    });
    let mut client = Client::connect(place.address);
    let begin = Instant::now();
    client.send("GET / HT");
    let rest = String::from_utf8(client.rest().unwrap()).unwrap();
    assert_eq!(status_of(&rest), 408, "{rest}");
    assert!(
        rest.contains("Connection: close") && rest.ends_with("client-timeout@headers\n"),
        "{rest}"
    );
    assert!(begin.elapsed() >= Duration::from_millis(200));

    let mut silent = Client::connect(place.address);
    assert_eq!(silent.rest().unwrap(), b"");

    let mut idle = Client::connect(place.address);
    idle.get("/");
    let begin = Instant::now();
    assert_eq!(idle.rest().unwrap(), b"");
    assert!(
        begin.elapsed() >= Duration::from_millis(290),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let origin = Origin::start(|mut stream, _| {
        let request = read_request(&mut stream, &mut Vec::new()).unwrap();
        assert!(request.has_line("Upgrade: websocket") && request.has_line("Connection: upgrade"));
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello")
            .unwrap();
        let mut buf = [0; 1024];
        while let Ok(count) = stream.read(&mut buf) {
            if count == 0 || stream.write_all(&buf[..count]).is_err() {
                break;
            }
        }
    });
    let (forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: x\r\n\r\nearly",
    );
    let head = client.head().unwrap();
    assert_eq!(
        (head.status, head.field("Upgrade")),
        (101, Some("websocket"))
    );
    client.send("late");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"helloearlylate");
    eventually("lease given back", || in_flight(&forwarder.snapshot()) == 0);
}

#[test]
fn a_refused_upgrade_goes_on_as_http() {
    let origin = Origin::answering("no");
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
         GET /next HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "no");
    assert_eq!(client.answer().text(), "no");
}

#[test]
fn a_listener_may_close_without_an_answer() {
    let (_forwarder, place) = proxy_with(&[], |listener, _| listener.default = RuleAction::Close);
    assert_eq!(
        exchange(place.address, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
        ""
    );
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.limits.connections = 2
    });
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(place.address)).collect();
    for client in &mut clients {
        client.get("/");
    }
    let mut waiting = Client::connect(place.address);
    waiting.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    waiting
        .stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(waiting.try_answer().is_none(), "served beyond the limit");
    assert_eq!(forwarder.snapshot().listeners[0].connections, 2);
    clients.pop();
    waiting.stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(waiting.answer().text(), "a");
}

#[test]
fn an_address_of_no_interface_can_be_bound() {
    let forwarder = forwarder();
    let mut listener = http_listener(&place());
    listener.binds = vec![
        "192.0.2.77:8080".parse().unwrap(),
        "[2001:db8::77]:8080".parse().unwrap(),
    ];
    listener.protocol = Protocol::Http;
    forwarder
        .apply(vec![listener], vec![group("g", &[])])
        .unwrap();
    assert!(forwarder.ready().listening);
}

/// Goes on sending for a while after the other side has ended its direction; fails if that is answered by a reset.
fn go_on_sending(client: &mut Client) {
    for _ in 0..4 {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        std::thread::sleep(Duration::from_millis(20)); // for a reset to come back
    }
}

#[test]
fn a_client_that_is_still_sending_is_not_reset() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy(&[origin.address]);
    let mut refused = Client::connect(place.address);
    refused.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(
        status_of(&String::from_utf8(refused.rest().unwrap()).unwrap()),
        400
    );
    go_on_sending(&mut refused);

    let mut kept = Client::connect(place.address);
    kept.get("/");
    forwarder.apply(vec![], vec![group("g", &[])]).unwrap();
    let answer = kept.get("/");
    assert_eq!(answer.field("Connection"), Some("close"));
    go_on_sending(&mut kept);
}
