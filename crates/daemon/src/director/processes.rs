//! The other processes of the node: what the keeper and the forwarder say, and what they are told.

use std::time::{Duration, Instant};

use control::EventKind;
use control::internal::{FromForwarder, FromKeeper, ToKeeper, WorkerOrder};

use super::journal::Entry;
use super::{Director, Running, plane, testament};

impl Director {
    pub(super) fn on_keeper(
        &mut self,
        now: Instant,
        message: FromKeeper,
        fds: Vec<std::os::fd::OwnedFd>,
    ) {
        match message {
            FromKeeper::Stop => self.leave(now),
            FromKeeper::Reload => self.begin_reload(now, None),
            FromKeeper::Restart => self.begin_restart(now, None),
            FromKeeper::ForwarderStarted {
                pid,
                restarts,
                uptime_s,
            } => {
                let Some(stream) = fds.into_iter().next() else {
                    return;
                };
                self.plane
                    .started(pid, restarts, Duration::from_secs(uptime_s), stream);
                self.journal.record(Entry::new(
                    EventKind::Process,
                    "forwarder",
                    format!("runs as process {pid}"),
                ));
                self.introduce_overrides(now);
                self.configure_plane();
            }
            FromKeeper::ForwarderExited { status } => {
                self.journal.record(Entry::new(
                    EventKind::Process,
                    "forwarder",
                    format!("ended with {status}"),
                ));
                self.plane.ended(status);
                self.lose_reload(now);
            }
            FromKeeper::RunnerStarted { pid, .. } => self.on_runner_started(now, pid, fds),
            FromKeeper::RunnerExited { status } => self.on_runner_exited(now, &status),
        }
    }

    /// Sends the running configuration to the forwarder.
    pub(super) fn configure_plane(&self) {
        let Running {
            path,
            text,
            config,
            generation,
            ..
        } = &self.running;
        // Without a forwarder there is nobody to tell; one that is so far behind is about to be replaced.
        let _ = self
            .plane
            .order(plane::configure(*generation, path, text, config));
    }

    /// Tells the keeper whether a forwarder should run, and as whom.
    pub(super) fn order_forwarder(&mut self) {
        let wanted = !self.running.config.listeners.is_empty();
        self.plane.set_configured(wanted);
        let order = wanted.then(|| forwarder_order(&self.running.config.global));
        testament::send(&self.keeper, &ToKeeper::Forwarder(order));
    }

    pub(super) fn on_plane(&mut self, now: Instant, link: u64, message: FromForwarder) {
        match message {
            FromForwarder::Pulse(pulse) => self.plane.on_pulse(now, link, pulse),
            FromForwarder::Configured { generation, error } => {
                self.on_configured(now, generation, error)
            }
            FromForwarder::Overridden { number, error } => self.on_overridden(now, number, error),
            FromForwarder::Answered { id, answer } => self.on_answered(id, answer),
            FromForwarder::Health(change) => {
                self.figures.stale = true;
                let subject = format!("target {}/{}", change.group, change.target);
                let entry = Entry::new(EventKind::Health, subject, change.why);
                self.journal
                    .record(entry.states(change.from.as_str(), change.to.as_str()));
            }
            FromForwarder::Usable(usable) => {
                self.figures.stale = true;
                self.plane.on_usable(link, usable);
                self.judge(now);
            }
            FromForwarder::Snapshot {
                listeners,
                groups,
                access_log,
            } => {
                self.figures.listeners = listeners;
                self.figures.groups = groups;
                self.figures.access_log = access_log;
                for waiting in self.figures.waiting.drain(..) {
                    // Whoever asked may have gone.
                    let _ = waiting.send(());
                }
            }
        }
    }
}

/// How the forwarder is started. It runs as the configured user; without one as `tandem` if there is such a user, else as whoever we are.
fn forwarder_order(global: &config::Global) -> WorkerOrder {
    let configured = global.user.as_deref();
    let ids = linux::process::user_ids(configured.unwrap_or("tandem"))
        .ok()
        .flatten();
    if let (None, Some(name)) = (ids, configured) {
        tracing::warn!(
            user = name,
            "there is no such user; the forwarder runs as this one"
        );
    }
    let (uid, gid) = ids.unwrap_or_else(|| {
        (
            nix::unistd::getuid().as_raw(),
            nix::unistd::getgid().as_raw(),
        )
    });
    WorkerOrder {
        uid,
        gid,
        json_log: global.log.format == config::LogFormat::Json,
    }
}
