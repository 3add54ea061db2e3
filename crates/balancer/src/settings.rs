//! What the operator wrote, as values: listeners, groups, targets and their limits, with documented defaults.
//!
//! Nothing here is checked against anything else: [`crate::Plan::build`] does that. Two equal values mean that a
//! reload has nothing to do for that part.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use crate::redirect::Redirect;
use crate::rule::Condition;
use crate::sticky::StickySettings;

mod access_log;
mod protection;
mod tls;

pub use access_log::{AccessLogFormat, AccessLogSettings, AccessLogTarget};
pub use protection::{OutlierSettings, RetrySettings, TargetLimits};
pub use tls::{
    Alpn, CheckTls, ClientCertificate, ClientTlsSettings, TargetTlsSettings, TlsSettings,
    TlsVersion,
};

/// One `[listener.NAME]`: where connections come in and what becomes of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Name, unique among the listeners.
    pub name: String,
    /// Addresses to accept on; the address need not be on this machine yet.
    pub binds: Vec<SocketAddr>,
    /// What is spoken by the clients.
    pub protocol: Protocol,
    /// What is looked at first, in this order: the first rule that matches decides.
    pub rules: Vec<RuleSettings>,
    /// What happens to a request or connection that no rule matches.
    pub default: RuleAction,
    /// Time limits on the client's side.
    pub timeouts: ListenerTimeouts,
    /// Size and number limits on the client's side.
    pub limits: ListenerLimits,
    /// True if those trusted say in the PROXY protocol whose their connections are (default false).
    pub accept_proxy: bool,
    /// Peers whose `X-Forwarded-*` fields are believed; anyone else's are replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// How connections are encrypted; always given where the protocol asks for it.
    pub tls: Option<TlsSettings>,
    /// In clear text, clients may begin in HTTP/2 without asking (RFC 9113 §3.3).
    pub h2c: bool,
}

impl ListenerSettings {
    /// A listener that forwards to `group`, everything else at its default.
    pub fn new(
        name: impl Into<String>,
        protocol: Protocol,
        binds: Vec<SocketAddr>,
        group: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            binds,
            protocol,
            rules: Vec::new(),
            default: RuleAction::Forward(group.into()),
            timeouts: ListenerTimeouts::default(),
            limits: ListenerLimits::default(),
            accept_proxy: false,
            trusted_proxies: Vec::new(),
            tls: None,
            h2c: false,
        }
    }
}

impl ListenerSettings {
    /// True if this peer is believed what it says about who its clients are.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// What a listener speaks with its clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1 in clear text.
    Http,
    /// The same inside TLS.
    Https,
    /// Any TCP stream, bytes relayed both ways.
    Tcp,
    /// Datagrams, passed on both ways in flows.
    Udp,
    /// The same inside TLS, which is ended here if there are certificates; else only the name the client asks for is read.
    Tls,
}

impl Protocol {
    /// The word used in the configuration and in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }

    /// True if it speaks datagrams: those and streams can be bound to the same address.
    pub fn is_datagrams(self) -> bool {
        match self {
            Self::Http | Self::Https | Self::Tcp | Self::Tls => false,
            Self::Udp => true,
        }
    }
}

/// What becomes of a request or connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// It goes to a target of the group with this name.
    Forward(String),
    /// It goes to one of these groups, by weight.
    Split(Vec<(String, u32)>),
    /// The client is sent elsewhere. HTTP only.
    Redirect(Redirect),
    /// The client gets this answer. HTTP only.
    Respond(FixedAnswer),
    /// The connection is closed without an answer.
    Close,
}

impl RuleAction {
    /// The groups it names.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Forward(group) => (Some(group.as_str()), &[][..]),
            Self::Split(shares) => (None, &shares[..]),
            Self::Redirect(_) | Self::Respond(_) | Self::Close => (None, &[][..]),
        };
        one.into_iter()
            .chain(several.iter().map(|(group, _)| group.as_str()))
    }
}

/// In the words of status: `app`, `web-v1 95, web-v2 5`, `redirect 301 to ...`, `respond 404`, `close`.
impl fmt::Display for RuleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(group) => f.write_str(group),
            Self::Split(shares) => {
                let words: Vec<String> = shares
                    .iter()
                    .map(|(group, weight)| format!("{group} {weight}"))
                    .collect();
                f.write_str(&words.join(", "))
            }
            Self::Redirect(redirect) => write!(f, "redirect {redirect}"),
            Self::Respond(answer) => write!(f, "respond {}", answer.status),
            Self::Close => f.write_str("close"),
        }
    }
}

/// An answer that needs no target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FixedAnswer {
    /// The status, 200..=599.
    pub status: u16,
    /// The content type, if there is one.
    pub content_type: Option<String>,
    /// The body; empty for none.
    pub body: String,
}

impl FixedAnswer {
    /// A short text that says what the status says; nothing for a status without a body.
    pub fn plain(status: u16) -> Self {
        let reason = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let bodiless = matches!(status, 204 | 205 | 304);
        Self {
            status,
            content_type: (!bodiless).then(|| "text/plain".to_owned()),
            body: match bodiless {
                true => String::new(),
                false => format!("{status} {reason}\n"),
            },
        }
    }
}

/// One `[[listener.NAME.rule]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleSettings {
    /// Name, unique in its listener; its number, counted from 1, unless given.
    pub name: String,
    /// What all has to hold; empty for everything.
    pub when: Vec<Condition>,
    /// What becomes of a request or connection that matches.
    pub action: RuleAction,
    /// Whether clients stay with the group they were given, if there are several. HTTP only.
    pub sticky: Option<StickySettings>,
    /// Changes of the request on its way to the target.
    pub request_headers: HeaderEdits,
    /// Changes of the answer on its way to the client.
    pub answer_headers: HeaderEdits,
}

impl RuleSettings {
    /// A rule that forwards to `group`, everything else at its default.
    pub fn new(name: impl Into<String>, when: Vec<Condition>, group: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            when,
            action: RuleAction::Forward(group.into()),
            sticky: None,
            request_headers: HeaderEdits::default(),
            answer_headers: HeaderEdits::default(),
        }
    }
}

/// Fields that are removed, and fields that are set in place of whatever was there.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HeaderEdits {
    /// Names with their values.
    pub set: Vec<(String, String)>,
    /// Names.
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// True if nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// True if a field of this name does not stay: in any case, and with `_` for `-`, which CGI-like servers take for
    /// the same field.
    pub fn drops(&self, name: &str) -> bool {
        let same = |other: &String| is_same_to_cgi(other, name);
        self.remove.iter().any(same) || self.set.iter().any(|(other, _)| same(other))
    }
}

fn is_same_to_cgi(one: &str, other: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

/// Time limits of a listener. None of them can be infinite by accident: a zero is an immediate limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerTimeouts {
    /// From the connection to the end of the TLS handshake (default 10 s).
    pub handshake: Duration,
    /// From the first byte of a request head to its last (default 10 s); then 408.
    pub header: Duration,
    /// Between two reads of a request body, and between two writes to the client (default 60 s).
    pub body_idle: Duration,
    /// Between an answer and the next request on the same connection (default 75 s).
    pub keepalive: Duration,
    /// Age of a client's connection from which the next answer ends it, in HTTP/2 from which no stream is begun; `None`
    /// (default) for any age. Nothing is cut for it.
    pub age: Option<Duration>,
    /// Silence of both sides on a TCP connection or an upgraded one (default 1 h).
    pub tunnel: Duration,
    /// Silence of a TCP or upgraded connection of which one direction has ended (default 30 s).
    pub half_closed: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(60),
            keepalive: Duration::from_secs(75),
            age: None,
            tunnel: Duration::from_secs(3600),
            half_closed: Duration::from_secs(30),
        }
    }
}

/// Size and number limits of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerLimits {
    /// Connections served at once, all threads together (default 20000); more wait in the kernel's queue. For UDP the
    /// flows: at the limit the flow that has been silent the longest makes room.
    pub connections: u32,
    /// Connections, or flows, of one client address at once, all threads together; of IPv6 one network of 64 bits counts
    /// as a client. `None` (default) for no limit. More are reset. Trusted proxies are not counted.
    pub per_ip: Option<u32>,
    /// Requests on one connection of a client, up to 65535, the last of which ends it as its age would; `None` (default) for
    /// any number.
    pub requests: Option<u32>,
    /// Bytes of a request head, request line included (default 32 KiB); then 431.
    pub header_bytes: u32,
    /// Fields of a request head (default 128); then 431.
    pub header_fields: u16,
    /// Bytes of a request target (default 8 KiB); then 414.
    pub url_bytes: u32,
    /// Bytes of a request body, `None` (default) for no limit; then 413.
    pub body_bytes: Option<u64>,
    /// HTTP/2 streams of one connection at a time (default 100); more are refused by the protocol.
    pub streams: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            per_ip: None,
            requests: None,
            header_bytes: 32 * 1024,
            header_fields: 128,
            url_bytes: 8 * 1024,
            body_bytes: None,
            streams: 100,
        }
    }
}

/// One `[group.NAME]`: targets that serve the same thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSettings {
    /// Name, unique among the groups.
    pub name: String,
    /// How a target is chosen.
    pub algorithm: Algorithm,
    /// The targets, in the order of the file.
    pub targets: Vec<TargetSettings>,
    /// Its targets speak HTTP/2: by prior knowledge (RFC 9113 §3.3), inside TLS because they say so.
    pub http2: bool,
    /// How connections to the targets are encrypted; `None` (default) if they are not.
    pub tls: Option<TargetTlsSettings>,
    /// How each target is checked.
    pub health: HealthSettings,
    /// Time limits on the target's side.
    pub timeouts: GroupTimeouts,
    /// What happens when every target fails its check.
    pub on_all_down: OnAllDown,
    /// When live traffic takes a target out; `None` for never.
    pub outlier: Option<OutlierSettings>,
    /// How often a request may be tried again.
    pub retry: RetrySettings,
    /// How long a target that comes back gets less than its share; `None` (default) for not at all.
    pub slow_start: Option<Duration>,
    /// How much a target gets at once.
    pub limits: TargetLimits,
    /// Whether clients stay with the target they were given. HTTP only.
    pub sticky: Option<StickySettings>,
    /// How long connections to a target that is taken out of the group, or ordered to drain, may go on (default 300 s).
    pub drain: Duration,
    /// Whether connections to targets begin with the address of the client, and how (default not).
    pub send_proxy: Option<SendProxy>,
    /// What becomes of connections to a target that its check finds dead: those of TCP listeners, and those that have left
    /// HTTP (WebSocket). Requests have rules of their own.
    pub on_down: OnDown,
    /// When a flow of datagrams ends. UDP only.
    pub udp: UdpSettings,
}

impl GroupSettings {
    /// Points the ring of this group has, if it hashes; else 0.
    pub fn ring_points(&self) -> u64 {
        let weights = self.targets.iter().map(|target| u64::from(target.weight));
        match &self.algorithm {
            Algorithm::ConsistentHash { vnodes, .. } => weights.sum::<u64>() * u64::from(*vnodes),
            Algorithm::RoundRobin
            | Algorithm::LeastConnections
            | Algorithm::PowerOfTwo
            | Algorithm::Random
            | Algorithm::First => 0,
        }
    }

    /// A round robin group of equal targets, everything else at its default.
    pub fn new(name: impl Into<String>, targets: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            name: name.into(),
            algorithm: Algorithm::RoundRobin,
            targets: targets.into_iter().map(TargetSettings::new).collect(),
            http2: false,
            tls: None,
            health: HealthSettings::default(),
            timeouts: GroupTimeouts::default(),
            on_all_down: OnAllDown::Try,
            outlier: Some(OutlierSettings::default()),
            retry: RetrySettings::default(),
            slow_start: None,
            limits: TargetLimits::default(),
            sticky: None,
            drain: Duration::from_secs(300),
            send_proxy: None,
            on_down: OnDown::default(),
            udp: UdpSettings::default(),
        }
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SendProxy {
    /// A line of text.
    V1,
    /// Octets.
    V2,
}

impl SendProxy {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// What becomes of connections to a target that its check finds dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDown {
    /// They go on for as long as they can.
    #[default]
    Keep,
    /// They end with a reset, both sides.
    Close,
}

impl OnDown {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Close => "close",
        }
    }
}

/// When a flow of datagrams ends: what one client address and port sends, and the answers to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UdpSettings {
    /// Silence of both sides (default 30 s).
    pub idle: Duration,
    /// Answers to each datagram of the client; with the last of them the flow ends. `None` (default): any number.
    pub responses: Option<u32>,
}

impl Default for UdpSettings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            responses: None,
        }
    }
}

/// How a group chooses a target.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// Turn by turn, in proportion to the weights and evenly spread.
    #[default]
    RoundRobin,
    /// The one with the fewest requests or connections in flight for its weight, idle ones first.
    LeastConnections,
    /// The less loaded of two that are drawn at random, by weight.
    PowerOfTwo,
    /// At random, by weight.
    Random,
    /// The first in the order of the file, as long as it is usable.
    First,
    /// Always the same for the same key, whichever node is asked.
    ConsistentHash {
        /// What the key is made of.
        key: HashKey,
        /// Points on the ring for each unit of weight, 1..=[`Algorithm::MAX_VNODES`].
        vnodes: u16,
    },
}

impl Algorithm {
    /// Points on the ring for each unit of weight, unless given.
    pub const DEFAULT_VNODES: u16 = 160;
    /// The most points for each unit of weight that can be given.
    pub const MAX_VNODES: u16 = 1024;

    /// The word used in status.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::PowerOfTwo => "power-of-two",
            Self::Random => "random",
            Self::First => "first",
            Self::ConsistentHash { .. } => "consistent-hash",
        }
    }
}

/// The word of status; for hashing also by what, and with how many points.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsistentHash { key, vnodes } => {
                write!(f, "{} by {key}, {vnodes} vnodes", self.as_str())
            }
            Self::RoundRobin
            | Self::LeastConnections
            | Self::PowerOfTwo
            | Self::Random
            | Self::First => f.write_str(self.as_str()),
        }
    }
}

/// What the key of consistent hashing is made of. What a request does not have, or has empty, is no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashKey {
    /// The address of the client, without its port. The only one a TCP connection has.
    Source,
    /// The path without query, as sent.
    Path,
    /// The value of the first field of this name, in any case.
    Header(String),
    /// The value of the first cookie of exactly this name.
    Cookie(String),
    /// The value of the first query parameter of exactly this name, as sent: nothing is decoded.
    Query(String),
}

/// As in the configuration: `source`, `header:X-User`.
impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

/// Time limits of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupTimeouts {
    /// Opening a connection to one target (default 3 s).
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer (default 60 s); then 504.
    pub first_byte: Duration,
    /// Between two reads from or writes to a target (default 60 s).
    pub idle: Duration,
    /// How long an unused connection to a target is kept for the next request (default 30 s).
    pub pool_idle: Duration,
    /// How old a connection to a target may be when it is used for another request (default 1 h).
    pub pool_age: Duration,
}

impl Default for GroupTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            pool_idle: Duration::from_secs(30),
            pool_age: Duration::from_secs(3600),
        }
    }
}

/// What a group does when every target fails its check.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnAllDown {
    /// Tries them all the same (fail open): the check may be what is broken.
    #[default]
    Try,
    /// Refuses: HTTP 503, a TCP connection is closed, a datagram is dropped.
    Refuse,
}

/// One target of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetSettings {
    /// Name, unique in its group; the address in text unless given.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it is checked instead; goes before [`HealthSettings::port`].
    pub check: Option<SocketAddr>,
    /// Its share of the traffic in relation to the others, 0..=[`TargetSettings::MAX_WEIGHT`] (default 1); 0 gets nothing.
    pub weight: u32,
    /// Gets traffic only while no other target of the group can (default false).
    pub backup: bool,
}

impl TargetSettings {
    /// The largest weight that can be given.
    pub const MAX_WEIGHT: u32 = 999;

    /// A target of weight 1, named by its address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            name: address.to_string(),
            address,
            check: None,
            weight: 1,
            backup: false,
        }
    }
}

/// How the targets of a group are checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthSettings {
    /// What is asked (default a TCP connection).
    pub check: Check,
    /// Time between two checks of one target (default 5 s).
    pub every: Duration,
    /// Time limit of one check, connecting included (default 2 s).
    pub timeout: Duration,
    /// Checks in a row that must pass before a target that is down is up (default 2).
    pub rise: u32,
    /// Checks in a row that must fail before a target that is up is down (default 3).
    pub fall: u32,
    /// Time to the next check while a change is pending (default 1 s).
    pub fast: Duration,
    /// Port to check instead of the target's own.
    pub port: Option<u16>,
    /// HTTP checks are asked in HTTP/2.
    pub http2: bool,
    /// Whether checks are encrypted. Those by UDP never are.
    pub tls: CheckTls,
}

impl HealthSettings {
    /// Where a target is checked.
    pub fn place(&self, target: &TargetSettings) -> SocketAddr {
        let port = self.port.unwrap_or(target.address.port());
        let usual = SocketAddr::new(target.address.ip(), port);
        target.check.unwrap_or(usual)
    }

    /// The same, if that is not where it listens.
    pub fn elsewhere(&self, target: &TargetSettings) -> Option<SocketAddr> {
        Some(self.place(target)).filter(|place| *place != target.address)
    }

    /// True if that place is for checks alone, which speaks as such places do: nobody is announced there.
    pub fn is_elsewhere(&self, target: &TargetSettings) -> bool {
        self.port.is_some() || target.check.is_some()
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            check: Check::Tcp,
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            fast: Duration::from_secs(1),
            port: None,
            http2: false,
            tls: CheckTls::AsTraffic,
        }
    }
}

/// What a health check asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Check {
    /// Nothing: the target counts as healthy.
    Off,
    /// That a TCP connection opens.
    Tcp,
    /// That `GET path` is answered with a wanted status.
    Http {
        /// Path with query, beginning with `/`.
        path: String,
        /// The Host field; the target's address if not given.
        host: Option<String>,
        /// Statuses that pass.
        status: Vec<RangeInclusive<u16>>,
        /// Text the body must contain, within its first 64 KiB.
        body: Option<String>,
    },
    /// That a call of `grpc.health.v1.Health/Check` says that the service is serving.
    Grpc {
        /// The service asked about; empty for the target as a whole.
        service: String,
        /// The authority; the target's address if not given.
        host: Option<String>,
    },
    /// That a datagram is answered.
    Udp {
        /// What is sent.
        send: Vec<u8>,
        /// Octets the answer must contain; `None` for any answer.
        expect: Option<Vec<u8>>,
    },
}

impl Check {
    /// An HTTP check with the usual range of statuses, 200..=399.
    pub fn http(path: impl Into<String>) -> Self {
        Self::Http {
            path: path.into(),
            host: None,
            status: vec![200..=399],
            body: None,
        }
    }

    /// True unless no check is made.
    pub fn is_on(&self) -> bool {
        match self {
            Self::Off => false,
            Self::Tcp | Self::Http { .. } | Self::Grpc { .. } | Self::Udp { .. } => true,
        }
    }
}
