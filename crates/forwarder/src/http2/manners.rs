//! What a client may do that costs us more than it: streams it opens and resets (rapid reset), and frames that ask for an
//! answer or for nothing at all.
//!
//! Each such thing takes from an allowance that fills again with time and with requests that are served. Who has used it up
//! is told to calm down and cut off.

use std::time::{Duration, Instant};

/// The allowance of a client that has just come.
const ALLOWANCE: u32 = 2000;
/// How fast the allowance fills again: by one in this time.
const REFILL_INTERVAL: Duration = Duration::from_millis(2);
/// What a request that was served gives back.
const EARNED: u32 = 10;

/// What a stream costs that is opened and reset.
pub(crate) const RESET: u32 = 10;
/// What a frame costs that asks for an answer, or for nothing.
pub(crate) const FRAME: u32 = 1;

/// The allowance of one client.
#[derive(Debug)]
pub(crate) struct Manners {
    left: u32,
    filled_at: Instant,
}

impl Manners {
    /// A client that has just come.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: ALLOWANCE,
            filled_at: now,
        }
    }

    /// Something was done that costs.
    pub(crate) fn spend(&mut self, now: Instant, cost: u32) {
        self.fill(now);
        self.left = self.left.saturating_sub(cost);
    }

    /// True while there is something left.
    pub(crate) fn has_left(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.left > 0
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled_at);
        let steps = u32::try_from(since.as_millis() / REFILL_INTERVAL.as_millis());
        match steps {
            Ok(steps) if steps < ALLOWANCE => {
                self.left = (self.left + steps).min(ALLOWANCE);
                self.filled_at += REFILL_INTERVAL * steps;
            }
            Ok(_) | Err(_) => *self = Self::new(now),
        }
    }

    /// A request was served to its end.
    pub(crate) fn earn(&mut self) {
        self.left = (self.left + EARNED).min(ALLOWANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often something can be done at this moment.
    fn times(manners: &mut Manners, now: Instant) -> u32 {
        let mut times = 0;
        while manners.has_left(now) {
            manners.spend(now, RESET);
            times += 1;
        }
        times
    }

    #[test]
    fn an_allowance_is_used_up_and_fills_again() {
        let begin = Instant::now();
        let mut manners = Manners::new(begin);
        assert_eq!(times(&mut manners, begin), 200);
        manners.earn();
        assert_eq!(
            times(&mut manners, begin),
            1,
            "what is served counts for it"
        );
        let later = begin + Duration::from_secs(1);
        assert_eq!(times(&mut manners, later), 50, "50 a second");
        assert_eq!(times(&mut manners, later + Duration::from_millis(1)), 0);
        assert_eq!(times(&mut manners, later + Duration::from_millis(20)), 1);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!(
            times(&mut manners, much_later),
            200,
            "no more than it began with"
        );
    }
}
