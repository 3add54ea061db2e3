//! An advertisement to send: a value that can only be valid, turned into octets when it is sent.

use std::net::IpAddr;
use std::sync::Arc;

use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::MutableIpv4Packet;

use super::{
    AUTH_LEN, AUTH_NONE, AUTH_PASSWORD, FIXED_LEN, HOP_LIMIT, PROTOCOL, TRAFFIC_CLASS,
    TYPE_ADVERTISEMENT, message_len, plain_checksum, pseudo_checksum,
};
use crate::authentication::{Authentication, Signed, Stamp, sign};
use crate::types::{ChecksumForm, Family, Interval, Password, Priority, Version, Vrid};

/// Octets of an IPv4 header without options.
const IPV4_HEADER_LEN: usize = 20;
/// The most addresses the count octet can say.
const MAX_ADDRESSES: usize = 255;

/// One advertisement of one family. Only the virtual router makes it.
#[derive(Clone, PartialEq, Debug)]
pub struct Advertisement {
    /// Address family of the carrying packet and of every address inside.
    pub family: Family,
    /// Virtual router.
    pub vrid: Vrid,
    /// Protocol version.
    pub version: Version,
    /// Priority; 0 says that the sender leaves.
    pub priority: Priority,
    /// The sender's own interval.
    pub interval: Interval,
    /// Source address of the packet: the primary IPv4 or the link-local IPv6 address (RFC 9568 §7.2).
    pub source: IpAddr,
    /// Where to send it: the group, or each unicast peer.
    pub destinations: Vec<IpAddr>,
    /// The virtual addresses in wire order.
    pub addresses: Vec<IpAddr>,
    /// What the checksum covers; v3 over IPv4 only.
    pub checksum: ChecksumForm,
    pub(crate) password: Option<Password>,
    pub(crate) authentication: Option<Arc<Authentication>>,
}

impl Advertisement {
    /// The authentication it is signed with; `None` if it carries no trailer.
    #[must_use]
    pub fn authentication(&self) -> Option<&Authentication> {
        self.authentication
            .as_deref()
            .filter(|authentication| authentication.signs())
    }

    /// The octets for one destination, of a virtual router that does not authenticate. One that does needs
    /// [`Advertisement::encode_at`]: what it sends by this door is stamped with the year 1970, and nobody believes it.
    #[must_use]
    pub fn encode(&self, destination: IpAddr) -> Vec<u8> {
        self.encode_at(destination, Stamp::default())
    }

    /// The octets for one destination, signed with `stamp` if this virtual router authenticates.
    ///
    /// IPv4: a whole datagram for a socket with `IP_HDRINCL`; the kernel fills identification and header checksum.
    /// IPv6: the VRRP message only. The message checksum is in place in both.
    #[must_use]
    pub fn encode_at(&self, destination: IpAddr, stamp: Stamp) -> Vec<u8> {
        let message = self.message(destination, stamp);
        match (self.source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total = IPV4_HEADER_LEN + message.len();
                let mut packet =
                    MutableIpv4Packet::owned(vec![0; total]).expect("longer than an IPv4 header");
                packet.set_version(4);
                packet.set_header_length(5);
                packet.set_dscp(TRAFFIC_CLASS >> 2);
                packet.set_total_length(
                    u16::try_from(total).expect("255 addresses fit an IPv4 datagram"),
                );
                packet.set_ttl(HOP_LIMIT);
                packet.set_next_level_protocol(IpNextHeaderProtocol::new(PROTOCOL));
                packet.set_source(source);
                packet.set_destination(destination);
                packet.set_payload(&message);
                pnet::packet::Packet::packet(&packet).to_vec()
            }
            _other_family => message,
        }
    }

    /// The VRRP message with its checksum and trailer.
    fn message(&self, destination: IpAddr, stamp: Stamp) -> Vec<u8> {
        let count = self.addresses.len().min(MAX_ADDRESSES);
        let mut message = Vec::with_capacity(message_len(self.version, self.family, count));
        let version = match self.version {
            Version::V2 => 2,
            Version::V3 => 3,
        };
        message.push(version << 4 | TYPE_ADVERTISEMENT);
        message.push(self.vrid.value());
        message.push(self.priority.value());
        message.push(u8::try_from(count).expect("limited to 255"));
        message.extend_from_slice(&self.timing_octets());
        message.extend_from_slice(&[0, 0]);
        for address in self.addresses.iter().take(count) {
            match address {
                IpAddr::V4(address) => message.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => message.extend_from_slice(&address.octets()),
            }
        }
        if self.version == Version::V2 {
            message.extend_from_slice(
                self.password
                    .as_ref()
                    .map_or(&[0_u8; AUTH_LEN], Password::octets)
                    .as_slice(),
            );
        }
        let own_len = message.len();
        let signed = Signed {
            source: self.source,
            message: &message,
        };
        let trailer = self
            .authentication()
            .and_then(|authentication| sign(authentication, signed, stamp));
        message.extend_from_slice(trailer.as_ref().map_or(&[], <[u8; _]>::as_slice));
        // Over IPv4 the checksum leaves the trailer out, over IPv6 it covers the whole payload.
        let covered = match self.family {
            Family::V4 => &message[..own_len],
            Family::V6 => &message[..],
        };
        let checksum = self.checksum_of(covered, destination);
        message[FIXED_LEN - 2..FIXED_LEN].copy_from_slice(&checksum.to_be_bytes());
        message
    }

    /// Octets 4 and 5: reserved bits and interval, or authentication type and seconds.
    fn timing_octets(&self) -> [u8; 2] {
        match self.version {
            Version::V3 => self.interval.centis().to_be_bytes(),
            Version::V2 => {
                let auth_type = if self.password.is_some() {
                    AUTH_PASSWORD
                } else {
                    AUTH_NONE
                };
                [auth_type, v2_seconds(self.interval)]
            }
        }
    }

    fn checksum_of(&self, message: &[u8], destination: IpAddr) -> u16 {
        let with_pseudo_header = || pseudo_checksum(message, self.source, destination);
        match (self.version, self.family, self.checksum) {
            (Version::V2, _, _) | (Version::V3, Family::V4, ChecksumForm::Rfc9568) => {
                plain_checksum(message)
            }
            (Version::V3, Family::V6, _) | (Version::V3, Family::V4, ChecksumForm::Rfc5798) => {
                with_pseudo_header().unwrap_or_else(|| plain_checksum(message))
            }
        }
    }
}

/// The v2 interval: whole seconds, rounded up where the configuration let a fraction through.
pub(crate) fn v2_seconds(interval: Interval) -> u8 {
    u8::try_from(interval.centis().div_ceil(100)).expect("at most 41 s")
}
