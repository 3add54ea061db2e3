//! The director's side of the stream to the runner: programs to run and what became of them, things to look at and what was found.
//!
//! The director never waits here: what it orders is queued, and every order is answered, if by nobody else then by this module.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use config::Watch;
use control::EventKind;
use control::internal::runner::{Program, RunEnd, RunReport};
use control::internal::{ToKeeper, WorkerOrder};
use tokio::sync::mpsc;

use super::journal::Entry;
use super::{Director, testament};
use crate::runner::{FromRunner, ToRunner};

/// Runs that may be out at once.
const RUNS: usize = 64;
/// A runner that says nothing for so long is killed, so that another one can be started.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// How long an order waits for a runner that is not there.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The runner process as the keeper reports it, and the stream to it.
pub(super) struct Runner {
    link: Option<Link>,
    link_number: u64,
    messages: mpsc::Sender<(u64, FromRunner)>,
    runs: BTreeMap<u64, Order>,
    numbers: u64,
    /// What the runner has to look at, and whether it has been told.
    watch: Option<(ToRunner, bool)>,
}

struct Link {
    orders: mpsc::Sender<ToRunner>,
    heard_at: Instant,
    given_up: bool,
}

/// A run that has not been answered.
struct Order {
    ordered_at: Instant,
    /// There until a runner has taken it.
    waiting: Option<Program>,
}

impl Runner {
    /// Messages of runners go to `messages`, with the number of the stream they came from.
    pub(super) fn new(messages: mpsc::Sender<(u64, FromRunner)>) -> Self {
        Self {
            link: None,
            link_number: 0,
            messages,
            runs: BTreeMap::new(),
            numbers: 0,
            watch: None,
        }
    }

    /// Has `program` run once, at once; the number of the run, which [`Director::on_ran`] is called with in any case. None when too many
    /// runs are out already.
    pub(super) fn run(&mut self, now: Instant, program: Program) -> Option<u64> {
        if self.runs.len() >= RUNS {
            return None;
        }
        self.numbers += 1;
        let order = Order {
            ordered_at: now,
            waiting: Some(program),
        };
        self.runs.insert(self.numbers, order);
        self.send_waiting();
        Some(self.numbers)
    }

    /// Has the runner look at just `watches` from here on, and every runner that follows it.
    pub(super) fn watch(&mut self, node: String, watches: Vec<(u64, Watch)>) {
        self.watch = Some((ToRunner::Watch { node, watches }, false));
        self.send_waiting();
    }

    fn started(&mut self, now: Instant, stream: OwnedFd) {
        self.link_number += 1;
        if let Some((_, told)) = &mut self.watch {
            *told = false;
        }
        let number = self.link_number;
        let opened = crate::stream::open(stream, RUNS, self.messages.clone(), move |message| {
            (number, message)
        });
        match opened {
            Ok(orders) => {
                self.link = Some(Link {
                    orders,
                    heard_at: now,
                    given_up: false,
                })
            }
            Err(error) => tracing::warn!(%error, "no stream to the runner"),
        }
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        let Some(link) = &self.link else { return };
        if let Some((watch, told @ false)) = &mut self.watch {
            *told = link.orders.try_send(watch.clone()).is_ok();
        }
        let waiting = self
            .runs
            .iter_mut()
            .filter(|(_, order)| order.waiting.is_some());
        for (number, order) in waiting {
            let Ok(place) = link.orders.try_reserve() else {
                return;
            };
            if let Some(program) = order.waiting.take() {
                let number = *number;
                place.send(ToRunner::Run { number, program });
            }
        }
    }

    /// The runner has ended: runs it had taken are lost, others wait for the next one.
    fn ended(&mut self, how: &str) -> Vec<(u64, RunReport)> {
        self.link = None;
        let end = RunEnd::Lost(how.to_owned());
        self.take_runs(&end, |order| order.waiting.is_none())
    }

    /// Runs that no runner has come to take.
    fn expired(&mut self, now: Instant) -> Vec<(u64, RunReport)> {
        let end = RunEnd::NotStarted("there is no runner".to_owned());
        self.take_runs(&end, |order| {
            order.waiting.is_some() && now.saturating_duration_since(order.ordered_at) > START_LIMIT
        })
    }

    fn take_runs(&mut self, end: &RunEnd, which: impl Fn(&Order) -> bool) -> Vec<(u64, RunReport)> {
        let matching = self.runs.iter().filter(|(_, order)| which(order));
        let taken: Vec<u64> = matching.map(|(number, _)| *number).collect();
        let report = |number: u64| (number, RunReport::without_run(end.clone()));
        self.runs.retain(|number, _| !taken.contains(number));
        taken.into_iter().map(report).collect()
    }

    /// This process itself was away: silence of the runner counts from here.
    pub(super) fn excuse(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            link.heard_at = now;
        }
    }

    /// Whether the runner has been silent for too long; said once for each.
    fn take_hopeless(&mut self, now: Instant) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let silent = now.saturating_duration_since(link.heard_at) > SILENCE_LIMIT;
        let hopeless = silent && !link.given_up;
        link.given_up |= hopeless;
        hopeless
    }
}

impl Director {
    /// Tells the keeper whether a runner should run, and as whom.
    pub(super) fn order_runner(&mut self) {
        let wanted = self.needs_runner();
        let order = wanted.then(|| runner_order(&self.running.config.global));
        testament::send(&self.keeper, &ToKeeper::Runner(order));
    }

    /// Whether the configuration has anything for a runner to do.
    fn needs_runner(&self) -> bool {
        !self.checks.is_empty() || self.has_hooks()
    }

    pub(super) fn on_runner_started(&mut self, now: Instant, pid: u32, fds: Vec<OwnedFd>) {
        let Some(stream) = fds.into_iter().next() else {
            return;
        };
        self.journal.record(Entry::new(
            EventKind::Process,
            "runner",
            format!("runs as process {pid}"),
        ));
        self.runner.started(now, stream);
    }

    pub(super) fn on_runner_exited(&mut self, now: Instant, status: &str) {
        self.journal.record(Entry::new(
            EventKind::Process,
            "runner",
            format!("ended with {status}"),
        ));
        for (number, report) in self.runner.ended(status) {
            self.on_ran(now, number, report);
        }
    }

    /// The runner says something.
    pub(super) fn on_runner(&mut self, now: Instant, link: u64, message: FromRunner) {
        if link != self.runner.link_number {
            return;
        }
        if let Some(link) = &mut self.runner.link {
            link.heard_at = now;
        }
        match message {
            FromRunner::Pulse => self.runner.send_waiting(),
            FromRunner::Found { number, finding } => self.on_found(now, number, finding),
            FromRunner::Ran { number, report } => {
                if self.runner.runs.remove(&number).is_some() {
                    self.on_ran(now, number, report);
                }
            }
        }
    }

    /// What is due with the runner: orders that nobody takes, a runner that hangs.
    pub(super) fn run_due_runner(&mut self, now: Instant) {
        for (number, report) in self.runner.expired(now) {
            self.on_ran(now, number, report);
        }
        if self.runner.take_hopeless(now) {
            testament::send(&self.keeper, &ToKeeper::RestartRunner);
        }
    }

    /// A program that was ordered by [`Runner::run`] has ended, or never will run.
    fn on_ran(&mut self, now: Instant, number: u64, report: RunReport) {
        self.on_hook_ran(now, number, report);
    }
}

/// How the runner is started. It runs as the configured user; without one as `tandem`, or as `nobody` where there is no such user. It is
/// root only where the configuration says so.
fn runner_order(global: &config::Global) -> WorkerOrder {
    let ids = |name: &str| linux::process::user_ids(name).ok().flatten();
    let named = match global.user.as_deref() {
        Some(name) => ids(name).or_else(|| {
            tracing::warn!(
                user = name,
                "there is no such user; programs run as `nobody`"
            );
            None
        }),
        None => ids("tandem"),
    };
    let (uid, gid) = named.or_else(|| ids("nobody")).unwrap_or((NOBODY, NOBODY));
    WorkerOrder {
        uid,
        gid,
        json_log: global.log.format == config::LogFormat::Json,
    }
}

/// User and group that own nothing, where the user database does not name them.
const NOBODY: u32 = 65_534;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program {
            run: vec!["/bin/true".to_owned()],
            environment: Vec::new(),
            limit_ms: 1000,
        }
    }

    #[test]
    fn every_run_is_answered_even_without_a_runner() {
        let now = Instant::now();
        let mut runner = Runner::new(mpsc::channel(1).0);
        let number = runner.run(now, program()).unwrap();
        assert!(
            runner.ended("signal 9").is_empty(),
            "no runner had taken it"
        );
        assert!(runner.expired(now + Duration::from_secs(10)).is_empty());
        let expired = runner.expired(now + Duration::from_secs(11));
        assert_eq!(expired[0].0, number);
        assert!(matches!(expired[0].1.end, RunEnd::NotStarted(_)));
        assert!(runner.runs.is_empty());
    }

    #[test]
    fn runs_that_are_out_are_limited() {
        let now = Instant::now();
        let mut runner = Runner::new(mpsc::channel(1).0);
        for _ in 0..RUNS {
            assert!(runner.run(now, program()).is_some());
        }
        assert_eq!(runner.run(now, program()), None);
    }

    #[tokio::test]
    async fn what_a_runner_had_taken_is_lost_with_it_and_it_is_given_up_once() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let now = Instant::now();
                let mut runner = Runner::new(mpsc::channel(1).0);
                let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
                runner.started(now, stream.into());
                let number = runner.run(now, program()).unwrap();
                assert!(!runner.take_hopeless(now + Duration::from_secs(5)));
                assert!(runner.take_hopeless(now + Duration::from_secs(6)));
                assert!(!runner.take_hopeless(now + Duration::from_secs(7)));
                let lost = runner.ended("signal 9");
                assert_eq!(lost[0].0, number);
                assert_eq!(lost[0].1.end, RunEnd::Lost("signal 9".to_owned()));
            })
            .await;
    }
}
