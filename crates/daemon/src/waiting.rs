//! A bounded queue to a thread of its own that takes room only for what waits in it.
//!
//! Whoever sends never waits. The bounded channels of the standard library and others have the room for all that may ever wait from the
//! start; in a process that locks its memory this is room nobody else gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A queue for at most `limit` things.
pub(crate) fn queue<T>(limit: usize) -> (In<T>, Out<T>) {
    let (sender, receiver) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let input = In {
        sender,
        waiting: Arc::clone(&waiting),
        limit,
    };
    (input, Out { receiver, waiting })
}

/// The end that things are put in at.
#[derive(Debug)]
pub(crate) struct In<T> {
    sender: Sender<T>,
    waiting: Arc<AtomicUsize>,
    limit: usize,
}

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            waiting: Arc::clone(&self.waiting),
            limit: self.limit,
        }
    }
}

impl<T> In<T> {
    /// Puts `thing` in; false when the queue is full or nobody takes things out any more, and the thing is lost.
    pub(crate) fn put(&self, thing: T) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.sender.send(thing).is_ok()
    }
}

/// The end that things are taken out at.
#[derive(Debug)]
pub(crate) struct Out<T> {
    receiver: Receiver<T>,
    waiting: Arc<AtomicUsize>,
}

impl<T> Iterator for Out<T> {
    type Item = T;

    /// Waits for the next thing; none when every [`In`] is gone.
    fn next(&mut self) -> Option<T> {
        let thing = self.receiver.recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_refused_and_the_rest_comes_in_order() {
        let (input, mut out) = queue(2);
        let other = input.clone();
        assert!(input.put(1) && other.put(2) && !input.put(3));
        assert_eq!(out.next(), Some(1));
        assert!(input.put(4) && !other.put(5));
        drop((input, other));
        assert_eq!(out.collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn nobody_takes_what_is_put_in_after_the_other_end_is_gone() {
        let (input, out) = queue(2);
        drop(out);
        assert!(!input.put(1));
    }
}
