//! Gathering evidence: probes go out, claims come in, and what they say is put before the core's timer.

use std::net::IpAddr;
use std::time::Instant;

use linux::neighbour::Claim;
use vrrp::{Event, PhaseName, State, Transition};

use super::{Instance, Notice};
use crate::director::evidence::{Order, PeerSays, Weighed};
use crate::director::outlook;
use crate::director::wires::Wires;

impl Instance {
    /// Lets the core's timer through, unless it would take over although somebody answers for the addresses.
    pub(super) fn on_timer(&mut self, now: Instant, wires: &Wires) -> Vec<Notice> {
        let listens = self.router.phase() == PhaseName::Backup;
        let weighed = if !listens {
            Weighed::Promote(None)
        } else if self.evidence.is_asked() {
            self.evidence
                .weigh(now, self.config.evidence.address_answers)
        } else {
            self.weigh_peer(now)
        };
        match weighed {
            Weighed::Promote(alarm) => {
                let entry = alarm.and_then(|alarm| self.note_alarm(alarm));
                let mut notices: Vec<Notice> = entry.map(Notice::Journal).into_iter().collect();
                notices.extend(self.handle(now, Event::Timer, wires));
                notices
            }
            Weighed::Hold(alarm) => {
                let entry = self.note_alarm(alarm);
                entry.map(Notice::Journal).into_iter().collect()
            }
        }
    }

    /// What the peer says on the second path counts when it is silent here: not when it has said farewell or is only to be preempted.
    fn weigh_peer(&mut self, now: Instant) -> Weighed {
        let Some(peer) = self.router.peer() else {
            return Weighed::Promote(None);
        };
        if peer.priority.is_release() || self.hears_a_router(now) {
            return Weighed::Promote(None);
        }
        let interval = peer.interval.as_duration();
        let silent_since = peer.last_heard + interval + interval / 2;
        let policy = self.config.evidence.peer_lives;
        self.evidence
            .weigh_peer(now, silent_since, self.peer_says.as_ref(), policy)
    }

    /// The peer has said something on the second path, or has not for too long.
    pub(in crate::director) fn hear_peer(&mut self, says: Option<PeerSays>) {
        self.evidence.hear_peer(says.as_ref());
        self.peer_says = says;
    }

    /// Asks what is to be asked, and says what is to be said.
    pub(super) fn gather(&mut self, now: Instant) -> Vec<Notice> {
        if self.announcer.is_none() || self.departing {
            return Vec::new();
        }
        if !self.evidence.has_begun() {
            let frames = outlook::frames(now, &self.config.interface);
            self.evidence.begin(frames);
        }
        if !self.serves() {
            self.evidence.absolve();
        }
        self.evidence.arm(now, self.state() == State::Backup);
        if self.evidence.deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let interval = self.config.settings.advert_interval.as_duration();
        let link = &self.config.interface;
        let frames = || outlook::frames(now, link);
        let orders = self.evidence.due(now, interval, frames);
        self.carry_out_orders(orders)
    }

    /// Somebody else says that he has one of our addresses.
    pub(in crate::director) fn on_claim(&mut self, now: Instant, claim: Claim) {
        let serves = self.serves();
        self.evidence
            .note_claim(now, claim.address, claim.mac, serves);
    }

    /// True if it is Active and does not leave.
    fn serves(&self) -> bool {
        self.router.phase() == PhaseName::Active
    }

    /// Whether a claim of this address concerns it.
    pub(in crate::director) fn is_concerned(&self, address: IpAddr) -> bool {
        let vips = &self.config.vips;
        vips.iter().any(|vip| vip.address == address) || self.evidence.gateway() == Some(address)
    }

    fn carry_out_orders(&mut self, orders: Vec<Order>) -> Vec<Notice> {
        let mut notices = Vec::new();
        let vips: Vec<IpAddr> = self.config.vips.iter().map(|vip| vip.address).collect();
        for order in orders {
            match order {
                Order::Probe => vips.iter().for_each(|vip| self.probe(*vip)),
                Order::Ask(gateway) => {
                    let asks = |announcer: &linux::neighbour::Announcer| {
                        let v4 = vips.iter().find_map(|vip| match vip {
                            IpAddr::V4(vip) => Some(*vip),
                            IpAddr::V6(_) => None,
                        });
                        v4.map(|vip| announcer.ask(vip, gateway))
                    };
                    if let Some(Err(error)) =
                        self.announcer.as_deref().and_then(|outlet| asks(outlet))
                    {
                        tracing::debug!(link = self.config.interface, %gateway, %error, "gateway not asked");
                    }
                }
                Order::Announce => vips.iter().for_each(|vip| self.announce_one(*vip)),
                Order::Alarm(alarm) => {
                    notices.extend(self.note_alarm(alarm).map(Notice::Journal));
                }
            }
        }
        notices
    }

    fn probe(&self, vip: IpAddr) {
        let source = self.sources.iter().find_map(|(_, source)| match source {
            Some(IpAddr::V6(source)) if source.is_unicast_link_local() => Some(*source),
            Some(_) | None => None,
        });
        let sent = self
            .announcer
            .as_ref()
            .map(|announcer| announcer.probe(vip, source));
        if let Some(Err(error)) = sent {
            tracing::debug!(link = self.config.interface, %vip, %error, "probe not sent");
        }
    }

    /// Evidence of a takeover begins anew with each.
    pub(super) fn note_for_evidence(&mut self, now: Instant, transition: &Transition) {
        let link = &self.config.interface;
        match (transition.from, transition.to) {
            (_, State::Active) => {
                // Answers to the virtual MAC go to another link than is watched.
                let may_ask = !self.config.virtual_mac
                    && self.config.vips.iter().any(|vip| vip.address.is_ipv4());
                let gateway = outlook::gateway(now, link);
                let frames = outlook::frames(now, link);
                self.evidence
                    .note_active(now, gateway.filter(|_| may_ask), frames);
            }
            (State::Active, _) => self.evidence.note_inactive(),
            (State::Initialize | State::Backup | State::Fault, _) => {}
        }
    }

    /// The evidence in words.
    pub(in crate::director) fn evidence_words(&self, now: Instant) -> Vec<String> {
        let link = &self.config.interface;
        let frames = outlook::frames(now, link);
        let mut words = self.evidence.words(now, link, frames);
        words.extend(self.peer_says.as_ref().map(|says| {
            format!(
                "{} said {} ms ago on the second path that it is {}",
                says.name,
                now.saturating_duration_since(says.at).as_millis(),
                says.state
            )
        }));
        words
    }
}
