//! What would happen (`POST /simulate`): a story of this node and of the other one, in time that is made up.

use serde::{Deserialize, Serialize};

use crate::vrrp::VrrpState;

/// What would happen, by decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimulateResult {
    /// What was assumed.
    pub what: String,
    /// Every decision: a virtual router, or all of a group.
    pub routers: Vec<SimulatedRouter>,
}

/// What would become of one decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimulatedRouter {
    /// Its name; of a group the names of all.
    pub name: String,
    /// Priority after tracking now.
    pub priority: u8,
    /// Priority after tracking then.
    pub priority_then: u8,
    /// Priority that the other router is taken to have; `None` if there is none.
    pub peer_priority: Option<u8>,
    /// Faults, and what moves the priority, then.
    pub why: Vec<String>,
    /// State now.
    pub state: VrrpState,
    /// State in the end.
    pub state_then: VrrpState,
    /// State of the other router in the end; `None` if there is none.
    pub peer_state_then: Option<VrrpState>,
    /// What would happen, in order of time.
    pub steps: Vec<SimulatedStep>,
}

/// One thing that would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedStep {
    /// Milliseconds after the assumption has come true.
    pub after_ms: u64,
    /// Who does it.
    pub node: String,
    /// What.
    pub words: String,
}
