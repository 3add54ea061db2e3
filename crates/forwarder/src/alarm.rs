//! One timer for all the waits of a connection.
//!
//! Setting it is a store: the runtime's timer is moved only when the time comes nearer, or when it fires too early.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that moves often and fires seldom.
#[derive(Debug)]
pub(crate) struct Alarm {
    deadline_at: Instant,
    /// There once somebody has waited: many a connection ends without a wait.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Fires `after` this time from now on.
    pub(crate) fn new(after: Duration) -> Self {
        Self {
            deadline_at: Instant::now() + after,
            sleep: None,
        }
    }

    /// Moves the deadline to `after` this time from now on, and tells what time it is.
    pub(crate) fn set(&mut self, after: Duration) -> std::time::Instant {
        let now = std::time::Instant::now();
        self.set_at(now, after);
        now
    }

    /// The same where it is known that it is `now`.
    pub(crate) fn set_at(&mut self, now: std::time::Instant, after: Duration) {
        self.deadline_at = Instant::from_std(now) + after;
        if let Some(sleep) = &mut self.sleep
            && self.deadline_at < sleep.deadline()
        {
            sleep.as_mut().reset(self.deadline_at);
        }
    }

    /// Moves the deadline to `after` this time from now on, unless it is nearer already.
    pub(crate) fn shorten(&mut self, after: Duration) {
        if Instant::now() + after < self.deadline_at {
            self.set(after);
        }
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline_at = self.deadline_at;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline_at)));
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline_at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline_at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn it_fires_at_the_last_deadline_set_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let begin = Instant::now();
            let mut alarm = Alarm::new(Duration::from_millis(10));
            alarm.set(Duration::from_millis(60));
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(
                begin.elapsed() >= Duration::from_millis(60),
                "{:?}",
                begin.elapsed()
            );
            alarm.set(Duration::from_secs(3600));
            alarm.set(Duration::from_millis(20));
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{:?}",
                begin.elapsed()
            );
        });
    }
}
