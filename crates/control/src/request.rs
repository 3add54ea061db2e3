//! What is asked: paths of the socket and the bodies of the orders.

use serde::{Deserialize, Serialize};

/// Paths of the control socket.
pub mod path {
    /// `GET`: [`crate::Status`].
    pub const STATUS: &str = "/status";
    /// `GET`: a list of [`crate::VrrpDetail`].
    pub const VRRP: &str = "/vrrp";
    /// `GET`: [`crate::ConfigText`].
    pub const CONFIG: &str = "/config";
    /// `GET`, with `since` (a `seq`) and `follow=1`: [`crate::Event`]s.
    pub const EVENTS: &str = "/events";
    /// `GET`, with `seq` (of an event) or `name` (of a virtual router): [`crate::Recording`].
    pub const WHY: &str = "/why";
    /// `GET`: a list of [`crate::RecordingSummary`].
    pub const RECORDINGS: &str = "/recordings";
    /// `GET`: Prometheus text.
    pub const METRICS: &str = "/metrics";
    /// `GET`: [`crate::PairReport`].
    pub const PAIR: &str = "/pair";
    /// `GET`: a list of [`crate::OverrideStatus`].
    pub const OVERRIDES: &str = "/overrides";
    /// `GET`, with the fields of [`crate::SessionsRequest`]: [`crate::SessionList`].
    pub const SESSIONS: &str = "/sessions";
    /// `POST`: [`crate::KillRequest`] to [`crate::KillResult`].
    pub const KILL: &str = "/kill";
    /// `POST`: [`crate::OrderRequest`] to [`crate::OrderResult`].
    pub const ORDERS: &str = "/orders";
    /// `POST`: a question of `tandem explain` to what would become of the request; both are types of the configuration.
    pub const EXPLAIN: &str = "/explain";
    /// `POST`: [`crate::ReloadRequest`] to [`crate::ReloadResult`].
    pub const RELOAD: &str = "/reload";
    /// `POST`: [`crate::HandoverRequest`] to [`crate::HandoverResult`].
    pub const HANDOVER: &str = "/handover";
    /// `POST`: [`crate::SimulateRequest`] to [`crate::SimulateResult`]. Touches nothing.
    pub const SIMULATE: &str = "/simulate";
    /// `POST`: [`crate::RestartResult`], when the director is about to be replaced.
    pub const RESTART: &str = "/restart";
}

/// Read the configuration file again. An empty body means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadRequest {}

/// Give the virtual addresses to the peer. An empty body means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverRequest {
    /// Only this `[vrrp.NAME]`; `None` for every one this node is Active for.
    #[serde(default)]
    pub name: Option<String>,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulateRequest {
    /// What is assumed: `eth0 down`, `peer silent`, `peer priority 150`, `track disk fail`, `forwarder down`, `maint on`.
    pub what: String,
}
