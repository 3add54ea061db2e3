//! Requests that need no target: the answer is sent, and the rest of the request is read so that the next one can follow.

use std::future::poll_fn;
use std::task::Poll;

use crate::buffers::{self, Buffer, with_scratch};
use crate::cause::Cause;
use crate::http::answer::{self, DRAINED_BYTES};
use crate::http::body::Body;
use crate::http::connection::{After, Connection};
use crate::http::request::RequestFacts;

/// A request with its answer.
#[derive(Debug)]
pub(crate) struct Direct {
    /// What the head said.
    pub(crate) facts: RequestFacts,
    /// What of the body is still to come.
    pub(crate) body: Body,
    /// The whole answer.
    pub(crate) answer: Buffer,
    /// The client was told that the connection ends.
    pub(crate) closes: bool,
}

/// Answers one request.
pub(crate) async fn serve(connection: &mut Connection, mut request: Direct) -> After {
    if !connection.send(&mut request.answer).await {
        connection.note(Cause::ClientGone, "");
        return After::Close;
    }
    let goes_on = !request.closes && answer::may_go_on(&request.facts);
    if goes_on && drain(connection, &mut request.body).await {
        return After::Next;
    }
    if request.body.is_done() {
        After::Close
    } else {
        After::Linger
    }
}

/// Reads what is left of a body; false if it is too much, malformed, or does not come.
async fn drain(connection: &mut Connection, body: &mut Body) -> bool {
    let limit = connection.listener.settings().timeouts.body_idle;
    let mut left = DRAINED_BYTES;
    while !body.is_done() {
        if left == 0 {
            return false;
        }
        let client = &mut connection.client;
        client.alarm.set(limit);
        let read = poll_fn(|cx| {
            let read = with_scratch(|scratch| {
                let count = match buffers::poll_read(&mut client.stream, cx, scratch) {
                    Poll::Ready(Ok(count)) if count > 0 => count,
                    Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                };
                let Ok(passed) = body.filter(&mut scratch[..count]) else {
                    return Poll::Ready(None);
                };
                client.record.bytes_in += passed.consumed as u64;
                client.input.extend(&scratch[passed.consumed..count]);
                Poll::Ready(Some(passed.consumed))
            });
            match read {
                Poll::Pending => client.alarm.poll(cx).map(|()| None),
                ready => ready,
            }
        });
        match read.await {
            Some(count) => left = left.saturating_sub(count as u64),
            None => return false,
        }
    }
    true
}
