//! What is known of the other routers from what they send, and the alarms that follow.
//!
//! Nothing here decides the election, except for the interval a Backup learns.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::VirtualRouter;
use crate::action::{Action, Alarm, AlarmKind, State};
use crate::event::Event;
use crate::receive::Accepted;
use crate::types::{ChecksumForm, ChecksumPolicy, Family, Interval, PerFamily, Priority, Version};

/// Shortest time between two alarms of one kind, and between two with the same words.
const ALARM_FLOOR: Duration = Duration::from_secs(1);
const ALARM_REPEAT: Duration = Duration::from_secs(60);
/// Silence after which a router is no longer there: three intervals and the longest skew.
const GONE_INTERVALS: u32 = 4;

/// The part of an advertisement that the election looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) family: Family,
    pub(super) source: IpAddr,
    pub(super) priority: Priority,
    pub(super) interval: Interval,
}

impl Heard {
    pub(super) fn new(family: Family, source: IpAddr, accepted: &Accepted) -> Self {
        Self {
            family,
            source,
            priority: accepted.priority(),
            interval: accepted.interval(),
        }
    }
}

/// The router heard last in one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) priority: Priority,
    pub(super) interval: Interval,
    pub(super) checksum: Option<ChecksumForm>,
    /// Beginning of the time it has been heard without a gap.
    pub(super) first_heard: Instant,
    pub(super) last_heard: Instant,
}

impl Peer {
    fn gone_at(&self) -> Instant {
        self.last_heard + self.interval.as_duration() * GONE_INTERVALS
    }
}

/// By family: the router heard last, and the interval learned from the Active router.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    heard: PerFamily<Option<Peer>>,
    learned: PerFamily<Option<Interval>>,
}

impl Peers {
    pub(super) fn learn(&mut self, family: Family, interval: Interval) {
        *self.learned.of_mut(family) = Some(interval);
    }

    /// Our own interval governs again (RFC 9568 §6.4.3).
    pub(super) fn forget_intervals(&mut self) {
        self.learned = PerFamily::default();
    }

    pub(super) fn learned_of(&self, family: Family) -> Option<Interval> {
        *self.learned.of(family)
    }

    /// The longer of the learned intervals.
    pub(super) fn learned(&self) -> Option<Interval> {
        self.learned.v4.max(self.learned.v6)
    }

    pub(super) fn of(&self, family: Family) -> Option<&Peer> {
        self.heard.of(family).as_ref()
    }

    fn both(&self) -> impl Iterator<Item = &Peer> {
        [&self.heard.v4, &self.heard.v6].into_iter().flatten()
    }

    pub(super) fn last_heard(&self) -> Option<Instant> {
        self.both().map(|peer| peer.last_heard).max()
    }

    pub(super) fn slowest_interval(&self) -> Option<Interval> {
        self.both().map(|peer| peer.interval).max()
    }

    /// Whether this router has been heard lately.
    pub(super) fn is_heard(&self, address: IpAddr, now: Instant) -> bool {
        self.both()
            .any(|peer| peer.address == address && now < peer.gone_at())
    }

    /// Whether this family is silent although the other one has been heard for as long as makes a router gone.
    pub(super) fn is_silent_in(&self, family: Family, now: Instant) -> bool {
        let other_stands = self.of(family.other()).is_some_and(|peer| {
            let steady = peer.interval.as_duration() * GONE_INTERVALS;
            now < peer.gone_at() && peer.first_heard + steady <= now
        });
        other_stands && self.of(family).is_none_or(|peer| peer.gone_at() <= now)
    }

    fn note(&mut self, now: Instant, heard: Heard, checksum: Option<ChecksumForm>) {
        let slot = self.heard.of_mut(heard.family);
        let first_heard = slot
            .filter(|peer| now < peer.gone_at())
            .map_or(now, |peer| peer.first_heard);
        *slot = Some(Peer {
            address: heard.source,
            priority: heard.priority,
            interval: heard.interval,
            checksum,
            first_heard,
            last_heard: now,
        });
    }
}

/// Keeps alarms from becoming a flood that a peer can cause.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarms {
    raised: std::collections::BTreeMap<AlarmKind, (Instant, String)>,
}

impl Alarms {
    pub(super) fn raise(&mut self, now: Instant, alarm: Alarm, out: &mut Vec<Action>) {
        if let Some((at, words)) = self.raised.get(&alarm.kind) {
            let floor = if *words == alarm.words {
                ALARM_REPEAT
            } else {
                ALARM_FLOOR
            };
            if now < *at + floor {
                return;
            }
        }
        self.raised.insert(alarm.kind, (now, alarm.words.clone()));
        out.push(Action::Alarm(alarm));
    }
}

impl VirtualRouter {
    /// Facts that hold in every state, noted before the state decides.
    pub(super) fn take_note(
        &mut self,
        now: Instant,
        event: &Event,
        state: State,
        out: &mut Vec<Action>,
    ) {
        match event {
            Event::Advertisement {
                family,
                source,
                accepted,
            } => {
                if state != State::Initialize && self.settings.has_family(*family) {
                    self.note_advertisement(
                        now,
                        Heard::new(*family, *source, accepted),
                        accepted,
                        out,
                    );
                }
            }
            Event::SourceChanged { family, source } => {
                let had = self.sources.of_mut(*family);
                let lost = had.is_some() && source.is_none();
                *had = *source;
                if lost && self.speaks(*family) && self.standing_fault().is_none() {
                    let words = format!("no {family} source address, that family is silent");
                    self.alarms.raise(
                        now,
                        Alarm {
                            kind: AlarmKind::FamilySilent,
                            words,
                        },
                        out,
                    );
                }
            }
            Event::Fault(reason) => self.tracked_fault = Some(reason.clone()),
            Event::FaultCleared => self.tracked_fault = None,
            Event::Startup
            | Event::Shutdown
            | Event::Handover
            | Event::Timer
            | Event::PriorityChanged(_)
            | Event::Claimed
            | Event::ClaimFailed(_)
            | Event::AddressLost(_)
            | Event::SendFailed(_)
            | Event::Reconfigure(_) => {}
        }
    }

    fn note_advertisement(
        &mut self,
        now: Instant,
        heard: Heard,
        accepted: &Accepted,
        out: &mut Vec<Action>,
    ) {
        self.peers.note(now, heard, accepted.checksum());
        self.adopt_form(now, heard, accepted, out);
        let peer = heard.source;
        let notes = accepted.notes();
        let silent = heard.family.other();
        let half_heard = self.speaks(silent) && self.peers.is_silent_in(silent, now);
        let mut raise = |kind, words| self.alarms.raise(now, Alarm { kind, words }, out);
        if notes.list_differs {
            raise(
                AlarmKind::ListMismatch,
                format!(
                    "{peer} lists other addresses: {}",
                    listed(accepted.addresses())
                ),
            );
        }
        if notes.interval_differs {
            let ours = self.settings.advert_interval;
            raise(
                AlarmKind::IntervalMismatch,
                format!("{peer} sends each {}, ours is {ours}", heard.interval),
            );
        }
        if notes.no_link_local {
            raise(
                AlarmKind::NoLinkLocal,
                format!("the list of {peer} does not begin with a link-local address"),
            );
        }
        if half_heard {
            let words = format!("{peer} is heard by {} but not by {silent}", heard.family);
            raise(AlarmKind::PartialHearing, words);
        }
    }

    /// Speaks the checksum form that the peer speaks, since the peer may take no other.
    fn adopt_form(
        &mut self,
        now: Instant,
        heard: Heard,
        accepted: &Accepted,
        out: &mut Vec<Action>,
    ) {
        let Some(form) = accepted.checksum().filter(|&form| form != self.checksum) else {
            return;
        };
        if self.settings.checksum != ChecksumPolicy::Auto || self.settings.version != Version::V3 {
            return;
        }
        self.checksum = form;
        let words = format!(
            "{} sends checksums of the form {form}, using it as well",
            heard.source
        );
        self.alarms.raise(
            now,
            Alarm {
                kind: AlarmKind::ChecksumForm,
                words,
            },
            out,
        );
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .map(IpAddr::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
