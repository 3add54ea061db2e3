//! Instants on a common grid: what is due at nearly the same time is done in one turn of the loop.

use std::time::{Duration, Instant};

/// Advertisements leave on a grid whose step divides their interval: this, where it does and is a fiftieth at most,
const ADVERT_STEP: Duration = Duration::from_millis(20);
/// else a hundredth, and this at most: it divides every interval.
const SHORT_ADVERT_STEP: Duration = Duration::from_millis(10);

/// Instants that are a whole number of some step away from a common beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    beginning: Instant,
}

impl Grid {
    pub(super) fn beginning_at(beginning: Instant) -> Self {
        Self { beginning }
    }

    /// The first instant of the grid after `at`.
    pub(super) fn after(self, at: Instant, step: Duration) -> Instant {
        at + self.left(at, step)
    }

    /// `at` if it is on the grid, else the first instant of the grid after it.
    pub(super) fn not_before(self, at: Instant, step: Duration) -> Instant {
        let left = self.left(at, step);
        if left == step { at } else { at + left }
    }

    /// From `at` to the next instant of the grid: a whole step if it is on the grid itself.
    fn left(self, at: Instant, step: Duration) -> Duration {
        let step_ns = step.as_nanos().max(1);
        let past_ns = at.saturating_duration_since(self.beginning).as_nanos() % step_ns;
        Duration::from_nanos(u64::try_from(step_ns - past_ns).unwrap_or(u64::MAX))
    }
}

/// The step of the grid on which advertisements of this interval leave.
pub(super) fn advert_step(interval: Duration) -> Duration {
    let divides = interval.as_micros().is_multiple_of(ADVERT_STEP.as_micros());
    if divides && interval >= 50 * ADVERT_STEP {
        ADVERT_STEP
    } else {
        (interval / 100).min(SHORT_ADVERT_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_for_advertisements_divides_every_interval() {
        for centiseconds in 1..=4095 {
            let interval = Duration::from_millis(10 * centiseconds);
            let step = advert_step(interval);
            assert_eq!(interval.as_nanos() % step.as_nanos(), 0, "{interval:?}");
            assert!(step <= interval / 50, "{interval:?}");
        }
        let of = |ms| advert_step(Duration::from_millis(ms));
        assert_eq!(
            [of(100), of(990), of(1000), of(1010)],
            [1000, 9900, 20_000, 10_000].map(Duration::from_micros)
        );
    }

    #[test]
    fn instants_of_the_grid_are_whole_steps_from_its_beginning() {
        let beginning = Instant::now();
        let grid = Grid::beginning_at(beginning);
        let at = |ms| beginning + Duration::from_millis(ms);
        let step = Duration::from_millis(500);
        for (from, after, not_before) in [
            (0, 500, 0),
            (1, 500, 500),
            (499, 500, 500),
            (500, 1000, 500),
            (7801, 8000, 8000),
        ] {
            assert_eq!(grid.after(at(from), step), at(after));
            assert_eq!(grid.not_before(at(from), step), at(not_before));
        }
    }
}
