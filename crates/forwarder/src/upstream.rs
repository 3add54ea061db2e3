//! Connections to targets: opened with a time limit, kept for the next request, checked before they are used again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use balancer::{Outcome, Target};
use tokio::net::TcpStream;

use crate::alarm::Alarm;
use crate::buffers::{self, Buffer};
use crate::cause::Cause;
use crate::http2::upward::Upward;
use crate::idlers::IdleSlot;
use crate::leaving::Watch;
use crate::sockets;
use crate::stream::Stream;

/// A connection to a target.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The connection.
    pub(crate) stream: Stream,
    /// Bytes read and not yet used.
    pub(crate) input: Buffer,
    /// True if it has served a request before.
    pub(crate) reused: bool,
    /// Where the target listens.
    pub(crate) address: SocketAddr,
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The time limit passed.
    #[error("no connection in time")]
    TimedOut,
    /// The target was found dead meanwhile.
    #[error("the target is down")]
    TargetDied,
    /// The system said why.
    #[error("no connection")]
    Failed(#[source] io::Error),
}

impl ConnectError {
    /// The word for it.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::TimedOut => Cause::ConnectTimeout,
            Self::TargetDied => Cause::ConnectDied,
            Self::Failed(_) => Cause::ConnectFailed,
        }
    }
}

impl ConnectError {
    /// What it says about the target. That it was found dead, its check has said already.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::TimedOut | Self::Failed(_) => Outcome::ConnectFailed,
            Self::TargetDied => Outcome::ClientGone,
        }
    }
}

impl Upstream {
    /// Opens a connection to a target; `alarm` is set to the limit.
    pub(crate) async fn connect(
        target: &Target,
        limit: Duration,
        alarm: &mut Alarm,
        slot: &mut IdleSlot,
    ) -> Result<Upstream, ConnectError> {
        alarm.set(limit);
        let address = target.settings().address;
        let watch = Watch::new(target.state());
        let mut connecting = pin!(TcpStream::connect(address));
        let connected = poll_fn(|cx| {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(ConnectError::Failed));
            }
            slot.register(cx.waker());
            if watch.is_dead() {
                return Poll::Ready(Err(ConnectError::TargetDied));
            }
            alarm.poll(cx).map(|()| Err(ConnectError::TimedOut))
        });
        let stream = connected.await?;
        stream.set_nodelay(true).map_err(ConnectError::Failed)?;
        sockets::keep_alive(&stream).map_err(ConnectError::Failed)?;
        Ok(Upstream {
            stream: Stream::Plain(stream),
            input: Buffer::default(),
            reused: false,
            address,
        })
    }

    /// A stream on a connection that has served others.
    pub(crate) fn sharing(upward: Upward, address: SocketAddr) -> Upstream {
        Upstream {
            stream: Stream::Upward(Box::new(upward)),
            input: Buffer::default(),
            reused: true,
            address,
        }
    }

    /// True if the target has neither closed nor sent anything. Costs no system call unless something has come.
    fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        buffers::poll_read(&mut self.stream, &mut cx, &mut byte).is_pending()
    }
}

/// Idle connections to one target that one thread keeps.
const MAX_IDLE_PER_TARGET: usize = 256;

/// The idle connections of one thread, by the target's address.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    upstream: Upstream,
    expires_at: Instant,
}

impl Pool {
    /// The connection used last that is still open, if there is one.
    pub(crate) fn take(&self, address: SocketAddr, now: Instant) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&address)?;
        while let Some(mut last) = kept.pop() {
            if last.expires_at > now && last.upstream.is_quiet() {
                return Some(last.upstream);
            }
        }
        None
    }

    /// Keeps a connection that has done its work for as long as told.
    pub(crate) fn give(&self, mut upstream: Upstream, limit: Duration, now: Instant) {
        if !upstream.input.is_empty() || limit.is_zero() {
            return;
        }
        upstream.reused = true;
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(upstream.address).or_default();
        if kept.len() < MAX_IDLE_PER_TARGET {
            kept.push(Idle {
                upstream,
                expires_at: now + limit,
            });
        }
    }

    /// Closes what has expired or was closed by the target.
    pub(crate) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, kept| {
            kept.retain_mut(|idle| idle.expires_at > now && idle.upstream.is_quiet());
            !kept.is_empty()
        });
    }
}
