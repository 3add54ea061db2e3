//! Rows of `docs/http.md` over real sockets: what becomes of requests and answers that are unusual, broken, or late.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use balancer::{GroupSettings, HeaderEdits, ListenerSettings, Protocol, RuleAction, RuleSettings};
use forwarder::Forwarder;
use socket2::{Domain, Socket, Type};

use crate::support::*;

/// What the target sees of these requests, sent one after the other; all of them are answered with 200.
fn seen(
    requests: &[&str],
    change: impl FnOnce(&mut ListenerSettings, &mut GroupSettings),
) -> Vec<Received> {
    let (origin, notes) = noting();
    let (_forwarder, place) = proxy_with(&[origin.address], change);
    for request in requests {
        let mut client = Client::connect(place.address);
        client.send(request);
        assert_eq!(client.answer().status, 200, "{request:?}");
    }
    let notes = notes.lock().unwrap();
    notes.clone()
}

/// What the client gets from a target that answers each request with these bytes and closes.
fn got(answer: &'static [u8], request: &str) -> Result<String, String> {
    let origin = Origin::saying(answer);
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(request);
    let rest = client.rest().map_err(|error| error.kind().to_string())?;
    Ok(String::from_utf8_lossy(&rest).into_owned())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn causes(forwarder: &Forwarder) -> Vec<(&'static str, u64)> {
    forwarder.snapshot().listeners[0].causes.clone()
}

fn cause_comes(forwarder: &Forwarder, cause: &'static str) {
    eventually(cause, || causes(forwarder) == [(cause, 1)]);
}

#[test]
fn an_absolute_target_sets_the_host_at_the_target() {
    let request = "GET http://b.test:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n";
    let seen = seen(&[request], |_, _| {});
    assert!(
        seen[0].head.starts_with("GET /x?y HTTP/1.1\r\n"),
        "{}",
        seen[0].head
    );
    assert!(seen[0].has_line("Host: b.test:81") && !seen[0].has_line("Host: a"));
}

#[test]
fn options_for_the_server_as_a_whole_pass_as_they_are() {
    let requests = [
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for seen in seen(&requests, |_, _| {}) {
        assert!(
            seen.head.starts_with("OPTIONS * HTTP/1.1\r\n"),
            "{}",
            seen.head
        );
    }
}

#[test]
fn fields_named_in_connection_stop_here_both_ways() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-A\r\nx-a: 1\r\nKeep-Alive: 5\r\n\
                   Proxy-Connection: x\r\nTE: gzip, trailers\r\nX-B: 2\r\n\r\n";
    let seen = seen(&[request], |_, _| {});
    let head = seen[0].head.to_ascii_lowercase();
    for gone in [
        "x-a:",
        "keep-alive",
        "proxy-connection",
        "\r\nconnection",
        "gzip",
    ] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert!(seen[0].has_line("X-B: 2") && seen[0].has_line("TE: trailers"));
    let answer = got(
        b"HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nKeep-Alive: 5\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    let want = "HTTP/1.1 200 OK\r\nX-B: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(answer.unwrap(), want);
}

#[test]
fn a_field_with_underscores_passes_unless_it_looks_like_one_of_ours() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX_A: 1\r\nX_Forwarded_For: 6.6.6.6\r\nX_User: me\r\nx-secret_b: 2\r\n\r\n";
    let seen = seen(&[request], |listener, _| {
        listener.rules = vec![RuleSettings {
            action: RuleAction::Forward("g".into()),
            request_headers: HeaderEdits {
                set: vec![("X-User".to_owned(), "checked".to_owned())],
                remove: vec!["X-Secret-B".to_owned()],
            },
            ..RuleSettings::new("all", Vec::new(), "g")
        }];
    });
    let head = &seen[0].head;
    assert!(
        seen[0].has_line("X_A: 1") && seen[0].has_line("X-User: checked"),
        "{head}"
    );
    for gone in ["X_Forwarded_For", "X_User", "x-secret_b"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

#[test]
fn chunk_extensions_are_dropped_and_limited() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = format!("{post}3;a=\"b\";c\r\nabc\r\n0;d\r\n\r\n");
    let seen = seen(&[&request], |_, _| {});
    assert_eq!(seen[0].body, b"3\r\nabc\r\n0\r\n\r\n");
    let (origin, _) = noting();
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(format!("{post}3;{}", "x".repeat(17 * 1024)));
    assert_eq!(client.answer().status, 400);
}

#[test]
fn the_limits_of_a_head_are_where_they_are_said_to_be() {
    let (origin, _) = noting();
    let (_forwarder, place) = proxy(&[origin.address]);
    let status = |head: String| {
        let mut client = Client::connect(place.address);
        client.send(head);
        client.answer().status
    };
    let bytes = |total: usize| {
        let (begin, end) = ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
        format!(
            "{begin}{}{end}",
            "x".repeat(total - begin.len() - end.len())
        )
    };
    assert_eq!(
        (status(bytes(32 * 1024)), status(bytes(32 * 1024 + 1))),
        (200, 431)
    );
    let fields = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "A: b\r\n".repeat(count - 1)
        )
    };
    assert_eq!((status(fields(128)), status(fields(129))), (200, 431));
    let target = |length: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "u".repeat(length - 1)
        )
    };
    assert_eq!(
        (status(target(8 * 1024)), status(target(8 * 1024 + 1))),
        (200, 414)
    );
}

/// Answers with interim answers of these statuses before the last one.
fn interim(statuses: &'static [u16]) -> Origin {
    Origin::http(|_| {
        let heads = statuses
            .iter()
            .map(|status| format!("HTTP/1.1 {status} X\r\nA: b\r\n\r\n"));
        let heads: String = heads.collect();
        format!("{heads}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").into_bytes()
    })
}

#[test]
fn every_interim_answer_is_relayed_but_not_to_http_1_0() {
    let origin = interim(&[102, 103, 103, 199]);
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(GET);
    for status in [102, 103, 103, 199] {
        let head = client.head().unwrap();
        assert_eq!((head.status, head.field("A")), (status, Some("b")));
    }
    assert_eq!(client.answer().text(), "a");
    let old = exchange(place.address, "GET / HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.1 200 OK\r\n"), "{old}");
}

#[test]
fn interim_answers_without_end_are_502() {
    let origin = interim(&[103; 33]);
    let (forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(GET);
    let last = loop {
        let answer = client.answer();
        if answer.status != 103 {
            break answer;
        }
    };
    assert_eq!(last.status, 502);
    cause_comes(&forwarder, "target-malformed@headers");
}

#[test]
fn a_body_that_does_not_wait_for_the_100_gets_one_100_at_most() {
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        let _ = read_until(&mut stream, &mut input, b"\r\n\r\n");
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let _ = read_until(&mut stream, &mut input, b"body");
        let last = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(last).unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let answer = exchange(
        place.address,
        "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
    );
    let statuses: Vec<u16> = answer.split("HTTP/1.1").skip(1).map(status_of).collect();
    assert_eq!(statuses, [100, 200], "{answer}");
}

#[test]
fn a_reset_in_the_middle_of_an_answer_is_seen_as_a_cut() {
    for head in [
        "Content-Length: 10\r\n",
        "Transfer-Encoding: chunked\r\n",
        "",
    ] {
        let origin = Origin::start(move |mut stream, _| {
            let _ = read_request(&mut stream, &mut Vec::new());
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n3\r\nabc");
            stream.write_all(answer.as_bytes()).unwrap();
            // What was sent is read before the reset overtakes it.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
            let _ = stream.read(&mut [0]);
            let socket = Socket::from(stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        });
        let (forwarder, place) = proxy(&[origin.address]);
        let mut client = Client::connect(place.address);
        client.send(GET);
        match (head, client.rest()) {
            // Nothing but a reset tells that it is not whole.
            ("", rest) => assert!(rest.is_err(), "{head}: taken for whole"),
            (_, Ok(rest)) => {
                let rest = String::from_utf8(rest).unwrap();
                assert!(
                    rest.starts_with("HTTP/1.1 200 OK") && rest.ends_with("abc"),
                    "{rest}"
                );
            }
            (_, Err(error)) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        cause_comes(&forwarder, "target-reset@body");
    }
}

#[test]
fn a_chunk_that_is_broken_after_the_head_has_gone_ends_the_answer() {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        stream.write_all(begin).unwrap();
        let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
        let _ = stream.read(&mut [0]);
        stream.write_all(b"zz\r\n0\r\n\r\n").unwrap();
    });
    let (forwarder, place) = proxy(&[origin.address]);
    let answer = exchange(place.address, GET);
    assert!(answer.ends_with("\r\n\r\n3\r\nabc\r\n"), "{answer}");
    cause_comes(&forwarder, "target-reset@body");
}

#[test]
fn chunks_of_targets_are_as_strict_as_those_of_clients() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let rows: [&'static [u8]; 8] = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;\x00\r\nabc\r\n0\r\n\r\n",
    ];
    for answer in rows {
        let got = got(answer, get).unwrap();
        let sent = String::from_utf8_lossy(answer);
        assert_eq!(status_of(&got), 502, "{sent:?}");
        assert!(got.ends_with("target-malformed@headers\n"), "{got}");
    }
    // What is not wrong, but nobody else's business.
    let got = got(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n003;a=b\r\nabc\r\n0;c\r\nX-A: 1\r\nHost: b\r\n\r\n",
        get,
    );
    let want = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n003\r\nabc\r\n0\r\nX-A: 1\r\n\r\n";
    assert_eq!(got.unwrap(), want);
}

#[test]
fn what_a_rule_keeps_out_of_heads_comes_in_no_trailers() {
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        let end = b"\r\nX-Last: 1\r\n\r\n";
        while let Some(request) = read_until(&mut stream, &mut input, end) {
            let request = String::from_utf8(request).unwrap();
            let trailers = request.rsplit_once("\r\n0\r\n").unwrap().1;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{trailers}\r\n0\r\nX-Own: 1\r\nServer: a\r\n\r\n",
                trailers.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.rules = vec![RuleSettings {
            request_headers: HeaderEdits {
                set: vec![("X-User".to_owned(), "checked".to_owned())],
                remove: vec!["X-Secret".to_owned()],
            },
            answer_headers: HeaderEdits {
                set: vec![],
                remove: vec!["Server".to_owned()],
            },
            ..RuleSettings::new("all", Vec::new(), "g")
        }];
    });
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "1\r\na\r\n0\r\nx_user: admin\r\nX-SECRET: 1\r\nX-Last: 1\r\n\r\n";
    let want = "d\r\nX-Last: 1\r\n\r\n\r\n0\r\nX-Own: 1\r\n\r\n";
    // At once, and the body after the head.
    for pieces in [
        vec![format!("{head}{body}")],
        vec![head.into(), body.into()],
    ] {
        let mut client = Client::connect(place.address);
        for piece in pieces {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(20)); // for the pieces to come apart, as a rule
        }
        let answer = String::from_utf8(client.rest().unwrap()).unwrap();
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, want);
    }
}

#[test]
fn what_follows_a_request_through_several_hops_passes() {
    let fields = [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b",
        "baggage: c=d",
    ];
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n",
        fields.join("\r\n")
    );
    let seen = seen(&[&request], |_, _| {});
    assert!(fields.iter().all(|field| seen[0].has_line(field)));
}

#[test]
fn limits_of_a_head_can_be_set() {
    let (origin, _) = noting();
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.limits.header_fields = 10;
        listener.limits.url_bytes = 300;
    });
    let status = |fields: usize, url: usize| {
        let mut client = Client::connect(place.address);
        let (url, fields) = ("u".repeat(url - 1), "A: b\r\n".repeat(fields - 1));
        client.send(format!("GET /{url} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        client.answer().status
    };
    assert_eq!((status(10, 300), status(11, 300)), (200, 431));
    assert_eq!((status(10, 301), status(1, 2_000)), (414, 414));
}

#[test]
fn heads_of_targets_are_as_strict_as_those_of_clients() {
    let rows: [&'static [u8]; 9] = [
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    ];
    for answer in rows {
        let got = got(
            answer,
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
        assert_eq!(
            status_of(&got),
            502,
            "{:?}",
            String::from_utf8_lossy(answer)
        );
        assert!(got.ends_with("target-malformed@headers\n"), "{got}");
    }
}

#[test]
fn an_answer_head_beyond_64_kib_is_502() {
    let origin = Origin::http(|_| {
        let field = "x".repeat(65 * 1024);
        format!("HTTP/1.1 200 OK\r\nX: {field}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    assert_eq!(Client::connect(place.address).get("/").status, 502);
}

#[test]
fn what_comes_after_an_answer_is_nobodys_answer() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison".to_vec()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "a");
    }
    assert_eq!(
        origin.connections(),
        3,
        "such a connection is not used again"
    );
}

#[test]
fn an_upgrade_that_is_refused_never_becomes_a_tunnel() {
    let (origin, notes) = noting();
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    );
    assert_eq!((client.answer().status, client.answer().status), (200, 200));
    let notes = notes.lock().unwrap();
    assert_eq!(notes.len(), 2);
    assert!(
        notes[1].has_line("X-Forwarded-For: 127.0.0.1"),
        "{}",
        notes[1].head
    );
}

/// Takes connections and answers the first request, then does nothing but hold them.
fn holding(answer: &'static [u8]) -> Origin {
    Origin::start(move |mut stream, _| {
        let _ = read_until(&mut stream, &mut Vec::new(), b"\r\n\r\n");
        stream.write_all(answer).unwrap();
        std::thread::sleep(LIMIT); // the end of the test ends it
    })
}

#[test]
fn a_target_that_falls_silent_in_an_answer_is_cut_in_time() {
    let origin = holding(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.timeouts.idle = Duration::from_millis(200);
    });
    let answer = exchange(place.address, GET);
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
    cause_comes(&forwarder, "target-timeout@body");
}

#[test]
fn a_target_that_does_not_read_the_request_is_504() {
    let origin = Origin::start(|stream, _| {
        std::thread::sleep(LIMIT); // the end of the test ends it
        drop(stream);
    });
    let (_forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.timeouts.idle = Duration::from_millis(300);
    });
    let mut client = Client::connect(place.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let piece = vec![b'x'; 1024 * 1024];
        while writer.write_all(&piece).is_ok() {}
    });
    let answer = client.answer();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(
        answer.text().ends_with("target-timeout@request\n"),
        "{}",
        answer.text()
    );
    let _ = client.stream.shutdown(Shutdown::Both);
    writing.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_its_answer_is_given_up_in_time() {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 1024 * 1024];
        while stream.write_all(&piece).is_ok() {}
    });
    let (forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.timeouts.body_idle = Duration::from_millis(300);
    });
    let mut client = Client::connect(place.address);
    client.send(GET);
    client.head().unwrap();
    cause_comes(&forwarder, "client-abort@answer");
    eventually("given back", || in_flight(&forwarder.snapshot()) == 0);
}

/// A connection that has become a tunnel.
fn tunnel(change: impl FnOnce(&mut ListenerSettings)) -> (Forwarder, Place, Client) {
    let origin =
        holding(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    let (forwarder, place) = proxy_with(&[origin.address], |listener, _| change(listener));
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 101);
    (forwarder, place, client)
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends_in_time() {
    let (forwarder, _place, mut client) = tunnel(|listener| {
        listener.timeouts.tunnel = Duration::from_millis(200);
    });
    let _ = client.rest(); // a reset is an end as well
    cause_comes(&forwarder, "idle-timeout@tunnel");
}

#[test]
fn a_tunnel_of_which_one_direction_has_ended_ends_in_its_own_time() {
    let (forwarder, _place, mut client) = tunnel(|listener| {
        listener.timeouts.half_closed = Duration::from_millis(200);
    });
    client.stream.shutdown(Shutdown::Write).unwrap();
    let _ = client.rest(); // a reset is an end as well
    cause_comes(&forwarder, "idle-timeout@tunnel");
}

/// A listening socket whose queue is full: the kernel answers no further connection.
fn full() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let waiting = std::iter::from_fn(|| connect().ok()).take(16).collect();
    (socket, address, waiting)
}

#[test]
fn a_target_that_does_not_take_the_connection_is_504_in_time() {
    let (_socket, address, _waiting) = full();
    let (_forwarder, place) = proxy_with(&[address], |_, group| {
        group.timeouts.connect = Duration::from_millis(200);
    });
    let answer = Client::connect(place.address).get("/");
    assert_eq!(answer.status, 504);
    assert!(
        answer.text().ends_with("connect-timeout@connect\n"),
        "{}",
        answer.text()
    );
}

#[test]
fn the_limits_of_time_are_what_the_table_says_unless_configured() {
    let listener = ListenerSettings::new("web", Protocol::Http, Vec::new(), "g");
    let group = GroupSettings::new("g", []);
    let seconds = [
        ("request headers", listener.timeouts.header, 10),
        ("request body idle", listener.timeouts.body_idle, 60),
        ("keep-alive idle", listener.timeouts.keepalive, 75),
        ("tls handshake", listener.timeouts.handshake, 10),
        ("connect to target", group.timeouts.connect, 3),
        ("wait in queue", group.limits.queue_for, 5),
        ("first response byte", group.timeouts.first_byte, 60),
        ("between reads and writes", group.timeouts.idle, 60),
        ("tunnel", listener.timeouts.tunnel, 3600),
        ("half-closed", listener.timeouts.half_closed, 30),
        ("check", group.health.timeout, 2),
        ("upstream idle", group.timeouts.pool_idle, 30),
        ("upstream age", group.timeouts.pool_age, 3600),
        ("drain", group.drain, 300),
    ];
    for (what, time, want) in seconds {
        assert_eq!(time, Duration::from_secs(want), "{what}");
    }
}
