//! Datagrams: what one client address and port sends is a flow, which keeps its target; answers go back from the address
//! the client asked.
//!
//! ```text
//!   client --> listening socket of a thread --> flow --> its own socket, connected to the target
//!          <-- (same socket, same address)  <--      <--
//! ```
//!
//! A datagram is passed on whole or not at all, and never waits: where it cannot go at once it is dropped and counted. For
//! each datagram of a target at most one goes out, to the client that asked, and nothing is ever said by ourselves.
//!
//! - A flow ends after silence, or with the last of its answers where their number is known.
//! - A target that its check finds dead, or whose machine says that nobody listens, is left with the next datagram of
//!   the client. That a target is silent says nothing about it: whoever sends it nonsense can make it silent.
//! - At the limit of the listener the flow that has been silent the longest makes room: forged sources cannot lock
//!   others out for the time of an idle limit.

mod batch;
mod flow;
mod outbox;
mod socket;
mod table;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};
use tokio::time::MissedTickBehavior;

use crate::access_log::record::Record;
use crate::cause::Cause;
use crate::listener::{Admission, NoAdmission, SharedListener};
use crate::worker::{SocketOwner, Worker};

use batch::{BATCH, Datagram, Receiver};
use flow::{Flow, FlowKey};
use outbox::Outbox;
use socket::Socket;
use table::Table;

pub(crate) use socket::Spares;

/// Full batches taken from a socket before others have their turn.
const BATCHES_PER_TURN: u32 = 4;
/// Batches taken from a socket that closes.
const LAST_BATCHES: u32 = 64;
/// How long the answers to what was asked are still passed on after a listener has closed.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often the kernel is asked what it has dropped.
const OVERRUN_INTERVAL: Duration = Duration::from_millis(500);
/// Pause after an error that would come again at once.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Least time between two log lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// One listening socket of a thread, and the flows that came through it.
#[derive(Debug)]
pub(crate) struct Place {
    socket: Socket,
    local: SocketAddr,
    /// Whose the socket is, and the number of the thread.
    owner: SocketOwner,
    thread: usize,
    /// Datagrams the kernel had dropped when it was asked last.
    overruns: Cell<u32>,
    flows: RefCell<Table>,
    outbox: RefCell<Outbox>,
    /// Once closed: when the last flow ends.
    close_at: Cell<Option<Instant>>,
}

/// Passes on datagrams until told to stop.
pub(crate) async fn run(worker: Rc<Worker>, place: Rc<Place>, stop: Rc<Notify>) {
    let mut receiver = Receiver::<BATCH>::new(place.needs_destination());
    let mut stopping = std::pin::pin!(stop.notified());
    let mut logged_at: Option<Instant> = None;
    let mut full = 0;
    let mut look = tokio::time::interval(OVERRUN_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ready = tokio::select! {
            biased;
            () = &mut stopping => break,
            _ = look.tick() => {
                place.count_overruns();
                continue;
            }
            ready = place.socket.news() => ready,
        };
        match ready.and_then(|()| place.take(&worker, &mut receiver)) {
            Ok(true) => full += 1,
            Ok(false) => full = 0,
            Err(error) => {
                if logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    logged_at = Some(Instant::now());
                    tracing::warn!(address = %place.local, %error, "no datagram can be received");
                }
                tokio::select! {
                    () = tokio::time::sleep(ERROR_PAUSE) => {}
                    () = &mut stopping => break,
                }
            }
        }
        if full == BATCHES_PER_TURN {
            full = 0;
            yield_now().await;
        }
    }
    place.take_waiting(&worker, &mut receiver);
    place.count_overruns();
    place.close();
}

impl Place {
    /// Takes up a bound socket. Fails if the system refuses to watch it.
    pub(crate) fn open(
        socket: std::net::UdpSocket,
        owner: SocketOwner,
        thread: usize,
    ) -> io::Result<Rc<Place>> {
        let local = socket.local_addr()?;
        if local.ip().is_unspecified() {
            batch::ask_for_destination(&socket)?;
        }
        Ok(Rc::new(Place {
            socket: Socket::watch(socket, local.is_ipv6())?,
            local,
            owner,
            thread,
            overruns: Cell::new(0),
            flows: RefCell::default(),
            outbox: RefCell::default(),
            close_at: Cell::new(None),
        }))
    }

    /// The family whose packets have to say where they were sent to, if the socket is bound to every address.
    fn needs_destination(&self) -> Option<SocketAddr> {
        self.local.ip().is_unspecified().then_some(self.local)
    }

    /// Passes on one batch; true if there may be more.
    fn take(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        receiver: &mut Receiver<BATCH>,
    ) -> io::Result<bool> {
        let listener = self.owner.load_full();
        receiver.receive(&self.socket, |batch| {
            self.hand_out(worker, &listener, batch);
        })
    }

    /// Passes on what waits in the socket.
    fn take_waiting(self: &Rc<Self>, worker: &Rc<Worker>, receiver: &mut Receiver<BATCH>) {
        let listener = self.owner.load_full();
        for _ in 0..LAST_BATCHES {
            let taken = receiver.receive_now(&self.socket, |batch| {
                self.hand_out(worker, &listener, batch);
            });
            if !matches!(taken, Ok(true)) {
                break;
            }
        }
    }

    /// Counts what was dropped since the last time because it came faster than it was taken.
    fn count_overruns(&self) {
        let Some(overruns) = self.socket.overruns() else {
            return;
        };
        let more = overruns.wrapping_sub(self.overruns.replace(overruns));
        let causes = &self.owner.load().causes;
        causes.count_many(Cause::Overrun, more as usize);
    }

    /// First every flow gets its way to a target, which takes time; then everything goes out at once, so that who gets
    /// several wakes up once.
    fn hand_out(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        listener: &Arc<SharedListener>,
        batch: &[Datagram<'_>],
    ) {
        let mut ready: [Option<(Rc<Flow>, &[Datagram<'_>])>; BATCH] = [const { None }; BATCH];
        let mut rest = batch;
        for place in &mut ready {
            let Some(first) = rest.first() else {
                break;
            };
            let same = |other: &&Datagram<'_>| other.from == first.from && other.to == first.to;
            let (run, later) = rest.split_at(rest.iter().take_while(same).count());
            rest = later;
            match self.flow(worker, listener, run) {
                Ok(flow) => *place = Some((flow, run)),
                Err(cause) => listener.causes.count_many(cause, whole(run).count()),
            }
        }
        for (flow, run) in ready.into_iter().flatten() {
            if let Err((cause, lost)) = send(worker, listener, &flow, run) {
                listener.causes.count_many(cause, lost);
            }
        }
    }

    /// The flow that one client's datagrams in a row belong to, with a way to a target; or why there is none.
    fn flow(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        listener: &Arc<SharedListener>,
        run: &[Datagram<'_>],
    ) -> Result<Rc<Flow>, Cause> {
        let truncated = run.len() - whole(run).count();
        listener.causes.count_many(Cause::Truncated, truncated);
        let key = self.key(run).ok_or(Cause::BadSource)?;
        let known = self.flows.borrow().get(&key).cloned();
        if let Some(flow) = known {
            return flow.prepare(worker, listener).map(|()| flow);
        }
        if truncated == run.len() {
            return Err(Cause::Truncated);
        }
        let admission = self.admit(listener, key.peer)?;
        let record = Record::of_flow(&worker.pen, key.peer.ip());
        let flow = Rc::new(Flow::new(key, admission, record));
        if let Err(cause) = flow.prepare(worker, listener) {
            if cause == Cause::UsedUp {
                self.evict(listener);
            }
            return Err(cause);
        }
        self.flows.borrow_mut().insert(Rc::clone(&flow));
        let serving = flow::serve(Rc::clone(worker), Rc::clone(self), Rc::clone(&flow));
        drop(spawn_local(serving));
        Ok(flow)
    }

    /// Whose they are; `None` if they cannot be answered, or if an answer would come back to us for ever.
    fn key(&self, run: &[Datagram<'_>]) -> Option<FlowKey> {
        let first = run.first()?;
        let (peer, local) = (first.from?, first.to);
        let own = SocketAddr::new(local.unwrap_or(self.local.ip()), self.local.port());
        let answerable = local.is_some() || self.needs_destination().is_none();
        (answerable && peer.port() != 0 && peer != own).then_some(FlowKey { peer, local })
    }

    /// Room for one more flow, that of another if need be.
    fn admit(&self, listener: &Arc<SharedListener>, peer: SocketAddr) -> Result<Admission, Cause> {
        let mut admitted = listener.admit(peer.ip());
        if matches!(admitted, Err(NoAdmission::Full)) {
            self.evict(listener);
            admitted = listener.admit(peer.ip());
        }
        admitted.map_err(|refused| match refused {
            NoAdmission::Full => Cause::FlowLimit,
            NoAdmission::Client => Cause::ClientLimit,
        })
    }

    fn evict(&self, listener: &SharedListener) {
        let evicted = self.flows.borrow_mut().evict();
        if let Some(flow) = evicted {
            listener.causes.count(Cause::FlowEvicted);
            flow.blame(Cause::FlowEvicted);
            flow.end();
        }
    }

    /// Has an answer sent to a client, together with others that come just now.
    fn answer(self: &Rc<Self>, key: &FlowKey, answer: &[u8]) {
        let mut outbox = self.outbox.borrow_mut();
        let first = outbox.is_empty();
        outbox.push(*key, answer);
        let full = outbox.is_full();
        drop(outbox);
        if full {
            self.flush();
        } else if first {
            // Its turn comes after the flows that have been woken already.
            let place = Rc::clone(self);
            drop(spawn_local(async move { place.flush() }));
        }
    }

    /// Sends the answers that wait.
    fn flush(&self) {
        let (sent, lost) = self.outbox.borrow_mut().send(&self.socket);
        let listener = self.owner.load();
        listener.count_datagrams(self.thread, 0, sent);
        listener.causes.count_many(Cause::AnswerLost, lost);
    }

    /// Takes nothing in any more; the flows end soon.
    fn close(&self) {
        self.close_at.set(Some(Instant::now() + LAST_ANSWERS));
        // A socket connected to itself hears nobody: what comes for its address goes to whoever binds it next. It can
        // still send.
        let deaf = rustix::net::connect(&self.socket, &self.local).is_ok();
        let flows: Vec<Rc<Flow>> = self.flows.borrow().all().cloned().collect();
        for flow in flows {
            match deaf {
                true => flow.wake(),
                false => flow.end(),
            }
        }
    }
}

/// Those that have come whole.
fn whole<'r, 'b>(run: &'r [Datagram<'b>]) -> impl Iterator<Item = &'r Datagram<'b>> {
    run.iter().filter(|datagram| !datagram.truncated)
}

/// Passes on what one client has sent in a row; or why not, and how many of them.
fn send(
    worker: &Worker,
    listener: &SharedListener,
    flow: &Flow,
    run: &[Datagram<'_>],
) -> Result<(), (Cause, usize)> {
    let mut room = [&[][..]; BATCH];
    let mut count = 0;
    for (place, datagram) in room.iter_mut().zip(whole(run)) {
        *place = datagram.bytes;
        count += 1;
    }
    if flow.is_over() {
        // Another has taken its place just now.
        return Err((Cause::FlowLimit, count));
    }
    flow.send(worker, listener, &room[..count])
}
