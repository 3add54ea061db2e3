//! A connection in memory. One end is served like any client connection; the other carries one HTTP/2 stream.
//!
//! Both ends belong to one task that polls them in turns until neither moves, so neither has to be woken by the other.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::ReadBuf;

use crate::buffers::Buffer;
use crate::tls::facts::Facts;

/// Bytes that wait in one direction before no more is taken. A client has a hundred of these, and may let all of them wait.
pub(crate) const ROOM: usize = 16 * 1024;

/// How the served end has ended its direction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Ended {
    /// It goes on.
    #[default]
    No,
    /// Everything was said.
    Whole,
    /// What was said is not all that should have been.
    Broken,
}

#[derive(Debug, Default)]
struct Between {
    inward: Buffer,
    inward_ended: bool,
    outward: Buffer,
    outward_ended: Ended,
    /// Something was written, read or ended since this was last asked.
    moved: bool,
}

/// The end that is served.
#[derive(Debug)]
pub(crate) struct Conduit {
    between: Rc<RefCell<Between>>,
    /// How what the stream comes through is encrypted, if it is.
    pub(crate) facts: Option<Rc<Facts>>,
}

/// The end of the stream.
#[derive(Debug)]
pub(crate) struct Outlet(Rc<RefCell<Between>>);

/// Both ends of a new connection.
pub(crate) fn pair(facts: Option<Rc<Facts>>) -> (Conduit, Outlet) {
    let between = Rc::<RefCell<Between>>::default();
    let conduit = Conduit {
        between: Rc::clone(&between),
        facts,
    };
    (conduit, Outlet(between))
}

impl Conduit {
    /// Reads what there is.
    pub(crate) fn poll_read(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut between = self.between.borrow_mut();
        let count = between.inward.as_slice().len().min(buf.remaining());
        if count == 0 {
            return match between.inward_ended {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            };
        }
        buf.put_slice(&between.inward.as_slice()[..count]);
        between.inward.consume(count);
        between.moved = true;
        Poll::Ready(Ok(()))
    }

    /// Writes what there is room for.
    pub(crate) fn poll_write(&mut self, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut between = self.between.borrow_mut();
        let mut room = ROOM.saturating_sub(between.outward.as_slice().len());
        if room == 0 {
            return Poll::Pending;
        }
        let mut written = 0;
        for slice in slices {
            let count = slice.len().min(room);
            between.outward.extend(&slice[..count]);
            room -= count;
            written += count;
        }
        between.moved = true;
        Poll::Ready(Ok(written))
    }

    /// Says that nothing more comes.
    pub(crate) fn shut_down(&mut self) {
        self.end(Ended::Whole);
    }

    /// Says that what has come is not all that should have.
    pub(crate) fn reset(&self) {
        self.end(Ended::Broken);
    }

    fn end(&self, how: Ended) {
        let mut between = self.between.borrow_mut();
        if between.outward_ended == Ended::No {
            between.outward_ended = how;
            between.moved = true;
        }
    }
}

impl Drop for Conduit {
    fn drop(&mut self) {
        self.end(Ended::Whole);
    }
}

impl Outlet {
    /// True if something has moved since this was last asked.
    pub(crate) fn take_moved(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().moved)
    }

    /// True if the served end has taken so much that more may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < ROOM
    }

    /// Bytes the served end has yet to take.
    pub(crate) fn waiting(&self) -> usize {
        self.0.borrow().inward.as_slice().len()
    }

    /// True if nothing waits at either end, and both may go on.
    pub(crate) fn is_at_rest(&self) -> bool {
        let between = self.0.borrow();
        let goes_on = !between.inward_ended && between.outward_ended == Ended::No;
        goes_on && between.inward.is_empty() && between.outward.is_empty()
    }

    /// Appends to what the served end reads, by `write`.
    pub(crate) fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut between = self.0.borrow_mut();
        write(between.inward.vec());
        between.moved = true;
    }

    /// The served end reads to here and no further.
    pub(crate) fn end(&self) {
        let mut between = self.0.borrow_mut();
        between.inward_ended = true;
        between.moved = true;
    }

    /// What the served end has written, and how it has ended.
    pub(crate) fn take(&self) -> (Buffer, Ended) {
        let mut between = self.0.borrow_mut();
        let taken = std::mem::take(&mut between.outward);
        between.moved |= !taken.is_empty();
        (taken, between.outward_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_at_one_end_comes_out_at_the_other() {
        let (mut conduit, outlet) = pair(None);
        let mut room = [0; 8];
        let mut buf = ReadBuf::new(&mut room);
        assert!(conduit.poll_read(&mut buf).is_pending());
        outlet.push(|out| out.extend_from_slice(b"question"));
        outlet.end();
        assert!(conduit.poll_read(&mut buf).is_ready());
        assert_eq!(buf.filled(), b"question");
        let mut rest = [0; 8];
        let mut rest = ReadBuf::new(&mut rest);
        assert!(conduit.poll_read(&mut rest).is_ready());
        assert!(rest.filled().is_empty(), "the end");

        let wrote = conduit.poll_write(&[io::IoSlice::new(b"ans"), io::IoSlice::new(b"wer")]);
        assert!(matches!(wrote, Poll::Ready(Ok(6))));
        let (taken, ended) = outlet.take();
        assert_eq!((taken.as_slice(), ended), (&b"answer"[..], Ended::No));
        conduit.reset();
        drop(conduit);
        assert_eq!(outlet.take().1, Ended::Broken);
    }

    #[test]
    fn a_reader_that_does_not_take_holds_the_writer() {
        let (mut conduit, outlet) = pair(None);
        let much = vec![0; ROOM + 1];
        let wrote = conduit.poll_write(&[io::IoSlice::new(&much)]);
        assert!(matches!(wrote, Poll::Ready(Ok(ROOM))));
        assert!(conduit.poll_write(&[io::IoSlice::new(b"x")]).is_pending());
        assert!(outlet.take_moved() && !outlet.take_moved());
        drop(outlet.take());
        assert!(outlet.take_moved(), "what was taken makes room");
        assert!(conduit.poll_write(&[io::IoSlice::new(b"x")]).is_ready());
    }
}
