//! Hooks: the operator's programs and the FIFO that are told of each change of state.
//!
//! The director queues and goes on; the runner runs the programs, a thread writes the FIFO.

mod fifo;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::Hook;
use control::internal::runner::{Program, RunReport};
use control::{EventKind, HookRun, HooksStatus, VrrpState};

use super::Director;
use super::flight::Moved;
use super::instance::Instance;
use super::journal::Entry;
use super::timestamp;

use self::fifo::Fifo;
use self::queue::{Call, Queue, Ran};

/// A node that leaves waits so long for its hooks, from its first step on; the keeper has more patience than this.
const LEAVE_LIMIT: Duration = Duration::from_secs(4);
/// The most of a reason that a hook is told, in characters.
const REASON_LIMIT: usize = 400;

/// Everything about hooks.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    queue: Queue,
    pub(super) fifo: Fifo,
    /// State of each group as it was told last.
    groups: BTreeMap<String, VrrpState>,
    /// When a node that leaves waits no longer.
    patient_until: Option<Instant>,
}

impl Hooks {
    /// Whether anything runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.queue.is_busy()
    }

    /// The node begins to leave: from here on hooks have little time. Without a keeper nobody runs them.
    pub(super) fn note_leaving(&mut self, now: Instant, kept: bool) {
        let until = if kept { now + LEAVE_LIMIT } else { now };
        self.patient_until = Some(self.patient_until.map_or(until, |at| at.min(until)));
    }

    /// When a node that leaves stops waiting; none if it does not wait.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.patient_until.filter(|_| self.is_busy())
    }

    /// Whether a node that leaves has still to wait.
    pub(super) fn hold_back(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|until| now < until)
    }

    /// How often hooks of a virtual router succeeded, failed and were dropped.
    pub(super) fn results(&self, name: &str) -> [(&'static str, u64); 3] {
        let counts = self.queue.lane(name).map(|lane| lane.counts);
        let counts = counts.unwrap_or_default();
        [
            ("succeeded", counts.succeeded),
            ("failed", counts.failed),
            ("dropped", counts.dropped),
        ]
    }
}

impl Director {
    /// Follows the running configuration.
    pub(super) fn follow_hooks(&mut self) {
        let config = &self.running.config;
        self.hooks.fifo.follow(config.global.notify_fifo.as_deref());
        self.hooks
            .queue
            .forget(|name| config.vrrp.iter().any(|router| router.name == name));
        let group =
            |name: &str| (config.vrrp.iter()).any(|vrrp| vrrp.group.as_deref() == Some(name));
        self.hooks.groups.retain(|name, _| group(name));
    }

    /// Whether the configuration has hooks, or some are still to run.
    pub(super) fn has_hooks(&self) -> bool {
        let configured = |router: &Arc<config::Vrrp>| !router.hooks.programs.is_empty();
        self.running.config.vrrp.iter().any(configured) || self.hooks.is_busy()
    }

    /// Has the hooks of a virtual router run, and tells the FIFO, that it has changed its state.
    pub(super) fn call_hooks(&mut self, moved: &Moved) {
        let Some(index) = self.instances.position(moved.instance) else {
            return;
        };
        // Going on after a planned restart is no news.
        if self.restart.quiet || moved.summary.cause == vrrp::Reason::Resumed.cause() {
            return;
        }
        let node = self.node_name();
        let states = (moved.summary.transition.from, moved.summary.transition.to);
        let instance = &self.instances[index];
        let priority = instance.router.status().effective_priority.value();
        let name = &instance.config.name;
        self.hooks.fifo.say(false, name, states.1, priority);
        if let Some(group) = &instance.config.group
            && self.hooks.groups.insert(group.clone(), states.1) != Some(states.1)
        {
            self.hooks.fifo.say(true, group, states.1, 0);
        }
        for hook in instance.config.hooks.on(core_state(states.1)) {
            let call = Call {
                program: program(instance, hook, moved, states, &node),
                states,
                event: moved.summary.seq,
            };
            if let Some(dropped) = self.hooks.queue.push(name, call) {
                tracing::warn!(
                    router = name,
                    event = dropped.event,
                    "a hook is dropped: too many wait"
                );
            }
        }
        self.start_hooks(moved.at);
    }

    /// Starts the hooks that may run.
    pub(super) fn start_hooks(&mut self, now: Instant) {
        let runner = &mut self.runner;
        self.hooks
            .queue
            .start(now, |program| runner.run(now, program.clone()));
    }

    /// A program has ended; true if it was a hook.
    pub(super) fn on_hook_ran(&mut self, now: Instant, number: u64, report: RunReport) -> bool {
        let Some(ran) = self.hooks.queue.ran(number, report, timestamp()) else {
            return false;
        };
        let reason = format!(
            "{} for {} to {} (event {}): {} after {} ms",
            ran.call.program.run[0],
            ran.call.states.0.as_str(),
            ran.call.states.1.as_str(),
            ran.call.event,
            ran.report,
            ran.report.took_ms
        );
        let word = if ran.report.succeeded() {
            "ok"
        } else {
            "failed"
        };
        let mut entry = Entry::new(EventKind::Hook, format!("hook {}", ran.name), reason);
        entry.to = Some(word.to_owned());
        self.journal.record(entry);
        self.start_hooks(now);
        if !self.has_hooks() {
            // What ran last belonged to a configuration that is gone.
            self.order_runner();
        }
        true
    }

    /// How the hooks of a virtual router stand; none if it has none and had none.
    pub(super) fn hooks_status(&self, instance: &Instance, now: Instant) -> Option<HooksStatus> {
        let lane = self.hooks.queue.lane(&instance.config.name);
        if lane.is_none() && instance.config.hooks.programs.is_empty() {
            return None;
        }
        let counts = lane.map(|lane| lane.counts).unwrap_or_default();
        let running = lane.and_then(|lane| lane.running());
        Some(HooksStatus {
            running: running.map(|(call, _)| call.program.run[0].clone()),
            running_ms: running.map(|(_, since)| {
                let time = now.saturating_duration_since(*since);
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            }),
            waiting: lane.map_or(0, |lane| lane.waiting()) as u64,
            succeeded: counts.succeeded,
            failed: counts.failed,
            dropped: counts.dropped,
            last: lane.and_then(|lane| lane.last.as_ref()).map(last),
        })
    }

    /// Hooks whose last run failed, and a FIFO that cannot be written.
    pub(super) fn hook_problems(&self) -> Vec<String> {
        let failed = |instance: &Instance| {
            let name = &instance.config.name;
            let last = self.hooks.queue.lane(name)?.last.as_ref()?;
            (!last.report.succeeded()).then(|| {
                let program = &last.call.program.run[0];
                format!("hook of {name} failed: {program}: {}", last.report)
            })
        };
        let hooks = self.instances.iter().filter_map(failed);
        hooks.chain(self.hooks.fifo.problem()).collect()
    }
}

fn last(ran: &Ran) -> HookRun {
    HookRun {
        program: ran.call.program.run[0].clone(),
        from: ran.call.states.0,
        to: ran.call.states.1,
        event: ran.call.event,
        at: ran.at,
        took_ms: ran.report.took_ms,
        succeeded: ran.report.succeeded(),
        outcome: ran.report.to_string(),
    }
}

fn core_state(state: VrrpState) -> vrrp::State {
    match state {
        VrrpState::Initialize => vrrp::State::Initialize,
        VrrpState::Backup => vrrp::State::Backup,
        VrrpState::Active => vrrp::State::Active,
        VrrpState::Fault => vrrp::State::Fault,
    }
}

/// What is run: the words of the file, then NAME FROM TO CAUSE; everything else is in the environment.
fn program(
    instance: &Instance,
    hook: &Hook,
    moved: &Moved,
    (from, to): (VrrpState, VrrpState),
    node: &str,
) -> Program {
    let (config, summary) = (&instance.config, &moved.summary);
    let told = [&config.name, from.as_str(), to.as_str(), &summary.cause];
    let vips = config.vips.iter();
    let vips: Vec<String> = vips
        .map(|vip| format!("{}/{}", vip.address, vip.prefix_len))
        .collect();
    let core = instance.router.status();
    let environment = [
        ("TANDEM_NODE", node.to_owned()),
        ("TANDEM_NAME", config.name.clone()),
        ("TANDEM_GROUP", config.group.clone().unwrap_or_default()),
        ("TANDEM_FROM", from.as_str().to_owned()),
        ("TANDEM_TO", to.as_str().to_owned()),
        ("TANDEM_CAUSE", summary.cause.clone()),
        ("TANDEM_REASON", plain(&summary.transition.reason)),
        ("TANDEM_VRID", config.settings.vrid.value().to_string()),
        ("TANDEM_INTERFACE", config.interface.clone()),
        ("TANDEM_VIPS", vips.join(" ")),
        (
            "TANDEM_PRIORITY",
            core.effective_priority.value().to_string(),
        ),
        ("TANDEM_EVENT", summary.seq.to_string()),
        ("TANDEM_AT", summary.transition.at.to_string()),
    ];
    Program {
        run: (hook.run.iter().map(String::as_str))
            .chain(told.map(|word: &str| word))
            .map(str::to_owned)
            .collect(),
        environment: environment
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        limit_ms: u64::try_from(config.hooks.timeout.as_millis()).unwrap_or(u64::MAX),
    }
}

/// One line that fits an environment: a reason may hold words of a program.
fn plain(reason: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    reason.chars().take(REASON_LIMIT).map(shown).collect()
}
