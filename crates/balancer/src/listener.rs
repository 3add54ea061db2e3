//! A listener in one plan: its rules in their order, and what becomes of a request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::group::Group;
use crate::normal::{Ambiguous, Reading, is_plain, normalise};
use crate::plan::PlanError;
use crate::redirect::Redirect;
use crate::rule::index::{Cost, Index};
use crate::rule::{Condition, RequestView};
use crate::settings::{FixedAnswer, ListenerSettings, RuleAction, RuleSettings};
use crate::split::{Share, Split};
use crate::sticky::BindingCounts;

/// What becomes of a request or connection.
#[derive(Clone, Copy, Debug)]
pub struct Route<'p> {
    /// The rule it meets; `None` if the listener's own action holds.
    pub rule: Option<&'p Arc<Rule>>,
    /// What is done.
    pub action: &'p Action,
}

/// An action with its groups.
#[derive(Debug)]
pub enum Action {
    /// It goes to a target of this group.
    Forward(Arc<Group>),
    /// It goes to one of these groups.
    Split(Split),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The client gets this answer.
    Respond(FixedAnswer),
    /// The connection is closed without an answer.
    Close,
}

impl Action {
    /// The groups it may lead to.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        let (one, several) = match self {
            Self::Forward(group) => (Some(group), &[][..]),
            Self::Split(split) => (None, split.shares()),
            Self::Redirect(_) | Self::Respond(_) | Self::Close => (None, &[][..]),
        };
        one.into_iter()
            .chain(several.iter().map(|share| &share.group))
    }
}

/// A rule in one plan. What is counted is shared with the plans before and after.
#[derive(Debug)]
pub struct Rule {
    settings: RuleSettings,
    action: Action,
    counts: Arc<RuleCounts>,
}

/// What is counted of a rule.
#[derive(Debug, Default)]
struct RuleCounts {
    requests: AtomicU64,
    bindings: BindingCounts,
}

impl Rule {
    /// What the operator wrote about it.
    pub fn settings(&self) -> &RuleSettings {
        &self.settings
    }

    /// What it does.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Requests or connections that have met it.
    pub fn requests_total(&self) -> u64 {
        self.counts.requests.load(Relaxed)
    }

    /// Counts one more request or connection that has met it.
    pub fn count(&self) {
        self.counts.requests.fetch_add(1, Relaxed);
    }

    /// How often clients met the group they are bound to.
    pub fn bindings(&self) -> &BindingCounts {
        &self.counts.bindings
    }
}

/// A listener in one plan, its groups resolved; it stays usable after the plan is gone.
pub struct Listener {
    settings: ListenerSettings,
    rules: Vec<Arc<Rule>>,
    index: Index,
    sees_path: bool,
    default: Action,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Resolves the groups. Rules keep what was counted by their name.
    pub(crate) fn build(
        mut settings: ListenerSettings,
        groups: &BTreeMap<String, Arc<Group>>,
        previous: Option<&Arc<Listener>>,
    ) -> Result<Arc<Listener>, PlanError> {
        let mut names = BTreeSet::new();
        let mut counted = previous
            .map(|listener| listener.counters())
            .unwrap_or_default();
        let mut rules = Vec::with_capacity(settings.rules.len());
        for rule in std::mem::take(&mut settings.rules) {
            if !names.insert(rule.name.clone()) {
                return Err(PlanError::DuplicateRule {
                    listener: settings.name,
                    rule: rule.name,
                });
            }
            rules.push(Arc::new(Rule {
                action: resolve(&settings.name, &rule.action, groups)?,
                counts: counted.remove(&rule.name).unwrap_or_default(),
                settings: rule,
            }));
        }
        let conditions = || rules.iter().map(|rule| rule.settings.when.as_slice());
        Ok(Arc::new(Listener {
            default: resolve(&settings.name, &settings.default, groups)?,
            index: Index::new(conditions()),
            sees_path: conditions().flatten().any(Condition::sees_path),
            settings,
            rules,
        }))
    }

    fn counters(&self) -> BTreeMap<String, Arc<RuleCounts>> {
        let counter = |rule: &Arc<Rule>| (rule.settings.name.clone(), Arc::clone(&rule.counts));
        self.rules.iter().map(counter).collect()
    }

    /// What the operator wrote about it, but its rules.
    pub fn settings(&self) -> &ListenerSettings {
        &self.settings
    }

    /// Its rules, in their order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// What becomes of what no rule matches.
    pub fn default_action(&self) -> &Action {
        &self.default
    }

    /// Decides about one request or connection; `room` is for the normal form of its path.
    ///
    /// # Errors
    /// If the path can be understood in two ways, and that would make a difference.
    pub fn route(&self, view: &RequestView<'_>, room: &mut String) -> Result<Route<'_>, Ambiguous> {
        self.route_counted(view, room, &mut Cost::default())
    }

    /// The same, telling what it took.
    pub fn route_counted(
        &self,
        view: &RequestView<'_>,
        room: &mut String,
        cost: &mut Cost,
    ) -> Result<Route<'_>, Ambiguous> {
        if self.rules.is_empty() {
            return Ok(self.at(None));
        }
        if !self.sees_path || is_plain(view.path) {
            return Ok(self.at(self.first(view, cost)));
        }
        let mut read = |reading| {
            let path = normalise(view.path, reading, room)?;
            Ok(self.first(&RequestView { path, ..*view }, cost))
        };
        let number = read(Reading::STRICT)?;
        for reading in Reading::others(view.path) {
            if read(reading)? != number {
                return Err(Ambiguous);
            }
        }
        Ok(self.at(number))
    }

    fn at(&self, number: Option<usize>) -> Route<'_> {
        let rule = number.and_then(|number| self.rules.get(number));
        Route {
            rule,
            action: rule.map_or(&self.default, |rule| &rule.action),
        }
    }

    fn first(&self, view: &RequestView<'_>, cost: &mut Cost) -> Option<usize> {
        self.index.first(view, cost, |number| {
            let rule = self.rules.get(number);
            rule.is_some_and(|rule| {
                rule.settings
                    .when
                    .iter()
                    .all(|condition| condition.holds(view))
            })
        })
    }
}

fn resolve(
    listener: &str,
    action: &RuleAction,
    groups: &BTreeMap<String, Arc<Group>>,
) -> Result<Action, PlanError> {
    let group = |name: &String| match groups.get(name) {
        Some(group) => Ok(Arc::clone(group)),
        None => Err(PlanError::UnknownGroup {
            listener: listener.to_owned(),
            group: name.clone(),
        }),
    };
    let share = |(name, weight): &(String, u32)| {
        Ok(Share {
            group: group(name)?,
            weight: *weight,
        })
    };
    Ok(match action {
        RuleAction::Forward(name) => Action::Forward(group(name)?),
        RuleAction::Split(shares) => Action::Split(Split::new(
            shares.iter().map(share).collect::<Result<_, _>>()?,
        )),
        RuleAction::Redirect(redirect) => Action::Redirect(redirect.clone()),
        RuleAction::Respond(answer) => Action::Respond(answer.clone()),
        RuleAction::Close => Action::Close,
    })
}

/// Pairs of a rule that no request can meet and the earlier one that takes all of its requests, by number. Only the
/// plain cases are found: conditions on the same things, the earlier ones at least as wide.
pub fn shadowed(rules: &[RuleSettings]) -> Vec<(usize, usize)> {
    crate::rule::shadow::find(rules)
}

#[cfg(test)]
mod tests;
