//! The line: order, limit, and that no call is lost.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.load(SeqCst)
    }
}

struct Waiter {
    ticket: Ticket,
    bell: Arc<Bell>,
}

impl Waiter {
    /// Joins and waits; the first of a line has had its first try.
    fn join(queue: &Arc<Queue>) -> Waiter {
        let waiter = Waiter {
            ticket: queue.join(100).unwrap(),
            bell: Arc::default(),
        };
        while waiter.is_called() {}
        waiter
    }

    fn is_called(&self) -> bool {
        self.ticket.take_call(&Waker::from(Arc::clone(&self.bell)))
    }
}

#[test]
fn the_first_of_a_line_tries_at_once_and_the_others_wait() {
    let queue = Arc::<Queue>::default();
    let first = queue.join(2).unwrap();
    let second = queue.join(2).unwrap();
    let waker = Waker::noop();
    assert!(first.take_call(waker));
    assert!(!first.take_call(waker), "once");
    assert!(!second.take_call(waker));
    assert!(queue.join(2).is_none(), "full");
    assert_eq!((queue.waiting(), queue.overflows_total()), (2, 1));
    drop((first, second));
    assert_eq!((queue.waiting(), queue.waited_total()), (0, 2));
}

#[test]
fn places_are_given_in_order() {
    let queue = Arc::<Queue>::default();
    let waiters: Vec<_> = (0..3).map(|_| Waiter::join(&queue)).collect();
    for called in 0..3 {
        queue.call_next();
        let rings: Vec<_> = waiters.iter().map(|waiter| waiter.bell.rings()).collect();
        let want: Vec<_> = (0..3).map(|place| usize::from(place <= called)).collect();
        assert_eq!(rings, want);
    }
    queue.call_next();
    assert!(waiters.iter().all(Waiter::is_called));
    assert!(!waiters.iter().any(Waiter::is_called));
}

/// A place that somebody sees free, while the one it was given to has not come to take it, is no second place: the next in the line would
/// be there first.
#[test]
fn what_is_seen_free_is_given_to_nobody_else_while_one_is_called() {
    let queue = Arc::<Queue>::default();
    let (one, two) = (Waiter::join(&queue), Waiter::join(&queue));
    queue.call_next();
    queue.call_for_what_is_free();
    assert_eq!((one.bell.rings(), two.bell.rings()), (1, 0));
    assert!(!two.is_called());
    assert!(one.is_called());
    drop(one);
    queue.call_for_what_is_free();
    assert!(two.is_called());
    drop(two);
    queue.call_for_what_is_free();
}

#[test]
fn a_call_to_one_who_leaves_goes_to_the_next() {
    let queue = Arc::<Queue>::default();
    let (one, two, three) = (
        Waiter::join(&queue),
        Waiter::join(&queue),
        Waiter::join(&queue),
    );
    queue.call_next();
    drop(one);
    assert_eq!((two.bell.rings(), three.bell.rings()), (1, 0));
    assert!(two.is_called());
    // It has made use of its call.
    drop(two);
    assert_eq!(three.bell.rings(), 0);
    queue.call_next();
    assert_eq!(three.bell.rings(), 1);
}

#[test]
fn a_call_during_a_try_is_another_try() {
    let queue = Arc::<Queue>::default();
    let only = Waiter::join(&queue);
    queue.call_next();
    assert!(only.is_called());
    queue.call_next();
    assert!(only.is_called(), "called while it tried");
    assert!(!only.is_called());
}

#[test]
fn one_that_cannot_use_a_place_passes_it_on() {
    let queue = Arc::<Queue>::default();
    let (one, two) = (Waiter::join(&queue), Waiter::join(&queue));
    queue.call_next();
    assert!(one.is_called());
    one.ticket.pass();
    assert_eq!(two.bell.rings(), 1);
}
