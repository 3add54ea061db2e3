//! From the tree to drafts: one file for each table of the configuration.
//!
//! Here a value is looked at alone: its type, its range, whether it is built yet. What depends on other values is
//! left to `check`. A draft keeps the places it needs for that. Where a value is wrong, the draft holds the default:
//! nothing is made of a draft once an error was found.

mod access_log;
mod action;
mod algorithm;
mod certificate;
mod client_tls;
mod global;
mod group;
mod health;
mod keys;
mod listener;
mod listener_tls;
mod pair;
mod protection;
mod rule;
mod sticky;
mod target_tls;
mod track;
mod vrrp;

use std::path::Path;
use std::time::SystemTime;

pub(crate) use certificate::CertificateDraft;
pub(crate) use client_tls::ClientTlsDraft;
pub(crate) use global::{GlobalDraft, MetricsAddress};
pub(crate) use group::GroupDraft;
pub(crate) use health::CheckKind;
pub(crate) use listener::{ListenerDraft, ListenerProtocol};
pub(crate) use pair::{PairDraft, PerNode};
pub(crate) use rule::RulePlace;
pub(crate) use track::TrackDraft;
pub(crate) use vrrp::{Profile, Taken, UnicastDraft, VrrpDraft};

use crate::Code;
use crate::tree::{At, Findings, Item, Section};

/// The most entries of one kind: virtual routers, listeners, groups, rules, targets, VIPs.
const MAX_ENTRIES: usize = 1000;

/// Where files named in the configuration are found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    /// The folder relative names start from.
    pub(crate) folder: &'a Path,
    /// Whether they may be read.
    pub(crate) access: bool,
    /// The time, for what expires.
    pub(crate) now: Option<SystemTime>,
    /// Whom programs run as.
    pub(crate) user: &'a str,
}

/// Everything one file says, part by part.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) global: GlobalDraft,
    pub(crate) pair: Option<PairDraft>,
    pub(crate) vrrp: Vec<VrrpDraft>,
    pub(crate) listeners: Vec<ListenerDraft>,
    pub(crate) groups: Vec<GroupDraft>,
    pub(crate) certificates: Vec<CertificateDraft>,
}

/// Reads the whole file.
pub(crate) fn read(root: Section<'_>, files: Files<'_>) -> Draft {
    let global = root.section("global").map(global::read).unwrap_or_default();
    let user = global.global.user.clone();
    let files = Files {
        user: user.as_deref().unwrap_or(files.user),
        ..files
    };
    let pair = root
        .section("pair")
        .map(|section| pair::read(section, files));
    let vrrp = named(root.get("vrrp"), |name, section| {
        vrrp::read(name, section, files)
    });
    let listeners = named(root.get("listener"), |name, section| {
        listener::read(name, section, files)
    });
    let defaults = root
        .section("defaults")
        .map(|section| defaults(section, files))
        .unwrap_or_default();
    let groups = named(root.get("group"), |name, section| {
        group::read(name, section, &defaults, files)
    });
    let certificates = named(root.get("certificate"), |name, section| {
        certificate::read(name, section, files)
    });
    if vrrp.is_empty()
        && listeners.is_empty()
        && root.get("vrrp").is_none()
        && root.get("listener").is_none()
    {
        let message = "the file has neither a virtual router nor a listener";
        let remedy = "add a [vrrp.NAME] or a [listener.NAME]".to_owned();
        root.found()
            .error(Code::MissingKey, root.place(), message, remedy);
    }
    root.finish();
    Draft {
        global,
        pair,
        vrrp,
        listeners,
        groups,
        certificates,
    }
}

/// Reports a key that makes no sense with the protocol of its listener.
fn unfit(item: &Item<'_>, why: &str, protocol: ListenerProtocol, remedy: &str) {
    let (name, protocol) = (item.name(), protocol.as_str());
    let message = format!("`{name}` {why}, but the listener's protocol is {protocol}");
    let place = item.key_place();
    (item.found()).error(Code::ProtocolOption, &place, message, remedy.to_owned());
}

/// `[defaults]`: what every group starts from.
fn defaults(section: Section<'_>, files: Files<'_>) -> group::Common {
    let common = section.section("group").map(|section| {
        let common = group::Common::read(&section, files);
        section.finish();
        common
    });
    section.finish();
    common.unwrap_or_default()
}

/// Reads a table whose keys are names: one part for each.
fn named<T>(item: Option<Item<'_>>, read: impl Fn(At<String>, Section<'_>) -> T) -> Vec<T> {
    let Some(item) = item else { return Vec::new() };
    let Some(section) = item.section() else {
        return Vec::new();
    };
    let entries = section.entries();
    too_many(&item, entries.len());
    entries
        .into_iter()
        .take(MAX_ENTRIES)
        .filter_map(|(name, item)| {
            let section = item.section_or(&format!("a table like [{}]", item.key_place().key))?;
            let name = At {
                value: name,
                place: section.place().clone(),
            };
            check_name(&item, &name.value);
            Some(read(name, section))
        })
        .collect()
}

/// Names appear in log fields, metrics and commands, so they stay simple.
fn check_name(item: &Item<'_>, name: &str) {
    let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(simple) {
        let message = format!("{name:?} is not a usable name");
        let remedy = "use up to 64 letters, digits, `-`, `_` and `.`".to_owned();
        item.found()
            .error(Code::OutOfRange, &item.key_place(), message, remedy);
    }
}

/// Reports a list or table that is longer than anything sensible.
fn too_many(item: &Item<'_>, len: usize) {
    if len > MAX_ENTRIES {
        item.error(
            Code::OutOfRange,
            format!(
                "`{}` has {len} entries, at most {MAX_ENTRIES} are possible",
                item.name()
            ),
            None,
        );
    }
}

/// Reports the same value twice: `what` names it, `first` is where it stands already.
fn duplicate<T>(found: &Findings<'_>, what: &str, first: &At<T>, second: &At<T>) {
    let message = format!(
        "{what} is already there in line {}",
        found.line(&first.place)
    );
    found.error(
        Code::Duplicate,
        &second.place,
        message,
        "remove one of the two".to_owned(),
    );
}

/// Reports every value that occurred before.
fn duplicates<T: PartialEq>(found: &Findings<'_>, values: &[At<T>], what: impl Fn(&T) -> String) {
    for (index, second) in values.iter().enumerate() {
        if let Some(first) = values[..index]
            .iter()
            .find(|first| first.value == second.value)
        {
            duplicate(found, &what(&second.value), first, second);
        }
    }
}
