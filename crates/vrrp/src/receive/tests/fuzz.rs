//! The receive checks under octets nobody planned: good packets of every format with a few octets changed, put in or taken out.
//!
//! A few hundred cases of each, or as many as one likes: `PROPTEST_CASES=10000000 cargo test --release -p vrrp --lib fuzz`.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::authentication::{Key, Marks, Stamp, WallTime};

/// When every packet is signed and heard.
const NOW: WallTime = WallTime(Duration::from_secs(1_700_000_000));

fn signed(vips: &[&str]) -> Settings {
    let key = Key::new(7, &(1..=32).collect::<Vec<u8>>()).unwrap();
    Settings {
        authentication: Some(Arc::new(Authentication::new(vec![key], 7).unwrap())),
        ..settings(51, 100, vips)
    }
}

/// A virtual router of each format: version 2 without and with a password, version 3 over both families, unsigned and signed.
fn formats() -> Vec<(Settings, Family)> {
    let v6 = &["fe80::10", "2001:db8::10"];
    vec![
        (v2(None), Family::V4),
        (v2(Some(b"s3cret")), Family::V4),
        (v3(), Family::V4),
        (ipv6(v6), Family::V6),
        (signed(&["10.0.0.10", "10.0.0.11"]), Family::V4),
        (signed(v6), Family::V6),
    ]
}

/// The VRRP message as it would be sent with this priority, and for IPv4 the whole packet.
fn packet(ours: &Settings, family: Family, priority: u8) -> Vec<u8> {
    let mut advert = advertisement(ours, family, priority);
    advert.authentication = ours.authentication.clone();
    advert.encode_at(group(family), Stamp::at(NOW))
}

fn judge(ours: &Settings, family: Family, octets: &[u8]) -> Result<Accepted, Reject> {
    let datagram = match family {
        Family::V4 => parse_ipv4(octets)?,
        Family::V6 => datagram_v6(octets),
    };
    let expected = Expectation::new(ours);
    let mut marks = Marks::default();
    let own = [ip("10.0.0.3"), ip("fe80::3")];
    accept_authentic(&datagram, Local::addresses(&own), |vrid| {
        let guard = Guard {
            wall: NOW,
            marks: &mut marks,
        };
        (vrid == ours.vrid).then_some((&expected, guard))
    })
    .map(|(_, accepted)| accepted)
}

/// What is done to an octet: changed, put in before it, taken out.
fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    prop::collection::vec((any::<Index>(), 0..3_u8, any::<u8>()), 0..6)
}

fn change(octets: &mut Vec<u8>, changes: &[(Index, u8, u8)]) {
    for (at, kind, octet) in changes {
        if octets.is_empty() {
            return;
        }
        let at = at.index(octets.len());
        match kind {
            0 => octets[at] = *octet,
            1 => octets.insert(at, *octet),
            _ => drop(octets.remove(at)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_in_any_format_is_taken_as_it_was(
        (ours, family) in prop::sample::select(formats()),
        priority in any::<u8>(),
    ) {
        let accepted = judge(&ours, family, &packet(&ours, family, priority));
        let accepted = accepted.map_err(|reject| TestCaseError::fail(reject.as_str()))?;
        prop_assert_eq!(accepted.priority().value(), priority);
        prop_assert_eq!(accepted.interval(), ours.advert_interval);
        prop_assert_eq!(accepted.addresses(), &ours.wire_list(family)[..]);
        prop_assert_eq!(accepted.proof().is_some(), ours.authentication.is_some());
    }

    #[test]
    fn a_changed_packet_does_no_harm_and_a_signed_one_says_nothing_new(
        (ours, family) in prop::sample::select(formats()),
        priority in any::<u8>(),
        changes in changes(),
    ) {
        let mut octets = packet(&ours, family, priority);
        change(&mut octets, &changes);
        // A checksum can hold by chance, a signature cannot.
        if let (Ok(accepted), Some(_)) = (judge(&ours, family, &octets), &ours.authentication) {
            prop_assert_eq!(accepted.priority().value(), priority);
            prop_assert_eq!(accepted.interval(), ours.advert_interval);
            prop_assert_eq!(accepted.addresses(), &ours.wire_list(family)[..]);
        }
    }

    #[test]
    fn any_octets_behind_a_good_beginning_do_no_harm(
        (ours, family) in prop::sample::select(formats()),
        keep in any::<Index>(),
        rest in prop::collection::vec(any::<u8>(), 0..1200),
    ) {
        let mut octets = packet(&ours, family, 100);
        octets.truncate(keep.index(octets.len() + 1));
        octets.extend(rest);
        let _ = judge(&ours, family, &octets);
    }
}
