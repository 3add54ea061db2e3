//! A client that speaks HTTP/2: its streams, its limits, its end.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use balancer::Listener;
use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use tokio::task::yield_now;

use crate::alarm::Alarm;
use crate::cause::Cause;
use crate::http;
use crate::http2::conduit::Conduit;
use crate::http2::gathered::Gathered;
use crate::http2::lane::Lanes;
use crate::http2::manners::{self, Manners};
use crate::http2::metered::{Frames, Metered};
use crate::http2::request::Malformed;
use crate::http2::stream::End;
use crate::idlers::IdleSlot;
use crate::listener::Admission;
use crate::stream::Stream;
use crate::tls::facts::Facts;
use crate::worker::Worker;

/// What a client may send of a request's body before it was passed on.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same of all its requests together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one frame.
const FRAME_BYTES: u32 = 16 * 1024;
/// Bytes of answers that wait in the connection, of one stream.
const SEND_BUFFER: usize = 32 * 1024;
/// Streams the client has reset before they were looked at.
const PENDING_RESETS: usize = 50;
/// Streams the client made us reset.
const LOCAL_RESETS: usize = 200;
/// Streams we have reset whose late frames are still put up with, and for how long.
const REMEMBERED_RESETS: usize = 50;
const REMEMBERED: Duration = Duration::from_secs(2);
/// How long a connection without streams keeps what the next ones can be served in.
const LANES_KEPT: Duration = Duration::from_secs(1);
/// How long a client may still finish what it has begun, once it was told that the connection ends and nothing is left.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// What the streams of one client share.
pub(crate) struct Client {
    worker: Rc<Worker>,
    admission: Admission,
    peer: SocketAddr,
    local: SocketAddr,
    /// How the connection is encrypted, if it is.
    pub(crate) facts: Option<Rc<Facts>>,
    /// What its streams are served in.
    pub(crate) lanes: Lanes,
    manners: RefCell<Manners>,
    /// What is wrong with the frames that came last; none after them is read.
    fault: Cell<Option<Reason>>,
    /// The header block of which a part is still to come.
    unfinished: Cell<Option<u32>>,
}

impl Client {
    /// Serves what comes through the conduit as a connection of this client.
    pub(crate) fn serve(&self, conduit: Conduit) -> impl Future<Output = ()> + use<> {
        let ends = (self.peer, self.local);
        let admission = self.admission.part();
        let stream = Stream::Conduit(conduit);
        http::connection::serve(Rc::clone(&self.worker), stream, ends, admission, None)
    }

    /// A number nobody can guess.
    pub(crate) fn nonce(&self) -> u128 {
        self.worker.request_id()
    }

    /// How long the client may take nothing of an answer.
    pub(crate) fn body_idle(&self) -> Duration {
        let current = self.admission.listener().current.load();
        current.settings().timeouts.body_idle
    }

    /// A stream has ended.
    pub(crate) fn ended(&self, how: End) {
        let mut manners = self.manners.borrow_mut();
        match how {
            End::Served => manners.earn(),
            // What is left of the allowance is looked at when the next stream comes.
            End::Reset => manners.spend(Instant::now(), manners::RESET),
            End::Left => {
                manners.spend(Instant::now(), manners::RESET);
                self.note(Cause::ClientGone, "answer not taken");
            }
            End::Cut => {}
        }
    }

    /// The client has sent frames that only make work.
    pub(crate) fn made_work(&self, now: Instant, frames: u32) {
        let cost = frames.saturating_mul(manners::FRAME);
        self.manners.borrow_mut().spend(now, cost);
    }

    /// The client has sent a frame no connection goes on after.
    pub(crate) fn failed(&self, reason: Reason) {
        self.fault.set(Some(reason));
    }

    /// A part of this header block is still to come.
    pub(crate) fn has_unfinished(&self, block: Option<u32>) {
        self.unfinished.set(block);
    }

    /// What is wrong with the frames that came last.
    pub(crate) fn fault(&self) -> Option<Reason> {
        self.fault.get()
    }

    /// Counts and logs a request that was not passed on.
    pub(crate) fn note_malformed(&self, malformed: Malformed) {
        self.note(Cause::Malformed, malformed.0);
    }

    /// Counts a connection that had to be ended, and logs that at most once a second.
    fn note_cut(&self, cause: Cause, detail: &str) {
        self.note(cause, detail);
        if self.worker.cuts.is_due(Instant::now()) {
            let listener = &self
                .admission
                .listener()
                .current
                .load()
                .settings()
                .name
                .clone();
            tracing::info!(
                listener,
                reason = cause.as_str(),
                detail,
                "http/2 client cut off"
            );
        }
    }

    fn note(&self, cause: Cause, detail: &str) {
        let listener = self.admission.listener();
        listener.causes.count(cause);
        let listener = &listener.current.load().settings().name.clone();
        tracing::debug!(listener, client = %self.peer, reason = cause.as_str(), detail, "http/2");
    }
}

/// Serves one connection; `alarm` says how long the client has left to begin, if some of its time is over.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    stream: Stream,
    (peer, local): (SocketAddr, SocketAddr),
    admission: Admission,
    alarm: Option<Alarm>,
) {
    let listener = admission.listener().current.load_full();
    let slot = IdleSlot::new(&worker.idlers);
    let facts = stream.facts().cloned();
    let client = Rc::new(Client {
        worker,
        admission,
        peer,
        local,
        facts,
        lanes: Lanes::default(),
        manners: RefCell::new(Manners::new(Instant::now())),
        fault: Cell::new(None),
        unfinished: Cell::new(None),
    });
    let begins_within = listener.settings().timeouts.header;
    let mut alarm = alarm.unwrap_or_else(|| Alarm::new(begins_within));
    let gathered = Gathered::new(stream);
    let metered = Metered {
        stream: gathered.clone(),
        client: Rc::clone(&client),
        frames: Frames::new(),
    };
    let mut handshake = pin!(limits(&listener).handshake::<_, Bytes>(metered));
    let begun = poll_fn(|cx| {
        if let Poll::Ready(begun) = handshake.as_mut().poll(cx) {
            return Poll::Ready(begun.map_err(|_| Cause::Malformed));
        }
        // A connection that is gone says so when it is read from.
        let _ = gathered.poll_out(cx);
        alarm.poll(cx).map(|()| Err(Cause::HeaderTimeout))
    })
    .await;
    match begun {
        Ok(connection) => {
            let mut serving = Serving {
                client,
                connection,
                gathered,
                alarm,
                slot,
                busy: true,
                resting: false,
                leaving: false,
                cut: false,
                half_sent: None,
            };
            while poll_fn(|cx| Poll::Ready(serving.poll(cx)))
                .await
                .is_pending()
            {
                woken().await;
                // Other streams may have something to say, too: it goes out together.
                yield_now().await;
            }
            serving.client.lanes.close();
        }
        Err(cause) => client.note(cause, "handshake"),
    }
}

/// Ready when something has happened to the task.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| match std::mem::replace(&mut waited, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

fn limits(listener: &Listener) -> Builder {
    let limits = &listener.settings().limits;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .max_frame_size(FRAME_BYTES)
        .enable_connect_protocol()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS))
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(REMEMBERED);
    builder
}

/// A connection that is being served.
struct Serving {
    client: Rc<Client>,
    connection: Connection<Metered, Bytes>,
    /// Where what is said waits until the end of a turn.
    gathered: Gathered,
    alarm: Alarm,
    slot: IdleSlot,
    /// There are streams.
    busy: bool,
    /// There have been no streams for so long that nothing is kept ready for them.
    resting: bool,
    /// The client was told that the connection ends.
    leaving: bool,
    /// The client was told to calm down; what it still sends is not looked at.
    cut: bool,
    /// A header block of which a part is still to come, and until when.
    half_sent: Option<(u32, Alarm)>,
}

impl Serving {
    /// Ready once the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ended = self.poll_streams(cx);
        match self.gathered.poll_out(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => ended,
        }
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    if !self.must_cut() && !self.cut {
                        self.client.lanes.serve(&self.client, (request, respond));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    // What it was cut for has been said.
                    if !error.is_io() && !self.cut {
                        let cause = match error.reason() {
                            Some(Reason::ENHANCE_YOUR_CALM) => Cause::FrameLimit,
                            _ => Cause::Malformed,
                        };
                        self.client.note_cut(cause, "protocol error");
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                // What was read just now may have been too much.
                Poll::Pending if self.must_cut() || self.is_late(cx) => {}
                Poll::Pending => break,
            }
        }
        if self.cut {
            // Whoever does not take the words is left without.
            return self.alarm.poll(cx);
        }
        self.slot.register(cx.waker());
        if self.client.admission.listener().is_closing() && !self.leaving {
            self.leave();
            // The goodbye has to be written.
            cx.waker().wake_by_ref();
        }
        self.poll_idle(cx)
    }

    /// Tells a client without manners to calm down, or one that does not know the protocol what it did, once; true if that
    /// is just done.
    fn must_cut(&mut self) -> bool {
        match self.client.fault() {
            _ if self.cut => return false,
            Some(reason) => self.cut(reason, Cause::Malformed, "protocol error"),
            None if self.client.manners.borrow().is_exhausted() => {
                let reason = Reason::ENHANCE_YOUR_CALM;
                self.cut(reason, Cause::FrameLimit, "bad manners");
            }
            None => return false,
        }
        true
    }

    /// True if the client was just cut off because the rest of a header block did not come in time.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(block) = self.client.unfinished.get().filter(|_| !self.cut) else {
            self.half_sent = None;
            return false;
        };
        if self
            .half_sent
            .as_ref()
            .is_none_or(|(sent, _)| *sent != block)
        {
            let current = self.client.admission.listener().current.load();
            let alarm = Alarm::new(current.settings().timeouts.header);
            self.half_sent = Some((block, alarm));
        }
        let alarm = self.half_sent.as_mut().map(|(_, alarm)| alarm);
        let late = alarm.is_some_and(|alarm| alarm.poll(cx).is_ready());
        if late {
            let reason = Reason::ENHANCE_YOUR_CALM;
            self.cut(reason, Cause::HeaderTimeout, "header block");
        }
        late
    }

    /// Ends the connection; what it still sends is not looked at.
    fn cut(&mut self, reason: Reason, cause: Cause, detail: &'static str) {
        self.cut = true;
        self.client.note_cut(cause, detail);
        self.connection.abrupt_shutdown(reason);
        self.alarm.set(CLOSING_GRACE);
    }

    /// A connection without streams is left after a while.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let busy = self.connection.has_streams();
        if busy != std::mem::replace(&mut self.busy, busy) && !busy {
            self.resting = false;
            self.alarm.set(LANES_KEPT.min(self.keepalive()));
        }
        if busy || self.alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if !std::mem::replace(&mut self.resting, true) {
            self.client.lanes.release();
            self.alarm.set(self.keepalive().saturating_sub(LANES_KEPT));
            if self.alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        if self.leaving {
            return Poll::Ready(());
        }
        self.leave();
        // The goodbye has to be written.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn keepalive(&self) -> Duration {
        if self.leaving {
            return CLOSING_GRACE;
        }
        let current = self.client.admission.listener().current.load();
        current.settings().timeouts.keepalive
    }

    /// Tells the client that no new streams are taken; those it has are served to their end.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.connection.graceful_shutdown();
            self.alarm.set(CLOSING_GRACE);
        }
    }
}
