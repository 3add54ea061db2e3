//! What goes into an exchange and what comes out of it, as values.

use std::time::Duration;

use http::Method;

use crate::access_log::record::Slip;
use crate::alarm::Alarm;
use crate::buffers::Buffer;
use crate::http::body::{Body, BodyError};
use crate::http::changes::AnswerChanges;
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

    /// True if so many more bytes of the body are to be kept, so that the request can be sent once more.
    pub(super) fn can_hold(&self, more: usize) -> bool {
        !self.streamed && self.method.is_idempotent() && self.out.held() + more <= HELD_BYTES
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
