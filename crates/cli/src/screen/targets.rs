//! `tandem targets`: every target with what was observed and what was ordered.

use control::{GroupStatus, TargetStatus};

use super::table::{Align, Cell, Table, cell};
use super::words::{count, flow};

/// The screen of `tandem targets`: a table for each group.
pub(crate) fn targets(groups: &[GroupStatus]) -> String {
    if groups.is_empty() {
        return "no groups\n".to_owned();
    }
    let blocks: Vec<String> = groups.iter().map(group).collect();
    blocks.join("\n")
}

fn group(group: &GroupStatus) -> String {
    let up = format!("{}/{} usable", group.usable, group.total);
    let mut out = flow("", 2, &[group.name.clone(), group.algorithm.clone(), up]);
    let mut table = Table::new(
        2,
        &[
            ("TARGET", Align::Left),
            ("STATE", Align::Left),
            ("CHECK", Align::Left),
            ("ORDER", Align::Left),
            ("WEIGHT", Align::Right),
            ("INFLIGHT", Align::Right),
            ("REQUESTS", Align::Right),
            ("WHY", Align::Left),
        ],
    );
    for target in &group.targets {
        table.row(vec![
            name_and_address(target),
            cell(target.state.as_str()),
            cell(target.check.as_str()),
            cell(target.order.as_str()),
            cell(target.weight.to_string()),
            cell(count(target.in_flight)),
            cell(count(target.requests_total)),
            cell(target.why.as_deref().unwrap_or("-")),
        ]);
    }
    out.push_str(&table.draw());
    out
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
