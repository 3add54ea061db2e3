//! What is asked for, and how answers are read.

#![allow(clippy::unwrap_used)]

use netlink_packet_core::Emitable;

use super::*;

fn vip(address: &str, prefix_len: u8, lease_s: Option<u64>) -> Vip {
    Vip {
        ifindex: 3,
        address: address.parse().unwrap(),
        prefix_len,
        lease: lease_s.map(Duration::from_secs),
        parent: None,
    }
}

fn other(address: &str, prefix_len: u8) -> Address {
    Address {
        ifindex: 3,
        address: address.parse().unwrap(),
        prefix_len,
        ours: false,
        secondary: false,
        tentative: false,
        dad_failed: false,
        valid: None,
    }
}

/// (virtual address, another address of the link, whether the prefix route is left out)
const PREFIXES: [(&str, u8, &str, u8, bool); 11] = [
    ("10.0.0.100", 24, "10.0.0.1", 24, false),
    ("10.0.0.100", 24, "10.0.0.1", 16, true),
    ("10.0.0.100", 24, "10.0.0.1", 25, false),
    ("10.0.0.100", 24, "10.0.1.1", 24, false),
    ("10.0.0.100", 24, "0.0.0.1", 0, true),
    ("10.0.0.100", 32, "10.9.9.9", 24, true),
    ("2001:db8::100", 64, "2001:db8::1", 64, true),
    ("2001:db8::100", 64, "2001:db8::1", 48, true),
    ("2001:db8::100", 64, "2001:db8:1::1", 64, false),
    ("2001:db8::100", 64, "10.0.0.1", 8, false),
    ("2001:db8::100", 128, "fe80::1", 64, true),
];

#[test]
fn prefix_route_is_left_out_where_another_address_gives_it() {
    for (address, prefix_len, neighbour, neighbour_len, expected) in PREFIXES {
        let found = without_prefix_route(
            &vip(address, prefix_len, None),
            &[other(neighbour, neighbour_len)],
        );
        assert_eq!(
            found, expected,
            "{address}/{prefix_len} beside {neighbour}/{neighbour_len}"
        );
    }
}

#[test]
fn prefix_of_another_link_or_of_our_own_address_does_not_count() {
    let wanted = vip("2001:db8::100", 64, None);
    let elsewhere = Address {
        ifindex: 4,
        ..other("2001:db8::1", 64)
    };
    let ours = Address {
        ours: true,
        ..other("2001:db8::1", 64)
    };
    let itself = other("2001:db8::100", 64);
    assert!(!without_prefix_route(&wanted, &[elsewhere, ours, itself]));
    assert!(!without_prefix_route(&wanted, &[]));
}

#[test]
fn impossible_requests_are_named() {
    assert_eq!(problem(&vip("10.0.0.1", 24, Some(1))), None);
    assert_eq!(problem(&vip("10.0.0.1", 24, None)), None);
    assert!(problem(&vip("10.0.0.1", 33, None)).is_some());
    assert!(problem(&vip("2001:db8::1", 129, None)).is_some());
    assert!(problem(&vip("10.0.0.1", 24, Some(0))).is_some());
    assert!(problem(&vip("10.0.0.1", 24, Some(u64::from(u32::MAX)))).is_some());
    let mut half = vip("10.0.0.1", 24, None);
    half.lease = Some(Duration::from_millis(1500));
    assert!(problem(&half).is_some());
}

#[test]
fn ipv4_lease_is_preferred_as_long_as_it_is_valid() {
    let message = add(&vip("10.0.0.1", 24, Some(2)), false);
    assert_eq!(lifetimes(&message), (2, 2));
    assert!(
        message
            .attributes
            .contains(&AddressAttribute::Flags(AddressFlags::empty()))
    );
    let message = add(&vip("10.0.0.1", 24, None), false);
    assert_eq!(lifetimes(&message), (u32::MAX, u32::MAX));
}

#[test]
fn ipv6_lease_is_never_preferred_and_skips_detection() {
    let message = add(&vip("2001:db8::1", 64, Some(2)), true);
    assert_eq!(lifetimes(&message), (2, 0));
    let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
    assert!(message.attributes.contains(&AddressAttribute::Flags(flags)));
}

/// (valid, preferred)
fn lifetimes(message: &AddressMessage) -> (u32, u32) {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::CacheInfo(times) => Some((times.ifa_valid, times.ifa_preferred)),
            _ => None,
        })
        .unwrap()
}

#[test]
fn address_is_read_back_as_ours() {
    let message = add(&vip("10.0.0.1", 24, Some(2)), false);
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    let expected = Address {
        ours: true,
        valid: Some(Duration::from_secs(2)),
        ..other("10.0.0.1", 24)
    };
    assert_eq!(parse_address(&payload), Some(expected));
}

#[test]
fn secondary_is_a_matter_of_ipv4() {
    for (address, secondary) in [("10.0.0.1", true), ("2001:db8::1", false)] {
        let mut message = identify(&vip(address, 24, None));
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Secondary));
        let mut payload = vec![0; message.buffer_len()];
        message.emit(&mut payload);
        assert_eq!(parse_address(&payload).unwrap().secondary, secondary);
    }
}

/// An ifinfomsg with the given family and flags, and one attribute per entry.
fn link_payload(family: u8, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut payload = vec![family, 0, 1, 0];
    payload.extend(7u32.to_ne_bytes());
    payload.extend(flags.to_ne_bytes());
    payload.extend([0; 4]);
    payload.extend(nested(attributes));
    payload
}

fn nested(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (kind, value) in attributes {
        payload.extend((value.len() as u16 + 4).to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(*value);
        payload.resize(payload.len().next_multiple_of(4), 0);
    }
    payload
}

const NAME: (u16, &[u8]) = (libc::IFLA_IFNAME, b"eth0\0");
const UP: u32 = 1;
const RUNNING: u32 = 0x40;
const CARRIER: u32 = 0x1_0000;
const UP_RUNNING: u32 = UP | RUNNING | CARRIER;

#[test]
fn link_is_read_with_what_it_has() {
    let mtu = 1500u32.to_ne_bytes();
    let (parent, master) = (3u32.to_ne_bytes(), 9u32.to_ne_bytes());
    let info = nested(&[
        (libc::IFLA_INFO_KIND, b"vlan\0"),
        (libc::IFLA_INFO_SLAVE_KIND, b"bridge"),
    ]);
    let attributes = [
        NAME,
        (libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
        (libc::IFLA_MTU, &mtu),
        (libc::IFLA_IFALIAS, b"uplink"),
        (libc::IFLA_LINK, &parent),
        (libc::IFLA_MASTER, &master),
        (libc::IFLA_LINKINFO, &info),
    ];
    let link = parse_link(&link_payload(0, UP_RUNNING, &attributes)).unwrap();
    let expected = Link {
        index: 7,
        name: "eth0".into(),
        up: true,
        running: true,
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        kind: Some("vlan".into()),
        alias: Some("uplink".into()),
        parent: Some(3),
        master: Some(Master {
            index: 9,
            kind: "bridge".into(),
        }),
    };
    assert_eq!(link, expected);
}

#[test]
fn a_master_takes_the_frames_of_its_ports_unless_it_is_a_vrf() {
    for (kind, takes) in [("bridge", true), ("bond", true), ("", true), ("vrf", false)] {
        let master = Master {
            index: 9,
            kind: kind.into(),
        };
        assert_eq!(master.takes_frames(), takes, "{kind}");
    }
}

#[test]
fn running_needs_up_and_carrier() {
    for (flags, up, running) in [
        (0, false, false),
        (UP, true, false),
        (RUNNING | CARRIER, false, false),
        (UP | RUNNING, true, false),
        (UP | CARRIER, true, false),
        (UP_RUNNING, true, true),
    ] {
        let link = parse_link(&link_payload(0, flags, &[NAME])).unwrap();
        assert_eq!((link.up, link.running), (up, running), "flags {flags:#x}");
    }
}

#[test]
fn words_about_a_bridge_port_are_not_about_a_link() {
    let family = libc::AF_BRIDGE as u8;
    assert_eq!(parse_link(&link_payload(family, UP_RUNNING, &[NAME])), None);
}

#[test]
fn strange_attributes_hide_no_link() {
    // An attribute this crate's libraries would refuse: a metric of the wrong size, and one of no known kind.
    let attributes = [(libc::IFLA_STATS64, &[1, 2, 3][..]), (999, &[]), NAME];
    assert_eq!(
        parse_link(&link_payload(0, UP, &attributes)).unwrap().name,
        "eth0"
    );
    let infiniband: &[u8] = &[0; 20];
    let link = parse_link(&link_payload(
        0,
        UP,
        &[NAME, (libc::IFLA_ADDRESS, infiniband)],
    ));
    assert_eq!(link.unwrap().mac, None);
}

#[test]
fn any_bytes_are_read_without_panic() {
    let whole = link_payload(0, UP, &[NAME, (libc::IFLA_MTU, &[1, 2])]);
    for len in 0..whole.len() {
        let _ = parse_link(&whole[..len]);
        let _ = parse_address(&whole[..len]);
    }
    assert_eq!(parse_link(&[]), None);
    assert_eq!(parse_address(&[]), None);
}
