//! `[[listener.NAME.rule]]`: conditions, headers, and what becomes of a request that matches.

use std::collections::BTreeMap;

use balancer::{AddressSet, Condition, Glob, HeaderEdits, RuleSettings};

use super::action;
use super::duplicate;
use super::listener::ListenerProtocol;
use super::sticky;
use super::unfit;
use crate::Code;
use crate::tree::{At, Findings, Item, Place, Section};

/// The most rules of one listener.
const MAX_RULES: usize = 10_000;
/// How deep `not` may stand in `not`.
const MAX_DEPTH: usize = 4;
/// The longest name of a host.
const MAX_HOST: usize = 253;

/// The rules of a listener, as far as they could be read, and the groups they name.
#[derive(Debug, Default)]
pub(super) struct RulesDraft {
    pub(super) rules: Vec<RuleSettings>,
    pub(super) groups: Vec<At<String>>,
    /// Where each of the rules stands.
    pub(super) places: Vec<RulePlace>,
}

/// Where a rule stands.
#[derive(Debug)]
pub(crate) struct RulePlace {
    pub(crate) rule: Place,
    /// Its `sticky`, if that is on.
    pub(crate) sticky: Option<Place>,
}

/// Reads the rules of a listener.
pub(super) fn read(item: &Item<'_>, protocol: ListenerProtocol) -> RulesDraft {
    let mut draft = RulesDraft::default();
    let Some(items) = item.list("rules like [[listener.web.rule]]") else {
        return draft;
    };
    if items.len() > MAX_RULES {
        let message = format!("{} rules, at most {MAX_RULES} are possible", items.len());
        item.error(Code::OutOfRange, message, None);
    }
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    for (index, item) in items.iter().take(MAX_RULES).enumerate() {
        let Some(section) = item.section() else {
            continue;
        };
        let name = name(&section, index, &mut names);
        let place = section.place().clone();
        let sticky_place = section.get("sticky").map(|item| item.place());
        if let Some(rule) = rule(section, protocol, name, &mut draft.groups) {
            let sticky = rule
                .sticky
                .is_some()
                .then(|| sticky_place.unwrap_or_else(|| place.clone()));
            draft.rules.push(rule);
            draft.places.push(RulePlace {
                rule: place,
                sticky,
            });
        }
    }
    shadowed(item.found(), &draft.rules, &draft.places);
    draft
}

/// The name of a rule, or its number.
fn name(section: &Section<'_>, index: usize, names: &mut BTreeMap<String, Place>) -> String {
    let Some(item) = section.get("name") else {
        return (index + 1).to_string();
    };
    let Some(text) = item.string() else {
        return (index + 1).to_string();
    };
    let second = item.at(text.to_owned());
    if text.len() > 64 || text.chars().any(char::is_control) {
        item.error(
            Code::OutOfRange,
            "a rule has a name of up to 64 bytes, without control characters",
            None,
        );
    } else if text
        .parse::<usize>()
        .is_ok_and(|number| number != index + 1)
    {
        item.error(
            Code::OutOfRange,
            format!("{text:?} would be taken for the number of a rule"),
            "give it a name with a letter".to_owned(),
        );
    }
    if let Some(place) = names.get(text) {
        let first = At {
            value: text.to_owned(),
            place: place.clone(),
        };
        duplicate(
            item.found(),
            &format!("rule name {text:?}"),
            &first,
            &second,
        );
    } else {
        names.insert(text.to_owned(), second.place);
    }
    text.to_owned()
}

fn rule(
    section: Section<'_>,
    protocol: ListenerProtocol,
    name: String,
    groups: &mut Vec<At<String>>,
) -> Option<RuleSettings> {
    let when = section.get("when").map(|item| match item.section() {
        Some(inner) => when(inner, protocol, 0),
        None => Vec::new(),
    });
    let edits = [
        edits(
            &section,
            protocol,
            ["set_headers", "remove_headers"],
            &KEPT_OF_REQUESTS,
        ),
        edits(
            &section,
            protocol,
            ["set_answer_headers", "remove_answer_headers"],
            &KEPT_OF_ANSWERS,
        ),
    ];
    let drafted = action::read(&section, protocol);
    groups.extend(drafted.groups);
    let sticky = section.get("sticky").and_then(|item| sticky::read(&item));
    section.finish();
    let [request_headers, answer_headers] = edits;
    Some(RuleSettings {
        name,
        when: when.unwrap_or_default(),
        action: drafted.action?,
        sticky: sticky.flatten(),
        request_headers,
        answer_headers,
    })
}

// ---- headers ----

/// Fields that say where a message ends, or concern one hop, or are ours to write.
const KEPT_OF_REQUESTS: [&str; 15] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];
const KEPT_OF_ANSWERS: [&str; 7] = [
    "connection",
    "content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn edits(
    section: &Section<'_>,
    protocol: ListenerProtocol,
    keys: [&'static str; 2],
    kept: &[&str],
) -> HeaderEdits {
    let items = keys.map(|key| section.get(key));
    for item in items.iter().flatten() {
        if !protocol.speaks_http() {
            unfit(item, "is for http", protocol, "remove it");
        }
    }
    let [set, remove] = items;
    let mut edits = HeaderEdits::default();
    let entries = set
        .and_then(|item| item.section())
        .map(|section| section.entries());
    for (name, item) in entries.unwrap_or_default() {
        let place = item.key_place();
        let value = match item.as_str() {
            Some("") => Some(""),
            _ => item.string(),
        };
        let named = is_field_name(item.found(), &place, &name, kept);
        if let (Some(value), true) = (value, named)
            && is_field_value(&item, value)
        {
            edits.set.push((name, value.to_owned()));
        }
    }
    for name in remove.iter().flat_map(Item::one_or_many) {
        let Some(text) = name.string() else { continue };
        let no_host = text.eq_ignore_ascii_case("host");
        let kept: Vec<&str> = kept
            .iter()
            .copied()
            .chain(no_host.then_some("host"))
            .collect();
        if is_field_name(name.found(), &name.place(), text, &kept) {
            edits.remove.push(text.to_owned());
        }
    }
    edits
}

/// Reports what is no field name (RFC 9110 §5.1), or not one to change.
fn is_field_name(found: &Findings<'_>, place: &Place, name: &str, kept: &[&str]) -> bool {
    if !is_token(name) || name.len() > 256 {
        let message = format!("{name:?} is no name of a header");
        found.error(Code::Pattern, place, message, None);
        return false;
    }
    if kept.iter().any(|kept| kept.eq_ignore_ascii_case(name)) {
        let message = format!("the header {name} is written by the balancer and cannot be changed");
        found.error(Code::Pattern, place, message, "remove it".to_owned());
        return false;
    }
    true
}

/// Reports what cannot be the value of a field (RFC 9110 §5.5).
pub(super) fn is_field_value(item: &Item<'_>, value: &str) -> bool {
    let odd = value.chars().find(|c| c.is_control() && *c != '\t');
    if let Some(odd) = odd {
        let message = format!("the value of a header cannot contain {odd:?}");
        item.error(Code::Pattern, message, None);
    } else if value.trim() != value {
        item.error(
            Code::Pattern,
            "the value of a header begins or ends with a blank",
            format!("did you mean {:?}?", value.trim()),
        );
    } else if value.len() > 4096 {
        item.error(
            Code::OutOfRange,
            "the value of a header has at most 4096 bytes",
            None,
        );
    } else {
        return true;
    }
    false
}

pub(super) fn is_token(text: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(token)
}

// ---- conditions ----

fn when(section: Section<'_>, protocol: ListenerProtocol, depth: usize) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for key in ["host", "path", "method", "source", "peer_source", "sni"] {
        if let Some(item) = section.get(key) {
            fits_protocol(&item, key, protocol);
            conditions.push(plain(&item, key));
        }
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
            conditions.extend(named(&item, key, name));
        }
    }
    if let Some(item) = section.get("not") {
        for item in item.one_or_many() {
            conditions.extend(not(&item, protocol, depth));
        }
    }
    section.finish();
    conditions
}

/// One table: its conditions do not all hold.
fn not(item: &Item<'_>, protocol: ListenerProtocol, depth: usize) -> Option<Condition> {
    if depth >= MAX_DEPTH {
        item.error(Code::OutOfRange, "`not` stands in `not` too often", None);
        return None;
    }
    let before = item.found().count();
    let inner = when(item.section()?, protocol, depth + 1);
    if inner.is_empty() && item.found().count() == before {
        let message = "`not` without a condition matches nothing";
        item.error(Code::Pattern, message, "name what must not hold".to_owned());
    }
    Some(Condition::Not(inner))
}

/// A condition with one subject.
fn plain(item: &Item<'_>, key: &str) -> Condition {
    let values = item.one_or_many();
    if values.is_empty() {
        let message = format!("`{key}` is empty, so it matches nothing");
        item.error(
            Code::Pattern,
            message,
            "remove it, or name a value".to_owned(),
        );
    }
    let texts = values.iter().filter_map(|value| pattern(value, key));
    match key {
        "host" => Condition::Host(texts.map(Glob::any_case).collect()),
        "sni" => Condition::Sni(texts.map(Glob::any_case).collect()),
        "path" => Condition::Path(
            texts
                .map(|text| Glob::new(balancer::normal::decoded(text)))
                .collect(),
        ),
        "method" => Condition::Method(texts.map(str::to_owned).collect()),
        _ => {
            let parse = |text: &str| {
                let address = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
                text.parse().or(address).ok()
            };
            let set = AddressSet::new(texts.filter_map(parse));
            match key {
                "source" => Condition::Source(set),
                _ => Condition::PeerSource(set),
            }
        }
    }
}

/// A condition on something with a name.
fn named(item: &Item<'_>, key: &str, name: String) -> Option<Condition> {
    let good = match key {
        "query" => !name.is_empty() && !name.contains(['&', '=', '#']),
        _ => is_token(&name),
    };
    if !good {
        let message = format!("{name:?} is no name of a {key}");
        item.found()
            .error(Code::Pattern, &item.key_place(), message, None);
        return None;
    }
    let values = item.one_or_many();
    if values.is_empty() {
        let message = format!("`{name}` has no value, so it matches nothing");
        item.error(
            Code::Pattern,
            message,
            "write \"*\" for any value".to_owned(),
        );
    }
    let texts = values.iter().filter_map(|value| match value.as_str() {
        Some("") => Some(""),
        _ => value.string(),
    });
    let glob = |text: &str| match key {
        "cookie" => Glob::new(text),
        _ => Glob::any_case(text),
    };
    let globs = texts.map(glob).collect();
    Some(match key {
        "header" => Condition::Header(name.to_ascii_lowercase(), globs),
        "query" => Condition::Query(name.to_ascii_lowercase(), globs),
        _ => Condition::Cookie(name, globs),
    })
}

fn fits_protocol(item: &Item<'_>, key: &str, protocol: ListenerProtocol) {
    let fits = match protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => key != "sni",
        ListenerProtocol::Tls => matches!(key, "sni" | "source" | "peer_source"),
        ListenerProtocol::Tcp | ListenerProtocol::Udp => matches!(key, "source" | "peer_source"),
    };
    if !fits {
        let message = format!(
            "`{key}` cannot be known on a listener of protocol {}",
            protocol.as_str()
        );
        let (place, remedy) = (item.key_place(), "remove the condition".to_owned());
        (item.found()).error(Code::ProtocolOption, &place, message, remedy);
    }
}

/// The text of a value, if it can match anything.
fn pattern<'d>(item: &Item<'d>, key: &str) -> Option<&'d str> {
    let text = item.string()?;
    let wrong = match key {
        "path" => wrong_path(text),
        "host" | "sni" => wrong_host(text, key),
        "method" => wrong_method(text),
        _ => wrong_source(text),
    };
    let Some((message, remedy)) = wrong else {
        return Some(text);
    };
    item.error(Code::Pattern, message, remedy);
    None
}

/// What is wrong, and what to do.
type Wrong = Option<(String, Option<String>)>;

fn wrong_path(text: &str) -> Wrong {
    if !text.starts_with(['/', '*']) {
        let message =
            format!("the path pattern {text:?} does not begin with `/`, so it matches nothing");
        let remedy = format!("did you mean \"/{}\"?", text.trim_start_matches('/'));
        return Some((message, Some(remedy)));
    }
    if let Some(at) = text.find(['#', ' ']) {
        let message = format!(
            "the path pattern {text:?} contains {:?} (at offset {at}), which no path does",
            &text[at..=at]
        );
        return Some((message, None));
    }
    let dots = |part: &str| part == "." || part == "..";
    if text.contains("//") || text.split('/').any(dots) {
        let message = format!(
            "the path pattern {text:?} matches nothing: `//`, `/./` and `/../` are resolved before rules are asked"
        );
        return Some((message, None));
    }
    None
}

fn wrong_host(text: &str, key: &str) -> Wrong {
    if !text.contains('.') && !text.contains(':') && !text.ends_with('*') {
        let message = format!("the {key} pattern {text:?} has no dot, so it matches no full name");
        return Some((
            message,
            Some(format!("did you mean \"{text}.example.com\"?")),
        ));
    }
    let literal = text.starts_with('[') && text.ends_with(']');
    let odd = |c: char| c.is_whitespace() || c == '/' || (c == ':' && !literal);
    if let Some((offset, bad)) = text.char_indices().find(|(_, c)| odd(*c)) {
        let message =
            format!("the {key} pattern {text:?} cannot contain {bad:?} (at offset {offset})");
        return Some((message, None));
    }
    if text.len() > MAX_HOST {
        let message = format!("the {key} pattern is longer than {MAX_HOST} bytes");
        return Some((message, None));
    }
    None
}

fn wrong_method(text: &str) -> Wrong {
    let usual = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-' || c == '_';
    (!text.chars().all(usual)).then(|| {
        let message = format!("methods are compared exactly, and {text:?} is none");
        (
            message,
            Some(format!("did you mean {:?}?", text.to_uppercase())),
        )
    })
}

fn wrong_source(text: &str) -> Wrong {
    let good = text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok();
    (!good).then(|| {
        let message = format!("{text:?} is neither an address nor a prefix like \"10.0.0.0/8\"");
        (message, None)
    })
}

/// Reports rules whose every request an earlier rule takes already.
fn shadowed(found: &Findings<'_>, rules: &[RuleSettings], places: &[RulePlace]) {
    let label = |rule: &RuleSettings| match rule.name.parse::<usize>() {
        Ok(number) => number.to_string(),
        Err(_) => format!("{:?}", rule.name),
    };
    for (later, earlier) in balancer::shadowed(rules) {
        let line = found.line(&places[earlier].rule);
        let message = format!(
            "rule {} is never reached: rule {} (line {line}) matches everything it matches",
            label(&rules[later]),
            label(&rules[earlier])
        );
        let remedy = "put it before that rule, or remove it".to_owned();
        found.warning(Code::Shadowed, &places[later].rule, message, remedy);
    }
}
