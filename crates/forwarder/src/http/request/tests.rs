//! What an awkward request gets, and what the target sees of a good one.
#![allow(clippy::unwrap_used)]

use balancer::HeaderEdits;
use proptest::prelude::*;

use super::*;
use crate::http::fields::hex;
use crate::http::head;
use crate::http::scan::{HeadLimits, HeadScan, Scanned};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 32 * 1024,
    first_line: 8 * 1024 + 64,
    fields: 128,
};

/// Head as written for the target, and its facts.
fn forward_as(input: &str, trusted: bool) -> Result<(String, RequestFacts), Rejection> {
    forward_edited(input, trusted, None)
}

fn forward_edited(
    input: &str,
    trusted: bool,
    edits: Option<&HeaderEdits>,
) -> Result<(String, RequestFacts), Rejection> {
    let mut bytes = input.as_bytes().to_vec();
    let (start, end) = match HeadScan::default().scan(&bytes, &LIMITS) {
        Scanned::Complete { start, end } => (start, end),
        Scanned::More => panic!("incomplete: {input:?}"),
        Scanned::Refused(error) => return Err(error.into()),
    };
    // What can be taken apart at once is the same as what is read line by line.
    let mut room = FieldRoom::lend();
    let text = bytes[start..end].to_vec();
    let at_once = head::of_request(&text, &mut room, &LIMITS).map(|(line, length)| {
        assert_eq!(length, text.len());
        let head = understand(&text, &line, &room, 8 * 1024)?;
        Ok(write_edited(&head, trusted, edits))
    });
    let mut room = FieldRoom::lend();
    let head = parse(&mut bytes[start..end], &mut room, 8 * 1024);
    let head = head.map(|head| write_edited(&head, trusted, edits));
    if let Some(at_once) = at_once {
        let told = |head: &Result<(String, RequestFacts), Rejection>| format!("{head:?}");
        assert_eq!(told(&at_once), told(&head), "{input:?}");
    }
    head
}

fn write_edited(
    head: &RequestHead<'_, '_>,
    trusted: bool,
    edits: Option<&HeaderEdits>,
) -> (String, RequestFacts) {
    let local = "192.0.2.10:8080".parse().unwrap();
    let mut out = Vec::new();
    head.write(
        &mut out,
        &ClientFacts {
            https: false,
            peer: std::net::IpAddr::from([198, 51, 100, 7]),
            local,
            trusted,
            name: None,
        },
        &RequestChanges {
            edits,
            hidden: [None; 2],
            id: hex(0xabc),
        },
    );
    (String::from_utf8(out).unwrap(), head.facts)
}

fn forward(input: &str) -> Result<(String, RequestFacts), Rejection> {
    forward_as(input, false)
}

fn status(input: &str) -> u16 {
    forward(input).map_or_else(|rejection| rejection.status, |_| 200)
}

/// The fields the target gets besides Host and X-Forwarded-*.
fn passed(input: &str) -> Vec<String> {
    let (head, _) = forward(input).unwrap();
    let fields = head.trim_end().split("\r\n").skip(1).map(str::to_owned);
    fields
        .filter(|field| !field.starts_with("Host: ") && !field.starts_with("X-Forwarded-"))
        .filter(|field| !field.starts_with("X-Request-Id: "))
        .collect()
}

#[test]
fn a_plain_request_is_written_anew() {
    let (head, facts) =
        forward("GET /a?b=c HTTP/1.1\r\nhost: example.com\r\nX-A:   b  \r\n\r\n").unwrap();
    assert_eq!(
        head,
        "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-A: b\r\nX-Forwarded-For: 198.51.100.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: example.com\r\nX-Forwarded-Port: 8080\r\n\
         X-Request-Id: 00000000000000000000000000000abc\r\n\r\n"
    );
    assert!(facts.keep_alive && !facts.http10 && !facts.upgrade);
    assert_eq!(facts.framing, Framing::None);
}

/// The rows of the table of awkward messages that a request head alone decides.
#[test]
fn what_awkward_requests_get() {
    let rows: &[(&str, u16)] = &[
        // Framing.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            200,
        ),
        // Host and target.
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:80:b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: 2001:db8::1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]]\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80]\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1\r\n\r\n", 400),
        ("GET http://a:8x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://b/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        ("GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        ("GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        // Lines and fields.
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX_A: b\r\n\r\n", 200),
        // Request line.
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 200),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\n", 505),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // Expect.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            200,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\n\r\n",
            417,
        ),
    ];
    for (input, want) in rows {
        assert_eq!(status(input), *want, "{input:?}");
    }
}

#[test]
fn sizes_have_limits() {
    let get = |url: usize, field: usize, fields: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n{}\r\n",
            "u".repeat(url),
            "x".repeat(field),
            "A: b\r\n".repeat(fields)
        )
    };
    assert_eq!(status(&get(8000, 20 * 1024, 126)), 200);
    assert_eq!(status(&get(10 * 1024, 1, 0)), 414);
    assert_eq!(status(&get(20 * 1024, 1, 0)), 414);
    assert_eq!(status(&get(1, 70 * 1024, 0)), 431);
    assert_eq!(status(&get(1, 1, 127)), 431);
    assert_eq!(status(&get(1, 1, 300)), 431);
}

#[test]
fn fields_for_this_hop_stop_here() {
    let input = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a, Keep-Alive,X-B\r\nx-a: 1\r\nX-b: 2\r\nX-C: 3\r\n\
                 Keep-Alive: 5\r\nProxy-Connection: x\r\nHTTP2-Settings: x\r\nUpgrade: x\r\n\r\n";
    assert_eq!(passed(input), ["X-C: 3"]);
    let input = "GET / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(passed(input), ["Content-Length: 0"]);
    let input = "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n";
    assert_eq!(passed(input), ["TE: trailers"]);
}

#[test]
fn an_absolute_target_sets_the_host() {
    let (head, _) = forward("GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(
        head.starts_with("GET /x?y HTTP/1.1\r\nHost: b:81\r\n"),
        "{head}"
    );
    assert_eq!(
        head.matches("Host: ").count(),
        2,
        "one Host and X-Forwarded-Host: {head}"
    );
    let (head, _) = forward("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(head.starts_with("GET / HTTP/1.1\r\nHost: b\r\n"), "{head}");
}

#[test]
fn http_1_0_without_host_is_given_the_address() {
    let (head, facts) = forward("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(
        head.starts_with("GET / HTTP/1.1\r\nHost: 192.0.2.10:8080\r\n"),
        "{head}"
    );
    assert!(facts.http10 && !facts.keep_alive);
    let (_, facts) = forward("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert!(facts.keep_alive);
}

#[test]
fn forwarded_fields_are_replaced_unless_the_client_is_trusted() {
    let input = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 443\r\nForwarded: for=x\r\n\
                 X_Forwarded_For: 3.3.3.3\r\n\r\n";
    let (head, _) = forward(input).unwrap();
    let ours = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
                X-Forwarded-Port: 8080\r\nX-Request-Id: 00000000000000000000000000000abc\r\n\r\n";
    assert_eq!(head, format!("GET / HTTP/1.1\r\nHost: a\r\n{ours}"));
    let (head, _) = forward_as(input, true).unwrap();
    assert_eq!(
        head,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 443\r\n\
         Forwarded: for=x\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 198.51.100.7\r\n\
         X-Request-Id: 00000000000000000000000000000abc\r\n\r\n"
    );
}

#[test]
fn an_id_is_believed_from_a_trusted_client_if_it_is_one() {
    let id = |value: &str, trusted: bool| {
        let input = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nx-request-id: {value}\r\nX_Request_Id: 9\r\n\r\n"
        );
        let (head, _) = forward_as(&input, trusted).unwrap();
        let lower = head.to_ascii_lowercase();
        let ids: Vec<&str> = lower
            .split("\r\n")
            .filter(|line| line.contains("request"))
            .collect();
        ids.join(" ")
    };
    let ours = "x-request-id: 00000000000000000000000000000abc";
    assert_eq!(id("7f-x", true), "x-request-id: 7f-x");
    assert_eq!(id("7f-x", false), ours);
    assert_eq!(id("7f x", true), ours);
    assert_eq!(id(&"a".repeat(129), true), ours);
}

#[test]
fn a_rule_changes_fields() {
    let edits = HeaderEdits {
        set: vec![
            ("X-Edge".to_owned(), "1".to_owned()),
            ("Host".to_owned(), "inner.example".to_owned()),
        ],
        remove: vec!["x-internal".to_owned(), "X-Request-Id".to_owned()],
    };
    let input =
        "GET / HTTP/1.1\r\nHost: a\r\nX-INTERNAL: x\r\nx-edge: 9\r\nX-Edge: 8\r\nX-B: c\r\n\r\n";
    let (head, _) = forward_edited(input, false, Some(&edits)).unwrap();
    assert_eq!(
        head,
        "GET / HTTP/1.1\r\nX-B: c\r\nX-Edge: 1\r\nHost: inner.example\r\nX-Forwarded-For: 198.51.100.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 8080\r\n\r\n"
    );
}

#[test]
fn upgrades_are_asked_for_but_never_h2c() {
    let (head, facts) =
        forward("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert!(facts.upgrade);
    assert!(
        head.contains("\r\nUpgrade: websocket\r\n") && head.contains("\r\nConnection: upgrade\r\n"),
        "{head}"
    );
    for input in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\n",
    ] {
        let (head, facts) = forward(input).unwrap();
        assert!(!facts.upgrade && !head.contains("pgrade"), "{head}");
    }
}

#[test]
fn framing_is_written_from_what_was_understood() {
    let (head, facts) =
        forward("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 007\r\n\r\n").unwrap();
    assert_eq!(facts.framing, Framing::Length(7));
    assert!(head.contains("\r\nContent-Length: 7\r\n"), "{head}");
    let (head, facts) =
        forward("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n").unwrap();
    assert_eq!(facts.framing, Framing::Chunked);
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n"),
        "{head}"
    );
}

proptest! {
    #[test]
    fn any_bytes_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        if let Scanned::Complete { start, end } = HeadScan::default().scan(&bytes, &LIMITS) {
            let mut room = FieldRoom::lend();
            let _ = parse(&mut bytes[start..end], &mut room, 8 * 1024);
        }
        let mut room = FieldRoom::lend();
        let _ = parse(&mut bytes, &mut room, 8 * 1024);
    }

    /// What is written for the target is a request the codec itself takes, and takes for the same.
    #[test]
    fn what_is_written_can_be_read_again(
        lines in proptest::collection::vec(prop_oneof![
            Just("Host: a"), Just("Content-Length: 5"), Just("Transfer-Encoding: chunked"), Just("Connection: close, x-a"),
            Just("X-A: 1"), Just("X-Forwarded-For: 9"), Just("Upgrade: websocket"), Just("Connection: upgrade"),
            Just("Expect: 100-continue"), Just("TE: trailers"), Just("Cookie: a=b"), Just("Keep-Alive: 1"),
        ], 0..8),
        version in prop_oneof![Just("1.0"), Just("1.1"), Just("1.5")],
    ) {
        let input = format!("PUT /x HTTP/{version}\r\n{}\r\n", lines.iter().map(|line| format!("{line}\r\n")).collect::<String>());
        if let Ok((head, facts)) = forward(&input) {
            let (again, facts_again) = forward_as(&head, true).unwrap();
            prop_assert_eq!(facts.framing, facts_again.framing);
            prop_assert!(facts_again.keep_alive);
            prop_assert_eq!(head.matches("Host: ").count(), again.matches("Host: ").count());
        }
    }
}
