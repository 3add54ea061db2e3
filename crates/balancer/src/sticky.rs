//! Who stays where: what a client is bound to, in numbers that mean the same on every node, and how often that held.
//!
//! How a client carries its mark (a cookie) is not known here. A mark is only as trustworthy as whoever hands it in.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::key::hash;

/// Which target of a group a client is bound to: a hash of its name, the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TargetMark(pub u64);

impl TargetMark {
    /// The mark of the target of this name.
    pub fn of(name: &str) -> Self {
        Self(hash([b"target ".as_slice(), name.as_bytes()]))
    }
}

/// Which group of a split a client is bound to: a hash of its name, the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupMark(pub u64);

impl GroupMark {
    /// The mark of the group of this name.
    pub fn of(name: &str) -> Self {
        Self(hash([b"group ".as_slice(), name.as_bytes()]))
    }
}

/// `sticky` of a group (its clients stay with their target) or of a rule (with their group).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StickySettings {
    /// Name of the cookie that binds a client.
    pub cookie: String,
    /// How long a client stays bound after its last request, more or less a third.
    pub ttl: Duration,
}

impl StickySettings {
    /// How long a client stays bound unless given: a day.
    pub const DEFAULT_TTL: Duration = Duration::from_secs(86_400);
}

/// What became of a client's binding in one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Binding {
    /// It was not bound, and is now.
    New,
    /// It met what it is bound to.
    Hit,
    /// What it is bound to could not serve it: it went elsewhere.
    Moved,
    /// It met nobody, or nothing binds here.
    #[default]
    None,
}

impl Binding {
    /// Every word of [`Binding::as_str`].
    pub const ALL: [Binding; 4] = [Self::New, Self::Hit, Self::Moved, Self::None];

    /// The word used in status, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Hit => "hit",
            Self::Moved => "moved",
            Self::None => "none",
        }
    }
}

/// How often each [`Binding`] came up, shared with the plans before and after.
#[derive(Debug, Default)]
pub struct BindingCounts {
    counts: [AtomicU64; Binding::ALL.len()],
    refused: AtomicU64,
}

impl BindingCounts {
    /// Counts one more request.
    pub fn count(&self, binding: Binding) {
        self.counts[binding as usize].fetch_add(1, Relaxed);
    }

    /// Counts one more mark that is not believed: forged, too old, or for something else.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Requests with this outcome.
    pub fn total(&self, binding: Binding) -> u64 {
        self.counts[binding as usize].load(Relaxed)
    }

    /// Marks that were not believed.
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_what_they_always_were() {
        // Worked out apart from this code, from the definition of the hash: clients carry these over an upgrade.
        assert_eq!(TargetMark::of("10.0.0.21:8080").0, 0x9987_8262_a91b_31ed);
        assert_eq!(GroupMark::of("web-v1").0, 0x74e8_f71b_b2fa_e3d3);
        assert_ne!(TargetMark::of("a").0, GroupMark::of("a").0);
    }

    #[test]
    fn each_outcome_has_a_counter_of_its_own() {
        let counts = BindingCounts::default();
        for (times, binding) in (1..).zip(Binding::ALL) {
            (0..times).for_each(|_| counts.count(binding));
        }
        counts.count_refused();
        assert_eq!(
            Binding::ALL.map(|binding| counts.total(binding)),
            [1, 2, 3, 4]
        );
        assert_eq!(counts.refused_total(), 1);
    }
}
