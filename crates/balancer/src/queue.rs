//! Who waits for a place at the targets of a group, first come first served.
//!
//! Whoever finds every target at its limit takes a place in the line and waits to be called; the first of the line tries
//! at once, as a place may have become free meanwhile. Whoever gives back a place calls the first that was not called.
//! A call that was not made use of goes on to the next. Nobody overtakes: while there is a line, newcomers join it, and there are no more
//! calls than free places.
//!
//! The lock guards the line alone: who gives back a place and sees by the counter that nobody waits does not touch it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The line of one group, shared with the plans before and after.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicU32,
    line: Mutex<Line>,
    waited_total: AtomicU64,
    overflows_total: AtomicU64,
    timeouts_total: AtomicU64,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    places: BTreeMap<u64, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Left by one that waits.
    waker: Option<Waker>,
    called: bool,
}

impl Queue {
    /// How many wait.
    pub fn waiting(&self) -> u32 {
        // Sequentially consistent with the counter of a target: whoever has joined the line and found no free place is
        // seen by whoever frees one.
        self.waiting.load(SeqCst)
    }

    /// How many have ever waited.
    pub fn waited_total(&self) -> u64 {
        self.waited_total.load(Relaxed)
    }

    /// How many found the line full.
    pub fn overflows_total(&self) -> u64 {
        self.overflows_total.load(Relaxed)
    }

    /// How many waited in vain.
    pub fn timeouts_total(&self) -> u64 {
        self.timeouts_total.load(Relaxed)
    }

    /// Counts one that waited in vain.
    pub fn count_timeout(&self) {
        self.timeouts_total.fetch_add(1, Relaxed);
    }

    /// Takes a place at the end of the line; `None`, and counted, if `limit` are in it.
    pub fn join(self: &Arc<Self>, limit: u32) -> Option<Ticket> {
        let mut line = self.line();
        if line.places.len() >= limit as usize {
            self.overflows_total.fetch_add(1, Relaxed);
            return None;
        }
        let number = line.next;
        line.next += 1;
        let waiting = Waiting {
            waker: None,
            called: line.places.is_empty(),
        };
        line.places.insert(number, waiting);
        self.waiting.fetch_add(1, SeqCst);
        self.waited_total.fetch_add(1, Relaxed);
        drop(line);
        Some(Ticket {
            queue: Arc::clone(self),
            number,
        })
    }

    /// Calls the first that has not been called. To be called once for each place that becomes free.
    pub fn call_next(&self) {
        if self.waiting() > 0 {
            let waker = self.line().call(0);
            wake(waker);
        }
    }

    /// Calls the first, unless somebody is called already and has still to try: a free place that is merely seen is perhaps that one's, and
    /// whoever gets it looks again for the next.
    pub fn call_for_what_is_free(&self) {
        if self.waiting() > 0 {
            let mut line = self.line();
            let is_called = line.places.values().any(|waiting| waiting.called);
            let waker = if is_called { None } else { line.call(0) };
            drop(line);
            wake(waker);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Each change is whole, also if a waker panicked.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Line {
    /// Calls the first from number `from` on that has not been called.
    fn call(&mut self, from: u64) -> Option<Waker> {
        let mut behind = self.places.range_mut(from..);
        let (_, next) = behind.find(|(_, waiting)| !waiting.called)?;
        next.called = true;
        next.waker.take()
    }

    /// Takes one out; a call it has not made use of goes on.
    fn leave(&mut self, number: u64) -> Option<Waker> {
        let left = self.places.remove(&number)?;
        if left.called {
            self.call(number + 1)
        } else {
            None
        }
    }
}

/// A place in the line, until dropped.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    number: u64,
}

impl Ticket {
    /// True if it was called since it was last asked; then it is to try. Else `waker` is woken when it is called.
    pub fn take_call(&self, waker: &Waker) -> bool {
        let mut line = self.queue.line();
        let Some(waiting) = line.places.get_mut(&self.number) else {
            return true;
        };
        // Taken before the try: a place that becomes free during the try is another call.
        let called = std::mem::take(&mut waiting.called);
        if !called {
            waiting.waker = Some(waker.clone());
        }
        called
    }

    /// There is a free place that is not for this one: the one behind it is called.
    pub fn pass(&self) {
        let next = self.queue.line().call(self.number + 1);
        wake(next);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let next = self.queue.line().leave(self.number);
        self.queue.waiting.fetch_sub(1, SeqCst);
        wake(next);
    }
}

#[cfg(test)]
mod tests;
