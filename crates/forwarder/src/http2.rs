//! HTTP/2 (RFC 9113), with clients and with targets: each stream is to the rest a connection of its own that asks once.
//!
//! ```text
//!   client ==h2== connection ──┬── stream ──conduit── http::connection ── target
//!                              └── stream ──conduit── http::connection ── upward ==h2== target
//! ```
//!
//! A stream becomes an HTTP/1.1 request and its answer an HTTP/2 one, in memory. So there is one place that decides about
//! hosts, limits, rules, repetitions and time-outs, and the strict codec judges what comes by either protocol.
//!
//! - [`connection`]: one client: its streams, its limits, its end.
//! - [`stream`]: one request on its way there and back; [`lane`]: the task that serves one after the other.
//! - [`conduit`]: the connection in memory between the two protocols.
//! - [`request`], [`response`]: heads from one protocol to the other.
//! - [`upward`]: a stream to a target; [`sessions`]: the connections such streams share.
//! - [`preface`]: who speaks HTTP/2 without having said so in a handshake.
//! - [`manners`]: what a client may do that costs us more than it; [`metered`]: frames counted for it.
//! - [`gathered`]: frames of many streams sent in one piece.

pub(crate) mod conduit;
pub(crate) mod connection;
mod gathered;
mod lane;
pub(crate) mod manners;
mod metered;
pub(crate) mod preface;
mod request;
mod response;
pub(crate) mod sessions;
mod stream;
pub(crate) mod upward;
