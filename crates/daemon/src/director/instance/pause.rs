//! What a planned restart of the director asks of a virtual router: to announce a pause, and to go on after it.

use std::time::{Duration, Instant};

use linux::address::Vip;
use vrrp::{Event, Interval, PhaseName, Version};

use super::{Held, Instance, Notice};
use crate::director::addresses::Order;
use crate::director::wires::Wires;

/// The interval that is announced: three of these, and the skew, are the time the restart has.
const PAUSE: Interval = match Interval::from_centis(200) {
    Some(interval) => interval,
    None => Interval::SECOND,
};
/// Lease of the addresses meanwhile: longer than the keeper waits for the next director.
const PAUSE_LEASE: Duration = Duration::from_secs(10);

impl Instance {
    /// Whether it is Active, and another director can go on for it; an error says why no director can be replaced now.
    pub(in crate::director) fn carries_on(&self) -> Result<bool, String> {
        let name = &self.config.name;
        let active = match self.router.phase() {
            PhaseName::Active => true,
            PhaseName::Claiming | PhaseName::HandingOver | PhaseName::Leaving => {
                return Err(format!("{name} is about to move; try again in a moment"));
            }
            PhaseName::Initialize
            | PhaseName::Backup
            | PhaseName::Listening
            | PhaseName::PreemptWait
            | PhaseName::Fault => false,
        };
        match (active, self.held) {
            (true, Held::Yes) => {}
            (false, Held::No) => return Ok(false),
            (_, Held::No | Held::Claiming { .. } | Held::Yes) => {
                return Err(format!("{name} is about to move; try again in a moment"));
            }
        }
        if self.config.settings.version == Version::V2 {
            return Err(format!(
                "{name} speaks VRRPv2, where the interval is fixed and no pause can be announced"
            ));
        }
        if self.config.virtual_mac {
            return Err(format!(
                "{name} has a virtual MAC, whose links cannot be handed on"
            ));
        }
        if !self.accepts() {
            return Err(format!(
                "packets to the addresses of {name} are dropped, and would not be for a moment"
            ));
        }
        Ok(true)
    }

    /// Announces a pause, and has the leases prolonged; from here on nobody renews them.
    pub(in crate::director) fn begin_pause(&mut self, now: Instant, wires: &Wires) -> Vec<Notice> {
        self.prolonged = false;
        self.paused = true;
        let mut vips = self.vips();
        for Vip { lease, .. } in &mut vips {
            *lease = lease.map(|lease| lease.max(PAUSE_LEASE));
        }
        if !self.addresses.order(Order::Prolong { vips }) {
            tracing::warn!(
                router = self.config.name,
                "no lease is prolonged: the kernel is behind"
            );
        }
        self.say_pause(now, wires)
    }

    /// Says again that a pause is to come: one advertisement may be lost.
    pub(in crate::director) fn say_pause(&mut self, now: Instant, wires: &Wires) -> Vec<Notice> {
        let interval = self.config.settings.advert_interval.max(PAUSE);
        self.handle(now, Event::Pause(Some(interval)), wires)
    }

    /// There is no pause after all.
    pub(in crate::director) fn end_pause(&mut self, now: Instant, wires: &Wires) -> Vec<Notice> {
        self.paused = false;
        self.handle(now, Event::Pause(None), wires)
    }

    /// Whether the leases outlast the pause.
    pub(in crate::director) fn is_prolonged(&self) -> bool {
        self.prolonged
    }

    /// Whether everything is known that could keep it from going on, and nothing does.
    pub(in crate::director) fn may_resume(&self) -> bool {
        // Not known yet; a limit for another reason, such as maintenance, is one that the director before had as well.
        let waits = |contribution: &vrrp::Contribution| contribution.what.ends_with("pending");
        !self.started
            && !self.is_preparing()
            && self.verdict.fault.is_none()
            && !self.verdict.contributions.iter().any(waits)
            && self.router.status().silent_families.is_empty()
    }
}
