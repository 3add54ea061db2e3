//! The file against this host: the networks of its interfaces and its limit of open files.
//!
//! Warnings only: an address may come later, and a limit may be another where the daemon runs.

use super::nodes::Nodes;
use crate::read::{Draft, ListenerDraft, ListenerProtocol, VrrpDraft};
use crate::tree::{At, Findings};
use crate::{Code, Facts, Network};

/// Descriptors one client can take: its own connection and one to a target.
const PER_CONNECTION: u64 = 2;
/// Descriptors that are needed whatever comes: listening sockets, checks, logs, the control socket.
const RESERVE: u64 = 256;

pub(super) fn check(draft: &Draft, facts: &Facts, nodes: &Nodes<'_>, found: &Findings<'_>) {
    for vrrp in &draft.vrrp {
        networks(vrrp, draft, facts, nodes, found);
    }
    if let Some(limit) = facts.descriptors {
        descriptors(&draft.listeners, limit, found);
    }
}

/// A VIP outside every network of its interface is reached through a route only: more often it is a mistake.
fn networks(
    vrrp: &VrrpDraft,
    draft: &Draft,
    facts: &Facts,
    nodes: &Nodes<'_>,
    found: &Findings<'_>,
) {
    let own = nodes.name();
    let interface = vrrp
        .interface
        .as_ref()
        .zip(own.as_deref())
        .and_then(|(interface, own)| interface.of(own));
    let Some(At {
        value: interface, ..
    }) = interface
    else {
        return;
    };
    let is_vip = |network: &&Network| {
        let mut vips = draft.vrrp.iter().flat_map(|vrrp| &vrrp.vips);
        vips.any(|vip| vip.value.address == network.net.addr())
    };
    for vip in &vrrp.vips {
        let address = vip.value.address;
        let there: Vec<&Network> = facts
            .networks
            .iter()
            .filter(|network| network.interface == *interface)
            .filter(|network| network.net.addr().is_ipv4() == address.is_ipv4())
            .filter(|network| !is_vip(network))
            .collect();
        if there.is_empty() || there.iter().any(|network| network.net.contains(&address)) {
            continue;
        }
        let known: Vec<String> = there
            .iter()
            .map(|network| network.net.trunc().to_string())
            .collect();
        let message = format!(
            "VIP {address} is in none of the networks of {interface} ({})",
            known.join(", ")
        );
        let remedy =
            "is the interface right? if so, the clients' routers need a route to it".to_owned();
        found.warning(Code::VipConflict, &vip.place, message, remedy);
    }
}

/// Limits that somebody wrote are a promise: all those clients at once need descriptors. With the usual limits
/// nobody promised anything, and the listeners stop accepting where the descriptors end.
fn descriptors(listeners: &[ListenerDraft], limit: u64, found: &Findings<'_>) {
    let promised = || {
        let listeners = listeners.iter();
        listeners.filter(|listener| listener.connections_place.is_some())
    };
    let connections = |listener: &ListenerDraft| u64::from(listener.limits.connections);
    let clients: u64 = promised().map(connections).sum();
    let each = |listener: &ListenerDraft| match listener.protocol {
        // A flow has only the socket to its target.
        ListenerProtocol::Udp => 1,
        ListenerProtocol::Http
        | ListenerProtocol::Https
        | ListenerProtocol::Tcp
        | ListenerProtocol::Tls => PER_CONNECTION,
    };
    let needed = promised()
        .map(|listener| connections(listener).saturating_mul(each(listener)))
        .fold(RESERVE, u64::saturating_add);
    let written = promised().filter_map(|listener| {
        let place = listener.connections_place.as_ref()?;
        Some((listener.limits.connections, place))
    });
    let Some((_, place)) = written
        .max_by_key(|(connections, _)| *connections)
        .filter(|_| needed > limit)
    else {
        return;
    };
    let message = format!(
        "{clients} connections, the sum of the limits in the file, need {needed} descriptors, but this host allows {limit}"
    );
    let remedy = "lower `connections`, or raise LimitNOFILE of the service".to_owned();
    found.warning(Code::Descriptors, place, message, remedy);
}
