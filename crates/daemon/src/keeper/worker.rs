//! A worker: a child that runs on the director's order and speaks with it over a stream. Forwarder and runner are workers.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use control::internal::{FromKeeper, KeeperToWorker, WorkerOrder};

use super::child::{Backoff, Running, status_words};
use super::encode;
use crate::args::{Args, Role};
use crate::log::last_words;

/// How long a worker may take to finish what is in flight.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// One worker: what was ordered, and what runs.
pub(super) struct Worker {
    role: Role,
    order: Option<WorkerOrder>,
    pub(super) running: Option<Running>,
    pub(super) backoff: Backoff,
}

impl Worker {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            order: None,
            running: None,
            backoff: Backoff::default(),
        }
    }

    /// Takes an order: to run as somebody, or to end.
    pub(super) fn on_order(&mut self, now: Instant, order: Option<WorkerOrder>) {
        let before = std::mem::replace(&mut self.order, order);
        match (&self.running, order) {
            (None, Some(_)) if self.backoff.start_at.is_none() => self.backoff.start_at = Some(now),
            (Some(_), None) => self.drain(),
            // A runner cannot become another user; another runner can. The forwarder has connections to keep.
            (Some(_), Some(_)) if self.role == Role::Runner && before != order => self.drain(),
            _ => {}
        }
    }

    /// Starts it when that is due, and introduces it to `director`.
    pub(super) fn run_due(&mut self, now: Instant, args: &Args, director: Option<&Running>) {
        if !self.backoff.take_due(now) || self.running.is_some() {
            return;
        }
        let Some(order) = self.order else { return };
        let mut extra = vec![
            "--uid".to_owned(),
            order.uid.to_string(),
            "--gid".to_owned(),
            order.gid.to_string(),
        ];
        if order.json_log {
            extra.push("--json-log".to_owned());
        }
        match Running::start(args, self.role, self.backoff.restarts, &extra) {
            Ok(child) => {
                self.running = Some(child);
                self.introduce(director);
            }
            Err(error) => {
                last_words(&format!(
                    "keeper: the {} does not start: {error}",
                    self.role.argument()
                ));
                self.backoff.failed(now, now);
            }
        }
    }

    /// Gives it, if it runs, and `director`, if there is one, the two ends of a new stream.
    pub(super) fn introduce(&self, director: Option<&Running>) {
        let (Some(director), Some(worker)) = (director, &self.running) else {
            return;
        };
        let Ok((for_director, for_worker)) = UnixStream::pair() else {
            last_words(&format!(
                "keeper: no descriptor for the stream between director and {}",
                self.role.argument()
            ));
            return;
        };
        let started = self.started_message(worker);
        // A child that cannot be told is about to be seen as ended, which starts it again and comes back here.
        let _ = worker
            .channel
            .try_send(&encode(&KeeperToWorker::Director), &[for_worker.as_fd()]);
        let _ = director
            .channel
            .try_send(&encode(&started), &[for_director.as_fd()]);
    }

    /// Becomes readable when it has ended.
    pub(super) fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(Running::exit_fd)
    }

    /// Notices that it has ended; the exit status then.
    pub(super) fn take_end(&mut self) -> Option<(ExitStatus, Instant)> {
        let status = self.running.as_mut().and_then(Running::ended)?;
        let child = self.running.take()?;
        Some((status, child.started_at))
    }

    /// Plans to start it again, if it is still wanted.
    pub(super) fn on_end(&mut self, now: Instant, status: ExitStatus, started_at: Instant) {
        if self.order.is_some() {
            last_words(&format!(
                "keeper: the {} ended with {}, starting it again",
                self.role.argument(),
                status_words(status)
            ));
            self.backoff.failed(now, started_at);
        }
    }

    /// Asks it to finish and end.
    pub(super) fn drain(&self) {
        let message = KeeperToWorker::Drain {
            limit_ms: DRAIN_LIMIT.as_millis() as u64,
        };
        if let Some(worker) = &self.running {
            let _ = worker.channel.try_send(&encode(&message), &[]);
        }
    }

    /// Tells it to open its log files again.
    pub(super) fn reopen_logs(&self) {
        if let Some(worker) = &self.running {
            let _ = worker
                .channel
                .try_send(&encode(&KeeperToWorker::ReopenLogs), &[]);
        }
    }

    /// Ends it at once. Its end is noticed as any other.
    pub(super) fn kill(&mut self) {
        if let Some(worker) = &mut self.running {
            worker.kill();
        }
    }

    /// Kills one that hangs.
    pub(super) fn kill_hung(&mut self) {
        if self.running.is_some() {
            last_words(&format!(
                "keeper: killing the {}: it does not turn any more",
                self.role.argument()
            ));
            self.kill();
        }
    }

    fn started_message(&self, worker: &Running) -> FromKeeper {
        let (pid, restarts) = (worker.pid(), self.backoff.restarts);
        match self.role {
            Role::Runner => FromKeeper::RunnerStarted { pid, restarts },
            Role::Director | Role::Forwarder => FromKeeper::ForwarderStarted {
                pid,
                restarts,
                uptime_s: worker.started_at.elapsed().as_secs(),
            },
        }
    }

    /// What the director is told of its end.
    pub(super) fn ended_message(&self, status: ExitStatus) -> FromKeeper {
        let status = status_words(status);
        match self.role {
            Role::Runner => FromKeeper::RunnerExited { status },
            Role::Director | Role::Forwarder => FromKeeper::ForwarderExited { status },
        }
    }
}
