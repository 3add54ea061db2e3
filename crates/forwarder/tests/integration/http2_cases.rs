//! What a client of HTTP/2 may do and must not (RFC 9113, RFC 7541, RFC 8441), frame by frame. Each case has a connection of
//! its own, and says the error that the RFC names, or a stricter one where it allows that (§5.4.1: an error of a stream may
//! be one of the connection; §8.1.1: what is malformed may be answered with 400).

use std::io::{Read, Write};
use std::net::SocketAddr;

use forwarder::Forwarder;

use crate::frames::*;
use crate::http2::h2c;
use crate::support::*;

/// What is to become of a case.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Want {
    /// Its stream is answered so, and the connection goes on.
    Answered(u16),
    /// Its stream is reset with this error, and the connection goes on.
    Reset(u32),
    /// The connection ends, with this error in words.
    Goaway(u32),
    /// Nothing: the connection goes on.
    Nothing,
    /// One of these; which one depends on whether an answer was faster.
    OneOf(&'static [Want]),
}

use Want::*;

/// A case: its name with the section it comes from, what is sent after the settings, the stream that is looked at, what is
/// to become of it.
pub(crate) type Case = (&'static str, Vec<u8>, u32, Want);

impl Want {
    fn is(self, fate: Fate) -> bool {
        match self {
            Answered(status) => fate == Fate::Answered(status),
            Reset(code) => fate == Fate::Reset(code),
            Goaway(code) => fate == Fate::Goaway(code),
            Nothing => false,
            OneOf(wants) => wants.iter().any(|want| want.is(fate)),
        }
    }
}

fn judge(address: SocketAddr, (name, bytes, stream, want): &Case) -> Result<(), String> {
    let mut raw = Raw::connect(address);
    raw.send(bytes);
    let wrong = |got: String| Err(format!("{name}: {got} and not {want:?}"));
    if *want == Nothing {
        return match raw.is_alive() {
            true => Ok(()),
            false => wrong("the end".into()),
        };
    }
    let fate = raw.fate(*stream);
    let goes_on = matches!(fate, Fate::Answered(_) | Fate::Reset(_));
    match (want.is(fate), goes_on) {
        (false, _) => wrong(format!("{fate:?}")),
        (true, true) if !raw.is_alive() => wrong("the end of the connection".into()),
        (true, true) => Ok(()),
        (true, false) if !raw.ends() => wrong("a connection that goes on".into()),
        (true, false) => Ok(()),
    }
}

/// A target that answers whatever it is asked, once it has read all of it.
pub(crate) fn courteous() -> Origin {
    Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        while let Some(head) = read_until(&mut stream, &mut input, b"\r\n\r\n") {
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.map_or(0, |rest| {
                rest.split("\r\n").next().unwrap().parse().unwrap()
            });
            while input.len() < length {
                let mut buf = [0; 1024];
                match stream.read(&mut buf) {
                    Ok(count @ 1..) => input.extend(&buf[..count]),
                    _ => return,
                }
            }
            input.drain(..length);
            if head.contains("chunked") {
                let _ = read_until(&mut stream, &mut input, b"0\r\n");
                while read_until(&mut stream, &mut input, b"\r\n")
                    .is_some_and(|line| line != b"\r\n")
                {}
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

/// Runs all cases against a forwarder whose targets are well, and tells of all that fail.
pub(crate) fn all_of(cases: &[Case]) {
    let origin = courteous();
    let (forwarder, place) = h2c(&[origin.address]);
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| judge(place.address, case).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eventually("nothing is left of them", || {
        in_flight(&forwarder.snapshot()) == 0
    });
}

/// A request that ends with its head.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    headers(stream, WHOLE, &REQUEST)
}

/// A request that goes on.
pub(crate) fn post(stream: u32) -> Vec<u8> {
    headers(stream, END_HEADERS, &POST)
}

pub(crate) fn joined(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

#[test]
#[rustfmt::skip] // a line for each case
fn frames_of_the_wrong_size_or_kind() {
    let mut reserved = get(1);
    reserved[5] |= 0x80;
    let large = vec![0; 16 * 1024 + 1];
    all_of(&[
        ("4.1 a frame of unknown kind is left out", joined(&[&frame(22, 0xff, 0, b"12345678"), &get(1)]), 1, Answered(200)),
        ("4.1 unknown flags are left out", joined(&[&frame(PING, 0x16, 0, &[0; 8]), &get(1)]), 1, Answered(200)),
        ("4.1 the reserved bit is left out", reserved, 1, Answered(200)),
        ("4.2 DATA larger than said", joined(&[&post(1), &frame(DATA, 0, 1, &large)]), 1, Goaway(FRAME_SIZE_ERROR)),
        ("4.2 HEADERS larger than said", frame(HEADERS, WHOLE, 1, &large), 1, Goaway(FRAME_SIZE_ERROR)),
        ("4.2 DATA as large as may be", joined(&[&post(1), &frame(DATA, END_STREAM, 1, &large[1..])]), 1, Answered(200)),
        ("6.3 PRIORITY that is no five bytes", joined(&[&post(1), &frame(PRIORITY, 0, 1, &[0; 4])]), 1, Goaway(FRAME_SIZE_ERROR)),
        ("6.4 RST_STREAM that is no four bytes", joined(&[&post(1), &frame(RST_STREAM, 0, 1, &[0; 3])]), 1, Goaway(FRAME_SIZE_ERROR)),
        ("6.5 SETTINGS that are no pairs", frame(SETTINGS, 0, 0, &[0, 3, 0]), 1, Goaway(FRAME_SIZE_ERROR)),
        ("6.5 SETTINGS with ACK and a payload", frame(SETTINGS, ACK, 0, &[0; 6]), 1, Goaway(FRAME_SIZE_ERROR)),
        ("6.7 PING that is no eight bytes", frame(PING, 0, 0, &[0; 6]), 1, Goaway(FRAME_SIZE_ERROR)),
        ("6.9 WINDOW_UPDATE that is no four bytes", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), 1, Goaway(FRAME_SIZE_ERROR)),
        ("6.8 GOAWAY too short for what it says", frame(GOAWAY, 0, 0, &[0; 4]), 1, Goaway(FRAME_SIZE_ERROR)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn frames_on_the_wrong_stream() {
    let five = [0; 5];
    all_of(&[
        ("6.1 DATA on the connection", frame(DATA, END_STREAM, 0, b"test"), 1, Goaway(PROTOCOL_ERROR)),
        ("6.2 HEADERS on the connection", headers(0, WHOLE, &REQUEST), 1, Goaway(PROTOCOL_ERROR)),
        ("6.3 PRIORITY on the connection", frame(PRIORITY, 0, 0, &five), 1, Goaway(PROTOCOL_ERROR)),
        ("6.4 RST_STREAM on the connection", reset(0, CANCEL), 1, Goaway(PROTOCOL_ERROR)),
        ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.7 PING on a stream", frame(PING, 0, 1, &[0; 8]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.10 CONTINUATION on the connection", joined(&[&headers(1, END_STREAM, &REQUEST), &frame(CONTINUATION, END_HEADERS, 0, &[])]), 1, Goaway(PROTOCOL_ERROR)),
        ("8.4 a client promises nothing", joined(&[&post(1), &frame(PUSH_PROMISE, END_HEADERS, 1, &joined(&[&[0, 0, 0, 2], &block(&REQUEST)]))]), 1, Goaway(PROTOCOL_ERROR)),
        ("5.1.1 an even number is not the client's", get(2), 2, Goaway(PROTOCOL_ERROR)),
        ("5.1.1 a lower number than before", joined(&[&get(5), &get(3)]), 3, Goaway(PROTOCOL_ERROR)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn streams_have_states() {
    let data = |stream| frame(DATA, END_STREAM, stream, b"test");
    let answered = |then: &[u8]| joined(&[&get(1), then]);
    all_of(&[
        ("5.1 idle: DATA", data(1), 1, Goaway(PROTOCOL_ERROR)),
        ("5.1 idle: RST_STREAM", reset(1, CANCEL), 1, Goaway(PROTOCOL_ERROR)),
        ("5.1 idle: WINDOW_UPDATE", window_update(1, 100), 1, Goaway(PROTOCOL_ERROR)),
        ("5.1 idle: CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, &block(&REQUEST)), 1, Goaway(PROTOCOL_ERROR)),
        ("5.1 idle: PRIORITY is fine", joined(&[&frame(PRIORITY, 0, 5, &dependency(0)), &get(1)]), 1, Answered(200)),
        ("5.1 half closed: DATA", answered(&data(1)), 1, OneOf(&[Answered(200), Reset(STREAM_CLOSED)])),
        ("5.1 half closed: HEADERS", answered(&get(1)), 1, OneOf(&[Goaway(STREAM_CLOSED), Answered(200), Reset(STREAM_CLOSED)])),
        ("5.1 half closed: CONTINUATION", answered(&frame(CONTINUATION, END_HEADERS, 1, &block(&REQUEST))), 1, Goaway(PROTOCOL_ERROR)),
        ("5.1 half closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are fine", answered(&joined(&[&window_update(1, 9), &frame(PRIORITY, 0, 1, &dependency(0)), &reset(1, CANCEL)])), 1, Nothing),
        ("5.1 reset by the client: DATA", joined(&[&post(1), &reset(1, CANCEL), &data(1)]), 1, Reset(STREAM_CLOSED)),
        ("5.1 reset by the client: HEADERS", joined(&[&post(1), &reset(1, CANCEL), &get(1)]), 1, Goaway(STREAM_CLOSED)),
        ("5.1 reset by the client: PRIORITY is fine", joined(&[&post(1), &reset(1, CANCEL), &frame(PRIORITY, 0, 1, &dependency(0))]), 1, Nothing),
        ("8.1 a second head that does not end the stream", joined(&[&post(1), &headers(1, END_HEADERS, &[("x-a", b"1")])]), 1, Reset(PROTOCOL_ERROR)),
        ("7 an unknown error is as good as any", joined(&[&post(1), &reset(1, 0xff)]), 1, Nothing),
        ("5.3 a stream that depends on itself, HEADERS", frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &joined(&[&dependency(1), &block(&REQUEST)])), 1, Reset(PROTOCOL_ERROR)),
        ("5.3 a stream that depends on itself, PRIORITY", frame(PRIORITY, 0, 1, &dependency(1)), 1, Reset(PROTOCOL_ERROR)),
        ("5.3 priorities are read and left out", frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &joined(&[&dependency(0x8000_0000), &block(&REQUEST)])), 1, Answered(200)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn padding() {
    let padded = |kind, flags, pad: u8, rest: &[u8], tail: usize| {
        frame(
            kind,
            flags | PADDED,
            1,
            &joined(&[&[pad], rest, &vec![0; tail]]),
        )
    };
    all_of(&[
        ("6.1 DATA with padding", joined(&[&headers(1, END_HEADERS, &with(&POST, &[("content-length", b"4")])), &padded(DATA, END_STREAM, 200, b"test", 200)]), 1, Answered(200)),
        ("6.1 DATA of nothing but padding", joined(&[&post(1), &padded(DATA, END_STREAM, 3, b"", 3)]), 1, Answered(200)),
        ("6.1 DATA with more padding than there is", joined(&[&post(1), &padded(DATA, END_STREAM, 6, b"test", 0)]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.1 DATA with PADDED and nothing", joined(&[&post(1), &frame(DATA, PADDED, 1, &[])]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.2 HEADERS with padding", padded(HEADERS, WHOLE, 9, &block(&REQUEST), 9), 1, Answered(200)),
        ("6.2 HEADERS with more padding than there is", padded(HEADERS, WHOLE, 255, &block(&REQUEST), 0), 1, Goaway(PROTOCOL_ERROR)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn header_blocks_are_not_interrupted() {
    let whole = block(&REQUEST);
    let (first, second) = whole.split_at(7);
    let begun = frame(HEADERS, END_STREAM, 1, first);
    let rest = |flags| frame(CONTINUATION, flags, 1, second);
    all_of(&[
        ("6.10 two pieces", joined(&[&begun, &rest(END_HEADERS)]), 1, Answered(200)),
        ("6.10 empty pieces", joined(&[&begun, &frame(CONTINUATION, 0, 1, &[]), &rest(0), &frame(CONTINUATION, END_HEADERS, 1, &[])]), 1, Answered(200)),
        ("6.10 CONTINUATION after the end", joined(&[&headers(1, END_HEADERS, &POST), &frame(CONTINUATION, END_HEADERS, 1, &[])]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.10 CONTINUATION of another stream", joined(&[&begun, &frame(CONTINUATION, END_HEADERS, 3, second)]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.2 HEADERS of the same stream in between", joined(&[&begun, &headers(1, WHOLE, &REQUEST)]), 1, Goaway(PROTOCOL_ERROR)),
        ("4.3 HEADERS of another stream in between", joined(&[&begun, &get(3)]), 1, Goaway(PROTOCOL_ERROR)),
        ("4.3 PRIORITY in between", joined(&[&begun, &frame(PRIORITY, 0, 1, &dependency(0)), &rest(END_HEADERS)]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.10 DATA in between", joined(&[&begun, &frame(DATA, 0, 1, b"x"), &rest(END_HEADERS)]), 1, Goaway(PROTOCOL_ERROR)),
        ("6.10 PING in between", joined(&[&begun, &frame(PING, 0, 0, &[0; 8]), &rest(END_HEADERS)]), 1, Goaway(PROTOCOL_ERROR)),
        ("5.5 a frame of unknown kind in between", joined(&[&begun, &frame(22, 0, 0, &[0; 8]), &rest(END_HEADERS)]), 1, Goaway(PROTOCOL_ERROR)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn settings_have_ranges() {
    let set = |id, value| joined(&[&settings(&[(id, value)]), &get(1)]);
    all_of(&[
        ("6.5.2 ENABLE_PUSH 2", set(2, 2), 1, Goaway(PROTOCOL_ERROR)),
        ("6.5.2 INITIAL_WINDOW_SIZE 2^31", set(4, 1 << 31), 1, Goaway(FLOW_CONTROL_ERROR)),
        ("6.5.2 MAX_FRAME_SIZE 16,383", set(5, (1 << 14) - 1), 1, Goaway(PROTOCOL_ERROR)),
        ("6.5.2 MAX_FRAME_SIZE 2^24", set(5, 1 << 24), 1, Goaway(PROTOCOL_ERROR)),
        ("RFC 8441 3: ENABLE_CONNECT_PROTOCOL 2", set(8, 2), 1, Goaway(PROTOCOL_ERROR)),
        ("6.5.2 an unknown setting is left out", set(0xff, 1), 1, Answered(200)),
        ("6.5.2 those that may be", joined(&[&settings(&[(1, 0), (2, 1), (3, 7), (4, 70_000), (5, 20_000), (6, 9000)]), &get(1)]), 1, Answered(200)),
        ("6.9.2 a window beyond its end by INITIAL_WINDOW_SIZE", joined(&[&post(1), &window_update(1, 0x7fff_0000), &settings(&[(4, 0x7fff_ffff)])]), 1, Goaway(FLOW_CONTROL_ERROR)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn windows_have_ends() {
    let most = 0x7fff_ffff;
    all_of(&[
        ("6.9 WINDOW_UPDATE by 0 of the connection", window_update(0, 0), 1, Goaway(PROTOCOL_ERROR)),
        ("6.9 WINDOW_UPDATE by 0 of a stream", joined(&[&post(1), &window_update(1, 0)]), 1, Reset(PROTOCOL_ERROR)),
        ("6.9.1 the window of the connection beyond its end", joined(&[&window_update(0, most), &window_update(0, most)]), 1, Goaway(FLOW_CONTROL_ERROR)),
        ("6.9.1 the window of a stream beyond its end", joined(&[&post(1), &window_update(1, most), &window_update(1, most)]), 1, Reset(FLOW_CONTROL_ERROR)),
    ]);
}

#[test]
#[rustfmt::skip] // a line for each case
fn header_blocks_that_cannot_be_read() {
    let unreadable = Goaway(COMPRESSION_ERROR);
    let indexed = |bytes: &[u8]| frame(HEADERS, WHOLE, 1, &joined(&[&block(&REQUEST), bytes]));
    // Literal without a name of the table, its value compressed.
    let compressed =
        |value: &[u8]| indexed(&joined(&[&[0, 1, b'x', 0x80 | value.len() as u8], value]));
    all_of(&[
        ("RFC 7541 6.1: index 0", indexed(&[0x80]), 1, unreadable),
        ("RFC 7541 2.3.3: an index beyond the table", indexed(&[0xc6]), 1, unreadable),
        ("RFC 7541 2.3.3: the name of an index beyond the table", indexed(&[0x7f, 0x10, 1, b'x']), 1, unreadable),
        ("RFC 7541 4.2: the size of the table at the end", indexed(&[0x20]), 1, unreadable),
        ("RFC 7541 6.3: a table larger than said", frame(HEADERS, WHOLE, 1, &joined(&[&[0x3f, 0xe2, 0x1f], &block(&REQUEST)])), 1, unreadable),
        ("RFC 7541 6.3: a table as large as said", frame(HEADERS, WHOLE, 1, &joined(&[&[0x3f, 0xe1, 0x1f], &block(&REQUEST)])), 1, Answered(200)),
        ("RFC 7541 5.2: padding of more than seven bits", compressed(&[0x07, 0xff]), 1, unreadable),
        ("RFC 7541 5.2: padding of zeros", compressed(&[0x00]), 1, unreadable),
        ("RFC 7541 5.2: the end inside a text", compressed(&[0x1f, 0xff, 0xff, 0xff, 0xfc]), 1, unreadable),
        ("RFC 7541 5.1: a number without end", indexed(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), 1, unreadable),
        ("RFC 7541 5.2: a text longer than the block", indexed(&[0, 1, b'x', 100]), 1, unreadable),
        ("4.3 the block ends inside a field", indexed(&[0x40]), 1, unreadable),
    ]);
}

#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let origin = courteous();
    let (_forwarder, place) = h2c(&[origin.address]);
    for wrong in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\0",
    ] {
        let mut raw = Raw::silent(place.address);
        raw.send(wrong);
        assert!(raw.ends(), "after {wrong:?}");
    }
    for first in [frame(PING, 0, 0, &[0; 8]), get(1), window_update(0, 9)] {
        let mut raw = Raw::silent(place.address);
        raw.send(joined(&[PREFACE, &first]));
        assert_eq!(raw.fate(1), Fate::Goaway(PROTOCOL_ERROR), "{first:?}");
        assert!(raw.ends());
    }
    // In single bytes, with requests at once.
    let mut raw = Raw::silent(place.address);
    for byte in joined(&[PREFACE, &settings(&[]), &get(1)]) {
        raw.send([byte]);
    }
    assert_eq!(raw.fate(1), Fate::Answered(200));
}

#[test]
fn what_asks_for_an_answer_gets_one() {
    let origin = courteous();
    let (_forwarder, place) = h2c(&[origin.address]);
    let mut raw = Raw::connect(place.address);
    raw.send(settings(&[(4, 100)]));
    let ack = raw.next_of(SETTINGS).unwrap();
    // The first one was for those it began with.
    let ack = if ack.payload.is_empty() {
        raw.next_of(SETTINGS).unwrap()
    } else {
        ack
    };
    assert_eq!((ack.flags, ack.payload.len(), ack.stream), (ACK, 0, 0));
    assert!(raw.is_alive());
    raw.send(frame(PING, ACK, 0, b"unasked!"));
    raw.send(frame(PING, 0, 0, b"question"));
    assert_eq!(raw.next_of(PING).unwrap().payload, b"question");
}

#[test]
fn an_answer_waits_for_the_window_it_needs() {
    let origin = Origin::answering("0123456789");
    let (_forwarder, place) = h2c(&[origin.address]);
    let mut raw = Raw::connect_with(place.address, &[(4, 3)]);
    raw.send(get(1));
    assert_eq!(raw.fate(1), Fate::Answered(200));
    assert_eq!(raw.next_of(DATA).unwrap().payload, b"012");
    // The window shrinks below what was sent, then grows again.
    raw.send(settings(&[(4, 0)]));
    raw.send(window_update(1, 4));
    assert_eq!(raw.next_of(DATA).unwrap().payload, b"3");
    raw.send(settings(&[(4, 2)]));
    assert_eq!(raw.next_of(DATA).unwrap().payload, b"45");
    raw.send(window_update(1, 100));
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = raw.next_of(DATA) {
        rest.extend(&frame.payload);
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(rest, b"6789");
}

/// A forwarder whose only target has one place, and that is taken: requests wait.
fn full() -> (Forwarder, Place, Client) {
    let origin = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        let _ = stream.read(&mut [0]);
    });
    let (forwarder, place) = proxy_with(&[origin.address], |listener, group| {
        listener.h2c = true;
        listener.limits.streams = 4;
        group.limits.per_target = Some(1);
        group.limits.queue_for = LIMIT;
    });
    let mut first = Client::connect(place.address);
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the place is taken", || {
        in_flight(&forwarder.snapshot()) == 1
    });
    (forwarder, place, first)
}

#[test]
fn more_streams_than_allowed_are_refused_and_more_data_than_the_window_takes() {
    let (_forwarder, place, _first) = full();
    let mut raw = Raw::connect(place.address);
    let begun = [1, 3, 5, 7, 9].map(post).concat();
    raw.send(begun);
    assert_eq!(raw.fate(9), Fate::Reset(REFUSED_STREAM));
    assert!(raw.is_alive());
    // What waits in memory and the window together are less than this.
    let much = frame(DATA, 0, 3, &[0; 16 * 1024]).repeat(16);
    raw.send(much);
    let fate = raw.fate(3);
    assert!(
        matches!(
            fate,
            Fate::Reset(FLOW_CONTROL_ERROR) | Fate::Goaway(FLOW_CONTROL_ERROR)
        ),
        "{fate:?}"
    );
}

#[test]
fn padding_counts_for_the_window_and_is_given_back() {
    let origin = courteous();
    let (_forwarder, place) = h2c(&[origin.address]);
    let mut raw = Raw::connect(place.address);
    raw.send(post(1));
    let mut window = 65_535u32;
    let piece = joined(&[&[250], b"data", &[0; 250]]);
    let length = u32::try_from(piece.len()).unwrap();
    // More than the window of the stream and of the connection, most of it padding.
    for _ in 0..8000 {
        while window < length {
            let update = raw.next_of(WINDOW_UPDATE).expect("more room");
            if update.stream == 1 {
                window += u32::from_be_bytes(update.payload.try_into().unwrap());
            }
        }
        raw.send(frame(DATA, PADDED, 1, &piece));
        window -= length;
    }
    raw.send(frame(DATA, END_STREAM, 1, &[]));
    assert_eq!(raw.fate(1), Fate::Answered(200));
}

#[test]
fn a_client_that_says_goodbye_gets_what_it_has_asked_for() {
    let origin = courteous();
    let (_forwarder, place) = h2c(&[origin.address]);
    let mut raw = Raw::connect(place.address);
    raw.send(joined(&[&post(1), &frame(GOAWAY, 0, 0, &[0; 8])]));
    raw.send(frame(DATA, END_STREAM, 1, b"x"));
    assert_eq!(raw.fate(1), Fate::Answered(200));
    assert!(raw.ends());
}

#[test]
fn a_head_larger_than_allowed_is_refused_and_one_of_many_fields_too() {
    let origin = courteous();
    let (_forwarder, place) = h2c(&[origin.address]);
    let value = vec![b'v'; 8000];
    let mut raw = Raw::connect(place.address);
    let pieces = block(&with(&REQUEST, &[("x-a", &value[..]); 5]));
    let (first, rest) = pieces.split_at(16 * 1024);
    raw.send(frame(HEADERS, END_STREAM, 1, first));
    raw.send(frame(CONTINUATION, 0, 1, &rest[..16 * 1024]));
    raw.send(frame(CONTINUATION, END_HEADERS, 1, &rest[16 * 1024..]));
    assert_eq!(raw.fate(1), Fate::Answered(431));
    raw.send(headers(
        3,
        WHOLE,
        &with(&REQUEST, &[("x-a", &b"1"[..]); 200]),
    ));
    assert_eq!(raw.fate(3), Fate::Answered(431));
    raw.send(get(5));
    assert_eq!(raw.fate(5), Fate::Answered(200));
}
