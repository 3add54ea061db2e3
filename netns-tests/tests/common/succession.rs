//! One router after the other, as a third host sees it: how long the change took, and how long it may take.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netns_tests::{Host, Observer, PairConfig, within};

use super::{LIMIT, assert_not_before, assert_within};

/// A node that knows nothing of its peer, so that the RFC's times hold; nothing but the address is looked at.
pub(crate) fn alone(config: PairConfig) -> PairConfig {
    PairConfig {
        pair: false,
        listener: false,
        ..config
    }
}

/// With the virtual MAC.
pub(crate) fn virtual_mac(config: PairConfig) -> PairConfig {
    PairConfig {
        virtual_mac: true,
        ..config
    }
}

/// How long anything may take that waits for timers of this configuration.
pub(crate) fn limit(config: &PairConfig) -> Duration {
    LIMIT + 4 * config.interval
}

/// From the last advertisement of the source `from` to the first of `to` after `event`.
pub(crate) fn takeover(
    observer: &Observer,
    config: &PairConfig,
    event: Instant,
    (from, to): (IpAddr, IpAddr),
) -> Duration {
    let first = within("the other one advertises", limit(config), || {
        let mut adverts = observer.adverts(to, event).into_iter();
        adverts
            .find(|(_, advert)| advert.priority > 0)
            .map(|(at, _)| at)
    })
    .unwrap();
    let since = event.checked_sub(2 * config.interval).unwrap();
    let before = observer.adverts(from, since);
    let last = before.into_iter().map(|(at, _)| at).rfind(|at| *at < first);
    first.duration_since(last.unwrap_or(event))
}

/// Takes over in silence: not before three intervals and the skew, and not much later (RFC 9568 §6.1).
pub(crate) fn assert_silent_takeover(
    config: &PairConfig,
    backup: Host,
    took: Duration,
    slack: Duration,
) {
    let bound = config.down_interval(backup);
    assert_not_before("took over after", took + slack / 4, bound);
    assert_within("took over after", took, bound + slack);
}

/// Takes over after a farewell: within the skew (RFC 9568 §6.4.2).
pub(crate) fn assert_told_takeover(
    config: &PairConfig,
    backup: Host,
    took: Duration,
    slack: Duration,
) {
    let skew = config.down_interval(backup) - 3 * config.interval;
    assert_within("took over after a farewell", took, skew + slack);
}
