//! Listening sockets, of streams and of datagrams: one per thread and address, bound whether the address is on this machine or not;
//! and connections to targets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::libc::{
    self, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM,
};
use nix::sys::socket::SetSockOpt as _;
use nix::{setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::worker::SocketKey;

/// Connections the kernel holds for each socket; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether a peer is still there.
const KEEPALIVE_DELAY: Duration = Duration::from_secs(60);

/// How long the kernel waits for the first byte of a client before it hands the connection over without one. It counts in the
/// times at which it would repeat its SYN-ACK, of which this is the first.
const FIRST_WORD_SECONDS: u32 = 1;

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
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_DELAY))?;
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

/// Opens a connection whose small pieces are not held back.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
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
    ];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Has the kernel ask now and then whether the peer of a connection that is silent is still there.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
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
