//! The frames, as pure functions of their contents.

use std::net::{Ipv4Addr, Ipv6Addr};

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    MutableNdpOptionPacket, MutableNeighborAdvertPacket, NdpOptionTypes, NeighborAdvertFlags,
};
use pnet::packet::icmpv6::{self, Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::util::MacAddr;

const ETHERNET_LEN: usize = 14;
const ARP_LEN: usize = 28;
const IPV6_LEN: usize = 40;
const ADVERT_LEN: usize = 24;
/// Type, length, six octets: one unit of eight.
const OPTION_LEN: usize = 8;

const MAC_LEN: u8 = 6;
const IPV4_ADDRESS_LEN: u8 = 4;
/// ff02::1, and the hardware address its frames go to (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr(0x33, 0x33, 0, 0, 0, 1);
/// Neighbour discovery is believed only with the hop limit that no router lets through (RFC 4861 §7.1.2).
const HOP_LIMIT: u8 = 255;

const ROOM: &str = "the frame was made as long as the packet";

/// The two ways to say the same by ARP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpForm {
    /// Operation 1, an ARP announcement (RFC 5227 §2.3).
    Request,
    /// Operation 2.
    Reply,
}

/// An Ethernet broadcast frame with a gratuitous ARP: sender and target are both `vip`.
///
/// The target hardware address is zero in a request (RFC 5227 §2.3) and our own in a reply (RFC 5944 §4.6).
pub fn gratuitous_arp(mac: [u8; 6], vip: Ipv4Addr, form: ArpForm) -> Vec<u8> {
    let mac = MacAddr::from(mac);
    let mut frame = ethernet(mac, MacAddr::broadcast(), EtherTypes::Arp, ARP_LEN);
    let mut arp = MutableArpPacket::new(&mut frame[ETHERNET_LEN..]).expect(ROOM);
    let (operation, target) = match form {
        ArpForm::Request => (ArpOperations::Request, MacAddr::zero()),
        ArpForm::Reply => (ArpOperations::Reply, mac),
    };
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(MAC_LEN);
    arp.set_proto_addr_len(IPV4_ADDRESS_LEN);
    arp.set_operation(operation);
    arp.set_sender_hw_addr(mac);
    arp.set_sender_proto_addr(vip);
    arp.set_target_hw_addr(target);
    arp.set_target_proto_addr(vip);
    frame
}

/// An Ethernet broadcast frame that asks who has `target` and says of nobody that he has it (RFC 5227 §2.1.1).
pub fn address_probe(mac: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
    arp_request(mac, Ipv4Addr::UNSPECIFIED, target)
}

/// An Ethernet broadcast frame in which `sender` asks who has `target` (RFC 826).
pub fn arp_request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = gratuitous_arp(mac, target, ArpForm::Request);
    MutableArpPacket::new(&mut frame[ETHERNET_LEN..])
        .expect(ROOM)
        .set_sender_proto_addr(sender);
    frame
}

/// An Ethernet frame that asks who has `target` (RFC 4861 §7.2.2): from the link-local address `source`, to which the answer goes, or from
/// none, as duplicate address detection does (RFC 4862 §5.4.2), and the answer goes to all nodes.
pub fn neighbour_probe(mac: [u8; 6], source: Option<Ipv6Addr>, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let low = [0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c])];
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, low[0], low[1], low[2], low[3]);
    let message_len = ADVERT_LEN + source.map_or(0, |_| OPTION_LEN);
    let mut frame = ethernet(
        MacAddr::from(mac),
        MacAddr(0x33, 0x33, 0xff, a, b, c),
        EtherTypes::Ipv6,
        IPV6_LEN + message_len,
    );
    let from = source.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let mut ip = MutableIpv6Packet::new(&mut frame[ETHERNET_LEN..]).expect(ROOM);
    ip.set_version(6);
    ip.set_payload_length(message_len as u16);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_source(from);
    ip.set_destination(group);

    // A solicitation is laid out as an advertisement without flags.
    let message = &mut frame[ETHERNET_LEN + IPV6_LEN..];
    if let Some(mut option) = MutableNdpOptionPacket::new(&mut message[ADVERT_LEN..]) {
        option.set_option_type(NdpOptionTypes::SourceLLAddr);
        option.set_length(1);
        option.set_data(&mac);
    }
    let mut solicitation = MutableNeighborAdvertPacket::new(message).expect(ROOM);
    solicitation.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    solicitation.set_target_addr(target);
    let view = Icmpv6Packet::new(message).expect(ROOM);
    let checksum = icmpv6::checksum(&view, &from, &group);
    MutableNeighborAdvertPacket::new(message)
        .expect(ROOM)
        .set_checksum(checksum);
    frame
}

/// An Ethernet frame to all nodes of the link with a neighbour advertisement for `vip` that nobody asked for
/// (RFC 4861 §7.2.6): override set, solicited clear, router as given, the hardware address in its option.
pub fn unsolicited_na(mac: [u8; 6], vip: Ipv6Addr, router: bool) -> Vec<u8> {
    let message_len = ADVERT_LEN + OPTION_LEN;
    let source = MacAddr::from(mac);
    let mut frame = ethernet(
        source,
        ALL_NODES_MAC,
        EtherTypes::Ipv6,
        IPV6_LEN + message_len,
    );

    let mut ip = MutableIpv6Packet::new(&mut frame[ETHERNET_LEN..]).expect(ROOM);
    ip.set_version(6);
    ip.set_payload_length(message_len as u16);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_source(vip);
    ip.set_destination(ALL_NODES);

    let message = &mut frame[ETHERNET_LEN + IPV6_LEN..];
    let mut option = MutableNdpOptionPacket::new(&mut message[ADVERT_LEN..]).expect(ROOM);
    option.set_option_type(NdpOptionTypes::TargetLLAddr);
    option.set_length(1);
    option.set_data(&mac);
    let mut advert = MutableNeighborAdvertPacket::new(message).expect(ROOM);
    advert.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    let router_flag = if router {
        NeighborAdvertFlags::Router
    } else {
        0
    };
    advert.set_flags(NeighborAdvertFlags::Override | router_flag);
    advert.set_target_addr(vip);

    let checksum = icmpv6::checksum(&Icmpv6Packet::new(message).expect(ROOM), &vip, &ALL_NODES);
    MutableNeighborAdvertPacket::new(message)
        .expect(ROOM)
        .set_checksum(checksum);
    frame
}

/// A frame of zeros with its Ethernet header.
fn ethernet(
    source: MacAddr,
    destination: MacAddr,
    kind: pnet::packet::ethernet::EtherType,
    payload_len: usize,
) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_LEN + payload_len];
    let mut header = MutableEthernetPacket::new(&mut frame).expect(ROOM);
    header.set_source(source);
    header.set_destination(destination);
    header.set_ethertype(kind);
    frame
}

#[cfg(test)]
mod tests;
