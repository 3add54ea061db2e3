//! What a virtual router wants done, in order, and the values that say what happened.
//!
//! Nothing here is carried out: whoever calls the virtual router does that, in the order given.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::types::Priority;
use crate::wire::Advertisement;

/// One thing to do. The order of the list is the contract.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Make the addresses on the link exactly the list of the settings: add every VIP with its lease, take away what
    /// is no longer in the list. Answer with `Claimed` or `ClaimFailed`, but only for the latest `Claim`: another
    /// `Claim` or a `Release` voids an answer that is still out.
    Claim,
    /// Take every VIP away.
    Release,
    /// Send one advertisement to each of its destinations.
    Send(Advertisement),
    /// Start the schedule of gratuitous ARP and unsolicited NA, from its beginning.
    Announce(AnnounceReason),
    /// End that schedule at once, its refresh too.
    StopAnnouncing,
    /// The public state changed.
    Transition(Transition),
    /// Something an operator should know.
    Alarm(Alarm),
    /// `Handover` did not come about, and why. The state after it says whether this router is still Active.
    HandoverFailed(String),
    /// `Handover` is complete: the peer is Active, the addresses are released here.
    HandedOver,
    /// `Shutdown` is complete: the addresses are released.
    Stopped,
}

/// Why neighbours are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnnounceReason {
    /// This router became Active.
    TookOver,
    /// Another router believed to be Active as well.
    ConflictResolved,
    /// The set of addresses changed.
    VipsChanged,
}

impl AnnounceReason {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TookOver => "took over",
            Self::ConflictResolved => "conflict resolved",
            Self::VipsChanged => "addresses changed",
        }
    }
}

/// Public state of a virtual router (RFC 9568 §6.4, and Fault).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// Not started, or stopped.
    Initialize,
    /// Listens; the address is elsewhere, or about to come.
    Backup,
    /// Holds and advertises the addresses.
    Active,
    /// Takes no part, for a reason.
    Fault,
}

impl State {
    /// Lower case, as in every output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
            Self::Fault => "fault",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of the public state. `Display` gives the sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Cause.
    pub reason: Reason,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.from, self.to, self.reason)
    }
}

/// The cause of a transition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Told to start.
    Startup,
    /// Owns the addresses and starts.
    Owner,
    /// Goes on where the process before it left off.
    Resumed,
    /// No Active router was heard for this long.
    Silence(Duration),
    /// The Active router said that it leaves.
    PeerLeft(IpAddr),
    /// The Active router has a lower priority, and the time to take over has come.
    Preempting {
        /// The router that was Active.
        peer: IpAddr,
        /// Its priority.
        theirs: Priority,
        /// Our priority.
        ours: Priority,
    },
    /// Another Active router has a higher priority, or the same and a higher address.
    Outranked {
        /// The other router.
        peer: IpAddr,
        /// Its priority.
        theirs: Priority,
        /// Our priority.
        ours: Priority,
    },
    /// This process was away for so long that another router may be Active; how long after the last sign of life.
    Late(Duration),
    /// Told to stop.
    Shutdown,
    /// Handed over on request; the router that took it, if it was heard.
    HandedOver(Option<IpAddr>),
    /// A tracked thing is at fault.
    Fault(FaultReason),
    /// No family has a source address to send from.
    NoSource,
    /// The kernel refused the addresses.
    ClaimFailed(String),
    /// The addresses were taken away and could not be put back.
    AddressLost(String),
    /// Advertisements could not be sent several times in a row.
    SendFailed(String),
    /// Nothing is at fault any more.
    Recovered,
    /// A reload made it another virtual router.
    Reconfigured,
    /// A reload made it a member of a group, whose state it follows.
    Joined,
    /// A reload took it out of its group, which goes on without it.
    Parted,
}

impl Reason {
    /// One word for the cause, lower case with underscores: for counters, and for programs that are told.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Owner => "owner",
            Self::Resumed => "resumed",
            Self::Silence(_) => "silence",
            Self::PeerLeft(_) => "peer_left",
            Self::Preempting { .. } => "preempting",
            Self::Outranked { .. } => "outranked",
            Self::Late(_) => "late",
            Self::Shutdown => "shutdown",
            Self::HandedOver(_) => "handed_over",
            Self::Fault(_) => "fault",
            Self::NoSource => "no_source",
            Self::ClaimFailed(_) => "claim_failed",
            Self::AddressLost(_) => "address_lost",
            Self::SendFailed(_) => "send_failed",
            Self::Recovered => "recovered",
            Self::Reconfigured => "reconfigured",
            Self::Joined => "joined",
            Self::Parted => "parted",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Startup => f.write_str("started"),
            Self::Owner => f.write_str("started as the owner of the addresses"),
            Self::Resumed => f.write_str("goes on after a planned restart"),
            Self::Silence(time) => write!(f, "no active router heard for {} ms", time.as_millis()),
            Self::PeerLeft(peer) => write!(f, "{peer} said that it leaves"),
            Self::Preempting { peer, theirs, ours } => {
                write!(
                    f,
                    "priority {ours} takes over from {peer} with priority {theirs}"
                )
            }
            Self::Outranked { peer, theirs, ours } => {
                write!(f, "{peer} is active with priority {theirs}, ours is {ours}")
            }
            Self::Late(time) => write!(
                f,
                "no sign of life for {} ms, another router may be active",
                time.as_millis()
            ),
            Self::Shutdown => f.write_str("stopped on request"),
            Self::HandedOver(Some(peer)) => write!(f, "handed over to {peer} on request"),
            Self::HandedOver(None) => f.write_str("handed over on request"),
            Self::Fault(reason) => reason.fmt(f),
            Self::NoSource => f.write_str("no source address to advertise from"),
            Self::ClaimFailed(cause) => write!(f, "virtual addresses could not be added: {cause}"),
            Self::AddressLost(cause) => write!(f, "virtual addresses could not be kept: {cause}"),
            Self::SendFailed(cause) => write!(f, "advertisements could not be sent: {cause}"),
            Self::Recovered => f.write_str("no fault any more"),
            Self::Reconfigured => f.write_str("virtual router id or version changed"),
            Self::Joined => f.write_str("follows the group it joined"),
            Self::Parted => f.write_str("taken out of its group, which goes on without it"),
        }
    }
}

/// Which tracked thing is at fault, in words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FaultReason(String);

impl FaultReason {
    /// A reason in words, such as `interface eth1 is down`.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something an operator should know. The virtual router says each kind at most once a second, and the same words
/// at most once a minute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// What sort of thing it is.
    pub kind: AlarmKind,
    /// A sentence without full stop.
    pub words: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Sorts of alarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AlarmKind {
    /// Two routers say that they own the addresses (RFC 9568 §8.3.2).
    TwoOwners,
    /// Another router has the same priority (RFC 9568 §8.3.2).
    EqualPriorities,
    /// Another router is Active at the same time.
    TwoActive,
    /// The peer lists other addresses (RFC 9568 §7.1).
    ListMismatch,
    /// Somebody speaks for this virtual router from an address in no network of the interface.
    OffLink,
    /// The peer has another interval (RFC 9568 §7.1).
    IntervalMismatch,
    /// The peer's checksum has another form than ours (RFC 9568 §5.2.8).
    ChecksumForm,
    /// The peer's IPv6 list does not begin with a link-local address (RFC 9568 §5.2.9).
    NoLinkLocal,
    /// One family of the peer is heard and the other is not.
    PartialHearing,
    /// One of our families has no source address and is silent.
    FamilySilent,
    /// An advertisement could not be sent.
    SendFailed,
    /// This process was away for longer than it may.
    Late,
    /// The clocks of a signing peer and of this node differ by more than is good.
    ClockSkew,
    /// Advertisements for this virtual router fail authentication.
    Unauthenticated,
    /// Somebody answers for a virtual address although no Active router is heard.
    AddressAnswers,
    /// Somebody else claims a virtual address that is held here (RFC 5227 §2.4).
    AddressConflict,
    /// The gateway does not answer since the takeover.
    GatewaySilent,
    /// Nothing at all is received.
    Deaf,
    /// The peer lives, as another path shows, but is not heard here.
    FaultBetween,
}

impl AlarmKind {
    /// Lower case with underscores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TwoOwners => "two_owners",
            Self::EqualPriorities => "equal_priorities",
            Self::TwoActive => "two_active",
            Self::ListMismatch => "list_mismatch",
            Self::OffLink => "off_link",
            Self::IntervalMismatch => "interval_mismatch",
            Self::ChecksumForm => "checksum_form",
            Self::NoLinkLocal => "no_link_local",
            Self::PartialHearing => "partial_hearing",
            Self::FamilySilent => "family_silent",
            Self::SendFailed => "send_failed",
            Self::Late => "late",
            Self::ClockSkew => "clock_skew",
            Self::Unauthenticated => "unauthenticated",
            Self::AddressAnswers => "address_answers",
            Self::AddressConflict => "address_conflict",
            Self::GatewaySilent => "gateway_silent",
            Self::Deaf => "deaf",
            Self::FaultBetween => "fault_between",
        }
    }
}
