//! What the forwarder shows of itself: values copied out, cheap enough for a call each second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{
    Binding, BindingCounts, CheckTotals, Group, GroupSettings, Health, Order, Phase, Plan,
    Protocol, Rule, RuleAction, StickySettings, Target, TargetState, Timings,
};

use crate::tally::protocols::{HandshakeFigures, Http2Figures};

/// Everything at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Listeners by name.
    pub listeners: Vec<ListenerSnapshot>,
    /// Groups by name.
    pub groups: Vec<GroupSnapshot>,
}

/// One listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSnapshot {
    /// Its name.
    pub name: String,
    /// Addresses it accepts on.
    pub binds: Vec<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Connections being served.
    pub connections: u32,
    /// Connections ever accepted.
    pub connections_total: u64,
    /// HTTP requests ever read; on TCP the connections, on UDP the flows given to a target.
    pub requests_total: u64,
    /// Its clients of HTTP/2.
    pub http2: Http2Figures,
    /// Tunnels open: requests that were answered with another protocol, such as WebSocket.
    pub tunnels: u32,
    /// Tunnels ever opened.
    pub tunnels_total: u64,
    /// TLS handshakes ever completed.
    pub handshakes: HandshakeFigures,
    /// On UDP the datagrams ever passed on to targets, and to clients.
    pub datagrams_total: Option<(u64, u64)>,
    /// What it does with those that no rule matches.
    pub action: RuleAction,
    /// Number of its rules.
    pub rules: usize,
    /// How often something did not go well, by cause (`target-reset@headers`, ...); those that came up, in a fixed
    /// order.
    pub causes: Vec<(&'static str, u64)>,
    /// How long its HTTP requests took, by the class of their answer (`2xx`, ...; `none`); those that came up.
    pub request_times: Vec<(&'static str, Timings)>,
    /// Bytes ever received from clients and sent to them, counted when a request or connection is over.
    pub bytes_total: (u64, u64),
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleSnapshot {
    /// The listener it belongs to.
    pub listener: String,
    /// Its name, or its number.
    pub name: String,
    /// Requests or connections that have met it.
    pub requests_total: u64,
    /// What it does.
    pub action: RuleAction,
    /// How its clients stay with their group, if they do.
    pub sticky: Option<StickySnapshot>,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSnapshot {
    /// Its name.
    pub name: String,
    /// How it chooses, in the word of the configuration.
    pub algorithm: &'static str,
    /// What is spoken with its targets, in words, if it is more than HTTP/1.1 or plain bytes.
    pub speech: Option<String>,
    /// Targets that would get traffic for their own merit; 0 when the group fails open.
    pub usable: usize,
    /// Targets in all.
    pub total: usize,
    /// Requests or connections that wait for a place at a target.
    pub queued: u32,
    /// How often a request or connection had to wait, found too many waiting, or waited in vain.
    pub queue_totals: QueueTotals,
    /// Attempts that were made again, on another target or a new connection.
    pub retries_total: u64,
    /// Retries for which the budget was spent.
    pub retries_refused_total: u64,
    /// True while nobody is usable, and the others are tried all the same.
    pub fails_open: bool,
    /// What its requests or connections have waited for.
    pub times: GroupTimes,
    /// How its clients stay with their target, if they do.
    pub sticky: Option<StickySnapshot>,
    /// Its targets, in the order of the file.
    pub targets: Vec<TargetSnapshot>,
}

/// How often clients met what they are bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StickySnapshot {
    /// Name of the cookie.
    pub cookie: String,
    /// Requests by what became of their binding, in the order of [`Binding::ALL`].
    pub requests: Vec<(Binding, u64)>,
    /// Cookies of that name that were not believed.
    pub refused_total: u64,
}

/// What the requests or connections of a group have waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupTimes {
    /// A place at a target.
    pub queue: Timings,
    /// A connection to a target.
    pub connect: Timings,
    /// The first byte of an answer.
    pub first_byte: Timings,
}

/// What happened in the line of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueTotals {
    /// Joined it.
    pub waited: u64,
    /// Found it full.
    pub overflows: u64,
    /// Left it without a place because the time was up.
    pub timeouts: u64,
}

/// One target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetSnapshot {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// All axes in one word: the order if there is one, else what the check says, else what live traffic says.
    pub state: TargetStanding,
    /// What the active check says.
    pub check: CheckStanding,
    /// What live traffic says.
    pub passive: PassiveStanding,
    /// What the operator ordered.
    pub order: Order,
    /// How long what it serves may still go on, while it is ordered away and time is left.
    pub leaves_in: Option<Duration>,
    /// Its weight, as it counts at this moment.
    pub weight: u32,
    /// Requests or connections it is serving.
    pub in_flight: u32,
    /// Requests or connections it was ever picked for.
    pub requests_total: u64,
    /// Requests or connections that failed by its fault.
    pub errors_total: u64,
    /// How often live traffic has taken it out.
    pub ejections_total: u64,
    /// What its checks have found; `None` if it is not checked.
    pub checks_total: Option<CheckTotals>,
    /// Its answers by the first digit of their status, 1xx first.
    pub answers_total: [u64; 5],
    /// How long it took to begin its answers.
    pub first_byte: Timings,
    /// How much of its share it gets in its slow start, in percent; `None` outside of one.
    pub warm_percent: Option<u32>,
    /// Why it is not up, in words; empty when there is nothing to say.
    pub why: String,
}

/// Whether a target gets traffic, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetStanding {
    /// It does.
    Up,
    /// Its check fails.
    Down,
    /// Its first check has not finished.
    Unknown,
    /// Live traffic has taken it out.
    Ejected,
    /// One request tries whether it can come back.
    Probing,
    /// It has come back and gets a growing share.
    Starting,
    /// It is ordered to drain.
    Drain,
    /// It is in maintenance.
    Maint,
}

impl TargetStanding {
    /// The word used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Starting => "starting",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// What the active check says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckStanding {
    /// There is none.
    Off,
    /// None has finished yet.
    Unknown,
    /// It passes.
    Up,
    /// It fails.
    Down,
}

impl CheckStanding {
    /// The word used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What live traffic says about a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PassiveStanding {
    /// It is not asked.
    Off,
    /// Nothing against it.
    Ok,
    /// It was taken out.
    Ejected,
    /// One request tries whether it can come back.
    Probing,
}

impl PassiveStanding {
    /// The word used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ok => "ok",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
        }
    }
}

/// Whether the node may be trusted with traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// A plan is applied and every address of it is bound on every thread.
    pub listening: bool,
    /// Every target that is checked has been checked at least once; true from then on, whatever a reload adds.
    pub first_health_round_done: bool,
    /// A worker thread has not come round for a second.
    pub stalled: bool,
}

/// One rule of a listener.
pub(crate) fn rule(listener: &str, rule: &Rule) -> RuleSnapshot {
    RuleSnapshot {
        listener: listener.to_owned(),
        name: rule.settings().name.clone(),
        requests_total: rule.requests_total(),
        action: rule.settings().action.clone(),
        sticky: sticky(rule.settings().sticky.as_ref(), rule.bindings()),
    }
}

fn sticky(settings: Option<&StickySettings>, counts: &BindingCounts) -> Option<StickySnapshot> {
    let requests = Binding::ALL.map(|binding| (binding, counts.total(binding)));
    settings.map(|settings| StickySnapshot {
        cookie: settings.cookie.clone(),
        requests: requests.to_vec(),
        refused_total: counts.refused_total(),
    })
}

/// The groups of a plan.
pub(crate) fn groups(plan: &Plan) -> Vec<GroupSnapshot> {
    plan.groups().map(group).collect()
}

/// True once every target that is checked has been checked.
pub(crate) fn first_health_round_done(plan: &Plan) -> bool {
    plan.groups()
        .filter(|group| group.settings().health.check.is_on())
        .flat_map(|group| group.targets())
        .all(|target| target.state().health() != Health::Unknown)
}

fn group(group: &Arc<Group>) -> GroupSnapshot {
    let now = Instant::now();
    let (queue, budget, latency) = (group.queue(), group.budget(), group.latency());
    GroupSnapshot {
        name: group.settings().name.clone(),
        algorithm: group.settings().algorithm.as_str(),
        speech: group.settings().speech(),
        usable: group.usable(now),
        total: group.total(),
        queued: queue.waiting(),
        queue_totals: QueueTotals {
            waited: queue.waited_total(),
            overflows: queue.overflows_total(),
            timeouts: queue.timeouts_total(),
        },
        retries_total: budget.retries_total(),
        retries_refused_total: budget.refused_total(),
        fails_open: group.fails_open(now),
        times: GroupTimes {
            queue: latency.queue.read(),
            connect: latency.connect.read(),
            first_byte: latency.first_byte.read(),
        },
        sticky: sticky(group.settings().sticky.as_ref(), group.bindings()),
        targets: group
            .targets()
            .iter()
            .map(|each| target(each, group.settings(), now))
            .collect(),
    }
}

fn target(target: &Target, group: &GroupSettings, now: Instant) -> TargetSnapshot {
    let settings = target.settings();
    let state = target.state();
    let checked = group.health.check.is_on();
    let check = match (checked, state.health()) {
        (false, Health::Unknown | Health::Up | Health::Down) => CheckStanding::Off,
        (true, Health::Unknown) => CheckStanding::Unknown,
        (true, Health::Up) => CheckStanding::Up,
        (true, Health::Down) => CheckStanding::Down,
    };
    let passive = match (group.outlier.is_some(), state.passive()) {
        (false, Phase::Ok | Phase::Ejected | Phase::Probing) => PassiveStanding::Off,
        (true, Phase::Ok) => PassiveStanding::Ok,
        (true, Phase::Ejected) => PassiveStanding::Ejected,
        (true, Phase::Probing) => PassiveStanding::Probing,
    };
    let warm_percent = state.warm_percent(now, group.slow_start);
    TargetSnapshot {
        name: settings.name.clone(),
        address: settings.address,
        state: standing(state.order(), check, passive, warm_percent),
        check,
        passive,
        order: state.order(),
        leaves_in: leaves_in(state, now),
        weight: settings.weight,
        in_flight: state.in_flight(),
        requests_total: state.requests_total(),
        errors_total: state.errors_total(),
        ejections_total: state.ejections_total(),
        checks_total: checked.then(|| state.checks_total(now)),
        answers_total: state.answers_total(),
        first_byte: state.first_byte(),
        warm_percent,
        why: why(target, checked, passive, now),
    }
}

fn leaves_in(state: &TargetState, now: Instant) -> Option<Duration> {
    let leave_at = state.leave_at().filter(|_| state.order() != Order::Ready)?;
    let left = leave_at.saturating_duration_since(now);
    (!left.is_zero()).then_some(left)
}

/// All axes in one word; the worst wins.
fn standing(
    order: Order,
    check: CheckStanding,
    passive: PassiveStanding,
    warm_percent: Option<u32>,
) -> TargetStanding {
    match (order, check, passive) {
        (Order::Maint, _, _) => TargetStanding::Maint,
        (Order::Drain, _, _) => TargetStanding::Drain,
        (Order::Ready, CheckStanding::Down, _) => TargetStanding::Down,
        (Order::Ready, _, PassiveStanding::Ejected) => TargetStanding::Ejected,
        (Order::Ready, _, PassiveStanding::Probing) => TargetStanding::Probing,
        (Order::Ready, CheckStanding::Unknown, _) => TargetStanding::Unknown,
        (Order::Ready, CheckStanding::Off | CheckStanding::Up, _) if warm_percent.is_some() => {
            TargetStanding::Starting
        }
        (Order::Ready, CheckStanding::Off | CheckStanding::Up, _) => TargetStanding::Up,
    }
}

/// Why it is not up: `connect refused 3/3`, `ejected for 22s, time 2 in a row: 5 errors, last http 502`.
fn why(target: &Target, checked: bool, passive: PassiveStanding, now: Instant) -> String {
    let check = target.why().filter(|_| checked);
    let ejection = target
        .state()
        .ejection()
        .filter(|_| passive != PassiveStanding::Off)
        .map(|ejection| {
            let left = ejection.until.saturating_duration_since(now).as_secs();
            let time = if left > 0 {
                format!("ejected for {left}s")
            } else {
                "ejected until a request succeeds".to_owned()
            };
            let (times, errors, last) = (ejection.times, ejection.errors, ejection.last.words());
            let again = if times > 1 {
                format!(", time {times} in a row")
            } else {
                String::new()
            };
            format!("{time}{again}: {errors} errors, last {last}")
        });
    let words: Vec<String> = check.into_iter().chain(ejection).collect();
    words.join("; ")
}
