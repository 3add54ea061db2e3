//! Rules that no request can meet, because an earlier one takes every request they would match.

use std::net::IpAddr;

use http::Method;

use super::index::{Cost, Index};
use super::{Condition, Fields, RequestView, covers};
use crate::pattern::Glob;
use crate::settings::RuleSettings;

/// Comparisons after which nothing more is looked for: rules that nothing tells apart would take forever.
const MAX_ASKED: u32 = 2_000_000;

/// Each such rule with the first earlier one that covers it. Takes time in proportion to the rules, as long as the index
/// tells them apart.
pub(crate) fn find(rules: &[RuleSettings]) -> Vec<(usize, usize)> {
    let index = Index::new(rules.iter().map(|rule| rule.when.as_slice()));
    let mut found = Vec::new();
    let mut cost = Cost::default();
    for (number, rule) in rules.iter().enumerate() {
        if cost.asked > MAX_ASKED {
            break;
        }
        // The patterns themselves, taken as a request, are filed where everything is that covers them.
        let sample = Sample::of(&rule.when);
        let earlier = index.first(&sample.view(), &mut cost, |earlier| {
            earlier >= number || covers(&rules[earlier].when, &rule.when)
        });
        if let Some(earlier) = earlier.filter(|earlier| *earlier < number) {
            found.push((number, earlier));
        }
    }
    found
}

/// A request made of the first value of each condition.
#[derive(Debug)]
struct Sample<'r> {
    when: &'r [Condition],
    method: Method,
    host: &'r str,
    path: &'r str,
    query: String,
    source: IpAddr,
}

impl<'r> Sample<'r> {
    fn of(when: &'r [Condition]) -> Self {
        let mut sample = Self {
            when,
            method: Method::GET,
            host: "",
            path: "",
            query: String::new(),
            source: IpAddr::from([0, 0, 0, 0]),
        };
        for condition in when {
            match condition {
                Condition::Host(patterns) => sample.host = first(patterns),
                Condition::Path(patterns) => sample.path = first(patterns),
                Condition::Query(name, patterns) => {
                    sample.query = format!("{}&{name}={}", sample.query, first(patterns));
                }
                Condition::Source(set) => {
                    let net = set.prefixes().first();
                    sample.source = net.map_or(sample.source, |net| net.network());
                }
                Condition::Method(_)
                | Condition::Header(..)
                | Condition::Cookie(..)
                | Condition::PeerSource(_)
                | Condition::Sni(_)
                | Condition::Not(_) => {}
            }
        }
        sample
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            source: self.source,
            peer: self.source,
            method: Some(&self.method),
            host: self.host,
            path: self.path,
            query: &self.query,
            sni: None,
            fields: self,
        }
    }
}

impl Fields for Sample<'_> {
    fn any(&self, wanted: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let is_cookie = wanted.eq_ignore_ascii_case("cookie");
        self.when.iter().any(|condition| match condition {
            Condition::Header(name, patterns) if name.eq_ignore_ascii_case(wanted) => {
                test(first(patterns).as_bytes())
            }
            Condition::Cookie(name, patterns) if is_cookie => {
                test(format!("{name}={}", first(patterns)).as_bytes())
            }
            _ => false,
        })
    }
}

fn first(patterns: &[Glob]) -> &str {
    patterns.first().map_or("", Glob::as_str)
}
