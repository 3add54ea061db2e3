//! `tandem events`: one line for each change, never wrapped, so that it can be searched.

use control::Event;

/// `2026-03-04T05:06:07.089Z  lb1  vrrp main  backup -> active  no advertisement for 333 ms`
pub(crate) fn event(event: &Event) -> String {
    let change = match (&event.from, &event.to) {
        (None, None) => String::new(),
        (None, Some(to)) => format!("  -> {to}"),
        (Some(from), None) => format!("  {from} ->"),
        (Some(from), Some(to)) => format!("  {from} -> {to}"),
    };
    // A line feed in a reason would make two lines of one event.
    let reason = event.reason.replace('\n', " ");
    format!(
        "{}  {}  {}{change}  {reason}\n",
        event.at, event.node, event.subject
    )
}
