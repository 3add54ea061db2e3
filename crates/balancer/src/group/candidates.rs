//! What the group says about each of its targets, for whoever asks why.

use std::sync::Arc;
use std::time::Instant;

use super::pick::Candidates;
use super::{Group, Standing};
use crate::explain::{Candidate, Chance};
use crate::key::PickKey;
use crate::sticky::TargetMark;
use crate::target::{Order, Target};

impl Group {
    /// Each target with its chance to be picked, in the order of the file.
    pub fn candidates(&self, now: Instant) -> Vec<Candidate<'_>> {
        let best = self.best_standing(now, &[]);
        let targets = self.targets.iter().map(|target| {
            let (chance, why) = self.chance(target, best, now);
            Candidate {
                target,
                chance,
                why,
            }
        });
        targets.collect()
    }

    /// The target that owns a key, in a group that hashes.
    pub fn owner(&self, now: Instant, key: PickKey) -> Option<&Arc<Target>> {
        let candidates = Candidates {
            group: self,
            standing: self.best_standing(now, &[])?,
            exclude: &[],
            now,
        };
        candidates.owner(key)
    }

    /// Whether a client with this mark would be kept.
    pub fn keeps_bound(&self, now: Instant, mark: TargetMark) -> bool {
        let bound = self.bound(mark);
        bound.is_some_and(|target| self.keeps(target, now, &[]))
    }

    fn chance(
        &self,
        target: &Target,
        best: Option<Standing>,
        now: Instant,
    ) -> (Chance, &'static str) {
        let binds = self.settings.sticky.is_some() && self.keeps(target, now, &[]);
        let stays = if binds {
            Chance::BoundOnly
        } else {
            Chance::Never
        };
        match (target.state.order(), self.standing(target, now)) {
            (Order::Drain, _) => (stays, "ordered to drain"),
            (Order::Maint, _) => (Chance::Never, "in maintenance"),
            (Order::Ready, None) if target.settings.weight == 0 => (stays, "weight 0"),
            (Order::Ready, None) if self.is_down(target) => (Chance::Never, "check fails"),
            (Order::Ready, None) => (Chance::Never, "ejected"),
            (Order::Ready, Some(standing)) => {
                let why = words(standing);
                let chance = match Some(standing) == best {
                    false => Chance::Later,
                    true if target.state.is_full(self.limit(target, now)) => Chance::Full,
                    true => Chance::Candidate,
                };
                (chance, why)
            }
        }
    }
}

fn words(standing: Standing) -> &'static str {
    match standing {
        Standing::Healthy => "healthy",
        Standing::Unknown => "not checked yet",
        Standing::BackupHealthy => "backup, healthy",
        Standing::BackupUnknown => "backup, not checked yet",
        Standing::Ejected => "ejected",
        Standing::Failing => "check fails",
        Standing::BackupFailing => "backup, check fails",
        Standing::Hopeless => "check and requests fail",
    }
}
