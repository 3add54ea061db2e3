//! Who decides with whom: the members of a node that share a decision, and those that a reload takes out of it or back in.

use vrrp::{Directive, Event, MemberId, PhaseName, State, VirtualRouter};

use super::checks::Checks;
use super::node::Node;
use super::world::{World, id};

/// One core, with the members it decides for.
pub(crate) struct Decision {
    pub(crate) router: VirtualRouter,
    pub(crate) wake_at: Option<u64>,
    /// It has left and waits for the end of the process.
    pub(crate) stopped: bool,
}

impl Decision {
    fn new(router: VirtualRouter) -> Self {
        Self {
            router,
            wake_at: None,
            stopped: false,
        }
    }

    /// The members, in order.
    pub(crate) fn members(&self) -> Vec<usize> {
        let members = self.router.members();
        members.map(|MemberId(member)| member as usize).collect()
    }

    /// The one that speaks for all.
    pub(crate) fn lead(&self) -> usize {
        self.members()[0]
    }
}

impl Node {
    pub(crate) fn decision_of(&self, member: usize) -> Option<&Decision> {
        let mut decisions = self.decisions.iter();
        decisions.find(|decision| decision.router.members().any(|one| one == id(member)))
    }

    pub(crate) fn router_of(&self, member: usize) -> Option<&VirtualRouter> {
        self.decision_of(member).map(|decision| &decision.router)
    }

    fn place_of(&self, member: usize) -> Option<usize> {
        let mut decisions = self.decisions.iter();
        decisions.position(|decision| decision.router.members().any(|one| one == id(member)))
    }

    pub(crate) fn decision_mut(&mut self, member: usize) -> Option<&mut Decision> {
        let place = self.place_of(member)?;
        self.decisions.get_mut(place)
    }

    /// One member of each decision.
    pub(crate) fn leads(&self) -> Vec<usize> {
        self.decisions.iter().map(Decision::lead).collect()
    }

    /// Which members decide together, in an order that tells two nodes apart.
    pub(crate) fn seating(&self) -> Vec<Vec<usize>> {
        let mut all: Vec<Vec<usize>> = self.decisions.iter().map(Decision::members).collect();
        all.sort();
        all
    }

    /// Whether it waits for addresses.
    pub(crate) fn is_claiming(&self) -> bool {
        let mut decisions = self.decisions.iter();
        decisions.any(|one| one.router.status().phase == PhaseName::Claiming)
    }

    /// The decisions of a process that begins.
    pub(crate) fn new_decisions(&self, now: std::time::Instant) -> Vec<Decision> {
        let routers = self.links.iter().enumerate();
        let routers = routers.map(|(member, link)| {
            let router = VirtualRouter::with_member(id(member), link.settings.clone());
            (link.apart, router)
        });
        let (apart, together): (Vec<_>, Vec<_>) = routers.partition(|(apart, _)| *apart);
        let mut together = together.into_iter().map(|(_, router)| router);
        let group = together.next().map(|mut group| {
            together.for_each(|other| assert!(group.join(now, other).is_empty()));
            group
        });
        let alone = apart.into_iter().map(|(_, router)| router);
        group.into_iter().chain(alone).map(Decision::new).collect()
    }
}

impl World {
    /// A reload says whether a member belongs to the group. A process that does not turn, or leaves, does not read it.
    pub(crate) fn regroup(&mut self, node: usize, member: usize, apart: bool) {
        self.nodes[node].links[member].apart = apart;
        let machine = &self.nodes[node];
        if !machine.frozen && machine.runs() && machine.stopping.is_none() {
            self.seat_all(node);
        }
    }

    /// Brings every member where the configuration wants it.
    pub(crate) fn seat_all(&mut self, node: usize) {
        for member in 0..self.nodes[node].links.len() {
            if self.nodes[node].links[member].apart {
                self.part(node, member);
            } else {
                self.join(node, member);
            }
        }
    }

    /// Out of the group: it goes on alone, in the same state, and nothing is said.
    fn part(&mut self, node: usize, member: usize) {
        let now = self.instant();
        let Some(decision) = self.nodes[node].decision_mut(member) else {
            return;
        };
        let Some(alone) = decision.router.split(now, id(member)) else {
            return;
        };
        let stay = decision.members();
        self.note(format!("node {node}: m{member} leaves the group"));
        self.nodes[node].decisions.push(Decision::new(alone));
        self.checks.parted(self.now, node, &stay);
        self.checks.parted(self.now, node, &[member]);
        self.set_timer(node, stay[0]);
        self.set_timer(node, member);
    }

    /// Into the decision of the first one that belongs to the group.
    fn join(&mut self, node: usize, member: usize) {
        let machine = &mut self.nodes[node];
        let mate =
            (0..machine.links.len()).find(|&mate| !machine.links[mate].apart && mate != member);
        let Some(mate) = mate else { return };
        let (Some(own), Some(place)) = (machine.place_of(member), machine.place_of(mate)) else {
            return;
        };
        // The one that others are with already stays where it is.
        if own == place || machine.decisions[own].router.members().count() > 1 {
            return;
        }
        let joining = machine.decisions.remove(own);
        let now = self.instant();
        self.note(format!("node {node}: m{member} joins m{mate}"));
        let group = self.nodes[node].decision_of(mate).unwrap();
        let phase = group.router.status().phase;
        let mates = group.members();
        self.checks.joined(self.now, node, (member, &mates), phase);
        let decision = self.nodes[node].decision_mut(mate).unwrap();
        let directives = decision.router.join(now, joining.router);
        self.nodes[node].links[member].joining = true;
        self.carry_out(node, member, None, directives);
        self.set_timer(node, mate);
    }

    /// Checks what a core wants done, and does it.
    pub(crate) fn carry_out(
        &mut self,
        node: usize,
        member: usize,
        event: Option<&Event>,
        directives: Vec<Directive>,
    ) {
        let decision = self.nodes[node].decision_of(member);
        let members = decision.map_or_else(Vec::new, Decision::members);
        for directive in directives {
            Checks::action(self, node, &members, event, &directive);
            if !(self.loses)(node, &directive.action) {
                self.execute(node, &members, directive);
            }
        }
    }

    /// Whether every member of a node is Active.
    pub(crate) fn is_active(&self, node: usize) -> bool {
        let mut decisions = self.nodes[node].decisions.iter();
        self.nodes[node].runs()
            && decisions.all(|one| one.router.status().phase == PhaseName::Active)
    }

    /// Who is Active for a member.
    pub(crate) fn actives_of(&self, member: usize) -> Vec<usize> {
        let active = |&node: &usize| {
            let router = self.nodes[node].router_of(member);
            router.is_some_and(|router| router.state() == State::Active)
        };
        (0..self.nodes.len()).filter(active).collect()
    }
}
