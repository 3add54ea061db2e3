//! Asking the kernel for all links and addresses again, after changes were lost.
//!
//! A list is older than the changes that are told while it is on its way. They are kept, and applied once more on top of it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use linux::monitor::Change;

use super::Director;

/// Changes kept while a list is on its way; with more of them another list is asked for.
const KEPT: usize = 1024;
/// After this long another list is asked for: the last one could not be had, or changes were lost again meanwhile.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// How far it is.
#[derive(Debug, Default)]
pub(super) enum Listing {
    /// The picture is whole.
    #[default]
    Idle,
    /// A list is on its way.
    Asked {
        /// What was told since it was asked for.
        since: Vec<Change>,
        /// Some of that was lost.
        again: bool,
    },
    /// Another list is to be asked for.
    Due { at: Instant },
}

impl Listing {
    /// Changes were lost: whether a list is to be asked for now, because none is on its way.
    pub(super) fn begin(&mut self) -> bool {
        match self {
            Self::Asked { again, .. } => {
                *again = true;
                false
            }
            Self::Idle | Self::Due { .. } => {
                *self = Self::Asked {
                    since: Vec::new(),
                    again: false,
                };
                true
            }
        }
    }

    /// A change was told.
    pub(super) fn note(&mut self, change: &Change) {
        if let Self::Asked { since, again } = self {
            if since.len() == KEPT {
                *again = true;
            } else {
                since.push(change.clone());
            }
        }
    }

    /// The list is here; the answer are the changes to apply to it, in their order.
    pub(super) fn arrive(&mut self, now: Instant) -> Vec<Change> {
        match std::mem::take(self) {
            Self::Asked { since, again } => {
                if again {
                    self.fail(now);
                }
                since
            }
            Self::Idle | Self::Due { .. } => Vec::new(),
        }
    }

    /// It could not be had, or is not enough.
    pub(super) fn fail(&mut self, now: Instant) {
        *self = Self::Due {
            at: now + RETRY_DELAY,
        };
    }

    /// When another one is to be asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Due { at } => Some(*at),
            Self::Idle | Self::Asked { .. } => None,
        }
    }
}

impl Director {
    /// Has everything listed again, now or when the list that is on its way has come.
    pub(super) fn list_again(&mut self) {
        if self.listing.begin() {
            self.handles.list(Rc::clone(&self.kernel));
        }
    }

    /// Asks again for what could not be had.
    pub(super) fn run_due_listing(&mut self, now: Instant) {
        if self.listing.deadline().is_some_and(|at| at <= now) {
            self.list_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(index: u32) -> Change {
        Change::LinkGone {
            index,
            name: "eth0".to_owned(),
        }
    }

    #[test]
    fn what_is_told_while_a_list_is_on_its_way_is_applied_to_it() {
        let now = Instant::now();
        let mut listing = Listing::default();
        listing.note(&gone(1));
        assert!(listing.begin());
        listing.note(&gone(2));
        listing.note(&gone(3));
        assert_eq!(listing.arrive(now), [gone(2), gone(3)]);
        assert_eq!((listing.deadline(), listing.arrive(now)), (None, vec![]));
    }

    #[test]
    fn what_is_lost_meanwhile_or_cannot_be_had_is_asked_for_again() {
        let now = Instant::now();
        let later = now + Duration::from_millis(200);
        let mut listing = Listing::default();
        assert!(listing.begin());
        assert!(!listing.begin(), "one at a time");
        listing.arrive(now);
        assert_eq!(listing.deadline(), Some(later));
        assert!(listing.begin());
        listing.fail(now);
        assert_eq!(listing.deadline(), Some(later));
        assert!(listing.begin());
        for index in 0..2000 {
            listing.note(&gone(index));
        }
        assert_eq!(listing.arrive(now).len(), 1024);
        assert_eq!(listing.deadline(), Some(later));
    }
}
