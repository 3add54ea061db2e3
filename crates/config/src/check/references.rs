//! Names that have to be defined, and definitions that nothing names.

use std::collections::BTreeSet;

use balancer::{Algorithm, HashKey, Ring};

use crate::Code;
use crate::read::{CheckKind, Draft, GroupDraft, ListenerProtocol};
use crate::tree::{At, Findings, closest};

pub(super) fn check(draft: &Draft, found: &Findings<'_>) {
    let groups: Vec<&At<String>> = draft.groups.iter().map(|group| &group.name).collect();
    let certificates: Vec<&At<String>> = draft.certificates.iter().map(|one| &one.name).collect();
    for group in &draft.groups {
        if let Some(name) = group.tls().and_then(|tls| tls.certificate.as_ref()) {
            let who = format!("group `{}` shows its targets", group.name.value);
            defined(found, name, "certificate", &certificates, &who);
        }
    }
    let mut used = BTreeSet::new();
    for listener in &draft.listeners {
        for name in &listener.groups {
            used.insert(name.value.as_str());
            let who = format!("listener `{}` forwards to", listener.name.value);
            // What was probably meant counts as used.
            used.extend(defined(found, name, "group", &groups, &who));
        }
        for name in &listener.certificates {
            let who = format!("listener `{}` uses", listener.name.value);
            defined(found, name, "certificate", &certificates, &who);
        }
    }
    for vrrp in &draft.vrrp {
        for name in &vrrp.track.groups {
            used.insert(name.value.name.as_str());
            let name = At {
                value: name.value.name.clone(),
                place: name.place.clone(),
            };
            let who = format!("`{}` tracks", vrrp.name.value);
            defined(found, &name, "group", &groups, &who);
        }
        tracked_forwarder(draft, vrrp.track.forwarder.as_ref(), found);
    }
    for group in draft
        .groups
        .iter()
        .filter(|group| !used.contains(group.name.value.as_str()))
    {
        let message = format!("group `{}` is used by no listener", group.name.value);
        found.warning(
            Code::Unused,
            &group.name.place,
            message,
            "forward to it, or remove it".to_owned(),
        );
    }
    check_protocols(draft, found);
    for group in &draft.groups {
        check_hash(draft, group, found);
        check_announced(group, found);
    }
}

/// Reports a name that is not among `all`; answers the one that was probably meant.
fn defined<'n>(
    found: &Findings<'_>,
    name: &At<String>,
    kind: &str,
    all: &[&'n At<String>],
    who: &str,
) -> Option<&'n str> {
    if all.iter().any(|defined| defined.value == name.value) {
        return None;
    }
    let near = closest(
        &name.value,
        all.iter().map(|defined| defined.value.as_str()),
    );
    let near = near.and_then(|near| all.iter().find(|defined| defined.value == near));
    let remedy = match near {
        Some(near) => format!(
            "closest: `{}` (line {})",
            near.value,
            found.line(&near.place)
        ),
        None => format!("add [{kind}.{}]", name.value),
    };
    let message = format!("{who} {kind} `{}`, which does not exist", name.value);
    found.error(Code::Dangling, &name.place, message, remedy);
    near.map(|near| near.value.as_str())
}

fn tracked_forwarder(draft: &Draft, forwarder: Option<&At<bool>>, found: &Findings<'_>) {
    if let Some(At { value: true, place }) = forwarder
        && draft.listeners.is_empty()
    {
        let message = "`forwarder = true`, but without a listener no forwarder runs";
        found.error(
            Code::Dangling,
            place,
            message,
            "remove the line, or add a [listener.NAME]".to_owned(),
        );
    }
}

/// A group hashes what its listeners can see, on a ring that is not too large.
fn check_hash(draft: &Draft, group: &GroupDraft, found: &Findings<'_>) {
    let Some(At {
        value: Algorithm::ConsistentHash { key, .. },
        place,
    }) = group.algorithm()
    else {
        return;
    };
    let points = group.settings().ring_points();
    if points > Ring::MAX_POINTS {
        let message = format!(
            "the ring of group `{}` would have {points} points (vnodes by the sum of the weights), more than {}",
            group.name.value,
            Ring::MAX_POINTS
        );
        let remedy = "give lower weights, or fewer `vnodes`".to_owned();
        found.error(Code::OutOfRange, place, message, remedy);
    }
    let of_group = |name: &At<String>| name.value == group.name.value;
    let blind = draft
        .listeners
        .iter()
        .find(|listener| !listener.protocol.speaks_http() && listener.groups.iter().any(of_group));
    if let Some(listener) = blind
        && *key != HashKey::Source
    {
        let message = format!(
            "group `{}` hashes `{key}`, which listener `{}` cannot see: its protocol is {}",
            group.name.value,
            listener.name.value,
            listener.protocol.as_str()
        );
        let remedy = "write `consistent_hash = \"source\"`".to_owned();
        found.error(Code::ProtocolOption, place, message, remedy);
    }
}

/// A group is checked in a way that fits what its listeners speak.
fn check_protocols(draft: &Draft, found: &Findings<'_>) {
    for group in &draft.groups {
        let of_group = |name: &At<String>| name.value == group.name.value;
        check_flows(draft, group, found);
        check_calls(group, found);
        check_places(group, found);
        let Some(kind) = &group.health().kind else {
            continue;
        };
        for listener in draft
            .listeners
            .iter()
            .filter(|listener| listener.groups.iter().any(of_group))
        {
            let udp = listener.protocol == ListenerProtocol::Udp;
            if !impossible(&kind.value, udp, group) {
                continue;
            }
            let message = format!(
                "the health check of group `{}` does not fit listener `{}`, whose protocol is {}",
                group.name.value,
                listener.name.value,
                listener.protocol.as_str()
            );
            let remedy = match udp {
                true => "check by `udp`, or give the check a `port` of its own",
                false => "check by `http` or `tcp`",
            };
            found.error(Code::CheckProtocol, &kind.place, message, remedy.to_owned());
        }
    }
}

/// A call of gRPC needs a target that speaks HTTP/2.
fn check_calls(group: &GroupDraft, found: &Findings<'_>) {
    let health = group.health();
    if let Some(kind) = &health.kind
        && matches!(kind.value, CheckKind::Grpc(_))
        && !group.is_checked_elsewhere()
        && !group.settings().http2
    {
        let message = format!(
            "the targets of group `{}` are checked by `grpc` and spoken to in HTTP/1.1, which has no such calls",
            group.name.value
        );
        let remedy = "write `http = \"2\"` in the group, or give the check a `port` of its own";
        found.error(Code::CheckProtocol, &kind.place, message, remedy.to_owned());
    }
}

/// What is said about where and inside what targets are checked is for checks that can be so.
fn check_places(group: &GroupDraft, found: &Findings<'_>) {
    let health = group.health();
    let name = &group.name.value;
    match health.kind.as_ref().map(|kind| &kind.value) {
        Some(CheckKind::Off) => {
            for check in group
                .targets
                .iter()
                .filter_map(|target| target.check.as_ref())
            {
                let message =
                    format!("group `{name}` has `health = \"off\"`: nobody is checked there");
                let remedy = "remove `check`, or say how the group is checked".to_owned();
                found.warning(Code::Unused, &check.place, message, remedy);
            }
        }
        Some(CheckKind::Udp { .. }) => {
            if let Some(tls) = &health.tls {
                let message = "`tls` is for checks over connections, not for those by udp";
                found.error(
                    Code::CheckProtocol,
                    &tls.place,
                    message,
                    "remove it".to_owned(),
                );
            }
        }
        Some(CheckKind::Http(_) | CheckKind::Grpc(_) | CheckKind::Tcp) | None => {}
    }
}

/// A connection that carries the address of a client cannot be shared, as those of HTTP/2 are.
fn check_announced(group: &GroupDraft, found: &Findings<'_>) {
    if let Some(place) = group.send_proxy_place()
        && group.settings().http2
    {
        let message = format!(
            "group `{}` speaks HTTP/2 to its targets, whose connections are shared by clients and cannot carry the address of one",
            group.name.value
        );
        let remedy = "remove `send_proxy`, or write `http = \"1.1\"`".to_owned();
        found.error(Code::ProtocolOption, place, message, remedy);
    }
}

/// What is said about flows is for a group that gets some, and such a group says how it is checked: a TCP connection,
/// the usual check, says little about a service that speaks UDP.
fn check_flows(draft: &Draft, group: &GroupDraft, found: &Findings<'_>) {
    let of_group = |name: &At<String>| name.value == group.name.value;
    let mut listeners = draft.listeners.iter().filter(|listener| {
        listener.protocol == ListenerProtocol::Udp && listener.groups.iter().any(of_group)
    });
    let name = &group.name;
    match (listeners.next(), group.udp_place()) {
        (Some(listener), _) => {
            if let Some(place) = group.send_proxy_place() {
                let message = format!(
                    "`send_proxy` is for connections, but listener `{}` forwards datagrams to group `{}`",
                    listener.name.value, name.value
                );
                let remedy = "remove it, or write `send_proxy = \"off\"` in the group".to_owned();
                found.error(Code::ProtocolOption, place, message, remedy);
            }
            let health = group.health();
            if health.kind.is_none() && !group.is_checked_elsewhere() {
                let message = format!(
                    "group `{}` gets datagrams from listener `{}` and does not say how its targets are checked",
                    name.value, listener.name.value
                );
                let remedy = "add `health = { udp = { send = \"...\" } }`, or `health = \"off\"`";
                found.error(Code::CheckProtocol, &name.place, message, remedy.to_owned());
            }
        }
        (None, Some(place)) => {
            let message = format!("no udp listener forwards to group `{}`", name.value);
            found.warning(Code::Unused, place, message, "remove `udp`".to_owned());
        }
        (None, None) => {}
    }
}

fn impossible(kind: &CheckKind, udp: bool, group: &GroupDraft) -> bool {
    match kind {
        CheckKind::Off => false,
        CheckKind::Http(_) | CheckKind::Grpc(_) | CheckKind::Tcp => {
            udp && !group.is_checked_elsewhere()
        }
        CheckKind::Udp { .. } => !udp,
    }
}
