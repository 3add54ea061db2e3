//! Keys of a group that the forwarder cannot do yet: checked for form, then refused.

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
