//! How tracked things add up to the priority that is advertised.

use crate::types::Priority;

/// What one tracked thing does to the priority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contribution {
    /// What it is, in words.
    pub what: String,
    /// Added to the base.
    pub delta: i16,
    /// Upper limit of the result, for as long as this contribution stands; `Some(1)` keeps a node last.
    pub cap: Option<u8>,
}

/// Base and contributions, then the lowest cap, held within 1..=254 (RFC 9568 §5.2.4). An owner stays at 255.
#[must_use]
pub fn effective_priority(base: Priority, contributions: &[Contribution]) -> Priority {
    if base.is_owner() {
        return base;
    }
    let sum: i64 = contributions
        .iter()
        .map(|contribution| i64::from(contribution.delta))
        .sum();
    let cap = contributions
        .iter()
        .filter_map(|contribution| contribution.cap)
        .min()
        .unwrap_or(254);
    let value = (i64::from(base.value()) + sum)
        .min(i64::from(cap))
        .clamp(1, 254);
    Priority::new(u8::try_from(value).expect("clamped to 1..=254"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contribution(delta: i16, cap: Option<u8>) -> Contribution {
        Contribution {
            what: "test".to_owned(),
            delta,
            cap,
        }
    }

    #[test]
    fn all_deltas_add_up() {
        let sum = effective_priority(
            Priority::new(100),
            &[contribution(-30, None), contribution(5, None)],
        );
        assert_eq!(sum.value(), 75);
    }

    #[test]
    fn tracking_never_reaches_0_or_255() {
        assert_eq!(
            effective_priority(Priority::new(100), &[contribution(-300, None)]).value(),
            1
        );
        assert_eq!(
            effective_priority(Priority::new(200), &[contribution(300, None)]).value(),
            254
        );
        assert_eq!(
            effective_priority(Priority::new(100), &[contribution(0, Some(0))]).value(),
            1
        );
    }

    #[test]
    fn the_lowest_cap_holds_after_the_sum() {
        let all = [contribution(100, Some(120)), contribution(50, Some(90))];
        assert_eq!(effective_priority(Priority::new(100), &all).value(), 90);
        assert_eq!(
            effective_priority(Priority::new(50), &[contribution(0, Some(90))]).value(),
            50
        );
    }

    #[test]
    fn the_owner_stays_owner() {
        assert_eq!(
            effective_priority(Priority::OWNER, &[contribution(-100, Some(1))]),
            Priority::OWNER
        );
    }
}
