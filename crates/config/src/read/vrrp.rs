//! `[vrrp.NAME]`.

mod auth;
mod belief;
mod profile;
mod times;

use std::net::IpAddr;
use std::time::Duration;

use ::vrrp::{ChecksumForm, ChecksumPolicy, Interval, Preempt, Version, Vrid};

use super::pair::PerNode;
use super::track::{self, TrackDraft};
use super::{Files, duplicates, too_many};
use crate::Code;
use crate::model::{Announce, Evidence, Hooks, OnEvidence, VipAddress};
use crate::tree::{At, Item, Section};

pub(crate) use profile::Profile;

pub(crate) use auth::AuthDraft;
pub(crate) use belief::{Belief, Taken};

/// A virtual router as written.
#[derive(Debug)]
pub(crate) struct VrrpDraft {
    /// The name, at the table's header.
    pub(crate) name: At<String>,
    pub(crate) group: Option<At<String>>,
    pub(crate) interface: Option<PerNode<String>>,
    pub(crate) vrid: Option<At<Vrid>>,
    pub(crate) version: Version,
    pub(crate) auth: AuthDraft,
    pub(crate) checksum: ChecksumPolicy,
    pub(crate) belief: Belief,
    pub(crate) vips: Vec<At<VipAddress>>,
    /// Whether every VIP could be read; if not, nothing can be said about addresses that are none.
    pub(crate) vips_complete: bool,
    /// At the value, or at the table's header if it is the default.
    pub(crate) interval: At<Interval>,
    pub(crate) priority: Option<PerNode<u8>>,
    pub(crate) preempt: Preempt,
    pub(crate) unicast: Option<At<UnicastDraft>>,
    /// The lowest TTL that is believed, by the node that sends; with the place of the key.
    pub(crate) unicast_min_ttl: Option<At<PerNode<u8>>>,
    pub(crate) lease: Option<Duration>,
    pub(crate) announce: Announce,
    pub(crate) evidence: Evidence,
    pub(crate) track: TrackDraft,
    pub(crate) hooks: Hooks,
    pub(crate) virtual_mac: bool,
    pub(crate) accept_mode: bool,
    pub(crate) profile: Profile,
}

/// Unicast as written; absent when it is off.
#[derive(Debug)]
pub(crate) enum UnicastDraft {
    /// Between the addresses of `[pair]`.
    PairAddresses,
    /// Between these, by node.
    Each(PerNode<IpAddr>),
}

pub(super) fn read(name: At<String>, section: Section<'_>, files: Files<'_>) -> VrrpDraft {
    let interface = section.require("interface", "interface = \"eth0\"");
    let interface = interface.and_then(|item| PerNode::read(&item, track::link_name));
    let vrid = section.require("vrid", "vrid = 51");
    let vrid = vrid.and_then(|item| Some(item.at(Vrid::new(item.number(1..=255)?)?)));
    let version = section
        .get("version")
        .and_then(|item| version(&item))
        .unwrap_or(Version::V3);
    let auth = section
        .get("auth")
        .and_then(|item| auth::read(&item, version, files));
    let (vips, vips_complete) = vips(&section, version);
    let profile = Profile::read(&section, version, &vips);
    let checksum = section
        .get("checksum")
        .map_or(profile.checksum(), |item| checksum(&item, version, &vips));
    let interval = section
        .get("advert_interval")
        .and_then(|item| times::interval(&item, version));
    let interval = interval.unwrap_or_else(|| At {
        value: profile.interval(version),
        place: section.place().clone(),
    });
    let priority = section
        .get("priority")
        .and_then(|item| PerNode::read(&item, |item| item.number(1..=255)));
    let preempt = section
        .get("preempt")
        .and_then(|item| times::preempt(&item))
        .unwrap_or(profile.preempt());
    let unicast = section.get("unicast").and_then(|item| unicast(&item));
    let belief = Belief::read(&section, version, &vips, unicast.is_some());
    let unicast_min_ttl = section.get("unicast_min_ttl").and_then(|item| {
        let place = item.key_place();
        PerNode::read(&item, |item| item.number(1..=255)).map(|value| At { value, place })
    });
    let lease = section
        .get("vip_lease")
        .map_or(Some(times::LEASE), |item| times::lease(&item));
    let announce = section
        .section("garp")
        .map(times::announce)
        .unwrap_or_default();
    let evidence = section
        .section("evidence")
        .map(evidence)
        .unwrap_or_default();
    let track = section
        .section("track")
        .map(|section| track::read(section, files))
        .unwrap_or_default();
    let hooks = section.get("hooks");
    let hooks = hooks.map_or_else(Hooks::default, |item| track::hooks(&item, files));
    let virtual_mac = section.get("virtual_mac").and_then(|item| item.boolean());
    let accept_mode = section.get("accept_mode").and_then(|item| item.boolean());
    let group = section.get("group").and_then(|item| group(&item));
    section.finish();
    VrrpDraft {
        name,
        group,
        interface,
        vrid,
        version,
        auth: auth.unwrap_or_default(),
        checksum,
        belief,
        vips,
        vips_complete,
        interval,
        priority,
        preempt,
        unicast,
        unicast_min_ttl,
        lease,
        announce,
        evidence,
        track,
        hooks,
        virtual_mac: virtual_mac.unwrap_or(profile.virtual_mac()),
        accept_mode: accept_mode.unwrap_or(profile.accept_mode()),
        profile,
    }
}

/// The name of a group; it exists by being named.
fn group(item: &Item<'_>) -> Option<At<String>> {
    let name = item.string()?;
    if name.is_empty() {
        item.expected("a name like \"edge\"", None);
        return None;
    }
    Some(item.at(name.to_owned()))
}

const CHECKSUMS: &[(&str, ChecksumPolicy)] = &[
    ("auto", ChecksumPolicy::Auto),
    ("rfc5798", ChecksumPolicy::Fixed(ChecksumForm::Rfc5798)),
    ("rfc9568", ChecksumPolicy::Fixed(ChecksumForm::Rfc9568)),
];

/// A choice that only version 3 over IPv4 has.
fn checksum(item: &Item<'_>, version: Version, vips: &[At<VipAddress>]) -> ChecksumPolicy {
    let Some(policy) = item.word(CHECKSUMS) else {
        return ChecksumPolicy::Auto;
    };
    let ipv4 = vips.is_empty() || vips.iter().any(|vip| vip.value.address.is_ipv4());
    if policy != ChecksumPolicy::Auto && (version == Version::V2 || !ipv4) {
        let message =
            "`checksum` is for version 3 over IPv4: everywhere else there is one form only";
        item.found().error(
            Code::ProtocolOption,
            &item.key_place(),
            message,
            "remove the line".to_owned(),
        );
    }
    policy
}

const ON_EVIDENCE: &[(&str, OnEvidence)] =
    &[("hold", OnEvidence::Hold), ("promote", OnEvidence::Promote)];

/// What evidence besides advertisements may decide.
fn evidence(section: Section<'_>) -> Evidence {
    let mut evidence = Evidence::default();
    let word = |key| section.get(key).and_then(|item| item.word(ON_EVIDENCE));
    if let Some(word) = word("address_answers") {
        evidence.address_answers = word;
    }
    if let Some(word) = word("peer_lives") {
        evidence.peer_lives = word;
    }
    section.finish();
    evidence
}

fn version(item: &Item<'_>) -> Option<Version> {
    match item.integer(2..=3)? {
        2 => Some(Version::V2),
        _ => Some(Version::V3),
    }
}

// ---- addresses ----

/// The VIPs, and whether that is all of them.
fn vips(section: &Section<'_>, version: Version) -> (Vec<At<VipAddress>>, bool) {
    let Some(item) = section.require("vips", "vips = [\"192.0.2.10/24\"]") else {
        return (Vec::new(), false);
    };
    let Some(items) = item.list("a list like [\"192.0.2.10/24\"]") else {
        return (Vec::new(), false);
    };
    if items.is_empty() {
        item.error(
            Code::MissingKey,
            "`vips` is empty",
            "write at least one like \"192.0.2.10/24\"".to_owned(),
        );
    }
    too_many(&item, items.len());
    if items.len() > 255 {
        item.error(
            Code::OutOfRange,
            "an advertisement carries at most 255 addresses",
            None,
        );
    }
    let vips: Vec<At<VipAddress>> = items.iter().filter_map(vip).collect();
    let addresses: Vec<_> = vips
        .iter()
        .map(|vip| At {
            value: vip.value.address,
            place: vip.place.clone(),
        })
        .collect();
    duplicates(item.found(), &addresses, |address| format!("VIP {address}"));
    for vip in vips
        .iter()
        .filter(|vip| vip.value.address.is_ipv6() && version == Version::V2)
    {
        let message = format!(
            "VIP {} is IPv6, but version 2 knows IPv4 only",
            vip.value.address
        );
        let remedy = "give it a [vrrp.NAME] of its own with `version = 3`".to_owned();
        item.found()
            .error(Code::Family, &vip.place, message, remedy);
    }
    let complete = !items.is_empty() && vips.len() == items.len();
    (vips, complete)
}

fn vip(item: &Item<'_>) -> Option<At<VipAddress>> {
    let net = item.prefix("192.0.2.10/24")?;
    let (address, prefix_len) = (net.addr(), net.prefix_len());
    let unusable = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    if unusable || prefix_len == 0 {
        item.error(Code::OutOfRange, format!("{net} cannot be a VIP"), None);
        return None;
    }
    if net.max_prefix_len() - prefix_len > 1
        && (address == net.network() || is_broadcast(address, net.broadcast()))
    {
        let message = format!(
            "{address} is the network or broadcast address of {}",
            net.trunc()
        );
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    Some(item.at(VipAddress {
        address,
        prefix_len,
    }))
}

/// IPv6 has no broadcast address: its last one is an address like any other.
fn is_broadcast(address: IpAddr, last: IpAddr) -> bool {
    address.is_ipv4() && address == last
}

/// `false`, `true`, or an address for each node.
fn unicast(item: &Item<'_>) -> Option<At<UnicastDraft>> {
    if let Some(on) = item.as_bool() {
        return on.then(|| item.at(UnicastDraft::PairAddresses));
    }
    if !item.is_table() {
        item.expected(
            "true, false or a table like { lb1 = \"10.9.0.2\", lb2 = \"10.9.0.3\" }",
            None,
        );
        return None;
    }
    Some(item.at(UnicastDraft::Each(PerNode::read(item, Item::address)?)))
}
