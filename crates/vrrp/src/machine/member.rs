//! One member of a decision: a configured virtual router with its own wire, its own peers and its own times.
//!
//! A decision has one member, or as many as share a `group`. What concerns one interface is kept here, what is decided
//! is decided for all of them in `machine`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::peers::{Alarms, Peers};
use crate::action::{Action, FaultReason};
use crate::settings::Settings;
use crate::timing;
use crate::types::{ChecksumForm, ChecksumPolicy, Family, Interval, PerFamily, Priority};
use crate::wire::Advertisement;

/// Tells the members of a decision apart. The caller chooses it and may use it once only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MemberId(pub u64);

/// An action and the member it is for; without one it is for every member.
#[derive(Clone, PartialEq, Debug)]
pub struct Directive {
    /// Whom it concerns.
    pub member: Option<MemberId>,
    /// What to do.
    pub action: Action,
}

/// Directives as they come, in order.
#[derive(Default)]
pub(super) struct Out(Vec<Directive>);

impl Out {
    /// For every member.
    pub(super) fn push(&mut self, action: Action) {
        self.0.push(Directive {
            member: None,
            action,
        });
    }

    /// For one member.
    pub(super) fn push_for(&mut self, member: MemberId, action: Action) {
        self.0.push(Directive {
            member: Some(member),
            action,
        });
    }

    pub(super) fn into_directives(self) -> Vec<Directive> {
        self.0
    }
}

/// One family on the wire of one member: where a router is heard or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Leg {
    pub(super) member: MemberId,
    pub(super) family: Family,
}

/// By id. Boxed: a node of the map has room for eleven, and most decisions have one member.
pub(super) type Members = BTreeMap<MemberId, Box<Member>>;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) settings: Settings,
    /// After tracking; the group has the lowest of its members'.
    pub(super) priority: Priority,
    pub(super) sources: PerFamily<Option<IpAddr>>,
    pub(super) tracked_fault: Option<FaultReason>,
    pub(super) peers: Peers,
    pub(super) alarms: Alarms,
    pub(super) checksum: ChecksumForm,
    /// Whether the kernel has confirmed the addresses of the latest claim.
    pub(super) confirmed: bool,
    /// The interval that is announced in place of the one that is kept.
    pub(super) pause: Option<Interval>,
}

impl Member {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            sources: PerFamily::default(),
            tracked_fault: None,
            peers: Peers::default(),
            alarms: Alarms::default(),
            checksum: first_form(settings.checksum),
            confirmed: false,
            pause: None,
            priority: settings.priority,
            settings,
        }
    }

    /// Takes over settings; what follows from them alone follows.
    pub(super) fn adopt(&mut self, settings: Settings) {
        if !self.settings.same_election(&settings) {
            self.peers = Peers::default();
        }
        if self.settings.checksum != settings.checksum {
            self.checksum = first_form(settings.checksum);
        }
        // Where tracking says nothing, the base is the effective priority.
        if self.priority == self.settings.priority {
            self.priority = settings.priority;
        }
        self.settings = settings;
    }

    /// Whether the configuration has this family speak: it has addresses and somebody to speak to.
    pub(super) fn speaks(&self, family: Family) -> bool {
        self.settings.has_family(family) && !self.settings.destinations(family).is_empty()
    }

    /// Whether it can speak at this moment.
    pub(super) fn can_speak(&self, family: Family) -> bool {
        self.speaks(family) && self.sources.of(family).is_some()
    }

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
        // A farewell is no promise to be silent: who hears it may reckon with this interval.
        let pause = self.pause.filter(|_| !priority.is_release());
        Some(Advertisement {
            family,
            vrid: self.settings.vrid,
            version: self.settings.version,
            priority,
            interval: pause.unwrap_or(self.settings.advert_interval),
            source,
            destinations: self.settings.destinations(family),
            addresses: self.settings.wire_list(family),
            checksum: self.checksum,
            password: self.settings.password.clone(),
            authentication: self.settings.authentication.clone(),
        })
    }

    pub(super) fn advertisements(&self, priority: Priority) -> Vec<Advertisement> {
        Family::ALL
            .into_iter()
            .filter_map(|family| self.advertisement(family, priority))
            .collect()
    }

    pub(super) fn own_interval(&self) -> Duration {
        self.settings.advert_interval.as_duration()
    }

    /// Active_Adver_Interval: what was learned, or our own (RFC 9568 §6.1).
    fn governing_interval(&self) -> Interval {
        self.peers
            .learned()
            .unwrap_or(self.settings.advert_interval)
    }

    /// The learned interval of a family; v2 has one interval for all (RFC 3768 §7.1).
    pub(super) fn learned_interval(&self, family: Family) -> Interval {
        self.peers
            .learned_of(family)
            .unwrap_or(self.settings.advert_interval)
    }

    pub(super) fn skew_time(&self, priority: Priority) -> Duration {
        timing::skew_time(self.settings.version, priority, self.governing_interval())
    }

    pub(super) fn down_interval(&self, priority: Priority) -> Duration {
        timing::down_interval(self.settings.version, priority, self.governing_interval())
    }

    /// Active_Down_Interval as one family sets it.
    pub(super) fn down_interval_of(&self, family: Family, priority: Priority) -> Duration {
        timing::down_interval(
            self.settings.version,
            priority,
            self.learned_interval(family),
        )
    }

    /// The longest of our own interval and of those heard.
    pub(super) fn slowest_interval(&self) -> Duration {
        let heard = self.peers.slowest_interval();
        self.own_interval()
            .max(heard.map_or(Duration::ZERO, Interval::as_duration))
    }

    /// Whether a router is heard in this family at this moment.
    pub(super) fn hears(&self, family: Family, now: Instant) -> bool {
        self.peers.hears(family, now)
    }
}

/// The form to send before any peer was heard.
fn first_form(policy: ChecksumPolicy) -> ChecksumForm {
    match policy {
        ChecksumPolicy::Auto => ChecksumForm::Rfc5798,
        ChecksumPolicy::Fixed(form) => form,
    }
}
