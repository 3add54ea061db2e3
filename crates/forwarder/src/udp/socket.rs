//! Sockets for datagrams, and those whose flow is over: to make one anew costs more than to connect one again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::libc::{self, SK_MEMINFO_DROPS, SO_MEMINFO};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use rustix::net::{RecvFlags, connect_unspec, recv};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

sockopt_impl!(
    /// What a socket has used of its memory, and what was dropped for want of it.
    MemoryFigures,
    GetOnly,
    libc::SOL_SOCKET,
    SO_MEMINFO,
    [u32; 9]
);

/// Sockets of each family kept by a thread.
const MAX_SPARES: usize = 256;
/// Datagrams taken out of a socket before it is connected again; one that has more is not used again.
const MAX_STALE: usize = 64;

/// A socket of which the runtime is told that something has come. That something could be sent would be news with every
/// datagram, and nobody waits for it.
#[derive(Debug)]
pub(crate) struct Socket {
    watched: AsyncFd<UdpSocket>,
    is_ipv6: bool,
}

impl Socket {
    /// Has a socket watched. Fails if the system refuses to.
    #[allow(deprecated)] // Meant are types that may lose their descriptor meanwhile: a socket keeps its own.
    pub(super) fn watch(socket: UdpSocket, is_ipv6: bool) -> io::Result<Self> {
        let watched = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { watched, is_ipv6 })
    }

    /// Waits for datagrams, and for errors: that nobody listens comes as an error alone.
    pub(super) async fn news(&self) -> io::Result<()> {
        let news = Interest::READABLE.add(Interest::ERROR);
        self.watched.ready(news).await.map(drop)
    }

    /// Does what there were such news for; they are forgotten if it would have to wait.
    pub(super) fn try_io<R>(
        &self,
        news: Interest,
        work: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.watched.try_io(news, |_| work())
    }

    /// Datagrams the kernel has dropped because nobody had taken those before, as a number that goes around; `None` if it does
    /// not say.
    pub(super) fn overruns(&self) -> Option<u32> {
        let figures = getsockopt(self, MemoryFigures).ok()?;
        Some(figures[SK_MEMINFO_DROPS as usize])
    }

    /// True once nothing is left in it, nor an error of the one it was connected to.
    fn is_emptied(&self) -> bool {
        let mut octet = [0_u8];
        (0..MAX_STALE)
            .any(|_| recv(self, &mut octet, RecvFlags::DONTWAIT).is_err_and(is_would_block))
    }
}

fn is_would_block(error: rustix::io::Errno) -> bool {
    error == rustix::io::Errno::AGAIN
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.get_ref().as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.watched.get_ref().as_raw_fd()
    }
}

/// The sockets of a thread that have no flow.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    ipv4: RefCell<Shelf>,
    ipv6: RefCell<Shelf>,
}

/// Those of one family: the one that has rested the longest is taken first.
#[derive(Debug, Default)]
struct Shelf {
    sockets: VecDeque<Socket>,
    /// How many there were at least since the last sweep.
    fewest: usize,
}

impl Spares {
    /// A socket that hears nobody but the target, with a port that was not its last.
    pub(super) fn connect(&self, target: SocketAddr) -> io::Result<Socket> {
        let socket = match self.take(target.is_ipv6()) {
            Some(spare) => spare,
            None => open(target)?,
        };
        rustix::net::connect(&socket, &target)?;
        Ok(socket)
    }

    fn take(&self, is_ipv6: bool) -> Option<Socket> {
        let mut shelf = self.shelf(is_ipv6).borrow_mut();
        let taken = shelf.sockets.pop_front();
        shelf.fewest = shelf.fewest.min(shelf.sockets.len());
        // What had come for the flow before is nobody's.
        taken.filter(Socket::is_emptied)
    }

    /// Takes back a socket whose flow is over. It has no port from here on, so that nothing can come for it.
    pub(super) fn give(&self, socket: Socket) {
        let mut shelf = self.shelf(socket.is_ipv6).borrow_mut();
        if shelf.sockets.len() < MAX_SPARES && connect_unspec(&socket).is_ok() {
            shelf.sockets.push_back(socket);
        }
    }

    /// Closes what nobody has needed since the last time.
    pub(crate) fn sweep(&self) {
        for shelf in [&self.ipv4, &self.ipv6] {
            let mut shelf = shelf.borrow_mut();
            let unused = shelf.fewest.min(shelf.sockets.len());
            shelf.sockets.drain(..unused);
            shelf.fewest = shelf.sockets.len();
        }
    }

    fn shelf(&self, is_ipv6: bool) -> &RefCell<Shelf> {
        match is_ipv6 {
            true => &self.ipv6,
            false => &self.ipv4,
        }
    }
}

fn open(target: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking();
    let domain = Domain::for_address(target);
    let socket = socket2::Socket::new(domain, kind, Some(Protocol::UDP))?;
    Socket::watch(socket.into(), target.is_ipv6())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listening() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn port(socket: &Socket) -> u16 {
        socket.watched.get_ref().local_addr().unwrap().port()
    }

    fn spares(spares: &Spares) -> usize {
        spares.ipv4.borrow().sockets.len()
    }

    #[test]
    fn a_socket_used_again_has_nothing_of_the_flow_before() {
        let runtime = crate::worker::runtime().unwrap();
        let _inside = runtime.enter();
        let (first, first_at) = listening();
        let (second, second_at) = listening();
        let kept = Spares::default();
        let socket = kept.connect(first_at).unwrap();
        let fd = socket.as_raw_fd();
        let before = SocketAddr::from(([127, 0, 0, 1], port(&socket)));
        first.send_to(b"late", before).unwrap();
        kept.give(socket);
        // Nobody has that port any more.
        first.send_to(b"later", before).unwrap();

        let socket = kept.connect(second_at).unwrap();
        assert_eq!(socket.as_raw_fd(), fd, "the same is used again");
        let mut room = [0_u8; 16];
        let got = recv(&socket, &mut room, RecvFlags::DONTWAIT);
        assert!(got.is_err_and(is_would_block), "what was late is gone");
        second
            .send_to(b"new", ("127.0.0.1", port(&socket)))
            .unwrap();
        let (count, _) = recv(&socket, &mut room, RecvFlags::empty()).unwrap();
        assert_eq!(&room[..count], b"new");
    }

    #[test]
    fn what_nobody_needs_is_closed() {
        let runtime = crate::worker::runtime().unwrap();
        let _inside = runtime.enter();
        let (_target, at) = listening();
        let kept = Spares::default();
        let used: Vec<Socket> = (0..3).map(|_| kept.connect(at).unwrap()).collect();
        used.into_iter().for_each(|socket| kept.give(socket));
        kept.sweep();
        assert_eq!(spares(&kept), 3, "they were needed just now");
        kept.give(kept.connect(at).unwrap());
        kept.sweep();
        assert_eq!(spares(&kept), 1, "one was enough");
        kept.sweep();
        assert_eq!(spares(&kept), 0);
    }
}
