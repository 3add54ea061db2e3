//! One look at the surroundings for all virtual routers: a thousand that take over at once need not ask the kernel a thousand times.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use linux::surroundings::Surroundings;

/// How long a look serves.
const SERVES: Duration = Duration::from_millis(200);

thread_local! {
    static LAST: RefCell<Option<(Instant, Surroundings)>> = const { RefCell::new(None) };
}

/// The gateway of the default route over a link.
pub(super) fn gateway(now: Instant, link: &str) -> Option<Ipv4Addr> {
    with(now, |found| found.gateways.get(link).copied())
}

/// Frames that a link has received.
pub(super) fn frames(now: Instant, link: &str) -> Option<u64> {
    with(now, |found| found.received.get(link).copied())
}

fn with<T>(now: Instant, take: impl FnOnce(&Surroundings) -> T) -> T {
    LAST.with_borrow_mut(|last| {
        let serves = last.as_ref().is_some_and(|(at, _)| now < *at + SERVES);
        if !serves {
            // Without the tables nothing is known, which is what an empty look says.
            *last = Some((now, Surroundings::look().unwrap_or_default()));
        }
        let (_, found) = last.get_or_insert_with(|| (now, Surroundings::default()));
        take(found)
    })
}
