//! One stream of a client's HTTP/2 connection, as a connection of HTTP/1.1 to whoever serves it.
//!
//! Reads heads and bodies as they were written by [`crate::http2::head`]; what is written goes to the client as frames at once, as
//! far as its windows take it.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::ReadBuf;

use crate::http2::client::Client;
use crate::tls::facts::Facts;

/// The stream in a slot, or the one after it.
pub(crate) struct Conduit {
    client: Rc<Client>,
    at: usize,
    /// How what the stream comes through is encrypted, if it is.
    pub(crate) facts: Option<Rc<Facts>>,
}

impl fmt::Debug for Conduit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conduit")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Conduit {
    /// For the streams in this slot.
    pub(crate) fn new(client: &Rc<Client>, at: usize) -> Self {
        Self {
            client: Rc::clone(client),
            at,
            facts: client.facts.clone(),
        }
    }

    /// Reads what there is. Who waits is woken by whoever has told it of the stream.
    pub(crate) fn poll_read(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self
            .client
            .with_core(|core| core.read(self.at, buf.initialize_unfilled()));
        match read {
            Some(count) => {
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    }

    /// Writes what there is room for.
    pub(crate) fn poll_write(&mut self, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.client.with_core(|core| core.write(self.at, slices)) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Poll::Pending,
        }
    }

    /// Bytes that are worth fetching for it at this moment. If none are it is told once there is room.
    pub(crate) fn appetite(&self) -> usize {
        self.client.with_core(|core| core.appetite(self.at))
    }

    /// Says that nothing more comes.
    pub(crate) fn shut_down(&mut self) {
        self.client.with_core(|core| core.shut_down(self.at, true));
    }

    /// Says that what has come is not all that should have.
    pub(crate) fn reset(&self) {
        self.client.with_core(|core| core.shut_down(self.at, false));
    }
}

impl Drop for Conduit {
    fn drop(&mut self) {
        self.shut_down();
    }
}
