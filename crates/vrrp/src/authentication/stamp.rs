//! Time and order of what is signed: a 64 bit stamp made of the wall clock, and the highest one seen of each sender.
//!
//! ```text
//!  63                            31              15             0
//! +-----------------------------+---------------+---------------+
//! | seconds since 1970, mod 2^32| 1/65536 s     | counter       |
//! +-----------------------------+---------------+---------------+
//! ```
//! Stamps are compared by serial number arithmetic (RFC 1982), so that the field may wrap.

use std::net::IpAddr;
use std::time::Duration;

use super::{Authentication, Freshness};

/// Senders whose highest stamp is kept; only who holds a key gets in, and the one heard longest ago goes.
const SENDERS: usize = 8;

/// The wall clock: time since 1970. Only authentication reads it; no deadline is made of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct WallTime(pub Duration);

impl WallTime {
    /// The same clock later by `time`.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// When, and in which order, something was signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// The first stamp of this moment.
    #[must_use]
    pub fn at(wall: WallTime) -> Self {
        let fraction = (u64::from(wall.0.subsec_nanos()) << 16) / 1_000_000_000;
        Self(wall.0.as_secs() << 32 | fraction << 16)
    }

    /// The 64 bits, as another process may be told them.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The stamp of these 64 bits.
    #[must_use]
    pub const fn from_value(value: u64) -> Self {
        Self(value)
    }

    /// Later by whole seconds.
    fn later_by(self, time: Duration) -> Self {
        Self(self.0.wrapping_add(time.as_secs() << 32))
    }

    pub(super) const fn from_octets(octets: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(octets))
    }

    pub(super) const fn octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Whether this one is later than `other` (RFC 1982 §3.2).
    #[must_use]
    pub fn follows(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    /// Whole seconds by which our clock is ahead of this stamp; negative if the stamp is ahead.
    #[must_use]
    pub fn age_s(self, wall: WallTime) -> i64 {
        let seconds = |stamp: Self| u32::try_from(stamp.0 >> 32).expect("32 bits are left");
        let age = seconds(Self::at(wall)).wrapping_sub(seconds(self));
        i64::from(age.cast_signed())
    }

    fn is_within(self, wall: WallTime, window_s: u32) -> bool {
        self.age_s(wall).unsigned_abs() <= u64::from(window_s)
    }
}

/// Makes the stamps of one sender: the clock, or the one before and one more, whichever is later.
#[derive(Clone, Debug, Default)]
pub struct Sequencer {
    last: Option<Stamp>,
}

impl Sequencer {
    /// A sequencer whose first stamp is not before `wall`, and after `told`: what may have been said before it began.
    #[must_use]
    pub fn beginning_at(wall: WallTime, told: Option<Stamp>) -> Self {
        let clock = Stamp::at(wall);
        Self {
            last: told.filter(|told| told.follows(clock)).or(Some(clock)),
        }
    }

    /// A stamp that is later than all of the next `lead`, in whole seconds, for somebody who can sign nothing then.
    #[must_use]
    pub fn ahead(&self, wall: WallTime, lead: Duration, authentication: &Authentication) -> Stamp {
        let clock = Stamp::at(wall.after(lead));
        let stranded = |last: Stamp| is_stranded(last, wall, authentication);
        self.last
            .filter(|last| !stranded(*last))
            .map(|last| last.later_by(lead))
            .filter(|last| last.follows(clock))
            .unwrap_or(clock)
    }

    /// The stamp of what is signed now.
    ///
    /// After the clock was set back, `Freshness::Window` begins anew at the clock once the receivers would refuse the
    /// old time; `Freshness::Growth` never goes back.
    pub fn next(&mut self, wall: WallTime, authentication: &Authentication) -> Stamp {
        let clock = Stamp::at(wall);
        let stranded = |last: Stamp| is_stranded(last, wall, authentication);
        let stamp = match self.last {
            Some(last) if !clock.follows(last) && !stranded(last) => Stamp(last.0.wrapping_add(1)),
            _ => clock,
        };
        self.last = Some(stamp);
        stamp
    }
}

/// Whether the receivers would refuse what is stamped from here on, because they look at the clock and it was set back.
fn is_stranded(last: Stamp, wall: WallTime, authentication: &Authentication) -> bool {
    authentication.freshness == Freshness::Window && !last.is_within(wall, authentication.window_s)
}

/// The highest stamp seen of each sender. Moves only for what was accepted.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The one heard last is at the end.
    seen: Vec<(IpAddr, Stamp)>,
}

impl Marks {
    /// Whether a stamp is later than every one this sender was believed with.
    pub(crate) fn admits(
        &self,
        source: IpAddr,
        stamp: Stamp,
        wall: WallTime,
        authentication: &Authentication,
    ) -> bool {
        let mark = self.seen.iter().find(|(sender, _)| *sender == source);
        let Some((_, mark)) = mark else {
            return true;
        };
        // What is outside the window is refused anyway: a sender that had a wrong clock gets back in.
        let expired = authentication.freshness == Freshness::Window
            && !mark.is_within(wall, authentication.window_s);
        expired || stamp.follows(*mark)
    }

    pub(crate) fn note(&mut self, source: IpAddr, stamp: Stamp) {
        self.seen.retain(|(sender, _)| *sender != source);
        if self.seen.len() == SENDERS {
            self.seen.remove(0);
        }
        self.seen.push((source, stamp));
    }
}

impl Authentication {
    /// Whether the stamp of something that was signed with a key of ours is recent enough.
    pub(crate) fn is_fresh(&self, stamp: Stamp, wall: WallTime) -> bool {
        match self.freshness {
            Freshness::Window => stamp.is_within(wall, self.window_s),
            Freshness::Growth => true,
        }
    }

    /// The difference of the clocks in seconds, if it is so large that someone should look.
    pub(crate) fn noteworthy_skew(&self, stamp: Stamp, wall: WallTime) -> Option<i64> {
        let skew = stamp.age_s(wall);
        (skew.unsigned_abs() > u64::from(self.window_s / 2)).then_some(skew)
    }
}

/// Says whose clock is ahead, in words without full stop; which of the two is wrong nobody here can know. `skew_s` is by
/// how much ours is ahead.
#[must_use]
pub fn skew_words(peer: IpAddr, skew_s: i64) -> String {
    let which = if skew_s < 0 { "ahead of" } else { "behind" };
    format!(
        "the clock of {peer} is {} s {which} ours: check the time of both nodes",
        skew_s.unsigned_abs()
    )
}
