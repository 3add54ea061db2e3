//! What an awkward answer becomes, and what the client sees of a good one.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::http::head;

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

fn relay_to(input: &str, request: &RequestFacts) -> Result<(String, Framing, bool), BadResponse> {
    let written = |head: ResponseHead<'_, '_>| {
        let mut out = Vec::new();
        head.write(&mut out, request, &AnswerChanges::default(), false);
        let out = String::from_utf8(out).unwrap();
        (out, head.framing, head.keep_alive)
    };
    // What can be taken apart at once is the same as what is read line by line.
    let mut room = FieldRoom::lend();
    let at_once = head::of_response(input.as_bytes(), &mut room, &RESPONSE_LIMITS);
    let at_once = at_once.map(|(line, length)| {
        assert_eq!(length, input.len());
        understand(input.as_bytes(), &line, &room, request).map(written)
    });
    let mut room = FieldRoom::lend();
    let head = parse(input.as_bytes(), &mut room, request).map(written);
    if let Some(at_once) = at_once {
        assert_eq!(at_once, head, "{input:?}");
    }
    head
}

fn relay(input: &str) -> Result<(String, Framing, bool), BadResponse> {
    relay_to(input, &GET)
}

#[test]
fn heads_are_written_anew() {
    let input = "HTTP/1.1 200 OK\r\nServer:  x\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\nKeep-Alive: 5\r\n\
                 content-length: 03\r\nUpgrade: h2c\r\n\r\n";
    let want = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(relay(input), Ok((want.into(), Framing::Length(3), true)));
}

#[test]
fn what_ends_the_body_and_the_connection() {
    let rows = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            Framing::Length(3),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
            Framing::Length(3),
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Framing::Chunked,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            Framing::Chunked,
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
            Framing::Length(3),
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
            Framing::None,
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
            Framing::None,
            true,
        ),
        (
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            Framing::Length(0),
            true,
        ),
    ];
    for (input, framing, keep_alive) in rows {
        let (_, got, kept) = relay(input).unwrap();
        assert_eq!((got, kept), (framing, keep_alive), "{input:?}");
    }
}

#[test]
fn what_is_refused() {
    let rows = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            BadResponse::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            BadResponse::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            BadResponse::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            BadResponse::TransferEncoding,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            BadResponse::TransferEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            BadResponse::NotHttp,
        ),
        ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", BadResponse::NotHttp),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", BadResponse::NotHttp),
        ("HTTP/1.1 20 OK\r\n\r\n", BadResponse::NotHttp),
        ("HTTP/1.1 099 OK\r\n\r\n", BadResponse::NotHttp),
        ("HTTP/2 200 OK\r\n\r\n", BadResponse::NotHttp),
        ("junk junk junk\r\n\r\n", BadResponse::NotHttp),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            BadResponse::Unasked,
        ),
    ];
    for (input, want) in rows {
        assert_eq!(relay(input), Err(want), "{input:?}");
    }
}

#[test]
fn answers_without_a_body_tell_the_length_where_it_means_something() {
    let length = "Content-Length: 3\r\n";
    let (head, ..) = relay(&format!("HTTP/1.1 204 No Content\r\n{length}\r\n")).unwrap();
    assert!(!head.contains(length), "{head}");
    let (head, ..) = relay(&format!("HTTP/1.1 304 Not Modified\r\n{length}\r\n")).unwrap();
    assert!(head.contains(length), "{head}");
    let asked = RequestFacts {
        is_head: true,
        ..GET
    };
    let (head, framing, _) = relay_to(&format!("HTTP/1.1 200 OK\r\n{length}\r\n"), &asked).unwrap();
    assert!(head.contains(length) && framing == Framing::None, "{head}");
}

#[test]
fn an_http_1_0_client_is_told_in_its_own_way() {
    let client = RequestFacts {
        http10: true,
        ..GET
    };
    let (head, ..) = relay_to(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        &client,
    )
    .unwrap();
    assert_eq!(head, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n");
}

#[test]
fn a_101_that_was_asked_for() {
    let client = RequestFacts {
        upgrade: true,
        ..GET
    };
    let input =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (head, ..) = relay_to(input, &client).unwrap();
    assert_eq!(
        head,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    );
}

#[test]
fn an_interim_answer_has_no_framing() {
    let input = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    assert_eq!(relay(input).unwrap().0, input);
}

proptest! {
    #[test]
    fn any_bytes_no_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), begin in any::<bool>()) {
        let mut bytes = if begin { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
        bytes.extend(tail);
        let mut room = FieldRoom::lend();
        let _ = parse(&bytes, &mut room, &GET);
    }
}
