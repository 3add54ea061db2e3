//! Traffic for the benches: clients and origins in one event loop on one core, proxies alone on the other, and what
//! a request cost the proxy.
//!
//! The figure that counts is CPU time for each request, summed over every task of the proxy's process tree as
//! the scheduler accounts for it. Requests a second say less: the loop that makes the load is often the limit.

mod clients;
mod datagrams;
mod load;
mod measurement;
mod origin;
mod rivals;

pub use datagrams::{Flows, compare_datagrams};
pub use load::Tally;
pub use measurement::{Comparison, Row, compare, idle_memory};
pub use rivals::Rival;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Keep-alive connections, one request at a time on each.
    KeepAlive {
        /// Connections.
        clients: u32,
        /// What is asked for.
        answer: Answer,
        /// Octets of each request's body; 0 = a GET, else a POST.
        post: u32,
    },
    /// A new connection for each request.
    ConnectEach {
        /// Connections at a time.
        clients: u32,
        /// What is asked for.
        answer: Answer,
    },
    /// So many requests a second on keep-alive connections, begun on schedule whatever became of earlier ones.
    FixedRate {
        /// Connections.
        clients: u32,
        /// What is asked for.
        answer: Answer,
        /// Requests a second.
        rate: u32,
    },
    /// One request on each connection, which then stays open.
    Once {
        /// Connections opened at a time.
        clients: u32,
        /// What is asked for.
        answer: Answer,
    },
}

/// An answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// So many octets with a Content-Length.
    Sized(u32),
    /// So many octets in chunks of 4,000.
    Chunked(u32),
}

impl Answer {
    /// The path by which the origin knows it.
    fn path(self) -> String {
        match self {
            Answer::Sized(octets) => format!("/s/{octets}"),
            Answer::Chunked(octets) => format!("/c/{octets}"),
        }
    }
}

impl Work {
    /// What is asked for.
    pub fn answer(self) -> Answer {
        match self {
            Work::KeepAlive { answer, .. }
            | Work::ConnectEach { answer, .. }
            | Work::FixedRate { answer, .. }
            | Work::Once { answer, .. } => answer,
        }
    }

    fn clients(self) -> u32 {
        match self {
            Work::KeepAlive { clients, .. }
            | Work::ConnectEach { clients, .. }
            | Work::FixedRate { clients, .. }
            | Work::Once { clients, .. } => clients,
        }
    }
}
