//! `[vrrp.NAME.track]` and `[vrrp.NAME.hooks]`.

use std::time::Duration;

use crate::Code;
use crate::model::TrackedInterface;
use crate::tree::{At, Item, Section};

/// What the priority follows, as written.
#[derive(Debug, Default)]
pub(crate) struct TrackDraft {
    /// `None` = not said.
    pub(crate) forwarder: Option<At<bool>>,
    pub(crate) interfaces: Vec<TrackedInterface>,
    /// Groups that are named.
    pub(crate) groups: Vec<At<String>>,
}

pub(super) fn read(section: Section<'_>) -> TrackDraft {
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
    if let Some(item) = section.get("scripts") {
        scripts(&item);
    }
    section.finish();
    TrackDraft {
        forwarder,
        interfaces,
        groups,
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

fn groups(item: &Item<'_>) -> Vec<At<String>> {
    let Some(section) = item.section_or("a table like { web = { min_usable = 1, weight = -50 } }")
    else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for (name, item) in section.entries() {
        names.push(At {
            value: name,
            place: item.key_place(),
        });
        let Some(section) = item.section() else {
            continue;
        };
        if let Some(item) = section.get("min_usable") {
            item.integer(1..=1000);
        }
        if let Some(item) = section.get("weight") {
            weight(&item);
        }
        section.finish();
    }
    if !names.is_empty() {
        item.not_supported(
            "tracking groups",
            "remove the line; `forwarder = true` is followed",
        );
    }
    names
}

fn scripts(item: &Item<'_>) {
    let Some(section) =
        item.section_or("a table like { disk = { run = [\"/usr/local/bin/disk-ok\"] } }")
    else {
        return;
    };
    let entries = section.entries();
    for (_, item) in &entries {
        if let Some(section) = item.section() {
            script(&section);
            section.finish();
        }
    }
    if !entries.is_empty() {
        item.not_supported("tracking scripts", "remove the line");
    }
}

fn script(section: &Section<'_>) {
    if let Some(item) = section.require("run", "run = [\"/usr/local/bin/disk-ok\"]") {
        command(&item);
    }
    let limits = Duration::from_millis(100)..=Duration::from_secs(3600);
    let every = section
        .get("every")
        .and_then(|item| item.duration_in(limits.clone()));
    let timeout = section.get("timeout");
    let limit = timeout.as_ref().and_then(|item| item.duration_in(limits));
    if let (Some(item), Some(limit), Some(every)) = (timeout, limit, every)
        && limit >= every
    {
        item.error(
            Code::OutOfRange,
            "`timeout` must be shorter than `every`",
            None,
        );
    }
    for key in ["rise", "fall"] {
        if let Some(item) = section.get(key) {
            item.integer(1..=100);
        }
    }
    if let Some(item) = section.get("weight") {
        weight(&item);
    }
}

/// A program with its arguments.
fn command(item: &Item<'_>) {
    let what = "a list of program and arguments like [\"/usr/local/bin/program\"]";
    let Some(words) = item.list(what) else { return };
    for word in &words {
        word.string();
    }
    match words.first().map(Item::as_str) {
        None => item.error(
            Code::MissingKey,
            "the list is empty",
            "write the path of a program".to_owned(),
        ),
        Some(Some(program)) if !program.starts_with('/') => {
            item.error(
                Code::OutOfRange,
                format!("{program:?} is not an absolute path"),
                None,
            );
        }
        Some(_) => {}
    }
}

/// `[vrrp.NAME.hooks]`.
pub(super) fn hooks(item: &Item<'_>) {
    let Some(section) = item.section() else {
        return;
    };
    let transition = section.get("transition");
    if let Some(item) = &transition {
        command(item);
    }
    section.finish();
    if transition.is_some() {
        item.not_supported(
            "`hooks`",
            "remove the table; `tandem events -f` shows every transition",
        );
    }
}
