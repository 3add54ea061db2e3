//! What is open for long, and the order to end some of it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Which sessions are asked for (`GET /sessions`, its fields in the query); what is `None` plays no part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsRequest {
    /// At least so many seconds old.
    #[serde(default)]
    pub older_s: u64,
    /// Of this listener.
    #[serde(default)]
    pub listener: Option<String>,
    /// Of this group.
    #[serde(default)]
    pub group: Option<String>,
    /// Of this target of the group.
    #[serde(default)]
    pub target: Option<String>,
}

/// Connections of TCP and tunnels that are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// How many match.
    pub total: u64,
    /// The oldest of them first, no more than [`SessionList::LIMIT`].
    pub sessions: Vec<SessionStatus>,
}

impl SessionList {
    /// Most sessions that are listed, and that one order may end.
    pub const LIMIT: usize = 1000;
}

/// One that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// By which it is named in an order; never given again while the forwarder runs.
    pub id: String,
    /// What it is.
    pub kind: SessionKind,
    /// Name of its listener.
    pub listener: String,
    /// Name of its group.
    pub group: String,
    /// Name of its target.
    pub target: String,
    /// Whose it is.
    pub client: SocketAddr,
    /// Seconds it has been open.
    pub age_s: u64,
    /// Octets from the client to the target.
    pub bytes_in: u64,
    /// Octets from the target to the client.
    pub bytes_out: u64,
}

/// Sorts of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A connection of a `tcp` or `tls` listener.
    Tcp,
    /// A request that was answered with another protocol, such as WebSocket.
    Tunnel,
    /// What a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

impl SessionKind {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tunnel => "tunnel",
            Self::Unknown => "unknown",
        }
    }
}

/// End these (`POST /kill`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillRequest {
    /// As `GET /sessions` names them.
    pub sessions: Vec<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillResult {
    /// Those that were ended.
    pub ended: Vec<String>,
    /// Those that were not there (any more).
    pub not_found: Vec<String>,
}
