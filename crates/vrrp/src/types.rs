//! The words of the protocol as types: ids, roles, units.
//!
//! Every value here is valid by construction. Nothing in this module decides anything.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

/// Virtual router identifier, 1 to 255 (RFC 9568 §5.2.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// A VRID, or `None` for 0.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        match NonZeroU8::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Priority of a router, 0 to 255 (RFC 9568 §5.2.4): 0 means "I leave", 255 means "I own the addresses".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Priority(u8);

impl Priority {
    /// Said by an Active router that leaves.
    pub const RELEASE: Self = Self(0);
    /// The lowest priority of a router that takes part.
    pub const LOWEST: Self = Self(1);
    /// The priority of a router that nobody configured (RFC 9568 §6.1).
    pub const DEFAULT: Self = Self(100);
    /// The highest priority of a router that does not own the addresses.
    pub const HIGHEST: Self = Self(254);
    /// The owner of the addresses.
    pub const OWNER: Self = Self(255);

    /// Any octet is a priority.
    #[must_use]
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// Whether this is the farewell value 0.
    #[must_use]
    pub const fn is_release(self) -> bool {
        self.0 == 0
    }

    /// Whether this is the address owner's value 255.
    #[must_use]
    pub const fn is_owner(self) -> bool {
        self.0 == 255
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Advertisement interval in centiseconds, 1 to 4095 (RFC 9568 §5.2.7, erratum 8301).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Interval(u16);

impl Interval {
    /// One second, the default of the RFC.
    pub const SECOND: Self = Self(100);
    /// 40.95 seconds: what twelve bits can say.
    pub const MAX: Self = Self(4095);

    /// An interval of `centis` centiseconds; `None` outside 1..=4095.
    #[must_use]
    pub const fn from_centis(centis: u16) -> Option<Self> {
        if centis >= 1 && centis <= Self::MAX.0 {
            Some(Self(centis))
        } else {
            None
        }
    }

    /// Centiseconds.
    #[must_use]
    pub const fn centis(self) -> u16 {
        self.0
    }

    /// The same length as a duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }

    /// Whole seconds for the v2 header, or `None` if the interval has a fraction (RFC 3768 §5.3.7).
    #[must_use]
    pub const fn whole_seconds(self) -> Option<u8> {
        if self.0.is_multiple_of(100) {
            Some((self.0 / 100) as u8)
        } else {
            None
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", u32::from(self.0) * 10)
    }
}

/// Address family of a virtual router. The two are independent on the wire (RFC 9568 §1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first: the order in which advertisements are sent.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// `ipv4` or `ipv6`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value for each address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PerFamily<T> {
    pub(crate) v4: T,
    pub(crate) v6: T,
}

impl<T> PerFamily<T> {
    pub(crate) fn of(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(crate) fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// Protocol version a virtual router speaks. Packets of the other one are not for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// RFC 3768 with the clear-text password of RFC 2338; IPv4 only, whole seconds.
    V2,
    /// RFC 9568; IPv4 and IPv6, centiseconds.
    V3,
}

/// What the checksum of a v3 advertisement over IPv4 covers. IPv6 always has the pseudo-header, v2 never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChecksumForm {
    /// Pseudo-header and message (RFC 5798 §5.2.8): what Keepalived and FRR send.
    Rfc5798,
    /// Message only (RFC 9568 §5.2.8): what many switches and routers send.
    Rfc9568,
}

impl ChecksumForm {
    /// `rfc5798` or `rfc9568`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rfc5798 => "rfc5798",
            Self::Rfc9568 => "rfc9568",
        }
    }
}

impl fmt::Display for ChecksumForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which checksum forms are accepted, and which one is sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChecksumPolicy {
    /// Accept both; send the RFC 5798 form until a peer is heard, then the peer's.
    Auto,
    /// Accept and send this one only.
    Fixed(ChecksumForm),
}

/// Clear-text password of VRRPv2 (RFC 2338 §5.3.6), zero padded. Interoperability only: it protects nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password([u8; 8]);

impl Password {
    /// A password of 1 to 8 octets; `None` for any other length.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut octets = [0; 8];
        if text.is_empty() {
            return None;
        }
        octets.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self(octets))
    }

    /// The eight octets of authentication data.
    pub(crate) const fn octets(&self) -> &[u8; 8] {
        &self.0
    }

    /// Compares in a time that does not depend on where the difference is.
    pub(crate) fn matches(&self, data: &[u8; 8]) -> bool {
        let difference = self.0.iter().zip(data).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// When a router with the better priority takes over from a lower one that is Active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preempt {
    /// When its own down timer ends (RFC 9568 §6.4.2: Preempt_Mode true).
    Immediately,
    /// This long after it became able to. No RFC knows this.
    After(Duration),
    /// Only when the other is gone (Preempt_Mode false).
    Never,
}

/// What is known of the other routers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerKnowledge {
    /// Nothing: the times of the RFC hold.
    Unknown,
    /// Exactly two nodes are configured: one backup, so nobody has to be ordered by Skew_Time.
    Pair,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_1_to_4095_centiseconds() {
        assert_eq!(Interval::from_centis(0), None);
        assert_eq!(Interval::from_centis(4096), None);
        assert_eq!(
            Interval::from_centis(1).unwrap().as_duration(),
            Duration::from_millis(10)
        );
        assert_eq!(
            Interval::from_centis(4095).unwrap().as_duration(),
            Duration::from_millis(40_950)
        );
    }

    #[test]
    fn only_whole_seconds_fit_the_v2_header() {
        assert_eq!(Interval::from_centis(50).unwrap().whole_seconds(), None);
        assert_eq!(Interval::from_centis(200).unwrap().whole_seconds(), Some(2));
        assert_eq!(
            Interval::from_centis(4000).unwrap().whole_seconds(),
            Some(40)
        );
    }

    #[test]
    fn a_vrid_is_not_zero() {
        assert_eq!(Vrid::new(0), None);
        assert_eq!(Vrid::new(255).unwrap().value(), 255);
    }

    #[test]
    fn a_password_is_padded_compared_whole_and_never_shown() {
        let password = Password::new(b"s3cret").unwrap();
        assert_eq!(password.octets(), b"s3cret\0\0");
        assert!(password.matches(b"s3cret\0\0"));
        assert!(!password.matches(b"s3cret\0x"));
        assert!(!password.matches(b"S3cret\0\0"));
        assert_eq!(format!("{password:?}"), "Password(hidden)");
        assert_eq!(Password::new(b""), None);
        assert_eq!(Password::new(b"ninechars"), None);
    }
}
