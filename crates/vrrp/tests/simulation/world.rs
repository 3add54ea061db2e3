//! The virtual LAN: time, packets, kernels, and the nodes with their cores. It plays the part of the daemon.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vrrp::{
    Accepted, Action, Advertisement, Datagram, Event, Family, Interval, PeerKnowledge, Preempt,
    Priority, Settings, VirtualRouter, Vrid, accept, group, parse_ipv4,
};

use super::checks::Checks;

/// Microseconds in a millisecond.
pub(crate) const MS: u64 = 1_000;
/// How long the storm lasts, and the calm that follows.
const STORM: u64 = 5_000 * MS;
const CALM: u64 = 4_000 * MS;
/// Lease of an address in the kernel without renewal.
const LEASE: u64 = 2_000 * MS;
/// The longest a packet, or a copy of it, is under way.
pub(crate) const MAX_DELAY: u64 = 8 * MS;
/// How late a timer may be served by a process that runs.
pub(crate) const JITTER: u64 = MS;
/// How long the kernel takes for a claim at most.
pub(crate) const MAX_CLAIM: u64 = 50 * MS;

/// What happens at a given time; `life` tells a node from itself before a crash.
pub(crate) enum Item {
    Deliver(Packet),
    ClaimDone {
        node: usize,
        life: u32,
        claim: u32,
        fails: bool,
    },
    LeaseEnd,
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
        life: u32,
    },
    Chaos,
    Calm,
}

/// A packet on its way.
pub(crate) struct Packet {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) family: Family,
    pub(crate) octets: Vec<u8>,
}

/// One machine.
pub(crate) struct Node {
    pub(crate) router: Option<VirtualRouter>,
    pub(crate) settings: Settings,
    pub(crate) life: u32,
    pub(crate) frozen: bool,
    /// What the socket holds while the process does not run.
    backlog: Vec<Event>,
    wake_at: Option<u64>,
    claim: u32,
    /// The kernel has the address, until this time unless renewed.
    pub(crate) held_until: Option<u64>,
    /// Answered claim and no release since.
    pub(crate) confirmed: bool,
    pub(crate) stopping: bool,
    pub(crate) next_claim_fails: bool,
    pub(crate) fault: bool,
}

pub(crate) struct World {
    pub(crate) rng: StdRng,
    pub(crate) now: u64,
    start: Instant,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    items: BTreeMap<u64, Item>,
    sequence: u64,
    pub(crate) nodes: Vec<Node>,
    /// `cut[from][to]`.
    pub(crate) cut: Vec<Vec<bool>>,
    pub(crate) loss_percent: u32,
    pub(crate) calm: bool,
    pub(crate) checks: Checks,
    pub(crate) takeovers: usize,
    pub(crate) history: Vec<String>,
    trace: bool,
    over: bool,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = if rng.random_range(0..5) == 0 { 3 } else { 2 };
        let all_settings = random_settings(&mut rng, count);
        let longest = all_settings
            .iter()
            .map(|settings| settings.advert_interval.as_duration())
            .max()
            .unwrap();
        let checks = Checks::new(count, longest);
        let nodes = all_settings.into_iter().map(Node::new).collect();
        let mut world = Self {
            rng,
            now: 0,
            start: Instant::now(),
            queue: BinaryHeap::new(),
            items: BTreeMap::new(),
            sequence: 0,
            nodes,
            cut: vec![vec![false; count]; count],
            loss_percent: 0,
            calm: false,
            checks,
            takeovers: 0,
            history: Vec::new(),
            trace,
            over: false,
        };
        for node in 0..count {
            let at = world.rng.random_range(0..500 * MS);
            world.push(at, Item::Start { node, life: 0 });
        }
        world.push(600 * MS, Item::Chaos);
        world.push(STORM, Item::Calm);
        world
    }

    pub(crate) fn run(&mut self) {
        while !self.over {
            let timer = self.next_timer();
            let queued = self.queue.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            self.now = queued
                .min(timer.map_or(u64::MAX, |(at, _)| at))
                .min(STORM + CALM);
            if self.now >= STORM + CALM {
                break;
            }
            match timer {
                Some((at, node)) if at <= queued => self.handle(node, Event::Timer),
                _ => {
                    let Reverse((_, key)) = self.queue.pop().unwrap();
                    let item = self.items.remove(&key).unwrap();
                    self.happen(item);
                }
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

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn next_timer(&self) -> Option<(u64, usize)> {
        let running = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.frozen && node.router.is_some());
        running
            .filter_map(|(index, node)| Some((node.wake_at?.max(self.now), index)))
            .min()
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Deliver(packet) => self.deliver(&packet),
            Item::ClaimDone {
                node,
                life,
                claim,
                fails,
            } => {
                let owner = &mut self.nodes[node];
                if owner.life != life || owner.claim != claim {
                    return;
                }
                let event = if fails {
                    Event::ClaimFailed("refused".to_owned())
                } else {
                    owner.held_until = Some(self.now + LEASE);
                    owner.confirmed = true;
                    Event::Claimed
                };
                self.push(self.now + LEASE, Item::LeaseEnd);
                self.give(node, event);
            }
            Item::LeaseEnd => {}
            Item::Thaw { node, life } => self.thaw(node, life),
            Item::Start { node, life } => self.start(node, life),
            Item::FaultEnds { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].fault {
                    self.nodes[node].fault = false;
                    self.give(node, Event::FaultCleared);
                }
            }
            Item::Chaos => self.chaos(),
            Item::Calm => self.calm_down(),
        }
    }

    /// To the process, or into its socket while it does not run.
    pub(crate) fn give(&mut self, node: usize, event: Event) {
        if self.nodes[node].frozen {
            self.nodes[node].backlog.push(event);
        } else if self.nodes[node].router.is_some() {
            self.handle(node, event);
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        let Some(router) = &self.nodes[packet.to].router else {
            return;
        };
        let own = [source(packet.to, Family::V4), source(packet.to, Family::V6)];
        let from = source(packet.from, packet.family);
        let datagram = match packet.family {
            Family::V4 => parse_ipv4(&packet.octets).unwrap(),
            Family::V6 => Datagram {
                family: Family::V6,
                source: from,
                destination: group(Family::V6),
                hop_limit: 255,
                payload: &packet.octets,
            },
        };
        let (_, accepted): (_, Accepted) =
            accept(&datagram, &own, |_| Some(router.expectation())).unwrap();
        self.give(
            packet.to,
            Event::Advertisement {
                family: packet.family,
                source: from,
                accepted,
            },
        );
    }

    /// One event into one core, and its actions out.
    pub(crate) fn handle(&mut self, node: usize, event: Event) {
        let now = self.instant();
        let Some(router) = &mut self.nodes[node].router else {
            return;
        };
        Checks::before_event(&mut self.checks, self.now, node, router, &event);
        let actions = router.handle(now, event.clone());
        for action in actions {
            Checks::action(self, node, &event, &action);
            self.execute(node, action);
        }
        let jitter = self.rng.random_range(0..JITTER);
        let node = &mut self.nodes[node];
        if node.held_until.is_some() {
            node.held_until = Some(self.now + LEASE);
        }
        let at = node.router.as_ref().and_then(VirtualRouter::deadline);
        node.wake_at = at.map(|at| {
            let until = at.saturating_duration_since(self.start);
            u64::try_from(until.as_nanos().div_ceil(1_000)).unwrap() + jitter
        });
        if self.nodes.iter().any(|node| node.held_until.is_some())
            && self.rng.random_range(0..4) == 0
        {
            self.push(self.now + LEASE, Item::LeaseEnd);
        }
    }

    fn execute(&mut self, node: usize, action: Action) {
        match action {
            Action::Claim => {
                self.nodes[node].claim += 1;
                let slow = self.rng.random_range(0..10) == 0;
                let took = self
                    .rng
                    .random_range(100..if slow { MAX_CLAIM } else { 2 * MS });
                let fails = std::mem::take(&mut self.nodes[node].next_claim_fails);
                let (life, claim) = (self.nodes[node].life, self.nodes[node].claim);
                self.push(
                    self.now + took,
                    Item::ClaimDone {
                        node,
                        life,
                        claim,
                        fails,
                    },
                );
            }
            Action::Release => self.take_away(node),
            Action::Send(advert) => self.send(node, &advert),
            Action::Transition(transition) => {
                self.takeovers += usize::from(transition.to == vrrp::State::Active);
                self.note(format!("node {node}: {transition}"));
            }
            Action::Stopped => {
                self.note(format!("node {node}: stopped"));
                self.end_process(node);
                let after = self.rng.random_range(20..800) * MS;
                self.start_later(node, after);
            }
            Action::HandoverFailed(why) => {
                self.note(format!("node {node}: handover failed, {why}"))
            }
            Action::HandedOver => self.note(format!("node {node}: handed over")),
            Action::Announce(_) | Action::StopAnnouncing | Action::Alarm(_) => {}
        }
    }

    /// Takes the address off a node's link; an answer to a claim that is still out is void.
    pub(crate) fn take_away(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.claim += 1;
        node.held_until = None;
        node.confirmed = false;
    }

    pub(crate) fn send(&mut self, from: usize, advert: &Advertisement) {
        for &destination in &advert.destinations {
            let octets = advert.encode(destination);
            for to in (0..self.nodes.len()).filter(|&to| to != from) {
                if self.cut[from][to] || self.rng.random_range(0..100) < self.loss_percent {
                    self.checks.disturb_pair(self.now, from, to);
                    continue;
                }
                let copies = if self.rng.random_range(0..20) == 0 {
                    2
                } else {
                    1
                };
                for _ in 0..copies {
                    let packet = Packet {
                        from,
                        to,
                        family: advert.family,
                        octets: octets.clone(),
                    };
                    let slow = self.rng.random_range(0..8) == 0;
                    let delay = self.rng.random_range(50..if slow { MAX_DELAY } else { MS });
                    self.push(self.now + delay, Item::Deliver(packet));
                }
            }
        }
    }

    fn start(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || self.nodes[node].router.is_some() {
            return;
        }
        self.note(format!("node {node}: process starts"));
        self.nodes[node].router = Some(VirtualRouter::new(self.nodes[node].settings.clone()));
        for family in Family::ALL {
            self.handle(
                node,
                Event::SourceChanged {
                    family,
                    source: Some(source(node, family)),
                },
            );
        }
        self.handle(node, Event::Startup);
    }

    pub(crate) fn start_later(&mut self, node: usize, after: u64) {
        let life = self.nodes[node].life;
        self.push(self.now + after, Item::Start { node, life });
    }

    /// The process is gone, with its addresses and whatever was meant for it.
    pub(crate) fn end_process(&mut self, node: usize) {
        self.take_away(node);
        let node = &mut self.nodes[node];
        node.router = None;
        node.life += 1;
        node.frozen = false;
        node.stopping = false;
        node.fault = false;
        node.wake_at = None;
        node.backlog.clear();
    }

    /// The process runs again. It may serve its timer or its socket first.
    fn thaw(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || !self.nodes[node].frozen {
            return;
        }
        self.note(format!("node {node}: thaws"));
        self.checks.thawed(self.now, node);
        let lost = self.nodes[node]
            .held_until
            .is_some_and(|until| until <= self.now);
        if lost {
            self.nodes[node].held_until = None;
        }
        self.nodes[node].frozen = false;
        let timer_first = self.rng.random_bool(0.5);
        if timer_first {
            self.handle(node, Event::Timer);
        }
        for event in std::mem::take(&mut self.nodes[node].backlog) {
            self.give(node, event);
        }
        if !timer_first && self.nodes[node].router.is_some() {
            self.handle(node, Event::Timer);
        }
        // The kernel told that the lease had ended: what should be there is put back.
        if lost && self.nodes[node].confirmed {
            self.nodes[node].held_until = Some(self.now + LEASE);
        }
    }

    pub(crate) fn holds(&self, node: usize) -> bool {
        self.nodes[node]
            .held_until
            .is_some_and(|until| self.now < until)
    }
}

impl Node {
    fn new(settings: Settings) -> Self {
        Self {
            router: None,
            settings,
            life: 0,
            frozen: false,
            backlog: Vec::new(),
            wake_at: None,
            claim: 0,
            held_until: None,
            confirmed: false,
            stopping: false,
            next_claim_fails: false,
            fault: false,
        }
    }
}

/// 10.0.0.(1 + node) or fe80::(1 + node).
pub(crate) fn source(node: usize, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 0, 0, 1 + node as u8]),
        Family::V6 => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1 + node as u16]),
    }
}

pub(crate) fn random_preempt(rng: &mut StdRng) -> Preempt {
    match rng.random_range(0..4) {
        0 | 1 => Preempt::Immediately,
        2 => Preempt::After(Duration::from_millis(rng.random_range(100..1_500))),
        _ => Preempt::Never,
    }
}

fn random_settings(rng: &mut StdRng, count: usize) -> Vec<Settings> {
    let v4: IpAddr = [10, 0, 0, 100].into();
    let v6: IpAddr = [0xfe80, 0, 0, 0, 0, 0, 0, 0x100].into();
    let global: IpAddr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100].into();
    let vips = [
        vec![v4],
        vec![v4, v6],
        vec![v6],
        vec![global],
        vec![global, v4],
    ];
    let vips = &vips[rng.random_range(0..vips.len())];
    let equal = rng.random_range(0..6) == 0;
    let interval = [5, 10, 10, 20][rng.random_range(0..4)];
    let uneven = rng.random_range(0..6) == 0;
    (0..count)
        .map(|_| {
            let mut settings = Settings::new("sim", Vrid::new(51).unwrap(), vips.clone());
            let own = if uneven {
                [5, 10, 20][rng.random_range(0..3)]
            } else {
                interval
            };
            settings.advert_interval = Interval::from_centis(own).unwrap();
            let owner = rng.random_range(0..20) == 0;
            let priority = if equal { 100 } else { rng.random_range(1..255) };
            settings.priority = if owner {
                Priority::OWNER
            } else {
                Priority::new(priority)
            };
            settings.preempt = random_preempt(rng);
            settings.peer = if count == 2 {
                PeerKnowledge::Pair
            } else {
                PeerKnowledge::Unknown
            };
            settings
        })
        .collect()
}
