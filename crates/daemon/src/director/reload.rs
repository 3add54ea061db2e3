//! Reload as a transaction: read and check beside the loop, then the forwarder, then the virtual routers; whatever fails, what ran runs on.

use std::time::{Duration, Instant};

use config::Config;
use control::{EventKind, Problem, ReloadOutcome, ReloadResult, Severity};
use tokio::sync::oneshot;

use super::journal::Entry;
use super::load::{self, Loaded};
use super::plane::{self, Taken};
use super::{Director, Running, timestamp};

/// How long reading and checking the file, and the certificates it names, may take.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long the forwarder may take to apply a configuration.
const APPLY_LIMIT: Duration = Duration::from_secs(7);

/// Where a reload stands. One at a time; whoever asks meanwhile gets one more run after it.
#[derive(Default)]
pub(super) struct Reload {
    stage: Stage,
    waiting: Vec<oneshot::Sender<ReloadResult>>,
    next: Option<Vec<oneshot::Sender<ReloadResult>>>,
    generations: u64,
    pub(super) last: Option<ReloadResult>,
    /// Applied, unchanged, refused, failed.
    results: [u64; 4],
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    Reading {
        give_up_at: Instant,
    },
    /// Nobody waits for it any more, but the thread still reads: there is no other one beside it.
    Hung,
    Applying {
        loaded: Box<Loaded>,
        config: Box<Config>,
        generation: u64,
        give_up_at: Instant,
    },
}

impl Reload {
    /// How reloads have ended since the start, in a word each.
    pub(super) fn results(&self) -> [(&'static str, u64); 4] {
        let [applied, unchanged, refused, failed] = self.results;
        [
            ("applied", applied),
            ("unchanged", unchanged),
            ("refused", refused),
            ("failed", failed),
        ]
    }

    /// True while none is under way.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle | Stage::Hung)
    }

    /// When to stop waiting for the disk or the forwarder.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Reading { give_up_at } | Stage::Applying { give_up_at, .. } => Some(give_up_at),
            Stage::Idle | Stage::Hung => None,
        }
    }

    /// This process itself was away for so long.
    pub(super) fn excuse(&mut self, away: Duration) {
        match &mut self.stage {
            Stage::Reading { give_up_at } | Stage::Applying { give_up_at, .. } => {
                *give_up_at += away;
            }
            Stage::Idle | Stage::Hung => {}
        }
    }
}

impl Director {
    /// Begins a reload, or notes that another one is wanted after the one under way.
    pub(super) fn begin_reload(
        &mut self,
        now: Instant,
        answer: Option<oneshot::Sender<ReloadResult>>,
    ) {
        match self.reload.stage {
            Stage::Reading { .. } | Stage::Applying { .. } => {
                self.reload.next.get_or_insert_default().extend(answer);
            }
            Stage::Hung => {
                self.reload.waiting.extend(answer);
                self.fail_reload(now, "an earlier reload still waits for the disk");
            }
            Stage::Idle => {
                self.reload.waiting.extend(answer);
                self.read_configuration(now);
            }
        }
    }

    /// Has a thread read and check the file, which may take its time.
    fn read_configuration(&mut self, now: Instant) {
        self.reload.stage = Stage::Reading {
            give_up_at: now + READ_LIMIT,
        };
        let (path, node, loaded) = (
            self.args.config.clone(),
            self.args.node.clone(),
            self.handles.loaded.clone(),
        );
        let thread = std::thread::Builder::new()
            .name("tandem-reload".to_owned())
            .stack_size(2 * 1024 * 1024);
        let spawned = thread.spawn(move || {
            // The director may have ended meanwhile.
            drop(loaded.blocking_send(load::load_from_disk(&path, node).map(Box::new)));
        });
        if let Err(error) = spawned {
            self.reload.stage = Stage::Idle;
            self.fail_reload(now, &format!("no thread to read the file: {error}"));
        }
    }

    /// The file has been read.
    pub(super) fn on_loaded(&mut self, now: Instant, loaded: std::io::Result<Box<Loaded>>) {
        let stage = std::mem::take(&mut self.reload.stage);
        if matches!(stage, Stage::Hung) {
            // What the file was then is not what whoever asks by now wants.
            return;
        }
        let mut loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let problem = unreadable(&error);
                return self.end_reload(
                    now,
                    ReloadOutcome::Refused,
                    None,
                    Vec::new(),
                    vec![problem],
                    None,
                );
            }
        };
        let problems = problems(&loaded.report);
        let Some(config) = loaded.config.take() else {
            return self.end_reload(
                now,
                ReloadOutcome::Refused,
                None,
                Vec::new(),
                problems,
                None,
            );
        };
        if config::diff(&self.running.config, &config).is_empty() {
            let hash = Some(config.hash.clone());
            self.running.config.hash = config.hash;
            self.running.text = loaded.text;
            return self.end_reload(
                now,
                ReloadOutcome::Unchanged,
                hash,
                Vec::new(),
                problems,
                None,
            );
        }
        self.reload.generations = self.reload.generations.max(self.running.generation) + 1;
        let generation = self.reload.generations;
        let order = plane::configure(generation, &loaded.path, &loaded.text, &config);
        let taken = match config.listeners.is_empty() {
            true => Taken::Nobody,
            false => self.plane.order(order),
        };
        self.reload.stage = Stage::Applying {
            loaded,
            config: Box::new(config),
            generation,
            give_up_at: now + APPLY_LIMIT,
        };
        match taken {
            Taken::Queued => {}
            // It gets the configuration when it starts.
            Taken::Nobody => self.on_configured(now, generation, None),
            Taken::Full => {
                let error = "the forwarder takes no orders at the moment".to_owned();
                self.on_configured(now, generation, Some(error));
            }
        }
    }

    /// The forwarder has applied a configuration, or could not.
    pub(super) fn on_configured(&mut self, now: Instant, applied: u64, error: Option<String>) {
        if !matches!(self.reload.stage, Stage::Applying { generation, .. } if generation == applied)
        {
            if let Some(error) = error
                && self.plane.on_refused(now, &error)
            {
                self.journal.record(Entry::new(
                    EventKind::Config,
                    "forwarder",
                    format!("does not serve the configuration: {error}"),
                ));
            }
            return;
        }
        let Stage::Applying {
            loaded,
            config,
            generation,
            ..
        } = std::mem::take(&mut self.reload.stage)
        else {
            return;
        };
        if let Some(error) = error {
            // Whatever it has made of it, or makes of it later: it serves what runs.
            self.configure_plane();
            let hash = Some(config.hash.clone());
            return self.end_reload(
                now,
                ReloadOutcome::Failed,
                hash,
                Vec::new(),
                problems(&loaded.report),
                Some(error),
            );
        }
        let changes: Vec<String> = config::diff(&self.running.config, &config)
            .iter()
            .map(ToString::to_string)
            .collect();
        let found = problems(&loaded.report);
        let hash = Some(config.hash.clone());
        let old = std::mem::replace(
            &mut self.running,
            Running {
                path: loaded.path,
                text: loaded.text,
                config: *config,
                generation,
                loaded_at: timestamp(),
            },
        );
        self.log.set_level(self.running.config.global.log.level);
        if old.config.listeners.is_empty() != self.running.config.listeners.is_empty() {
            self.order_forwarder();
        }
        self.follow_hooks();
        self.exposition.follow(self.running.config.global.metrics);
        self.follow_checks(now);
        self.apply_routers(now);
        self.follow_heartbeat(now);
        self.keep_last_good();
        self.notes
            .retain(|note| !note.contains("last good configuration"));
        self.end_reload(now, ReloadOutcome::Applied, hash, changes, found, None);
    }

    /// Gives up on a disk or a forwarder that does not answer.
    pub(super) fn expire_reload(&mut self, now: Instant) {
        if self.reload.deadline().is_none_or(|at| at > now) {
            return;
        }
        match self.reload.stage {
            Stage::Reading { .. } => {
                self.reload.stage = Stage::Hung;
                self.fail_reload(now, "the file could not be read in time");
            }
            Stage::Applying { generation, .. } => {
                let error = "the forwarder did not answer in time".to_owned();
                self.on_configured(now, generation, Some(error));
            }
            Stage::Idle | Stage::Hung => {}
        }
    }

    /// The forwarder has ended. The next one is told what runs, and nothing of what this one was about to apply.
    pub(super) fn lose_reload(&mut self, now: Instant) {
        if let Stage::Applying { generation, .. } = self.reload.stage {
            let error = "the forwarder ended while it applied it".to_owned();
            self.on_configured(now, generation, Some(error));
        }
    }

    /// Brings the virtual routers in line with the running configuration; one that did not change is not touched.
    fn apply_routers(&mut self, now: Instant) {
        let wanted = self.running.config.vrrp.clone();
        let mut gone = Vec::new();
        for index in 0..self.instances.len() {
            let current = &self.instances[index];
            if current.departing {
                continue;
            }
            let name = &current.config.name;
            match wanted.iter().find(|config| config.name == *name) {
                Some(config) if *config == current.config => {}
                Some(config) if same_wires(config, &current.config) => {
                    let notices =
                        self.instances[index].reconfigure(now, config.clone(), &self.wires);
                    self.on_notices(notices);
                }
                Some(_) | None => gone.push(index),
            }
        }
        self.dismiss(now, &gone);
        self.regroup(now);
        for config in wanted {
            let runs = self
                .instances
                .iter()
                .any(|instance| !instance.departing && instance.config.name == config.name);
            if !runs {
                self.start_instance(now, config);
            }
        }
        self.instances.note_layout_change();
        self.reconcile(now);
        self.close_unused_wires();
    }

    fn fail_reload(&mut self, now: Instant, error: &str) {
        let error = Some(error.to_owned());
        self.end_reload(
            now,
            ReloadOutcome::Failed,
            None,
            Vec::new(),
            Vec::new(),
            error,
        );
    }

    /// Says how it ended to whoever waits, and begins the next one that is wanted.
    fn end_reload(
        &mut self,
        now: Instant,
        outcome: ReloadOutcome,
        hash: Option<String>,
        changes: Vec<String>,
        problems: Vec<Problem>,
        error: Option<String>,
    ) {
        let result = ReloadResult {
            outcome,
            at: timestamp(),
            path: self.args.config.display().to_string(),
            hash,
            generation: self.running.generation,
            changes,
            problems,
            error,
        };
        self.journal
            .record(Entry::new(EventKind::Config, "config", words(&result)));
        let place = match outcome {
            ReloadOutcome::Applied => 0,
            ReloadOutcome::Unchanged => 1,
            ReloadOutcome::Refused => 2,
            ReloadOutcome::Failed => 3,
        };
        self.reload.results[place] += 1;
        self.watch_certificates();
        for waiting in self.reload.waiting.drain(..) {
            // Whoever asked may have gone.
            drop(waiting.send(result.clone()));
        }
        self.reload.last = Some(result);
        if let Some(waiting) = self.reload.next.take() {
            self.reload.waiting = waiting;
            self.begin_reload(now, None);
        }
    }
}

/// Whether one can become the other without leaving: same link, same id, same way of sending, same virtual links.
fn same_wires(a: &config::Vrrp, b: &config::Vrrp) -> bool {
    let key = |config: &config::Vrrp| {
        (
            config.interface.clone(),
            config.settings.vrid,
            config.unicast.as_ref().map(|unicast| unicast.source),
            config.virtual_mac.then(|| families(config)),
        )
    };
    key(a) == key(b)
}

/// Whether there are addresses of IPv4 and of IPv6: each has a link with a virtual MAC of its own.
fn families(config: &config::Vrrp) -> (bool, bool) {
    let any = |v4| config.vips.iter().any(|vip| vip.address.is_ipv4() == v4);
    (any(true), any(false))
}

fn words(result: &ReloadResult) -> String {
    let errors = result
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    match result.outcome {
        ReloadOutcome::Applied => format!(
            "reload applied, generation {}: {}",
            result.generation,
            result.changes.join("; ")
        ),
        ReloadOutcome::Unchanged => "reload: nothing has changed".to_owned(),
        ReloadOutcome::Refused => {
            let plural = if errors == 1 { "" } else { "s" };
            format!(
                "reload refused, {errors} error{plural}; the running configuration was not changed"
            )
        }
        ReloadOutcome::Failed => format!(
            "reload failed, the running configuration was not changed: {}",
            result.error.as_deref().unwrap_or("no reason given")
        ),
    }
}

fn unreadable(error: &std::io::Error) -> Problem {
    Problem {
        code: "E000".to_owned(),
        severity: Severity::Error,
        line: 0,
        column: 0,
        message: format!("the file cannot be read: {error}"),
        remedy: Some("check that it exists and that root may read it".to_owned()),
    }
}

fn problems(report: &config::Report) -> Vec<Problem> {
    report.problems.iter().map(problem).collect()
}

fn problem(problem: &config::Problem) -> Problem {
    Problem {
        code: problem.code.to_string(),
        severity: match problem.severity {
            config::Severity::Error => Severity::Error,
            config::Severity::Warning => Severity::Warning,
        },
        line: problem.line as u32,
        column: problem.column as u32,
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
    }
}
