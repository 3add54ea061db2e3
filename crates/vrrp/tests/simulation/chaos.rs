//! What goes wrong, and the calm in which all of it is mended.

use std::net::IpAddr;

use rand::RngExt;
use vrrp::{Event, FaultReason, Interval, Priority, State, group};

use super::world::{Item, MS, Packet, World, random_preempt, source};

impl World {
    /// One more thing goes wrong, and the next is due.
    pub(crate) fn chaos(&mut self) {
        if self.calm {
            return;
        }
        let node = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..15) {
            0 => {
                self.loss_percent = [0, 5, 30, 60][self.rng.random_range(0..4)];
                self.note(format!("loss is {} %", self.loss_percent));
            }
            1 => self.cut_link(node),
            2 | 3 => self.mend_links(),
            4 => self.freeze(node),
            5 => self.crash(node),
            6 => self.kill_process(node),
            7 | 8 => self.shut_down(node),
            9 => self.order(node, "handover", Event::Handover),
            10 => self.reload(node),
            11 => {
                let priority = Priority::new(self.rng.random_range(1..255));
                if !self.nodes[node].settings.priority.is_owner() {
                    self.order(
                        node,
                        &format!("priority {priority}"),
                        Event::PriorityChanged(priority),
                    );
                }
            }
            12 => self.fault(node),
            13 => self.flood(node),
            _ => {
                self.note(format!("node {node}: next claim fails"));
                self.nodes[node].next_claim_fails = true;
            }
        }
        let next = self.rng.random_range(20..500) * MS;
        self.push(self.now + next, Item::Chaos);
    }

    fn order(&mut self, node: usize, words: &str, event: Event) {
        if self.nodes[node].router.is_some() {
            self.note(format!("node {node}: {words}"));
            self.give(node, event);
        }
    }

    fn cut_link(&mut self, from: usize) {
        let to = (from + 1) % self.nodes.len();
        let both = self.rng.random_bool(0.5);
        self.note(format!("cut {from} to {to}, both ways: {both}"));
        self.cut[from][to] = true;
        self.cut[to][from] |= both;
        self.checks.disturb_pair(self.now, from, to);
    }

    fn mend_links(&mut self) {
        self.note("no cut, no loss".to_owned());
        self.loss_percent = 0;
        let count = self.nodes.len();
        for from in 0..count {
            for to in 0..count {
                if std::mem::take(&mut self.cut[from][to]) {
                    self.checks.disturb_pair(self.now, from, to);
                }
            }
        }
    }

    fn freeze(&mut self, node: usize) {
        if self.nodes[node].frozen || self.nodes[node].router.is_none() {
            return;
        }
        let longest = if self.rng.random_bool(0.5) {
            150
        } else {
            3_000
        };
        let time = self.rng.random_range(10..longest) * MS;
        self.note(format!("node {node}: freezes for {} ms", time / MS));
        self.nodes[node].frozen = true;
        let life = self.nodes[node].life;
        self.push(self.now + time, Item::Thaw { node, life });
    }

    /// The machine loses power.
    fn crash(&mut self, node: usize) {
        self.note(format!("node {node}: crashes"));
        self.end_process(node);
        self.checks.disturb(self.now, node);
        let after = self.rng.random_range(30..1_500) * MS;
        self.start_later(node, after);
    }

    /// The process dies, and its keeper executes the last will if it is Active.
    fn kill_process(&mut self, node: usize) {
        let Some(router) = &self.nodes[node].router else {
            return;
        };
        let will = if self.holds(node) {
            router.release_adverts()
        } else {
            Vec::new()
        };
        self.note(format!(
            "node {node}: process dies, {} farewells",
            will.len()
        ));
        for advert in &will {
            self.send(node, advert);
        }
        self.end_process(node);
        self.checks.disturb(self.now, node);
        let after = self.rng.random_range(5..300) * MS;
        self.start_later(node, after);
    }

    fn shut_down(&mut self, node: usize) {
        if !self.nodes[node].stopping {
            self.nodes[node].stopping = self.nodes[node].router.is_some();
            self.order(node, "shutdown", Event::Shutdown);
        }
    }

    /// Interval, preemption and addresses; never longer than the interval the limits are computed for.
    fn reload(&mut self, node: usize) {
        let longest = self.checks.longest_centis();
        let mut settings = self.nodes[node].settings.clone();
        let interval = [5, 10, 20][self.rng.random_range(0..3)].min(longest);
        settings.advert_interval = Interval::from_centis(interval).unwrap();
        settings.preempt = random_preempt(&mut self.rng);
        if self.rng.random_bool(0.3) {
            let host = self.rng.random_range(0x101..0x200);
            settings.vips.truncate(3);
            settings.vips.push(match settings.vips[0] {
                IpAddr::V4(_) => IpAddr::from([10, 0, 1, host as u8]),
                IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]),
            });
        }
        self.nodes[node].settings = settings.clone();
        self.order(node, "reload", Event::Reconfigure(settings));
    }

    /// A stranger with the lowest priority pesters an Active router: 200 packets in 50 ms.
    fn flood(&mut self, node: usize) {
        let Some(router) = &self.nodes[node].router else {
            return;
        };
        let status = router.status();
        if status.state != State::Active || status.effective_priority <= Priority::LOWEST {
            return;
        }
        let adverts = router.release_adverts();
        self.note(format!("node {node}: is flooded"));
        let stranger = self.nodes.len() + 5;
        for mut advert in adverts {
            let family = advert.family;
            advert.priority = Priority::LOWEST;
            advert.source = source(stranger, family);
            let octets = advert.encode(group(family));
            for count in 0..200 {
                let packet = Packet {
                    from: stranger,
                    to: node,
                    family,
                    octets: octets.clone(),
                };
                self.push(self.now + count * MS / 4, Item::Deliver(packet));
            }
        }
    }

    fn fault(&mut self, node: usize) {
        if self.nodes[node].router.is_none() || self.nodes[node].fault {
            return;
        }
        self.nodes[node].fault = true;
        self.order(node, "fault", Event::Fault(FaultReason::new("link down")));
        let after = self.rng.random_range(5..800) * MS;
        let life = self.nodes[node].life;
        self.push(self.now + after, Item::FaultEnds { node, life });
    }

    /// Everything heals; what is broken on its own mends on its own.
    pub(crate) fn calm_down(&mut self) {
        self.mend_links();
        self.calm = true;
        for node in 0..self.nodes.len() {
            self.nodes[node].next_claim_fails = false;
            let life = self.nodes[node].life;
            if self.nodes[node].frozen {
                self.push(self.now, Item::Thaw { node, life });
            }
            if self.nodes[node].router.is_none() {
                self.push(self.now, Item::Start { node, life });
            }
            self.push(self.now + MS, Item::FaultEnds { node, life });
        }
    }
}
