//! What is answered to orders, and the one form of every error.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Body of every answer with a status of 400 or above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What went wrong, lower case, no full stop.
    pub error: String,
    /// What to do about it; `None` when there is nothing to advise.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// The configuration that runs, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// The file it was read from.
    pub path: String,
    /// First 12 hex digits of the SHA-256 of `text`.
    pub hash: String,
    /// The text as it was read; the file may have changed since.
    pub text: String,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResult {
    /// What became of it.
    pub outcome: ReloadOutcome,
    /// When it was decided.
    pub at: Timestamp,
    /// The file that was read.
    pub path: String,
    /// Hash of the text that was read; `None` when it could not be read.
    pub hash: Option<String>,
    /// Generation that runs after it.
    pub generation: u64,
    /// What changed, a line each, as `tandem diff` prints it; for an outcome other than applied, empty.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Errors and warnings of the file, in its order.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Why a valid file could not be applied; `None` unless the outcome is failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// The file runs.
    Applied,
    /// The file has the text that runs already, or means the same.
    Unchanged,
    /// The file has errors, see `problems`; what ran goes on.
    Refused,
    /// The file is valid but could not be put to work, see `error`; what ran goes on.
    Failed,
}

/// One error or warning of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code: `E012`.
    pub code: String,
    /// Error or warning.
    pub severity: Severity,
    /// Line, from 1; 0 when it concerns the whole file.
    pub line: u32,
    /// Column in characters, from 1; 0 when it concerns the whole line or file.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it; `None` when the message says it all.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// Weight of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted all the same.
    Warning,
}

/// What became of a handover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverResult {
    /// Whether the peer holds everything that was to be given.
    pub handed_over: bool,
    /// Milliseconds from the order to the end of it.
    pub took_ms: u64,
    /// Name of the node that took over; `None` if unknown or nobody did.
    #[serde(default)]
    pub to: Option<String>,
    /// Why not, a sentence without full stop; `None` when it was handed over.
    #[serde(default)]
    pub reason: Option<String>,
    /// Each virtual router that was asked to leave, in the order of the file.
    #[serde(default)]
    pub routers: Vec<HandoverRouter>,
}

/// The director is about to end, and another one goes on. That one journals when it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartResult {
    /// Virtual routers that this node is Active for and goes on for.
    pub routers: Vec<String>,
}

/// What became of one virtual router in a handover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverRouter {
    /// Name of the `[vrrp.NAME]`.
    pub name: String,
    /// Whether the peer holds it.
    pub handed_over: bool,
    /// Address of the router heard after this one left; `None` when nobody was.
    #[serde(default)]
    pub to: Option<IpAddr>,
    /// Milliseconds from the first priority 0 to the peer's advertisement, or to giving up.
    pub took_ms: u64,
    /// Why not; `None` when it was handed over.
    #[serde(default)]
    pub reason: Option<String>,
}
