//! One request on one connection to a target: sends what there is, relays what comes, both at the same time.
//!
//! ```text
//!   client --> Sending (head, body as it comes) --> target
//!   client <-- pending <-- Receiving (interim heads, head, body) <-- target
//! ```
//!
//! Nothing is read from one side while the other does not take what was read before: that is the back-pressure.
//! Choosing the target, repeating a failed request and answers of our own are not done here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite as _;

use crate::buffers::{Buffer, with_scratch};
use crate::http::body::{Body, Framing};
use crate::http::changes::edit_trailers;
use crate::http::chunked::Emit;
use crate::http::grpc;
use crate::http::head::{self, FieldRoom};
use crate::http::response::{self, BadResponse, RESPONSE_LIMITS, ResponseHead};
use crate::http::scan::{HeadScan, Scanned};
use crate::leaving::Watch;
use crate::upstream::Upstream;

mod parts;

pub(crate) use parts::{ClientSide, Cut, End, ExchangeTimeouts, Fault, RequestFault, Sending};

/// A body of up to this size goes out in one piece with its head; a larger one in one call, from two places.
const COPIED_BYTES: usize = 2 * 1024;
/// Answers before the answer that are accepted.
const MAX_INTERIM: u32 = 32;

#[derive(Debug)]
enum Phase {
    Head,
    Body(Body),
    Complete,
    Switched,
}

/// Whom an exchange waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiting {
    ClientTakes,
    ClientSends,
    TargetTakes,
    TargetBegins,
    TargetSends,
}

/// One exchange in progress.
#[derive(Debug)]
pub(crate) struct Exchange<'c> {
    client: &'c mut ClientSide,
    target: &'c mut Upstream,
    send: &'c mut Sending,
    timeouts: ExchangeTimeouts,
    /// The listener is closing: the client is told to close.
    closing: bool,
    phase: Phase,
    scan: HeadScan,
    /// Bytes for the client that it has not taken yet.
    pending: Buffer,
    interim: u32,
    continued: bool,
    response_seen: bool,
    client_goes_on: bool,
    target_reusable: bool,
    until_close: bool,
    /// What it was switched to is WebSocket.
    websocket: bool,
    /// Status of the final answer; 0 before it.
    status: u16,
    moved: bool,
    waiting: Option<Waiting>,
}

impl<'c> Exchange<'c> {
    /// Ready to be polled.
    pub(crate) fn new(
        client: &'c mut ClientSide,
        target: &'c mut Upstream,
        send: &'c mut Sending,
        timeouts: ExchangeTimeouts,
        closing: bool,
    ) -> Self {
        Self {
            client,
            target,
            send,
            timeouts,
            closing,
            phase: Phase::Head,
            scan: HeadScan::default(),
            pending: Buffer::default(),
            interim: 0,
            continued: false,
            response_seen: false,
            client_goes_on: false,
            target_reusable: false,
            until_close: false,
            websocket: false,
            status: 0,
            moved: false,
            waiting: None,
        }
    }

    /// True if at least one byte of an answer was read.
    pub(crate) fn response_seen(&self) -> bool {
        self.response_seen
    }

    /// Status of the final answer; 0 before it has begun.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// True if both sides have left HTTP for WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        self.websocket
    }

    /// The status a call of gRPC has ended with.
    pub(crate) fn grpc_status(&self) -> Option<u16> {
        self.client.record.grpc
    }

    /// True if the target was found dead and nothing is to be hoped for from it: the request can go elsewhere, or nothing
    /// at all is heard of the target. One that refuses new connections may still finish what it has.
    pub(crate) fn gives_up(&self, watch: &Watch<'_>, elsewhere: impl FnOnce() -> bool) -> bool {
        let waits = matches!(self.phase, Phase::Head) && !self.response_seen;
        let can_move = || self.send.method.is_idempotent() && !self.send.streamed && elsewhere();
        waits && watch.is_dead() && (watch.is_silent() || can_move())
    }

    /// How it ends when the target must be left before the answer is whole.
    pub(crate) fn abandon(&self) -> End {
        match self.phase {
            Phase::Head => End::Failed(Fault::Left),
            Phase::Body(_) | Phase::Complete | Phase::Switched => End::Cut {
                needs_reset: self.until_close,
                why: Cut::Left,
            },
        }
    }

    /// Moves what can be moved.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.moved = false;
        let sending = match self.poll_send(cx) {
            Ok(waiting) => waiting,
            Err(end) => return Poll::Ready(self.after_head(end)),
        };
        let receiving = match self.poll_receive(cx) {
            Ok(Some(waiting)) => waiting,
            Ok(None) => return Poll::Ready(self.complete()),
            Err(end) => return Poll::Ready(end),
        };
        let waiting = match (receiving, sending) {
            (Waiting::TargetBegins, Some(sending)) => sending,
            (receiving, _) => receiving,
        };
        if self.moved || self.waiting != Some(waiting) {
            self.waiting = Some(waiting);
            let now = self.client.alarm.set(match waiting {
                Waiting::ClientTakes | Waiting::ClientSends => self.timeouts.client_idle,
                Waiting::TargetBegins => self.timeouts.first_byte,
                Waiting::TargetTakes | Waiting::TargetSends => self.timeouts.target_idle,
            });
            self.client.record.clock(now, self.response_seen);
        }
        self.client.alarm.poll(cx).map(|()| match waiting {
            Waiting::ClientTakes => End::ClientGone,
            Waiting::ClientSends => End::BadRequestBody(RequestFault::TimedOut),
            Waiting::TargetTakes => End::Failed(Fault::Stalled),
            Waiting::TargetBegins => End::Failed(Fault::TimedOut),
            Waiting::TargetSends => End::Cut {
                needs_reset: self.until_close,
                why: Cut::TimedOut,
            },
        })
    }

    fn complete(&self) -> End {
        match self.phase {
            Phase::Switched => End::Switched,
            Phase::Head | Phase::Body(_) | Phase::Complete => End::Done {
                client_goes_on: self.client_goes_on,
                target_reusable: self.target_reusable && self.send.is_sent(),
            },
        }
    }

    /// What goes wrong with the request once the answer has begun cannot be answered any more.
    fn after_head(&self, end: End) -> End {
        match self.phase {
            Phase::Head => end,
            Phase::Body(_) | Phase::Complete | Phase::Switched => End::ClientGone,
        }
    }

    /// Sends the request on; the one who is waited for, or `None` if there is nothing more to send.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<Option<Waiting>, End> {
        // What is here of the body already goes out with the head: the target wakes up once.
        let begins = self.waiting.is_none() && self.send.is_whole();
        if begins && !self.send.body.is_done() {
            match self.poll_send_body(cx) {
                Poll::Ready(Ok(())) => self.moved = true,
                Poll::Ready(Err(end)) => return Err(end),
                Poll::Pending => {}
            }
        }
        loop {
            if self.send.stopped {
                return Ok(None);
            }
            while !self.send.out.is_empty() {
                match Pin::new(&mut self.target.stream).poll_write(cx, self.send.out.as_slice()) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.send.out.advance(count);
                        self.moved = true;
                    }
                    Poll::Ready(Ok(_) | Err(_)) => {
                        // Whatever it answered before it closed is still worth reading.
                        self.send.stopped = true;
                        return Ok(None);
                    }
                    Poll::Pending => return Ok(Some(Waiting::TargetTakes)),
                }
            }
            match Pin::new(&mut self.target.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.send.stopped = true;
                    return Ok(None);
                }
                Poll::Pending => return Ok(Some(Waiting::TargetTakes)),
            }
            if self.send.body.is_done() {
                return Ok(None);
            }
            match self.poll_send_body(cx) {
                Poll::Ready(Ok(())) => self.moved = true,
                Poll::Ready(Err(end)) => return Err(end),
                Poll::Pending => return Ok(Some(Waiting::ClientSends)),
            }
        }
    }

    /// Reads a piece of the client's body and sends what the target takes of it at once, behind what waits to be sent.
    fn poll_send_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Self {
            client,
            target,
            send,
            ..
        } = self;
        with_scratch(|scratch| {
            let count = match client.stream.poll_take(cx, scratch) {
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(Err(End::ClientGone)),
                Poll::Pending => return Poll::Pending,
            };
            let passed = match send.body.filter(&mut scratch[..count]) {
                Ok(passed) => passed,
                Err(error) => {
                    return Poll::Ready(Err(End::BadRequestBody(RequestFault::Body(error))));
                }
            };
            client.record.bytes_in += passed.consumed as u64;
            client.input.extend(&scratch[passed.consumed..count]);
            let piece = &scratch[..passed.kept];
            if send.can_hold(piece.len()) {
                send.out.extend(piece);
            } else {
                send.pass(cx, &mut target.stream, piece);
            }
            let trailers = send.take_trailers();
            send.out.extend(&trailers);
            Poll::Ready(Ok(()))
        })
    }

    /// Relays the answer; the one who is waited for, or `None` if the answer is complete.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Result<Option<Waiting>, End> {
        loop {
            while !self.pending.is_empty() {
                let last = matches!(self.phase, Phase::Complete) && !self.client_goes_on;
                match self.poll_write(cx, &[], last) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.pending.consume(count);
                        self.client.record.bytes_out += count as u64;
                        self.moved = true;
                    }
                    Poll::Ready(Ok(_) | Err(_)) => return Err(End::ClientGone),
                    Poll::Pending => return Ok(Some(Waiting::ClientTakes)),
                }
            }
            match Pin::new(&mut self.client.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(End::ClientGone),
                Poll::Pending => return Ok(Some(Waiting::ClientTakes)),
            }
            let (waiting, read) = match self.phase {
                Phase::Head => (Waiting::TargetBegins, self.poll_head(cx)),
                Phase::Body(_) => match self.client.stream.appetite() {
                    0 => return Ok(Some(Waiting::ClientTakes)),
                    room => (Waiting::TargetSends, self.poll_body(cx, room)),
                },
                Phase::Complete | Phase::Switched => return Ok(None),
            };
            match read {
                Poll::Ready(Ok(())) => self.moved = true,
                Poll::Ready(Err(end)) => return Err(end),
                Poll::Pending => return Ok(Some(waiting)),
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        with_scratch(|scratch| {
            let scratch = &mut scratch[..self.client.stream.appetite()];
            let count = match self.target.stream.poll_take(cx, scratch) {
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(Err(End::Failed(Fault::Closed))),
                Poll::Pending => return Poll::Pending,
            };
            self.response_seen = true;
            if self.target.input.is_empty() {
                return Poll::Ready(self.heads(cx, &mut scratch[..count]));
            }
            let mut input = std::mem::take(&mut self.target.input);
            input.extend(&scratch[..count]);
            Poll::Ready(self.heads(cx, input.as_mut_slice()))
        })
    }

    /// Takes all heads there are; what is left over is kept in the target's input.
    fn heads(&mut self, cx: &mut Context<'_>, data: &mut [u8]) -> Result<(), End> {
        let mut at = 0;
        while let Some(length) = self.head(cx, &mut data[at..])? {
            at += length;
        }
        Ok(())
    }

    /// Takes one head; its length, if another is to follow.
    fn head(&mut self, cx: &mut Context<'_>, data: &mut [u8]) -> Result<Option<usize>, End> {
        let facts = self.send.facts;
        let mut room = FieldRoom::lend();
        if self.scan.is_fresh()
            && let Some((line, end)) = head::of_response(data, &mut room, &RESPONSE_LIMITS)
        {
            let (head, rest) = data.split_at_mut(end);
            let head = response::understand(head, &line, &room, &facts);
            return Ok(self.understood(cx, head, rest)?.then_some(end));
        }
        let (start, end) = match self.scan.scan(data, &RESPONSE_LIMITS) {
            Scanned::Complete { start, end } => (start, end),
            Scanned::More => {
                self.target.input.extend(data);
                return Ok(None);
            }
            Scanned::Refused(_) => {
                return Err(End::Failed(Fault::BadResponse(BadResponse::NotHttp)));
            }
        };
        self.scan = HeadScan::default();
        let (head, rest) = data.split_at_mut(end);
        let head = response::parse(&head[start..], &mut room, &facts);
        Ok(self.understood(cx, head, rest)?.then_some(end))
    }

    /// Acts on a head, behind which stands `rest`; true if another is to follow.
    fn understood(
        &mut self,
        cx: &mut Context<'_>,
        head: Result<ResponseHead<'_, '_>, BadResponse>,
        rest: &mut [u8],
    ) -> Result<bool, End> {
        let head = head.map_err(|error| End::Failed(Fault::BadResponse(error)))?;
        if head.is_interim() {
            return self.interim(&head).map(|()| true);
        }
        if head.status == 101 {
            let Sending { facts, changes, .. } = &*self.send;
            head.write(self.pending.vec(), facts, changes, false);
            self.client.record.status = head.status;
            self.websocket = head.is_websocket();
            self.target.input.extend(rest);
            self.phase = Phase::Switched;
            return Ok(false);
        }
        self.begin(cx, &head, rest).map(|()| false)
    }

    /// An answer before the answer: passed on, but a 100 only once and only to one who waits for it.
    fn interim(&mut self, head: &ResponseHead<'_, '_>) -> Result<(), End> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(End::Failed(Fault::BadResponse(BadResponse::NotHttp)));
        }
        let Sending { facts, changes, .. } = &*self.send;
        let wanted = head.status != 100
            || facts.expects_continue && !std::mem::replace(&mut self.continued, true);
        if wanted && !facts.http10 {
            head.write(self.pending.vec(), facts, changes, false);
        }
        Ok(())
    }

    /// The final head, and what of the body came with it.
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead<'_, '_>,
        rest: &mut [u8],
    ) -> Result<(), End> {
        let facts = self.send.facts;
        self.status = head.status;
        self.client.record.status = head.status;
        if facts.grpc {
            self.client.record.grpc = head.grpc_status();
        }
        self.until_close =
            head.framing == Framing::UntilClose || head.framing == Framing::Chunked && facts.http10;
        self.client_goes_on =
            facts.keep_alive && !self.until_close && !self.closing && self.send.is_sent();
        self.target_reusable = head.keep_alive;
        let changes = &self.send.changes;
        head.write(self.pending.vec(), &facts, changes, !self.client_goes_on);
        let emit = if facts.http10 {
            Emit::Data
        } else {
            Emit::Framed
        };
        let mut body = Body::new(head.framing, emit, None);
        let passed = body.filter(rest);
        // Nothing has left yet: the client can still be told in words.
        let passed = passed.map_err(|_| End::Failed(Fault::BadResponse(BadResponse::NotHttp)))?;
        self.target_reusable &= passed.consumed == rest.len();
        let last = body.is_done() && !self.client_goes_on;
        let pushed = self.push(cx, &rest[..passed.kept], last);
        self.phase = Phase::Body(body);
        pushed?;
        self.check_body_done();
        Ok(())
    }

    /// Reads so much of the body at most, and passes it on.
    fn poll_body(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<(), End>> {
        let cut = End::Cut {
            needs_reset: self.until_close,
            why: Cut::Broken,
        };
        with_scratch(|scratch| {
            let Phase::Body(body) = &mut self.phase else {
                return Poll::Ready(Ok(()));
            };
            let scratch = &mut scratch[..room];
            let count = match self.target.stream.poll_take(cx, scratch) {
                Poll::Ready(Ok(0)) if body.may_end() => {
                    self.phase = Phase::Complete;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(Err(cut)),
                Poll::Pending => return Poll::Pending,
            };
            let Ok(passed) = body.filter(&mut scratch[..count]) else {
                return Poll::Ready(Err(cut));
            };
            self.target_reusable &= passed.consumed == count;
            let last = body.is_done() && !self.client_goes_on;
            let pushed = self.push(cx, &scratch[..passed.kept], last);
            self.check_body_done();
            Poll::Ready(pushed)
        })
    }

    fn check_body_done(&mut self) {
        if let Phase::Body(body) = &mut self.phase
            && body.is_done()
        {
            let trailers = edit_trailers(body.take_trailers(), self.send.changes.edits());
            if self.send.facts.grpc {
                let record = &mut self.client.record;
                record.grpc = record.grpc.or(grpc::status_among(&trailers));
            }
            self.pending.extend(&trailers);
            self.phase = Phase::Complete;
        }
    }

    /// Writes to the client at once what it takes; the rest becomes pending. `last`: then the connection ends.
    fn push(&mut self, cx: &mut Context<'_>, data: &[u8], last: bool) -> Result<(), End> {
        if !self.pending.is_empty() && data.len() <= COPIED_BYTES {
            self.pending.extend(data);
            return Ok(());
        }
        let waiting = self.pending.as_slice().len();
        let written = match self.poll_write(cx, data, last) {
            Poll::Ready(written) => written.map_err(|_: io::Error| End::ClientGone)?,
            Poll::Pending => 0,
        };
        self.client.record.bytes_out += written as u64;
        self.pending.consume(written.min(waiting));
        self.pending
            .extend(&data[written.saturating_sub(waiting)..]);
        Ok(())
    }

    /// Writes to the client what is pending, and `data` behind it.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        last: bool,
    ) -> Poll<io::Result<usize>> {
        let slices = [IoSlice::new(self.pending.as_slice()), IoSlice::new(data)];
        let slices = match (slices[0].is_empty(), data.is_empty()) {
            (true, _) => &slices[1..],
            (false, true) => &slices[..1],
            (false, false) => &slices[..],
        };
        let stream = &mut self.client.stream;
        match slices {
            _ if last => stream.poll_write_last(cx, slices),
            [one] => Pin::new(stream).poll_write(cx, one),
            both => Pin::new(stream).poll_write_vectored(cx, both),
        }
    }
}
