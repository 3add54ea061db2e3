//! Messages with descriptors between two processes of one machine, over a SOCK_SEQPACKET pair.
//!
//! A message arrives whole or not at all, in order. What the octets mean is the caller's.

mod asynchronous;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

pub use asynchronous::AsyncChannel;

/// Largest message, in octets.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most descriptors in one message.
pub const MAX_DESCRIPTORS: usize = 16;

/// One message with the descriptors that came along.
pub type Message = (Vec<u8>, Vec<OwnedFd>);

/// One end of a pair.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// Two ends that are connected to each other. Both block, and neither is inherited by a program that is executed.
///
/// # Errors
/// When the process has no descriptor left.
pub fn pair() -> io::Result<(Channel, Channel)> {
    let flags = SocketFlags::CLOEXEC;
    let (left, right) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Channel { fd: left }, Channel { fd: right }))
}

impl Channel {
    /// The end that the parent left as our standard input. Standard input stays open as well.
    ///
    /// # Errors
    /// `ENOTSOCK` or [`io::ErrorKind::InvalidInput`] if standard input is no such end.
    pub fn from_stdin() -> io::Result<Self> {
        Self::from_fd(io::stdin().as_fd().try_clone_to_owned()?)
    }

    /// Takes over the descriptor of an end.
    ///
    /// # Errors
    /// `ENOTSOCK` or [`io::ErrorKind::InvalidInput`] if it is no such end.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_type(&fd)? != SocketType::SEQPACKET {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is not a sequenced packet socket",
            ));
        }
        Ok(Self { fd })
    }

    /// Gives the descriptor away, to become the standard input of a child for example.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Another descriptor of the same end. The peer sees the end closed only when all are.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
        })
    }

    /// Whether [`Channel::send`] and [`Channel::receive`] give [`io::ErrorKind::WouldBlock`] instead of waiting. It
    /// holds for every descriptor of this end, in other processes too.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, nonblocking)?)
    }

    /// Sends one message of 1 to [`MAX_MESSAGE`] octets with at most [`MAX_DESCRIPTORS`] descriptors.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] outside these bounds; [`io::ErrorKind::BrokenPipe`] or
    /// [`io::ErrorKind::ConnectionReset`] when the peer has closed.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.fd, bytes, fds, SendFlags::empty())
    }

    /// As [`Channel::send`], but never waits.
    ///
    /// # Errors
    /// As [`Channel::send`], and [`io::ErrorKind::WouldBlock`] when the peer does not read.
    pub fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.fd, bytes, fds, SendFlags::DONTWAIT)
    }

    /// Receives one message; `None` when the peer has closed. `buffer` is room that is used again by later calls.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a message beyond the bounds of [`Channel::send`]: it is lost and its
    /// descriptors are closed. Else what the system says.
    pub fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<Option<Message>> {
        receive(&self.fd, buffer, RecvFlags::empty())
    }

    /// As [`Channel::receive`], but never waits.
    ///
    /// # Errors
    /// As [`Channel::receive`], and [`io::ErrorKind::WouldBlock`] when there is no message.
    pub fn try_receive(&self, buffer: &mut Vec<u8>) -> io::Result<Option<Message>> {
        receive(&self.fd, buffer, RecvFlags::DONTWAIT)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn send(fd: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
    // An empty message would look like a closed peer.
    if bytes.is_empty() || bytes.len() > MAX_MESSAGE || fds.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} octets with {} descriptors are no message",
                bytes.len(),
                fds.len()
            ),
        ));
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("no room for the descriptors"));
    }
    let parts = [IoSlice::new(bytes)];
    loop {
        match sendmsg(fd, &parts, &mut control, flags | SendFlags::NOSIGNAL) {
            Ok(_whole) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn receive(fd: &OwnedFd, buffer: &mut Vec<u8>, flags: RecvFlags) -> io::Result<Option<Message>> {
    buffer.resize(MAX_MESSAGE, 0);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    // Descriptors that are left in it are closed with it.
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let message = loop {
        match recvmsg(fd, &mut parts, &mut control, flags) {
            Ok(message) => break message,
            Err(Errno::INTR) => {}
            // The peer closed without having read all that we sent.
            Err(Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    if message
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message does not fit: too many octets or descriptors",
        ));
    }
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|item| match item {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if message.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((buffer[..message.bytes].to_vec(), fds)))
}

#[cfg(test)]
mod tests;
