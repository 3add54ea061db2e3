//! The IPv4 packet around the message.

use super::*;

/// IPv4 header of 20 octets: total length, protocol, TTL as given.
fn ipv4_packet(total: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = total.to_be_bytes();
    let header = [
        0x45, 0xc0, high, low, 0, 1, 0, 0, 255, protocol, 0, 0, 10, 0, 0, 2, 224, 0, 0, 18,
    ];
    [&header[..], payload].concat()
}

#[test]
fn an_ipv4_packet_is_taken_apart() {
    let packet = ipv4_packet(32, 112, &V3_RFC5798);
    let datagram = parse_ipv4(&packet).unwrap();
    assert_eq!(
        (datagram.source, datagram.destination),
        (ip("10.0.0.2"), ip("224.0.0.18"))
    );
    assert_eq!(
        (datagram.hop_limit, datagram.payload),
        (255, &V3_RFC5798[..])
    );
    assert!(check(&v3(), &datagram).is_ok());
}

#[test]
fn padding_behind_the_total_length_is_left_out() {
    let packet = ipv4_packet(32, 112, &[&V3_RFC5798[..], &[0; 14]].concat());
    assert_eq!(parse_ipv4(&packet).unwrap().payload, V3_RFC5798);
}

#[test]
fn options_in_the_ipv4_header_are_skipped() {
    let mut packet = ipv4_packet(36, 112, &[&[1, 1, 1, 1], &V3_RFC5798[..]].concat());
    packet[0] = 0x46;
    assert_eq!(parse_ipv4(&packet).unwrap().payload, V3_RFC5798);
}

#[test]
fn an_ipv4_header_that_does_not_fit_is_refused() {
    assert_eq!(parse_ipv4(&[0x45; 19]).unwrap_err(), Reject::Short);
    assert_eq!(
        parse_ipv4(&ipv4_packet(33, 112, &V3_RFC5798)).unwrap_err(),
        Reject::IpLength
    );
    assert_eq!(
        parse_ipv4(&ipv4_packet(19, 112, &V3_RFC5798)).unwrap_err(),
        Reject::IpLength
    );
    for first in [0x65, 0x44, 0x40, 0x4f] {
        let mut packet = ipv4_packet(32, 112, &V3_RFC5798);
        packet[0] = first;
        assert_eq!(
            parse_ipv4(&packet).unwrap_err(),
            Reject::IpLength,
            "{first:#x}"
        );
    }
}

#[test]
fn fragments_and_other_protocols_are_refused() {
    let mut more = ipv4_packet(32, 112, &V3_RFC5798);
    more[6] = 0x20;
    assert_eq!(parse_ipv4(&more).unwrap_err(), Reject::IpLength);
    let mut tail = ipv4_packet(32, 112, &V3_RFC5798);
    tail[7] = 1;
    assert_eq!(parse_ipv4(&tail).unwrap_err(), Reject::IpLength);
    assert_eq!(
        parse_ipv4(&ipv4_packet(32, 51, &V3_RFC5798)).unwrap_err(),
        Reject::Protocol
    );
}
