//! Both nodes side by side (`GET /pair`): what each says of itself, and where they differ.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Both nodes of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    /// In the order of the file.
    pub nodes: Vec<NodeReport>,
    /// Where they differ and should not, a sentence each; empty when they agree, or when the other one is not heard.
    pub differences: Vec<String>,
}

/// One node of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Name in `[pair]`.
    pub name: String,
    /// Address in `[pair]`.
    pub address: IpAddr,
    /// Whether this is the node that answers.
    pub this: bool,
    /// Milliseconds since it was last heard on the second path; `None` for this node, and for one never heard there.
    pub heard_ms: Option<u64>,
    /// How far its clock is ahead of that of the node that answers, in milliseconds and but for the way of a message.
    pub clock_ahead_ms: Option<i64>,
    /// What it says of itself; `None` if nothing was heard.
    pub facts: Option<NodeFacts>,
}

/// What a node says of itself. Lists are cut short: what the other node needs to know is whether they are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Version of its daemon.
    pub version: String,
    /// Hash of the configuration it runs.
    pub config_hash: String,
    /// When it said this, by its clock.
    pub said_at: Timestamp,
    /// Marks of the pair's keys that session tickets are made of, the one in use first. They tell nothing about the keys.
    #[serde(default)]
    pub ticket_keys: Vec<String>,
    /// Serial numbers of its certificates, by name.
    #[serde(default)]
    pub certificates: BTreeMap<String, String>,
    /// What was ordered there, as `SUBJECT WORDS`.
    #[serde(default)]
    pub overrides: Vec<String>,
    /// Targets whose check does not find them up, by `GROUP/TARGET`: `down`, `unknown`.
    #[serde(default)]
    pub not_up: BTreeMap<String, String>,
    /// Entries of these lists that were left out.
    #[serde(default)]
    pub left_out: u64,
}
