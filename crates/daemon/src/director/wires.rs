//! The sockets that advertisements travel on: one receiver and one sender per link, address family and local address, shared by all
//! virtual routers there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use linux::raw::{Local, RawReceiver, RawSender};
use vrrp::{Counters, Family, Reject};

/// IP protocol number of VRRP (RFC 9568 §5.1.1.4).
pub(super) const VRRP_PROTOCOL: u8 = 112;
/// Group of VRRP over IPv4 (RFC 9568 §5.1.1.2).
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Group of VRRP over IPv6 (RFC 9568 §5.1.2.2).
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Between two log lines about refused packets on one wire.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What makes a wire another wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WireKey {
    /// Name of the link.
    pub(super) link: String,
    /// Whether it carries IPv6.
    pub(super) v6: bool,
    /// Our own address, when advertisements are unicast.
    pub(super) unicast: Option<IpAddr>,
    /// A virtual link, where advertisements leave and none is received.
    pub(super) send_only: bool,
}

/// One pair of sockets.
pub(super) struct Wire {
    /// Never used twice: what the keeper calls the sender.
    pub(super) id: u64,
    /// The keeper has the sender.
    pub(super) handed_over: bool,
    pub(super) ifindex: u32,
    generation: u64,
    /// None where nothing is received.
    pub(super) receiver: Option<RawReceiver>,
    pub(super) sender: RawSender,
    /// Packets that belong to no virtual router of ours.
    pub(super) strangers: Counters,
    refusals: Refusals,
    /// What the receivers that were replaced had no room for.
    overflowed_before: u64,
}

impl Wire {
    fn open(id: u64, key: &WireKey, ifindex: u32, generation: u64) -> std::io::Result<Self> {
        let local = match (key.unicast, key.v6) {
            (Some(IpAddr::V4(address)), _) => Local::UnicastV4(address),
            (Some(IpAddr::V6(address)), _) => Local::UnicastV6(address),
            (None, false) => Local::MulticastV4(GROUP_V4),
            (None, true) => Local::MulticastV6(GROUP_V6),
        };
        let open_sender = if key.send_only {
            RawSender::open_for_any_source
        } else {
            RawSender::open
        };
        Ok(Self {
            id,
            handed_over: false,
            ifindex,
            generation,
            receiver: (!key.send_only)
                .then(|| RawReceiver::open(&key.link, ifindex, VRRP_PROTOCOL, local))
                .transpose()?,
            sender: open_sender(&key.link, ifindex, VRRP_PROTOCOL, key.v6)?,
            strangers: Counters::default(),
            refusals: Refusals::default(),
            overflowed_before: 0,
        })
    }

    /// Packets that came faster than they could be read, for whichever virtual router they were.
    pub(super) fn overflowed(&self) -> u64 {
        let receiver = self.receiver.as_ref();
        self.overflowed_before + receiver.map_or(0, RawReceiver::overflowed)
    }

    /// The sending socket for the keeper.
    pub(super) fn sender_fd(&self) -> std::io::Result<OwnedFd> {
        self.sender.try_clone_fd()
    }

    /// Notes a refused packet; a log line comes at most every ten seconds, whatever arrives.
    pub(super) fn note_refusal(&mut self, now: Instant, key: &WireKey, reject: Reject) {
        if let Some(count) = self.refusals.note(now) {
            let last = reject.as_str();
            tracing::warn!(
                link = key.link,
                v6 = key.v6,
                count,
                last,
                "advertisements refused; `tandem vrrp` counts them by reason"
            );
        }
    }
}

/// Counts between two log lines.
#[derive(Debug, Default)]
struct Refusals {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl Refusals {
    /// Counts one; the count so far when a line is allowed.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self
            .logged_at
            .is_some_and(|at| now < at + REFUSAL_LOG_INTERVAL)
        {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// All wires of the node.
#[derive(Default)]
pub(super) struct Wires {
    open: BTreeMap<WireKey, Wire>,
    opened: u64,
    /// Senders that the keeper has and that are closed here.
    closed: Vec<u64>,
}

impl Wires {
    /// The wire, opened if it is not yet, or if the link has another index or generation than when it was. True when it was opened.
    pub(super) fn ensure(
        &mut self,
        key: &WireKey,
        ifindex: u32,
        generation: u64,
    ) -> std::io::Result<bool> {
        let old = self.open.get(key);
        if old.is_some_and(|wire| (wire.ifindex, wire.generation) == (ifindex, generation)) {
            return Ok(false);
        }
        // Closed first: only the last member of a group leaves it, and only the first one is reported to the switch.
        let old = self.open.remove(key).map(|old| {
            self.closed.extend(old.handed_over.then_some(old.id));
            (old.overflowed(), old.strangers, old.refusals)
        });
        self.opened += 1;
        let mut wire = Wire::open(self.opened, key, ifindex, generation)?;
        if let Some((overflowed, strangers, refusals)) = old {
            wire.overflowed_before = overflowed;
            wire.strangers = strangers;
            wire.refusals = refusals;
        }
        self.open.insert(key.clone(), wire);
        Ok(true)
    }

    /// Closes every wire that `needed` does not name.
    pub(super) fn retain(&mut self, needed: impl Fn(&WireKey) -> bool) {
        let Self { open, closed, .. } = self;
        open.retain(|key, wire| {
            let kept = needed(key);
            if !kept && wire.handed_over {
                closed.push(wire.id);
            }
            kept
        });
    }

    /// A sender that the keeper has and no wire uses; the caller tells the keeper.
    pub(super) fn take_closed(&mut self) -> Option<u64> {
        self.closed.pop()
    }

    /// It could not be told.
    pub(super) fn put_closed(&mut self, id: u64) {
        self.closed.push(id);
    }

    pub(super) fn get(&self, key: &WireKey) -> Option<&Wire> {
        self.open.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &WireKey) -> Option<&mut Wire> {
        self.open.get_mut(key)
    }

    /// Waits until one of them has something to read; for ever when there is none.
    pub(super) async fn readable(&self) -> WireKey {
        if self.open.values().all(|wire| wire.receiver.is_none()) {
            return std::future::pending().await;
        }
        let receivers = self
            .open
            .iter()
            .filter_map(|(key, wire)| Some((key, wire.receiver.as_ref()?)));
        let waits = receivers.map(|(key, receiver)| {
            Box::pin(async move {
                if receiver.readable().await.is_err() {
                    // A dead socket is replaced when its link comes back; until then it has nothing to say.
                    std::future::pending::<()>().await;
                }
                key.clone()
            })
        });
        select_all(waits).await.0
    }
}

/// The key of the wire a virtual router of `link` uses in `family`.
pub(super) fn key(link: &str, family: Family, unicast: Option<IpAddr>) -> WireKey {
    WireKey {
        link: link.to_owned(),
        v6: family == Family::V6,
        unicast,
        send_only: false,
    }
}

/// The key of the wire by which advertisements of `family` leave a virtual link.
pub(super) fn outlet(link: &str, family: Family) -> WireKey {
    WireKey {
        send_only: true,
        ..key(link, family, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_makes_one_line_in_ten_seconds() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let mut lines = Vec::new();
        for tick in 0..25_000_u64 {
            lines.extend(refusals.note(start + Duration::from_millis(tick)));
        }
        assert_eq!(lines, [1, 10_000, 10_000]);
    }
}
