//! A client connection: reads requests one after the other, has each answered, and ends as it should.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use balancer::{Group, Listener, PickKey};
use tokio::io::AsyncWrite as _;

use crate::access_log::record::Slip;
use crate::alarm::Alarm;
use crate::buffers::{Buffer, with_scratch};
use crate::cause::Cause;
use crate::http::answer::{self, Refusal};
use crate::http::body::{Body, Framing};
use crate::http::changes::{RequestChanges, edit_trailers};
use crate::http::chunked::Emit;
use crate::http::direct::{self, Direct};
use crate::http::exchange::{ClientSide, Sending};
use crate::http::fields::hex;
use crate::http::grpc;
use crate::http::head::{self, FieldRoom, MAX_FIELDS};
use crate::http::origin;
use crate::http::request::{self, ClientFacts, Rejection, RequestFacts, RequestHead};
use crate::http::routing::{self, Asking, Destination};
use crate::http::scan::{HeadLimits, HeadScan, Scanned};
use crate::http::serving;
use crate::http::sticky::Sticking;
use crate::idlers::IdleSlot;
use crate::listener::{Admission, Tunnel};
use crate::stream::Stream;
use crate::worker::Worker;

/// What is read of a request that is not wanted any more, so that the answer is not lost to a reset.
const LINGER_BYTES: usize = 64 * 1024;
/// How long a client is waited for that may still be sending.
const LINGER: Duration = Duration::from_secs(2);
/// How long an idle client may still send a request to a listener that is closing.
const CLOSING_GRACE: Duration = Duration::from_secs(1);
/// The same where the address goes to the other node: it must be heard of before.
const PARTING_GRACE: Duration = Duration::from_millis(50);
/// What is read at a time while a head is waited for. What comes of a body with it is copied; the rest goes on from where it is
/// read to.
const HEAD_READ_BYTES: usize = 16 * 1024;
/// Bytes of a first line besides the request target: method, version, spaces.
const FIRST_LINE_REST: usize = 64;

/// A client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Sockets and timer.
    pub(crate) client: ClientSide,
    /// What the connections of this thread share.
    pub(crate) worker: Rc<Worker>,
    /// Settings in force for the request at hand.
    pub(crate) listener: Arc<Listener>,
    admission: Admission,
    /// Where it is woken when its listener closes or its target must be left.
    pub(crate) slot: IdleSlot,
    peer: SocketAddr,
    pub(crate) local: SocketAddr,
    trusted: bool,
    /// The time for the first head has begun before the head was waited for.
    late: bool,
    /// Requests so far, as far as they can be counted in so little room: there are many connections.
    served: u16,
    /// When it was opened.
    opened: Tick,
}

/// A time in hundredths of a second, as far as a connection may become old: about 497 days.
#[derive(Clone, Copy, Debug)]
struct Tick(u32);

impl Tick {
    fn now() -> Self {
        static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self((EPOCH.elapsed().as_millis() / 10) as u32)
    }

    fn elapsed(self) -> Duration {
        let ticks = Self::now().0.wrapping_sub(self.0);
        Duration::from_millis(u64::from(ticks) * 10)
    }
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// The next request is read.
    Next,
    /// It ends, all that was sent having been read.
    Close,
    /// It ends, but the client may be sending still.
    Linger,
    /// It ends with a reset: the client must not take the answer for whole.
    Reset,
}

/// A request that was read, with the group that is to answer it.
pub(crate) struct Request {
    /// The request as it goes out.
    pub(crate) sending: Sending,
    /// Where it goes.
    pub(crate) group: Arc<Group>,
    /// What the group picks by, if it hashes and the request has it.
    pub(crate) key: Option<PickKey>,
    /// What the client is bound to.
    pub(crate) sticking: Sticking,
}

/// What came of waiting for a request.
enum Next {
    /// In a box: it goes through several hands.
    Request(Box<Request>),
    Direct(Box<Direct>),
    /// A rule wants the connection closed.
    Close,
    /// The client has nothing more to say, or said nothing for too long.
    End,
    Refused(Refusal),
}

/// How far a head was looked at of which something is missing; few connections wait for the rest of one.
type Scan = Option<Box<HeadScan>>;

/// Serves one connection between the client's address and ours; `alarm` says how long the client has left for its first
/// head, if some of that time is over.
pub(crate) fn serve(
    worker: Rc<Worker>,
    stream: Stream,
    (peer, local): (SocketAddr, SocketAddr),
    admission: Admission,
    alarm: Option<Alarm>,
) -> impl Future<Output = ()> {
    let listener = admission.listener().current.load_full();
    let late = alarm.is_some();
    let mut connection = Connection {
        client: ClientSide {
            stream,
            input: Buffer::default(),
            alarm: alarm.unwrap_or_else(|| Alarm::new(listener.settings().timeouts.header)),
            record: Slip::default(),
        },
        slot: IdleSlot::new(&worker.idlers),
        worker,
        peer,
        local,
        trusted: is_trusted(&listener, peer),
        late,
        served: 0,
        opened: Tick::now(),
        listener,
        admission,
    };
    // Here and not in functions that are called, each of which would keep the connection's place: there are many connections that
    // wait for their next request. For the same reason all other waits are apart.
    async move {
        let mut begun = false;
        loop {
            let serving = match connection.next(begun).await {
                Next::End => return,
                next => Box::into_pin(boxed(|| connection.serve(next))),
            };
            let after = serving.await;
            let ended_at = connection.end_record();
            match after {
                After::Next if connection.client.stream.settle().is_err() => return,
                After::Next => begun = connection.another(ended_at.unwrap_or_else(Instant::now)),
                After::Close if connection.closing_says_it() => return,
                After::Close => return Box::pin(connection.say_end()).await,
                After::Linger => return Box::pin(connection.linger()).await,
                After::Reset => return connection.client.stream.reset_on_close(),
            }
        }
    }
}

/// What is made, in a box. The box is there first, so that what is large can be made in it and need not be moved.
#[inline(always)]
fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}

fn is_trusted(listener: &Listener, peer: SocketAddr) -> bool {
    listener.settings().trusts(peer.ip())
}

impl Connection {
    /// The client's address, and the one of ours it has connected to.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.peer, self.local)
    }

    async fn serve(&mut self, next: Next) -> After {
        match next {
            Next::Request(request) => serving::serve(self, request).await,
            Next::Direct(request) => direct::serve(self, *request).await,
            Next::Close => {
                self.client.record.close_by_rule();
                After::Close
            }
            Next::Refused(refusal) => self.answer(&refusal, None, true).await,
            Next::End => After::Close,
        }
    }

    /// True once the listener wants its connections to end, or their address goes, or it has served for long enough.
    pub(crate) fn is_closing(&self) -> bool {
        self.admission.listener().is_closing()
            || self.slot.is_parting(self.local.ip())
            || self.is_spent()
    }

    /// True if it has had as many requests as it may, or is as old. A stream is over after one anyway.
    fn is_spent(&self) -> bool {
        let settings = self.listener.settings();
        let requests = settings.limits.requests;
        let spent = requests.is_some_and(|requests| u32::from(self.served) >= requests)
            || (settings.timeouts.age).is_some_and(|age| self.opened.elapsed() >= age);
        spent && !self.client.stream.is_conduit()
    }

    /// How long it may still be idle, once it is to end.
    fn grace(&self) -> Option<Duration> {
        let local = self.local.ip();
        match (self.slot.is_cut(local), self.slot.is_parting(local)) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => Some(PARTING_GRACE),
            (false, false) => {
                let closing = self.admission.listener().is_closing();
                closing.then_some(CLOSING_GRACE)
            }
        }
    }

    /// Counts the connection as a tunnel, as long as what is given back lives.
    pub(crate) fn tunnel(&self) -> Tunnel {
        self.admission.listener().open_tunnel()
    }

    /// Takes over what a reload has changed; a request keeps what it started with.
    fn refresh(&mut self) {
        let current = self.admission.listener().current.load();
        if !Arc::ptr_eq(&current, &self.listener) {
            self.trusted = is_trusted(&current, self.peer);
            self.listener = Arc::clone(&current);
        }
    }

    /// Sets the time for the request after one that was over at `now`: that of an idle connection, unless some of it is here
    /// already, which is what is given back.
    fn another(&mut self, now: Instant) -> bool {
        self.late = false;
        let begun = !self.client.input.is_empty();
        let timeouts = &self.listener.settings().timeouts;
        if begun {
            self.client.alarm.set_at(now, timeouts.header);
            self.client.record.begin(now);
        } else {
            self.client.alarm.set_at(now, timeouts.keepalive);
        }
        begun
    }

    /// Waits for the next request. `pipelined`: some of it is here already.
    fn next(&mut self, mut pipelined: bool) -> impl Future<Output = Next> {
        let mut scan = None;
        poll_fn(move |cx| {
            loop {
                if std::mem::take(&mut pipelined)
                    && let Some(next) = self.take_from_input(&mut scan, false)
                {
                    return Poll::Ready(next);
                }
                match self.poll_more(cx, &mut scan) {
                    Poll::Ready(Some(next)) => return Poll::Ready(next),
                    Poll::Ready(None) => {}
                    Poll::Pending => break,
                }
            }
            let idle = self.client.input.is_empty();
            if idle {
                self.slot.register(cx.waker());
                if let Some(grace) = self.grace() {
                    self.client.alarm.shorten(grace);
                }
            }
            self.client.alarm.poll(cx).map(|()| {
                if idle {
                    Next::End
                } else {
                    Next::Refused(Cause::HeaderTimeout.into())
                }
            })
        })
    }

    /// Reads once; `Some` if that decides what comes next.
    fn poll_more(&mut self, cx: &mut Context<'_>, scan: &mut Scan) -> Poll<Option<Next>> {
        with_scratch(|scratch| {
            let scratch = &mut scratch[..HEAD_READ_BYTES];
            let count = match ready!(self.client.stream.poll_take(cx, scratch)) {
                Ok(count) if count > 0 => count,
                Ok(_) | Err(_) => return Poll::Ready(Some(Next::End)),
            };
            if self.client.input.is_empty() {
                self.refresh();
                let limit = self.listener.settings().timeouts.header;
                let now = match self.late {
                    true => Instant::now(),
                    false => self.client.alarm.set(limit),
                };
                self.client.record.begin(now);
                let next = self.take(&mut scratch[..count], scan);
                if next.is_none() {
                    self.client.input.keep(&scratch[..count]);
                }
                return Poll::Ready(next);
            }
            self.client.input.keep(&scratch[..count]);
            Poll::Ready(self.take_from_input(scan, true))
        })
    }

    /// `waited`: the head began with an earlier read.
    fn take_from_input(&mut self, scan: &mut Scan, waited: bool) -> Option<Next> {
        self.refresh();
        let mut input = std::mem::take(&mut self.client.input);
        let next = self.take(input.as_mut_slice(), scan);
        if waited && next.is_some() {
            self.client.record.head_whole(Instant::now());
        }
        if next.is_none() {
            self.client.input = input;
        }
        next
    }

    /// Takes a request from `data` if its head is complete; what follows the request is left in the client's input.
    fn take(&mut self, data: &mut [u8], scan: &mut Scan) -> Option<Next> {
        let limits = &self.listener.settings().limits;
        let url_bytes = limits.url_bytes as usize;
        let limits = HeadLimits {
            bytes: limits.header_bytes as usize,
            first_line: url_bytes + FIRST_LINE_REST,
            fields: usize::from(limits.header_fields).min(MAX_FIELDS),
        };
        let mut so_far = scan.take().map_or_else(HeadScan::default, |scan| *scan);
        let mut room = FieldRoom::lend();
        if so_far.is_fresh()
            && let Some((line, end)) = head::of_request(data, &mut room, &limits)
        {
            let (head, rest) = data.split_at_mut(end);
            let head = request::understand(head, &line, &room, url_bytes);
            let request = self.understand(head, end, rest);
            return Some(request.unwrap_or_else(Next::Refused));
        }
        match so_far.scan(data, &limits) {
            Scanned::More => {
                *scan = Some(Box::new(so_far));
                None
            }
            Scanned::Refused(error) => Some(Next::Refused(Rejection::from(error).into())),
            Scanned::Complete { start, end } => {
                let (head, rest) = data.split_at_mut(end);
                let head = request::parse(&mut head[start..], &mut room, url_bytes);
                let request = self.understand(head, end - start, rest);
                Some(request.unwrap_or_else(Next::Refused))
            }
        }
    }

    /// Makes a request of a head of `length` bytes and of those after it, which may be its body.
    fn understand(
        &mut self,
        head: Result<RequestHead<'_, '_>, Rejection>,
        length: usize,
        rest: &mut [u8],
    ) -> Result<Next, Refusal> {
        let http2 = self.client.stream.is_conduit();
        let listener = self.admission.listener();
        listener.count_request(self.worker.index, http2);
        self.served = self.served.saturating_add(1);
        self.client.record.bytes_in = length as u64;
        let head = head?;
        let settings = self.listener.settings();
        let limits = &settings.limits;
        let peer = self.peer.ip();
        let source = origin::client(&head, peer, self.trusted, &settings.trusted_proxies);
        let id = hex(self.worker.request_id());
        let closing = self.is_closing();
        let (pen, record) = (&self.worker.pen, &mut self.client.record);
        let ids = (head.believed_id(self.trusted), &id);
        record.tell_head(pen, &head, source, ids, http2);
        if let Some(facts) = self.client.stream.facts() {
            record.tell_encryption(pen, Some(facts), None);
        }
        if let (Framing::Length(length), Some(limit)) = (head.facts.framing, limits.body_bytes)
            && length > limit
        {
            return Err(Cause::BodyTooLarge.into());
        }
        let asking = Asking {
            listener: &self.listener,
            peer,
            source,
            trusted: self.trusted,
            local: self.local,
            https: self.client.stream.is_encrypted(),
            closing,
            worker: &self.worker,
        };
        let routed = self
            .worker
            .with_path_room(|room| routing::route(&head, &asking, room))?;
        record.tell_rule(pen, routed.rule.as_deref());
        let mut body = Body::new(head.facts.framing, Emit::Framed, limits.body_bytes);
        let passed = body.filter(rest)?;
        record.bytes_in += passed.consumed as u64;
        self.client.input.extend(&rest[passed.consumed..]);
        let facts = head.facts;
        let (group, key, sticking) = match routed.destination {
            Destination::Group {
                group,
                key,
                sticking,
            } => (group, key, sticking),
            Destination::Answer(status, answer) => {
                self.client.record.status = status;
                return Ok(Next::Direct(Box::new(Direct {
                    facts,
                    body,
                    answer,
                    closes: closing,
                })));
            }
            Destination::Nowhere => return Ok(Next::Close),
        };
        let mut out = Buffer::default();
        let client = ClientFacts {
            peer,
            local: self.local,
            https: self.client.stream.is_encrypted(),
            trusted: self.trusted,
            name: self
                .client
                .stream
                .facts()
                .and_then(|facts| facts.client.as_deref()),
        };
        let rule = routed.rule.as_deref();
        let changes = RequestChanges {
            edits: rule.map(|rule| &rule.settings().request_headers),
            hidden: [
                rule.and_then(|rule| rule.settings().sticky.as_ref()),
                group.settings().sticky.as_ref(),
            ]
            .map(|sticky| sticky.map(|sticky| sticky.cookie.as_str())),
            id,
        };
        head.write(out.vec(), &client, &changes);
        let head_bytes = out.held();
        out.extend(&rest[..passed.kept]);
        out.extend(&edit_trailers(body.take_trailers(), changes.edits));
        let mut sending = Sending::new(head.method, facts, out, head_bytes, body);
        sending.changes.rule = routed.rule;
        sending.changes.hsts = asking.hsts();
        sending.changes.cookies = routed.cookies;
        Ok(Next::Request(boxed(|| Request {
            sending,
            group,
            key,
            sticking,
        })))
    }

    /// A request is over: it is accounted for, and its line is written. When that was, if there was one.
    fn end_record(&mut self) -> Option<Instant> {
        let record = &mut self.client.record;
        if self.client.stream.is_conduit() && record.is_begun() {
            self.admission.listener().http2.end(self.worker.index);
        }
        record.account(self.admission.listener(), self.worker.index);
        record.end(&self.worker.pen, &self.listener, self.peer)
    }

    /// Counts and logs what did not go well.
    pub(crate) fn note(&mut self, cause: Cause, detail: &'static str) {
        self.client.record.fault = Some((cause, detail));
        self.admission.listener().causes.count(cause);
        let listener = &self.listener.settings().name;
        tracing::debug!(listener, client = %self.peer, reason = cause.as_str(), detail, "request not served");
    }

    /// Sends an answer of our own. `unread`: the client may still be sending its request.
    pub(crate) async fn answer(
        &mut self,
        refusal: &Refusal,
        request: Option<&RequestFacts>,
        unread: bool,
    ) -> After {
        self.note(refusal.cause, refusal.detail);
        let is_call =
            request.is_some_and(|request| request.grpc) && self.client.stream.is_conduit();
        self.client.record.refused(refusal.status);
        let goes_on =
            request.is_some_and(|request| request.keep_alive) && !unread && !self.is_closing();
        let mut out = Buffer::default();
        if is_call {
            self.client.record.status = 200;
            self.client.record.grpc = Some(grpc::status(refusal));
            grpc::write(out.vec(), refusal);
        } else {
            answer::write(out.vec(), refusal, request, (!goes_on, self.trusted));
        }
        match (self.send(&mut out).await, goes_on, unread) {
            (false, _, _) => After::Close,
            (true, true, _) => After::Next,
            (true, false, true) => After::Linger,
            (true, false, false) => After::Close,
        }
    }

    /// Sends all of it; false if the client does not take it.
    pub(crate) async fn send(&mut self, out: &mut Buffer) -> bool {
        self.client
            .alarm
            .set(self.listener.settings().timeouts.body_idle);
        poll_fn(|cx| {
            while !out.is_empty() {
                match Pin::new(&mut self.client.stream).poll_write(cx, out.as_slice()) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.client.record.bytes_out += count as u64;
                        out.consume(count);
                    }
                    Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(false),
                    Poll::Pending => return self.client.alarm.poll(cx).map(|()| false),
                }
            }
            match Pin::new(&mut self.client.stream).poll_flush(cx) {
                Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
                Poll::Pending => self.client.alarm.poll(cx).map(|()| false),
            }
        })
        .await
    }

    /// True if being dropped is enough to say that nothing more comes.
    fn closing_says_it(&self) -> bool {
        self.client.stream.is_bare()
    }

    /// Says that nothing more comes. A client that takes nothing is not waited for long.
    async fn say_end(&mut self) {
        self.client.alarm.set(LINGER);
        poll_fn(|cx| {
            match Pin::new(&mut self.client.stream).poll_shutdown(cx) {
                // A client that is gone need not be told.
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => self.client.alarm.poll(cx),
            }
        })
        .await;
    }

    /// Says that nothing more comes, and goes on reading for a while: closing over unread bytes would be a reset, and
    /// a reset may overtake the answer.
    async fn linger(&mut self) {
        self.client.input.release();
        self.say_end().await;
        self.client.alarm.set(LINGER);
        let mut left = LINGER_BYTES;
        poll_fn(|cx| {
            while left > 0 {
                let read = with_scratch(|scratch| self.client.stream.poll_take(cx, scratch));
                match read {
                    Poll::Ready(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                    Poll::Ready(Ok(_) | Err(_)) => break,
                    Poll::Pending => return self.client.alarm.poll(cx),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Connection {
    /// A stream that its client resets ends in the middle of its request.
    fn drop(&mut self) {
        if !self.client.stream.is_conduit() || !self.client.record.is_begun() {
            return;
        }
        let cause = match self.client.record.answered {
            true => Cause::ClientGone,
            false => Cause::ClientGoneEarly,
        };
        self.note(cause, "stream reset");
        let _ = self.end_record();
    }
}
