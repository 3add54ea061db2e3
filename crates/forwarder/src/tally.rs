//! What the requests of a listener came to: how long they took, by the class of their answer, and how many bytes went by.
//!
//! Each thread counts on cache lines of its own; they are added up when somebody asks.

pub(crate) mod protocols;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use balancer::{Histogram, Timings};

/// Classes of answers: the first digit of the status, or none if there was no answer.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counts of one thread.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Share {
    times: [Histogram; CLASSES.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// The counts of all threads.
#[derive(Debug)]
pub(crate) struct Tally(Box<[Share]>);

impl Tally {
    /// Nothing counted yet, by so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Share::default()).collect())
    }

    /// Counts a request that is over, answered with this status (0 for none) after so long.
    pub(crate) fn count(&self, thread: usize, status: u16, took: Duration) {
        let class = usize::from(status / 100);
        let times = self.0.get(thread).and_then(|share| share.times.get(class));
        if let Some(times) = times {
            times.observe(took);
        }
    }

    /// Counts bytes received from clients and sent to them.
    pub(crate) fn count_bytes(&self, thread: usize, received: u64, sent: u64) {
        if let Some(share) = self.0.get(thread) {
            share.bytes_in.fetch_add(received, Relaxed);
            share.bytes_out.fetch_add(sent, Relaxed);
        }
    }

    /// How long requests took, by class; those classes that came up.
    pub(crate) fn times(&self) -> Vec<(&'static str, Timings)> {
        let sum = |class: usize| {
            let mut sum = Timings::default();
            self.0
                .iter()
                .for_each(|share| sum.add(&share.times[class].read()));
            sum
        };
        let all = CLASSES.into_iter().zip((0..CLASSES.len()).map(sum));
        all.filter(|(_, times)| times.total() > 0).collect()
    }

    /// Bytes ever received from clients and sent to them.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let sum = |of: fn(&Share) -> &AtomicU64| {
            let shares = self.0.iter();
            shares.map(|share| of(share).load(Relaxed)).sum()
        };
        (sum(|share| &share.bytes_in), sum(|share| &share.bytes_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_apart_and_are_read_together() {
        let tally = Tally::new(2);
        for (thread, status, took_ms) in [(0, 200, 1), (1, 204, 3), (0, 503, 40), (1, 0, 7)] {
            tally.count(thread, status, Duration::from_millis(took_ms));
        }
        tally.count(7, 200, Duration::ZERO); // nobody's: not counted
        tally.count_bytes(0, 10, 100);
        tally.count_bytes(1, 1, 2);
        let times = tally.times();
        let shown: Vec<_> = (times.iter())
            .map(|(class, times)| (*class, times.total(), times.sum_us))
            .collect();
        assert_eq!(
            shown,
            [("none", 1, 7_000), ("2xx", 2, 4_000), ("5xx", 1, 40_000)]
        );
        assert_eq!(tally.bytes(), (11, 102));
    }
}
