//! What of this process is in memory for good.
//!
//! Reading a configuration and taking over leaves much behind, which could not be given back once it is locked. So it goes back when the
//! start is over, and memory is locked as it is touched from then on. What a takeover needs is touched at that time, once for practice
//! (see [`super::practice`]). Of the program each touch brings in one page only, until what runs all the time has run.

use std::time::{Duration, Instant};

use control::EventKind;
use linux::process::SinglePages;

use super::Director;
use super::journal::{self, Entry};

/// How long a start takes at most.
const START: Duration = Duration::from_secs(10);
/// How long it takes until everything has run that runs all the time: the longest round is that of the flight recorder's runs.
const ROUND: Duration = Duration::from_secs(15);

/// How far it has come.
#[derive(Debug)]
pub(super) enum Residence {
    /// The start may need anything.
    Starting { until: Instant },
    /// What is touched is locked, and of the program nothing else.
    Choosing { until: Instant, _pages: SinglePages },
    /// What is needed is there. Whatever else is touched is locked with its neighbours, as it comes.
    Chosen,
}

impl Residence {
    /// Of a process that starts at `now`.
    pub(super) fn starting(now: Instant) -> Self {
        Self::Starting { until: now + START }
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Starting { until } | Self::Choosing { until, .. } => Some(*until),
            Self::Chosen => None,
        }
    }
}

impl Director {
    /// Goes on when it is time to.
    pub(super) fn run_due_residence(&mut self, now: Instant) {
        if self.residence.deadline().is_none_or(|at| now < at) {
            return;
        }
        self.residence = match &self.residence {
            Residence::Starting { .. } => {
                let pages = lock_memory();
                self.practise(now);
                // A line for practice too.
                let words = "what a takeover needs is in memory";
                let entry = Entry::new(EventKind::Other, "director", words);
                journal::log(&entry.states("starting", "ready"));
                Residence::Choosing {
                    until: now + ROUND,
                    _pages: pages,
                }
            }
            Residence::Choosing { .. } | Residence::Chosen => Residence::Chosen,
        };
    }
}

/// Gives back what the start has needed, and locks what is needed from here on.
fn lock_memory() -> SinglePages {
    linux::process::trim_memory();
    let pages = linux::process::release_program();
    if let Err(error) = pages.lock_memory() {
        tracing::warn!("memory is not locked: {error}");
    }
    pages
}
