//! A worker thread: one runtime, its own listening sockets, its own pool; shares nothing but atomics.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Sender as AckSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use balancer::Protocol;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;

use crate::accept;
use crate::access_log::Inlet;
use crate::access_log::pen::{Pen, Shape};
use crate::http2::manners::Seldom;
use crate::http2::sessions;
use crate::idlers::Idlers;
use crate::leaving::Leaving;
use crate::listener::SharedListener;
use crate::lookout::Lookout;
use crate::seal::Sealer;
use crate::sessions::{SessionId, SessionQuery, Sessions};
use crate::sockets::OpenSocket;
use crate::tls::handshake::Handshakes;
use crate::tls::targets::Targets;
use crate::udp;
use crate::upstream::Pool;

/// What tells one listening socket from another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SocketKey {
    /// What is spoken there.
    pub(crate) protocol: Protocol,
    /// Where it is bound.
    pub(crate) address: SocketAddr,
}

/// The listener a socket belongs to; a reload may give it to another.
pub(crate) type SocketOwner = Arc<ArcSwap<SharedListener>>;

/// What a worker can be told. Each is confirmed with the worker's number.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take in what comes to this socket.
    Listen {
        /// Its name from now on.
        key: SocketKey,
        /// Bound and listening, not blocking.
        socket: OpenSocket,
        /// The listener its connections or flows belong to.
        owner: SocketOwner,
    },
    /// Accept what has come in, then close the socket.
    Unlisten(SocketKey),
    /// Wake idle connections: a listener is closing.
    Wake,
    /// These addresses are about to go to the other node: ask clients to come anew.
    Part(Arc<[IpAddr]>),
    /// They go: end what is left there.
    Cut(Arc<[IpAddr]>),
    /// End the tunnels: this process is about to end.
    EndTunnels,
    /// Access log lines look like this from now on, or there are none.
    AccessLog(Option<Shape>),
    /// Hand over what there is of access log lines.
    FlushAccessLog,
    /// Say which of its sessions match.
    Sessions(SessionQuery, AckSender<Sessions>),
    /// End the sessions of these numbers, and say which have ended by it.
    EndSessions(Vec<u64>, AckSender<Vec<SessionId>>),
    /// Confirm only.
    Ping,
    /// End the thread.
    Stop,
}

/// A command and where to confirm it.
pub(crate) type Order = (Command, AckSender<usize>);

/// How often a worker shows that it is alive.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Ticks between two sweeps of the pool, and between two looks at targets that must be left.
const TICKS_PER_SWEEP: u32 = 10;

/// What the connections of one thread share.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Number of the thread, from 0.
    pub(crate) index: usize,
    /// Idle connections to targets.
    pub(crate) pool: Pool,
    /// Connections to targets that speak HTTP/2.
    pub(crate) sessions: sessions::Sessions,
    /// TLS handshakes under way.
    pub(crate) handshakes: Rc<Handshakes>,
    /// How targets are reached inside TLS.
    pub(crate) targets: Arc<Targets>,
    /// Sockets of flows that are over.
    pub(crate) spare_sockets: udp::Spares,
    /// Connections to wake when a listener closes.
    pub(crate) idlers: Rc<Idlers>,
    /// What access log lines are written with.
    pub(crate) pen: Pen,
    /// Makes and reads what binds clients.
    pub(crate) sealer: Sealer,
    /// Says that clients of HTTP/2 were cut off.
    pub(crate) cuts: Seldom,
    /// Where connections that may soon be over are watched, once there was one.
    lookout: OnceCell<Rc<Lookout>>,
    random: Cell<u64>,
    path_room: RefCell<String>,
}

impl Worker {
    /// A thread without connections.
    pub(crate) fn new(index: usize, pen: Pen, sealer: Sealer) -> Self {
        Self {
            index,
            pool: Pool::default(),
            sessions: sessions::Sessions::default(),
            handshakes: Rc::default(),
            targets: Arc::default(),
            spare_sockets: udp::Spares::default(),
            idlers: Rc::default(),
            pen,
            sealer,
            cuts: Seldom::default(),
            lookout: OnceCell::new(),
            random: Cell::new(rand::random()),
            path_room: RefCell::default(),
        }
    }

    /// Where connections that may soon be over are watched, if they can be.
    pub(crate) fn lookout(&self) -> Option<&Rc<Lookout>> {
        if self.lookout.get().is_none() {
            // One that cannot be had now may be later.
            let _ = self.lookout.set(Lookout::start().ok()?);
        }
        self.lookout.get()
    }

    /// Lends a text that keeps its memory, for the normal form of a path.
    pub(crate) fn with_path_room<R>(&self, work: impl FnOnce(&mut String) -> R) -> R {
        work(&mut self.path_room.borrow_mut())
    }

    /// A number nobody else gives to a request.
    pub(crate) fn request_id(&self) -> u128 {
        u128::from(self.random()) << 64 | u128::from(self.random())
    }

    /// The next number of this thread's random sequence (SplitMix64).
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// When a worker last showed that it is alive, in ms since `epoch`.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// What the time counts from.
    pub(crate) epoch: Instant,
    /// The time.
    pub(crate) beat_ms: AtomicU64,
}

impl Pulse {
    /// A pulse that beats now.
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            beat_ms: AtomicU64::new(0),
        }
    }

    fn beat(&self) {
        self.beat_ms.store(self.now_ms(), Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Time since the last beat.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.beat_ms.load(Relaxed)))
    }
}

/// A runtime for the thread that makes it.
pub(crate) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
}

/// Starts a thread that works in a runtime of its own. Fails if the system refuses the thread or its event queue.
pub(crate) fn thread(
    name: String,
    work: impl FnOnce(&LocalRuntime) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (made, is_made) = std::sync::mpsc::channel();
    // Whoever starts a thread waits for what comes of it.
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || match runtime() {
            Ok(runtime) => {
                let _ = made.send(Ok(()));
                work(&runtime);
            }
            Err(error) => drop(made.send(Err(error))),
        })?;
    is_made.recv().map_err(io::Error::other)??;
    Ok(thread)
}

/// Runs a worker until it is told to stop or nobody is left to tell it.
pub(crate) fn run(
    runtime: &LocalRuntime,
    (index, access_log, sealer): (usize, Inlet, Sealer),
    pulse: Arc<Pulse>,
    (leaving, targets): (Arc<Leaving>, Arc<Targets>),
    orders: UnboundedReceiver<Order>,
) {
    runtime.block_on(async move {
        let mut worker = Worker::new(index, Pen::new(access_log), sealer);
        worker.targets = targets;
        let worker = Rc::new(worker);
        spawn_local(tick(Rc::clone(&worker), pulse, leaving));
        obey(worker, orders).await;
    });
}

async fn tick(worker: Rc<Worker>, pulse: Arc<Pulse>, leaving: Arc<Leaving>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    loop {
        interval.tick().await;
        pulse.beat();
        worker.pen.tick();
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(TICKS_PER_SWEEP) {
            worker.pool.sweep(Instant::now());
            worker.sessions.sweep(Instant::now());
            worker.spare_sockets.sweep();
            if leaving.is_expected(Instant::now()) {
                worker.idlers.wake_all();
            }
        }
    }
}

async fn obey(worker: Rc<Worker>, mut orders: UnboundedReceiver<Order>) {
    let mut sockets: HashMap<SocketKey, Rc<Notify>> = HashMap::new();
    while let Some((command, ack)) = orders.recv().await {
        match command {
            Command::Listen { key, socket, owner } => {
                let stop = Rc::new(Notify::new());
                match take_up(&worker, socket, owner, Rc::clone(&stop)) {
                    Ok(()) => drop(sockets.insert(key, stop)),
                    Err(error) => {
                        // Left unconfirmed: the one who ordered it finds out.
                        tracing::error!(address = %key.address, %error, "socket not taken up");
                        continue;
                    }
                }
            }
            Command::Unlisten(key) => {
                if let Some(stop) = sockets.remove(&key) {
                    stop.notify_one();
                }
            }
            Command::Wake => worker.idlers.wake_all(),
            Command::Part(addresses) => worker.idlers.part(&addresses),
            Command::Cut(addresses) => worker.idlers.cut(&addresses),
            Command::EndTunnels => worker.idlers.end(),
            Command::AccessLog(shape) => worker.pen.set_shape(shape),
            Command::FlushAccessLog => worker.pen.hand_over(),
            Command::Sessions(query, answer) => {
                worker.idlers.census().ask(query);
                worker.idlers.wake_all();
                let worker = Rc::clone(&worker);
                spawn_local(async move {
                    all_have_had_their_turn().await;
                    // Nobody may be waiting any more.
                    let _ = answer.send(worker.idlers.census().answers());
                });
            }
            Command::EndSessions(numbers, answer) => {
                worker.idlers.census().condemn(numbers);
                worker.idlers.wake_all();
                let worker = Rc::clone(&worker);
                spawn_local(async move {
                    all_have_had_their_turn().await;
                    let thread = u32::try_from(worker.index).unwrap_or(u32::MAX);
                    let ended = worker.idlers.census().ended().into_iter();
                    let ended = ended.map(|number| SessionId { thread, number });
                    let _ = answer.send(ended.collect());
                });
            }
            Command::Ping => {}
            Command::Stop => {
                worker.pen.hand_over();
                let _ = ack.send(worker.index);
                return;
            }
        }
        // Nobody may be waiting any more.
        let _ = ack.send(worker.index);
    }
}

/// Waits until every task of this thread that was woken before has run. Tasks run in the order in which they are woken, but for those that
/// give up their turn, which come after what the system has to say: hence twice.
async fn all_have_had_their_turn() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

/// Starts to take in what comes to a socket.
fn take_up(
    worker: &Rc<Worker>,
    socket: OpenSocket,
    owner: SocketOwner,
    stop: Rc<Notify>,
) -> io::Result<()> {
    let worker = Rc::clone(worker);
    match socket {
        OpenSocket::Streams(socket) => {
            let socket = accept::watch(socket)?;
            drop(spawn_local(accept::run(worker, socket, owner, stop)));
        }
        OpenSocket::Datagrams(socket) => {
            let place = udp::Place::open(socket, owner, worker.index)?;
            drop(spawn_local(udp::run(worker, place, stop)));
        }
    }
    Ok(())
}
