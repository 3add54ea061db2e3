//! Prolongs the leases of all virtual routers together: what is due in one turn of the loop goes to the kernel in few calls.
//!
//! Equal leases are renewed at the same instants, so that there is much to do seldom and not little all the time.

use std::rc::Rc;
use std::time::Instant;

use linux::address::{Kernel, Vip};
use tokio::sync::mpsc;

use super::addresses::{Outcome, words};

/// Lists that may wait for a slow kernel before further ones are left out.
const QUEUED: usize = 16;

/// Leases to be prolonged, each with the number of its virtual router.
#[derive(Debug)]
struct Renewal {
    vips: Vec<(u64, Vip)>,
    /// Later it is not done: an address must not come back after a freeze.
    not_after: Instant,
}

/// The way to the task that renews.
#[derive(Debug)]
pub(super) struct Renewals {
    queue: mpsc::Sender<Renewal>,
}

impl Renewals {
    /// Starts the task; what cannot be renewed goes to `outcomes` under the number of its virtual router.
    pub(super) fn start(
        kernel: Rc<Kernel>,
        outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUED);
        tokio::task::spawn_local(work(kernel, waiting, outcomes));
        Self { queue }
    }

    /// Asks for these leases to be prolonged, unless that has to wait until after this instant. What cannot be asked is asked again at
    /// the next renewal: a lease has room for three failures.
    pub(super) fn ask(&self, vips: Vec<(u64, Vip)>, not_after: Instant) {
        if self.queue.try_send(Renewal { vips, not_after }).is_err() {
            tracing::debug!("renewals are left out: the kernel is slow");
        }
    }
}

async fn work(
    kernel: Rc<Kernel>,
    mut queue: mpsc::Receiver<Renewal>,
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
) {
    while let Some(Renewal { vips, not_after }) = queue.recv().await {
        let bare: Vec<Vip> = vips.iter().map(|(_, vip)| *vip).collect();
        for (failed, error) in kernel.renew(&bare, not_after).await {
            let owner = vips.iter().find(|(_, vip)| *vip == failed);
            let reason = words(&error);
            if let Some((number, _)) = owner
                && outcomes.send((*number, Outcome::Lost { reason })).is_err()
            {
                return;
            }
        }
    }
}
