//! What a client may do that costs us more than it: streams it opens and resets (rapid reset), and frames that ask for an
//! answer or for nothing at all.
//!
//! Each such thing takes from an allowance that fills again with time and with requests that are served. Who has used it up
//! is told to calm down and cut off.

use std::cell::Cell;
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

/// For each DATA frame it was sent, a client may widen so many windows: that of the stream and that of the connection, twice if it likes.
const WIDENED: u32 = 4;
/// So many it may put off.
const MAX_OWED: u32 = 100_000;

/// The allowance of one client.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    left: u32,
    filled_at: Instant,
    exhausted: bool,
    /// Windows the client may still widen for what it was sent.
    owed: u32,
}

impl Manners {
    /// A client that has just come.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: ALLOWANCE,
            filled_at: now,
            exhausted: false,
            owed: 0,
        }
    }

    /// Something was done that costs.
    pub(crate) fn spend(&mut self, now: Instant, cost: u32) {
        self.fill(now);
        self.exhausted |= cost > self.left;
        self.left = self.left.saturating_sub(cost);
    }

    /// A piece of an answer goes out, for which the client will widen windows.
    pub(crate) fn sent_data(&mut self) {
        self.owed = (self.owed + WIDENED).min(MAX_OWED);
    }

    /// The client widens a window. It costs what it would if there was no reason to.
    pub(crate) fn widens(&mut self, now: Instant) {
        match self.owed.checked_sub(1) {
            Some(owed) => self.owed = owed,
            None => self.spend(now, FRAME),
        }
    }

    /// True once more was spent than there was; no waiting makes that good.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled_at);
        let steps = u32::try_from(since.as_millis() / REFILL_INTERVAL.as_millis());
        match steps {
            Ok(steps) if steps < ALLOWANCE => {
                self.left = (self.left + steps).min(ALLOWANCE);
                self.filled_at += REFILL_INTERVAL * steps;
            }
            Ok(_) | Err(_) => {
                self.left = ALLOWANCE;
                self.filled_at = now;
            }
        }
    }

    /// A request was served to its end.
    pub(crate) fn earn(&mut self) {
        self.left = (self.left + EARNED).min(ALLOWANCE);
    }
}

/// Something that is said once a second at most, whatever happens.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Cell<Option<Instant>>);

impl Seldom {
    /// True if it may be said again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let due = |last: Instant| now.saturating_duration_since(last) >= Duration::from_secs(1);
        let is_due = self.0.get().is_none_or(due);
        if is_due {
            self.0.set(Some(now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a stream can be reset at this moment; then nothing is left.
    fn times(manners: &mut Manners, now: Instant) -> u32 {
        let mut times = 0;
        loop {
            let mut next = manners.clone();
            next.spend(now, RESET);
            if next.is_exhausted() {
                return times;
            }
            *manners = next;
            times += 1;
        }
    }

    #[test]
    fn what_is_said_seldom_is_said_once_a_second() {
        let begin = Instant::now();
        let seldom = Seldom::default();
        let said = |ms| seldom.is_due(begin + Duration::from_millis(ms));
        assert_eq!(
            [0, 1, 999, 1000, 1500].map(said),
            [true, false, false, true, false]
        );
    }

    #[test]
    fn windows_are_widened_for_what_was_sent() {
        let now = Instant::now();
        let mut manners = Manners::new(now);
        for _ in 0..100_000 {
            manners.sent_data();
            (0..2).for_each(|_| manners.widens(now));
        }
        // What was sent pays for 99,998 more, and there is the allowance.
        (0..101_998).for_each(|_| manners.widens(now));
        assert!(!manners.is_exhausted());
        manners.widens(now);
        assert!(manners.is_exhausted());
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
