//! Moves bytes both ways between two connections until both directions have ended.
//!
//! The end of one direction is passed on at once and the other goes on, held to a time limit of its own. A reset is
//! passed on as a reset. Much is moved inside the kernel, little is copied: a pipe costs more than it saves there.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balancer::Outcome;
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use crate::alarm::Alarm;
use crate::buffers::{self, Buffer, with_scratch};
use crate::cause::Cause;
use crate::pipe::Pipe;
use crate::stream::Stream;
use crate::websocket::Frames;

/// Time limits of a relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayTimeouts {
    /// Silence of both directions.
    pub(crate) idle: Duration,
    /// Silence once one direction has ended.
    pub(crate) half_closed: Duration,
}

/// Bytes that went through a relay so far.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// From the client to the target.
    pub(crate) up: Passed,
    /// From the target to the client.
    pub(crate) down: Passed,
}

impl Moved {
    /// Nothing yet, of a WebSocket.
    pub(crate) fn by_frames() -> Self {
        let passed = || Passed {
            frames: Cell::new(Frames::Between),
            ..Passed::default()
        };
        Self {
            up: passed(),
            down: passed(),
        }
    }
}

/// What the sink of one direction has taken so far.
#[derive(Debug)]
pub(crate) struct Passed {
    count: Cell<u64>,
    frames: Cell<Frames>,
}

impl Default for Passed {
    fn default() -> Self {
        Self {
            count: Cell::new(0),
            frames: Cell::new(Frames::Unknown),
        }
    }
}

impl Passed {
    /// Number of bytes.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// True if they end with a frame, and another may follow.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.frames.get() == Frames::Between
    }

    /// So much was sent before anything was relayed.
    pub(crate) fn sent_before(&self, count: usize) {
        self.add_unseen(count);
    }

    fn add(&self, bytes: &[u8]) {
        self.count.set(self.count.get() + bytes.len() as u64);
        let mut frames = self.frames.get();
        if frames != Frames::Unknown {
            frames.pass(bytes);
            self.frames.set(frames);
        }
    }

    fn add_unseen(&self, count: usize) {
        let count = count as u64;
        self.count.set(self.count.get() + count);
        let mut frames = self.frames.get();
        frames.pass_unseen(count);
        self.frames.set(frames);
    }
}

/// How a relay ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RelayEnd {
    /// Both directions ended.
    Done,
    /// The client reset or stopped taking.
    ClientGone,
    /// The target reset or stopped taking.
    TargetGone,
    /// Nothing moved for too long.
    TimedOut,
    /// The target had to be left.
    Left,
    /// The target was found dead, and the group ends what it has there.
    Died,
    /// This process is about to end.
    Stopped,
    /// The address the client has connected to goes to the other node.
    Moved,
    /// Somebody has ordered its end.
    Ordered,
}

/// Bytes of one direction after which it may be moved through a pipe.
const BULK_AFTER: u64 = 256 * 1024;
/// Bytes at a time from which a pipe pays.
const BULK_READ: usize = 16 * 1024;
/// Bytes of one direction after which others have their turn.
const TURN_BYTES: u64 = 256 * 1024;
/// Silence after which the kernel is asked to look whether the peer is still there. Most connections end before.
const FIRST_SILENCE: Duration = Duration::from_secs(10);

impl RelayEnd {
    /// What it says about the target.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Done => Outcome::Ok,
            // Silence is as much the client's as the target's.
            // That it is dead, its check has said already.
            Self::ClientGone
            | Self::TimedOut
            | Self::Left
            | Self::Died
            | Self::Stopped
            | Self::Moved
            | Self::Ordered => Outcome::ClientGone,
            Self::TargetGone => Outcome::Reset,
        }
    }

    /// Why it did not end as it should, if so.
    pub(crate) fn cause(self) -> Option<Cause> {
        match self {
            Self::Done => None,
            Self::ClientGone => Some(Cause::TunnelClientReset),
            Self::TargetGone => Some(Cause::TunnelTargetReset),
            Self::TimedOut => Some(Cause::TunnelTimeout),
            Self::Left => Some(Cause::Drained),
            Self::Died => Some(Cause::TunnelTargetDied),
            Self::Stopped => Some(Cause::TunnelStopped),
            Self::Moved => Some(Cause::TunnelMoved),
            Self::Ordered => Some(Cause::TunnelOrdered),
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    pending: Buffer,
    /// What is being moved inside the kernel.
    pipe: Option<Pipe>,
    /// So much comes at a time that a pipe pays.
    bulk: bool,
    /// A pipe cannot be had, or does not work here.
    copies: bool,
    read_ended: bool,
    ended: bool,
}

enum Side {
    Source,
    Sink,
}

impl Direction {
    /// Moves what can be moved; ready once the direction has ended. `moved` is set if anything was, and what the
    /// sink took is added to `total`. `last`: the other direction has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (source, sink): (&mut Stream, &mut Stream),
        (moved, total): (&mut bool, &Passed),
        last: bool,
    ) -> Poll<Result<(), (Side, io::Error)>> {
        let before = total.count();
        while !self.ended {
            if total.count() - before >= TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            while !self.pending.is_empty() {
                let count = ready!(Pin::new(&mut *sink).poll_write(cx, self.pending.as_slice()));
                let count = count.map_err(|error| (Side::Sink, error))?;
                total.add(&self.pending.as_slice()[..count]);
                self.pending.consume(count);
                *moved = true;
            }
            if self.bulk && !self.copies && source.is_bare() && sink.is_bare() {
                // Whoever moves so much has come to stay.
                source.settle().map_err(|error| (Side::Source, error))?;
                sink.settle().map_err(|error| (Side::Sink, error))?;
            }
            if (self.bulk || self.pipe.is_some())
                && !self.copies
                && let (Some(source), Some(sink)) = (source.plain(), sink.plain())
            {
                ready!(self.poll_pipe(cx, (source, sink), (moved, total)))?;
                if !self.read_ended {
                    continue;
                }
            }
            let flushed = ready!(Pin::new(&mut *sink).poll_flush(cx));
            flushed.map_err(|error| (Side::Sink, error))?;
            if self.read_ended {
                // Nothing comes from the sink any more either: being closed tells it as well.
                if !last || !sink.is_bare() {
                    // A sink that cannot be told is gone; the other direction finds out.
                    let _ = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                }
                self.ended = true;
                *moved = true;
                break;
            }
            ready!(with_scratch(|scratch| {
                let count = ready!(buffers::poll_read(source, cx, scratch))
                    .map_err(|error| (Side::Source, error))?;
                *moved = true;
                self.read_ended = count == 0;
                self.bulk = count >= BULK_READ && total.count() >= BULK_AFTER;
                if self.read_ended {
                    return Poll::Ready(Ok(()));
                }
                let written = match Pin::new(&mut *sink).poll_write(cx, &scratch[..count]) {
                    Poll::Ready(written) => written.map_err(|error| (Side::Sink, error))?,
                    Poll::Pending => 0,
                };
                total.add(&scratch[..written]);
                self.pending.extend(&scratch[written..count]);
                Poll::Ready(Ok(()))
            }))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Direction {
    /// Moves through a pipe what has come at once; pending if that was nothing, or the sink takes no more.
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        (source, sink): (&TcpStream, &TcpStream),
        (moved, total): (&mut bool, &Passed),
    ) -> Poll<Result<(), (Side, io::Error)>> {
        let Some(mut pipe) = self.pipe.take().or_else(Pipe::lend) else {
            self.copies = true;
            return Poll::Ready(Ok(()));
        };
        if pipe.is_empty() {
            match ready!(pipe.poll_fill(cx, source)) {
                Ok(count) => {
                    *moved = true;
                    self.read_ended = count == 0;
                    self.bulk = count >= BULK_READ;
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.copies = true;
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err((Side::Source, error))),
            }
        }
        while !pipe.is_empty() {
            match pipe.poll_drain(cx, sink) {
                Poll::Ready(Ok(count)) => {
                    total.add_unseen(count);
                    *moved = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err((Side::Sink, error))),
                Poll::Pending => {
                    self.pipe = Some(pipe);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Relays until the end. What was read before it began is sent first.
pub(crate) async fn run(
    (client, target): (&mut Stream, &mut Stream),
    from_client: Buffer,
    from_target: Buffer,
    (timeouts, total): (RelayTimeouts, &Moved),
    alarm: &mut Alarm,
) -> RelayEnd {
    let mut up = Direction {
        pending: from_client,
        ..Direction::default()
    };
    let mut down = Direction {
        pending: from_target,
        ..Direction::default()
    };
    let mut watched = false;
    alarm.set(timeouts.idle.min(FIRST_SILENCE));
    let end = poll_fn(|cx| {
        let mut moved = false;
        let ways = ((&mut *client, &mut *target), (&mut moved, &total.up));
        let up_end = up.poll(cx, ways.0, ways.1, down.ended);
        let ways = ((&mut *target, &mut *client), (&mut moved, &total.down));
        let down_end = down.poll(cx, ways.0, ways.1, up.ended);
        match (up_end, down_end) {
            (Poll::Ready(Err((Side::Source, _))), _) | (_, Poll::Ready(Err((Side::Sink, _)))) => {
                return Poll::Ready(RelayEnd::ClientGone);
            }
            (Poll::Ready(Err((Side::Sink, _))), _) | (_, Poll::Ready(Err((Side::Source, _)))) => {
                return Poll::Ready(RelayEnd::TargetGone);
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(RelayEnd::Done),
            (Poll::Pending, _) | (_, Poll::Pending) => {}
        }
        let limit = match up.ended || down.ended {
            true => timeouts.half_closed,
            false => timeouts.idle,
        };
        if moved {
            alarm.set(if watched {
                limit
            } else {
                limit.min(FIRST_SILENCE)
            });
        }
        loop {
            ready!(alarm.poll(cx));
            if watched || limit <= FIRST_SILENCE {
                return Poll::Ready(RelayEnd::TimedOut);
            }
            watched = true;
            client.keep_alive();
            target.keep_alive();
            alarm.set(limit - FIRST_SILENCE);
        }
    });
    let end = end.await;
    match end {
        RelayEnd::Done
        | RelayEnd::TimedOut
        | RelayEnd::Left
        | RelayEnd::Died
        | RelayEnd::Stopped
        | RelayEnd::Moved
        | RelayEnd::Ordered => {}
        RelayEnd::ClientGone => target.reset_on_close(),
        RelayEnd::TargetGone => client.reset_on_close(),
    }
    end
}
