//! A client of HTTP/2 on raw frames (RFC 9113 §4): writes what no library would write, and reads what comes back.
//!
//! Fields are written as literals (RFC 7541 §6.2.2), so that no table has to be kept. Of answers only the status is read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::LIMIT;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;
/// A head that is all there is.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
#[allow(dead_code)] // what header blocks end with
pub(crate) const COMPRESSION_ERROR: u32 = 9;
#[allow(dead_code)] // what floods end with
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame in bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in pairs {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Says which stream another one depends on; the high bit would make it the only one.
pub(crate) fn dependency(on: u32) -> [u8; 5] {
    let [a, b, c, d] = on.to_be_bytes();
    [a, b, c, d, 16]
}

/// A whole head on a stream.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &[u8])]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

/// Fields as a header block of literals.
pub(crate) fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name.as_bytes());
        text(&mut out, value);
    }
    out
}

/// A text that is not compressed (RFC 7541 §5.2), its length a number with a prefix of seven bits (§5.1).
pub(crate) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    if length < 127 {
        out.push(u8::try_from(length).unwrap());
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        out.push(u8::try_from(length).unwrap());
    }
    out.extend(bytes);
}

/// A request that nothing is wrong with.
pub(crate) const REQUEST: [(&str, &[u8]); 4] = [
    (":method", b"GET"),
    (":scheme", b"http"),
    (":authority", b"example.com"),
    (":path", b"/"),
];

/// The same by another method.
pub(crate) const POST: [(&str, &[u8]); 4] = [
    (":method", b"POST"),
    (":scheme", b"http"),
    (":authority", b"example.com"),
    (":path", b"/"),
];

/// That request with these fields.
pub(crate) fn with<'a>(
    request: &[(&'a str, &'a [u8])],
    more: &[(&'a str, &'a [u8])],
) -> Vec<(&'a str, &'a [u8])> {
    [request, more].concat()
}

/// A frame that was read.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Four bytes of the payload as a number.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status a header block begins with.
    pub(crate) fn status(&self) -> u16 {
        let begins = |byte: &&u8| **byte & 0xe0 != 0x20;
        // What changes the size of the table comes first.
        let at = self.payload.iter().position(|byte| begins(&byte)).unwrap();
        match self.payload[at] {
            indexed @ 0x88..=0x8e => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
            }
            _ => digits(&self.payload[at + 1..]),
        }
    }
}

/// Three digits, perhaps in the code of RFC 7541 appendix B.
fn digits(text: &[u8]) -> u16 {
    let (length, is_huffman) = (usize::from(text[0] & 0x7f), text[0] & 0x80 != 0);
    let text = &text[1..=length];
    if !is_huffman {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    let bits = text
        .iter()
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = 8 * length;
    let mut number = 0;
    for _ in 0..3 {
        let next = |count: usize| (bits >> (left - count)) as u16 & ((1 << count) - 1);
        // 0 to 2 take five bits, the others six, 3 being 011001.
        let (digit, count) = match next(5) {
            digit @ 0..=2 => (digit, 5),
            _ => (next(6) - 0b01_0110, 6),
        };
        number = number * 10 + digit;
        left -= count;
    }
    number
}

/// What becomes of a stream or of the whole connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// An answer began, with this status.
    Answered(u16),
    /// The stream was reset.
    Reset(u32),
    /// The connection ends, as was said with this error.
    Goaway(u32),
    /// The connection was closed without words.
    Closed,
}

/// A client on raw frames.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

impl Raw {
    /// Connects and says nothing.
    pub(crate) fn silent(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw {
            stream,
            input: Vec::new(),
        }
    }

    /// Connects and begins as one should.
    pub(crate) fn connect(address: SocketAddr) -> Raw {
        Self::connect_with(address, &[])
    }

    /// The same with these settings.
    pub(crate) fn connect_with(address: SocketAddr, pairs: &[(u16, u32)]) -> Raw {
        let mut raw = Self::silent(address);
        raw.send(PREFACE);
        // Without a table, each status is one that can be read by itself.
        raw.send(settings(&[&[(1, 0)], pairs].concat()));
        let first = raw.next().expect("the settings of the server");
        assert_eq!((first.kind, first.flags), (SETTINGS, 0));
        raw.send(frame(SETTINGS, ACK, 0, &[]));
        raw
    }

    #[allow(dead_code)] // for floods
    /// The same connection once more, to be read beside.
    pub(crate) fn twin(&mut self) -> Raw {
        Raw {
            stream: self.stream.try_clone().unwrap(),
            input: std::mem::take(&mut self.input),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends although the other end may have closed already; false if it has.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The next frame; `None` if the connection has ended.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let header = self.take(9)?;
        let length =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let stream = u32::from_be_bytes(header[5..9].try_into().unwrap());
        Some(Frame {
            kind: header[3],
            flags: header[4],
            stream,
            payload: self.take(length)?,
        })
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut buf = [0; 16 * 1024];
        while self.input.len() < count {
            match self.stream.read(&mut buf) {
                Ok(0) => return None,
                Ok(read) => self.input.extend(&buf[..read]),
                Err(error) => {
                    let ended = error.kind() == std::io::ErrorKind::ConnectionReset;
                    assert!(ended, "nothing comes in time: {error}");
                    return None;
                }
            }
        }
        let rest = self.input.split_off(count);
        Some(std::mem::replace(&mut self.input, rest))
    }

    /// The next frame of this kind, others left out.
    pub(crate) fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// What becomes of a stream, or of the connection if that is first.
    pub(crate) fn fate(&mut self, stream: u32) -> Fate {
        loop {
            let Some(frame) = self.next() else {
                return Fate::Closed;
            };
            match frame.kind {
                HEADERS if frame.stream == stream => return Fate::Answered(frame.status()),
                RST_STREAM if frame.stream == stream => return Fate::Reset(frame.number(0)),
                GOAWAY if frame.number(4) != NO_ERROR => return Fate::Goaway(frame.number(4)),
                _ => {}
            }
        }
    }

    /// True if a PING is answered, with what it brought.
    pub(crate) fn is_alive(&mut self) -> bool {
        let token = *b"are you?";
        let asked = self.try_send(frame(PING, 0, 0, &token));
        let answer = asked.then(|| self.next_of(PING)).flatten();
        answer.is_some_and(|frame| frame.flags == ACK && frame.payload == token)
    }

    /// True if the connection ends, whatever comes before.
    pub(crate) fn ends(&mut self) -> bool {
        while self.next().is_some() {}
        true
    }
}
