//! Buffers of one thread: a scratch area all reads go through, and a store of spare vectors.
//!
//! A connection keeps only what could not be moved on at once, and nothing while it idles.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read at most in one call: what is 64 KiB long for those who made it comes with its head in one piece.
pub(crate) const SCRATCH_BYTES: usize = 72 * 1024;
/// Spare vectors kept by a thread.
const MAX_SPARES: usize = 256;
/// Vectors that have grown beyond this are given back to the system, as are those smaller than a new one.
const MAX_SPARE_BYTES: usize = 32 * 1024;
/// Vectors beyond that and up to here are kept as well, for what is filled and emptied all the time.
const MAX_LARGE_BYTES: usize = 128 * 1024;
/// Such vectors kept by a thread.
const MAX_LARGE: usize = 8;
/// Room of a new vector.
const FIRST_BYTES: usize = 4 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static LARGE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Lends the scratch area; not to be held across a wait, and not to be asked for again inside.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}

/// Reads once; 0 means the peer has ended its direction.
pub(crate) fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

/// Bytes waiting to be moved on. Empty ones hold no memory.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// True if nothing is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// What is waiting.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// What is waiting, to be changed in place.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Appends; takes a spare vector if there is none yet.
    pub(crate) fn extend(&mut self, more: &[u8]) {
        if !more.is_empty() {
            self.vec().extend_from_slice(more);
        }
    }

    /// Appends what must wait for the peer to go on: no more room than it needs, for as long as the peer pleases.
    pub(crate) fn keep(&mut self, more: &[u8]) {
        self.bytes.reserve_exact(more.len());
        self.bytes.extend_from_slice(more);
    }

    /// The vector itself, to append to.
    pub(crate) fn vec(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARES
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| Vec::with_capacity(FIRST_BYTES));
        }
        &mut self.bytes
    }

    /// The vector itself, with room for `more`; if it has to be larger for that than what is usual, then at once as large as
    /// `most`, which it will be soon.
    pub(crate) fn vec_for(&mut self, more: usize, most: usize) -> &mut Vec<u8> {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() && needed > FIRST_BYTES * 2 {
            let room = needed.max(most);
            let mut large = LARGE
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| Vec::with_capacity(room));
            large.extend_from_slice(&self.bytes);
            let start = self.start;
            self.release();
            (self.bytes, self.start) = (large, start);
        }
        self.vec()
    }

    /// Bytes that were moved on but are still held, plus those waiting.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that were moved on since the buffer was last empty.
    pub(crate) fn moved(&self) -> usize {
        self.start
    }

    /// The first `count` bytes were moved on; all are still held.
    pub(crate) fn advance(&mut self, count: usize) {
        self.start += count;
        debug_assert!(
            self.start <= self.bytes.len(),
            "no more was moved than was there"
        );
    }

    /// Everything held is waiting again.
    pub(crate) fn rewind(&mut self) {
        self.start = 0;
    }

    /// The first `count` bytes were moved on; memory is given back once nothing is left.
    pub(crate) fn consume(&mut self, count: usize) {
        self.advance(count);
        if self.is_empty() {
            self.release();
        }
    }

    /// Takes no memory for what was moved on; worth its while where something waits for long behind what goes.
    pub(crate) fn compact(&mut self) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..std::mem::take(&mut self.start));
        }
    }

    /// What is waiting, as a vector of its own.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// Keeps the first `count` bytes of what is held, none of which were moved on.
    pub(crate) fn truncate(&mut self, count: usize) {
        debug_assert!(self.start == 0, "nothing is taken back from under a reader");
        self.bytes.truncate(count);
    }

    /// Forgets everything but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Forgets everything, and keeps the memory if it is no more than that of a new one.
    pub(crate) fn clear_kept(&mut self) {
        match self.bytes.capacity() {
            0..=FIRST_BYTES => self.clear(),
            _ => self.release(),
        }
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn release(&mut self) {
        self.start = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        let capacity = bytes.capacity();
        if !(FIRST_BYTES..=MAX_LARGE_BYTES).contains(&capacity) {
            return;
        }
        let (store, most) = match capacity <= MAX_SPARE_BYTES {
            true => (&SPARES, MAX_SPARES),
            false => (&LARGE, MAX_LARGE),
        };
        bytes.clear();
        // The store is gone while the thread ends: the memory then goes to the system.
        let _ = store.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < most {
                spares.push(bytes);
            }
        });
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        // Most are empty when they go.
        if self.bytes.capacity() > 0 {
            self.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_on_is_held_until_told() {
        let mut buffer = Buffer::default();
        buffer.extend(b"abcd");
        buffer.advance(3);
        assert_eq!(
            (buffer.as_slice(), buffer.moved(), buffer.held()),
            (&b"d"[..], 3, 4)
        );
        buffer.rewind();
        assert_eq!(buffer.as_slice(), b"abcd");
        buffer.consume(4);
        assert!(buffer.is_empty());
        assert_eq!(
            buffer.bytes.capacity(),
            0,
            "an empty buffer holds no memory"
        );
    }

    #[test]
    fn what_is_kept_for_long_takes_no_more_room_than_it_needs() {
        let mut buffer = Buffer::default();
        buffer.keep(b"GET / HT");
        buffer.keep(b"TP/1.1");
        assert_eq!(buffer.as_slice(), b"GET / HTTP/1.1");
        assert!(buffer.bytes.capacity() < 32, "{}", buffer.bytes.capacity());
        drop(buffer);
        let mut next = Buffer::default();
        next.extend(b"x");
        assert_eq!(
            next.bytes.capacity(),
            FIRST_BYTES,
            "small ones are not kept"
        );
    }

    #[test]
    fn what_becomes_large_does_so_at_once_and_is_used_again() {
        let mut buffer = Buffer::default();
        buffer.extend(b"abc");
        buffer.advance(1);
        buffer.vec_for(6_000, 60_000);
        assert!(buffer.bytes.capacity() <= 2 * FIRST_BYTES);
        buffer.vec_for(10_000, 60_000).push(b'd');
        assert_eq!(
            (buffer.as_slice(), buffer.bytes.capacity()),
            (&b"bcd"[..], 60_000)
        );
        drop(buffer);
        let mut next = Buffer::default();
        assert_eq!(next.vec_for(20_000, 50_000).capacity(), 60_000);
    }

    #[test]
    fn memory_is_used_again() {
        let mut buffer = Buffer::default();
        buffer.extend(&[7; 10_000]);
        let capacity = buffer.bytes.capacity();
        drop(buffer);
        let mut next = Buffer::default();
        next.extend(b"x");
        assert_eq!(
            (next.as_slice(), next.bytes.capacity()),
            (&b"x"[..], capacity)
        );
    }
}
