//! What is left to chance while a plan runs. Every link and every node has a stream of its own, so that a plan with one trouble less
//! is as much as possible like the one before.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::plan::MS;

/// The longest a packet, or a copy of it, is under way.
pub(crate) const MAX_DELAY: u64 = 8 * MS;
/// How late a timer may be served by a process that runs.
pub(crate) const JITTER: u64 = MS;
/// How long the kernel takes for a claim at most.
pub(crate) const MAX_CLAIM: u64 = 50 * MS;

/// What the number of a stream is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    Node(usize),
    Link { from: usize, to: usize },
}

pub(crate) struct Chance {
    seed: u64,
    smooth: bool,
    streams: BTreeMap<Stream, StdRng>,
}

impl Chance {
    pub(crate) fn new(seed: u64, smooth: bool) -> Self {
        Self {
            seed,
            smooth,
            streams: BTreeMap::new(),
        }
    }

    fn of(&mut self, stream: Stream) -> &mut StdRng {
        let number = match stream {
            Stream::Node(node) => node as u64,
            Stream::Link { from, to } => (from as u64 + 1) << 16 | to as u64,
        };
        let seed = self.seed ^ (number + 1) << 32;
        let begin = || StdRng::seed_from_u64(seed);
        self.streams.entry(stream).or_insert_with(begin)
    }

    /// How late this time.
    pub(crate) fn jitter(&mut self, node: usize) -> u64 {
        if self.smooth {
            return 0;
        }
        self.of(Stream::Node(node)).random_range(0..JITTER)
    }

    /// How long the kernel takes this time.
    pub(crate) fn claim(&mut self, node: usize) -> u64 {
        if self.smooth {
            return MS;
        }
        let rng = self.of(Stream::Node(node));
        let slow = rng.random_range(0..10) == 0;
        rng.random_range(100..if slow { MAX_CLAIM } else { 2 * MS })
    }

    /// Whether a process that was away serves its timer before its socket.
    pub(crate) fn timer_first(&mut self, node: usize) -> bool {
        !self.smooth && self.of(Stream::Node(node)).random_bool(0.5)
    }

    pub(crate) fn loses(&mut self, from: usize, to: usize, percent: u32) -> bool {
        percent > 0 && self.of(Stream::Link { from, to }).random_range(0..100) < percent
    }

    /// How long each copy of a packet is under way: mostly one of them, sometimes two.
    pub(crate) fn delays(&mut self, from: usize, to: usize) -> Vec<u64> {
        if self.smooth {
            return vec![MS / 2];
        }
        let rng = self.of(Stream::Link { from, to });
        let copies = 1 + usize::from(rng.random_range(0..20) == 0);
        let mut delay = || {
            let slow = rng.random_range(0..8) == 0;
            rng.random_range(50..if slow { MAX_DELAY } else { MS })
        };
        (0..copies).map(|_| delay()).collect()
    }
}
