//! A connection to a client or to a target, whatever it is wrapped in.
//!
//! One type for all of them keeps the loops above free of type parameters; telling them apart costs a branch a call.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::ClientConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::buffers::{self, Buffer, SCRATCH_BYTES, with_scratch};
use crate::http2::conduit::Conduit;
use crate::http2::upward::Upward;
use crate::lookout::{Lookout, Watched};
use crate::sockets;
use crate::tls::facts::{Facts, Secured};
use crate::tls::session::Session;
use crate::wire;

/// Bytes read at most of a client before there is a target.
const FIRST_BYTES: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// From a client that has just come. The runtime is told of it only when it has to be waited for: whoever has sent a
    /// request by the time it is accepted, and leaves with the answer, never has to be. `None` if telling has failed.
    Fresh(Option<std::net::TcpStream>),
    /// In a queue of our own: it may soon be over.
    Watched(Watched),
    /// As it comes from the network.
    Plain(TcpStream),
    /// From a client, inside TLS.
    Server(Box<Secured>),
    /// To a target, inside TLS.
    Client(Box<Session<ClientConnection>>),
    /// One stream of an HTTP/2 connection.
    Conduit(Conduit),
    /// One stream to a target that speaks HTTP/2.
    Upward(Box<Upward>),
}

impl Stream {
    /// Tells the runtime of a connection that it does not know of; does nothing to others.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let stream = match std::mem::replace(self, Self::Fresh(None)) {
            Self::Fresh(Some(stream)) => stream,
            Self::Fresh(None) => return Err(io::ErrorKind::NotConnected.into()),
            Self::Watched(watched) => watched.into_socket(),
            other => {
                *self = other;
                return Ok(());
            }
        };
        *self = Self::Plain(TcpStream::from_std(stream)?);
        Ok(())
    }

    /// A connection that is waited for: in `lookout`, or by the runtime where that is not to be had.
    pub(crate) fn watch(
        stream: std::net::TcpStream,
        lookout: Option<&Rc<Lookout>>,
    ) -> io::Result<Stream> {
        match lookout {
            Some(lookout) => Watched::new(lookout, stream, false).map(Self::Watched),
            None => TcpStream::from_std(stream).map(Self::Plain),
        }
    }

    /// The TCP connection of one that is nothing else.
    pub(crate) fn into_tcp(mut self) -> io::Result<TcpStream> {
        self.settle()?;
        match self {
            Self::Plain(stream) => Ok(stream),
            Self::Fresh(_)
            | Self::Watched(_)
            | Self::Server(_)
            | Self::Client(_)
            | Self::Conduit(_)
            | Self::Upward(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Reads what a client that has just come may have sent already, and has it watched: somebody will wait for its end.
    /// That it has ended shows again with the next read.
    pub(crate) fn take_first(
        &mut self,
        read: &mut Buffer,
        lookout: Option<&Rc<Lookout>>,
    ) -> io::Result<()> {
        let Self::Fresh(fresh) = self else {
            return Ok(());
        };
        let stream = fresh.take().ok_or(io::ErrorKind::NotConnected)?;
        let taken: io::Result<()> = with_scratch(|scratch| {
            let count = (&stream).read(&mut scratch[..FIRST_BYTES])?;
            read.extend(&scratch[..count]);
            Ok(())
        });
        match taken {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                *fresh = Some(stream);
                return Err(error);
            }
            Ok(()) | Err(_) => *self = Self::watch(stream, lookout)?,
        }
        Ok(())
    }

    /// What comes of one call on a fresh connection; `None` for others, and once it has to be waited for.
    fn at_once<T>(
        &mut self,
        call: impl FnOnce(&mut &std::net::TcpStream) -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        let Self::Fresh(stream) = self else {
            return None;
        };
        let done = match stream {
            Some(stream) => call(&mut &*stream),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.settle().err().map(Err),
            done => Some(done),
        }
    }

    /// Writes what only the end of the connection follows, which the caller brings about at once: both leave in one segment.
    pub(crate) fn poll_write_last(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = self.at_once(|stream| send_last(*stream, slices)) {
            return Poll::Ready(written);
        }
        let Some(stream) = self.plain() else {
            return Pin::new(self).poll_write_vectored(cx, slices);
        };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || send_last(stream, slices)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// Reads once; 0 means the peer has ended its direction.
    #[inline]
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => wire::poll_receive(stream, cx, buf),
            Self::Fresh(_)
            | Self::Server(_)
            | Self::Client(_)
            | Self::Conduit(_)
            | Self::Watched(_)
            | Self::Upward(_) => buffers::poll_read(self, cx, buf),
        }
    }

    /// The TCP connection underneath, if it is one's own and has settled.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Server(secured) => Some(&secured.session.tcp),
            Self::Client(session) => Some(&session.tcp),
            Self::Fresh(_) | Self::Watched(_) | Self::Conduit(_) | Self::Upward(_) => None,
        }
    }

    /// The TCP connection, if it is nothing but that, and has settled.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Fresh(_)
            | Self::Watched(_)
            | Self::Server(_)
            | Self::Client(_)
            | Self::Conduit(_)
            | Self::Upward(_) => None,
        }
    }

    /// True if it is nothing but a TCP connection, settled or not.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Fresh(_) | Self::Watched(_) | Self::Plain(_))
    }

    /// True if nobody on the way can read it.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Self::Fresh(_) | Self::Watched(_) | Self::Plain(_) | Self::Upward(_) => false,
            Self::Server(_) | Self::Client(_) => true,
            Self::Conduit(conduit) => conduit.facts.is_some(),
        }
    }

    /// What a client's handshake has agreed upon.
    pub(crate) fn facts(&self) -> Option<&Rc<Facts>> {
        match self {
            Self::Fresh(_)
            | Self::Watched(_)
            | Self::Plain(_)
            | Self::Client(_)
            | Self::Upward(_) => None,
            Self::Server(secured) => Some(&secured.facts),
            Self::Conduit(conduit) => conduit.facts.as_ref(),
        }
    }

    /// True if it is one stream of a client's HTTP/2 connection.
    pub(crate) fn is_conduit(&self) -> bool {
        matches!(self, Self::Conduit(_))
    }

    /// Bytes that are worth fetching for it at this moment, from where they wait otherwise; 0 if it has to take others before.
    pub(crate) fn appetite(&self) -> usize {
        match self {
            Self::Fresh(_)
            | Self::Watched(_)
            | Self::Plain(_)
            | Self::Server(_)
            | Self::Client(_)
            | Self::Upward(_) => SCRATCH_BYTES,
            Self::Conduit(conduit) => conduit.appetite().min(SCRATCH_BYTES),
        }
    }

    /// True if the peer has asked for HTTP/2 in the handshake.
    pub(crate) fn speaks_http2(&self) -> bool {
        match self {
            Self::Fresh(_)
            | Self::Watched(_)
            | Self::Plain(_)
            | Self::Client(_)
            | Self::Conduit(_)
            | Self::Upward(_) => false,
            Self::Server(secured) => secured.facts.alpn == Some("h2"),
        }
    }

    /// Has the kernel ask now and then whether the peer is still there; one that cannot be asked is gone, and says so itself.
    pub(crate) fn keep_alive(&self) {
        let _ = match self {
            Self::Watched(watched) => sockets::keep_alive(&**watched),
            _ => self.tcp().map_or(Ok(()), sockets::keep_alive),
        };
    }

    /// Ready with true once the peer has closed its side of the TCP connection; with false if it has sent something that
    /// waits to be read, so that nothing can be seen behind it.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut byte = [0];
        if let Self::Watched(watched) = self {
            let peeked = watched.poll_receive(cx, &mut byte, RecvFlags::PEEK);
            return peeked.map(|peeked| peeked.map_or(true, |count| count == 0));
        }
        let Some(tcp) = self.tcp() else {
            // A stream that is gone is dropped by whoever carries it.
            return Poll::Ready(false);
        };
        let peeked = tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte));
        peeked.map(|peeked| peeked.map_or(true, |count| count == 0))
    }

    /// Lets the connection end with a reset when it is dropped, so that its peer does not take the end for a whole
    /// answer.
    pub(crate) fn reset_on_close(&self) {
        match self {
            // Without it the peer sees a plain end: nothing better can be done.
            Self::Fresh(Some(stream)) => {
                drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
            }
            Self::Fresh(None) => {}
            Self::Watched(watched) => {
                drop(SockRef::from(&**watched).set_linger(Some(Duration::ZERO)));
            }
            Self::Plain(stream) => drop(stream.set_zero_linger()),
            Self::Server(secured) => secured.reset_on_close(),
            Self::Client(session) => drop(session.tcp.set_zero_linger()),
            Self::Conduit(conduit) => conduit.reset(),
            // A stream that is dropped before its end is reset.
            Self::Upward(_) => {}
        }
    }
}

/// Sends, and leaves it to what comes next to push it out.
fn send_last(stream: impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    let control = &mut SendAncillaryBuffer::default();
    Ok(sendmsg(stream, slices, control, flags)?)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(read) = this.at_once(|stream| stream.read(buf.initialize_unfilled())) {
            return Poll::Ready(read.map(|count| buf.advance(count)));
        }
        match this {
            Self::Fresh(_) => Poll::Pending,
            Self::Watched(watched) => {
                let room = buf.initialize_unfilled();
                let count = ready!(watched.poll_receive(cx, room, RecvFlags::empty()))?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Self::Plain(stream) => {
                let count = ready!(wire::poll_receive(stream, cx, buf.initialize_unfilled()))?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Self::Server(secured) => secured.session.poll_read(cx, buf),
            Self::Client(session) => session.poll_read(cx, buf),
            Self::Conduit(conduit) => conduit.poll_read(buf),
            Self::Upward(upward) => upward.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(written) = this.at_once(|stream| stream.write(data)) {
            return Poll::Ready(written);
        }
        match this {
            Self::Fresh(_) => Poll::Pending,
            Self::Watched(watched) => watched.poll_send(cx, &[IoSlice::new(data)]),
            Self::Plain(stream) => wire::poll_send(stream, cx, &[IoSlice::new(data)]),
            Self::Server(secured) => secured.session.poll_write(cx, &[IoSlice::new(data)]),
            Self::Client(session) => session.poll_write(cx, &[IoSlice::new(data)]),
            Self::Conduit(conduit) => conduit.poll_write(&[IoSlice::new(data)]),
            Self::Upward(upward) => upward.poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(written) = this.at_once(|stream| stream.write_vectored(slices)) {
            return Poll::Ready(written);
        }
        match this {
            Self::Fresh(_) => Poll::Pending,
            Self::Watched(watched) => watched.poll_send(cx, slices),
            Self::Plain(stream) => wire::poll_send(stream, cx, slices),
            Self::Server(secured) => secured.session.poll_write(cx, slices),
            Self::Client(session) => session.poll_write(cx, slices),
            Self::Conduit(conduit) => conduit.poll_write(slices),
            Self::Upward(upward) => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                upward.poll_write(cx, first.map_or(&[], |slice| slice))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Fresh(_)
            | Self::Watched(_)
            | Self::Plain(_)
            | Self::Server(_)
            | Self::Client(_)
            | Self::Conduit(_) => true,
            Self::Upward(_) => false,
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Server(secured) => secured.session.poll_send(cx),
            Self::Client(session) => session.poll_send(cx),
            Self::Fresh(_)
            | Self::Watched(_)
            | Self::Plain(_)
            | Self::Conduit(_)
            | Self::Upward(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(done) = this.at_once(|stream| stream.shutdown(Shutdown::Write)) {
            return Poll::Ready(done);
        }
        match this {
            Self::Fresh(_) => Poll::Pending,
            Self::Watched(watched) => Poll::Ready(watched.shutdown(Shutdown::Write)),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Server(secured) => secured.session.poll_shutdown(cx),
            Self::Client(session) => session.poll_shutdown(cx),
            Self::Conduit(conduit) => {
                conduit.shut_down();
                Poll::Ready(Ok(()))
            }
            Self::Upward(_) => Poll::Ready(Ok(())),
        }
    }
}
