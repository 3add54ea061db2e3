//! What is known of a request or connection, gathered on its way, and the line that is made of it.
//!
//! Most of what a request head tells is gone once the request is sent on, so that its part of the line is written at
//! once and kept; the rest are values. Times are those that were read for other purposes.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{Binding, Group, Listener, Rule, Target};
use http::Method;

use super::line::{Line, key, said};
use super::pen::{Pen, Shape};
use crate::buffers::Buffer;
use crate::cause::Cause;
use crate::http::fields::{write_address, write_number};
use crate::http::request::RequestHead;
use crate::listener::SharedListener;
use crate::tls::facts::Facts;

/// Longest path that is written, in bytes.
const MAX_PATH: usize = 8 * 1024;
/// Longest other text.
const MAX_TEXT: usize = 512;

/// One request or connection.
#[derive(Debug)]
pub(crate) struct Record {
    /// What the head told, as fields of the line; empty if there is no line to be.
    told: Buffer,
    begun_at: Instant,
    /// From the first byte of the head to the last.
    client_wait: Duration,
    /// Waiting for a place at a target.
    queue: Duration,
    /// Opening the connection to the target.
    connect: Duration,
    /// When the request was given to the target.
    sent_at: Option<Instant>,
    /// From then to the first byte of the answer.
    first_byte: Option<Duration>,
    /// When it was over.
    ended_at: Option<Instant>,
    attempts: u32,
    /// The last attempt went on a connection that had served a request before.
    pub(crate) reused: bool,
    /// The last attempt was answered, or an answer had begun.
    pub(crate) answered: bool,
    closed_by_rule: bool,
    /// The answer was not the target's.
    own: bool,
    /// Status of the answer; 0 if there is none.
    pub(crate) status: u16,
    /// The status the client sees, where HTTP/2 has another one for the same.
    seen: Option<u16>,
    /// The status a call of gRPC has ended with.
    pub(crate) grpc: Option<u16>,
    /// Bytes received from the client.
    pub(crate) bytes_in: u64,
    /// Bytes sent to the client.
    pub(crate) bytes_out: u64,
    /// What did not go well, with more words from a bounded set.
    pub(crate) fault: Option<(Cause, &'static str)>,
    /// The group it went to.
    pub(crate) group: Option<Arc<Group>>,
    /// The target it went to last.
    pub(crate) target: Option<Arc<Target>>,
    /// What became of the client's binding, in a group that binds.
    pub(crate) sticky: Option<Binding>,
}

/// Records that a thread keeps for the next requests.
const MAX_SPARES: usize = 256;

thread_local! {
    static SPARES: RefCell<Vec<Slip>> = const { RefCell::new(Vec::new()) };
}

/// The record of the request at hand, if there is one: a connection that waits for its next request keeps none.
#[derive(Debug, Default)]
pub(crate) struct Slip(Option<Box<Record>>);

impl Slip {
    /// Something begins at `at`; what was before is forgotten.
    pub(crate) fn begin(&mut self, at: Instant) {
        match &mut self.0 {
            Some(record) => **record = Record::new(at),
            None => self.0 = Some(spare(at)),
        }
    }

    /// True if a request was read whose line was not written yet.
    pub(crate) fn is_begun(&self) -> bool {
        self.0.as_ref().is_some_and(|record| record.bytes_in > 0)
    }

    /// Writes the line; when it was over, if it was begun.
    pub(crate) fn end(
        &mut self,
        pen: &Pen,
        listener: &Listener,
        peer: SocketAddr,
    ) -> Option<Instant> {
        let mut record = self.0.take()?;
        let ended_at = record.write(pen, listener, peer);
        // The store is gone while the thread ends: the memory then goes to the system.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < MAX_SPARES {
                spares.push(Slip(Some(record)));
            }
        });
        Some(ended_at)
    }
}

fn spare(at: Instant) -> Box<Record> {
    match SPARES.with_borrow_mut(Vec::pop) {
        // Nothing is left in it of what was written.
        Some(Slip(Some(mut record))) => {
            record.begun_at = at;
            record
        }
        Some(Slip(None)) | None => Box::new(Record::new(at)),
    }
}

impl Deref for Slip {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.0.as_ref().expect("begun with the request")
    }
}

impl DerefMut for Slip {
    fn deref_mut(&mut self) -> &mut Record {
        self.0.get_or_insert_with(|| spare(Instant::now()))
    }
}

impl Record {
    /// Something that begins at `at`.
    pub(crate) fn new(at: Instant) -> Self {
        Self {
            told: Buffer::default(),
            begun_at: at,
            client_wait: Duration::ZERO,
            queue: Duration::ZERO,
            connect: Duration::ZERO,
            sent_at: None,
            first_byte: None,
            ended_at: None,
            attempts: 0,
            reused: false,
            answered: false,
            closed_by_rule: false,
            own: false,
            status: 0,
            seen: None,
            grpc: None,
            bytes_in: 0,
            bytes_out: 0,
            fault: None,
            group: None,
            target: None,
            sticky: None,
        }
    }

    /// The head became whole only at `at`, after more than one read.
    pub(crate) fn head_whole(&mut self, at: Instant) {
        self.client_wait = at.saturating_duration_since(self.begun_at);
    }

    /// When its head had come, if it came in one piece: no time has passed since then.
    pub(crate) fn just_begun(&self) -> Option<Instant> {
        let is_new = self.client_wait.is_zero() && self.attempts == 0;
        is_new.then_some(self.begun_at)
    }

    /// It waited for a place at a target since `since`.
    pub(crate) fn queued(&mut self, since: Instant) {
        self.queue += since.elapsed();
    }

    /// A connection to a target was opened, or not, since `since`.
    pub(crate) fn connected(&mut self, since: Instant) {
        self.connect += since.elapsed();
    }

    /// One more attempt begins, at `target`.
    pub(crate) fn attempt(&mut self, target: Arc<Target>) {
        self.attempts += 1;
        self.target = Some(target);
        self.reused = false;
        self.answered = false;
        self.sent_at = None;
        self.first_byte = None;
        self.grpc = None;
    }

    /// It is `now`, and the answer has begun or not.
    pub(crate) fn clock(&mut self, now: Instant, answered: bool) {
        let sent_at = *self.sent_at.get_or_insert(now);
        if answered && self.first_byte.is_none() {
            self.first_byte = Some(now.saturating_duration_since(sent_at));
        }
    }

    /// It is over, and it is `now`, which is given back.
    pub(crate) fn ended(&mut self, now: Instant) -> Instant {
        self.ended_at = Some(now);
        if self.answered {
            self.clock(now, true);
        }
        now
    }

    /// When it was over: now, if nobody has said so before.
    pub(crate) fn ended_by_now(&mut self) -> Instant {
        match self.ended_at {
            Some(ended_at) => ended_at,
            None => self.ended(Instant::now()),
        }
    }

    /// The answer to a client of HTTP/2 that wants a tunnel has begun. Agreeing has another status there (RFC 8441 §5). True if the target has
    /// answered with what would mean that it agrees, and does not.
    pub(crate) fn tunnel_answered(&mut self) -> bool {
        self.seen = match self.status {
            101 => Some(200),
            200..=299 => Some(502),
            _ => None,
        };
        self.seen == Some(502)
    }

    /// The status as the client sees it; 0 if there is none.
    fn status_seen(&self) -> u16 {
        self.seen.unwrap_or(self.status)
    }

    /// It is answered by ourselves, with this status.
    pub(crate) fn refused(&mut self, status: u16) {
        self.status = status;
        self.own = true;
    }

    /// Accounts for a request that is over: in `shared`, for this thread, and with those it went to.
    pub(crate) fn account(&mut self, shared: &SharedListener, thread: usize) {
        if self.bytes_in == 0 && self.status == 0 {
            return; // the client has asked for nothing
        }
        let now = self.ended_by_now();
        let took = now.saturating_duration_since(self.begun_at);
        self.account_bytes(shared, thread);
        shared.tally.count(thread, self.status_seen(), took);
    }

    /// Accounts for a connection that is over, in the same way.
    pub(crate) fn account_bytes(&self, shared: &SharedListener, thread: usize) {
        let (received, sent) = (self.bytes_in, self.bytes_out);
        shared.tally.count_bytes(thread, received, sent);
        if let Some(group) = &self.group {
            let times = group.latency();
            let waits = [(&times.queue, self.queue), (&times.connect, self.connect)];
            for (times, wait) in waits.into_iter().filter(|(_, wait)| !wait.is_zero()) {
                times.observe(wait);
            }
            if let Some(took) = self.first_byte {
                times.first_byte.observe(took);
            }
        }
        let Some(target) = &self.target else { return };
        if let Some(took) = self.first_byte {
            target.state().count_first_byte(took);
        }
        if !self.own {
            target.state().count_answer(self.status);
        }
    }

    /// When the request or connection began.
    pub(crate) fn begun_at(&self) -> Instant {
        self.begun_at
    }

    /// A rule wants the connection closed.
    pub(crate) fn close_by_rule(&mut self) {
        self.closed_by_rule = true;
    }

    /// Keeps what the head tells.
    pub(crate) fn tell_head(
        &mut self,
        pen: &Pen,
        head: &RequestHead<'_, '_>,
        client: IpAddr,
        (believed, id): (Option<&[u8]>, &[u8; 32]),
        http2: bool,
    ) {
        let Some(shape) = pen.shape() else { return };
        let mut line = Line::new(self.told.vec(), shape.format);
        match believed {
            Some(believed) => line.text(key!("request"), believed, MAX_TEXT),
            None => line.made(key!("request"), |out| out.extend_from_slice(id)),
        }
        line.made(key!("client"), |out| write_address(out, client));
        let (path, query) = head.path_and_query();
        let path = if shape.without_query || query.is_empty() {
            path
        } else {
            head.path
        };
        match (http2, head.facts.http10) {
            (true, _) => line.said(said!("proto", "HTTP/2")),
            (false, true) => line.said(said!("proto", "HTTP/1.0")),
            (false, false) => line.said(said!("proto", "HTTP/1.1")),
        }
        match &head.method {
            // It is an upgrade for the target alone (RFC 8441 §4).
            _ if http2 && head.facts.upgrade => line.said(said!("method", "CONNECT")),
            &Method::GET => line.said(said!("method", "GET")),
            method => line.text(key!("method"), method.as_str().as_bytes(), MAX_TEXT),
        }
        line.text(key!("host"), head.host.as_bytes(), MAX_TEXT);
        line.text(key!("path"), path.as_bytes(), MAX_PATH);
        if let Some(agent) = head.values("user-agent").next() {
            line.text(key!("user_agent"), agent, MAX_TEXT);
        }
        if let Some(referer) = head.values("referer").next() {
            line.text(key!("referer"), shown_referer(referer, shape), MAX_TEXT);
        }
    }

    /// Keeps what a connection or a flow tells: `proto` is `tcp` or `udp`, or `tls` where its handshake came to nothing.
    pub(crate) fn tell_connection(&mut self, pen: &Pen, client: IpAddr, proto: &'static str) {
        if let Some(shape) = pen.shape() {
            let mut line = Line::new(self.told.vec(), shape.format);
            line.made(key!("client"), |out| write_address(out, client));
            line.word(key!("proto"), proto);
        }
    }

    /// Keeps what the handshake has agreed upon, or whom a client asks for whose TLS does not end here.
    pub(crate) fn tell_encryption(
        &mut self,
        pen: &Pen,
        facts: Option<&Rc<Facts>>,
        asked: Option<&str>,
    ) {
        let Some(shape) = pen.shape() else { return };
        let mut line = Line::new(self.told.vec(), shape.format);
        let Some(facts) = facts else {
            if let Some(asked) = asked {
                line.text(key!("sni"), asked.as_bytes(), MAX_TEXT);
            }
            return;
        };
        line.word(key!("tls"), facts.version);
        line.word(key!("cipher"), facts.cipher);
        if let Some(group) = facts.key_exchange {
            line.word(key!("key_exchange"), group);
        }
        if let Some(name) = &facts.server_name {
            line.text(key!("sni"), name.as_bytes(), MAX_TEXT);
        }
        if let Some(alpn) = facts.alpn {
            line.word(key!("alpn"), alpn);
        }
        if facts.resumed {
            line.said(said!("tls_resumed" = "true"));
        }
        if let Some(client) = &facts.client {
            line.text(key!("client_cert"), client.as_bytes(), MAX_TEXT);
        }
    }

    /// The record of a flow, if there is a line to be.
    pub(crate) fn of_flow(pen: &Pen, client: IpAddr) -> Option<Box<Record>> {
        pen.shape()?;
        let mut record = Box::new(Record::new(Instant::now()));
        record.tell_connection(pen, client, "udp");
        Some(record)
    }

    /// Keeps the rule that the request met.
    pub(crate) fn tell_rule(&mut self, pen: &Pen, rule: Option<&Rule>) {
        if let (Some(shape), Some(rule)) = (pen.shape(), rule) {
            let mut line = Line::new(self.told.vec(), shape.format);
            line.word(key!("rule"), &rule.settings().name);
        }
    }

    /// Writes the line. What it held is let go. Tells when it was over.
    pub(crate) fn write(&mut self, pen: &Pen, listener: &Listener, peer: SocketAddr) -> Instant {
        let now = self.ended_at.unwrap_or_else(Instant::now);
        if pen.shape().is_some() {
            pen.write(self.begun_at, |line, _| {
                // Names of the configuration are letters, digits and marks.
                line.word(key!("listener"), &listener.settings().name);
                write_peer(line, peer);
                line.raw(self.told.as_slice());
                self.write_rest(line, now);
            });
        }
        // Its memory serves the next one.
        let mut told = std::mem::take(&mut self.told);
        told.clear_kept();
        *self = Self {
            told,
            ..Self::new(now)
        };
        now
    }

    fn write_rest(&self, line: &mut Line<'_>, now: Instant) {
        if let Some(group) = &self.group {
            line.word(key!("group"), &group.settings().name);
        }
        if let Some(target) = &self.target {
            line.text(key!("target"), target.settings().name.as_bytes(), MAX_TEXT);
        }
        if let Some(sticky) = self.sticky {
            line.word(key!("sticky"), sticky.as_str());
        }
        let status = self.status_seen();
        if status > 0 {
            line.status(key!("status"), status);
        }
        if let Some(status) = self.grpc {
            line.number(key!("grpc"), u64::from(status));
        }
        match (self.fault, self.closed_by_rule) {
            (Some((cause, _)), _) => line.word(key!("cause"), cause.as_str()),
            (None, true) => line.said(said!("cause", "rule-close@headers")),
            (None, false) => line.said(said!("cause", "ok")),
        }
        if let Some((_, detail)) = self.fault.filter(|(_, detail)| !detail.is_empty()) {
            line.text(key!("detail"), detail.as_bytes(), MAX_TEXT);
        }
        line.number(key!("bytes_in"), self.bytes_in);
        line.number(key!("bytes_out"), self.bytes_out);
        let waits = [
            (key!("client_wait_ms"), self.client_wait),
            (key!("queue_ms"), self.queue),
            (key!("connect_ms"), self.connect),
        ];
        for (key, wait) in waits.into_iter().filter(|(_, wait)| !wait.is_zero()) {
            line.millis(key, wait);
        }
        if let Some(first_byte) = self.first_byte {
            line.millis(key!("first_byte_ms"), first_byte);
        }
        line.millis(
            key!("total_ms"),
            now.saturating_duration_since(self.begun_at),
        );
        match self.attempts {
            0 => {}
            1 => line.said(said!("attempts" = "1")),
            more => line.number(key!("attempts"), u64::from(more)),
        }
        if self.reused {
            line.said(said!("reused" = "true"));
        }
    }
}

fn write_peer(line: &mut Line<'_>, peer: SocketAddr) {
    line.made(key!("peer"), |out| {
        match peer.ip().to_canonical() {
            address @ IpAddr::V4(_) => write_address(out, address),
            address @ IpAddr::V6(_) => {
                out.push(b'[');
                write_address(out, address);
                out.push(b']');
            }
        }
        out.push(b':');
        write_number(out, u64::from(peer.port()));
    });
}

fn shown_referer(referer: &[u8], shape: Shape) -> &[u8] {
    let query = memchr::memchr(b'?', referer).filter(|_| shape.without_query);
    &referer[..query.unwrap_or(referer.len())]
}
