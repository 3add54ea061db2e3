//! The terms the states reckon with: whose, how long, to whom, whether to preempt. They follow from members and peers.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::VirtualRouter;
use super::member::{Leg, Member, MemberId, Out};
use super::peers::Heard;
use super::phase::LISTEN_INTERVALS;
use crate::action::Action;
use crate::types::{Family, Preempt, Priority};

impl VirtualRouter {
    /// The member that speaks for all: the first by name, which is the same one on every node.
    pub(super) fn lead(&self) -> &Member {
        self.members
            .values()
            .min_by_key(|member| &member.settings.name)
            .expect("a decision has a member")
    }

    pub(super) fn first(&self) -> MemberId {
        let by_name = self
            .members
            .iter()
            .min_by_key(|(_, member)| &member.settings.name);
        *by_name.expect("a decision has a member").0
    }

    pub(super) fn member_mut(&mut self, member: MemberId) -> &mut Member {
        self.members
            .get_mut(&member)
            .expect("handle_for has looked it up")
    }

    /// Takes over the effective priority of one member: the group is as strong as its weakest.
    pub(super) fn set_priority(&mut self, member: MemberId, priority: Priority) {
        self.member_mut(member).priority = priority;
        self.weigh();
    }

    pub(super) fn weigh(&mut self) {
        let priorities = self.members.values().map(|member| member.priority);
        self.priority = priorities.min().unwrap_or(self.priority);
    }

    /// Every member and family.
    pub(super) fn legs(&self) -> impl Iterator<Item = Leg> + '_ {
        self.members.keys().flat_map(|&member| {
            Family::ALL
                .into_iter()
                .map(move |family| Leg { member, family })
        })
    }

    /// Whether there are virtual addresses of this family at this member.
    pub(super) fn concerns(&self, leg: Leg) -> bool {
        self.members[&leg.member].settings.has_family(leg.family)
    }

    /// Whether the configuration has this leg speak.
    pub(super) fn speaks(&self, leg: Leg) -> bool {
        self.members[&leg.member].speaks(leg.family)
    }

    pub(super) fn can_speak(&self, leg: Leg) -> bool {
        self.members[&leg.member].can_speak(leg.family)
    }

    /// Whether nobody is heard on this leg although another one has been heard for as long as makes a router gone.
    pub(super) fn is_silent(&self, leg: Leg, now: Instant) -> bool {
        let stands = |other: Leg| {
            other != leg
                && self.members[&other.member]
                    .peers
                    .hears_steadily(other.family, now)
        };
        !self.members[&leg.member].hears(leg.family, now) && self.legs().any(stands)
    }

    /// Advertises by every member.
    pub(super) fn send(&self, priority: Priority, out: &mut Out) {
        for member in self.members.keys() {
            self.send_for(*member, priority, out);
        }
    }

    /// Advertises by one member.
    pub(super) fn send_for(&self, member: MemberId, priority: Priority, out: &mut Out) {
        for advertisement in self.members[&member].advertisements(priority) {
            out.push_for(member, Action::Send(advertisement));
        }
    }

    /// Asks every member for its addresses; what is held stays.
    pub(super) fn ask_for_addresses(&mut self, out: &mut Out) {
        self.holds = true;
        for member in self.members.values_mut() {
            member.confirmed = false;
        }
        out.push(Action::Claim);
    }

    /// The kernel has confirmed the addresses of one member; whether those of all of them are.
    pub(super) fn confirm(&mut self, member: MemberId) -> bool {
        self.member_mut(member).confirmed = true;
        self.is_confirmed()
    }

    /// Whether the kernel has confirmed the addresses of every member: also after one has gone that had not answered.
    pub(super) fn is_confirmed(&self) -> bool {
        self.members.values().all(|member| member.confirmed)
    }

    pub(super) fn forget_intervals(&mut self) {
        for member in self.members.values_mut() {
            member.peers.forget_intervals();
        }
    }

    /// Learns the interval of the Active router where it was heard; the down interval that follows.
    pub(super) fn learn(&mut self, heard: Heard) -> Duration {
        let priority = self.priority;
        let member = self.member_mut(heard.leg.member);
        member.peers.learn(heard.leg.family, heard.interval);
        member.down_interval_of(heard.leg.family, priority)
    }

    pub(super) fn last_heard(&self) -> Option<Instant> {
        let heard = self.members.values();
        heard.filter_map(|member| member.peers.last_heard()).max()
    }

    pub(super) fn is_heard(&self, address: IpAddr, now: Instant) -> bool {
        let mut members = self.members.values();
        members.any(|member| member.peers.is_heard(address, now))
    }

    /// The shortest of the intervals we advertise at.
    pub(super) fn quickest_interval(&self) -> Duration {
        let intervals = self.members.values().map(|member| member.own_interval());
        intervals.min().unwrap_or_default()
    }

    /// The longest of the intervals we advertise at.
    pub(super) fn slowest_interval(&self) -> Duration {
        let intervals = self.members.values().map(|member| member.own_interval());
        intervals.max().unwrap_or_default()
    }

    /// The longest down interval of a member: as long as that, an Active router may be silent everywhere.
    pub(super) fn down_interval(&self) -> Duration {
        let members = self.members.values();
        members
            .map(|member| member.down_interval(self.priority))
            .max()
            .unwrap_or_default()
    }

    /// How long to listen before asserting again: long enough to hear a peer whose interval is known.
    pub(super) fn listen_time(&self) -> Duration {
        let slowest = self
            .members
            .values()
            .map(|member| member.slowest_interval())
            .max();
        slowest.unwrap_or_default() * LISTEN_INTERVALS
    }

    /// Preempt as it stands: never once handed over, always for an owner.
    pub(super) fn preempt(&self) -> Preempt {
        if self.held_back.is_some() {
            Preempt::Never
        } else if self.priority.is_owner() {
            Preempt::Immediately
        } else {
            self.settings().preempt
        }
    }

    pub(super) fn preempt_delay(&self) -> Option<Duration> {
        match self.preempt() {
            Preempt::After(delay) => Some(delay),
            Preempt::Immediately | Preempt::Never => None,
        }
    }
}
