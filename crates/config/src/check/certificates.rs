//! Certificates and who uses them: names that no certificate covers, and certificates that nobody names.

use balancer::{Condition, Glob};

use crate::Code;
use crate::certificate::CertificateContent;
use crate::read::{Draft, ListenerDraft};
use crate::tree::Findings;

pub(super) fn check(draft: &Draft, found: &Findings<'_>) {
    tickets(draft, found);
    for listener in &draft.listeners {
        covered(listener, draft, found);
        named(listener, draft, found);
    }
    let is_used = |name: &str| {
        let listeners = draft.listeners.iter();
        let listeners = listeners.flat_map(|listener| &listener.certificates);
        let groups = draft.groups.iter().filter_map(|group| group.tls());
        let groups = groups.filter_map(|tls| tls.certificate.as_ref());
        listeners.chain(groups).any(|other| other.value == name)
    };
    for certificate in &draft.certificates {
        let name = &certificate.name;
        if !is_used(&name.value) {
            let message = format!(
                "certificate `{}` is used by no listener and no group",
                name.value
            );
            let remedy =
                "name it in `certificates` of a listener or in `tls` of a group, or remove it"
                    .to_owned();
            found.warning(Code::Unused, &name.place, message, remedy);
        }
    }
}

/// Clients ask for a name: a certificate that a listener shows has one.
fn named(listener: &ListenerDraft, draft: &Draft, found: &Findings<'_>) {
    for name in &listener.certificates {
        let mut all = draft.certificates.iter();
        let Some(draft) = all.find(|other| other.name.value == name.value) else {
            continue;
        };
        let certificate = draft.certificate.as_ref();
        let content = certificate.and_then(|certificate| certificate.content.as_deref());
        if content.is_some_and(|content| content.names.is_empty()) {
            let message = format!("certificate `{}`: it is for no DNS name", name.value);
            let remedy = "clients ask for a subjectAltName: have it made with one".to_owned();
            found.warning(Code::File, &draft.place, message, remedy);
        }
    }
}

/// Sessions can be resumed elsewhere and later; said once, where the first listener that ends TLS stands.
fn tickets(draft: &Draft, found: &Findings<'_>) {
    let pair = draft.pair.as_ref();
    if pair.is_some_and(|pair| pair.has_key_file) {
        return;
    }
    let mut ends = draft.listeners.iter();
    let Some(listener) = ends.find(|listener| !listener.certificates.is_empty()) else {
        return;
    };
    let (message, remedy) = match pair {
        Some(_) => (
            "after a failover the other node resumes no TLS session: there is no key of the pair to make tickets with",
            "add `key_file = \"/etc/tandem/pair.key\"` to [pair]",
        ),
        None => (
            "TLS sessions end when the forwarder does: there is no key of a pair to make tickets with",
            "add a [pair] with this node and a `key_file`",
        ),
    };
    let place = &listener.name.place;
    found.warning(Code::NoTicketKey, place, message, remedy.to_owned());
}

/// The hosts of a listener's rules have a certificate each; of those alone something is said whose files were read.
fn covered(listener: &ListenerDraft, draft: &Draft, found: &Findings<'_>) {
    let Some(first) = listener.certificates.first() else {
        return;
    };
    let mut contents: Vec<&CertificateContent> = Vec::new();
    for name in &listener.certificates {
        let named = draft
            .certificates
            .iter()
            .find(|other| other.name.value == name.value);
        let certificate = named.and_then(|named| named.certificate.as_ref());
        match certificate.and_then(|certificate| certificate.content.as_deref()) {
            Some(content) => contents.push(content),
            None => return,
        }
    }
    for rule in &listener.rules {
        let hosts = rule.when.iter().flat_map(hosts);
        for host in hosts.filter(|host| is_name(host)) {
            if contents.iter().any(|content| content.covers(host.as_str())) {
                continue;
            }
            let message = format!(
                "no certificate of listener `{}` is for {host}, which rule `{}` waits for",
                listener.name.value, rule.name
            );
            let remedy =
                "clients refuse the connection: add a certificate for that name".to_owned();
            found.warning(Code::File, &first.place, message, remedy);
        }
    }
}

/// The patterns one of which the host has to fit.
fn hosts(condition: &Condition) -> &[Glob] {
    match condition {
        Condition::Host(patterns) => patterns,
        Condition::Path(_)
        | Condition::Method(_)
        | Condition::Header(..)
        | Condition::Query(..)
        | Condition::Cookie(..)
        | Condition::Source(_)
        | Condition::PeerSource(_)
        | Condition::Sni(_)
        | Condition::Not(_) => &[],
    }
}

/// A name, or a name with a first label of any kind: what a certificate can be for.
fn is_name(host: &Glob) -> bool {
    let rest = host.as_str().strip_prefix("*.").unwrap_or(host.as_str());
    !rest.contains(['*', '?']) && rest.parse::<std::net::IpAddr>().is_err()
}
