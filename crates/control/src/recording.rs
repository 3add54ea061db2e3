//! The flight recorder: what a virtual router saw and did around a change of its state (`GET /why`, `GET /recordings`).
//!
//! A recording is a list of facts with distances in time, measured with the monotonic clock; the sentences are made by whoever shows it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::vrrp::Family;
use crate::{Timestamp, TransitionStatus};

/// One change of state, with the minute before it and, once it is complete, the two seconds after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// What it is about.
    #[serde(flatten)]
    pub summary: RecordingSummary,
    /// Whether the time after the change is in it, too.
    pub complete: bool,
    /// Older facts that found no room.
    #[serde(default)]
    pub omitted: u64,
    /// What happened, oldest first.
    pub facts: Vec<Fact>,
}

/// The head of a recording: enough to choose one from a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingSummary {
    /// Number of the event in the journal.
    pub seq: u64,
    /// Node it happened on.
    pub node: String,
    /// Name of the `[vrrp.NAME]`.
    pub name: String,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// Interface it runs on.
    pub interface: String,
    /// One word for the cause: `silence`, `peer_left`, `fault`.
    pub cause: String,
    /// The change.
    pub transition: TransitionStatus,
}

/// One fact of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Microseconds from the change of state; negative before it. Of something that repeats, the last time.
    pub at_us: i64,
    /// What it is; recordings of one moment have most of it in common.
    #[serde(flatten, with = "shared")]
    pub what: Arc<What>,
}

/// As a fact that nobody shares.
mod shared {
    use super::{Arc, Deserialize, Serialize, What};

    pub(super) fn serialize<S: serde::Serializer>(what: &What, to: S) -> Result<S::Ok, S::Error> {
        what.serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<What>, D::Error> {
        What::deserialize(from).map(Arc::new)
    }
}

/// What was seen or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// Advertisements of one router, all alike.
    Heard {
        /// Its address.
        from: IpAddr,
        /// Its priority; 0 says that it leaves.
        priority: u8,
        /// Its interval, milliseconds.
        interval_ms: u64,
        /// How often and when.
        #[serde(flatten)]
        run: Run,
    },
    /// Our own advertisements, all alike.
    Sent {
        /// Address family.
        family: Family,
        /// Our priority; 0 says that we leave.
        priority: u8,
        /// How often and when.
        #[serde(flatten)]
        run: Run,
    },
    /// Something in the kernel changed: a link, an address.
    Kernel {
        /// What, a sentence without full stop; of several, the last one.
        words: String,
        /// How often and when.
        #[serde(flatten)]
        run: Run,
    },
    /// A timer ran out and something came of it.
    Timer {
        /// Its name: `active_down`, `preempt`.
        name: String,
        /// How late this was noticed, microseconds.
        late_us: u64,
    },
    /// What was known when the election was decided.
    Decision {
        /// Why, a sentence without full stop.
        why: String,
        /// Our priority after tracking.
        priority: u8,
        /// Our own interval, milliseconds.
        interval_ms: u64,
        /// Interval learned from the Active router, milliseconds.
        learned_interval_ms: Option<u64>,
        /// Active_Down_Interval, microseconds.
        down_interval_us: u64,
        /// Skew_Time, microseconds.
        skew_us: u64,
    },
    /// The kernel was asked for the addresses.
    Claim,
    /// The kernel has confirmed every address.
    Claimed,
    /// The addresses were taken away here.
    Release,
    /// A schedule of announcements began.
    Announce {
        /// Why: `took over`, `conflict resolved`, `addresses changed`.
        why: String,
    },
    /// A round of gratuitous ARP and neighbour advertisements was sent.
    Announced {
        /// For how many addresses.
        addresses: u64,
    },
    /// The state changed: the change the recording is about, or another one of the same virtual router.
    Transition {
        /// State left.
        from: String,
        /// State entered.
        to: String,
        /// Why, a sentence without full stop.
        reason: String,
    },
    /// Something that a person should look at.
    Alarm {
        /// A sentence without full stop.
        words: String,
    },
    /// Something else that concerns this virtual router: an order, a fault, a priority.
    Happened {
        /// A sentence without full stop.
        words: String,
    },
    /// Something on the node, as the journal has it.
    Node {
        /// What: `forwarder`, `config`, `vrrp other`.
        subject: String,
        /// A sentence without full stop.
        words: String,
    },
    /// This process did not run, though it wanted to.
    Away {
        /// For how long, microseconds.
        for_us: u64,
    },
    /// What a reader makes of a word it does not know.
    #[serde(other)]
    Other,
}

/// Something that happened again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// How often.
    pub count: u64,
    /// The first time, microseconds from the change of state.
    pub first_us: i64,
    /// The longest time between two of them, microseconds; 0 for a single one.
    pub longest_gap_us: u64,
}

impl RecordingSummary {
    /// When the state changed.
    pub fn at(&self) -> Timestamp {
        self.transition.at
    }
}

/// What the recorder has lost, and how its files do (in `GET /status`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecorderStatus {
    /// Recordings written since the start.
    pub written: u64,
    /// Recordings that could not be written, for want of space or time.
    pub lost: u64,
    /// Lines of the journal that could not be written.
    #[serde(default)]
    pub journal_lines_lost: u64,
}
