//! What the streams of a client say in one turn goes out in one piece.
//!
//! Their frames come one after the other, each with a request to be flushed. A system call for each, and inside TLS a record
//! for each, would cost more than all the rest of an answer. So writing keeps what it is given up to a limit, flushing does
//! nothing, and whoever has had the connection polled lets it out.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers::Buffer;
use crate::stream::Stream;

/// Bytes that are kept at most; with more, they go out at once.
const KEPT_BYTES: usize = 16 * 1024;

/// A connection, for the two who have to do with it: who writes, and who lets it out.
#[derive(Clone, Debug)]
pub(crate) struct Gathered(Rc<RefCell<Wire>>);

#[derive(Debug)]
struct Wire {
    stream: Stream,
    out: Buffer,
    /// Nothing more can be read in this turn.
    drained: bool,
}

impl Gathered {
    /// Nothing has been written yet.
    pub(crate) fn new(stream: Stream) -> Self {
        Self(Rc::new(RefCell::new(Wire {
            stream,
            out: Buffer::default(),
            drained: false,
        })))
    }

    /// Ends a turn: lets out what was gathered. Ready once the connection has taken all of it.
    pub(crate) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        wire.drained = false;
        wire.poll_out(cx)
    }
}

impl Wire {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, self.out.as_slice());
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.out.consume(count),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Keeps what is little; what is more goes out together with what was kept.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.out.as_slice().len() + length > KEPT_BYTES {
            ready!(self.poll_out(cx))?;
        }
        if length > KEPT_BYTES {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        for slice in slices {
            self.out.extend(slice);
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        // Each stream that begins has the connection read again: what is woken by then is woken for the next turn.
        if wire.drained {
            return Poll::Pending;
        }
        let read = Pin::new(&mut wire.stream).poll_read(cx, buf);
        wire.drained = read.is_pending();
        read
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_out(cx))?;
        Pin::new(&mut wire.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::http2::conduit::{Ended, pair};

    #[test]
    fn little_goes_out_together_at_the_end_of_a_turn_and_much_at_once() {
        let mut cx = Context::from_waker(Waker::noop());
        let (conduit, outlet) = pair(None);
        let mut gathered = Gathered::new(Stream::Conduit(conduit));
        let mut write = |gathered: &mut Gathered, data: &[u8]| {
            let written = Pin::new(gathered).poll_write(&mut cx, data);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == data.len()));
        };
        write(&mut gathered, b"one ");
        write(&mut gathered, b"two");
        let flushed = Pin::new(&mut gathered).poll_flush(&mut Context::from_waker(Waker::noop()));
        assert!(flushed.is_ready() && outlet.take().0.is_empty(), "not yet");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(gathered.poll_out(&mut cx).is_ready());
        assert_eq!(outlet.take().0.as_slice(), b"one two");

        let much = [7; KEPT_BYTES - 1];
        let slices = [IoSlice::new(b"12"), IoSlice::new(&much)];
        assert!(Pin::new(&mut gathered).poll_write(&mut cx, b"0").is_ready());
        let written = Pin::new(&mut gathered).poll_write_vectored(&mut cx, &slices);
        assert!(written.is_ready());
        let out = outlet.take().0;
        assert!(out.as_slice().starts_with(b"012\x07"), "in its order");
    }

    #[test]
    fn who_does_not_take_is_waited_for() {
        let mut cx = Context::from_waker(Waker::noop());
        let (conduit, outlet) = pair(None);
        let mut gathered = Gathered::new(Stream::Conduit(conduit));
        let piece = [7; KEPT_BYTES];
        while Pin::new(&mut gathered)
            .poll_write(&mut cx, &piece)
            .is_ready()
        {}
        assert!(gathered.poll_out(&mut cx).is_pending());
        let mut taken = outlet.take().0.as_slice().len();
        assert!(gathered.poll_out(&mut cx).is_ready());
        let (rest, ended) = outlet.take();
        taken += rest.as_slice().len();
        assert_eq!(
            (taken % KEPT_BYTES, ended),
            (0, Ended::No),
            "nothing is lost"
        );
        assert!(Pin::new(&mut gathered).poll_shutdown(&mut cx).is_ready());
        assert_eq!(outlet.take().1, Ended::Whole);
    }
}
