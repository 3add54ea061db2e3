//! Virtual routers of one group: what the group has once must be the same at each of them.

use std::collections::BTreeMap;

use super::nodes::Nodes;
use crate::Code;
use crate::read::{Draft, VrrpDraft};
use crate::tree::{At, Findings};

pub(super) fn check(draft: &Draft, nodes: &Nodes<'_>, found: &Findings<'_>) {
    let mut groups: BTreeMap<&str, Vec<(&VrrpDraft, &At<String>)>> = BTreeMap::new();
    for vrrp in &draft.vrrp {
        if let Some(group) = &vrrp.group {
            groups.entry(&group.value).or_default().push((vrrp, group));
        }
    }
    for (name, members) in groups {
        let [(first, at), others @ ..] = &members[..] else {
            continue;
        };
        if others.is_empty() {
            let message = format!("group `{name}` has this virtual router only");
            let remedy = "name it in another [vrrp.NAME] as well, or remove the line".to_owned();
            found.warning(Code::Unused, &at.place, message, remedy);
        }
        for (other, at) in others {
            for key in differences(first, other, nodes) {
                let (name, first, other) = (&at.value, &first.name.value, &other.name.value);
                let message = format!(
                    "group `{name}` is one decision, but `{first}` and `{other}` differ in `{key}`"
                );
                let remedy = format!("give both the same `{key}`");
                found.error(Code::GroupMismatch, &at.place, message, remedy);
            }
        }
    }
}

/// The keys in which two members of a group may not differ, and do.
fn differences(first: &VrrpDraft, other: &VrrpDraft, nodes: &Nodes<'_>) -> Vec<&'static str> {
    let own = nodes.name();
    let names = nodes
        .listed
        .iter()
        .map(|node| node.value.name.as_str())
        .chain(own.as_deref());
    let priorities = |vrrp: &VrrpDraft| -> Option<Vec<Option<u8>>> {
        let value = vrrp.priority.as_ref()?;
        let of = |name| value.of(name).map(|at| at.value);
        Some(names.clone().map(of).collect())
    };
    let mut differ = Vec::new();
    if priorities(first) != priorities(other) {
        differ.push("priority");
    }
    if first.preempt != other.preempt {
        differ.push("preempt");
    }
    differ
}
