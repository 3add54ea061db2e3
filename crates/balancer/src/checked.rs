//! What the checks of a target have found, counted: for charts, not for decisions.

use std::time::{Duration, Instant};

use crate::target::Health;

/// What the checks of a target have found since it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckTotals {
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// How often the target has gone down for it.
    pub falls: u64,
    /// How long it has been down altogether.
    pub down: Duration,
}

/// The same with what it takes to go on counting.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    totals: CheckTotals,
    down_since: Option<Instant>,
}

impl Checked {
    /// Counts a check, and what the target is after it.
    pub(crate) fn count(&mut self, now: Instant, passed: bool, health: Health) {
        match passed {
            true => self.totals.passed += 1,
            false => self.totals.failed += 1,
        }
        match (self.down_since, health) {
            (None, Health::Down) => {
                self.totals.falls += 1;
                self.down_since = Some(now);
            }
            (Some(since), Health::Up | Health::Unknown) => {
                self.totals.down += now.saturating_duration_since(since);
                self.down_since = None;
            }
            (None, Health::Up | Health::Unknown) | (Some(_), Health::Down) => {}
        }
    }

    /// The totals, the time it is down at this moment included.
    pub(crate) fn totals(&self, now: Instant) -> CheckTotals {
        let since = self.down_since;
        let down = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        CheckTotals {
            down: self.totals.down + down,
            ..self.totals
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_falls_and_the_time_down_are_counted() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut checked = Checked::default();
        checked.count(at(0), true, Health::Up);
        checked.count(at(5), false, Health::Up);
        checked.count(at(6), false, Health::Down);
        checked.count(at(7), false, Health::Down);
        // Still down while it has to pass twice.
        checked.count(at(8), true, Health::Down);
        let totals = checked.totals(at(9));
        let expected = CheckTotals {
            passed: 2,
            failed: 3,
            falls: 1,
            down: Duration::from_secs(3),
        };
        assert_eq!(totals, expected);
        checked.count(at(10), true, Health::Up);
        assert_eq!(checked.totals(at(60)).down, Duration::from_secs(4));
        checked.count(at(70), false, Health::Down);
        let totals = checked.totals(at(72));
        assert_eq!((totals.falls, totals.down), (2, Duration::from_secs(6)));
    }
}
