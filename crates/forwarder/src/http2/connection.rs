//! A client that speaks HTTP/2: reads its frames, has its streams served, sends their answers together, and ends as it should.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite as _;

use crate::alarm::Alarm;
use crate::buffers::{self, Buffer, with_scratch};
use crate::cause::Cause;
use crate::http2::client::Client;
use crate::http2::core::Fault;
use crate::http2::frame::Reason;
use crate::idlers::IdleSlot;
use crate::listener::Admission;
use crate::stream::Stream;
use crate::worker::Worker;

/// How long a connection without streams keeps what the next ones can be served in.
const LANES_KEPT: Duration = Duration::from_secs(1);
/// How long a client may still finish what it has begun, once it was told that the connection ends and nothing is left.
const CLOSING_GRACE: Duration = Duration::from_secs(1);
/// Bytes that are read of a client that was cut off, so that our last words are not lost to a reset.
const LINGER_BYTES: usize = 64 * 1024;
/// Entries for which memory is kept.
const KEPT_ENTRIES: usize = 128;
/// Fewer bytes wait for those of streams that go on.
const WORTH_IT: usize = 48 * 1024;
/// Reads in one turn: others are to have theirs.
const READS: u32 = 8;

/// Serves one connection; `alarm` says how long the client has left to begin, if some of its time is over.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    stream: Stream,
    ends: (SocketAddr, SocketAddr),
    admission: Admission,
    alarm: Option<Alarm>,
) {
    let begins_within = {
        let current = admission.listener().current.load();
        current.settings().timeouts.header
    };
    let slot = IdleSlot::new(&worker.idlers);
    let facts = stream.facts().cloned();
    let client = Rc::new(Client::new(worker, ends, admission, facts));
    let mut serving = Serving {
        client,
        stream,
        input: Buffer::default(),
        alarm: alarm.unwrap_or_else(|| Alarm::new(begins_within)),
        slot,
        stage: Stage::Begins,
        leaving: false,
        half_sent: None,
        opened_at: Instant::now(),
    };
    poll_fn(|cx| serving.poll(cx)).await;
    let Serving { client, .. } = serving;
    client.close();
    client.core().give_up();
    dispatch(&client);
    release(&client);
}

/// Tells lanes what is new, and counts what is to be counted; true if any was told.
fn dispatch(client: &Rc<Client>) -> bool {
    let (mut woken, mut notes) = {
        let mut core = client.core();
        let told = core.told();
        if told.woken.is_empty() && told.notes.is_empty() {
            return false;
        }
        (
            std::mem::take(&mut told.woken),
            std::mem::take(&mut told.notes),
        )
    };
    for (cause, detail) in notes.drain(..) {
        client.note(cause, detail);
    }
    let any = !woken.is_empty();
    for at in woken.drain(..) {
        client.lanes.wake(client, at);
    }
    // Their memory is used again, if it is little.
    if woken.capacity() <= KEPT_ENTRIES && notes.capacity() <= KEPT_ENTRIES {
        let mut core = client.core();
        let told = core.told();
        (told.woken, told.notes) = (woken, notes);
    }
    any
}

/// Ends the lanes that wait.
fn release(client: &Client) {
    let resting = client.core().take_resting();
    resting.iter().for_each(|at| client.lanes.quit(*at));
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The client has yet to begin.
    Begins,
    /// There are streams.
    Busy,
    /// There are none; what serves them is kept.
    Idle,
    /// Nor is that.
    Resting,
    /// The last words are on their way.
    Closing,
    /// They were sent; so many bytes may still come.
    Lingering(usize),
}

/// A connection that is being served.
struct Serving {
    client: Rc<Client>,
    stream: Stream,
    /// What has come of a frame.
    input: Buffer,
    alarm: Alarm,
    slot: IdleSlot,
    stage: Stage,
    /// The client was told that the connection ends.
    leaving: bool,
    /// A header block of which a part is still to come, and until when.
    half_sent: Option<(u32, Alarm)>,
    opened_at: Instant,
}

/// The connection is gone.
struct Gone;

impl Serving {
    /// Ready once the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.looks(cx.waker());
        if matches!(self.stage, Stage::Closing | Stage::Lingering(_)) {
            return self.poll_close(cx);
        }
        let read = self.poll_input(cx);
        let left_unread = self.client.core().is_choked();
        dispatch(&self.client);
        if let Err(Gone) = read {
            return Poll::Ready(());
        }
        let fault = self.client.core().fault();
        if let Some(fault) = fault {
            if fault == Fault::Foreign {
                self.client.note(Cause::Malformed, "handshake");
                return Poll::Ready(());
            }
            let (reason, cause, detail) = match fault {
                Fault::Broken(reason) => (reason, Cause::Malformed, "protocol error"),
                Fault::Foreign | Fault::TooMuch => {
                    (Reason::EnhanceYourCalm, Cause::FrameLimit, "bad manners")
                }
            };
            return self.cut(cx, reason, cause, detail);
        }
        if self.is_late(cx) {
            let reason = Reason::EnhanceYourCalm;
            return self.cut(cx, reason, Cause::HeaderTimeout, "header block");
        }
        self.slot.register(cx.waker());
        let parting = self.slot.is_parting(self.client.local.ip());
        if parting || self.client.admission.listener().is_closing() || self.is_spent() {
            self.leave();
        }
        if self.poll_idle(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.poll_output(cx).is_err() {
            return Poll::Ready(());
        }
        if left_unread && !self.client.core().is_choked() {
            // Nothing else says that there may be something to read.
            cx.waker().wake_by_ref();
        }
        if self.client.core().is_over() {
            return self.begin_close(cx);
        }
        Poll::Pending
    }

    /// Reads what has come.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        for _ in 0..READS {
            if self.client.core().is_choked() {
                return Ok(());
            }
            let Self {
                client,
                stream,
                input,
                ..
            } = self;
            let read = with_scratch(|scratch| {
                let read = buffers::poll_read(stream, cx, scratch);
                if let Poll::Ready(Ok(count @ 1..)) = read {
                    take(client, input, &scratch[..count]);
                }
                read
            });
            match read {
                Poll::Ready(Ok(1..)) if self.client.core().fault().is_some() => return Ok(()),
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(_) | Err(_)) => return Err(Gone),
                Poll::Pending => return Ok(()),
            }
        }
        // There may be more.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Writes what there is to say, and lets streams go on that waited for that.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Gone> {
        loop {
            let mut core = self.client.core();
            while !core.out().is_empty() {
                let out = core.out();
                match Pin::new(&mut self.stream).poll_write(cx, out.as_slice()) {
                    Poll::Ready(Ok(count)) if count > 0 => out.consume(count),
                    Poll::Ready(Ok(_) | Err(_)) => return Err(Gone),
                    Poll::Pending => {
                        out.compact();
                        return Ok(Poll::Pending);
                    }
                }
            }
            core.flush();
            let more = core.out().as_slice().len();
            drop(core);
            let told = dispatch(&self.client);
            if more == 0 {
                break;
            }
            if told && more < WORTH_IT {
                // Those who were told have more, which goes with it.
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(_)) => Err(Gone),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// True if the rest of a header block did not come in time.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let unfinished = self.client.core().unfinished(self.input.as_slice());
        let Some(block) = unfinished else {
            self.half_sent = None;
            return false;
        };
        if self
            .half_sent
            .as_ref()
            .is_none_or(|(sent, _)| *sent != block)
        {
            let current = self.client.admission.listener().current.load();
            let alarm = Alarm::new(current.settings().timeouts.header);
            self.half_sent = Some((block, alarm));
        }
        let alarm = self.half_sent.as_mut().map(|(_, alarm)| alarm);
        alarm.is_some_and(|alarm| alarm.poll(cx).is_ready())
    }

    /// Ends the connection; what it still sends is not looked at.
    fn cut(
        &mut self,
        cx: &mut Context<'_>,
        reason: Reason,
        cause: Cause,
        detail: &'static str,
    ) -> Poll<()> {
        self.client.note_cut(cause, detail);
        self.client.core().cut(reason);
        dispatch(&self.client);
        self.begin_close(cx)
    }

    fn begin_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.input.release();
        self.stage = Stage::Closing;
        self.alarm.set(CLOSING_GRACE);
        self.poll_close(cx)
    }

    /// Sends the last words. Whoever does not take them is left without.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stage == Stage::Closing {
            match self.poll_output(cx) {
                Err(Gone) => return Poll::Ready(()),
                Ok(Poll::Pending) => return self.alarm.poll(cx),
                Ok(Poll::Ready(())) => {}
            }
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.stage = Stage::Lingering(LINGER_BYTES),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return self.alarm.poll(cx),
            }
        }
        while let Stage::Lingering(left @ 1..) = self.stage {
            let read = with_scratch(|scratch| buffers::poll_read(&mut self.stream, cx, scratch));
            match read {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.stage = Stage::Lingering(left.saturating_sub(count));
                }
                Poll::Ready(Ok(_) | Err(_)) => break,
                Poll::Pending => return self.alarm.poll(cx),
            }
        }
        Poll::Ready(())
    }

    /// A connection without streams is left after a while; ready if it is left at once.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (has_begun, busy) = {
            let core = self.client.core();
            (core.has_begun(), core.is_busy())
        };
        if !has_begun {
            return self
                .alarm
                .poll(cx)
                .map(|()| self.client.note(Cause::HeaderTimeout, "handshake"));
        }
        if busy {
            self.stage = Stage::Busy;
            return Poll::Pending;
        }
        if matches!(self.stage, Stage::Begins | Stage::Busy) {
            self.stage = Stage::Idle;
            self.alarm.set(LANES_KEPT.min(self.keepalive()));
        }
        if self.alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.stage == Stage::Idle {
            self.stage = Stage::Resting;
            release(&self.client);
            self.alarm.set(self.keepalive().saturating_sub(LANES_KEPT));
            if self.alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        match self.leaving {
            // Whoever does not say that it has heard has had its time.
            true => self.client.core().leave_now(),
            false => {
                self.leave();
                let _ = self.alarm.poll(cx);
            }
        }
        Poll::Pending
    }

    fn keepalive(&self) -> Duration {
        if self.leaving {
            return CLOSING_GRACE;
        }
        let current = self.client.admission.listener().current.load();
        current.settings().timeouts.keepalive
    }

    /// True if it has had as many requests as it may, or is as old.
    fn is_spent(&self) -> bool {
        let current = self.client.admission.listener().current.load();
        let settings = current.settings();
        let requests = settings.limits.requests;
        requests.is_some_and(|requests| self.client.core().streams_total() >= requests)
            || (settings.timeouts.age).is_some_and(|age| self.opened_at.elapsed() >= age)
    }

    /// Tells the client that no new streams are taken; those it has are served to their end.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.client.core().leave();
            self.alarm.set(CLOSING_GRACE);
        }
    }
}

/// Takes what was read; what is no whole frame is kept until the rest of it comes.
fn take(client: &Client, input: &mut Buffer, bytes: &[u8]) {
    let mut core = client.core();
    let now = Instant::now();
    let mut rest = bytes;
    while !input.is_empty() && !rest.is_empty() && core.fault().is_none() {
        let missing = core.missing(input.as_slice()).min(rest.len());
        input.keep(&rest[..missing]);
        rest = &rest[missing..];
        let taken = core.receive(now, input.as_slice());
        input.consume(taken);
    }
    if rest.is_empty() || core.fault().is_some() {
        return;
    }
    let taken = core.receive(now, rest);
    input.keep(&rest[taken..]);
}
