//! The terms the states reckon with: how long, to whom, whether to preempt. They follow from settings and peers.

use std::time::Duration;

use super::VirtualRouter;
use super::phase::LISTEN_INTERVALS;
use crate::action::Action;
use crate::timing;
use crate::types::{Family, Interval, Preempt, Priority};
use crate::wire::Advertisement;

impl VirtualRouter {
    /// The advertisement of one family, if that family can speak.
    pub(super) fn advertisement(
        &self,
        family: Family,
        priority: Priority,
    ) -> Option<Advertisement> {
        let source = (*self.sources.of(family))?;
        if !self.speaks(family) {
            return None;
        }
        Some(Advertisement {
            family,
            vrid: self.settings.vrid,
            version: self.settings.version,
            priority,
            interval: self.settings.advert_interval,
            source,
            destinations: self.settings.destinations(family),
            addresses: self.settings.wire_list(family),
            checksum: self.checksum,
            password: self.settings.password.clone(),
        })
    }

    pub(super) fn send(&self, priority: Priority, out: &mut Vec<Action>) {
        let families = Family::ALL.into_iter();
        out.extend(
            families
                .filter_map(|family| self.advertisement(family, priority))
                .map(Action::Send),
        );
    }

    /// Whether the configuration has this family speak: it has addresses and somebody to speak to.
    pub(super) fn speaks(&self, family: Family) -> bool {
        self.settings.has_family(family) && !self.settings.destinations(family).is_empty()
    }

    pub(super) fn own_interval(&self) -> Duration {
        self.settings.advert_interval.as_duration()
    }

    /// Active_Adver_Interval: what was learned, or our own (RFC 9568 §6.1).
    pub(super) fn governing_interval(&self) -> Interval {
        self.peers
            .learned()
            .unwrap_or(self.settings.advert_interval)
    }

    pub(super) fn skew_time(&self) -> Duration {
        timing::skew_time(
            self.settings.version,
            self.priority,
            self.governing_interval(),
        )
    }

    pub(super) fn down_interval(&self) -> Duration {
        self.down_interval_for(self.governing_interval())
    }

    pub(super) fn down_interval_for(&self, interval: Interval) -> Duration {
        timing::down_interval(self.settings.version, self.priority, interval)
    }

    /// How long to listen before asserting again: long enough to hear a peer whose interval is known.
    pub(super) fn listen_time(&self) -> Duration {
        let slowest = self
            .peers
            .slowest_interval()
            .map_or(Duration::ZERO, Interval::as_duration);
        self.own_interval().max(slowest) * LISTEN_INTERVALS
    }

    /// Preempt as it stands: never once handed over, always for an owner.
    pub(super) fn preempt(&self) -> Preempt {
        if self.held_back.is_some() {
            Preempt::Never
        } else if self.priority.is_owner() {
            Preempt::Immediately
        } else {
            self.settings.preempt
        }
    }

    pub(super) fn preempt_delay(&self) -> Option<Duration> {
        match self.preempt() {
            Preempt::After(delay) => Some(delay),
            Preempt::Immediately | Preempt::Never => None,
        }
    }
}
