//! What operators have ordered, from the words of the director to those of the balancer.

use std::time::{Duration, Instant};

use balancer::Overrides;
use control::internal::overrides;

/// The orders of a message that came at `now`.
pub(crate) fn overrides(message: overrides::Overrides, now: Instant) -> Overrides {
    let mut ordered = Overrides::default();
    for order in message.orders {
        let age = Duration::from_millis(order.age_ms);
        // Older than this clock: then its time is over as well.
        let since = now.checked_sub(age).unwrap_or(now);
        let wanted = match order.order {
            control::Order::Ready | control::Order::Unknown => balancer::Order::Ready,
            control::Order::Drain => balancer::Order::Drain,
            control::Order::Maint => balancer::Order::Maint,
        };
        ordered.order(&order.group, &order.target, wanted, since);
    }
    for weight in message.weights {
        ordered.weigh(&weight.group, &weight.target, weight.weight);
    }
    for split in message.splits {
        ordered.split(&split.listener, split.rule.as_deref(), split.weights);
    }
    ordered
}
