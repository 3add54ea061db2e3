//! Answers from HTTP/1.1 to HTTP/2: heads and trailers, as the served end writes them.
//!
//! What is read here was written by us, of parts that were judged before: it is taken apart, not judged again.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::http::body::Framing;
use crate::http::fields::content_length;
use crate::http2::hpack::encoder;

/// What every head begins with.
const VERSION: &[u8] = b"HTTP/1.1 ";
/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// Finds [`END`].
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END));

/// What the answer depends on in the request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Asked {
    /// The method was HEAD: there is no body.
    pub(crate) is_head: bool,
    /// Another protocol was asked for (RFC 8441).
    pub(crate) tunnel: bool,
}

/// What came of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Head {
    /// An answer before the answer.
    Interim,
    /// The answer, and how long its body is.
    Final(Framing),
}

/// What cannot be put into HTTP/2. The served end writes nothing of the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unfit;

/// Where a head ends that stands at the beginning of `bytes`.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    FINDER.find(bytes).map(|at| at + END.len())
}

/// Appends a head as a header block.
pub(crate) fn write_head(out: &mut Vec<u8>, head: &[u8], asked: Asked) -> Result<Head, Unfit> {
    let status = head.strip_prefix(VERSION).ok_or(Unfit)?;
    let status: [u8; 3] = *status.first_chunk().ok_or(Unfit)?;
    if !status.iter().all(u8::is_ascii_digit) {
        return Err(Unfit);
    }
    let switched = asked.tunnel && status == *b"101";
    let said = match status {
        // What was agreed to is said by the status alone (RFC 8441 §5).
        _ if switched => *b"200",
        // To a client that asked for another protocol it would mean that it was agreed to.
        [b'2', ..] if asked.tunnel => *b"502",
        status => status,
    };
    encoder::write_status(out, said);
    let (mut length, mut chunked) = (None, false);
    for (name, value) in fields(skip_line(head)) {
        match Own::of(name) {
            Own::Length => length = content_length(value),
            Own::Coding => {
                chunked = true;
                continue;
            }
            Own::Hop => continue,
            Own::Accept if switched => continue,
            Own::Accept | Own::Other => {}
        }
        encoder::write_field(out, name, value);
    }
    if status[0] == b'1' && !switched {
        return Ok(Head::Interim);
    }
    let bodiless = asked.is_head || matches!(&status, b"204" | b"304");
    Ok(Head::Final(match (chunked, length) {
        _ if switched => Framing::UntilClose,
        _ if bodiless => Framing::None,
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    }))
}

/// Appends a trailer section as a header block; false if there is nothing in it.
pub(crate) fn write_trailers(out: &mut Vec<u8>, section: &[u8]) -> bool {
    let mut any = false;
    for (name, value) in fields(section) {
        encoder::write_field(out, name, value);
        any = true;
    }
    any
}

/// Fields that mean something to the connection they come by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Own {
    Length,
    Coding,
    Hop,
    /// The target's agreement to a key that the client has not sent.
    Accept,
    Other,
}

impl Own {
    fn of(name: &[u8]) -> Self {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            14 if is(b"content-length") => Self::Length,
            17 if is(b"transfer-encoding") => Self::Coding,
            7 if is(b"upgrade") => Self::Hop,
            10 if is(b"connection") || is(b"keep-alive") => Self::Hop,
            16 if is(b"proxy-connection") => Self::Hop,
            20 if is(b"sec-websocket-accept") => Self::Accept,
            _ => Self::Other,
        }
    }
}

fn skip_line(bytes: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', bytes).map_or(&[], |at| &bytes[at + 1..])
}

/// The fields in lines, to the empty one.
fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let colon = memchr::memchr2(b':', b'\n', rest)?;
        let (name, after) = rest.split_at(colon);
        let after = after.strip_prefix(b":")?;
        let end = memchr::memchr(b'\n', after)?;
        rest = &after[end + 1..];
        Some((name, after[..end].trim_ascii()))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http2::hpack::decoder::Decoder;

    type Fields = Vec<(String, String)>;

    fn read(block: &[u8]) -> Fields {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut decoder = Decoder::new();
        let read = decoder.read(block, 4096, |name, value| {
            fields.push((text(name), text(value)))
        });
        read.unwrap();
        fields
    }

    fn head(bytes: &[u8], asked: Asked) -> (Fields, Head) {
        let mut out = Vec::new();
        let head = write_head(&mut out, bytes, asked).unwrap();
        (read(&out), head)
    }

    fn owned(fields: &[(&str, &str)]) -> Fields {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        fields.iter().map(own).collect()
    }

    #[test]
    fn a_head_loses_what_belongs_to_the_connection() {
        let bytes = b"HTTP/1.1 200 OK\r\nX-A:  1 \r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            head(bytes, Asked::default()),
            (
                owned(&[(":status", "200"), ("x-a", "1")]),
                Head::Final(Framing::Chunked)
            )
        );
    }

    #[test]
    fn how_long_the_body_is() {
        let is_head = Asked {
            is_head: true,
            ..Asked::default()
        };
        for (bytes, asked, expected) in [
            (
                &b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"[..],
                Asked::default(),
                Head::Interim,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Asked::default(),
                Head::Final(Framing::Length(5)),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                is_head,
                Head::Final(Framing::None),
            ),
            (
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                Asked::default(),
                Head::Final(Framing::None),
            ),
            (
                b"HTTP/1.1 200 OK\r\n\r\n",
                Asked::default(),
                Head::Final(Framing::UntilClose),
            ),
        ] {
            assert_eq!(head(bytes, asked).1, expected);
        }
        let short = write_head(&mut Vec::new(), b"HTTP/1.1 2\r\n\r\n", is_head);
        assert_eq!(short, Err(Unfit));
    }

    #[test]
    fn what_was_agreed_to_is_said_by_the_status() {
        let tunnel = Asked {
            tunnel: true,
            ..Asked::default()
        };
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
        let fields = owned(&[(":status", "200"), ("sec-websocket-protocol", "chat")]);
        assert_eq!(
            head(agreed, tunnel),
            (fields, Head::Final(Framing::UntilClose))
        );
        let (fields, _) = head(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", tunnel);
        assert_eq!(fields[0].1, "502");
    }

    #[test]
    fn no_trailers_are_none() {
        for section in [&b""[..], b"\r\n"] {
            assert!(!write_trailers(&mut Vec::new(), section));
        }
        let mut out = Vec::new();
        assert!(write_trailers(&mut out, b"X-T: 1\r\n\r\n"));
        assert_eq!(read(&out), owned(&[("x-t", "1")]));
    }

    #[test]
    fn where_a_head_ends() {
        assert_eq!(end_of_head(b"HTTP/1.1 200 OK\r\n\r\nbody"), Some(19));
        assert_eq!(end_of_head(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
