//! `tandem status`: the whole node on one screen.

use control::{
    ConfigStatus, ForwarderState, GroupStatus, ListenerStatus, Overall, PairNode, PairStatus,
    ReloadOutcome, Status, TargetCondition, Times, Timestamp, VrrpStatus,
};

use super::overrides;
use super::protocols;
use super::table::{Align, Cell, Table, cell};
use super::targets::state_words;
use super::words::{age, count, flow, latency, millis, rate, sentence, span_of_seconds, width};

/// Indent of what follows the word at the beginning of a line.
const INDENT: usize = 8;

/// The screen of `tandem status`.
pub(crate) fn status(status: &Status, now: Timestamp) -> String {
    let mut out = head(status, now);
    if !status.listeners.is_empty() {
        out.push('\n');
        out.push_str(&listener_table(&status.listeners));
        out.push_str(&protocols::table(&status.listeners));
    }
    if !status.groups.is_empty() {
        out.push('\n');
        out.push_str(&group_table(&status.groups));
    }
    if !status.problems.is_empty() {
        out.push('\n');
    }
    for problem in &status.problems {
        out.push_str(&sentence("! ", 2, problem));
    }
    out
}

/// The node in a few lines: who it is, what it runs, how it does.
pub(super) fn head(status: &Status, now: Timestamp) -> String {
    let mut out = match &status.pair {
        Some(pair) => pair_line(pair, &status.config.hash, now),
        None => flow("node    ", INDENT, &[format!("{}*", status.node)]),
    };
    out.push_str(&config_line(&status.config, now));
    out.push_str(&vrrp_lines(&status.vrrp, now));
    out.push_str(&now_line(status));
    out.push_str(&overrides::line(&status.overrides));
    out
}

/// `pair    lb1* ACTIVE 4d02h  lb2 backup -  config same`
fn pair_line(pair: &PairStatus, own_hash: &str, now: Timestamp) -> String {
    let mut pieces: Vec<String> = pair.nodes.iter().map(|node| pair_node(node, now)).collect();
    let peer_hash = pair
        .nodes
        .iter()
        .filter(|node| !node.this)
        .find_map(|node| node.config_hash.as_deref());
    pieces.push(match peer_hash {
        Some(hash) if hash == own_hash => "config same".to_owned(),
        Some(hash) => format!("config DIFFERS: {hash}"),
        None => String::new(),
    });
    flow("pair    ", INDENT, &pieces)
}

fn pair_node(node: &PairNode, now: Timestamp) -> String {
    let star = if node.this { "*" } else { "" };
    let since = node.since.map_or("-".to_owned(), |since| age(since, now));
    let heard = node
        .heard_ms
        .map_or(String::new(), |ms| format!(" heard {} ago", millis(ms)));
    format!(
        "{}{star} {} {since}{heard}",
        node.name,
        node.role.as_str().to_uppercase()
    )
}

/// `config  8f3a17c0ffee  generation 3  loaded 2h00m ago  /etc/tandem/tandem.toml`
fn config_line(config: &ConfigStatus, now: Timestamp) -> String {
    let not_applied = config.last_reload.as_ref().and_then(|reload| {
        let word = match reload.outcome {
            ReloadOutcome::Refused => "REFUSED",
            ReloadOutcome::Failed => "FAILED",
            ReloadOutcome::Applied | ReloadOutcome::Unchanged => return None,
        };
        Some(format!("last reload {word} {} ago", age(reload.at, now)))
    });
    let pieces = [
        config.hash.clone(),
        format!("generation {}", config.generation),
        format!("loaded {} ago", age(config.loaded_at, now)),
        config.path.clone(),
        not_applied.unwrap_or_default(),
    ];
    flow("config  ", INDENT, &pieces)
}

/// One line for each name: both families of a name share one state.
fn vrrp_lines(routers: &[VrrpStatus], now: Timestamp) -> String {
    let name_width = routers
        .iter()
        .map(|router| width(&router.name))
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    let of_one_name = |a: &VrrpStatus, b: &VrrpStatus| a.name == b.name;
    for families in routers.chunk_by(of_one_name) {
        let Some(router) = families.first() else {
            continue;
        };
        let mut pieces = vec![
            format!("{:<name_width$}", router.name),
            format!(
                "{} {}",
                router.state.as_str().to_uppercase(),
                age(router.since, now)
            ),
            format!("vrid {}", router.vrid),
            router.interface.clone(),
        ];
        if router.effective_priority != router.priority {
            pieces.push(format!(
                "priority {} of {}",
                router.effective_priority, router.priority
            ));
        }
        pieces.extend(families.iter().map(|family| family.vips.join(" ")));
        pieces.push(match &router.last_transition {
            Some(change) => format!("last change {}: {}", age(change.at, now), change.reason),
            None => "last change -".to_owned(),
        });
        out.push_str(&flow("vrrp    ", INDENT + name_width + 2, &pieces));
    }
    out
}

/// `now     degraded  conns 3,899  1,204 req/s  5xx 0.02%  forwarder running 4d02h`
fn now_line(status: &Status) -> String {
    let verdict = match status.state {
        Overall::Good => "good",
        Overall::Degraded => "DEGRADED",
        Overall::NoService => "NO SERVICE",
    };
    let mut pieces = vec![verdict.to_owned()];
    if !status.listeners.is_empty() {
        let sum =
            |field: fn(&ListenerStatus) -> u64| count(status.listeners.iter().map(field).sum());
        pieces.push(format!("conns {}", sum(|listener| listener.connections)));
        let rates = |field: fn(&ListenerStatus) -> Option<f64>| {
            let known = status.listeners.iter().filter_map(field);
            known.reduce(|sum, rate| sum + rate)
        };
        let (all, failed) = (
            rates(|listener| listener.requests_per_s),
            rates(|listener| listener.failures_per_s),
        );
        if all.is_some() {
            pieces.push(format!("{} req/s", rate(all)));
        }
        if failed.is_some() {
            pieces.push(format!("5xx {}", share(failed, all)));
        }
    }
    let forwarder = &status.forwarder;
    if forwarder.state != ForwarderState::Off {
        let uptime = forwarder.uptime_s.map_or("-".to_owned(), span_of_seconds);
        pieces.push(format!("forwarder {} {uptime}", forwarder.state.as_str()));
        if forwarder.restarts > 0 {
            pieces.push(format!("restarts {}", count(forwarder.restarts)));
        }
    }
    pieces.push(format!(
        "tandemd {} up {}",
        status.version,
        span_of_seconds(status.uptime_s)
    ));
    flow("now     ", INDENT, &pieces)
}

/// The listeners, a line each.
pub(super) fn listener_table(listeners: &[ListenerStatus]) -> String {
    let times = |listener: &ListenerStatus| {
        let mut all = Times::default();
        (listener.request_times.values()).for_each(|class| all.add(class));
        all
    };
    let timed = listeners.iter().any(|listener| times(listener).total() > 0);
    let mut table = Table::new(
        0,
        &with_percentiles(
            timed,
            &[
                ("LISTENER", Align::Left),
                ("BIND", Align::Left),
                ("CONNS", Align::Right),
                ("REQ/S", Align::Right),
                ("5XX", Align::Right),
                ("ACTION", Align::Left),
            ],
        ),
    );
    for listener in listeners {
        let mut row = vec![
            cell(&listener.name),
            listener.bind.iter().map(ToString::to_string).collect(),
            cell(count(listener.connections)),
            cell(rate(listener.requests_per_s)),
        ];
        row.extend(percentiles(timed, &times(listener)));
        row.extend([
            cell(share(listener.failures_per_s, listener.requests_per_s)),
            cell(&listener.action),
        ]);
        table.row(row);
    }
    table.draw()
}

fn group_table(groups: &[GroupStatus]) -> String {
    let times = |group: &GroupStatus| {
        let times = group.times.as_ref();
        times.map_or_else(Times::default, |times| times.first_byte.clone())
    };
    let timed = groups.iter().any(|group| times(group).total() > 0);
    let mut table = Table::new(
        0,
        &with_percentiles(
            timed,
            &[
                ("GROUP", Align::Left),
                ("ALGO", Align::Left),
                ("UP", Align::Right),
                ("REQ/S", Align::Right),
                ("ERR", Align::Right),
                ("NOTE", Align::Left),
            ],
        ),
    );
    for group in groups {
        let requests = group.targets.iter().map(|target| target.requests_per_s);
        let errors = group.targets.iter().map(|target| target.errors_total);
        let mut row = vec![
            cell(&group.name),
            cell(&group.algorithm),
            cell(format!("{}/{}", group.usable, group.total)),
            cell(rate(requests.sum())),
        ];
        row.extend(percentiles(timed, &times(group)));
        row.extend([cell(count(errors.sum())), cell(note(group))]);
        table.row(row);
    }
    table.draw()
}

type Column = (&'static str, Align);

/// `0.02%` of what there is in a second; a dash if that is not known, or nothing.
fn share(part: Option<f64>, whole: Option<f64>) -> String {
    match (part, whole) {
        (Some(part), Some(whole)) if whole > 0.0 => match part * 100.0 / whole {
            0.0 => "0".to_owned(),
            some if some < 9.995 => format!("{some:.2}%"),
            much => format!("{much:.0}%"),
        },
        (Some(_) | None, Some(_) | None) => "-".to_owned(),
    }
}

/// The columns with two more before the last two, if anything was timed.
fn with_percentiles(timed: bool, columns: &[Column]) -> Vec<Column> {
    let mut columns = columns.to_vec();
    if timed {
        let last = columns.len() - 2;
        let more = ["P50", "P99"].map(|name| (name, Align::Right));
        columns.splice(last..last, more);
    }
    columns
}

fn percentiles(timed: bool, times: &Times) -> Vec<Cell> {
    let percents: &[u8] = if timed { &[50, 99] } else { &[] };
    let words = |percent: &u8| cell(latency(times.percentile(*percent)));
    percents.iter().map(words).collect()
}

/// The first target that is not simply up, and how many more there are. One that is unknown because it is never checked is well.
fn note(group: &GroupStatus) -> String {
    let unchecked =
        |state, check| state == TargetCondition::Unknown && check == control::CheckState::Off;
    let mut notable = group.targets.iter().filter(|target| {
        target.state != TargetCondition::Up && !unchecked(target.state, target.check)
    });
    let Some(first) = notable.next() else {
        return String::new();
    };
    let state = state_words(first);
    // An ejection says itself what it is, and for how long.
    let words = match &first.why {
        Some(why) if why.starts_with(&state) => why.clone(),
        Some(why) => format!("{state}: {why}"),
        None => state,
    };
    let more = match notable.count() {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    let open = if group.fails_open { "fail-open; " } else { "" };
    format!("{open}{} {words}{more}", first.name)
}
