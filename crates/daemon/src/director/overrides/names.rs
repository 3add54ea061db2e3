//! What an operator means: targets and rules of the running configuration, by the names people give.

use balancer::{GroupSettings, ListenerSettings, RuleAction};
use config::Config;
use control::ErrorAnswer;

use super::book::What;

/// Names that are listed before the rest is left to the operator.
const LISTED: usize = 12;

/// A rule that forwards to several groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SplitRule<'c> {
    pub(super) listener: &'c str,
    /// None for what no rule matches.
    pub(super) rule: Option<&'c str>,
    /// Groups and weights of the file.
    pub(super) shares: &'c [(String, u32)],
}

pub(super) fn refuse<T>(error: String, remedy: impl Into<String>) -> Result<T, ErrorAnswer> {
    Err(ErrorAnswer {
        error,
        remedy: Some(remedy.into()),
    })
}

/// The target that `GROUP/TARGET` means.
pub(super) fn target(config: &Config, text: &str) -> Result<(String, String), ErrorAnswer> {
    for group in &config.groups {
        let Some(name) = within(&group.name, text) else {
            continue;
        };
        return match group.targets.iter().find(|target| target.name == name) {
            Some(target) => Ok((group.name.clone(), target.name.clone())),
            None => refuse(
                format!("group {} has no target `{name}`", group.name),
                list(group.targets.iter().map(|target| &*target.name)),
            ),
        };
    }
    let group = text.split('/').next().unwrap_or_default();
    if !text.contains('/') {
        return refuse(
            format!("`{text}` is no target"),
            "write GROUP/TARGET; `tandem targets` lists them",
        );
    }
    refuse(
        format!("there is no group `{group}`"),
        list(config.groups.iter().map(|group| &*group.name)),
    )
}

/// The rule that `RULE`, `LISTENER/RULE` or `LISTENER` means.
pub(super) fn split<'c>(config: &'c Config, text: &str) -> Result<SplitRule<'c>, ErrorAnswer> {
    let mut found: Vec<(SplitName<'c>, &'c RuleAction)> = actions(config)
        .filter(|(name, _)| name.is_called(text))
        .collect();
    // A rule that forwards to one group is only meant when there is nothing better.
    let splits = |action: &RuleAction| matches!(action, RuleAction::Split(_));
    if found.iter().any(|(_, action)| splits(action)) {
        found.retain(|(_, action)| splits(action));
    }
    match &found[..] {
        [] => {
            let known = actions(config).filter(|(_, action)| splits(action));
            let known: Vec<String> = known.map(|(name, _)| name.words()).collect();
            refuse(
                format!("there is no rule `{text}`"),
                match known.is_empty() {
                    true => "no rule forwards to several groups".to_owned(),
                    false => list(known.iter().map(String::as_str)),
                },
            )
        }
        [(name, RuleAction::Split(shares))] => Ok(SplitRule {
            listener: name.listener,
            rule: name.rule,
            shares,
        }),
        [(name, action)] => refuse(
            format!(
                "rule {} does not share between groups: {action}",
                name.words()
            ),
            "give it several groups in the file: forward = { a = 95, b = 5 }",
        ),
        several => {
            let words: Vec<String> = several.iter().map(|(name, _)| name.words()).collect();
            refuse(
                format!("`{text}` may be {}", words.join(" or ")),
                "name the listener as well: LISTENER/RULE",
            )
        }
    }
}

/// Whether the running configuration has what an order is about.
pub(super) fn exists(config: &Config, what: &What) -> bool {
    match what {
        What::Node => !config.vrrp.is_empty(),
        What::Away { group, target, .. } | What::Weight { group, target, .. } => {
            group_of(config, group)
                .is_some_and(|group| group.targets.iter().any(|known| known.name == *target))
        }
        What::Split {
            listener,
            rule,
            weights,
        } => actions(config).any(|(name, action)| {
            let same = name.listener == listener && name.rule == rule.as_deref();
            same && matches!(action, RuleAction::Split(shares)
                if shares.iter().any(|(group, _)| weights.contains_key(group)))
        }),
    }
}

pub(super) fn group_of<'c>(config: &'c Config, name: &str) -> Option<&'c GroupSettings> {
    config.groups.iter().find(|group| group.name == name)
}

/// A place where requests are given to groups.
#[derive(Clone, Copy)]
struct SplitName<'c> {
    listener: &'c str,
    rule: Option<&'c str>,
}

impl SplitName<'_> {
    fn is_called(&self, text: &str) -> bool {
        match self.rule {
            None => self.listener == text,
            Some(rule) => rule == text || within(self.listener, text) == Some(rule),
        }
    }

    fn words(&self) -> String {
        match self.rule {
            None => self.listener.to_owned(),
            Some(rule) => format!("{}/{rule}", self.listener),
        }
    }
}

fn actions(config: &Config) -> impl Iterator<Item = (SplitName<'_>, &RuleAction)> {
    config.listeners.iter().flat_map(|listener| {
        let ListenerSettings {
            name,
            default,
            rules,
            ..
        } = listener;
        let own = SplitName {
            listener: name,
            rule: None,
        };
        let rules = rules.iter().map(move |rule| {
            let name = SplitName {
                listener: name,
                rule: Some(&rule.name),
            };
            (name, &rule.action)
        });
        std::iter::once((own, default)).chain(rules)
    })
}

/// What follows `outer/`.
fn within<'t>(outer: &str, text: &'t str) -> Option<&'t str> {
    text.strip_prefix(outer)?.strip_prefix('/')
}

/// `there is: a, b`
fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.collect();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    match (names.is_empty(), more) {
        (true, _) => "there is none".to_owned(),
        (false, 0) => format!("there is: {}", names.join(", ")),
        (false, more) => format!("there is: {} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::director::overrides::book::Away;

    const TEXT: &str = r#"
[listener.web]
bind = "127.0.0.1:80"
forward = { v1 = 1, v2 = 1 }
[[listener.web.rule]]
name = "site"
when = { path = "/site/*" }
forward = { v1 = 95, v2 = 5 }
[[listener.web.rule]]
name = "plain"
when = { path = "/plain/*" }
forward = "v1"
[[listener.web.rule]]
name = "twice"
when = { path = "/twice/*" }
forward = { v1 = 95, v2 = 5 }
[listener.other]
bind = "127.0.0.1:81"
protocol = "http"
forward = "v1"
[[listener.other.rule]]
name = "twice"
when = { path = "/twice/*" }
forward = { v1 = 95, v2 = 5 }
[group.v1]
targets = ["10.0.0.1:80", { name = "b/c", address = "10.0.0.2:80" }]
[group.v2]
targets = ["10.0.0.3:80"]
"#;

    fn config() -> Config {
        let outcome = config::load(Path::new("x.toml"), TEXT, &config::Facts::default());
        let report = outcome.report.render(TEXT, Path::new("x.toml"), false);
        outcome.config.unwrap_or_else(|| panic!("{report}"))
    }

    fn error<T: std::fmt::Debug>(result: Result<T, ErrorAnswer>) -> String {
        let answer = result.unwrap_err();
        format!("{}; {}", answer.error, answer.remedy.unwrap())
    }

    #[test]
    fn targets_by_group_and_name() {
        let config = config();
        let names = |group: &str, target: &str| (group.to_owned(), target.to_owned());
        assert_eq!(
            target(&config, "v1/10.0.0.1:80").unwrap(),
            names("v1", "10.0.0.1:80")
        );
        assert_eq!(target(&config, "v1/b/c").unwrap(), names("v1", "b/c"));
        assert_eq!(
            error(target(&config, "v1/x")),
            "group v1 has no target `x`; there is: 10.0.0.1:80, b/c"
        );
        assert_eq!(
            error(target(&config, "v3/x")),
            "there is no group `v3`; there is: v1, v2"
        );
        assert!(error(target(&config, "v1")).starts_with("`v1` is no target; write GROUP/TARGET"));
    }

    #[test]
    fn rules_by_name_by_listener_and_both() {
        let config = config();
        let found = |text: &str| {
            split(&config, text)
                .map(|split| (split.listener.to_owned(), split.rule.map(str::to_owned)))
        };
        let names =
            |listener: &str, rule: Option<&str>| (listener.to_owned(), rule.map(str::to_owned));
        assert_eq!(found("site").unwrap(), names("web", Some("site")));
        assert_eq!(found("web/site").unwrap(), names("web", Some("site")));
        assert_eq!(found("other/twice").unwrap(), names("other", Some("twice")));
        assert_eq!(found("web").unwrap(), names("web", None));
        assert_eq!(
            error(found("twice")),
            "`twice` may be web/twice or other/twice; name the listener as well: LISTENER/RULE"
        );
        assert!(
            error(found("plain")).starts_with("rule web/plain does not share between groups: v1;")
        );
        assert_eq!(
            error(found("x")),
            "there is no rule `x`; there is: web, web/site, web/twice, other/twice"
        );
    }

    #[test]
    fn what_an_order_is_about_may_be_gone() {
        let config = config();
        let away = |group: &str, target: &str| What::Away {
            group: group.to_owned(),
            target: target.to_owned(),
            order: Away::Drain,
        };
        let split = |rule: &str, group: &str| What::Split {
            listener: "web".to_owned(),
            rule: Some(rule.to_owned()),
            weights: [(group.to_owned(), 3)].into(),
        };
        assert!(exists(&config, &away("v1", "b/c")));
        assert!(!exists(&config, &away("v2", "b/c")));
        assert!(!exists(&config, &away("v3", "b/c")));
        assert!(exists(&config, &split("site", "v2")));
        assert!(!exists(&config, &split("site", "v3")));
        assert!(!exists(&config, &split("plain", "v1")));
        assert!(!exists(&config, &split("gone", "v1")));
    }
}
