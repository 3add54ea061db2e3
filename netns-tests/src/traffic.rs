//! Traffic for the benches: clients and origins in one event loop on one core, proxies alone on the other, and what
//! a request cost the proxy.
//!
//! The figure that counts is CPU time for each request, summed over every task of the proxy's process tree as
//! the scheduler accounts for it. Requests a second say less: the loop that makes the load is often the limit.

mod clients;
mod datagrams;
mod http2;
mod instructions;
mod load;
mod measurement;
mod origin;
mod rivals;
mod secrecy;
mod session;
mod setups;

pub use datagrams::{Flows, compare_datagrams};
pub use instructions::instructions;
pub use load::Tally;
pub use measurement::{Comparison, Row, compare, idle_memory};
pub use rivals::Rival;
pub use setups::Setup;

/// How the clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speech {
    /// HTTP/1.1 as it is.
    Clear,
    /// HTTP/1.1 in TLS 1.3.
    Tls {
        /// Each connection but the first ones resumes the session of another; else none does.
        resumes: bool,
    },
    /// HTTP/2.
    Http2 {
        /// Requests at a time on each connection.
        streams: u32,
        /// In TLS 1.3; else by prior knowledge.
        encrypted: bool,
    },
}

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

    /// Octets of the body.
    fn octets(self) -> u32 {
        let (Answer::Sized(octets) | Answer::Chunked(octets)) = self;
        octets
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
