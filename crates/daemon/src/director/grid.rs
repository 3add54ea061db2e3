//! Instants on a common grid: what is due at nearly the same time is done in one turn of the loop.

use std::time::{Duration, Instant};

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

#[cfg(test)]
mod tests {
    use super::*;

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
