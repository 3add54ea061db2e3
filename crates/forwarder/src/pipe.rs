//! Bytes between two TCP connections that never enter this process (splice(2)): a pipe holds their pages while they
//! are moved from one socket to the other.
//!
//! It pays where much is moved at a time. A pipe is lent while bytes flow, and kept by the thread for the next one.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes moved at most in one call, and asked for as room of a pipe; the system may give less.
const PIPE_BYTES: usize = 256 * 1024;
/// Pipes kept by a thread.
const MAX_SPARES: usize = 32;

thread_local! {
    static SPARES: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// Both ends of a pipe.
#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A pipe on loan. Given back when it is dropped empty, closed with what is in it otherwise.
#[derive(Debug)]
pub(crate) struct Pipe {
    ends: Option<Ends>,
    filled: usize,
}

impl Pipe {
    /// Lends a pipe; `None` if the system has none.
    pub(crate) fn lend() -> Option<Pipe> {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        let ends = spare.or_else(|| {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // A smaller pipe moves less at a time, that is all.
            let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
            Some(Ends { reader, writer })
        });
        ends.map(|ends| Pipe {
            ends: Some(ends),
            filled: 0,
        })
    }

    /// True if nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes in what has come; how much it was, 0 for the end. Only for an empty pipe: a full one could not be told from
    /// a source that has nothing.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty(), "what was taken in is moved on first");
        let Some(ends) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(source.poll_read_ready(cx))?;
            let moved = source.try_io(Interest::READABLE, || {
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                Ok(splice(source, None, &ends.writer, None, PIPE_BYTES, flags)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.filled = *moved.as_ref().unwrap_or(&0);
                    return Poll::Ready(moved);
                }
            }
        }
    }

    /// Moves on some of what is in it; how much it was.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        sink: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(sink.poll_write_ready(cx))?;
            let moved = sink.try_io(Interest::WRITABLE, || {
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                Ok(splice(&ends.reader, None, sink, None, self.filled, flags)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                moved => {
                    self.filled -= *moved.as_ref().unwrap_or(&0);
                    return Poll::Ready(moved);
                }
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|_| self.filled == 0) else {
            return;
        };
        // The store is gone while the thread ends: the pipe is then closed.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < MAX_SPARES {
                spares.push(ends);
            }
        });
    }
}
