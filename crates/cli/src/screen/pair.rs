//! `tandem pair`: a column for each node, and what they do not agree on.

use std::collections::BTreeSet;

use control::{NodeFacts, NodeReport, PairReport};

use super::table::{Align, Cell, Table, cell};
use super::words::{millis, sentence};

/// Digits of a serial number that are shown.
const SERIAL: usize = 12;

/// The screen of `tandem pair`.
pub(crate) fn pair(report: &PairReport) -> String {
    let star = |node: &NodeReport| match node.this {
        true => format!("{}*", node.name),
        false => node.name.clone(),
    };
    let names: Vec<String> = report.nodes.iter().map(star).collect();
    let mut columns = vec![("NODE", Align::Left)];
    columns.extend(names.iter().map(|name| (name.as_str(), Align::Left)));
    let mut table = Table::new(0, &columns);
    let mut row = |what: &str, of: &dyn Fn(&NodeReport) -> Cell| {
        let mut cells = vec![cell(what)];
        cells.extend(report.nodes.iter().map(of));
        table.row(cells);
    };
    row("address", &|node| cell(node.address.to_string()));
    row("heard", &|node| match (node.this, node.heard_ms) {
        (true, _) => cell("-"),
        (false, Some(ms)) => cell(format!("{} ago", millis(ms))),
        (false, None) => cell("never"),
    });
    row("version", &|node| fact(node, |facts| cell(&facts.version)));
    row("config", &|node| {
        fact(node, |facts| cell(&facts.config_hash))
    });
    row("clock", &|node| {
        cell(
            node.clock_ahead_ms
                .map_or("-".to_owned(), |ahead| format!("{ahead:+}ms")),
        )
    });
    row("ticket keys", &|node| {
        fact(node, |facts| list(&facts.ticket_keys))
    });
    let certificates: BTreeSet<&String> = (report.nodes.iter())
        .filter_map(|node| node.facts.as_ref())
        .flat_map(|facts| facts.certificates.keys())
        .collect();
    for name in certificates {
        row(&format!("cert {name}"), &|node| {
            fact(node, |facts| {
                let serial = facts.certificates.get(name);
                cell(serial.map_or("-".to_owned(), |serial| short(serial)))
            })
        });
    }
    row("ordered", &|node| {
        fact(node, |facts| list(&facts.overrides))
    });
    row("not up", &|node| {
        fact(node, |facts| {
            let words = (facts.not_up.iter()).map(|(target, check)| format!("{target} {check}"));
            list(&words.collect::<Vec<_>>())
        })
    });
    let mut out = table.draw();
    if !report.differences.is_empty() {
        out.push('\n');
    }
    for difference in &report.differences {
        out.push_str(&sentence("! ", 2, difference));
    }
    let silent = report.nodes.iter().filter(|node| node.facts.is_none());
    for node in silent {
        let words = format!(
            "nothing is heard of {} on the second path (heartbeat under [pair])",
            node.name
        );
        out.push('\n');
        out.push_str(&sentence("! ", 2, &words));
    }
    out
}

fn fact(node: &NodeReport, words: impl Fn(&NodeFacts) -> Cell) -> Cell {
    node.facts.as_ref().map_or_else(|| cell("-"), words)
}

/// A line for each, or `none`.
fn list(words: &[String]) -> Cell {
    match words.is_empty() {
        true => cell("none"),
        false => words.to_vec(),
    }
}

/// The end of a serial number: the beginning is often the same.
fn short(serial: &str) -> String {
    let digits = serial.chars().count();
    match digits > SERIAL {
        true => {
            let end: String = serial.chars().skip(digits - SERIAL).collect();
            format!("..{end}")
        }
        false => serial.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn node(name: &str, this: bool) -> NodeReport {
        NodeReport {
            name: name.to_owned(),
            address: "10.0.0.2".parse().unwrap(),
            this,
            heard_ms: (!this).then_some(412),
            clock_ahead_ms: (!this).then_some(-3),
            facts: Some(NodeFacts {
                version: "0.1.0".to_owned(),
                config_hash: "8f3a17c0ffee".to_owned(),
                said_at: control::Timestamp::from_millis(0),
                ticket_keys: vec!["1f2e3d4c".to_owned()],
                certificates: [("web".to_owned(), "03a1b2c3d4e5f60718".to_owned())].into(),
                overrides: Vec::new(),
                not_up: [("app/10.0.0.22:8080".to_owned(), "down".to_owned())].into(),
                left_out: 0,
            }),
        }
    }

    #[test]
    fn two_nodes_stand_side_by_side_and_what_differs_below() {
        let mut other = node("lb2", false);
        let facts = other.facts.as_mut().unwrap();
        facts.not_up.clear();
        facts.overrides = vec!["site web-v2=25".to_owned()];
        let mut report = PairReport {
            nodes: vec![node("lb1", true), other],
            differences: vec!["lb2 sees app/10.0.0.22:8080 up, lb1 down".to_owned()],
        };
        let expected = "\
NODE         lb1*                     lb2
address      10.0.0.2                 10.0.0.2
heard        -                        412ms ago
version      0.1.0                    0.1.0
config       8f3a17c0ffee             8f3a17c0ffee
clock        -                        -3ms
ticket keys  1f2e3d4c                 1f2e3d4c
cert web     ..c3d4e5f60718           ..c3d4e5f60718
ordered      none                     site web-v2=25
not up       app/10.0.0.22:8080 down  none

! lb2 sees app/10.0.0.22:8080 up, lb1 down
";
        assert_eq!(pair(&report), expected, "got:\n{}", pair(&report));
        report.nodes[1].facts = None;
        report.nodes[1].heard_ms = None;
        report.differences.clear();
        let screen = pair(&report);
        let end = "\n! nothing is heard of lb2 on the second path (heartbeat under [pair])\n";
        assert!(screen.ends_with(end), "{screen}");
        assert!(
            screen.contains("\nheard        -                        never\n"),
            "{screen}"
        );
    }
}
