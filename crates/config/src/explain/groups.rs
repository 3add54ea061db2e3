//! Which group a request would go to, and which targets it could get there.

use std::sync::Arc;

use balancer::{
    Chance, Group, GroupMark, HeaderEdits, Order, Phase, Rule, Split, StickySettings, TargetMark,
};
use serde::{Deserialize, Serialize};

use super::{Asked, Explanation, words};

/// The part of a group in a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareVerdict {
    /// The group.
    pub group: String,
    /// Its weight.
    pub weight: u32,
    /// Its weight as it counts at this moment: 0 if it cannot serve and another can.
    pub effective_weight: u32,
    /// Targets that can serve.
    pub usable: usize,
}

/// What a group would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupVerdict {
    /// The group.
    pub group: String,
    /// How it chooses.
    pub algorithm: String,
    /// What is spoken with its targets, in words, if it is more than HTTP/1.1 or plain bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<String>,
    /// What binds the client to one of its targets, in words.
    pub sticky: Option<String>,
    /// The target that would get it for certain, because the client is bound to it or its key belongs to it.
    pub certain: Option<String>,
    /// Its targets, in the order of the file.
    pub targets: Vec<TargetVerdict>,
}

/// What a group would do with one of its targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetVerdict {
    /// The target.
    pub target: String,
    /// `candidate`, `full`, `later`, `bound only` or `no`.
    pub chance: String,
    /// Why: `healthy`, `check fails`, `ordered to drain`, ...
    pub why: String,
    /// Its weight.
    pub weight: u32,
    /// Requests or connections it is serving.
    pub in_flight: u32,
}

/// What a cookie says.
enum Bound {
    /// There is none.
    No,
    /// Nobody here can read it.
    Unreadable,
    /// It is not believed.
    Refused,
    To(u64),
}

impl Asked<'_> {
    /// One of several groups.
    pub(super) fn choose(&self, split: &Split, rule: Option<&Rule>, explanation: &mut Explanation) {
        let weights = split.effective_weights(self.now);
        let shares = split.shares().iter().zip(weights);
        explanation.shares = shares
            .map(|(share, effective_weight)| ShareVerdict {
                group: share.group.settings().name.clone(),
                weight: share.weight,
                effective_weight,
                usable: share.group.usable(self.now),
            })
            .collect();
        let sticky = rule.and_then(|rule| rule.settings().sticky.as_ref());
        let mut kept = None;
        if let Some(sticky) = sticky {
            let name = &sticky.cookie;
            explanation.sticky = Some(match self.bound(None, sticky) {
                Bound::No => format!("no cookie {name}: a group is drawn, and {name} set"),
                Bound::Unreadable => format!("cookie {name}: only the daemon can read it"),
                Bound::Refused => format!("cookie {name} is not ours or too old: a group is drawn"),
                Bound::To(mark) => {
                    kept = split.bound(self.now, GroupMark(mark));
                    match kept {
                        Some(group) => {
                            format!("cookie {name}: stays with {}", group.settings().name)
                        }
                        None => format!("cookie {name}: its group cannot serve; another is drawn"),
                    }
                }
            });
        }
        let drawn = split.shares().iter().zip(&explanation.shares);
        let drawn = drawn.filter(|(_, verdict)| verdict.effective_weight > 0);
        let groups: Vec<&Arc<Group>> = match kept {
            Some(group) => vec![group],
            None => drawn.map(|(share, _)| &share.group).collect(),
        };
        self.forward(&groups, rule, explanation);
    }

    /// To a target of one of these groups.
    pub(super) fn forward(
        &self,
        groups: &[&Arc<Group>],
        rule: Option<&Rule>,
        explanation: &mut Explanation,
    ) {
        explanation.groups = groups.iter().map(|group| self.group(group)).collect();
        let can = |group: &GroupVerdict| {
            let chances = group.targets.iter().map(|target| target.chance.as_str());
            let candidate = Chance::Candidate.as_str();
            let full = Chance::Full.as_str();
            group.certain.is_some()
                || chances
                    .into_iter()
                    .any(|chance| chance == candidate || chance == full)
        };
        if !explanation.groups.iter().any(can) {
            explanation.answered = false;
            explanation.answer = Some("503 target-down@pick".to_owned());
            return;
        }
        if self.view.method.is_some() {
            explanation.sent = self.sent(groups, rule);
        }
    }

    fn group(&self, group: &Group) -> GroupVerdict {
        let settings = group.settings();
        let (sticky, bound) = match &settings.sticky {
            Some(sticky) => self.bound_target(group, sticky),
            None => (None, None),
        };
        let key = group.hash_key().and_then(|key| key.of_request(&self.view));
        let owner = key.and_then(|key| group.owner(self.now, key));
        let owner = owner.map(|target| target.settings().name.clone());
        let targets = group.candidates(self.now);
        let targets = targets.into_iter().map(|candidate| {
            let state = candidate.target.state();
            let why = match (state.order(), state.passive(), candidate.target.why()) {
                (Order::Ready, Phase::Ok, Some(why)) => why,
                (_, _, _) => candidate.why.to_owned(),
            };
            TargetVerdict {
                target: candidate.target.settings().name.clone(),
                chance: candidate.chance.as_str().to_owned(),
                why,
                weight: candidate.target.settings().weight,
                in_flight: state.in_flight(),
            }
        });
        GroupVerdict {
            group: settings.name.clone(),
            algorithm: settings.algorithm.to_string(),
            speech: settings.speech(),
            sticky,
            certain: bound.or(owner),
            targets: targets.collect(),
        }
    }

    /// In words what binds the client to a target, and the target if it keeps the client.
    fn bound_target(
        &self,
        group: &Group,
        sticky: &StickySettings,
    ) -> (Option<String>, Option<String>) {
        let name = &sticky.cookie;
        let mut kept = None;
        let words = match self.bound(Some(group), sticky) {
            Bound::No => format!("no cookie {name}: one is set"),
            Bound::Unreadable => format!("cookie {name}: only the daemon can read it"),
            Bound::Refused => format!("cookie {name} is not of this group or too old: one is set"),
            Bound::To(mark) => {
                let mark = TargetMark(mark);
                let target = group
                    .bound(mark)
                    .map(|target| target.settings().name.clone());
                match (target, group.keeps_bound(self.now, mark)) {
                    (Some(target), true) => {
                        kept = Some(target.clone());
                        format!("cookie {name}: stays with {target}")
                    }
                    (Some(target), false) => {
                        format!("cookie {name}: {target} cannot serve; it is moved")
                    }
                    (None, _) => format!("cookie {name}: its target is gone; it is moved"),
                }
            }
        };
        (Some(words), kept)
    }

    fn bound(&self, of: Option<&Group>, sticky: &StickySettings) -> Bound {
        let mut values = Vec::new();
        self.view.fields.any("cookie", &mut |field| {
            let cookies = balancer::rule::pairs(field, b';');
            let named = cookies.filter(|(name, _)| *name == sticky.cookie.as_bytes());
            values.extend(named.map(|(_, value)| value.to_vec()));
            false
        });
        match self.cookies {
            _ if values.is_empty() => Bound::No,
            None => Bound::Unreadable,
            Some(cookies) => {
                let mut marks = values.iter();
                let mark = marks.find_map(|value| cookies.mark(of, sticky, value));
                mark.map_or(Bound::Refused, Bound::To)
            }
        }
    }

    /// What the target gets of a request.
    fn sent(&self, groups: &[&Arc<Group>], rule: Option<&Rule>) -> Vec<String> {
        let question = self.question;
        let edits = rule.map(|rule| &rule.settings().request_headers);
        let drops = |name: &str| edits.is_some_and(|edits: &HeaderEdits| edits.drops(name));
        let mut lines = vec![format!("{} {} HTTP/1.1", question.method, question.path)];
        if !drops("host") {
            lines.push(format!("Host: {}", question.host));
        }
        lines.extend(edits.map(words::edits).unwrap_or_default());
        let of_rule = rule.and_then(|rule| rule.settings().sticky.as_ref());
        let of_groups = groups
            .iter()
            .filter_map(|group| group.settings().sticky.as_ref());
        let mut hidden: Vec<&str> = of_rule
            .into_iter()
            .chain(of_groups)
            .map(|sticky| sticky.cookie.as_str())
            .collect();
        hidden.dedup();
        lines.extend(hidden.iter().map(|name| format!("remove cookie {name}")));
        let port = self
            .view
            .host_port()
            .unwrap_or(if question.scheme == "https" { 443 } else { 80 });
        let (from, scheme, host) = (question.from, &question.scheme, &question.host);
        lines.extend([
            format!("X-Forwarded-For: {from}"),
            format!("X-Forwarded-Proto: {scheme}"),
            format!("X-Forwarded-Host: {host}"),
            format!("X-Forwarded-Port: {port}"),
        ]);
        let tls = self.listener.settings().tls.as_ref();
        let asks = tls.is_some_and(|tls| tls.clients.is_some());
        if asks && !drops("x-client-cert-name") {
            lines.push("X-Client-Cert-Name: (whom the client's certificate is for)".to_owned());
        }
        if !drops("x-request-id") {
            lines.push("X-Request-Id: (32 digits)".to_owned());
        }
        lines
    }
}
