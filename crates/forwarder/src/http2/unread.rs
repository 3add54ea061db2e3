//! Heads of a target that nobody has read: the library keeps as many as come, and no window holds them up.
//!
//! A target may send interim answers (1xx) without end, as large as a head may be, while the client takes nothing. So what comes of
//! a target is watched on its way to the library, frame by frame: too many heads that wait end the connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::frame::{HEADER_BYTES, Header, Kind};
use crate::stream::Stream;

/// Heads that may wait on a connection beside [`USUAL`] for each of its streams.
const MAX_UNREAD: usize = 32;
/// An interim answer, the head of the answer, and its trailers.
const USUAL: usize = 3;

/// The heads that wait, of the streams of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Rc<RefCell<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// By the numbers of the streams.
    heads: BTreeMap<u32, usize>,
    total: usize,
}

impl Unread {
    /// A stream was opened.
    pub(crate) fn open(&self, stream: u32) -> UnreadOf {
        self.0.borrow_mut().heads.insert(stream, 0);
        UnreadOf {
            all: self.clone(),
            stream,
        }
    }

    /// A head has come; false if too many wait. Those of streams that nobody has any more are not kept.
    fn came(&self, stream: u32) -> bool {
        let waiting = &mut *self.0.borrow_mut();
        if let Some(heads) = waiting.heads.get_mut(&stream) {
            *heads += 1;
            waiting.total += 1;
        }
        waiting.total <= MAX_UNREAD + USUAL * waiting.heads.len()
    }
}

/// The heads that wait of one stream, as long as somebody may read them.
#[derive(Debug)]
pub(crate) struct UnreadOf {
    all: Unread,
    stream: u32,
}

impl UnreadOf {
    /// One was read.
    pub(crate) fn read(&self) {
        let waiting = &mut *self.all.0.borrow_mut();
        if let Some(heads @ 1..) = waiting.heads.get_mut(&self.stream) {
            *heads -= 1;
            waiting.total -= 1;
        }
    }
}

impl Drop for UnreadOf {
    fn drop(&mut self) {
        let waiting = &mut *self.all.0.borrow_mut();
        waiting.total -= waiting.heads.remove(&self.stream).unwrap_or(0);
    }
}

/// A connection to a target whose frames are watched.
pub(crate) struct Watched {
    stream: Stream,
    unread: Unread,
    frames: Frames,
}

impl Watched {
    /// Nothing was read of it yet.
    pub(crate) fn new(stream: Stream, unread: Unread) -> Self {
        Self {
            stream,
            unread,
            frames: Frames::default(),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let mut too_many = false;
        this.frames.read(&buf.filled()[before..], |header| {
            if header.kind == Kind::Headers {
                too_many |= !this.unread.came(header.stream);
            }
        });
        Poll::Ready(match too_many {
            true => Err(io::Error::other("too many heads that nobody takes")),
            false => Ok(()),
        })
    }
}

impl AsyncWrite for Watched {
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

/// Finds where frames begin in bytes that come in pieces.
#[derive(Debug, Default)]
struct Frames {
    /// What has come of a header.
    header: [u8; HEADER_BYTES],
    known: usize,
    /// Bytes of the frame that are still to come.
    left: usize,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(Header)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let more = (HEADER_BYTES - self.known).min(bytes.len());
            self.header[self.known..self.known + more].copy_from_slice(&bytes[..more]);
            self.known += more;
            bytes = &bytes[more..];
            if self.known == HEADER_BYTES
                && let Some(header) = Header::read(&self.header)
            {
                self.known = 0;
                self.left = header.length;
                found(header);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::frame;

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let mut bytes = Vec::new();
        frame::write_settings(&mut bytes, &[]);
        frame::write(&mut bytes, Kind::Headers, 0, 3, &[1; 40]);
        frame::write(&mut bytes, Kind::Data, 0, 3, &[1; 1000]);
        frame::write(&mut bytes, Kind::Headers, 0, 5, &[]);
        for size in [1, 2, 8, 9, 10, 100, bytes.len()] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.read(piece, |header| seen.push((header.kind, header.stream)));
            }
            let expected = [
                (Kind::Settings, 0),
                (Kind::Headers, 3),
                (Kind::Data, 3),
                (Kind::Headers, 5),
            ];
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn heads_that_are_read_or_that_nobody_will_read_do_not_wait() {
        let unread = Unread::default();
        let (first, second) = (unread.open(1), unread.open(3));
        for _ in 0..10_000 {
            assert!(unread.came(1));
            first.read();
            assert!(unread.came(5), "nobody has asked for it");
        }
        // Three heads for each of the two streams, and 32.
        assert!((0..38).all(|_| unread.came(3)));
        assert!(!unread.came(1));
        drop(second);
        assert!(unread.came(1));
    }
}
