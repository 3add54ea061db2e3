//! How long things take, counted by buckets: shared by threads without a lock, and by a plan with those before and after.
//!
//! Percentiles are left to whoever reads the counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Times of one kind, by how long they are.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; Timings::BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one more.
    pub fn observe(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[Timings::bucket(took_us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took_us, Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self) -> Timings {
        Timings {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Relaxed)),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timings {
    /// How many there were in each bucket: up to the bound of its place in [`Timings::BOUNDS_US`] and above the one before;
    /// the last bucket has no bound.
    pub counts: [u64; Timings::BUCKETS],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Timings {
    /// The longest time of each bucket but the last, in microseconds: 0.5 ms to 30 s.
    pub const BOUNDS_US: [u64; 15] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000,
    ];
    /// Number of buckets.
    pub const BUCKETS: usize = Self::BOUNDS_US.len() + 1;

    /// The bucket of a time.
    fn bucket(took_us: u64) -> usize {
        let bound = Self::BOUNDS_US.iter().position(|bound| took_us <= *bound);
        bound.unwrap_or(Self::BOUNDS_US.len())
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Takes in what somebody else has counted.
    pub fn add(&mut self, other: &Timings) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        self.sum_us += other.sum_us;
    }
}

/// What the requests or connections of a group have waited for.
#[derive(Debug, Default)]
pub struct GroupLatency {
    /// A place at a target; those that had to wait.
    pub queue: Histogram,
    /// A connection to a target; those that did not find an open one.
    pub connect: Histogram,
    /// The first byte of an answer, from the moment the request was given to the target.
    pub first_byte: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_up_to_whose_bound_it_reaches() {
        let rows = [
            (0, 0),
            (500, 0),
            (501, 1),
            (1_000, 1),
            (2_600, 3),
            (30_000_000, 14),
            (30_000_001, 15),
            (u64::MAX / 2, 15),
        ];
        for (took_us, bucket) in rows {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_micros(took_us));
            let mut counts = [0; 16];
            counts[bucket] = 1;
            let expected = Timings {
                counts,
                sum_us: took_us,
            };
            assert_eq!(histogram.read(), expected, "{took_us} us");
        }
    }

    #[test]
    fn what_threads_have_counted_adds_up() {
        let [one, other] = [Histogram::default(), Histogram::default()];
        for took_ms in [1, 3, 3] {
            one.observe(Duration::from_millis(took_ms));
            other.observe(Duration::from_millis(took_ms * 10));
        }
        let mut sum = one.read();
        sum.add(&other.read());
        assert_eq!((sum.total(), sum.sum_us), (6, 77_000));
        assert_eq!(sum.counts[..7], [0, 1, 0, 2, 1, 0, 2]);
    }
}
