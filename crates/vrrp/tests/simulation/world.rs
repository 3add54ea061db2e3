//! The virtual LAN: time, wires, packets, and nodes that run. It plays the part of the daemon.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use vrrp::{
    Accepted, Action, Advertisement, Datagram, Directive, Event, Family, Interval, Local, MemberId,
    State, VirtualRouter, accept, group, parse_ipv4,
};

use super::chance::Chance;
use super::checks::Checks;
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
pub(crate) struct Packet {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) member: usize,
    pub(crate) family: Family,
    pub(crate) octets: Vec<u8>,
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
    loses: Loses,
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
            takeovers: Vec::new(),
            history: Vec::new(),
            trace,
        };
        for (node, settings) in plan.nodes.iter().enumerate() {
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
            let timer_at = timer.map_or(u64::MAX, |(at, _)| at);
            self.now = queued.min(timer_at).min(lease);
            if self.now >= end {
                // Not in the midst of a move that a last retry has brought about.
                let moved_at = self.takeovers.last().map_or(0, |(at, _)| *at);
                if moved_at + MOVE < end {
                    break;
                }
                end += MOVE;
            }
            if timer_at <= queued.min(lease) {
                let (_, node) = timer.unwrap();
                self.handle(node, 0, Event::Timer);
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

    fn next_timer(&self) -> Option<(u64, usize)> {
        let running = self.nodes.iter().enumerate();
        let running = running.filter(|(_, node)| !node.frozen && node.router.is_some());
        running
            .filter_map(|(index, node)| Some((node.wake_at?.max(self.now), index)))
            .min()
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
        } else if self.nodes[node].router.is_some() {
            self.handle(node, member, event);
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        let Some(router) = &self.nodes[packet.to].router else {
            return;
        };
        let own = Family::ALL.map(|family| source(packet.to, packet.member, family));
        let from = source(packet.from, packet.member, packet.family);
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
        let expectation = router.expectation_of(id(packet.member)).unwrap();
        let (_, accepted): (_, Accepted) =
            accept(&datagram, Local::addresses(&own), |_| Some(expectation)).unwrap();
        let event = Event::Advertisement {
            family: packet.family,
            source: from,
            accepted,
        };
        self.give(packet.to, packet.member, event);
    }

    /// One event into one core, and its actions out.
    pub(crate) fn handle(&mut self, node: usize, member: usize, event: Event) {
        let now = self.instant();
        let Some(router) = &mut self.nodes[node].router else {
            return;
        };
        self.checks
            .before_event(self.now, node, router, (id(member), &event));
        let directives = router.handle_for(now, id(member), event.clone());
        for directive in directives {
            Checks::action(self, node, &event, &directive);
            if !(self.loses)(node, &directive.action) {
                self.execute(node, directive);
            }
        }
        let jitter = self.chance.jitter(node);
        let renewed = self.now + LEASE;
        let node = &mut self.nodes[node];
        for link in &mut node.links {
            link.held_until = link.held_until.map(|until| until.max(renewed));
        }
        let at = node.router.as_ref().and_then(VirtualRouter::deadline);
        node.wake_at = at.map(|at| {
            let until = at.saturating_duration_since(self.start);
            u64::try_from(until.as_nanos().div_ceil(1_000)).unwrap() + jitter
        });
    }

    fn execute(&mut self, node: usize, directive: Directive) {
        let members = match directive.member {
            Some(MemberId(member)) => member as usize..member as usize + 1,
            None => 0..self.nodes[node].links.len(),
        };
        match directive.action {
            Action::Claim => members.for_each(|member| self.claim(node, member)),
            Action::Release => members.for_each(|member| self.nodes[node].links[member].release()),
            Action::Send(advert) => self.send(node, members.start, &advert),
            Action::Transition(transition) => {
                if transition.to == State::Active {
                    self.takeovers.push((self.now, node));
                }
                self.note(format!("node {node}: {transition}"));
            }
            Action::Stopped => self.stopped(node),
            Action::HandoverFailed(why) => {
                self.note(format!("node {node}: handover failed, {why}"));
            }
            Action::HandedOver => self.note(format!("node {node}: handed over")),
            Action::Announce(_) | Action::StopAnnouncing | Action::Alarm(_) => {}
        }
    }

    pub(crate) fn send(&mut self, from: usize, member: usize, advert: &Advertisement) {
        for &destination in &advert.destinations {
            let octets = advert.encode(destination);
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
                    };
                    self.push(self.now + delay, Item::Deliver(packet));
                }
            }
        }
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
                let open = !self.cut[member][from][to] && link.has_source(family);
                some |= open;
                all &= open;
            }
        }
        (some, all)
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
