//! One flow: its target, the socket to it, and when it is over.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future as _, pending, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use balancer::{Group, HashKey, Lease, NoPick, Outcome, PickKey, TargetId};
use tokio::task::yield_now;

use super::batch::{self, Datagram};
use super::socket::Socket;
use super::{BATCHES_PER_TURN, Place};
use crate::access_log::record::Record;
use crate::alarm::Alarm;
use crate::cause::Cause;
use crate::idlers::IdleSlot;
use crate::leaving::Watch;
use crate::listener::{Admission, SharedListener};
use crate::sockets;
use crate::tcp;
use crate::worker::Worker;

/// Targets tried for one datagram, should each say at once that it cannot be reached.
const MAX_TARGETS: usize = 3;

/// How long a flow that tries a target has to go on without an error if no answer comes.
const TRIAL: Duration = Duration::from_secs(1);
/// How long a target may leave unanswered what the client goes on to ask, where the number of answers is known.
const PATIENCE: Duration = Duration::from_secs(1);

/// What makes a flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct FlowKey {
    /// The client.
    pub(super) peer: SocketAddr,
    /// The address it asked, where the socket is bound to all of them.
    pub(super) local: Option<IpAddr>,
}

/// What one client sends, and the answers to it.
pub(super) struct Flow {
    key: FlowKey,
    listener: Arc<SharedListener>,
    admission: Cell<Option<Admission>>,
    /// The way to a target; none while the last one could not be reached and the client has not sent since.
    link: RefCell<Option<Link>>,
    /// Targets of this group that could not be reached since there was an answer.
    refused: RefCell<Option<(Arc<Group>, Vec<TargetId>)>>,
    /// What its line of the access log says, if there is one to be.
    record: RefCell<Option<Box<Record>>>,
    idle: Cell<Duration>,
    /// It may have less time than it had.
    hurried: Cell<bool>,
    moved_at: Cell<Instant>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("key", &self.key)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

/// A way to a target.
#[derive(Debug)]
struct Link {
    socket: Rc<Socket>,
    lease: Lease,
    group: Arc<Group>,
    /// How often the check of the target had begun to fail when it was chosen.
    falls: u32,
    asked: Cell<u64>,
    answered: Cell<u64>,
    /// Since when the target has been silent: since the last answer, or since it was chosen.
    silent_since: Cell<Instant>,
}

impl Link {
    /// Answers that may still come.
    fn expected(&self) -> u64 {
        let responses = self.group.settings().udp.responses;
        responses.map_or(u64::MAX, |responses| {
            let asked_for = self.asked.get().saturating_mul(u64::from(responses));
            asked_for.saturating_sub(self.answered.get())
        })
    }

    /// True if answers are missing for so long that somebody else should be asked.
    fn is_mute(&self) -> bool {
        self.group.settings().udp.responses.is_some()
            && self.expected() > 0
            && self.silent_since.get().elapsed() > PATIENCE
    }

    fn is_dead(&self) -> bool {
        Watch::since(self.lease.target().state(), self.falls).is_dead()
    }

    /// One that tries a target has gone on for long enough without an error: some targets never answer.
    fn look_at_trial(&self) {
        if self.lease.is_trial() && self.silent_since.get().elapsed() >= TRIAL {
            self.lease.serves(Instant::now());
        }
    }

    /// Gives the target back; `reachable` if nothing says otherwise.
    fn finish(self, reachable: bool) {
        let outcome = match (reachable, self.answered.get()) {
            (false, _) => Outcome::ConnectFailed,
            // Whoever sends it nonsense can make a target silent.
            (true, 0) => Outcome::ClientGone,
            (true, _) => Outcome::Ok,
        };
        self.lease.finish(Instant::now(), outcome);
    }
}

/// What there is to do.
enum Step {
    /// Something has come from the target.
    Receive,
    /// There is another way to a target, or none.
    Relinked,
    /// The flow is over.
    End,
}

/// Passes on the answers until the flow is over.
pub(super) async fn serve(worker: Rc<Worker>, place: Rc<Place>, flow: Rc<Flow>) {
    let mut slot = IdleSlot::new(&worker.idlers);
    let mut alarm = Alarm::new(flow.idle.get());
    let mut full = 0;
    loop {
        let socket = flow.socket();
        let step = {
            let mut heard = pin!(hear(socket.as_deref()));
            poll_fn(|cx| {
                slot.register(cx.waker());
                flow.keep_waker(cx.waker());
                flow.unlink_lost();
                if flow.is_over() {
                    Poll::Ready(Step::End)
                } else if !flow.is_socket(socket.as_ref()) {
                    Poll::Ready(Step::Relinked)
                } else if heard.as_mut().poll(cx).is_ready() {
                    Poll::Ready(Step::Receive)
                } else {
                    flow.poll_quiet(cx, &place, &mut alarm).map(|()| Step::End)
                }
            })
            .await
        };
        match step {
            Step::Receive if flow.take_answers(&place, full > 0) => full += 1,
            Step::Receive => full = 0,
            Step::Relinked => {
                full = 0;
                give_back(&worker, socket);
            }
            Step::End => {
                place.flows.borrow_mut().remove(&flow);
                flow.end();
                flow.write_line(&worker);
                return give_back(&worker, socket);
            }
        }
        if full == BATCHES_PER_TURN {
            full = 0;
            yield_now().await;
        }
    }
}

/// Lets another flow have the socket.
fn give_back(worker: &Worker, socket: Option<Rc<Socket>>) {
    if let Some(socket) = socket.and_then(Rc::into_inner) {
        worker.spare_sockets.give(socket);
    }
}

/// Waits for what a socket has to tell.
async fn hear(socket: Option<&Socket>) {
    match socket {
        // An error here shows again when something is received.
        Some(socket) => drop(socket.news().await),
        None => pending().await,
    }
}

impl Flow {
    /// A flow without a target yet.
    pub(super) fn new(key: FlowKey, admission: Admission, record: Option<Box<Record>>) -> Self {
        Self {
            key,
            listener: Arc::clone(admission.listener()),
            admission: Cell::new(Some(admission)),
            link: RefCell::new(None),
            refused: RefCell::new(None),
            record: RefCell::new(record),
            idle: Cell::new(Duration::ZERO),
            hurried: Cell::new(true),
            moved_at: Cell::new(Instant::now()),
            over: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Whose it is.
    pub(super) fn key(&self) -> &FlowKey {
        &self.key
    }

    /// True once nothing moves in it any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// When something moved in it last.
    pub(super) fn moved_at(&self) -> Instant {
        self.moved_at.get()
    }

    /// Ends it: the target and the place at the listener are free at once, the socket a moment later.
    pub(super) fn end(&self) {
        self.over.set(true);
        if let Some(link) = self.link.take() {
            link.finish(true);
        }
        drop(self.admission.take());
        self.wake();
    }

    /// Lets it look at what has changed.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn touch(&self) {
        self.moved_at.set(Instant::now());
    }

    /// True if it has a way to a target.
    pub(super) fn is_linked(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// Finds a target, and a way to it. One that could not be reached is chosen again only if there is no other.
    fn link(&self, worker: &Worker, listener: &SharedListener) -> Result<(), Cause> {
        let current = listener.current.load();
        let mut met = None;
        let asked = (self.key.peer, None);
        let group = tcp::route(worker, &current, asked, |rule| met = Some(Arc::clone(rule)));
        let group = group.ok_or(Cause::Refused)?;
        let lease = self.pick(worker, &group)?;
        let target = lease.target();
        self.note(|record| {
            if record.group.is_none() {
                record.tell_rule(&worker.pen, met.as_deref());
            }
            record.group = Some(Arc::clone(&group));
            record.attempt(Arc::clone(target));
        });
        let falls = target.state().falls();
        let socket = match worker.spare_sockets.connect(target.settings().address) {
            Ok(socket) => socket,
            Err(error) if sockets::is_used_up(&error) => return Err(Cause::UsedUp),
            Err(_) => {
                self.refuse(&group, target.id());
                lease.finish(Instant::now(), Outcome::ConnectFailed);
                return Err(Cause::ConnectFailed);
            }
        };
        listener.count_request(worker.index, false);
        self.idle.set(group.settings().udp.idle);
        self.hurried.set(true);
        *self.link.borrow_mut() = Some(Link {
            socket: Rc::new(socket),
            lease,
            group,
            falls,
            asked: Cell::new(0),
            answered: Cell::new(0),
            silent_since: Cell::new(Instant::now()),
        });
        self.wake();
        Ok(())
    }

    fn pick(&self, worker: &Worker, group: &Arc<Group>) -> Result<Lease, Cause> {
        // The address is all a datagram shows.
        let by_source = group.hash_key() == Some(&HashKey::Source);
        let key = by_source.then(|| PickKey::of_address(self.key.peer.ip()));
        let refused = self.refused.borrow();
        let tried = match &*refused {
            Some((of, tried)) if Arc::ptr_eq(of, group) => &tried[..],
            Some(_) | None => &[],
        };
        let pick = |tried| group.try_pick(Instant::now(), worker.random(), key, tried);
        let picked = match pick(tried) {
            Err(NoPick::Nobody) if !tried.is_empty() => pick(&[]),
            picked => picked,
        };
        picked.map_err(|none| match none {
            NoPick::Nobody => Cause::NoTarget,
            // A datagram does not wait.
            NoPick::Full => Cause::QueueFull,
        })
    }

    fn refuse(&self, group: &Arc<Group>, target: TargetId) {
        let mut refused = self.refused.borrow_mut();
        match &mut *refused {
            Some((of, tried)) if Arc::ptr_eq(of, group) => {
                if !tried.contains(&target) {
                    tried.push(target);
                }
            }
            Some(_) | None => *refused = Some((Arc::clone(group), vec![target])),
        }
    }

    /// Does something with what the line of the access log will say.
    fn note(&self, work: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut *self.record.borrow_mut() {
            work(record);
        }
    }

    /// What its line of the access log will say went wrong last.
    pub(super) fn blame(&self, cause: Cause) {
        self.note(|record| record.fault = Some((cause, "")));
    }

    /// Writes its line of the access log; a flow that found no target has none.
    fn write_line(&self, worker: &Worker) {
        let record = self.record.take();
        if let Some(mut record) = record.filter(|record| record.target.is_some()) {
            record.ended(self.moved_at.get());
            let current = self.listener.current.load();
            record.write(&worker.pen, &current, self.key.peer);
        }
    }

    /// Leaves a target that could not be reached.
    fn unlink_refused(&self) {
        if let Some(link) = self.link.take() {
            self.listener.causes.count(Cause::Unreachable);
            self.blame(Cause::Unreachable);
            self.refuse(&link.group, link.lease.target().id());
            link.finish(false);
        }
    }

    /// Leaves a target that is found dead, or that must be left by now.
    fn unlink_lost(&self) {
        let lost = |link: &Link| {
            link.is_dead() || Watch::since(link.lease.target().state(), link.falls).must_leave()
        };
        if self.link.borrow().as_ref().is_some_and(lost)
            && let Some(link) = self.link.take()
        {
            link.finish(true);
        }
    }

    /// Leaves a target that does not answer: a client that asks again is sent to another one. Nothing is held against
    /// it, as nonsense has no answer either.
    fn unlink_mute(&self) {
        if self.link.borrow().as_ref().is_some_and(Link::is_mute)
            && let Some(link) = self.link.take()
        {
            self.refuse(&link.group, link.lease.target().id());
            link.finish(true);
        }
    }

    /// Sees to it that there is a way to a target, before something is sent; or why there is none.
    pub(super) fn prepare(&self, worker: &Worker, listener: &SharedListener) -> Result<(), Cause> {
        self.touch();
        self.unlink_lost();
        self.unlink_mute();
        if let Some(link) = &*self.link.borrow() {
            link.look_at_trial();
        }
        self.reach(worker, listener)
    }

    /// The same, of those targets only that can be reached at all.
    fn reach(&self, worker: &Worker, listener: &SharedListener) -> Result<(), Cause> {
        for _ in 0..MAX_TARGETS {
            if self.is_linked() {
                return Ok(());
            }
            match self.link(worker, listener) {
                Ok(()) | Err(Cause::ConnectFailed) => {}
                Err(cause) => return Err(cause),
            }
        }
        self.is_linked().then_some(()).ok_or(Cause::ConnectFailed)
    }

    /// Sends to the target, another one if that cannot be reached; or why not, and how many were lost.
    pub(super) fn send(
        &self,
        worker: &Worker,
        listener: &SharedListener,
        datagrams: &[&[u8]],
    ) -> Result<(), (Cause, usize)> {
        let mut left = datagrams;
        for _ in 0..MAX_TARGETS {
            let reached = self.reach(worker, listener);
            reached.map_err(|cause| (cause, left.len()))?;
            let (sent, error) = self.send_once(left);
            self.listener.count_datagrams(worker.index, sent, 0);
            left = &left[sent..];
            let Some(error) = error else {
                return Ok(());
            };
            match error.raw_os_error() {
                _ if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err((Cause::TargetFull, left.len()));
                }
                Some(nix::libc::EMSGSIZE) => return Err((Cause::TooLong, left.len())),
                Some(_) | None => self.unlink_refused(),
            }
        }
        Err((Cause::Unreachable, left.len()))
    }

    /// Sends once; how many were taken, and why no more.
    fn send_once(&self, datagrams: &[&[u8]]) -> (usize, Option<io::Error>) {
        let link = self.link.borrow();
        let Some(link) = &*link else {
            return (0, None);
        };
        let (sent, error) = batch::send(&link.socket, datagrams);
        link.asked.set(link.asked.get() + sent as u64);
        self.note(|record| {
            record.bytes_in += octets(&datagrams[..sent]);
            record.clock(self.moved_at.get(), false);
        });
        (sent, error)
    }

    fn socket(&self) -> Option<Rc<Socket>> {
        let link = self.link.borrow();
        link.as_ref().map(|link| Rc::clone(&link.socket))
    }

    fn is_socket(&self, socket: Option<&Rc<Socket>>) -> bool {
        let link = self.link.borrow();
        match (link.as_ref(), socket) {
            (Some(link), Some(socket)) => Rc::ptr_eq(&link.socket, socket),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn keep_waker(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Ready once nothing has moved for too long.
    fn poll_quiet(&self, cx: &mut Context<'_>, place: &Place, alarm: &mut Alarm) -> Poll<()> {
        // The time is looked at only when none may be left, or less than before.
        if place.close_at.get().is_none() && !self.hurried.take() {
            ready!(alarm.poll(cx));
        }
        loop {
            let quiet_at = self.moved_at.get() + self.idle.get();
            let end_at = place.close_at.get().map_or(quiet_at, |at| at.min(quiet_at));
            let left = end_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            alarm.set(left);
            ready!(alarm.poll(cx));
        }
    }

    /// Receives once, of a socket known to have `many` or not; true if there may be more.
    fn take_answers(&self, place: &Rc<Place>, many: bool) -> bool {
        let linked = self.link.borrow();
        let Some(link) = &*linked else {
            return false;
        };
        let received = batch::receive_connected(&link.socket, many, |answers| {
            self.pass_on(place, link, answers);
        });
        if link.expected() == 0 {
            self.over.set(true);
        }
        drop(linked);
        received.unwrap_or_else(|_| {
            self.unlink_refused();
            false
        })
    }

    /// Sends answers to the client, no more than it has asked for.
    fn pass_on(&self, place: &Rc<Place>, link: &Link, answers: &[Datagram<'_>]) {
        self.touch();
        self.refused.take();
        let expected = usize::try_from(link.expected()).unwrap_or(usize::MAX);
        let whole = answers.iter().filter(|answer| !answer.truncated);
        let truncated = answers.len() - whole.clone().count();
        let (mut count, mut bytes) = (0, 0);
        for answer in whole.take(expected) {
            place.answer(&self.key, answer.bytes);
            count += 1;
            bytes += answer.bytes.len() as u64;
        }
        link.answered.set(link.answered.get() + count as u64);
        if count > 0 && link.lease.is_trial() {
            link.lease.serves(Instant::now());
        }
        link.silent_since.set(self.moved_at.get());
        self.note(|record| {
            record.bytes_out += bytes;
            record.fault = None;
            record.clock(self.moved_at.get(), true);
        });
        let causes = &self.listener.causes;
        causes.count_many(Cause::Truncated, truncated);
        causes.count_many(Cause::Unasked, answers.len() - truncated - count);
    }
}

fn octets(datagrams: &[&[u8]]) -> u64 {
    datagrams.iter().map(|each| each.len() as u64).sum()
}
