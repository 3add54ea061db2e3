//! From drafts to a configuration: what depends on more than one value.
//!
//! Every check runs, whatever the others found. A [`Config`] is made in any case where the parts are there; whether
//! it may be used is decided by the report.

mod addresses;
mod certificates;
mod host;
mod nodes;
mod references;
mod sticky;
mod together;
mod track;
mod vrrp;

use std::collections::BTreeMap;
use std::sync::Arc;

use balancer::{GroupSettings, ListenerSettings, Protocol};

use crate::Code;
use crate::Facts;
use crate::model::{Config, Global};
use crate::read::{ClientTlsDraft, Draft, ListenerDraft, ListenerProtocol};
use crate::tree::Findings;
use crate::trust::Revocations;

use nodes::Nodes;

/// Checks the parts against each other and puts them together. `None` if something needed is not there: an error
/// has been reported then.
pub(crate) fn check(
    draft: &Draft,
    facts: &Facts,
    hash: String,
    found: &Findings<'_>,
) -> Option<Config> {
    let nodes = Nodes::find(draft.pair.as_ref(), facts, found);
    addresses::check(draft, facts, &nodes, found);
    host::check(draft, facts, &nodes, found);
    references::check(draft, found);
    sticky::check(draft, found);
    certificates::check(draft, found);
    proxies(draft, found);
    together::check(draft, &nodes, found);
    let vrrp = vrrp::check(draft, &nodes, found);
    let pair = nodes.pair(draft.pair.as_ref(), found);
    let metrics = nodes.metrics(draft.global.metrics.as_ref(), found);
    let listeners: Option<Vec<ListenerSettings>> = draft
        .listeners
        .iter()
        .map(|listener| settings(listener, draft))
        .collect();
    let groups: Vec<GroupSettings> = draft.groups.iter().map(|group| group.settings()).collect();
    Some(Config {
        hash,
        node: nodes.name(),
        global: Global {
            metrics,
            ..draft.global.global.clone()
        },
        pair: pair?,
        vrrp: vrrp?,
        listeners: listeners?,
        groups,
        authorities: authorities(draft),
        revocations: revocations(draft),
        certificates: draft
            .certificates
            .iter()
            .filter_map(|draft| draft.certificate.clone())
            .collect(),
    })
}

/// Whose connections are is heard from proxies that are trusted.
fn proxies(draft: &Draft, found: &Findings<'_>) {
    for listener in &draft.listeners {
        let Some(place) = &listener.accept_proxy else {
            continue;
        };
        if listener.protocol == ListenerProtocol::Udp {
            let message = "`accept_proxy` is for connections, but the listener's protocol is udp";
            found.error(Code::ProtocolOption, place, message, "remove it".to_owned());
        } else if draft.global.global.trusted_proxies.is_empty() {
            let message = "`accept_proxy = true`, but nobody is believed";
            let remedy = "add `trusted_proxies = [\"192.0.2.0/24\"]` to [global]".to_owned();
            found.error(Code::ProtocolOption, place, message, remedy);
        }
    }
}

/// Whom groups and listeners trust, by the files that say so.
fn authorities(draft: &Draft) -> BTreeMap<String, Arc<str>> {
    let groups = draft.groups.iter().flat_map(|group| group.all_tls());
    let groups = groups.map(|tls| (&tls.settings.ca, &tls.authorities));
    let listeners = clients(draft).map(|tls| (&tls.settings.ca, &tls.authorities));
    groups
        .chain(listeners)
        .filter_map(|(path, text)| Some((path.clone(), text.clone()?)))
        .collect()
}

/// What has been revoked, by the files that say so.
fn revocations(draft: &Draft) -> BTreeMap<String, Arc<Revocations>> {
    clients(draft)
        .filter_map(|tls| Some((tls.settings.crl.clone()?, tls.revocations.clone()?)))
        .collect()
}

/// What listeners want to know of their clients.
fn clients(draft: &Draft) -> impl Iterator<Item = &ClientTlsDraft> {
    let listeners = draft.listeners.iter();
    listeners.filter_map(|listener| listener.clients.as_ref())
}

fn settings(listener: &ListenerDraft, draft: &Draft) -> Option<ListenerSettings> {
    let protocol = match listener.protocol {
        ListenerProtocol::Http => Protocol::Http,
        ListenerProtocol::Https => Protocol::Https,
        ListenerProtocol::Tcp => Protocol::Tcp,
        ListenerProtocol::Udp => Protocol::Udp,
        ListenerProtocol::Tls => Protocol::Tls,
    };
    Some(ListenerSettings {
        name: listener.name.value.clone(),
        binds: listener.binds.iter().map(|bind| bind.value).collect(),
        protocol,
        rules: listener.rules.clone(),
        default: listener.action.clone()?,
        timeouts: listener.timeouts.clone(),
        limits: listener.limits.clone(),
        accept_proxy: listener.accept_proxy.is_some(),
        trusted_proxies: draft.global.global.trusted_proxies.clone(),
        tls: listener.tls.clone(),
        h2c: listener.h2c,
    })
}
