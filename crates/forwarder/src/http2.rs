//! HTTP/2 (RFC 9113), with clients and with targets: each stream is to the rest a connection of its own that asks once.
//!
//! ```text
//!   client ==h2== connection ── core ──┬── conduit ── http::connection ── target
//!                                      └── conduit ── http::connection ── upward ==h2== target
//! ```
//!
//! A stream becomes an HTTP/1.1 request and its answer an HTTP/2 one, in memory. So there is one place that decides about
//! hosts, limits, rules, repetitions and time-outs, and the strict codec judges what comes by either protocol.
//!
//! With clients, the protocol is our own:
//!
//! - [`core`]: frames, streams, windows, without sockets and tasks; [`frame`] and [`hpack`]: how things are written.
//! - [`head`], [`answer`]: heads from one protocol to the other.
//! - [`connection`]: one client: reading, sending, its end; [`client`]: what that shares with its streams.
//! - [`lane`]: the task that serves one stream after the other; [`conduit`]: the stream as that sees it.
//! - [`preface`]: who speaks HTTP/2 without having said so in a handshake.
//! - [`manners`]: what a client may do that costs us more than it.
//!
//! With targets, it is the `h2` library's:
//!
//! - [`upward`]: a stream to a target; [`sessions`]: the connections such streams share; [`unread`]: heads nobody takes.

mod answer;
mod client;
pub(crate) mod conduit;
pub(crate) mod connection;
mod core;
mod frame;
#[cfg(test)]
mod fuzz;
mod head;
mod hpack;
mod lane;
pub(crate) mod manners;
pub(crate) mod preface;
pub(crate) mod sessions;
mod unread;
pub(crate) mod upward;
