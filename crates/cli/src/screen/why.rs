//! `tandem why`: the story of one change of state, from a recording: what decided, what was measured, how long each step took.

use std::fmt::Write as _;

use control::{Fact, Recording, RecordingSummary, Run, Timestamp, VrrpState, What};

use super::words::{age, count, exact, sentence};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// Chooses facts.
type Wanted = fn(&What) -> bool;

/// Lines of the timeline before the change, and after it.
const LINES: usize = 20;
/// Where the text after a label begins.
const LABEL: usize = 11;
/// Where the text of a line of the timeline begins.
const TIMELINE: usize = 13;

/// The screen of `tandem why`; `all` shows the whole timeline.
pub(crate) fn why(recording: &Recording, all: bool, now: Timestamp) -> String {
    let summary = &recording.summary;
    let change = &summary.transition;
    let mut out = sentence(
        "",
        2,
        &format!(
            "{}  {} -> {} on {}, {} ago ({}, event {})",
            summary.name,
            change.from.as_str().to_uppercase(),
            change.to.as_str().to_uppercase(),
            summary.node,
            age(summary.at(), now),
            summary.at(),
            summary.seq,
        ),
    );
    out.push_str(&labelled("because", std::slice::from_ref(&change.reason)));
    out.push_str(&labelled("decided by", &evidence(recording)));
    out.push_str(&labelled("measured", &measured(recording)));
    out.push_str(&labelled("took", &steps(recording)));
    out.push('\n');
    out.push_str(&timeline(recording, all));
    if !recording.complete {
        out.push_str("This is still being recorded: ask again in two seconds.\n");
    }
    out
}

/// The screen of `tandem why --list`, newest first.
pub(crate) fn recordings(list: &[RecordingSummary], now: Timestamp) -> String {
    if list.is_empty() {
        return "no virtual router has changed its state\n".to_owned();
    }
    let mut out = String::new();
    for summary in list.iter().rev() {
        let change = &summary.transition;
        let head = format!("{:>6}  {} ago  ", summary.seq, age(summary.at(), now));
        let text = format!(
            "{}  {} -> {}  {}",
            summary.name,
            change.from.as_str(),
            change.to.as_str(),
            change.reason
        );
        out.push_str(&sentence(&head, 8, &text));
    }
    out
}

/// What tipped the scales, and what is known of it.
fn evidence(recording: &Recording) -> Vec<String> {
    let decided = match recording.summary.cause.as_str() {
        "silence" => "silence of the active router",
        "peer_left" => "the farewell of the active router (priority 0)",
        "preempting" => "our better priority, and the time to take over had come",
        "outranked" => "an advertisement with a better priority than ours",
        "late" => "our own absence: another router may have taken over meanwhile",
        "handed_over" | "shutdown" => "an order",
        "fault" => "something tracked",
        "claim_failed" | "address_lost" | "send_failed" => "the kernel",
        "no_source" => "the addresses of the interface",
        "recovered" => "the end of a fault",
        "startup" | "owner" => "the start",
        "resumed" => "the director before, which held the addresses and announced a pause",
        "reconfigured" | "joined" | "parted" => "a reload",
        other => other,
    };
    let mut lines = vec![decided.replace('_', " ")];
    if let Some(fact) = last_heard(recording) {
        lines.push(heard_words(fact));
    } else if recording.summary.transition.to == VrrpState::Active {
        lines.push(format!(
            "no other router was heard in the {} before",
            recorded(recording)
        ));
    }
    lines.extend(leads(recording));
    lines
}

/// How much of the time before the change is on record: a minute, unless the director began later.
fn recorded(recording: &Recording) -> String {
    let first_us = recording.facts.first().map_or(0, |fact| fact.at_us);
    let young = recording.omitted == 0 && first_us > -59_000_000;
    let started = |fact: &Fact| matches!(&*fact.what, What::Node { subject, words } if subject == "director" && words.starts_with("started"));
    if young && recording.facts.iter().any(started) {
        return length(first_us.unsigned_abs());
    }
    "minute".to_owned()
}

/// The last advertisement before the change.
fn last_heard(recording: &Recording) -> Option<&Fact> {
    let heard = |fact: &&Fact| matches!(*fact.what, What::Heard { .. }) && fact.at_us <= 0;
    recording.facts.iter().rev().find(heard)
}

fn heard_words(fact: &Fact) -> String {
    match &*fact.what {
        What::Heard {
            from,
            priority,
            interval_ms,
            run,
        } => format!(
            "last heard: {from} with priority {priority}, {} before{}",
            length(fact.at_us.unsigned_abs()),
            match run.count {
                1 => String::new(),
                _ => format!(
                    "; {} of these, each {} by its own word, longest gap {}",
                    count(run.count),
                    exact(*interval_ms),
                    length(run.longest_gap_us)
                ),
            }
        ),
        other => words(other),
    }
}

/// Other things that happened in the second before it was decided, or since the router that fell silent was heard.
fn leads(recording: &Recording) -> Vec<String> {
    let active = recording.summary.transition.to == VrrpState::Active;
    let decided_at = decision(recording)
        .filter(|_| active)
        .map_or(0, |(at_us, _)| at_us);
    let since = match last_heard(recording) {
        Some(heard) if recording.summary.cause == "silence" => heard.at_us,
        Some(_) | None => decided_at - 1_000_000,
    };
    let led = |fact: &&Fact| {
        (since..=decided_at).contains(&fact.at_us)
            && matches!(
                *fact.what,
                What::Kernel { .. }
                    | What::Happened { .. }
                    | What::Node { .. }
                    | What::Away { .. }
                    | What::Alarm { .. }
            )
    };
    let found: Vec<&Fact> = recording.facts.iter().filter(led).collect();
    let newest = &found[found.len().saturating_sub(4)..];
    newest
        .iter()
        .map(|fact| {
            let before = length(fact.at_us.unsigned_abs());
            format!("{before} before: {}", words(&fact.what))
        })
        .collect()
}

/// The decision that led to the change: the last one before it.
fn decision(recording: &Recording) -> Option<(i64, &What)> {
    let decided = |fact: &&Fact| matches!(*fact.what, What::Decision { .. }) && fact.at_us <= 0;
    let fact = recording.facts.iter().rev().find(decided)?;
    Some((fact.at_us, &*fact.what))
}

fn measured(recording: &Recording) -> Vec<String> {
    let mut lines = Vec::new();
    let becomes_active = recording.summary.transition.to == VrrpState::Active;
    if becomes_active
        && let Some((
            _,
            What::Decision {
                priority,
                interval_ms,
                learned_interval_ms,
                down_interval_us,
                skew_us,
                ..
            },
        )) = decision(recording)
    {
        let (interval, whose) = match learned_interval_ms {
            Some(learned) => (*learned, "learned"),
            None => (*interval_ms, "our own"),
        };
        lines.push(format!(
            "priority {priority}; silence of {} means that the active router is down: 3 intervals of {} ({whose}) and skew {}",
            length(*down_interval_us),
            exact(interval),
            length(*skew_us)
        ));
    }
    let timer = recording.facts.iter().rev().find(|fact| {
        fact.at_us <= 0 && fact.at_us > -1_000_000 && matches!(*fact.what, What::Timer { .. })
    });
    if let Some(fact) = timer {
        lines.push(words(&fact.what));
    }
    lines
}

/// How long each step took, from the decision on.
fn steps(recording: &Recording) -> Vec<String> {
    let facts = &recording.facts;
    let first = |from: i64, wanted: Wanted| {
        facts
            .iter()
            .filter(|fact| wanted(&fact.what))
            .map(began)
            .filter(|at| *at >= from)
            .min()
    };
    let mut lines = Vec::new();
    if recording.summary.transition.to != VrrpState::Active {
        let released = first(0, |what| matches!(what, What::Release));
        lines.extend(
            released.map(|at| format!("{} until the addresses were released", since(0, at))),
        );
        return lines;
    }
    let claim = facts
        .iter()
        .rev()
        .find(|fact| fact.at_us <= 0 && matches!(*fact.what, What::Claim));
    let Some(claim) = claim.map(|fact| fact.at_us) else {
        return lines;
    };
    if recording.summary.cause == "silence"
        && let Some(heard) = last_heard(recording)
    {
        lines.push(format!(
            "{} from the last advertisement to the decision",
            since(heard.at_us, claim)
        ));
    }
    let marks: [(&str, Wanted); 3] = [
        ("the kernel had confirmed the addresses", |what| {
            matches!(what, What::Claimed)
        }),
        (
            "the first advertisement was sent",
            |what| matches!(what, What::Sent { priority, .. } if *priority > 0),
        ),
        ("the neighbours were told", |what| {
            matches!(what, What::Announced { .. })
        }),
    ];
    for (name, wanted) in marks {
        if let Some(at) = first(claim, wanted) {
            lines.push(format!(
                "{} from the decision until {name}",
                since(claim, at)
            ));
        }
    }
    lines
}

/// When a fact began.
fn began(fact: &Fact) -> i64 {
    match &*fact.what {
        What::Heard { run, .. } | What::Sent { run, .. } | What::Kernel { run, .. } => run.first_us,
        _ => fact.at_us,
    }
}

fn since(from: i64, to: i64) -> String {
    length(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

fn timeline(recording: &Recording, all: bool) -> String {
    let facts = &recording.facts;
    let change = facts.partition_point(|fact| fact.at_us < 0);
    let (from, to) = if all {
        (0, facts.len())
    } else {
        (
            change.saturating_sub(LINES),
            facts.len().min(change + LINES),
        )
    };
    let mut out = String::new();
    let left_out = |count: usize, which: &str| {
        format!(
            "{:>TIMELINE$}{count} {which}: tandem why {} --all\n",
            "", recording.summary.seq
        )
    };
    if recording.omitted > 0 && all {
        let _ = writeln!(
            out,
            "{:>TIMELINE$}{} older found no room",
            "", recording.omitted
        );
    }
    if from > 0 {
        out.push_str(&left_out(from, "earlier"));
    }
    for fact in &facts[from..to] {
        let first = format!("{:>11}  ", offset(fact.at_us));
        out.push_str(&sentence(&first, TIMELINE, &words(&fact.what)));
    }
    if to < facts.len() {
        out.push_str(&left_out(facts.len() - to, "later"));
    }
    out
}

/// One fact in words.
fn words(what: &What) -> String {
    match what {
        What::Heard {
            from,
            priority,
            run,
            ..
        } => match (*priority, run.count) {
            (0, _) => format!("heard {from}: it leaves (priority 0){}", repeated(run)),
            (_, 1) => format!("heard {from}, priority {priority}"),
            (_, _) => format!("heard {from}, priority {priority}{}", repeated(run)),
        },
        What::Sent {
            family,
            priority,
            run,
        } => {
            let farewell = if *priority == 0 { " (we leave)" } else { "" };
            format!(
                "advertised over {}, priority {priority}{farewell}{}",
                family.as_str(),
                repeated(run)
            )
        }
        What::Kernel { words, run } if run.count == 1 => words.clone(),
        What::Kernel { words, run } => {
            format!(
                "{} changes since {}, the last: {words}",
                count(run.count),
                offset(run.first_us)
            )
        }
        What::Timer { name, late_us } => format!(
            "timer {} ran out, noticed {} late",
            name.replace('_', " "),
            length(*late_us)
        ),
        What::Decision { why, .. } => why.clone(),
        What::Claim => "asked the kernel for the addresses".to_owned(),
        What::Claimed => "the kernel confirmed the addresses".to_owned(),
        What::Release => "took the addresses away".to_owned(),
        What::Announce { why } => format!("began to announce: {why}"),
        What::Announced { addresses } => {
            format!("told the neighbours about {addresses} addresses")
        }
        What::Transition { from, to, reason } => format!("{from} to {to}: {reason}"),
        What::Alarm { words } => format!("alarm: {words}"),
        What::Happened { words } => words.clone(),
        What::Node { subject, words } => format!("{subject}: {words}"),
        What::Away { for_us } => format!("this process did not run for {}", length(*for_us)),
        What::Other => "something this program does not know".to_owned(),
    }
}

fn repeated(run: &Run) -> String {
    if run.count == 1 {
        return String::new();
    }
    format!(
        ", {} times since {}, longest gap {}",
        count(run.count),
        offset(run.first_us),
        length(run.longest_gap_us)
    )
}

/// Microseconds as a length: `0.2ms`, `361.0ms`, `57.0s`.
fn length(us: u64) -> String {
    if us < 10_000_000 {
        format!("{}.{}ms", us / 1000, us % 1000 / 100)
    } else {
        format!("{}.{}s", us / 1_000_000, us % 1_000_000 / 100_000)
    }
}

/// Microseconds from the change of state: `-361.0ms`, `+0.4ms`.
fn offset(us: i64) -> String {
    let sign = if us < 0 { '-' } else { '+' };
    format!("{sign}{}", length(us.unsigned_abs()))
}

fn labelled(word: &str, lines: &[String]) -> String {
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let word = if number == 0 { word } else { "" };
        out.push_str(&sentence(&format!("{word:<LABEL$} "), LABEL + 3, line));
    }
    out
}
