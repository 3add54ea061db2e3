//! Byte by byte.
#![allow(clippy::unwrap_used)]

use super::*;

const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];

#[test]
fn arp_request_form() {
    let expected = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // to all
        0x02, 0, 0, 0, 0, 0x0a, // from us
        0x08, 0x06, // ARP
        0, 1, 0x08, 0, 6, 4, // Ethernet, IPv4, lengths
        0, 1, // request
        0x02, 0, 0, 0, 0, 0x0a, 192, 0, 2, 1, // sender
        0, 0, 0, 0, 0, 0, 192, 0, 2, 1, // target
    ];
    let frame = gratuitous_arp(MAC, Ipv4Addr::new(192, 0, 2, 1), ArpForm::Request);
    assert_eq!(frame, expected);
}

#[test]
fn a_probe_says_of_nobody_that_he_has_the_address() {
    let expected = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // to all
        0x02, 0, 0, 0, 0, 0x0a, // from us
        0x08, 0x06, // ARP
        0, 1, 0x08, 0, 6, 4, // Ethernet, IPv4, lengths
        0, 1, // request
        0x02, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, // sender
        0, 0, 0, 0, 0, 0, 192, 0, 2, 1, // target
    ];
    assert_eq!(address_probe(MAC, Ipv4Addr::new(192, 0, 2, 1)), expected);
}

/// Its checksum is tried on a kernel, which would not answer.
#[test]
fn a_probe_over_ipv6_goes_to_the_solicited_node_group() {
    let target = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0x00aa, 0xbbcc);
    let frame = neighbour_probe(MAC, None, target);
    assert_eq!(
        frame[..14],
        [
            0x33, 0x33, 0xff, 0xaa, 0xbb, 0xcc, 2, 0, 0, 0, 0, 0x0a, 0x86, 0xdd
        ]
    );
    assert_eq!(frame[18..22], [0, 24, 58, 255]);
    assert_eq!(frame[22..38], [0; 16]);
    let group: Ipv6Addr = "ff02::1:ffaa:bbcc".parse().unwrap();
    assert_eq!(frame[38..54], group.octets());
    assert_eq!(frame[54..56], [135, 0]);
    assert_eq!(frame[58..62], [0; 4]);
    assert_eq!(frame[62..], target.octets());

    let source: Ipv6Addr = "fe80::7".parse().unwrap();
    let frame = neighbour_probe(MAC, Some(source), target);
    assert_eq!(
        (&frame[18..20], &frame[22..38]),
        (&[0, 32][..], &source.octets()[..])
    );
    assert_eq!(frame[78..], [1, 1, 2, 0, 0, 0, 0, 0x0a]);
}

#[test]
fn arp_reply_form() {
    let expected = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // to all
        0x02, 0, 0, 0, 0, 0x0a, // from us
        0x08, 0x06, // ARP
        0, 1, 0x08, 0, 6, 4, // Ethernet, IPv4, lengths
        0, 2, // reply
        0x02, 0, 0, 0, 0, 0x0a, 192, 0, 2, 1, // sender
        0x02, 0, 0, 0, 0, 0x0a, 192, 0, 2, 1, // target
    ];
    let frame = gratuitous_arp(MAC, Ipv4Addr::new(192, 0, 2, 1), ArpForm::Reply);
    assert_eq!(frame, expected);
}

/// The checksums are worked out by hand, with the pseudo-header of RFC 8200 §8.1:
/// - addresses: 2001 + 0db8 + 1 + ff02 + 1 = 12cbd
/// - length and next header: 20 + 3a = 5a
/// - message without checksum: 8800 + flags + (target 2001 + 0db8 + 1 = 2dba) + 0201 + 0200 + 0000 + 000a = b9c5 + flags
/// - sum for flags 2000: 12cbd + 5a + b9c5 + 2000 = 206dc, folded 06de, inverted f921
/// - with the router flag a000: 286dc, folded 86de, inverted 7921
fn expected_na(flags: u8, checksum: [u8; 2]) -> Vec<u8> {
    let vip = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut expected = vec![
        0x33, 0x33, 0, 0, 0, 1, // to all nodes
        0x02, 0, 0, 0, 0, 0x0a, // from us
        0x86, 0xdd, // IPv6
        0x60, 0, 0, 0, 0, 32, 58, 255, // version, payload length, ICMPv6, hop limit
    ];
    expected.extend(vip);
    expected.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    expected.extend([136, 0, checksum[0], checksum[1], flags, 0, 0, 0]);
    expected.extend(vip);
    expected.extend([2, 1, 0x02, 0, 0, 0, 0, 0x0a]);
    expected
}

#[test]
fn advertisement_of_a_host() {
    let vip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    assert_eq!(
        unsolicited_na(MAC, vip, false),
        expected_na(0x20, [0xf9, 0x21])
    );
}

#[test]
fn advertisement_of_a_router() {
    let vip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    assert_eq!(
        unsolicited_na(MAC, vip, true),
        expected_na(0xa0, [0x79, 0x21])
    );
}
