//! The virtual routers: what this node runs, and whether they get along with each other and with the nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ::vrrp::{AuthMode, Authentication, Freshness, PeerKnowledge, Priority, Settings};

use super::nodes::Nodes;
use crate::Code;
use crate::model::{Unicast, Vrrp};
use crate::read::{Draft, PerNode, Profile, Taken, UnicastDraft, VrrpDraft};
use crate::tree::{At, Findings};
use crate::units::show_duration;

/// The priority of the first node that has none of its own; each further one has half of it.
const FIRST_PRIORITY: u8 = 200;

/// By how much one node has to be later than the other to be ordered by their priorities: more than a busy host's
/// scheduler delays a process.
const ORDERED: Duration = Duration::from_millis(5);

pub(super) fn check(
    draft: &Draft,
    nodes: &Nodes<'_>,
    found: &Findings<'_>,
) -> Option<Vec<Arc<Vrrp>>> {
    same_vrid(draft, nodes, found);
    let built: Vec<Option<Vrrp>> = draft
        .vrrp
        .iter()
        .map(|vrrp| build(vrrp, draft, nodes, found))
        .collect();
    super::track::check(draft, &built, found);
    let shared = built.into_iter().map(|vrrp| vrrp.map(Arc::new));
    shared.collect()
}

fn build(vrrp: &VrrpDraft, draft: &Draft, nodes: &Nodes<'_>, found: &Findings<'_>) -> Option<Vrrp> {
    let interface = vrrp
        .interface
        .as_ref()
        .and_then(|value| nodes.value("interface", value, found));
    let priority = priority(vrrp, nodes, found);
    let unicast = unicast(vrrp, nodes, found);
    let vips = vrrp.vips.iter().map(|vip| vip.value.address).collect();
    let mut settings = Settings::new(&vrrp.name.value, vrrp.vrid.as_ref()?.value, vips);
    settings.version = vrrp.version;
    settings.password = vrrp.auth.password.clone();
    settings.authentication = authentication(vrrp, nodes).map(Arc::new);
    settings.least_hop_limits = least_ttls(vrrp, nodes, found);
    settings.checksum = vrrp.checksum;
    settings.priority = Priority::new(priority?);
    settings.advert_interval = vrrp.interval.value;
    settings.preempt = vrrp.preempt;
    settings.peer = if nodes.listed.len() == 2 && vrrp.profile == Profile::Pair {
        PeerKnowledge::Pair
    } else {
        PeerKnowledge::Unknown
    };
    settings.unicast_peers = unicast
        .as_ref()
        .map(|unicast| unicast.peers.clone())
        .unwrap_or_default();
    settings.list_mismatch_drops = vrrp.belief.other_list == Taken::Drop;
    settings.off_link_drops = vrrp.belief.off_link == Taken::Drop;
    let interface = interface?.value.clone();
    Some(Vrrp {
        name: vrrp.name.value.clone(),
        group: vrrp.group.as_ref().map(|group| group.value.clone()),
        track: super::track::build(&vrrp.track, !draft.listeners.is_empty(), &interface),
        interface,
        vips: vrrp.vips.iter().map(|vip| vip.value).collect(),
        settings,
        hooks: vrrp.hooks.clone(),
        peer_priority: peer_priority(vrrp, nodes),
        lease: vrrp.lease,
        announce: vrrp.announce.clone(),
        evidence: vrrp.evidence,
        unicast,
        virtual_mac: vrrp.virtual_mac,
        accept_mode: vrrp.accept_mode,
    })
}

// ---- authentication ----

/// The window of a file that says nothing: three intervals, at least this, in seconds.
const WINDOW_S: u64 = 5;

/// A wrong clock must not part two nodes that know each other by name: between two, growth is enough.
fn authentication(vrrp: &VrrpDraft, nodes: &Nodes<'_>) -> Option<Authentication> {
    let hmac = vrrp.auth.hmac.as_ref()?;
    let three_intervals = (vrrp.interval.value.as_duration() * 3).as_secs();
    let window_s = hmac
        .window
        .map_or(three_intervals.max(WINDOW_S), |window| window.as_secs());
    let freshness = hmac.freshness.unwrap_or(if nodes.listed.len() == 2 {
        Freshness::Growth
    } else {
        Freshness::Window
    });
    let mut authentication = hmac.authentication.clone();
    authentication.freshness = freshness;
    Some(authentication.with_window(u32::try_from(window_s).unwrap_or(u32::MAX)))
}

/// The lowest TTL by the address that sends. What comes from beyond the link is believed only if it is signed.
fn least_ttls(vrrp: &VrrpDraft, nodes: &Nodes<'_>, found: &Findings<'_>) -> BTreeMap<IpAddr, u8> {
    let Some(At { value, place }) = &vrrp.unicast_min_ttl else {
        return BTreeMap::new();
    };
    let signed = vrrp.auth.hmac.as_ref();
    if signed.is_none_or(|hmac| hmac.authentication.mode != AuthMode::Enforce) {
        let message =
            "`unicast_min_ttl` believes what comes through routers, where anybody may send it";
        let remedy = "add `auth = { hmac_file = \"/etc/tandem/vrrp.key\" }`, whose mode is enforce";
        found.error(Code::ProtocolOption, place, message, remedy.to_owned());
    }
    nodes.value("unicast_min_ttl", value, found);
    let addresses: Vec<(&str, IpAddr)> = match vrrp.unicast.as_ref().map(|at| &at.value) {
        None => {
            let message = "`unicast_min_ttl` is for unicast";
            let remedy = "add `unicast = true`, or remove the line".to_owned();
            found.error(Code::ProtocolOption, place, message, remedy);
            return BTreeMap::new();
        }
        Some(UnicastDraft::PairAddresses) => nodes
            .listed
            .iter()
            .map(|node| (node.value.name.as_str(), node.value.address))
            .collect(),
        Some(UnicastDraft::Each(PerNode::All(_))) => Vec::new(),
        Some(UnicastDraft::Each(PerNode::Each(each))) => each
            .iter()
            .map(|(name, at)| (name.value.as_str(), at.value))
            .collect(),
    };
    addresses
        .into_iter()
        .filter_map(|(name, address)| Some((address, value.of(name)?.value)))
        .collect()
}

/// Two virtual routers with one VRID would hear each other.
fn same_vrid(draft: &Draft, nodes: &Nodes<'_>, found: &Findings<'_>) {
    for (index, second) in draft.vrrp.iter().enumerate() {
        let Some(vrid) = &second.vrid else { continue };
        let clash = draft.vrrp[..index].iter().find_map(|first| {
            let same = first
                .vrid
                .as_ref()
                .filter(|other| other.value == vrid.value)?;
            Some((first, same, shared_interface(first, second, nodes)?))
        });
        if let Some((first, place, interface)) = clash {
            let line = found.line(&place.place);
            let message = format!(
                "vrid {} is used on {interface} by virtual router `{}` already (line {line})",
                vrid.value, first.name.value
            );
            let remedy = "give it another vrid, or put the VIPs of both into one table".to_owned();
            found.error(Code::VridConflict, &vrid.place, message, remedy);
        }
    }
}

/// The interface that two virtual routers have in common, on whichever node.
fn shared_interface(first: &VrrpDraft, second: &VrrpDraft, nodes: &Nodes<'_>) -> Option<String> {
    let (first, second) = (first.interface.as_ref()?, second.interface.as_ref()?);
    let own = nodes.name();
    let names = nodes
        .listed
        .iter()
        .map(|node| node.value.name.as_str())
        .chain(own.as_deref());
    names
        .filter_map(|name| Some((first.of(name)?, second.of(name)?)))
        .find(|(a, b)| a.value == b.value)
        .map(|(interface, _)| interface.value.clone())
}

// ---- priority ----

/// The priority of the other node of two, as the file has it.
fn peer_priority(vrrp: &VrrpDraft, nodes: &Nodes<'_>) -> Option<u8> {
    let own = nodes.index()?;
    let (2, other) = (nodes.listed.len(), 1_usize.checked_sub(own)?) else {
        return None;
    };
    match &vrrp.priority {
        Some(value) => Some(value.of(&nodes.listed[other].value.name)?.value),
        None => Some(by_order(other).max(1)),
    }
}

/// What a node has that the file gives no priority, by its place in the file.
fn by_order(index: usize) -> u8 {
    u32::try_from(index).map_or(0, |shift| FIRST_PRIORITY.checked_shr(shift).unwrap_or(0))
}

fn priority(vrrp: &VrrpDraft, nodes: &Nodes<'_>, found: &Findings<'_>) -> Option<u8> {
    let mut all: Vec<u8> = match &vrrp.priority {
        Some(value) => nodes
            .listed
            .iter()
            .filter_map(|node| Some(value.of(&node.value.name)?.value))
            .collect(),
        None => (0..nodes.listed.len())
            .map(|index| by_order(index).max(1))
            .collect(),
    };
    let own = match (&vrrp.priority, nodes.index()) {
        (Some(value), _) => nodes
            .value("priority", value, found)
            .map(|value| value.value),
        (None, Some(index)) => Some(by_order(index).max(1)),
        (None, None) => Some(Priority::DEFAULT.value()),
    };
    all.sort_unstable();
    ordered(vrrp, &all, found);
    own
}

/// Warns of priorities that do not say who goes first. `sorted` holds those of all nodes.
fn ordered(vrrp: &VrrpDraft, sorted: &[u8], found: &Findings<'_>) {
    let Some(nearest) = sorted.windows(2).map(|two| two[1] - two[0]).min() else {
        return;
    };
    let interval = vrrp.interval.value.as_duration();
    let apart = interval * u32::from(nearest) / 256;
    if nearest == 0 {
        let place = match &vrrp.priority {
            Some(PerNode::All(value)) => &value.place,
            Some(PerNode::Each(each)) => each
                .first()
                .map_or(&vrrp.name.place, |(_, value)| &value.place),
            None => &vrrp.name.place,
        };
        let message = "two nodes have the same priority: the higher address wins";
        let remedy = "write for example `priority = { lb1 = 200, lb2 = 100 }`".to_owned();
        found.warning(Code::Unordered, place, message, remedy);
    } else if interval < Duration::from_millis(100) && apart < ORDERED {
        let message = format!(
            "at an interval of {}, priorities {nearest} apart make a difference of {:.1} ms only",
            show_duration(interval),
            apart.as_secs_f64() * 1e3
        );
        let remedy = "choose a longer interval, or priorities further apart".to_owned();
        found.warning(Code::Unordered, &vrrp.interval.place, message, remedy);
    }
}

// ---- unicast ----

fn unicast(vrrp: &VrrpDraft, nodes: &Nodes<'_>, found: &Findings<'_>) -> Option<Unicast> {
    let At { value, place } = vrrp.unicast.as_ref()?;
    let unicast = match value {
        UnicastDraft::PairAddresses => {
            if nodes.complete && nodes.listed.len() < 2 {
                let message = "`unicast = true` needs the addresses of two nodes in [pair]";
                let remedy = "add the other node, or remove the line".to_owned();
                found.error(Code::MissingKey, place, message, remedy);
            }
            let own = nodes.this_node()?;
            let others = nodes
                .listed
                .iter()
                .map(|node| &node.value)
                .filter(|node| node.name != own.name);
            Unicast {
                source: own.address,
                peers: others.map(|node| node.address).collect(),
            }
        }
        UnicastDraft::Each(each) => {
            let own = nodes.value("unicast", each, found)?;
            let PerNode::Each(all) = each else {
                return None;
            };
            let peers: Vec<_> = all
                .iter()
                .map(|(_, at)| at.value)
                .filter(|address| *address != own.value)
                .collect();
            if peers.is_empty() {
                let message = "`unicast` has no address of another node";
                found.error(
                    Code::MissingKey,
                    place,
                    message,
                    "add the other node, or remove the line".to_owned(),
                );
            }
            Unicast {
                source: own.value,
                peers,
            }
        }
    };
    families(vrrp, &unicast, place, found);
    Some(unicast)
}

/// Adverts of a family need unicast addresses of that family.
fn families(vrrp: &VrrpDraft, unicast: &Unicast, place: &crate::tree::Place, found: &Findings<'_>) {
    let family = |v4: bool| if v4 { "IPv4" } else { "IPv6" };
    let v4 = unicast.source.is_ipv4();
    if let Some(peer) = unicast.peers.iter().find(|peer| peer.is_ipv4() != v4) {
        let message = format!(
            "unicast from {} to {peer} mixes IPv4 and IPv6",
            unicast.source
        );
        found.error(
            Code::Family,
            place,
            message,
            "use addresses of one family".to_owned(),
        );
    } else if let Some(vip) = vrrp
        .vips
        .iter()
        .find(|vip| vip.value.address.is_ipv4() != v4)
    {
        let (other, own) = (family(!v4), family(v4));
        let message = format!(
            "VIP {} is {other}, but the unicast addresses are {own}",
            vip.value.address
        );
        let remedy =
            format!("remove `unicast`, or give the {other} VIPs a [vrrp.NAME] of their own");
        found.error(Code::Family, place, message, remedy);
    }
    if let Some(vip) = vrrp
        .vips
        .iter()
        .find(|vip| unicast.source == vip.value.address)
    {
        let message = format!("the unicast address {} is a VIP", vip.value.address);
        found.error(
            Code::VipConflict,
            place,
            message,
            "use the node's own address".to_owned(),
        );
    }
}
