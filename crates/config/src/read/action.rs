//! What becomes of a request: `forward`, `redirect` or `respond`, of a listener or of a rule.

use balancer::{FixedAnswer, Redirect, RuleAction, Template, Variable};

use super::listener::ListenerProtocol;
use super::unfit;
use crate::Code;
use crate::tree::{At, Item, Section};

/// The longest body of a fixed answer, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// What was said about a request.
#[derive(Debug, Default)]
pub(super) struct ActionDraft {
    /// What will be done; `None` if nothing usable was said.
    pub(super) action: Option<RuleAction>,
    /// Groups that are named.
    pub(super) groups: Vec<At<String>>,
}

/// Reads the one action of a table.
pub(super) fn read(section: &Section<'_>, protocol: ListenerProtocol) -> ActionDraft {
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
        section.missing("forward", "forward = \"app\"` or `respond = 404");
    }
    let mut draft = ActionDraft::default();
    for item in &items {
        draft.action = match item.name() {
            "forward" => forward(item, &mut draft.groups),
            "redirect" => redirect(item, protocol).map(RuleAction::Redirect),
            _ => respond(item, protocol),
        };
    }
    draft
}

/// Reports an action that needs requests on a listener that sees none.
fn needs_http(item: &Item<'_>, protocol: ListenerProtocol) {
    if !protocol.speaks_http() {
        let remedy = "write `respond = \"close\"`";
        unfit(item, "with an answer is for http", protocol, remedy);
    }
}

/// A group, or groups with weights.
fn forward(item: &Item<'_>, groups: &mut Vec<At<String>>) -> Option<RuleAction> {
    const FORM: &str = "the name of a group, or a table like { web-v1 = 95, web-v2 = 5 }";
    if !item.is_table() {
        let name = item.string_like(FORM)?;
        groups.push(item.at(name.to_owned()));
        return Some(RuleAction::Forward(name.to_owned()));
    }
    let entries = item.section()?.entries();
    let weights: Vec<Option<u32>> = entries
        .iter()
        .map(|(_, item)| item.number(0..=999))
        .collect();
    groups.extend(entries.iter().map(|(name, item)| At {
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
        _ => {}
    }
    let names = entries.into_iter().map(|(name, _)| name);
    let shares: Option<Vec<(String, u32)>> = names
        .zip(weights)
        .map(|(name, weight)| Some((name, weight?)))
        .collect();
    shares.map(RuleAction::Split)
}

// ---- redirect ----

/// `"https"`, or a table with the parts that change.
fn redirect(item: &Item<'_>, protocol: ListenerProtocol) -> Option<Redirect> {
    const LOOP: &str = "the redirect leads to itself";
    needs_http(item, protocol);
    let https = protocol == ListenerProtocol::Https;
    if item.as_str().is_some() {
        item.word(&[("https", ())])?;
        if https {
            let remedy = "the listener is https already".to_owned();
            item.error(Code::RedirectLoop, LOOP, remedy);
        }
        return Some(Redirect::to_https());
    }
    let section = item.section_or("\"https\" or a table like { host = \"app.example.com\" }")?;
    let redirect = parts(&section, https);
    let complete = ["scheme", "host", "port", "path", "query"]
        .into_iter()
        .zip([
            redirect.https.is_some(),
            redirect.host.is_some(),
            redirect.port.is_some(),
            redirect.path.is_some(),
            redirect.query.is_some(),
        ])
        .all(|(key, read)| read || section.get(key).is_none());
    section.finish();
    let changes = |part: &Option<Template>, same: &[&str]| {
        part.as_ref()
            .is_some_and(|part| !same.contains(&part.to_string().as_str()))
    };
    let changed = redirect.https.is_some_and(|other| other != https)
        || redirect.port.is_some()
        || changes(&redirect.host, &["#{host}"])
        || changes(&redirect.path, &["#{path}", "/#{path}"])
        || changes(&redirect.query, &["#{query}"]);
    // What could not be read may have been a change.
    if !changed && complete {
        item.error(
            Code::RedirectLoop,
            LOOP,
            "change at least one of scheme, host, port, path and query".to_owned(),
        );
    }
    Some(redirect)
}

fn parts(section: &Section<'_>, https: bool) -> Redirect {
    let scheme = section.get("scheme");
    let to_https = scheme
        .as_ref()
        .and_then(|item| item.word(&[("http", false), ("https", true)]));
    if let (Some(item), true, Some(false)) = (&scheme, https, to_https) {
        item.error(
            Code::ProtocolOption,
            "a redirect from https to http takes the protection away",
            "remove `scheme`".to_owned(),
        );
    }
    use Variable::{Host, Path, Port, Protocol, Query};
    let host = section.get("host");
    let path = section.get("path");
    let query = section.get("query");
    let status = section
        .get("status")
        .and_then(|item| item.status_of(&[301, 302, 303, 307, 308]));
    Redirect {
        status: status
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(302),
        https: to_https,
        host: host.and_then(|item| host_template(&item)),
        port: section.get("port").and_then(|item| item.number(1..=65535)),
        path: path.and_then(|item| path_template(&item)),
        query: query.and_then(|item| template(&item, &[Protocol, Host, Port, Path, Query])),
    }
}

/// A text with variables; only some of them have a meaning in some part of a URL.
fn template(item: &Item<'_>, allowed: &[Variable]) -> Option<Template> {
    let text = match item.as_str() {
        Some("") => "",
        _ => item.string()?,
    };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            let remedy = "variables are #{protocol}, #{host}, #{port}, #{path} and #{query}";
            item.error(Code::Pattern, error.to_string(), remedy.to_owned());
            return None;
        }
    };
    let odd = template
        .variables()
        .find(|variable| !allowed.contains(variable));
    if let Some(odd) = odd {
        let message = format!("#{{{}}} has no meaning in `{}`", odd.as_str(), item.name());
        item.error(Code::Pattern, message, None);
        return None;
    }
    Some(template)
}

fn host_template(item: &Item<'_>) -> Option<Template> {
    let template = template(item, &[Variable::Host])?;
    let text = template.to_string().replace("#{host}", "");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    if item.as_str() == Some("") || !text.chars().all(plain) {
        item.error(
            Code::Pattern,
            format!("{:?} is no host name", template.to_string()),
            "write for example \"app.example.com\" or \"www.#{host}\"".to_owned(),
        );
        return None;
    }
    if text.contains(':') && !text.starts_with('[') {
        item.error(
            Code::Pattern,
            "the port does not belong to `host`",
            "give it as `port`".to_owned(),
        );
        return None;
    }
    Some(template)
}

fn path_template(item: &Item<'_>) -> Option<Template> {
    let template = template(
        item,
        &[
            Variable::Protocol,
            Variable::Host,
            Variable::Port,
            Variable::Path,
        ],
    )?;
    let text = template.to_string();
    if !text.starts_with('/') && !text.starts_with("#{path}") {
        item.error(
            Code::Pattern,
            format!("the path {text:?} does not begin with `/`"),
            format!("did you mean \"/{text}\"?"),
        );
        return None;
    }
    if text.contains('?') {
        item.error(
            Code::Pattern,
            "the query does not belong to `path`",
            "give it as `query`".to_owned(),
        );
        return None;
    }
    Some(template)
}

// ---- respond ----

/// `"close"`, a status, or a table with status, content type and body.
fn respond(item: &Item<'_>, protocol: ListenerProtocol) -> Option<RuleAction> {
    const FORM: &str =
        "\"close\", a status like 404 or a table like { status = 200, body = \"ok\" }";
    if item.as_str() == Some("close") {
        return Some(RuleAction::Close);
    }
    needs_http(item, protocol);
    if item.is_integer() {
        let status = item.number(200..=599)?;
        return Some(RuleAction::Respond(FixedAnswer::plain(status)));
    }
    if let Some(text) = item.as_str() {
        item.expected(
            FORM,
            text.parse::<u16>().ok().map(|status| status.to_string()),
        );
        return None;
    }
    let section = item.section_or(FORM)?;
    let status = section
        .require("status", "status = 200")
        .and_then(|item| item.number(200..=599));
    let content_type = section.get("content_type").and_then(|item| {
        let text = item.string()?;
        super::rule::is_field_value(&item, text).then(|| text.to_owned())
    });
    let body = section.get("body").and_then(|item| body(&item, status));
    section.finish();
    Some(RuleAction::Respond(FixedAnswer {
        status: status?,
        content_type,
        body: body.unwrap_or_default(),
    }))
}

fn body(item: &Item<'_>, status: Option<u16>) -> Option<String> {
    let text = match item.as_str() {
        Some("") => "",
        _ => item.string()?,
    };
    if text.len() > MAX_BODY {
        item.out_of_range(0, MAX_BODY, text.len());
    }
    if let (Some(status @ (204 | 205 | 304)), false) = (status, text.is_empty()) {
        let message = format!("an answer of status {status} has no body");
        item.error(Code::OutOfRange, message, "remove `body`".to_owned());
    }
    Some(text.to_owned())
}
