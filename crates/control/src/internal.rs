//! What the processes of a node say to each other: director and keeper, keeper and forwarder or runner, director and forwarder or runner.
//! Director and runner speak of programs ([`runner`]) and of what the configuration has them look at, so that language is the daemon's own.
//!
//! Keeper messages travel as one JSON value per datagram on a `SOCK_SEQPACKET` pair, with descriptors beside them where said.
//! Director and forwarder, director and runner share a stream each; each frame is a length (4 octets, big endian) and one JSON value.
//! Both ends are always the same binary, so these types carry no promise to the outside.

pub mod overrides;
pub mod runner;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::response::ErrorAnswer;
use crate::session::{KillRequest, SessionsRequest};
use crate::status::{GroupStatus, ListenerStatus, TargetCondition};

/// Largest frame on the stream between director and forwarder, in octets: a configuration or a snapshot of thousands of targets.
pub const MAX_FRAME: usize = 32 * 1024 * 1024;

/// Number of this language. It grows with every change that makes two programs misunderstand each other: a director of another number is
/// not started beside the keeper and the workers that run.
pub const LANGUAGE: u32 = 3;

/// Director to keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToKeeper {
    /// The director's loop turned. Feeds the service manager's watchdog as well.
    Beat,
    /// A socket for farewells, which travels along. It must come before the first will that names it.
    Sender {
        /// Its name in [`Farewell::sender`].
        id: u64,
        /// What it is bound to.
        kind: SenderKind,
    },
    /// This socket is named no longer.
    SenderGone(u64),
    /// Replaces parts of the last will. A file with a [`Will`] of these parts as JSON travels along.
    Will,
    /// How long the keeper waits for the next [`ToKeeper::Beat`] before it takes the director for hung, in milliseconds.
    BeatLimit(u64),
    /// Run a forwarder as this user, or (none) stop the one that runs.
    Forwarder(Option<WorkerOrder>),
    /// Kill the forwarder that runs and start another one: this one does not turn any more.
    RestartForwarder,
    /// Run a runner as this user, or (none) stop the one that runs.
    Runner(Option<WorkerOrder>),
    /// Kill the runner that runs and start another one: this one does not turn any more.
    RestartRunner,
    /// The configuration is loaded and the control socket answers; the text is for the service manager.
    Ready(String),
    /// The director is leaving on request, and has got on with it: it may take this long from here on, in milliseconds.
    Leaving {
        /// The limit; each one replaces the one before.
        limit_ms: u64,
    },
    /// The director leaves on purpose: its will is void and it must not be restarted.
    Done,
    /// The director ends so that another one goes on at once, by the program on disk. The will stands until the other one has said
    /// [`ToKeeper::Resumed`], or has not within the limit.
    Replace {
        /// Names of the virtual routers whose addresses are left in place.
        routers: Vec<String>,
        /// How long the other one may take, in milliseconds.
        limit_ms: u64,
    },
    /// The director goes on where the one before it left off: the will of that one is void.
    Resumed,
}

/// Keeper to director.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromKeeper {
    /// Leave gracefully, then exit.
    Stop,
    /// Load the configuration again.
    Reload,
    /// Let another director go on.
    Restart,
    /// A forwarder runs. The director's end of the stream to it travels along.
    ForwarderStarted {
        /// Process id.
        pid: u32,
        /// How often the keeper has had to start it again.
        restarts: u64,
        /// Seconds it has been running: not zero when a new director adopts it.
        uptime_s: u64,
    },
    /// The forwarder ended, with its exit status in words.
    ForwarderExited {
        /// For example `signal 9`.
        status: String,
    },
    /// A runner runs. The director's end of the stream to it travels along.
    RunnerStarted {
        /// Process id.
        pid: u32,
        /// How often the keeper has had to start it again.
        restarts: u64,
    },
    /// The runner ended, with its exit status in words.
    RunnerExited {
        /// For example `signal 9`.
        status: String,
    },
}

/// Keeper to forwarder or runner: the other end of the stream to a (new) director travels along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperToWorker {
    /// Listen to this director from here on.
    Director,
    /// Finish what is in flight within this many milliseconds, then exit.
    Drain {
        /// Limit in milliseconds.
        limit_ms: u64,
    },
    /// Open the files of logs again: those that are open were renamed.
    ReopenLogs,
}

/// How the forwarder or the runner is started: whom it runs as, how it logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerOrder {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Whether its log lines are JSON.
    pub json_log: bool,
}

/// What the keeper does when the director is gone: for each virtual router a part of its own, so that a change of one of a thousand is a
/// small change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Will {
    /// By the director's number of the virtual router. An empty part takes back what was there.
    pub parts: BTreeMap<u64, Part>,
}

impl Will {
    /// Takes over the parts of `changes`.
    pub fn amend(&mut self, changes: Will) {
        for (number, mut part) in changes.parts {
            if part.is_empty() {
                self.parts.remove(&number);
            } else {
                // Most have one of each, and were read into room for four.
                part.packets.shrink_to_fit();
                part.addresses.shrink_to_fit();
                part.links.shrink_to_fit();
                self.parts.insert(number, part);
            }
        }
    }
}

/// Packets to send and then addresses to take away, for one virtual router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Ready-made packets.
    pub packets: Vec<Farewell>,
    /// Addresses to remove.
    pub addresses: Vec<HeldAddress>,
    /// Indexes of links to set down before.
    #[serde(default)]
    pub links: Vec<u32>,
    /// The highest stamp that anything signed may carry by now; a director that follows has to go on after it.
    #[serde(default)]
    pub stamp: Option<u64>,
}

impl Part {
    /// Nothing to send and nothing to take away.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.addresses.is_empty() && self.links.is_empty()
    }
}

/// What a sending socket of a will is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderKind {
    /// Interface index.
    pub ifindex: u32,
    /// Whether it sends IPv6.
    pub v6: bool,
}

/// A packet to send as a farewell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// As named by [`ToKeeper::Sender`].
    pub sender: u64,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The packet as the sending socket takes it.
    pub bytes: Vec<u8>,
}

/// An address the director holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAddress {
    /// Interface index.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
}

/// A certificate with its key, on its way from the director to the forwarder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateText {
    /// Name of the `[certificate.NAME]`.
    pub name: String,
    /// The DNS names it is for.
    pub names: Vec<String>,
    /// The chain in PEM form.
    pub chain: String,
    /// The private key in PEM form.
    pub key: String,
    /// A responder's word that it is good, for clients who ask.
    #[serde(default)]
    pub staple: Option<Vec<u8>>,
}

/// The key is not shown.
impl std::fmt::Debug for CertificateText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateText")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Director to forwarder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToForwarder {
    /// Apply this configuration, already found valid by the director.
    Configure {
        /// Generation, given back in the answer.
        generation: u64,
        /// Path, for messages.
        path: String,
        /// The node this is, when there is a pair.
        node: Option<String>,
        /// The TOML text.
        text: String,
        /// What the pair's cookies are made with, the one in use first; none without a key of the pair.
        cookie_keys: Vec<DerivedKey>,
        /// What session tickets are made with, the one in use first; none without a key of the pair.
        #[serde(default)]
        ticket_keys: Vec<DerivedKey>,
        /// What the files of its certificates hold: only the director may read them.
        #[serde(default)]
        certificates: Vec<CertificateText>,
        /// Whom targets and clients may be vouched for by, in PEM form, by file.
        #[serde(default)]
        authorities: BTreeMap<String, String>,
        /// What has been revoked, in PEM form, by file.
        #[serde(default)]
        revocations: BTreeMap<String, String>,
    },
    /// Follow these orders, and each configuration from here on with them. Comes before the first configuration.
    Overrides(overrides::Overrides),
    /// These addresses are about to go to the other node: ask clients to come anew.
    Part {
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// They go in so many milliseconds: end what is left there by then.
    Cut {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Milliseconds from now.
        in_ms: u64,
    },
    /// Say everything about listeners and groups.
    Snapshot,
    /// Say what would become of a request.
    Explain {
        /// Given back in the answer.
        id: u64,
        /// The request, as it came over the control socket.
        question: serde_json::Value,
    },
    /// Say what is open for long.
    Sessions {
        /// Given back in the answer.
        id: u64,
        /// What is asked for.
        request: SessionsRequest,
    },
    /// End some of it.
    Kill {
        /// Given back in the answer.
        id: u64,
        /// What is ordered.
        request: KillRequest,
    },
}

/// A key derived from that of the pair. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedKey(pub [u8; 32]);

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(hidden)")
    }
}

/// Forwarder to director.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromForwarder {
    /// Sent several times a second, so that silence means something.
    Pulse(Pulse),
    /// Answer to [`ToForwarder::Configure`]; an error means that nothing changed.
    Configured {
        /// The generation asked for.
        generation: u64,
        /// What could not be done, with place and remedy.
        error: Option<String>,
    },
    /// Answer to [`ToForwarder::Overrides`]; an error means that those before are in force.
    Overridden {
        /// The number of what was told.
        number: u64,
        /// Why they are not followed.
        error: Option<String>,
    },
    /// Answer to [`ToForwarder::Explain`], [`ToForwarder::Sessions`] and [`ToForwarder::Kill`].
    Answered {
        /// As in the question.
        id: u64,
        /// What was asked for, or why nobody can tell.
        answer: Result<serde_json::Value, ErrorAnswer>,
    },
    /// A target has changed its state.
    Health(HealthChange),
    /// How many targets of each group are usable, as soon as it is known and whenever it changes.
    Usable(BTreeMap<String, usize>),
    /// Answer to [`ToForwarder::Snapshot`].
    Snapshot {
        /// Listeners by name.
        listeners: Vec<ListenerStatus>,
        /// Groups by name.
        groups: Vec<GroupStatus>,
        /// What has become of access log lines.
        access_log: AccessLogCounts,
    },
}

/// What has become of access log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogCounts {
    /// Written.
    pub written: u64,
    /// Not written.
    pub lost: u64,
    /// Why none can be written at this moment; empty when they can.
    pub why: String,
}

/// A target's change of state, for the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthChange {
    /// Name of the group.
    pub group: String,
    /// Name of the target.
    pub target: String,
    /// State before.
    pub from: TargetCondition,
    /// State after.
    pub to: TargetCondition,
    /// Why, in words.
    pub why: String,
}

/// Whether the data plane can serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The generation it serves; 0 before the first.
    pub generation: u64,
    /// Every listener of the configuration is bound.
    pub listening: bool,
    /// Each target has been probed once.
    pub first_health_round_done: bool,
    /// A worker thread has stopped turning.
    pub stalled: bool,
}

/// Writes one frame.
///
/// # Errors
/// What the stream gives; a value that does not become JSON is `InvalidData`.
pub async fn write_frame<W: AsyncWrite + Unpin, T: Serialize>(
    writer: &mut W,
    value: &T,
) -> std::io::Result<()> {
    let body = serde_json::to_vec(value).map_err(std::io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    writer.write_all(&frame).await
}

/// Reads one frame; `None` when the other end has closed between frames. Not cancel safe: give it a task of its own.
///
/// # Errors
/// What the stream gives; a frame above [`MAX_FRAME`] or not of the type is `InvalidData`.
pub async fn read_frame<R: AsyncRead + Unpin, T: for<'de> Deserialize<'de>>(
    reader: &mut R,
) -> std::io::Result<Option<T>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("frame of {length} octets is above the limit"),
        ));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}
