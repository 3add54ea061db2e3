//! The election as seen from outside: the line in `GET /status` and the detail in `GET /vrrp`.
//! Times that run are given as distances in milliseconds, because the daemon's monotonic clock means nothing to a reader.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// One virtual router: one `[vrrp.NAME]` in one address family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// Name in the file.
    pub name: String,
    /// The group it moves with; `None` if it moves alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// Address family of this entry.
    pub family: Family,
    /// Interface it runs on.
    pub interface: String,
    /// Link the virtual addresses are on: the interface, or our own one with the virtual MAC; `None` while that is not there.
    #[serde(default)]
    pub link: Option<String>,
    /// Virtual MAC address the neighbours are told, `00:00:5e:00:01:33`; `None` where it is the interface's own.
    #[serde(default)]
    pub virtual_mac: Option<String>,
    /// Whether packets to the virtual addresses are taken (Accept_Mode, or owner); if not, rules of ours drop them.
    #[serde(default = "yes")]
    pub accepts: bool,
    /// State; both families of a name share it.
    pub state: VrrpState,
    /// Priority in the file, 1 to 255.
    pub priority: u8,
    /// Priority after tracking, 1 to 255.
    pub effective_priority: u8,
    /// Virtual addresses of this family with prefix length, `192.0.2.10/24`, in the order of the file.
    pub vips: Vec<String>,
    /// The router heard last in this family; `None` if none was.
    pub peer: Option<PeerStatus>,
    /// The latest change of state; `None` before the first.
    pub last_transition: Option<TransitionStatus>,
    /// Since when it is in `state`.
    pub since: Timestamp,
}

fn yes() -> bool {
    true
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4
    Ipv4,
    /// IPv6
    Ipv6,
}

/// State of a virtual router (RFC 9568 §6.4), with the one a tracked fault makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VrrpState {
    /// Not started, or stopped.
    Initialize,
    /// Listens to an Active router or waits for its silence.
    Backup,
    /// Holds the virtual addresses.
    Active,
    /// Out of the election until something tracked recovers.
    Fault,
}

/// Form of the VRRPv3 checksum over IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumForm {
    /// Pseudo-header included.
    Rfc5798,
    /// VRRP message only.
    Rfc9568,
}

/// The other router, as its advertisements show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Source address of its advertisements.
    pub address: IpAddr,
    /// Priority it advertised last, 0 to 255.
    pub priority: u8,
    /// Interval it advertised last, milliseconds.
    pub interval_ms: u64,
    /// Milliseconds since its last accepted advertisement.
    pub last_heard_ms: u64,
    /// Checksum form it uses; `None` where there is only one (IPv6, VRRPv2).
    pub checksum: Option<ChecksumForm>,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransitionStatus {
    /// State left.
    pub from: VrrpState,
    /// State entered.
    pub to: VrrpState,
    /// Why, a sentence without full stop.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Everything about one virtual router: [`VrrpStatus`] with the fields below beside it in the same JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VrrpDetail {
    /// What `GET /status` shows too.
    #[serde(flatten)]
    pub status: VrrpStatus,
    /// Finer than the state: `backup`, `claiming`, `active`, `leaving`, `preempt-wait`, `listening`.
    pub phase: String,
    /// Why it is in this phase, a sentence without full stop.
    pub why: String,
    /// Timers that run, the next to fire first.
    #[serde(default)]
    pub timers: Vec<TimerStatus>,
    /// What tracking adds to the priority, in the order of the file; empty when nothing does.
    #[serde(default)]
    pub contributions: Vec<ContributionStatus>,
    /// What is tracked, in the order of the file, and how it is.
    #[serde(default)]
    pub tracked: Vec<TrackedStatus>,
    /// Its hooks; `None` if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HooksStatus>,
    /// Checksum form of what this router sends; `None` where there is only one.
    pub checksum_sent: Option<ChecksumForm>,
    /// Interval of this router, milliseconds.
    pub advert_interval_ms: u64,
    /// Interval learned from the Active router, milliseconds; `None` while Active or not learned.
    pub learned_interval_ms: Option<u64>,
    /// Skew_Time, milliseconds.
    pub skew_ms: u64,
    /// Active_Down_Interval, milliseconds.
    pub down_interval_ms: u64,
    /// Packets by what became of them, by name: `accepted`, `sent`, `priority_zero_sent`.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Packets refused, by reason: `hop_limit`, `checksum`; `overflow` is what came faster than it could be read. Zeroes may be left out.
    #[serde(default)]
    pub rejects: BTreeMap<String, u64>,
    /// The last ten changes of state, newest first.
    #[serde(default)]
    pub transitions: Vec<TransitionStatus>,
    /// The last ten alarms, newest first.
    #[serde(default)]
    pub alarms: Vec<AlarmStatus>,
    /// Why this router does not claim though it could, for instance after a handover; `None` normally.
    pub held_back: Option<String>,
    /// How advertisements are authenticated; `None` if they are not.
    #[serde(default)]
    pub authentication: Option<AuthenticationStatus>,
    /// What is known besides advertisements of who holds the addresses: sentences without full stop, the weightiest first.
    #[serde(default)]
    pub evidence: Vec<String>,
}

/// Authentication by HMAC. No octet of a key is ever shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthenticationStatus {
    /// `enforce`, `permissive` or `receive-only`.
    pub mode: String,
    /// Number of the key that signs, 1 to 255.
    pub active_key: u8,
    /// Numbers of the keys that are believed.
    pub keys: Vec<u8>,
    /// `time` or `monotonic`.
    pub anti_replay: String,
    /// Number of the key the peer signed with last; `None` if it does not sign, or was never heard.
    pub peer_key: Option<u8>,
    /// Seconds by which our clock was ahead of the peer's when it was heard last.
    pub peer_skew_s: Option<i64>,
}

/// A timer that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimerStatus {
    /// What happens when it fires: `active down`, `next advertisement`, `preempt delay`.
    pub name: String,
    /// Milliseconds until then; 0 when it is due.
    pub in_ms: u64,
}

/// Something that moves the priority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContributionStatus {
    /// What is tracked and how it is: `eth2 down`.
    pub what: String,
    /// What it adds; negative takes away.
    pub delta: i16,
    /// Highest priority it allows; `None` for no such limit.
    pub cap: Option<u8>,
}

/// Something tracked: an interface, a group, a script, a file, a process or a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackedStatus {
    /// Kind and name: `script disk`.
    pub what: String,
    /// `up`, `down`, `flapping` (down, and has to be steady before it counts as up), or `pending` before anything is known.
    pub state: String,
    /// What it does to the priority: `fault`, `weight -20`, `number`.
    pub effect: String,
    /// What was found last, in words.
    pub why: String,
    /// Milliseconds since it was looked at last; `None` for what is not looked at again and again.
    pub age_ms: Option<u64>,
    /// How long the last look took, milliseconds.
    pub took_ms: Option<u64>,
}

/// The hooks of a virtual router, since the start of the director.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HooksStatus {
    /// The program that runs; `None` if none does.
    pub running: Option<String>,
    /// Since how many milliseconds it runs.
    pub running_ms: Option<u64>,
    /// Runs that wait for the one before them.
    pub waiting: u64,
    /// Runs that ended with exit code 0.
    pub succeeded: u64,
    /// Runs that ended otherwise, or could not begin.
    pub failed: u64,
    /// Runs that were dropped because too many waited.
    pub dropped: u64,
    /// The run that ended last.
    pub last: Option<HookRun>,
}

/// A hook that has run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// Its path.
    pub program: String,
    /// State left.
    pub from: VrrpState,
    /// State entered.
    pub to: VrrpState,
    /// Number of the change in the journal.
    pub event: u64,
    /// When it had ended.
    pub at: Timestamp,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Whether it ended with exit code 0.
    pub succeeded: bool,
    /// How it ended and what it said first: `exit code 1: no route`.
    pub outcome: String,
}

/// Something in the election that a person should look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmStatus {
    /// One word for machines: `two_owners`, `interval_mismatch`.
    pub kind: String,
    /// A sentence for people, without full stop.
    pub words: String,
    /// When it was raised last.
    pub at: Timestamp,
}

impl VrrpState {
    /// The word on the wire and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
            Self::Fault => "fault",
        }
    }
}

impl ChecksumForm {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rfc5798 => "rfc5798",
            Self::Rfc9568 => "rfc9568",
        }
    }
}

impl Family {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}
