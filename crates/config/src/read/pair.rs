//! `[pair]`, and values that differ from node to node.

use std::net::SocketAddr;

use ::vrrp::Authentication;

use super::{Files, check_name, duplicates, keys, too_many};
use crate::Code;
use crate::model::{Node, PairSecret};
use crate::tree::{At, Item, Place, Section};

/// `[pair]` with places.
#[derive(Debug)]
pub(crate) struct PairDraft {
    /// In the order of the file.
    pub(crate) nodes: Vec<At<Node>>,
    /// Where `nodes` stands.
    pub(crate) place: Place,
    /// Whether every node could be read; if not, nothing can be said about who is missing.
    pub(crate) complete: bool,
    /// The second path, by node, with its place.
    pub(crate) heartbeat: Option<At<PerNode<SocketAddr>>>,
    /// What the second path is signed with.
    pub(crate) key: Option<Authentication>,
    /// What the nodes derive common keys from.
    pub(crate) secret: Option<PairSecret>,
    /// Whether the file names a key, usable or not.
    pub(crate) has_key_file: bool,
}

pub(super) fn read(section: Section<'_>, files: Files<'_>) -> PairDraft {
    let item = section.require(
        "nodes",
        "nodes = { lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }",
    );
    let place = item
        .as_ref()
        .map_or_else(|| section.place().clone(), Item::place);
    let (nodes, complete) = item.map(|item| nodes(&item)).unwrap_or_default();
    let key_file = section.get("key_file");
    let has_key_file = key_file.is_some();
    let keys = key_file.and_then(|item| keys::of_pair(&item, files));
    let (key, secret) = keys.unzip();
    let heartbeat = heartbeat(&section);
    section.finish();
    PairDraft {
        nodes,
        place,
        complete,
        heartbeat,
        key,
        secret,
        has_key_file,
    }
}

/// The second path, which needs a key to be signed with.
fn heartbeat(section: &Section<'_>) -> Option<At<PerNode<SocketAddr>>> {
    let item = section.get("heartbeat")?;
    if section.get("key_file").is_none() {
        section.missing("key_file", "key_file = \"/etc/tandem/pair.key\"");
    }
    let each = PerNode::read(&item, |item| item.socket_address("10.9.0.2:5112"))?;
    Some(At {
        value: each,
        place: item.place(),
    })
}

/// The nodes, and whether that is all of them.
fn nodes(item: &Item<'_>) -> (Vec<At<Node>>, bool) {
    let Some(section) = item.section_or("a table like { lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }")
    else {
        return (Vec::new(), false);
    };
    let entries = section.entries();
    let written = entries.len();
    too_many(item, entries.len());
    if entries.is_empty() {
        item.error(
            Code::MissingKey,
            "`nodes` is empty",
            "write at least { lb1 = \"10.0.0.2\" }".to_owned(),
        );
    }
    let read = |(name, item): (String, Item<'_>)| {
        check_name(&item, &name);
        Some(item.at(Node {
            name,
            address: item.address()?,
        }))
    };
    let nodes: Vec<At<Node>> = entries.into_iter().filter_map(read).collect();
    let addresses: Vec<_> = nodes
        .iter()
        .map(|node| At {
            value: node.value.address,
            place: node.place.clone(),
        })
        .collect();
    duplicates(item.found(), &addresses, |address| {
        format!("node address {address}")
    });
    let complete = written > 0 && nodes.len() == written;
    (nodes, complete)
}

/// A value that is the same on every node, or one for each.
#[derive(Debug)]
pub(crate) enum PerNode<T> {
    /// The same everywhere.
    All(At<T>),
    /// By node name; the place of a name is that of its value's key.
    Each(Vec<(At<String>, At<T>)>),
}

impl<T> PerNode<T> {
    /// Reads either form: a table is one value for each node.
    pub(super) fn read<'d>(
        item: &Item<'d>,
        read: impl Fn(&Item<'d>) -> Option<T>,
    ) -> Option<PerNode<T>> {
        if !item.is_table() {
            return Some(PerNode::All(item.at(read(item)?)));
        }
        let each = item
            .section()?
            .entries()
            .into_iter()
            .filter_map(|(name, item)| {
                let name = At {
                    value: name,
                    place: item.key_place(),
                };
                Some((name, item.at(read(&item)?)))
            });
        Some(PerNode::Each(each.collect()))
    }

    /// The value of one node.
    pub(crate) fn of(&self, node: &str) -> Option<&At<T>> {
        match self {
            PerNode::All(value) => Some(value),
            PerNode::Each(each) => each
                .iter()
                .find(|(name, _)| name.value == node)
                .map(|(_, value)| value),
        }
    }
}
