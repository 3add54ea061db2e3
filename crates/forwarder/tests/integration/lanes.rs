//! Streams of one HTTP/2 connection after one another: each is served as if it were the first.

use std::io::{Read, Write};

use bytes::Bytes;
use forwarder::AccessLogFormat;
use h2::Reason;

use crate::access_log::Log;
use crate::http2::{client, connect, get, h2c, read, request, soon, start, text};
use crate::support::*;

/// Answers as the path says.
fn various() -> Origin {
    Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut input) {
            let path = request
                .head
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            let body = format!("{path} {}", String::from_utf8_lossy(&request.body));
            let answer = match path.as_str() {
                "/gone" => return,
                "/never" => {
                    let _ = stream.read(&mut [0; 1]);
                    return;
                }
                "/short" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned(),
                "/until-close" => "HTTP/1.1 200 OK\r\n\r\nall".to_owned(),
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                "/chunks" => {
                    let size = body.len();
                    format!(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
                    )
                }
                _ => {
                    let size = body.len();
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{body}")
                }
            };
            let _ = stream.write_all(answer.as_bytes());
            if ["/short", "/until-close"].contains(&path.as_str()) {
                return;
            }
        }
    })
}

#[test]
fn a_stream_is_served_whatever_became_of_those_before_it() {
    let origin = various();
    let (forwarder, place) = h2c(&[origin.address]);
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    const ROUNDS: usize = 3;
    client(async {
        let (send, _connection) = connect(place.address).await;
        for round in 0..ROUNDS {
            let path = format!("/{round}");
            assert_eq!(text(get(&send, &path).await).await, format!("{path} "));
            assert_eq!(get(&send, "/gone").await.status(), 502);
            assert_eq!(text(get(&send, "/chunks").await).await, "/chunks ");
            assert_eq!(get(&send, "/none").await.status(), 204);
            // Whether its head still comes is left open.
            let (short, _) = start(&send, request("GET", "/short"), true).await;
            if let Ok(mut short) = short.await {
                assert!(read(short.body_mut()).await.is_err());
            }
            let mut post = request("POST", "/post");
            post.headers_mut().insert("content-length", 4.into());
            let (answer, mut body) = start(&send, post, false).await;
            body.send_data(Bytes::from_static(b"body"), true).unwrap();
            assert_eq!(text(answer.await.unwrap()).await, "/post body");
            assert_eq!(text(get(&send, "/until-close").await).await, "all");
            let (head, _) = start(&send, request("HEAD", "/head"), true).await;
            let head = head.await.unwrap();
            assert_eq!(head.headers()["content-length"], "6");
            assert_eq!(text(head).await, "");
            let (never, mut stream) = start(&send, request("GET", "/never"), true).await;
            soon(|| in_flight(&forwarder.snapshot()) == 1).await;
            stream.send_reset(Reason::CANCEL);
            assert!(never.await.is_err());
            soon(|| in_flight(&forwarder.snapshot()) == 0).await;
            // A length that no body has.
            let mut odd = request("GET", "/odd");
            odd.headers_mut().insert("content-length", 0.into());
            let (answer, _) = start(&send, odd, true).await;
            assert_eq!(text(answer.await.unwrap()).await, "/odd ");
        }
    });
    let lines = log.lines(10 * ROUNDS);
    let of = |path: &str| {
        let of_path = lines.iter().filter(|line| line["path"] == path);
        of_path
            .map(|line| line["cause"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("/0"), ["ok"]);
    assert_eq!(of("/chunks"), ["ok"; ROUNDS]);
    assert_eq!(of("/never"), ["client-abort@request"; ROUNDS]);
    assert_eq!(
        lines.len(),
        10 * ROUNDS,
        "a line for each stream and no other"
    );
}

#[test]
fn what_a_reload_has_changed_holds_for_the_next_stream() {
    let (before, after) = (Origin::answering("before"), Origin::answering("after"));
    let (forwarder, place) = h2c(&[before.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        assert_eq!(text(get(&send, "/").await).await, "before");
        let mut listener = http_listener(&place);
        listener.h2c = true;
        let groups = vec![group("g", &[after.address])];
        forwarder.apply(vec![listener], groups).unwrap();
        assert_eq!(text(get(&send, "/").await).await, "after");
    });
}

#[test]
fn many_streams_at_once_and_again_get_their_own_answers() {
    let origin = various();
    let (forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        for round in 0..4 {
            let mut asked = Vec::new();
            for number in 0..60 {
                let path = format!("/{round}-{number}");
                asked.push((start(&send, request("GET", &path), true).await.0, path));
            }
            for (answer, path) in asked {
                assert_eq!(text(answer.await.unwrap()).await, format!("{path} "));
            }
        }
    });
    assert_eq!(forwarder.snapshot().listeners[0].requests_total, 240);
}
