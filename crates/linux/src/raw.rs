//! Raw IP sockets of one link: for each link and family one to receive and one to send.
//!
//! The protocol number, the group and every octet of the packet are the caller's. Checks of what was received are the
//! caller's too; the kernel is told only what it can refuse for nothing: the link, the protocol, the address.

mod receiver;
mod sender;

pub use receiver::{Local, RawReceiver, Received};
pub use sender::RawSender;

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

/// Internetwork control (CS6): TOS octet and traffic class.
const TRAFFIC_CLASS: u32 = 0xc0;
/// Highest priority in the queue of the link that needs no capability.
const QUEUE_PRIORITY: u32 = 6;

/// A raw socket that is tied to the link `link_name` and never blocks.
fn open(domain: Domain, link_name: &str, protocol: u8) -> io::Result<Socket> {
    let socket = Socket::new(
        domain,
        Type::RAW.nonblocking(),
        Some(Protocol::from(i32::from(protocol))),
    )?;
    socket.bind_device(Some(link_name.as_bytes()))?;
    Ok(socket)
}

/// Marks what leaves through `socket`. The priority comes last, because setting the TOS resets it.
fn mark(socket: &Socket, domain: Domain) -> io::Result<()> {
    if domain == Domain::IPV6 {
        socket.set_tclass_v6(TRAFFIC_CLASS)?;
    } else {
        socket.set_tos_v4(TRAFFIC_CLASS)?;
    }
    socket.set_priority(QUEUE_PRIORITY)
}
