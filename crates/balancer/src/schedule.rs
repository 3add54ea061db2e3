//! The order of turns of smooth weighted round robin: weights 5, 1, 1 give A A B A C A A.
//!
//! The turns of one cycle are worked out once; picking is then one step of a counter that all threads share. A turn
//! whose target cannot be used is skipped and the next turn taken, so nobody inherits the turns of a missing neighbour:
//! each turn is used once, and shares stay in proportion whatever is missing.

/// One cycle of turns; each turn is an index into the weights it was made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Schedule {
    turns: Vec<u32>,
}

/// Longest cycle; larger sums of weights are scaled down to it.
const MAX_TURNS: u64 = 4096;

impl Schedule {
    /// Works out the cycle for these weights; a weight of 0 gets no turn.
    pub fn new(weights: &[u32]) -> Self {
        let weights = reduce(weights);
        let total: i64 = weights.iter().sum();
        let mut current = vec![0i64; weights.len()];
        let mut turns = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
        for _ in 0..total {
            let mut best = None;
            for (index, weight) in weights
                .iter()
                .enumerate()
                .filter(|(_, weight)| **weight > 0)
            {
                current[index] += weight;
                if best.is_none_or(|best: usize| current[index] > current[best]) {
                    best = Some(index);
                }
            }
            if let Some(best) = best {
                current[best] -= total;
                turns.push(u32::try_from(best).unwrap_or(u32::MAX));
            }
        }
        Self { turns }
    }

    /// Number of turns in a cycle; 0 if every weight is 0.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// True if nobody has a turn.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Whose turn it is at a position of the ever-growing counter; `None` only if the schedule is empty.
    pub fn turn(&self, position: u64) -> Option<u32> {
        let len = u64::try_from(self.turns.len())
            .ok()
            .filter(|len| *len > 0)?;
        let index = usize::try_from(position % len).ok()?;
        self.turns.get(index).copied()
    }
}

/// Divides by the common divisor, then scales down to at most [`MAX_TURNS`] turns; a weight above 0 stays above 0.
fn reduce(weights: &[u32]) -> Vec<i64> {
    let divisor = weights
        .iter()
        .fold(0u64, |divisor, weight| gcd(divisor, u64::from(*weight)))
        .max(1);
    let total: u64 = weights
        .iter()
        .map(|weight| u64::from(*weight) / divisor)
        .sum();
    let scaled = |weight: u32| {
        let weight = u64::from(weight) / divisor;
        if total <= MAX_TURNS || weight == 0 {
            weight
        } else {
            (weight * MAX_TURNS / total).max(1)
        }
    };
    weights
        .iter()
        .map(|weight| i64::try_from(scaled(*weight)).unwrap_or(i64::MAX))
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letters(weights: &[u32]) -> String {
        let schedule = Schedule::new(weights);
        (0..schedule.len() as u64)
            .map(|at| char::from(b'A' + u8::try_from(schedule.turn(at).unwrap()).unwrap()))
            .collect()
    }

    #[test]
    fn turns_are_spread_as_by_hand() {
        assert_eq!(letters(&[5, 1, 1]), "AABACAA");
        assert_eq!(letters(&[1, 1, 1]), "ABC");
        assert_eq!(letters(&[2, 1]), "ABA");
        assert_eq!(letters(&[10, 10]), "AB");
        assert_eq!(letters(&[1, 0, 1]), "AC");
        assert_eq!(letters(&[0, 0]), "");
        assert_eq!(letters(&[]), "");
    }

    #[test]
    fn a_long_cycle_is_scaled_and_keeps_the_small_ones() {
        let weights: Vec<u32> = (0..100).map(|n| if n == 7 { 1 } else { 997 - n }).collect();
        let schedule = Schedule::new(&weights);
        assert!(schedule.len() <= 4096 + 100, "{}", schedule.len());
        assert!((0..schedule.len() as u64).any(|at| schedule.turn(at) == Some(7)));
    }

    proptest! {
        #[test]
        fn a_cycle_holds_each_one_in_proportion(weights in proptest::collection::vec(0u32..30, 1..8)) {
            let schedule = Schedule::new(&weights);
            let mut counts = vec![0u64; weights.len()];
            for at in 0..schedule.len() as u64 {
                counts[schedule.turn(at).unwrap() as usize] += 1;
            }
            let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            for (count, weight) in counts.iter().zip(&weights) {
                prop_assert_eq!(count * total, u64::from(*weight) * schedule.len() as u64);
            }
        }
    }
}
