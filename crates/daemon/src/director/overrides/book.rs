//! What stands ordered, as values: one entry for each thing and sort of order. Pure; the time is an argument.

use std::collections::BTreeMap;

use control::Timestamp;
use control::internal::overrides::{Overrides, SplitWeights, TargetOrder, TargetWeight};
use control::{Order, OverrideKind};
use serde::{Deserialize, Serialize};

/// Orders that may stand at once.
pub(super) const LIMIT: usize = 1000;
/// The form of the file.
const VERSION: u32 = 1;

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum What {
    /// The node is in maintenance.
    Node,
    /// A target is ordered away.
    Away {
        group: String,
        target: String,
        order: Away,
    },
    /// A target has another weight.
    Weight {
        group: String,
        target: String,
        weight: u32,
    },
    /// Groups of a rule, or of what no rule of the listener matches, have other weights.
    Split {
        listener: String,
        rule: Option<String>,
        weights: BTreeMap<String, u32>,
    },
}

/// How a target is ordered away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Away {
    Drain,
    Maint,
}

/// What an entry is about: another order for the same replaces it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Node,
    Away(String, String),
    Weight(String, String),
    Split(String, Option<String>),
}

/// One order with its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) what: What,
    pub(super) by: String,
    pub(super) at: Timestamp,
    #[serde(default)]
    pub(super) until: Option<Timestamp>,
    #[serde(default)]
    pub(super) why: Option<String>,
}

impl What {
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Node => Key::Node,
            Self::Away { group, target, .. } => Key::Away(group.clone(), target.clone()),
            Self::Weight { group, target, .. } => Key::Weight(group.clone(), target.clone()),
            Self::Split { listener, rule, .. } => Key::Split(listener.clone(), rule.clone()),
        }
    }

    /// What it is about, as it is shown and as it can be cleared: `node`, `app/10.0.0.1:80`, `web/site`, `web`.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Node => "node".to_owned(),
            Self::Away { group, target, .. } | Self::Weight { group, target, .. } => {
                format!("{group}/{target}")
            }
            Self::Split { listener, rule, .. } => match rule {
                Some(rule) => format!("{listener}/{rule}"),
                None => listener.clone(),
            },
        }
    }

    /// Whether `text` means this: its subject, or a rule by its name alone.
    pub(super) fn is_called(&self, text: &str) -> bool {
        let by_rule = matches!(self, Self::Split { rule: Some(rule), .. } if rule == text);
        by_rule || self.subject() == text
    }

    /// `drain`, `weight 5`, `web-v2=25`.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Node => "maint".to_owned(),
            Self::Away { order, .. } => match order {
                Away::Drain => "drain".to_owned(),
                Away::Maint => "maint".to_owned(),
            },
            Self::Weight { weight, .. } => format!("weight {weight}"),
            Self::Split { weights, .. } => {
                let words = weights
                    .iter()
                    .map(|(group, weight)| format!("{group}={weight}"));
                words.collect::<Vec<_>>().join(" ")
            }
        }
    }

    pub(super) fn kind(&self) -> OverrideKind {
        match self {
            Self::Node => OverrideKind::Node,
            Self::Away { order, .. } => match order {
                Away::Drain => OverrideKind::Drain,
                Away::Maint => OverrideKind::Maint,
            },
            Self::Weight { .. } => OverrideKind::Weight,
            Self::Split { .. } => OverrideKind::Split,
        }
    }
}

impl Entry {
    fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Everything that stands ordered.
#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<Key, Entry>);

/// The file.
#[derive(Serialize, Deserialize)]
struct File<E> {
    version: u32,
    overrides: Vec<E>,
}

impl Book {
    /// Adds an entry or replaces the one for the same; false if there are [`LIMIT`] others.
    pub(super) fn set(&mut self, entry: Entry) -> bool {
        let key = entry.what.key();
        if self.0.len() >= LIMIT && !self.0.contains_key(&key) {
            return false;
        }
        self.0.insert(key, entry);
        true
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.0.get(key)
    }

    /// Removes the entries of which `is_meant` is true.
    pub(super) fn take(&mut self, is_meant: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut taken = Vec::new();
        self.0.retain(|_, entry| {
            let meant = is_meant(entry);
            taken.extend(meant.then(|| entry.clone()));
            !meant
        });
        taken
    }

    /// Removes those whose time is over.
    pub(super) fn take_ended(&mut self, now: Timestamp) -> Vec<Entry> {
        self.take(|entry| entry.has_ended(now))
    }

    /// When the first of them ends by itself.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        self.0.values().filter_map(|entry| entry.until).min()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// What the forwarder has to know.
    pub(super) fn message(&self, number: u64, now: Timestamp) -> Overrides {
        let mut message = Overrides {
            number,
            ..Overrides::default()
        };
        for entry in self.iter().cloned() {
            match entry.what {
                What::Node => {}
                What::Away {
                    group,
                    target,
                    order,
                } => message.orders.push(TargetOrder {
                    group,
                    target,
                    order: match order {
                        Away::Drain => Order::Drain,
                        Away::Maint => Order::Maint,
                    },
                    age_ms: u64::try_from(entry.at.age(now).as_millis()).unwrap_or(u64::MAX),
                }),
                What::Weight {
                    group,
                    target,
                    weight,
                } => message.weights.push(TargetWeight {
                    group,
                    target,
                    weight,
                }),
                What::Split {
                    listener,
                    rule,
                    weights,
                } => message.splits.push(SplitWeights {
                    listener,
                    rule,
                    weights,
                }),
            }
        }
        message
    }

    /// As the file holds it.
    pub(super) fn to_text(&self) -> String {
        let file = File {
            version: VERSION,
            overrides: self.iter().collect(),
        };
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the text of a file; entries that are not understood are left out and counted. An error if it is no such
    /// file at all.
    pub(super) fn from_text(text: &str) -> Result<(Book, usize), String> {
        let file: File<serde_json::Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        if file.version != VERSION {
            return Err(format!("it has version {}", file.version));
        }
        let mut book = Book::default();
        let mut left_out = 0;
        for entry in file.overrides {
            let taken = serde_json::from_value(entry).is_ok_and(|entry| book.set(entry));
            left_out += usize::from(!taken);
        }
        Ok((book, left_out))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn entry(what: What, until: Option<i64>) -> Entry {
        Entry {
            what,
            by: "alice".to_owned(),
            at: at(100),
            until: until.map(at),
            why: Some("disk \"swap\"".to_owned()),
        }
    }

    fn away(target: &str, order: Away) -> What {
        What::Away {
            group: "app".to_owned(),
            target: target.to_owned(),
            order,
        }
    }

    fn weight(target: &str, weight: u32) -> What {
        What::Weight {
            group: "app".to_owned(),
            target: target.to_owned(),
            weight,
        }
    }

    fn split(rule: Option<&str>) -> What {
        What::Split {
            listener: "web".to_owned(),
            rule: rule.map(str::to_owned),
            weights: BTreeMap::from([("v1".to_owned(), 75), ("v2".to_owned(), 25)]),
        }
    }

    #[test]
    fn one_order_for_a_thing_replaces_another_of_its_sort_alone() {
        let mut book = Book::default();
        assert!(book.set(entry(away("a", Away::Drain), None)));
        assert!(book.set(entry(weight("a", 5), None)));
        assert!(book.set(entry(away("a", Away::Maint), None)));
        assert!(book.set(entry(split(Some("site")), None)));
        assert!(book.set(entry(split(None), None)));
        let words: Vec<String> = book
            .iter()
            .map(|entry| format!("{} {}", entry.what.subject(), entry.what.words()))
            .collect();
        assert_eq!(
            words,
            [
                "app/a maint",
                "app/a weight 5",
                "web v1=75 v2=25",
                "web/site v1=75 v2=25"
            ]
        );
        let taken = book.take(|entry| entry.what.is_called("app/a"));
        assert_eq!((taken.len(), book.iter().count()), (2, 2));
        let taken = book.take(|entry| entry.what.is_called("site"));
        assert_eq!(taken[0].what, split(Some("site")));
    }

    #[test]
    fn an_order_ends_when_its_time_is_over() {
        let mut book = Book::default();
        book.set(entry(away("a", Away::Drain), Some(200)));
        book.set(entry(away("b", Away::Drain), Some(150)));
        book.set(entry(away("c", Away::Drain), None));
        assert_eq!(book.ends_at(), Some(at(150)));
        assert!(book.take_ended(at(149)).is_empty());
        assert_eq!(book.take_ended(at(150))[0].what, away("b", Away::Drain));
        assert_eq!(book.ends_at(), Some(at(200)));
        assert_eq!(book.take_ended(at(10_000)).len(), 1);
        assert_eq!(book.ends_at(), None);
    }

    #[test]
    fn the_file_gives_back_what_was_written() {
        let mut book = Book::default();
        book.set(entry(away("a", Away::Drain), Some(200)));
        book.set(entry(weight("a", 0), None));
        book.set(entry(What::Node, None));
        book.set(entry(split(Some("site")), None));
        book.set(entry(split(None), None));
        let (read, left_out) = Book::from_text(&book.to_text()).unwrap();
        assert_eq!(left_out, 0);
        assert!(read.iter().eq(book.iter()));
    }

    #[test]
    fn what_is_not_understood_is_left_out_and_a_file_of_another_kind_is_refused() {
        let mut book = Book::default();
        book.set(entry(away("a", Away::Drain), None));
        let text = book.to_text().replace(
            "\"overrides\": [",
            "\"overrides\": [{\"kind\": \"of_tomorrow\", \"by\": \"x\"}, 7,",
        );
        let (read, left_out) = Book::from_text(&text).unwrap();
        assert_eq!((read.iter().count(), left_out), (1, 2));
        for broken in ["", "[]", "{", "{\"version\": 2, \"overrides\": []}", "\0"] {
            assert!(Book::from_text(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn there_are_not_more_than_may_be() {
        let mut book = Book::default();
        for number in 0..LIMIT {
            assert!(book.set(entry(away(&number.to_string(), Away::Drain), None)));
        }
        assert!(!book.set(entry(away("more", Away::Drain), None)));
        assert!(book.set(entry(away("7", Away::Maint), None)), "a change");
        let (read, left_out) = Book::from_text(&book.to_text()).unwrap();
        assert_eq!((read.iter().count(), left_out), (LIMIT, 0));
    }

    #[test]
    fn the_forwarder_is_told_ages_instead_of_times() {
        let mut book = Book::default();
        book.set(entry(away("a", Away::Maint), None));
        book.set(entry(weight("b", 3), None));
        book.set(entry(split(None), None));
        let message = book.message(7, at(160));
        assert_eq!(message.number, 7);
        assert_eq!(
            message.orders,
            [TargetOrder {
                group: "app".to_owned(),
                target: "a".to_owned(),
                order: Order::Maint,
                age_ms: 60_000
            }]
        );
        assert_eq!((message.weights.len(), message.splits.len()), (1, 1));
        assert_eq!(
            book.message(7, at(0)).orders[0].age_ms,
            0,
            "a clock set back"
        );
    }
}
