//! ICMP echo: asks a host whether it is there.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;

use nix::net::if_::if_nametoindex;
use pnet::util::checksum;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::readiness::watch;

/// Type, code, checksum, identifier, sequence number (RFC 792; RFC 4443 §4.1), and the token.
const MESSAGE_LEN: usize = 16;
/// The longest IPv4 header, and a message.
const RECEIVED_LEN: usize = 60 + MESSAGE_LEN;
const V4: Kinds = Kinds {
    request: 8,
    reply: 0,
};
const V6: Kinds = Kinds {
    request: 128,
    reply: 129,
};

struct Kinds {
    request: u8,
    reply: u8,
}

/// A raw socket to one host, which hears only ICMP from there.
#[derive(Debug)]
pub struct EchoSocket {
    fd: AsyncFd<OwnedFd>,
    v6: bool,
}

impl EchoSocket {
    /// Opens the socket, bound to `interface` if one is named. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` without the interface, `ENETUNREACH` without a route.
    pub fn open(address: IpAddr, interface: Option<&str>) -> io::Result<Self> {
        let v6 = address.is_ipv6();
        let (domain, protocol) = if v6 {
            (Domain::IPV6, Protocol::ICMPV6)
        } else {
            (Domain::IPV4, Protocol::ICMPV4)
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
        let mut scope = 0;
        if let Some(interface) = interface {
            scope = if_nametoindex(interface)?;
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        let host = match address {
            IpAddr::V4(address) => SocketAddr::from((address, 0)),
            IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, scope).into(),
        };
        socket.connect(&SockAddr::from(host))?;
        Ok(Self {
            fd: watch(socket.into(), Interest::READABLE | Interest::WRITABLE)?,
            v6,
        })
    }

    /// Sends one echo request that carries `token`.
    ///
    /// # Errors
    /// What the system says: `ENETDOWN`, `EPERM` where a filter drops it.
    pub async fn send(&self, token: u64) -> io::Result<()> {
        let request = request(self.kinds(), token);
        self.fd
            .async_io(Interest::WRITABLE, |fd| {
                Ok(nix::unistd::write(fd, &request)?)
            })
            .await
            .map(drop)
    }

    /// Waits, without end, for the reply that carries `token`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn answered(&self, token: u64) -> io::Result<()> {
        loop {
            let mut buffer = [0; RECEIVED_LEN];
            let received = self
                .fd
                .async_io(Interest::READABLE, |fd| {
                    Ok(nix::unistd::read(fd, &mut buffer)?)
                })
                .await?;
            if is_reply(self.kinds(), &buffer[..received], self.v6, token) {
                return Ok(());
            }
        }
    }

    fn kinds(&self) -> &'static Kinds {
        if self.v6 { &V6 } else { &V4 }
    }
}

/// An echo request. The kernel sets the checksum of ICMPv6 itself.
fn request(kinds: &Kinds, token: u64) -> [u8; MESSAGE_LEN] {
    let mut message = [0; MESSAGE_LEN];
    message[0] = kinds.request;
    // The identifier: part of the token, so that two requests differ in what a middle box looks at.
    message[4..6].copy_from_slice(&token.to_be_bytes()[..2]);
    message[8..].copy_from_slice(&token.to_be_bytes());
    let sum = checksum(&message, 1);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Whether what a raw socket has received, with its IP header in IPv4, is the reply with `token`.
fn is_reply(kinds: &Kinds, received: &[u8], v6: bool, token: u64) -> bool {
    let header = match received.first() {
        Some(first) if !v6 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let Some(message) = received.get(header..) else {
        return false;
    };
    message.len() >= MESSAGE_LEN
        && message[0] == kinds.reply
        && message[1] == 0
        && message[8..MESSAGE_LEN] == token.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: u64 = 0x0102_0304_0506_0708;

    #[test]
    fn a_request_as_it_goes_over_the_wire() {
        // One's complement sum of 0800, 0102, 0102, 0304, 0506 and 0708 is 1916.
        assert_eq!(
            request(&V4, TOKEN),
            [8, 0, 0xe6, 0xe9, 1, 2, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
        );
    }

    #[test]
    fn only_the_reply_to_the_request_counts() {
        let mut reply = request(&V4, TOKEN);
        reply[0] = V4.reply;
        let with_header = |message: &[u8]| [&[0x45; 20][..], message].concat();
        assert!(is_reply(&V4, &with_header(&reply), false, TOKEN));
        assert!(!is_reply(&V4, &with_header(&reply), false, TOKEN + 1));
        assert!(!is_reply(
            &V4,
            &with_header(&request(&V4, TOKEN)),
            false,
            TOKEN
        ));
        reply[0] = V6.reply;
        assert!(is_reply(&V6, &reply, true, TOKEN));
        let all = with_header(&reply);
        for len in 0..all.len() {
            is_reply(&V4, &all[..len], false, TOKEN);
            is_reply(&V6, &all[..len], true, TOKEN);
        }
    }
}
