//! Bodies: every framing, both ways, large and early, and what a broken one looks like to the client.

use std::io::{Read, Write};
use std::time::Duration;

use crate::support::*;

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        let head =
            String::from_utf8(read_until(&mut stream, &mut input, b"\r\n\r\n").unwrap()).unwrap();
        assert!(
            head.contains("\r\nTransfer-Encoding: chunked\r\n"),
            "{head}"
        );
        let body = read_until(&mut stream, &mut input, b"\r\nx-sum: 7\r\n\r\n").unwrap();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 7\r\n\r\n"
        );
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-b\r\n\r\n4;ext\r\n",
            )
            .unwrap();
        stream
            .write_all(b"wxyz\r\n0\r\nx-b: 1\r\nContent-Length: 9\r\n\r\n")
            .unwrap();
        assert_eq!(
            read_until(&mut stream, &mut input, b"\r\n\r\n").map(|head| head.is_empty()),
            Some(false)
        );
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n",
    );
    client.send("2\r\nde\r\n0\r\nx-sum: 7\r\n\r\n");
    let answer = client.head().unwrap();
    assert_eq!(
        (answer.field("Transfer-Encoding"), answer.field("Trailer")),
        (Some("chunked"), Some("x-b"))
    );
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let rest = String::from_utf8(client.rest().unwrap()).unwrap();
    assert_eq!(
        rest,
        "4\r\nwxyz\r\n0\r\nx-b: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "the same connection to the target serves the next request"
    );
    assert_eq!(origin.connections(), 1);
}

const MIB: usize = 1024 * 1024;

#[test]
fn a_large_upload_streams_through() {
    const SIZE: usize = 32 * MIB;
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        let head = read_until(&mut stream, &mut input, b"\r\n\r\n").unwrap();
        assert!(
            String::from_utf8(head)
                .unwrap()
                .contains(&format!("Content-Length: {SIZE}"))
        );
        let (mut total, mut buf) = (input.len(), vec![0; MIB]);
        while total < SIZE {
            total += stream.read(&mut buf).unwrap();
        }
        let text = total.to_string();
        stream
            .write_all(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                )
                .as_bytes(),
            )
            .unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n"
    ));
    client.send(vec![b'x'; SIZE]);
    assert_eq!(client.answer().text(), SIZE.to_string());
}

#[test]
fn an_answer_until_close_ends_with_the_connection() {
    let origin = Origin::saying(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nall of it");
    let (_forwarder, place) = proxy(&[origin.address]);
    let answer = exchange(place.address, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nServer: old\r\nConnection: close\r\n\r\nall of it"
    );
}

#[test]
fn a_cut_answer_looks_cut() {
    let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let short = Origin::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    let (forwarder, place) = proxy(&[short.address]);
    let answer = exchange(place.address, request);
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    eventually("error counted", || {
        forwarder.snapshot().groups[0].targets[0].errors_total == 1
    });

    let chunked = Origin::saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
    let (_forwarder, place) = proxy(&[chunked.address]);
    assert!(exchange(place.address, request).ends_with("\r\n\r\n5\r\nab"));
    // An HTTP/1.0 client sees no chunks: only a reset tells it.
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.rest().is_err(), "taken for whole");
}

#[test]
fn bodies_are_left_out_where_there_are_none() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    let origin = Origin::http(|request| match request.head.split(' ').next().unwrap() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n".to_vec(),
        "PUT" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "DELETE" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na".to_vec(),
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.head().unwrap().head, head);
    client.send("PUT / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer().status, 204);
    client.send("DELETE / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer().status, 304);
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_body_after_204_is_dropped_with_its_connection() {
    let origin = Origin::http(|request| match request.head.contains("/first ") {
        true => {
            b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
                .to_vec()
        }
        false => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na".to_vec(),
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    assert_eq!(client.get("/first").status, 204);
    assert_eq!(client.get("/second").text(), "a");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn one_100_is_relayed_to_who_waits_for_it() {
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        let head =
            String::from_utf8(read_until(&mut stream, &mut input, b"\r\n\r\n").unwrap()).unwrap();
        assert!(head.contains("\r\nExpect: 100-continue\r\n"), "{head}");
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            .unwrap();
        stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .unwrap();
        assert_eq!(
            read_until(&mut stream, &mut input, b"body").unwrap(),
            b"body"
        );
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client
        .send("PUT / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    let hints = client.head().unwrap();
    assert_eq!((hints.status, hints.field("Link")), (103, Some("</a>")));
    client.send("body");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_100_nobody_waits_for_is_dropped() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na".to_vec()
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    assert_eq!(Client::connect(place.address).get("/").text(), "a");
}

#[test]
fn a_refused_expectation_is_relayed_without_the_body() {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_until(&mut stream, &mut Vec::new(), b"\r\n\r\n");
        stream
            .write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        let _ = stream.read(&mut [0; 16]);
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client
        .send("PUT / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.field("Connection")),
        (417, Some("close"))
    );
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn an_early_answer_is_relayed_at_once() {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_until(&mut stream, &mut Vec::new(), b"\r\n\r\n");
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nbegin");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.text(), answer.field("Connection")),
        (413, "big", Some("close"))
    );
    client.send(vec![b'x'; 10_000]);
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn an_answer_may_come_while_the_body_is_still_sent() {
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        let _ = read_until(&mut stream, &mut input, b"\r\n\r\n");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for wanted in [&b"one"[..], b"two"] {
            let got = read_until(&mut stream, &mut input, wanted).unwrap();
            stream
                .write_all(format!("{:x}\r\n", got.len()).as_bytes())
                .unwrap();
            stream.write_all(&got).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n");
    client.head().unwrap();
    let mut input = Vec::new();
    client.send("one");
    assert!(read_until(&mut client.stream, &mut input, b"one\r\n").is_some());
    client.send("two");
    assert!(read_until(&mut client.stream, &mut input, b"two\r\n0\r\n\r\n").is_some());
}

#[test]
fn a_body_above_the_limit_gets_413() {
    let (origin, _notes) = noting();
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.limits.body_bytes = Some(10)
    });
    let post = |body: &str| {
        exchange(
            place.address,
            format!("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{body}"),
        )
    };
    assert_eq!(
        status_of(&post("Content-Length: 10\r\n\r\n0123456789")),
        200
    );
    assert_eq!(status_of(&post("Content-Length: 11\r\n\r\n")), 413);
    assert_eq!(
        status_of(&post(
            "Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n"
        )),
        413
    );
    let mut slow = Client::connect(place.address);
    slow.send(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n",
    );
    slow.send("8\r\n01234567\r\n");
    assert_eq!(slow.answer().status, 413);
}

#[test]
fn a_body_that_stops_coming_gets_408() {
    let origin = Origin::start(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.timeouts.body_idle = Duration::from_millis(200);
    });
    let mut client = Client::connect(place.address);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.text().contains("client-timeout@body")),
        (408, true)
    );
}

#[test]
fn an_early_answer_is_relayed_also_if_the_target_closes_at_once() {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_until(&mut stream, &mut Vec::new(), b"\r\n\r\n");
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .unwrap();
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n");
    client.send(vec![b'x'; 50_000]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (413, "big"));
}

#[test]
fn a_connection_with_half_a_request_on_it_is_not_used_again() {
    let origin = Origin::start(|mut stream, number| {
        let mut input = Vec::new();
        while read_until(&mut stream, &mut input, b"\r\n\r\n").is_some() {
            let status = if number == 0 {
                "413 Content Too Large"
            } else {
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut early = Client::connect(place.address);
    early.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nbegin");
    assert_eq!(early.answer().status, 413);
    for _ in 0..4 {
        // Several, so that both threads have their turn.
        assert_eq!(Client::connect(place.address).get("/").status, 200);
    }
}
