//! A channel inside a tokio runtime.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

use super::{Channel, Message, receive, send};
use crate::readiness::watch;

/// A [`Channel`] that waits in the runtime instead of in the kernel. The other descriptors of the same end keep their
/// own way of waiting.
#[derive(Debug)]
pub struct AsyncChannel {
    fd: AsyncFd<OwnedFd>,
    buffer: Mutex<Vec<u8>>,
}

impl AsyncChannel {
    /// Hands `channel` to the runtime. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(channel: Channel) -> io::Result<Self> {
        Ok(Self {
            fd: watch(channel.fd, Interest::READABLE | Interest::WRITABLE)?,
            buffer: Mutex::new(Vec::new()),
        })
    }

    /// The channel itself, taken back from the runtime.
    pub fn into_inner(self) -> Channel {
        Channel {
            fd: self.fd.into_inner(),
        }
    }

    /// Receives one message; `None` when the peer has closed. No message is lost when the future is dropped.
    ///
    /// # Errors
    /// As [`Channel::receive`].
    pub async fn receive(&self) -> io::Result<Option<Message>> {
        let mut buffer = self.buffer.lock().await;
        self.fd
            .async_io(Interest::READABLE, |fd| {
                receive(fd, &mut buffer, RecvFlags::DONTWAIT)
            })
            .await
    }

    /// Sends one message, waiting for room.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.fd
            .async_io(Interest::WRITABLE, |fd| {
                send(fd, bytes, fds, SendFlags::DONTWAIT)
            })
            .await
    }

    /// Sends one message now or not at all.
    ///
    /// # Errors
    /// As [`Channel::try_send`].
    pub fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.fd.get_ref(), bytes, fds, SendFlags::DONTWAIT)
    }
}

impl AsFd for AsyncChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}
