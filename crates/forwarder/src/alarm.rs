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
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Fires `after` this time from now on.
    pub(crate) fn new(after: Duration) -> Self {
        let deadline_at = Instant::now() + after;
        Self {
            deadline_at,
            sleep: Box::pin(sleep_until(deadline_at)),
        }
    }

    /// Moves the deadline to `after` this time from now on, and tells what time it is.
    pub(crate) fn set(&mut self, after: Duration) -> std::time::Instant {
        let now = Instant::now();
        self.deadline_at = now + after;
        if self.deadline_at < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.deadline_at);
        }
        now.into_std()
    }

    /// Moves the deadline to `after` this time from now on, unless it is nearer already.
    pub(crate) fn shorten(&mut self, after: Duration) {
        if Instant::now() + after < self.deadline_at {
            self.set(after);
        }
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.deadline_at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.deadline_at);
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
