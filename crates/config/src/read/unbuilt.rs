//! Keys of a group that the forwarder cannot do yet: checked for form, then refused.

use std::time::Duration;

use crate::tree::{Item, Section};

/// Type-checks what the forwarder cannot do yet, and refuses it unless it asks for nothing.
pub(super) fn refuse(section: &Section<'_>) {
    let refuse = |key, read: fn(&Item<'_>) -> bool| {
        if let Some(item) = section.get(key)
            && !item.is_off()
            && read(&item)
        {
            item.not_supported(&format!("`{}`", item.name()), "remove the line");
        }
    };
    refuse("tls", tls);
    refuse("udp", udp);
    refuse("send_proxy", |item| {
        item.word(&[("v1", ()), ("v2", ())]).is_some()
    });
    refuse("on_down", |item| {
        item.word(&[("keep", false), ("close", true)]) == Some(true)
    });
}

fn tls(item: &Item<'_>) -> bool {
    let Some(section) = item.section_or("a table like { name = \"web.internal\" }") else {
        return false;
    };
    for key in ["name", "ca"] {
        if let Some(item) = section.get(key) {
            item.string();
        }
    }
    section.finish();
    true
}

fn udp(item: &Item<'_>) -> bool {
    let Some(section) = item.section_or("a table like { idle = \"30s\", responses = 1 }") else {
        return false;
    };
    if let Some(item) = section.get("idle") {
        item.duration_in(Duration::from_millis(1)..=Duration::from_secs(86_400));
    }
    if let Some(item) = section.get("responses") {
        item.integer(0..=1_000_000);
    }
    section.finish();
    true
}
