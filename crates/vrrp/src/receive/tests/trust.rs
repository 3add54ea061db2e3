//! From whom and to whom, and the order of all checks.

use super::*;

#[test]
fn our_own_source_is_refused() {
    let reflected = Datagram {
        source: ip("10.0.0.3"),
        ..datagram(&V3_RFC9568)
    };
    assert_eq!(check(&v3(), &reflected), Err(Reject::OwnSource));
}

#[test]
fn a_source_off_the_link_is_refused_where_only_neighbours_are_believed() {
    let from = |source| Datagram {
        source: ip(source),
        ..datagram(&V3_RFC9568)
    };
    let strict = Settings {
        off_link_drops: true,
        ..v3()
    };
    assert!(check(&strict, &from("10.0.0.2")).is_ok());
    for source in ["10.0.1.2", "192.0.2.7"] {
        assert!(check(&v3(), &from(source)).is_ok());
        let refused = check(&strict, &from(source));
        assert_eq!(refused, Err(Reject::OffLink), "{source}");
    }
    let afar = Datagram {
        hop_limit: 9,
        ..from("192.0.2.7")
    };
    assert_eq!(check(&strict, &afar), Err(Reject::OffLink));
    assert_eq!(check(&v3(), &afar), Err(Reject::HopLimit));
    // Over IPv6 the source is link-local in any case.
    let six = Settings {
        off_link_drops: true,
        ..ipv6(&["2001:db8::10"])
    };
    assert!(check(&six, &datagram_v6(&V3_IPV6_GLOBAL)).is_ok());
}

#[test]
fn multicast_takes_only_what_is_sent_to_the_group() {
    for destination in ["10.0.0.3", "224.0.0.19", "10.0.0.99"] {
        let astray = Datagram {
            destination: ip(destination),
            ..datagram(&V3_RFC9568)
        };
        assert_eq!(
            check(&v3(), &astray),
            Err(Reject::Destination),
            "{destination}"
        );
    }
}

#[test]
fn unicast_takes_only_configured_peers_to_our_address() {
    let ours = Settings {
        unicast_peers: vec![ip("10.0.0.2")],
        ..v3()
    };
    let to_us = Datagram {
        destination: ip("10.0.0.3"),
        ..datagram(&V3_UNICAST)
    };
    assert_eq!(
        check(&ours, &to_us).unwrap().checksum(),
        Some(ChecksumForm::Rfc5798)
    );
    let stranger = Datagram {
        source: ip("10.0.0.4"),
        ..to_us
    };
    assert_eq!(check(&ours, &stranger), Err(Reject::Destination));
    let to_another = Datagram {
        destination: ip("10.0.0.9"),
        ..to_us
    };
    assert_eq!(check(&ours, &to_another), Err(Reject::Destination));
    assert_eq!(
        check(&ours, &datagram(&V3_RFC5798)),
        Err(Reject::Destination)
    );
    let routed = Datagram {
        hop_limit: 254,
        ..to_us
    };
    assert_eq!(check(&ours, &routed), Err(Reject::HopLimit));
}

#[test]
fn the_owner_also_accepts_so_that_two_owners_meet_in_the_election() {
    let owner = Settings {
        priority: Priority::OWNER,
        ..v3()
    };
    let message = changed(V3_RFC9568, &[(2, 255)]);
    assert!(
        check(&owner, &datagram(&message))
            .unwrap()
            .priority()
            .is_owner()
    );
}

#[test]
fn a_routed_peer_has_a_lowest_ttl_of_its_own() {
    let ours = Settings {
        unicast_peers: vec![ip("10.0.0.2"), ip("10.0.0.4")],
        least_hop_limits: [(ip("10.0.0.2"), 250)].into(),
        ..v3()
    };
    let outcome = |source: &str, hop_limit| {
        let routed = Datagram {
            source: ip(source),
            destination: ip("10.0.0.3"),
            hop_limit,
            ..datagram(&V3_RFC9568)
        };
        check(&ours, &routed).map(drop)
    };
    assert_eq!(outcome("10.0.0.2", 255), Ok(()));
    assert_eq!(outcome("10.0.0.2", 250), Ok(()));
    assert_eq!(outcome("10.0.0.2", 249), Err(Reject::HopLimit));
    assert_eq!(outcome("10.0.0.4", 254), Err(Reject::HopLimit));
}

/// A packet that fails every check from one on, mended one check at a time.
#[test]
fn the_checks_come_in_their_order() {
    let ours = v2(Some(b"s3cret"));
    let mut seen = Vec::new();
    for mended in 0..=12 {
        let good = |step: usize| mended >= step;
        let mut message = vec![0x42, 0x99, 0x64, 0x00, 0x00, 0x00, 0, 0];
        let mut packet = Datagram {
            family: Family::V4,
            source: ip("10.0.0.3"),
            destination: ip("10.0.0.99"),
            hop_limit: 9,
            payload: &[],
        };
        if good(1) {
            packet.destination = ip("224.0.0.18");
        }
        if good(2) {
            packet.source = ip("10.0.0.2");
        }
        if good(3) {
            packet.hop_limit = 255;
        }
        if good(4) {
            message[0] = 0x22;
        }
        if good(5) {
            message.extend_from_slice(&[0; 8]);
        }
        if good(6) {
            message[0] = 0x21;
        }
        if good(7) {
            message[1] = 51;
        }
        if good(9) {
            message[3] = 1;
            message.extend_from_slice(&[0; 4]);
        }
        if good(10) {
            message[5] = 9;
        }
        if good(11) {
            message[4] = 1;
        }
        if good(12) {
            message[12..18].copy_from_slice(b"s3cret");
        }
        if good(8) {
            seal(&mut message, &[]);
        }
        packet.payload = &message;
        seen.push(check(&ours, &packet).unwrap_err());
    }
    let expected = [
        Reject::Destination,
        Reject::OwnSource,
        Reject::HopLimit,
        Reject::Version,
        Reject::Length,
        Reject::Type,
        Reject::UnknownVrid,
        Reject::Checksum,
        Reject::CountZero,
        Reject::IntervalZero,
        Reject::AuthType,
        Reject::Password,
        Reject::V2Interval,
    ];
    assert_eq!(seen, expected);
}
