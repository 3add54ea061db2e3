//! Targets that must be left: taken out of their group or ordered away, with a time by which connections must end.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use balancer::TargetState;

use crate::idlers::IdleSlot;

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

/// Polls `work` until it is done; `None` if the time by which the target must be left comes first.
pub(crate) async fn unless_left<T>(
    target: &TargetState,
    slot: &mut IdleSlot,
    mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    poll_fn(|cx| {
        if let Poll::Ready(done) = work(cx) {
            return Poll::Ready(Some(done));
        }
        slot.register(cx.waker());
        match target.leave_at() {
            Some(leave_at) if Instant::now() >= leave_at => Poll::Ready(None),
            Some(_) | None => Poll::Pending,
        }
    })
    .await
}
