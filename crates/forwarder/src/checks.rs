//! The health thread: runs the checks of every target of the plan and records what they find.
//!
//! A reload leaves alone the checks of targets that stay as they were.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{Group, Health, HealthMachine, HealthSettings, Plan, TargetState};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::probe;

/// A target under check.
#[derive(Clone, Debug)]
struct Subject {
    group: String,
    target: String,
    address: SocketAddr,
    settings: HealthSettings,
    state: Arc<TargetState>,
}

impl Subject {
    fn is_same(&self, other: &Subject) -> bool {
        self.address == other.address
            && self.settings == other.settings
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

/// Runs checks for the last plan received, until nobody is left to send one.
pub(crate) fn run(runtime: &tokio::runtime::Runtime, mut plans: UnboundedReceiver<Arc<Plan>>) {
    let local = LocalSet::new();
    local.block_on(runtime, async move {
        let mut running: BTreeMap<(String, String), Running> = BTreeMap::new();
        while let Some(plan) = plans.recv().await {
            let wanted = subjects(&plan);
            running.retain(|name, running| {
                wanted
                    .get(name)
                    .is_some_and(|subject| running.subject.is_same(subject))
            });
            for (order, (name, subject)) in wanted.into_iter().enumerate() {
                running.entry(name).or_insert_with(|| {
                    let task = spawn_local(check(subject.clone(), order));
                    Running { subject, task }
                });
            }
        }
    });
}

fn subjects(plan: &Plan) -> BTreeMap<(String, String), Subject> {
    let checked = plan
        .groups()
        .filter(|group| group.settings().health.check.is_on());
    checked.flat_map(|group| members(group)).collect()
}

fn members(group: &Group) -> impl Iterator<Item = ((String, String), Subject)> {
    let settings = group.settings();
    group.targets().iter().map(|target| {
        let subject = Subject {
            group: settings.name.clone(),
            target: target.settings().name.clone(),
            address: target.settings().address,
            settings: settings.health.clone(),
            state: Arc::clone(target.state()),
        };
        ((subject.group.clone(), subject.target.clone()), subject)
    })
}

async fn check(subject: Subject, order: usize) {
    let known = subject.state.health();
    let mut machine = HealthMachine::resume(subject.settings.clone(), known);
    if known == Health::Unknown {
        tokio::time::sleep(first_delay(order)).await;
    }
    loop {
        let next_at = machine.next_check_at(Instant::now(), rand::random());
        tokio::time::sleep_until(next_at.into()).await;
        let result = probe::run(&subject.settings, subject.address).await;
        let change = machine.observe(Instant::now(), result);
        // The reason first: whoever sees the health finds its reason.
        subject.state.set_why(machine.why());
        subject.state.set_health(machine.health());
        if let Some(change) = change {
            tracing::info!(
                group = subject.group,
                target = subject.target,
                from = change.from.as_str(),
                state = change.to.as_str(),
                reason = machine.why().as_deref().unwrap_or("check passes"),
                "target health changed"
            );
        }
    }
}

/// First checks are due at once; a few at a time keeps a thousand targets from being asked in one burst.
fn first_delay(order: usize) -> Duration {
    Duration::from_millis((order / 64) as u64 * 10)
}
