//! The access log: one line for each request, and for each TCP connection, written off their path.
//!
//! ```text
//!   connection -- Record --> Pen (one a worker: formats into a block) --bounded channel--> Writer (one thread) --> sink
//! ```
//!
//! A worker never waits for the log: a block that finds the channel full is dropped and its lines are counted as lost.
//! A sink that takes nothing costs lines, never requests. Rotating and keeping files is left to others: the file is
//! opened again when told to.
//!
//! - [`record`]: what is known of a request or connection.
//! - [`mod@line`]: keys and values in one of the two formats; a stranger's bytes cannot forge any.
//! - [`pen`]: the block of one worker, and the time.
//! - [`sink`], [`writer`]: where lines go.

use std::fmt;
use std::path::PathBuf;

pub(crate) mod line;
pub(crate) mod pen;
pub(crate) mod record;
mod sink;
mod writer;

pub(crate) use writer::{Desk, Inlet};

/// Where access log lines go, and how they look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessLogSettings {
    /// Where they go.
    pub to: AccessLogTarget,
    /// How they look.
    pub format: AccessLogFormat,
    /// The query of a path and of a referer is left out: what stands behind the `?` may be a secret.
    pub without_query: bool,
}

/// Where access log lines go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AccessLogTarget {
    /// Nowhere: none are made.
    #[default]
    Off,
    /// To standard error.
    Stderr,
    /// To the journal of systemd, one entry each.
    Journal,
    /// To the end of this file; made with mode 0640 if it is not there.
    File(PathBuf),
}

/// In the words of the configuration.
impl fmt::Display for AccessLogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stderr => f.write_str("stderr"),
            Self::Journal => f.write_str("journal"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// How an access log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AccessLogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// `key=value` pairs.
    Logfmt,
}

impl AccessLogFormat {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Logfmt => "logfmt",
        }
    }
}

/// What became of access log lines since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessLogFigures {
    /// Lines written.
    pub written: u64,
    /// Lines that could not be written, or for which there was no time.
    pub lost: u64,
    /// Why lines cannot be written at this moment; empty when they can.
    pub why: String,
}
