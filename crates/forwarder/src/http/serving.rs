//! Has one request answered: picks a target, opens or reuses a connection, and repeats what may be repeated.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use balancer::{
    Attempt, BodyProgress, Failure, Group, Lease, Outcome, Retry, Target, TargetId, decide_retry,
};

use crate::cause::Cause;
use crate::http::answer::Refusal;
use crate::http::body::Framing;
use crate::http::connection::{After, Connection, Request};
use crate::http::exchange::{End, Exchange, ExchangeTimeouts, Fault, RequestFault, Sending};
use crate::relay::{self, RelayEnd, RelayTimeouts};
use crate::upstream::Upstream;

/// Answers one request.
pub(crate) async fn serve(connection: &mut Connection, request: Request) -> After {
    let Request { mut sending, group } = request;
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
            .or_else(|| group.pick(Instant::now(), random, &tried))
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
    let address = target.settings().address;
    let timeouts = &group.settings().timeouts;
    let pooled = if fresh {
        None
    } else {
        connection.worker.pool.take(address, Instant::now())
    };
    let mut upstream = match pooled {
        Some(upstream) => upstream,
        None => {
            match Upstream::connect(address, timeouts.connect, &mut connection.client.alarm).await {
                Ok(upstream) => upstream,
                Err(error) => return Tried::Failed(Failed::to_connect(), error.cause()),
            }
        }
    };
    let reused = upstream.reused;
    let closing = connection.is_closing();
    let limits = ExchangeTimeouts {
        client_idle: connection.listener.settings().timeouts.body_idle,
        first_byte: timeouts.first_byte,
        target_idle: timeouts.idle,
    };
    let mut exchange = Exchange::new(
        &mut connection.client,
        &mut upstream,
        sending,
        limits,
        closing,
    );
    let end = poll_fn(|cx| exchange.poll(cx)).await;
    let response_seen = exchange.response_seen();
    drop(exchange);
    let failed = |failure, outcome, cause| {
        Tried::Failed(
            Failed {
                failure,
                outcome,
                reused,
                response_seen,
            },
            cause,
        )
    };
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
        End::Switched => switch(connection, upstream).await,
        End::Failed(Fault::Closed) => {
            let cause = if reused && !response_seen {
                Cause::ReusedClosed
            } else {
                Cause::TargetReset
            };
            failed(Failure::Closed, Outcome::Reset, cause)
        }
        End::Failed(Fault::TimedOut) => {
            failed(Failure::TimedOut, Outcome::TimedOut, Cause::TargetTimeout)
        }
        End::Failed(Fault::Stalled) => {
            failed(Failure::TimedOut, Outcome::TimedOut, Cause::TargetStalled)
        }
        End::Failed(Fault::BadResponse(why)) => {
            tracing::debug!(target = target.settings().name, reason = %why, "answer not understood");
            failed(
                Failure::BadResponse,
                Outcome::BadResponse,
                Cause::BadResponse,
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
        End::Cut {
            needs_reset,
            timed_out,
        } => {
            let (outcome, cause) = match timed_out {
                true => (Outcome::TimedOut, Cause::TargetCutTimeout),
                false => (Outcome::Reset, Cause::TargetCut),
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
async fn switch(connection: &mut Connection, mut upstream: Upstream) -> Tried {
    let settings = &connection.listener.settings().timeouts;
    let timeouts = RelayTimeouts {
        idle: settings.tunnel,
        half_closed: settings.half_closed,
    };
    let client = &mut connection.client;
    let from_client = std::mem::take(&mut client.input);
    let from_target = std::mem::take(&mut upstream.input);
    let end = relay::run(
        &mut client.stream,
        &mut upstream.stream,
        from_client,
        from_target,
        timeouts,
        &mut client.alarm,
    );
    let end = end.await;
    if let Some(cause) = end.cause() {
        connection.note(cause, "");
    }
    let after = if end == RelayEnd::TargetGone {
        After::Reset
    } else {
        After::Close
    };
    Tried::Ended(end.outcome(), after)
}

async fn refuse(connection: &mut Connection, sending: &Sending, cause: Cause) -> After {
    let unread = !sending.body.is_done();
    connection
        .answer(&cause.into(), Some(&sending.facts), unread)
        .await
}
