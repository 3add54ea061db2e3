//! Several groups by weight: canaries, blue and green.

use std::sync::Arc;
use std::time::Instant;

use crate::group::Group;
use crate::settings::OnAllDown;
use crate::sticky::GroupMark;

/// Groups that share the requests of a rule or listener.
#[derive(Debug)]
pub struct Split {
    shares: Vec<Share>,
}

/// One group and its part.
#[derive(Debug)]
pub struct Share {
    /// The group.
    pub group: Arc<Group>,
    /// Its part in relation to the others; 0 gets nothing that is not bound to it.
    pub weight: u32,
}

impl Split {
    pub(crate) fn new(shares: Vec<Share>) -> Self {
        Self { shares }
    }

    /// The groups, in the order of the file.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// The group a client is bound to, if it is one of these and can serve, or if none of them can.
    pub fn bound(&self, now: Instant, mark: GroupMark) -> Option<&Arc<Group>> {
        let bound = self
            .shares
            .iter()
            .find(|share| share.group.mark() == mark)?;
        let can_serve = |share: &Share| share.group.usable(now) > 0;
        let stays = can_serve(bound) || !self.shares.iter().any(can_serve);
        stays.then_some(&bound.group)
    }

    /// One group, drawn by weight among those that can serve. If none can, among those that try all the same; if there is
    /// none of these either, among all, so that the answer is the same as without a split.
    pub fn draw(&self, now: Instant, random: u64) -> Option<&Arc<Group>> {
        let tries = |group: &Group| group.settings().on_all_down == OnAllDown::Try;
        self.draw_among(random, |group| group.usable(now) > 0)
            .or_else(|| self.draw_among(random, tries))
            .or_else(|| self.draw_among(random, |_| true))
    }

    /// The weights as they count at this moment: 0 for a group that is left out.
    pub fn effective_weights(&self, now: Instant) -> Vec<u32> {
        let any = self
            .shares
            .iter()
            .any(|share| share.weight > 0 && share.group.usable(now) > 0);
        let counts = |share: &Share| !any || share.group.usable(now) > 0;
        self.shares
            .iter()
            .map(|share| if counts(share) { share.weight } else { 0 })
            .collect()
    }

    fn draw_among(&self, random: u64, wanted: impl Fn(&Group) -> bool) -> Option<&Arc<Group>> {
        let candidates = || {
            self.shares
                .iter()
                .filter(|share| share.weight > 0 && wanted(&share.group))
        };
        let total: u64 = candidates().map(|share| u64::from(share.weight)).sum();
        let place = (u128::from(random) * u128::from(total)) >> 64;
        let mut left = u64::try_from(place).unwrap_or(u64::MAX);
        let mut last = None;
        for share in candidates() {
            let weight = u64::from(share.weight);
            if left < weight {
                return Some(&share.group);
            }
            left -= weight;
            last = Some(&share.group);
        }
        last // one before it has become unusable in between
    }
}

#[cfg(test)]
mod tests;
