//! The keeper's state and what it does on each kind of event.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use control::internal::{FromKeeper, LANGUAGE, ToKeeper};
use linux::process::SinglePages;
use nix::sys::signal::Signal;

use super::child::{Backoff, Image, Running, status_words};
use super::manager::Manager;
use super::replace::Replacement;
use super::will::{self, Testament};
use super::worker::{DRAIN_LIMIT, Worker};
use super::{decode, encode, exit_code_of, request_of};
use crate::args::{Args, Role};
use crate::log::last_words;
use crate::{EXIT_CONFIGURATION, EXIT_LANGUAGE, EXIT_PERMISSION};

/// How long a leaving director may take before it is killed and its will executed, unless it asks for more time.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// Beat limit before the director has named one.
const FIRST_BEAT_LIMIT: Duration = Duration::from_secs(5);
/// From the start until everything has run that runs each day.
const CHOOSING: Duration = Duration::from_secs(15);

/// Where the service as a whole stands.
enum Phase {
    /// All children are kept running.
    Serving,
    /// The director was asked to leave.
    Leaving { kill_at: Instant },
    /// The director is gone on purpose; the workers finish.
    Draining { kill_at: Instant, code: u8 },
}

pub(super) struct Keeper {
    args: Args,
    manager: Manager,
    phase: Phase,
    director: Option<Running>,
    director_backoff: Backoff,
    director_was_ready: bool,
    beat_limit: Duration,
    beat_due_at: Instant,
    forwarder: Worker,
    runner: Worker,
    testament: Testament,
    replacement: Option<Replacement>,
    image: Image,
    finished: Option<ExitCode>,
    /// Pages of the program are loaded singly until then: what is locked is what is used.
    choosing: Option<(Instant, SinglePages)>,
}

impl Keeper {
    pub(super) fn new(args: Args) -> std::io::Result<Self> {
        Ok(Self {
            args,
            manager: Manager::of_environment(),
            phase: Phase::Serving,
            director: None,
            director_backoff: Backoff::default(),
            director_was_ready: false,
            beat_limit: FIRST_BEAT_LIMIT,
            beat_due_at: Instant::now(),
            forwarder: Worker::new(Role::Forwarder),
            runner: Worker::new(Role::Runner),
            testament: Testament::open()?,
            replacement: None,
            image: Image::Own,
            finished: None,
            choosing: None,
        })
    }

    pub(super) fn finished(&self) -> Option<ExitCode> {
        self.finished
    }

    /// Goes once through what the worst day asks for, so that it is in memory then. What is asked for each day is there soon after.
    pub(super) fn practise(&mut self, pages: SinglePages) {
        self.testament.practise();
        self.choosing = Some((Instant::now() + CHOOSING, pages));
    }

    /// Descriptors whose readability means work.
    pub(super) fn watched(&self) -> Vec<BorrowedFd<'_>> {
        let director = self
            .director
            .iter()
            .flat_map(|child| [child.exit_fd(), child.channel.as_fd()]);
        director
            .chain(self.workers().into_iter().filter_map(Worker::exit_fd))
            .collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Serving => None,
            Phase::Leaving { kill_at } | Phase::Draining { kill_at, .. } => Some(kill_at),
        };
        let beat = self.director.as_ref().map(|_| self.beat_due_at);
        [
            phase,
            beat,
            self.director_backoff.start_at,
            self.replacement
                .as_ref()
                .map(|replacement| replacement.resume_by),
            self.forwarder.backoff.start_at,
            self.runner.backoff.start_at,
            self.choosing.as_ref().map(|(until, _)| *until),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn start_director(&mut self) -> std::io::Result<()> {
        let stamp = self.testament.stamp();
        let mut extra: Vec<String> = stamp
            .into_iter()
            .flat_map(|stamp| ["--stamp".to_owned(), stamp.to_string()])
            .collect();
        extra.extend(["--language".to_owned(), LANGUAGE.to_string()]);
        if let Some(replacement) = &self.replacement {
            extra.extend(["--resume".to_owned(), replacement.routers.join(",")]);
        }
        let child = Running::start_image(
            &self.args,
            Role::Director,
            self.director_backoff.restarts,
            &extra,
            self.image,
        )?;
        self.beat_limit = FIRST_BEAT_LIMIT;
        self.beat_due_at = Instant::now() + self.beat_limit;
        self.director = Some(child);
        for worker in self.workers() {
            worker.introduce(self.director.as_ref());
        }
        Ok(())
    }

    fn workers(&self) -> [&Worker; 2] {
        [&self.forwarder, &self.runner]
    }

    pub(super) fn on_signal(&mut self, signal: Option<Signal>) {
        if signal == Some(Signal::SIGUSR1) {
            // The one log that is a file of its own is the forwarder's.
            return self.forwarder.reopen_logs();
        }
        let Some(request) = signal.and_then(request_of) else {
            return;
        };
        if request == FromKeeper::Stop {
            if matches!(self.phase, Phase::Serving) {
                self.manager.stopping();
                self.phase = Phase::Leaving {
                    kill_at: Instant::now() + LEAVE_LIMIT,
                };
            }
            self.director_backoff.start_at = None;
        }
        match &self.director {
            Some(director) => drop(director.channel.try_send(&encode(&request), &[])),
            None if request == FromKeeper::Stop => self.drain(0),
            None => {}
        }
    }

    /// Reads all that the director has said.
    pub(super) fn read_director(&mut self, now: Instant) {
        let mut buffer = Vec::new();
        loop {
            let Some(director) = &self.director else {
                return;
            };
            match director.channel.try_receive(&mut buffer) {
                Ok(Some((bytes, fds))) => {
                    if let Some(message) = decode(&bytes) {
                        self.on_message(now, message, fds);
                    }
                }
                // Closed, or nothing more: an exit is seen on the process itself.
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn on_message(&mut self, now: Instant, message: ToKeeper, fds: Vec<OwnedFd>) {
        match message {
            ToKeeper::Beat => {
                self.beat_due_at = now + self.beat_limit;
                self.manager.feed(now);
            }
            ToKeeper::Sender { id, kind } => self.testament.add_sender(id, kind, fds),
            ToKeeper::SenderGone(id) => self.testament.remove_sender(id),
            ToKeeper::Will => match will::read(fds) {
                Ok(changes) => self.testament.amend(changes),
                Err(error) => last_words(&format!("keeper: the last will cannot be read: {error}")),
            },
            ToKeeper::BeatLimit(limit_ms) => {
                self.beat_limit = Duration::from_millis(limit_ms);
                self.beat_due_at = now + self.beat_limit;
            }
            ToKeeper::Forwarder(order) => self.forwarder.on_order(now, order),
            ToKeeper::Runner(order) => self.runner.on_order(now, order),
            ToKeeper::RestartForwarder => self.forwarder.kill_hung(),
            ToKeeper::RestartRunner => self.runner.kill_hung(),
            ToKeeper::Ready(status) => {
                self.director_was_ready = true;
                self.manager.ready(&status);
            }
            ToKeeper::Replace { routers, limit_ms } => {
                let limit = Duration::from_millis(limit_ms);
                self.testament.inherit();
                self.replacement = Some(Replacement::new(routers, now + limit));
                // It has nothing to do but to end.
                self.beat_due_at = now + limit;
            }
            ToKeeper::Resumed => {
                self.testament.forget_inherited();
                self.replacement = None;
            }
            ToKeeper::Leaving { limit_ms } => self.give_time(now, Duration::from_millis(limit_ms)),
            ToKeeper::Done => {
                self.testament.revoke();
                // Its loop turns no more.
                self.beat_due_at = now + LEAVE_LIMIT;
                if matches!(self.phase, Phase::Serving) {
                    self.phase = Phase::Leaving {
                        kill_at: now + LEAVE_LIMIT,
                    };
                }
            }
        }
    }

    /// A director that leaves gets on with it: the service manager is told as well, and that workers may drain after it.
    fn give_time(&mut self, now: Instant, limit: Duration) {
        let Phase::Leaving { kill_at } = &mut self.phase else {
            return;
        };
        *kill_at = now + limit;
        self.manager.needs_time(limit + DRAIN_LIMIT + LEAVE_LIMIT);
    }

    /// Notices children that have ended.
    pub(super) fn reap(&mut self, now: Instant) {
        if let Some(status) = self.director.as_mut().and_then(Running::ended) {
            // What it said last still counts: a Done makes this a clean end.
            self.read_director(now);
            let child = self.director.take().expect("it has just ended");
            self.on_director_end(now, status, child.started_at);
        }
        if let Some((status, started_at)) = self.forwarder.take_end() {
            self.tell_director(&self.forwarder.ended_message(status));
            if self.keeps_workers() {
                self.forwarder.on_end(now, status, started_at);
            }
        }
        if let Some((status, started_at)) = self.runner.take_end() {
            self.tell_director(&self.runner.ended_message(status));
            if self.keeps_workers() {
                self.runner.on_end(now, status, started_at);
            }
        }
    }

    fn keeps_workers(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    fn tell_director(&self, message: &FromKeeper) {
        if let Some(director) = &self.director {
            let _ = director.channel.try_send(&encode(message), &[]);
        }
    }

    fn on_director_end(
        &mut self,
        now: Instant,
        status: std::process::ExitStatus,
        started_at: Instant,
    ) {
        if self.replaces(now, status) {
            return;
        }
        self.execute_will(&status_words(status));
        let pointless = [EXIT_CONFIGURATION, EXIT_PERMISSION]
            .map(|code| Some(i32::from(code)))
            .contains(&status.code());
        match self.phase {
            Phase::Serving if !self.director_was_ready && pointless => {
                self.finished = Some(exit_code_of(status))
            }
            Phase::Serving => {
                if status.code() == Some(i32::from(EXIT_LANGUAGE)) {
                    self.image = Image::Own;
                }
                last_words(&format!(
                    "keeper: the director ended with {}, starting it again",
                    status_words(status)
                ));
                self.director_backoff.failed(now, started_at);
            }
            Phase::Leaving { .. } => self.drain(u8::from(!status.success())),
            Phase::Draining { .. } => {}
        }
    }

    /// Acts on deadlines that have passed.
    pub(super) fn run_due(&mut self, now: Instant) {
        match self.phase {
            Phase::Leaving { kill_at } if kill_at <= now => {
                self.kill_director(now, "it did not leave in time")
            }
            Phase::Draining { kill_at, code } if kill_at <= now || self.is_alone() => {
                self.forwarder.kill();
                self.runner.kill();
                self.finished = Some(ExitCode::from(code));
            }
            _ => {}
        }
        self.give_up_replacement(now);
        self.choosing.take_if(|(until, _)| *until <= now);
        if self.director.is_some() && self.beat_due_at <= now {
            self.on_missed_beat(now);
        }
        if self.director_backoff.take_due(now) && self.start_director().is_err() {
            self.director_backoff.failed(now, now);
        }
        let director = self.director.as_ref();
        self.forwarder.run_due(now, &self.args, director);
        self.runner.run_due(now, &self.args, director);
    }

    /// A missed beat means a hung director, unless the keeper itself was not running: then the director gets its full time again.
    fn on_missed_beat(&mut self, now: Instant) {
        if now.saturating_duration_since(self.beat_due_at) > self.beat_limit / 2 {
            self.beat_due_at = now + self.beat_limit;
            return;
        }
        self.kill_director(now, "it does not turn any more");
    }

    /// Whether the director has ended only for another one to go on, which is started.
    fn replaces(&mut self, now: Instant, status: std::process::ExitStatus) -> bool {
        let serving = matches!(self.phase, Phase::Serving);
        let Some(replacement) = self.replacement.as_mut().filter(|_| serving) else {
            self.replacement = None;
            return false;
        };
        let Some(image) = replacement.next(status.code()) else {
            self.replacement = None;
            self.image = Image::Own;
            return false;
        };
        self.image = image;
        if self.start_director().is_ok() {
            // Its first beat is due when it has to have resumed.
            let limit = self
                .replacement
                .as_ref()
                .map(|replacement| replacement.resume_by);
            self.beat_due_at = limit.unwrap_or(now + FIRST_BEAT_LIMIT);
            return true;
        }
        self.replacement = None;
        false
    }

    /// The other director has not gone on in time.
    fn give_up_replacement(&mut self, now: Instant) {
        let due = |replacement: &Replacement| replacement.resume_by <= now;
        if self.replacement.as_ref().is_some_and(due) {
            self.replacement = None;
            self.image = Image::Own;
            self.kill_director(now, "it did not go on in time after a planned restart");
        }
    }

    /// Kills first, so that a director that wakes up cannot undo the will.
    fn kill_director(&mut self, now: Instant, why: &str) {
        last_words(&format!("keeper: killing the director: {why}"));
        if let Some(director) = &mut self.director {
            director.kill();
        }
        self.reap(now);
    }

    fn execute_will(&mut self, why: &str) {
        if self.testament.is_empty() {
            return;
        }
        let done = self.testament.execute();
        last_words(&format!(
            "keeper: the director ended with {why}: {} farewells sent, {} addresses taken away, {} failures",
            done.packets, done.addresses, done.failures
        ));
    }

    /// The director is gone for good; the workers may finish what they have.
    fn drain(&mut self, code: u8) {
        if self.is_alone() {
            self.finished = Some(ExitCode::from(code));
            return;
        }
        for worker in self.workers() {
            worker.drain();
        }
        self.phase = Phase::Draining {
            kill_at: Instant::now() + DRAIN_LIMIT + Duration::from_secs(1),
            code,
        };
    }

    /// Whether no worker runs.
    fn is_alone(&self) -> bool {
        self.workers().iter().all(|worker| worker.running.is_none())
    }
}
