//! Any sequence of requests, pipelined, with any framing both ways, in any pieces: every answer is the right one, whole
//! and in its place.

use std::io::Write;

use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length,
    Chunked,
}

#[derive(Clone, Debug)]
struct Exchange {
    request: Framing,
    answer: Framing,
    interim: bool,
    /// The target closes after its answer.
    closes: bool,
    /// Length of the body sent; the answer brings it back.
    length: usize,
    /// Sizes of the pieces of the answer, in turn.
    pieces: usize,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let framing = || prop_oneof![Just(Framing::Length), Just(Framing::Chunked)];
    let length = prop_oneof![
        Just(0usize),
        1usize..100,
        1000usize..5000,
        60_000usize..200_000
    ];
    (
        framing(),
        framing(),
        any::<bool>(),
        prop::bool::weighted(0.2),
        length,
        1usize..70_000,
    )
        .prop_map(
            |(request, answer, interim, closes, length, pieces)| Exchange {
                request,
                answer,
                interim,
                closes,
                length,
                pieces,
            },
        )
}

/// A body that differs from place to place and from exchange to exchange.
fn body(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| b'a' + u8::try_from((at / 7 + number * 5 + at) % 26).unwrap())
        .collect()
}

fn framed(framing: Framing, body: &[u8], chunk: usize) -> Vec<u8> {
    match framing {
        Framing::Length => [
            format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
            body,
        ]
        .concat(),
        Framing::Chunked => {
            let mut out = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in body.chunks(chunk) {
                out.extend(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend(piece);
                out.extend(b"\r\n");
            }
            out.extend(b"0\r\n\r\n");
            out
        }
    }
}

/// The data of a body as received.
fn data(head: &str, body: &[u8]) -> Vec<u8> {
    if !head.contains("ransfer-Encoding: chunked") {
        return body.to_vec();
    }
    let (mut out, mut rest) = (Vec::new(), body);
    loop {
        let end = rest
            .windows(2)
            .position(|window| window == b"\r\n")
            .unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

/// Answers as the fields `X-Answer: framing interim closes pieces` of the request say.
fn origin() -> Origin {
    Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut input) {
            let wish = request
                .head
                .split("\r\n")
                .find_map(|line| line.strip_prefix("X-Answer: "))
                .unwrap();
            let wish: Vec<usize> = wish.split(' ').map(|word| word.parse().unwrap()).collect();
            let framing = if wish[0] == 0 {
                Framing::Length
            } else {
                Framing::Chunked
            };
            let mut answer = Vec::new();
            if wish[1] == 1 {
                answer.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            }
            answer.extend(b"HTTP/1.1 200 OK\r\n");
            if wish[2] == 1 {
                answer.extend(b"Connection: close\r\n");
            }
            answer.extend(framed(framing, &data(&request.head, &request.body), 10_000));
            for piece in answer.chunks(wish[3]) {
                if stream.write_all(piece).is_err() {
                    return;
                }
            }
            if wish[2] == 1 {
                return;
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_right_and_in_its_place(
        exchanges in proptest::collection::vec(exchange(), 1..6),
        pieces in 1usize..100_000,
        chunk in 1usize..30_000,
    ) {
        let origin = origin();
        let (forwarder, place) = proxy(&[origin.address]);
        let mut all = Vec::new();
        for (number, each) in exchanges.iter().enumerate() {
            let wish = (each.answer as usize, usize::from(each.interim), usize::from(each.closes), each.pieces.max(1 + each.length / 50));
            all.extend(format!("PUT /{number} HTTP/1.1\r\nHost: test\r\nX-Answer: {} {} {} {}\r\n", wish.0, wish.1, wish.2, wish.3).as_bytes());
            all.extend(framed(each.request, &body(number, each.length), chunk.max(1 + each.length / 50)));
        }
        let mut client = Client::connect(place.address);
        let mut writing = client.stream.try_clone().unwrap();
        let size = pieces.max(1 + all.len() / 100);
        let writer = std::thread::spawn(move || all.chunks(size).try_for_each(|piece| writing.write_all(piece)));
        for (number, each) in exchanges.iter().enumerate() {
            if each.interim {
                prop_assert_eq!(client.head().unwrap().status, 103);
            }
            let answer = client.answer();
            prop_assert_eq!(answer.status, 200);
            let whole = data(&answer.head, &answer.body) == body(number, each.length);
            prop_assert!(whole, "body {} of {:?}", number, exchanges);
        }
        writer.join().unwrap().unwrap();
        eventually("nothing in flight", || in_flight(&forwarder.snapshot()) == 0);
    }
}
