//! What becomes of requests, by the rules of a listener and by none.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::pattern::Glob;
use crate::plan::Plan;
use crate::rule::NoFields;
use crate::settings::{GroupSettings, Protocol};

fn listener(rules: Vec<RuleSettings>) -> ListenerSettings {
    let bind = "127.0.0.1:80".parse().unwrap();
    ListenerSettings {
        rules,
        ..ListenerSettings::new("web", Protocol::Http, vec![bind], "app")
    }
}

fn groups() -> Vec<GroupSettings> {
    let group = |name| GroupSettings::new(name, ["10.0.0.1:80".parse().unwrap()]);
    vec![group("app"), group("api")]
}

fn plan(rules: Vec<RuleSettings>, previous: Option<&Plan>) -> Plan {
    Plan::build(vec![listener(rules)], groups(), previous).unwrap()
}

fn path_rule(name: &str, path: &str) -> RuleSettings {
    RuleSettings::new(name, vec![Condition::Path(vec![Glob::new(path)])], "api")
}

fn view(path: &str) -> RequestView<'_> {
    RequestView {
        path,
        fields: &NoFields,
        ..RequestView::of_connection("192.0.2.7".parse().unwrap())
    }
}

/// The group a path leads to; `None` if it is refused.
fn leads_to(plan: &Plan, path: &str) -> Option<String> {
    let web = plan.listener("web").unwrap();
    let mut room = String::new();
    let route = web.route(&view(path), &mut room).ok()?;
    route
        .action
        .groups()
        .next()
        .map(|group| group.settings().name.clone())
}

#[test]
fn the_first_rule_that_matches_decides_or_else_the_listener() {
    let plan = plan(vec![path_rule("api", "/api/*")], None);
    assert_eq!(leads_to(&plan, "/api/x").as_deref(), Some("api"));
    assert_eq!(leads_to(&plan, "/other").as_deref(), Some("app"));
    let none = self::plan(vec![], None);
    assert_eq!(
        leads_to(&none, "/a//../%2f").as_deref(),
        Some("app"),
        "nobody looks at the path"
    );
}

#[test]
fn no_spelling_of_a_path_gets_around_a_rule() {
    let plan = plan(vec![path_rule("admin", "/admin/*")], None);
    for path in [
        "/admin/x",
        "/x/../admin/x",
        "/%61dmin/x",
        "/x/%2e%2e/admin/x",
        "//admin//x",
        "/./admin/x",
    ] {
        assert_eq!(leads_to(&plan, path).as_deref(), Some("api"), "{path}");
    }
    for path in [
        "/admin%2fx",
        "/x/..%2fadmin/x",
        "/x\\..\\admin\\x",
        "/x//../admin/x",
        "/x\\y%2f..%2fadmin%2fx",
        "/x%5cy/..\\..%2f../admin/x",
        "/public/..;/admin/x",
        "/public/..%3Ba=b/admin/x",
    ] {
        assert_eq!(
            leads_to(&plan, path),
            None,
            "{path} can be understood in several ways"
        );
    }
    for path in [
        "/x%2fadmin",
        "/projects/a%2fb",
        "/cart;session=1/x",
        "/a;b\\c",
    ] {
        assert_eq!(
            leads_to(&plan, path).as_deref(),
            Some("app"),
            "{path}: every way leads to the same"
        );
    }
}

#[test]
fn counters_stay_with_the_name_of_a_rule() {
    let before = plan(vec![path_rule("a", "/a"), path_rule("b", "/b")], None);
    let count =
        |plan: &Plan, number: usize| plan.listener("web").unwrap().rules()[number].requests_total();
    before.listener("web").unwrap().rules()[1].count();
    let after = plan(
        vec![path_rule("c", "/c"), path_rule("b", "/other")],
        Some(&before),
    );
    assert_eq!((count(&after, 0), count(&after, 1)), (0, 1));
    // A request that began before the reload counts after it.
    before.listener("web").unwrap().rules()[1].count();
    assert_eq!(count(&after, 1), 2);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refused = |rules| {
        Plan::build(vec![listener(rules)], groups(), None)
            .unwrap_err()
            .to_string()
    };
    let twice = vec![path_rule("a", "/a"), path_rule("a", "/b")];
    assert_eq!(refused(twice), "listener web has two rules named a");
    let lost = vec![RuleSettings::new("a", vec![], "nowhere")];
    assert_eq!(
        refused(lost),
        "listener web forwards to group nowhere, which does not exist"
    );
}
