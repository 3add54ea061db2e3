//! What director and runner say to each other.

use config::Watch;
use control::internal::runner::{Program, RunReport};
use serde::{Deserialize, Serialize};

/// Director to runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToRunner {
    /// Look at just these from here on, each under its number. What was looked at before under the same number goes on undisturbed.
    Watch {
        /// Name of the node, which scripts are told.
        node: String,
        /// What to look at.
        watches: Vec<(u64, Watch)>,
    },
    /// Run a program once, at once.
    Run {
        /// Given back in the answer.
        number: u64,
        /// What to run.
        program: Program,
    },
}

/// Runner to director.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromRunner {
    /// Sent once a second, so that silence means something.
    Pulse,
    /// Something was looked at.
    Found {
        /// Its number.
        number: u64,
        /// What was found.
        finding: Finding,
    },
    /// Answer to [`ToRunner::Run`].
    Ran {
        /// The number asked for.
        number: u64,
        /// What became of it.
        report: RunReport,
    },
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Whether it is as it should be.
    pub passed: bool,
    /// The number in a file, where that is what was asked for and it could be read.
    pub number: Option<i64>,
    /// What was found, in words.
    pub words: String,
    /// How long the look took, in milliseconds.
    pub took_ms: u64,
}

impl Finding {
    /// The words of a look that was not made, because the one before it is stuck.
    pub(crate) const STUCK: &str = "the look before it has not ended";

    /// Whether the look before it is stuck: a program that cannot be killed, a disk that does not answer.
    pub(crate) fn is_stuck(&self) -> bool {
        self.words == Self::STUCK
    }
}
