//! `[[listener.NAME.rule]]`: checked in full, and refused, as no rule is followed yet.

use super::action::{self, Owner};
use super::listener::ListenerProtocol;
use super::{duplicates, too_many};
use crate::Code;
use crate::tree::{At, Findings, Item, Section};

/// One condition: values of which one has to hold.
#[derive(Debug, PartialEq, Eq)]
struct Condition {
    key: String,
    values: Vec<String>,
}

/// A rule as far as it is compared with others.
#[derive(Debug)]
struct Rule {
    place: crate::tree::Place,
    label: String,
    when: Vec<Condition>,
}

/// Reads the rules of a listener; answers the groups they name.
pub(super) fn read(item: &Item<'_>, protocol: ListenerProtocol) -> Vec<At<String>> {
    let Some(items) = item.list("rules like [[listener.web.rule]]") else {
        return Vec::new();
    };
    too_many(item, items.len());
    let mut groups = Vec::new();
    let mut names = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    for (index, item) in items.iter().take(super::MAX_ENTRIES).enumerate() {
        let Some(section) = item.section() else {
            continue;
        };
        let name = section
            .get("name")
            .and_then(|item| Some(item.at(item.string()?.to_owned())));
        let label = name.as_ref().map_or_else(
            || (index + 1).to_string(),
            |name| format!("{:?}", name.value),
        );
        names.extend(name);
        let when = section
            .get("when")
            .and_then(|item| item.section())
            .map(|section| when(section, protocol));
        headers(&section, protocol);
        let https = protocol == ListenerProtocol::Https;
        groups.extend(action::read(&section, Owner::Rule { https }).groups);
        if let Some(item) = section.get("sticky")
            && !item.is_off()
        {
            action::sticky(&item);
        }
        let message = format!("rule {label} is not supported yet");
        let remedy = "remove it; the listener's own `forward` holds for everything".to_owned();
        section
            .found()
            .error(Code::NotSupported, section.place(), message, remedy);
        rules.push(Rule {
            place: section.place().clone(),
            label,
            when: when.unwrap_or_default(),
        });
        section.finish();
    }
    duplicates(item.found(), &names, |name| format!("rule name {name:?}"));
    shadowed(item.found(), &rules);
    groups
}

fn headers(section: &Section<'_>, protocol: ListenerProtocol) {
    let items = [section.get("set_headers"), section.get("remove_headers")];
    for item in items.iter().flatten() {
        if !matches!(protocol, ListenerProtocol::Http | ListenerProtocol::Https) {
            let message = format!(
                "`{}` is for http, but the protocol is {}",
                item.name(),
                protocol.as_str()
            );
            item.found().error(
                Code::ProtocolOption,
                &item.key_place(),
                message,
                "remove it".to_owned(),
            );
        }
    }
    let [set, remove] = items;
    for (_, value) in set
        .and_then(|item| item.section())
        .map(|section| section.entries())
        .unwrap_or_default()
    {
        if value.as_str() != Some("") {
            value.string();
        }
    }
    if let Some(remove) = remove {
        remove.strings();
    }
}

// ---- conditions ----

fn when(section: Section<'_>, protocol: ListenerProtocol) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for key in ["host", "path", "method", "source", "sni"] {
        let Some(item) = section.get(key) else {
            continue;
        };
        fits_protocol(&item, key, protocol);
        let values = item.one_or_many();
        for value in &values {
            pattern(value, key);
        }
        let values = values
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect();
        conditions.push(Condition {
            key: key.to_owned(),
            values,
        });
    }
    for key in ["header", "query", "cookie"] {
        let Some(item) = section.get(key) else {
            continue;
        };
        fits_protocol(&item, key, protocol);
        let Some(names) = item.section_or("a table like { name = \"value\" }") else {
            continue;
        };
        for (name, item) in names.entries() {
            let values = item
                .strings()
                .into_iter()
                .map(|value| value.value)
                .collect();
            conditions.push(Condition {
                key: format!("{key} {name}"),
                values,
            });
        }
    }
    if let Some(item) = section.get("not")
        && let Some(inner) = item.section()
    {
        let denied = when(inner, protocol);
        let values = denied
            .iter()
            .map(|condition| format!("{condition:?}"))
            .collect();
        conditions.push(Condition {
            key: "not".to_owned(),
            values,
        });
    }
    section.finish();
    conditions
}

fn fits_protocol(item: &Item<'_>, key: &str, protocol: ListenerProtocol) {
    let fits = match protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => key != "sni",
        ListenerProtocol::Tls => matches!(key, "sni" | "source"),
        ListenerProtocol::Tcp | ListenerProtocol::Udp => key == "source",
    };
    if !fits {
        let message = format!(
            "`{key}` cannot be known on a listener of protocol {}",
            protocol.as_str()
        );
        item.found().error(
            Code::ProtocolOption,
            &item.key_place(),
            message,
            "remove the condition".to_owned(),
        );
    }
}

fn pattern(item: &Item<'_>, key: &str) {
    let Some(text) = item.string() else { return };
    match key {
        "path" if !text.starts_with('/') => {
            let message =
                format!("the path pattern {text:?} does not begin with `/`, so it matches nothing");
            item.error(
                Code::Pattern,
                message,
                format!("did you mean \"/{}\"?", text.trim_start_matches('/')),
            );
        }
        "host" | "sni" if !text.contains('.') && text != "*" => {
            let message =
                format!("the {key} pattern {text:?} has no dot, so it matches no full name");
            item.error(
                Code::Pattern,
                message,
                format!("did you mean \"{text}.example.com\"?"),
            );
        }
        "host" | "sni" => {
            if let Some((offset, bad)) = text
                .char_indices()
                .find(|(_, c)| c.is_whitespace() || matches!(c, '/' | ':'))
            {
                let message = format!(
                    "the {key} pattern {text:?} cannot contain {bad:?} (at offset {offset})"
                );
                item.error(Code::Pattern, message, None);
            }
        }
        "source"
            if text.parse::<ipnet::IpNet>().is_err()
                && text.parse::<std::net::IpAddr>().is_err() =>
        {
            let message =
                format!("{text:?} is neither an address nor a prefix like \"10.0.0.0/8\"");
            item.error(Code::Pattern, message, None);
        }
        "method"
            if !text
                .chars()
                .all(|c| c.is_ascii_uppercase() || c == '-' || c == '_') =>
        {
            let message = format!("methods are compared exactly, and {text:?} is none");
            item.error(
                Code::Pattern,
                message,
                format!("did you mean {:?}?", text.to_uppercase()),
            );
        }
        _ => {}
    }
}

/// Reports rules whose every request an earlier rule takes already.
fn shadowed(found: &Findings<'_>, rules: &[Rule]) {
    for (index, later) in rules.iter().enumerate() {
        if let Some(earlier) = rules[..index].iter().find(|earlier| covers(earlier, later)) {
            let line = found.line(&earlier.place);
            let message = format!(
                "rule {} is never reached: rule {} (line {line}) matches everything it matches",
                later.label, earlier.label
            );
            found.error(
                Code::Shadowed,
                &later.place,
                message,
                "put it before that rule, or remove it".to_owned(),
            );
        }
    }
}

/// Whether every condition of `earlier` is asked by `later` too, for no more values.
fn covers(earlier: &Rule, later: &Rule) -> bool {
    earlier.when.iter().all(|wide| {
        let narrow = later.when.iter().find(|narrow| narrow.key == wide.key);
        match narrow {
            Some(narrow) if wide.key == "not" => wide.values == narrow.values,
            Some(narrow) => {
                !narrow.values.is_empty()
                    && narrow
                        .values
                        .iter()
                        .all(|value| wide.values.iter().any(|pattern| includes(pattern, value)))
            }
            None => false,
        }
    })
}

/// Whether a pattern matches everything another one matches; only the plain cases are seen.
fn includes(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) if !prefix.contains(['*', '?']) => value.starts_with(prefix),
        Some(_) | None => pattern == value,
    }
}
