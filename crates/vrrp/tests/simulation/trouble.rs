//! How what goes wrong is done to the world, and the calm in which all of it is mended.

use std::net::IpAddr;

use vrrp::{Event, Family, FaultReason, Interval, Preempt, Priority, State, group};

use super::plan::{Blow, MS, Trouble, What};
use super::world::{Item, Packet, World};

/// A stranger's number among the sources.
const STRANGER: usize = 8;

impl World {
    /// One more thing goes wrong. What cannot happen to a node as it is does not.
    pub(crate) fn strike(&mut self, trouble: &Trouble) {
        self.note(trouble.what.to_string());
        match &trouble.what {
            What::Loss(percent) => self.loss_percent = *percent,
            What::Cut {
                wire,
                from,
                to,
                both_ways,
            } => {
                for (number, cut) in self.cut.iter_mut().enumerate() {
                    if wire.is_none_or(|wire| wire == number) {
                        cut[*from][*to] = true;
                        cut[*to][*from] |= both_ways;
                    }
                }
            }
            What::Mend => self.mend_links(),
            What::Node { node, blow } => self.strike_node(*node, blow),
        }
    }

    fn mend_links(&mut self) {
        self.loss_percent = 0;
        for cut in self.cut.iter_mut().flatten() {
            cut.fill(false);
        }
    }

    fn strike_node(&mut self, node: usize, blow: &Blow) {
        let runs = self.nodes[node].runs();
        match *blow {
            Blow::Freeze { time } if runs && !self.nodes[node].frozen => {
                self.nodes[node].frozen = true;
                let life = self.nodes[node].life;
                self.push(self.now + time, Item::Thaw { node, life });
            }
            Blow::Crash { away } => {
                self.end_process(node);
                self.checks.disturb(self.now, node);
                self.start_later(node, away);
            }
            Blow::Kill { away } if runs => self.kill_process(node, away),
            Blow::Stop { away } if runs && self.nodes[node].stopping.is_none() => {
                self.nodes[node].stopping = Some(away);
                self.give_all(node, &Event::Shutdown);
            }
            Blow::Handover if runs => self.give_all(node, &Event::Handover),
            Blow::Restart { away } => self.restart(node, away),
            Blow::Reload {
                member,
                centis,
                preempt,
                host,
            } => self.reload(node, member, centis, preempt, host),
            Blow::Priority { member, priority } => {
                let link = &mut self.nodes[node].links[member];
                if !link.settings.priority.is_owner() {
                    link.priority = Priority::new(priority);
                    let event = Event::PriorityChanged(link.priority);
                    self.give(node, member, event);
                }
            }
            Blow::Fault { member, time } if runs && !self.nodes[node].links[member].fault => {
                self.nodes[node].links[member].fault = true;
                let event = Event::Fault(FaultReason::new("link down"));
                self.give(node, member, event);
                let life = self.nodes[node].life;
                self.push(self.now + time, Item::FaultEnds { node, member, life });
            }
            Blow::Source {
                member,
                family,
                time,
            } => {
                self.change_source(node, member, family, false);
                let item = Item::SourceBack {
                    node,
                    member,
                    family,
                };
                self.push(self.now + time, item);
            }
            Blow::Flood => self.flood(node),
            Blow::Regroup { member, apart } => self.regroup(node, member, apart),
            Blow::Keys(ref ring) => self.give_keys(node, ring.clone()),
            Blow::Forge(forgery) => self.forge(node, forgery),
            Blow::Clock { ahead_s } => self.nodes[node].clock_s = ahead_s,
            Blow::ClaimFails { member } => self.nodes[node].links[member].next_claim_fails = true,
            Blow::Freeze { .. } | Blow::Kill { .. } | Blow::Stop { .. } => {}
            Blow::Handover | Blow::Fault { .. } => {}
        }
    }

    fn kill_process(&mut self, node: usize, away: u64) {
        let holds = (0..self.nodes[node].links.len()).any(|member| self.holds(node, member));
        if holds {
            let will = self.farewells(node);
            self.say(node, &will);
        }
        self.end_process(node);
        self.checks.disturb(self.now, node);
        self.start_later(node, away);
    }

    fn reload(
        &mut self,
        node: usize,
        member: usize,
        centis: u16,
        preempt: Preempt,
        host: Option<u16>,
    ) {
        let links = &mut self.nodes[node].links;
        links
            .iter_mut()
            .for_each(|link| link.settings.preempt = preempt);
        let settings = &mut links[member].settings;
        settings.advert_interval = Interval::from_centis(centis).unwrap();
        if let Some(host) = host {
            settings.vips.truncate(3);
            settings.vips.push(match settings.vips[0] {
                IpAddr::V4(_) => IpAddr::from([10, 0, 100, host as u8]),
                IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]),
            });
        }
        self.reconfigure(node);
    }

    /// Every member is told its settings.
    pub(crate) fn reconfigure(&mut self, node: usize) {
        for member in 0..self.nodes[node].links.len() {
            let settings = self.nodes[node].links[member].settings.clone();
            self.give(node, member, Event::Reconfigure(settings));
        }
    }

    /// To every decision of a node.
    fn give_all(&mut self, node: usize, event: &Event) {
        for lead in self.nodes[node].leads() {
            self.give(node, lead, event.clone());
        }
    }

    /// 200 packets in 50 ms, unsigned, by every member and family.
    fn flood(&mut self, node: usize) {
        for member in 0..self.nodes[node].links.len() {
            let Some(router) = self.nodes[node].router_of(member) else {
                return;
            };
            let status = router.status();
            if status.state != State::Active || status.effective_priority <= Priority::LOWEST {
                continue;
            }
            let mut settings = self.nodes[node].links[member].settings.clone();
            settings.authentication = None;
            for mut advert in self.adverts_of(STRANGER, member, settings) {
                let family = advert.family;
                if !self.nodes[node].links[member].has_source(family) {
                    continue;
                }
                advert.priority = Priority::LOWEST;
                let octets = advert.encode(group(family));
                for count in 0..200 {
                    let packet = Packet {
                        from: STRANGER,
                        to: node,
                        member,
                        family,
                        octets: octets.clone(),
                        seal: None,
                        number: 0,
                    };
                    self.push(self.now + count * MS / 4, Item::Deliver(packet));
                }
            }
        }
    }

    /// Everything heals; what is broken on its own mends on its own.
    pub(crate) fn calm_down(&mut self) {
        self.note("calm".to_owned());
        self.mend_links();
        self.calm = true;
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            if self.nodes[node].frozen {
                self.push(self.now, Item::Thaw { node, life });
            }
            if !self.nodes[node].runs() {
                self.push(self.now, Item::Start { node, life });
            }
            self.give_keys(node, self.ring_at_last.clone());
            for (member, apart) in self.apart_at_last.clone().into_iter().enumerate() {
                self.regroup(node, member, apart);
            }
            for member in 0..self.nodes[node].links.len() {
                self.nodes[node].links[member].next_claim_fails = false;
                self.push(self.now + MS, Item::FaultEnds { node, member, life });
                for family in Family::ALL {
                    self.change_source(node, member, family, true);
                }
            }
        }
    }
}
