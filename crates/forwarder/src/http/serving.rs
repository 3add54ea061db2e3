//! Has one request answered: picks a target, opens or reuses a connection, and repeats what may be repeated.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use balancer::{
    Attempt, BodyProgress, Failure, Group, GroupTimeouts, Lease, NoPick, Outcome, PickKey, Retry,
    Target, TargetId, decide_retry,
};

use crate::cause::Cause;
use crate::http::answer::Refusal;
use crate::http::body::Framing;
use crate::http::connection::{After, Connection, Request};
use crate::http::exchange::{
    ClientSide, Cut, End, Exchange, ExchangeTimeouts, Fault, RequestFault, Sending,
};
use crate::http::sticky::Sticking;
use crate::http::tunnel::{self, Switched};
use crate::http2::sessions::Turn;
use crate::leaving::Watch;
use crate::sockets::First;
use crate::tls::targets::Way;
use crate::upstream::{Announced, ConnectError, PoolKey, Upstream};
use crate::waiting;
use crate::worker::Worker;

/// Answers one request.
pub(crate) async fn serve(connection: &mut Connection, mut request: Box<Request>) -> After {
    let Request {
        sending,
        group,
        key,
        sticking,
    } = &mut *request;
    let after = answer(connection, group, (*key, sticking), sending).await;
    let Request {
        group, sticking, ..
    } = *request;
    connection.client.record.sticky = sticking.count(&group);
    connection.client.record.group = Some(group);
    after
}

async fn answer(
    connection: &mut Connection,
    group: &Group,
    (key, sticking): (Option<PickKey>, &mut Sticking),
    sending: &mut Sending,
) -> After {
    let mut tried: Vec<TargetId> = Vec::new();
    let mut kept: Option<Lease> = None;
    let mut failed: Option<Cause> = None;
    loop {
        let fresh = kept.is_some();
        let begun_at = connection.client.record.just_begun();
        let now = begun_at.unwrap_or_else(Instant::now);
        let leased = match kept.take() {
            Some(lease) => Ok(lease),
            None => place(connection, group, sticking, (now, key, &tried)).await,
        };
        let lease = match leased {
            Ok(lease) => lease,
            // What went wrong first says more than that nobody is left.
            Err(cause) => return refuse(connection, sending, failed.unwrap_or(cause)).await,
        };
        let target = lease.target();
        connection.client.record.attempt(Arc::clone(target));
        let cookies = &mut sending.changes.cookies;
        sticking.met(group, target, &connection.worker, cookies);
        let (outcome, retry, cause) =
            match attempt(connection, (group, &lease, &tried), sending, (now, fresh)).await {
                Tried::Ended(outcome, after) => {
                    lease.finish(connection.client.record.ended_by_now(), outcome);
                    return after;
                }
                Tried::Failed(failure, cause) => {
                    let retry = decide(group, sending, &failure, tried.len());
                    (failure.outcome, retry, cause)
                }
            };
        tracing::debug!(
            group = group.settings().name,
            target = target.settings().name,
            reason = cause.as_str(),
            retry = ?retry,
            "attempt failed"
        );
        failed = Some(cause);
        match retry {
            Retry::No => {
                lease.finish(Instant::now(), outcome);
                return refuse(connection, sending, cause).await;
            }
            Retry::FreshConnection => kept = Some(lease),
            Retry::OtherTarget => {
                tried.push(target.id());
                lease.finish(Instant::now(), outcome);
            }
        }
        group.budget().count_retry();
        sending.rewind();
    }
}

/// A place at a target, waited for if need be.
async fn place(
    connection: &mut Connection,
    group: &Group,
    sticking: &mut Sticking,
    (now, key, tried): (Instant, Option<PickKey>, &[TargetId]),
) -> Result<Lease, Cause> {
    let random = connection.worker.random();
    if let Some(lease) = sticking.pick(group, random, tried.is_empty()) {
        return Ok(lease);
    }
    match group.try_pick(now, random, key, tried) {
        Ok(lease) => Ok(lease),
        Err(NoPick::Nobody) => Err(Cause::NoTarget),
        Err(NoPick::Full) => {
            let begun_at = now;
            // One that is gone is noticed in the line.
            let _ = connection.client.stream.settle();
            let ClientSide { stream, alarm, .. } = &mut connection.client;
            let waited = Box::pin(waiting::wait(
                &connection.worker,
                group,
                (key, tried),
                stream,
                alarm,
            ))
            .await;
            connection.client.record.queued(begun_at);
            waited
        }
    }
}

fn decide(group: &Group, sending: &Sending, failed: &Failed, moves: usize) -> Retry {
    let settings = &group.settings().retry;
    // Where there is nobody else, nothing is spent on the thought.
    let others = u32::try_from(group.total().saturating_sub(1)).unwrap_or(u32::MAX);
    let attempt = describe(sending, failed, moves, settings.tries.min(others));
    decide_retry(&attempt, || {
        let picks = group.picks_total();
        group.budget().take(Instant::now(), picks, settings.budget)
    })
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
    fn to_connect(outcome: Outcome) -> Self {
        Self {
            failure: Failure::Connect,
            outcome,
            reused: false,
            response_seen: false,
        }
    }
}

fn describe<'a>(sending: &'a Sending, failed: &Failed, moves: usize, tries: u32) -> Attempt<'a> {
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
        moves: u32::try_from(moves).unwrap_or(u32::MAX),
        tries,
    }
}

async fn attempt(
    connection: &mut Connection,
    (group, lease, tried): (&Group, &Lease, &[TargetId]),
    sending: &mut Sending,
    (now, fresh): (Instant, bool),
) -> Tried {
    let target = &**lease.target();
    let mut upstream = match open(connection, group, target, (now, fresh)).await {
        Ok(upstream) => upstream,
        Err(error) => return Tried::Failed(Failed::to_connect(error.outcome()), error.cause()),
    };
    let reused = upstream.reused;
    connection.client.record.reused = reused;
    let timeouts = &group.settings().timeouts;
    let limits = ExchangeTimeouts {
        client_idle: connection.listener.settings().timeouts.body_idle,
        first_byte: timeouts.first_byte,
        target_idle: timeouts.idle,
    };
    let closing = connection.is_closing();
    let Connection {
        client,
        slot,
        local,
        ..
    } = &mut *connection;
    let mut exchange = Exchange::new(client, &mut upstream, sending, limits, closing);
    let watch = Watch::new(target.state());
    let end = poll_fn(|cx| {
        if let Poll::Ready(end) = exchange.poll(cx) {
            return Poll::Ready(end);
        }
        slot.register(cx.waker());
        if watch.must_leave() || slot.is_cut(local.ip()) {
            return Poll::Ready(exchange.abandon());
        }
        let may_move = tried.len() < group.settings().retry.tries as usize;
        let elsewhere = || may_move && group.has_other(Instant::now(), target.id(), tried);
        if exchange.gives_up(&watch, elsewhere) {
            return Poll::Ready(End::Failed(Fault::Dead));
        }
        if lease.is_trial() && (200..500).contains(&exchange.status()) {
            lease.serves(Instant::now());
        }
        Poll::Pending
    });
    let end = end.await;
    let (response_seen, status) = (exchange.response_seen(), exchange.status());
    let websocket = exchange.is_websocket();
    let grpc = exchange.grpc_status().filter(|status| *status > 0);
    drop(exchange);
    connection.client.record.answered = response_seen;
    let wants_tunnel = sending.facts.upgrade && connection.client.stream.is_conduit();
    if wants_tunnel && connection.client.record.tunnel_answered() {
        connection.note(Cause::BadResponse, "upgrade not taken up");
    }
    match end {
        End::Done {
            client_goes_on,
            target_reusable,
        } => {
            if target_reusable {
                let now = connection.client.record.ended_by_now();
                let pool = &connection.worker.pool;
                pool.give(upstream, (timeouts.pool_idle, timeouts.pool_age), now);
            }
            let outcome = match (status, grpc) {
                (500.., _) => Outcome::ServerError(status),
                (_, Some(status)) => Outcome::GrpcError(status),
                (_, None) => Outcome::Ok,
            };
            Tried::Ended(outcome, after_answer(connection, sending, client_goes_on))
        }
        End::Switched => {
            // However long the tunnel lasts, this was the answer.
            lease.serves(Instant::now());
            connection.client.record.clock(Instant::now(), true);
            let switched = Switched {
                upstream,
                websocket,
            };
            let (outcome, after) = through(connection, (group, target), switched).await;
            Tried::Ended(outcome, after)
        }
        End::Failed(fault) => {
            let (failure, outcome, cause) = blame(fault, reused && !response_seen);
            let cause = unless_moved(connection, cause);
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

/// The tunnel after an answer, in a box for the same reason as a new connection.
fn through<'c>(
    connection: &'c mut Connection,
    to: (&'c Group, &'c Target),
    switched: Switched,
) -> Pin<Box<dyn Future<Output = (Outcome, After)> + 'c>> {
    Box::pin(tunnel::serve(connection, to, switched))
}

/// A connection to the target: a kept one unless it must be `fresh`.
async fn open(
    connection: &mut Connection,
    group: &Group,
    target: &Target,
    (now, fresh): (Instant, bool),
) -> Result<Box<Upstream>, ConnectError> {
    let settings = group.settings();
    let worker = Rc::clone(&connection.worker);
    let way = worker.targets.way(settings);
    let key = PoolKey {
        address: target.settings().address,
        announced: Announced::to(group, connection.ends()),
        way: way.id(),
    };
    let kept = match settings.http2 {
        _ if fresh => None,
        true => worker
            .sessions
            .take(key.shared(), now)
            .map(|stream| Box::new(Upstream::sharing(stream, key.shared()))),
        false => worker.pool.take(&key, now),
    };
    match kept {
        Some(kept) => Ok(kept),
        None => connect(connection, group, target, (way, key, fresh)).await,
    }
}

/// A new connection to the target. In a box, made here: most requests need none, and would carry the room for it.
fn connect<'c>(
    connection: &'c mut Connection,
    group: &'c Group,
    target: &'c Target,
    (way, key, fresh): (Way, PoolKey, bool),
) -> Pin<Box<dyn Future<Output = Result<Box<Upstream>, ConnectError>> + 'c>> {
    Box::pin(async move {
        let begun_at = Instant::now();
        let settings = group.settings();
        let worker = Rc::clone(&connection.worker);
        let Connection { client, slot, .. } = &mut *connection;
        let _place = match settings.http2 && !fresh {
            true => {
                client.alarm.set(settings.timeouts.connect);
                let turn = worker.sessions.turn(key.shared(), &mut client.alarm);
                match turn.await.ok_or(ConnectError::TimedOut)? {
                    Turn::Shared(upward) => {
                        client.record.connected(begun_at);
                        return Ok(Box::new(Upstream::sharing(upward, key.shared())));
                    }
                    Turn::Opens(place) => Some(place),
                }
            }
            false => None,
        };
        let first = (settings.timeouts.connect, First::We);
        let way = (&way, key.announced);
        let opened = Upstream::connect(target, way, first, None, &mut client.alarm, slot).await;
        client.record.connected(begun_at);
        let opened = match settings.http2 {
            true => share(&worker, opened?, &settings.timeouts).await?,
            false => opened?,
        };
        Ok(Box::new(opened))
    })
}

/// Begins to speak HTTP/2 on a connection that others may use as well from here on.
async fn share(
    worker: &Worker,
    opened: Upstream,
    timeouts: &GroupTimeouts,
) -> Result<Upstream, ConnectError> {
    let Upstream { stream, key, .. } = opened;
    let key = key.shared();
    // Apart, so that the others are not as large as these.
    let limits = (timeouts.pool_idle, timeouts.pool_age);
    let begun = Box::pin(worker.sessions.open(key, stream, limits)).await;
    let upward = begun.map_err(ConnectError::Failed)?;
    Ok(Upstream {
        reused: false,
        ..Upstream::sharing(upward, key)
    })
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
        // The check has said so already: not counted against it once more.
        Fault::Dead => (Failure::Dead, Outcome::ClientGone, Cause::TargetDied),
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

/// What is given up without anybody's fault may be so for another reason than its target.
fn unless_moved(connection: &Connection, cause: Cause) -> Cause {
    match cause == Cause::Drained && connection.slot.is_cut(connection.local.ip()) {
        true => Cause::Moved,
        false => cause,
    }
}

/// An answer that broke off: the client is to see that it is not whole.
fn cut(connection: &mut Connection, needs_reset: bool, why: Cut) -> Tried {
    let (outcome, cause) = match why {
        Cut::Broken => (Outcome::Reset, Cause::TargetCut),
        Cut::TimedOut => (Outcome::TimedOut, Cause::TargetCutTimeout),
        Cut::Left => (Outcome::ClientGone, Cause::Drained),
    };
    connection.note(unless_moved(connection, cause), "");
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

async fn refuse(connection: &mut Connection, sending: &Sending, cause: Cause) -> After {
    let unread = !sending.body.is_done();
    connection
        .answer(&cause.into(), Some(&sending.facts), unread)
        .await
}
