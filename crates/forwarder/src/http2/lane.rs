//! A conduit whose served end goes on after an answer, so that the next stream of the client finds everything in place: the
//! task, its memory, the timer and the place in the queues.
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

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::task::spawn_local;

use crate::http2::conduit::{Outlet, pair};
use crate::http2::connection::Client;
use crate::http2::stream;

/// A stream that was begun.
pub(crate) type Begun = (Request<RecvStream>, SendResponse<Bytes>);

/// The lanes of one client that wait for a stream.
#[derive(Default)]
pub(crate) struct Lanes {
    waiting: RefCell<Vec<Rc<Lane>>>,
    closed: Cell<bool>,
}

impl Lanes {
    /// Serves a stream, in a lane that waits or in one of its own.
    pub(crate) fn serve(&self, client: &Rc<Client>, begun: Begun) {
        let waiting = self.waiting.borrow_mut().pop();
        match waiting {
            Some(lane) => lane.tell(Some(begun)),
            None => drop(spawn_local(run(Rc::clone(client), begun))),
        }
    }

    /// Ends the lanes that wait.
    pub(crate) fn release(&self) {
        for lane in self.waiting.take() {
            lane.tell(None);
        }
    }

    /// No lane waits any more.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.release();
    }
}

/// Where a lane is told what to do next.
#[derive(Default)]
struct Lane {
    told: RefCell<Option<Option<Begun>>>,
    waker: RefCell<Option<Waker>>,
}

impl Lane {
    /// The stream to be served, or that there will be none.
    fn tell(&self, next: Option<Begun>) {
        *self.told.borrow_mut() = Some(next);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Waits for the next stream; `None` if there will be none, or if the served end has ended.
    async fn next(
        self: &Rc<Self>,
        lanes: &Lanes,
        mut serving: Pin<&mut impl Future<Output = ()>>,
        outlet: &Outlet,
    ) -> Option<Begun> {
        if lanes.closed.get() {
            return None;
        }
        lanes.waiting.borrow_mut().push(Rc::clone(self));
        // The served end has been asked just now, with the last answer.
        let mut asked = true;
        poll_fn(|cx| {
            if let Some(next) = self.told.borrow_mut().take() {
                return Poll::Ready(next);
            }
            let mut ended = || serving.as_mut().poll(cx).is_ready() || !outlet.is_at_rest();
            if !std::mem::take(&mut asked) && ended() {
                let is_other = |lane: &Rc<Lane>| !Rc::ptr_eq(lane, self);
                lanes.waiting.borrow_mut().retain(is_other);
                return Poll::Ready(None);
            }
            let mut waker = self.waker.borrow_mut();
            if !waker
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// Serves one stream, and others after it.
async fn run(client: Rc<Client>, begun: Begun) {
    let (conduit, outlet) = pair(client.facts.clone());
    let mut serving = pin!(client.serve(conduit));
    let lane = Rc::new(Lane::default());
    let mut next = Some(begun);
    while let Some(begun) = next {
        if !stream::serve(&client, &outlet, serving.as_mut(), begun).await {
            return;
        }
        next = lane.next(&client.lanes, serving.as_mut(), &outlet).await;
    }
}
