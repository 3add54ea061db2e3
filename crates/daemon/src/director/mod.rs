//! The director: election, addresses, tracking, configuration, control socket.
//!
//! One thread and one loop: [`inputs::next`] waits for whatever comes first, [`Director::take`] acts on it, and what has become due is done
//! after each input, so that no flood of one kind can hold up the clock. Nothing here waits for the kernel, the forwarder, a disk, a log or
//! a client: those have tasks and threads that answer with an input.

mod addresses;
mod announce;
mod announcers;
mod certificates;
mod evidence;
mod exposition;
mod facts;
mod flight;
mod grid;
mod groups;
mod heartbeat;
mod hooks;
mod inputs;
mod instance;
mod instances;
mod journal;
mod kernel_events;
mod last_good;
mod leaving;
mod links;
mod listing;
mod load;
mod maintenance;
mod metrics;
mod nft;
mod orders;
mod outlook;
mod overrides;
mod pair;
mod parent_settings;
mod plane;
mod practice;
mod processes;
mod questions;
mod receive;
mod refusal;
mod reload;
mod renewals;
mod residence;
mod restart;
mod runner;
mod seat;
mod second_path;
mod server;
mod signing;
mod simulate;
mod startup;
mod status;
mod steer;
mod stories;
mod testament;
mod tracked;
mod tracking;
mod virtual_links;
mod watchers;
mod wires;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use config::Config;
use control::internal::{AccessLogCounts, ToKeeper};
use control::{GroupStatus, ListenerStatus, Timestamp};
use linux::address::Kernel;
use linux::channel::AsyncChannel;
use tokio::sync::{mpsc, oneshot};
use vrrp::Event;

use self::addresses::{Addresses, Outcome};
use self::facts::Facts;
use self::inputs::Input;
use self::instance::Instance;
use self::instances::Instances;
use self::journal::Journal;
use self::parent_settings::ParentSettings;
use self::plane::Plane;
use self::second_path::SecondPath;
use self::tracking::{DataPlane, World};
use self::watchers::Watchers;
use self::wires::Wires;

pub(crate) use load::load_from_disk;
pub(crate) use startup::run;

/// How long the loop may have been away before silence of others says nothing: it is our own.
const ABSENCE: Duration = Duration::from_millis(500);

/// The configuration that runs.
struct Running {
    path: PathBuf,
    text: String,
    config: Config,
    generation: u64,
    loaded_at: Timestamp,
}

/// What the forwarder said last.
#[derive(Default)]
struct Figures {
    listeners: Vec<ListenerStatus>,
    groups: Vec<GroupStatus>,
    access_log: AccessLogCounts,
    waiting: Vec<oneshot::Sender<()>>,
    /// Targets have changed since.
    stale: bool,
    asked_at: Option<Instant>,
}

struct Director {
    args: crate::args::Args,
    log: crate::log::LogHandle,
    running: Running,
    journal: Journal,
    last_good: last_good::LastGood,
    recorder: flight::Recorder,
    kernel: Rc<Kernel>,
    settings: Rc<ParentSettings>,
    keeper: Rc<AsyncChannel>,
    facts: Facts,
    wires: Wires,
    watchers: Watchers,
    second_path: SecondPath,
    instances: Instances,
    instances_made: u64,
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
    renewals: renewals::Renewals,
    surge: receive::Surge,
    plane: Plane,
    runner: runner::Runner,
    checks: tracking::Checks,
    hooks: hooks::Hooks,
    restart: restart::Restart,
    exposition: exposition::Exposition,
    figures: Figures,
    reload: reload::Reload,
    listing: listing::Listing,
    handover: Option<orders::Handover>,
    overrides: overrides::Overrides,
    questions: questions::Questions,
    maintenance: maintenance::Maintenance,
    started_at: Instant,
    next_beat_at: Instant,
    leaving: Option<leaving::Leaving>,
    residence: residence::Residence,
    notes: Vec<String>,
    /// What [`Director::judge`] saw of the data plane last.
    judged: Option<(DataPlane, bool)>,
    certificates: certificates::Certificates,
    stamps: signing::Highest,
    announcers: announcers::Announcers,
    handles: inputs::Handles,
}

impl Director {
    /// Acts on one input, then does what is due. The loop had wanted to be woken at `expected_at` at the latest.
    fn take(&mut self, input: Input, expected_at: Instant) {
        let now = Instant::now();
        self.excuse_absence(now, now.saturating_duration_since(expected_at));
        match input {
            Input::Due => {}
            Input::Packets(key) => self.receive(now, &key),
            Input::Claims(ifindex) => self.on_claims(now, ifindex),
            Input::Heartbeat => self.on_heartbeat(now),
            Input::Change(change) => self.on_change(now, &change),
            Input::Listed(listed) => self.on_listed(now, listed),
            Input::Outcome(number, outcome) => self.on_outcome(now, number, outcome),
            Input::Keeper(message, fds) => self.on_keeper(now, message, fds),
            Input::KeeperGone => {
                self.leave(now);
                self.hooks.note_leaving(now, false);
            }
            Input::Terminate => self.leave(now),
            Input::Plane(link, message) => self.on_plane(now, link, message),
            Input::Runner(link, message) => self.on_runner(now, link, message),
            Input::Request(request) => self.on_request(now, request),
            Input::Loaded(loaded) => self.on_loaded(now, loaded),
            Input::Kept(kept) => self.on_kept(now, kept),
            Input::Certificates(found) => self.on_certificates(found),
        }
        self.run_due(now);
    }

    /// Whoever did not answer while this process was away (frozen, suspended) is not to blame. Which input comes first after it is chance.
    fn excuse_absence(&mut self, now: Instant, away: Duration) {
        if away > ABSENCE {
            self.plane.excuse(now);
            self.runner.excuse(now);
            self.reload.excuse(away);
            self.journal.lane.away(now, away);
        }
    }

    /// The earliest instant at which something has to be done.
    fn deadline(&self, now: Instant) -> Instant {
        let instances = self.instances.deadline();
        let settle_at = self.started_at + tracking::FIRST_ROUND_LIMIT;
        let settle = (settle_at > now).then_some(settle_at);
        [
            instances,
            settle,
            self.plane.silence_at(now),
            self.plane.again_at(),
            self.second_path.deadline(),
            self.reload.deadline(),
            self.overrides.deadline(),
            self.maintenance.deadline(),
            self.recorder.deadline(),
            self.hooks.deadline(),
            self.restart.deadline(),
            self.residence.deadline(),
            self.listing.deadline(),
            Some(self.next_beat_at),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now)
    }

    /// Does what is due, and looks again at every virtual router that something has happened to.
    fn run_due(&mut self, now: Instant) {
        self.run_second_path(now);
        for index in self.instances.in_turn(now) {
            let notices = self.instances[index].run_due(now, &self.wires);
            self.on_notices(notices);
            if self.instances[index].evidence.take_changed() {
                let facts = self.plane_facts(now);
                self.judge_one(now, index, &facts);
            }
        }
        self.renew_due(now);
        self.judge_plane(now);
        if self.plane.take_hopeless(now) {
            testament::send(&self.keeper, &ToKeeper::RestartForwarder);
        }
        if self.plane.take_again(now) {
            self.configure_plane();
        }
        self.run_due_runner(now);
        self.run_due_restart(now);
        self.expire_reload(now);
        self.run_due_listing(now);
        self.run_due_overrides(now);
        self.run_due_maintenance(now);
        self.record_due(now);
        if self.instances.remove_departed(now) {
            self.close_unused_wires();
        }
        self.run_due_leaving(now);
        self.instances.settle();
        self.refresh_watchers(now);
        if self.next_beat_at <= now {
            testament::send(&self.keeper, &ToKeeper::Beat);
            self.next_beat_at = now + testament::beat_limit(&self.instances) / 5;
        }
        self.run_due_residence(now);
        if testament::deposit(&mut self.instances, &mut self.wires, &self.keeper) {
            self.next_beat_at = now;
        }
    }

    /// Prolongs what is due to be. The cores had their turn before: one that found that it was away for too long holds nothing any more.
    fn renew_due(&mut self, now: Instant) {
        for (lease, holders) in self.instances.renewals_due(now) {
            let held = holders.into_iter().map(|index| &self.instances[index]);
            let vips = held
                .filter(|holder| holder.lease_held() == Some(lease))
                .flat_map(|holder| {
                    let number = holder.number;
                    holder.vips().into_iter().map(move |vip| (number, vip))
                });
            self.renewals.ask(vips.collect(), now + lease / 2);
        }
    }

    /// Whether this process has nothing left to do.
    fn is_finished(&self) -> bool {
        let left = self.leaving.is_some() && self.instances.is_empty();
        (left && !self.hooks.hold_back(Instant::now())) || self.restart.is_gone()
    }

    fn close_unused_wires(&mut self) {
        self.watchers.note_change();
        self.instances.refresh_directory();
        self.wires.retain(|key| self.instances.uses(key));
    }

    /// Starts a virtual router; it takes part as soon as its link and source address are there.
    fn start_instance(&mut self, now: Instant, config: Arc<config::Vrrp>) {
        self.instances_made += 1;
        let number = self.instances_made;
        let addresses = Addresses::new(
            number,
            Rc::clone(&self.kernel),
            Rc::clone(&self.settings),
            self.outcomes.clone(),
        );
        let mut instance = Instance::new(now, number, config, addresses);
        instance.announcers = self.announcers.clone();
        instance.signing = signing::Signing::new(self.stamps.clone());
        self.instances.push(instance);
        let index = self.instances.len() - 1;
        self.reconcile_one(now, index);
        self.start_if_prepared(now, index);
    }

    /// Lets a virtual router take part once what it has ordered for that is there or has failed.
    fn start_if_prepared(&mut self, now: Instant, index: usize) {
        let instance = &self.instances[index];
        let awaited = self.restart.awaits(&instance.config.name);
        if instance.started || instance.departing || instance.is_preparing() || awaited {
            return;
        }
        self.start_with(now, index, Event::Startup);
    }

    fn start_with(&mut self, now: Instant, index: usize, event: Event) {
        self.instances[index].started = true;
        self.seat(now, index);
        let notices = self.instances[index].handle(now, event, &self.wires);
        self.on_notices(notices);
    }

    /// Judges again when the data plane, or the time since the start, is not what was judged last: most turns of the loop change neither.
    fn judge_plane(&mut self, now: Instant) {
        if self.judged.as_ref() != Some(&self.plane_facts(now)) {
            self.judge(now);
        }
    }

    /// The data plane, and whether the node has been up for long enough not to wait for its first health round.
    fn plane_facts(&self, now: Instant) -> (DataPlane, bool) {
        let settled = now.saturating_duration_since(self.started_at) >= tracking::FIRST_ROUND_LIMIT;
        (self.plane.view(now), settled)
    }

    /// Judges tracked facts for every virtual router.
    fn judge(&mut self, now: Instant) {
        let facts = self.plane_facts(now);
        for index in 0..self.instances.len() {
            self.judge_one(now, index, &facts);
        }
        self.judged = Some(facts);
    }

    fn judge_one(&mut self, now: Instant, index: usize, (plane, settled): &(DataPlane, bool)) {
        let instance = &self.instances[index];
        let world = World {
            plane,
            settled: *settled,
            usable: self.plane.usable(),
            checks: &self.checks,
        };
        let mut verdict =
            tracking::judge(&instance.config, &world, |name| self.facts.link_fact(name));
        verdict.contributions.extend(self.rest());
        verdict.fault = (verdict.fault)
            .or_else(|| instance.obstacle.clone())
            .or_else(|| instance.evidence.obstacle());
        if verdict != instance.verdict {
            let notices = self.instances[index].set_verdict(now, verdict, &self.wires);
            self.on_notices(notices);
        }
    }

    /// Name of this node.
    fn node_name(&self) -> String {
        node_name(&self.running.config)
    }
}

/// Name of the node: as in the pair, the host name without one.
fn node_name(config: &Config) -> String {
    let host_name = || {
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_default()
    };
    config.node.clone().unwrap_or_else(host_name)
}

fn timestamp() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
