//! One machine: its links with their addresses, and the processes that come and go on it.

use vrrp::{Advertisement, Event, Family, PhaseName, Priority, Settings, VirtualRouter};

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
    pub(crate) router: Option<VirtualRouter>,
    /// By member.
    pub(crate) links: Vec<Link>,
    pub(crate) life: u32,
    pub(crate) frozen: bool,
    /// What the sockets hold while the process does not run.
    pub(crate) backlog: Vec<(usize, Event)>,
    pub(crate) wake_at: Option<u64>,
    /// How long it stays away once it has stopped.
    pub(crate) stopping: Option<u64>,
    /// What the keeper says for the process before, should the next one not come.
    will: Option<Vec<(usize, Advertisement)>>,
    takes_part: bool,
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
}

impl Link {
    /// Takes the addresses off; an answer to a claim that is still out is void.
    pub(crate) fn release(&mut self) {
        self.claim += 1;
        self.held_until = None;
        self.confirmed = false;
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
        };
        Self {
            router: None,
            links: plan.members.iter().map(link).collect(),
            life: 0,
            frozen: false,
            backlog: Vec::new(),
            wake_at: None,
            stopping: None,
            will: None,
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

    fn is_active(&self) -> bool {
        let router = self.router.as_ref();
        router.is_some_and(|router| router.status().phase == PhaseName::Active)
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
            Event::Claimed
        };
        self.give(node, member, event);
    }

    pub(crate) fn start(&mut self, node: usize, life: u32) {
        let machine = &mut self.nodes[node];
        if machine.life != life || machine.router.is_some() || !machine.takes_part {
            return;
        }
        let resumes = machine.will.is_some();
        let goes_on = if resumes { ", goes on" } else { "" };
        self.note(format!("node {node}: process starts{goes_on}"));
        let now = self.instant();
        let machine = &mut self.nodes[node];
        let mut members =
            machine.links.iter().enumerate().map(|(member, link)| {
                VirtualRouter::with_member(id(member), link.settings.clone())
            });
        let mut router = members.next().unwrap();
        members.for_each(|member| assert!(router.join(now, member).is_empty()));
        machine.router = Some(router);
        self.checks.started(self.now, node, resumes);
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
        self.handle(node, 0, event);
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

    pub(crate) fn stopped(&mut self, node: usize) {
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
        machine.router = None;
        machine.life += 1;
        machine.frozen = false;
        machine.stopping = None;
        machine.wake_at = None;
        machine.backlog.clear();
    }

    /// Begins a planned restart, as an Active process alone can: leases prolonged, pause announced.
    pub(crate) fn restart(&mut self, node: usize, away: u64) {
        let machine = &mut self.nodes[node];
        let held = machine.links.iter().all(|link| link.held_until.is_some());
        if !machine.is_active() || !held || machine.frozen || machine.stopping.is_some() {
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
        let stands = machine.is_active();
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
        for (member, advert) in &will {
            self.send(node, *member, advert);
        }
        self.nodes[node].links.iter_mut().for_each(Link::release);
    }

    /// By member, of every family that has a source.
    pub(crate) fn farewells(&self, node: usize) -> Vec<(usize, Advertisement)> {
        let Some(router) = &self.nodes[node].router else {
            return Vec::new();
        };
        let of = |member| {
            let adverts = router.release_adverts_of(id(member)).into_iter();
            adverts.map(move |advert| (member, advert))
        };
        (0..self.nodes[node].links.len()).flat_map(of).collect()
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
        if timer_first {
            self.handle(node, 0, Event::Timer);
        }
        for (member, event) in std::mem::take(&mut self.nodes[node].backlog) {
            self.give(node, member, event);
        }
        if !timer_first && self.nodes[node].router.is_some() {
            self.handle(node, 0, Event::Timer);
        }
        // The kernel told that a lease had ended: what should be there is put back.
        for (link, lost) in self.nodes[node].links.iter_mut().zip(lost) {
            if lost && link.confirmed {
                link.held_until = Some(now + LEASE);
            }
        }
    }
}
