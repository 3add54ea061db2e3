#![allow(clippy::unwrap_used)]

use http::Method;
use proptest::prelude::*;

use super::index::{Cost, Index};
use super::*;
use crate::settings::RuleSettings;

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|text| Glob::any_case(*text)).collect()
}

fn paths(patterns: &[&str]) -> Condition {
    Condition::Path(patterns.iter().map(|text| Glob::new(*text)).collect())
}

fn hosts(patterns: &[&str]) -> Condition {
    Condition::Host(globs(patterns))
}

fn header(name: &str, patterns: &[&str]) -> Condition {
    Condition::Header(name.to_owned(), globs(patterns))
}

fn source(nets: &[&str]) -> Condition {
    Condition::Source(AddressSet::new(nets.iter().map(|net| net.parse().unwrap())))
}

/// A request as values.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    host: String,
    path: String,
    query: String,
    source: IpAddr,
    fields: Vec<(String, String)>,
}

impl Asked {
    fn get(host: &str, path: &str) -> Self {
        Self {
            method: Method::GET,
            host: host.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            source: "192.0.2.7".parse().unwrap(),
            fields: Vec::new(),
        }
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            source: self.source,
            peer: "10.0.0.1".parse().unwrap(),
            method: Some(&self.method),
            host: &self.host,
            path: &self.path,
            query: &self.query,
            sni: None,
            fields: &self.fields,
        }
    }
}

#[test]
fn each_condition_both_ways() {
    let mut asked = Asked::get("App.Example.com:8080", "/api/x");
    asked.query = "page=2&Sort=Up&flag".to_owned();
    asked.fields = vec![
        ("X-Beta".to_owned(), "Yes".to_owned()),
        ("Cookie".to_owned(), "theme=Dark; b=2".to_owned()),
        ("cookie".to_owned(), "c=3".to_owned()),
    ];
    let cookie =
        |name: &str, value: &str| Condition::Cookie(name.to_owned(), vec![Glob::new(value)]);
    let query = |name: &str, value: &str| Condition::Query(name.to_owned(), globs(&[value]));
    let method = |name: &str| Condition::Method(vec![name.to_owned()]);
    let peer = |net: &str| Condition::PeerSource(AddressSet::new([net.parse().unwrap()]));
    let holds = [
        hosts(&["app.example.com"]),
        hosts(&["nothing.example", "*.EXAMPLE.com"]),
        paths(&["/api/*"]),
        method("GET"),
        header("x-beta", &["y*"]),
        header("Host", &["app.example.com:8080"]),
        query("page", "*"),
        query("PAGE", "2"),
        query("sort", "up"),
        query("flag", ""),
        cookie("theme", "Dark"),
        cookie("c", "?"),
        source(&["192.0.2.0/24"]),
        peer("10.0.0.0/8"),
        Condition::Not(vec![hosts(&["app.example.com"]), method("POST")]),
    ];
    let does_not = [
        hosts(&["example.com"]),
        hosts(&["*.app.example.com"]),
        paths(&["/API/*"]),
        paths(&["/api"]),
        method("get"),
        header("X-Beta", &["no", "ye"]),
        header("X-Alpha", &["*"]),
        query("page", "3"),
        query("none", "*"),
        cookie("theme", "dark"),
        cookie("Theme", "*"),
        source(&["10.0.0.0/8"]),
        peer("192.0.2.0/24"),
        Condition::Sni(globs(&["app.example.com"])),
        Condition::Not(vec![hosts(&["app.example.com"]), method("GET")]),
    ];
    for condition in &holds {
        assert!(condition.holds(&asked.view()), "{condition}");
    }
    for condition in &does_not {
        assert!(!condition.holds(&asked.view()), "{condition}");
    }
}

#[test]
fn host_names_and_ports() {
    for (host, name, port) in [
        ("a.example", "a.example", None),
        ("a.example.:81", "a.example", Some(81)),
        ("[2001:db8::1]:81", "[2001:db8::1]", Some(81)),
        ("[2001:db8::1]", "[2001:db8::1]", None),
        ("", "", None),
    ] {
        let asked = Asked::get(host, "/");
        assert_eq!(
            (asked.view().host_name(), asked.view().host_port()),
            (name, port)
        );
    }
}

fn first(rules: &[Vec<Condition>], view: &RequestView<'_>, cost: &mut Cost) -> Option<usize> {
    let index = Index::new(rules.iter().map(Vec::as_slice));
    index.first(view, cost, |number| {
        rules[number].iter().all(|condition| condition.holds(view))
    })
}

/// The plain definition: every rule in order.
fn naive(rules: &[Vec<Condition>], view: &RequestView<'_>) -> Option<usize> {
    rules
        .iter()
        .position(|when| when.iter().all(|condition| condition.holds(view)))
}

/// What it takes to find the right one of so many rules, the worst over a thousand requests.
fn worst_cost(rules: &[Vec<Condition>], ask: impl Fn(usize) -> Asked) -> Cost {
    let index = Index::new(rules.iter().map(Vec::as_slice));
    let mut worst = Cost::default();
    for number in (0..1000).map(|n| n * 7919 % rules.len()) {
        let (asked, mut cost) = (ask(number), Cost::default());
        let view = asked.view();
        let found = index.first(&view, &mut cost, |n| {
            rules[n].iter().all(|condition| condition.holds(&view))
        });
        assert_eq!(found, Some(number));
        worst.lookups = worst.lookups.max(cost.lookups);
        worst.asked = worst.asked.max(cost.asked);
    }
    worst
}

type Shape = (fn(usize) -> Vec<Condition>, fn(usize) -> Asked);

#[test]
fn ten_thousand_rules_cost_what_ten_do() {
    let shapes: [Shape; 6] = [
        (
            |n| vec![hosts(&[&format!("h{n}.example.com")])],
            |n| Asked::get(&format!("h{n}.example.com"), "/a/b/c"),
        ),
        (
            |n| vec![hosts(&[&format!("*.h{n}.example.com")]), paths(&["/api/*"])],
            |n| Asked::get(&format!("www.h{n}.example.com"), "/api/x"),
        ),
        (
            |n| vec![hosts(&["app.example.com"]), paths(&[&format!("/p{n}/*")])],
            |n| Asked::get("app.example.com", &format!("/p{n}/x")),
        ),
        (
            |n| vec![paths(&[&format!("/p{n}")])],
            |n| Asked::get("a.example", &format!("/p{n}")),
        ),
        (
            |n| vec![header("X-Tenant", &[&format!("t{n}")]), paths(&["/api/*"])],
            |n| {
                let mut asked = Asked::get("a.example", "/api/x");
                asked.fields.push(("X-Tenant".to_owned(), format!("T{n}")));
                asked
            },
        ),
        (
            |n| vec![source(&[&format!("10.{}.{}.0/24", n >> 8, n & 255)])],
            |n| {
                let mut asked = Asked::get("a.example", "/");
                asked.source = IpAddr::from([10, (n >> 8) as u8, n as u8, 9]);
                asked
            },
        ),
    ];
    for (number, (rule, ask)) in shapes.into_iter().enumerate() {
        let few: Vec<_> = (0..10).map(rule).collect();
        let many: Vec<_> = (0..10_000).map(rule).collect();
        let (few, many) = (worst_cost(&few, ask), worst_cost(&many, ask));
        let sum = |cost: Cost| f64::from(cost.lookups + cost.asked);
        assert!(
            sum(many) <= 1.2 * sum(few),
            "shape {number}: {few:?} {many:?}"
        );
        assert!(many.asked <= 2, "shape {number}: {many:?}");
    }
}

#[test]
fn rules_that_are_never_reached() {
    let rule = |name: &str, when: Vec<Condition>| RuleSettings::new(name, when, "g");
    let get = || Condition::Method(vec!["GET".to_owned()]);
    let rules = [
        rule("api", vec![paths(&["/api/*"])]),
        rule("api v1", vec![paths(&["/api/v1/*"]), get()]),
        rule("other", vec![hosts(&["*.example.com"]), get()]),
        rule(
            "narrower",
            vec![
                get(),
                hosts(&["a.example.com", "b.example.com"]),
                paths(&["/x"]),
            ],
        ),
        rule(
            "wider",
            vec![hosts(&["a.example.com", "example.org"]), get()],
        ),
        rule("lan", vec![source(&["10.0.0.0/8"])]),
        rule(
            "lan again",
            vec![source(&["10.1.0.0/16"]), header("X", &["1"])],
        ),
        rule("header", vec![header("X", &["1", "2"])]),
        rule("header again", vec![header("X", &["2"]), paths(&["/h"])]),
        rule("rest", vec![]),
        rule("late", vec![paths(&["/late"])]),
    ];
    assert_eq!(
        shadow::find(&rules),
        [(1, 0), (3, 2), (6, 5), (8, 7), (10, 9)]
    );
}

#[test]
fn ten_thousand_rules_are_compared_in_no_time() {
    let rules: Vec<_> = (0..10_000)
        .map(|n| {
            RuleSettings::new(
                n.to_string(),
                vec![paths(&[&format!("/p{}/*", n % 9_999)])],
                "g",
            )
        })
        .collect();
    assert_eq!(shadow::find(&rules), [(9_999, 0)]);
}

fn condition() -> impl Strategy<Value = Condition> {
    let host = prop_oneof![
        Just("a.ex"),
        Just("b.ex"),
        Just("*.ex"),
        Just("a.*"),
        Just("?.ex"),
        Just("*"),
        Just("*a.ex"),
        Just("*.a.ex")
    ];
    let path = prop_oneof![
        Just("/"),
        Just("/a"),
        Just("/a/*"),
        Just("/*"),
        Just("/a/b"),
        Just("*b"),
        Just("/?/b"),
        Just("/a*")
    ];
    let value = prop_oneof![Just("1"), Just("2"), Just("*"), Just("")];
    let net = prop_oneof![
        Just("10.0.0.0/8"),
        Just("10.1.0.0/16"),
        Just("10.1.2.3/32"),
        Just("fd00::/8"),
        Just("0.0.0.0/0")
    ];
    let some = |strategy: BoxedStrategy<&'static str>| proptest::collection::vec(strategy, 1..3);
    prop_oneof![
        some(host.boxed()).prop_map(|patterns| hosts(&patterns)),
        some(path.boxed()).prop_map(|patterns| paths(&patterns)),
        (
            some(value.clone().boxed()),
            prop_oneof![Just("x"), Just("y")]
        )
            .prop_map(|(patterns, name)| header(name, &patterns)),
        some(value.clone().boxed())
            .prop_map(|patterns| Condition::Query("q".to_owned(), globs(&patterns))),
        some(value.boxed()).prop_map(|patterns| {
            Condition::Cookie(
                "c".to_owned(),
                patterns.iter().map(|text| Glob::new(*text)).collect(),
            )
        }),
        some(net.boxed()).prop_map(|nets| source(&nets)),
        Just(Condition::Method(vec!["GET".to_owned()])),
    ]
}

fn rule() -> impl Strategy<Value = Vec<Condition>> {
    let not = condition().prop_map(|inner| Condition::Not(vec![inner]));
    let any = prop_oneof![4 => condition(), 1 => not];
    // A file cannot say one key twice in a rule.
    proptest::collection::vec(any, 0..4).prop_map(|mut when| {
        when.sort_by_key(|condition| condition.subject().0);
        when.dedup_by_key(|condition| condition.subject().0);
        when
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let host = prop_oneof![
        Just(""),
        Just("a.ex"),
        Just("A.EX:80"),
        Just("b.ex"),
        Just("z.a.ex"),
        Just("ex"),
        Just("c.org.")
    ];
    let path = prop_oneof![
        Just("/"),
        Just("/a"),
        Just("/a/b"),
        Just("/a/b/c"),
        Just("/b/b"),
        Just("*")
    ];
    let value = prop_oneof![Just("1"), Just("2"), Just("")];
    let fields =
        proptest::collection::vec((prop_oneof![Just("X"), Just("y")], value.clone()), 0..3);
    let source = prop_oneof![
        Just("10.1.2.3"),
        Just("10.1.9.9"),
        Just("10.9.9.9"),
        Just("::ffff:10.1.2.3"),
        Just("fd00::1")
    ];
    (
        host,
        path,
        proptest::option::of(value.clone()),
        fields,
        proptest::option::of(value),
        source,
        any::<bool>(),
    )
        .prop_map(|(host, path, query, fields, cookie, source, post)| {
            let mut asked = Asked::get(host, path);
            asked.query = query.map_or_else(String::new, |value| format!("a&q={value}"));
            asked.fields = fields
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect();
            asked
                .fields
                .extend(cookie.map(|value| ("cookie".to_owned(), format!("b=1; c={value}"))));
            asked.source = source.parse().unwrap();
            if post {
                asked.method = Method::POST;
            }
            asked
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_index_finds_what_asking_every_rule_finds(
        rules in proptest::collection::vec(rule(), 0..12),
        asked in asked(),
    ) {
        let found = first(&rules, &asked.view(), &mut Cost::default());
        prop_assert_eq!(found, naive(&rules, &asked.view()));
    }

    #[test]
    fn what_is_called_shadowed_is_never_met(
        rules in proptest::collection::vec(rule(), 2..8),
        requests in proptest::collection::vec(asked(), 1..20),
    ) {
        let settings: Vec<_> = rules.iter().map(|when| RuleSettings::new("r", when.clone(), "g")).collect();
        let shadowed = shadow::find(&settings);
        // All of them are found that comparing each with each finds.
        let by_pairs: Vec<_> = (0..rules.len())
            .filter_map(|later| Some((later, (0..later).find(|earlier| covers(&rules[*earlier], &rules[later]))?)))
            .collect();
        prop_assert_eq!(&shadowed, &by_pairs);
        for asked in requests {
            let met = naive(&rules, &asked.view());
            prop_assert!(shadowed.iter().all(|(later, _)| Some(*later) != met));
        }
    }
}
