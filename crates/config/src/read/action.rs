//! What becomes of a request: `forward`, `redirect` or `respond`, of a listener or of a rule.

use std::time::Duration;

use balancer::RuleAction;

use crate::Code;
use crate::tree::{At, Item, Section};

/// What was said about a request.
#[derive(Debug, Default)]
pub(super) struct ActionDraft {
    /// What will be done; `None` if nothing usable was said.
    pub(super) action: Option<RuleAction>,
    /// Groups that are named.
    pub(super) groups: Vec<At<String>>,
}

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// In a listener that encrypts, or does not.
    Listener { https: bool },
    /// In a rule, which is refused as a whole: its parts are checked, not refused one by one.
    Rule { https: bool },
}

impl Owner {
    fn is_https(self) -> bool {
        match self {
            Owner::Listener { https } | Owner::Rule { https } => https,
        }
    }

    fn refuse(self, item: &Item<'_>, what: &str, instead: &str) {
        match self {
            Owner::Listener { .. } => item.not_supported(what, instead),
            Owner::Rule { .. } => {}
        }
    }
}

/// Reads the one action of a table.
pub(super) fn read(section: &Section<'_>, owner: Owner) -> ActionDraft {
    let items: Vec<Item<'_>> = ["forward", "redirect", "respond"]
        .iter()
        .filter_map(|key| section.get(key))
        .collect();
    if let [first, .., last] = &items[..] {
        let message = format!(
            "`{}` and `{}` exclude each other",
            first.name(),
            last.name()
        );
        section.found().error(
            Code::Duplicate,
            &last.key_place(),
            message,
            "remove one of the two".to_owned(),
        );
    }
    if items.is_empty() {
        section.missing("forward", "forward = \"app\"");
    }
    let mut draft = ActionDraft::default();
    for item in &items {
        match item.name() {
            "forward" => forward(item, owner, &mut draft),
            "redirect" => redirect(item, owner),
            _ => respond(item, owner, &mut draft),
        }
    }
    draft
}

/// A group, or groups with weights.
fn forward(item: &Item<'_>, owner: Owner, draft: &mut ActionDraft) {
    const FORM: &str = "the name of a group, or a table like { web-v1 = 95, web-v2 = 5 }";
    if !item.is_table() {
        if let Some(name) = item.string_like(FORM) {
            draft.groups.push(item.at(name.to_owned()));
            draft.action = Some(RuleAction::Forward(name.to_owned()));
        }
        return;
    }
    let Some(section) = item.section() else {
        return;
    };
    let entries = section.entries();
    let weights: Vec<Option<i64>> = entries
        .iter()
        .map(|(_, item)| item.integer(0..=999))
        .collect();
    draft.groups.extend(entries.iter().map(|(name, item)| At {
        value: name.clone(),
        place: item.key_place(),
    }));
    match &weights[..] {
        [] => item.error(
            Code::Weights,
            "`forward` names no group",
            format!("write {FORM}"),
        ),
        [Some(_)] => {
            let name = &entries[0].0;
            item.error(
                Code::Weights,
                "a weight for a single group changes nothing",
                format!("write {name:?}"),
            );
        }
        all if all.iter().all(|weight| *weight == Some(0)) => {
            item.error(
                Code::Weights,
                "every weight is 0, so no group gets any traffic",
                None,
            );
        }
        _ => owner.refuse(item, "forwarding by weight", "write the name of one group"),
    }
}

/// `"https"`, or a table with the parts that change.
fn redirect(item: &Item<'_>, owner: Owner) {
    const LOOP: &str = "the redirect leads to itself";
    if let Some(text) = item.as_str() {
        if item.word(&[("https", ())]).is_some() && owner.is_https() {
            let remedy = "the listener is https already".to_owned();
            item.error(Code::RedirectLoop, LOOP, remedy);
        } else if text == "https" {
            owner.refuse(
                item,
                "`redirect`",
                "write `forward = \"GROUP\"` or `respond = \"close\"`",
            );
        }
        return;
    }
    let Some(section) = item.section_or("\"https\" or a table like { host = \"app.example.com\" }")
    else {
        return;
    };
    let scheme = section
        .get("scheme")
        .and_then(|item| item.word(&[("http", false), ("https", true)]));
    let parts = [
        ("host", "#{host}"),
        ("path", "/#{path}"),
        ("query", "#{query}"),
    ];
    let changes = parts.map(|(key, same)| match section.get(key) {
        Some(item) => item
            .string()
            .is_some_and(|text| text != same && text != same.trim_start_matches('/')),
        None => false,
    });
    let port = section.get("port");
    if let Some(port) = &port {
        port.integer(1..=65535);
    }
    if let Some(item) = section.get("status") {
        item.status_of(&[301, 302, 303, 307, 308]);
    }
    section.finish();
    let other_scheme = scheme.is_some_and(|https| https != owner.is_https());
    if !changes.contains(&true) && port.is_none() && !other_scheme {
        item.error(
            Code::RedirectLoop,
            LOOP,
            "change at least one of scheme, host, port, path and query".to_owned(),
        );
    } else {
        owner.refuse(
            item,
            "`redirect`",
            "write `forward = \"GROUP\"` or `respond = \"close\"`",
        );
    }
}

/// `"close"`, a status, or a table with status, content type and body.
fn respond(item: &Item<'_>, owner: Owner, draft: &mut ActionDraft) {
    const FORM: &str =
        "\"close\", a status like 404 or a table like { status = 200, body = \"ok\" }";
    if item.is_integer() {
        item.integer(200..=599);
    } else if let Some(text) = item.as_str() {
        if text == "close" {
            draft.action = Some(RuleAction::Close);
            return;
        }
        item.expected(
            FORM,
            text.parse::<u16>().ok().map(|status| status.to_string()),
        );
    } else if let Some(section) = item.section_or(FORM) {
        if let Some(item) = section.require("status", "status = 200") {
            item.integer(200..=599);
        }
        for key in ["content_type", "body"] {
            if let Some(item) = section.get(key)
                && item.as_str() != Some("")
            {
                item.string();
            }
        }
        section.finish();
    } else {
        return;
    }
    owner.refuse(
        item,
        "`respond` with a status",
        "write `respond = \"close\"`",
    );
}

/// `{ cookie = "NAME", ttl = "1h" }`; true if it asks for stickiness.
pub(super) fn sticky(item: &Item<'_>) -> bool {
    let Some(section) =
        item.section_or("\"off\" or a table like { cookie = \"TANDEM\", ttl = \"1d\" }")
    else {
        return false;
    };
    if let Some(item) = section.require("cookie", "cookie = \"TANDEM\"") {
        item.string();
    }
    if let Some(item) = section.get("ttl") {
        item.duration_in(Duration::from_secs(1)..=Duration::from_secs(400 * 86_400));
    }
    section.finish();
    true
}
