//! The sending socket. It never receives, and it can live in another process than the one that opened it.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, sendmsg};
use socket2::{Domain, SockFilter, Socket};

/// Hop limit of everything sent over IPv6.
const HOP_LIMIT: u32 = 255;
/// A filter program of one instruction, "return 0": no packet passes.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(
    (libc::BPF_RET | libc::BPF_K) as u16,
    0,
    0,
    0,
)];

const IPV6_HEADER_LEN: usize = 40;
/// Version 6 and [`super::TRAFFIC_CLASS`], without a flow label.
const IPV6_FIRST_WORD: u32 = 6 << 28 | super::TRAFFIC_CLASS << 20;

/// A socket that sends packets of one protocol out of one link.
#[derive(Debug)]
pub struct RawSender {
    socket: Socket,
    ifindex: u32,
    v6: bool,
    /// IPv6 headers are ours, so that the source need not be an address of the link; the protocol they name.
    own_v6_header: Option<u8>,
}

impl RawSender {
    /// Opens the socket, in the network namespace of the calling thread. Needs no runtime.
    ///
    /// # Errors
    /// `ENODEV` without the link, `EPERM` without CAP_NET_RAW.
    pub fn open(link_name: &str, ifindex: u32, protocol: u8, family_v6: bool) -> io::Result<Self> {
        let domain = if family_v6 {
            Domain::IPV6
        } else {
            Domain::IPV4
        };
        let socket = super::open(domain, link_name, protocol)?;
        socket.attach_filter(&DROP_ALL)?;
        socket.set_recv_buffer_size(0)?;
        if family_v6 {
            socket.set_multicast_hops_v6(HOP_LIMIT)?;
            socket.set_unicast_hops_v6(HOP_LIMIT)?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_if_v6(ifindex)?;
        } else {
            socket.set_header_included_v4(true)?;
            socket.set_multicast_loop_v4(false)?;
        }
        super::mark(&socket, domain)?;
        Ok(Self::from_socket(socket, ifindex, family_v6))
    }

    /// As [`RawSender::open`], for a link that speaks for another: the source may be any address, over IPv6 as well.
    ///
    /// # Errors
    /// As [`RawSender::open`].
    pub fn open_for_any_source(
        link_name: &str,
        ifindex: u32,
        protocol: u8,
        family_v6: bool,
    ) -> io::Result<Self> {
        let sender = Self::open(link_name, ifindex, protocol, family_v6)?;
        if family_v6 {
            sender.socket.set_header_included_v6(true)?;
        }
        Ok(Self::from_socket(sender.socket, ifindex, family_v6))
    }

    /// Takes over a socket that [`RawSender::try_clone_fd`] gave, in this process or another.
    pub fn from_fd(fd: OwnedFd, ifindex: u32, family_v6: bool) -> Self {
        Self::from_socket(Socket::from(fd), ifindex, family_v6)
    }

    fn from_socket(socket: Socket, ifindex: u32, v6: bool) -> Self {
        // The socket knows, also in another process; one that cannot be asked is of the usual kind.
        let own = v6 && includes_v6_header(&socket);
        let protocol = socket.protocol().ok().flatten().map(i32::from);
        let own_v6_header = protocol
            .filter(|_| own)
            .and_then(|protocol| u8::try_from(protocol).ok());
        Self {
            socket,
            ifindex,
            v6,
            own_v6_header,
        }
    }

    /// Another descriptor of the same socket, to be handed on.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Sends one packet; never blocks, and no copy comes back to this host.
    ///
    /// IPv4: `packet` begins with the IP header, whose source must be `source`; the kernel fills in identification,
    /// total length and header checksum. IPv6: `packet` is what follows the header; `source` must be an address of
    /// the link that is not tentative; for any source, the link must have some address.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the addresses are not both of the socket's family. Else what the system
    /// says: `ENETDOWN`, `ENODEV`, `ENOBUFS`, `EPERM` (a firewall), `EINVAL` or `EADDRNOTAVAIL` (the source).
    pub fn send(&self, source: IpAddr, destination: IpAddr, packet: &[u8]) -> io::Result<()> {
        let sent = match (source, destination, self.v6) {
            (IpAddr::V4(_), IpAddr::V4(to), false) => self.send_v4(to, packet)?,
            (IpAddr::V6(from), IpAddr::V6(to), true) => match self.own_v6_header {
                Some(protocol) => self.send_v6_whole(protocol, from, to, packet)?,
                None => self.send_v6(from, to, packet)?,
            },
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "cannot send from {source} to {destination}: not of the socket's family"
                    ),
                ));
            }
        };
        if sent == packet.len() {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::WriteZero, "packet was cut"))
        }
    }

    fn send_v4(&self, to: Ipv4Addr, packet: &[u8]) -> io::Result<usize> {
        let address = SockaddrIn::from(SocketAddrV4::new(to, 0));
        Ok(sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(packet)],
            &[],
            MsgFlags::MSG_DONTWAIT,
            Some(&address),
        )?)
    }

    /// With a header of ours; the octets of `packet` that were sent.
    fn send_v6_whole(
        &self,
        protocol: u8,
        from: Ipv6Addr,
        to: Ipv6Addr,
        packet: &[u8],
    ) -> io::Result<usize> {
        let length = u16::try_from(packet.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "packet is too long"))?;
        let mut header = [0; IPV6_HEADER_LEN];
        header[..4].copy_from_slice(&IPV6_FIRST_WORD.to_be_bytes());
        header[4..6].copy_from_slice(&length.to_be_bytes());
        header[6] = protocol;
        header[7] = HOP_LIMIT as u8;
        header[8..24].copy_from_slice(&from.octets());
        header[24..].copy_from_slice(&to.octets());
        let address = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.ifindex));
        let sent = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&header), IoSlice::new(packet)],
            &[],
            MsgFlags::MSG_DONTWAIT,
            Some(&address),
        )?;
        Ok(sent.saturating_sub(IPV6_HEADER_LEN))
    }

    fn send_v6(&self, from: Ipv6Addr, to: Ipv6Addr, packet: &[u8]) -> io::Result<usize> {
        let address = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.ifindex));
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr {
                s6_addr: from.octets(),
            },
            ipi6_ifindex: self.ifindex,
        };
        Ok(sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(packet)],
            &[ControlMessage::Ipv6PacketInfo(&info)],
            MsgFlags::MSG_DONTWAIT,
            Some(&address),
        )?)
    }
}

/// Whether IPV6_HDRINCL is set (socket2 asks for another option under that name).
#[allow(unsafe_code)]
fn includes_v6_header(socket: &Socket) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and length are ours, of the type this option has, and outlive the call.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_HDRINCL,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    outcome == 0 && value != 0
}

impl AsFd for RawSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
