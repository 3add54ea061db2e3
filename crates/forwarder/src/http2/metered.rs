//! Counts the frames of a client that only make work: PING, SETTINGS, PRIORITY, and those of unknown kind. All others are
//! limited by what they do.
//!
//! Reads along with the connection and changes nothing.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::connection::Client;
use crate::stream::Stream;

/// Bytes of a frame before its payload (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;
/// What a connection begins with (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// DATA, HEADERS, RST_STREAM, GOAWAY, WINDOW_UPDATE, CONTINUATION (RFC 9113 §6).
const LIMITED_OTHERWISE: [u8; 6] = [0, 1, 3, 7, 8, 9];

/// Where frames begin in what is read.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes left of the payload at hand.
    skip: usize,
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    filled: usize,
}

impl Frames {
    /// At the beginning of a connection.
    pub(crate) fn new() -> Self {
        Self {
            skip: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            filled: 0,
        }
    }

    /// How many frames begin in these bytes that only make work.
    pub(crate) fn idle_work(&mut self, mut bytes: &[u8]) -> u32 {
        let mut count = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEADER_BYTES - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER_BYTES {
                let [high, middle, low, kind, ..] = self.header;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.filled = 0;
                count += u32::from(!LIMITED_OTHERWISE.contains(&kind));
            }
        }
        count
    }
}

/// The connection of a client whose frames are counted.
pub(crate) struct Metered {
    /// The connection itself.
    pub(crate) stream: Stream,
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
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let count = this.frames.idle_work(&buf.filled()[before..]);
        if count > 0 {
            this.client.made_work(Instant::now(), count);
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
            let count: u32 = bytes
                .chunks(size)
                .map(|piece| frames.idle_work(piece))
                .sum();
            assert_eq!(
                count, 4,
                "SETTINGS, PING, PRIORITY and one unknown in pieces of {size}"
            );
        }
    }
}
