//! The virtual LAN: time, wires, packets, and nodes that run. It plays the part of the daemon.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use vrrp::{
    Action, Advertisement, Datagram, Directive, Event, Family, Freshness, Interval, MemberId,
    Settings, Stamp, State, VirtualRouter, group, parse_ipv4,
};

use super::chance::Chance;
use super::checks::Checks;
use super::keys::{Ring, Seal, seal_of, verdict};
use super::node::Node;
use super::plan::{CALM, MS, Plan, STORM, Trouble};

/// Lease of an address in the kernel without renewal.
pub(crate) const LEASE: u64 = 2_000 * MS;

/// Longer than a move takes.
const MOVE: u64 = 500 * MS;

/// What a kernel loses of what a node wants done: nothing, unless a test breaks it on purpose.
pub(crate) type Loses = fn(usize, &Action) -> bool;

/// A kernel that does what it is told.
pub(crate) const SOUND: Loses = |_, _| false;

/// What happens at a given time; `life` tells a process from another one on the same node.
pub(crate) enum Item {
    Deliver(Packet),
    ClaimDone {
        node: usize,
        member: usize,
        life: u32,
        claim: u32,
    },
    Thaw {
        node: usize,
        life: u32,
    },
    Start {
        node: usize,
        life: u32,
    },
    FaultEnds {
        node: usize,
        member: usize,
        life: u32,
    },
    SourceBack {
        node: usize,
        member: usize,
        family: Family,
    },
    /// The pause of a planned restart is said again; after the last time the process ends.
    Pause {
        node: usize,
        life: u32,
        said: u32,
        away: u64,
    },
    /// The keeper has waited for the next process long enough.
    Will {
        node: usize,
        life: u32,
    },
    Trouble(Trouble),
    Calm,
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) member: usize,
    pub(crate) family: Family,
    pub(crate) octets: Vec<u8>,
    pub(crate) seal: Seal,
    /// Grows with everything that is sent; its copies have the same.
    pub(crate) number: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) chance: Chance,
    start: Instant,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    items: BTreeMap<u64, Item>,
    sequence: u64,
    pub(crate) nodes: Vec<Node>,
    /// `cut[wire][from][to]`.
    pub(crate) cut: Vec<Vec<Vec<bool>>>,
    pub(crate) loss_percent: u32,
    pub(crate) calm: bool,
    pub(crate) checks: Checks,
    pub(crate) loses: Loses,
    /// What keeps a recorded packet out, and every set of keys there is.
    pub(crate) freshness: Freshness,
    pub(crate) rings: Vec<Ring>,
    /// What every node has in the end.
    pub(crate) ring_at_last: Option<Ring>,
    pub(crate) apart_at_last: Vec<bool>,
    sent: u64,
    /// Packets refused for the keys they were signed with, or not.
    pub(crate) disbelieved: u64,
    /// When who became Active.
    pub(crate) takeovers: Vec<(u64, usize)>,
    pub(crate) history: Vec<String>,
    trace: bool,
}

impl World {
    pub(crate) fn new(plan: &Plan, loses: Loses, trace: bool) -> Self {
        let count = plan.nodes.len();
        let mut world = Self {
            now: 0,
            chance: Chance::new(plan.seed, plan.smooth),
            start: Instant::now(),
            queue: BinaryHeap::new(),
            items: BTreeMap::new(),
            sequence: 0,
            nodes: plan.nodes.iter().map(Node::new).collect(),
            cut: vec![vec![vec![false; count]; count]; plan.wires()],
            loss_percent: 0,
            calm: false,
            checks: Checks::new(count, plan.wires(), plan.longest()),
            loses,
            freshness: plan.freshness,
            rings: plan.rings(),
            ring_at_last: plan.ring_at_last.clone(),
            apart_at_last: plan.apart.clone(),
            sent: 0,
            disbelieved: 0,
            takeovers: Vec::new(),
            history: Vec::new(),
            trace,
        };
        for (node, settings) in plan.nodes.iter().enumerate() {
            world.give_keys(node, settings.ring.clone());
            for (link, apart) in world.nodes[node].links.iter_mut().zip(&plan.apart) {
                link.apart = *apart;
            }
            if let Some(at) = settings.starts_at {
                world.push(at, Item::Start { node, life: 0 });
            }
        }
        for trouble in &plan.troubles {
            world.push(trouble.at, Item::Trouble(trouble.clone()));
        }
        world.push(STORM, Item::Calm);
        world
    }

    pub(crate) fn run(&mut self) {
        let mut end = STORM + CALM;
        loop {
            let timer = self.next_timer();
            let queued = self.queue.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let lease = self.next_lease_end();
            let timer_at = timer.map_or(u64::MAX, |(at, ..)| at);
            self.now = queued.min(timer_at).min(lease);
            if self.now >= end {
                // Not in the midst of a move that a last retry has brought about.
                let moved_at = self.takeovers.last().map_or(0, |(at, _)| *at);
                if moved_at + MOVE < end && !self.nodes.iter().any(Node::is_claiming) {
                    break;
                }
                end += MOVE;
            }
            if timer_at <= queued.min(lease) {
                let (_, node, lead) = timer.unwrap();
                self.handle(node, lead, Event::Timer);
            } else if queued <= lease {
                let Reverse((_, key)) = self.queue.pop().unwrap();
                let item = self.items.remove(&key).unwrap();
                self.happen(item);
            }
            Checks::after_step(self);
        }
        Checks::at_the_end(self);
    }

    pub(crate) fn push(&mut self, at: u64, item: Item) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.items.insert(self.sequence, item);
    }

    pub(crate) fn note(&mut self, words: String) {
        let line = format!("{:>12.3} ms  {words}", self.now as f64 / 1_000.0);
        if self.trace {
            std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes())
                .unwrap();
        }
        self.history.push(line);
    }

    pub(crate) fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    /// When, on which node, and of which decision.
    fn next_timer(&self) -> Option<(u64, usize, usize)> {
        let running = self.nodes.iter().enumerate();
        let running = running.filter(|(_, node)| !node.frozen);
        let timers = running.flat_map(|(index, node)| {
            let timers = node.decisions.iter();
            timers.filter_map(move |one| Some((one.wake_at?.max(self.now), index, one.lead())))
        });
        timers.min()
    }

    /// The next time an address goes because nobody renews it.
    fn next_lease_end(&self) -> u64 {
        let links = self.nodes.iter().flat_map(|node| &node.links);
        let ends = links.filter_map(|link| link.held_until);
        ends.filter(|&at| at > self.now).min().unwrap_or(u64::MAX)
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Deliver(packet) => self.deliver(&packet),
            Item::ClaimDone {
                node,
                member,
                life,
                claim,
            } => self.claim_done(node, member, life, claim),
            Item::Thaw { node, life } => self.thaw(node, life),
            Item::Start { node, life } => self.start(node, life),
            Item::FaultEnds { node, member, life } => {
                if self.nodes[node].life == life
                    && std::mem::take(&mut self.nodes[node].links[member].fault)
                {
                    self.give(node, member, Event::FaultCleared);
                }
            }
            Item::SourceBack {
                node,
                member,
                family,
            } => self.change_source(node, member, family, true),
            Item::Pause {
                node,
                life,
                said,
                away,
            } => self.pause(node, life, said, away),
            Item::Will { node, life } => self.execute_will(node, life),
            Item::Trouble(trouble) => self.strike(&trouble),
            Item::Calm => self.calm_down(),
        }
    }

    /// To the process, or into its socket while it does not run.
    pub(crate) fn give(&mut self, node: usize, member: usize, event: Event) {
        if self.nodes[node].frozen {
            self.nodes[node].backlog.push((member, event));
        } else if self.nodes[node].runs() {
            self.handle(node, member, event);
        }
    }

    pub(crate) fn deliver(&mut self, packet: &Packet) {
        let Some(accepted) = self.believe(packet) else {
            return;
        };
        let event = Event::Advertisement {
            family: packet.family,
            source: source(packet.from, packet.member, packet.family),
            accepted,
        };
        self.give(packet.to, packet.member, event);
    }

    /// One event into one core, and its actions out.
    pub(crate) fn handle(&mut self, node: usize, member: usize, event: Event) {
        let now = self.instant();
        if let Event::Reconfigure(settings) = &event {
            self.note_keys(node, member, settings);
        }
        let Some(decision) = self.nodes[node].decision_mut(member) else {
            return;
        };
        self.checks
            .before_event(self.now, node, &decision.router, (id(member), &event));
        let directives = decision.router.handle_for(now, id(member), event.clone());
        self.carry_out(node, member, Some(&event), directives);
        self.set_timer(node, member);
    }

    /// Notes when the decision of a member wants to be called again; a process that turns renews its leases.
    pub(crate) fn set_timer(&mut self, node: usize, member: usize) {
        let jitter = self.chance.jitter(node);
        let renewed = self.now + LEASE;
        let node = &mut self.nodes[node];
        for link in &mut node.links {
            link.held_until = link.held_until.map(|until| until.max(renewed));
        }
        let Some(decision) = node.decision_mut(member) else {
            return;
        };
        let at = decision.router.deadline();
        decision.wake_at = at.map(|at| {
            let until = at.saturating_duration_since(self.start);
            u64::try_from(until.as_nanos().div_ceil(1_000)).unwrap() + jitter
        });
    }

    pub(crate) fn execute(&mut self, node: usize, members: &[usize], directive: Directive) {
        let one = directive.member.map(|MemberId(member)| member as usize);
        let members = one.as_ref().map_or(members, std::slice::from_ref);
        match directive.action {
            Action::Claim => members.iter().for_each(|&member| self.claim(node, member)),
            Action::Release => members
                .iter()
                .for_each(|&member| self.nodes[node].links[member].release()),
            Action::Send(advert) => {
                let stamp = self.stamp(node, members[0], &advert, false);
                self.put_on_wire(node, members[0], &advert, stamp);
            }
            Action::Transition(transition) => {
                if transition.to == State::Active {
                    self.takeovers.push((self.now, node));
                }
                self.note(format!("node {node}, m{}: {transition}", members[0]));
            }
            Action::Stopped => self.stopped(node, members[0]),
            Action::HandoverFailed(why) => {
                self.note(format!("node {node}: handover failed, {why}"));
            }
            Action::HandedOver => self.note(format!("node {node}: handed over")),
            Action::Announce(_) | Action::StopAnnouncing | Action::Alarm(_) => {}
        }
    }

    pub(crate) fn put_on_wire(
        &mut self,
        from: usize,
        member: usize,
        advert: &Advertisement,
        stamp: Stamp,
    ) {
        let ring = self.nodes[from].links[member].signing.in_force.as_ref();
        let seal = seal_of(ring);
        assert_eq!(
            seal.is_some(),
            advert.authentication().is_some(),
            "node {from} signs as it is told"
        );
        for &destination in &advert.destinations {
            self.sent += 1;
            let octets = advert.encode_at(destination, stamp);
            for to in (0..self.nodes.len()).filter(|&to| to != from) {
                if self.cut[member][from][to] {
                    continue;
                }
                if self.chance.loses(from, to, self.loss_percent) {
                    self.checks.disturb_pair(self.now, from, to);
                    self.checks.obstruct_pair(self.now, from, to);
                    continue;
                }
                for delay in self.chance.delays(from, to) {
                    let packet = Packet {
                        from,
                        to,
                        member,
                        family: advert.family,
                        octets: octets.clone(),
                        seal,
                        number: self.sent,
                    };
                    self.push(self.now + delay, Item::Deliver(packet));
                }
            }
        }
    }

    /// What a router of these settings would advertise from the place of a node or a stranger.
    pub(crate) fn adverts_of(
        &self,
        from: usize,
        member: usize,
        settings: Settings,
    ) -> Vec<Advertisement> {
        let mut router = VirtualRouter::with_member(id(member), settings);
        for family in Family::ALL {
            let source = Some(source(from, member, family));
            let event = Event::SourceChanged { family, source };
            router.handle_for(self.instant(), id(member), event);
        }
        router.release_adverts()
    }

    /// Whether a node holds the addresses of a member.
    pub(crate) fn holds(&self, node: usize, member: usize) -> bool {
        let until = self.nodes[node].links[member].held_until;
        until.is_some_and(|until| self.now < until)
    }

    /// Whether what one node sends can reach the other on some wire, and whether on all of them.
    pub(crate) fn hearing(&self, from: usize, to: usize) -> (bool, bool) {
        let (mut some, mut all) = (false, true);
        for (member, link) in self.nodes[from].links.iter().enumerate() {
            for family in link.settings.families() {
                let seal = seal_of(link.signing.in_force.as_ref());
                let ring = self.nodes[to].links[member].signing.in_force.as_ref();
                let believed = verdict(ring, seal).is_ok();
                let open = !self.cut[member][from][to] && link.has_source(family) && believed;
                some |= open;
                all &= open;
            }
        }
        (some, all)
    }
}

/// A packet as it comes out of a socket.
pub(crate) fn datagram(packet: &Packet) -> Datagram<'_> {
    match packet.family {
        Family::V4 => parse_ipv4(&packet.octets).unwrap(),
        Family::V6 => Datagram {
            family: Family::V6,
            source: source(packet.from, packet.member, Family::V6),
            destination: group(Family::V6),
            hop_limit: 255,
            payload: &packet.octets,
        },
    }
}

pub(crate) fn id(member: usize) -> MemberId {
    MemberId(member as u64)
}

/// The interval that is announced before a planned restart.
pub(crate) fn pause_interval(own: Interval) -> Interval {
    own.max(Interval::from_centis(200).unwrap())
}

/// 10.0.MEMBER.(1 + node) or fe80::MEMBER:(1 + node).
pub(crate) fn source(node: usize, member: usize, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 0, member as u8, 1 + node as u8]),
        Family::V6 => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, member as u16, 1 + node as u16]),
    }
}

/// The node that a source is of; a stranger's is none of them.
pub(crate) fn sender(source: IpAddr) -> usize {
    let last = match source {
        IpAddr::V4(source) => source.octets()[3],
        IpAddr::V6(source) => source.octets()[15],
    };
    usize::from(last) - 1
}
