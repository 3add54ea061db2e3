//! The task that adds, renews and removes the addresses of one virtual router, one order after the other.
//!
//! The director never waits for the kernel: it queues an order here and the outcome comes back as an input.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use linux::address::{AddressError, Kernel, Vip};
use tokio::sync::mpsc;

/// Orders that may wait for a slow kernel before further ones are refused.
const QUEUED_ORDERS: usize = 64;

/// What to do with addresses.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// Add all of them; the number comes back with the outcome.
    Claim { number: u64, vips: Vec<Vip> },
    /// Remove all of them.
    Release { vips: Vec<Vip> },
    /// Prolong the leases, unless the order has waited past this instant: an address must not come back after a freeze.
    Renew { vips: Vec<Vip>, not_after: Instant },
    /// Put an address back that somebody took away, under the same condition.
    Restore { vip: Vip, not_after: Instant },
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every address of claim `number` is there, confirmed by the kernel.
    Claimed { number: u64 },
    /// Claim `number` failed; what had been added is removed again.
    ClaimFailed { number: u64, reason: String },
    /// The addresses are gone.
    Released,
    /// An address is back.
    Restored { vip: Vip },
    /// An address could not be renewed or put back.
    Lost { reason: String },
}

/// The director's side of the task.
#[derive(Debug)]
pub(super) struct Addresses {
    orders: mpsc::Sender<Order>,
}

impl Addresses {
    /// Starts the task; outcomes go to `outcomes` under the instance's number.
    pub(super) fn start(
        instance: u64,
        kernel: Rc<Kernel>,
        outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
    ) -> Self {
        let (orders, queue) = mpsc::channel(QUEUED_ORDERS);
        tokio::task::spawn_local(work(instance, kernel, queue, outcomes));
        Self { orders }
    }

    /// Queues an order; false when the kernel is so slow that the queue is full.
    pub(super) fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

/// One outcome per order at most, so the unbounded channel back is bounded by the queue of orders.
async fn work(
    instance: u64,
    kernel: Rc<Kernel>,
    mut orders: mpsc::Receiver<Order>,
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
) {
    while let Some(order) = orders.recv().await {
        let outcome = carry_out(&kernel, order).await;
        if let Some(outcome) = outcome
            && outcomes.send((instance, outcome)).is_err()
        {
            return;
        }
    }
}

async fn carry_out(kernel: &Kernel, order: Order) -> Option<Outcome> {
    match order {
        Order::Claim { number, vips } => Some(claim(kernel, number, &vips).await),
        Order::Release { vips } => {
            remove_all(kernel, &vips).await;
            Some(Outcome::Released)
        }
        Order::Renew { not_after, .. } | Order::Restore { not_after, .. }
            if Instant::now() > not_after =>
        {
            None
        }
        Order::Renew { vips, .. } => {
            add_all(kernel, &vips)
                .await
                .err()
                .map(|error| Outcome::Lost {
                    reason: words(&error),
                })
        }
        Order::Restore { vip, .. } => Some(match kernel.add(&vip).await {
            Ok(()) => Outcome::Restored { vip },
            Err(error) => Outcome::Lost {
                reason: words(&error),
            },
        }),
    }
}

async fn claim(kernel: &Kernel, number: u64, vips: &[Vip]) -> Outcome {
    match add_all(kernel, vips).await {
        Ok(()) => Outcome::Claimed { number },
        Err(error) => {
            remove_all(kernel, vips).await;
            Outcome::ClaimFailed {
                number,
                reason: words(&error),
            }
        }
    }
}

/// Adds all at once: an IPv6 address is there only when its route is, and those waits need not follow each other.
async fn add_all(kernel: &Kernel, vips: &[Vip]) -> Result<(), AddressError> {
    join_all(vips.iter().map(|vip| kernel.add(vip)))
        .await
        .into_iter()
        .collect()
}

async fn remove_all(kernel: &Kernel, vips: &[Vip]) {
    for vip in vips {
        if let Err(error) = kernel.remove(vip).await {
            // The lease takes it away where we cannot.
            tracing::warn!(error = words(&error), "address not removed");
        }
    }
}

/// An error and its causes in one line.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

/// When a lease of this length is renewed: each quarter of it.
pub(super) fn renewal_interval(lease: Duration) -> Duration {
    lease / 4
}
