//! What is tracked, compared with the rest of the file.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::Code;
use crate::model::{Probe, Track, TrackedCheck, Vrrp, Watch};
use crate::read::{Draft, TrackDraft};
use crate::tree::{At, Findings};

/// Different checks in a file, at most: each may run a program of its own at the same time as all others.
const MAX_CHECKS: usize = 256;

/// What a virtual router on `interface` tracks.
pub(super) fn build(draft: &TrackDraft, has_listeners: bool, interface: &str) -> Track {
    let forwarder = draft.forwarder.as_ref();
    Track {
        forwarder: forwarder.map_or(has_listeners, |said| said.value),
        interfaces: draft.interfaces.clone(),
        groups: draft
            .groups
            .iter()
            .map(|group| group.value.clone())
            .collect(),
        checks: draft
            .checks
            .iter()
            .map(|check| over(&check.value, interface))
            .collect(),
    }
}

/// Probes that stay on a link go over the virtual router's own, where the file names none.
fn over(check: &TrackedCheck, own: &str) -> TrackedCheck {
    let mut check = check.clone();
    match &mut check.watch.probe {
        Probe::Arp { interface, .. } if interface.is_empty() => *interface = own.to_owned(),
        Probe::Ping {
            address: IpAddr::V6(address),
            interface: interface @ None,
        } if address.is_unicast_link_local() => *interface = Some(own.to_owned()),
        Probe::Script { .. }
        | Probe::File { .. }
        | Probe::Process { .. }
        | Probe::Ping { .. }
        | Probe::Arp { .. }
        | Probe::Tcp { .. }
        | Probe::Http { .. }
        | Probe::Dns { .. } => {}
    }
    check
}

/// Groups that can never be usable enough, and more checks than can be made.
pub(super) fn check(draft: &Draft, routers: &[Option<Vrrp>], found: &Findings<'_>) {
    for tracked in draft.vrrp.iter().flat_map(|vrrp| &vrrp.track.groups) {
        let At { value, place } = tracked;
        let group = draft
            .groups
            .iter()
            .find(|group| group.name.value == value.name);
        let Some(targets) = group.map(|group| group.targets.len()) else {
            continue;
        };
        if (targets as u64) < u64::from(value.min_usable) {
            let message = format!(
                "group `{}` has {targets} targets, so {} of them are never usable",
                value.name, value.min_usable
            );
            found.error(Code::OutOfRange, place, message, None);
        }
    }
    let all = routers.iter().flatten().flat_map(|one| &one.track.checks);
    let different: BTreeSet<&Watch> = all.map(|tracked| &tracked.watch).collect();
    let last = draft.vrrp.iter().flat_map(|vrrp| &vrrp.track.checks).last();
    if let Some(last) = last.filter(|_| different.len() > MAX_CHECKS) {
        let message = format!(
            "{} different scripts, files, processes and probes are tracked, at most {MAX_CHECKS} are possible",
            different.len()
        );
        found.error(Code::OutOfRange, &last.place, message, None);
    }
}
