//! Waits for a place at a target, in the line of the group: until there is one, the time is up, or the client leaves.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use balancer::{Group, Lease, NoPick, PickKey, TargetId};

use crate::alarm::Alarm;
use crate::cause::Cause;
use crate::stream::Stream;
use crate::worker::Worker;

/// A place at a target that is not among those `tried`; `alarm` is set to the limit.
pub(crate) async fn wait(
    worker: &Worker,
    group: &Group,
    (key, tried): (Option<PickKey>, &[TargetId]),
    client: &mut Stream,
    alarm: &mut Alarm,
) -> Result<Lease, Cause> {
    let limits = &group.settings().limits;
    let Some(ticket) = group.queue().join(limits.queue) else {
        return Err(Cause::QueueFull);
    };
    alarm.set(limits.queue_for);
    let mut listening = true;
    let leased = poll_fn(|cx| {
        while ticket.take_call(cx.waker()) {
            match group.pick_in_line(Instant::now(), worker.random(), key, tried) {
                Ok(lease) => return Poll::Ready(Ok(lease)),
                Err(NoPick::Nobody) => {
                    // Nor is there anybody for those behind.
                    ticket.pass();
                    return Poll::Ready(Err(Cause::NoTarget));
                }
                // What is free is perhaps a target this one has tried.
                Err(NoPick::Full) if !tried.is_empty() => ticket.pass(),
                Err(NoPick::Full) => {}
            }
        }
        if listening {
            match client.poll_gone(cx) {
                Poll::Ready(true) => return Poll::Ready(Err(Cause::QueueClientGone)),
                Poll::Ready(false) => listening = false,
                Poll::Pending => {}
            }
        }
        alarm.poll(cx).map(|()| Err(Cause::QueueTimeout))
    });
    let leased = leased.await;
    drop(ticket);
    match &leased {
        Ok(_) if group.queue().waiting() > 0 && group.has_place(Instant::now()) => {
            group.queue().call_for_what_is_free();
        }
        Err(Cause::QueueTimeout) => group.queue().count_timeout(),
        Ok(_) | Err(_) => {}
    }
    leased
}
