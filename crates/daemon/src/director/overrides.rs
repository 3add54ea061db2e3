//! Orders of operators that stand beside the file: kept over reload and restart of every process, until they are cleared.
//!
//! The director owns them. A thread keeps them on disk, the forwarder is told all of them before its first configuration and
//! at each change. An order is answered when both have confirmed it, or when waiting longer makes no sense; the answer says
//! which of them have not. An order for something that is not in the file stays, and holds when the thing is back.

mod book;
mod canary;
mod course;
mod names;
mod shown;
mod store;

use std::path::Path;
use std::time::{Duration, Instant};

use control::{ErrorAnswer, EventKind, OrderRequest, OrderResult, ShareStatus, Timestamp};
use tokio::sync::{mpsc, oneshot};

use self::book::{Away, Book, Entry, What};
use self::names::refuse;
use self::store::Store;
use super::journal::Entry as Line;
use super::maintenance::Outcome;
use super::plane::Taken;
use super::{Director, timestamp};

pub(super) use self::store::Kept;

/// How long an answer waits for the disk and the forwarder.
const CONFIRM_LIMIT: Duration = Duration::from_secs(4);
/// Between two tries to tell a forwarder whose queue is full.
const TELL_INTERVAL: Duration = Duration::from_millis(100);
/// The clock on the wall may be set: how often it is looked at while an order has an end.
const CLOCK_INTERVAL: Duration = Duration::from_secs(20);
/// Longest reason, in characters.
const WHY_LIMIT: usize = 200;
/// Longest time an order may be given, in seconds: ten years.
const FOR_LIMIT_S: u64 = 10 * 366 * 86_400;

/// Where an answer to an order goes.
pub(super) type Answer = oneshot::Sender<Result<Ordered, ErrorAnswer>>;

pub(super) struct Overrides {
    book: Book,
    /// The order for the node, as it is followed.
    node: Option<String>,
    store: Store,
    /// Of the latest change.
    number: u64,
    /// The latest change that the disk has confirmed, and why it refused a later one.
    kept: u64,
    disk_error: Option<String>,
    /// The latest change that this forwarder was told, and that it follows.
    told: u64,
    followed: u64,
    /// Why it does not follow the change of this number.
    plane_error: Option<(u64, String)>,
    tell_at: Option<Instant>,
    waiting: Vec<Waiting>,
    /// When the clock on the wall is looked at next.
    clock_at: Option<Instant>,
}

/// An answer that waits for the disk and the forwarder.
struct Waiting {
    number: u64,
    give_up_at: Instant,
    result: OrderResult,
    handover: Option<Outcome>,
    answer: Answer,
}

/// What became of an order.
pub(super) struct Ordered {
    pub(super) result: OrderResult,
    /// Where the outcome of a handover comes that it has begun.
    pub(super) handover: Option<Outcome>,
}

impl Overrides {
    /// Reads what was kept; what is wrong with it, in words.
    pub(super) fn open(state_dir: &Path, results: mpsc::Sender<Kept>) -> (Self, Option<String>) {
        let (book, broken) = store::read(state_dir);
        let overrides = Self {
            node: None,
            book,
            store: Store::new(state_dir, results),
            number: 1,
            kept: 1,
            disk_error: None,
            told: 0,
            followed: 0,
            plane_error: None,
            tell_at: None,
            waiting: Vec::new(),
            clock_at: Some(Instant::now()),
        };
        (overrides, broken)
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let answers = self.waiting.iter().map(|waiting| waiting.give_up_at).min();
        [answers, self.tell_at, self.clock_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_kept(&self, number: u64) -> bool {
        self.kept >= number
    }
}

impl Director {
    /// Takes an order, journals it, and passes it on.
    pub(super) fn on_order(
        &mut self,
        now: Instant,
        (order, by): (OrderRequest, String),
        answer: Answer,
    ) {
        match self.change_overrides(order, by) {
            Err(refusal) => drop(answer.send(Err(refusal))),
            Ok(result) => {
                let handover = self.follow_node(now);
                self.overrides.waiting.push(Waiting {
                    number: self.overrides.number,
                    give_up_at: now + CONFIRM_LIMIT,
                    result,
                    handover,
                    answer,
                });
                self.tell_overrides(now);
                self.answer_orders(now);
            }
        }
    }

    /// The change an order makes, or why it makes none.
    fn change_overrides(
        &mut self,
        order: OrderRequest,
        by: String,
    ) -> Result<OrderResult, ErrorAnswer> {
        match order {
            OrderRequest::Drain { target, for_s, why } => {
                let what = self.away(&target, Away::Drain)?;
                self.set_override(what, by, (for_s, why))
            }
            OrderRequest::Maint { target, for_s, why } => {
                let what = self.away(&target, Away::Maint)?;
                self.set_override(what, by, (for_s, why))
            }
            OrderRequest::Weight {
                target,
                weight,
                for_s,
                why,
            } => {
                let what = self.weight(&target, weight)?;
                self.set_override(what, by, (for_s, why))
            }
            OrderRequest::Split {
                rule,
                weights,
                for_s,
                why,
            } => {
                let (what, shares) = self.split(&rule, weights)?;
                let mut result = self.set_override(what, by, (for_s, why))?;
                result.shares = shares;
                Ok(result)
            }
            OrderRequest::Canary {
                rule,
                group,
                percent,
                for_s,
                why,
            } => {
                let weights = self.canary(&rule, group, percent)?;
                let (what, shares) = self.split(&rule, weights)?;
                let mut result = self.set_override(what, by, (for_s, why))?;
                result.shares = shares;
                Ok(result)
            }
            OrderRequest::Ready { target } => {
                let is_meant = |entry: &Entry| {
                    matches!(entry.what, What::Away { .. }) && entry.what.is_called(&target)
                };
                let known = names::target(&self.running.config, &target).map(drop);
                self.take_back(is_meant, known, "it was ready already", &by)
            }
            OrderRequest::Reset { subject } => {
                let is_meant = |entry: &Entry| {
                    matches!(entry.what, What::Weight { .. } | What::Split { .. })
                        && entry.what.is_called(&subject)
                };
                let target = names::target(&self.running.config, &subject).map(drop);
                let known =
                    target.or_else(|_| names::split(&self.running.config, &subject).map(drop));
                self.take_back(
                    is_meant,
                    known,
                    "it has the weight of the file already",
                    &by,
                )
            }
            OrderRequest::Node {
                maint: true,
                for_s,
                why,
            } => {
                if self.running.config.vrrp.is_empty() {
                    return refuse(
                        "this node has no virtual router".to_owned(),
                        "targets are taken out of service with `tandem maint GROUP/TARGET`",
                    );
                }
                self.set_override(What::Node, by, (for_s, why))
            }
            OrderRequest::Node { maint: false, .. } => {
                let is_meant = |entry: &Entry| entry.what == What::Node;
                self.take_back(is_meant, Ok(()), "it was not in maintenance", &by)
            }
            OrderRequest::Clear { subject: None } => {
                self.take_back(|_| true, Ok(()), "there was nothing to clear", &by)
            }
            OrderRequest::Clear {
                subject: Some(subject),
            } => {
                let nothing = refuse(
                    format!("nothing is ordered for `{subject}`"),
                    "`tandem overrides` lists what is",
                );
                let is_meant = |entry: &Entry| entry.what.is_called(&subject);
                self.take_back(is_meant, nothing, "", &by)
            }
        }
    }

    fn away(&self, target: &str, order: Away) -> Result<What, ErrorAnswer> {
        let (group, target) = names::target(&self.running.config, target)?;
        Ok(What::Away {
            group,
            target,
            order,
        })
    }

    fn weight(&self, target: &str, weight: u32) -> Result<What, ErrorAnswer> {
        let config = &self.running.config;
        let (group, target) = names::target(config, target)?;
        check_weight(weight)?;
        let mut weighed = names::group_of(config, &group).cloned();
        let points = weighed.as_mut().map_or(0, |group| {
            let named = group
                .targets
                .iter_mut()
                .filter(|known| known.name == target);
            named.for_each(|target| target.weight = weight);
            group.ring_points()
        });
        if points > balancer::Ring::MAX_POINTS {
            let error = format!("the ring of group {group} would have {points} points");
            return refuse(error, "give it less weight, or the group fewer vnodes");
        }
        Ok(What::Weight {
            group,
            target,
            weight,
        })
    }

    /// The weights of a rule with those that are named changed, and all of them as they then are.
    fn split(
        &self,
        rule: &str,
        weights: std::collections::BTreeMap<String, u32>,
    ) -> Result<(What, Vec<ShareStatus>), ErrorAnswer> {
        let found = names::split(&self.running.config, rule)?;
        for (group, weight) in &weights {
            check_weight(*weight)?;
            if !found.shares.iter().any(|(known, _)| known == group) {
                let known: Vec<&str> = found.shares.iter().map(|(group, _)| &**group).collect();
                return refuse(
                    format!("rule {rule} does not share with a group `{group}`"),
                    format!("its groups are {}", known.join(", ")),
                );
            }
        }
        let mut what = What::Split {
            listener: found.listener.to_owned(),
            rule: found.rule.map(str::to_owned),
            weights,
        };
        // Commands add up: what an earlier one said of other groups stays.
        let before = self.overrides.book.get(&what.key());
        if let (What::Split { weights, .. }, Some(before)) = (&mut what, before)
            && let What::Split { weights: old, .. } = &before.what
        {
            for (group, weight) in old {
                weights.entry(group.clone()).or_insert(*weight);
            }
        }
        let What::Split { weights, .. } = &what else {
            return refuse("this is no split".to_owned(), "name a rule");
        };
        let Some(shares) = balancer::overrides::weighed(found.shares, weights) else {
            return refuse(
                format!("rule {rule} would be left without any group"),
                "give one of its groups a weight above 0",
            );
        };
        let share = |(group, weight)| ShareStatus { group, weight };
        Ok((what, shares.into_iter().map(share).collect()))
    }

    /// The weights of a rule by which one of its groups has so many percent.
    fn canary(
        &self,
        rule: &str,
        group: String,
        percent: u32,
    ) -> Result<std::collections::BTreeMap<String, u32>, ErrorAnswer> {
        if percent > 100 {
            return refuse(
                format!("{percent} percent are more than there is"),
                "0 to 100",
            );
        }
        let file = names::split(&self.running.config, rule)?.shares;
        if !file.iter().any(|(known, _)| *known == group) {
            // Refused in the words for a weight of a group that is not there.
            return Ok([(group, percent)].into());
        }
        let (_, now) = self.split(rule, std::collections::BTreeMap::new())?;
        let now: Vec<_> = (now.into_iter())
            .map(|share| (share.group, share.weight))
            .collect();
        Ok(canary::weights(file, &now, &group, percent))
    }

    fn set_override(
        &mut self,
        what: What,
        by: String,
        (for_s, why): (Option<u64>, Option<String>),
    ) -> Result<OrderResult, ErrorAnswer> {
        let at = timestamp();
        let entry = Entry {
            until: for_s.map(|seconds| end(at, seconds)).transpose()?,
            why: why.map(reason).transpose()?.flatten(),
            what,
            by,
            at,
        };
        let before = self.overrides.book.get(&entry.what.key()).cloned();
        if !self.overrides.book.set(entry.clone()) {
            return refuse(
                format!("there are {} orders already", book::LIMIT),
                "clear some: `tandem overrides` lists them",
            );
        }
        self.note_order(&entry, &shown::ordered(&entry));
        self.keep_overrides();
        let cleared = before.filter(|before| before.what != entry.what);
        Ok(OrderResult {
            set: Some(self.shown(&entry)),
            cleared: cleared.iter().map(|before| self.shown(before)).collect(),
            notes: match entry.what {
                What::Node => Vec::new(),
                What::Away { .. } | What::Weight { .. } | What::Split { .. } => self.other_nodes(),
            },
            ..OrderResult::default()
        })
    }

    /// Takes orders back; `known` is the answer if there are none, with `already` as what is to be said if it is good.
    fn take_back(
        &mut self,
        is_meant: impl Fn(&Entry) -> bool,
        known: Result<(), ErrorAnswer>,
        already: &str,
        by: &str,
    ) -> Result<OrderResult, ErrorAnswer> {
        let taken = self.overrides.book.take(is_meant);
        if taken.is_empty() {
            known?;
            return Ok(OrderResult {
                notes: vec![already.to_owned()],
                ..OrderResult::default()
            });
        }
        for entry in &taken {
            let words = format!("cleared by {by}; it was {}", shown::ordered(entry));
            self.note_order(entry, &words);
        }
        self.keep_overrides();
        Ok(OrderResult {
            cleared: taken.iter().map(|entry| self.shown(entry)).collect(),
            ..OrderResult::default()
        })
    }

    /// Orders are those of one node: who runs a pair should not forget the other.
    fn other_nodes(&self) -> Vec<String> {
        let others = self
            .running
            .config
            .pair
            .iter()
            .flat_map(|pair| pair.others());
        others
            .map(|node| format!("this node only: {} has orders of its own", node.name))
            .collect()
    }

    fn note_order(&mut self, entry: &Entry, words: &str) {
        let subject = shown::subject(&entry.what);
        self.journal
            .record(Line::new(EventKind::Order, subject, words));
    }
}

fn check_weight(weight: u32) -> Result<(), ErrorAnswer> {
    let most = balancer::TargetSettings::MAX_WEIGHT;
    match weight > most {
        true => refuse(
            format!("weight {weight} is too large"),
            format!("give 0 to {most}"),
        ),
        false => Ok(()),
    }
}

/// When an order ends that was given at `at` for so many seconds.
fn end(at: Timestamp, seconds: u64) -> Result<Timestamp, ErrorAnswer> {
    if seconds == 0 || seconds > FOR_LIMIT_S {
        return refuse(
            format!("an order for {seconds} s makes no sense"),
            "give a time above zero and below ten years, or none",
        );
    }
    let length = i64::try_from(seconds * 1000).unwrap_or(i64::MAX);
    Ok(Timestamp::from_millis(
        at.as_millis().saturating_add(length),
    ))
}

/// A reason as it is kept: without blanks around it, none if nothing is left.
fn reason(why: String) -> Result<Option<String>, ErrorAnswer> {
    let why = why.trim();
    if why.chars().count() > WHY_LIMIT {
        return refuse(
            format!("the reason is longer than {WHY_LIMIT} characters"),
            "say it shorter",
        );
    }
    Ok((!why.is_empty()).then(|| why.to_owned()))
}

/// How long it is until `until`, at least a millisecond.
fn today_to(today: Timestamp, until: Timestamp) -> Duration {
    today.age(until).max(Duration::from_millis(1))
}
