//! Connections to targets: opened with a time limit, kept for the next request, checked before they are used again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use balancer::{Group, Outcome, SendProxy, Target};
use tokio::net::TcpStream;

use crate::alarm::Alarm;
use crate::buffers::{self, Buffer};
use crate::cause::Cause;
use crate::http2::upward::Upward;
use crate::idlers::IdleSlot;
use crate::leaving::Watch;
use crate::lookout::Lookout;
use crate::proxy_protocol;
use crate::sockets::{self, First};
use crate::stream::Stream;
use crate::tls::targets::Way;
use crate::wire;

/// Whose a connection to a target says it is, in the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Announced {
    version: SendProxy,
    client: SocketAddr,
    local: SocketAddr,
}

impl Announced {
    /// What the group wants to be told about a client that has connected to an address of ours.
    pub(crate) fn to(
        group: &Group,
        (client, local): (SocketAddr, SocketAddr),
    ) -> Option<Announced> {
        group.settings().send_proxy.map(|version| Announced {
            version,
            client,
            local,
        })
    }

    /// Says it on a new connection, before anything else.
    fn write(&self, stream: &TcpStream) -> Result<(), ConnectError> {
        let header = proxy_protocol::header(self.version, Some((self.client, self.local)));
        // Nothing has been sent before: there is room for it.
        match stream.try_write(&header).map_err(ConnectError::Failed)? {
            count if count == header.len() => Ok(()),
            _ => Err(ConnectError::Failed(io::ErrorKind::WriteZero.into())),
        }
    }
}

/// What makes connections to targets alike: one can do the work of another with the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PoolKey {
    /// The target.
    pub(crate) address: SocketAddr,
    /// A connection that carries a client's address is for this client only.
    pub(crate) announced: Option<Announced>,
    /// Whom the target was found to be, and by whose word ([`Way::id`]).
    pub(crate) way: u64,
}

impl PoolKey {
    /// The same for a connection that is for every client.
    pub(crate) fn shared(self) -> Self {
        Self {
            announced: None,
            ..self
        }
    }
}

/// A connection to a target.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The connection.
    pub(crate) stream: Stream,
    /// Bytes read and not yet used.
    pub(crate) input: Buffer,
    /// True if it has served a request before.
    pub(crate) reused: bool,
    /// What makes it like others.
    pub(crate) key: PoolKey,
    /// When it was opened; of a stream on a shared connection, when that began.
    pub(crate) opened_at: Instant,
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
    /// This machine has no descriptor, port or memory left.
    #[error("no room for a connection")]
    UsedUp(#[source] io::Error),
    /// The target is not whom it should be, or does not speak as it should.
    #[error("no TLS")]
    Tls(#[source] io::Error),
}

impl ConnectError {
    /// The word for it.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::TimedOut => Cause::ConnectTimeout,
            Self::TargetDied => Cause::ConnectDied,
            Self::Failed(_) => Cause::ConnectFailed,
            Self::UsedUp(_) => Cause::ConnectUsedUp,
            Self::Tls(_) => Cause::TlsFailed,
        }
    }
}

impl ConnectError {
    /// What it says about the target. That it was found dead, its check has said already; what this machine has not, is
    /// not the target's fault.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::TimedOut | Self::Failed(_) | Self::Tls(_) => Outcome::ConnectFailed,
            Self::TargetDied | Self::UsedUp(_) => Outcome::ClientGone,
        }
    }

    fn of(error: io::Error) -> Self {
        match sockets::is_used_up(&error) {
            true => Self::UsedUp(error),
            false => Self::Failed(error),
        }
    }
}

impl Upstream {
    /// Opens a connection to a target; `alarm` is set to the limit. What leaves at once of `first`, which the target is to hear
    /// first, is moved on in it.
    pub(crate) async fn connect(
        target: &Target,
        (way, announced): (&Way, Option<Announced>),
        (limit, first): (Duration, First<'_>),
        lookout: Option<&Rc<Lookout>>,
        alarm: &mut Alarm,
        slot: &mut IdleSlot,
    ) -> Result<Upstream, ConnectError> {
        alarm.set(limit);
        let address = target.settings().address;
        let watch = Watch::new(target.state());
        let mut connecting = pin!(async {
            let first = match first {
                First::With(_) | First::Target if announced.is_some() || way.is_tls() => First::We,
                first => first,
            };
            if let Some(lookout) = lookout.filter(|_| announced.is_none() && !way.is_tls()) {
                let stream = sockets::connect_watched(address, first, lookout).await;
                return stream.map_err(ConnectError::of);
            }
            // In a box, so that it takes no room where it is not gone this way.
            Box::pin(async {
                let stream = sockets::connect(address, first).await;
                let stream = stream.map_err(ConnectError::of)?;
                announced.map_or(Ok(()), |announced| announced.write(&stream))?;
                way.enter(stream).await.map_err(ConnectError::Tls)
            })
            .await
        });
        let connected = poll_fn(|cx| {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            slot.register(cx.waker());
            if watch.is_dead() {
                return Poll::Ready(Err(ConnectError::TargetDied));
            }
            alarm.poll(cx).map(|()| Err(ConnectError::TimedOut))
        });
        Ok(Upstream {
            stream: connected.await?,
            input: Buffer::default(),
            reused: false,
            key: PoolKey {
                address,
                announced,
                way: way.id(),
            },
            opened_at: Instant::now(),
        })
    }

    /// A stream on a connection that has served others.
    pub(crate) fn sharing(upward: Upward, key: PoolKey) -> Upstream {
        Upstream {
            stream: Stream::Upward(Box::new(upward)),
            input: Buffer::default(),
            reused: true,
            key,
            opened_at: Instant::now(),
        }
    }

    /// True if the target has neither closed nor sent anything. Costs no system call unless something has come.
    fn is_quiet(&mut self) -> bool {
        if let Some(tcp) = self.stream.plain() {
            return wire::is_quiet(tcp);
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        buffers::poll_read(&mut self.stream, &mut cx, &mut byte).is_pending()
    }
}

/// Idle connections to one target that one thread keeps.
const MAX_IDLE_PER_TARGET: usize = 256;

/// Kinds of connections up to which one thread keeps those that are for one client only.
const MAX_KEYS: usize = 1024;

/// The idle connections of one thread, by what makes them alike.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<BTreeMap<PoolKey, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    /// In a box, which goes from hand to hand more easily.
    upstream: Box<Upstream>,
    expires_at: Instant,
}

impl Pool {
    /// The connection used last that is still open, if there is one.
    pub(crate) fn take(&self, key: &PoolKey, now: Instant) -> Option<Box<Upstream>> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(key)?;
        while let Some(mut last) = kept.pop() {
            if last.expires_at > now && last.upstream.is_quiet() {
                return Some(last.upstream);
            }
        }
        None
    }

    /// Keeps a connection that has done its work for as long as told, and no longer than it may become old.
    pub(crate) fn give(
        &self,
        mut upstream: Box<Upstream>,
        (limit, age): (Duration, Duration),
        now: Instant,
    ) {
        let expires_at = (now + limit).min(upstream.opened_at + age);
        if !upstream.input.is_empty() || expires_at <= now {
            return;
        }
        upstream.reused = true;
        let mut idle = self.idle.borrow_mut();
        if upstream.key.announced.is_some() && idle.len() >= MAX_KEYS {
            return;
        }
        let kept = idle.entry(upstream.key).or_default();
        if kept.len() < MAX_IDLE_PER_TARGET {
            kept.push(Idle {
                upstream,
                expires_at,
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
