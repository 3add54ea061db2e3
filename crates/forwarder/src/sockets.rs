//! Listening sockets: one per thread and address, bound whether the address is on this machine or not.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections the kernel holds for each socket; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether a peer is still there.
const KEEPALIVE_DELAY: Duration = Duration::from_secs(60);

/// Binds `count` sockets to one address. None of them listens yet, so that closing them again loses nobody.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<Socket>> {
    (0..count).map(|_| bind_one(address)).collect()
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_freebind_v6(true)?;
            socket.set_only_v6(true)?;
        }
    }
    // Accepted connections inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_DELAY))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Opens bound sockets for connections.
pub(crate) fn listen(sockets: Vec<Socket>) -> io::Result<Vec<std::net::TcpListener>> {
    let listen = |socket: Socket| socket.listen(BACKLOG).map(|()| socket.into());
    sockets.into_iter().map(listen).collect()
}
