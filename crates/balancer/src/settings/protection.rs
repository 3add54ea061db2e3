//! What protects the clients of a group from its targets, and the targets from their clients.

use std::time::Duration;

/// When live traffic takes a target out, and for how long: `outlier`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutlierSettings {
    /// Errors in a row that take a target out, at least 1 (default 5).
    pub consecutive_errors: u32,
    /// Whether every answer from 500 on is an error, not only 502, 503 and 504 (default false).
    pub count_5xx: bool,
    /// How long the first time (default 30 s); the n-th time in short order n times as long.
    pub eject: Duration,
    /// The most targets that may be out at a time, in percent of the group, the next one counted in (default 50).
    pub max_ejected: u8,
}

impl OutlierSettings {
    /// The longest time out, unless [`OutlierSettings::eject`] itself is longer.
    pub const MAX_EJECT: Duration = Duration::from_secs(300);

    /// How many of `total` targets may be out at a time: one at least where there are two, none where there is one.
    pub fn allowed(&self, total: usize) -> usize {
        match total {
            0 | 1 => 0,
            total => (total * usize::from(self.max_ejected) / 100).max(1),
        }
    }

    /// How long the `times`-th time in short order.
    pub fn length(&self, times: u32) -> Duration {
        let longest = Self::MAX_EJECT.max(self.eject);
        self.eject.saturating_mul(times.max(1)).min(longest)
    }
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            count_5xx: false,
            eject: Duration::from_secs(30),
            max_ejected: 50,
        }
    }
}

/// How often a request may be tried again: `retry`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetrySettings {
    /// Most further targets tried for one request or connection; 0 for none (default 2).
    pub tries: u32,
    /// Retries in percent of the requests of the group, besides [`crate::RetryBudget::FREE_PER_SECOND`] (default 20).
    pub budget: u8,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            tries: 2,
            budget: 20,
        }
    }
}

/// How much a group gives to a target at once, and who may wait: `limits`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetLimits {
    /// Requests or connections in flight at one target, at least 1; `None` (default) for no limit.
    pub per_target: Option<u32>,
    /// Most requests or connections of the group that wait for a place (default 1000).
    pub queue: u32,
    /// How long one waits at most (default 5 s).
    pub queue_for: Duration,
}

impl Default for TargetLimits {
    fn default() -> Self {
        Self {
            per_target: None,
            queue: 1000,
            queue_for: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_counts_the_next_one_in() {
        let allowed = |max_ejected, total| {
            let settings = OutlierSettings {
                max_ejected,
                ..OutlierSettings::default()
            };
            settings.allowed(total)
        };
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|n| allowed(50, n)),
            [0, 0, 1, 1, 2, 2]
        );
        assert_eq!([2, 3, 10].map(|n| allowed(10, n)), [1, 1, 1]);
        assert_eq!([1, 3].map(|n| allowed(67, n)), [0, 2]);
        assert_eq!([1, 3].map(|n| allowed(0, n)), [0, 1]);
    }

    #[test]
    fn it_grows_up_to_five_minutes() {
        let settings = OutlierSettings::default();
        let seconds = [1, 2, 3, 10, 11, u32::MAX].map(|times| settings.length(times).as_secs());
        assert_eq!(seconds, [30, 60, 90, 300, 300, 300]);
        let long = OutlierSettings {
            eject: Duration::from_secs(600),
            ..settings
        };
        assert_eq!(long.length(2), Duration::from_secs(600));
    }
}
