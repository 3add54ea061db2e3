//! What clients speak: TLS, HTTP/2, tunnels. Only of listeners that have seen any of it.

use control::{ListenerStatus, Status};

use super::Family;

/// Writes it.
pub(super) fn write(text: &mut String, status: &Status) {
    write_tls(text, &status.listeners);
    write_http2(text, &status.listeners);
    write_tunnels(text, &status.listeners);
}

fn write_tls(text: &mut String, listeners: &[ListenerStatus]) {
    let mut handshakes = Family::new(
        "tandem_listener_tls_handshakes_total",
        "counter",
        "TLS handshakes completed, by version and whether an earlier session was resumed.",
    );
    for listener in listeners.iter().filter(|of| of.handshakes_total > 0) {
        let all = [listener.handshakes_total, listener.resumed_total];
        let old = [listener.tls12_total, listener.tls12_resumed_total];
        let new = [0, 1].map(|at| all[at].saturating_sub(old[at]));
        for (version, [total, resumed]) in [("1.2", old), ("1.3", new)] {
            let full = total.saturating_sub(resumed);
            for (kind, count) in [("full", full), ("resumed", resumed)] {
                let labels = [
                    ("listener", listener.name.as_str()),
                    ("kind", kind),
                    ("version", version),
                ];
                handshakes.sample(&labels, count as f64);
            }
        }
    }
    handshakes.finish(text);
}

fn write_http2(text: &mut String, listeners: &[ListenerStatus]) {
    let new = |name, kind, help| Family::new(name, kind, help);
    let mut open = new(
        "tandem_listener_http2_connections",
        "gauge",
        "Client connections open that speak HTTP/2.",
    );
    let mut opened = new(
        "tandem_listener_http2_connections_total",
        "counter",
        "Client connections in HTTP/2.",
    );
    let mut streams = new(
        "tandem_listener_http2_streams",
        "gauge",
        "Requests in HTTP/2 that are being served.",
    );
    let mut requests = new(
        "tandem_listener_http2_requests_total",
        "counter",
        "Requests that came in HTTP/2.",
    );
    for listener in listeners.iter().filter(|of| of.http2_connections_total > 0) {
        let label = [("listener", listener.name.as_str())];
        open.sample(&label, listener.http2_connections as f64);
        opened.sample(&label, listener.http2_connections_total as f64);
        streams.sample(&label, listener.http2_streams as f64);
        requests.sample(&label, listener.http2_requests_total as f64);
    }
    for family in [open, opened, streams, requests] {
        family.finish(text);
    }
}

fn write_tunnels(text: &mut String, listeners: &[ListenerStatus]) {
    let mut open = Family::new(
        "tandem_listener_tunnels",
        "gauge",
        "Tunnels open, such as WebSocket.",
    );
    let mut opened = Family::new(
        "tandem_listener_tunnels_total",
        "counter",
        "Tunnels opened.",
    );
    for listener in listeners.iter().filter(|of| of.tunnels_total > 0) {
        let label = [("listener", listener.name.as_str())];
        open.sample(&label, listener.tunnels as f64);
        opened.sample(&label, listener.tunnels_total as f64);
    }
    open.finish(text);
    opened.finish(text);
}
