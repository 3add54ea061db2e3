//! The forwarder process: the `forwarder` crate under the director's orders.
//!
//! The main thread only talks: it reads orders, answers, and pulses several times a second so that silence means something.
//! It outlives its director: the keeper hands it the stream to the next one, and no connection notices.

mod link;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use control::internal::{
    AccessLogCounts, CertificateText, FromForwarder, HealthChange, KeeperToWorker, Pulse,
    ToForwarder,
};
use control::{ErrorAnswer, GroupStatus, TargetCondition, Timestamp};
use forwarder::{
    CertificateMaterial, CookieKey, Forwarder, ForwarderSettings, Materials, TicketSecret,
};
use linux::channel::{AsyncChannel, Channel};
use linux::process::Capability;
use serde_json::Value;
use tokio::signal::unix::SignalKind;

use self::link::Link;
use crate::args::{Args, Role};
use crate::log;
use crate::rates::Rates;

/// Between two pulses.
const PULSE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the forwarder serves on when its keeper is gone: the director may still be handing the address over.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);
/// Changes of targets that may wait to be told; the oldest are forgotten first.
const UNTOLD: usize = 4096;

/// Runs until drained, or until the keeper is gone.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    crate::process::adopt(Role::Forwarder).context("set up the process")?;
    let channel = Channel::from_stdin().context("open the channel to the keeper")?;
    let refused = give_up_power(args);
    crate::process::serve(args, refused, |log| serve(channel, log))
}

/// Another user where one is configured, and no power but low ports; what is refused, in words.
fn give_up_power(args: &Args) -> Vec<String> {
    let mut refused = Vec::new();
    let mut note = |what: &str, result: std::io::Result<()>| {
        if let Err(error) = result {
            refused.push(format!("{what}: {error}"));
        }
    };
    // The keeper is hard to kill when memory runs out; the process that serves strangers should not be.
    note(
        "the out-of-memory score stays that of the keeper",
        linux::process::oom_score(0),
    );
    note(
        "the limit of open files stays as it is",
        linux::process::raise_nofile().map(drop),
    );
    let kept = [Capability::CAP_NET_BIND_SERVICE];
    let reduced = match (args.uid, args.gid) {
        (Some(uid), Some(gid)) if uid != nix::unistd::geteuid().as_raw() => {
            linux::process::become_user(uid, gid, &kept)
        }
        _ => linux::process::keep_capabilities(&kept),
    };
    note(
        "the forwarder keeps more power than it needs",
        reduced.map(drop),
    );
    refused
}

/// Everything the process is between its orders.
struct Data {
    forwarder: Option<Arc<Forwarder>>,
    generation: u64,
    /// What operators have ordered.
    overrides: balancer::Overrides,
    log: log::LogHandle,
    /// As the last configuration came with.
    cookie_keys: Vec<CookieKey>,
    /// What each target was found in, and since when.
    conditions: BTreeMap<(String, String), (TargetCondition, Timestamp)>,
    /// Usable targets by group, as the director has been told.
    usable: Option<BTreeMap<String, usize>>,
    /// Changes of targets that the director has yet to be told.
    untold: VecDeque<HealthChange>,
    rates: Rates,
}

async fn serve(channel: Channel, log: log::LogHandle) -> anyhow::Result<ExitCode> {
    crate::process::ignore(&crate::process::GROUP_SIGNALS).context("set up signals")?;
    // The end comes from the keeper, after the director has handed the address over.
    crate::process::ignore(&[SignalKind::terminate()]).context("set up signals")?;
    let keeper = AsyncChannel::new(channel).context("watch the channel to the keeper")?;
    let mut data = Data {
        forwarder: None,
        generation: 0,
        overrides: balancer::Overrides::default(),
        log,
        cookie_keys: Vec::new(),
        conditions: BTreeMap::new(),
        usable: None,
        untold: VecDeque::new(),
        rates: Rates::default(),
    };
    let mut link: Option<Link> = None;
    let mut pulse = tokio::time::interval(PULSE_INTERVAL);
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            message = keeper.receive() => match message {
                Ok(Some((bytes, fds))) => match serde_json::from_slice(&bytes) {
                    Ok(KeeperToWorker::Director) => {
                        link = fds.into_iter().next().and_then(Link::open);
                        data.usable = None;
                        pulse.reset_immediately();
                    }
                    Ok(KeeperToWorker::Drain { limit_ms }) => return Ok(data.drain(limit_ms).await),
                    Ok(KeeperToWorker::ReopenLogs) => data.reopen_logs(),
                    Err(error) => tracing::warn!(%error, "the keeper said something this forwarder does not know"),
                },
                Ok(None) | Err(_) => return Ok(data.serve_as_orphan(link).await),
            },
            order = next_order(&mut link) => match order {
                Some(order) => data.on_order(order, link.as_ref()).await,
                None => link = None,
            },
            _ = pulse.tick() => if let Some(link) = &link {
                link.answer(FromForwarder::Pulse(data.pulse()));
                data.tell_changes(link);
                data.read_totals();
            },
        }
    }
}

/// The next order of the current director; never, while there is none.
async fn next_order(link: &mut Option<Link>) -> Option<ToForwarder> {
    match link {
        Some(link) => link.orders.recv().await,
        None => std::future::pending().await,
    }
}

impl Data {
    async fn on_order(&mut self, order: ToForwarder, link: Option<&Link>) {
        let answer = match order {
            ToForwarder::Configure {
                generation,
                path,
                node,
                text,
                cookie_keys,
                ticket_keys,
                certificates,
                authorities,
                revocations,
            } => {
                let secrets = Secrets {
                    cookie_keys: cookie_keys
                        .into_iter()
                        .map(|key| CookieKey(key.0))
                        .collect(),
                    materials: Materials {
                        certificates: certificates.into_iter().map(material).collect(),
                        authorities,
                        revocations,
                        tickets: ticket_keys
                            .into_iter()
                            .map(|key| TicketSecret(key.0))
                            .collect(),
                    },
                };
                let error = self
                    .configure(link, generation, path, node, text, secrets)
                    .await
                    .err();
                FromForwarder::Configured { generation, error }
            }
            ToForwarder::Overrides(message) => {
                let number = message.number;
                let overrides = crate::ordered::overrides(message, Instant::now());
                let error = self.follow_orders(link, overrides).await.err();
                FromForwarder::Overridden { number, error }
            }
            ToForwarder::Part { addresses } => {
                if let Some(forwarder) = &self.forwarder {
                    forwarder.part(&addresses);
                }
                return;
            }
            ToForwarder::Cut { addresses, in_ms } => {
                if let Some(forwarder) = self.forwarder.clone() {
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(in_ms)).await;
                        forwarder.cut(&addresses);
                    });
                }
                return;
            }
            ToForwarder::Snapshot => self.snapshot(),
            ToForwarder::Explain { id, question } => {
                let answer = crate::explaining::answer(self.forwarder.as_deref(), question);
                FromForwarder::Answered { id, answer }
            }
            ToForwarder::Sessions { id, request } => {
                let list =
                    |forwarder: Option<&Forwarder>| crate::sessions::list(forwarder, request);
                let answer = self.ask_threads(link, list).await;
                FromForwarder::Answered { id, answer }
            }
            ToForwarder::Kill { id, request } => {
                let kill =
                    move |forwarder: Option<&Forwarder>| crate::sessions::kill(forwarder, &request);
                let answer = self.ask_threads(link, kill).await;
                FromForwarder::Answered { id, answer }
            }
        };
        if let Some(link) = link {
            link.report(answer);
        }
    }

    /// Has something looked up that waits for the threads of the forwarder, pulsing on.
    async fn ask_threads(
        &self,
        link: Option<&Link>,
        look: impl FnOnce(Option<&Forwarder>) -> Result<Value, ErrorAnswer> + Send + 'static,
    ) -> Result<Value, ErrorAnswer> {
        let forwarder = self.forwarder.clone();
        let looking = tokio::task::spawn_blocking(move || look(forwarder.as_deref()));
        let looked = pulsing(looking, link, self.pulse()).await;
        looked.unwrap_or_else(|error| {
            Err(ErrorAnswer {
                error: error.to_string(),
                remedy: None,
            })
        })
    }

    /// Applies a configuration on a thread of its own, pulsing on.
    async fn configure(
        &mut self,
        link: Option<&Link>,
        generation: u64,
        path: String,
        node: Option<String>,
        text: String,
        secrets: Secrets,
    ) -> Result<(), String> {
        let facts = config::Facts {
            node_override: node,
            host_name: String::new(),
            addresses: Vec::new(),
            file_access: false,
            // The director has judged them, and knows the addresses of this host.
            binds: config::Binds::Any,
            ..config::Facts::default()
        };
        // A long file takes longer to read than silence is believed.
        let loading =
            tokio::task::spawn_blocking(move || config::load(Path::new(&path), &text, &facts));
        let loaded = pulsing(loading, link, self.pulse()).await;
        let config::Outcome { config, report } = loaded.map_err(|error| error.to_string())?;
        let Some(config) = config else {
            let errors = report.problems.iter();
            let first = errors
                .filter(|problem| problem.severity == config::Severity::Error)
                .map(|problem| format!(", for line {}: {}", problem.line, problem.message))
                .next();
            return Err(format!(
                "the forwarder does not accept a configuration that the director did{}",
                first.unwrap_or_default()
            ));
        };
        self.log.set_level(config.global.log.level);
        let forwarder = match &self.forwarder {
            Some(running) => Arc::clone(running),
            None => self.start(config.global.threads)?,
        };
        // Before the first request is served by what is applied.
        forwarder.set_cookie_keys(&secrets.cookie_keys);
        let applying = Arc::clone(&forwarder);
        let access_log = config.global.access_log.clone();
        let Secrets {
            cookie_keys,
            materials,
        } = secrets;
        let applied = tokio::task::spawn_blocking(move || {
            // First, so that no request is served without its line.
            let before = applying.set_access_log(access_log);
            let applied = applying.apply_with(config.listeners, config.groups, &materials);
            if applied.is_err() {
                applying.set_access_log(before);
            }
            applied
        });
        let result = pulsing(applied, link, self.pulse()).await;
        let result = result.map_err(|error| error.to_string());
        let result = result.and_then(|applied| applied.map_err(|error| with_causes(&error)));
        if result.is_err() {
            forwarder.set_cookie_keys(&self.cookie_keys);
        }
        result?;
        self.cookie_keys = cookie_keys;
        self.generation = generation;
        Ok(())
    }

    /// Puts orders in force, pulsing on; without a forwarder they wait for one.
    async fn follow_orders(
        &mut self,
        link: Option<&Link>,
        overrides: balancer::Overrides,
    ) -> Result<(), String> {
        if let Some(forwarder) = self.forwarder.clone() {
            let overrides = overrides.clone();
            let followed = tokio::task::spawn_blocking(move || forwarder.override_with(overrides));
            let result = pulsing(followed, link, self.pulse()).await;
            result
                .map_err(|error| error.to_string())?
                .map_err(|error| with_causes(&error))?;
        }
        self.overrides = overrides;
        Ok(())
    }

    fn start(&mut self, threads: Option<usize>) -> Result<Arc<Forwarder>, String> {
        let threads = threads.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        });
        let started = Forwarder::start(ForwarderSettings { threads })
            .map_err(|error| format!("start {threads} worker threads: {error}"))?;
        started
            .override_with(self.overrides.clone())
            .map_err(|error| with_causes(&error))?;
        let started = Arc::new(started);
        self.forwarder = Some(Arc::clone(&started));
        Ok(started)
    }

    fn pulse(&self) -> Pulse {
        let ready = self.forwarder.as_ref().map(|forwarder| forwarder.ready());
        ready.map_or_else(Pulse::default, |ready| Pulse {
            generation: self.generation,
            listening: ready.listening,
            first_health_round_done: ready.first_health_round_done,
            stalled: ready.stalled,
        })
    }

    fn snapshot(&self) -> FromForwarder {
        let Some(forwarder) = &self.forwarder else {
            return FromForwarder::Snapshot {
                listeners: Vec::new(),
                groups: Vec::new(),
                access_log: AccessLogCounts::default(),
            };
        };
        let mut message = crate::figures::message(
            forwarder.snapshot(),
            forwarder.rules(),
            forwarder.access_log(),
        );
        if let FromForwarder::Snapshot {
            listeners, groups, ..
        } = &mut message
        {
            groups.iter_mut().for_each(|group| self.date(group));
            self.rates.fill(Instant::now(), listeners, groups);
        }
        message
    }

    /// Takes the readings that rates are made of.
    fn read_totals(&mut self) {
        let now = Instant::now();
        if self.rates.is_due(now)
            && let FromForwarder::Snapshot {
                listeners, groups, ..
            } = self.snapshot()
        {
            self.rates.turn(now, &listeners, &groups);
        }
    }

    /// Says since when each target of a group is in its state.
    fn date(&self, group: &mut GroupStatus) {
        for target in &mut group.targets {
            let key = (group.name.clone(), target.name.clone());
            let known = self.conditions.get(&key);
            let same = known.filter(|(state, _)| *state == target.state);
            target.since = same.map(|(_, since)| *since);
        }
    }

    /// Changes of targets since the last call.
    fn tell_changes(&mut self, link: &Link) {
        let Some(forwarder) = &self.forwarder else {
            return;
        };
        let groups = forwarder.snapshot().groups;
        let usable = groups
            .iter()
            .map(|group| (group.name.clone(), group.usable));
        let usable = Some(usable.collect::<BTreeMap<String, usize>>());
        if self.generation > 0
            && usable != self.usable
            && let Some(now) = usable.clone()
            && link.answer(FromForwarder::Usable(now))
        {
            self.usable = usable;
        }
        let changes = self.health_changes(groups);
        self.untold.extend(changes);
        self.untold
            .drain(..self.untold.len().saturating_sub(UNTOLD));
        while link.has_room()
            && let Some(change) = self.untold.pop_front()
        {
            link.answer(FromForwarder::Health(change));
        }
    }

    fn health_changes(&mut self, groups: Vec<forwarder::GroupSnapshot>) -> Vec<HealthChange> {
        let mut changes = Vec::new();
        let mut conditions = BTreeMap::new();
        for group in groups {
            for target in group.targets.into_iter().map(crate::figures::target) {
                let key = (group.name.clone(), target.name.clone());
                let known = self.conditions.get(&key).copied();
                let from = known.map_or(TargetCondition::Unknown, |(from, _)| from);
                if from != target.state && !is_ordered(from, target.state) {
                    changes.push(HealthChange {
                        group: group.name.clone(),
                        target: target.name,
                        from,
                        to: target.state,
                        why: target.why.unwrap_or_else(|| "the check passes".to_owned()),
                    });
                }
                let kept = known.filter(|(from, _)| *from == target.state);
                let since = kept.map_or_else(|| SystemTime::now().into(), |(_, since)| since);
                conditions.insert(key, (target.state, since));
            }
        }
        self.conditions = conditions;
        changes
    }

    fn reopen_logs(&self) {
        if let Some(forwarder) = &self.forwarder {
            forwarder.reopen_access_log();
        }
    }

    async fn drain(&self, limit_ms: u64) -> ExitCode {
        if let Some(forwarder) = self.forwarder.clone() {
            // The blocking thread ends with the process if it does not end by itself.
            let _ = tokio::task::spawn_blocking(move || {
                forwarder.drain(Duration::from_millis(limit_ms))
            })
            .await;
        }
        ExitCode::SUCCESS
    }

    /// The keeper is gone: serve while the director hands over, then end.
    async fn serve_as_orphan(&self, link: Option<Link>) -> ExitCode {
        if let Some(mut link) = link {
            let until_closed = async { while link.orders.recv().await.is_some() {} };
            let _ = tokio::time::timeout(ORPHAN_LIMIT, until_closed).await;
        }
        ExitCode::FAILURE
    }
}

/// What comes with a configuration and does not stand in its text.
struct Secrets {
    cookie_keys: Vec<CookieKey>,
    materials: Materials,
}

fn material(text: CertificateText) -> CertificateMaterial {
    CertificateMaterial {
        name: text.name,
        names: text.names,
        chain: text.chain,
        key: text.key,
        staple: text.staple,
    }
}

/// Whether a change is what an operator ordered: the director has journaled that.
fn is_ordered(from: TargetCondition, to: TargetCondition) -> bool {
    let away = |state| matches!(state, TargetCondition::Drain | TargetCondition::Maint);
    let back = matches!(to, TargetCondition::Up | TargetCondition::Starting);
    away(to) || (away(from) && back)
}

/// Waits for `work` and pulses meanwhile.
async fn pulsing<T>(work: impl Future<Output = T>, link: Option<&Link>, pulse: Pulse) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(PULSE_INTERVAL, &mut work).await {
            Ok(done) => return done,
            Err(_) => drop(link.map(|link| link.answer(FromForwarder::Pulse(pulse)))),
        }
    }
}

/// An error and its causes in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
