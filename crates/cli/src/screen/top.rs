//! `tandem top`: the head of `tandem status` and the targets of all groups, the busiest first.

use control::{GroupStatus, Status, TargetStatus, Timestamp};

use super::status::{head, listener_table};
use super::table::{Align, Table, cell};
use super::targets::{first_byte, state_words};
use super::words::{count, latency, rate};
use crate::args::SortBy;

/// The screen of `tandem top`; of so many lines, or as long as it is.
pub(crate) fn top(status: &Status, sort: SortBy, lines: Option<usize>, now: Timestamp) -> String {
    let mut out = head(status, now);
    out.push('\n');
    if !status.listeners.is_empty() {
        out.push_str(&listener_table(&status.listeners));
        out.push('\n');
    }
    let mut rows: Vec<(&GroupStatus, &TargetStatus)> = (status.groups.iter())
        .flat_map(|group| group.targets.iter().map(move |target| (group, target)))
        .collect();
    let name =
        |(group, target): &(&GroupStatus, &TargetStatus)| (group.name.clone(), target.name.clone());
    rows.sort_by_cached_key(name);
    match sort {
        SortBy::Name => {}
        SortBy::Rate => rows.sort_by(|(_, a), (_, b)| {
            let rate = |target: &TargetStatus| target.requests_per_s.unwrap_or(0.0);
            rate(b).total_cmp(&rate(a))
        }),
        SortBy::Inflight => rows.sort_by_key(|(_, target)| std::cmp::Reverse(target.in_flight)),
        SortBy::Errors => rows.sort_by_key(|(_, target)| std::cmp::Reverse(target.errors_total)),
        SortBy::P99 => rows.sort_by_cached_key(|(_, target)| {
            std::cmp::Reverse(first_byte(target).percentile(99).unwrap_or_default())
        }),
    }
    let keys = format!(
        "{} targets by {}; r req/s, i inflight, e errors, p p99, n name, q quit\n",
        count(rows.len() as u64),
        sort.word()
    );
    let room = lines.map_or(usize::MAX, |lines| {
        lines.saturating_sub(out.lines().count() + 2)
    });
    let mut table = Table::new(
        0,
        &[
            ("TARGET", Align::Left),
            ("INFLIGHT", Align::Right),
            ("REQ/S", Align::Right),
            ("P50", Align::Right),
            ("P99", Align::Right),
            ("ERR", Align::Right),
            ("STATE", Align::Left),
        ],
    );
    for (group, target) in rows.into_iter().take(room) {
        let times = first_byte(target);
        table.row(vec![
            cell(format!("{}/{}", group.name, target.name)),
            cell(count(target.in_flight)),
            cell(rate(target.requests_per_s)),
            cell(latency(times.percentile(50))),
            cell(latency(times.percentile(99))),
            cell(count(target.errors_total)),
            cell(state_words(target)),
        ]);
    }
    out.push_str(&table.draw());
    match lines {
        Some(_) => format!("{keys}{out}"),
        None => out,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn recorded() -> Status {
        let text = include_str!("../../../control/tests/recorded/status.json");
        serde_json::from_str(text).unwrap()
    }

    fn now() -> Timestamp {
        "2026-03-04T05:06:07.000Z".parse().unwrap()
    }

    #[test]
    fn the_busiest_targets_come_first_and_the_screen_is_no_longer_than_the_terminal() {
        let expected = "
TARGET              INFLIGHT  REQ/S  P50  P99  ERR  STATE
app/10.0.0.21:8080        12  1,190    -    -    3  up
db/db1                    29    0.4    -    -    3  unknown
app/10.0.0.22:8080         0      0    -    -    3  down
";
        let screen = top(&recorded(), SortBy::Rate, None, now());
        assert!(screen.ends_with(expected), "got:\n{screen}");
        let screen = top(&recorded(), SortBy::Inflight, None, now());
        let last: Vec<&str> = screen.lines().rev().take(3).collect();
        assert!(last[2].starts_with("db/db1"), "got:\n{screen}");
        let all = top(&recorded(), SortBy::Name, Some(100), now());
        assert!(all.starts_with("3 targets by name; r req/s"), "got:\n{all}");
        let short = top(
            &recorded(),
            SortBy::Name,
            Some(all.lines().count() - 1),
            now(),
        );
        assert_eq!(short.lines().count(), all.lines().count() - 1);
        assert!(short.ends_with("app/10.0.0.22:8080         0      0    -    -    3  down\n"));
    }
}
