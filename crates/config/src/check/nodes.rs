//! Which node this is, and values that differ from node to node.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ::vrrp::Freshness;

use crate::model::{Heartbeat, Node, Pair};
use crate::read::{MetricsAddress, PairDraft, PerNode};
use crate::tree::{At, Findings, Place};
use crate::{Code, Facts};

/// The nodes of the file and this one among them.
#[derive(Debug)]
pub(super) struct Nodes<'d> {
    /// Of `[pair]`, in the order of the file; empty without one.
    pub(super) listed: &'d [At<Node>],
    /// This node, if it could be found.
    this: Option<usize>,
    /// Whether `listed` is all of them.
    pub(super) complete: bool,
    /// What this node is called where there is no `[pair]`.
    own_name: Option<String>,
}

impl<'d> Nodes<'d> {
    /// Finds this node: by the name given, else by host name, else by address.
    pub(super) fn find(
        pair: Option<&'d PairDraft>,
        facts: &Facts,
        found: &Findings<'_>,
    ) -> Nodes<'d> {
        let host = Some(facts.host_name.clone()).filter(|name| !name.is_empty());
        let own_name = facts.node_override.clone().or(host);
        let Some(pair) = pair else {
            return Nodes {
                listed: &[],
                this: None,
                complete: true,
                own_name,
            };
        };
        let listed = &pair.nodes[..];
        let by_name = |name: &str| listed.iter().position(|node| node.value.name == name);
        let this = match &facts.node_override {
            Some(name) => by_name(name),
            None => by_name(&facts.host_name)
                .or_else(|| by_short_name(listed, &facts.host_name))
                .or_else(|| {
                    let own = |node: &At<Node>| facts.addresses.contains(&node.value.address);
                    listed.iter().position(own)
                }),
        };
        if this.is_none() && pair.complete {
            not_listed(listed, facts, &pair.place, found);
        }
        Nodes {
            listed,
            this,
            complete: pair.complete,
            own_name,
        }
    }

    /// This node's name.
    pub(super) fn name(&self) -> Option<String> {
        match self.this_node() {
            Some(node) => Some(node.name.clone()),
            None => self.own_name.clone(),
        }
    }

    pub(super) fn this_node(&self) -> Option<&'d Node> {
        self.this.map(|index| &self.listed[index].value)
    }

    /// Where metrics are answered on this node.
    pub(super) fn metrics(
        &self,
        wanted: Option<&At<MetricsAddress>>,
        found: &Findings<'_>,
    ) -> Option<SocketAddr> {
        let At { value, place } = wanted?;
        let port = match value {
            MetricsAddress::At(address) => return Some(*address),
            MetricsAddress::Node(port) => *port,
        };
        if self.listed.is_empty() {
            let message = "without [pair] nothing says what this node's own address is";
            let remedy = format!("write an address, for example \"127.0.0.1:{port}\"");
            found.error(Code::NoSuchNode, place, message.to_owned(), remedy);
        }
        Some(SocketAddr::new(self.this_node()?.address, port))
    }

    /// The pair with this node in it; `None` if there is one, but this node is not in it.
    pub(super) fn pair(
        &self,
        draft: Option<&PairDraft>,
        found: &Findings<'_>,
    ) -> Option<Option<Pair>> {
        if self.listed.is_empty() {
            return Some(None);
        }
        let nodes = self.listed.iter().map(|node| node.value.clone()).collect();
        Some(Some(Pair {
            nodes,
            this: self.this?,
            heartbeat: draft.and_then(|draft| self.heartbeat(draft, found)),
            secret: draft.and_then(|draft| draft.secret.clone()),
        }))
    }

    /// The second path as this node sees it.
    fn heartbeat(&self, draft: &PairDraft, found: &Findings<'_>) -> Option<Heartbeat> {
        let At { value, place } = draft.heartbeat.as_ref()?;
        let own = self.value("heartbeat", value, found)?;
        let (PerNode::Each(each), 2) = (value, self.listed.len()) else {
            let message = "`heartbeat` has an address for each of two nodes";
            let remedy = "write for example { lb1 = \"10.9.0.2:5112\", lb2 = \"10.9.0.3:5112\" }";
            found.error(Code::MissingKey, place, message, remedy.to_owned());
            return None;
        };
        let this = self.this_node()?;
        let (name, peer) = each.iter().find(|(name, _)| name.value != this.name)?;
        if own.value.is_ipv4() != peer.value.is_ipv4() {
            let message = format!("{} and {} are not of one family", own.value, peer.value);
            let remedy = "use addresses of one network".to_owned();
            found.error(Code::Family, place, message, remedy);
        }
        if own.value.ip() == peer.value.ip() {
            let message = format!("both nodes have the address {}", own.value.ip());
            found.error(
                Code::Duplicate,
                place,
                message,
                "use each node's own".to_owned(),
            );
        }
        let mut authentication = draft.key.clone()?;
        // A wrong clock must not part two nodes; the exchange has numbers of its own against recordings.
        authentication.freshness = Freshness::Growth;
        Some(Heartbeat {
            own: own.value,
            peer: peer.value,
            peer_name: name.value.clone(),
            authentication: Arc::new(authentication),
        })
    }

    /// Index of this node in the file.
    pub(super) fn index(&self) -> Option<usize> {
        self.this
    }

    /// Whether an address is some node's own, and whose.
    pub(super) fn owner_of(&self, address: IpAddr) -> Option<&'d Node> {
        self.listed
            .iter()
            .map(|node| &node.value)
            .find(|node| node.address == address)
    }

    /// This node's value. Reports names that are no nodes, and nodes that have no value.
    pub(super) fn value<'v, T>(
        &self,
        key: &str,
        value: &'v PerNode<T>,
        found: &Findings<'_>,
    ) -> Option<&'v At<T>> {
        if !self.complete {
            return value.of(&self.name().unwrap_or_default());
        }
        if let (PerNode::Each(each), false) = (value, self.listed.is_empty()) {
            for (name, _) in each
                .iter()
                .filter(|(name, _)| self.listed.iter().all(|n| n.value.name != name.value))
            {
                let message = format!("no node `{}` in pair.nodes ({})", name.value, self.names());
                found.error(
                    Code::NoSuchNode,
                    &name.place,
                    message,
                    "use the names of [pair]".to_owned(),
                );
            }
            for node in self
                .listed
                .iter()
                .filter(|node| value.of(&node.value.name).is_none())
            {
                let message = format!("`{key}` has no value for node `{}`", node.value.name);
                self.report_first(each, Code::MissingKey, &message, found);
            }
        }
        if let (PerNode::Each(each), true) = (value, self.listed.is_empty())
            && self
                .own_name
                .as_deref()
                .and_then(|name| value.of(name))
                .is_none()
        {
            let own = self.own_name.as_deref().unwrap_or("without a name");
            let message =
                format!("`{key}` has no value for this node, `{own}`, and there is no [pair]");
            self.report_first(each, Code::NoSuchNode, &message, found);
        }
        value.of(&self.name().unwrap_or_default())
    }

    fn report_first<T>(
        &self,
        each: &[(At<String>, At<T>)],
        code: Code,
        message: &str,
        found: &Findings<'_>,
    ) {
        let end = Place {
            span: 0..0,
            key: String::new(),
        };
        let place = each.first().map_or(&end, |(name, _)| &name.place);
        found.error(
            code,
            place,
            message,
            "give every node a value, or one value for all".to_owned(),
        );
    }

    fn names(&self) -> String {
        names(self.listed)
    }
}

fn names(nodes: &[At<Node>]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| node.value.name.as_str()).collect();
    names.join(", ")
}

/// A host name with its domain, where the file has none, or the other way round; only if it leaves no doubt.
fn by_short_name(listed: &[At<Node>], host_name: &str) -> Option<usize> {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
    let full = |name: &str| name.contains('.');
    let same = |node: &Node| {
        !host_name.is_empty()
            && short(&node.name) == short(host_name)
            && full(&node.name) != full(host_name)
    };
    let mut matching = listed
        .iter()
        .enumerate()
        .filter(|(_, node)| same(&node.value));
    let (index, _) = matching.next()?;
    matching.next().is_none().then_some(index)
}

fn not_listed(listed: &[At<Node>], facts: &Facts, place: &Place, found: &Findings<'_>) {
    let who = match &facts.node_override {
        Some(name) => format!("there is no node `{name}`"),
        None => format!("this host, `{}`, is no node", facts.host_name),
    };
    let message = format!("{who} in pair.nodes ({})", names(listed));
    let remedy = match &facts.node_override {
        Some(_) => "give one of these names with `--node`",
        None => "write its host name there, or choose one with `--node`",
    };
    found.error(Code::NoSuchNode, place, message, remedy.to_owned());
}
