//! Moves the bytes: accepts, proxies HTTP and TCP, checks targets, drains. Every decision is made by `balancer`.

mod error;
mod forwarder;
mod http;
mod snapshot;

pub use error::{ApplyError, OrderError};
pub use forwarder::{Forwarder, ForwarderSettings};
pub use snapshot::{
    CheckStanding, GroupSnapshot, ListenerSnapshot, PassiveStanding, Readiness, Snapshot,
    TargetSnapshot, TargetStanding,
};
