//! Each check both ways, on packets written out octet by octet. Checksums of the literals were computed apart.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use super::*;
use crate::wire::Advertisement;

mod envelope;
mod fuzz;
mod properties;
mod sending;
mod trust;
mod version_2;

/// v3 over IPv4 as Keepalived sends it: VRID 51, priority 100, 1 s, 10.0.0.10, from 10.0.0.2 to the group.
const V3_RFC5798: [u8; 12] = [
    0x31, 0x33, 0x64, 0x01, 0x00, 0x64, 0x75, 0xcc, 0x0a, 0, 0, 0x0a,
];
/// The same with the checksum over the message alone.
const V3_RFC9568: [u8; 12] = [
    0x31, 0x33, 0x64, 0x01, 0x00, 0x64, 0x60, 0x5d, 0x0a, 0, 0, 0x0a,
];
/// Farewell from 10.0.0.2 to the unicast peer 10.0.0.3, 100 ms.
const V3_UNICAST: [u8; 12] = [
    0x31, 0x33, 0x00, 0x01, 0x00, 0x0a, 0xb0, 0x36, 0x0a, 0, 0, 0x0a,
];
/// v2, authentication type 0, 1 s.
const V2_PLAIN: [u8; 20] = [
    0x21, 0x33, 0x64, 0x01, 0x00, 0x01, 0x70, 0xc0, 0x0a, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// v2 with the password `s3cret`.
const V2_PASS: [u8; 20] = [
    0x21, 0x33, 0x64, 0x01, 0x01, 0x01, 0x33, 0xa6, 0x0a, 0, 0, 0x0a, 0x73, 0x33, 0x63, 0x72, 0x65,
    0x74, 0, 0,
];
/// v3 over IPv6: VRID 52, priority 150, 100 ms, fe80::10 and 2001:db8::10, from fe80::2 to the group.
const V3_IPV6: [u8; 40] = [
    0x31, 0x34, 0x96, 0x02, 0x00, 0x0a, 0x0e, 0x35, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0x10, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// The same with 2001:db8::10 alone.
const V3_IPV6_GLOBAL: [u8; 24] = [
    0x31, 0x34, 0x96, 0x01, 0x00, 0x0a, 0x0c, 0xd7, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0x10,
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn settings(vrid: u8, centis: u16, vips: &[&str]) -> Settings {
    let vips = vips.iter().map(|vip| ip(vip)).collect();
    let mut settings = Settings::new("t", Vrid::new(vrid).unwrap(), vips);
    settings.advert_interval = Interval::from_centis(centis).unwrap();
    settings
}

fn v3() -> Settings {
    settings(51, 100, &["10.0.0.10"])
}

fn v2(password: Option<&[u8]>) -> Settings {
    let password = password.map(|text| Password::new(text).unwrap());
    Settings {
        version: Version::V2,
        password,
        list_mismatch_drops: true,
        ..v3()
    }
}

fn ipv6(vips: &[&str]) -> Settings {
    settings(52, 10, vips)
}

fn datagram(payload: &[u8]) -> Datagram<'_> {
    Datagram {
        family: Family::V4,
        source: ip("10.0.0.2"),
        destination: ip("224.0.0.18"),
        hop_limit: 255,
        payload,
    }
}

fn datagram_v6(payload: &[u8]) -> Datagram<'_> {
    Datagram {
        family: Family::V6,
        source: ip("fe80::2"),
        destination: ip("ff02::12"),
        hop_limit: 255,
        payload,
    }
}

fn check(settings: &Settings, datagram: &Datagram<'_>) -> Result<Accepted, Reject> {
    let expected = Expectation::new(settings);
    let own = [ip("10.0.0.3"), ip("fe80::3")];
    let local = Local {
        addresses: &own,
        networks: &[Network::new(own[0], 24)],
    };
    accept(datagram, local, |vrid| {
        (vrid == settings.vrid).then_some(&expected)
    })
    .map(|(vrid, accepted)| {
        assert_eq!(vrid, settings.vrid);
        accepted
    })
}

/// Writes the checksum of RFC 1071 over `prefix` and the message.
fn seal(message: &mut [u8], prefix: &[u8]) {
    message[6..8].fill(0);
    let octets: Vec<u8> = prefix.iter().chain(message.iter()).copied().collect();
    let mut sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// A literal with some octets replaced and the checksum over the message alone put right.
fn changed<const N: usize>(base: [u8; N], changes: &[(usize, u8)]) -> [u8; N] {
    let mut message = base;
    for &(at, octet) in changes {
        message[at] = octet;
    }
    seal(&mut message, &[]);
    message
}

/// The same for IPv6, with the pseudo-header from fe80::2 to ff02::12.
fn changed_v6(mut message: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for &(at, octet) in changes {
        message[at] = octet;
    }
    let (IpAddr::V6(source), IpAddr::V6(group)) = (ip("fe80::2"), ip("ff02::12")) else {
        unreachable!()
    };
    let mut prefix = [source.octets(), group.octets()].concat();
    prefix.extend_from_slice(&(message.len() as u32).to_be_bytes());
    prefix.extend_from_slice(&[0, 0, 0, 112]);
    seal(&mut message, &prefix);
    message
}

#[test]
fn a_good_v3_ipv4_advertisement_is_accepted() {
    let accepted = check(&v3(), &datagram(&V3_RFC5798)).unwrap();
    assert_eq!(accepted.priority().value(), 100);
    assert_eq!(accepted.interval().centis(), 100);
    assert_eq!(accepted.addresses(), [ip("10.0.0.10")]);
    assert_eq!(accepted.notes(), Notes::default());
}

#[test]
fn a_good_v3_ipv6_advertisement_is_accepted() {
    let accepted = check(&ipv6(&["fe80::10", "2001:db8::10"]), &datagram_v6(&V3_IPV6)).unwrap();
    assert_eq!(accepted.priority().value(), 150);
    assert_eq!(accepted.interval().centis(), 10);
    assert_eq!(accepted.addresses(), [ip("fe80::10"), ip("2001:db8::10")]);
    assert_eq!(accepted.checksum(), None);
    assert_eq!(accepted.notes(), Notes::default());
}

#[test]
fn both_v3_ipv4_checksum_forms_are_accepted_and_told_apart() {
    let form = |payload: &[u8]| check(&v3(), &datagram(payload)).unwrap().checksum();
    assert_eq!(form(&V3_RFC5798), Some(ChecksumForm::Rfc5798));
    assert_eq!(form(&V3_RFC9568), Some(ChecksumForm::Rfc9568));
}

#[test]
fn a_fixed_checksum_form_refuses_the_other() {
    let fixed = |form| Settings {
        checksum: ChecksumPolicy::Fixed(form),
        ..v3()
    };
    let (old, new) = (fixed(ChecksumForm::Rfc5798), fixed(ChecksumForm::Rfc9568));
    assert!(check(&old, &datagram(&V3_RFC5798)).is_ok());
    assert_eq!(check(&old, &datagram(&V3_RFC9568)), Err(Reject::Checksum));
    assert!(check(&new, &datagram(&V3_RFC9568)).is_ok());
    assert_eq!(check(&new, &datagram(&V3_RFC5798)), Err(Reject::Checksum));
}

#[test]
fn a_corrupted_octet_fails_the_checksum_in_every_format() {
    for at in [2, 6, 7, 11] {
        let mut message = V3_RFC5798;
        message[at] ^= 1;
        assert_eq!(
            check(&v3(), &datagram(&message)),
            Err(Reject::Checksum),
            "octet {at}"
        );
    }
    let mut message = V2_PASS;
    message[19] ^= 1;
    assert_eq!(
        check(&v2(Some(b"s3cret")), &datagram(&message)),
        Err(Reject::Checksum)
    );
    let mut message = V3_IPV6;
    message[39] ^= 1;
    assert_eq!(
        check(&ipv6(&["fe80::10"]), &datagram_v6(&message)),
        Err(Reject::Checksum)
    );
}

#[test]
fn ipv6_without_pseudo_header_is_refused() {
    let mut message = V3_IPV6;
    seal(&mut message, &[]);
    assert_eq!(
        check(&ipv6(&["fe80::10"]), &datagram_v6(&message)),
        Err(Reject::Checksum)
    );
}

#[test]
fn a_hop_limit_other_than_255_is_refused() {
    for hop_limit in [0, 1, 64, 254] {
        let v4 = Datagram {
            hop_limit,
            ..datagram(&V3_RFC5798)
        };
        assert_eq!(check(&v3(), &v4), Err(Reject::HopLimit));
        let v6 = Datagram {
            hop_limit,
            ..datagram_v6(&V3_IPV6)
        };
        assert_eq!(check(&ipv6(&["fe80::10"]), &v6), Err(Reject::HopLimit));
    }
}

#[test]
fn another_version_is_refused() {
    assert_eq!(check(&v3(), &datagram(&V2_PLAIN)), Err(Reject::Version));
    assert_eq!(
        check(&v2(None), &datagram(&V3_RFC9568)),
        Err(Reject::Version)
    );
    let version_4 = changed(V3_RFC9568, &[(0, 0x41)]);
    assert_eq!(check(&v3(), &datagram(&version_4)), Err(Reject::Version));
}

#[test]
fn a_type_other_than_advertisement_is_refused() {
    for octet in [0x30, 0x32, 0x3f] {
        let message = changed(V3_RFC9568, &[(0, octet)]);
        assert_eq!(check(&v3(), &datagram(&message)), Err(Reject::Type));
    }
}

#[test]
fn the_length_has_to_be_exactly_what_the_count_says() {
    let count_2 = changed(V3_RFC9568, &[(3, 2)]);
    assert_eq!(check(&v3(), &datagram(&count_2)), Err(Reject::Length));
    let longer = [&V3_RFC9568[..], &[10, 0, 0, 11]].concat();
    assert_eq!(check(&v3(), &datagram(&longer)), Err(Reject::Length));
    assert_eq!(
        check(&v2(None), &datagram(&V2_PLAIN[..12])),
        Err(Reject::Length)
    );
    assert_eq!(
        check(&ipv6(&["fe80::10"]), &datagram_v6(&V3_IPV6[..24])),
        Err(Reject::Length)
    );
}

#[test]
fn fewer_than_eight_octets_are_short() {
    for len in 0..8 {
        assert_eq!(
            check(&v3(), &datagram(&V3_RFC5798[..len])),
            Err(Reject::Short)
        );
    }
}

#[test]
fn an_unknown_vrid_or_family_is_refused() {
    let other = changed(V3_RFC9568, &[(1, 52)]);
    assert_eq!(check(&v3(), &datagram(&other)), Err(Reject::UnknownVrid));
    let zero = changed(V3_RFC9568, &[(1, 0)]);
    assert_eq!(check(&v3(), &datagram(&zero)), Err(Reject::UnknownVrid));
    assert_eq!(
        check(&settings(52, 10, &["10.0.0.10"]), &datagram_v6(&V3_IPV6)),
        Err(Reject::UnknownVrid)
    );
}

#[test]
fn a_count_of_zero_is_refused() {
    let mut message = [0x31, 0x33, 0x64, 0x00, 0x00, 0x64, 0, 0];
    seal(&mut message, &[]);
    assert_eq!(check(&v3(), &datagram(&message)), Err(Reject::CountZero));
    let mut message = [
        0x21, 0x33, 0x64, 0x00, 0x00, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    seal(&mut message, &[]);
    assert_eq!(
        check(&v2(None), &datagram(&message)),
        Err(Reject::CountZero)
    );
}

#[test]
fn an_interval_of_zero_is_refused() {
    let zero = changed(V3_RFC9568, &[(5, 0)]);
    assert_eq!(check(&v3(), &datagram(&zero)), Err(Reject::IntervalZero));
    let only_reserved_bits = changed(V3_RFC9568, &[(4, 0xf0), (5, 0)]);
    assert_eq!(
        check(&v3(), &datagram(&only_reserved_bits)),
        Err(Reject::IntervalZero)
    );
    let v2_zero = changed(V2_PLAIN, &[(5, 0)]);
    assert_eq!(
        check(&v2(None), &datagram(&v2_zero)),
        Err(Reject::IntervalZero)
    );
}

#[test]
fn reserved_bits_are_ignored() {
    let message = changed(V3_RFC9568, &[(4, 0xf0)]);
    let accepted = check(&v3(), &datagram(&message)).unwrap();
    assert_eq!(accepted.interval().centis(), 100);
    let largest = changed(V3_RFC9568, &[(4, 0xff), (5, 0xff)]);
    assert_eq!(
        check(&v3(), &datagram(&largest))
            .unwrap()
            .interval()
            .centis(),
        4095
    );
}

#[test]
fn another_v3_interval_is_accepted_and_noted() {
    let message = changed(V3_RFC9568, &[(4, 0x01), (5, 0x2c)]);
    let accepted = check(&v3(), &datagram(&message)).unwrap();
    assert_eq!(accepted.interval().centis(), 300);
    assert!(accepted.notes().interval_differs);
}

#[test]
fn an_ipv6_source_that_is_not_link_local_is_refused() {
    let mut message = V3_IPV6;
    let (IpAddr::V6(source), IpAddr::V6(group)) = (ip("2001:db8::2"), ip("ff02::12")) else {
        unreachable!()
    };
    let prefix = [
        &source.octets()[..],
        &group.octets(),
        &40_u32.to_be_bytes(),
        &[0, 0, 0, 112],
    ]
    .concat();
    seal(&mut message, &prefix);
    let datagram = Datagram {
        source: ip("2001:db8::2"),
        ..datagram_v6(&message)
    };
    assert_eq!(
        check(&ipv6(&["fe80::10", "2001:db8::10"]), &datagram),
        Err(Reject::NotLinkLocal)
    );
}

#[test]
fn a_first_ipv6_address_that_is_not_link_local_is_refused_where_ours_is() {
    let ours = ipv6(&["2001:db8::10", "fe80::10"]);
    assert_eq!(
        check(&ours, &datagram_v6(&V3_IPV6_GLOBAL)),
        Err(Reject::NotLinkLocal)
    );
    let turned = changed_v6(
        [&V3_IPV6[..8], &V3_IPV6[24..], &V3_IPV6[8..24]].concat(),
        &[],
    );
    assert_eq!(
        check(&ours, &datagram_v6(&turned)),
        Err(Reject::NotLinkLocal)
    );
    assert!(check(&ours, &datagram_v6(&V3_IPV6)).is_ok());
}

#[test]
fn routers_with_only_global_addresses_accept_each_other_with_a_note() {
    let ours = ipv6(&["2001:db8::10"]);
    let accepted = check(&ours, &datagram_v6(&V3_IPV6_GLOBAL)).unwrap();
    assert!(accepted.notes().no_link_local);
    assert!(!accepted.notes().list_differs);
}

#[test]
fn another_list_is_noted_in_v3() {
    let message = changed(V3_RFC9568, &[(11, 11)]);
    assert!(
        check(&v3(), &datagram(&message))
            .unwrap()
            .notes()
            .list_differs
    );
    assert!(
        !check(&v3(), &datagram(&V3_RFC9568))
            .unwrap()
            .notes()
            .list_differs
    );
}

#[test]
fn another_list_is_dropped_where_the_policy_says_so_unless_the_owner_sends_it() {
    let other = changed(V2_PLAIN, &[(11, 11)]);
    assert_eq!(
        check(&v2(None), &datagram(&other)),
        Err(Reject::AddressList)
    );
    let from_owner = changed(V2_PLAIN, &[(11, 11), (2, 255)]);
    assert!(
        check(&v2(None), &datagram(&from_owner))
            .unwrap()
            .notes()
            .list_differs
    );
    let lenient = Settings {
        list_mismatch_drops: false,
        ..v2(None)
    };
    assert!(
        check(&lenient, &datagram(&other))
            .unwrap()
            .notes()
            .list_differs
    );
}

#[test]
fn the_order_of_a_list_is_no_difference() {
    let ours = settings(51, 100, &["10.0.0.11", "10.0.0.10"]);
    let mut message = [0x31, 51, 100, 2, 0, 100, 0, 0, 10, 0, 0, 10, 10, 0, 0, 11];
    seal(&mut message, &[]);
    assert!(
        !check(&ours, &datagram(&message))
            .unwrap()
            .notes()
            .list_differs
    );
}

fn advertisement(settings: &Settings, family: Family, priority: u8) -> Advertisement {
    Advertisement {
        family,
        vrid: settings.vrid,
        version: settings.version,
        priority: Priority::new(priority),
        interval: settings.advert_interval,
        source: if family == Family::V4 {
            ip("10.0.0.2")
        } else {
            ip("fe80::2")
        },
        destinations: settings.destinations(family),
        addresses: settings.wire_list(family),
        checksum: ChecksumForm::Rfc5798,
        password: settings.password.clone(),
        authentication: None,
    }
}
