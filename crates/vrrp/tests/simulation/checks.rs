//! What must hold, whatever goes wrong.
//!
//! Times by hand, I being the longest interval configured in the run:
//! - two holders who hear each other, be it on one wire of several: the better one is heard after at most one interval, its timer up
//!   to 1 ms late, its packet up to 8 ms under way; the other keeps the address 150 ms more, its own timer up to 1 ms late: I + 160 ms,
//!   and 50 ms more where the addresses of a group come one after the other. A lost packet, a freeze or a crash starts the time again;
//!   so does a cut that leaves no way between the two, or any cut where priorities are equal and addresses decide.
//! - no holder though a node takes part: it waits at most 3 I and a skew of I since the last advertisement of a holder,
//!   which was up to 8 ms under way; its timer is up to 1 ms late; the kernel takes up to 50 ms: 4 I + 59 ms. A packet
//!   overtaken by the farewell sent after it may undo a claim and cost one more wait: 8 I + 120 ms in all. Who has heard of a pause
//!   waits four of the announced intervals, unless a farewell follows.
//!
//! What a node does not believe it does not hear: other keys are a cut. While a reload has reached one node and not the other, and the
//! two decide about different members together, neither limit counts; from then on they do.

use std::time::Duration;

use vrrp::{Action, Directive, Event, Family, MemberId, PhaseName, Reason, State, VirtualRouter};

use super::chance::{JITTER, MAX_CLAIM, MAX_DELAY};
use super::knowledge::{Facts, Heard};
use super::plan::MS;
use super::world::{World, sender};

const LINGER: u64 = 150 * MS;

pub(crate) struct Checks {
    longest: u64,
    wires: usize,
    /// By pair and wire: since when both hold; by pair: when they last could not hear each other.
    both_since: Vec<Vec<Vec<Option<u64>>>>,
    disturbed_at: Vec<Vec<u64>>,
    /// By pair: when they last could not hear each other everywhere.
    obstructed_at: Vec<Vec<u64>>,
    /// By wire.
    none_since: Vec<Option<u64>>,
    /// By node and member; what a decision knows stands with each of its members.
    facts: Vec<Vec<Facts>>,
    /// By node: when it advertised lately.
    sent_at: Vec<Vec<u64>>,
    /// When who decides with whom last differed between nodes, or changed.
    regrouped_at: u64,
}

impl Checks {
    pub(crate) fn new(count: usize, wires: usize, longest: Duration) -> Self {
        Self {
            longest: longest.as_micros() as u64,
            wires,
            both_since: vec![vec![vec![None; wires]; count]; count],
            disturbed_at: vec![vec![0; count]; count],
            obstructed_at: vec![vec![0; count]; count],
            none_since: vec![Some(0); wires],
            facts: vec![vec![Facts::default(); wires]; count],
            sent_at: vec![Vec::new(); count],
            regrouped_at: 0,
        }
    }

    /// Members of a node decide with others than before.
    pub(crate) fn regrouped(&mut self, now: u64, node: usize) {
        self.regrouped_at = now;
        self.leave_alone(now, node);
    }

    /// These decide by themselves from here on: what was heard of others is not theirs.
    pub(crate) fn parted(&mut self, now: u64, node: usize, members: &[usize]) {
        self.regrouped(now, node);
        for &member in members {
            let facts = &mut self.facts[node][member];
            let own = |&(MemberId(heard), _): &(MemberId, Family)| {
                members.iter().any(|&one| one as u64 == heard)
            };
            facts.pauses.retain(|leg, _| own(leg));
            facts.obeyed = None;
        }
    }

    /// A member takes its place beside others, who go on as they are. Where they do not listen, what it has heard comes too late, and a
    /// farewell counts for those alone who were together when it came.
    pub(crate) fn joined(
        &mut self,
        now: u64,
        node: usize,
        (member, mates): (usize, &[usize]),
        phase: PhaseName,
    ) {
        self.regrouped(now, node);
        let farewell_at = self.facts[node][mates[0]].farewell_at;
        let all: Vec<usize> = mates.iter().copied().chain([member]).collect();
        let before: Vec<Facts> = all.iter().map(|&it| self.facts[node][it].clone()).collect();
        for &one in &all {
            let facts = &mut self.facts[node][one];
            before.iter().for_each(|other| facts.merge(other));
            facts.farewell_at = farewell_at;
            facts.claiming = phase == PhaseName::Claiming;
            let listens = [
                PhaseName::Backup,
                PhaseName::Listening,
                PhaseName::PreemptWait,
            ];
            if !listens.contains(&phase) {
                facts.obeyed = None;
            }
        }
    }

    pub(crate) fn disturb_pair(&mut self, now: u64, one: usize, other: usize) {
        self.disturbed_at[one.min(other)][one.max(other)] = now;
    }

    pub(crate) fn obstruct_pair(&mut self, now: u64, one: usize, other: usize) {
        self.obstructed_at[one.min(other)][one.max(other)] = now;
    }

    pub(crate) fn disturb(&mut self, now: u64, node: usize) {
        self.leave_alone(now, node);
        let facts = self.facts[node].iter_mut();
        facts.for_each(|facts| facts.healthy_since = None);
    }

    /// The pairs of this node start to count again.
    fn leave_alone(&mut self, now: u64, node: usize) {
        for other in (0..self.facts.len()).filter(|&other| other != node) {
            self.disturb_pair(now, node, other);
        }
    }

    pub(crate) fn thawed(&mut self, now: u64, node: usize) {
        self.disturb(now, node);
        let facts = self.facts[node].iter_mut();
        facts.for_each(|facts| facts.thawed_at = Some(now));
    }

    /// A process begins, and knows nothing. What it says first tells the others that it goes on.
    pub(crate) fn started(&mut self, node: usize, resumes: bool) {
        for facts in &mut self.facts[node] {
            facts.obeyed = None;
            facts.resumes = resumes;
            facts.pauses.clear();
        }
    }

    /// Writes down what the core is about to learn.
    pub(crate) fn before_event(
        &mut self,
        now: u64,
        node: usize,
        router: &VirtualRouter,
        (member, event): (MemberId, &Event),
    ) {
        let claiming = router.status().phase == PhaseName::Claiming;
        for MemberId(mate) in router.members() {
            self.facts[node][mate as usize].claiming = claiming;
        }
        let Event::Advertisement {
            accepted,
            source,
            family,
        } = event
        else {
            return;
        };
        let ours = router.status().effective_priority;
        let heard = Heard {
            at: now,
            from: sender(*source),
            interval: accepted.interval().as_duration().as_micros() as u64,
        };
        for MemberId(mate) in router.members() {
            let facts = &mut self.facts[node][mate as usize];
            if heard.interval > self.longest {
                facts.pauses.insert((member, *family), heard);
            } else if accepted.priority() >= ours {
                // A lower one is discarded by who preempts it: its timer runs on (RFC 9568 §6.4.2).
                facts.pauses.remove(&(member, *family));
            }
            match accepted.priority() {
                theirs if theirs.is_release() => {
                    facts.farewell_at = Some(now);
                    facts.left_at = Some(now);
                }
                theirs if theirs < ours => {
                    facts.lower.insert((member, *family), heard);
                }
                _ if matches!(router.state(), State::Backup | State::Active) => {
                    facts.obeyed = Some(heard);
                }
                _ => {}
            }
        }
    }

    /// Nothing is said before it is true, replies are bounded, and no transition comes without a cause. `event` is none where a reload
    /// has brought a member into a group.
    pub(crate) fn action(
        world: &mut World,
        node: usize,
        members: &[usize],
        event: Option<&Event>,
        directive: &Directive,
    ) {
        let now = world.now;
        let wires = world.checks.wires;
        let is_there =
            |member: usize| world.nodes[node].links[member].confirmed && world.holds(node, member);
        let one = directive.member.map(|MemberId(member)| member as usize);
        let all = members.iter().all(|&member| {
            // Who comes into a group that is Active says nothing until it has its own addresses.
            let waits = world.nodes[node].links[member].joining && one != Some(member);
            waits || is_there(member)
        });
        // What came while the process was away may be over by now.
        let gone = matches!(
            event,
            Some(Event::Fault(_) | Event::SourceChanged { source: None, .. })
        );
        let impaired = world.nodes[node].is_impaired() || gone;
        let resuming = world.nodes[node].is_resuming();
        match &directive.action {
            Action::Send(advert) if !advert.priority.is_release() => {
                assert!(all, "node {node} advertises an address it does not have");
                for member in one.map_or_else(|| members.to_vec(), |one| vec![one]) {
                    let facts = &mut world.checks.facts[node][member];
                    if std::mem::take(&mut facts.resumes) {
                        facts.resumed_at = now;
                    }
                }
                let sent_at = &mut world.checks.sent_at[node];
                sent_at.retain(|at| now < at + 100 * MS);
                sent_at.push(now);
                // Two families; a reply each 10 ms, a regular one each 50 ms, a pause each 50 ms, and four by other causes.
                let most = 2 * (10 + 2 + 3 + 4) * wires;
                assert!(sent_at.len() <= most, "node {node} talks too much");
            }
            Action::Announce(_) => {
                assert!(all, "node {node} announces an address it does not have");
            }
            Action::Claim => {
                for &member in members {
                    let facts = &mut world.checks.facts[node][member];
                    facts.claimed_at = now;
                    if !facts.claiming {
                        facts.decided_at = now;
                    }
                }
            }
            Action::Transition(transition) => {
                let facts = &world.checks.facts[node][members[0]];
                let caused = match (&transition.reason, event) {
                    (Reason::Fault(_) | Reason::NoSource, _) => impaired,
                    (Reason::Startup, _) => matches!(event, Some(Event::Startup)) || resuming,
                    (Reason::Joined, _) => event.is_none(),
                    (reason, Some(event)) => facts.explain(reason, now, event),
                    (_, None) => false,
                };
                assert!(
                    caused,
                    "node {node} without cause: {transition}, at {now} us by {event:?} after {facts:?}"
                );
                // What was learned is forgotten with every state but Backup.
                if transition.to != State::Backup {
                    let concerned = one.as_ref().map_or(members, std::slice::from_ref);
                    for &member in concerned {
                        world.checks.facts[node][member].obeyed = None;
                    }
                }
            }
            Action::Send(_)
            | Action::Release
            | Action::StopAnnouncing
            | Action::Alarm(_)
            | Action::HandoverFailed(_)
            | Action::HandedOver
            | Action::Stopped => {}
        }
    }

    pub(crate) fn after_step(world: &mut World) {
        let now = world.now;
        for node in 0..world.nodes.len() {
            let machine = &world.nodes[node];
            if machine.frozen || !machine.runs() {
                world.checks.disturb(now, node);
                continue;
            }
            for member in 0..world.checks.wires {
                let router = machine.router_of(member);
                let takes_part = machine.stopping.is_none()
                    && router.is_some_and(|router| {
                        matches!(router.state(), State::Backup | State::Active)
                    });
                let since = &mut world.checks.facts[node][member].healthy_since;
                *since = takes_part.then(|| since.unwrap_or(now));
            }
        }
        Self::note_seating(world);
        Self::note_deafness(world);
        for wire in 0..world.checks.wires {
            let holders: Vec<usize> = (0..world.nodes.len())
                .filter(|&node| world.holds(node, wire))
                .collect();
            let leaves = |node: &usize| world.nodes[*node].router_of(wire).is_some_and(is_leaving);
            if holders.len() > 1 && holders.iter().filter(|node| leaves(node)).count() > 1 {
                // Neither says a word until it stops or gives up: 2 I + 100 ms, and only after a cut.
                holders
                    .iter()
                    .for_each(|&node| world.checks.leave_alone(now, node));
            }
            world.checks.check_two(now, wire, &holders);
            world.checks.check_none(now, wire, &holders);
        }
    }

    /// Whether the nodes agree on who decides with whom.
    fn note_seating(world: &mut World) {
        let running = world.nodes.iter().filter(|node| node.runs());
        let mut seatings: Vec<_> = running.map(|node| node.seating()).collect();
        seatings.dedup();
        if seatings.len() > 1 {
            for node in 0..world.nodes.len() {
                world.checks.regrouped(world.now, node);
            }
        }
    }

    /// Which pairs have no way to each other at this moment. One way is enough for who decides about all wires together.
    fn note_deafness(world: &mut World) {
        let priorities = |node: usize| -> Vec<_> {
            let decisions = world.nodes[node].decisions.iter();
            decisions
                .map(|one| one.router.status().effective_priority)
                .collect()
        };
        let mut deaf = Vec::new();
        for one in 0..world.nodes.len() {
            for other in one + 1..world.nodes.len() {
                let ways = [world.hearing(one, other), world.hearing(other, one)];
                if ways.iter().any(|&(_, all)| !all) {
                    world.checks.obstruct_pair(world.now, one, other);
                }
                let (ours, theirs) = (priorities(one), priorities(other));
                let each = ours.len() > 1 || theirs.len() > 1 || ours == theirs;
                if ways
                    .iter()
                    .any(|&(some, all)| if each { !all } else { !some })
                {
                    deaf.push((one, other));
                }
            }
        }
        for (one, other) in deaf {
            world.checks.disturb_pair(world.now, one, other);
        }
    }

    fn check_two(&mut self, now: u64, wire: usize, holders: &[usize]) {
        let one_by_one = if self.wires > 1 { MAX_CLAIM } else { 0 };
        let limit = self.longest + MAX_DELAY + LINGER + 2 * JITTER + one_by_one;
        for one in 0..self.facts.len() {
            for other in one + 1..self.facts.len() {
                let both_since = &mut self.both_since[one][other][wire];
                if !(holders.contains(&one) && holders.contains(&other)) {
                    *both_since = None;
                    continue;
                }
                let since = *both_since.get_or_insert(now);
                // A move back within the linger of the move before starts the time again.
                let moved_at = self.facts[one][wire]
                    .claimed_at
                    .max(self.facts[other][wire].claimed_at);
                let since = since.max(self.disturbed_at[one][other]).max(moved_at);
                let time = now - since;
                assert!(
                    time <= limit,
                    "nodes {one} and {other} both hold the address of m{wire} for {time} us"
                );
            }
        }
    }

    fn check_none(&mut self, now: u64, wire: usize, holders: &[usize]) {
        if !holders.is_empty() {
            self.none_since[wire] = None;
            return;
        }
        let none_since = *self.none_since[wire].get_or_insert(now);
        let limit = 2 * (4 * self.longest + MAX_DELAY + JITTER + MAX_CLAIM) + 2 * MS;
        for (node, facts) in self.facts.iter().enumerate() {
            let Some(healthy_since) = facts[wire].healthy_since else {
                continue;
            };
            let waits_from = none_since
                .max(healthy_since)
                .max(self.pause_ends(node, wire))
                .max(self.regrouped_at);
            let time = now.saturating_sub(waits_from);
            assert!(
                time <= limit,
                "nobody holds the address of m{wire} for {time} us though node {node} takes part"
            );
        }
    }

    /// Until when a node may wait for a router that has announced a pause. Once that one is back it goes on or says farewell, after
    /// which only one of several backups waits on, and for one announced interval at most: its skew.
    fn pause_ends(&self, node: usize, wire: usize) -> u64 {
        let facts = &self.facts[node][wire];
        let ends = |heard: &Heard| {
            let from = self.facts.get(heard.from);
            let back_at = from.map_or(0, |from| from[wire].resumed_at);
            let pair = (node.min(heard.from), node.max(heard.from));
            let hears = || self.obstructed_at[pair.0][pair.1] < back_at;
            let skew = if self.facts.len() == 2 {
                0
            } else {
                heard.interval
            };
            let lower = |other: &Heard| other.from == heard.from && back_at <= other.at;
            let discards = facts.lower.values().any(lower);
            let is_back = (heard.at < back_at && hears() && !discards).then_some(back_at);
            let left_at = facts.farewell_at.filter(|&at| heard.at < at);
            let ends = heard.at + 4 * heard.interval;
            let told = is_back.into_iter().chain(left_at).map(|at| at + skew);
            told.min().unwrap_or(ends).min(ends)
        };
        facts.pauses.values().map(ends).max().unwrap_or(0)
    }

    /// After the calm: one holder, one Active, and it is the right one where the settings say which.
    pub(crate) fn at_the_end(world: &World) {
        for wire in 0..world.checks.wires {
            let actives = world.actives_of(wire);
            assert_eq!(
                actives.len(),
                1,
                "Active at the end for m{wire}: {actives:?}"
            );
            let holders: Vec<usize> = (0..world.nodes.len())
                .filter(|&node| world.holds(node, wire))
                .collect();
            assert_eq!(holders, actives, "holders of m{wire} at the end");
            let winner = world.nodes[actives[0]].router_of(wire).unwrap();
            let winner = winner.status().effective_priority;
            for node in 0..world.nodes.len() {
                let waits = world.checks.could_preempt(world, node, wire);
                assert!(
                    waits.is_none_or(|priority| priority <= winner),
                    "the better node {node} waits for ever"
                );
            }
        }
    }

    /// The priority of a Backup that has had time to preempt and is told to.
    fn could_preempt(&self, world: &World, node: usize, wire: usize) -> Option<vrrp::Priority> {
        let machine = &world.nodes[node];
        let decision = machine.decision_of(wire)?;
        let status = decision.router.status();
        let preempts = machine.links[decision.lead()].settings.preempt
            == vrrp::Preempt::Immediately
            && status.held_back.is_none();
        // 4 I of at most 200 ms, and a margin: a node may have come back from a fault only just.
        let facts = &self.facts[node][wire];
        let pauses = facts.pauses.values();
        let pause_ends = pauses.map(|heard| heard.at + 4 * heard.interval).max();
        let since = facts.healthy_since.max(pause_ends);
        let settled = since.is_some_and(|since| since + 1_000 * MS <= world.now);
        let waits = preempts && settled && status.state == State::Backup;
        waits.then_some(status.effective_priority)
    }
}

fn is_leaving(router: &VirtualRouter) -> bool {
    matches!(
        router.status().phase,
        PhaseName::Leaving | PhaseName::HandingOver
    )
}
