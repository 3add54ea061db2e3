//! The connections of one thread to targets that speak HTTP/2: shared by many requests, opened when those there are full.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::client::Builder;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::alarm::Alarm;
use crate::http2::unread::{Unread, Watched};
use crate::http2::upward::{Opener, Upward};
use crate::sockets;
use crate::stream::Stream;
use crate::upstream::PoolKey;

/// What a target may send of an answer before its client has taken it.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same of all answers of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a target's header list.
const HEADER_BYTES: u32 = 64 * 1024;
/// Bytes of a request's body that wait in the connection.
const SEND_BUFFER: usize = 64 * 1024;
/// Requests on one connection at a time, whatever the target would take.
const MAX_STREAMS: usize = 100;
/// Connections of one thread to one target.
const MAX_PER_TARGET: usize = 16;

/// A connection to a target.
struct Session {
    opener: Opener,
    /// Held by each of its streams.
    share: Rc<()>,
    used_at: Instant,
    limit: Duration,
    /// From then on it gets no more requests.
    old_at: Instant,
}

impl Session {
    fn streams(&self) -> usize {
        Rc::strong_count(&self.share) - 1
    }

    /// False once the connection has ended.
    fn lives(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.opener.send.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }
}

/// The connections of one thread, by what tells them apart.
#[derive(Default)]
pub(crate) struct Sessions {
    open: RefCell<HashMap<PoolKey, Vec<Session>>>,
    /// How many are being opened.
    opening: RefCell<HashMap<PoolKey, usize>>,
    /// One of those was opened, or was not.
    changed: Notify,
}

/// What a request gets that has found no room on an open connection.
pub(crate) enum Turn<'s> {
    /// A stream on a connection that was opened meanwhile.
    Shared(Upward),
    /// It may open another; as long as it has the place, that counts.
    Opens(Place<'s>),
}

/// A place for a connection that is being opened.
pub(crate) struct Place<'s> {
    sessions: &'s Sessions,
    key: PoolKey,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut opening = self.sessions.opening.borrow_mut();
        match opening.get_mut(&self.key) {
            Some(count @ 2..) => *count -= 1,
            Some(_) | None => drop(opening.remove(&self.key)),
        }
        self.sessions.changed.notify_waiters();
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// A stream on the connection with the fewest, unless all are full; when as many as allowed are, one that waits.
    pub(crate) fn take(&self, key: PoolKey, now: Instant) -> Option<Upward> {
        let mut sessions = self.open.borrow_mut();
        let open = sessions.get_mut(&key)?;
        // Its streams go on without it being here.
        open.retain_mut(|session| session.lives() && session.old_at > now);
        let may_open = open.len() + self.opening(&key) < MAX_PER_TARGET;
        let least = open.iter_mut().min_by_key(|session| session.streams())?;
        let room = least
            .opener
            .send
            .current_max_send_streams()
            .min(MAX_STREAMS);
        if least.streams() >= room && may_open {
            return None;
        }
        least.used_at = now;
        Some(Upward::new(least.opener.clone(), Rc::clone(&least.share)))
    }

    fn opening(&self, key: &PoolKey) -> usize {
        self.opening.borrow().get(key).copied().unwrap_or(0)
    }

    /// Waits until there is room on a connection, or for another one: however many requests come at once for a target that none
    /// is open to. `None` if that is not before the alarm.
    pub(crate) async fn turn(&self, key: PoolKey, alarm: &mut Alarm) -> Option<Turn<'_>> {
        loop {
            if let Some(place) = self.place(key) {
                return Some(Turn::Opens(place));
            }
            let mut changed = pin!(self.changed.notified());
            poll_fn(|cx| match changed.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(())),
                Poll::Pending => alarm.poll(cx).map(|()| None),
            })
            .await?;
            if let Some(upward) = self.take(key, Instant::now()) {
                return Some(Turn::Shared(upward));
            }
        }
    }

    /// A place for another connection, unless as many as allowed are open or being opened.
    fn place(&self, key: PoolKey) -> Option<Place<'_>> {
        let open = self.open.borrow().get(&key).map_or(0, Vec::len);
        if open + self.opening(&key) >= MAX_PER_TARGET {
            return None;
        }
        *self.opening.borrow_mut().entry(key).or_default() += 1;
        Some(Place {
            sessions: self,
            key,
        })
    }

    /// Begins to speak HTTP/2 on a connection that was just opened; a stream on it. It is kept for as long as told when it
    /// has no streams, and gets requests until it is old.
    pub(crate) async fn open(
        &self,
        key: PoolKey,
        stream: Stream,
        (limit, age): (Duration, Duration),
    ) -> io::Result<Upward> {
        if let Some(tcp) = stream.tcp() {
            // Its streams may be silent for long.
            sockets::keep_alive(tcp)?;
        }
        let opener = begin(stream).await?;
        let share = Rc::new(());
        let upward = Upward::new(opener.clone(), Rc::clone(&share));
        let session = Session {
            opener,
            share,
            used_at: Instant::now(),
            limit,
            old_at: Instant::now() + age,
        };
        self.open.borrow_mut().entry(key).or_default().push(session);
        Ok(upward)
    }

    /// Leaves connections that have ended, or were not used for as long as told.
    pub(crate) fn sweep(&self, now: Instant) {
        self.open.borrow_mut().retain(|_, open| {
            open.retain_mut(|session| {
                if session.streams() > 0 {
                    session.used_at = now;
                }
                session.lives() && session.used_at + session.limit > now
            });
            !open.is_empty()
        });
    }
}

/// Begins to speak HTTP/2; the connection lives in a task of its own until nobody can ask by it any more.
pub(crate) async fn begin(stream: Stream) -> io::Result<Opener> {
    let scheme = if stream.is_encrypted() {
        "https"
    } else {
        "http"
    };
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buffer_size(SEND_BUFFER);
    let unread = Unread::default();
    let stream = Watched::new(stream, unread.clone());
    let (send, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    spawn_local(async move {
        // Each of its streams is told by itself what went wrong.
        let _ = connection.await;
    });
    Ok(Opener {
        send,
        scheme,
        unread,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_connections_are_opened_at_once_than_may_be_open() {
        let sessions = Sessions::default();
        let key = PoolKey {
            address: "192.0.2.1:443".parse().unwrap(),
            announced: None,
            way: 0,
        };
        let mut places: Vec<_> = (0..MAX_PER_TARGET)
            .map(|_| sessions.place(key).unwrap())
            .collect();
        let mut soon = Alarm::new(Duration::from_millis(1));
        assert!(sessions.turn(key, &mut soon).await.is_none());
        let mut late = Alarm::new(Duration::from_secs(60));
        let mut waiting = pin!(sessions.turn(key, &mut late));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        places.pop();
        let turn = waiting.await;
        assert!(
            matches!(turn, Some(Turn::Opens(_))),
            "the place of the one that came to nothing"
        );
        drop((turn, places));
        assert!(sessions.opening.borrow().is_empty());
    }
}
