//! The health thread: runs the checks of every target of the plan and records what they find.
//!
//! A reload leaves alone the checks of targets that stay as they were. Beside that the thread does what has to be done now
//! and then for groups, off the way of requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{
    Group, Health, HealthChange, HealthMachine, HealthSettings, Plan, SendProxy, TargetState,
};
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, spawn_local};

use crate::probe;
use crate::tls::targets::Targets;

/// A target under check.
#[derive(Clone, Debug)]
struct Subject {
    group: String,
    target: String,
    /// Where it is checked.
    place: SocketAddr,
    /// Whether that place is for checks alone.
    elsewhere: bool,
    settings: HealthSettings,
    send_proxy: Option<SendProxy>,
    state: Arc<TargetState>,
    /// The group, for the way to its targets.
    of: Arc<Group>,
}

impl Subject {
    fn is_same(&self, other: &Subject) -> bool {
        (self.place, self.elsewhere) == (other.place, other.elsewhere)
            && self.settings == other.settings
            && self.send_proxy == other.send_proxy
            && self.of.settings().tls == other.of.settings().tls
            && Arc::ptr_eq(&self.state, &other.state)
    }
}

/// A check that runs until dropped.
struct Running {
    subject: Subject,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Pause before a check that this machine had no room for.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// How often those who wait for a place at a target are looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Looks between two settlings of what groups may retry.
const LOOKS_PER_SETTLING: u32 = 10;

/// Runs checks for the last plan received, until nobody is left to send one. `wake` is called when a target has turned
/// dead, for those who wait for it.
pub(crate) fn run(
    runtime: &LocalRuntime,
    mut plans: UnboundedReceiver<Arc<Plan>>,
    ways: Arc<Targets>,
    wake: impl Fn() + 'static,
) {
    let wake: Rc<dyn Fn()> = Rc::new(wake);
    runtime.block_on(async move {
        let mut running: BTreeMap<(String, String), Running> = BTreeMap::new();
        let mut current = Arc::new(Plan::default());
        let mut looks = 0u32;
        let mut open = BTreeSet::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                plan = plans.recv() => match plan {
                    Some(plan) => {
                        rearrange(&mut running, &plan, &ways, &wake);
                        current = plan;
                    }
                    None => return,
                },
                _ = look.tick() => {
                    looks = looks.wrapping_add(1);
                    let settle = looks.is_multiple_of(LOOKS_PER_SETTLING);
                    look_after(&current, settle);
                    if settle {
                        tell_fail_open(&current, &mut open);
                    }
                }
            }
        }
    });
}

fn rearrange(
    running: &mut BTreeMap<(String, String), Running>,
    plan: &Plan,
    ways: &Arc<Targets>,
    wake: &Rc<dyn Fn()>,
) {
    let wanted = subjects(plan);
    running.retain(|name, running| {
        wanted
            .get(name)
            .is_some_and(|subject| running.subject.is_same(subject))
    });
    for (order, (name, subject)) in wanted.into_iter().enumerate() {
        running.entry(name).or_insert_with(|| {
            let task = spawn_local(check(
                subject.clone(),
                order,
                Arc::clone(ways),
                Rc::clone(wake),
            ));
            Running { subject, task }
        });
    }
}

/// Calls those who wait for a place when one has become free by itself: a target has come back, or may have more. Now and
/// then takes in the requests that earn retries.
fn look_after(plan: &Plan, settle: bool) {
    let now = Instant::now();
    for group in plan.groups() {
        let queue = group.queue();
        if queue.waiting() > 0 && (group.has_place(now) || group.usable(now) == 0) {
            queue.call_for_what_is_free();
        }
        if settle {
            let percent = group.settings().retry.budget;
            group.budget().settle(now, group.picks_total(), percent);
        }
    }
}

/// Says once when a group has nobody left and tries those that are down, and once when that is over. `open` holds the names
/// of such groups.
fn tell_fail_open(plan: &Plan, open: &mut BTreeSet<String>) {
    let now = Instant::now();
    for group in plan.groups() {
        let name = group.settings().name.as_str();
        match (group.fails_open(now), open.contains(name)) {
            (true, false) => {
                open.insert(name.to_owned());
                tracing::warn!(
                    group = name,
                    "no target is usable: all of them are tried, as on_all_down says"
                );
            }
            (false, true) => {
                open.remove(name);
                let usable = group.usable(now);
                tracing::info!(group = name, usable, "not every target is tried any more");
            }
            (true, true) | (false, false) => {}
        }
    }
}

fn subjects(plan: &Plan) -> BTreeMap<(String, String), Subject> {
    let checked = plan
        .groups()
        .filter(|group| group.settings().health.check.is_on());
    checked.flat_map(members).collect()
}

fn members(group: &Arc<Group>) -> impl Iterator<Item = ((String, String), Subject)> {
    let settings = group.settings();
    group.targets().iter().map(|target| {
        let elsewhere = settings.health.is_elsewhere(target.settings());
        let subject = Subject {
            group: settings.name.clone(),
            target: target.settings().name.clone(),
            place: settings.health.place(target.settings()),
            elsewhere,
            settings: settings.health.clone(),
            send_proxy: settings.send_proxy.filter(|_| !elsewhere),
            state: Arc::clone(target.state()),
            of: Arc::clone(group),
        };
        ((subject.group.clone(), subject.target.clone()), subject)
    })
}

async fn check(subject: Subject, order: usize, ways: Arc<Targets>, wake: Rc<dyn Fn()>) {
    let known = subject.state.health();
    let mut machine = HealthMachine::resume(subject.settings.clone(), known);
    if known == Health::Unknown {
        tokio::time::sleep(first_delay(order)).await;
    }
    loop {
        let next_at = machine.next_check_at(Instant::now(), rand::random());
        tokio::time::sleep_until(next_at.into()).await;
        let way = ways.check_way(subject.of.settings(), subject.elsewhere);
        let way = (&way, subject.send_proxy);
        let result = match probe::run(&subject.settings, subject.place, way).await {
            // A target that was well stays so for as long as nobody can look.
            Err(missed) if missed.is_ours && subject.state.health() == Health::Up => {
                tokio::time::sleep(ROOM_PAUSE).await;
                continue;
            }
            result => result.map_err(|missed| missed.failure),
        };
        let change = machine.observe(Instant::now(), result);
        subject.state.observe(Instant::now(), &machine, change);
        if let Some(change) = change {
            if change.to == Health::Down {
                wake();
            }
            log(&subject, &change, machine.why().as_deref());
        }
    }
}

/// A target found well at its first check is what is expected of it: a thousand such lines would say nothing.
fn log(subject: &Subject, change: &HealthChange, why: Option<&str>) {
    let (group, target) = (&subject.group, &subject.target);
    let (from, state) = (change.from.as_str(), change.to.as_str());
    let reason = why.unwrap_or("check passes");
    match (change.from, change.to) {
        (Health::Unknown, Health::Up) => {
            tracing::debug!(group, target, from, state, reason, "target health changed");
        }
        (Health::Unknown | Health::Up | Health::Down, _) => {
            tracing::info!(group, target, from, state, reason, "target health changed");
        }
    }
}

/// First checks are due at once; a few at a time keeps a thousand targets from being asked in one burst.
fn first_delay(order: usize) -> Duration {
    Duration::from_millis((order / 64) as u64 * 10)
}
