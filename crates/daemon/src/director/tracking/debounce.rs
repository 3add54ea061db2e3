//! Single looks become a standing: up or down. Pure.
//!
//! ```text
//!   (nothing known) ──first look──► up or down
//!   up ──`fall` failures in a row──► down ──`rise` passes in a row──► up
//!   down, and it has gone down three times within a minute: up only after it has passed for half a minute without a break
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many times down within [`FLAP_WINDOW`] is flapping.
const FLAPS: usize = 3;
/// See [`FLAPS`].
const FLAP_WINDOW: Duration = Duration::from_secs(60);
/// How long something that flaps has to pass without a break until it counts as up.
const STEADY: Duration = Duration::from_secs(30);

/// The standing of one thing.
#[derive(Debug, Clone)]
pub(super) struct Debounce {
    rise: u32,
    fall: u32,
    up: Option<bool>,
    /// Looks in a row that speak against the standing.
    against: u32,
    passing_since: Option<Instant>,
    falls: VecDeque<Instant>,
}

impl Debounce {
    /// Nothing known yet. Both counts are at least 1.
    pub(super) fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            up: None,
            against: 0,
            passing_since: None,
            falls: VecDeque::new(),
        }
    }

    /// A standing without looks.
    pub(super) fn assumed(rise: u32, fall: u32, up: bool) -> Self {
        Self {
            up: Some(up),
            ..Self::new(rise, fall)
        }
    }

    /// The standing; none before the first look.
    pub(super) fn up(&self) -> Option<bool> {
        self.up
    }

    /// Whether it is down and must be steady before it counts as up.
    pub(super) fn is_flapping(&self, now: Instant) -> bool {
        self.up == Some(false) && self.has_flapped(now)
    }

    /// Takes one look in; whether the standing has changed.
    pub(super) fn note(&mut self, now: Instant, passed: bool) -> bool {
        if passed {
            self.passing_since.get_or_insert(now);
        } else {
            self.passing_since = None;
        }
        let Some(up) = self.up else {
            self.up = Some(passed);
            return true;
        };
        if passed == up {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let turns = if up {
            self.against >= self.fall
        } else {
            self.against >= self.rise && self.is_steady(now)
        };
        if turns {
            self.against = 0;
            self.up = Some(passed);
            if !passed {
                self.note_fall(now);
            }
        }
        turns
    }

    fn note_fall(&mut self, now: Instant) {
        self.falls.push_back(now);
        if self.falls.len() > FLAPS {
            self.falls.pop_front();
        }
    }

    fn has_flapped(&self, now: Instant) -> bool {
        let recent = |at: &&Instant| now.saturating_duration_since(**at) < FLAP_WINDOW;
        self.falls.iter().filter(recent).count() >= FLAPS
    }

    fn is_steady(&self, now: Instant) -> bool {
        let steady = |since| now.saturating_duration_since(since) >= STEADY;
        !self.has_flapped(now) || self.passing_since.is_some_and(steady)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks one second apart, `1` for a pass; the standing after each, `?` before the first change.
    fn standings(rise: u32, fall: u32, looks: &str) -> String {
        let start = Instant::now();
        let mut debounce = Debounce::new(rise, fall);
        let mut seen = String::new();
        for (second, look) in looks.chars().enumerate() {
            let before = debounce.up();
            let changed = debounce.note(start + Duration::from_secs(second as u64), look == '1');
            assert_eq!(changed, before != debounce.up());
            seen.push(if debounce.up() == Some(true) {
                '1'
            } else {
                '0'
            });
        }
        seen
    }

    #[test]
    fn the_first_look_decides_and_later_ones_in_a_row() {
        assert_eq!(standings(2, 3, "1001000110101100"), "1111110011111111");
        assert_eq!(standings(2, 3, "0101100011"), "0000111001");
        assert_eq!(standings(1, 1, "0110"), "0110");
    }

    #[test]
    fn what_flaps_must_be_steady_for_half_a_minute() {
        // Down at 1, 3 and 5 s: three times. Passing from 6 s on, it is steady at 36 s.
        let looks = format!("101010{}", "1".repeat(40));
        let seen = format!("101010{}{}", "0".repeat(30), "1".repeat(10));
        assert_eq!(standings(1, 1, &looks), seen);
        // A failure at 20 s begins the half minute anew: steady at 51 s.
        let looks = format!("101010{}0{}", "1".repeat(14), "1".repeat(40));
        let seen = format!("101010{}{}", "0".repeat(45), "1".repeat(10));
        assert_eq!(standings(1, 1, &looks), seen);
    }

    #[test]
    fn three_falls_in_more_than_a_minute_are_no_flapping() {
        let looks = format!("10{}0{}01", "1".repeat(29), "1".repeat(29));
        assert!(standings(1, 1, &looks).ends_with("01"));
    }

    #[test]
    fn flapping_is_said_as_long_as_it_is_held_down() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut debounce = Debounce::new(1, 1);
        for second in 0..6 {
            debounce.note(at(second), second % 2 == 0);
        }
        assert!(debounce.is_flapping(at(6)));
        assert!(!debounce.note(at(6), true) && debounce.is_flapping(at(7)));
        assert!(debounce.note(at(36), true) && !debounce.is_flapping(at(36)));
    }
}
