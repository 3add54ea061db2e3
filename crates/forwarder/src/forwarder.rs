//! The door: starts and stops the threads, applies plans, and shows what is going on.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use balancer::{GroupSettings, Listener, ListenerSettings, Overrides, Plan, TargetState};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::access_log::pen::Shape;
use crate::access_log::{AccessLogFigures, AccessLogSettings, Desk};
use crate::checks;
use crate::error::ApplyError;
use crate::leaving::Leaving;
use crate::listener::{Room, SharedListener};
use crate::seal::{CookieKey, Sealer};
use crate::snapshot::{self, ListenerSnapshot, Readiness, RuleSnapshot, Snapshot};
use crate::sockets::{self, OpenSocket};
use crate::tls::acceptor::{self, Acceptors};
use crate::tls::targets::Targets;
use crate::tls::{Materials, TicketSecret};
use crate::worker::{self, Command, Pulse, SocketKey, SocketOwner};

use orders::{Settings, Wanted, is_in_force};

mod asked;
mod orders;
mod sessions;

/// What cannot change while the forwarder runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwarderSettings {
    /// Number of worker threads, at least 1.
    pub threads: usize,
}

/// Time the worker threads have to confirm.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// Silence after which a worker thread counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// Rules of one listener that are shown, in status and metrics: names are bounded.
pub const MAX_SHOWN_RULES: usize = 1000;
/// Before the end of a drain, tunnels are ended so long: clients are told, and may say goodbye.
const TUNNELS_END_BEFORE: Duration = Duration::from_secs(2);
/// How often a drain looks whether connections are left.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// A running forwarder. Dropping it ends the threads and every connection at once.
#[derive(Debug)]
pub struct Forwarder {
    plan: ArcSwap<Plan>,
    /// The last plan is in force on every thread.
    listening: AtomicBool,
    /// A plan was put in force.
    applied: AtomicBool,
    /// Every target of some plan in force was checked; stays true, so that a reload does not cost the node its rank.
    first_round_done: AtomicBool,
    workers: Vec<WorkerHandle>,
    plans: Option<UnboundedSender<Arc<Plan>>>,
    health_thread: Option<JoinHandle<()>>,
    /// Connections of all listeners.
    room: Arc<Room>,
    leaving: Arc<Leaving>,
    /// How targets are reached inside TLS.
    targets: Arc<Targets>,
    /// What tickets are made with where nobody shares a secret.
    tickets: TicketSecret,
    access_log: Desk,
    sealer: Sealer,
    /// Held by one change at a time, from its beginning to its confirmation.
    changing: Mutex<Wanted>,
    /// Held while sessions are asked what they are.
    asking: Mutex<()>,
    /// Held for a moment at a time.
    bound: Mutex<Bound>,
}

/// What is bound, and whose it is.
#[derive(Debug, Default)]
struct Bound {
    sockets: BTreeMap<SocketKey, SocketOwner>,
    listeners: BTreeMap<String, Arc<SharedListener>>,
}

/// New sockets with the name of their listener, not yet given to the workers.
type Opened = Vec<(SocketKey, String, Vec<OpenSocket>)>;

#[derive(Debug)]
struct WorkerHandle {
    orders: UnboundedSender<worker::Order>,
    pulse: Arc<Pulse>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Starts the threads, with nothing to listen on. Fails if the system refuses a thread or an event queue.
    pub fn start(settings: ForwarderSettings) -> io::Result<Forwarder> {
        let room = Arc::new(Room::of_process()?);
        let leaving = Arc::new(Leaving::new());
        let access_log = Desk::start()?;
        let sealer = Sealer::default();
        let targets = Arc::new(Targets::default());
        let workers = (0..settings.threads.max(1))
            .map(|index| start_worker(index, (&leaving, &targets), (&access_log, &sealer)))
            .collect::<io::Result<Vec<_>>>()?;
        let (plans, received) = unbounded_channel();
        let wake = wake_all(&workers);
        let health_thread = {
            let targets = Arc::clone(&targets);
            worker::thread("tandem-health".to_owned(), move |runtime| {
                checks::run(runtime, received, targets, wake);
            })?
        };
        Ok(Forwarder {
            plan: ArcSwap::default(),
            listening: AtomicBool::new(false),
            applied: AtomicBool::new(false),
            first_round_done: AtomicBool::new(false),
            workers,
            plans: Some(plans),
            health_thread: Some(health_thread),
            room,
            leaving,
            targets,
            tickets: TicketSecret::random()
                .ok_or_else(|| io::Error::other("the system has no randomness"))?,
            access_log,
            sealer,
            changing: Mutex::default(),
            asking: Mutex::default(),
            bound: Mutex::default(),
        })
    }

    /// Puts listeners and groups in force, blocking for up to 5 s. New addresses are bound first, on every thread; if
    /// one cannot be bound nothing changes. Sockets whose (protocol, address) stays are not touched. Listeners that
    /// are gone stop accepting at once and drain.
    pub fn apply(
        &self,
        listeners: Vec<ListenerSettings>,
        groups: Vec<GroupSettings>,
    ) -> Result<(), ApplyError> {
        self.apply_with(listeners, groups, &Materials::default())
    }

    /// The same with what the settings only name. Connections that are encrypted already keep what they began with.
    pub fn apply_with(
        &self,
        listeners: Vec<ListenerSettings>,
        groups: Vec<GroupSettings>,
        materials: &Materials,
    ) -> Result<(), ApplyError> {
        let mut wanted = whole(&self.changing);
        let plan = self.plan_with(&listeners, &groups, &wanted.overrides)?;
        let acceptors = acceptor::of_plan(&plan, materials, &self.tickets)?;
        let targets = self.targets.prepare(&plan, materials)?;
        let before = self.targets.set(targets);
        let result = self.put_in_force(plan, &acceptors, &wanted.overrides);
        if !is_in_force(&result) {
            self.targets.set(before);
        }
        if is_in_force(&result) {
            wanted.settings = Some(Settings {
                listeners,
                groups,
                acceptors,
            });
        }
        result
    }

    /// Exchanges the plan, for whoever holds `changing`.
    fn put_in_force(
        &self,
        plan: Plan,
        acceptors: &Acceptors,
        overrides: &Overrides,
    ) -> Result<(), ApplyError> {
        let plan = Arc::new(plan);
        let confirmations = {
            let mut bound = whole(&self.bound);
            let opened = self.open(&plan, &bound)?;
            // Noted before the plan with perhaps new targets is seen.
            self.first_round_done();
            // Before anybody picks by it.
            self.obey(&plan, overrides, Instant::now());
            let before = self.plan.swap(Arc::clone(&plan));
            self.leave_removed(&before, &plan);
            self.applied.store(true, Relaxed);
            self.rearrange(&mut bound, &plan, opened, acceptors)
        };
        if let Some(plans) = &self.plans {
            // The health thread lives as long as this sender.
            let _ = plans.send(plan);
        }
        let confirmed = self.confirm(confirmations);
        self.listening.store(confirmed.is_ok(), Relaxed);
        confirmed
    }

    /// Takes keys into use for the cookies that bind clients: the first makes them, each reads them. Without this, or with
    /// none, they are made with a key that ends with the process.
    pub fn set_cookie_keys(&self, keys: &[CookieKey]) {
        self.sealer.set_keys(keys);
    }

    /// Sets a time by which targets that are gone must be left.
    fn leave_removed(&self, before: &Plan, plan: &Plan) {
        for group in before.groups() {
            let after = plan.group(&group.settings().name);
            for target in group.targets() {
                let stays = after
                    .and_then(|after| after.find(&target.settings().name))
                    .is_some_and(|kept| Arc::ptr_eq(kept.state(), target.state()));
                if !stays {
                    self.leave(target.state(), group.settings().drain);
                }
            }
        }
    }

    fn leave(&self, target: &TargetState, delay: Duration) {
        let at = Instant::now() + delay;
        target.set_leave_at(Some(at));
        self.leaving.expect(at);
    }

    /// Binds what the plan wants and is not bound yet.
    fn open(&self, plan: &Plan, bound: &Bound) -> Result<Opened, ApplyError> {
        let mut sockets = Vec::new();
        for (key, listener) in wanted(plan) {
            if bound.sockets.contains_key(&key) {
                continue;
            }
            let name = listener.settings().name.clone();
            match sockets::bind(key, self.workers.len()) {
                Ok(opened) => sockets.push((key, name, opened)),
                Err(source) => {
                    return Err(ApplyError::Bind {
                        listener: name,
                        address: key.address,
                        source,
                    });
                }
            }
        }
        let listen = |(key, name, sockets): (SocketKey, String, Vec<socket2::Socket>)| {
            match sockets::listen(key, sockets) {
                Ok(opened) => Ok((key, name, opened)),
                Err(source) => Err(ApplyError::Bind {
                    listener: name,
                    address: key.address,
                    source,
                }),
            }
        };
        sockets.into_iter().map(listen).collect()
    }

    /// Gives every socket its listener and closes those that are gone; the confirmations to wait for.
    fn rearrange(
        &self,
        bound: &mut Bound,
        plan: &Plan,
        opened: Opened,
        acceptors: &Acceptors,
    ) -> Vec<Receiver<usize>> {
        let mut before = std::mem::take(&mut bound.listeners);
        let same = |before: &SharedListener, listener: &Listener| {
            before.protocol == listener.settings().protocol
        };
        for listener in plan.listeners() {
            let name = &listener.settings().name;
            let shared = match before.get(name).is_some_and(|kept| same(kept, listener)) {
                true => before.remove(name),
                false => None,
            };
            let shared = match shared {
                Some(kept) => {
                    kept.current.store(Arc::clone(listener));
                    kept
                }
                None => self.new_listener(listener),
            };
            shared.acceptor.store(acceptors.get(name).map(Arc::clone));
            bound.listeners.insert(name.clone(), shared);
        }
        let gone = before;
        let mut confirmations = Vec::new();
        let wanted: BTreeMap<SocketKey, &Arc<Listener>> = wanted(plan).collect();
        bound.sockets.retain(|key, owner| {
            let listener = wanted
                .get(key)
                .and_then(|listener| bound.listeners.get(&listener.settings().name));
            match listener {
                Some(listener) => owner.store(Arc::clone(listener)),
                None => confirmations.extend(self.tell_all(|_| Command::Unlisten(*key))),
            }
            listener.is_some()
        });
        for (key, name, sockets) in opened {
            let Some(listener) = bound.listeners.get(&name) else {
                continue;
            };
            let owner: SocketOwner = Arc::new(ArcSwap::new(Arc::clone(listener)));
            let mut sockets = sockets.into_iter();
            confirmations.extend(self.tell_all(|_| match sockets.next() {
                Some(socket) => Command::Listen {
                    key,
                    socket,
                    owner: Arc::clone(&owner),
                },
                None => Command::Ping,
            }));
            bound.sockets.insert(key, owner);
        }
        if !gone.is_empty() {
            gone.values().for_each(|listener| listener.close());
            confirmations.extend(self.tell_all(|_| Command::Wake));
        }
        confirmations
    }

    fn new_listener(&self, listener: &Arc<Listener>) -> Arc<SharedListener> {
        let room = Arc::clone(&self.room);
        Arc::new(SharedListener::new(
            Arc::clone(listener),
            self.workers.len(),
            room,
        ))
    }

    /// Tells every worker; one confirmation each is to come.
    fn tell_all(&self, mut command: impl FnMut(usize) -> Command) -> Vec<Receiver<usize>> {
        let tell = |(index, worker): (usize, &WorkerHandle)| {
            let (ack, confirmation) = mpsc::channel();
            // A worker that is gone is found out by the missing confirmation.
            let _ = worker.orders.send((command(index), ack));
            confirmation
        };
        self.workers.iter().enumerate().map(tell).collect()
    }

    /// Waits for confirmations, in rounds of one for each worker.
    fn confirm(&self, confirmations: Vec<Receiver<usize>>) -> Result<(), ApplyError> {
        let limit_at = Instant::now() + CONFIRM_LIMIT;
        for (order, confirmation) in confirmations.into_iter().enumerate() {
            let left = limit_at.saturating_duration_since(Instant::now());
            if confirmation.recv_timeout(left).is_err() {
                return Err(ApplyError::Unconfirmed(order % self.workers.len()));
            }
        }
        Ok(())
    }

    /// Copies out what there is to show. Waits for no more than the moment in which a plan is exchanged.
    pub fn snapshot(&self) -> Snapshot {
        let bound = whole(&self.bound);
        let listeners = bound.listeners.iter().map(|(name, shared)| {
            let current = shared.current.load();
            let (tunnels, tunnels_total) = shared.tunnels();
            ListenerSnapshot {
                name: name.clone(),
                binds: current.settings().binds.clone(),
                protocol: shared.protocol,
                connections: shared.connections(),
                connections_total: shared.connections_total(),
                requests_total: shared.requests_total(),
                http2: shared.http2.read(),
                tunnels,
                tunnels_total,
                handshakes: shared.handshakes.read(),
                datagrams_total: shared.datagrams_total(),
                action: current.settings().default.clone(),
                rules: current.rules().len(),
                causes: shared.causes.read(),
                request_times: shared.tally.times(),
                bytes_total: shared.tally.bytes(),
            }
        });
        Snapshot {
            listeners: listeners.collect(),
            groups: snapshot::groups(&self.plan.load()),
        }
    }

    /// The rules of all listeners with what they counted, in their order; at most [`MAX_SHOWN_RULES`] of a listener.
    pub fn rules(&self) -> Vec<RuleSnapshot> {
        let plan = self.plan.load();
        let of = |listener: &Arc<Listener>| {
            let name = listener.settings().name.clone();
            let rules = listener.rules().iter().take(MAX_SHOWN_RULES);
            let rows = rules.map(move |rule| snapshot::rule(&name, rule));
            rows.collect::<Vec<_>>()
        };
        plan.listeners().flat_map(of).collect()
    }

    /// Access log lines go there from now on, in that shape; none at the beginning. Blocks until the worker threads have
    /// heard it, 5 s at most, and never for the log itself. Returns what was in force before.
    pub fn set_access_log(&self, settings: AccessLogSettings) -> AccessLogSettings {
        let shape = Shape::of(&settings);
        let before = self.access_log.set(settings);
        // A worker that does not turn is seen by its pulse, and has no lines to write.
        let _ = self.confirm(self.tell_all(|_| Command::AccessLog(shape)));
        before
    }

    /// Opens the file of the access log again, for the one that is open was renamed. Does not wait.
    pub fn reopen_access_log(&self) {
        self.access_log.reopen();
    }

    /// What has become of access log lines.
    pub fn access_log(&self) -> AccessLogFigures {
        self.access_log.figures()
    }

    /// Whether the node may be trusted with traffic. Never waits; a reload that succeeds does not change it.
    pub fn ready(&self) -> Readiness {
        Readiness {
            listening: self.listening.load(Relaxed),
            first_health_round_done: self.first_round_done(),
            stalled: self
                .workers
                .iter()
                .any(|worker| worker.pulse.age() > STALLED_AFTER),
        }
    }

    /// These addresses are about to go to the other node of a pair: their clients are asked to come anew. Does not block.
    pub fn part(&self, addresses: &[IpAddr]) {
        let addresses: Arc<[IpAddr]> = addresses.into();
        drop(self.tell_all(|_| Command::Part(Arc::clone(&addresses))));
    }

    /// They go at any moment: what is still open there is ended, so that its clients hear of it. New connections to them are
    /// served as ever. Does not block.
    pub fn cut(&self, addresses: &[IpAddr]) {
        let addresses: Arc<[IpAddr]> = addresses.into();
        drop(self.tell_all(|_| Command::Cut(Arc::clone(&addresses))));
    }

    /// Stops accepting, asks clients to close with the next answer, and blocks until the last connection is gone or
    /// `limit` has passed.
    pub fn drain(&self, limit: Duration) {
        let limit_at = Instant::now() + limit;
        let confirmations = {
            let _changing = whole(&self.changing);
            self.listening.store(false, Relaxed);
            let mut bound = whole(&self.bound);
            let nothing = Plan::default();
            self.rearrange(&mut bound, &nothing, Vec::new(), &Acceptors::new())
        };
        // A worker that does not confirm cannot be waited for in any other way either.
        let _ = self.confirm(confirmations);
        let wait_until = |at: Instant| {
            while self.room.is_taken() && Instant::now() < at {
                std::thread::sleep(DRAIN_POLL);
            }
        };
        wait_until(limit_at - TUNNELS_END_BEFORE.min(limit / 2));
        // What does not end by itself is ended while there is time to say so.
        let _ = self.confirm(self.tell_all(|_| Command::EndTunnels));
        wait_until(limit_at);
        // As above; and lines that cannot be written are counted.
        let _ = self.confirm(self.tell_all(|_| Command::FlushAccessLog));
        self.access_log.flush();
    }

    /// True once every target of the plan was checked, and from then on.
    fn first_round_done(&self) -> bool {
        if !self.first_round_done.load(Relaxed)
            && self.applied.load(Relaxed)
            && snapshot::first_health_round_done(&self.plan.load())
        {
            self.first_round_done.store(true, Relaxed);
        }
        self.first_round_done.load(Relaxed)
    }
}

/// Locks. What is guarded is whole at each step, also if a change panicked half-way.
fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.tell_all(|_| Command::Stop));
        self.plans = None;
        let threads = self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.thread.take());
        for thread in threads.chain(self.health_thread.take()) {
            // A thread that panicked has ended as well.
            let _ = thread.join();
        }
        self.access_log.flush();
    }
}

/// Wakes every connection of every worker, so that it looks at its target.
fn wake_all(workers: &[WorkerHandle]) -> impl Fn() + Send + 'static {
    let orders: Vec<_> = workers.iter().map(|worker| worker.orders.clone()).collect();
    move || {
        for orders in &orders {
            // Nobody waits for the confirmation; a worker that is gone has no connections.
            let _ = orders.send((Command::Wake, mpsc::channel().0));
        }
    }
}

fn start_worker(
    index: usize,
    (leaving, targets): (&Arc<Leaving>, &Arc<Targets>),
    (access_log, sealer): (&Desk, &Sealer),
) -> io::Result<WorkerHandle> {
    let (orders, received) = unbounded_channel();
    let pulse = Arc::new(Pulse::new());
    let thread = {
        let pulse = Arc::clone(&pulse);
        let known = (Arc::clone(leaving), Arc::clone(targets));
        let shared = (index, access_log.inlet(), sealer.clone());
        worker::thread(format!("tandem-fwd-{index}"), move |runtime| {
            worker::run(runtime, shared, pulse, known, received);
        })?
    };
    Ok(WorkerHandle {
        orders,
        pulse,
        thread: Some(thread),
    })
}

/// Every socket a plan wants, with its listener.
fn wanted(plan: &Plan) -> impl Iterator<Item = (SocketKey, &Arc<Listener>)> {
    plan.listeners().flat_map(|listener| {
        let settings = listener.settings();
        settings.binds.iter().map(move |address| {
            (
                SocketKey {
                    protocol: settings.protocol,
                    address: *address,
                },
                listener,
            )
        })
    })
}
