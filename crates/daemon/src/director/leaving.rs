//! Leaving for good, and telling the keeper how long that may take: the time of the protocol, and then as long as it goes on.

use std::time::{Duration, Instant};

use control::EventKind;
use control::internal::ToKeeper;

use super::journal::Entry;
use super::{Director, testament};

/// What the kernel, the disk and hooks may take beside the protocol until something goes on.
const ROOM: Duration = Duration::from_secs(5);
/// How often the keeper is told at most that leaving goes on.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// A leaving under way.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Virtual routers that were left when the keeper was told last, and when that was.
    told: (usize, Instant),
}

impl Director {
    /// Everything leaves on purpose; the process ends when all of it is done. All say farewell before the first address goes.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Leaving {
            told: (self.instances.len(), now),
        });
        // Who waits for another router to take over does so for an interval.
        let slowest = self.instances.iter().map(|instance| {
            let interval = instance.config.settings.advert_interval;
            interval.as_duration()
        });
        self.ask_for_time(slowest.max().unwrap_or_default() + ROOM);
        self.journal.record(Entry::new(
            EventKind::Daemon,
            "director",
            "leaving on request",
        ));
        self.hooks.note_leaving(now, true);
        let all: Vec<usize> = (0..self.instances.len()).collect();
        self.dismiss(now, &all);
    }

    /// Asks the keeper for more time whenever some have left.
    pub(super) fn run_due_leaving(&mut self, now: Instant) {
        let left = self.instances.len();
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        let (told, at) = leaving.told;
        if left < told && at + TELL_INTERVAL <= now {
            leaving.told = (left, now);
            self.ask_for_time(ROOM);
        }
    }

    fn ask_for_time(&self, limit: Duration) {
        let limit_ms = limit.as_millis() as u64;
        testament::send(&self.keeper, &ToKeeper::Leaving { limit_ms });
    }
}
