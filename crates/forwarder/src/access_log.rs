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

pub use balancer::{AccessLogFormat, AccessLogSettings, AccessLogTarget};

pub(crate) mod line;
pub(crate) mod pen;
pub(crate) mod record;
mod sink;
mod writer;

pub(crate) use writer::{Desk, Inlet};

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
