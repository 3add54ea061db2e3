//! The connections of one thread to targets that speak HTTP/2: shared by many requests, opened when those there are full.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::client::Builder;
use tokio::task::spawn_local;

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
pub(crate) struct Sessions(RefCell<HashMap<PoolKey, Vec<Session>>>);

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// A stream on the connection with the fewest, unless all are full; when as many as allowed are, one that waits.
    pub(crate) fn take(&self, key: PoolKey, now: Instant) -> Option<Upward> {
        let mut sessions = self.0.borrow_mut();
        let open = sessions.get_mut(&key)?;
        // Its streams go on without it being here.
        open.retain_mut(|session| session.lives() && session.old_at > now);
        let may_open = open.len() < MAX_PER_TARGET;
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
        self.0.borrow_mut().entry(key).or_default().push(session);
        Ok(upward)
    }

    /// Leaves connections that have ended, or were not used for as long as told.
    pub(crate) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, open| {
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
