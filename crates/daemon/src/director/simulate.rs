//! `tandem simulate`: what an event would do to this node and to the other one.
//!
//! Facts are assumed, judged as real ones are, and handed to copies of the decisions; a thread of its own goes through what follows, so that
//! the loop only copies. Nothing is touched.

mod assumption;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{ErrorAnswer, SimulateResult, SimulatedRouter, SimulatedStep};
use tokio::sync::oneshot;
use vrrp::{Action, Contribution, Event, MemberId, Priority, Rehearsal, State, VirtualRouter};

use super::instance::Instance;
use super::tracking::{self, DataPlane, LinkFact, Verdict, World};
use super::{Director, status};
use assumption::Assumption;

/// Decisions gone through in one simulation.
const DECISIONS: usize = 64;
/// Time gone through beside the preempt delay: the longest down interval and some more.
const HORIZON: Duration = Duration::from_secs(20);
/// The longest time gone through.
const LONGEST: Duration = Duration::from_secs(600);

type Answer = oneshot::Sender<Result<SimulateResult, ErrorAnswer>>;

/// One decision to go through.
struct Case {
    router: VirtualRouter,
    rehearsal: Rehearsal,
    answer: SimulatedRouter,
}

impl Director {
    /// Goes through what `words` would do; the answer comes from a thread of its own.
    pub(super) fn simulate(&self, now: Instant, words: &str, answer: Answer) {
        let refuse = |error: String, remedy: String| ErrorAnswer {
            error,
            remedy: Some(remedy),
        };
        let Some(assumption) = Assumption::parse(words) else {
            let error = format!("nothing is known of `{words}`");
            return drop(answer.send(Err(refuse(error, Assumption::FORMS.to_owned()))));
        };
        if let Err(error) = self.is_about_something(&assumption) {
            let remedy = "`tandem vrrp` shows what is tracked".to_owned();
            return drop(answer.send(Err(refuse(error, remedy))));
        }
        let cases = self.cases(now, &assumption);
        let (ours, theirs) = (self.node_name(), self.other_name());
        let what = words.to_owned();
        let thread = std::thread::Builder::new()
            .name("tandem-simulate".to_owned())
            .stack_size(1024 * 1024);
        let spawned = thread.spawn(move || {
            let routers = cases.into_iter().map(|case| case.run(now, &ours, &theirs));
            let result = SimulateResult {
                what,
                routers: routers.collect(),
            };
            // Whoever asked may have gone.
            drop(answer.send(Ok(result)));
        });
        // Without a thread the answer is dropped, and whoever asked is told that there is none.
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to simulate");
        }
    }

    fn other_name(&self) -> String {
        let name = self.other().map(|node| node.name.clone());
        name.unwrap_or_else(|| "the other router".to_owned())
    }

    /// The other node of a pair.
    fn other(&self) -> Option<&config::Node> {
        let pair = self.running.config.pair.as_ref()?;
        pair.others().next().filter(|_| pair.nodes.len() == 2)
    }

    /// Whether there is what an assumption is about; an error says what is not there.
    fn is_about_something(&self, assumption: &Assumption) -> Result<(), String> {
        let mut routers = self.running.config.vrrp.iter();
        match assumption {
            Assumption::Link { name, .. } => {
                let uses = |router: &Arc<config::Vrrp>| {
                    router.interface == *name
                        || router
                            .track
                            .interfaces
                            .iter()
                            .any(|link| link.name == *name)
                };
                let used = routers.any(uses);
                used.then_some(())
                    .ok_or_else(|| format!("no virtual router runs on or tracks `{name}`"))
            }
            Assumption::Track { name, .. } | Assumption::Number { name, .. } => {
                let mut checks = routers.flat_map(|router| &router.track.checks);
                let tracked = checks.find(|tracked| is_called(tracked, name));
                let tracked =
                    tracked.ok_or_else(|| format!("nothing tracked is called `{name}`"))?;
                let is_number = matches!(tracked.effect, config::Effect::Number(_));
                match (assumption, is_number) {
                    (Assumption::Track { .. }, true) => Err(format!(
                        "`{name}` is a number, and neither ok nor failed: say which number"
                    )),
                    (Assumption::Number { .. }, false) => {
                        Err(format!("`{name}` is no number: say ok or fail"))
                    }
                    _ => Ok(()),
                }
            }
            Assumption::Group { name, .. } => {
                let mut groups = routers.flat_map(|router| &router.track.groups);
                let tracked = groups.any(|group| group.name == *name);
                tracked
                    .then_some(())
                    .ok_or_else(|| format!("no virtual router tracks a group `{name}`"))
            }
            Assumption::Forwarder { .. } => {
                let follows = routers.any(|router| router.track.forwarder);
                let serves = self.plane_facts(Instant::now()).0 != DataPlane::Off;
                (follows && serves).then_some(()).ok_or_else(|| {
                    "no virtual router follows the forwarder: there are no listeners, or `track.forwarder` is false".to_owned()
                })
            }
            Assumption::PeerSilent
            | Assumption::PeerPriority(_)
            | Assumption::Maintenance { .. }
            | Assumption::Handover
            | Assumption::Stop => Ok(()),
        }
    }

    /// Every decision once, with what the assumption means for each of its members.
    fn cases(&self, now: Instant, assumption: &Assumption) -> Vec<Case> {
        let mut seen = BTreeSet::new();
        let mut cases = Vec::new();
        for instance in self
            .instances
            .iter()
            .filter(|one| one.started && !one.departing)
        {
            if !seen.insert(instance.number) || cases.len() == DECISIONS {
                continue;
            }
            let mates = instance.router.mates();
            seen.extend(mates.iter().copied());
            let positions = mates
                .iter()
                .filter_map(|number| self.instances.position(*number));
            let members: Vec<&Instance> = std::iter::once(instance)
                .chain(positions.map(|index| &self.instances[index]))
                .collect();
            cases.push(self.case(now, instance, &members, assumption));
        }
        cases
    }

    fn case(
        &self,
        now: Instant,
        instance: &Instance,
        members: &[&Instance],
        assumption: &Assumption,
    ) -> Case {
        let verdicts: Vec<Verdict> = members
            .iter()
            .map(|member| self.verdict_if(now, member, assumption))
            .collect();
        let mut events: Vec<(MemberId, Event)> = members
            .iter()
            .zip(&verdicts)
            .flat_map(|(member, verdict)| events_of(member, verdict))
            .collect();
        let core = instance.router.status();
        let peer = match assumption {
            Assumption::PeerSilent => None,
            Assumption::PeerPriority(priority) => Some(Priority::new(*priority)),
            _ => self.peer_priority(instance),
        };
        let active = core.state == State::Active;
        let order = match assumption {
            Assumption::Maintenance { on: true } | Assumption::Handover
                if active && peer.is_some() =>
            {
                Some(Event::Handover)
            }
            Assumption::Stop => Some(Event::Shutdown),
            _ => None,
        };
        events.extend(order.map(|order| (instance.router.member(), order)));
        let cut = members.iter().filter(|member| {
            matches!(assumption, Assumption::Link { name, fact } if *name == member.config.interface && *fact != LinkFact::Running)
        });
        let priorities = members.iter().zip(&verdicts).map(|(member, verdict)| {
            vrrp::effective_priority(member.config.settings.priority, &verdict.contributions)
                .value()
        });
        let delay = match instance.config.settings.preempt {
            vrrp::Preempt::After(delay) => delay,
            vrrp::Preempt::Immediately | vrrp::Preempt::Never => Duration::ZERO,
        };
        let horizon = HORIZON + core.down_interval * 2 + delay;
        let names: Vec<&str> = members.iter().map(|one| one.config.name.as_str()).collect();
        let mut router = instance.router.copy();
        if *assumption == (Assumption::Maintenance { on: false }) && self.rest().is_some() {
            router.forget_handover();
        }
        Case {
            router,
            rehearsal: Rehearsal {
                peer,
                peer_address: self.other().map(|node| node.address),
                events,
                cut: cut.map(|member| member.router.member()).collect(),
                horizon: horizon.min(LONGEST),
            },
            answer: SimulatedRouter {
                name: names.join(", "),
                priority: core.effective_priority.value(),
                priority_then: priorities.min().unwrap_or_default(),
                peer_priority: peer.map(Priority::value),
                why: verdicts.iter().flat_map(reasons).collect(),
                state: status::state(core.state),
                state_then: status::state(core.state),
                peer_state_then: None,
                steps: Vec::new(),
            },
        }
    }

    /// The priority of the other router: as it was heard, or as the file has it.
    fn peer_priority(&self, instance: &Instance) -> Option<Priority> {
        let heard = instance.router.peer().map(|peer| peer.priority);
        let configured = instance.config.peer_priority.map(Priority::new);
        heard
            .filter(|priority| !priority.is_release())
            .or(configured)
    }

    /// What tracking would say.
    fn verdict_if(&self, now: Instant, instance: &Instance, assumption: &Assumption) -> Verdict {
        let mut checks = self.checks.clone();
        for tracked in &instance.config.track.checks {
            match assumption {
                Assumption::Track { name, up } if is_called(tracked, name) => {
                    checks.assume(tracked, *up);
                }
                Assumption::Number { name, number } if is_called(tracked, name) => {
                    checks.assume_number(tracked, *number);
                }
                _ => {}
            }
        }
        let mut usable = self.plane.usable().clone();
        if let Assumption::Group { name, up } = assumption {
            let all = if *up { usize::MAX } else { 0 };
            usable.insert(name.clone(), all);
        }
        let (plane, settled) = match assumption {
            Assumption::Forwarder { up: true } => (serving(), true),
            Assumption::Forwarder { up: false } => {
                (DataPlane::Down("signal 9 (assumed)".to_owned()), true)
            }
            _ => self.plane_facts(now),
        };
        let world = World {
            plane: &plane,
            settled,
            usable: &usable,
            checks: &checks,
        };
        let mut verdict = tracking::judge(&instance.config, &world, |name| match assumption {
            Assumption::Link {
                name: assumed,
                fact,
            } if assumed == name => *fact,
            _ => self.facts.link_fact(name),
        });
        let rest = self.rest();
        verdict.contributions.extend(match assumption {
            Assumption::Maintenance { on: false } => None,
            Assumption::Maintenance { on: true } => Some(rest.unwrap_or_else(assumed_rest)),
            _ => rest,
        });
        // What stands against it for other reasons goes with the link that is assumed to be well.
        let healed = matches!(assumption, Assumption::Link { name, fact: LinkFact::Running } if *name == instance.config.interface);
        let obstacle = instance.obstacle.clone().filter(|_| !healed);
        verdict.fault = verdict
            .fault
            .or(obstacle)
            .or_else(|| instance.evidence.obstacle());
        verdict
    }
}

fn serving() -> DataPlane {
    DataPlane::Serving {
        first_health_round_done: true,
    }
}

fn assumed_rest() -> Contribution {
    Contribution {
        what: "maintenance (assumed)".to_owned(),
        delta: 0,
        cap: Some(1),
    }
}

fn is_called(tracked: &config::TrackedCheck, name: &str) -> bool {
    tracked.name == name || tracked.label() == name
}

/// What another verdict means for a member, as [`Instance::set_verdict`] tells it.
fn events_of(member: &Instance, verdict: &Verdict) -> Vec<(MemberId, Event)> {
    let base = member.config.settings.priority;
    let priority = vrrp::effective_priority(base, &verdict.contributions);
    let mut events = Vec::new();
    if priority != member.effective_priority() {
        events.push(Event::PriorityChanged(priority));
    }
    match (&member.verdict.fault, &verdict.fault) {
        (before, Some(fault)) if before.as_ref() != Some(fault) => {
            events.push(Event::Fault(vrrp::FaultReason::new(fault.clone())));
        }
        (Some(_), None) => events.push(Event::FaultCleared),
        (None, None) | (_, Some(_)) => {}
    }
    let id = member.router.member();
    events.into_iter().map(|event| (id, event)).collect()
}

fn reasons(verdict: &Verdict) -> Vec<String> {
    let words = |contribution: &Contribution| match contribution.cap {
        Some(cap) => format!("at most {cap}: {}", contribution.what),
        None => format!("{:+} {}", contribution.delta, contribution.what),
    };
    let fault = verdict.fault.iter().map(|fault| format!("fault: {fault}"));
    let moved = verdict.contributions.iter().map(words);
    fault.chain(moved).collect()
}

impl Case {
    fn run(self, now: Instant, ours: &str, theirs: &str) -> SimulatedRouter {
        let outlook = self.router.rehearse(now, &self.rehearsal);
        let step = |step: &vrrp::Step| {
            Some(SimulatedStep {
                after_ms: u64::try_from(step.after.as_millis()).unwrap_or(u64::MAX),
                node: if step.by_peer { theirs } else { ours }.to_owned(),
                words: words(&step.action)?,
            })
        };
        let mut steps: Vec<SimulatedStep> = outlook.steps.iter().filter_map(step).collect();
        steps.dedup();
        SimulatedRouter {
            state_then: status::state(outlook.ours),
            peer_state_then: outlook.theirs.map(status::state),
            steps,
            ..self.answer
        }
    }
}

/// What an action looks like from outside; none where that is nothing.
fn words(action: &Action) -> Option<String> {
    match action {
        Action::Transition(transition) => Some(transition.to_string()),
        Action::Send(advertisement) if advertisement.priority.is_release() => {
            Some("says farewell (priority 0)".to_owned())
        }
        Action::Release => Some("gives the addresses up".to_owned()),
        Action::Announce(why) => Some(format!("tells the neighbours: {}", why.as_str())),
        Action::Alarm(alarm) => Some(format!("alarm: {alarm}")),
        Action::HandoverFailed(why) => Some(format!("keeps the addresses: {why}")),
        Action::HandedOver
        | Action::Send(_)
        | Action::Claim
        | Action::StopAnnouncing
        | Action::Stopped => None,
    }
}
