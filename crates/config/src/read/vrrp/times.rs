//! Times of a virtual router: interval, preemption, lease, announcements.

use std::time::Duration;

use ::vrrp::{Interval, Preempt, Version};

use crate::Code;
use crate::model::Announce;
use crate::tree::{At, Item, Section};
use crate::units::show_duration;

/// The preemption delay of a file that says nothing.
pub(super) const PREEMPT_DELAY: Duration = Duration::from_secs(30);
/// The lease of a file that says nothing.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// Delays of gratuitous ARP that can be listed.
const MAX_SCHEDULE: usize = 16;

/// What a file that says nothing gets: version 2 counts whole seconds.
pub(super) fn default_interval(version: Version) -> Interval {
    match version {
        Version::V2 => Interval::SECOND,
        Version::V3 => Interval::from_centis(10).unwrap_or(Interval::SECOND),
    }
}

pub(super) fn interval(item: &Item<'_>, version: Version) -> Option<At<Interval>> {
    let wanted = item.duration()?;
    let (step, from, to, words) = match version {
        Version::V2 => (
            1_000,
            1_000,
            40_000,
            "whole seconds from 1s to 40s in version 2",
        ),
        Version::V3 => (10, 10, 40_950, "from 10ms to 40.95s in steps of 10ms"),
    };
    let millis = wanted.as_millis();
    if millis < from || millis > to || wanted.as_nanos() % (step * 1_000_000) != 0 {
        let message = format!(
            "`advert_interval` must be {words}, got {}",
            show_duration(wanted)
        );
        item.error(Code::VridConflict, message, None);
        return None;
    }
    let centis = u16::try_from(millis / 10).ok()?;
    Some(item.at(Interval::from_centis(centis)?))
}

/// `true`, `false` or `{ delay = "30s" }`.
pub(super) fn preempt(item: &Item<'_>) -> Option<Preempt> {
    match item.as_bool() {
        Some(true) => return Some(Preempt::Immediately),
        Some(false) => return Some(Preempt::Never),
        None => {}
    }
    let section = item.section_or("true, false or a table like { delay = \"30s\" }")?;
    let delay = section.require("delay", "delay = \"30s\"");
    let delay =
        delay.and_then(|item| item.duration_in(Duration::ZERO..=Duration::from_secs(86_400)));
    section.finish();
    match delay? {
        Duration::ZERO => Some(Preempt::Immediately),
        delay => Some(Preempt::After(delay)),
    }
}

/// Whole seconds, as the kernel counts them.
pub(super) fn lease(item: &Item<'_>) -> Option<Duration> {
    if item.is_off() {
        return None;
    }
    let lease = item.duration_in(Duration::from_secs(1)..=Duration::from_secs(60))?;
    if lease.subsec_nanos() != 0 {
        let message = format!(
            "`vip_lease` must be whole seconds, got {}",
            show_duration(lease)
        );
        let rounded = show_duration(Duration::from_secs(lease.as_secs() + 1));
        item.error(
            Code::OutOfRange,
            message,
            format!("did you mean {rounded:?}?"),
        );
    }
    Some(lease)
}

pub(super) fn announce(section: Section<'_>) -> Announce {
    let mut announce = Announce::default();
    if let Some(item) = section.get("schedule") {
        announce.schedule = schedule(&item);
    }
    if let Some(item) = section.get("refresh")
        && !item.is_off()
    {
        announce.refresh = item.duration_in(Duration::from_secs(1)..=Duration::from_secs(86_400));
    }
    section.finish();
    announce
}

fn schedule(item: &Item<'_>) -> Vec<Duration> {
    let Some(items) = item.list("a list like [\"0ms\", \"50ms\", \"1s\"]") else {
        return Vec::new();
    };
    if items.is_empty() || items.len() > MAX_SCHEDULE {
        item.error(
            Code::OutOfRange,
            format!("`schedule` must have 1 to {MAX_SCHEDULE} entries"),
            None,
        );
    }
    let mut times: Vec<Duration> = Vec::new();
    for item in items.iter().take(MAX_SCHEDULE) {
        let Some(time) = item.duration_in(Duration::ZERO..=Duration::from_secs(60)) else {
            continue;
        };
        if times.last().is_some_and(|last| *last >= time) {
            let message = format!(
                "`schedule` must ascend, {} is not later than the one before",
                show_duration(time)
            );
            item.error(Code::OutOfRange, message, None);
        }
        times.push(time);
    }
    times
}
