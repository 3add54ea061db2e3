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
mod table;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use crate::cause::Cause;
use crate::listener::{Admission, NoAdmission, SharedListener};
use crate::worker::{SocketOwner, Worker};

use batch::{BATCH, Datagram, Receiver};
use flow::{Flow, FlowKey};
use table::Table;

/// Full batches taken from a socket before others have their turn.
const BATCHES_PER_TURN: u32 = 4;
/// Batches taken from a socket that closes.
const LAST_BATCHES: u32 = 64;
/// How long the answers to what was asked are still passed on after a listener has closed.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Pause after an error that would come again at once.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Least time between two log lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// One listening socket of a thread, and the flows that came through it.
#[derive(Debug)]
pub(crate) struct Place {
    socket: UdpSocket,
    local: SocketAddr,
    flows: RefCell<Table>,
    /// Once closed: when the last flow ends.
    close_at: Cell<Option<Instant>>,
}

/// Passes on datagrams until told to stop.
pub(crate) async fn run(
    worker: Rc<Worker>,
    place: Rc<Place>,
    owner: SocketOwner,
    stop: Rc<Notify>,
) {
    let mut receiver = Receiver::new(place.needs_destination());
    let mut stopping = std::pin::pin!(stop.notified());
    let mut logged_at: Option<Instant> = None;
    let mut full = 0;
    loop {
        let ready = tokio::select! {
            biased;
            () = &mut stopping => break,
            ready = place.socket.readable() => ready,
        };
        match ready.and_then(|()| place.take(&worker, &owner, &mut receiver)) {
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
    place.take_waiting(&worker, &owner, &mut receiver);
    place.close();
}

impl Place {
    /// Takes up a bound socket. Fails if the system refuses to watch it.
    pub(crate) fn open(socket: std::net::UdpSocket) -> io::Result<Rc<Place>> {
        let local = socket.local_addr()?;
        if local.ip().is_unspecified() {
            batch::ask_for_destination(&socket)?;
        }
        Ok(Rc::new(Place {
            socket: UdpSocket::from_std(socket)?,
            local,
            flows: RefCell::default(),
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
        owner: &SocketOwner,
        receiver: &mut Receiver,
    ) -> io::Result<bool> {
        let listener = owner.load_full();
        receiver.receive(&self.socket, |batch| {
            self.hand_out(worker, &listener, batch);
        })
    }

    /// Passes on what waits in the socket.
    fn take_waiting(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        owner: &SocketOwner,
        receiver: &mut Receiver,
    ) {
        let listener = owner.load_full();
        for _ in 0..LAST_BATCHES {
            let taken = receiver.receive_now(&self.socket, |batch| {
                self.hand_out(worker, &listener, batch);
            });
            if !matches!(taken, Ok(true)) {
                break;
            }
        }
    }

    fn hand_out(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        listener: &Arc<SharedListener>,
        batch: &[Datagram<'_>],
    ) {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let same = |other: &&Datagram<'_>| other.from == first.from && other.to == first.to;
            let (run, later) = rest.split_at(rest.iter().take_while(same).count());
            rest = later;
            if let Err((cause, lost)) = self.deliver(worker, listener, run) {
                listener.causes.count_many(cause, lost);
            }
        }
    }

    /// Passes on what one client has sent in a row; or why not, and how many of them.
    fn deliver(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        listener: &Arc<SharedListener>,
        run: &[Datagram<'_>],
    ) -> Result<(), (Cause, usize)> {
        let mut room = [&[][..]; BATCH];
        let whole = run.iter().filter(|datagram| !datagram.truncated);
        let mut count = 0;
        for (place, datagram) in room.iter_mut().zip(whole) {
            *place = datagram.bytes;
            count += 1;
        }
        if count < run.len() {
            listener
                .causes
                .count_many(Cause::Truncated, run.len() - count);
        }
        let datagrams = &room[..count];
        let Some(key) = self.key(run) else {
            return Err((Cause::BadSource, count));
        };
        if datagrams.is_empty() {
            return Ok(());
        }
        let known = self.flows.borrow().get(&key).cloned();
        if let Some(flow) = known {
            return flow.send(worker, listener, datagrams);
        }
        let admission = self
            .admit(listener, key.peer)
            .map_err(|cause| (cause, count))?;
        let flow = Rc::new(Flow::new(key, admission));
        let sent = flow.send(worker, listener, datagrams);
        if flow.is_linked() {
            self.flows.borrow_mut().insert(Rc::clone(&flow));
            spawn_local(flow::serve(Rc::clone(worker), Rc::clone(self), flow));
        }
        if let Err((Cause::UsedUp, _)) = sent {
            self.evict(listener);
        }
        sent
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
            flow.end();
        }
    }

    /// Sends answers to a client; how many were taken.
    fn answer(&self, key: &FlowKey, answers: &[&[u8]]) -> usize {
        let socket = &self.socket;
        match key.local {
            None => batch::send(socket, Some(key.peer), answers).0,
            Some(local) => {
                let sent = answers.iter();
                sent.take_while(|bytes| batch::send_from(socket, local, key.peer, bytes).is_ok())
                    .count()
            }
        }
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
