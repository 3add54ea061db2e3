//! Targets that must be left: taken out of their group or ordered away, with a time by which connections must end; and
//! targets that are found dead while they are waited for.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use balancer::{Health, OnDown, TargetState};

use crate::idlers::IdleSlot;
use crate::relay::RelayEnd;
use crate::sessions::{Member, Subject};

/// Time after the last deadline in which connections are still woken, so that none is missed.
const MARGIN: Duration = Duration::from_secs(5);

/// Until when connections have to be woken now and then to see whether their target must be left.
#[derive(Debug)]
pub(crate) struct Leaving {
    epoch: Instant,
    until_ms: AtomicU64,
}

impl Leaving {
    /// Nothing must be left.
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            until_ms: AtomicU64::new(0),
        }
    }

    /// A target must be left at this time.
    pub(crate) fn expect(&self, at: Instant) {
        self.until_ms.fetch_max(self.ms(at + MARGIN), Relaxed);
    }

    /// True while a deadline is ahead or has just passed.
    pub(crate) fn is_expected(&self, now: Instant) -> bool {
        self.ms(now) <= self.until_ms.load(Relaxed)
    }

    fn ms(&self, at: Instant) -> u64 {
        // Never 0, so that nothing is expected at the beginning.
        let since = at.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Looks at a target while it is waited for.
#[derive(Debug)]
pub(crate) struct Watch<'w> {
    target: &'w TargetState,
    falls: u32,
}

impl<'w> Watch<'w> {
    /// Begins to look. That its check fails already is nothing new: whoever chose it knew.
    pub(crate) fn new(target: &'w TargetState) -> Self {
        Self {
            target,
            falls: target.falls(),
        }
    }

    /// Goes on looking, since its check had begun to fail so many times.
    pub(crate) fn since(target: &'w TargetState, falls: u32) -> Self {
        Self { target, falls }
    }

    /// True if its check has begun to fail since, and still does.
    pub(crate) fn is_dead(&self) -> bool {
        self.target.falls() != self.falls && self.target.health() == Health::Down
    }

    /// True if its check hears nothing at all.
    pub(crate) fn is_silent(&self) -> bool {
        self.target.is_silent()
    }

    /// True if the time by which it must be left has come.
    pub(crate) fn must_leave(&self) -> bool {
        let leave_at = self.target.leave_at();
        leave_at.is_some_and(|leave_at| Instant::now() >= leave_at)
    }
}

/// Polls a relay until it is done, or has to end because of its target: the time by which that must be left has come, or
/// it is found dead and the group ends what it has there. Or because this process
/// ends, or the address of ours that the client has connected to goes, or somebody has it ended. `subject` is what it says to those who ask
/// what is open on this thread, which has the number `thread`.
pub(crate) async fn unless_left(
    (subject, thread): (&Subject<'_>, usize),
    on_down: OnDown,
    (slot, local): (&mut IdleSlot, IpAddr),
    mut work: impl FnMut(&mut Context<'_>) -> Poll<RelayEnd>,
) -> RelayEnd {
    let watch = Watch::new(subject.target.state());
    let mut member = Member::new(slot.census());
    poll_fn(|cx| {
        if let Poll::Ready(done) = work(cx) {
            return Poll::Ready(done);
        }
        slot.register(cx.waker());
        let is_ended = member.take_part(slot.census(), thread, subject);
        match on_down {
            _ if is_ended => Poll::Ready(RelayEnd::Ordered),
            _ if watch.must_leave() => Poll::Ready(RelayEnd::Left),
            _ if slot.must_end() => Poll::Ready(RelayEnd::Stopped),
            _ if slot.is_cut(local) => Poll::Ready(RelayEnd::Moved),
            OnDown::Close if watch.is_dead() => Poll::Ready(RelayEnd::Died),
            OnDown::Close | OnDown::Keep => Poll::Pending,
        }
    })
    .await
}
