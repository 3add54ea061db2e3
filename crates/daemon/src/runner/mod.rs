//! The runner process: runs the operator's programs and looks at what is tracked for the director, which never waits for either.
//!
//! It becomes the configured user at its start, for good, so that there is nothing to gain from a program that turns against it. Like the
//! forwarder it outlives its director: the keeper hands it the stream to the next one.

mod messages;
mod probes;
mod run;
mod watching;

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use control::internal::KeeperToWorker;
use control::internal::runner::{Program, RunEnd, RunReport};
use linux::channel::{AsyncChannel, Channel};
use linux::process::Capability;
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, watch};

pub(crate) use self::messages::{Finding, FromRunner, ToRunner};
use self::run::Run;
use self::watching::{Turns, Watching};
use crate::args::{Args, Role};

/// Between two pulses.
const PULSE_INTERVAL: Duration = Duration::from_secs(1);
/// Answers that may wait for a director that does not read.
const QUEUED: usize = 256;
/// Programs that may run at once; further ones are refused.
const RUNS: usize = 64;
/// How long programs may take to end when the keeper is gone.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);
/// How long killed programs may take to be gone.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks at whether programs have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Runs until drained, or until the keeper is gone.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    crate::process::adopt(Role::Runner).context("set up the process")?;
    let channel = Channel::from_stdin().context("open the channel to the keeper")?;
    let refused = become_configured_user(args)?;
    crate::process::serve(args, refused, |log| async move {
        let _log = log;
        serve(channel).await
    })
}

/// Another user and next to no power. As root, by explicit configuration only, programs get what the keeper has.
///
/// # Errors
/// When it cannot become that user: programs would have more power than was meant, so none is run.
fn become_configured_user(args: &Args) -> anyhow::Result<Vec<String>> {
    let mut refused = Vec::new();
    if let Err(error) = linux::process::oom_score(0) {
        refused.push(format!(
            "the out-of-memory score stays that of the keeper: {error}"
        ));
    }
    // What is kept is the runner's alone: a program that another user executes inherits none of it.
    let kept = [Capability::CAP_NET_RAW];
    let own = nix::unistd::geteuid().as_raw();
    match (args.uid, args.gid) {
        (Some(uid), Some(gid)) if uid != own => {
            let missing = linux::process::become_user(uid, gid, &kept)
                .with_context(|| format!("become user {uid} to run programs"))?;
            if !missing.is_empty() {
                refused.push("no raw sockets: probes by ping and arp fail".to_owned());
            }
        }
        _ => {}
    }
    Ok(refused)
}

async fn serve(channel: Channel) -> anyhow::Result<ExitCode> {
    crate::process::ignore(&crate::process::GROUP_SIGNALS).context("set up signals")?;
    // The end comes from the keeper, after the director has left.
    crate::process::ignore(&[SignalKind::terminate()]).context("set up signals")?;
    let keeper = AsyncChannel::new(channel).context("watch the channel to the keeper")?;
    let mut link: Option<Link> = None;
    let turns = Turns::default();
    let programs = Programs::new();
    let mut pulse = tokio::time::interval(PULSE_INTERVAL);
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = keeper.receive() => match message {
                Ok(Some((bytes, fds))) => match serde_json::from_slice(&bytes) {
                    Ok(KeeperToWorker::Director) => link = fds.into_iter().next().and_then(|fd| Link::open(fd, &turns)),
                    // It has no log of its own.
                    Ok(KeeperToWorker::ReopenLogs) => {}
                    Ok(KeeperToWorker::Drain { limit_ms }) => {
                        programs.ended(Duration::from_millis(limit_ms)).await;
                        return Ok(ExitCode::SUCCESS);
                    }
                    Err(error) => tracing::warn!(%error, "the keeper said something this runner does not know"),
                },
                Ok(None) | Err(_) => {
                    programs.ended(ORPHAN_LIMIT).await;
                    return Ok(ExitCode::FAILURE);
                }
            },
            order = next_order(&mut link) => match (order, &mut link) {
                (Some(ToRunner::Watch { node, watches }), Some(link)) => {
                    link.watching.set(&node, watches, &link.answers);
                }
                (Some(ToRunner::Run { number, program }), Some(link)) => {
                    programs.run(number, program, link.answers.clone());
                }
                (None, _) | (_, None) => link = None,
            },
            _ = pulse.tick() => if let Some(link) = &link {
                // A director that does not read will not miss it.
                let _ = link.answers.try_send(FromRunner::Pulse);
            },
        }
    }
}

/// The stream to one director.
struct Link {
    orders: mpsc::Receiver<ToRunner>,
    answers: mpsc::Sender<FromRunner>,
    /// Ends with the director that wants to know.
    watching: Watching,
}

impl Link {
    fn open(fd: std::os::fd::OwnedFd, turns: &Turns) -> Option<Self> {
        let (orders_in, orders) = mpsc::channel(QUEUED);
        let answers = crate::stream::open(fd, QUEUED, orders_in, |order| order);
        let answers = answers
            .inspect_err(|error| tracing::warn!(%error, "no stream to the director"))
            .ok()?;
        let watching = Watching::new(turns.clone());
        Some(Self {
            orders,
            answers,
            watching,
        })
    }
}

/// The next order of the current director; never, while there is none.
async fn next_order(link: &mut Option<Link>) -> Option<ToRunner> {
    match link {
        Some(link) => link.orders.recv().await,
        None => std::future::pending().await,
    }
}

/// Programs that were ordered and run.
struct Programs {
    running: Rc<Cell<usize>>,
    cancelled: watch::Sender<bool>,
}

impl Programs {
    fn new() -> Self {
        Self {
            running: Rc::default(),
            cancelled: watch::Sender::new(false),
        }
    }

    /// Runs `program` and answers with what became of it, to whom ordered it. It runs on when that director ends.
    fn run(&self, number: u64, program: Program, answers: mpsc::Sender<FromRunner>) {
        let running = Rc::clone(&self.running);
        let mut cancelled = self.cancelled.subscribe();
        tokio::task::spawn_local(async move {
            if running.get() >= RUNS {
                let end = RunEnd::NotStarted(format!("{RUNS} programs are running already"));
                let report = RunReport::without_run(end);
                return drop(answers.send(FromRunner::Ran { number, report }).await);
            }
            running.set(running.get() + 1);
            let mut run = Run::start(program, ());
            let report = tokio::select! {
                report = run.report() => report,
                _ = cancelled.wait_for(|cancelled| *cancelled) => {
                    run.cancel();
                    run.report().await
                }
            };
            // The director may have ended.
            let _ = answers.send(FromRunner::Ran { number, report }).await;
            run.gone().await;
            running.set(running.get() - 1);
        });
    }

    /// Waits until all have ended, at most `limit`; then they are killed.
    async fn ended(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.all_gone()).await.is_err() {
            self.cancelled.send_replace(true);
            let _ = tokio::time::timeout(CANCEL_LIMIT, self.all_gone()).await;
        }
    }

    async fn all_gone(&self) {
        while self.running.get() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}
