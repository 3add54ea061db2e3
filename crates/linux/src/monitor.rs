//! Changes of links and addresses, told by the kernel as they happen.
//!
//! It keeps no table. Every change is told, those that we made too: a renewed lease comes as
//! [`Change::AddressAdded`]. The caller compares with what it wants.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::libc;
use rustix::net::{SocketFlags, sockopt};
use socket2::{SockFilter, SockRef};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::address::message::{parse_address, parse_link};
use crate::address::{Address, Link};
use crate::netlink::{self, Frame};
use crate::readiness::watch;

/// Octets of receive buffer: some thousand changes.
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// Pause after a failure that is not an overrun, so that a broken socket costs no processor time.
const FAILURE_DELAY: Duration = Duration::from_millis(100);

/// Where a netlink message says what it is, and on whose behalf (struct nlmsghdr, netlink(7)).
const NLMSG_KIND: u32 = 4;
const NLMSG_PORT: u32 = 12;

/// Something that happened to a link or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link is new, or something about it changed; told also without a visible difference.
    Link(Link),
    /// A link is gone from this network namespace.
    LinkGone {
        /// The index it had.
        index: u32,
        /// The name it had.
        name: String,
    },
    /// An address was added or renewed, or its flags changed.
    AddressAdded(Address),
    /// An address was removed, by somebody or because its lease ran out.
    AddressRemoved(Address),
    /// Changes were lost, and those that still waited are thrown away with them: list links and addresses anew and compare. What is told
    /// afterwards is newer than this.
    Overrun,
}

/// A socket that hears every change of links and addresses in its network namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    /// Told by the kernel in one datagram, not yet by us; so at most as many as one datagram holds.
    pending: VecDeque<Change>,
    /// After a failure nothing is read before.
    rest_until: Option<Instant>,
}

/// Datagrams thrown away after an overrun at most: more than the largest buffer holds.
const DISCARDED: usize = 65_536;

impl Monitor {
    /// Starts to listen, in the network namespace of the calling thread. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says when it gives no socket.
    pub fn open() -> io::Result<Self> {
        Self::with_receive_buffer(RECEIVE_BUFFER)
    }

    /// As [`Monitor::open`], with another receive buffer: the more changes it holds, the later [`Change::Overrun`].
    ///
    /// # Errors
    /// As [`Monitor::open`].
    pub fn with_receive_buffer(octets: usize) -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let socket = netlink::open(groups.cast_unsigned(), SocketFlags::NONBLOCK)?;
        // Past the system's limit where we may, up to it where not.
        if sockopt::set_socket_recv_buffer_size_force(&socket, octets).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, octets)?;
        }
        Ok(Self {
            socket: watch(socket, Interest::READABLE)?,
            buffer: vec![0; netlink::BUFFER],
            pending: VecDeque::new(),
            rest_until: None,
        })
    }

    /// From here on does not tell that an address was added or renewed, if it was asked for through the socket of this port
    /// ([`crate::address::Kernel::renewal_port`]).
    ///
    /// # Errors
    /// What the system says.
    pub fn pass_over_renewals(&self, port: u32) -> io::Result<()> {
        SockRef::from(self.socket.get_ref()).attach_filter(&passing_over(port))
    }

    /// The next change, in the order of the kernel. Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(at) = self.rest_until {
                tokio::time::sleep_until(at).await;
                self.rest_until = None;
            }
            if let Some(change) = self.pending.pop_front() {
                return change;
            }
            let Self { socket, buffer, .. } = self;
            let received = socket
                .async_io(Interest::READABLE, |socket| {
                    netlink::receive(socket, buffer)
                })
                .await;
            match received {
                Ok(len) => self.pending.extend(changes(&self.buffer[..len])),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.discard();
                    return Change::Overrun;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whatever it was, changes may have been lost with it.
                Err(_) => {
                    self.pending.push_back(Change::Overrun);
                    self.rest_until = Some(Instant::now() + FAILURE_DELAY);
                }
            }
        }
    }

    /// Throws away what waits: it is older than what the caller is about to ask for.
    fn discard(&mut self) {
        for _ in 0..DISCARDED {
            match netlink::receive(self.socket.get_ref(), &mut self.buffer) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

/// A filter program: "RTM_NEWADDR from this port" is dropped. What it loads is in network order, what the kernel wrote in its own.
fn passing_over(port: u32) -> [SockFilter; 6] {
    let load = |size: u32, offset: u32| {
        SockFilter::new((libc::BPF_LD | libc::BPF_ABS | size) as u16, 0, 0, offset)
    };
    let unless_equal = |value: u32, skip: u8| {
        SockFilter::new(
            (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            0,
            skip,
            value,
        )
    };
    let end = |accept: u32| SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, accept);
    [
        load(libc::BPF_H, NLMSG_KIND),
        unless_equal(u32::from(libc::RTM_NEWADDR.to_be()), 3),
        load(libc::BPF_W, NLMSG_PORT),
        unless_equal(port.to_be(), 1),
        end(0),
        end(u32::MAX),
    ]
}

fn changes(datagram: &[u8]) -> impl Iterator<Item = Change> {
    netlink::frames(datagram).filter_map(|frame| frame.map_or(Some(Change::Overrun), change))
}

fn change(frame: Frame<'_>) -> Option<Change> {
    match frame.kind {
        libc::RTM_NEWLINK => parse_link(frame.payload).map(Change::Link),
        libc::RTM_DELLINK => parse_link(frame.payload).map(|link| Change::LinkGone {
            index: link.index,
            name: link.name,
        }),
        libc::RTM_NEWADDR => parse_address(frame.payload).map(Change::AddressAdded),
        libc::RTM_DELADDR => parse_address(frame.payload).map(Change::AddressRemoved),
        _ => None,
    }
}
