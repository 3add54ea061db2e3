//! The states of the machine with all that only they need, deadlines too.
//!
//! Four states are public. Inside, Backup is two (it listens, or it waits for the kernel to confirm its claim) and so
//! is Active (it serves, or it is about to leave and serves until the peer does).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::member::{Leg, MemberId, Members};
use super::status::Timer;
use crate::action::{Reason, State};
use crate::types::Priority;

/// How long the kernel may take to answer a claim.
pub(super) const CLAIM_LIMIT: Duration = Duration::from_secs(5);
/// How long connections in flight may still end here once the peer is heard: shorter than the 200 ms after which the peer tells the
/// neighbours again, so that nobody who asked in between is left with the wrong answer.
pub(super) const LINGER: Duration = Duration::from_millis(150);
/// When a farewell is said again, since one packet may be lost.
pub(super) const FAREWELL_REPEAT: Duration = Duration::from_millis(10);
/// Added to two intervals: how long a handover waits for the peer.
pub(super) const HANDOVER_GRACE: Duration = Duration::from_millis(100);
/// Shortest time between two replies to routers that should be silent.
pub(super) const REPLY_FLOOR: Duration = Duration::from_millis(10);
/// Shortest time between two announcements after conflicts.
pub(super) const CONFLICT_ANNOUNCE: Duration = Duration::from_secs(1);
/// Rounds of advertisements that may fail in a row before it is a fault.
pub(super) const SEND_FAILURES: u8 = 3;
/// Intervals without a sign of life of our own after which another router may be Active.
pub(super) const LATE_INTERVALS: u32 = 3;
/// Intervals to listen before asserting again after having been late.
pub(super) const LISTEN_INTERVALS: u32 = 2;

/// Where the machine is.
///
/// ```text
///                        Startup                        silence, farewell of the peer, preemption
///   ┌────────────┐  (fault: to Fault)  ┌────────┐ ──────────────────────────────────► ┌──────────┐
///   │ Initialize │ ──────────────────► │ Backup │         Claim                       │ Claiming │
///   └────────────┘ ◄────────────────── └────────┘ ◄────────────────────────────────── └──────────┘
///      ▲      ▲          Shutdown       ▲  ▲  ▲    another is Active, late: Release        │
///      │      │                         │  │  │                                            │ Claimed
///      │      │                 cleared,│  │  │ outranked, late: Release                   │
///      │      │      Shutdown     retry │  │  └───────────────────────────────┐            ▼
///      │      │ ┌───────┐               │  │ handed over: Release             │       ┌────────┐
///      │      └─│ Fault │ ──────────────┘  │                                  └────── │ Active │
///      │        └───────┘                  │                                          └────────┘
///      │          ▲ from every state       │        ┌─────────┐   Shutdown, Handover:     │ ▲
///      │          │ but Initialize:        └─────── │ Leaving │ ◄──── priority 0 ─────────┘ │
///      │          │ Release                         └─────────┘ ────────────────────────────┘
///      └──────────────────────────────────────────────  │  ▲      nobody took over
///                Shutdown: peer heard, or one interval ─┘
/// ```
/// Claiming shows as `backup`, Leaving as `active`.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Phase {
    /// Not started, or stopped.
    Initialize,
    /// Listens.
    Backup(Backup),
    /// Asked the kernel for the addresses; nothing is said yet.
    Claiming(Claiming),
    /// Holds the addresses and says so.
    Active(Active),
    /// Said farewell and holds the addresses until the peer has them.
    Leaving(Leaving),
    /// Takes no part.
    Fault(Fault),
}

/// Listening for the Active router.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Backup {
    /// When this wait began.
    pub(super) since: Instant,
    /// Active_Down_Timer.
    pub(super) down_at: Instant,
    /// The timer as each leg on which the Active router is heard sets it; the machine waits for the last of them.
    pub(super) legs_down_at: BTreeMap<Leg, Instant>,
    /// Waits only to hear whether another took over while this process was away.
    pub(super) listening: bool,
    /// Since when a lower router has been Active that may be preempted after a delay.
    pub(super) eligible_at: Option<Instant>,
    /// When the addresses are released that it still holds after having been outranked.
    pub(super) release_at: Option<Instant>,
    /// Whose farewell set the timer.
    pub(super) left: Option<IpAddr>,
    /// The lower Active router heard last.
    pub(super) rival: Option<Rival>,
}

/// A lower router that is Active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rival {
    pub(super) address: IpAddr,
    pub(super) priority: Priority,
}

impl Backup {
    /// A wait that begins at `now` and ends at `down_at`.
    pub(super) fn until(now: Instant, down_at: Instant) -> Self {
        Self {
            since: now,
            down_at,
            legs_down_at: BTreeMap::new(),
            listening: false,
            eligible_at: None,
            release_at: None,
            left: None,
            rival: None,
        }
    }

    /// Restarts the timer of one leg. A leg that fell silent holds the machine for its own time only.
    pub(super) fn hear(&mut self, leg: Leg, down_at: Instant) {
        self.legs_down_at.insert(leg, down_at);
        self.down_at = self.legs_down_at.values().max().copied().unwrap_or(down_at);
    }

    /// Forgets the legs of members that are gone; without any the wait ends by `fresh`.
    pub(super) fn keep_legs(&mut self, members: &Members, fresh: Instant) {
        self.legs_down_at
            .retain(|leg, _| members.contains_key(&leg.member));
        self.down_at = self
            .legs_down_at
            .values()
            .max()
            .copied()
            .unwrap_or(self.down_at.min(fresh));
    }

    /// When a delayed preemption is due.
    pub(super) fn preempt_at(&self, delay: Option<Duration>) -> Option<Instant> {
        if self.listening {
            return None;
        }
        self.eligible_at
            .zip(delay)
            .map(|(since, delay)| since + delay)
    }
}

/// Waiting for the kernel.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Claiming {
    pub(super) cause: Reason,
    pub(super) give_up_at: Instant,
    /// When the machine last ran: a gap tells that the process was away.
    pub(super) seen_at: Instant,
}

/// Serving.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Active {
    pub(super) since: Instant,
    /// The advertisements of each member; one that has joined gets its round when its addresses are there.
    pub(super) rounds: BTreeMap<MemberId, Box<Round>>,
    /// Until when the kernel has to answer a claim made by a reload.
    pub(super) claim_limit_at: Option<Instant>,
    /// Earliest next announcement after a conflict.
    pub(super) announce_at: Instant,
}

/// How one member advertises.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Round {
    /// Adver_Timer.
    pub(super) advert_at: Instant,
    /// From here on a backup may have taken over, counted from the advertisement sent last.
    pub(super) late_at: Instant,
    /// Earliest next reply to a router that should be silent.
    pub(super) reply_at: Instant,
    /// Rounds that failed in a row.
    pub(super) failed_in_a_row: u8,
    /// Whether the current round failed.
    pub(super) failed: bool,
}

impl Active {
    /// The first of the instants at which a backup may have taken over.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.rounds.values().map(|round| round.late_at).min()
    }

    fn advert_at(&self) -> Option<Instant> {
        self.rounds.values().map(|round| round.advert_at).min()
    }
}

/// Why an Active router leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Shutdown,
    Handover,
}

/// About to leave.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Leaving {
    pub(super) purpose: Purpose,
    /// Since when it had been Active.
    pub(super) active_since: Instant,
    /// When the farewell is repeated.
    pub(super) repeat_at: Option<Instant>,
    /// When waiting for the peer ends.
    pub(super) give_up_at: Instant,
    /// The peer that was heard, and what follows from it.
    pub(super) taken: Option<Taken>,
    /// When the machine last ran.
    pub(super) seen_at: Instant,
    /// A reload changed the addresses meanwhile.
    pub(super) vips_changed: bool,
    /// Who had its addresses; who has joined since has not.
    pub(super) spoke: Vec<MemberId>,
}

/// The peer took over.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Taken {
    pub(super) by: IpAddr,
    /// When the addresses are released here.
    pub(super) release_at: Instant,
    /// The wait that follows a handover.
    pub(super) next: Backup,
}

/// Taking no part. Faults that stand outside (tracked things, sources) are kept by the machine.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Fault {
    /// A failure of our own and when to try again.
    pub(super) retry: Option<(Reason, Instant)>,
}

impl Phase {
    /// The public state.
    pub(super) fn state(&self) -> State {
        match self {
            Self::Initialize => State::Initialize,
            Self::Backup(_) | Self::Claiming(_) => State::Backup,
            Self::Active(_) | Self::Leaving(_) => State::Active,
            Self::Fault(_) => State::Fault,
        }
    }

    /// Every running timer by name. `delay` is the preempt delay, `interval` our own.
    pub(super) fn timers<D, I>(
        &self,
        delay: D,
        interval: I,
    ) -> impl Iterator<Item = Timer> + use<D, I>
    where
        D: FnOnce() -> Option<Duration>,
        I: FnOnce() -> Duration,
    {
        const NONE: (&str, Option<Instant>) = ("", None);
        let timers = match self {
            Self::Initialize => [NONE; 3],
            Self::Backup(backup) => [
                (
                    if backup.listening {
                        "listen"
                    } else {
                        "active_down"
                    },
                    Some(backup.down_at),
                ),
                ("preempt", backup.preempt_at(delay())),
                ("release", backup.release_at),
            ],
            Self::Claiming(claiming) => [
                ("claim_limit", Some(claiming.give_up_at)),
                ("watch", Some(claiming.seen_at + interval())),
                NONE,
            ],
            Self::Active(active) => [
                (Timer::ADVERT, active.advert_at()),
                ("claim_limit", active.claim_limit_at),
                NONE,
            ],
            Self::Leaving(leaving) => [
                ("farewell", leaving.repeat_at),
                match &leaving.taken {
                    Some(taken) => ("release", Some(taken.release_at)),
                    None => ("give_up", Some(leaving.give_up_at)),
                },
                ("watch", Some(leaving.seen_at + interval())),
            ],
            Self::Fault(fault) => [
                ("retry", fault.retry.as_ref().map(|(_, at)| *at)),
                NONE,
                NONE,
            ],
        };
        let running = |(name, at): (&'static str, Option<Instant>)| Some(Timer { name, at: at? });
        timers.into_iter().filter_map(running)
    }
}
