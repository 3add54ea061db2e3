//! What the threads share about a listener: its settings in force, its counters, whether it is closing.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, ArcSwapOption};
use balancer::{Listener, Protocol};
use rustix::process::{Resource, getrlimit};
use rustls::ServerConfig;

use crate::cause::CauseCounters;
use crate::clients::{Client, Clients};
use crate::tally::Tally;
use crate::tally::protocols::{HandshakeCounts, Http2Counts};

/// A counter on a cache line of its own, so that threads do not wait for each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Padded(AtomicU64);

/// Datagrams of one thread, both ways, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Datagrams {
    to_targets: AtomicU64,
    to_clients: AtomicU64,
}

/// Descriptors that connections and flows of all listeners may take.
#[derive(Debug)]
pub(crate) struct Room {
    taken: AtomicU32,
    most: u32,
}

/// Descriptors kept for everything else: listeners, checks, kept connections, logs.
const RESERVED_DESCRIPTORS: u64 = 256;
/// What connections and flows may take in any case.
const LEAST_ROOM: u32 = 32;
/// A connection and the one to its target.
const PER_CONNECTION: u32 = 2;
const PER_FLOW: u32 = 1;

impl Room {
    /// So many descriptors.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            taken: AtomicU32::new(0),
            most,
        }
    }

    /// What this process may open. What is open already is somebody else's.
    pub(crate) fn of_process() -> io::Result<Self> {
        // The lowest number that is free.
        let open = File::open("/dev/null")?.as_raw_fd().unsigned_abs();
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let free = limit.saturating_sub(u64::from(open) + RESERVED_DESCRIPTORS);
        let most = u32::try_from(free).unwrap_or(u32::MAX);
        Ok(Self::new(most.max(LEAST_ROOM)))
    }

    /// True while there are connections or flows.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Relaxed) > 0
    }

    /// Takes this many, if there are.
    fn enter(&self, descriptors: u32) -> bool {
        let more = |taken: u32| {
            let taken = taken.saturating_add(descriptors);
            (taken <= self.most).then_some(taken)
        };
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn leave(&self, descriptors: u32) {
        self.taken.fetch_sub(descriptors, Relaxed);
    }
}

/// A listener as long as a connection of it lives.
#[derive(Debug)]
pub(crate) struct SharedListener {
    /// What it speaks; another protocol is another listener.
    pub(crate) protocol: Protocol,
    /// Settings and routes in force; a request keeps those it started with.
    pub(crate) current: ArcSwap<Listener>,
    /// What it does with clients that want TLS; those under way keep what they began with.
    pub(crate) acceptor: ArcSwapOption<ServerConfig>,
    /// What did not go well.
    pub(crate) causes: CauseCounters,
    /// What its requests came to.
    pub(crate) tally: Tally,
    /// TLS with clients.
    pub(crate) handshakes: HandshakeCounts,
    /// HTTP/2 with clients.
    pub(crate) http2: Http2Counts,
    connections: AtomicU32,
    clients: Clients,
    connections_total: AtomicU64,
    requests: Box<[Padded]>,
    tunnels: AtomicU32,
    tunnels_total: AtomicU64,
    datagrams: Box<[Datagrams]>,
    closing: AtomicBool,
    room: Arc<Room>,
}

impl SharedListener {
    /// A listener without connections.
    pub(crate) fn new(listener: Arc<Listener>, threads: usize, room: Arc<Room>) -> Self {
        Self {
            protocol: listener.settings().protocol,
            current: ArcSwap::new(listener),
            acceptor: ArcSwapOption::empty(),
            causes: CauseCounters::default(),
            tally: Tally::new(threads),
            handshakes: HandshakeCounts::default(),
            http2: Http2Counts::new(threads),
            connections: AtomicU32::new(0),
            clients: Clients::default(),
            connections_total: AtomicU64::new(0),
            requests: (0..threads).map(|_| Padded::default()).collect(),
            tunnels: AtomicU32::new(0),
            tunnels_total: AtomicU64::new(0),
            datagrams: (0..threads).map(|_| Datagrams::default()).collect(),
            closing: AtomicBool::new(false),
            room,
        }
    }

    /// Connections being served.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// Connections ever accepted.
    pub(crate) fn connections_total(&self) -> u64 {
        self.connections_total.load(Relaxed)
    }

    /// Requests ever read, over all threads.
    pub(crate) fn requests_total(&self) -> u64 {
        sum(&self.requests)
    }

    /// Counts a request read by this thread.
    pub(crate) fn count_request(&self, thread: usize, http2: bool) {
        count(&self.requests, thread);
        if http2 {
            self.http2.begin(thread);
        }
    }

    /// Tunnels open, and ever opened: requests that were answered with another protocol.
    pub(crate) fn tunnels(&self) -> (u32, u64) {
        (self.tunnels.load(Relaxed), self.tunnels_total.load(Relaxed))
    }

    /// Counts a tunnel, as long as what is given back lives.
    pub(crate) fn open_tunnel(self: &Arc<Self>) -> Tunnel {
        self.tunnels.fetch_add(1, Relaxed);
        self.tunnels_total.fetch_add(1, Relaxed);
        Tunnel(Arc::clone(self))
    }

    /// Datagrams ever passed on to targets and to clients, over all threads; `None` if it has no such thing.
    pub(crate) fn datagrams_total(&self) -> Option<(u64, u64)> {
        let sum = |of: fn(&Datagrams) -> &AtomicU64| {
            self.datagrams
                .iter()
                .map(|each| of(each).load(Relaxed))
                .sum()
        };
        self.protocol
            .is_datagrams()
            .then(|| (sum(|each| &each.to_targets), sum(|each| &each.to_clients)))
    }

    /// Counts datagrams passed on by this thread.
    pub(crate) fn count_datagrams(&self, thread: usize, to_targets: usize, to_clients: usize) {
        if let Some(own) = self.datagrams.get(thread) {
            // Only this thread writes here.
            let add = |counter: &AtomicU64, more: usize| {
                counter.store(counter.load(Relaxed) + more as u64, Relaxed);
            };
            add(&own.to_targets, to_targets);
            add(&own.to_clients, to_clients);
        }
    }

    /// True once its connections are to end with their next answer.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Lets its connections end with their next answer.
    pub(crate) fn close(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Descriptors each of its connections or flows may need.
    fn descriptors(&self) -> u32 {
        match self.protocol.is_datagrams() {
            true => PER_FLOW,
            false => PER_CONNECTION,
        }
    }

    /// Counts one more connection of this peer, unless a limit is reached. The addresses of trusted proxies stand for many
    /// clients and have no limit of their own.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Admission, NoAdmission> {
        let current = self.current.load();
        let settings = current.settings();
        let limit = settings.limits.connections;
        let one_more = |count| (count < limit).then_some(count + 1);
        self.connections
            .fetch_update(Relaxed, Relaxed, one_more)
            .map_err(|_| NoAdmission::Full)?;
        if !self.room.enter(self.descriptors()) {
            self.connections.fetch_sub(1, Relaxed);
            return Err(NoAdmission::Full);
        }
        let mut admission = Admission {
            listener: Arc::clone(self),
            counted: true,
            http2: false,
            client: None,
        };
        if !settings.trusts(peer) {
            admission.count_client(peer)?;
        }
        self.connections_total.fetch_add(1, Relaxed);
        Ok(admission)
    }
}

fn sum(counters: &[Padded]) -> u64 {
    let counters = counters.iter();
    counters.map(|padded| padded.0.load(Relaxed)).sum()
}

fn count(counters: &[Padded], thread: usize) {
    if let Some(padded) = counters.get(thread) {
        // Only this thread writes here.
        padded.0.store(padded.0.load(Relaxed) + 1, Relaxed);
    }
}

/// A tunnel that is counted, until dropped.
#[derive(Debug)]
pub(crate) struct Tunnel(Arc<SharedListener>);

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Relaxed);
    }
}

/// Why a connection is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoAdmission {
    /// The listener has as many as it may, or all of them together as many as there are descriptors for.
    Full,
    /// The client has as many as it may.
    Client,
}

/// One connection that is counted, until dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    listener: Arc<SharedListener>,
    counted: bool,
    /// It is counted as one of HTTP/2, too.
    http2: bool,
    /// As whose it is counted.
    client: Option<Client>,
}

impl Admission {
    /// The listener it came through.
    pub(crate) fn listener(&self) -> &Arc<SharedListener> {
        &self.listener
    }

    /// Its client speaks HTTP/2.
    pub(crate) fn count_http2(&mut self) {
        if !std::mem::replace(&mut self.http2, true) {
            self.listener.http2.enter();
        }
    }

    /// For a part of this connection, which is counted only as a whole.
    pub(crate) fn part(&self) -> Admission {
        Admission {
            listener: Arc::clone(&self.listener),
            counted: false,
            http2: false,
            client: None,
        }
    }

    /// Counts it as this client's, where the listener limits that.
    pub(crate) fn count_client(&mut self, address: IpAddr) -> Result<(), NoAdmission> {
        let Some(limit) = self.listener.current.load().settings().limits.per_ip else {
            return Ok(());
        };
        let client = Client::of(address);
        if !self.listener.clients.enter(client, limit) {
            return Err(NoAdmission::Client);
        }
        if let Some(before) = self.client.replace(client) {
            self.listener.clients.leave(before);
        }
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.listener.clients.leave(client);
        }
        if self.http2 {
            self.listener.http2.leave();
        }
        if self.counted {
            self.listener.connections.fetch_sub(1, Relaxed);
            self.listener.room.leave(self.listener.descriptors());
        }
    }
}
