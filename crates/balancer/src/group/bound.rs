//! Picks the target a client is bound to, if that can serve it.
//!
//! Bound clients are kept longer than others are sent: a target that drains, or has weight 0, keeps those it has. A target
//! that is down, taken out by live traffic or in maintenance loses them.

use std::sync::Arc;
use std::time::Instant;

use super::{Group, Lease, Standing};
use crate::sticky::{BindingCounts, GroupMark, TargetMark};
use crate::target::{Health, Order, Target, TargetId};

/// What came of asking for the target a client is bound to.
#[derive(Debug)]
pub enum BoundPick {
    /// It has a place.
    Leased(Lease),
    /// It could serve, but has as much to do as it may have, or others wait for a place.
    Full,
    /// It is not there any more, or cannot serve.
    Gone,
}

/// Targets by their mark.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<(TargetMark, TargetId)>);

impl Marks {
    /// In ascending order; empty for a group that binds nobody.
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let marks = names.zip(0..);
        let mut marks: Vec<_> = marks
            .map(|(name, id)| (TargetMark::of(name), TargetId(id)))
            .collect();
        marks.sort_unstable();
        Self(marks)
    }

    fn find(&self, mark: TargetMark) -> Option<TargetId> {
        let at = self.0.partition_point(|(other, _)| *other < mark);
        let (found, id) = self.0.get(at)?;
        (*found == mark).then_some(*id)
    }
}

impl Group {
    /// How a client of another node, or of another plan, is bound to this group.
    pub fn mark(&self) -> GroupMark {
        self.mark
    }

    /// How often clients met what they are bound to.
    pub fn bindings(&self) -> &BindingCounts {
        &self.bindings
    }

    /// Picks the target with this mark, if the group binds clients and it can serve one that is bound to it.
    pub fn pick_bound(
        &self,
        now: Instant,
        random: u64,
        mark: TargetMark,
        exclude: &[TargetId],
    ) -> BoundPick {
        let bound = self.bound(mark);
        let Some(target) = bound.filter(|target| self.keeps(target, now, exclude)) else {
            return BoundPick::Gone;
        };
        if self.settings.limits.per_target.is_some() && self.guard.queue.waiting() > 0 {
            return BoundPick::Full;
        }
        match self.lease(target, now, random) {
            Some(lease) => BoundPick::Leased(lease),
            None => BoundPick::Full,
        }
    }

    /// The target with this mark, whether or not it can serve.
    pub fn bound(&self, mark: TargetMark) -> Option<&Arc<Target>> {
        self.targets.get(self.marks.find(mark)?.index())
    }

    pub(super) fn is_down(&self, target: &Target) -> bool {
        self.settings.health.check.is_on() && target.state.health() == Health::Down
    }

    /// Whether the target serves those that are bound to it.
    pub(super) fn keeps(&self, target: &Target, now: Instant, exclude: &[TargetId]) -> bool {
        let state = &target.state;
        let ordered_away = match state.order() {
            Order::Ready => false,
            // When its time is up, what it serves is cut: nothing more is begun there.
            Order::Drain => state.leave_at().is_some_and(|at| at <= now),
            Order::Maint => true,
        };
        if ordered_away || exclude.contains(&target.id) {
            return false;
        }
        let down = self.is_down(target);
        let out = self.guard.outlier.is_some() && !state.passive.may_be_used(now);
        if !down && !out {
            return true;
        }
        // Where nobody is better, and the group tries all the same, everybody stays.
        let standing = self.standing(target, now);
        standing >= Some(Standing::Ejected) && standing == self.best_standing(now, exclude)
    }
}
