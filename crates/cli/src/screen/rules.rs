//! `tandem rules`: what listeners do with requests, and how often each rule was met.

use control::{ListenerStatus, StickyStatus};

use super::table::{Align, Table, cell};
use super::words::{count, flow};

/// The screen of `tandem rules`: a table for each listener.
pub(crate) fn rules(listeners: &[ListenerStatus]) -> String {
    if listeners.is_empty() {
        return "no listeners\n".to_owned();
    }
    let blocks: Vec<String> = listeners.iter().map(listener).collect();
    blocks.join("\n")
}

fn listener(listener: &ListenerStatus) -> String {
    let requests = format!("{} requests", count(listener.requests_total));
    let words = [
        listener.name.clone(),
        listener.protocol.clone(),
        listener.action.clone(),
        requests,
    ];
    let mut out = flow("", 2, &words);
    if listener.rules.is_empty() {
        return out;
    }
    let columns = [
        ("RULE", Align::Left),
        ("REQUESTS", Align::Right),
        ("ACTION", Align::Left),
    ];
    let mut table = Table::new(2, &columns);
    for rule in &listener.rules {
        let mut action = vec![rule.action.clone()];
        action.extend(rule.sticky.as_ref().map(sticky));
        table.row(vec![
            cell(&rule.name),
            cell(count(rule.requests_total)),
            action,
        ]);
    }
    out.push_str(&table.draw());
    out
}

/// `sticky TANDEM_GROUP: 34 moved, 2,500 new, 12,000 stayed`.
fn sticky(sticky: &StickyStatus) -> String {
    let (moved, new, hit) = (sticky.moved_total, sticky.new_total, sticky.hit_total);
    format!(
        "sticky {}: {} moved, {} new, {} stayed",
        sticky.cookie,
        count(moved),
        count(new),
        count(hit)
    )
}
