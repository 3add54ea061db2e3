//! The part of `tandem status` about TLS, HTTP/2 and tunnels.

use control::ListenerStatus;

use super::table::{Align, Table, cell};
use super::words::count;

/// A line for each listener that speaks one of them, with a blank line before; nothing if none does.
pub(super) fn table(listeners: &[ListenerStatus]) -> String {
    let mut rows = listeners
        .iter()
        .filter(|listener| speaks(listener))
        .peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    let mut table = Table::new(
        0,
        &[
            ("LISTENER", Align::Left),
            ("HANDSHAKES", Align::Right),
            ("RESUMED", Align::Right),
            ("TLS 1.3", Align::Right),
            ("FAILED", Align::Right),
            ("OPEN NOW", Align::Left),
        ],
    );
    for listener in rows {
        let (all, failed) = (
            listener.handshakes_total,
            listener.handshakes_failed_total(),
        );
        let has_tls = all > 0 || failed > 0 || listener.protocol == "https";
        let number = |number: u64| match has_tls {
            true => count(number),
            false => "-".to_owned(),
        };
        table.row(vec![
            cell(&listener.name),
            cell(number(all)),
            cell(share(listener.resumed_total, all)),
            cell(share(all.saturating_sub(listener.tls12_total), all)),
            cell(number(failed)),
            cell(open(listener)),
        ]);
    }
    format!("\n{}", table.draw())
}

fn speaks(listener: &ListenerStatus) -> bool {
    let seen = [
        listener.handshakes_total,
        listener.handshakes_failed_total(),
        listener.http2_connections_total,
        listener.tunnels_total,
    ];
    listener.protocol == "https" || seen.iter().any(|count| *count > 0)
}

/// A part of a whole in percent: all of it only if nothing is missing, nothing only if there is nothing.
fn share(part: u64, whole: u64) -> String {
    let percent = (u128::from(part) * 100).checked_div(u128::from(whole));
    match percent {
        None => "-".to_owned(),
        Some(0) if part > 0 => "<1%".to_owned(),
        Some(percent) => format!("{percent}%"),
    }
}

/// `310 h2, 1,022 streams, 8 tunnels`.
fn open(listener: &ListenerStatus) -> String {
    let mut words = Vec::new();
    if listener.http2_connections_total > 0 {
        words.push(format!("{} h2", count(listener.http2_connections)));
        words.push(format!("{} streams", count(listener.http2_streams)));
    }
    if listener.tunnels_total > 0 {
        words.push(format!("{} tunnels", count(listener.tunnels)));
    }
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(", "),
    }
}
