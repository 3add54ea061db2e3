//! The receive checks under octets nobody planned: good packets of every format with a few octets changed, put in or taken out.
//!
//! Runs as long as `TANDEM_FUZZ_SECONDS` says (each property so long), and a few hundred cases without it:
//! `TANDEM_FUZZ_SECONDS=600 cargo test --release -p vrrp --lib fuzz`.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::authentication::{Key, Marks, Stamp, WallTime};

/// When every packet is signed and heard.
const NOW: WallTime = WallTime(Duration::from_secs(1_700_000_000));

fn fuzz<S: Strategy>(strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: Debug,
{
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(0, |seconds| seconds.parse().expect("a number of seconds"));
    let end_at = Instant::now() + Duration::from_secs(seconds);
    loop {
        let config = Config {
            failure_persistence: None,
            ..Config::default()
        };
        if let Err(found) = TestRunner::new(config).run(&strategy, &property) {
            panic!("{found}");
        }
        if Instant::now() >= end_at {
            return;
        }
    }
}

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

#[test]
fn what_is_sent_in_any_format_is_taken_as_it_was() {
    let any = (prop::sample::select(formats()), any::<u8>());
    fuzz(any, |((ours, family), priority)| {
        let accepted = judge(&ours, family, &packet(&ours, family, priority));
        let accepted = accepted.map_err(|reject| TestCaseError::fail(reject.as_str()))?;
        prop_assert_eq!(accepted.priority().value(), priority);
        prop_assert_eq!(accepted.interval(), ours.advert_interval);
        prop_assert_eq!(accepted.addresses(), &ours.wire_list(family)[..]);
        prop_assert_eq!(accepted.proof().is_some(), ours.authentication.is_some());
        Ok(())
    });
}

#[test]
fn a_changed_packet_does_no_harm_and_a_signed_one_says_nothing_new() {
    let any = (prop::sample::select(formats()), any::<u8>(), changes());
    fuzz(any, |((ours, family), priority, changes)| {
        let mut octets = packet(&ours, family, priority);
        change(&mut octets, &changes);
        // A checksum can hold by chance, a signature cannot.
        if let (Ok(accepted), Some(_)) = (judge(&ours, family, &octets), &ours.authentication) {
            prop_assert_eq!(accepted.priority().value(), priority);
            prop_assert_eq!(accepted.interval(), ours.advert_interval);
            prop_assert_eq!(accepted.addresses(), &ours.wire_list(family)[..]);
        }
        Ok(())
    });
}

#[test]
fn any_octets_behind_a_good_beginning_do_no_harm() {
    let rest = prop::collection::vec(any::<u8>(), 0..1200);
    let any = (prop::sample::select(formats()), any::<Index>(), rest);
    fuzz(any, |((ours, family), keep, rest)| {
        let mut octets = packet(&ours, family, 100);
        octets.truncate(keep.index(octets.len() + 1));
        octets.extend(rest);
        let _ = judge(&ours, family, &octets);
        Ok(())
    });
}
