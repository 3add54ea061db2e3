//! Awkward requests over real sockets: what the client gets, and that the target never sees them.

use crate::support::*;

/// Statuses of the answers in order, and the number of requests the target saw.
fn probe(request: &[u8]) -> (Vec<u16>, usize) {
    let (origin, notes) = noting();
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send(request);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut statuses = Vec::new();
    while let Some(answer) = client.try_answer() {
        statuses.push(answer.status);
        if answer.field("Connection") == Some("close") {
            assert_eq!(client.rest().unwrap(), b"", "nothing after the last answer");
            break;
        }
    }
    let seen = notes.lock().unwrap().len();
    (statuses, seen)
}

#[test]
fn refused_requests_never_reach_the_target() {
    let rows: &[(&str, u16)] = &[
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        ("GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\nContent-Length: 0\r\n\r\n",
            417,
        ),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("\x16\x03\x01\x02\x00", 400),
    ];
    for (request, want) in rows {
        assert_eq!(probe(request.as_bytes()), (vec![*want], 0), "{request:?}");
    }
}

#[test]
fn large_heads_are_refused_with_their_status() {
    let field = |bytes: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    let url = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(bytes));
    let fields = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(300)
    );
    assert_eq!(probe(field(20 * 1024).as_bytes()), (vec![200], 1));
    assert_eq!(probe(field(70 * 1024).as_bytes()), (vec![431], 0));
    assert_eq!(probe(fields.as_bytes()), (vec![431], 0));
    assert_eq!(probe(url(8000).as_bytes()), (vec![200], 1));
    assert_eq!(probe(url(10 * 1024).as_bytes()), (vec![414], 0));
    assert_eq!(probe(url(40 * 1024).as_bytes()), (vec![414], 0));
}

#[test]
fn what_is_unusual_but_right_is_forwarded() {
    let rows: &[(&str, usize)] = &[
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 1),
        ("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nX_A: b\r\n\r\n", 1),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n",
            1,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            2,
        ),
    ];
    for (request, want) in rows {
        assert_eq!(
            probe(request.as_bytes()),
            (vec![200; *want], *want),
            "{request:?}"
        );
    }
}

#[test]
fn a_good_request_before_a_bad_one_is_still_answered() {
    let request =
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(probe(request.as_bytes()), (vec![200, 400], 1));
}

#[test]
fn a_chunked_body_that_breaks_later_is_cut_off_at_the_target_too() {
    let (origin, notes) = noting();
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    eventually("connected", || origin.connections() == 1);
    client.send("zz\r\n");
    let answer = client.answer();
    assert_eq!(
        (
            answer.status,
            answer
                .text()
                .ends_with("client-malformed@body: chunk size\n")
        ),
        (400, true)
    );
    assert_eq!(notes.lock().unwrap().len(), 0, "never whole");
}
