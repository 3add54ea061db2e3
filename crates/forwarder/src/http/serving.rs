//! Has one request answered: picks a target, opens or reuses a connection, and repeats what may be repeated.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use balancer::{
    Attempt, BodyProgress, Failure, Group, Lease, Outcome, Retry, Target, TargetId, decide_retry,
};

use crate::cause::Cause;
use crate::http::answer::Refusal;
use crate::http::body::Framing;
use crate::http::connection::{After, Connection, Request};
use crate::http::exchange::{
    ClientSide, Cut, End, Exchange, ExchangeTimeouts, Fault, RequestFault, Sending,
};
use crate::leaving::unless_left;
use crate::relay::{self, RelayEnd, RelayTimeouts};
use crate::upstream::{ConnectError, Upstream};

/// Answers one request.
pub(crate) async fn serve(connection: &mut Connection, request: Request) -> After {
    let Request {
        mut sending,
        group,
        key,
    } = request;
    let Some(group) = group else {
        return After::Close;
    };
    let mut tried: Vec<TargetId> = Vec::new();
    let mut kept: Option<Lease> = None;
    let mut failed = Cause::NoTarget;
    for earlier in 0.. {
        let fresh = kept.is_some();
        let random = connection.worker.random();
        let Some(lease) = kept
            .take()
            .or_else(|| group.pick(Instant::now(), random, key, &tried))
        else {
            break;
        };
        let target = Arc::clone(lease.target());
        let (outcome, retry, cause) =
            match attempt(connection, &group, &target, &mut sending, fresh).await {
                Tried::Ended(outcome, after) => {
                    lease.finish(Instant::now(), outcome);
                    return after;
                }
                Tried::Failed(failure, cause) => {
                    let attempt = describe(&sending, &failure, earlier);
                    (failure.outcome, decide_retry(&attempt), cause)
                }
            };
        tracing::debug!(
            group = group.settings().name,
            target = target.settings().name,
            reason = cause.as_str(),
            retry = ?retry,
            "attempt failed"
        );
        failed = cause;
        match retry {
            Retry::No => {
                lease.finish(Instant::now(), outcome);
                break;
            }
            Retry::FreshConnection => kept = Some(lease),
            Retry::OtherTarget => {
                lease.finish(Instant::now(), outcome);
                tried.push(target.id());
            }
        }
        sending.rewind();
    }
    refuse(connection, &sending, failed).await
}

/// What came of one attempt.
enum Tried {
    /// It is over, well or not, and cannot be repeated.
    Ended(Outcome, After),
    /// Nothing final was sent to the client.
    Failed(Failed, Cause),
}

/// A failure that may perhaps be repeated.
struct Failed {
    failure: Failure,
    outcome: Outcome,
    reused: bool,
    response_seen: bool,
}

impl Failed {
    fn to_connect() -> Self {
        Self {
            failure: Failure::Connect,
            outcome: Outcome::ConnectFailed,
            reused: false,
            response_seen: false,
        }
    }
}

fn describe<'a>(sending: &'a Sending, failed: &Failed, earlier: u32) -> Attempt<'a> {
    let moved = sending.out.moved();
    let body = match (sending.facts.framing, sending.streamed) {
        (Framing::None, _) => BodyProgress::None,
        (_, true) => BodyProgress::Gone,
        (_, false) if moved > sending.head_bytes => BodyProgress::Held,
        // All that was written is the whole of the message.
        (Framing::Length(0), false) => BodyProgress::None,
        (_, false) => BodyProgress::NotStarted,
    };
    Attempt {
        method: &sending.method,
        head_written: sending.streamed || moved > 0,
        body,
        reused: failed.reused,
        response_seen: failed.response_seen,
        failure: failed.failure,
        earlier,
    }
}

async fn attempt(
    connection: &mut Connection,
    group: &Group,
    target: &Target,
    sending: &mut Sending,
    fresh: bool,
) -> Tried {
    let mut upstream = match open(connection, group, target.settings().address, fresh).await {
        Ok(upstream) => upstream,
        Err(error) => return Tried::Failed(Failed::to_connect(), error.cause()),
    };
    let reused = upstream.reused;
    let timeouts = &group.settings().timeouts;
    let limits = ExchangeTimeouts {
        client_idle: connection.listener.settings().timeouts.body_idle,
        first_byte: timeouts.first_byte,
        target_idle: timeouts.idle,
    };
    let closing = connection.is_closing();
    let Connection { client, slot, .. } = &mut *connection;
    let mut exchange = Exchange::new(client, &mut upstream, sending, limits, closing);
    let end = unless_left(target.state(), slot, |cx| exchange.poll(cx)).await;
    let end = end.unwrap_or_else(|| exchange.abandon());
    let response_seen = exchange.response_seen();
    drop(exchange);
    match end {
        End::Done {
            client_goes_on,
            target_reusable,
        } => {
            if target_reusable {
                connection
                    .worker
                    .pool
                    .give(upstream, timeouts.pool_idle, Instant::now());
            }
            Tried::Ended(
                Outcome::Ok,
                after_answer(connection, sending, client_goes_on),
            )
        }
        End::Switched => switch(connection, target, upstream).await,
        End::Failed(fault) => {
            let (failure, outcome, cause) = blame(fault, reused && !response_seen);
            Tried::Failed(
                Failed {
                    failure,
                    outcome,
                    reused,
                    response_seen,
                },
                cause,
            )
        }
        End::BadRequestBody(fault) => {
            drop(upstream);
            let refusal = match fault {
                RequestFault::TimedOut => Cause::BodyTimeout.into(),
                RequestFault::Body(error) => Refusal::from(error),
            };
            let after = connection
                .answer(&refusal, Some(&sending.facts), true)
                .await;
            Tried::Ended(Outcome::ClientGone, after)
        }
        End::Cut { needs_reset, why } => cut(connection, needs_reset, why),
        End::ClientGone => {
            let cause = if response_seen {
                Cause::ClientGone
            } else {
                Cause::ClientGoneEarly
            };
            connection.note(cause, "");
            Tried::Ended(Outcome::ClientGone, After::Reset)
        }
    }
}

/// A connection to the target: a kept one unless it must be `fresh`.
async fn open(
    connection: &mut Connection,
    group: &Group,
    address: SocketAddr,
    fresh: bool,
) -> Result<Upstream, ConnectError> {
    if !fresh && let Some(kept) = connection.worker.pool.take(address, Instant::now()) {
        return Ok(kept);
    }
    let limit = group.settings().timeouts.connect;
    Upstream::connect(address, limit, &mut connection.client.alarm).await
}

/// What a fault is called by those who decide about repeating, who account, and who read.
fn blame(fault: Fault, closed_before_answering_again: bool) -> (Failure, Outcome, Cause) {
    match fault {
        Fault::Closed if closed_before_answering_again => {
            (Failure::Closed, Outcome::Reset, Cause::ReusedClosed)
        }
        Fault::Closed => (Failure::Closed, Outcome::Reset, Cause::TargetReset),
        Fault::TimedOut => (Failure::TimedOut, Outcome::TimedOut, Cause::TargetTimeout),
        Fault::Stalled => (Failure::TimedOut, Outcome::TimedOut, Cause::TargetStalled),
        // Neither's fault: not counted against the target.
        Fault::Left => (Failure::TimedOut, Outcome::ClientGone, Cause::Drained),
        Fault::BadResponse(why) => {
            tracing::debug!(reason = %why, "answer not understood");
            (
                Failure::BadResponse,
                Outcome::BadResponse,
                Cause::BadResponse,
            )
        }
    }
}

/// An answer that broke off: the client is to see that it is not whole.
fn cut(connection: &Connection, needs_reset: bool, why: Cut) -> Tried {
    let (outcome, cause) = match why {
        Cut::Broken => (Outcome::Reset, Cause::TargetCut),
        Cut::TimedOut => (Outcome::TimedOut, Cause::TargetCutTimeout),
        Cut::Left => (Outcome::ClientGone, Cause::Drained),
    };
    connection.note(cause, "");
    Tried::Ended(
        outcome,
        if needs_reset {
            After::Reset
        } else {
            After::Close
        },
    )
}

fn after_answer(connection: &Connection, sending: &Sending, client_goes_on: bool) -> After {
    let unread = !sending.body.is_done() || !connection.client.input.is_empty();
    // A client that meant to go on may be sending its next request already.
    match (client_goes_on, unread || sending.facts.keep_alive) {
        (true, _) => After::Next,
        (false, true) => After::Linger,
        (false, false) => After::Close,
    }
}

/// Both sides have left HTTP: bytes are relayed until they are done.
async fn switch(connection: &mut Connection, target: &Target, mut upstream: Upstream) -> Tried {
    let settings = &connection.listener.settings().timeouts;
    let timeouts = RelayTimeouts {
        idle: settings.tunnel,
        half_closed: settings.half_closed,
    };
    let Connection {
        client: ClientSide {
            stream,
            input,
            alarm,
        },
        slot,
        ..
    } = &mut *connection;
    let from_client = std::mem::take(input);
    let from_target = std::mem::take(&mut upstream.input);
    let end = {
        let streams = (stream, &mut upstream.stream);
        let mut relaying = pin!(relay::run(
            streams,
            from_client,
            from_target,
            timeouts,
            alarm
        ));
        unless_left(target.state(), slot, |cx| relaying.as_mut().poll(cx))
            .await
            .unwrap_or(RelayEnd::Left)
    };
    if let Some(cause) = end.cause() {
        connection.note(cause, "");
    }
    let resets = matches!(end, RelayEnd::TargetGone | RelayEnd::Left);
    Tried::Ended(
        end.outcome(),
        if resets { After::Reset } else { After::Close },
    )
}

async fn refuse(connection: &mut Connection, sending: &Sending, cause: Cause) -> After {
    let unread = !sending.body.is_done();
    connection
        .answer(&cause.into(), Some(&sending.facts), unread)
        .await
}
