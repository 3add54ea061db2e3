//! Finds the first rule that a request meets without asking every rule.
//!
//! Each rule is filed under what its host and path begin or end with, and below that under one exact value or prefix it
//! asks for, if there is one:
//!
//! ```text
//!   host: exact | suffix from a dot on | any  ──►  path: exact | prefix up to a slash | any  ──►  plain rules
//!                                                                                            └──►  header X = v, source /24 ...
//! ```
//!
//! Keys are hashes. Two that fall together cost a comparison and nothing else, as every rule that is found is asked in full.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Condition, RequestView, cookie, header, query};
use crate::key::{Hash, hash};
use crate::pattern::Glob;

/// Labels of a host, and segments of a path, that are told apart.
const DEPTH: usize = 8;
/// Places under which one rule may be filed by host and path; beyond, by host alone.
const MAX_PLACES: usize = 1024;
/// Different things that the rules of one place may be told apart by; further rules are asked one by one.
const MAX_SORTERS: usize = 8;

/// Rules by what they look at.
#[derive(Debug, Default)]
pub(crate) struct Index {
    hosts: Table<Table<Place>>,
    host_depth: Depth,
    path_depth: Depth,
}

/// What it took to find a rule.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cost {
    /// Places looked for.
    pub lookups: u32,
    /// Rules asked in full.
    pub asked: u32,
}

/// The rules filed under one host and path.
#[derive(Debug, Default)]
struct Place {
    plain: Vec<usize>,
    sorted: Vec<(Sorter, Table<Vec<usize>>)>,
}

/// What rules of one place are told apart by.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Sorter {
    Header(String),
    Query(String),
    Cookie(String),
    /// Prefixes of so many bits, of IPv4 or not.
    Source {
        v4: bool,
        bits: u8,
    },
}

/// A key is a hash already.
type Table<T> = HashMap<u64, T, BuildHasherDefault<AsItIs>>;

#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash([bytes]);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

impl Index {
    /// Files rules, numbered in their order.
    pub(crate) fn new<'r>(rules: impl Iterator<Item = &'r [Condition]>) -> Self {
        let mut index = Self::default();
        for (number, when) in rules.enumerate() {
            index.file(number, when);
        }
        index
    }

    fn file(&mut self, number: usize, when: &[Condition]) {
        let (mut hosts, mut paths) = (vec![ANY], vec![ANY]);
        for condition in when {
            match condition {
                Condition::Host(patterns) => {
                    let depth = &mut self.host_depth;
                    hosts = patterns.iter().map(|host| host_key(host, depth)).collect();
                }
                Condition::Path(patterns) => {
                    let depth = &mut self.path_depth;
                    paths = patterns.iter().map(|path| path_key(path, depth)).collect();
                }
                Condition::Method(_)
                | Condition::Header(..)
                | Condition::Query(..)
                | Condition::Cookie(..)
                | Condition::Source(_)
                | Condition::PeerSource(_)
                | Condition::Sni(_)
                | Condition::Not(_) => {}
            }
        }
        if hosts.len() * paths.len() > MAX_PLACES {
            paths = vec![ANY];
        }
        let sorted = sorters(when);
        for host in hosts {
            let by_path = self.hosts.entry(host).or_default();
            for path in &paths {
                by_path.entry(*path).or_default().file(number, &sorted);
            }
        }
    }

    /// The lowest number for which `meets` holds, among the rules that `view` could meet. The path of `view` is its
    /// normal form.
    pub(crate) fn first(
        &self,
        view: &RequestView<'_>,
        cost: &mut Cost,
        mut meets: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut best = None;
        let paths = Keys::of_path(view.path.as_bytes(), self.path_depth);
        let hosts = match self.host_depth {
            Depth::NONE => Keys::ANY_ALONE,
            depth => Keys::of_host(view.host_name().as_bytes(), depth),
        };
        for host in hosts.iter() {
            cost.lookups += 1;
            let Some(by_path) = self.hosts.get(&host) else {
                continue;
            };
            for path in paths.iter() {
                cost.lookups += 1;
                if let Some(place) = by_path.get(&path) {
                    place.first(view, cost, &mut meets, &mut best);
                }
            }
        }
        best
    }
}

impl Place {
    fn file(&mut self, number: usize, sorted: &[(Sorter, u64)]) {
        let mut all: Vec<&Sorter> = self.sorted.iter().map(|(sorter, _)| sorter).collect();
        for (sorter, _) in sorted {
            if !all.contains(&sorter) {
                all.push(sorter);
            }
        }
        if sorted.is_empty() || all.len() > MAX_SORTERS {
            return push(&mut self.plain, number);
        }
        for (sorter, key) in sorted {
            let at = match self.sorted.iter().position(|(other, _)| other == sorter) {
                Some(at) => at,
                None => {
                    self.sorted.push((sorter.clone(), Table::default()));
                    self.sorted.len() - 1
                }
            };
            push(self.sorted[at].1.entry(*key).or_default(), number);
        }
    }

    fn first(
        &self,
        view: &RequestView<'_>,
        cost: &mut Cost,
        meets: &mut impl FnMut(usize) -> bool,
        best: &mut Option<usize>,
    ) {
        ask(&self.plain, cost, meets, best);
        for (sorter, table) in &self.sorted {
            let mut look = |key: u64| {
                cost.lookups += 1;
                if let Some(numbers) = table.get(&key) {
                    ask(numbers, cost, meets, best);
                }
                false // every value is looked up: another may lead to an earlier rule
            };
            match sorter {
                Sorter::Header(name) => {
                    header(view, name, &mut |value| look(value_key(value, true)));
                }
                Sorter::Query(name) => {
                    query(view.query, name).for_each(|value| {
                        look(value_key(value, true));
                    });
                }
                Sorter::Cookie(name) => {
                    cookie(view.fields, name, &mut |value| {
                        look(value_key(value, false))
                    });
                }
                Sorter::Source { v4, bits } => {
                    let source = view.source.to_canonical();
                    if source.is_ipv4() == *v4
                        && let Ok(net) = IpNet::new(source, *bits)
                    {
                        look(net_key(&net));
                    }
                }
            }
        }
    }
}

/// Asks the rules in their order up to the best so far.
fn ask(
    numbers: &[usize],
    cost: &mut Cost,
    meets: &mut impl FnMut(usize) -> bool,
    best: &mut Option<usize>,
) {
    for number in numbers {
        if best.is_some_and(|best| best <= *number) {
            return;
        }
        cost.asked += 1;
        if meets(*number) {
            *best = Some(*number);
            return;
        }
    }
}

/// A rule may come to one place by several of its values.
fn push(numbers: &mut Vec<usize>, number: usize) {
    if numbers.last() != Some(&number) {
        numbers.push(number);
    }
}

// ---- keys ----

/// Every host and every path.
const ANY: u64 = 0;
const EXACT: u8 = 1;
const PART: u8 = 2;

/// Which keys the rules are filed under in one dimension, besides any.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Depth {
    /// Whole texts.
    exact: bool,
    /// What comes before and with so many marks at most.
    parts: usize,
}

impl Depth {
    const NONE: Depth = Depth {
        exact: false,
        parts: 0,
    };
}

/// The keys of one request in one dimension.
#[derive(Clone, Copy, Debug)]
struct Keys {
    keys: [u64; DEPTH + 2],
    count: usize,
}

impl Keys {
    /// Of a dimension in which no rule wants anything.
    const ANY_ALONE: Keys = Keys {
        keys: [ANY; DEPTH + 2],
        count: 1,
    };

    /// Any; what comes before and with each of the first marks; and the whole text.
    fn new(text: impl Iterator<Item = u8>, mark: u8, depth: Depth) -> Self {
        let mut keys = Self::ANY_ALONE;
        let most = 1 + depth.parts.min(DEPTH);
        let (mut whole, mut part) = (Hash::default().with(EXACT), Hash::default().with(PART));
        let mut empty = true;
        for byte in text {
            empty = false;
            whole = whole.with(byte);
            if keys.count < most {
                part = part.with(byte);
                if byte == mark {
                    keys.push(part);
                }
            } else if !depth.exact {
                break;
            }
        }
        if depth.exact && !empty {
            keys.push(whole);
        }
        keys
    }

    fn push(&mut self, hash: Hash) {
        if let Some(free) = self.keys.get_mut(self.count) {
            *free = value(hash);
            self.count += 1;
        }
    }

    /// Hosts are told apart from the end.
    fn of_host(host: &[u8], depth: Depth) -> Self {
        let backwards = host.iter().rev().map(u8::to_ascii_lowercase);
        Self::new(backwards, b'.', depth)
    }

    /// Paths are told apart from the beginning.
    fn of_path(path: &[u8], depth: Depth) -> Self {
        Self::new(path.iter().copied(), b'/', depth)
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        let keys = self.keys.get(..self.count).unwrap_or_default();
        keys.iter().copied()
    }

    /// The last one.
    fn deepest(&self) -> u64 {
        self.keys[self.count - 1]
    }
}

/// The key of a pattern of which this much is certain, among the keys of every text that it matches; `depth` is to know of it.
fn pattern_key(
    (certain, mark): (impl Iterator<Item = u8>, u8),
    is_literal: bool,
    depth: &mut Depth,
) -> u64 {
    if is_literal {
        depth.exact = true;
        return value(certain.fold(Hash::default().with(EXACT), Hash::with));
    }
    let whole = Depth {
        exact: false,
        parts: DEPTH,
    };
    let keys = Keys::new(certain, mark, whole);
    depth.parts = depth.parts.max(keys.count - 1);
    keys.deepest()
}

fn value(hash: Hash) -> u64 {
    hash.value().max(1) // 0 is ANY
}

fn key(kind: u8, text: &[u8]) -> u64 {
    hash([&[kind], text]).max(1)
}

fn is_wild(byte: &u8) -> bool {
    matches!(byte, b'*' | b'?')
}

fn host_key(pattern: &Glob, depth: &mut Depth) -> u64 {
    let text = pattern.as_str().as_bytes();
    let certain = text.iter().rposition(is_wild).map_or(0, |at| at + 1);
    let backwards = text[certain..].iter().rev().map(u8::to_ascii_lowercase);
    pattern_key((backwards, b'.'), pattern.is_literal(), depth)
}

fn path_key(pattern: &Glob, depth: &mut Depth) -> u64 {
    let text = pattern.as_str().as_bytes();
    let certain = text.iter().position(is_wild).unwrap_or(text.len());
    let forwards = text[..certain].iter().copied();
    pattern_key((forwards, b'/'), pattern.is_literal(), depth)
}

fn lower_case<'b>(text: &[u8], room: &'b mut [u8; 256]) -> Option<&'b [u8]> {
    let out = room.get_mut(..text.len())?;
    out.copy_from_slice(text);
    out.make_ascii_lowercase();
    Some(out)
}

fn value_key(value: &[u8], any_case: bool) -> u64 {
    let mut lower = [0; 256];
    match any_case {
        true => lower_case(value, &mut lower).map_or(ANY, |value| key(EXACT, value)),
        false => key(EXACT, value),
    }
}

fn net_key(net: &IpNet) -> u64 {
    match net.network() {
        IpAddr::V4(address) => key(net.prefix_len(), &address.octets()),
        IpAddr::V6(address) => key(net.prefix_len(), &address.octets()),
    }
}

/// The first condition by whose values a rule can be told from others, with the keys of the values.
fn sorters(when: &[Condition]) -> Vec<(Sorter, u64)> {
    let usable = |patterns: &[Glob]| {
        patterns
            .iter()
            .all(|pattern| pattern.is_literal() && pattern.as_str().len() <= 256)
    };
    let keys = |sorter: Sorter, patterns: &[Glob]| {
        let key = |pattern: &Glob| (sorter.clone(), key(EXACT, pattern.as_str().as_bytes()));
        patterns.iter().map(key).collect::<Vec<_>>()
    };
    let of = |condition: &Condition| match condition {
        Condition::Header(name, patterns) if usable(patterns) => {
            Some(keys(Sorter::Header(name.clone()), patterns))
        }
        Condition::Query(name, patterns) if usable(patterns) => {
            Some(keys(Sorter::Query(name.clone()), patterns))
        }
        Condition::Cookie(name, patterns) if usable(patterns) => {
            Some(keys(Sorter::Cookie(name.clone()), patterns))
        }
        Condition::Source(set) => {
            let sorter = |net: &IpNet| Sorter::Source {
                v4: net.network().is_ipv4(),
                bits: net.prefix_len(),
            };
            Some(
                set.prefixes()
                    .iter()
                    .map(|net| (sorter(net), net_key(net)))
                    .collect(),
            )
        }
        Condition::Host(_)
        | Condition::Path(_)
        | Condition::Method(_)
        | Condition::Header(..)
        | Condition::Query(..)
        | Condition::Cookie(..)
        | Condition::PeerSource(_)
        | Condition::Sni(_)
        | Condition::Not(_) => None,
    };
    when.iter().find_map(of).unwrap_or_default()
}
