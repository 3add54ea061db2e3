//! What goes into an exchange and what comes out of it, as values.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;
use tokio::io::AsyncWrite as _;

use crate::access_log::record::Slip;
use crate::alarm::Alarm;
use crate::buffers::Buffer;
use crate::http::body::{Body, BodyError};
use crate::http::changes::{AnswerChanges, edit_trailers};
use crate::http::request::RequestFacts;
use crate::http::response::BadResponse;
use crate::stream::Stream;

/// A request that may be repeated is held up to this size, head included.
const HELD_BYTES: usize = 64 * 1024;

/// The client's side of an exchange.
#[derive(Debug)]
pub(crate) struct ClientSide {
    /// The connection.
    pub(crate) stream: Stream,
    /// Bytes read and not yet used: the next request, when requests are pipelined.
    pub(crate) input: Buffer,
    /// The timer of the connection.
    pub(crate) alarm: Alarm,
    /// What the access log will say of the request at hand.
    pub(crate) record: Slip,
}

/// Time limits of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeTimeouts {
    /// Waiting for the client, either way.
    pub(crate) client_idle: Duration,
    /// Waiting for the answer to begin.
    pub(crate) first_byte: Duration,
    /// Waiting for the target otherwise.
    pub(crate) target_idle: Duration,
}

/// The request on its way to the target.
#[derive(Debug)]
pub(crate) struct Sending {
    /// The method, for whoever decides about repeating.
    pub(crate) method: Method,
    /// What the head said.
    pub(crate) facts: RequestFacts,
    /// The head as written for the target, and the part of the body that came with it or is held.
    pub(crate) out: Buffer,
    /// Length of the head in `out`.
    pub(crate) head_bytes: usize,
    /// The body that is still to come.
    pub(crate) body: Body,
    /// Some of the body went through after `out` was written: it cannot be repeated.
    pub(crate) streamed: bool,
    /// What is changed in the answer.
    pub(crate) changes: AnswerChanges,
    /// The target takes no more; its answer may still come.
    pub(super) stopped: bool,
}

impl Sending {
    /// A request of which nothing was sent.
    pub(crate) fn new(
        method: Method,
        facts: RequestFacts,
        out: Buffer,
        head_bytes: usize,
        body: Body,
    ) -> Self {
        Self {
            method,
            facts,
            out,
            head_bytes,
            body,
            streamed: false,
            changes: AnswerChanges::default(),
            stopped: false,
        }
    }

    /// Makes ready to be sent once more.
    pub(crate) fn rewind(&mut self) {
        debug_assert!(!self.streamed, "what went through is gone");
        self.out.rewind();
        self.stopped = false;
    }

    /// What is to be sent behind the body, once that has ended.
    pub(super) fn take_trailers(&mut self) -> Vec<u8> {
        let rule = self.changes.rule.as_deref();
        let edits = rule.map(|rule| &rule.settings().request_headers);
        edit_trailers(self.body.take_trailers(), edits)
    }

    /// True if so many more bytes of the body are to be kept, so that the request can be sent once more.
    pub(super) fn can_hold(&self, more: usize) -> bool {
        !self.streamed && self.method.is_idempotent() && self.out.held() + more <= HELD_BYTES
    }

    /// True if there is something to send, and the target has taken nothing yet.
    pub(super) fn is_whole(&self) -> bool {
        !self.streamed && self.out.moved() == 0 && !self.out.is_empty()
    }

    /// Sends what the target takes at once of what waits and of a piece of the body behind it, and keeps the rest. What has
    /// left is not held any longer; as long as nothing has, all of it can still be sent once more.
    pub(super) fn pass(&mut self, cx: &mut Context<'_>, target: &mut Stream, piece: &[u8]) {
        if self.out.is_empty() {
            self.streamed = true;
            self.out.clear();
        }
        let waiting = self.out.as_slice().len();
        let slices = [IoSlice::new(self.out.as_slice()), IoSlice::new(piece)];
        let slices = if waiting == 0 { &slices[1..] } else { &slices };
        let written = match Pin::new(target).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => {
                // Whatever it answered before it closed is still worth reading.
                self.stopped = true;
                0
            }
            Poll::Pending => 0,
        };
        if written > 0 {
            self.streamed = true;
            self.out.advance(written.min(waiting));
        }
        if self.out.is_empty() {
            self.out.clear();
        }
        self.out.extend(&piece[written.saturating_sub(waiting)..]);
    }

    /// True once the target has taken all of it.
    pub(super) fn is_sent(&self) -> bool {
        self.body.is_done() && self.out.is_empty() && !self.stopped
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The answer was passed on whole.
    Done {
        /// The client was told that it may go on.
        client_goes_on: bool,
        /// The connection to the target can be used again.
        target_reusable: bool,
    },
    /// Both sides go on in another protocol.
    Switched,
    /// No final answer was begun; nothing final was sent to the client.
    Failed(Fault),
    /// The client's body is at fault; nothing final was sent to the client.
    BadRequestBody(RequestFault),
    /// The answer broke off in the middle.
    Cut {
        /// The client can tell only from a reset that it is not whole.
        needs_reset: bool,
        /// What happened.
        why: Cut,
    },
    /// The client is gone.
    ClientGone,
}

/// Why an answer broke off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// The target closed or reset the connection, or its body was malformed.
    Broken,
    /// The target fell silent.
    TimedOut,
    /// The target must be left.
    Left,
}

/// What the target did wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It closed or reset the connection.
    Closed,
    /// It must be left; its answer has not begun.
    Left,
    /// It was found dead before it answered.
    Dead,
    /// It did not begin its answer in time.
    TimedOut,
    /// It did not take the request in time.
    Stalled,
    /// What it sent was not understood.
    BadResponse(BadResponse),
}

/// What the client did wrong with its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RequestFault {
    /// It did not come in time.
    TimedOut,
    /// It was malformed or too long.
    Body(BodyError),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::http::body::Framing;
    use crate::http::chunked::Emit;

    /// A request whose head waits to be sent, and whose body is to come.
    fn waiting(method: Method) -> Sending {
        let facts = RequestFacts {
            framing: Framing::Length(4),
            http10: false,
            keep_alive: true,
            expects_continue: false,
            upgrade: false,
            is_head: false,
            grpc: false,
            wants_json: false,
        };
        let mut out = Buffer::default();
        out.extend(b"head");
        let body = Body::new(facts.framing, Emit::Framed, None);
        Sending::new(method, facts, out, 4, body)
    }

    async fn connected() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = TcpStream::connect(listener.local_addr().unwrap());
        let (own, accepted) = tokio::join!(own, listener.accept());
        let own = own.unwrap();
        own.writable().await.unwrap();
        (Stream::Plain(own), accepted.unwrap().0)
    }

    #[test]
    fn a_piece_of_the_body_leaves_with_the_head_and_is_gone_then() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let (mut target, mut peer) = connected().await;
            let mut sending = waiting(Method::POST);
            assert!(sending.is_whole());
            let mut cx = Context::from_waker(Waker::noop());
            sending.pass(&mut cx, &mut target, b"body");
            assert!(sending.out.is_empty() && sending.streamed && !sending.is_whole());
            drop(target);
            let mut got = Vec::new();
            peer.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"headbody");
        });
    }

    #[test]
    fn what_a_target_did_not_take_can_be_sent_to_another() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let (mut target, _peer) = connected().await;
            let mut cx = Context::from_waker(Waker::noop());
            let done = Pin::new(&mut target).poll_shutdown(&mut cx);
            assert!(matches!(done, Poll::Ready(Ok(()))));
            let mut sending = waiting(Method::POST);
            sending.pass(&mut cx, &mut target, b"body");
            assert!(sending.stopped && !sending.streamed);
            sending.rewind();
            assert_eq!(sending.out.as_slice(), b"headbody");
            assert!(sending.is_whole());
        });
    }
}
