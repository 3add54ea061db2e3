//! Addresses of VIPs, nodes, listeners and targets against each other.

use std::net::{IpAddr, SocketAddr};

use super::nodes::Nodes;
use crate::model::VipAddress;
use crate::read::{Draft, ListenerDraft, ListenerProtocol, MetricsAddress, VrrpDraft};
use crate::tree::{At, Findings};
use crate::{Binds, Code, Facts};

pub(super) fn check(draft: &Draft, facts: &Facts, nodes: &Nodes<'_>, found: &Findings<'_>) {
    vips(draft, nodes, found);
    let scene = Scene {
        draft,
        facts,
        nodes,
    };
    scene.binds(found);
    scene.loops(found);
    exposed(draft, found);
    refused(draft, nodes, found);
}

/// A listener on a VIP whose packets nobody takes.
fn refused(draft: &Draft, nodes: &Nodes<'_>, found: &Findings<'_>) {
    let is_owner = |vrrp: &VrrpDraft| {
        let priority = vrrp.priority.as_ref();
        let own = nodes
            .name()
            .and_then(|name| Some(priority?.of(&name)?.value));
        own == Some(u8::MAX)
    };
    for vrrp in &draft.vrrp {
        if vrrp.accept_mode || is_owner(vrrp) {
            continue;
        }
        let name = &vrrp.name.value;
        for listener in &draft.listeners {
            for bind in &listener.binds {
                let address = bind.value.ip();
                if vrrp.vips.iter().any(|vip| vip.value.address == address) {
                    let message = format!(
                        "no client reaches {}: virtual router `{name}` does not take packets to its VIPs",
                        bind.value
                    );
                    let remedy = format!("add `accept_mode = true` to [vrrp.{name}]");
                    found.warning(Code::Refused, &bind.place, message, remedy);
                }
            }
        }
    }
}

fn all_vips(draft: &Draft) -> impl Iterator<Item = &At<VipAddress>> {
    draft.vrrp.iter().flat_map(|vrrp| &vrrp.vips)
}

/// A VIP belongs to one virtual router and to no node.
fn vips(draft: &Draft, nodes: &Nodes<'_>, found: &Findings<'_>) {
    for (index, vrrp) in draft.vrrp.iter().enumerate() {
        for vip in &vrrp.vips {
            let address = vip.value.address;
            let earlier = draft.vrrp[..index].iter().find_map(|other| {
                let same = other
                    .vips
                    .iter()
                    .find(|other| other.value.address == address)?;
                Some((&other.name.value, same))
            });
            if let Some((name, first)) = earlier {
                let line = found.line(&first.place);
                let message = format!(
                    "VIP {address} belongs to virtual router `{name}` already (line {line})"
                );
                found.error(
                    Code::VipConflict,
                    &vip.place,
                    message,
                    "remove one of the two".to_owned(),
                );
            }
            if let Some(node) = nodes.owner_of(address) {
                let message = format!("VIP {address} is the address of node `{}`", node.name);
                let remedy = "a VIP needs an address that no node has of its own".to_owned();
                found.error(Code::VipConflict, &vip.place, message, remedy);
            }
        }
    }
}

/// What is known about who owns an address.
struct Scene<'a> {
    draft: &'a Draft,
    facts: &'a Facts,
    nodes: &'a Nodes<'a>,
}

impl Scene<'_> {
    /// Every bind once, and on an address that can be ours.
    fn binds(&self, found: &Findings<'_>) {
        let listeners = self.draft.listeners.iter();
        let binds: Vec<(&ListenerDraft, &At<SocketAddr>)> = listeners
            .flat_map(|listener| listener.binds.iter().map(move |bind| (listener, bind)))
            .collect();
        let udp = |listener: &ListenerDraft| listener.protocol == ListenerProtocol::Udp;
        for (index, (listener, bind)) in binds.iter().enumerate() {
            let same = |(other, first): &&(&ListenerDraft, &At<SocketAddr>)| {
                first.value == bind.value && udp(other) == udp(listener)
            };
            if let Some((other, first)) = binds[..index].iter().find(same) {
                let line = found.line(&first.place);
                let message = format!(
                    "{} is bound by listener `{}` already (line {line})",
                    bind.value, other.name.value
                );
                found.error(
                    Code::Duplicate,
                    &bind.place,
                    message,
                    "remove one of the two".to_owned(),
                );
            }
            self.foreign(bind, found);
        }
    }

    fn foreign(&self, bind: &At<SocketAddr>, found: &Findings<'_>) {
        let address = bind.value.ip();
        let nothing_known = self.facts.addresses.is_empty() && self.nodes.listed.is_empty();
        let incomplete =
            !self.nodes.complete || self.draft.vrrp.iter().any(|vrrp| !vrrp.vips_complete);
        let allowed = match &self.facts.binds {
            Binds::Own => false,
            Binds::Also(addresses) => addresses.contains(&address),
            Binds::Any => true,
        };
        let unjudged = allowed || incomplete || nothing_known && self.draft.vrrp.is_empty();
        if address.is_unspecified() || address.is_loopback() || self.is_own(address) || unjudged {
            return;
        }
        let whose = match self.nodes.owner_of(address) {
            Some(node) => format!(" (it is node `{}`'s)", node.name),
            None => String::new(),
        };
        let message = format!("{address} is neither a VIP nor an address of this node{whose}");
        let any = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
        let port = bind.value.port();
        let remedy = match all_vips(self.draft)
            .find(|vip| vip.value.address.is_ipv4() == address.is_ipv4())
        {
            Some(vip) => {
                let vip = SocketAddr::new(vip.value.address, port);
                format!("write for example \"{vip}\", or \"{any}:{port}\" for every address")
            }
            None => format!("write \"{any}:{port}\" for every address"),
        };
        found.error(Code::ForeignBind, &bind.place, message, remedy);
    }

    /// A VIP, or an address of this node; every node's as long as nobody knows which one this is.
    fn is_own(&self, address: IpAddr) -> bool {
        let node = match self.nodes.this_node() {
            Some(node) => node.address == address,
            None => self.nodes.owner_of(address).is_some(),
        };
        node || self.facts.addresses.contains(&address)
            || all_vips(self.draft).any(|vip| vip.value.address == address)
    }

    /// No target is this balancer, under whatever address.
    fn loops(&self, found: &Findings<'_>) {
        for target in self.draft.groups.iter().flat_map(|group| &group.targets) {
            let At {
                value: address,
                place,
            } = &target.address;
            if address.ip().is_unspecified() {
                let message = format!("{address} is no address that can be connected to");
                found.error(
                    Code::Loop,
                    place,
                    message,
                    "write the target's own address".to_owned(),
                );
            } else if all_vips(self.draft).any(|vip| vip.value.address == address.ip()) {
                let message = format!("target {address} is a VIP: traffic would come back here");
                found.error(
                    Code::Loop,
                    place,
                    message,
                    "write the target's own address".to_owned(),
                );
            } else if let Some(listener) = self.listening(*address) {
                let line = found.line(&listener.name.place);
                let message = format!(
                    "target {address} is listener `{}` (line {line}) of this file",
                    listener.name.value
                );
                found.error(
                    Code::Loop,
                    place,
                    message,
                    "write the target's own address".to_owned(),
                );
            }
        }
    }

    /// The listener of this file that answers at an address, on whichever node.
    fn listening(&self, address: SocketAddr) -> Option<&ListenerDraft> {
        let own = self.is_own(address.ip()) || self.nodes.owner_of(address.ip()).is_some();
        let reached = own || address.ip().is_loopback();
        let answers = |bind: &At<SocketAddr>| {
            let any =
                bind.value.ip().is_unspecified() && bind.value.port() == address.port() && reached;
            bind.value == address || any
        };
        self.draft
            .listeners
            .iter()
            .find(|listener| listener.binds.iter().any(answers))
    }
}

/// Metrics are for the node's own network.
fn exposed(draft: &Draft, found: &Findings<'_>) {
    let Some(At {
        value: MetricsAddress::At(metrics),
        place,
    }) = &draft.global.metrics
    else {
        return;
    };
    let address = metrics.ip();
    let what = if address.is_unspecified() {
        "every address"
    } else if all_vips(draft).any(|vip| vip.value.address == address) {
        "a VIP"
    } else {
        return;
    };
    let message = format!("`metrics` is bound to {what}");
    let remedy = format!(
        "write \"node:{}\" for this node's own address",
        metrics.port()
    );
    found.warning(Code::Exposed, place, message, remedy);
}
