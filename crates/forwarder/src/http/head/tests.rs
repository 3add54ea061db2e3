//! What is taken apart at once is what the parser that knows everything makes of it.

use proptest::prelude::*;

use super::*;
use crate::http::scan::{HeadScan, Scanned};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 300,
    first_line: 60,
    fields: 5,
};

/// The fields as name and value.
type Pairs = Vec<(String, Vec<u8>)>;

fn pairs(head: &[u8], room: &FieldRoom) -> Pairs {
    let lines = FieldLines::new(head, room);
    let pair = |header: Header<'_>| (header.name().to_owned(), header.value.to_vec());
    lines.iter().map(pair).collect()
}

/// Method, target, whether it is HTTP/1.0, fields, and the length of it all.
type Asked = (Vec<u8>, Vec<u8>, bool, Pairs, usize);

fn asked(text: &[u8]) -> Option<Asked> {
    let mut room = FieldRoom::lend();
    let (line, length) = of_request(text, &mut room, &LIMITS)?;
    let (method, target) = line.parts(text);
    let fields = pairs(&text[..length], &room);
    Some((
        method.to_vec(),
        target.to_vec(),
        line.http10,
        fields,
        length,
    ))
}

/// The same by a scan of the lines and `httparse`.
fn asked_of_others(text: &[u8]) -> Option<Asked> {
    let Scanned::Complete { start: 0, end } = HeadScan::default().scan(text, &LIMITS) else {
        return None;
    };
    let mut found = [httparse::EMPTY_HEADER; 8];
    let mut request = httparse::Request::new(&mut found);
    let parsed = request.parse(&text[..end]);
    if parsed != Ok(httparse::Status::Complete(end)) {
        return None;
    }
    let fields = request.headers.iter();
    Some((
        request.method?.as_bytes().to_vec(),
        request.path?.as_bytes().to_vec(),
        request.version == Some(0),
        fields
            .map(|field| (field.name.to_owned(), field.value.to_vec()))
            .collect(),
        end,
    ))
}

/// Status, whether it is HTTP/1.0, reason, fields, and the length of it all.
type Answered = (u16, bool, Vec<u8>, Pairs, usize);

fn answered(text: &[u8]) -> Option<Answered> {
    let mut room = FieldRoom::lend();
    let (line, length) = of_response(text, &mut room, &LIMITS)?;
    let fields = pairs(&text[..length], &room);
    let reason = line.reason(text).to_vec();
    Some((line.status, line.http10, reason, fields, length))
}

fn answered_of_others(text: &[u8]) -> Option<Answered> {
    let Scanned::Complete { start: 0, end } = HeadScan::default().scan(text, &LIMITS) else {
        return None;
    };
    let mut found = [httparse::EMPTY_HEADER; 8];
    let mut response = httparse::Response::new(&mut found);
    let parsed = response.parse(&text[..end]);
    if parsed != Ok(httparse::Status::Complete(end)) {
        return None;
    }
    let fields = response.headers.iter();
    Some((
        response.code?,
        response.version == Some(0),
        response.reason?.as_bytes().to_vec(),
        fields
            .map(|field| (field.name.to_owned(), field.value.to_vec()))
            .collect(),
        end,
    ))
}

#[test]
fn what_everybody_writes_is_taken_apart_at_once() {
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET /s/1024?a=b HTTP/1.1\r\nHost: 127.0.0.1:8100\r\nUser-Agent: bench/1.0 (X11; Linux x86_64)\r\n\r\n",
        "POST * HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody",
        "M-SEARCH http://a/b HTTP/1.1\r\nHost:a\r\nEmpty:\r\nSpaces:   \r\nTail: b  \r\n\r\n",
        "GET / HTTP/1.1\r\nX-Long-Name-Of-More-Than-Sixteen-Bytes: \u{e9} \"\\\r\n\r\nGET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nA-Name-Of-Twenty-4-Bytes: 1\r\n234: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nFifteen-Letters: 1\r\nSixteen-Letters-: 1\r\n\r\n",
    ] {
        let parsed = asked(text.as_bytes());
        assert!(parsed.is_some(), "{text:?}");
        assert_eq!(parsed, asked_of_others(text.as_bytes()), "{text:?}");
    }
    for text in [
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n",
        "HTTP/1.0 404 Not Found\r\n\r\nbody",
        "HTTP/1.1 999 \r\nA:b\r\n\r\n",
    ] {
        let parsed = answered(text.as_bytes());
        assert!(parsed.is_some(), "{text:?}");
        assert_eq!(parsed, answered_of_others(text.as_bytes()), "{text:?}");
    }
}

#[test]
fn what_is_odd_is_left_to_others() {
    for text in [
        "",
        "GET",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\n\r",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\na: b\n\r\n",
        "GET / HTTP/1.1\r\na: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\na: b\0\r\n\r\n",
        "GET / HTTP/1.1\r\na: b\tc\r\n\r\n",
        "GET / HTTP/1.1\r\na : b\r\n\r\n",
        "GET / HTTP/1.1\r\n a: b\r\n\r\n",
        "GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\na_b: c\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /  HTTP/1.1\r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n",
        " / HTTP/1.1\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\n\r\n",
        "GET /#a HTTP/1.1\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\n\r\n",
        "GET /123456789012345678901234567890123456789012345678901234 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\n\r\n",
    ] {
        assert_eq!(asked(text.as_bytes()), None, "{text:?}");
    }
    let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(300));
    assert_eq!(asked(long.as_bytes()), None, "too long");
    for text in [
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 \u{e9}\r\n\r\n",
        "HTTP/1.1 200 O\tK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\n",
    ] {
        assert_eq!(answered(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_room_is_used_again_and_two_at_a_time_are_two() {
    let mut one = FieldRoom::lend();
    let text = b"GET / HTTP/1.1\r\na: b\r\n\r\n";
    assert!(of_request(text, &mut one, &LIMITS).is_some());
    let mut two = FieldRoom::lend();
    assert!(of_request(b"GET / HTTP/1.1\r\n\r\n", &mut two, &LIMITS).is_some());
    assert_eq!((one.len(), two.len()), (1, 0));
    drop(two);
    drop(one);
    assert!(FieldRoom::lend().capacity() > 0);
}

/// Pieces of heads, so that many of what they make up are heads, or nearly.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just("GET "),
        Just("POST "),
        Just("/a?b=c"),
        Just(" HTTP/1.1\r\n"),
        Just(" HTTP/1.0\r\n"),
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.1 404 "),
        Just("Host: a.example.com:8080\r\n"),
        Just("x-forwarded-for:1.2.3.4 \r\n"),
        Just("Content-Length: 12\r\n"),
        Just("\r\n"),
        Just("\r\n\r\n"),
        Just(": "),
        Just("\t"),
        Just(" "),
        Just("a"),
        Just("A-Name-That-Is-Long"),
        Just("\n"),
        Just("\r"),
        Just("#"),
        Just("_"),
        Just("\u{e9}"),
    ];
    prop_oneof![
        12 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..3),
    ]
}

proptest! {
    /// Also behind a good beginning, so that much of it is accepted; and cut anywhere.
    #[test]
    fn what_is_accepted_is_what_others_make_of_it(
        pieces in proptest::collection::vec(piece(), 0..12),
        begins in 0usize..4,
        cut in 0usize..400,
    ) {
        let begin: &[u8] = [&b"GET /s/1024 HTTP/1.1\r\n"[..], b"HTTP/1.1 200 OK\r\n", b"GET ", b""][begins];
        let mut text = begin.to_vec();
        text.extend(pieces.concat());
        text.truncate(cut);
        if let Some(parsed) = asked(&text) {
            prop_assert_eq!(Some(parsed), asked_of_others(&text));
        }
        if let Some(parsed) = answered(&text) {
            prop_assert_eq!(Some(parsed), answered_of_others(&text));
        }
    }

    /// Whatever fields there are, written in a plain way: nothing is left to others.
    #[test]
    fn plain_heads_are_accepted(
        target in "/[!-\"$-~]{0,30}",
        fields in proptest::collection::vec(("[A-Za-z0-9-]{1,24}", "[!-~]([ -~]{0,30}[!-~])?"), 0..5),
    ) {
        let limits = HeadLimits { bytes: 1000, ..LIMITS };
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("GET {target} HTTP/1.1\r\n{lines}\r\n").into_bytes();
        let mut room = FieldRoom::lend();
        let parsed = of_request(&text, &mut room, &limits);
        let (line, length) = parsed.ok_or_else(|| TestCaseError::fail("left to others"))?;
        prop_assert_eq!(line.parts(&text), (&b"GET"[..], target.as_bytes()));
        prop_assert_eq!(length, text.len());
        let expected: Pairs = fields.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        prop_assert_eq!(pairs(&text, &room), expected);
        prop_assert!(room.iter().all(|place| place.neat));
    }
}
