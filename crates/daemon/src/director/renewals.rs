//! Prolongs the leases of all virtual routers together: what is due in one turn of the loop goes to the kernel in one call.
//!
//! Renewals of equal leases fall on the same instants, so that there is much to do seldom and not little all the time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use linux::address::{Kernel, Vip};
use tokio::sync::mpsc;

use super::addresses::{Outcome, words};
use super::grid::Grid;

/// Renewals that may wait for a slow kernel before further ones are left out.
const QUEUED: usize = 4096;

/// The leases of one virtual router that are to be prolonged.
#[derive(Debug)]
pub(super) struct Renewal {
    /// Its number.
    pub(super) instance: u64,
    pub(super) vips: Vec<Vip>,
    /// Later it is not done: an address must not come back after a freeze.
    pub(super) not_after: Instant,
}

/// The way to the task that renews.
#[derive(Debug, Clone)]
pub(super) struct Renewals {
    queue: mpsc::Sender<Renewal>,
    grid: Grid,
}

impl Renewals {
    /// Starts the task; what cannot be renewed goes to `outcomes` under the number of its virtual router.
    pub(super) fn start(
        grid: Grid,
        kernel: Rc<Kernel>,
        outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
    ) -> Self {
        let (sender, queue) = mpsc::channel(QUEUED);
        tokio::task::spawn_local(work(kernel, queue, outcomes));
        Self {
            queue: sender,
            grid,
        }
    }

    pub(super) fn ask(&self, renewal: Renewal) {
        if self.queue.try_send(renewal).is_err() {
            tracing::debug!("a renewal is left out: the kernel is slow");
        }
    }

    /// When a lease of this length is renewed next: each quarter of it, at the same instants for all of that length.
    pub(super) fn next(&self, now: Instant, lease: Duration) -> Instant {
        self.grid.after(now, lease / 4)
    }
}

async fn work(
    kernel: Rc<Kernel>,
    mut queue: mpsc::Receiver<Renewal>,
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
) {
    let mut due = Vec::new();
    while queue.recv_many(&mut due, QUEUED).await > 0 {
        let now = Instant::now();
        let mut owners: BTreeMap<(u32, IpAddr), u64> = BTreeMap::new();
        let mut vips = Vec::new();
        let not_after = due.iter().map(|renewal| renewal.not_after);
        let not_after = not_after.filter(|at| *at >= now).min().unwrap_or(now);
        for renewal in due.drain(..).filter(|renewal| renewal.not_after >= now) {
            let owned = renewal.vips.iter();
            owners.extend(owned.map(|vip| ((vip.ifindex, vip.address), renewal.instance)));
            vips.extend(renewal.vips);
        }
        for (vip, error) in kernel.renew(&vips, not_after).await {
            if let Some(instance) = owners.get(&(vip.ifindex, vip.address)) {
                let reason = words(&error);
                if outcomes
                    .send((*instance, Outcome::Lost { reason }))
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}
