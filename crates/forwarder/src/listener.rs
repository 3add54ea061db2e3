//! What the threads share about a listener: its settings in force, its counters, whether it is closing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, ArcSwapOption};
use balancer::{Listener, Protocol};
use rustls::{HandshakeKind, ServerConfig};

use crate::cause::CauseCounters;
use crate::clients::{Client, Clients};

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
    connections: AtomicU32,
    clients: Clients,
    connections_total: AtomicU64,
    requests: Box<[Padded]>,
    handshakes: AtomicU64,
    resumed: AtomicU64,
    datagrams: Box<[Datagrams]>,
    closing: AtomicBool,
    /// Connections of all listeners, for draining.
    all_connections: Arc<AtomicU32>,
}

impl SharedListener {
    /// A listener without connections.
    pub(crate) fn new(
        listener: Arc<Listener>,
        threads: usize,
        all_connections: Arc<AtomicU32>,
    ) -> Self {
        Self {
            protocol: listener.settings().protocol,
            current: ArcSwap::new(listener),
            acceptor: ArcSwapOption::empty(),
            causes: CauseCounters::default(),
            connections: AtomicU32::new(0),
            clients: Clients::default(),
            connections_total: AtomicU64::new(0),
            requests: (0..threads).map(|_| Padded::default()).collect(),
            handshakes: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            datagrams: (0..threads).map(|_| Datagrams::default()).collect(),
            closing: AtomicBool::new(false),
            all_connections,
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
        self.requests
            .iter()
            .map(|padded| padded.0.load(Relaxed))
            .sum()
    }

    /// Counts a request read by this thread.
    pub(crate) fn count_request(&self, thread: usize) {
        if let Some(padded) = self.requests.get(thread) {
            // Only this thread writes here.
            padded.0.store(padded.0.load(Relaxed) + 1, Relaxed);
        }
    }

    /// TLS handshakes that were completed, and how many of them resumed an earlier session.
    pub(crate) fn handshakes(&self) -> (u64, u64) {
        (self.handshakes.load(Relaxed), self.resumed.load(Relaxed))
    }

    /// Counts a completed TLS handshake.
    pub(crate) fn count_handshake(&self, kind: Option<HandshakeKind>) {
        self.handshakes.fetch_add(1, Relaxed);
        if kind == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Relaxed);
        }
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
        self.all_connections.fetch_add(1, Relaxed);
        let mut admission = Admission {
            listener: Arc::clone(self),
            counted: true,
            client: None,
        };
        if !settings.trusts(peer) {
            admission.count_client(peer)?;
        }
        self.connections_total.fetch_add(1, Relaxed);
        Ok(admission)
    }
}

/// Why a connection is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoAdmission {
    /// The listener has as many as it may.
    Full,
    /// The client has as many as it may.
    Client,
}

/// One connection that is counted, until dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    listener: Arc<SharedListener>,
    counted: bool,
    /// As whose it is counted.
    client: Option<Client>,
}

impl Admission {
    /// The listener it came through.
    pub(crate) fn listener(&self) -> &Arc<SharedListener> {
        &self.listener
    }

    /// For a part of this connection, which is counted only as a whole.
    pub(crate) fn part(&self) -> Admission {
        Admission {
            listener: Arc::clone(&self.listener),
            counted: false,
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
        if self.counted {
            self.listener.connections.fetch_sub(1, Relaxed);
            self.listener.all_connections.fetch_sub(1, Relaxed);
        }
    }
}
