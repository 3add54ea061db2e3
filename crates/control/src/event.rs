//! The journal: what changed on a node, when and why (`GET /events`).

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// One change of something an operator cares about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the event on this node, rising by one from 1 at the start of the director.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Node it happened on.
    pub node: String,
    /// What changed, as kind and name: `vrrp main`, `target app/10.0.0.21:8080`, `forwarder`, `config`.
    pub subject: String,
    /// State before; `None` where there is none.
    pub from: Option<String>,
    /// State after; `None` where there is none.
    pub to: Option<String>,
    /// Why, a sentence without full stop.
    pub reason: String,
    /// What sort of change it is.
    pub kind: EventKind,
}

/// Sort of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A virtual router changed its state.
    Transition,
    /// Something in an election that a person should look at.
    Alarm,
    /// A virtual address was added, lost, put back or removed.
    Address,
    /// A target or group changed.
    Health,
    /// Something tracked went up or down.
    Tracking,
    /// A hook has run, or could not.
    Hook,
    /// A child process started, ended or stopped reporting.
    Process,
    /// A reload was applied or refused.
    Config,
    /// Something an operator ordered.
    Order,
    /// The daemon started or stops.
    Daemon,
    /// What a reader makes of a word it does not know.
    #[serde(other)]
    Other,
}
