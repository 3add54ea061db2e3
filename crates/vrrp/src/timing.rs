//! Skew_Time and Active_Down_Interval (RFC 9568 §6.1, RFC 3768 §6.1).
//!
//! Lengths are nanoseconds: in whole centiseconds routers with near priorities would have the same skew.

use std::time::Duration;

use crate::types::{Interval, Priority, Version};

/// How long a Backup waits after a farewell, and beyond three intervals, so that the better one is first.
///
/// v3: `(256 - priority) / 256` of the interval heard; v2: the same share of one second.
#[must_use]
pub fn skew_time(version: Version, priority: Priority, interval: Interval) -> Duration {
    let whole = match version {
        Version::V2 => Duration::from_secs(1),
        Version::V3 => interval.as_duration(),
    };
    whole * (256 - u32::from(priority.value())) / 256
}

/// Silence after which a Backup holds the Active router for gone: three intervals and the skew.
#[must_use]
pub fn down_interval(version: Version, priority: Priority, interval: Interval) -> Duration {
    interval.as_duration() * 3 + skew_time(version, priority, interval)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn micros(version: Version, priority: u8, centis: u16) -> (u128, u128) {
        let interval = Interval::from_centis(centis).unwrap();
        let priority = Priority::new(priority);
        let skew = skew_time(version, priority, interval).as_micros();
        (skew, down_interval(version, priority, interval).as_micros())
    }

    #[test]
    fn v3_times_scale_with_the_interval() {
        assert_eq!(micros(Version::V3, 254, 100), (7_812, 3_007_812));
        assert_eq!(micros(Version::V3, 200, 100), (218_750, 3_218_750));
        assert_eq!(micros(Version::V3, 150, 100), (414_062, 3_414_062));
        assert_eq!(micros(Version::V3, 100, 100), (609_375, 3_609_375));
        assert_eq!(micros(Version::V3, 1, 100), (996_093, 3_996_093));
        assert_eq!(micros(Version::V3, 100, 10), (60_937, 360_937));
        assert_eq!(micros(Version::V3, 200, 10), (21_875, 321_875));
        assert_eq!(micros(Version::V3, 100, 200), (1_218_750, 7_218_750));
    }

    #[test]
    fn a_learned_interval_of_3_s_gives_its_own_times() {
        assert_eq!(micros(Version::V3, 100, 300), (1_828_125, 10_828_125));
        assert_eq!(micros(Version::V3, 200, 300), (656_250, 9_656_250));
    }

    #[test]
    fn v2_skew_is_a_share_of_a_second_whatever_the_interval() {
        assert_eq!(micros(Version::V2, 100, 200), (609_375, 6_609_375));
        assert_eq!(micros(Version::V2, 254, 200), (7_812, 6_007_812));
        assert_eq!(micros(Version::V2, 1, 200), (996_093, 6_996_093));
        assert_eq!(micros(Version::V2, 100, 100), (609_375, 3_609_375));
    }

    #[test]
    fn neighbouring_priorities_differ_at_100_ms() {
        let (near, _) = micros(Version::V3, 101, 10);
        assert_eq!(near, 60_546);
    }

    /// In whole centiseconds 25 neighbours would be alike at 100 ms.
    #[test]
    fn no_two_priorities_share_a_skew_at_any_interval() {
        for centis in 1..=4095 {
            let interval = Interval::from_centis(centis).unwrap();
            let skew = |priority| skew_time(Version::V3, Priority::new(priority), interval);
            let longer = |priority: u8| skew(priority) > skew(priority + 1);
            assert!((1..254).all(longer), "{interval}");
        }
    }
}
