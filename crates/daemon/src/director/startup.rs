//! From nothing to a running loop: the order in which a director comes up.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use control::EventKind;
use control::internal::{LANGUAGE, ToKeeper};
use linux::address::{Address, Kernel, Link};
use linux::channel::{AsyncChannel, Channel};
use linux::monitor::Monitor;
use linux::process::Capability;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::certificates::Certificates;
use super::grid::Grid;
use super::inputs::{self, Handles, Sources};
use super::journal::{Entry, Journal};
use super::last_good::{self, LastGood};
use super::load::{self, Loaded};
use super::parent_settings::{self, ParentSettings};
use super::plane::Plane;
use super::reload::Reload;
use super::renewals::Renewals;
use super::residence::Residence;
use super::restart::Restart;
use super::runner::Runner;
use super::{Director, Figures, Running, nft, server, testament, timestamp, virtual_links};
use crate::args::{Args, Role};
use crate::log::{self, last_words};
use crate::{EXIT_CONFIGURATION, EXIT_LANGUAGE, EXIT_PERMISSION};

/// Real-time priority of the director, below the keeper's.
const REALTIME_PRIORITY: u8 = 20;
/// What the director keeps of root's powers.
const CAPABILITIES: [Capability; 4] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_SYS_NICE,
    Capability::CAP_IPC_LOCK,
];
/// Messages of tasks and threads that may wait for the loop.
const QUEUED: usize = 64;

/// Runs until it has left.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    crate::process::adopt(Role::Director).context("set up the process")?;
    linux::process::map_large_memory();
    linux::process::die_with_parent(
        linux::process::Signal::Term,
        std::os::unix::process::parent_id(),
    )
    .context("tie the process to its keeper")?;
    if args.language.is_some_and(|language| language != LANGUAGE) {
        last_words(
            "this program speaks another language than the keeper that runs: stop and start the service",
        );
        return Ok(ExitCode::from(EXIT_LANGUAGE));
    }
    let channel = Channel::from_stdin().context("open the channel to the keeper")?;
    let mut notes = Vec::new();
    let Some(loaded) = load_apart(args, &mut notes) else {
        return Ok(ExitCode::from(EXIT_CONFIGURATION));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let done = tokio::task::LocalSet::new().block_on(&runtime, async {
        let (mut director, mut sources) = assemble(args.clone(), loaded, channel, notes).await?;
        while !director.is_finished() {
            let deadline = director.deadline(Instant::now());
            let input = inputs::next(
                &mut sources,
                &director.wires,
                &director.watchers,
                &director.second_path,
                deadline,
            )
            .await;
            director.take(input, deadline);
        }
        director.say_goodbye();
        anyhow::Ok(())
    });
    runtime.shutdown_background();
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is::<Powerless>() => {
            last_words(&error.to_string());
            Ok(ExitCode::from(EXIT_PERMISSION))
        }
        Err(error) => Err(error),
    }
}

/// [`load_for_start`] in a thread of its own, whose memory the allocator keeps apart. What is left is copied out of it, so that nothing of
/// all that was needed to read a configuration lies between what lasts.
fn load_apart(args: &Args, notes: &mut Vec<String>) -> Option<Loaded> {
    let read = std::thread::scope(|scope| scope.spawn(|| load_for_start(args, notes)).join());
    match read {
        Ok(loaded) => loaded.map(|loaded| loaded.copy()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The file, or for a director that starts again the last configuration that was good; none with every error said.
fn load_for_start(args: &Args, notes: &mut Vec<String>) -> Option<Loaded> {
    let loaded = load::load_from_disk(&args.config, args.node.clone());
    let refused = match loaded {
        Ok(loaded) if loaded.config.is_some() => {
            last_words(&loaded.report_text);
            return Some(loaded);
        }
        Ok(loaded) => loaded.report_text,
        Err(error) => format!("{}: {error}", args.config.display()),
    };
    last_words(&refused);
    if args.restarts == 0 && args.resume.is_none() {
        return None;
    }
    let kept = last_good::read(&args.state_dir, args.node.clone())
        .ok()
        .filter(|kept| kept.config.is_some())?;
    notes.push(format!(
        "{} is broken; the last good configuration runs",
        args.config.display()
    ));
    Some(kept)
}

async fn assemble(
    args: Args,
    loaded: Loaded,
    channel: Channel,
    mut notes: Vec<String>,
) -> anyhow::Result<(Director, Sources)> {
    let Loaded {
        path, text, config, ..
    } = loaded;
    let config = config.context("start without a configuration")?;
    crate::process::ignore(&crate::process::GROUP_SIGNALS).context("set up signals")?;
    let terminate = signal(SignalKind::terminate()).context("set up signals")?;
    let (asking, requests) = open_socket(&args, &config, &mut notes)?;
    let refused = harden(&config)?;
    // Threads begin here: they have only the powers that are left.
    let log = log::start(config.global.log.level, config.global.log.format);
    for refused in refused {
        tracing::warn!("{refused}");
    }
    let (journal, journal_error) = Journal::open(&super::node_name(&config), &args.state_dir);
    if let Some(error) = journal_error {
        notes.push(format!(
            "the journal is kept in memory only: {}: {error}",
            args.state_dir.display()
        ));
    }
    let kernel = Rc::new(Kernel::open().context("open netlink for addresses")?);
    let monitor = Monitor::open().context("open netlink for changes")?;
    let restart = Restart::resuming(Instant::now(), args.resume.as_deref());
    let swept = kernel
        .sweep(&restart.addresses(&config)?)
        .await
        .context("sweep addresses that an earlier run left behind")?;
    let swept_links = kernel
        .sweep_links(virtual_links::is_left_behind)
        .await
        .context("sweep links that an earlier run left behind")?;
    let restored = parent_settings::restore(&args.state_dir);
    let listed = inputs::list(&kernel)
        .await
        .context("list links and addresses")?;
    let (outcomes, outcomes_out) = mpsc::unbounded_channel();
    let (plane_in, plane) = mpsc::channel(QUEUED);
    let (runner_in, runner) = mpsc::channel(QUEUED);
    let (listed_in, listed_out) = mpsc::channel(1);
    let (loaded_in, loaded_out) = mpsc::channel(1);
    let (kept_in, kept) = mpsc::channel(QUEUED);
    let (overrides, unread) = super::overrides::Overrides::open(&args.state_dir, kept_in);
    notes.extend(unread);
    let (certificates_in, certificates) = mpsc::channel(1);
    let keeper = Rc::new(AsyncChannel::new(channel).context("watch the channel to the keeper")?);
    let settings = Rc::new(ParentSettings::new(&args.state_dir));
    let stamps = super::signing::Highest::told(args.stamp.map(vrrp::Stamp::from_value));
    let now = Instant::now();
    let grid = Grid::beginning_at(now);
    let renewals = Renewals::start(Rc::clone(&kernel), outcomes.clone());
    if let Err(error) = monitor.pass_over_renewals(kernel.renewal_port()) {
        tracing::debug!(%error, "the kernel tells of each renewal");
    }
    let mut director = Director {
        recorder: super::flight::Recorder::start(&args.state_dir),
        last_good: LastGood::new(&args.state_dir),
        args,
        log,
        running: Running {
            path,
            text,
            config,
            generation: 1,
            loaded_at: timestamp(),
        },
        journal,
        kernel,
        settings,
        keeper: Rc::clone(&keeper),
        facts: super::Facts::default(),
        wires: super::Wires::default(),
        watchers: super::Watchers::default(),
        second_path: super::SecondPath::default(),
        instances: super::Instances::new(grid),
        instances_made: 0,
        outcomes,
        renewals,
        surge: super::receive::Surge::default(),
        plane: Plane::new(plane_in),
        runner: Runner::new(runner_in),
        checks: super::tracking::Checks::default(),
        hooks: super::hooks::Hooks::default(),
        restart,
        exposition: super::exposition::Exposition::new(asking),
        figures: Figures::default(),
        reload: Reload::default(),
        listing: super::listing::Listing::default(),
        handover: None,
        overrides,
        questions: super::questions::Questions::default(),
        maintenance: super::maintenance::Maintenance::default(),
        started_at: now,
        next_beat_at: now,
        leaving: None,
        notes,
        residence: Residence::starting(now),
        judged: None,
        certificates: Certificates::start(certificates_in),
        stamps,
        announcers: super::announcers::Announcers::default(),
        handles: Handles {
            listed: listed_in,
            loaded: loaded_in,
        },
    };
    director.note_left_behind(&swept, &swept_links, &restored);
    director.begin(now, listed);
    let sources = Sources {
        monitor,
        keeper,
        terminate,
        outcomes: outcomes_out,
        plane,
        runner,
        requests,
        listed: listed_out,
        loaded: loaded_out,
        kept,
        certificates,
    };
    Ok((director, sources))
}

/// The control socket, bound while there is still the power to give it to a group.
fn open_socket(
    args: &Args,
    config: &config::Config,
    notes: &mut Vec<String>,
) -> anyhow::Result<(
    mpsc::Sender<server::Request>,
    mpsc::Receiver<server::Request>,
)> {
    let configured = &config.global.socket;
    let path = args
        .socket
        .clone()
        .or_else(|| configured.path.clone())
        .unwrap_or_else(|| "/run/tandem/tandem.sock".into());
    let group = configured
        .group
        .as_deref()
        .and_then(|name| match linux::process::group_id(name) {
            Ok(Some(group)) => Some(group),
            Ok(None) => {
                notes.push(format!(
                    "there is no group `{name}`: only root may use the control socket"
                ));
                None
            }
            Err(error) => {
                notes.push(format!("group `{name}` cannot be looked up: {error}"));
                None
            }
        });
    let listener = server::bind(&path, group)
        .with_context(|| format!("bind the control socket {}", path.display()))?;
    server::start(listener).context("serve the control socket")
}

/// What stops a start for want of a capability.
#[derive(Debug, thiserror::Error)]
#[error("virtual routers need {missing}; run as root, or give the service these capabilities")]
pub(super) struct Powerless {
    missing: String,
}

/// Makes the process hard to hold up and weak in other respects; each refusal that can be lived with is a sentence.
fn harden(config: &config::Config) -> Result<Vec<String>, Powerless> {
    let mut refused = Vec::new();
    let mut note = |what: &str, result: std::io::Result<()>| {
        if let Err(error) = result {
            refused.push(format!("{what}: {error}"));
        }
    };
    note(
        "no real-time scheduling",
        linux::process::realtime(REALTIME_PRIORITY),
    );
    let missing = linux::process::keep_capabilities(&CAPABILITIES);
    let missing = missing.inspect_err(|error| {
        note(
            "capabilities are not dropped",
            Err(std::io::Error::other(error.to_string())),
        )
    });
    let needed = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];
    let missing: Vec<String> = missing
        .unwrap_or_default()
        .into_iter()
        .filter(|missing| needed.contains(missing))
        .map(|missing| missing.to_string())
        .collect();
    if !config.vrrp.is_empty() && !missing.is_empty() {
        return Err(Powerless {
            missing: missing.join(" and "),
        });
    }
    Ok(refused)
}

impl Director {
    /// The first steps with everything in place.
    fn begin(&mut self, now: Instant, listed: inputs::Listed) {
        let started = if self.args.resume.is_some() {
            "started to go on after a planned restart".to_owned()
        } else if self.args.restarts == 0 {
            "started".to_owned()
        } else {
            format!("started again, {} times so far", self.args.restarts)
        };
        self.journal
            .record(Entry::new(EventKind::Daemon, "director", started));
        nft::remove_all();
        for note in &self.notes {
            tracing::warn!("{note}");
        }
        testament::send(&self.keeper, &ToKeeper::Beat);
        self.order_forwarder();
        self.follow_hooks();
        self.exposition.follow(self.running.config.global.metrics);
        self.follow_checks(now);
        self.facts.replace(listed.links, listed.addresses);
        self.follow_heartbeat(now);
        self.resume_maintenance(now);
        for config in self.running.config.vrrp.clone() {
            self.start_instance(now, config);
        }
        self.keep_last_good();
        self.watch_certificates();
        let status = format!(
            "{} with {} virtual routers and {} listeners",
            self.node_name(),
            self.instances.len(),
            self.running.config.listeners.len()
        );
        testament::send(&self.keeper, &ToKeeper::Ready(status));
        tracing::info!(
            node = self.node_name(),
            hash = self.running.config.hash,
            "configuration loaded"
        );
    }

    /// Journals what an earlier run left behind and did not live to take away.
    fn note_left_behind(&mut self, addresses: &[Address], links: &[Link], settings: &[String]) {
        let mut note = |subject, words: String| {
            self.journal
                .record(Entry::new(EventKind::Address, subject, words));
        };
        if !addresses.is_empty() {
            let count = addresses.len();
            note(
                "addresses",
                format!("{count} left behind by an earlier run were removed"),
            );
        }
        for link in links {
            note(
                "links",
                format!("{} left behind by an earlier run was removed", link.name),
            );
        }
        for name in settings {
            note(
                "settings",
                format!("{name} has the settings back that an earlier run changed"),
            );
        }
    }

    /// Has the running configuration kept for a director that has to start again.
    pub(super) fn keep_last_good(&self) {
        self.last_good.keep(self.running.text.clone());
    }

    fn say_goodbye(&mut self) {
        if self.restart.is_gone() {
            self.journal.record(Entry::new(
                EventKind::Daemon,
                "director",
                "ends for another one to go on",
            ));
            std::thread::sleep(Duration::from_millis(5));
            return;
        }
        self.journal
            .record(Entry::new(EventKind::Daemon, "director", "left"));
        testament::send(&self.keeper, &ToKeeper::Done);
        nft::remove_all();
        // The journal and the log have threads of their own; give them the moment they need.
        std::thread::sleep(Duration::from_millis(5));
    }
}
