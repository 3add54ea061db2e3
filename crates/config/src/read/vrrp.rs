//! `[vrrp.NAME]`.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ::vrrp::{ChecksumForm, ChecksumPolicy, Interval, Password, Preempt, Version, Vrid};

use super::pair::PerNode;
use super::track::{self, TrackDraft};
use super::{Files, duplicates, too_many};
use crate::Code;
use crate::model::{Announce, VipAddress};
use crate::tree::{At, Item, Section};
use crate::units::show_duration;

/// The preemption delay of a file that says nothing.
const PREEMPT_DELAY: Duration = Duration::from_secs(30);
/// The lease of a file that says nothing.
const LEASE: Duration = Duration::from_secs(2);
/// Delays of gratuitous ARP that can be listed.
const MAX_SCHEDULE: usize = 16;

/// A virtual router as written.
#[derive(Debug)]
pub(crate) struct VrrpDraft {
    /// The name, at the table's header.
    pub(crate) name: At<String>,
    pub(crate) interface: Option<PerNode<String>>,
    pub(crate) vrid: Option<At<Vrid>>,
    pub(crate) version: Version,
    pub(crate) password: Option<Password>,
    pub(crate) checksum: ChecksumPolicy,
    pub(crate) vips: Vec<At<VipAddress>>,
    /// Whether every VIP could be read; if not, nothing can be said about addresses that are none.
    pub(crate) vips_complete: bool,
    /// At the value, or at the table's header if it is the default.
    pub(crate) interval: At<Interval>,
    pub(crate) priority: Option<PerNode<u8>>,
    pub(crate) preempt: Preempt,
    pub(crate) unicast: Option<At<UnicastDraft>>,
    pub(crate) lease: Option<Duration>,
    pub(crate) announce: Announce,
    pub(crate) track: TrackDraft,
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
    let password = section
        .get("auth")
        .and_then(|item| auth(&item, version, files));
    let checksum = section
        .get("checksum")
        .and_then(|item| item.word(CHECKSUMS))
        .unwrap_or(ChecksumPolicy::Auto);
    let (vips, vips_complete) = vips(&section, version);
    let interval = section
        .get("advert_interval")
        .and_then(|item| interval(&item, version));
    let interval = interval.unwrap_or_else(|| At {
        value: default_interval(version),
        place: section.place().clone(),
    });
    let priority = section
        .get("priority")
        .and_then(|item| PerNode::read(&item, |item| item.number(1..=255)));
    let preempt = section
        .get("preempt")
        .and_then(|item| preempt(&item))
        .unwrap_or(Preempt::After(PREEMPT_DELAY));
    let unicast = section.get("unicast").and_then(|item| unicast(&item));
    let lease = section
        .get("vip_lease")
        .map_or(Some(LEASE), |item| lease(&item));
    let announce = section.section("garp").map(announce).unwrap_or_default();
    let track = section
        .section("track")
        .map(track::read)
        .unwrap_or_default();
    if let Some(item) = section.get("hooks") {
        track::hooks(&item);
    }
    unbuilt(&section);
    section.finish();
    VrrpDraft {
        name,
        interface,
        vrid,
        version,
        password,
        checksum,
        vips,
        vips_complete,
        interval,
        priority,
        preempt,
        unicast,
        lease,
        announce,
        track,
    }
}

const CHECKSUMS: &[(&str, ChecksumPolicy)] = &[
    ("auto", ChecksumPolicy::Auto),
    ("rfc5798", ChecksumPolicy::Fixed(ChecksumForm::Rfc5798)),
    ("rfc9568", ChecksumPolicy::Fixed(ChecksumForm::Rfc9568)),
];

fn unbuilt(section: &Section<'_>) {
    if let Some(item) = section.get("group")
        && item.string().is_some()
    {
        item.not_supported(
            "`group`",
            "remove the line; VIPs of both families in one table already move together",
        );
    }
    if let Some(item) = section.get("virtual_mac")
        && item.boolean() == Some(true)
    {
        item.not_supported(
            "`virtual_mac = true`",
            "remove the line; the interface's own MAC is used",
        );
    }
}

fn version(item: &Item<'_>) -> Option<Version> {
    match item.integer(2..=3)? {
        2 => Some(Version::V2),
        _ => Some(Version::V3),
    }
}

// ---- authentication ----

fn auth(item: &Item<'_>, version: Version, files: Files<'_>) -> Option<Password> {
    let section =
        item.section_or("a table like { password_file = \"/etc/tandem/vrrp.password\" }")?;
    let password = section.get("password_file");
    let hmac = section.get("hmac_file");
    if password.is_none() && hmac.is_none() {
        section.missing(
            "password_file",
            "password_file = \"/etc/tandem/vrrp.password\"",
        );
    }
    section.finish();
    if let Some(hmac) = hmac
        && hmac.string_like("the path of a file").is_some()
    {
        hmac.not_supported(
            "authentication by HMAC",
            "remove `auth`; version 2 can have a `password_file`",
        );
    }
    let password = password?;
    let file = password.string_like("the path of a file")?;
    if version == Version::V3 {
        password.not_supported(
            "a password in version 3",
            "remove `auth`, or write `version = 2`",
        );
        return None;
    }
    if !files.access {
        return Password::new(&[0]);
    }
    read_password(&password, &files.folder.join(file))
}

/// The first 8 bytes of the first line: what Keepalived uses of its `auth_pass`.
fn read_password(item: &Item<'_>, path: &Path) -> Option<Password> {
    let mut bytes = Vec::new();
    if let Err(error) = File::open(path).and_then(|file| file.take(256).read_to_end(&mut bytes)) {
        let message = format!("cannot read the password from {}: {error}", path.display());
        item.error(Code::File, message, None);
        return None;
    }
    let line = bytes
        .split(|b| matches!(b, b'\n' | b'\r' | 0))
        .next()
        .unwrap_or_default();
    if line.len() > 8 {
        let message = format!(
            "the password in {} is longer than 8 bytes; the rest is not used",
            path.display()
        );
        item.found()
            .warning(Code::Password, &item.place(), message, None);
    }
    let password = Password::new(&line[..line.len().min(8)]);
    if password.is_none() {
        item.error(
            Code::File,
            format!("the password file {} is empty", path.display()),
            None,
        );
    }
    password
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

// ---- times ----

/// What a file that says nothing gets: version 2 counts whole seconds.
fn default_interval(version: Version) -> Interval {
    match version {
        Version::V2 => Interval::SECOND,
        Version::V3 => Interval::from_centis(10).unwrap_or(Interval::SECOND),
    }
}

fn interval(item: &Item<'_>, version: Version) -> Option<At<Interval>> {
    let wanted = item.duration()?;
    let (step, from, to, words) = match version {
        Version::V2 => (
            1_000,
            1_000,
            40_000,
            "whole seconds from 1s to 40s in version 2",
        ),
        Version::V3 => (10, 10, 40_950, "from 10ms to 40.95s in steps of 10ms"),
    };
    let millis = wanted.as_millis();
    if millis < from || millis > to || wanted.as_nanos() % (step * 1_000_000) != 0 {
        let message = format!(
            "`advert_interval` must be {words}, got {}",
            show_duration(wanted)
        );
        item.error(Code::VridConflict, message, None);
        return None;
    }
    let centis = u16::try_from(millis / 10).ok()?;
    Some(item.at(Interval::from_centis(centis)?))
}

/// `true`, `false` or `{ delay = "30s" }`.
fn preempt(item: &Item<'_>) -> Option<Preempt> {
    match item.as_bool() {
        Some(true) => return Some(Preempt::Immediately),
        Some(false) => return Some(Preempt::Never),
        None => {}
    }
    let section = item.section_or("true, false or a table like { delay = \"30s\" }")?;
    let delay = section.require("delay", "delay = \"30s\"");
    let delay =
        delay.and_then(|item| item.duration_in(Duration::ZERO..=Duration::from_secs(86_400)));
    section.finish();
    match delay? {
        Duration::ZERO => Some(Preempt::Immediately),
        delay => Some(Preempt::After(delay)),
    }
}

/// Whole seconds, as the kernel counts them.
fn lease(item: &Item<'_>) -> Option<Duration> {
    if item.is_off() {
        return None;
    }
    let lease = item.duration_in(Duration::from_secs(1)..=Duration::from_secs(60))?;
    if lease.subsec_nanos() != 0 {
        let message = format!(
            "`vip_lease` must be whole seconds, got {}",
            show_duration(lease)
        );
        let rounded = show_duration(Duration::from_secs(lease.as_secs() + 1));
        item.error(
            Code::OutOfRange,
            message,
            format!("did you mean {rounded:?}?"),
        );
    }
    Some(lease)
}

fn announce(section: Section<'_>) -> Announce {
    let mut announce = Announce::default();
    if let Some(item) = section.get("schedule") {
        announce.schedule = schedule(&item);
    }
    if let Some(item) = section.get("refresh")
        && !item.is_off()
    {
        announce.refresh = item.duration_in(Duration::from_secs(1)..=Duration::from_secs(86_400));
    }
    section.finish();
    announce
}

fn schedule(item: &Item<'_>) -> Vec<Duration> {
    let Some(items) = item.list("a list like [\"0ms\", \"50ms\", \"1s\"]") else {
        return Vec::new();
    };
    if items.is_empty() || items.len() > MAX_SCHEDULE {
        item.error(
            Code::OutOfRange,
            format!("`schedule` must have 1 to {MAX_SCHEDULE} entries"),
            None,
        );
    }
    let mut times: Vec<Duration> = Vec::new();
    for item in items.iter().take(MAX_SCHEDULE) {
        let Some(time) = item.duration_in(Duration::ZERO..=Duration::from_secs(60)) else {
            continue;
        };
        if times.last().is_some_and(|last| *last >= time) {
            let message = format!(
                "`schedule` must ascend, {} is not later than the one before",
                show_duration(time)
            );
            item.error(Code::OutOfRange, message, None);
        }
        times.push(time);
    }
    times
}
