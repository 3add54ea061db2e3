//! What a reload would change, part by part and key by key, and what each change does.
//!
//! Every part is laid out as keys with values in the words of the file; two layouts are compared. Nothing here
//! carries a change out.

mod layout;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::Config;
use layout::Part;

/// The kind of part that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// `[global]`.
    Global,
    /// `[pair]`.
    Pair,
    /// A `[vrrp.NAME]`.
    Vrrp,
    /// A `[listener.NAME]`.
    Listener,
    /// A `[group.NAME]`.
    Group,
    /// A `[certificate.NAME]`.
    Certificate,
}

impl Subject {
    /// The word of the file, such as `listener`.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Global => "global",
            Subject::Pair => "pair",
            Subject::Vrrp => "vrrp",
            Subject::Listener => "listener",
            Subject::Group => "group",
            Subject::Certificate => "certificate",
        }
    }
}

/// One difference between two configurations, and what a reload does about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The kind of part.
    pub what: Subject,
    /// Name of the part; empty where there is only one.
    pub name: String,
    /// The key that changes; empty if the whole part comes or goes.
    pub key: String,
    /// The value before; `None` if there was none.
    pub from: Option<String>,
    /// The value after; `None` if there is none.
    pub to: Option<String>,
    /// What the reload does, such as `in place`.
    pub effect: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.as_str())?;
        if !self.name.is_empty() {
            write!(f, ".{}", self.name)?;
        }
        f.write_str(":")?;
        if !self.key.is_empty() {
            write!(f, " {}", self.key)?;
        }
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, " {from} -> {to}")?,
            (None, Some(to)) => write!(f, " {to} added")?,
            (Some(from), None) => write!(f, " {from} removed")?,
            (None, None) => {}
        }
        write!(f, " ({})", self.effect)
    }
}

/// Every change from `old` to `new`, sorted by part, name and key; empty if a reload has nothing to do.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (layout::of(old), layout::of(new));
    let parts: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for part in parts {
        match (old.get(part), new.get(part)) {
            (Some(before), Some(after)) => keys(part, before, after, &mut changes),
            (Some(before), None) => changes.push(whole(part, Some(&before.summary), None)),
            (None, Some(after)) => changes.push(whole(part, None, Some(&after.summary))),
            (None, None) => {}
        }
    }
    changes.sort();
    changes
}

fn keys((what, name): &(Subject, String), before: &Part, after: &Part, changes: &mut Vec<Change>) {
    let all: BTreeSet<_> = before.keys.keys().chain(after.keys.keys()).collect();
    for key in all {
        let (from, to) = (before.keys.get(key).cloned(), after.keys.get(key).cloned());
        if from != to {
            let effect = effect(*what, key, from.as_deref(), to.as_deref());
            changes.push(Change {
                what: *what,
                name: name.clone(),
                key: key.clone(),
                from,
                to,
                effect,
            });
        }
    }
    // Other words about it are a change of their own.
    let words = ["auth", "heartbeat", "serial"];
    let same_words = words
        .iter()
        .all(|key| before.keys.get(*key) == after.keys.get(*key));
    if before.secret != after.secret && same_words {
        let key = match what {
            Subject::Pair | Subject::Certificate => "key".to_owned(),
            _ => "secret of auth".to_owned(),
        };
        changes.push(Change {
            what: *what,
            name: name.clone(),
            key,
            from: None,
            to: None,
            effect: "changed in place",
        });
    }
}

fn whole((what, name): &(Subject, String), from: Option<&String>, to: Option<&String>) -> Change {
    let effect = match (what, to.is_some()) {
        (Subject::Global, _) => "in place",
        (Subject::Pair, _) => "node names and peer timing change",
        (Subject::Vrrp, true) => "starts as backup",
        (Subject::Vrrp, false) => "hands over and releases its VIPs",
        (Subject::Listener, true) => "sockets opened",
        (Subject::Listener, false) => "sockets closed, connections drain",
        (Subject::Group, true) => "targets checked first",
        (Subject::Group, false) => "connections drain",
        (Subject::Certificate, _) => "for the next handshake",
    };
    let key = String::new();
    Change {
        what: *what,
        name: name.clone(),
        key,
        from: from.cloned(),
        to: to.cloned(),
        effect,
    }
}

const IN_PLACE: &str = "in place";
const NEXT: &str = "for the next request or connection";

fn effect(what: Subject, key: &str, from: Option<&str>, to: Option<&str>) -> &'static str {
    match what {
        Subject::Global => match key {
            "log.level" | "log.format" | "trusted_proxies" | "notify_fifo" => IN_PLACE,
            key if key.starts_with("access_log.") => IN_PLACE,
            "metrics" => "socket opened or closed",
            _ => "from the next start on",
        },
        Subject::Pair if key == "heartbeat" => "socket opened or closed",
        Subject::Pair => "node names and peer timing change",
        Subject::Vrrp => match key {
            "vrid" | "version" | "interface" | "virtual_mac" => "leaves and starts anew as backup",
            "group" => "in place where the states agree; otherwise it follows its new group",
            "vips" => "addresses added or removed, then announced",
            "unicast" => "sockets opened and closed",
            "priority" => "in place; the VIPs may move",
            _ => IN_PLACE,
        },
        Subject::Listener => match key {
            "bind" => sockets(from.unwrap_or_default(), to.unwrap_or_default()),
            "action" | "rule order" => NEXT,
            rule if rule.starts_with("rule ") => NEXT,
            _ => "for the next connection",
        },
        Subject::Certificate => "for the next handshake",
        Subject::Group => match (key.starts_with("target "), from, to) {
            (true, None, _) => "checked first, then used",
            (true, Some(_), None) => "drains",
            (true, Some(from), Some(to)) if address(from) != address(to) => {
                "old one drains, state starts anew"
            }
            _ => IN_PLACE,
        },
    }
}

fn sockets(from: &str, to: &str) -> &'static str {
    let (from, to): (BTreeSet<&str>, BTreeSet<&str>) =
        (from.split(", ").collect(), to.split(", ").collect());
    match (to.is_subset(&from), from.is_subset(&to)) {
        (false, false) => "socket opened and closed",
        (false, true) => "socket opened",
        (true, false) => "socket closed, its connections drain",
        (true, true) => "order only",
    }
}

fn address(target: &str) -> &str {
    target.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
