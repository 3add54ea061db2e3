//! Counts the frames of a client that only make work: PING, SETTINGS, PRIORITY, RST_STREAM, GOAWAY, and those of unknown kind.
//! All others are limited by what they do. Says whether a header block is on its way. Judges whether frames have the size of their kind (RFC 9113 §4.2) and SETTINGS come first (§3.4).
//!
//! Reads along with the connection and changes nothing, but that nothing is read any more from a frame on that is wrong.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::connection::Client;
use crate::http2::gathered::Gathered;

/// Bytes of a frame before its payload (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;
/// What a connection begins with (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// Kinds of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Those that are limited by what they do.
const LIMITED_OTHERWISE: [u8; 4] = [DATA, HEADERS, WINDOW_UPDATE, CONTINUATION];

/// The flag of SETTINGS that only confirm.
const ACK: u8 = 1;
/// The flag of the last frame of a header block.
const END_HEADERS: u8 = 4;

/// Where frames begin in what is read.
#[derive(Debug)]
pub(crate) struct Frames {
    /// SETTINGS have yet to come.
    first: bool,
    /// Bytes left of the payload at hand.
    skip: usize,
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    filled: usize,
    /// Header blocks that were begun.
    blocks: u32,
    /// How far the last one has come.
    block: Block,
}

/// A header block (RFC 9113 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Block {
    /// All of it has come.
    Whole,
    /// It goes on after the frame at hand.
    Open,
    /// It ends with the frame at hand.
    Ending,
}

impl Frames {
    /// At the beginning of a connection.
    pub(crate) fn new() -> Self {
        Self {
            first: true,
            skip: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            filled: 0,
            blocks: 0,
            block: Block::Whole,
        }
    }

    /// The number of the header block of which a part is still to come.
    pub(crate) fn unfinished(&self) -> Option<u32> {
        (self.block != Block::Whole).then_some(self.blocks)
    }

    /// Goes through bytes that have come.
    pub(crate) fn look(&mut self, all: &[u8]) -> Seen {
        let mut bytes = all;
        let mut work = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                self.end_block();
                continue;
            }
            let taken = (HEADER_BYTES - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER_BYTES {
                let [high, middle, low, kind, flags, ..] = self.header;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.filled = 0;
                self.begin_block(kind, flags);
                self.end_block();
                work += u32::from(!LIMITED_OTHERWISE.contains(&kind));
                if let Some(reason) = self.fault(kind, flags) {
                    // A header that lacks its last byte is none.
                    let fit = all.len() - bytes.len() - 1;
                    return Seen {
                        work,
                        fault: Some((fit, reason)),
                    };
                }
            }
        }
        Seen { work, fault: None }
    }

    fn begin_block(&mut self, kind: u8, flags: u8) {
        if kind == HEADERS {
            self.blocks = self.blocks.wrapping_add(1);
        }
        if kind == HEADERS || kind == CONTINUATION {
            self.block = match flags & END_HEADERS {
                0 => Block::Open,
                _ => Block::Ending,
            };
        }
    }

    fn end_block(&mut self) {
        if self.skip == 0 && self.block == Block::Ending {
            self.block = Block::Whole;
        }
    }

    /// What is wrong with a frame of this kind that is as long as `skip`.
    fn fault(&mut self, kind: u8, flags: u8) -> Option<Reason> {
        if std::mem::take(&mut self.first) && kind != SETTINGS {
            return Some(Reason::PROTOCOL_ERROR);
        }
        let length = self.skip;
        let fits = match kind {
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            SETTINGS if flags & ACK != 0 => length == 0,
            SETTINGS => length.is_multiple_of(6),
            PING => length == 8,
            GOAWAY => length >= 8,
            _ => true,
        };
        (!fits).then_some(Reason::FRAME_SIZE_ERROR)
    }
}

/// What was seen in bytes that have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// Frames that only make work.
    work: u32,
    /// How many of the bytes are fit to be read, and what is wrong with those after them.
    fault: Option<(usize, Reason)>,
}

/// The connection of a client whose frames are counted.
pub(crate) struct Metered {
    /// The connection itself.
    pub(crate) stream: Gathered,
    /// Whose manners are looked at.
    pub(crate) client: Rc<Client>,
    /// Where it stands.
    pub(crate) frames: Frames,
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.client.fault().is_some() {
            // Who polls the connection sees the fault before long.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let seen = this.frames.look(&buf.filled()[before..]);
        if seen.work > 0 {
            this.client.made_work(Instant::now(), seen.work);
        }
        this.client.has_unfinished(this.frames.unfinished());
        if let Some((fit, reason)) = seen.fault {
            this.client.failed(reason);
            buf.set_filled(before + fit);
            if fit == 0 {
                return Poll::Pending;
            }
        }
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of this kind with so many bytes of payload.
    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 0];
        frame.extend(vec![6; length.into()]);
        frame
    }

    #[test]
    fn frames_are_told_apart_in_whatever_pieces_they_come() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, length) in [
            (4, 0),
            (1, 30),
            (6, 8),
            (0, 200),
            (8, 4),
            (2, 5),
            (77, 1),
            (9, 9),
        ] {
            bytes.extend(frame(kind, length));
        }
        for size in [1, 2, 7, 9, 10, 64, bytes.len()] {
            let mut frames = Frames::new();
            let seen: Vec<Seen> = bytes.chunks(size).map(|piece| frames.look(piece)).collect();
            let work: u32 = seen.iter().map(|seen| seen.work).sum();
            assert_eq!(
                work, 4,
                "SETTINGS, PING, PRIORITY and one unknown in pieces of {size}"
            );
            assert!(seen.iter().all(|seen| seen.fault.is_none()));
        }
    }

    #[test]
    fn a_header_block_is_unfinished_until_its_last_byte() {
        let headers = |kind, flags| {
            let mut frame = frame(kind, 30);
            frame[4] = flags;
            frame
        };
        let mut frames = Frames::new();
        let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0)].concat();
        for (bytes, unfinished) in [
            (&begin[..], None),
            (&headers(1, 0), Some(1)),
            (&headers(9, 0), Some(1)),
            (&headers(9, 4)[..20], Some(1)),
            (&[0; 19], None),
            (&headers(1, 4)[..38], Some(2)),
            (&[0], None),
            (&headers(1, 4), None),
        ] {
            assert_eq!(frames.look(bytes).fault, None);
            assert_eq!(frames.unfinished(), unfinished);
        }
    }

    #[test]
    fn a_frame_that_is_wrong_ends_what_is_fit() {
        let begin = |first: Vec<u8>| [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), first].concat();
        for (kind, length, reason) in [
            (2, 4, Reason::FRAME_SIZE_ERROR),
            (3, 5, Reason::FRAME_SIZE_ERROR),
            (4, 3, Reason::FRAME_SIZE_ERROR),
            (6, 9, Reason::FRAME_SIZE_ERROR),
            (7, 4, Reason::FRAME_SIZE_ERROR),
            (8, 3, Reason::FRAME_SIZE_ERROR),
        ] {
            let fit = begin(frame(4, 6));
            let bytes = [fit.clone(), frame(kind, length)].concat();
            let seen = Frames::new().look(&bytes);
            assert_eq!(seen.fault, Some((fit.len() + 8, reason)), "kind {kind}");
        }
        let mut frames = Frames::new();
        let bytes = begin(frame(6, 8));
        let (early, late) = bytes.split_at(PREFACE_BYTES + 8);
        assert_eq!(frames.look(early).fault, None);
        let seen = frames.look(late).fault;
        assert_eq!(seen, Some((0, Reason::PROTOCOL_ERROR)), "no SETTINGS");
    }
}
