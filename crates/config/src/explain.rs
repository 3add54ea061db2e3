//! What would become of a request, step by step: which rules it does not meet and why, which group and targets it could
//! go to, what would be sent. A dry run: nothing is counted, no place is taken.
//!
//! The daemon asks its running plan, with what it knows of targets and cookies; without a daemon a plan is made of a
//! file. Both go through [`explain()`], which asks the same conditions and standings as live traffic.

mod groups;
mod words;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use balancer::{Action, Group, Listener, Plan, Protocol, RequestView, Rule, StickySettings};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::Config;
pub use groups::{GroupVerdict, ShareVerdict, TargetVerdict};

/// The most rules that are listed; those nearest to the decision.
const MAX_RULES: usize = 1000;

/// A request that nobody has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The method, as sent.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host, with its port if one was given.
    pub host: String,
    /// Path with query, beginning with `/`.
    pub path: String,
    /// Header fields, `Host` left out.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The address of the client.
    pub from: IpAddr,
    /// The listener; by scheme and port if none is named.
    #[serde(default)]
    pub listener: Option<String>,
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The listener it comes to.
    pub listener: String,
    /// True if a daemon was asked; else nothing is known of targets and cookies.
    pub live: bool,
    /// How the listener ends TLS, in words; `None` if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What rules compare the path with.
    pub path: String,
    /// Rules before these that it does not meet either, left out for their number.
    #[serde(default)]
    pub rules_left_out: usize,
    /// What each rule says, up to and with the one it meets.
    pub rules: Vec<RuleVerdict>,
    /// The rule it meets; `None` if the listener's own action holds.
    pub rule: Option<String>,
    /// What is done, in words: `app`, `web-v1 95, web-v2 5`, `redirect ...`, `respond 404`, `close`.
    pub action: String,
    /// Whether it gets an answer from a target or from a rule: not refused, closed, or without a target.
    pub answered: bool,
    /// The answer, if it is ours: `400 ambiguous path`, `301 to https://...`, `503 target-down@pick`.
    pub answer: Option<String>,
    /// How the groups of a split share, if there is one.
    #[serde(default)]
    pub shares: Vec<ShareVerdict>,
    /// What binds the client to one of them, in words.
    pub sticky: Option<String>,
    /// The groups it may go to, the one it is bound to alone if that holds.
    #[serde(default)]
    pub groups: Vec<GroupVerdict>,
    /// What the target gets: the request line, then fields that are added, set or taken away.
    #[serde(default)]
    pub sent: Vec<String>,
    /// What is changed in the answer.
    #[serde(default)]
    pub answer_changes: Vec<String>,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleVerdict {
    /// Its name, or its number.
    pub rule: String,
    /// Whether the request meets it.
    pub matches: bool,
    /// All that it asks, if it is met; else the first that does not hold. In words.
    pub because: String,
    /// What it does.
    pub action: String,
}

/// Why nothing can be explained; all of it the asker's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// There is no such listener.
    #[error("there is no listener {0}")]
    NoListener(String),
    /// Nothing listens there.
    #[error("no listener takes {scheme} on port {port}; there are {listeners}")]
    NothingThere {
        /// `http` or `https`.
        scheme: String,
        /// The port.
        port: u16,
        /// Names of all.
        listeners: String,
    },
    /// Several do.
    #[error("{0} take this; name one with --listener")]
    Several(String),
    /// The method is none.
    #[error("{0:?} is no method")]
    Method(String),
}

/// Reads what a cookie binds to: of a rule (no group) or of a group. `None` if it is not believed.
pub trait Cookies {
    /// The mark that stands in a cookie with this value.
    fn mark(&self, of: Option<&Group>, sticky: &StickySettings, value: &[u8]) -> Option<u64>;
}

/// What would become of a request by a file, without a daemon.
///
/// # Errors
/// If no listener can be told.
pub fn explain_offline(
    config: &Config,
    question: &Question,
    now: Instant,
) -> Result<Explanation, ExplainError> {
    let (listeners, groups) = (config.listeners.clone(), config.groups.clone());
    let plan = Plan::build(listeners, groups, None).unwrap_or_default();
    explain(&plan, question, now, None)
}

/// What would become of a request by a plan. Without `cookies` nothing is known of what binds clients.
///
/// # Errors
/// If no listener can be told.
pub fn explain(
    plan: &Plan,
    question: &Question,
    now: Instant,
    cookies: Option<&dyn Cookies>,
) -> Result<Explanation, ExplainError> {
    let listener = listener(plan, question)?;
    let method = Method::from_bytes(question.method.as_bytes())
        .map_err(|_| ExplainError::Method(question.method.clone()))?;
    let (path, query) = question
        .path
        .split_once('?')
        .unwrap_or((&question.path, ""));
    let view = match listener.settings().protocol {
        Protocol::Tcp | Protocol::Udp => RequestView::of_connection(question.from),
        // The name a client would ask for.
        Protocol::Tls => RequestView {
            sni: question.host.split(':').next(),
            ..RequestView::of_connection(question.from)
        },
        Protocol::Http | Protocol::Https => RequestView {
            source: question.from,
            peer: question.from,
            method: Some(&method),
            host: &question.host,
            path,
            query,
            sni: None,
            fields: &question.headers,
        },
    };
    let asked = Asked {
        question,
        listener,
        view,
        now,
        cookies,
    };
    Ok(asked.explain())
}

/// A question with all it takes to answer it.
struct Asked<'a> {
    question: &'a Question,
    listener: &'a Arc<Listener>,
    view: RequestView<'a>,
    now: Instant,
    cookies: Option<&'a dyn Cookies>,
}

impl Asked<'_> {
    fn explain(&self) -> Explanation {
        let mut room = String::new();
        let mut explanation = Explanation {
            listener: self.listener.settings().name.clone(),
            live: self.cookies.is_some(),
            tls: self.listener.settings().tls.as_ref().map(words::tls),
            path: words::normal_path(self.view.path),
            rules_left_out: 0,
            rules: Vec::new(),
            rule: None,
            action: String::new(),
            answered: true,
            answer: None,
            shares: Vec::new(),
            sticky: None,
            groups: Vec::new(),
            sent: Vec::new(),
            answer_changes: Vec::new(),
        };
        if let Some(refused) = self.refused() {
            explanation.answered = false;
            explanation.answer = Some(refused.to_owned());
            return explanation;
        }
        self.judge(&mut explanation);
        let Ok(route) = self.listener.route(&self.view, &mut room) else {
            explanation.answered = false;
            explanation.answer = Some("400 ambiguous path".to_owned());
            return explanation;
        };
        explanation.rule = route.rule.map(|rule| rule.settings().name.clone());
        let rule = route.rule.map(|rule| &**rule);
        explanation.action = match rule {
            Some(rule) => rule.settings().action.to_string(),
            None => self.listener.settings().default.to_string(),
        };
        self.act(route.action, rule, &mut explanation);
        if let Some(rule) = rule {
            explanation.answer_changes = words::edits(&rule.settings().answer_headers);
        }
        explanation
    }

    /// What a listener of HTTP answers before it looks at a rule.
    fn refused(&self) -> Option<&'static str> {
        let method = self.view.method?;
        if *method == Method::TRACE || *method == Method::CONNECT {
            return Some("405 method not allowed");
        }
        let limit = self.listener.settings().limits.url_bytes;
        (self.question.path.len() > limit as usize).then_some("414 URL too long")
    }

    /// What the rules say.
    fn judge(&self, explanation: &mut Explanation) {
        let judged = self.listener.judge(&self.view).unwrap_or_default();
        let verdicts = judged.iter().map(|judged| {
            let settings = judged.rule.settings();
            RuleVerdict {
                rule: settings.name.clone(),
                matches: judged.fails.is_none(),
                because: match judged.fails {
                    Some(condition) => condition.to_string(),
                    None => balancer::Conditions(&settings.when).to_string(),
                },
                action: settings.action.to_string(),
            }
        });
        explanation.rules_left_out = judged.len().saturating_sub(MAX_RULES);
        explanation.rules = verdicts.skip(explanation.rules_left_out).collect();
    }

    /// What is done.
    fn act(&self, action: &Action, rule: Option<&Rule>, explanation: &mut Explanation) {
        match action {
            Action::Forward(group) => self.forward(&[group], rule, explanation),
            Action::Split(split) => self.choose(split, rule, explanation),
            Action::Redirect(redirect) => match words::location(redirect, self.question) {
                Some(location) => {
                    explanation.answer = Some(format!("{} to {location}", redirect.status));
                }
                None => {
                    explanation.answered = false;
                    explanation.answer = Some("400 malformed host".to_owned());
                }
            },
            Action::Respond(fixed) => {
                let length = fixed.body.len();
                let kind = fixed.content_type.as_deref().unwrap_or("no content type");
                explanation.answer = Some(format!("{} ({kind}, {length} bytes)", fixed.status));
            }
            Action::Close => {
                explanation.answered = false;
                explanation.answer = Some("none: the connection is closed".to_owned());
            }
        }
    }
}

/// The listener that is meant.
fn listener<'p>(plan: &'p Plan, question: &Question) -> Result<&'p Arc<Listener>, ExplainError> {
    if let Some(name) = &question.listener {
        let found = plan.listener(name);
        return found.ok_or_else(|| ExplainError::NoListener(name.clone()));
    }
    let https = question.scheme == "https";
    let port = question
        .host
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let port: u16 = port.unwrap_or(if https { 443 } else { 80 });
    let takes = |listener: &&Arc<Listener>| {
        let settings = listener.settings();
        let speaks = match settings.protocol {
            Protocol::Http => !https,
            Protocol::Https => https,
            Protocol::Tcp | Protocol::Tls | Protocol::Udp => false,
        };
        speaks && settings.binds.iter().any(|bind| bind.port() == port)
    };
    let names = |listeners: &[&Arc<Listener>]| {
        let names: Vec<_> = listeners
            .iter()
            .map(|listener| listener.settings().name.as_str())
            .collect();
        names.join(", ")
    };
    let found: Vec<_> = plan.listeners().filter(takes).collect();
    match &found[..] {
        [one] => Ok(one),
        [] => Err(ExplainError::NothingThere {
            scheme: question.scheme.clone(),
            port,
            listeners: names(&plan.listeners().collect::<Vec<_>>()),
        }),
        several => Err(ExplainError::Several(names(several))),
    }
}

#[cfg(test)]
mod tests;
