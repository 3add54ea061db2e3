//! What operators have ordered while the node runs. It stands beside the settings of the file, changes what a plan is
//! built of, and is not touched by a reload.
//!
//! An override of something that does not exist does nothing, and begins to count when it does. One that would leave a
//! rule without any group, or a ring with too many points, does nothing either: the settings of the file hold there.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::ring::Ring;
use crate::settings::{GroupSettings, ListenerSettings, RuleAction, TargetSettings};
use crate::target::Order;

/// Orders and weights that differ from the file.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Overrides {
    orders: BTreeMap<(String, String), (Order, Instant)>,
    weights: BTreeMap<(String, String), u32>,
    splits: BTreeMap<(String, Option<String>), BTreeMap<String, u32>>,
}

impl Overrides {
    /// Orders a target to drain or to rest, as of `since`; `Ready` takes an order back.
    pub fn order(&mut self, group: &str, target: &str, order: Order, since: Instant) {
        let name = (group.to_owned(), target.to_owned());
        match order {
            Order::Ready => drop(self.orders.remove(&name)),
            Order::Drain | Order::Maint => drop(self.orders.insert(name, (order, since))),
        }
    }

    /// Gives a target another weight than the file does; above [`TargetSettings::MAX_WEIGHT`] it is that.
    pub fn weigh(&mut self, group: &str, target: &str, weight: u32) {
        let name = (group.to_owned(), target.to_owned());
        self.weights
            .insert(name, weight.min(TargetSettings::MAX_WEIGHT));
    }

    /// Gives groups of a rule (`None`: of the listener's own action) other weights than the file does. Groups that are
    /// not named keep theirs.
    pub fn split(&mut self, listener: &str, rule: Option<&str>, weights: BTreeMap<String, u32>) {
        let name = (listener.to_owned(), rule.map(str::to_owned));
        self.splits.insert(name, weights);
    }

    /// What is ordered for a target and since when; `None` if it takes part.
    pub fn ordered(&self, group: &str, target: &str) -> Option<(Order, Instant)> {
        let name = (group.to_owned(), target.to_owned());
        self.orders.get(&name).copied()
    }

    /// Changes the weights of settings from what the file says to what was ordered.
    pub fn apply_to(&self, listeners: &mut [ListenerSettings], groups: &mut [GroupSettings]) {
        if !self.weights.is_empty() {
            groups.iter_mut().for_each(|group| self.weigh_group(group));
        }
        if self.splits.is_empty() {
            return;
        }
        for listener in listeners {
            self.weigh_action(&listener.name, None, &mut listener.default);
            for rule in &mut listener.rules {
                self.weigh_action(&listener.name, Some(&rule.name), &mut rule.action);
            }
        }
    }

    fn weigh_group(&self, group: &mut GroupSettings) {
        let of_file: Vec<u32> = group.targets.iter().map(|target| target.weight).collect();
        for target in &mut group.targets {
            let name = (group.name.clone(), target.name.clone());
            if let Some(weight) = self.weights.get(&name) {
                target.weight = *weight;
            }
        }
        if group.ring_points() > Ring::MAX_POINTS {
            for (target, weight) in group.targets.iter_mut().zip(of_file) {
                target.weight = weight;
            }
        }
    }

    fn weigh_action(&self, listener: &str, rule: Option<&str>, action: &mut RuleAction) {
        let RuleAction::Split(shares) = action else {
            return;
        };
        let name = (listener.to_owned(), rule.map(str::to_owned));
        if let Some(weights) = self.splits.get(&name) {
            *shares = weighed(shares, weights).unwrap_or_else(|| std::mem::take(shares));
        }
    }
}

/// The shares of a split with other weights for the groups that are named; `None` if nobody would be left.
pub fn weighed(
    shares: &[(String, u32)],
    weights: &BTreeMap<String, u32>,
) -> Option<Vec<(String, u32)>> {
    let weigh = |(group, weight): &(String, u32)| {
        let ordered = weights.get(group).copied();
        (group.clone(), ordered.unwrap_or(*weight))
    };
    let shares: Vec<(String, u32)> = shares.iter().map(weigh).collect();
    shares
        .iter()
        .any(|(_, weight)| *weight > 0)
        .then_some(shares)
}

#[cfg(test)]
mod tests;
