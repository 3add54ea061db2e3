//! What would happen: copies of a decision and of the router on the other side, on a wire and in a time that are made up.
//!
//! Nothing real is touched. The other router is a copy with other addresses and another priority, so it is one that behaves as we do; what
//! is sent arrives at once, and every claim is confirmed at once.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::member::{Directive, MemberId};
use super::{Member, VirtualRouter};
use crate::action::{Action, State};
use crate::event::Event;
use crate::receive::{Datagram, Local, accept, parse_ipv4};
use crate::types::{Family, Priority};
use crate::wire::{Advertisement, HOP_LIMIT, group};

/// Turns of either router after which a rehearsal ends in any case.
const TURNS: usize = 20_000;

/// What is assumed.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// Priority of the router on the other side; `None` for no such router.
    pub peer: Option<Priority>,
    /// Its address, for a family in which it was never heard.
    pub peer_address: Option<IpAddr>,
    /// What happens to us at the beginning, in order.
    pub events: Vec<(MemberId, Event)>,
    /// Members whose wire carries nothing any more.
    pub cut: BTreeSet<MemberId>,
    /// How much time is gone through.
    pub horizon: Duration,
}

/// One thing that would happen.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// How long after the beginning.
    pub after: Duration,
    /// Whether it is the router on the other side that does it.
    pub by_peer: bool,
    /// What it does.
    pub action: Action,
}

/// How it would go on.
#[derive(Clone, PartialEq, Debug)]
pub struct Outlook {
    /// What would happen, in order of time: everything but the advertisements of routine, which are left out.
    pub steps: Vec<Step>,
    /// Our state in the end.
    pub ours: State,
    /// The state of the other router in the end.
    pub theirs: Option<State>,
}

impl VirtualRouter {
    /// Goes through what would happen from `now` on. This decision is not touched.
    #[must_use]
    pub fn rehearse(&self, now: Instant, rehearsal: &Rehearsal) -> Outlook {
        let mut ours = self.clone();
        for member in ours.members.values_mut() {
            make_plain(member);
        }
        let mut stage = Stage {
            begin: now,
            cut: rehearsal.cut.clone(),
            theirs: rehearsal
                .peer
                .map(|priority| ours.counterpart(now, priority, rehearsal.peer_address)),
            ours,
            steps: Vec::new(),
        };
        for (member, event) in &rehearsal.events {
            stage.turn(now, false, *member, event.clone());
        }
        stage.run(now + rehearsal.horizon);
        Outlook {
            steps: stage.steps,
            ours: stage.ours.state(),
            theirs: stage.theirs.map(|theirs| theirs.state()),
        }
    }

    /// The router on the other side as it would stand now: Active if this one hears it and is not, else its backup.
    fn counterpart(
        &self,
        now: Instant,
        priority: Priority,
        address: Option<IpAddr>,
    ) -> VirtualRouter {
        let mut other = self.clone();
        for member in other.members.values_mut() {
            let heard = Family::ALL.map(|family| member.peers.of(family).map(|peer| peer.address));
            for (family, heard) in Family::ALL.into_iter().zip(heard) {
                let known = address.filter(|&address| Family::of(address) == family);
                let source = heard.or(known).unwrap_or(made_up(family));
                *member.sources.of_mut(family) = Some(source);
            }
            let settings = member.settings.clone();
            let sources = member.sources;
            **member = Member::new(settings);
            member.sources = sources;
            member.settings.priority = priority;
            member.priority = priority;
        }
        other.phase = super::Phase::Initialize;
        other.held_back = None;
        other.retries = 0;
        other.holds = false;
        other.last_transition = None;
        other.weigh();
        let active =
            self.state() != State::Active && self.last_heard().is_some_and(|_| self.hears_any(now));
        let members: Vec<MemberId> = other.members().collect();
        let first = other.first();
        if active {
            other.handle_for(now, first, Event::Resume);
            for member in members {
                other.handle_for(now, member, Event::Claimed);
            }
        } else {
            other.handle_for(now, first, Event::Startup);
            if self.state() == State::Active {
                for member in members {
                    for advertisement in self.members[&member].advertisements(self.priority) {
                        deliver(&mut other, now, member, &advertisement);
                    }
                }
            }
        }
        other
    }

    fn hears_any(&self, now: Instant) -> bool {
        let mut members = self.members.values();
        members.any(|member| Family::ALL.iter().any(|family| member.hears(*family, now)))
    }
}

struct Stage {
    begin: Instant,
    ours: VirtualRouter,
    theirs: Option<VirtualRouter>,
    cut: BTreeSet<MemberId>,
    steps: Vec<Step>,
}

impl Stage {
    /// Lets timers fire in order, up to `end`.
    fn run(&mut self, end: Instant) {
        for _ in 0..TURNS {
            let ours = self.ours.deadline();
            let theirs = self.theirs.as_ref().and_then(VirtualRouter::deadline);
            let (at, by_peer) = match (ours, theirs) {
                (Some(ours), Some(theirs)) if theirs < ours => (theirs, true),
                (Some(ours), _) => (ours, false),
                (None, Some(theirs)) => (theirs, true),
                (None, None) => return,
            };
            if at > end {
                return;
            }
            let first = self.ours.first();
            self.turn(at.max(self.begin), by_peer, first, Event::Timer);
        }
    }

    /// One event at one router, and what follows from it at both until nothing does.
    fn turn(&mut self, now: Instant, by_peer: bool, member: MemberId, event: Event) {
        let mut pending = vec![(by_peer, member, event)];
        for _ in 0..TURNS {
            let Some((by_peer, member, event)) = pending.pop() else {
                return;
            };
            let Some(router) = (match by_peer {
                true => self.theirs.as_mut(),
                false => Some(&mut self.ours),
            }) else {
                continue;
            };
            let directives = router.handle_for(now, member, event);
            let members: Vec<MemberId> = router.members().collect();
            let mut next = Vec::new();
            for directive in directives {
                next.extend(self.follow(now, by_peer, &members, directive));
            }
            pending.extend(next.into_iter().rev());
        }
    }

    /// What one directive makes happen next.
    fn follow(
        &mut self,
        now: Instant,
        by_peer: bool,
        members: &[MemberId],
        directive: Directive,
    ) -> Vec<(bool, MemberId, Event)> {
        let routine = matches!(&directive.action, Action::Send(advertisement) if !advertisement.priority.is_release());
        if !routine {
            self.steps.push(Step {
                after: now.saturating_duration_since(self.begin),
                by_peer,
                action: directive.action.clone(),
            });
        }
        let concerned = |member: &&MemberId| directive.member.is_none_or(|only| only == **member);
        match &directive.action {
            Action::Claim => members
                .iter()
                .filter(concerned)
                .map(|member| (by_peer, *member, Event::Claimed))
                .collect(),
            Action::Send(advertisement) => {
                let Some(member) = directive.member.filter(|member| !self.cut.contains(member))
                else {
                    return Vec::new();
                };
                let receiver = match by_peer {
                    true => Some(&self.ours),
                    false => self.theirs.as_ref(),
                };
                let heard = receiver.and_then(|receiver| hear(receiver, member, advertisement));
                heard
                    .map(|event| (!by_peer, member, event))
                    .into_iter()
                    .collect()
            }
            Action::Release
            | Action::Announce(_)
            | Action::StopAnnouncing
            | Action::Transition(_)
            | Action::Alarm(_)
            | Action::HandoverFailed(_)
            | Action::HandedOver
            | Action::Stopped => Vec::new(),
        }
    }
}

/// What has no place on a made-up wire: signatures, whose stamps belong to the real one, unicast addresses, and networks.
fn make_plain(member: &mut Member) {
    member.settings.authentication = None;
    member.settings.password = None;
    member.settings.unicast_peers.clear();
    member.settings.least_hop_limits.clear();
    member.settings.off_link_drops = false;
    for family in Family::ALL {
        member
            .sources
            .of_mut(family)
            .get_or_insert(ours_made_up(family));
    }
}

fn deliver(to: &mut VirtualRouter, now: Instant, member: MemberId, advertisement: &Advertisement) {
    if let Some(event) = hear(to, member, advertisement) {
        to.handle_for(now, member, event);
    }
}

/// An advertisement as it arrives, if it is believed.
fn hear(to: &VirtualRouter, member: MemberId, advertisement: &Advertisement) -> Option<Event> {
    let (family, source) = (advertisement.family, advertisement.source);
    let destination = group(family);
    let octets = advertisement.encode(destination);
    let datagram = match family {
        Family::V4 => parse_ipv4(&octets).ok()?,
        Family::V6 => Datagram {
            family,
            source,
            destination,
            hop_limit: HOP_LIMIT,
            payload: &octets,
        },
    };
    let expectation = to.expectation_of(member)?;
    let (_, accepted) = accept(&datagram, Local::default(), |_| Some(&expectation)).ok()?;
    Some(Event::Advertisement {
        family,
        source,
        accepted,
    })
}

/// Addresses for who has none that is known, of the ranges for documentation and for links; ours is the lower one.
fn made_up(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 254).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfffe).into(),
    }
}

fn ours_made_up(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}
