//! Listening sockets, of streams and of datagrams: one per thread and address, bound whether the address is on this machine or not;
//! and connections to targets.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use nix::libc::{
    self, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC,
};
use nix::sys::socket::SetSockOpt as _;
use nix::{setsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::buffers::Buffer;
use crate::lookout::{Lookout, Watched};
use crate::stream::Stream;
use crate::worker::SocketKey;

/// Connections the kernel holds for each socket; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether a peer is still there.
const KEEPALIVE_DELAY: Duration = Duration::from_secs(60);

/// How long the kernel waits for the first byte of a client before it hands the connection over without one. It counts in the
/// times at which it would repeat its SYN-ACK, of which this is the first.
const FIRST_WORD_SECONDS: u32 = 1;

/// Octets that go in one packet over any network there is (RFC 9293 §3.7.1).
const ONE_SEGMENT: usize = 536;

/// Room the kernel is asked for to hold datagrams; it cuts this to `net.core.rmem_max`.
const DATAGRAM_ROOM: usize = 4 << 20;

/// A socket that takes in what comes for its address.
#[derive(Debug)]
pub(crate) enum OpenSocket {
    /// Listens for connections.
    Streams(std::net::TcpListener),
    /// Receives datagrams.
    Datagrams(std::net::UdpSocket),
}

/// Binds `count` sockets to one address. None of them listens yet, so that closing them again loses nobody.
pub(crate) fn bind(key: SocketKey, count: usize) -> io::Result<Vec<Socket>> {
    let bind = |_| match key.protocol.is_datagrams() {
        true => bind_datagrams(key.address),
        false => bind_stream(key),
    };
    (0..count).map(bind).collect()
}

sockopt_impl!(
    /// Connections are handed over with the first byte of the client, or after this many seconds (TCP_DEFER_ACCEPT).
    FirstWord,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

fn bind_stream(SocketKey { protocol, address }: SocketKey) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    share(&socket, address)?;
    // Accepted connections inherit these.
    socket.set_tcp_nodelay(true)?;
    if protocol != balancer::Protocol::Tcp {
        // A relay begins with it when nothing has moved for a while: most connections end before.
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_DELAY))?;
    }
    if client_speaks_first(protocol) {
        // Without it there is a wait more for most connections, that is all.
        let _ = FirstWord.set(&socket, &FIRST_WORD_SECONDS);
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// True if nobody who connects waits to be greeted.
fn client_speaks_first(protocol: balancer::Protocol) -> bool {
    match protocol {
        balancer::Protocol::Http | balancer::Protocol::Https | balancer::Protocol::Tls => true,
        balancer::Protocol::Tcp | balancer::Protocol::Udp => false,
    }
}

fn bind_datagrams(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    share(&socket, address)?;
    // Less room loses datagrams in bursts and nothing else.
    let _ = socket.set_recv_buffer_size(DATAGRAM_ROOM);
    let _ = socket.set_send_buffer_size(DATAGRAM_ROOM);
    socket.bind(&address.into())?;
    Ok(socket)
}

sockopt_impl!(
    /// Whether what comes is acknowledged at once, for the moment (TCP_QUICKACK).
    QuickAck,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_QUICKACK,
    bool
);

/// Who has to say something first on a connection to a target.
#[derive(Debug)]
pub(crate) enum First<'f> {
    /// The target, perhaps: there is nothing to be sent yet.
    Target,
    /// We have, as soon as there is a connection.
    We,
    /// We have, and this is how it begins. What of it has left with the connection is moved on.
    With(&'f mut Buffer),
}

/// Opens a connection whose small pieces are not held back.
pub(crate) async fn connect(address: SocketAddr, first: First<'_>) -> io::Result<TcpStream> {
    let (socket, known) = begin(address, first, true)?;
    let stream = TcpStream::from_std(socket)?;
    if known {
        return Ok(stream);
    }
    let news = stream
        .ready(Interest::WRITABLE.add(Interest::ERROR))
        .await?;
    // Where nothing says that it failed there is no error to ask for.
    if (news.is_error() || news.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(stream)
}

/// The same for a connection that may soon be over.
pub(crate) async fn connect_watched(
    address: SocketAddr,
    first: First<'_>,
    lookout: &Rc<Lookout>,
) -> io::Result<Stream> {
    // A single piece is never held back.
    let short = matches!(&first, First::With(words) if words.as_slice().len() <= ONE_SEGMENT);
    let (socket, known) = begin(address, first, !short)?;
    let watched = Watched::new(lookout, socket, !known)?;
    let mut watched = match short {
        true => watched.holding_back(),
        false => watched,
    };
    if !known {
        poll_fn(|cx| watched.poll_connected(cx)).await?;
    }
    Ok(Stream::Watched(watched))
}

/// Begins to connect, and sends what is to be said first if there is a connection at once, which is then known; `pushes` if small
/// pieces are not held back.
fn begin(
    address: SocketAddr,
    first: First<'_>,
    pushes: bool,
) -> io::Result<(std::net::TcpStream, bool)> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if pushes {
        socket.set_tcp_nodelay(true)?;
    }
    if !matches!(first, First::Target) {
        // What is sent acknowledges the target's handshake as well: a packet of its own for that is left out.
        let _ = QuickAck.set(&socket, &false);
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let mut known = false;
    if let First::With(words) = first
        && !words.is_empty()
    {
        // A target nearby is there already.
        match send(&socket, words.as_slice(), SendFlags::NOSIGNAL) {
            Ok(count) => {
                words.consume(count);
                known = true;
            }
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((socket.into(), known))
}

/// True if this machine has no descriptor, no port or no memory left for a connection or flow: that is not the fault of
/// whom it was for.
pub(crate) fn is_used_up(error: &io::Error) -> bool {
    let codes = [
        EMFILE,
        ENFILE,
        EAGAIN,
        EADDRNOTAVAIL,
        EADDRINUSE,
        ENOBUFS,
        ENOMEM,
        ENOSPC,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Has the kernel ask now and then whether the peer of a connection that is silent is still there.
pub(crate) fn keep_alive(stream: &impl AsFd) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_DELAY))
}

/// One of several on an address that may not be on this machine yet.
fn share(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.set_reuse_port(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_freebind_v6(true)?;
            socket.set_only_v6(true)?;
        }
    }
    Ok(())
}

/// Opens bound sockets for what comes.
pub(crate) fn listen(key: SocketKey, sockets: Vec<Socket>) -> io::Result<Vec<OpenSocket>> {
    let listen = |socket: Socket| match key.protocol.is_datagrams() {
        true => Ok(OpenSocket::Datagrams(socket.into())),
        false => {
            socket.listen(BACKLOG)?;
            Ok(OpenSocket::Streams(socket.into()))
        }
    };
    sockets.into_iter().map(listen).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_known_already_is_said_once() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut words = Buffer::default();
            words.extend(b"first");
            let mut own = connect(address, First::With(&mut words)).await.unwrap();
            // Whatever did not leave with the connection is for the caller to send.
            own.write_all(words.as_slice()).await.unwrap();
            own.write_all(b", second").await.unwrap();
            drop(own);
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut got = String::new();
            peer.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "first, second");
        });
    }

    #[test]
    fn a_target_may_speak_first() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut own = connect(address, First::Target).await.unwrap();
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(b"220 ready").await.unwrap();
            drop(peer);
            let mut got = String::new();
            own.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "220 ready");
        });
    }

    #[test]
    fn a_short_word_is_followed_by_others_that_are_not_held_back() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let lookout = Lookout::start().unwrap();
            for word in [&b"short"[..], &[7; ONE_SEGMENT + 1]] {
                let mut words = Buffer::default();
                words.extend(word);
                let first = First::With(&mut words);
                let mut own = connect_watched(address, first, &lookout).await.unwrap();
                own.write_all(words.as_slice()).await.unwrap();
                own.write_all(b", second").await.unwrap();
                let Stream::Watched(watched) = &own else {
                    panic!("{own:?}");
                };
                assert!(watched.nodelay().unwrap());
                drop(own);
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut got = Vec::new();
                peer.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, [word, b", second"].concat());
            }
        });
    }

    #[test]
    fn who_is_watched_hears_that_nobody_is_there() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let lookout = Lookout::start().unwrap();
            let refused = connect_watched(address, First::Target, &lookout).await;
            assert_eq!(
                refused.unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
        });
    }

    #[test]
    fn what_nobody_took_is_kept_for_another() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let mut words = Buffer::default();
            words.extend(b"first");
            let refused = connect(address, First::With(&mut words)).await;
            assert!(refused.is_err());
            assert_eq!(words.as_slice(), b"first");
        });
    }
}
