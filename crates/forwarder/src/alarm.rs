//! One timer for all the waits of a connection.
//!
//! Setting it is a store: the runtime's timer is moved only when the time comes nearer, or when it fires too early.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that moves often and fires seldom.
#[derive(Debug)]
pub(crate) struct Alarm {
    deadline_at: Instant,
    /// There once somebody has waited: many a connection ends without a wait.
    timer: Option<Pin<Box<Timer>>>,
}

pin_project! {
    /// A timer of the runtime.
    #[derive(Debug)]
    struct Timer {
        #[pin]
        sleep: Sleep,
        // The task that it wakes, by an address that no other has as long as it is to be woken; 0 if that is not known.
        task: usize,
    }
}

impl Timer {
    fn new(deadline_at: Instant) -> Self {
        Self {
            sleep: sleep_until(deadline_at),
            task: 0,
        }
    }

    /// True if it is to wake this task as things stand.
    fn knows(&self, task: usize) -> bool {
        task != 0 && self.task == task && !self.sleep.is_elapsed()
    }

    fn reset(self: Pin<&mut Self>, deadline_at: Instant) {
        let this = self.project();
        this.sleep.reset(deadline_at);
        // If it has fired just now, it has forgotten whom to wake.
        *this.task = 0;
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        *this.task = cx.waker().data() as usize;
        // A task that has had its turn would be told to wait before the timer knows whom to wake.
        pin!(unconstrained(this.sleep)).poll(cx)
    }
}

impl Alarm {
    /// Fires `after` this time from now on.
    pub(crate) fn new(after: Duration) -> Self {
        Self {
            deadline_at: Instant::now() + after,
            timer: None,
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
        if let Some(timer) = &mut self.timer
            && self.deadline_at < timer.sleep.deadline()
        {
            timer.as_mut().reset(self.deadline_at);
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
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(Timer::new(deadline_at)));
        if timer.knows(cx.waker().data() as usize) {
            return Poll::Pending;
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline_at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline_at);
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
            alarm.set(Duration::from_millis(40));
            alarm.set(Duration::from_millis(80));
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(begin.elapsed() >= Duration::from_millis(140));
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

    #[test]
    fn it_wakes_who_has_asked_last_also_when_the_time_comes_nearer() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::new(Duration::from_secs(3600));
            let mut context = Context::from_waker(std::task::Waker::noop());
            assert!(alarm.poll(&mut context).is_pending());
            let mut asked = 0;
            let fired = poll_fn(|cx| {
                asked += 1;
                let fired = alarm.poll(cx);
                if asked == 1 {
                    // Nobody asks again before it fires.
                    alarm.set(Duration::from_millis(20));
                }
                fired
            });
            tokio::time::timeout(Duration::from_secs(60), fired)
                .await
                .unwrap();
            assert!(asked > 1);
        });
    }
}
