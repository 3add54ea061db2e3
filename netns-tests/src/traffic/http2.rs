//! The client's side of an HTTP/2 connection (RFC 9113), as little as asking the same thing again and again needs.
//!
//! The fields of a request go into the compression table (RFC 7541) with the first one and are named by number in all others, as
//! browsers do it. Of an answer the status and the number of octets are looked at.

use std::io::{self, ErrorKind};
use std::time::Instant;

use super::load::Ledger;

const HEADER_OCTETS: usize = 9;

// Kinds of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

// Flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// What a proxy may send of one answer without being told that it was taken.
const STREAM_WINDOW: u32 = 16 << 20;
/// The same of all answers; given again when half of it is used up.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// The window of a connection before anything is said.
const FIRST_WINDOW: u32 = 65_535;

/// A connection and its requests.
#[derive(Debug)]
pub(super) struct Streams {
    /// What came and is no whole frame yet.
    input: Vec<u8>,
    out: Vec<u8>,
    /// Header block of the first request, and that of all others.
    blocks: [Vec<u8>; 2],
    /// Octets of an answer.
    expected: u32,
    /// Requests at a time.
    width: u32,
    next: u32,
    open: Vec<Open>,
    unacknowledged: u32,
}

/// A request on its way.
#[derive(Debug)]
struct Open {
    stream: u32,
    due: Instant,
    octets: u32,
    good: bool,
}

impl Streams {
    /// A new connection that asks for `path` on `width` streams at a time.
    pub(super) fn new(path: &str, expected: u32, width: u32, encrypted: bool) -> Streams {
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut settings = Vec::new();
        // No push; the window of a stream.
        for (id, value) in [(2u16, 0u32), (4, STREAM_WINDOW)] {
            settings.extend_from_slice(&id.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        frame(&mut out, SETTINGS, 0, 0, &settings);
        let more = CONNECTION_WINDOW - FIRST_WINDOW;
        frame(&mut out, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        Streams {
            input: Vec::new(),
            out,
            blocks: blocks(path, encrypted),
            expected,
            width,
            next: 1,
            open: Vec::new(),
            unacknowledged: 0,
        }
    }

    /// True while an answer is awaited.
    pub(super) fn is_busy(&self) -> bool {
        !self.open.is_empty()
    }

    /// What is to be sent; to be emptied by who sends it.
    pub(super) fn said(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Begins as many requests as there may be.
    pub(super) fn begin_all(&mut self, now: Instant) {
        while self.open.len() < self.width as usize {
            self.begin(now);
        }
    }

    fn begin(&mut self, due: Instant) {
        let stream = self.next;
        self.next += 2;
        let block = &self.blocks[usize::from(stream > 1)];
        let flags = END_STREAM | END_HEADERS;
        frame(&mut self.out, HEADERS, flags, stream, block);
        self.open.push(Open {
            stream,
            due,
            octets: 0,
            good: false,
        });
    }

    /// Takes what was read. `again`: an answer is followed by another request; `good`: it counts.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        again: bool,
        good: bool,
        ledger: &mut Ledger,
    ) -> io::Result<()> {
        let mut input = std::mem::take(&mut self.input);
        let mut rest = bytes;
        if !input.is_empty() {
            input.extend_from_slice(bytes);
            rest = &input;
        }
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_OCTETS>() {
            let [high, middle, low, kind, flags, id @ ..] = *header;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            rest = after;
            let stream = u32::from_be_bytes(id) & (u32::MAX >> 1);
            if let Some(answered) = self.handle(kind, flags, stream, payload)? {
                let now = Instant::now();
                ledger.answered(answered.due, now, answered.good && good);
                if again {
                    self.begin(now);
                }
            }
        }
        self.input = rest.to_vec();
        Ok(())
    }

    /// Takes a frame; the request it has ended.
    fn handle(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<Option<Open>> {
        match kind {
            DATA => {
                let at = self.position(stream)?;
                let octets = payload.len() as u32; // a frame's length has 24 bits
                self.open[at].octets += octets;
                self.acknowledge(octets);
            }
            HEADERS => {
                let at = self.position(stream)?;
                if flags & END_HEADERS == 0 {
                    return Err(ErrorKind::InvalidData.into());
                }
                self.open[at].good |= status_is_200(flags, payload);
            }
            RST_STREAM => {
                let at = self.position(stream)?;
                self.open[at].good = false;
                return Ok(Some(self.open.swap_remove(at)));
            }
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, payload),
            SETTINGS | PING | WINDOW_UPDATE => {}
            // What was begun is not waited for: it counts as lost.
            GOAWAY => return Err(ErrorKind::ConnectionAborted.into()),
            _ => return Err(ErrorKind::InvalidData.into()),
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            return Ok(None);
        }
        let at = self.position(stream)?;
        let mut ended = self.open.swap_remove(at);
        ended.good &= ended.octets == self.expected;
        Ok(Some(ended))
    }

    fn position(&self, stream: u32) -> io::Result<usize> {
        let found = self.open.iter().position(|open| open.stream == stream);
        found.ok_or_else(|| ErrorKind::InvalidData.into())
    }

    fn acknowledge(&mut self, octets: u32) {
        self.unacknowledged += octets;
        if self.unacknowledged > CONNECTION_WINDOW / 2 {
            let more = std::mem::take(&mut self.unacknowledged);
            frame(&mut self.out, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }
}

/// Does an answer begin with status 200? It has a number of its own, which everybody uses (RFC 7541 appendix A).
fn status_is_200(flags: u8, mut block: &[u8]) -> bool {
    if flags & PADDED != 0 {
        block = block.get(1..).unwrap_or_default();
    }
    if flags & PRIORITY != 0 {
        block = block.get(5..).unwrap_or_default();
    }
    // Changes of the table's size come first; theirs ends with an octet whose first bit is not set (RFC 7541 §6.3).
    while let Some((first, rest)) = block.split_first()
        && first & 0xe0 == 0x20
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let length = block.iter().take_while(|octet| **octet >= 0x80).count() + 1;
            block = block.get(length..).unwrap_or_default();
        }
    }
    block.first() == Some(&0x88)
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The header blocks of the first request and of all others.
fn blocks(path: &str, encrypted: bool) -> [Vec<u8>; 2] {
    const GET: u8 = 0x82;
    const GZIP_DEFLATE: u8 = 0x90;
    let scheme = if encrypted { 0x87 } else { 0x86 };
    // The numbers of the names in the table everybody has (RFC 7541 appendix A).
    let fields = [
        (4, path),
        (1, "bench.example"),
        (58, "bench/1.0 (X11; Linux x86_64)"),
        (19, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
        (17, "en-US,en;q=0.5"),
        (32, "session=0123456789abcdef"),
        (32, "theme=dark"),
    ];
    let (mut first, mut later) = (vec![GET, scheme], vec![GET, scheme]);
    // The field that was added last is number 62.
    for ((name, value), number) in fields.iter().zip((62..62 + fields.len() as u8).rev()) {
        first.extend_from_slice(&[0x40 | name, value.len() as u8]);
        first.extend_from_slice(value.as_bytes());
        later.push(0x80 | number);
    }
    first.push(GZIP_DEFLATE);
    later.push(GZIP_DEFLATE);
    [first, later]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_and_followed_by_other_requests() {
        let mut streams = Streams::new("/s/3", 3, 2, true);
        streams.begin_all(Instant::now());
        streams.said().clear();
        let mut bytes = Vec::new();
        frame(&mut bytes, SETTINGS, 0, 0, &[]);
        frame(
            &mut bytes,
            HEADERS,
            END_HEADERS,
            1,
            &[0x3f, 0x80, 0x1e, 0x88],
        );
        frame(&mut bytes, HEADERS, END_HEADERS, 3, &[0x89]);
        frame(&mut bytes, DATA, 0, 1, b"ab");
        frame(&mut bytes, DATA, END_STREAM, 3, b"abc");
        frame(&mut bytes, DATA, END_STREAM, 1, b"c");
        let mut ledger = Ledger::measuring();
        for piece in bytes.chunks(7) {
            streams.take(piece, true, true, &mut ledger).unwrap();
        }
        assert_eq!((ledger.tally.good, ledger.tally.bad), (1, 1));
        assert!(streams.is_busy() && streams.open.len() == 2);
        let said = std::mem::take(streams.said());
        assert_eq!(said[..9], [0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]);
        assert_eq!(said[9 + 8], 5, "the next stream");
    }

    #[test]
    fn too_little_and_resets_are_bad() {
        let mut streams = Streams::new("/s/3", 3, 2, true);
        streams.begin_all(Instant::now());
        let mut bytes = Vec::new();
        frame(&mut bytes, HEADERS, END_HEADERS, 1, &[0x88]);
        frame(&mut bytes, DATA, END_STREAM, 1, b"ab");
        frame(&mut bytes, RST_STREAM, 0, 3, &[0, 0, 0, 2]);
        let mut ledger = Ledger::measuring();
        streams.take(&bytes, false, true, &mut ledger).unwrap();
        assert_eq!((ledger.tally.good, ledger.tally.bad), (0, 2));
        assert!(!streams.is_busy());
    }
}
