//! The checked values of a file. Whoever holds a [`Config`] need not check anything again.

mod hooks;
mod secret;
mod track;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use balancer::AccessLogSettings;
use ipnet::IpNet;

use crate::certificate::Certificate;
use crate::trust::Revocations;
pub use hooks::{Hook, HookOn, Hooks};
pub use secret::PairSecret;
pub use track::{
    Effect, FileExpectation, Probe, ProcessName, Track, TrackedCheck, TrackedGroup,
    TrackedInterface, Watch,
};

/// A whole configuration, as one node sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// First 12 hexadecimal digits of the SHA-256 of the text: the same file on both nodes has the same hash.
    pub hash: String,
    /// This node's name: its name in `[pair]`, else the name given or the host name.
    pub node: Option<String>,
    /// What concerns the whole daemon.
    pub global: Global,
    /// The nodes that share this file, if there is a `[pair]`.
    pub pair: Option<Pair>,
    /// The virtual routers, in the order of the file; empty for a load balancer alone.
    pub vrrp: Vec<Arc<Vrrp>>,
    /// The listeners, in the order of the file; empty for a VRRP daemon alone.
    pub listeners: Vec<balancer::ListenerSettings>,
    /// The target groups, in the order of the file.
    pub groups: Vec<balancer::GroupSettings>,
    /// Whom the groups' targets may be vouched for by, in PEM form, by file; empty without file access.
    pub authorities: BTreeMap<String, Arc<str>>,
    /// What has been revoked, by the files that `client_crl` of listeners names.
    pub revocations: BTreeMap<String, Arc<Revocations>>,
    /// The certificates, in the order of the file.
    pub certificates: Vec<Certificate>,
}

/// `[global]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// The daemon's log.
    pub log: Log,
    /// A line for each request.
    pub access_log: AccessLogSettings,
    /// The control socket.
    pub socket: Socket,
    /// Where metrics are answered besides.
    pub metrics: Option<SocketAddr>,
    /// Forwarder threads; `None` = as many as there are cores.
    pub threads: Option<usize>,
    /// The user the forwarder runs as; `None` = the daemon's own.
    pub user: Option<String>,
    /// Where each change of state is written as a line, for readers of Keepalived's `notify_fifo`.
    pub notify_fifo: Option<PathBuf>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// `global.log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is written.
    pub level: Level,
    /// How a line looks.
    pub format: LogFormat,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Service lost.
    Error,
    /// Wakes someone if it repeats.
    Warn,
    /// A state the operator cares about changed. The default.
    #[default]
    Info,
    /// Why.
    Debug,
    /// Each packet.
    Trace,
}

impl Level {
    /// The word of the file, such as `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people. The default.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word of the file, such as `text`.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// `global.socket`. `None` leaves the choice to the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Where the control socket is.
    pub path: Option<PathBuf>,
    /// The group whose members may use it.
    pub group: Option<String>,
}

/// `[pair]`: the nodes that share this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// In the order of the file; the first is preferred. Never empty.
    pub nodes: Vec<Node>,
    /// Which of them this node is: an index into `nodes`.
    pub this: usize,
    /// The second path to the other node.
    pub heartbeat: Option<Heartbeat>,
    /// What the nodes derive common keys from. Without file access it is a known one.
    pub secret: Option<PairSecret>,
}

/// `pair.heartbeat`: how the nodes tell each other that they live, besides VRRP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Where this node sends from and listens.
    pub own: SocketAddr,
    /// Where the other node listens.
    pub peer: SocketAddr,
    /// Its name.
    pub peer_name: String,
    /// The pair's key.
    pub authentication: Arc<vrrp::Authentication>,
}

impl Pair {
    /// This node.
    pub fn this_node(&self) -> &Node {
        &self.nodes[self.this]
    }

    /// The other nodes, in the order of the file.
    pub fn others(&self) -> impl Iterator<Item = &Node> {
        let this = self.this;
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(index, _)| *index != this)
            .map(|(_, node)| node)
    }
}

/// One node of the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its host name.
    pub name: String,
    /// The address by which the other node reaches it; never a VIP.
    pub address: IpAddr,
}

/// One `[vrrp.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Vrrp {
    /// The name in the file.
    pub name: String,
    /// The group it moves with. All of a group have the same priority and preemption.
    pub group: Option<String>,
    /// This node's interface.
    pub interface: String,
    /// The VIPs with their prefix lengths, in the order of the file. Never empty.
    pub vips: Vec<VipAddress>,
    /// What the protocol needs to know. Without file access the password is all zero.
    pub settings: vrrp::Settings,
    /// Life of a VIP that is not renewed, in whole seconds; `None` = no lease.
    pub lease: Option<Duration>,
    /// When the VIPs are announced to the neighbours.
    pub announce: Announce,
    /// What the priority follows.
    pub track: Track,
    /// The base priority of the other node, where there are two and the file says it.
    pub peer_priority: Option<u8>,
    /// What is run on a change of state.
    pub hooks: Hooks,
    /// Adverts to addresses rather than to the multicast group.
    pub unicast: Option<Unicast>,
    /// The VIPs are on a link with the virtual MAC, not on the interface with its own.
    pub virtual_mac: bool,
    /// Packets to the VIPs are taken by this host (Accept_Mode, RFC 9568 §6.1); the owner takes them in any case.
    pub accept_mode: bool,
    /// What evidence besides advertisements may decide.
    pub evidence: Evidence,
}

/// `evidence` of a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Nobody was ever heard, but somebody answers for a VIP.
    pub address_answers: OnEvidence,
    /// The peer is not heard any more, but says on the second path that it is active.
    pub peer_lives: OnEvidence,
}

impl Default for Evidence {
    fn default() -> Evidence {
        Evidence {
            address_answers: OnEvidence::Hold,
            peer_lives: OnEvidence::Promote,
        }
    }
}

/// What to do when there is evidence against taking over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEvidence {
    /// Do not take over as long as it stands.
    Hold,
    /// Take over all the same, and say it.
    Promote,
}

impl OnEvidence {
    /// The word of the file: `hold` or `promote`.
    pub fn as_str(self) -> &'static str {
        match self {
            OnEvidence::Hold => "hold",
            OnEvidence::Promote => "promote",
        }
    }
}

/// A VIP with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VipAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its prefix: at most 32 or 128.
    pub prefix_len: u8,
}

/// When gratuitous ARP and unsolicited neighbour advertisements are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Delays after the take-over, ascending; at most 16.
    pub schedule: Vec<Duration>,
    /// Again and again while Active; `None` = never.
    pub refresh: Option<Duration>,
}

impl Default for Announce {
    fn default() -> Announce {
        let schedule = [0, 50, 200, 1_000, 5_000]
            .map(Duration::from_millis)
            .to_vec();
        Announce {
            schedule,
            refresh: None,
        }
    }
}

/// Where unicast adverts come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unicast {
    /// This node's address.
    pub source: IpAddr,
    /// The addresses of the other nodes, in the order of the file.
    pub peers: Vec<IpAddr>,
}
