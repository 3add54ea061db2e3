//! Whether packets to the virtual addresses are taken (Accept_Mode, RFC 9568 §6.1), and the table that drops them where not.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Instance;
use crate::director::addresses::Order;
use crate::director::refusal;

/// After this long, a table that the kernel did not take is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The table of a virtual router.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Packets are taken.
    #[default]
    None,
    /// Ordered, or in place; the rules.
    Ordered { rules: String, in_place: bool },
    /// Not possible, for this reason.
    Failed { reason: String, retry_at: Instant },
}

impl Instance {
    /// Whether packets to the virtual addresses are taken: the owner always takes them.
    pub(in crate::director) fn accepts(&self) -> bool {
        self.config.accept_mode || self.config.settings.priority.is_owner()
    }

    /// Has the table follow the configuration. Called before addresses are claimed.
    pub(in crate::director) fn follow_accept_mode(&mut self, now: Instant) {
        let vrid = self.config.settings.vrid.value();
        let wanted = (!self.accepts() && !self.stopped).then(|| {
            let vips: Vec<IpAddr> = self.config.vips.iter().map(|vip| vip.address).collect();
            refusal::rules(vrid, self.number, &vips)
        });
        match (wanted, &self.refusal) {
            (Some(wanted), Refusal::Ordered { rules, .. }) if wanted == *rules => {}
            (Some(_), Refusal::Failed { retry_at, .. }) if now < *retry_at => {}
            (Some(rules), _) => {
                // A full queue is tried again with the next change.
                if self.addresses.order(Order::Refuse(rules.clone())) {
                    let in_place = false;
                    self.refusal = Refusal::Ordered { rules, in_place };
                }
            }
            (None, Refusal::Ordered { .. }) => {
                let order = Order::AcceptAgain(refusal::removal(vrid, self.number));
                if self.addresses.order(order) {
                    self.releases_pending += 1;
                    self.refusal = Refusal::None;
                }
            }
            (None, Refusal::Failed { .. } | Refusal::None) => self.refusal = Refusal::None,
        }
    }

    /// The kernel has taken these rules, or has not and says why.
    pub(super) fn note_refusal(&mut self, now: Instant, tried: &str, outcome: Result<(), String>) {
        let Refusal::Ordered { rules, in_place } = &mut self.refusal else {
            return;
        };
        if rules != tried {
            return;
        }
        match outcome {
            Ok(()) => *in_place = true,
            Err(reason) => {
                let retry_at = now + RETRY_INTERVAL;
                self.refusal = Refusal::Failed { reason, retry_at };
            }
        }
    }

    /// Why the addresses must not come: their packets would be taken.
    pub(in crate::director) fn refusal_obstacle(&self) -> Option<String> {
        let words = match &self.refusal {
            Refusal::Ordered { in_place: true, .. } => return None,
            // A change while the addresses are here: the rules are ahead of every new address in the queue.
            Refusal::Ordered { .. } if self.is_holding() => return None,
            Refusal::Failed { reason, .. } => {
                format!("`accept_mode = false` needs nftables: {reason}")
            }
            Refusal::None | Refusal::Ordered { .. } => {
                "the rules of `accept_mode = false` are being made".to_owned()
            }
        };
        (!self.accepts()).then_some(words)
    }

    /// Whether the kernel has not answered yet.
    pub(super) fn is_refusal_pending(&self) -> bool {
        matches!(
            self.refusal,
            Refusal::Ordered {
                in_place: false,
                ..
            }
        )
    }

    /// When a table that could not be made is due again.
    pub(super) fn refusal_retry_at(&self) -> Option<Instant> {
        match self.refusal {
            Refusal::Failed { retry_at, .. } => Some(retry_at),
            Refusal::None | Refusal::Ordered { .. } => None,
        }
    }

    pub(super) fn retry_refusal(&mut self, now: Instant) {
        if self.refusal_retry_at().is_some_and(|at| at <= now) {
            self.follow_accept_mode(now);
        }
    }
}
