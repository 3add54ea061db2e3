//! The sockets that hear who else claims the addresses: one watcher for each link with a virtual router.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use futures_util::future::select_all;
use linux::neighbour::{Claim, Watcher};

use super::Director;

/// How every virtual MAC begins (RFC 9568 §7.3): all nodes have the same, so one that we have too may be another's.
const VIRTUAL_MAC: [u8; 4] = [0, 0, 0x5e, 0];
/// Claims taken from one link before everything else has its turn.
const BATCH: usize = 32;

struct Watched {
    watcher: Watcher,
    addresses: Vec<IpAddr>,
}

/// All watchers of the node, by index of the link.
#[derive(Default)]
pub(super) struct Watchers {
    open: BTreeMap<u32, Watched>,
    stale: bool,
}

impl Watchers {
    /// Links or addresses may have changed.
    pub(super) fn note_change(&mut self) {
        self.stale = true;
    }

    /// Whether they have, since this was asked last.
    pub(super) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// Watches just these addresses on these links.
    pub(super) fn set(&mut self, wanted: BTreeMap<u32, Vec<IpAddr>>) {
        self.open
            .retain(|ifindex, watched| wanted.get(ifindex) == Some(&watched.addresses));
        for (ifindex, addresses) in wanted {
            if self.open.contains_key(&ifindex) {
                continue;
            }
            match Watcher::open(ifindex, &addresses) {
                Ok(watcher) => drop(self.open.insert(ifindex, Watched { watcher, addresses })),
                Err(error) => {
                    tracing::warn!(ifindex, %error, "claims of our addresses are not heard");
                }
            }
        }
    }

    /// What waits on a link, up to a batch.
    pub(super) fn take(&self, ifindex: u32) -> Vec<Claim> {
        let next = || {
            let watched = self.open.get(&ifindex)?;
            watched.watcher.try_next().ok().flatten()
        };
        std::iter::from_fn(next).take(BATCH).collect()
    }

    /// Waits until one of them has something to read; for ever when there is none.
    pub(super) async fn readable(&self) -> u32 {
        if self.open.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.open.iter().map(|(ifindex, watched)| {
            Box::pin(async move {
                if watched.watcher.readable().await.is_err() {
                    std::future::pending::<()>().await;
                }
                *ifindex
            })
        });
        select_all(waits).await.0
    }
}

impl Director {
    /// Watches what the virtual routers hold or would hold, and their gateways.
    pub(super) fn refresh_watchers(&mut self, now: Instant) {
        // Who leaves has nothing to guard any more.
        if self.leaving.is_some() || !self.watchers.take_stale() {
            return;
        }
        let mut wanted: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for instance in &self.instances {
            let Some(ifindex) = instance.ifindex() else {
                continue;
            };
            let link = &instance.config.interface;
            let addresses = wanted.entry(ifindex).or_insert_with(|| {
                let gateway = super::outlook::gateway(now, link);
                gateway.map(IpAddr::V4).into_iter().collect()
            });
            addresses.extend(instance.config.vips.iter().map(|vip| vip.address));
        }
        for addresses in wanted.values_mut() {
            addresses.sort_unstable();
            addresses.dedup();
        }
        self.watchers.set(wanted);
    }

    /// Takes the claims that wait on a link to whom they concern. What comes from a hardware address of this host is none.
    pub(super) fn on_claims(&mut self, now: Instant, ifindex: u32) {
        for claim in self.watchers.take(ifindex) {
            if self.facts.has_mac(claim.mac) && !claim.mac.starts_with(&VIRTUAL_MAC) {
                continue;
            }
            for index in 0..self.instances.len() {
                let instance = &self.instances[index];
                if instance.ifindex() == Some(ifindex) && instance.is_concerned(claim.address) {
                    self.instances[index].on_claim(now, claim);
                }
            }
        }
    }
}
