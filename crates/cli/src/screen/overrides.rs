//! What stands ordered: the list of it, the line in `tandem status`, and what became of one order.

use std::fmt::Write as _;
use std::time::Duration;

use control::{OrderResult, OverrideStatus, ShareStatus, Timestamp};

use super::table::{Align, Table, cell};
use super::words::{age, flow, sentence, span};

/// Orders named in `tandem status` before the rest is only counted.
const NAMED: usize = 3;
/// What is said of each order that stands.
const KEPT: &str = "kept across reload and restart, until cleared";

/// The screen of `tandem overrides`.
pub(crate) fn overrides(list: &[OverrideStatus], now: Timestamp) -> String {
    if list.is_empty() {
        return "nothing is ordered: all is as in the file\n".to_owned();
    }
    let mut table = Table::new(
        0,
        &[
            ("SUBJECT", Align::Left),
            ("ORDER", Align::Left),
            ("BY", Align::Left),
            ("SINCE", Align::Right),
            ("ENDS", Align::Right),
            ("WHY", Align::Left),
        ],
    );
    for entry in list {
        let gone = (!entry.matches).then(|| "(matches nothing)".to_owned());
        let why = entry.why.clone().into_iter().chain(gone);
        let why: Vec<String> = why.collect();
        table.row(vec![
            cell(&entry.subject),
            cell(&entry.words),
            cell(&entry.by),
            cell(age(entry.at, now)),
            cell(
                entry
                    .until
                    .map_or("-".to_owned(), |until| format!("in {}", left(until, now))),
            ),
            cell(if why.is_empty() {
                "-".to_owned()
            } else {
                why.join(" ")
            }),
        ]);
    }
    let mut out = table.draw();
    let _ = writeln!(out, "{KEPT} (--clear [SUBJECT])");
    out
}

/// `orders  app/10.0.0.21:8080 drain  site web-v2=25  2 more: tandem overrides`; nothing without orders.
pub(super) fn line(list: &[OverrideStatus]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let words = |entry: &OverrideStatus| format!("{} {}", entry.subject, entry.words);
    let mut pieces: Vec<String> = list.iter().take(NAMED).map(words).collect();
    let more = list.len().saturating_sub(NAMED);
    if more > 0 {
        pieces.push(format!("{more} more: tandem overrides"));
    }
    flow("orders  ", 8, &pieces)
}

/// What became of an order.
pub(crate) fn ordered(result: &OrderResult, now: Timestamp) -> String {
    let mut out = String::new();
    for entry in &result.cleared {
        let (subject, words, by) = (&entry.subject, &entry.words, &entry.by);
        let since = age(entry.at, now);
        let text = format!("{subject}: {words} is cleared, ordered by {by} {since} ago");
        out.push_str(&sentence("", 2, &text));
    }
    if let Some(entry) = &result.set {
        let until = entry
            .until
            .map_or(String::new(), |until| format!(" for {}", left(until, now)));
        let why = entry
            .why
            .as_ref()
            .map_or(String::new(), |why| format!(": {why}"));
        let text = format!("{}: {}{until}{why}", entry.subject, entry.words);
        out.push_str(&sentence("", 2, &text));
    }
    if !result.shares.is_empty() {
        out.push_str(&flow("  ", 2, &shares(&result.shares)));
    }
    if let Some(handover) = &result.handover {
        out.push_str(&super::handover(handover));
    }
    for note in &result.notes {
        out.push_str(&sentence("", 2, note));
    }
    if result.set.is_some() && result.kept {
        let _ = writeln!(out, "{KEPT} (tandem overrides)");
    }
    out
}

/// `web-v1 75 (75 %)`
fn shares(shares: &[ShareStatus]) -> Vec<String> {
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    let words = |share: &ShareStatus| {
        let percent = u64::from(share.weight) as f64 * 100.0 / total.max(1) as f64;
        format!("{} {} ({percent:.0} %)", share.group, share.weight)
    };
    shares.iter().map(words).collect()
}

/// How long it is until then; whole seconds, rounded up, so that an order for two hours says so.
fn left(until: Timestamp, now: Timestamp) -> String {
    let left = now.age(until).as_millis().div_ceil(1000);
    let seconds = u64::try_from(left).unwrap_or(u64::MAX);
    if seconds == 0 {
        "0s".to_owned()
    } else {
        span(Duration::from_secs(seconds))
    }
}
