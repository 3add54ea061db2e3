//! Heads a client of HTTP/2 may send and must not (RFC 9113 §8, RFC 8441); see [`crate::http2_cases`].

use crate::frames::*;
use crate::http2_cases::Want::{Answered, Reset};
use crate::http2_cases::{all_of, joined, post};

/// A request with these fields in place of the pseudo-fields of [`REQUEST`].
fn asked(fields: &[(&str, &[u8])]) -> Vec<u8> {
    headers(1, WHOLE, fields)
}

#[test]
#[rustfmt::skip] // a line for each case
fn pseudo_fields() {
    let [method, scheme, authority, path] = REQUEST;
    let malformed = Reset(PROTOCOL_ERROR);
    let trailers = |fields: &[(&str, &[u8])]| {
        joined(&[
            &post(1),
            &frame(DATA, 0, 1, b"test"),
            &headers(1, WHOLE, fields),
        ])
    };
    all_of(&[
        ("8.3.1 in any order", asked(&[path, authority, scheme, method]), 1, Answered(200)),
        ("8.3.1 host instead of :authority", asked(&[method, scheme, path, ("host", b"example.com")]), 1, Answered(200)),
        ("8.3.1 no :method", asked(&[scheme, authority, path]), 1, malformed),
        ("8.3.1 no :scheme", asked(&[method, authority, path]), 1, malformed),
        ("8.3.1 no :path", asked(&[method, scheme, authority]), 1, malformed),
        ("8.3.1 no :path and no :authority", asked(&[method, scheme, ("host", b"a")]), 1, malformed),
        ("8.3.1 an empty :path", asked(&[method, scheme, authority, (":path", b"")]), 1, malformed),
        ("8.3.1 a :path that is no path", asked(&[method, scheme, authority, (":path", b"x")]), 1, malformed),
        ("8.3.1 * is for OPTIONS", asked(&[method, scheme, authority, (":path", b"*")]), 1, Answered(400)),
        ("8.3.1 OPTIONS *", asked(&[(":method", b"OPTIONS"), scheme, authority, (":path", b"*")]), 1, Answered(200)),
        ("8.3.1 nobody asked for", asked(&[method, scheme, path]), 1, Answered(400)),
        ("8.3.1 an empty :authority", asked(&[method, scheme, path, (":authority", b"")]), 1, malformed),
        ("8.3.1 a user in :authority", asked(&[method, scheme, path, (":authority", b"user@example.com")]), 1, Answered(400)),
        ("8.3.1 another host than :authority", asked(&[method, scheme, path, authority, ("host", b"other")]), 1, Answered(400)),
        ("8.3.1 a second host that is another one", asked(&[method, scheme, path, authority, ("host", b"example.com"), ("host", b"other")]), 1, Answered(400)),
        ("8.3.1 a second host that is the same", asked(&[method, scheme, path, authority, ("host", b"example.com"), ("host", b"example.com")]), 1, Answered(400)),
        ("8.3.1 :method twice", asked(&[method, method, scheme, authority, path]), 1, malformed),
        ("8.3.1 :scheme twice", asked(&[method, scheme, scheme, authority, path]), 1, malformed),
        ("8.3.1 :path twice", asked(&[method, scheme, authority, path, path]), 1, malformed),
        ("8.3.1 :authority twice", asked(&[method, scheme, authority, authority, path]), 1, malformed),
        ("8.3 after a field", asked(&[method, scheme, authority, ("x-a", b"1"), path]), 1, malformed),
        ("8.3 unknown", asked(&with(&REQUEST, &[(":test", b"1")])), 1, malformed),
        ("8.3 of an answer", asked(&with(&REQUEST, &[(":status", b"200")])), 1, malformed),
        ("8.3 among trailers", trailers(&[(":method", b"POST")]), 1, malformed),
        ("8.1 trailers", trailers(&[("x-sum", b"1")]), 1, Answered(200)),
        ("8.1 trailers that do not end the stream", joined(&[&post(1), &frame(DATA, 0, 1, b"test"), &headers(1, END_HEADERS, &[("x-sum", b"1")])]), 1, malformed),
        ("8.3.1 a blank in :path", asked(&[method, scheme, authority, (":path", b"/a b")]), 1, malformed),
        ("8.3.1 a fragment in :path", asked(&[method, scheme, authority, (":path", b"/a#b")]), 1, Answered(400)),
        ("8.3.1 a blank in :method", asked(&[(":method", b"GE T"), scheme, authority, path]), 1, malformed),
        ("8.3.1 line ends in :path", asked(&[method, scheme, authority, (":path", b"/ HTTP/1.1\r\nx-a: 1\r\n\r\n")]), 1, malformed),
        ("8.3.1 line ends in :authority", asked(&[method, scheme, path, (":authority", b"a\r\nx-a: 1")]), 1, malformed),
        ("8.3.1 line ends in :method", asked(&[(":method", b"GET / HTTP/1.1\r\n"), scheme, authority, path]), 1, malformed),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn connect_and_protocols() {
    let [_, scheme, authority, path] = REQUEST;
    let connect: (&str, &[u8]) = (":method", b"CONNECT");
    let websocket: (&str, &[u8]) = (":protocol", b"websocket");
    let malformed = Reset(PROTOCOL_ERROR);
    all_of(&[
        ("8.5 CONNECT is not offered", asked(&[connect, authority]), 1, Answered(405)),
        ("8.5 CONNECT with :path", asked(&[connect, authority, path]), 1, malformed),
        ("8.5 CONNECT with :scheme", asked(&[connect, authority, scheme]), 1, malformed),
        ("8.5 CONNECT to nobody", asked(&[connect]), 1, Answered(405)),
        ("8441 :protocol without CONNECT", asked(&with(&REQUEST, &[websocket])), 1, malformed),
        ("8441 :protocol without :path", asked(&[connect, scheme, authority, websocket]), 1, malformed),
        ("8441 :protocol without :scheme", asked(&[connect, path, authority, websocket]), 1, malformed),
        ("8441 a protocol that is not offered", asked(&[connect, scheme, authority, path, (":protocol", b"connect-ip")]), 1, Answered(405)),
        ("8441 a tunnel with a length", headers(1, END_HEADERS, &[connect, scheme, authority, path, websocket, ("content-length", b"4")]), 1, Answered(400)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn fields_of_requests() {
    let field = |name: &'static str, value: &'static [u8]| asked(&with(&REQUEST, &[(name, value)]));
    let malformed = Reset(PROTOCOL_ERROR);
    all_of(&[
        ("8.2 a name in upper case", field("X-Test", b"ok"), 1, malformed),
        ("8.2 an empty name", field("", b"ok"), 1, malformed),
        ("8.2.1 a colon in a name", field("x:a", b"ok"), 1, malformed),
        ("8.2.1 a blank in a name", field("x a", b"ok"), 1, malformed),
        ("8.2.1 a line end in a name", field("x\r\na", b"ok"), 1, malformed),
        ("8.2.1 CR in a value", field("x-a", b"a\rb"), 1, malformed),
        ("8.2.1 LF in a value", field("x-a", b"a\nb: c"), 1, malformed),
        ("8.2.1 NUL in a value", field("x-a", b"a\0b"), 1, malformed),
        ("8.2.1 a value that begins with a blank", field("x-a", b" a"), 1, Answered(400)),
        ("8.2.1 a value that ends with a tab", field("x-a", b"a\t"), 1, Answered(400)),
        ("8.2.2 connection", field("connection", b"keep-alive"), 1, malformed),
        ("8.2.2 keep-alive", field("keep-alive", b"1"), 1, malformed),
        ("8.2.2 proxy-connection", field("proxy-connection", b"keep-alive"), 1, malformed),
        ("8.2.2 transfer-encoding", field("transfer-encoding", b"chunked"), 1, malformed),
        ("8.2.2 upgrade", field("upgrade", b"websocket"), 1, malformed),
        ("8.2.2 te", field("te", b"trailers, deflate"), 1, malformed),
        ("8.2.2 te that may be", field("te", b"trailers"), 1, Answered(200)),
        ("10.1.1 expect something unknown", field("expect", b"more"), 1, Answered(417)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn lengths_that_do_not_fit() {
    let sized = |length: &'static [u8], flags| {
        headers(1, flags, &with(&POST, &[("content-length", length)]))
    };
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let malformed = Reset(PROTOCOL_ERROR);
    all_of(&[
        ("8.1.1 as long as it says", joined(&[&sized(b"4", END_HEADERS), &data(0, b"te"), &data(END_STREAM, b"st")]), 1, Answered(200)),
        ("8.1.1 as long as it says, ended by an empty frame", joined(&[&sized(b"4", END_HEADERS), &data(0, b"test"), &data(END_STREAM, b"")]), 1, Answered(200)),
        ("8.1.1 as long as it says, then trailers", joined(&[&sized(b"4", END_HEADERS), &data(0, b"test"), &headers(1, WHOLE, &[("x-a", b"1")])]), 1, Answered(200)),
        ("8.1.1 too little in one frame", joined(&[&sized(b"5", END_HEADERS), &data(END_STREAM, b"test")]), 1, malformed),
        ("8.1.1 too little in two", joined(&[&sized(b"5", END_HEADERS), &data(0, b"te"), &data(END_STREAM, b"st")]), 1, malformed),
        ("8.1.1 too little, then trailers", joined(&[&sized(b"5", END_HEADERS), &data(0, b"test"), &headers(1, WHOLE, &[("x-a", b"1")])]), 1, malformed),
        ("8.1.1 too much", joined(&[&sized(b"3", END_HEADERS), &data(END_STREAM, b"test")]), 1, malformed),
        ("8.1.1 too much, in the end", joined(&[&sized(b"4", END_HEADERS), &data(0, b"test"), &data(END_STREAM, b"x")]), 1, malformed),
        ("8.1.1 nothing", sized(b"1", WHOLE), 1, malformed),
        ("8.1.1 nothing, as it says", sized(b"0", WHOLE), 1, Answered(200)),
        ("8.1.1 no number", sized(b"+4", END_HEADERS), 1, malformed),
        ("8.1.1 two numbers", joined(&[&headers(1, WHOLE, &with(&POST, &[("content-length", b"0"), ("content-length", b"1")]))]), 1, malformed),
        ("8.1.1 the same number twice", joined(&[&headers(1, WHOLE, &with(&POST, &[("content-length", b"0"), ("content-length", b"0")]))]), 1, Answered(400)),
        ("8.1.1 a list of numbers", sized(b"4, 4", END_HEADERS), 1, malformed),
    ]);
}
