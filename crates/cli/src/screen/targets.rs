//! `tandem targets`: every target with what was observed and what was ordered.

use control::{
    AnswerTotals, CheckState, GroupStatus, StickyStatus, TargetCondition, TargetStatus, Times,
    Timestamp,
};

use super::table::{Align, Cell, Table, cell};
use super::words::{age, count, flow, latency, rate, span_of_seconds};

/// Where the columns of times stand, if anything was timed.
const TIMES: usize = 5;

/// The screen of `tandem targets`: a table for each group.
pub(crate) fn targets(groups: &[GroupStatus], now: Timestamp) -> String {
    if groups.is_empty() {
        return "no groups\n".to_owned();
    }
    let blocks: Vec<String> = groups.iter().map(|one| group(one, now)).collect();
    blocks.join("\n")
}

fn group(group: &GroupStatus, now: Timestamp) -> String {
    let up = format!("{}/{} usable", group.usable, group.total);
    let waiting = match group.queued {
        0 => String::new(),
        some => format!("{} waiting for a place", count(some)),
    };
    let open = match group.fails_open {
        true => "fail-open: all are tried".to_owned(),
        false => String::new(),
    };
    let speech = group.speech.clone().unwrap_or_default();
    let head = [
        group.name.clone(),
        group.algorithm.clone(),
        up,
        open,
        speech,
        waiting,
        answers_begin(group),
    ];
    let mut out = flow("", 2, &head);
    if let Some(sticky) = &group.sticky {
        out.push_str(&flow("  ", 4, &words(sticky)));
    }
    let timed = (group.targets.iter()).any(|target| first_byte(target).total() > 0);
    let mut columns = vec![
        ("TARGET", Align::Left),
        ("STATE", Align::Left),
        ("WEIGHT", Align::Right),
        ("INFLIGHT", Align::Right),
        ("REQ/S", Align::Right),
        ("ERR", Align::Right),
        ("SINCE", Align::Right),
        ("WHY", Align::Left),
    ];
    if timed {
        columns.splice(TIMES..TIMES, [("P50", Align::Right), ("P99", Align::Right)]);
    }
    let mut table = Table::new(2, &columns).last_may_fall();
    for target in &group.targets {
        let mut row = vec![
            name_and_address(target),
            state_and_check(target),
            cell(weight_words(target)),
            cell(count(target.in_flight)),
            cell(rate(target.requests_per_s)),
            cell(count(target.errors_total)),
            cell(target.since.map_or("-".to_owned(), |since| age(since, now))),
            cell(target.why.as_deref().unwrap_or("-")),
        ];
        if timed {
            let times = first_byte(target);
            let percents = [50, 99].map(|percent| cell(latency(times.percentile(percent))));
            row.splice(TIMES..TIMES, percents);
        }
        table.row(row);
    }
    out.push_str(&table.draw());
    out
}

/// `answers begin p50 4.1ms p99 18ms`, once there were some.
fn answers_begin(group: &GroupStatus) -> String {
    let Some(times) = group
        .times
        .as_ref()
        .filter(|times| times.first_byte.total() > 0)
    else {
        return String::new();
    };
    let percentile = |percent| latency(times.first_byte.percentile(percent));
    format!(
        "answers begin p50 {} p99 {}",
        percentile(50),
        percentile(99)
    )
}

/// How long its answers took to begin.
pub(super) fn first_byte(target: &TargetStatus) -> Times {
    let answers = target.answers.as_ref();
    answers.map_or_else(Times::default, AnswerTotals::first_byte)
}

/// The state, and below it what the check says, where the state does not tell that.
fn state_and_check(target: &TargetStatus) -> Cell {
    let mut lines = vec![state_words(target)];
    let told = match target.check {
        CheckState::Up => target.state != TargetCondition::Unknown,
        CheckState::Down => target.state == TargetCondition::Down,
        CheckState::Unknown => target.state == TargetCondition::Unknown,
        CheckState::Off => false,
    };
    if !told {
        lines.push(format!("check {}", target.check.as_str()));
    }
    lines
}

/// `up`, `starting 40%`, `drain 4m12s`: with the time that is left for what is in flight and for bound clients.
pub(super) fn state_words(target: &TargetStatus) -> String {
    let state = target.state.as_str();
    match (target.warm_percent, target.leaves_in_ms) {
        (Some(percent), _) if target.state == TargetCondition::Starting => {
            format!("{state} {percent}%")
        }
        (_, Some(ms)) => format!("{state} {}", span_of_seconds(ms / 1000)),
        (_, _) => state.to_owned(),
    }
}

/// The weight that counts, with that of the file in brackets where it is another: `5 (1)`.
fn weight_words(target: &TargetStatus) -> String {
    match target.weight_in_file {
        Some(of_file) => format!("{} ({of_file})", target.weight),
        None => target.weight.to_string(),
    }
}

/// How well clients stay with their targets.
fn words(sticky: &StickyStatus) -> Vec<String> {
    let bound = sticky.hit_total + sticky.moved_total;
    let stayed = match (sticky.hit_total * 100).checked_div(bound) {
        Some(percent) => format!("{percent}% of {} bound requests stayed", count(bound)),
        None => "no bound request yet".to_owned(),
    };
    let mut words = vec![format!("sticky {}", sticky.cookie), stayed];
    for (total, what) in [
        (sticky.moved_total, "moved"),
        (sticky.new_total, "new"),
        (sticky.refused_total, "cookies refused"),
    ] {
        if total > 0 {
            words.push(format!("{} {what}", count(total)));
        }
    }
    words
}

/// The name, and below it the address if that is another.
fn name_and_address(target: &TargetStatus) -> Cell {
    let address = target.address.to_string();
    let mut lines = vec![target.name.clone()];
    if address != target.name {
        lines.push(address);
    }
    lines
}
