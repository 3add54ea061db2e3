//! Reasons to refuse a packet, and the counts of what came and went.

use thiserror::Error;

use crate::receive::Accepted;
use crate::types::Priority;
use crate::wire::Advertisement;

/// Why a received packet is discarded; the variants stand in the order of the checks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Error)]
pub enum Reject {
    /// Fewer octets than the IP header or the fixed part of the message.
    #[error("shorter than its header")]
    Short,
    /// The IPv4 header's lengths do not fit the octets received, or the packet is a fragment.
    #[error("header length, total length or fragment does not fit what was received")]
    IpLength,
    /// Not IP protocol 112.
    #[error("not the VRRP protocol number")]
    Protocol,
    /// Neither the group nor, for unicast, our address from a configured peer.
    #[error("not sent to this virtual router")]
    Destination,
    /// Comes from one of our own addresses: a reflection.
    #[error("sent from one of our own addresses")]
    OwnSource,
    /// Comes from an address in no network of the interface, where only neighbours are believed.
    #[error("sent from an address in no network of the interface")]
    OffLink,
    /// TTL or hop limit is not 255 (RFC 9568 §7.1), or below what is configured for a routed peer.
    #[error("TTL or hop limit is not 255")]
    HopLimit,
    /// Not the version this virtual router speaks (RFC 9568 §7.1).
    #[error("not the configured version")]
    Version,
    /// Not exactly the length its address count asks for (RFC 9568 §7.1).
    #[error("length does not match the address count")]
    Length,
    /// Not an advertisement (RFC 9568 §5.2.2).
    #[error("unknown message type")]
    Type,
    /// VRID not configured on this interface and family (RFC 9568 §7.1, erratum 8298).
    #[error("unknown virtual router id")]
    UnknownVrid,
    /// No authentication trailer where one is asked for.
    #[error("not authenticated")]
    TrailerMissing,
    /// A trailer of another type, or with reserved octets that are not zero.
    #[error("authentication trailer of an unknown form")]
    TrailerForm,
    /// Signed with a key number that is not ours.
    #[error("signed with an unknown key")]
    KeyUnknown,
    /// The HMAC does not hold: another key under this number, or changed on the way.
    #[error("wrong HMAC")]
    Hmac,
    /// Signed with a key of ours, but by a clock too far from ours.
    #[error("signed too long ago or in the future: the clocks differ")]
    Stale,
    /// Signed with a key of ours, but not later than what was heard before: recorded and sent again.
    #[error("not later than what was heard before")]
    Replay,
    /// Wrong checksum, or right in a form that is not the configured one (RFC 9568 §5.2.8).
    #[error("checksum does not match")]
    Checksum,
    /// Names no address (erratum 8299).
    #[error("address count is zero")]
    CountZero,
    /// Interval 0 (erratum 8301).
    #[error("interval is zero")]
    IntervalZero,
    /// IPv6 source or first address is not link-local (RFC 9568 §7.2, erratum 8300).
    #[error("source or first address is not link-local")]
    NotLinkLocal,
    /// v2: another authentication type than ours (RFC 3768 §7.1).
    #[error("other authentication type")]
    AuthType,
    /// v2: wrong password (RFC 2338 §7.1).
    #[error("wrong password")]
    Password,
    /// v2: another interval than ours (RFC 3768 §7.1).
    #[error("interval is not ours")]
    V2Interval,
    /// Another address list than ours, from a router that is not the owner (RFC 3768 §7.1).
    #[error("address list is not ours")]
    AddressList,
}

impl Reject {
    /// Every reason, in the order of the checks.
    pub const ALL: [Self; 25] = [
        Self::Short,
        Self::IpLength,
        Self::Protocol,
        Self::Destination,
        Self::OwnSource,
        Self::OffLink,
        Self::HopLimit,
        Self::Version,
        Self::Length,
        Self::Type,
        Self::UnknownVrid,
        Self::TrailerMissing,
        Self::TrailerForm,
        Self::KeyUnknown,
        Self::Hmac,
        Self::Stale,
        Self::Replay,
        Self::Checksum,
        Self::CountZero,
        Self::IntervalZero,
        Self::NotLinkLocal,
        Self::AuthType,
        Self::Password,
        Self::V2Interval,
        Self::AddressList,
    ];

    /// The name of the counter, snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::IpLength => "ip_length",
            Self::Protocol => "protocol",
            Self::Destination => "destination",
            Self::OwnSource => "own_source",
            Self::OffLink => "off_link",
            Self::HopLimit => "hop_limit",
            Self::Version => "version",
            Self::Length => "length",
            Self::Type => "type",
            Self::UnknownVrid => "unknown_vrid",
            Self::TrailerMissing => "trailer_missing",
            Self::TrailerForm => "trailer_form",
            Self::KeyUnknown => "key_unknown",
            Self::Hmac => "hmac",
            Self::Stale => "stale",
            Self::Replay => "replay",
            Self::Checksum => "checksum",
            Self::CountZero => "count_zero",
            Self::IntervalZero => "interval_zero",
            Self::NotLinkLocal => "not_link_local",
            Self::AuthType => "auth_type",
            Self::Password => "password",
            Self::V2Interval => "v2_interval",
            Self::AddressList => "address_list",
        }
    }
}

/// What one virtual router, or one interface, sent, accepted and refused.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Advertisements accepted.
    pub accepted: u64,
    /// Advertisements sent; one for each destination.
    pub sent: u64,
    /// Farewells accepted.
    pub priority_zero_received: u64,
    /// Farewells sent.
    pub priority_zero_sent: u64,
    /// None before the first: most refuse nothing in all their life.
    rejected: Option<Box<[u64; Reject::ALL.len()]>>,
}

impl Counters {
    /// Counts an accepted advertisement.
    pub fn count_accepted(&mut self, accepted: &Accepted) {
        self.accepted += 1;
        self.priority_zero_received += u64::from(accepted.priority().is_release());
    }

    /// Counts a packet given to the kernel.
    pub fn count_sent(&mut self, advertisement: &Advertisement) {
        self.sent += 1;
        self.priority_zero_sent += u64::from(advertisement.priority == Priority::RELEASE);
    }

    /// Counts a refused packet.
    pub fn reject(&mut self, reason: Reject) {
        let counts = self.rejected.get_or_insert_default();
        counts[reason as usize] += 1;
    }

    /// How many packets were refused for this reason.
    #[must_use]
    pub fn rejected(&self, reason: Reject) -> u64 {
        let counts = self.rejected.as_deref();
        counts.map_or(0, |counts| counts[reason as usize])
    }

    /// The refused ones by name, in the order of the checks.
    pub fn rejects(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Reject::ALL
            .into_iter()
            .map(|reason| (reason.as_str(), self.rejected(reason)))
    }

    /// Every count by name: first what was accepted and sent, then what was refused.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        [
            ("accepted", self.accepted),
            ("sent", self.sent),
            ("priority_zero_received", self.priority_zero_received),
            ("priority_zero_sent", self.priority_zero_sent),
        ]
        .into_iter()
        .chain(self.rejects())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut counters = Counters::default();
        for (times, reason) in Reject::ALL.into_iter().enumerate() {
            for _ in 0..=times {
                counters.reject(reason);
            }
        }
        let counts: Vec<u64> = counters.rejects().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=25).collect::<Vec<u64>>());
        let mut names: Vec<&str> = counters.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 29);
    }
}
