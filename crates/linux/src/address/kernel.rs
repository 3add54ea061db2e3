//! Requests to the kernel from a tokio runtime, one at a time, each with a time limit.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

use super::renewal::Renewer;
use super::{Address, AddressError, Attempt, Link, TIME_LIMIT, Vip, message};
use crate::netlink::{self, Frame};
use crate::readiness::watch;

/// How often a list is asked for again when it changed while the kernel wrote it.
const DUMP_ATTEMPTS: usize = 5;
/// How long, and how often, an address that was added is looked at until it is in use.
/// The limit leaves [`TIME_LIMIT`] some room.
const READY_LIMIT: Duration = Duration::from_millis(700);
const READY_INTERVAL: Duration = Duration::from_millis(1);
/// How old a list of addresses may be for the question which prefix has a route.
const LIST_AGE: Duration = Duration::from_millis(50);
/// Datagrams of one list that are read away at most: some hundred thousand addresses.
const DRAIN_LIMIT: usize = 4096;

/// The kernel's tables of links and addresses.
///
/// Requests of several tasks are sent one after the other; a request that is dropped half way harms no other. The time limit of one begins
/// when it is its turn: hundreds that are made at once are no sign of a silent kernel.
#[derive(Debug)]
pub struct Kernel {
    pub(super) socket: AsyncFd<OwnedFd>,
    exchange: tokio::sync::Mutex<Exchange>,
    held: Mutex<BTreeMap<(u32, IpAddr, u8), Held>>,
    /// Addresses of others as listed lately, and when.
    foreign: Mutex<Option<(Instant, Arc<[Address]>)>>,
    pub(super) renewer: Renewer,
}

/// What one request at a time needs.
#[derive(Debug)]
struct Exchange {
    sequence: u32,
    buffer: Vec<u8>,
    /// A request was given up before its answer was whole.
    unfinished: bool,
}

/// What must stay the same while an address is renewed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) no_prefix_route: bool,
    /// The kernel has taken the address away by then, unless it is renewed.
    pub(super) expires_at: Option<Instant>,
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
                unfinished: false,
            }),
            held: Mutex::new(BTreeMap::new()),
            foreign: Mutex::new(None),
            renewer: Renewer::open()?,
        })
    }

    /// Adds `vip`, or renews its lease. Returns when the kernel has confirmed it and answers for it.
    ///
    /// An IPv6 address skips duplicate address detection and is deprecated from the start, so that the host does not
    /// choose it as a source. A renewal changes the time of expiry and nothing else: no route, no connection.
    ///
    /// An address that is not renewed is gone within 0.3 s after its lease, in a quiet kernel. It looks at IPv6
    /// addresses once a second at most, however: if several are renewed at different moments, it can be 1.3 s. Renew
    /// them together, and add them at the same time: the wait for an IPv6 address holds up no other.
    ///
    /// # Errors
    /// [`AddressError`]; after [`AddressError::TimedOut`] the address may be there or not.
    pub async fn add(&self, vip: &Vip) -> Result<(), AddressError> {
        let attempt = Attempt::Add(*vip);
        if let Some(problem) = message::problem(vip) {
            return Err(AddressError::Invalid { attempt, problem });
        }
        attempted(attempt, async {
            let asked_at = Instant::now();
            let held = self.held(vip, asked_at);
            let no_prefix_route = match held {
                Some(held) => held.no_prefix_route,
                // Without the list a route too many may be made: better than no address.
                None => {
                    let addresses = self.foreign_addresses().await.unwrap_or_default();
                    message::without_prefix_route(vip, &addresses)
                }
            };
            let request = RouteNetlinkMessage::NewAddress(message::add(vip, no_prefix_route));
            let outcome = self.ask(request, NLM_F_CREATE | NLM_F_REPLACE).await;
            let expires_at = vip.lease.map(|lease| asked_at + lease);
            let value = outcome.is_ok().then_some(Held {
                no_prefix_route,
                expires_at,
            });
            self.remember(vip, value);
            if outcome.is_ok() && held.is_none() {
                self.answered_for(vip, asked_at).await;
            }
            outcome
        })
        .await
    }

    /// Removes `vip`. That it was not there, or that its link is gone, is success.
    ///
    /// The route to the prefix that an IPv4 address brought goes at once; that of a leased IPv6 address ends with what
    /// is left of the lease.
    ///
    /// # Errors
    /// [`AddressError`]; after [`AddressError::TimedOut`] the address may be there or not.
    pub async fn remove(&self, vip: &Vip) -> Result<(), AddressError> {
        self.remember(vip, None);
        attempted(Attempt::Remove(*vip), async {
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
        attempted(Attempt::Links, async {
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
        attempted(Attempt::Addresses, self.list_addresses()).await
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
                parent: None,
            };
            match self.remove(&vip).await {
                Ok(()) => swept.push(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(swept), Err)
    }

    /// The addresses that are not ours, listed now or a moment ago: many of ours are added at the same time.
    async fn foreign_addresses(&self) -> io::Result<Arc<[Address]>> {
        let lately = |(at, addresses): &(Instant, Arc<[Address]>)| {
            (at.elapsed() < LIST_AGE).then(|| Arc::clone(addresses))
        };
        let known = || self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(addresses) = known().as_ref().and_then(lately) {
            return Ok(addresses);
        }
        let asked_at = Instant::now();
        let listed = self.list_addresses().await?.into_iter();
        let addresses: Arc<[Address]> = listed.filter(|address| !address.ours).collect();
        *known() = Some((asked_at, Arc::clone(&addresses)));
        Ok(addresses)
    }

    /// What is known of an address that was added and not removed since.
    pub(super) fn kept(&self, vip: &Vip) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&key(vip)).copied()
    }

    fn held(&self, vip: &Vip, now: Instant) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&key(vip))
            .copied()
            .filter(|held| held.expires_at.is_none_or(|expires_at| now < expires_at))
    }

    pub(super) fn remember(&self, vip: &Vip, value: Option<Held>) {
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

    /// Waits until packets to an IPv6 `vip` are taken as our own. The kernel confirms the address before it has joined
    /// the group in which neighbours ask for it and made the local route; a question in between goes unanswered, and
    /// is repeated only a second later. It is a matter of microseconds, but of tenths of a second while the kernel
    /// takes other network namespaces down. With IPv4 the answer comes last.
    ///
    /// Gives up after [`READY_LIMIT`]: on a link that is down, or with routing rules of a kind not known here, the
    /// route is never found, and the address is there all the same.
    async fn answered_for(&self, vip: &Vip, asked_at: Instant) {
        if vip.address.is_ipv4() {
            return;
        }
        while asked_at.elapsed() < READY_LIMIT {
            let request = RouteNetlinkMessage::GetRoute(message::route_to(vip));
            let local = self.exchange(request, NLM_F_REQUEST, |frame| match frame.kind {
                libc::RTM_NEWROUTE => Some(Ok(message::is_local_route(frame.payload))),
                _ => frame.result().map(|outcome| outcome.map(|()| false)),
            });
            if matches!(local.await, Ok(true)) {
                return;
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    }

    /// Sends a request that changes something and waits for the kernel's yes or no.
    pub(super) async fn ask(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.exchange(request, flags, |frame| frame.result().map(Ok))
            .await?
    }

    /// Asks for a whole table; `parse` takes what it wants of it.
    pub(super) async fn dump<T>(
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
        visit: impl FnMut(Frame<'_>) -> Option<io::Result<T>>,
    ) -> io::Result<T> {
        let mut exchange = self.exchange.lock().await;
        if exchange.unfinished {
            self.drain(&mut exchange.buffer)?;
        }
        exchange.unfinished = true;
        exchange.sequence = exchange.sequence.wrapping_add(1);
        let bytes = netlink::encode(request, flags, exchange.sequence);
        netlink::send(self.socket.get_ref(), &bytes)?;
        let sequence = exchange.sequence;
        let answer = self.answer(sequence, &mut exchange.buffer, visit);
        let outcome = limited(answer).await?;
        exchange.unfinished = false;
        outcome
    }

    /// Reads until `visit` has an outcome for the request `sequence`. The outer error is one of the socket.
    async fn answer<T>(
        &self,
        sequence: u32,
        buffer: &mut [u8],
        mut visit: impl FnMut(Frame<'_>) -> Option<io::Result<T>>,
    ) -> io::Result<io::Result<T>> {
        loop {
            let len = self
                .socket
                .async_io(Interest::READABLE, |socket| {
                    netlink::receive(socket, buffer)
                })
                .await?;
            for frame in netlink::frames(&buffer[..len]) {
                let frame = frame?;
                if frame.sequence != sequence {
                    continue;
                }
                if let Some(outcome) = visit(frame) {
                    return Ok(outcome);
                }
            }
        }
    }

    /// Reads away what is left of a request that was given up. The kernel writes the rest of a list while it is read,
    /// and begins no other before that is done.
    fn drain(&self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..DRAIN_LIMIT {
            match netlink::receive(self.socket.get_ref(), buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Some answers were lost: they are of no interest.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "the rest of an earlier answer does not end",
        ))
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

/// Waits for one answer of the kernel, [`TIME_LIMIT`] at most.
async fn limited<T>(answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let answer = tokio::time::timeout(TIME_LIMIT, answer).await;
    answer.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// Says of `work` what was attempted, should it fail.
pub(super) async fn attempted<T>(
    attempt: Attempt,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, AddressError> {
    work.await.map_err(|source| match source.kind() {
        io::ErrorKind::TimedOut => AddressError::TimedOut { attempt },
        _ => AddressError::Refused { attempt, source },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_kernel_is_given_up_after_the_time_limit() {
        let started_at = Instant::now();
        let silent = std::future::pending::<io::Result<()>>();
        let error = attempted(Attempt::Links, limited(silent))
            .await
            .unwrap_err();
        assert!(matches!(error, AddressError::TimedOut { .. }));
        assert_eq!(
            error.to_string(),
            "cannot list the links: no answer from the kernel within a second"
        );
        let waited = started_at.elapsed().as_millis();
        assert!((1000..1900).contains(&waited), "{waited} ms");
    }

    #[tokio::test]
    async fn those_that_wait_for_their_turn_are_not_given_up() {
        let kernel = Kernel::open().unwrap();
        let first = kernel.exchange.lock().await;
        let waits = async {
            let asked = Instant::now();
            (kernel.links().await, asked.elapsed())
        };
        let turn = async {
            tokio::time::sleep(TIME_LIMIT * 5 / 4).await;
            drop(first);
        };
        let ((links, waited), ()) = tokio::join!(waits, turn);
        assert!(waited > TIME_LIMIT && !links.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_request_given_up_does_not_disturb_the_next() {
        let kernel = Kernel::open().unwrap();
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        for _ in 0..20 {
            {
                let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
                let never = kernel.exchange(request, flags, |_| None::<io::Result<()>>);
                let limit = Duration::from_millis(1);
                assert!(tokio::time::timeout(limit, never).await.is_err());
            }
            assert!(!kernel.links().await.unwrap().is_empty());
        }
    }
}
