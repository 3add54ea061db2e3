//! `algorithm` of a group.

use balancer::{Algorithm, HashKey};

use crate::Code;
use crate::tree::{At, Item, closest};

const WORDS: &[(&str, Algorithm)] = &[
    ("round_robin", Algorithm::RoundRobin),
    ("least_connections", Algorithm::LeastConnections),
    ("power_of_two", Algorithm::PowerOfTwo),
    ("first", Algorithm::First),
    ("random", Algorithm::Random),
];

/// How others call them.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["roundrobin", "static-rr", "rr", "wrr", "weighted_random"],
        "\"round_robin\"",
    ),
    (
        &[
            "leastconn",
            "least_conn",
            "lc",
            "wlc",
            "least_request",
            "least_outstanding_requests",
        ],
        "\"least_connections\"",
    ),
    (
        &[
            "p2c",
            "random(2)",
            "random two",
            "two_choices",
            "power_of_two_choices",
        ],
        "\"power_of_two\"",
    ),
    (
        &[
            "source",
            "ip_hash",
            "iphash",
            "sh",
            "hash",
            "ring_hash",
            "ketama",
            "maglev",
            "uri",
        ],
        "{ consistent_hash = \"source\" }",
    ),
];

/// A word, or a table with what is hashed.
pub(super) fn read(item: &Item<'_>) -> Option<At<Algorithm>> {
    if item.as_str() == Some("consistent_hash") {
        let message = "`algorithm = \"consistent_hash\"` does not say what is hashed";
        let remedy = "write `algorithm = { consistent_hash = \"source\" }`".to_owned();
        item.error(Code::NotInList, message, remedy);
        return None;
    }
    if !item.is_table() {
        return Some(item.at(word(item)?));
    }
    let section = item.section()?;
    let key = section.require("consistent_hash", "consistent_hash = \"source\"");
    let key = key.and_then(|item| hash_key(&item));
    let vnodes = section.get("vnodes");
    let most = i64::from(Algorithm::MAX_VNODES);
    let vnodes = match vnodes {
        Some(item) => item.number(1..=most),
        None => Some(Algorithm::DEFAULT_VNODES),
    };
    section.finish();
    let (key, vnodes) = (key?, vnodes?);
    Some(item.at(Algorithm::ConsistentHash { key, vnodes }))
}

fn word(item: &Item<'_>) -> Option<Algorithm> {
    let names = WORDS.iter().map(|(name, _)| format!("{name:?}"));
    let list: Vec<String> = names
        .chain(["{ consistent_hash = \"source\" }".to_owned()])
        .collect();
    let list = list.join(", ");
    let text = item.string_like(&format!("one of {list}"))?;
    if let Some((_, algorithm)) = WORDS.iter().find(|(name, _)| *name == text) {
        return Some(algorithm.clone());
    }
    let asked = text.to_lowercase();
    let known = ELSEWHERE
        .iter()
        .find(|(names, _)| names.contains(&asked.as_str()))
        .map(|(_, ours)| (*ours).to_owned());
    let near =
        || closest(text, WORDS.iter().map(|(name, _)| *name)).map(|name| format!("{name:?}"));
    let remedy = known
        .or_else(near)
        .map(|ours| format!("did you mean {ours}?"));
    let message = format!("`algorithm` must be one of {list}, got {text:?}");
    item.error(Code::NotInList, message, remedy);
    None
}

fn hash_key(item: &Item<'_>) -> Option<HashKey> {
    let text = item.string()?;
    let key = match text.split_once(':') {
        None if text == "source" => Some(HashKey::Source),
        None if text == "path" => Some(HashKey::Path),
        Some(("header", name)) if is_token(name) => Some(HashKey::Header(name.to_owned())),
        Some(("cookie", name)) if is_token(name) => Some(HashKey::Cookie(name.to_owned())),
        Some(("query", name)) if is_parameter(name) => Some(HashKey::Query(name.to_owned())),
        Some(_) | None => None,
    };
    if key.is_none() {
        let message = format!(
            "`consistent_hash` must be \"source\", \"path\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\", got {text:?}"
        );
        item.error(Code::NotInList, message, None);
    }
    key
}

/// A name that a header field or a cookie can have (RFC 9110 §5.6.2).
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

/// A name that can stand in a query before `=`, as it is sent.
fn is_parameter(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte))
}
