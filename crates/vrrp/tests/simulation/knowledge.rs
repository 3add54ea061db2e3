//! What a decision has heard and done, as far as its transitions are explained by it.

use std::collections::BTreeMap;

use vrrp::{Event, Family, MemberId, Reason};

use super::chance::JITTER;

/// An advertisement that was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: u64,
    pub(crate) from: usize,
    /// Which it tells.
    pub(crate) interval: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Last advertisement this node had to obey, last farewell.
    pub(crate) obeyed: Option<Heard>,
    /// By member and family, the last of any lower router: each of them lives by the interval that it tells there.
    pub(crate) lower: BTreeMap<(MemberId, Family), Heard>,
    pub(crate) farewell_at: Option<u64>,
    /// The same, and those that one of them alone has heard before they came together: its timer is that of all of them.
    pub(crate) left_at: Option<u64>,
    /// By member and family, where the last that was heard tells of a pause.
    pub(crate) pauses: BTreeMap<(MemberId, Family), Heard>,
    /// When it asked the kernel last, and when it decided to: a reload has it ask again.
    pub(crate) claimed_at: u64,
    pub(crate) decided_at: u64,
    pub(crate) claiming: bool,
    /// It goes on after a pause, and since when it says so.
    pub(crate) resumes: bool,
    pub(crate) resumed_at: u64,
    pub(crate) thawed_at: Option<u64>,
    pub(crate) healthy_since: Option<u64>,
}

impl Facts {
    /// Who joins learns what the others know, and the other way round.
    pub(crate) fn merge(&mut self, other: &Self) {
        let obeyed = self.obeyed.into_iter().chain(other.obeyed);
        self.obeyed = obeyed.max_by_key(|heard| heard.at);
        self.left_at = self.left_at.max(other.left_at);
        self.claimed_at = self.claimed_at.max(other.claimed_at);
        self.decided_at = self.decided_at.max(other.decided_at);
        for (leg, heard) in &other.lower {
            let known = self.lower.entry(*leg).or_insert(*heard);
            if known.at < heard.at {
                *known = *heard;
            }
        }
        self.pauses.extend(&other.pauses);
        self.healthy_since = None;
    }

    /// Whether a transition had a cause.
    pub(crate) fn explain(&self, reason: &Reason, now: u64, event: &Event) -> bool {
        match reason {
            // At least two of the intervals last heard, of silence before the claim. Who delays preemption goes by a lower router too.
            Reason::Silence(_) => {
                let silent = |heard: &Heard| self.decided_at >= heard.at + 2 * heard.interval;
                let last = self.lower.values().max_by_key(|heard| heard.at);
                let lower =
                    last.filter(|lower| self.obeyed.is_some_and(|obeyed| obeyed.at < lower.at));
                // And where one wire has said farewell, it is the others that were silent.
                let left = |heard: &Heard| self.left_at.is_some_and(|at| heard.at <= at);
                self.obeyed
                    .is_none_or(|heard| silent(&heard) || left(&heard))
                    || lower.is_some_and(silent)
            }
            Reason::PeerLeft(_) => {
                self.farewell_at.is_some() && self.farewell_at >= self.obeyed.map(|heard| heard.at)
            }
            Reason::Preempting { .. } => self
                .lower
                .values()
                .any(|heard| self.decided_at <= heard.at + 4 * heard.interval + JITTER),
            Reason::Outranked { .. } => {
                matches!(event, Event::Advertisement { .. })
                    && self.obeyed.is_some_and(|heard| heard.at == now)
            }
            Reason::Late(_) => self.thawed_at == Some(now),
            // Who was away while another took over hands over at whatever it hears of first.
            Reason::HandedOver(_) => {
                matches!(event, Event::Timer | Event::Advertisement { .. })
                    || self.thawed_at == Some(now)
            }
            Reason::ClaimFailed(_) => matches!(event, Event::ClaimFailed(_)),
            Reason::Owner | Reason::Shutdown => true,
            Reason::Resumed => matches!(event, Event::Claimed | Event::Timer),
            Reason::Recovered => {
                let mends = Event::FaultCleared;
                *event == mends || matches!(event, Event::Timer | Event::SourceChanged { .. })
            }
            Reason::Startup
            | Reason::Fault(_)
            | Reason::NoSource
            | Reason::AddressLost(_)
            | Reason::SendFailed(_)
            | Reason::Reconfigured
            | Reason::Joined
            | Reason::Parted => false,
        }
    }
}
