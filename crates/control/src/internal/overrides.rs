//! What operators have ordered for targets and rules, as the director tells the forwarder.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::status::Order;

/// Everything that is ordered, in place of what was told before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// Higher with each change; given back in the answer.
    pub number: u64,
    /// Targets that are ordered away.
    pub orders: Vec<TargetOrder>,
    /// Targets with another weight than the file gives them.
    pub weights: Vec<TargetWeight>,
    /// Rules with other weights than the file gives them.
    pub splits: Vec<SplitWeights>,
}

/// An order for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOrder {
    /// Name of the group.
    pub group: String,
    /// Name of the target.
    pub target: String,
    /// What is ordered.
    pub order: Order,
    /// How long ago, in milliseconds.
    pub age_ms: u64,
}

/// A weight for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetWeight {
    /// Name of the group.
    pub group: String,
    /// Name of the target.
    pub target: String,
    /// The weight.
    pub weight: u32,
}

/// Weights for the groups of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitWeights {
    /// Name of the listener.
    pub listener: String,
    /// Name of the rule; `None` for what no rule matches.
    pub rule: Option<String>,
    /// By group.
    pub weights: BTreeMap<String, u32>,
}
