//! Requests to the kernel from a tokio runtime, one at a time, each with a time limit.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use nix::libc;
use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Address, AddressError, Attempt, Link, TIME_LIMIT, Vip, message};
use crate::netlink::{self, Frame};
use crate::readiness::watch;

/// How often a list is asked for again when it changed while the kernel wrote it.
const DUMP_ATTEMPTS: usize = 5;

/// The kernel's tables of links and addresses.
///
/// Requests of several tasks are sent one after the other; a request that is dropped half way harms no other.
#[derive(Debug)]
pub struct Kernel {
    socket: AsyncFd<OwnedFd>,
    exchange: tokio::sync::Mutex<Exchange>,
    held: Mutex<BTreeMap<(u32, IpAddr, u8), Held>>,
}

/// What one request at a time needs.
#[derive(Debug)]
struct Exchange {
    sequence: u32,
    buffer: Vec<u8>,
}

/// What must stay the same while an address is renewed.
#[derive(Debug, Clone, Copy)]
struct Held {
    no_prefix_route: bool,
    /// The kernel has taken the address away by then, unless it is renewed.
    expires_at: Option<Instant>,
}

impl Kernel {
    /// Opens the socket, in the network namespace of the calling thread. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says when it gives no socket.
    pub fn open() -> io::Result<Self> {
        let socket = netlink::open(0, SocketFlags::NONBLOCK)?;
        Ok(Self {
            socket: watch(socket, Interest::READABLE)?,
            exchange: tokio::sync::Mutex::new(Exchange {
                sequence: 0,
                buffer: vec![0; netlink::BUFFER],
            }),
            held: Mutex::new(BTreeMap::new()),
        })
    }

    /// Adds `vip`, or renews its lease. Returns when the kernel has confirmed it.
    ///
    /// An IPv6 address skips duplicate address detection and is deprecated from the start, so that the host does not
    /// choose it as a source. A renewal changes the time of expiry and nothing else: no route, no connection.
    ///
    /// # Errors
    /// [`AddressError`]; after [`AddressError::TimedOut`] the address may be there or not.
    pub async fn add(&self, vip: &Vip) -> Result<(), AddressError> {
        let attempt = Attempt::Add(*vip);
        if let Some(problem) = message::problem(vip) {
            return Err(AddressError::Invalid { attempt, problem });
        }
        within_limit(attempt, async {
            let asked_at = Instant::now();
            let no_prefix_route = match self.held(vip, asked_at) {
                Some(held) => held.no_prefix_route,
                None => message::without_prefix_route(vip, &self.list_addresses().await?),
            };
            let request = RouteNetlinkMessage::NewAddress(message::add(vip, no_prefix_route));
            let outcome = self.ask(request, NLM_F_CREATE | NLM_F_REPLACE).await;
            self.remember(
                vip,
                outcome.is_ok().then(|| Held {
                    no_prefix_route,
                    expires_at: vip.lease.map(|lease| asked_at + lease),
                }),
            );
            outcome
        })
        .await
    }

    /// Removes `vip`. That it was not there, or that its link is gone, is success.
    ///
    /// # Errors
    /// [`AddressError`]; after [`AddressError::TimedOut`] the address may be there or not.
    pub async fn remove(&self, vip: &Vip) -> Result<(), AddressError> {
        self.remember(vip, None);
        within_limit(Attempt::Remove(*vip), async {
            let request = RouteNetlinkMessage::DelAddress(message::remove(vip));
            absent_is_success(self.ask(request, 0).await)
        })
        .await
    }

    /// Every link of the network namespace, by index.
    ///
    /// # Errors
    /// [`AddressError`].
    pub async fn links(&self) -> Result<Vec<Link>, AddressError> {
        within_limit(Attempt::Links, async {
            let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
            self.dump(request, |frame| {
                (frame.kind == libc::RTM_NEWLINK)
                    .then(|| message::parse_link(frame.payload))
                    .flatten()
            })
            .await
        })
        .await
    }

    /// Every address of the network namespace, IPv4 first.
    ///
    /// # Errors
    /// [`AddressError`].
    pub async fn addresses(&self) -> Result<Vec<Address>, AddressError> {
        within_limit(Attempt::Addresses, self.list_addresses()).await
    }

    /// Removes every address that carries [`super::OWNER_MARK`] and is not in `keep`; returns what it removed.
    ///
    /// # Errors
    /// [`AddressError`] of the first that could not be removed, after all were tried.
    pub async fn sweep(&self, keep: &[IpAddr]) -> Result<Vec<Address>, AddressError> {
        let mut swept = Vec::new();
        let mut failure = None;
        for found in self.addresses().await? {
            if !found.ours || keep.contains(&found.address) {
                continue;
            }
            let vip = Vip {
                ifindex: found.ifindex,
                address: found.address,
                prefix_len: found.prefix_len,
                lease: None,
            };
            match self.remove(&vip).await {
                Ok(()) => swept.push(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(swept), Err)
    }

    fn held(&self, vip: &Vip, now: Instant) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&key(vip))
            .copied()
            .filter(|held| held.expires_at.is_none_or(|expires_at| now < expires_at))
    }

    fn remember(&self, vip: &Vip, value: Option<Held>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => held.insert(key(vip), value),
            None => held.remove(&key(vip)),
        };
    }

    async fn list_addresses(&self) -> io::Result<Vec<Address>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump(request, |frame| {
            (frame.kind == libc::RTM_NEWADDR)
                .then(|| message::parse_address(frame.payload))
                .flatten()
        })
        .await
    }

    /// Sends a request that changes something and waits for the kernel's yes or no.
    async fn ask(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.exchange(request, flags, |frame| frame.result().map(Ok))
            .await?
    }

    /// Asks for a whole table; `parse` takes what it wants of it.
    async fn dump<T>(
        &self,
        request: RouteNetlinkMessage,
        parse: impl Fn(Frame<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut rows = Vec::new();
            let mut interrupted = false;
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            self.exchange(request.clone(), flags, |frame| {
                interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
                rows.extend(parse(frame));
                frame.result()
            })
            .await?;
            if !interrupted {
                return Ok(rows);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the list changed each time while it was read",
        ))
    }

    /// Sends one request and hands each frame of the answer to `visit`, until that returns the outcome.
    async fn exchange<T>(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut visit: impl FnMut(Frame<'_>) -> Option<io::Result<T>>,
    ) -> io::Result<T> {
        let mut exchange = self.exchange.lock().await;
        let Exchange { sequence, buffer } = &mut *exchange;
        *sequence = sequence.wrapping_add(1);
        netlink::send(
            self.socket.get_ref(),
            &netlink::encode(request, flags, *sequence),
        )?;
        loop {
            let len = self
                .socket
                .async_io(Interest::READABLE, |socket| {
                    netlink::receive(socket, buffer)
                })
                .await?;
            for frame in netlink::frames(&buffer[..len]) {
                let frame = frame?;
                // Answers to a request that was given up may still come.
                if frame.sequence != *sequence {
                    continue;
                }
                if let Some(outcome) = visit(frame) {
                    return outcome;
                }
            }
        }
    }
}

fn key(vip: &Vip) -> (u32, IpAddr, u8) {
    (vip.ifindex, vip.address, vip.prefix_len)
}

/// Turns "there is none" into success, for removals.
pub(super) fn absent_is_success(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EADDRNOTAVAIL | libc::ENODEV)
            ) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

async fn within_limit<T>(
    attempt: Attempt,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, AddressError> {
    match tokio::time::timeout(TIME_LIMIT, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(AddressError::Refused { attempt, source }),
        Err(_elapsed) => Err(AddressError::TimedOut { attempt }),
    }
}
