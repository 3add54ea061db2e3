//! When gratuitous ARP and unsolicited neighbour advertisements are due: a burst now, again after delays, then a slow refresh.
//!
//! Pure: it keeps times and sends nothing.

use std::ops::Range;
use std::time::{Duration, Instant};

use config::Announce;

/// The running schedule of one virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    started_at: Instant,
    done: usize,
    due_at: Option<Instant>,
    /// When the round that is due has its place on the link.
    placed_at: Option<Instant>,
    /// Addresses that have been announced in this round.
    announced: usize,
}

impl Schedule {
    /// Starts from the beginning: the first round is due after the first delay of `settings`.
    pub(super) fn start(now: Instant, settings: &Announce) -> Self {
        let mut schedule = Self {
            started_at: now,
            done: 0,
            due_at: None,
            placed_at: None,
            announced: 0,
        };
        schedule.due_at = schedule.next_after(now, settings);
        schedule
    }

    /// When there is something to do next.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.placed_at.into_iter().chain(self.due_at).min()
    }

    /// Whether a round, or the rest of one, is to be sent now. `place` says when one that has become due may leave; it waits until then,
    /// and stands for those that become due meanwhile.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        settings: &Announce,
        place: impl FnOnce() -> Instant,
    ) -> bool {
        if self.placed_at.take_if(|at| *at <= now).is_some() {
            return true;
        }
        if self.due_at.is_none_or(|at| at > now) {
            return false;
        }
        self.done += 1;
        self.due_at = self.next_after(now, settings);
        if self.placed_at.is_some() {
            return false;
        }
        self.placed_at = Some(place()).filter(|at| *at > now);
        self.placed_at.is_none()
    }

    /// The next of `count` addresses to announce, at most `most`.
    pub(super) fn part(&self, count: usize, most: usize) -> Range<usize> {
        let from = self.announced.min(count);
        from..count.min(from + most)
    }

    /// The addresses before `until` have been announced; the rest of the round has its place at `rest_at`, if there is a rest.
    pub(super) fn went(&mut self, until: usize, rest_at: Option<Instant>) {
        self.announced = if rest_at.is_some() { until } else { 0 };
        self.placed_at = rest_at;
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
            if schedule.take_due(now, &settings, || now) {
                sent.push(tick);
            }
        }
        assert_eq!(sent, [0, 50, 200, 60_200, 120_200]);
    }

    #[test]
    fn a_round_waits_for_its_place_and_stands_for_those_that_follow() {
        let ms = Duration::from_millis;
        let settings = Announce {
            schedule: vec![ms(0), ms(50), ms(200)],
            refresh: None,
        };
        let start = Instant::now();
        let mut schedule = Schedule::start(start, &settings);
        assert!(!schedule.take_due(start, &settings, || start + ms(80)));
        assert_eq!(schedule.due_at(), Some(start + ms(50)));
        assert!(!schedule.take_due(start + ms(50), &settings, || unreachable!()));
        assert_eq!(schedule.due_at(), Some(start + ms(80)));
        assert!(schedule.take_due(start + ms(80), &settings, || unreachable!()));
        // 50 addresses, 32 at a time.
        assert_eq!(schedule.part(50, 32), 0..32);
        schedule.went(32, Some(start + ms(90)));
        assert!(schedule.take_due(start + ms(90), &settings, || unreachable!()));
        assert_eq!(schedule.part(50, 32), 32..50);
        schedule.went(50, None);
        assert_eq!(schedule.due_at(), Some(start + ms(200)));
        assert!(schedule.take_due(start + ms(200), &settings, || start));
        assert_eq!((schedule.part(50, 32), schedule.due_at()), (0..32, None));
    }

    #[test]
    fn without_a_refresh_it_ends() {
        let settings = Announce {
            schedule: vec![Duration::ZERO],
            refresh: None,
        };
        let start = Instant::now();
        let mut schedule = Schedule::start(start, &settings);
        assert!(schedule.take_due(start, &settings, || start));
        assert_eq!(schedule.due_at(), None);
    }
}
