//! What `GET /status` answers: the whole node on one screen. Details of an election are in [`crate::vrrp`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{AnswerTotals, GroupTimes, ReloadResult, Times, Timestamp, VrrpStatus};

/// The state of one node, seen from itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of this node: as in `[pair]`, the host name without one.
    pub node: String,
    /// Version of the daemon, `major.minor.patch`.
    pub version: String,
    /// Seconds since the director started.
    pub uptime_s: u64,
    /// The verdict on the whole node; decides the exit code of `tandem status`.
    pub state: Overall,
    /// The configuration that runs.
    pub config: ConfigStatus,
    /// Both nodes; `None` without a `[pair]`.
    pub pair: Option<PairStatus>,
    /// One entry per `[vrrp.NAME]` and address family, in the order of the file, IPv4 first.
    #[serde(default)]
    pub vrrp: Vec<VrrpStatus>,
    /// In the order of the file.
    #[serde(default)]
    pub listeners: Vec<ListenerStatus>,
    /// In the order of the file.
    #[serde(default)]
    pub groups: Vec<GroupStatus>,
    /// In the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// The process that moves the bytes.
    pub forwarder: ForwarderStatus,
    /// What operators have ordered, until they clear it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<crate::OverrideStatus>,
    /// How the flight recorder and the journal do; `None` from a daemon without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<crate::RecorderStatus>,
    /// What is wrong, a sentence each, worst first; empty when `state` is good.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// The verdict on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Everything configured works.
    Good,
    /// Service is given, but something is wrong that a person should look at.
    Degraded,
    /// What is configured is not served by this node and by no peer it knows of.
    NoService,
}

/// The configuration that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The file, as given to the daemon.
    pub path: String,
    /// First 12 hex digits of the SHA-256 of the text: the same file has the same hash on both nodes.
    pub hash: String,
    /// 1 after the start, one more with each reload that was applied.
    pub generation: u64,
    /// When the running configuration was taken into use.
    pub loaded_at: Timestamp,
    /// The latest reload, applied or not; `None` if there was none since the start.
    pub last_reload: Option<ReloadResult>,
}

/// The two nodes of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairStatus {
    /// In the order of the file: the first is preferred.
    pub nodes: Vec<PairNode>,
}

/// One node of a pair as far as this node knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairNode {
    /// Name in `[pair]`.
    pub name: String,
    /// Address in `[pair]`.
    pub address: IpAddr,
    /// Whether this is the node that answers.
    pub this: bool,
    /// What it is in the election. The peer's is what its advertisements tell.
    pub role: Role,
    /// Since when it is that; `None` if unknown.
    pub since: Option<Timestamp>,
    /// Milliseconds since the peer was last heard; `None` for this node and for a peer never heard.
    pub heard_ms: Option<u64>,
    /// Hash of the configuration it runs; `None` if unknown.
    pub config_hash: Option<String>,
}

/// What a node of a pair is, over all virtual routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Active for every virtual router.
    Active,
    /// Backup for every virtual router.
    Backup,
    /// Active for some, backup for others.
    Mixed,
    /// Cannot take part in any election: fault or not started.
    Fault,
    /// Nothing is known, for instance because it does not advertise. Also what a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

/// One `[listener.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Name of the listener.
    pub name: String,
    /// Addresses it is bound to.
    pub bind: Vec<SocketAddr>,
    /// As in the file: `http`, `https`, `tcp`, `udp`.
    pub protocol: String,
    /// Client connections open at this moment; for `udp` the flows.
    pub connections: u64,
    /// Client connections accepted since the forwarder started.
    #[serde(default)]
    pub connections_total: u64,
    /// Requests answered since the forwarder started; for `tcp` the connections, for `udp` the flows forwarded.
    pub requests_total: u64,
    /// The same in each of the last seconds (5 to 10 of them) on average; `None` until that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<f64>,
    /// Answers of 5xx, from whoever, in each of the same seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_per_s: Option<f64>,
    /// Those of the requests that came in HTTP/2.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub http2_requests_total: u64,
    /// Those of them that are being served at this moment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub http2_streams: u64,
    /// Those of the connections open that speak HTTP/2.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub http2_connections: u64,
    /// Connections in HTTP/2 since the forwarder started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub http2_connections_total: u64,
    /// Tunnels open at this moment: requests that were answered with another protocol, such as WebSocket.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tunnels: u64,
    /// Tunnels opened since the forwarder started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tunnels_total: u64,
    /// How long its requests took, from their first byte to the last of the answer, by the class of the status (`2xx`; `none` if there was
    /// no answer); those classes that came up. For `tcp` nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_times: BTreeMap<String, Times>,
    /// Octets received from clients and sent to them since the forwarder started; what is still open is not in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes_in_total: u64,
    /// Octets sent to clients.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes_out_total: u64,
    /// TLS handshakes completed since the forwarder started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handshakes_total: u64,
    /// Those of them that resumed an earlier session.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed_total: u64,
    /// Those of the handshakes that were in TLS 1.2; the others were in 1.3.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tls12_total: u64,
    /// Those of them that resumed an earlier session.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tls12_resumed_total: u64,
    /// Datagrams passed on since the forwarder started; only for `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<DatagramTotals>,
    /// How often something did not go well, by a bounded set of causes such as `target-reset@headers`; those that came up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub causes: BTreeMap<String, u64>,
    /// What it does, in words: the group's name, `close`, or `3 rules, else app`.
    pub action: String,
    /// Its rules in their order, the first thousand.
    #[serde(default)]
    pub rules: Vec<RuleStatus>,
}

impl ListenerStatus {
    /// TLS handshakes that came to nothing, since the forwarder started.
    pub fn handshakes_failed_total(&self) -> u64 {
        let failed = (self.causes.iter()).filter(|(cause, _)| cause.ends_with("@handshake"));
        failed.map(|(_, count)| count).sum()
    }
}

/// What only some listeners have is left out of the others.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Datagrams passed on by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramTotals {
    /// From clients to targets.
    pub to_targets: u64,
    /// From targets to clients.
    pub to_clients: u64,
}

/// One `[[listener.NAME.rule]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its name; its number, counted from 1, if it has none.
    pub name: String,
    /// What it does, in words: a group's name, `web-v1 95, web-v2 5`, `redirect ...`, `respond 404`, `close`.
    pub action: String,
    /// Requests or connections that have met it since the forwarder started.
    pub requests_total: u64,
    /// How its clients stay with the group they were given; `None` if they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickyStatus>,
}

/// How clients stay where they were sent, by what became of their requests since the forwarder started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StickyStatus {
    /// Name of the cookie that binds them.
    pub cookie: String,
    /// They were not bound before.
    pub new_total: u64,
    /// They met what they are bound to.
    pub hit_total: u64,
    /// They went elsewhere: what they are bound to could not serve them.
    pub moved_total: u64,
    /// They met nobody.
    pub none_total: u64,
    /// Cookies of that name that were not believed: forged, too old, or of something else.
    pub refused_total: u64,
}

impl StickyStatus {
    /// What is counted, with the words of metrics.
    pub fn requests(&self) -> [(&'static str, u64); 4] {
        [
            ("new", self.new_total),
            ("hit", self.hit_total),
            ("moved", self.moved_total),
            ("none", self.none_total),
        ]
    }
}

/// One `[certificate.NAME]` as it is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its name.
    pub name: String,
    /// The file it was read from.
    pub file: String,
    /// The DNS names it is for.
    pub names: Vec<String>,
    /// The kind of its key: `ECDSA P-256`, `RSA 2048`.
    pub key: String,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// Who signed it.
    pub issuer: String,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it ceases to be valid.
    pub not_after: Timestamp,
    /// Until when a responder's word that it is good is passed on to clients; `None` if there is none, or it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staple_until: Option<Timestamp>,
    /// Why what its files hold by now is not in use; `None` if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One `[group.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Name of the group.
    pub name: String,
    /// Algorithm as in the file: `round-robin`.
    pub algorithm: String,
    /// What is spoken with its targets, in words, if it is more than HTTP/1.1 or plain bytes: `HTTP/2`, `TLS to web.internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<String>,
    /// Targets that may get traffic at this moment.
    pub usable: u32,
    /// Targets configured.
    pub total: u32,
    /// Requests or connections that wait for a place at a target.
    #[serde(default)]
    pub queued: u64,
    /// Requests or connections that ever waited for a place.
    #[serde(default)]
    pub queued_total: u64,
    /// Requests or connections that found as many waiting as may.
    #[serde(default)]
    pub queue_overflows_total: u64,
    /// Requests or connections that got no place in time.
    #[serde(default)]
    pub queue_timeouts_total: u64,
    /// Attempts that were made again.
    #[serde(default)]
    pub retries_total: u64,
    /// Attempts that were not made again because the budget was spent.
    #[serde(default)]
    pub retries_refused_total: u64,
    /// Nobody is usable, and those that are not are tried all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fails_open: bool,
    /// What its requests or connections have waited for; `None` if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<GroupTimes>,
    /// How its clients stay with the target they were given; `None` if they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickyStatus>,
    /// In the order of the file.
    #[serde(default)]
    pub targets: Vec<TargetStatus>,
}

/// One target of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Name in the group; the address if it has none.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The verdict of what was observed and ordered together.
    pub state: TargetCondition,
    /// Since when, as far back as the forwarder runs; `None` if it has not been seen in it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the health check found.
    pub check: CheckState,
    /// What the traffic itself showed.
    pub passive: PassiveState,
    /// What an operator ordered.
    pub order: Order,
    /// Milliseconds for which what is in flight may still go on, while it is ordered away and time is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_in_ms: Option<u64>,
    /// Share of the traffic relative to its neighbours; 0 gets none.
    pub weight: u32,
    /// The weight in the file, where an order has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_in_file: Option<u32>,
    /// Requests or connections on their way at this moment.
    pub in_flight: u64,
    /// Requests or connections since the forwarder started.
    pub requests_total: u64,
    /// The same in each of the last seconds (5 to 10 of them) on average; `None` until that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<f64>,
    /// Requests or connections that failed by its fault.
    #[serde(default)]
    pub errors_total: u64,
    /// How often its traffic has taken it out.
    #[serde(default)]
    pub ejections_total: u64,
    /// What its checks have found since the forwarder started; `None` if it is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<CheckTotals>,
    /// What it has answered; `None` if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerTotals>,
    /// How much of its share it gets in its slow start, in percent; `None` outside of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_percent: Option<u32>,
    /// Why it is in this state, in words: `connect refused`; `None` when there is nothing to say.
    pub why: Option<String>,
}

/// What the checks of a target have found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CheckTotals {
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// How often it has gone down for it.
    pub falls: u64,
    /// Seconds it has been down altogether.
    pub down_s: f64,
}

/// The verdict on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetCondition {
    /// Gets traffic.
    Up,
    /// The health check fails.
    Down,
    /// Taken out because of what the traffic showed.
    Ejected,
    /// On trial after an ejection.
    Probing,
    /// Came up a moment ago and gets a growing share.
    Starting,
    /// Finishes what it has, gets nothing more.
    Drain,
    /// Taken out by order.
    Maint,
    /// Not checked yet. Also what a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

/// What the health check of a target found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// No health check is configured.
    Off,
    /// Passes.
    Up,
    /// Fails.
    Down,
    /// No verdict yet. Also what a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

/// What the traffic of a target showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassiveState {
    /// Traffic is not judged.
    Off,
    /// Nothing suspicious.
    Ok,
    /// Taken out for a while.
    Ejected,
    /// What a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

/// What an operator ordered for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// May get traffic: the normal case.
    Ready,
    /// Finish what is under way, accept nothing more.
    Drain,
    /// Nothing at all; what is in flight may go on for a while.
    Maint,
    /// What a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

/// The process that moves the bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwarderStatus {
    /// What it does.
    pub state: ForwarderState,
    /// Its process id; `None` when it does not run.
    pub pid: Option<u32>,
    /// How often it was started again since the keeper started.
    pub restarts: u64,
    /// Seconds since it started; `None` when it does not run.
    pub uptime_s: Option<u64>,
    /// Milliseconds since its last report; `None` if it never reported.
    pub report_age_ms: Option<u64>,
    /// The generation of the configuration that it serves; `None` before the first, and from a daemon that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Its access log; `None` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLogStatus>,
}

/// The access log of the forwarder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogStatus {
    /// Where it goes: a path, `stderr` or `journal`.
    pub to: String,
    /// Lines written since the forwarder started.
    pub written: u64,
    /// Lines that could not be written, or not fast enough, since the forwarder started.
    pub lost: u64,
    /// Why lines cannot be written at this moment; `None` when they can.
    pub why: Option<String>,
}

/// What the forwarder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwarderState {
    /// Alive, listening and reporting.
    Running,
    /// Started, not yet listening on everything.
    Starting,
    /// Should run and does not.
    Down,
    /// No listener is configured, so none is started.
    Off,
    /// What a reader makes of a word it does not know.
    #[serde(other)]
    Unknown,
}

impl TargetCondition {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Starting => "starting",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Unknown => "unknown",
        }
    }
}

impl CheckState {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

impl PassiveState {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ok => "ok",
            Self::Ejected => "ejected",
            Self::Unknown => "unknown",
        }
    }
}

impl Order {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Unknown => "unknown",
        }
    }
}

impl Role {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backup => "backup",
            Self::Mixed => "mixed",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
        }
    }
}

impl ForwarderState {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Down => "down",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}
