//! The VRRP message on the wire: a checked view of received octets, and what is common to both directions.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |version| type  |     VRID      |   priority    |     count     |
//! +-------+-------+---------------+---------------+---------------+
//! | v3: 0 | interval, 12 bits, cs |            checksum           |
//! | v2: auth type | interval, s   |                               |
//! +---------------+---------------+-------------------------------+
//! |             count addresses, 4 or 16 octets each              |
//! +---------------------------------------------------------------+
//! |             v2 only: 8 octets of authentication data          |
//! +---------------------------------------------------------------+
//! ```
//! (RFC 9568 §5.1, RFC 3768 §5.1.) A view says what the octets say; whether to believe them is `receive`'s part.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::util;

use crate::types::{ChecksumForm, Family, Version};

mod advertisement;

pub use advertisement::Advertisement;
pub(crate) use advertisement::v2_seconds;

/// IP protocol number, and IPv6 next header, of VRRP.
pub const PROTOCOL: u8 = 112;
/// TTL and hop limit of every advertisement; a receiver accepts no other (RFC 9568 §5.1.1.3, §5.1.2.3).
pub const HOP_LIMIT: u8 = 255;
/// Type of service of what is sent: CS6, network control.
pub const TRAFFIC_CLASS: u8 = 0xc0;
/// The IPv4 group (RFC 9568 §7.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The IPv6 group (RFC 9568 §7.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// Octets before the first address.
pub(crate) const FIXED_LEN: usize = 8;
/// Octets of authentication data that end a v2 message.
pub(crate) const AUTH_LEN: usize = 8;
/// The only message type there is.
pub(crate) const TYPE_ADVERTISEMENT: u8 = 1;
/// v2 authentication type 0: none.
pub(crate) const AUTH_NONE: u8 = 0;
/// v2 authentication type 1: clear-text password.
pub(crate) const AUTH_PASSWORD: u8 = 1;
/// Word of the checksum, which the sum leaves out.
const CHECKSUM_WORD: usize = 3;
/// The interval's bits in octets 4 and 5 of v3; the four above are reserved and masked (RFC 9568 §5.2.6).
const INTERVAL_MASK: u16 = 0x0fff;

/// The multicast group of a family.
#[must_use]
pub const fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(GROUP_V4),
        Family::V6 => IpAddr::V6(GROUP_V6),
    }
}

/// Received octets that are at least the fixed part.
#[derive(Clone, Copy)]
pub(crate) struct MessageView<'a> {
    family: Family,
    octets: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// A view, or `None` if the fixed part is not there.
    pub(crate) fn new(family: Family, octets: &'a [u8]) -> Option<Self> {
        (octets.len() >= FIXED_LEN).then_some(Self { family, octets })
    }

    /// The version, if it is one of the two.
    pub(crate) fn version(&self) -> Option<Version> {
        match self.octets[0] >> 4 {
            2 => Some(Version::V2),
            3 => Some(Version::V3),
            _ => None,
        }
    }

    pub(crate) fn message_type(&self) -> u8 {
        self.octets[0] & 0x0f
    }

    pub(crate) fn vrid(&self) -> u8 {
        self.octets[1]
    }

    pub(crate) fn priority(&self) -> u8 {
        self.octets[2]
    }

    pub(crate) fn count(&self) -> u8 {
        self.octets[3]
    }

    /// v3: centiseconds, reserved bits masked.
    pub(crate) fn interval_centis(&self) -> u16 {
        u16::from_be_bytes([self.octets[4], self.octets[5]]) & INTERVAL_MASK
    }

    /// v2: authentication type.
    pub(crate) fn auth_type(&self) -> u8 {
        self.octets[4]
    }

    /// v2: seconds.
    pub(crate) fn interval_seconds(&self) -> u8 {
        self.octets[5]
    }

    /// The length the count asks for. An advertisement has exactly this.
    pub(crate) fn exact_len(&self, version: Version) -> usize {
        message_len(version, self.family, usize::from(self.count()))
    }

    /// The addresses that are there, at most `count`.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let octets = &self.octets[FIXED_LEN..];
        let count = usize::from(self.count());
        match self.family {
            Family::V4 => octets
                .as_chunks::<4>()
                .0
                .iter()
                .take(count)
                .map(|&a| IpAddr::V4(Ipv4Addr::from(a)))
                .collect(),
            Family::V6 => octets
                .as_chunks::<16>()
                .0
                .iter()
                .take(count)
                .map(|&a| IpAddr::V6(Ipv6Addr::from(a)))
                .collect(),
        }
    }

    /// v2: the authentication data that ends the message.
    pub(crate) fn auth_data(&self) -> Option<&'a [u8; AUTH_LEN]> {
        self.octets.last_chunk()
    }

    fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.octets[6], self.octets[7]])
    }

    /// Whether the checksum is right when it covers the message alone.
    pub(crate) fn plain_checksum_holds(&self) -> bool {
        self.checksum() == plain_checksum(self.octets)
    }

    /// Whether the checksum is right when it covers pseudo-header and message.
    pub(crate) fn pseudo_checksum_holds(&self, source: IpAddr, destination: IpAddr) -> bool {
        pseudo_checksum(self.octets, source, destination).is_some_and(|sum| sum == self.checksum())
    }

    /// Whether the checksum of a v3 message over IPv4 holds in this form.
    pub(crate) fn checksum_holds(
        &self,
        form: ChecksumForm,
        source: IpAddr,
        destination: IpAddr,
    ) -> bool {
        match form {
            ChecksumForm::Rfc5798 => self.pseudo_checksum_holds(source, destination),
            ChecksumForm::Rfc9568 => self.plain_checksum_holds(),
        }
    }
}

/// Octets of a message with `count` addresses.
pub(crate) const fn message_len(version: Version, family: Family, count: usize) -> usize {
    let address = match family {
        Family::V4 => 4,
        Family::V6 => 16,
    };
    let trailer = match version {
        Version::V2 => AUTH_LEN,
        Version::V3 => 0,
    };
    FIXED_LEN + count * address + trailer
}

/// The checksum over the message alone.
pub(crate) fn plain_checksum(message: &[u8]) -> u16 {
    util::checksum(message, CHECKSUM_WORD)
}

/// The checksum over pseudo-header and message; `None` if the addresses are of two families.
pub(crate) fn pseudo_checksum(message: &[u8], source: IpAddr, destination: IpAddr) -> Option<u16> {
    let protocol = IpNextHeaderProtocol::new(PROTOCOL);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Some(util::ipv4_checksum(
            message,
            CHECKSUM_WORD,
            &[],
            &source,
            &destination,
            protocol,
        )),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Some(util::ipv6_checksum(
            message,
            CHECKSUM_WORD,
            &[],
            &source,
            &destination,
            protocol,
        )),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}
