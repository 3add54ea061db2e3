//! The codec under bytes nobody planned, in pieces nobody planned.
//!
//! Runs as long as `TANDEM_FUZZ_SECONDS` says (each property so long), and a few hundred cases without it:
//! `TANDEM_FUZZ_SECONDS=600 cargo test --release -p forwarder --lib http::fuzz`.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::body::{Body, BodyError, Framing};
use super::changes::{AnswerChanges, RequestChanges};
use super::chunked::Emit;
use super::head::{self, FieldRoom};
use super::request::{self, ClientFacts, RequestFacts, RequestHead};
use super::response::{self, RESPONSE_LIMITS};
use super::scan::{HeadLimits, HeadScan, Scanned};

/// Small, so that the limits are met too.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 400,
    first_line: 80,
    fields: 9,
};

/// Runs a property as often as told; see above.
pub(crate) fn fuzz<S: Strategy>(
    strategy: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: Debug,
{
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(0, |seconds| seconds.parse().expect("a number of seconds"));
    let end_at = Instant::now() + Duration::from_secs(seconds);
    loop {
        let config = Config {
            failure_persistence: None,
            ..Config::default()
        };
        if let Err(found) = TestRunner::new(config).run(&strategy, &property) {
            panic!("{found}");
        }
        if Instant::now() >= end_at {
            return;
        }
    }
}

fn fragment(words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ]
}

/// Words and stray bytes in any order.
fn soup(words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(fragment(words), 0..30).prop_map(|parts| parts.concat())
}

/// A first line and fields as they should be, perhaps with a byte changed, put in or taken out.
fn nearly(
    first: &'static [&'static [u8]],
    fields: &'static [&'static [u8]],
) -> impl Strategy<Value = Vec<u8>> {
    let lines = proptest::collection::vec(proptest::sample::select(fields), 0..9);
    let change = proptest::option::of((any::<Index>(), 0..3u8, any::<u8>()));
    (proptest::sample::select(first), lines, change).prop_map(|(first, lines, change)| {
        let mut bytes = [first, b"\r\n"].concat();
        lines
            .iter()
            .for_each(|line| bytes.extend([line, &b"\r\n"[..]].concat()));
        bytes.extend(b"\r\nrest");
        if let Some((at, kind, byte)) = change {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1usize..40, 0..30)
}

/// What a scan says of bytes that come in these pieces; beyond them, of the rest at once.
fn scan(bytes: &[u8], pieces: &[usize], limits: &HeadLimits) -> Scanned {
    let mut scan = HeadScan::default();
    let mut end = 0;
    for piece in pieces.iter().copied().chain([bytes.len()]) {
        end = bytes.len().min(end + piece);
        let scanned = scan.scan(&bytes[..end], limits);
        if scanned != Scanned::More {
            return scanned;
        }
    }
    Scanned::More
}

fn same_scan(
    bytes: &[u8],
    pieces: &[usize],
    limits: &HeadLimits,
) -> Result<Scanned, TestCaseError> {
    let whole = scan(bytes, &[], limits);
    match (whole, scan(bytes, pieces, limits)) {
        // Pieces may be refused earlier, and for another reason.
        (Scanned::Refused(_), Scanned::Refused(_)) => {}
        (whole, pieces) => prop_assert_eq!(whole, pieces),
    }
    Ok(whole)
}

const REQUEST_LINES: &[&[u8]] = &[
    b"GET / HTTP/1.1",
    b"POST /a?b HTTP/1.1",
    b"PUT http://b:81/x HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"HEAD / HTTP/1.0",
    b"GET / HTTP/1.9",
];
const REQUEST_FIELDS: &[&[u8]] = &[
    b"Host: a",
    b"Host: a",
    b"host:b:80",
    b"Content-Length: 5",
    b"Content-Length: 05",
    b"Transfer-Encoding: chunked",
    b"Connection: close, x-a",
    b"Connection: upgrade",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"TE: trailers, gzip",
    b"X-A:  1 ",
    b"X-Forwarded-For: 9",
    b"X_Request_Id: 7",
    b"Cookie: a=b; c=\"d\"",
];
const WORDS: &[&[u8]] = &[
    b"GET ",
    b"/",
    b"*",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 103 ",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"Host: a",
    b"Content-Length: ",
    b"5",
    b"0",
    b"Transfer-Encoding: ",
    b"chunked",
    b"Connection: ",
    b"close",
    b", ",
    b": ",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"x",
];

/// The head as written for the target, and its facts, if it is accepted.
fn forward(head: &[u8]) -> Option<(Vec<u8>, RequestFacts)> {
    let mut head = head.to_vec();
    let mut room = FieldRoom::lend();
    Some(written(&request::parse(&mut head, &mut room, 60).ok()?))
}

fn written(head: &RequestHead<'_, '_>) -> (Vec<u8>, RequestFacts) {
    let client = ClientFacts {
        peer: std::net::IpAddr::from([198, 51, 100, 7]),
        local: ([192, 0, 2, 10], 8080).into(),
        https: false,
        trusted: true,
        name: None,
    };
    let changes = RequestChanges {
        edits: None,
        hidden: [None; 2],
        id: [b'1'; 32],
    };
    let mut out = Vec::new();
    head.write(&mut out, &client, &changes);
    (out, head.facts)
}

#[test]
fn a_request_understood_at_a_glance_is_the_one_that_is_read_line_by_line() {
    let input = prop_oneof![nearly(REQUEST_LINES, REQUEST_FIELDS), soup(WORDS)];
    fuzz(input, |input| {
        let mut room = FieldRoom::lend();
        let Some((line, end)) = head::of_request(&input, &mut room, &LIMITS) else {
            return Ok(());
        };
        let glanced = request::understand(&input[..end], &line, &room, 60);
        prop_assert_eq!(
            scan(&input, &[], &LIMITS),
            Scanned::Complete { start: 0, end }
        );
        let mut head = input[..end].to_vec();
        let mut room = FieldRoom::lend();
        let read = request::parse(&mut head, &mut room, 60);
        match (glanced, read) {
            (Ok(glanced), Ok(read)) => {
                let ((glanced, one), (read, other)) = (written(&glanced), written(&read));
                prop_assert_eq!((glanced, one.framing), (read, other.framing));
            }
            (glanced, read) => prop_assert_eq!(glanced.err(), read.err()),
        }
        Ok(())
    });
}

#[test]
fn request_heads_in_any_pieces_become_requests_that_can_be_read_in_one_way() {
    let input = prop_oneof![nearly(REQUEST_LINES, REQUEST_FIELDS), soup(WORDS)];
    fuzz((input, pieces()), |(input, pieces)| {
        let scanned = same_scan(&input, &pieces, &LIMITS)?;
        let Scanned::Complete { start, end } = scanned else {
            return Ok(());
        };
        let Some((written, facts)) = forward(&input[start..end]) else {
            return Ok(());
        };
        // The target finds the end where it was written, and the same body behind it.
        let end = written.len();
        prop_assert_eq!(
            scan(&written, &[], &RESPONSE_LIMITS),
            Scanned::Complete { start: 0, end }
        );
        let (_, again) = forward(&written).expect("what is written is accepted");
        prop_assert_eq!(again.framing, facts.framing);
        prop_assert_eq!(again.upgrade, facts.upgrade);
        prop_assert!(again.keep_alive && !again.http10);
        Ok(())
    });
}

const STATUS_LINES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 103 Early Hints",
    b"HTTP/1.1 599",
];
const ANSWER_FIELDS: &[&[u8]] = &[
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"Connection: keep-alive, x-a",
    b"Connection: close",
    b"X-A: 1",
    b"Server: \xff\xfe",
    b"Set-Cookie: a=b",
    b"Keep-Alive: timeout=5",
    b"Upgrade: h2c",
];

const GET: RequestFacts = RequestFacts {
    framing: Framing::None,
    http10: false,
    keep_alive: true,
    expects_continue: false,
    upgrade: false,
    is_head: false,
    grpc: false,
    wants_json: false,
};

/// The head as written for the client, and where its body ends, if it is accepted.
fn relay(head: &[u8]) -> Option<(Vec<u8>, Framing)> {
    let mut room = FieldRoom::lend();
    let head = response::parse(head, &mut room, &GET).ok()?;
    let mut out = Vec::new();
    head.write(&mut out, &GET, &AnswerChanges::default(), false);
    Some((out, head.framing))
}

#[test]
fn answer_heads_in_any_pieces_become_answers_that_can_be_read_in_one_way() {
    let input = prop_oneof![nearly(STATUS_LINES, ANSWER_FIELDS), soup(WORDS)];
    fuzz((input, pieces()), |(input, pieces)| {
        let scanned = same_scan(&input, &pieces, &LIMITS)?;
        let Scanned::Complete { start, end } = scanned else {
            return Ok(());
        };
        let Some((written, framing)) = relay(&input[start..end]) else {
            return Ok(());
        };
        let end = written.len();
        prop_assert_eq!(
            scan(&written, &[], &RESPONSE_LIMITS),
            Scanned::Complete { start: 0, end }
        );
        let (_, again) = relay(&written).expect("what is written is accepted");
        prop_assert_eq!(again, framing);
        Ok(())
    });
}

#[test]
fn an_answer_understood_at_a_glance_is_the_one_that_is_read_line_by_line() {
    let input = prop_oneof![nearly(STATUS_LINES, ANSWER_FIELDS), soup(WORDS)];
    fuzz(input, |input| {
        let mut room = FieldRoom::lend();
        let Some((line, end)) = head::of_response(&input, &mut room, &RESPONSE_LIMITS) else {
            return Ok(());
        };
        let glanced = response::understand(&input[..end], &line, &room, &GET);
        prop_assert_eq!(
            scan(&input, &[], &RESPONSE_LIMITS),
            Scanned::Complete { start: 0, end }
        );
        let mut room = FieldRoom::lend();
        let read = response::parse(&input[..end], &mut room, &GET);
        let facts = |head: response::ResponseHead<'_, '_>| {
            let mut out = Vec::new();
            head.write(&mut out, &GET, &AnswerChanges::default(), false);
            (out, head.framing, head.keep_alive)
        };
        prop_assert_eq!(glanced.map(facts), read.map(facts));
        Ok(())
    });
}

const CHUNK_WORDS: &[&[u8]] = &[
    b"3\r\nabc\r\n",
    b"1;x=\"y\"\r\na\r\n",
    b"0\r\n\r\n",
    b"0\r\nt: u\r\n\r\n",
    b"0",
    b"a",
    b"\r\n",
    b"\n",
    b"\r",
    b";",
    b"ffffffffffffffff",
    b"t: u\r\n",
    b"Content-Length: 3\r\n",
];

/// What passes of a body that comes in these pieces, and what is left over.
fn filter(
    input: &[u8],
    pieces: &[usize],
    mut body: Body,
) -> Result<(Vec<u8>, Vec<u8>, bool), BodyError> {
    let (mut out, mut rest) = (Vec::new(), input);
    for piece in pieces.iter().copied().chain([input.len()]) {
        let mut buf = rest[..rest.len().min(piece)].to_vec();
        let passed = body.filter(&mut buf)?;
        assert!(passed.kept <= passed.consumed && passed.consumed <= buf.len());
        out.extend_from_slice(&buf[..passed.kept]);
        out.extend(body.take_trailers());
        rest = &rest[passed.consumed..];
        if body.is_done() {
            break;
        }
    }
    Ok((out, rest.to_vec(), body.is_done()))
}

#[test]
fn bodies_in_any_pieces_pass_as_they_do_whole() {
    let framing = prop_oneof![
        4 => Just(Framing::Chunked),
        1 => (0..60u64).prop_map(Framing::Length),
        1 => Just(Framing::None),
        1 => Just(Framing::UntilClose),
    ];
    let limit = proptest::option::of(0..20u64);
    let input = (soup(CHUNK_WORDS), pieces(), framing, any::<bool>(), limit);
    fuzz(input, |(input, pieces, framing, framed, limit)| {
        let emit = if framed { Emit::Framed } else { Emit::Data };
        let body = || Body::new(framing, emit, limit);
        let (whole, split) = (filter(&input, &[], body()), filter(&input, &pieces, body()));
        match (whole, split) {
            // Which of two faults is found first depends on the pieces.
            (Err(_), Err(_)) => {}
            (whole, split) => prop_assert_eq!(whole, split),
        }
        Ok(())
    });
}
