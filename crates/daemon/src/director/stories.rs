//! Changes of state on their way to the journal and the flight recorder, and the recordings on their way to whoever asks.

use std::sync::Arc;
use std::time::Instant;

use control::{ErrorAnswer, Recording};

use super::Director;
use super::flight::Moved;
use super::journal::Entry;

/// Which recording is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The latest of all.
    Latest,
    /// The one of this event.
    Event(u64),
    /// The latest of this virtual router.
    Router(String),
}

impl Director {
    /// A virtual router has changed its state.
    pub(super) fn on_moved(&mut self, entry: Entry, mut moved: Moved) {
        moved.summary.seq = self.journal.record(entry);
        moved.summary.node = self.node_name();
        self.call_hooks(&moved);
        self.recorder.moved(moved);
    }

    /// Makes the recordings that are due.
    pub(super) fn record_due(&mut self, now: Instant) {
        let instances = &self.instances;
        self.recorder.run_due(now, &self.journal.lane, |number| {
            let position = instances.position(number)?;
            Some(&instances[position].lane)
        });
    }

    /// The recording that is wanted, or why there is none.
    pub(super) fn recording(&mut self, wanted: &Wanted) -> Result<Arc<Recording>, ErrorAnswer> {
        let found = self.recorder.latest(|summary| match wanted {
            Wanted::Latest => true,
            Wanted::Event(seq) => summary.seq == *seq,
            Wanted::Router(name) => summary.name == *name,
        });
        found.ok_or_else(|| {
            let error = match wanted {
                Wanted::Latest => "no virtual router has changed its state".to_owned(),
                Wanted::Event(seq) => format!("there is no recording of event {seq}"),
                Wanted::Router(name) => format!("there is no recording of `{name}`"),
            };
            ErrorAnswer {
                error,
                remedy: Some("`tandem why --list` shows the recordings there are".to_owned()),
            }
        })
    }
}
