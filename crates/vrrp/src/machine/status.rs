//! What an operator may ask of a virtual router: where it is, why, and what happens next.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::member::MemberId;
use super::phase::{Phase, Purpose};
use super::{Member, VirtualRouter};
use crate::action::{State, Transition};
use crate::authentication::Proof;
use crate::types::{ChecksumForm, Family, Interval, Priority};

/// Everything there is to show of one virtual router.
#[derive(Clone, PartialEq, Debug)]
pub struct Status {
    /// Public state.
    pub state: State,
    /// The state in more detail.
    pub phase: PhaseName,
    /// The cause of the present state, a sentence without full stop.
    pub why: String,
    /// Running timers, soonest first; the first is the deadline.
    pub timers: Vec<Timer>,
    /// Base priority.
    pub priority: Priority,
    /// Priority after tracking.
    pub effective_priority: Priority,
    /// Own interval.
    pub advert_interval: Interval,
    /// Interval learned from the Active router.
    pub learned_interval: Option<Interval>,
    /// Skew_Time as it would be used.
    pub skew: Duration,
    /// Active_Down_Interval as it would be used.
    pub down_interval: Duration,
    /// The router heard last, of either family.
    pub peer: Option<PeerStatus>,
    /// The router heard last, by family.
    pub peers: Vec<PeerStatus>,
    /// Checksum form of what is sent; v3 over IPv4 only.
    pub checksum_sent: ChecksumForm,
    /// The router this one handed the addresses to and will not preempt.
    pub held_back: Option<IpAddr>,
    /// Families configured that cannot send for lack of a source address.
    pub silent_families: Vec<Family>,
    /// When and how the public state last changed.
    pub last_transition: Option<(Instant, Transition)>,
}

/// One running timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    /// Such as `active_down`, `advert`, `preempt`.
    pub name: &'static str,
    /// When it ends.
    pub at: Instant,
}

impl Timer {
    /// The name of the Adver_Timer (RFC 9568 §6.2).
    pub const ADVERT: &str = "advert";
}

/// A router as it was heard last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Family of what was heard.
    pub family: Family,
    /// Its source address.
    pub address: IpAddr,
    /// Its priority; 0 if it said farewell.
    pub priority: Priority,
    /// Its interval.
    pub interval: Interval,
    /// When it was heard.
    pub last_heard: Instant,
    /// The form of its checksum, where there is a choice.
    pub checksum: Option<ChecksumForm>,
    /// How it was signed; `None` if it was not.
    pub proof: Option<Proof>,
}

/// The state in more detail than [`State`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PhaseName {
    /// Not started, or stopped.
    Initialize,
    /// Backup, hearing an Active router or waiting for one.
    Backup,
    /// Backup that only listens, having been late.
    Listening,
    /// Backup that will preempt after its delay.
    PreemptWait,
    /// Backup that waits for the kernel to confirm the addresses.
    Claiming,
    /// Active.
    Active,
    /// Active that hands over on request.
    HandingOver,
    /// Active that stops.
    Leaving,
    /// Takes no part.
    Fault,
}

impl PhaseName {
    /// Lower case, words joined by `-`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Listening => "listening",
            Self::PreemptWait => "preempt-wait",
            Self::Claiming => "claiming",
            Self::Active => "active",
            Self::HandingOver => "handing-over",
            Self::Leaving => "leaving",
            Self::Fault => "fault",
        }
    }
}

impl VirtualRouter {
    /// Everything there is to show of the first member.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_with(self.lead())
    }

    /// Everything there is to show of one member; what is decided is the same for all of them.
    #[must_use]
    pub fn status_of(&self, member: MemberId) -> Option<Status> {
        Some(self.status_with(self.members.get(&member)?))
    }

    fn status_with(&self, member: &Member) -> Status {
        let mut timers: Vec<Timer> = self.timers().collect();
        timers.sort_by_key(|timer| timer.at);
        let peers: Vec<PeerStatus> = Family::ALL
            .into_iter()
            .filter_map(|family| peer_status(member, family))
            .collect();
        Status {
            state: self.phase.state(),
            phase: self.phase_name(),
            why: self.why(),
            timers,
            priority: member.settings.priority,
            effective_priority: self.priority,
            advert_interval: member.settings.advert_interval,
            learned_interval: member.peers.learned(),
            skew: member.skew_time(self.priority),
            down_interval: member.down_interval(self.priority),
            peer: peers.iter().copied().max_by_key(|peer| peer.last_heard),
            peers,
            checksum_sent: member.checksum,
            held_back: self.held_back,
            silent_families: Family::ALL
                .into_iter()
                .filter(|&family| member.speaks(family) && member.sources.of(family).is_none())
                .collect(),
            last_transition: self.last_transition.clone(),
        }
    }

    /// The router that a member heard last, of either family.
    #[must_use]
    pub fn peer_of(&self, member: MemberId) -> Option<PeerStatus> {
        let member = self.members.get(&member)?;
        let peers = Family::ALL
            .into_iter()
            .filter_map(|family| peer_status(member, family));
        peers.max_by_key(|peer| peer.last_heard)
    }

    /// The state in more detail; what [`Status::phase`] says.
    #[must_use]
    pub fn phase_name(&self) -> PhaseName {
        match &self.phase {
            Phase::Initialize => PhaseName::Initialize,
            Phase::Backup(backup) if backup.listening => PhaseName::Listening,
            Phase::Backup(backup) if backup.preempt_at(self.preempt_delay()).is_some() => {
                PhaseName::PreemptWait
            }
            Phase::Backup(_) => PhaseName::Backup,
            Phase::Claiming(_) => PhaseName::Claiming,
            Phase::Active(_) => PhaseName::Active,
            Phase::Leaving(leaving) if leaving.purpose == Purpose::Handover => {
                PhaseName::HandingOver
            }
            Phase::Leaving(_) => PhaseName::Leaving,
            Phase::Fault(_) => PhaseName::Fault,
        }
    }

    fn why(&self) -> String {
        match &self.phase {
            Phase::Claiming(claiming) => format!(
                "waiting for the kernel to confirm the addresses: {}",
                claiming.cause
            ),
            Phase::Fault(fault) => match (self.standing_fault(), &fault.retry) {
                (Some(reason), _) => reason.to_string(),
                (None, Some((reason, _))) => reason.to_string(),
                (None, None) => String::new(),
            },
            Phase::Leaving(leaving) => match &leaving.taken {
                Some(taken) => format!("{} took over, connections in flight may end", taken.by),
                None => "said farewell, waiting for another router to take over".to_owned(),
            },
            Phase::Initialize | Phase::Backup(_) | Phase::Active(_) => self
                .last_transition
                .as_ref()
                .map_or_else(String::new, |(_, transition)| transition.reason.to_string()),
        }
    }
}

fn peer_status(member: &Member, family: Family) -> Option<PeerStatus> {
    let peer = member.peers.of(family)?;
    Some(PeerStatus {
        family,
        address: peer.address,
        priority: peer.priority,
        interval: peer.interval,
        last_heard: peer.last_heard,
        checksum: peer.checksum,
        proof: peer.proof,
    })
}
