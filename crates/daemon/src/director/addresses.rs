//! Adds and removes the addresses of one virtual router, and the links they are on, one order after the other.
//!
//! The director never waits for the kernel: it queues an order here, a task carries it out, and the outcome comes back as an input. The
//! task is there as long as there are orders: most of the time a virtual router has none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::join_all;
use linux::address::{AddressError, Kernel, Vip};
use tokio::sync::mpsc;

use super::nft;
use super::parent_settings::ParentSettings;
use super::virtual_links::{self, MadeLink, Plan};

/// Orders that may wait for a slow kernel before further ones are refused.
const QUEUED_ORDERS: usize = 64;

/// What to do with addresses.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// Set the virtual links up and add all addresses; the number comes back with the outcome.
    Claim {
        number: u64,
        links: Vec<u32>,
        vips: Vec<Vip>,
    },
    /// Set the virtual links down, so that not a frame leaves any more, and remove all addresses.
    Release { links: Vec<u32>, vips: Vec<Vip> },
    /// Add those again that are missing, unless the order has waited past this instant: an address must not come back after a freeze.
    AddAgain { vips: Vec<Vip>, not_after: Instant },
    /// Put an address back that somebody took away, under the same condition.
    Restore { vip: Vip, not_after: Instant },
    /// Prolong the leases, so that nobody has to renew them for a while.
    Prolong { vips: Vec<Vip> },
    /// Make the links with the virtual MACs, in place of those made before.
    MakeLinks(Box<Plan>),
    /// Remove the links that were made.
    RemoveLinks,
    /// Give nftables the rules that drop packets to the addresses.
    Refuse(String),
    /// Take those rules away again.
    AcceptAgain(String),
}

impl Order {
    fn takes_away(&self) -> bool {
        match self {
            Self::Release { .. } | Self::RemoveLinks | Self::AcceptAgain(_) => true,
            Self::Claim { .. }
            | Self::AddAgain { .. }
            | Self::Restore { .. }
            | Self::Prolong { .. }
            | Self::MakeLinks(_)
            | Self::Refuse(_) => false,
        }
    }
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every address of claim `number` is there, confirmed by the kernel.
    Claimed { number: u64 },
    /// Claim `number` failed; what had been added is removed again.
    ClaimFailed { number: u64, reason: String },
    /// The addresses, the links, or the rules are gone.
    Released,
    /// What became of the rules.
    Refused {
        rules: String,
        outcome: Result<(), String>,
    },
    /// The virtual links are there, on the interface of this index.
    LinksMade { parent: u32, links: Vec<MadeLink> },
    /// They could not be made there.
    LinksFailed { parent: u32, reason: String },
    /// Every lease is prolonged, confirmed by the kernel.
    Prolonged,
    /// An address is back.
    Restored { vip: Vip },
    /// An address could not be renewed or put back.
    Lost { reason: String },
}

/// The director's side of the task.
pub(super) struct Addresses {
    instance: u64,
    line: Rc<RefCell<Line>>,
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
}

/// The orders of one virtual router.
struct Line {
    waiting: VecDeque<Order>,
    /// Who carries them out; none while it does.
    idle: Option<Worker>,
}

impl Addresses {
    /// Nothing is ordered yet; outcomes go to `outcomes` under the instance's number.
    pub(super) fn new(
        instance: u64,
        kernel: Rc<Kernel>,
        settings: Rc<ParentSettings>,
        outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
    ) -> Self {
        let worker = Worker {
            kernel,
            settings,
            made: None,
        };
        let line = Line {
            waiting: VecDeque::new(),
            idle: Some(worker),
        };
        Self {
            instance,
            line: Rc::new(RefCell::new(line)),
            outcomes,
        }
    }

    /// Queues an order; false when the kernel is so slow that the queue is full. What takes away is taken in any case: it ends what was
    /// claimed, and claims were refused before.
    pub(super) fn order(&self, order: Order) -> bool {
        let mut line = self.line.borrow_mut();
        if line.waiting.len() >= QUEUED_ORDERS && !order.takes_away() {
            return false;
        }
        line.waiting.push_back(order);
        if let Some(worker) = line.idle.take() {
            let (line, outcomes) = (Rc::clone(&self.line), self.outcomes.clone());
            tokio::task::spawn_local(work(self.instance, worker, line, outcomes));
        }
        true
    }
}

/// One outcome per order at most, so the unbounded channel back is bounded by the orders that may wait.
async fn work(
    instance: u64,
    mut worker: Worker,
    line: Rc<RefCell<Line>>,
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
) {
    while let Some(order) = next(&line) {
        let outcome = worker.carry_out(order).await;
        if let Some(outcome) = outcome
            && outcomes.send((instance, outcome)).is_err()
        {
            return;
        }
    }
    line.borrow_mut().idle = Some(worker);
}

/// The order whose turn it is. The room for those that waited is given up with the last.
fn next(line: &RefCell<Line>) -> Option<Order> {
    let mut line = line.borrow_mut();
    let order = line.waiting.pop_front();
    if order.is_none() {
        line.waiting = VecDeque::new();
    }
    order
}

/// What the task works with.
struct Worker {
    kernel: Rc<Kernel>,
    settings: Rc<ParentSettings>,
    /// The virtual links that are there.
    made: Option<Box<(Plan, Vec<MadeLink>)>>,
}

impl Worker {
    async fn carry_out(&mut self, order: Order) -> Option<Outcome> {
        let kernel = &self.kernel;
        match order {
            Order::Claim {
                number,
                links,
                vips,
            } => {
                if let Some(made) = &self.made {
                    self.settings.refresh(made.0.parent.index).await;
                }
                Some(claim(kernel, number, &links, &vips).await)
            }
            Order::Release { links, vips } => {
                release(kernel, &links, &vips).await;
                Some(Outcome::Released)
            }
            Order::AddAgain { not_after, .. } | Order::Restore { not_after, .. }
                if Instant::now() > not_after =>
            {
                None
            }
            Order::AddAgain { vips, .. } => {
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
            Order::Prolong { vips } => Some(match add_all(kernel, &vips).await {
                Ok(()) => Outcome::Prolonged,
                Err(error) => Outcome::Lost {
                    reason: words(&error),
                },
            }),
            Order::MakeLinks(plan) => Some(self.make_links(*plan).await),
            Order::RemoveLinks => {
                self.remove_links().await;
                Some(Outcome::Released)
            }
            Order::Refuse(rules) => {
                let outcome = nft::run(&rules).await;
                Some(Outcome::Refused { rules, outcome })
            }
            Order::AcceptAgain(rules) => {
                if let Err(error) = nft::run(&rules).await {
                    tracing::warn!(error, "rules not taken away");
                }
                Some(Outcome::Released)
            }
        }
    }

    async fn make_links(&mut self, plan: Plan) -> Outcome {
        self.remove_links().await;
        let parent = plan.parent.index;
        match virtual_links::make(&self.kernel, &self.settings, &plan).await {
            Ok(links) => {
                self.made = Some(Box::new((plan, links.clone())));
                Outcome::LinksMade { parent, links }
            }
            Err(reason) => Outcome::LinksFailed { parent, reason },
        }
    }

    async fn remove_links(&mut self) {
        if let Some(made) = self.made.take() {
            let (plan, links) = *made;
            virtual_links::remove(&self.kernel, &self.settings, &plan, &links).await;
        }
    }
}

async fn claim(kernel: &Kernel, number: u64, links: &[u32], vips: &[Vip]) -> Outcome {
    match add_on_links(kernel, links, vips).await {
        Ok(()) => Outcome::Claimed { number },
        Err(error) => {
            release(kernel, links, vips).await;
            Outcome::ClaimFailed {
                number,
                reason: words(&error),
            }
        }
    }
}

async fn add_on_links(kernel: &Kernel, links: &[u32], vips: &[Vip]) -> Result<(), AddressError> {
    for link in links {
        kernel.set_link(*link, true).await?;
    }
    add_all(kernel, vips).await
}

async fn release(kernel: &Kernel, links: &[u32], vips: &[Vip]) {
    for link in links {
        if let Err(error) = kernel.set_link(*link, false).await {
            tracing::warn!(error = words(&error), "virtual link not set down");
        }
    }
    remove_all(kernel, vips).await;
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
