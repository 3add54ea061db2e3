//! What operators order at run time, and what stands ordered: overrides of the file, kept until they are cleared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{HandoverResult, Timestamp};

/// Body of `POST /orders`. A length of time is the time after which the order ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum OrderRequest {
    /// A target gets nothing that is not bound to it; what it has may go on for the `drain` time of its group.
    Drain {
        /// `GROUP/TARGET`
        target: String,
        /// Seconds.
        #[serde(default)]
        for_s: Option<u64>,
        /// The reason, in words.
        #[serde(default)]
        why: Option<String>,
    },
    /// A target gets nothing at all; what is in flight may go on for the `drain` time of its group.
    Maint {
        /// `GROUP/TARGET`
        target: String,
        /// Seconds.
        #[serde(default)]
        for_s: Option<u64>,
        /// The reason, in words.
        #[serde(default)]
        why: Option<String>,
    },
    /// A target takes part again.
    Ready {
        /// `GROUP/TARGET`
        target: String,
    },
    /// A target gets another weight than the file gives it.
    Weight {
        /// `GROUP/TARGET`
        target: String,
        /// 0 to 999.
        weight: u32,
        /// Seconds.
        #[serde(default)]
        for_s: Option<u64>,
        /// The reason, in words.
        #[serde(default)]
        why: Option<String>,
    },
    /// Groups of a rule that forwards to several get other weights than the file gives them.
    Split {
        /// `RULE`, `LISTENER/RULE`, or `LISTENER` for what no rule matches.
        rule: String,
        /// By group, 0 to 999 each; groups that are not named keep what they have.
        weights: BTreeMap<String, u32>,
        /// Seconds.
        #[serde(default)]
        for_s: Option<u64>,
        /// The reason, in words.
        #[serde(default)]
        why: Option<String>,
    },
    /// One group of a rule that forwards to several gets so many percent of the weight; the others share the rest as they did. It stands
    /// as a split.
    Canary {
        /// As above.
        rule: String,
        /// Name of the group.
        group: String,
        /// 0 to 100; 100 switches to it.
        percent: u32,
        /// Seconds.
        #[serde(default)]
        for_s: Option<u64>,
        /// The reason, in words.
        #[serde(default)]
        why: Option<String>,
    },
    /// The node goes into maintenance, or comes out of it.
    Node {
        /// Whether it is to be in maintenance.
        maint: bool,
        /// Seconds.
        #[serde(default)]
        for_s: Option<u64>,
        /// The reason, in words.
        #[serde(default)]
        why: Option<String>,
    },
    /// The weight of a target, or the weights of a rule, are those of the file again.
    Reset {
        /// `GROUP/TARGET`, or a rule as above.
        subject: String,
    },
    /// Takes orders back: all of a subject, or all there are.
    Clear {
        /// As `GET /overrides` shows it; `None` for all.
        #[serde(default)]
        subject: Option<String>,
    },
}

/// What became of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderResult {
    /// What is in force by it; `None` if it took something back.
    #[serde(default)]
    pub set: Option<OverrideStatus>,
    /// What is not in force any more.
    #[serde(default)]
    pub cleared: Vec<OverrideStatus>,
    /// The weights of a split as they are by it.
    #[serde(default)]
    pub shares: Vec<ShareStatus>,
    /// Whether it is on disk: it outlives a restart.
    pub kept: bool,
    /// Whether the forwarder follows it already.
    pub applied: bool,
    /// What became of the addresses, where it was about them.
    #[serde(default)]
    pub handover: Option<HandoverResult>,
    /// What the operator should know, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A group of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// Name of the group.
    pub group: String,
    /// Its weight.
    pub weight: u32,
}

/// One order that is in force: an entry of `GET /overrides`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideStatus {
    /// What it is about: `node`, `GROUP/TARGET`, `LISTENER/RULE`, `LISTENER`.
    pub subject: String,
    /// Its sort.
    pub kind: OverrideKind,
    /// What is ordered, in words: `drain`, `weight 5`, `web-v2=25`.
    pub words: String,
    /// Who ordered it: the user, or `uid 1000` for one without a name.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself; `None` if it does not.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// The reason that was given.
    #[serde(default)]
    pub why: Option<String>,
    /// Whether there is such a thing in the running configuration. One without is kept, and holds when the thing is back.
    pub matches: bool,
}

/// Sorts of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// The node is in maintenance.
    Node,
    /// A target drains.
    Drain,
    /// A target rests.
    Maint,
    /// A target has another weight.
    Weight,
    /// A rule has other weights.
    Split,
    /// What a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

impl OverrideKind {
    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Weight => "weight",
            Self::Split => "split",
            Self::Unknown => "unknown",
        }
    }
}
