//! What must hold, whatever goes wrong.
//!
//! Times by hand, I being the longest interval configured in the run:
//! - two holders who hear each other: the better one is heard after at most one interval, its timer up to 1 ms late,
//!   its packet up to 8 ms under way; the other keeps the address 150 ms more, its own timer up to 1 ms late:
//!   I + 160 ms. A lost packet, a cut, a freeze or a crash starts the time again.
//! - no holder though a node takes part: it waits at most 3 I and a skew of I since the last advertisement of a holder,
//!   which was up to 8 ms under way; its timer is up to 1 ms late; the kernel takes up to 50 ms: 4 I + 59 ms. A packet
//!   overtaken by the farewell sent after it may undo a claim and cost one more wait: 8 I + 120 ms in all.

use std::time::Duration;

use vrrp::{Action, Event, PhaseName, Reason, State, VirtualRouter};

use super::world::{JITTER, MAX_CLAIM, MAX_DELAY, MS, World};

const LINGER: u64 = 150 * MS;

#[derive(Clone, Default)]
struct Facts {
    /// Last advertisement this node had to obey, last of any lower router, last farewell.
    obeyed_at: Option<u64>,
    lower_at: Option<u64>,
    farewell_at: Option<u64>,
    claimed_at: u64,
    thawed_at: Option<u64>,
    healthy_since: Option<u64>,
    sent_at: Vec<u64>,
}

pub(crate) struct Checks {
    longest: u64,
    /// By pair: since when both hold, and when they last could not hear each other.
    both_since: Vec<Vec<Option<u64>>>,
    disturbed_at: Vec<Vec<u64>>,
    none_since: Option<u64>,
    facts: Vec<Facts>,
}

impl Checks {
    pub(crate) fn new(count: usize, longest: Duration) -> Self {
        Self {
            longest: longest.as_micros() as u64,
            both_since: vec![vec![None; count]; count],
            disturbed_at: vec![vec![0; count]; count],
            none_since: Some(0),
            facts: vec![Facts::default(); count],
        }
    }

    pub(crate) fn longest_centis(&self) -> u16 {
        (self.longest / (10 * MS)) as u16
    }

    pub(crate) fn disturb_pair(&mut self, now: u64, one: usize, other: usize) {
        self.disturbed_at[one.min(other)][one.max(other)] = now;
    }

    pub(crate) fn disturb(&mut self, now: u64, node: usize) {
        self.leave_alone(now, node);
        self.facts[node].healthy_since = None;
    }

    /// The pairs of this node start to count again.
    fn leave_alone(&mut self, now: u64, node: usize) {
        for other in (0..self.facts.len()).filter(|&other| other != node) {
            self.disturb_pair(now, node, other);
        }
    }

    pub(crate) fn thawed(&mut self, now: u64, node: usize) {
        self.disturb(now, node);
        self.facts[node].thawed_at = Some(now);
    }

    /// Writes down what the core is about to learn.
    pub(crate) fn before_event(
        &mut self,
        now: u64,
        node: usize,
        router: &VirtualRouter,
        event: &Event,
    ) {
        let Event::Advertisement { accepted, .. } = event else {
            return;
        };
        let facts = &mut self.facts[node];
        let ours = router.status().effective_priority;
        let slot = match accepted.priority() {
            theirs if theirs.is_release() => &mut facts.farewell_at,
            theirs if theirs < ours => &mut facts.lower_at,
            _ => &mut facts.obeyed_at,
        };
        *slot = Some(now);
    }

    /// Nothing is said before it is true, replies are bounded, and no transition comes without a cause.
    pub(crate) fn action(world: &mut World, node: usize, event: &Event, action: &Action) {
        let now = world.now;
        let confirmed = world.nodes[node].confirmed && world.holds(node);
        let longest = world.checks.longest;
        let facts = &mut world.checks.facts[node];
        match action {
            Action::Send(advert) if !advert.priority.is_release() => {
                assert!(
                    confirmed,
                    "node {node} advertises an address it does not have"
                );
                facts.sent_at.retain(|at| now < at + 100 * MS);
                facts.sent_at.push(now);
                // Two families; a reply each 10 ms, a regular one each 50 ms, and four by other causes.
                assert!(
                    facts.sent_at.len() <= 2 * (10 + 2 + 4),
                    "node {node} talks too much"
                );
            }
            Action::Announce(_) => assert!(
                confirmed,
                "node {node} announces an address it does not have"
            ),
            Action::Claim => facts.claimed_at = now,
            Action::Transition(transition) => {
                let caused = facts.explain(&transition.reason, now, longest, event);
                assert!(caused, "node {node} without cause: {transition}");
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
        let holders: Vec<usize> = (0..world.nodes.len())
            .filter(|&node| world.holds(node))
            .collect();
        for node in 0..world.nodes.len() {
            let takes_part = world.nodes[node].router.as_ref().is_some_and(|router| {
                matches!(router.state(), State::Backup | State::Active)
                    && !world.nodes[node].stopping
            });
            if world.nodes[node].frozen || world.nodes[node].router.is_none() {
                world.checks.disturb(now, node);
            } else if takes_part {
                world.checks.facts[node].healthy_since.get_or_insert(now);
            } else {
                world.checks.facts[node].healthy_since = None;
            }
        }
        for from in 0..world.nodes.len() {
            for to in (0..world.nodes.len()).filter(|&to| world.cut[from][to]) {
                world.checks.disturb_pair(now, from, to);
            }
        }
        let leaves = |node: &usize| world.nodes[*node].router.as_ref().is_some_and(is_leaving);
        if holders.len() > 1 && holders.iter().filter(|node| leaves(node)).count() > 1 {
            // Neither says a word until it stops or gives up: 2 I + 100 ms, and only after a cut.
            holders
                .iter()
                .for_each(|&node| world.checks.leave_alone(now, node));
        }
        world.checks.check_two(now, &holders);
        world.checks.check_none(now, &holders);
    }

    fn check_two(&mut self, now: u64, holders: &[usize]) {
        let limit = self.longest + MAX_DELAY + LINGER + 2 * JITTER;
        for one in 0..self.facts.len() {
            for other in one + 1..self.facts.len() {
                if !(holders.contains(&one) && holders.contains(&other)) {
                    self.both_since[one][other] = None;
                    continue;
                }
                let since = *self.both_since[one][other].get_or_insert(now);
                // A move back within the linger of the move before starts the time again.
                let moved_at = self.facts[one].claimed_at.max(self.facts[other].claimed_at);
                let since = since.max(self.disturbed_at[one][other]).max(moved_at);
                let time = now - since;
                assert!(
                    time <= limit,
                    "nodes {one} and {other} both hold the address for {time} us"
                );
            }
        }
    }

    fn check_none(&mut self, now: u64, holders: &[usize]) {
        if !holders.is_empty() {
            self.none_since = None;
            return;
        }
        let none_since = *self.none_since.get_or_insert(now);
        let limit = 2 * (4 * self.longest + MAX_DELAY + JITTER + MAX_CLAIM) + 2 * MS;
        for (node, facts) in self.facts.iter().enumerate() {
            if let Some(healthy_since) = facts.healthy_since {
                let time = now - none_since.max(healthy_since);
                assert!(
                    time <= limit,
                    "nobody holds the address for {time} us though node {node} takes part"
                );
            }
        }
    }

    /// After the calm: one holder, one Active, and it is the right one where the settings say which.
    pub(crate) fn at_the_end(world: &World) {
        let active = |node: usize| {
            world.nodes[node]
                .router
                .as_ref()
                .is_some_and(|router| router.state() == State::Active)
        };
        let holders: Vec<usize> = (0..world.nodes.len())
            .filter(|&node| world.holds(node))
            .collect();
        let actives: Vec<usize> = (0..world.nodes.len())
            .filter(|&node| active(node))
            .collect();
        assert_eq!(holders.len(), 1, "holders at the end: {holders:?}");
        assert_eq!(actives, holders, "Active at the end");
        let winner = world.nodes[holders[0]]
            .router
            .as_ref()
            .unwrap()
            .status()
            .effective_priority;
        for (node, facts) in world.nodes.iter().zip(&world.checks.facts) {
            let status = node.router.as_ref().unwrap().status();
            let preempts =
                node.settings.preempt == vrrp::Preempt::Immediately && status.held_back.is_none();
            // 4 I of at most 200 ms, and a margin: a node may have come back from a fault only just.
            let settled = facts
                .healthy_since
                .is_some_and(|since| since + 1_000 * MS <= world.now);
            let waits = preempts && settled && status.state == State::Backup;
            assert!(
                !(waits && status.effective_priority > winner),
                "the better node waits for ever"
            );
        }
    }
}

fn is_leaving(router: &VirtualRouter) -> bool {
    matches!(
        router.status().phase,
        PhaseName::Leaving | PhaseName::HandingOver
    )
}

impl Facts {
    fn explain(&self, reason: &Reason, now: u64, longest: u64, event: &Event) -> bool {
        let within = |at: Option<u64>, time: u64| at.is_some_and(|at| now - at <= time);
        let claiming = now - self.claimed_at;
        match reason {
            // At least two of the shortest intervals (50 ms) of silence before the claim.
            Reason::Silence(_) => self
                .obeyed_at
                .is_none_or(|at| self.claimed_at >= at + 100 * MS),
            Reason::PeerLeft(_) => self.farewell_at.is_some() && self.farewell_at >= self.obeyed_at,
            Reason::Preempting { .. } => within(self.lower_at, 4 * longest + JITTER + claiming),
            Reason::Outranked { .. } => {
                matches!(event, Event::Advertisement { .. }) && self.obeyed_at == Some(now)
            }
            Reason::Late(_) => self.thawed_at == Some(now),
            Reason::HandedOver(_) => matches!(event, Event::Timer | Event::Advertisement { .. }),
            Reason::ClaimFailed(_) => matches!(event, Event::ClaimFailed(_)),
            Reason::Fault(_) => true,
            Reason::Startup => matches!(event, Event::Startup),
            Reason::Owner => true,
            Reason::Recovered => matches!(event, Event::FaultCleared | Event::Timer),
            Reason::Shutdown => true,
            Reason::NoSource
            | Reason::AddressLost(_)
            | Reason::SendFailed(_)
            | Reason::Reconfigured
            | Reason::Joined
            | Reason::Resumed
            | Reason::Parted => false,
        }
    }
}
