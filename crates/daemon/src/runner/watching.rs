//! Looks again and again at what the director wants to know of.
//!
//! Each watch is a task; whatever may wait for a disk or a stranger in it is on a thread or behind a time limit. A look that does not come
//! back is not repeated: until it does, the watch fails with words that say so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::{Probe, Watch};
use control::internal::runner::Program;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::messages::{Finding, FromRunner};
use super::probes::{self, Outcome};
use super::run::Run;

/// Everything that is looked at for one director. Dropping it ends all looks, programs included.
#[derive(Default)]
pub(super) struct Watching {
    tasks: BTreeMap<u64, Task>,
    turns: Turns,
}

/// The running looks by what is looked at: of equal ones only one runs at a time, also over a change of director.
#[derive(Clone, Default)]
pub(super) struct Turns(Rc<RefCell<BTreeMap<Probe, Arc<Mutex<()>>>>>);

struct Task {
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Watching {
    /// Nothing yet. `turns` are those of the whole process.
    pub(super) fn new(turns: Turns) -> Self {
        Self {
            tasks: BTreeMap::new(),
            turns,
        }
    }

    /// Looks at just `watches` from here on; findings go to `answers`.
    pub(super) fn set(
        &mut self,
        node: &str,
        watches: Vec<(u64, Watch)>,
        answers: &mpsc::Sender<FromRunner>,
    ) {
        let wanted: Vec<u64> = watches.iter().map(|(number, _)| *number).collect();
        self.tasks.retain(|number, _| wanted.contains(number));
        self.turns.forget_unused();
        for (number, watch) in watches {
            self.tasks.entry(number).or_insert_with(|| {
                let look = Look {
                    turn: self.turns.of(&watch.probe),
                    watch,
                    node: node.to_owned(),
                };
                Task {
                    handle: tokio::task::spawn_local(again_and_again(
                        number,
                        look,
                        answers.clone(),
                    )),
                }
            });
        }
    }
}

impl Turns {
    fn of(&self, probe: &Probe) -> Arc<Mutex<()>> {
        Arc::clone(self.0.borrow_mut().entry(probe.clone()).or_default())
    }

    /// Those that neither a task nor a look holds.
    fn forget_unused(&self) {
        self.0
            .borrow_mut()
            .retain(|_, turn| Arc::strong_count(turn) > 1);
    }
}

async fn again_and_again(number: u64, look: Look, answers: mpsc::Sender<FromRunner>) {
    let mut ticks = tokio::time::interval(look.watch.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let finding = look.once().await;
        // Nobody reads any more: the director has ended, and this task is about to.
        if answers
            .send(FromRunner::Found { number, finding })
            .await
            .is_err()
        {
            return;
        }
    }
}

struct Look {
    watch: Watch,
    node: String,
    turn: Arc<Mutex<()>>,
}

impl Look {
    async fn once(&self) -> Finding {
        let began_at = Instant::now();
        let limit = self.watch.timeout;
        let Ok(turn) = timeout(limit, Arc::clone(&self.turn).lock_owned()).await else {
            return finding(began_at, Err(Finding::STUCK.to_owned()));
        };
        let outcome = match &self.watch.probe {
            Probe::Script { run } => self.script(run, turn).await,
            Probe::File { path, expect } => {
                let (path, expect) = (path.clone(), *expect);
                blocking(turn, limit, move || probes::file::look(&path, expect)).await
            }
            Probe::Process { which, min, max } => {
                let (which, min, max) = (which.clone(), *min, *max);
                blocking(turn, limit, move || probes::process::look(&which, min, max)).await
            }
            Probe::Ping { address, interface } => {
                let asked = probes::ping::ask(*address, interface.as_deref());
                in_time(limit, asked).await
            }
            Probe::Arp { address, interface } => {
                in_time(limit, probes::arp::ask(*address, interface)).await
            }
            Probe::Tcp { address } => in_time(limit, probes::tcp::connect(*address)).await,
            Probe::Http {
                address,
                host,
                path,
                status,
            } => in_time(limit, probes::http::get(*address, host, path, status)).await,
            Probe::Dns { server, name } => in_time(limit, probes::dns::query(*server, name)).await,
        };
        finding(began_at, outcome)
    }

    /// The turn is kept until nothing of the program is left, by the thread that waits for it.
    async fn script(&self, run: &[String], turn: OwnedMutexGuard<()>) -> Outcome {
        let program = Program {
            run: run.to_vec(),
            environment: vec![("TANDEM_NODE".to_owned(), self.node.clone())],
            limit_ms: self.watch.timeout.as_millis() as u64,
        };
        let mut run = Run::start(program, turn);
        let report = run.report().await;
        let words = report.to_string();
        if report.succeeded() {
            Ok((None, words))
        } else {
            Err(words)
        }
    }
}

fn finding(began_at: Instant, outcome: Outcome) -> Finding {
    let took_ms = began_at.elapsed().as_millis() as u64;
    match outcome {
        Ok((number, words)) => Finding {
            passed: true,
            number,
            words,
            took_ms,
        },
        Err(words) => Finding {
            passed: false,
            number: None,
            words,
            took_ms,
        },
    }
}

async fn in_time(limit: Duration, outcome: impl Future<Output = Outcome>) -> Outcome {
    timeout(limit, outcome)
        .await
        .unwrap_or_else(|_| Err(format!("no answer in {} ms", limit.as_millis())))
}

/// On a thread that may wait for a disk. It keeps the turn until it comes back.
async fn blocking(
    turn: OwnedMutexGuard<()>,
    limit: Duration,
    look: impl FnOnce() -> Outcome + Send + 'static,
) -> Outcome {
    let done = tokio::task::spawn_blocking(move || {
        let outcome = look();
        drop(turn);
        outcome
    });
    match timeout(limit, done).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("did not come back in {} ms", limit.as_millis())),
    }
}

#[cfg(test)]
mod tests;
