//! Datagrams in batches: up to [`BATCH`] from or to a socket with one system call.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage,
    recvmmsg, sendmsg, setsockopt, sockopt,
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use tokio::io::Interest;

use super::socket::Socket;

/// Datagrams at most in one call.
pub(super) const BATCH: usize = 32;
/// Datagrams at most in one call from a socket that has had none before: one and a place that stays empty, so that it is known
/// that there are no more. To prepare more costs as much as to receive one.
const FEW_AT_ONCE: usize = 2;
/// Room for each: more than the longest datagram there is, 65,527 octets over IPv6.
const DATAGRAM_BYTES: usize = 64 * 1024;

thread_local! {
    /// The system gives memory only to what is used of it.
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; BATCH * DATAGRAM_BYTES]);
    static FEW: RefCell<Receiver<FEW_AT_ONCE>> = RefCell::new(Receiver::new(None));
    static MANY: RefCell<Receiver<BATCH>> = RefCell::new(Receiver::new(None));
}

/// One datagram, as it lies in the room of the thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Datagram<'b> {
    pub(super) bytes: &'b [u8],
    /// Who sent it.
    pub(super) from: Option<SocketAddr>,
    /// The address it was sent to, where that was asked for.
    pub(super) to: Option<IpAddr>,
    /// It was longer than the room.
    pub(super) truncated: bool,
}

/// What one kind of socket needs to receive up to `N` datagrams, no more than [`BATCH`], with one call.
#[derive(Debug)]
pub(super) struct Receiver<const N: usize> {
    headers: MultiHeaders<SockaddrStorage>,
    /// For sockets that say where a datagram was sent to: an address of their family.
    destination: Option<SocketAddr>,
}

impl<const N: usize> Receiver<N> {
    /// For sockets that say where a datagram was sent to, of the family of this address; or for those that do not.
    pub(super) fn new(destination: Option<SocketAddr>) -> Self {
        Self {
            headers: headers(destination, N),
            destination,
        }
    }

    /// Receives once, without waiting, and hands the datagrams on; true if there may be more.
    pub(super) fn receive(
        &mut self,
        socket: &Socket,
        each: impl FnOnce(&[Datagram<'_>]),
    ) -> io::Result<bool> {
        let mut each = Some(each);
        let mut received = Ok(false);
        for news in [Interest::READABLE, Interest::ERROR] {
            // That nothing is left to be received is told as an error; there is nothing else to be learnt from it.
            let _ = socket.try_io(news, || {
                let Some(each) = each.take() else {
                    return Ok(());
                };
                received = self.receive_now(socket, each);
                match &received {
                    // Less than a full batch means that nothing is left: to say so spares the call that would find it out.
                    Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                    Ok(true) | Err(_) => Ok(()),
                }
            });
        }
        received
    }

    /// The same, whether the runtime has been told that there is something or not.
    pub(super) fn receive_now(
        &mut self,
        socket: &Socket,
        each: impl FnOnce(&[Datagram<'_>]),
    ) -> io::Result<bool> {
        let mut spoilt = false;
        let full = ROOM.with_borrow_mut(|room| {
            let mut parts = room.chunks_exact_mut(DATAGRAM_BYTES);
            let mut slices: [[IoSliceMut<'_>; 1]; N] =
                std::array::from_fn(|_| [IoSliceMut::new(parts.next().unwrap_or_default())]);
            let flags = MsgFlags::MSG_DONTWAIT;
            let (fd, slices) = (socket.as_raw_fd(), slices.iter_mut());
            let received = match recvmmsg(fd, &mut self.headers, slices, flags, None) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let mut datagrams = [Datagram::default(); N];
            let mut count = 0;
            for (datagram, message) in datagrams.iter_mut().zip(received) {
                *datagram = read(&message, self.destination.is_some());
                spoilt |= self.destination.is_some() && datagram.to.is_none();
                count += 1;
            }
            each(&datagrams[..count]);
            io::Result::Ok(count == N)
        })?;
        if spoilt {
            // The kernel has cut the room for control data to what it used: nothing, this time.
            self.headers = headers(self.destination, N);
        }
        Ok(full)
    }
}

/// Receives from a connected socket, of which it is known whether it has `many`.
pub(super) fn receive_connected(
    socket: &Socket,
    many: bool,
    each: impl FnOnce(&[Datagram<'_>]),
) -> io::Result<bool> {
    match many {
        true => MANY.with_borrow_mut(|receiver| receiver.receive(socket, each)),
        false => FEW.with_borrow_mut(|receiver| receiver.receive(socket, each)),
    }
}

fn headers(destination: Option<SocketAddr>, most: usize) -> MultiHeaders<SockaddrStorage> {
    let control = destination.map(|family| match family {
        SocketAddr::V4(_) => nix::cmsg_space!(libc::in_pktinfo),
        SocketAddr::V6(_) => nix::cmsg_space!(libc::in6_pktinfo),
    });
    MultiHeaders::preallocate(most, control)
}

fn read<'b>(message: &RecvMsg<'_, 'b, SockaddrStorage>, with_destination: bool) -> Datagram<'b> {
    let from = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
    });
    Datagram {
        bytes: message.iovs().next().unwrap_or_default(),
        from,
        to: match with_destination {
            true => destination(message),
            false => None,
        },
        truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
    }
}

fn destination(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    message.cmsgs().ok()?.find_map(|control| match control {
        // The address of this machine that was meant, also where a broadcast was sent.
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::V4(Ipv4Addr::from(
            info.ipi_spec_dst.s_addr.to_ne_bytes(),
        ))),
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
        }
        _ => None,
    })
}

/// Lets datagrams say where they were sent to.
pub(super) fn ask_for_destination(socket: &std::net::UdpSocket) -> io::Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// Sends datagrams to whom the socket is connected, one after the other, without waiting, up to the first that is not taken;
/// how many were taken, and why no more.
pub(super) fn send(socket: &Socket, datagrams: &[&[u8]]) -> (usize, Option<io::Error>) {
    let mut taken = 0;
    while let Some(rest) = datagrams.get(taken..).filter(|rest| !rest.is_empty()) {
        let sent = match rest {
            [one] => rustix::net::send(socket, one, SendFlags::DONTWAIT).map(|_| 1),
            several => send_some(socket, several.len(), |place| (None, several[place])),
        };
        match sent {
            Ok(0) => break,
            Ok(more) => taken += more,
            Err(error) => return (taken, Some(error.into())),
        }
    }
    (taken, None)
}

/// Sends each datagram to its own place, without waiting; how many were taken. One that is not is passed over.
pub(super) fn send_to_each(socket: &Socket, datagrams: &[(SocketAddr, &[u8])]) -> usize {
    let (mut taken, mut passed) = (0, 0);
    while let Some(rest) = datagrams.get(passed..).filter(|rest| !rest.is_empty()) {
        let sent = match rest {
            [(to, one)] => rustix::net::sendto(socket, one, SendFlags::DONTWAIT, to).map(|_| 1),
            several => send_some(socket, several.len(), |place| {
                let (to, octets) = &several[place];
                (Some(SocketAddrAny::from(*to)), *octets)
            }),
        };
        match sent {
            Ok(more) if more > 0 => {
                taken += more;
                passed += more;
            }
            Ok(_) | Err(_) => passed += 1,
        }
    }
    taken
}

/// Sends up to [`BATCH`] of `count` datagrams: where to, if not to whom the socket is connected, and what.
fn send_some<'d>(
    socket: &Socket,
    count: usize,
    datagram: impl Fn(usize) -> (Option<SocketAddrAny>, &'d [u8]),
) -> rustix::io::Result<usize> {
    let count = count.min(BATCH);
    let rows: [(Option<SocketAddrAny>, [IoSlice<'_>; 1]); BATCH] = std::array::from_fn(|place| {
        let (to, octets) = match place < count {
            true => datagram(place),
            false => (None, &[][..]),
        };
        (to, [IoSlice::new(octets)])
    });
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
        std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut pairs = rows.iter().zip(&mut controls);
    let mut headers: [MMsgHdr<'_>; BATCH] = std::array::from_fn(|_| {
        let ((to, slice), control) = pairs.next().expect("there is a row for each place");
        match to {
            Some(to) => MMsgHdr::new_with_addr(to, slice, control),
            None => MMsgHdr::new(slice, control),
        }
    });
    sendmmsg(socket, &mut headers[..count], SendFlags::DONTWAIT)
}

/// Sends one datagram from an address of this machine.
pub(super) fn send_from(
    socket: &Socket,
    from: IpAddr,
    to: SocketAddr,
    bytes: &[u8],
) -> io::Result<()> {
    let to = SockaddrStorage::from(to);
    let send = |control: ControlMessage<'_>| {
        let (fd, slice) = (socket.as_raw_fd(), [IoSlice::new(bytes)]);
        sendmsg(fd, &slice, &[control], MsgFlags::MSG_DONTWAIT, Some(&to))
    };
    match from {
        IpAddr::V4(from) => send(ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from_ne_bytes(from.octets()),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        }))?,
        IpAddr::V6(from) => send(ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr {
                s6_addr: from.octets(),
            },
            ipi6_ifindex: 0,
        }))?,
    };
    Ok(())
}
