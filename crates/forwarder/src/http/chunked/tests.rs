//! What the chunked coding passes, refuses and drops.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Feeds `input` in pieces of these sizes (then the rest); what is passed on, and the bytes left over.
fn run(input: &[u8], emit: Emit, pieces: &[usize]) -> Result<(Vec<u8>, Vec<u8>, bool), ChunkError> {
    let mut chunked = Chunked::new(emit);
    let (mut out, mut rest) = (Vec::new(), input);
    let mut sizes = pieces.iter().copied();
    while !rest.is_empty() && !chunked.is_done() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let mut buf = rest[..size].to_vec();
        let passed = chunked.filter(&mut buf)?;
        out.extend_from_slice(&buf[..passed.kept]);
        rest = &rest[passed.consumed..];
    }
    out.extend(chunked.take_trailers());
    Ok((out, rest.to_vec(), chunked.is_done()))
}

fn framed(input: &str) -> Result<String, ChunkError> {
    run(input.as_bytes(), Emit::Framed, &[]).map(|(out, _, _)| String::from_utf8(out).unwrap())
}

#[test]
fn what_is_passed_on() {
    let rows = [
        ("3\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        (
            "3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        ("0\r\n\r\n", "0\r\n\r\n"),
        ("000\r\n\r\n", "000\r\n\r\n"),
        (
            "A\r\n0123456789\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n0\r\n\r\n",
        ),
        (
            "1\r\na\r\n0\r\nx-sum: 7\r\n\r\n",
            "1\r\na\r\n0\r\nx-sum: 7\r\n\r\n",
        ),
        (
            "0\r\nX-A:  b \r\nContent-Length: 9\r\nHost: x\r\nc: d\r\n\r\n",
            "0\r\nX-A: b\r\nc: d\r\n\r\n",
        ),
        ("0\r\nContent-Length: 9\r\n\r\n", "0\r\n\r\n"),
    ];
    for (input, want) in rows {
        assert_eq!(framed(input).unwrap(), want, "{input:?}");
    }
}

#[test]
fn what_is_refused() {
    let rows = [
        ("3\nabc\r\n0\r\n\r\n", ChunkError::Size),
        ("3\r\nabc\n0\r\n\r\n", ChunkError::LineEnd),
        ("3\r\nabcd\r\n0\r\n\r\n", ChunkError::LineEnd),
        ("3\rabc", ChunkError::LineEnd),
        ("\r\nabc", ChunkError::Size),
        ("g\r\n", ChunkError::Size),
        ("+3\r\nabc", ChunkError::Size),
        ("0x3\r\nabc", ChunkError::Size),
        ("3 \r\nabc", ChunkError::Size),
        ("-1\r\n", ChunkError::Size),
        ("ffffffffffffffff\r\n", ChunkError::Size),
        ("10000000000000000\r\n", ChunkError::Size),
        ("00000000000000003\r\nabc", ChunkError::Size),
        ("3;a\nabc\r\n", ChunkError::Extension),
        ("3;a\0\r\nabc\r\n", ChunkError::Extension),
        ("0\r\n\n", ChunkError::Trailer),
        ("0\r\na: b\n\r\n", ChunkError::Trailer),
        ("0\r\na : b\r\n\r\n", ChunkError::Trailer),
        ("0\r\na: b\0\r\n\r\n", ChunkError::Trailer),
        ("0\r\n\rx", ChunkError::LineEnd),
    ];
    for (input, want) in rows {
        assert_eq!(framed(input), Err(want), "{input:?}");
    }
}

#[test]
fn extensions_and_trailers_have_limits() {
    let long = format!("3;{}\r\n", "x".repeat(16 * 1024));
    assert_eq!(framed(&long), Err(ChunkError::Extension));
    let many = "1;xxxxxxx\r\na\r\n".repeat(3000);
    assert_eq!(framed(&many), Err(ChunkError::Extension));
    let trailer = format!("0\r\na: {}\r\n\r\n", "x".repeat(16 * 1024));
    assert_eq!(framed(&trailer), Err(ChunkError::Trailer));
    let fields = format!("0\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(framed(&fields), Err(ChunkError::Trailer));
}

#[test]
fn data_alone_has_no_framing_and_no_trailers() {
    let input = b"3;x\r\nabc\r\n2\r\nde\r\n0\r\nt: u\r\n\r\nGET /";
    let (out, rest, done) = run(input, Emit::Data, &[]).unwrap();
    assert_eq!(
        (out.as_slice(), rest.as_slice(), done),
        (&b"abcde"[..], &b"GET /"[..], true)
    );
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (
        proptest::collection::vec(any::<u8>(), 1..40),
        prop_oneof![Just(""), Just(";a"), Just(";n=\"v\"")],
    );
    let chunks = proptest::collection::vec(chunk, 0..6);
    let trailers = prop_oneof![
        Just(""),
        Just("a: b\r\n"),
        Just("x-long-name: some value\r\nc: d\r\n")
    ];
    (chunks, trailers).prop_map(|(chunks, trailers)| {
        let mut body = Vec::new();
        for (data, extension) in chunks {
            body.extend(format!("{:x}{extension}\r\n", data.len()).into_bytes());
            body.extend(data);
            body.extend(b"\r\n");
        }
        body.extend(format!("0\r\n{trailers}\r\n").into_bytes());
        body
    })
}

proptest! {
    #[test]
    fn any_split_gives_what_the_whole_gives(
        body in body(),
        pieces in proptest::collection::vec(1usize..30, 0..40),
        framed in any::<bool>(),
    ) {
        let emit = if framed { Emit::Framed } else { Emit::Data };
        let mut input = body;
        input.extend(b"next");
        let whole = run(&input, emit, &[]).unwrap();
        prop_assert!(whole.2);
        prop_assert_eq!(&whole.1, b"next");
        prop_assert_eq!(run(&input, emit, &pieces).unwrap(), whole);
    }

    #[test]
    fn any_bytes_any_split_no_panic(
        bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b';'), Just(b':'),
        ], 0..200),
        pieces in proptest::collection::vec(1usize..20, 0..40),
    ) {
        let whole = run(&bytes, Emit::Framed, &[]);
        let split = run(&bytes, Emit::Framed, &pieces);
        prop_assert_eq!(whole.is_err(), split.is_err());
        if let (Ok(whole), Ok(split)) = (whole, split) {
            prop_assert_eq!(whole, split);
        }
    }
}
