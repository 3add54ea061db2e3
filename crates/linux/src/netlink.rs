//! Netlink datagrams: the route socket, requests as bytes, answers as frames.
//!
//! Both the asynchronous and the blocking side are built on this. It waits for nothing and keeps no state;
//! attributes it does not know never make a message unreadable, because only known ones are looked at.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use nix::libc;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Octets that hold any datagram of the kernel: it never makes one of more than 32 KiB.
pub(crate) const BUFFER: usize = 64 * 1024;

const NLMSG_ALIGNMENT: usize = 4;
const CODE_LEN: usize = 4;
/// `struct nlmsghdr` and `struct ifaddrmsg` (rtnetlink(7)).
const ADDRESS_HEADERS_LEN: usize = 16 + 8;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const ADDRESS_ATTRIBUTES: [u16; 2] = [libc::IFA_ADDRESS, libc::IFA_LOCAL];

/// Opens a NETLINK_ROUTE socket that hears the multicast groups of the bit mask `groups` (0: answers only).
pub(crate) fn open(groups: u32, flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags | SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The port of a socket: what the kernel calls it when it tells others of what was asked here.
pub(crate) fn port(socket: impl AsFd) -> io::Result<u32> {
    let address = rustix::net::getsockname(socket)?;
    let address = SocketAddrNetlink::try_from(address)?;
    Ok(address.pid())
}

/// The bytes of one request to the kernel.
pub(crate) fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    request.header.flags = flags;
    request.header.sequence_number = sequence;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Makes the request in `bytes`, which is about an address, one about `address` of the same family, with other flags and another number.
/// False when it has no such address; then it is no request any more.
pub(crate) fn readdress(bytes: &mut [u8], address: IpAddr, flags: u16, sequence: u32) -> bool {
    let (v4, v6);
    let octets: &[u8] = match address {
        IpAddr::V4(address) => {
            v4 = address.octets();
            &v4
        }
        IpAddr::V6(address) => {
            v6 = address.octets();
            &v6
        }
    };
    let Some((header, mut rest)) = bytes.split_at_mut_checked(ADDRESS_HEADERS_LEN) else {
        return false;
    };
    header[6..8].copy_from_slice(&flags.to_ne_bytes());
    header[8..12].copy_from_slice(&sequence.to_ne_bytes());
    let mut found = false;
    while let [low, high, kind, zero, ..] = *rest {
        let len = usize::from(u16::from_ne_bytes([low, high]));
        let is_address = ADDRESS_ATTRIBUTES.contains(&u16::from_ne_bytes([kind, zero]));
        match rest.get_mut(ATTRIBUTE_HEADER_LEN..len) {
            Some(value) if is_address && value.len() == octets.len() => {
                value.copy_from_slice(octets);
                found = true;
            }
            Some(_) if !is_address => {}
            Some(_) | None => return false,
        }
        let next = len.next_multiple_of(NLMSG_ALIGNMENT).min(rest.len());
        rest = &mut rest[next..];
    }
    found
}

/// Sends one datagram to the kernel.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let sent = rustix::net::send(socket, bytes, SendFlags::empty())?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "netlink request was cut",
        ))
    }
}

/// Receives one datagram into `buffer` (at least [`BUFFER`] octets); a datagram that does not fit is an error.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (_, len) = rustix::net::recv(socket, &mut *buffer, RecvFlags::TRUNC)?;
    if len > buffer.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "netlink answer does not fit the buffer",
        ));
    }
    Ok(len)
}

/// One message of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// RTM_* or NLMSG_*.
    pub(crate) kind: u16,
    /// NLM_F_*.
    pub(crate) flags: u16,
    /// The sequence number of the request it answers.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// The result that an NLMSG_ERROR or NLMSG_DONE frame carries; `None` for every other frame.
    pub(crate) fn result(&self) -> Option<io::Result<()>> {
        if i32::from(self.kind) != libc::NLMSG_ERROR && i32::from(self.kind) != libc::NLMSG_DONE {
            return None;
        }
        let code = self
            .payload
            .first_chunk::<CODE_LEN>()
            .map_or(-libc::EBADMSG, |octets| i32::from_ne_bytes(*octets));
        Some(match code {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code.saturating_abs())),
        })
    }
}

/// Splits a datagram into its frames; a length that cannot be is an error and ends the walk.
pub(crate) fn frames(datagram: &[u8]) -> impl Iterator<Item = io::Result<Frame<'_>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Ok(buffer) = NetlinkBuffer::new_checked(rest) else {
            rest = &[];
            return Some(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "netlink answer has an impossible length",
            )));
        };
        let len = buffer.length() as usize;
        let frame = Frame {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            payload: buffer.payload(),
        };
        rest = rest
            .get(len.next_multiple_of(NLMSG_ALIGNMENT)..)
            .unwrap_or(&[]);
        Some(Ok(frame))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let len = 16 + payload.len();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(len as u32).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&0u16.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(len.next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn walks_padded_frames() {
        let mut datagram = frame(16, 1, b"abc");
        datagram.extend(frame(20, 2, b"defg"));
        let all: Vec<_> = frames(&datagram).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].kind, all[0].sequence, all[0].payload),
            (16, 1, &b"abc"[..])
        );
        assert_eq!(
            (all[1].kind, all[1].sequence, all[1].payload),
            (20, 2, &b"defg"[..])
        );
    }

    #[test]
    fn impossible_length_is_one_error() {
        let mut datagram = frame(16, 1, b"abcd");
        datagram[0] = 200;
        let all: Vec<_> = frames(&datagram).collect();
        assert_eq!(all.len(), 1);
        assert!(all[0].is_err());
        assert!(frames(&[1, 2, 3]).next().unwrap().is_err());
    }

    #[test]
    fn zero_length_frame_does_not_loop() {
        assert_eq!(frames(&[0; 64]).count(), 1);
    }

    #[test]
    fn results_of_error_frames() {
        let refused = frame(2, 1, &(-99i32).to_ne_bytes());
        let error = frames(&refused).next().unwrap().unwrap().result().unwrap();
        assert_eq!(error.unwrap_err().raw_os_error(), Some(99));
        let ack = frame(2, 1, &0i32.to_ne_bytes());
        assert!(
            frames(&ack)
                .next()
                .unwrap()
                .unwrap()
                .result()
                .unwrap()
                .is_ok()
        );
        let short = frame(2, 1, &[0]);
        assert!(
            frames(&short)
                .next()
                .unwrap()
                .unwrap()
                .result()
                .unwrap()
                .is_err()
        );
        let other = frame(16, 1, &[0; 4]);
        assert!(frames(&other).next().unwrap().unwrap().result().is_none());
    }
}
