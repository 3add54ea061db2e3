//! Reloads that come to one node after the other: keys that are rolled out, taken back or rotated, and members that leave the group and
//! come back; and what strangers and clocks do meanwhile.
//!
//! They are drawn apart from the other troubles.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vrrp::{AuthMode, Freshness};

use super::keys::{Forgery, Ring};
use super::plan::{Blow, MS, Plan, STORM, Trouble, What};

/// Number and secret of two keys.
const FIRST: (u8, u8) = (1, 101);
const SECOND: (u8, u8) = (2, 102);
/// One with the number of the first.
const WRONG: (u8, u8) = (1, 103);

/// The keys of all nodes after each sweep, from the first to the last.
pub(crate) fn rollout() -> Vec<Option<Ring>> {
    let modes = [
        AuthMode::ReceiveOnly,
        AuthMode::Permissive,
        AuthMode::Enforce,
    ];
    let steps = modes.map(|mode| Some(Ring::new(mode, &[FIRST], 1)));
    std::iter::once(None).chain(steps).collect()
}

/// Another key is there, is signed with, is alone.
pub(crate) fn rotation() -> Vec<Option<Ring>> {
    let enforce = |known: &[_], active| Some(Ring::new(AuthMode::Enforce, known, active));
    vec![
        enforce(&[FIRST], 1),
        enforce(&[FIRST, SECOND], 1),
        enforce(&[FIRST, SECOND], 2),
        enforce(&[SECOND], 2),
    ]
}

/// The sweeps as troubles, in order, one after the other, within these times.
pub(crate) fn sweeps(
    rng: &mut StdRng,
    count: usize,
    steps: &[Option<Ring>],
    (from, to): (u64, u64),
) -> Vec<Trouble> {
    let span = (to - from) / steps.len() as u64;
    let mut troubles = Vec::new();
    for (step, ring) in steps.iter().enumerate() {
        let begin = from + span * step as u64;
        for node in 0..count {
            let blow = Blow::Keys(ring.clone());
            let what = What::Node { node, blow };
            let at = begin + rng.random_range(0..span * 3 / 4);
            troubles.push(Trouble { at, what });
        }
    }
    troubles
}

impl Plan {
    /// Draws everything of this module and puts it among the other troubles.
    pub(crate) fn draw_sweeps(&mut self) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x5eed_5eed);
        let mut troubles = self.draw_keys(&mut rng);
        if self.wires() > 1 && rng.random_bool(0.6) {
            troubles.extend(self.draw_groups(&mut rng));
        }
        self.troubles.extend(troubles);
        self.troubles.sort_by_key(|trouble| trouble.at);
    }

    fn draw_keys(&mut self, rng: &mut StdRng) -> Vec<Trouble> {
        let mut steps = match rng.random_range(0..8) {
            0..=2 => return Vec::new(),
            3 | 4 => rollout(),
            5 | 6 => rotation(),
            _ => vec![Some(Ring::new(AuthMode::Enforce, &[FIRST], 1))],
        };
        if rng.random_range(0..4) == 0 {
            steps.reverse();
        }
        self.freshness = if rng.random_bool(0.5) {
            Freshness::Growth
        } else {
            Freshness::Window
        };
        let first = steps.remove(0);
        self.ring_at_last = steps.last().unwrap_or(&first).clone();
        for node in &mut self.nodes {
            node.ring.clone_from(&first);
        }
        let count = self.nodes.len();
        let mut troubles = Vec::new();
        if !steps.is_empty() {
            troubles.extend(sweeps(rng, count, &steps, (700 * MS, STORM - 200 * MS)));
        }
        for _ in 0..rng.random_range(0..6) {
            let at = rng.random_range(700 * MS..STORM);
            let node = rng.random_range(0..count);
            let blow = self.draw_blow(rng);
            troubles.push(Trouble {
                at,
                what: What::Node { node, blow },
            });
        }
        troubles
    }

    fn draw_blow(&self, rng: &mut StdRng) -> Blow {
        let forgeries = [
            Forgery::Unsigned,
            Forgery::OtherSecret,
            Forgery::OtherNumber,
            Forgery::Recorded,
        ];
        match rng.random_range(0..6) {
            0 => Blow::Keys(Some(Ring::new(AuthMode::Enforce, &[WRONG], 1))),
            1 => Blow::Clock {
                // Where the clock counts it may be wrong by less than the window.
                ahead_s: match self.freshness {
                    Freshness::Growth => rng.random_range(-3_600..3_600),
                    Freshness::Window => rng.random_range(-8..8),
                },
            },
            _ => Blow::Forge(forgeries[rng.random_range(0..forgeries.len())]),
        }
    }

    fn draw_groups(&mut self, rng: &mut StdRng) -> Vec<Trouble> {
        let (count, wires) = (self.nodes.len(), self.wires());
        self.apart = (0..wires).map(|_| rng.random_bool(0.2)).collect();
        let mut apart = self.apart.clone();
        let mut troubles = Vec::new();
        for _ in 0..rng.random_range(1..5) {
            let member = rng.random_range(0..wires);
            apart[member] = !apart[member];
            let begin = rng.random_range(700 * MS..STORM - 400 * MS);
            for node in 0..count {
                let blow = Blow::Regroup {
                    member,
                    apart: apart[member],
                };
                let at = begin + rng.random_range(0..200 * MS);
                troubles.push(Trouble {
                    at,
                    what: What::Node { node, blow },
                });
            }
        }
        troubles
    }
}
