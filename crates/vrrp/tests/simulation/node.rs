//! One machine: its links with their addresses, and the processes that come and go on it.

use vrrp::{Advertisement, Event, Family, Priority, Settings, Stamp};

use super::groups::Decision;
use super::keys::{Ring, Signing};
use super::plan::{MS, NodePlan};
use super::world::{Item, LEASE, World, id, pause_interval, source};

/// Between two announcements of a pause; how often it is announced.
const PAUSE_REPEAT: u64 = 50 * MS;
const PAUSE_TIMES: u32 = 3;
/// Lease of the addresses over a planned restart.
const PAUSE_LEASE: u64 = 10_000 * MS;
/// How long the keeper waits for the next process.
const RESUME_LIMIT: u64 = 4_500 * MS;

pub(crate) struct Node {
    /// None while no process runs.
    pub(crate) decisions: Vec<Decision>,
    /// By member.
    pub(crate) links: Vec<Link>,
    pub(crate) life: u32,
    pub(crate) frozen: bool,
    /// What the sockets hold while the process does not run.
    pub(crate) backlog: Vec<(usize, Event)>,
    /// How long it stays away once it has stopped.
    pub(crate) stopping: Option<u64>,
    /// What the keeper says for the process before, should the next one not come.
    will: Option<Vec<Farewell>>,
    /// The keys it is configured with.
    pub(crate) ring: Option<Ring>,
    /// By how many seconds its wall clock is ahead.
    pub(crate) clock_s: i64,
    /// The latest stamp of everything signed here.
    pub(crate) highest: Option<Stamp>,
    takes_part: bool,
}

/// What is said in the name of a member that cannot speak any more.
pub(crate) struct Farewell {
    pub(crate) member: usize,
    pub(crate) advert: Advertisement,
    stamp: Stamp,
}

/// A link with the addresses of one member.
pub(crate) struct Link {
    pub(crate) settings: Settings,
    claim: u32,
    /// The kernel has the addresses, until this time unless renewed.
    pub(crate) held_until: Option<u64>,
    /// Answered claim and no release since.
    pub(crate) confirmed: bool,
    pub(crate) next_claim_fails: bool,
    pub(crate) fault: bool,
    /// What tracking made of the priority.
    pub(crate) priority: Priority,
    /// Without a source address now.
    silent: Vec<Family>,
    /// Configured to decide alone.
    pub(crate) apart: bool,
    /// Has come into a group, whose addresses it has not got yet.
    pub(crate) joining: bool,
    pub(crate) signing: Signing,
}

impl Link {
    /// Takes the addresses off; an answer to a claim that is still out is void.
    pub(crate) fn release(&mut self) {
        self.claim += 1;
        self.held_until = None;
        self.confirmed = false;
        self.joining = false;
    }

    pub(crate) fn has_source(&self, family: Family) -> bool {
        !self.silent.contains(&family)
    }
}

impl Node {
    pub(crate) fn new(plan: &NodePlan) -> Self {
        let link = |settings: &Settings| Link {
            settings: settings.clone(),
            claim: 0,
            held_until: None,
            confirmed: false,
            next_claim_fails: false,
            fault: false,
            priority: settings.priority,
            silent: Vec::new(),
            apart: false,
            joining: false,
            signing: Signing::new(),
        };
        Self {
            decisions: Vec::new(),
            links: plan.members.iter().map(link).collect(),
            life: 0,
            frozen: false,
            backlog: Vec::new(),
            stopping: None,
            will: None,
            ring: plan.ring.clone(),
            clock_s: 0,
            highest: None,
            takes_part: plan.starts_at.is_some(),
        }
    }

    /// Whether a link or a source is not as it should be.
    pub(crate) fn is_impaired(&self) -> bool {
        let mut links = self.links.iter();
        links.any(|link| link.fault || !link.silent.is_empty())
    }

    /// Whether a process is away that announced a pause.
    pub(crate) fn is_resuming(&self) -> bool {
        self.will.is_some()
    }

    /// Whether there is a process.
    pub(crate) fn runs(&self) -> bool {
        !self.decisions.is_empty()
    }
}

impl World {
    pub(crate) fn claim(&mut self, node: usize, member: usize) {
        let took = self.chance.claim(node);
        let owner = &mut self.nodes[node];
        owner.links[member].claim += 1;
        let item = Item::ClaimDone {
            node,
            member,
            life: owner.life,
            claim: owner.links[member].claim,
        };
        self.push(self.now + took, item);
    }

    pub(crate) fn claim_done(&mut self, node: usize, member: usize, life: u32, claim: u32) {
        let owner = &mut self.nodes[node];
        let link = &mut owner.links[member];
        if owner.life != life || link.claim != claim {
            return;
        }
        let event = if std::mem::take(&mut link.next_claim_fails) {
            Event::ClaimFailed("refused".to_owned())
        } else {
            link.held_until = link.held_until.max(Some(self.now + LEASE));
            link.confirmed = true;
            link.joining = false;
            Event::Claimed
        };
        self.give(node, member, event);
    }

    pub(crate) fn start(&mut self, node: usize, life: u32) {
        let machine = &mut self.nodes[node];
        if machine.life != life || machine.runs() || !machine.takes_part {
            return;
        }
        let resumes = machine.will.is_some();
        let goes_on = if resumes { ", goes on" } else { "" };
        self.note(format!("node {node}: process starts{goes_on}"));
        let now = self.instant();
        self.begin_signing(node);
        let machine = &mut self.nodes[node];
        machine.decisions = machine.new_decisions(now);
        self.checks.started(node, resumes);
        for member in 0..self.nodes[node].links.len() {
            for family in Family::ALL {
                let source = self.source_of(node, member, family);
                self.handle(node, member, Event::SourceChanged { family, source });
            }
        }
        let event = if resumes {
            Event::Resume
        } else {
            Event::Startup
        };
        for lead in self.nodes[node].leads() {
            self.handle(node, lead, event.clone());
        }
        // Once it has begun to go on the will is as good as revoked.
        self.nodes[node].will = None;
    }

    fn source_of(&self, node: usize, member: usize, family: Family) -> Option<std::net::IpAddr> {
        let link = &self.nodes[node].links[member];
        link.has_source(family)
            .then(|| source(node, member, family))
    }

    /// The source address of a family comes or goes.
    pub(crate) fn change_source(&mut self, node: usize, member: usize, family: Family, has: bool) {
        let link = &mut self.nodes[node].links[member];
        if link.has_source(family) == has {
            return;
        }
        link.silent.retain(|&one| one != family);
        if !has {
            link.silent.push(family);
        }
        let source = self.source_of(node, member, family);
        self.give(node, member, Event::SourceChanged { family, source });
    }

    pub(crate) fn start_later(&mut self, node: usize, after: u64) {
        let life = self.nodes[node].life;
        self.push(self.now + after, Item::Start { node, life });
    }

    /// One decision has left. With the last of them the process ends.
    pub(crate) fn stopped(&mut self, node: usize, member: usize) {
        let machine = &mut self.nodes[node];
        if let Some(decision) = machine.decision_mut(member) {
            decision.stopped = true;
        }
        if !machine.decisions.iter().all(|decision| decision.stopped) {
            return;
        }
        self.note(format!("node {node}: stopped"));
        let away = self.nodes[node].stopping.unwrap();
        self.end_process(node);
        self.start_later(node, away);
    }

    /// The process is gone, with its addresses and whatever was meant for it.
    pub(crate) fn end_process(&mut self, node: usize) {
        self.leave_in_place(node);
        self.nodes[node].will = None;
        self.nodes[node].links.iter_mut().for_each(|link| {
            link.release();
            link.fault = false;
        });
    }

    /// The process is gone, and its addresses are still there.
    fn leave_in_place(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        machine.decisions.clear();
        machine.life += 1;
        machine.frozen = false;
        machine.stopping = None;
        machine.backlog.clear();
    }

    /// Begins a planned restart, as an Active process alone can: leases prolonged, pause announced.
    pub(crate) fn restart(&mut self, node: usize, away: u64) {
        let active = self.is_active(node);
        let machine = &mut self.nodes[node];
        let held = machine.links.iter().all(|link| link.held_until.is_some());
        if !active || !held || machine.frozen || machine.stopping.is_some() {
            return;
        }
        for link in &mut machine.links {
            link.held_until = Some(self.now + PAUSE_LEASE);
        }
        let life = machine.life;
        self.note(format!("node {node}: restart ordered"));
        self.pause(node, life, 0, away);
    }

    pub(crate) fn pause(&mut self, node: usize, life: u32, said: u32, away: u64) {
        let machine = &self.nodes[node];
        if machine.life != life || machine.stopping.is_some() {
            return;
        }
        if machine.frozen {
            return self.push(
                self.now + PAUSE_REPEAT,
                Item::Pause {
                    node,
                    life,
                    said,
                    away,
                },
            );
        }
        let stands = self.is_active(node);
        let over = said == PAUSE_TIMES || !stands;
        if !over || !stands {
            for member in 0..self.nodes[node].links.len() {
                let own = self.nodes[node].links[member].settings.advert_interval;
                let pause = stands.then(|| pause_interval(own));
                self.handle(node, member, Event::Pause(pause));
            }
            if stands {
                let said = said + 1;
                self.push(
                    self.now + PAUSE_REPEAT,
                    Item::Pause {
                        node,
                        life,
                        said,
                        away,
                    },
                );
            }
            return;
        }
        self.note(format!("node {node}: process ends, the next one goes on"));
        self.nodes[node].will = Some(self.farewells(node));
        self.leave_in_place(node);
        self.checks.disturb(self.now, node);
        let life = self.nodes[node].life;
        self.push(self.now + RESUME_LIMIT, Item::Will { node, life });
        let away = if self.calm { MS } else { away };
        self.start_later(node, away);
    }

    pub(crate) fn execute_will(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life {
            return;
        }
        let Some(will) = self.nodes[node].will.take() else {
            return;
        };
        self.note(format!(
            "node {node}: did not go on, {} farewells",
            will.len()
        ));
        self.say(node, &will);
        self.nodes[node].links.iter_mut().for_each(Link::release);
    }

    /// Of every member and family that has a source, signed ahead: the keeper has no keys.
    pub(crate) fn farewells(&mut self, node: usize) -> Vec<Farewell> {
        let of = |member| {
            let router = self.nodes[node].router_of(member);
            let adverts = router.map_or_else(Vec::new, |it| it.release_adverts_of(id(member)));
            adverts.into_iter().map(move |advert| (member, advert))
        };
        let members = 0..self.nodes[node].links.len();
        let adverts: Vec<_> = members.flat_map(of).collect();
        let signed = adverts.into_iter().map(|(member, advert)| Farewell {
            member,
            stamp: self.stamp(node, member, &advert, true),
            advert,
        });
        signed.collect()
    }

    pub(crate) fn say(&mut self, node: usize, farewells: &[Farewell]) {
        for farewell in farewells {
            self.put_on_wire(node, farewell.member, &farewell.advert, farewell.stamp);
        }
    }

    /// The process runs again. It may serve its timer or its sockets first.
    pub(crate) fn thaw(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || !self.nodes[node].frozen {
            return;
        }
        self.note(format!("node {node}: thaws"));
        self.checks.thawed(self.now, node);
        let now = self.now;
        let mut lost = Vec::new();
        for link in &mut self.nodes[node].links {
            let ended = link.held_until.is_some_and(|until| until <= now);
            lost.push(ended);
            if ended {
                link.held_until = None;
            }
        }
        self.nodes[node].frozen = false;
        let timer_first = self.chance.timer_first(node);
        let timers = |world: &mut Self| {
            for lead in world.nodes[node].leads() {
                world.handle(node, lead, Event::Timer);
            }
        };
        if timer_first {
            timers(self);
        }
        for (member, event) in std::mem::take(&mut self.nodes[node].backlog) {
            self.give(node, member, event);
        }
        if !timer_first {
            timers(self);
        }
        // The kernel told that a lease had ended: what should be there is put back.
        for (link, lost) in self.nodes[node].links.iter_mut().zip(lost) {
            if lost && link.confirmed {
                link.held_until = Some(now + LEASE);
            }
        }
        if self.nodes[node].runs() && self.nodes[node].stopping.is_none() {
            self.seat_all(node);
        }
    }
}
