//! How long things took, by buckets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the buckets of [`Times`] end, in microseconds.
const ENDS_US: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Times of one kind since the forwarder started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// How many there were in each bucket. The buckets end at 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10 and 30 s; the
    /// last has no end.
    pub counts: Vec<u64>,
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Times {
    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time that so many percent of them took at most, evenly spread within its bucket; 30 s for what took longer. `None` if there
    /// were none.
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let wanted = self.total() as f64 * f64::from(percent) / 100.0;
        let (mut below, mut begins_us) = (0.0, 0);
        for (count, ends_us) in self.counts.iter().zip(ENDS_US) {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                let part = (wanted - below) / count;
                let us = begins_us as f64 + part * (ends_us - begins_us) as f64;
                return Some(Duration::from_micros(us as u64));
            }
            (below, begins_us) = (below + count, ends_us);
        }
        (self.total() > 0).then(|| Duration::from_micros(begins_us))
    }

    /// Takes in others.
    pub fn add(&mut self, others: &Times) {
        let length = self.counts.len().max(others.counts.len());
        self.counts.resize(length, 0);
        for (count, more) in self.counts.iter_mut().zip(&others.counts) {
            *count += more;
        }
        self.sum_us += others.sum_us;
    }
}

/// What the requests or connections of a group have waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTimes {
    /// A place at a target; those that had to wait.
    pub queue: Times,
    /// A connection to a target; those that did not find an open one.
    pub connect: Times,
    /// The first byte of the answer, from the moment the request was given to the target.
    pub first_byte: Times,
}

/// What a target has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerTotals {
    /// Its answers by the first digit of their status: 1xx first, 5xx last.
    pub by_class: [u64; 5],
    /// How many answers it has begun.
    pub first_bytes: u64,
    /// How long it took to begin them, all together, in microseconds.
    pub first_byte_sum_us: u64,
    /// The same by buckets, as in [`Times::counts`]; empty from a daemon that does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_byte_counts: Vec<u64>,
}

impl AnswerTotals {
    /// How long it took to begin its answers.
    pub fn first_byte(&self) -> Times {
        Times {
            counts: self.first_byte_counts.clone(),
            sum_us: self.first_byte_sum_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_where_their_bucket_does() {
        let millis = |ms: f64| Some(Duration::from_micros((ms * 1000.0) as u64));
        assert_eq!(Times::default().percentile(50), None);
        // 98 between 2.5 and 5 ms, one up to 250 ms, one beyond 30 s.
        let mut counts = vec![0; 16];
        (counts[3], counts[8], counts[15]) = (98, 1, 1);
        let mut times = Times { counts, sum_us: 7 };
        assert_eq!(times.percentile(49), millis(3.75));
        assert_eq!(times.percentile(98), millis(5.0));
        assert_eq!(times.percentile(99), millis(250.0));
        assert_eq!(times.percentile(100), millis(30_000.0));
        times.add(&times.clone());
        assert_eq!((times.total(), times.sum_us), (200, 14));
        assert_eq!(times.percentile(49), millis(3.75));
    }
}
