//! What can go wrong when the forwarder is told something.

use std::io;
use std::net::SocketAddr;

use balancer::PlanError;

use crate::tls::TlsError;

/// A plan that was not applied. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The settings contradict each other.
    #[error("the settings do not fit together")]
    Plan(#[from] PlanError),
    /// An address could not be bound.
    #[error("listener {listener} cannot bind {address}")]
    Bind {
        /// The listener.
        listener: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A listener cannot do TLS.
    #[error("listener {listener} cannot do TLS")]
    Tls {
        /// The listener.
        listener: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// A group's connections cannot be encrypted.
    #[error("group {group} cannot do TLS")]
    TargetTls {
        /// The group.
        group: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// A worker thread did not confirm within the time limit. The plan is in force; the thread has yet to follow.
    #[error("worker thread {0} did not confirm the new listeners in time")]
    Unconfirmed(usize),
}

/// An order for a target that does not exist.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such group.
    #[error("there is no group {0}")]
    UnknownGroup(String),
    /// There is no such target in the group.
    #[error("group {group} has no target {target}")]
    UnknownTarget {
        /// The group.
        group: String,
        /// The missing target.
        target: String,
    },
}
