//! Frames as the observer reads them and VRRP messages as the injector writes them.
//!
//! Written apart from the `vrrp` crate on purpose: a mistake there must not hide itself here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_VRRP: u8 = 112;
const PROTOCOL_ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// A frame the laboratory cares about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A VRRP advertisement, checked for nothing.
    Advert(Advert),
    /// A gratuitous ARP: sender address and target address are the same.
    GratuitousArp {
        /// The address announced.
        address: Ipv4Addr,
        /// The hardware address it is said to be at.
        mac: [u8; 6],
        /// Operation 1 (request form) or 2 (reply form).
        operation: u16,
    },
    /// A neighbour advertisement to all nodes.
    NeighbourAdvertisement {
        /// The address announced.
        address: Ipv6Addr,
        /// The hardware address in the option, if there is one.
        mac: Option<[u8; 6]>,
    },
}

/// The fields of an advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The IP source address.
    pub source: IpAddr,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// 2 or 3.
    pub version: u8,
    /// The virtual router.
    pub vrid: u8,
    /// 0 when the Active router leaves.
    pub priority: u8,
    /// Seconds in version 2, centiseconds in version 3.
    pub interval: u16,
    /// How many addresses it says follow.
    pub count: u8,
}

/// Reads an Ethernet frame; `None` for everything the laboratory does not care about.
pub fn decode(frame: &[u8]) -> Option<Frame> {
    let payload = frame.get(14..)?;
    match u16::from_be_bytes([frame[12], frame[13]]) {
        ETHERTYPE_ARP => arp(payload),
        ETHERTYPE_IPV4 => {
            let head = usize::from(payload.first()? & 0x0f) * 4;
            if *payload.get(9)? != PROTOCOL_VRRP {
                return None;
            }
            let source: [u8; 4] = payload.get(12..16)?.try_into().ok()?;
            advert(IpAddr::from(source), payload[8], payload.get(head..)?)
        }
        ETHERTYPE_IPV6 => {
            let source: [u8; 16] = payload.get(8..24)?.try_into().ok()?;
            let message = payload.get(40..)?;
            match *payload.get(6)? {
                PROTOCOL_VRRP => advert(IpAddr::from(source), payload[7], message),
                PROTOCOL_ICMPV6 => neighbour_advertisement(message),
                _ => None,
            }
        }
        _ => None,
    }
}

fn arp(payload: &[u8]) -> Option<Frame> {
    let sender: [u8; 4] = payload.get(14..18)?.try_into().ok()?;
    let target: [u8; 4] = payload.get(24..28)?.try_into().ok()?;
    (sender == target).then_some(Frame::GratuitousArp {
        address: sender.into(),
        mac: payload.get(8..14)?.try_into().ok()?,
        operation: u16::from_be_bytes([payload[6], payload[7]]),
    })
}

fn advert(source: IpAddr, hop_limit: u8, message: &[u8]) -> Option<Frame> {
    let head = message.get(..8)?;
    let version = head[0] >> 4;
    let interval = match version {
        2 => u16::from(head[5]),
        _ => u16::from_be_bytes([head[4], head[5]]) & 0x0fff,
    };
    Some(Frame::Advert(Advert {
        source,
        hop_limit,
        version,
        vrid: head[1],
        priority: head[2],
        interval,
        count: head[3],
    }))
}

fn neighbour_advertisement(message: &[u8]) -> Option<Frame> {
    if *message.first()? != NEIGHBOUR_ADVERTISEMENT {
        return None;
    }
    let address: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let option = message.get(24..32).filter(|option| option[0] == 2);
    Some(Frame::NeighbourAdvertisement {
        address: address.into(),
        mac: option.and_then(|option| option[2..8].try_into().ok()),
    })
}

/// Which checksum and trailer a message gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvertForm {
    /// Version 2 with eight octets of authentication data of type `0` or `1`.
    V2 {
        /// 0 none, 1 simple text password.
        auth_type: u8,
        /// The trailer.
        data: [u8; 8],
    },
    /// Version 3 over IPv4 with the pseudo-header of RFC 5798.
    V3 {
        /// For the pseudo-header.
        source: Ipv4Addr,
        /// For the pseudo-header.
        destination: Ipv4Addr,
    },
}

/// A VRRP message with a good checksum; `interval` is in the unit of the version.
pub fn vrrp_message(
    form: AdvertForm,
    vrid: u8,
    priority: u8,
    interval: u16,
    addresses: &[Ipv4Addr],
) -> Vec<u8> {
    let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    let [high, low] = interval.to_be_bytes();
    let (first, field) = match form {
        AdvertForm::V2 { auth_type, .. } => (0x21, [auth_type, low]),
        AdvertForm::V3 { .. } => (0x31, [high & 0x0f, low]),
    };
    let mut message = vec![first, vrid, priority, count, field[0], field[1], 0, 0];
    for address in addresses {
        message.extend(address.octets());
    }
    let mut summed = Vec::new();
    match form {
        AdvertForm::V2 { data, .. } => message.extend(data),
        AdvertForm::V3 {
            source,
            destination,
        } => {
            let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
            summed.extend(source.octets());
            summed.extend(destination.octets());
            summed.extend([0, PROTOCOL_VRRP]);
            summed.extend(length.to_be_bytes());
        }
    }
    summed.extend(&message);
    let checksum = checksum(&summed);
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keepalived 2.2.7's own packet: vrid 51, priority 200, 100 cs, 10.0.0.10, from 10.0.0.2 to 224.0.0.18.
    #[test]
    fn a_version_3_message_is_byte_for_byte_what_the_rfc_draws() {
        let form = AdvertForm::V3 {
            source: Ipv4Addr::new(10, 0, 0, 2),
            destination: Ipv4Addr::new(224, 0, 0, 18),
        };
        let message = vrrp_message(form, 51, 200, 100, &[Ipv4Addr::new(10, 0, 0, 10)]);
        // Sum by hand: 0a00+0002+e000+0012+0070+000c + 3133+c801+0064+0a00+000a = 1ee32 -> ee33 -> complement 11cc.
        assert_eq!(
            message,
            [0x31, 51, 200, 1, 0, 100, 0x11, 0xcc, 10, 0, 0, 10]
        );
    }

    #[test]
    fn a_gratuitous_arp_is_one_only_if_sender_is_target() {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend([
            2, 0, 0, 0, 0, 2, 10, 0, 0, 10, 0, 0, 0, 0, 0, 0, 10, 0, 0, 10,
        ]);
        let address = Ipv4Addr::new(10, 0, 0, 10);
        assert_eq!(
            decode(&frame),
            Some(Frame::GratuitousArp {
                address,
                mac: [2, 0, 0, 0, 0, 2],
                operation: 1
            })
        );
        let last = frame.len() - 1;
        frame[last] = 11;
        assert_eq!(decode(&frame), None);
    }

    #[test]
    fn short_frames_are_nothing() {
        for length in 0..60 {
            let mut frame = vec![0; length];
            if length > 23 {
                frame[12..14].copy_from_slice(&[8, 0]);
                frame[14] = 0x4f;
                frame[23] = PROTOCOL_VRRP;
            }
            assert_eq!(decode(&frame), None, "length {length}");
        }
    }
}
