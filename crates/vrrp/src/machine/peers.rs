//! What is known of the other routers from what they send, and the alarms that follow.
//!
//! Nothing here decides the election, except for the interval a Backup learns.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::VirtualRouter;
use super::member::{Leg, MemberId, Out};
use crate::action::{Action, Alarm, AlarmKind, State};
use crate::authentication::{Proof, skew_words};
use crate::event::Event;
use crate::receive::Accepted;
use crate::types::{ChecksumForm, ChecksumPolicy, Family, Interval, PerFamily, Priority, Version};

/// Shortest time between two alarms of one kind, and between two with the same words.
const ALARM_FLOOR: Duration = Duration::from_secs(1);
const ALARM_REPEAT: Duration = Duration::from_secs(60);
/// Shortest time between two looks at which legs are silent: a group may have many.
const HEARING_CHECK: Duration = Duration::from_millis(100);
/// Silence after which a router is no longer there: three intervals and the longest skew.
const GONE_INTERVALS: u32 = 4;

/// The part of an advertisement that the election looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) leg: Leg,
    pub(super) source: IpAddr,
    pub(super) priority: Priority,
    pub(super) interval: Interval,
}

impl Heard {
    pub(super) fn new(
        member: MemberId,
        family: Family,
        source: IpAddr,
        accepted: &Accepted,
    ) -> Self {
        Self {
            leg: Leg { member, family },
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
    /// The shortest that it has told: a longer one may be a pause.
    usual: Interval,
    pub(super) checksum: Option<ChecksumForm>,
    pub(super) proof: Option<Proof>,
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

    /// Whoever announced a pause is not waited for any more.
    pub(super) fn forget_pauses(&mut self) {
        for peer in [&mut self.heard.v4, &mut self.heard.v6]
            .into_iter()
            .flatten()
        {
            peer.interval = peer.usual;
        }
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

    /// Whether a router is heard in this family.
    pub(super) fn hears(&self, family: Family, now: Instant) -> bool {
        self.of(family).is_some_and(|peer| now < peer.gone_at())
    }

    /// Whether a router has been heard in this family for as long as makes one gone that is not.
    pub(super) fn hears_steadily(&self, family: Family, now: Instant) -> bool {
        self.of(family).is_some_and(|peer| {
            let steady = peer.interval.as_duration() * GONE_INTERVALS;
            now < peer.gone_at() && peer.first_heard + steady <= now
        })
    }

    fn note(&mut self, now: Instant, heard: Heard, accepted: &Accepted) {
        let slot = self.heard.of_mut(heard.leg.family);
        let first_heard = slot
            .filter(|peer| now < peer.gone_at())
            .map_or(now, |peer| peer.first_heard);
        let usual = slot
            .filter(|peer| peer.address == heard.source && now < peer.gone_at())
            .map_or(heard.interval, |peer| peer.usual.min(heard.interval));
        *slot = Some(Peer {
            address: heard.source,
            priority: heard.priority,
            interval: heard.interval,
            usual,
            checksum: accepted.checksum(),
            proof: accepted.proof(),
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
    /// Whether it may be said.
    fn take(&mut self, now: Instant, alarm: &Alarm) -> bool {
        if let Some((at, words)) = self.raised.get(&alarm.kind) {
            let floor = if *words == alarm.words {
                ALARM_REPEAT
            } else {
                ALARM_FLOOR
            };
            if now < *at + floor {
                return false;
            }
        }
        self.raised.insert(alarm.kind, (now, alarm.words.clone()));
        true
    }
}

impl VirtualRouter {
    /// Facts that hold in every state, noted before the state decides.
    pub(super) fn take_note(
        &mut self,
        now: Instant,
        member: MemberId,
        event: &Event,
        state: State,
        out: &mut Out,
    ) {
        match event {
            Event::Advertisement {
                family,
                source,
                accepted,
            } => {
                let heard = Heard::new(member, *family, *source, accepted);
                if state != State::Initialize && self.concerns(heard.leg) {
                    self.note_advertisement(now, heard, accepted, out);
                }
            }
            Event::SourceChanged { family, source } => {
                let had = self.member_mut(member).sources.of_mut(*family);
                let lost = had.is_some() && source.is_none();
                *had = *source;
                if lost && self.members[&member].speaks(*family) && self.standing_fault().is_none()
                {
                    let words = format!("no {family} source address, that family is silent");
                    self.raise(now, member, AlarmKind::FamilySilent, words, out);
                }
            }
            Event::Fault(reason) => self.member_mut(member).tracked_fault = Some(reason.clone()),
            Event::FaultCleared => self.member_mut(member).tracked_fault = None,
            Event::Startup
            | Event::Resume
            | Event::Pause(_)
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

    /// Says an alarm of one member, unless it has been said lately.
    pub(super) fn raise(
        &mut self,
        now: Instant,
        member: MemberId,
        kind: AlarmKind,
        words: String,
        out: &mut Out,
    ) {
        let alarm = Alarm { kind, words };
        if self.member_mut(member).alarms.take(now, &alarm) {
            out.push_for(member, Action::Alarm(alarm));
        }
    }

    fn note_advertisement(
        &mut self,
        now: Instant,
        heard: Heard,
        accepted: &Accepted,
        out: &mut Out,
    ) {
        let id = heard.leg.member;
        let member = self.member_mut(id);
        member.peers.note(now, heard, accepted);
        let ours = member.settings.advert_interval;
        self.adopt_form(now, heard, accepted, out);
        let peer = heard.source;
        let notes = accepted.notes();
        if notes.list_differs {
            let words = format!(
                "{peer} lists other addresses: {}",
                listed(accepted.addresses())
            );
            self.raise(now, id, AlarmKind::ListMismatch, words, out);
        }
        if notes.interval_differs {
            let words = format!("{peer} sends each {}, ours is {ours}", heard.interval);
            self.raise(now, id, AlarmKind::IntervalMismatch, words, out);
        }
        // Two with one list have both been told to do without: then it is no surprise of the wire.
        if notes.no_link_local && notes.list_differs {
            let words = format!("the list of {peer} does not begin with a link-local address");
            self.raise(now, id, AlarmKind::NoLinkLocal, words, out);
        }
        if let Some(skew_s) = notes.skew_s {
            let words = skew_words(peer, skew_s);
            self.raise(now, id, AlarmKind::ClockSkew, words, out);
        }
        self.note_partial_hearing(now, heard, out);
    }

    /// The peer is heard here and has been for a while: where it is not heard, something is wrong in between.
    fn note_partial_hearing(&mut self, now: Instant, heard: Heard, out: &mut Out) {
        let Leg { member, family } = heard.leg;
        if self.hearing_check_at.is_some_and(|at| now < at)
            || !self.members[&member].peers.hears_steadily(family, now)
        {
            return;
        }
        self.hearing_check_at = Some(now + HEARING_CHECK);
        let name = self.members[&member].settings.name.clone();
        let silent: Vec<Leg> = self
            .legs()
            .filter(|&leg| self.speaks(leg) && !self.members[&leg.member].hears(leg.family, now))
            .collect();
        for leg in silent {
            let words = if leg.member == member {
                format!(
                    "{} is heard by {family} but not by {}",
                    heard.source, leg.family
                )
            } else {
                format!(
                    "{} is heard on {name} by {family}, but nobody here by {}",
                    heard.source, leg.family
                )
            };
            self.raise(now, leg.member, AlarmKind::PartialHearing, words, out);
        }
    }

    /// Speaks the checksum form that the peer speaks, since the peer may take no other.
    fn adopt_form(&mut self, now: Instant, heard: Heard, accepted: &Accepted, out: &mut Out) {
        let id = heard.leg.member;
        let member = self.member_mut(id);
        let Some(form) = accepted.checksum().filter(|&form| form != member.checksum) else {
            return;
        };
        if member.settings.checksum != ChecksumPolicy::Auto
            || member.settings.version != Version::V3
        {
            return;
        }
        member.checksum = form;
        let words = format!(
            "{} sends checksums of the form {form}, using it as well",
            heard.source
        );
        self.raise(now, id, AlarmKind::ChecksumForm, words, out);
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .map(IpAddr::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
