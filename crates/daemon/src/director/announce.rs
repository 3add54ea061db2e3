//! When gratuitous ARP and unsolicited neighbour advertisements are due: a burst now, again after delays, then a slow refresh.
//!
//! Pure: it keeps times and sends nothing.

use std::time::{Duration, Instant};

use config::Announce;

/// The running schedule of one virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    started_at: Instant,
    done: usize,
    due_at: Option<Instant>,
}

impl Schedule {
    /// Starts from the beginning: the first round is due after the first delay of `settings`.
    pub(super) fn start(now: Instant, settings: &Announce) -> Self {
        let mut schedule = Self {
            started_at: now,
            done: 0,
            due_at: None,
        };
        schedule.due_at = schedule.next_after(now, settings);
        schedule
    }

    /// When the next round is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether a round is due; it then counts as sent.
    pub(super) fn take_due(&mut self, now: Instant, settings: &Announce) -> bool {
        if self.due_at.is_none_or(|at| at > now) {
            return false;
        }
        self.done += 1;
        self.due_at = self.next_after(now, settings);
        true
    }

    fn next_after(&self, now: Instant, settings: &Announce) -> Option<Instant> {
        match settings.schedule.get(self.done) {
            Some(delay) => Some(self.started_at + *delay),
            None => settings.refresh.map(|refresh: Duration| now + refresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_delays_then_the_refresh() {
        let ms = Duration::from_millis;
        let settings = Announce {
            schedule: vec![ms(0), ms(50), ms(200)],
            refresh: Some(ms(60_000)),
        };
        let start = Instant::now();
        let mut schedule = Schedule::start(start, &settings);
        let mut sent = Vec::new();
        for tick in 0..130_000 {
            let now = start + ms(tick);
            if schedule.take_due(now, &settings) {
                sent.push(tick);
            }
        }
        assert_eq!(sent, [0, 50, 200, 60_200, 120_200]);
    }

    #[test]
    fn without_a_refresh_it_ends() {
        let settings = Announce {
            schedule: vec![Duration::ZERO],
            refresh: None,
        };
        let start = Instant::now();
        let mut schedule = Schedule::start(start, &settings);
        assert!(schedule.take_due(start, &settings));
        assert_eq!(schedule.due_at(), None);
    }
}
