//! The receiving socket.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::readiness::watch;

/// Octets of receive buffer asked for: a burst of some thousand packets, if the system lets us have it; it is used only as they come.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// Room for the control data of one packet: destination and link, hop limit; more than twice that.
const CONTROL_LEN: usize = 256;

const IPV4_HEADER_LEN: usize = 20;
const IPV4_TTL: usize = 8;
const IPV4_DESTINATION: usize = 16;

/// What a receiver listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// An IPv4 group: joined on the link, nothing else is heard.
    MulticastV4(Ipv4Addr),
    /// An IPv6 group: joined on the link, nothing else is heard.
    MulticastV6(Ipv6Addr),
    /// An IPv4 address of this host.
    UnicastV4(Ipv4Addr),
    /// An IPv6 address of this host.
    UnicastV6(Ipv6Addr),
}

impl Local {
    fn domain(self) -> Domain {
        match self {
            Local::MulticastV4(_) | Local::UnicastV4(_) => Domain::IPV4,
            Local::MulticastV6(_) | Local::UnicastV6(_) => Domain::IPV6,
        }
    }

    fn bind_address(self, ifindex: u32) -> SocketAddr {
        match self {
            Local::MulticastV4(address) | Local::UnicastV4(address) => {
                SocketAddrV4::new(address, 0).into()
            }
            Local::MulticastV6(address) | Local::UnicastV6(address) => {
                SocketAddrV6::new(address, 0, 0, ifindex).into()
            }
        }
    }
}

/// One packet as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Octets in the buffer. IPv4: the IP header comes first. IPv6: only what follows it.
    pub len: usize,
    /// Who sent it.
    pub source: IpAddr,
    /// To whom. `None` when the packet does not say (too short) or the kernel did not: not to be trusted then.
    pub destination: Option<IpAddr>,
    /// TTL or hop limit on arrival; `None` as for the destination.
    pub hop_limit: Option<u8>,
    /// The packet was longer than the buffer; the rest is lost.
    pub truncated: bool,
}

/// A socket that receives the packets of one protocol on one link, sent to one group or address.
#[derive(Debug)]
pub struct RawReceiver {
    socket: AsyncFd<OwnedFd>,
    overflowed: Overflow,
}

impl RawReceiver {
    /// Opens the socket, in the network namespace of the calling thread. Must be called inside a tokio runtime.
    ///
    /// The link is tied by name and the group by index; when the link is made anew, the socket stays dead and another
    /// must be opened.
    ///
    /// # Errors
    /// `ENODEV` without the link, `EADDRNOTAVAIL` when the host does not hold the unicast address,
    /// `EPERM` without CAP_NET_RAW.
    pub fn open(link_name: &str, ifindex: u32, protocol: u8, local: Local) -> io::Result<Self> {
        let socket = super::open(local.domain(), link_name, protocol)?;
        // Beyond the limit of the system, which needs CAP_NET_ADMIN.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        if local.domain() == Domain::IPV6 {
            socket.set_recv_hoplimit_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket.set_multicast_all_v6(false)?;
        } else {
            socket.set_multicast_all_v4(false)?;
        }
        socket.bind(&local.bind_address(ifindex).into())?;
        match local {
            Local::MulticastV4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(ifindex))?;
            }
            Local::MulticastV6(group) => socket.join_multicast_v6(&group, ifindex)?,
            Local::UnicastV4(_) | Local::UnicastV6(_) => {}
        }
        super::mark(&socket, local.domain())?;
        Ok(Self {
            socket: watch(socket.into(), Interest::READABLE)?,
            overflowed: Overflow::default(),
        })
    }

    /// Waits until [`RawReceiver::try_receive`] may find something.
    ///
    /// # Errors
    /// Only when the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(drop)
    }

    /// Takes one packet; `None` when there is none. Call it after [`RawReceiver::readable`], until it gives `None` or
    /// the batch is long enough.
    ///
    /// # Errors
    /// What the system says, `ENETDOWN` for example.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        loop {
            let taken = self
                .socket
                .try_io(Interest::READABLE, |socket| self.receive(socket, buffer));
            match taken {
                Ok(received) => return Ok(Some(received)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Packets the kernel dropped because the receive buffer was full, since the socket was opened.
    pub fn overflowed(&self) -> u64 {
        if let Some(count) = dropped(self.socket.get_ref()) {
            self.overflowed.update(count);
        }
        self.overflowed.total.load(Ordering::Relaxed)
    }

    fn receive(&self, socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = Control([0; CONTROL_LEN]);
        let mut parts = [IoSliceMut::new(buffer)];
        let message: RecvMsg<'_, '_, SockaddrStorage> = recvmsg(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control.0),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let mut received = Received {
            len: message.bytes,
            source: source(&message)?,
            destination: None,
            hop_limit: None,
            truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
        };
        for item in message.cmsgs()? {
            match item {
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    received.destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                ControlMessageOwned::Ipv6HopLimit(hops) => {
                    received.hop_limit = hops.try_into().ok()
                }
                _ => {}
            }
        }
        if received.source.is_ipv4() {
            (received.destination, received.hop_limit) = from_header(&buffer[..received.len]);
        }
        Ok(received)
    }
}

/// What the socket says of itself (SO_MEMINFO, struct sk_meminfo): words, of which one counts what found no room.
const MEMORY_WORDS: usize = 9;
const DROPS: usize = 8;

/// How many packets the kernel dropped for want of room in the receive buffer, modulo 2³².
#[allow(unsafe_code)]
fn dropped(socket: &OwnedFd) -> Option<u32> {
    let mut words = [0_u32; MEMORY_WORDS];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets to `words`, which is as large as that, and the length to `len`; any octets are
    // valid words.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &mut len,
        )
    };
    (result == 0 && len as usize >= size_of_val(&words)).then(|| words[DROPS])
}

/// Control data must begin at the alignment of its header.
#[repr(align(8))]
struct Control([u8; CONTROL_LEN]);

fn source(message: &RecvMsg<'_, '_, SockaddrStorage>) -> io::Result<IpAddr> {
    let address = message.address.as_ref();
    let v4 = address
        .and_then(SockaddrStorage::as_sockaddr_in)
        .map(|found| found.ip().into());
    let v6 = address
        .and_then(SockaddrStorage::as_sockaddr_in6)
        .map(|found| found.ip().into());
    v4.or(v6).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel named no source of the packet",
        )
    })
}

/// Destination and TTL of an IPv4 header, where there is a whole one.
fn from_header(packet: &[u8]) -> (Option<IpAddr>, Option<u8>) {
    if packet.len() < IPV4_HEADER_LEN {
        return (None, None);
    }
    let destination = packet[IPV4_DESTINATION..]
        .first_chunk::<4>()
        .map(|octets| Ipv4Addr::from(*octets).into());
    (destination, Some(packet[IPV4_TTL]))
}

/// The kernel's 32 bit drop counter, carried on in 64 bits.
#[derive(Debug, Default)]
struct Overflow {
    last: AtomicU32,
    total: AtomicU64,
}

impl Overflow {
    fn update(&self, count: u32) {
        let grown = count.wrapping_sub(self.last.swap(count, Ordering::Relaxed));
        self.total.fetch_add(grown.into(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_counter_wraps() {
        let overflow = Overflow::default();
        overflow.update(u32::MAX - 1);
        overflow.update(3);
        assert_eq!(overflow.total.load(Ordering::Relaxed), 4_294_967_299);
    }

    #[test]
    fn short_ipv4_packet_tells_nothing() {
        assert_eq!(from_header(&[0x45; 19]), (None, None));
    }

    #[test]
    fn ipv4_header_tells_ttl_and_destination() {
        let mut packet = [0; 20];
        packet[8] = 255;
        packet[16..].copy_from_slice(&[224, 0, 0, 18]);
        let group = Ipv4Addr::new(224, 0, 0, 18).into();
        assert_eq!(from_header(&packet), (Some(group), Some(255)));
    }
}
