//! What serves the streams of a client: a task for each slot, that goes on after an answer, so that the next stream finds
//! everything in place: the task, its memory, the timer and the place in the queues.
//!
//! ```text
//!   begun with a stream --> serves it --> waits for another --> ends with its client, or when nobody comes
//!                             |   ^______________|
//!                             v
//!                            ends, if the served end is not where it began
//! ```
//!
//! A lane is to its streams what a kept connection is to requests. A client has no more of them than it has had streams at once,
//! and none after a while without any.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::spawn_local;

use crate::alarm::Alarm;
use crate::http2::client::Client;
use crate::http2::conduit::Conduit;
use crate::http2::core::End;

/// The lanes of one client, by their slots.
#[derive(Default)]
pub(crate) struct Lanes(RefCell<Vec<Option<Place>>>);

/// Where a lane is told that there is something to do.
struct Place {
    waker: Waker,
    /// There will be no more streams.
    quits: bool,
}

impl Lanes {
    /// Something is new about the stream in this slot.
    pub(crate) fn wake(&self, client: &Rc<Client>, at: usize) {
        let mut places = self.0.borrow_mut();
        if places.len() <= at {
            places.resize_with(at + 1, || None);
        }
        match &places[at] {
            Some(place) => place.waker.wake_by_ref(),
            None if client.with_core(|core| core.is_taken(at)) => {
                places[at] = Some(Place {
                    waker: Waker::noop().clone(),
                    quits: false,
                });
                spawn_local(run(Rc::clone(client), at));
            }
            None => {}
        }
    }

    /// Ends a lane that waits.
    pub(crate) fn quit(&self, at: usize) {
        if let Some(Some(place)) = self.0.borrow_mut().get_mut(at) {
            place.quits = true;
            place.waker.wake_by_ref();
        }
    }

    /// Leaves the waker; true if there will be no more streams.
    fn register(&self, at: usize, waker: &Waker) -> bool {
        let mut places = self.0.borrow_mut();
        let Some(Some(place)) = places.get_mut(at) else {
            return true;
        };
        if !place.waker.will_wake(waker) {
            place.waker = waker.clone();
        }
        place.quits
    }

    fn leave(&self, at: usize) {
        let mut places = self.0.borrow_mut();
        places[at] = None;
        if places.iter().all(Option::is_none) {
            *places = Vec::new();
        }
    }
}

/// Serves the streams of one slot.
async fn run(client: Rc<Client>, at: usize) {
    {
        let mut serving = pin!(client.serve(Conduit::new(&client, at)));
        let mut lane = Lane {
            client: &client,
            at,
            gone: false,
            stalled: None,
        };
        poll_fn(|cx| lane.poll(cx, serving.as_mut())).await;
    }
    client.lanes.leave(at);
    client.with_core(|core| core.vacate(at));
}

struct Lane<'c> {
    client: &'c Rc<Client>,
    at: usize,
    /// The served end has ended.
    gone: bool,
    /// Runs while the client takes nothing; with it, how much it had taken.
    stalled: Option<(Alarm, u64)>,
}

impl Lane<'_> {
    /// Ready once no stream can be served any more.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut serving: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<()> {
        let quits = self.client.lanes.register(self.at, cx.waker());
        // Who serves a stream that was reset is not asked any more.
        let reset = matches!(self.end(), Some(End::Reset | End::Cut | End::Left));
        if !reset && !self.gone {
            self.gone = serving.as_mut().poll(cx).is_ready();
        }
        match self.end() {
            None if !self.client.with_core(|core| core.is_taken(self.at)) => {
                return match self.gone || quits {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                };
            }
            None => {
                if self.poll_client(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            Some(End::Served) if self.is_tunnel() && !self.gone => return Poll::Pending,
            Some(End::Served | End::Reset | End::Cut | End::Left) => {}
        }
        let served = self.end() == Some(End::Served);
        let gone = self.gone || self.is_tunnel() || self.client.is_closed();
        let now = Instant::now();
        let rests = self.client.with_core(|core| core.rest(now, self.at, gone));
        if rests {
            self.stalled = None;
            return Poll::Pending;
        }
        if served && !self.gone {
            // It sees that nothing more comes.
            let _ = serving.as_mut().poll(cx);
        }
        Poll::Ready(())
    }

    fn end(&self) -> Option<End> {
        self.client.with_core(|core| core.end_of(self.at))
    }

    fn is_tunnel(&self) -> bool {
        self.client.with_core(|core| core.is_tunnel(self.at))
    }

    /// Waits for the stream to end; ready if that had to be done here.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (client, at) = (self.client, self.at);
        let Some(sent) = client.with_core(|core| core.waits_for_client(at)) else {
            self.stalled = None;
            if !self.gone {
                return Poll::Pending;
            }
            client.with_core(|core| core.cut_stream(at, End::Cut));
            return Poll::Ready(());
        };
        let idle = client.body_idle();
        let (alarm, before) = self.stalled.get_or_insert_with(|| (Alarm::new(idle), sent));
        while alarm.poll(cx).is_ready() {
            if *before == sent {
                client.with_core(|core| core.cut_stream(at, End::Left));
                client.note_left();
                return Poll::Ready(());
            }
            *before = sent;
            alarm.set(idle);
        }
        Poll::Pending
    }
}
