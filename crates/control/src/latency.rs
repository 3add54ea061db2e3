//! How long things took, by buckets.

use serde::{Deserialize, Serialize};

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
}
