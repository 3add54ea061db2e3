//! `[vrrp.NAME.track]` and `[vrrp.NAME.hooks]`.

mod checks;
mod hooks;
mod probes;
mod programs;

use super::{Files, too_many};
use crate::Code;
use crate::model::{TrackedCheck, TrackedGroup, TrackedInterface};
use crate::tree::{At, Item, Section};

pub(super) use checks::absolute;
pub(super) use hooks::hooks;

/// What the priority follows, as written.
#[derive(Debug, Default)]
pub(crate) struct TrackDraft {
    /// `None` = not said.
    pub(crate) forwarder: Option<At<bool>>,
    pub(crate) interfaces: Vec<TrackedInterface>,
    pub(crate) groups: Vec<At<TrackedGroup>>,
    /// Probes that go over the virtual router's own interface have none yet.
    pub(crate) checks: Vec<At<TrackedCheck>>,
}

pub(super) fn read(section: Section<'_>, files: Files<'_>) -> TrackDraft {
    let forwarder = section
        .get("forwarder")
        .and_then(|item| Some(item.at(item.boolean()?)));
    let interfaces = section
        .get("interfaces")
        .and_then(|item| item.list("a list like [\"eth1\"]"))
        .unwrap_or_default();
    let interfaces = interfaces.iter().filter_map(interface).collect();
    let groups = section
        .get("groups")
        .map(|item| groups(&item))
        .unwrap_or_default();
    let checks = checks::read(&section, files);
    section.finish();
    TrackDraft {
        forwarder,
        interfaces,
        groups,
        checks,
    }
}

/// A name, or a table with name and weight.
fn interface(item: &Item<'_>) -> Option<TrackedInterface> {
    if !item.is_table() {
        let name = link_name(item)?;
        return Some(TrackedInterface { name, weight: None });
    }
    let section = item.section()?;
    let name = section
        .require("name", "name = \"eth1\"")
        .and_then(|item| link_name(&item));
    let weight = section.get("weight").and_then(|item| weight(&item));
    section.finish();
    Some(TrackedInterface {
        name: name?,
        weight,
    })
}

/// The name of a network interface, as the kernel allows it: 1 to 15 bytes.
pub(super) fn link_name(item: &Item<'_>) -> Option<String> {
    let name = item.string_like("the name of an interface like \"eth0\"")?;
    let valid = |c: char| !c.is_whitespace() && c != '/' && c != ':';
    if name.len() > 15 || name == "." || name == ".." || !name.chars().all(valid) {
        item.error(
            Code::OutOfRange,
            format!("{name:?} cannot be the name of an interface"),
            None,
        );
        return None;
    }
    Some(name.to_owned())
}

/// What is added to a priority: not 0.
fn weight(item: &Item<'_>) -> Option<i16> {
    let weight = item.number(-254..=254)?;
    if weight == 0 {
        let remedy = "remove the weight to make it a fault".to_owned();
        item.error(Code::OutOfRange, "a `weight` of 0 changes nothing", remedy);
        return None;
    }
    Some(weight)
}

fn groups(item: &Item<'_>) -> Vec<At<TrackedGroup>> {
    let Some(section) = item.section_or("a table like { web = { min_usable = 1, weight = -50 } }")
    else {
        return Vec::new();
    };
    let entries = section.entries();
    too_many(item, entries.len());
    let group = |(name, item): (String, Item<'_>)| {
        let section = item.section()?;
        let min_usable = section.get("min_usable");
        let weight = section.get("weight").and_then(|item| weight(&item));
        let group = TrackedGroup {
            name,
            min_usable: min_usable.map_or(Some(1), |item| item.number(1..=1000))?,
            weight,
        };
        section.finish();
        Some(At {
            value: group,
            place: item.key_place(),
        })
    };
    entries.into_iter().filter_map(group).collect()
}
