//! The trailer both ways, on octets computed apart by another implementation of HMAC and checksums.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::counters::Reject;
use crate::receive::{Accepted, Datagram, Expectation, Guard, Local, accept, accept_authentic};
use crate::settings::Settings;
use crate::types::{ChecksumForm, Family, Interval, Priority, Version, Vrid};
use crate::wire::Advertisement;

/// Key 7, octets 1 to 32; from 10.0.0.2 to the group: VRID 51, priority 100, 1 s, 10.0.0.10; 1700000000.5 s, counter 3.
const IPV4_RFC5798: &str =
    "31336401006475cc0a00000a010700006553f100800000033202eb14bb1b9ca0cfef6939c606d503";
/// The same with the checksum over the message alone.
const IPV4_RFC9568: &str =
    "313364010064605d0a00000a010700006553f100800000033202eb14bb1b9ca0cfef6939c606d503";
/// The same key and time; from fe80::2 to the group: VRID 52, priority 150, 100 ms, fe80::10 and 2001:db8::10.
const IPV6: &str = "31349602000aee4afe80000000000000000000000000001020010db8000000000000000000000010\
                    010700006553f100800000032a7681bc663b87c8036fd5a4545680ce";
/// When they were signed: half a second past.
const SIGNED_AT: WallTime = WallTime(Duration::from_millis(1_700_000_000_500));

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn key(id: u8) -> Key {
    Key::new(id, &(1..=32).collect::<Vec<u8>>()).unwrap()
}

fn authentication() -> Authentication {
    Authentication::new(vec![key(7)], 7).unwrap()
}

fn settings(vrid: u8, centis: u16, vips: &[&str], authentication: Authentication) -> Settings {
    let vips = vips.iter().map(|vip| ip(vip)).collect();
    Settings {
        advert_interval: Interval::from_centis(centis).unwrap(),
        authentication: Some(Arc::new(authentication)),
        ..Settings::new("t", Vrid::new(vrid).unwrap(), vips)
    }
}

fn v4(authentication: Authentication) -> Settings {
    settings(51, 100, &["10.0.0.10"], authentication)
}

fn v6(authentication: Authentication) -> Settings {
    settings(52, 10, &["fe80::10", "2001:db8::10"], authentication)
}

fn v4_datagram(payload: &[u8]) -> Datagram<'_> {
    Datagram {
        family: Family::V4,
        source: ip("10.0.0.2"),
        destination: ip("224.0.0.18"),
        hop_limit: 255,
        payload,
    }
}

fn v6_datagram(payload: &[u8]) -> Datagram<'_> {
    Datagram {
        family: Family::V6,
        source: ip("fe80::2"),
        destination: ip("ff02::12"),
        hop_limit: 255,
        payload,
    }
}

fn check(
    settings: &Settings,
    datagram: &Datagram<'_>,
    wall: WallTime,
    marks: &mut Marks,
) -> Result<Accepted, Reject> {
    let expected = Expectation::new(settings);
    let own = [ip("10.0.0.3"), ip("fe80::3")];
    accept_authentic(datagram, Local::addresses(&own), |vrid| {
        (vrid == settings.vrid).then_some((&expected, Guard { wall, marks }))
    })
    .map(|(_, accepted)| accepted)
}

/// The outcome at a receiver that has heard nothing so far.
fn first(settings: &Settings, datagram: &Datagram<'_>) -> Result<Accepted, Reject> {
    check(settings, datagram, SIGNED_AT, &mut Marks::default())
}

fn advertisement(settings: &Settings, family: Family, source: &str, priority: u8) -> Advertisement {
    Advertisement {
        family,
        vrid: settings.vrid,
        version: Version::V3,
        priority: Priority::new(priority),
        interval: settings.advert_interval,
        source: ip(source),
        destinations: settings.destinations(family),
        addresses: settings.wire_list(family),
        checksum: ChecksumForm::Rfc5798,
        password: None,
        authentication: settings.authentication.clone(),
    }
}

/// The stamp of the literals.
fn stamp() -> Stamp {
    Stamp::from_octets([0x65, 0x53, 0xf1, 0x00, 0x80, 0x00, 0, 3])
}

#[test]
fn what_is_signed_is_the_literal_octet_by_octet() {
    let mut advert = advertisement(&v4(authentication()), Family::V4, "10.0.0.2", 100);
    let packet = advert.encode_at(ip("224.0.0.18"), stamp());
    assert_eq!(packet[2..4], [0, 60], "the trailer counts in the IP length");
    assert_eq!(packet[20..], octets(IPV4_RFC5798));
    advert.checksum = ChecksumForm::Rfc9568;
    let packet = advert.encode_at(ip("224.0.0.18"), stamp());
    assert_eq!(packet[20..], octets(IPV4_RFC9568));
    let advert = advertisement(&v6(authentication()), Family::V6, "fe80::2", 150);
    assert_eq!(advert.encode_at(ip("ff02::12"), stamp()), octets(IPV6));
}

#[test]
fn a_trailer_that_holds_is_believed_in_every_form() {
    for literal in [IPV4_RFC5798, IPV4_RFC9568] {
        let payload = octets(literal);
        let accepted = first(&v4(authentication()), &v4_datagram(&payload)).unwrap();
        let expected = Proof {
            key: 7,
            stamp: stamp(),
        };
        assert_eq!(accepted.proof(), Some(expected));
        assert_eq!(accepted.priority(), Priority::DEFAULT);
    }
    let payload = octets(IPV6);
    assert!(first(&v6(authentication()), &v6_datagram(&payload)).is_ok());
}

/// What Keepalived 2.4.3 sent with the same key, taken from the wire: to the group by IPv4 and IPv6, and to a peer.
#[test]
fn keepalived_is_believed() {
    let to_group =
        "31336401001475cb0a07004d010700006b040ffe127b00006af73b34028991401d9c9c27cb933328";
    let over_ipv6 = "313364020014 6401fe800000000000000000000000000077fd070000000000000000000000000077\
                     010700006b04100d066e00007fd219e9f7cf160e53d874e8e9fcb6a5";
    let to_peer =
        "3133640100144bd60a07004d010700006b04101bd85800001f986f579d83453bb64761ce91ac3cd4";
    let heard = |hex: &str, vips: &[&str], source: &str, destination: &str| {
        let payload = octets(&hex.replace(' ', ""));
        let mut ours = settings(51, 20, vips, authentication().with_window(60));
        if !ip(destination).is_multicast() {
            ours.unicast_peers = vec![ip(source)];
        }
        let datagram = Datagram {
            family: Family::of(ip(source)),
            source: ip(source),
            destination: ip(destination),
            hop_limit: 255,
            payload: &payload,
        };
        let expected = Expectation::new(&ours);
        let wall = WallTime(Duration::from_secs(0x6b04_1000));
        let mut marks = Marks::default();
        let guard = Guard {
            wall: wall.after(Duration::from_secs(3)),
            marks: &mut marks,
        };
        let own = [ip("10.7.0.1")];
        let own = Local::addresses(&own);
        let (_, accepted) = accept_authentic(&datagram, own, |_| Some((&expected, guard))).unwrap();
        assert_eq!(accepted.proof().unwrap().key, 7);
        assert!(!accepted.notes().list_differs);
    };
    heard(to_group, &["10.7.0.77"], "10.7.0.2", "224.0.0.18");
    heard(to_peer, &["10.7.0.77"], "10.7.0.2", "10.7.0.1");
    let ipv6 = ["fe80::77", "fd07::77"];
    heard(over_ipv6, &ipv6, "fe80::b467:1ff:fe27:c3e1", "ff02::12");
}

#[test]
fn one_changed_octet_anywhere_is_refused_and_moves_no_mark() {
    let good = octets(IPV4_RFC9568);
    let ours = v4(authentication());
    for at in 0..good.len() {
        let mut marks = Marks::default();
        let mut payload = good.clone();
        payload[at] ^= 1;
        let refused = check(&ours, &v4_datagram(&payload), SIGNED_AT, &mut marks).unwrap_err();
        let expected = match at {
            0 => Reject::Type,
            1 => Reject::UnknownVrid,
            3 => Reject::Length,
            6 | 7 => Reject::Checksum,
            12 | 14 | 15 => Reject::TrailerForm,
            13 => Reject::KeyUnknown,
            _ => Reject::Hmac,
        };
        assert_eq!(refused, expected, "octet {at}");
        // The genuine one, made no later than the forged, is still believed.
        assert!(check(&ours, &v4_datagram(&good), SIGNED_AT, &mut marks).is_ok());
    }
}

#[test]
fn another_source_family_or_key_does_not_hold() {
    let payload = octets(IPV4_RFC9568);
    let elsewhere = Datagram {
        source: ip("10.0.0.4"),
        ..v4_datagram(&payload)
    };
    let ours = v4(authentication());
    assert_eq!(first(&ours, &elsewhere), Err(Reject::Hmac));
    let other = Authentication::new(vec![Key::new(7, &[9; 32]).unwrap()], 7).unwrap();
    assert_eq!(first(&v4(other), &v4_datagram(&payload)), Err(Reject::Hmac));
}

#[test]
fn who_does_not_authenticate_refuses_a_trailer_by_its_length() {
    let payload = octets(IPV4_RFC9568);
    let mut plain = v4(authentication());
    plain.authentication = None;
    assert_eq!(first(&plain, &v4_datagram(&payload)), Err(Reject::Length));
    let other_vrid = settings(99, 100, &["10.0.0.10"], authentication());
    assert_eq!(
        first(&other_vrid, &v4_datagram(&payload)),
        Err(Reject::UnknownVrid)
    );
}

#[test]
fn a_missing_trailer_is_refused_unless_a_rollout_is_under_way() {
    let payload = octets(&IPV4_RFC9568[..24]);
    let with = |mode| {
        v4(Authentication {
            mode,
            ..authentication()
        })
    };
    let outcome = |mode| first(&with(mode), &v4_datagram(&payload));
    assert_eq!(outcome(AuthMode::Enforce), Err(Reject::TrailerMissing));
    for mode in [AuthMode::Permissive, AuthMode::ReceiveOnly] {
        assert_eq!(outcome(mode).unwrap().proof(), None);
        // One that is there has to hold all the same.
        let mut forged = octets(IPV4_RFC9568);
        forged[39] ^= 1;
        assert_eq!(first(&with(mode), &v4_datagram(&forged)), Err(Reject::Hmac));
    }
    let signs = |mode| {
        let ours = with(mode);
        let advert = advertisement(&ours, Family::V4, "10.0.0.2", 100);
        advert.encode_at(ip("224.0.0.18"), stamp()).len() - 20
    };
    assert_eq!(signs(AuthMode::Enforce), 40);
    assert_eq!(signs(AuthMode::Permissive), 40);
    assert_eq!(signs(AuthMode::ReceiveOnly), 12);
}

#[test]
fn nothing_signed_is_believed_without_a_clock() {
    let payload = octets(IPV4_RFC9568);
    let growth = Authentication {
        freshness: Freshness::Growth,
        ..authentication()
    };
    for authentication in [authentication(), growth] {
        let expected = Expectation::new(&v4(authentication));
        let refused = accept(&v4_datagram(&payload), Local::default(), |_| {
            Some(&expected)
        });
        assert_eq!(refused, Err(Reject::Stale));
    }
}

#[test]
fn a_recording_is_refused_by_its_mark_and_an_old_one_by_the_window() {
    let payload = octets(IPV4_RFC9568);
    let ours = v4(authentication());
    let mut marks = Marks::default();
    let at = |seconds: u64| WallTime(Duration::from_secs(seconds));
    let datagram = v4_datagram(&payload);
    let mut outcome = |wall| check(&ours, &datagram, wall, &mut marks).map(drop);
    assert_eq!(outcome(at(1_700_000_006)), Err(Reject::Stale));
    assert_eq!(outcome(at(1_699_999_994)), Err(Reject::Stale));
    assert_eq!(outcome(at(1_700_000_005)), Ok(()));
    assert_eq!(outcome(at(1_700_000_005)), Err(Reject::Replay));
    // A forged clock cannot bring it back either.
    assert_eq!(outcome(at(1_699_999_995)), Err(Reject::Replay));
}

#[test]
fn without_a_window_only_growth_counts() {
    let payload = octets(IPV4_RFC9568);
    let ours = v4(Authentication {
        freshness: Freshness::Growth,
        ..authentication()
    });
    let mut marks = Marks::default();
    let years_later = WallTime(Duration::from_secs(1_900_000_000));
    let datagram = v4_datagram(&payload);
    let accepted = check(&ours, &datagram, years_later, &mut marks).unwrap();
    assert_eq!(accepted.notes().skew_s, Some(200_000_000));
    assert_eq!(
        check(&ours, &datagram, years_later, &mut marks),
        Err(Reject::Replay)
    );
}

#[test]
fn a_clock_that_nears_the_window_is_noted_with_its_difference() {
    let payload = octets(IPV4_RFC9568);
    let ours = v4(authentication());
    let skew = |wall| {
        check(&ours, &v4_datagram(&payload), wall, &mut Marks::default())
            .unwrap()
            .notes()
            .skew_s
    };
    let at = |seconds: u64| WallTime(Duration::from_secs(seconds));
    assert_eq!(skew(at(1_700_000_002)), None);
    assert_eq!(skew(at(1_700_000_003)), Some(3));
    assert_eq!(skew(at(1_699_999_996)), Some(-4));
    let words = skew_words(ip("10.0.0.2"), -4);
    assert_eq!(
        words,
        "the clock of 10.0.0.2 is 4 s ahead of ours: check the time of both nodes"
    );
}

#[test]
fn two_keys_are_believed_while_one_replaces_the_other() {
    let both = Authentication::new(vec![Key::new(8, &[8; 64]).unwrap(), key(7)], 8).unwrap();
    let ours = v4(both);
    assert!(first(&ours, &v4_datagram(&octets(IPV4_RFC9568))).is_ok());
    let advert = advertisement(&ours, Family::V4, "10.0.0.2", 100);
    let packet = advert.encode_at(ip("224.0.0.18"), stamp());
    assert_eq!(packet[33], 8);
    assert_eq!(
        first(&ours, &v4_datagram(&packet[20..]))
            .unwrap()
            .proof()
            .unwrap()
            .key,
        8
    );
}

#[test]
fn stamps_grow_when_the_clock_stands_still_or_goes_back() {
    let window = authentication();
    let growth = Authentication {
        freshness: Freshness::Growth,
        ..authentication()
    };
    let later = SIGNED_AT.after(Duration::from_secs(3600));
    for (authentication, starts_anew) in [(&window, true), (&growth, false)] {
        let mut sequencer = Sequencer::default();
        let mut last = sequencer.next(SIGNED_AT, authentication);
        for _ in 0..70_000 {
            let next = sequencer.next(SIGNED_AT, authentication);
            assert!(next.follows(last));
            last = next;
        }
        let ahead = sequencer.next(later, authentication);
        assert_eq!(ahead, Stamp::at(later));
        let back = sequencer.next(SIGNED_AT, authentication);
        assert_eq!(back == Stamp::at(SIGNED_AT), starts_anew);
    }
    let mut restarted = Sequencer::beginning_at(SIGNED_AT.after(Duration::from_secs(2)), None);
    assert!(restarted.next(SIGNED_AT, &window).follows(stamp()));
}

#[test]
fn what_is_stamped_ahead_is_later_than_what_is_said_meanwhile_also_after_the_clock_went_back() {
    let growth = Authentication {
        freshness: Freshness::Growth,
        ..authentication()
    };
    let lead = Duration::from_secs(1);
    let later = SIGNED_AT.after(Duration::from_secs(3600));
    let mut sequencer = Sequencer::default();
    let said = sequencer.next(later, &growth);
    let will = sequencer.ahead(SIGNED_AT, lead, &growth);
    assert!(will.follows(said));
    assert!(will.follows(sequencer.next(SIGNED_AT, &growth)));
    // Who follows is told of the will, and goes on after it.
    let told = Some(Stamp::from_value(will.value()));
    let mut next = Sequencer::beginning_at(SIGNED_AT, told);
    assert!(next.next(SIGNED_AT, &growth).follows(will));
    // Where receivers look at the clock, what they would refuse is given up.
    let window = authentication();
    assert_eq!(
        sequencer.ahead(SIGNED_AT, lead, &window),
        Stamp::at(SIGNED_AT.after(lead))
    );
    assert_eq!(next.next(SIGNED_AT, &window), Stamp::at(SIGNED_AT));
}

#[test]
fn the_order_of_stamps_survives_the_year_2106() {
    let before = Stamp::at(WallTime(Duration::from_secs(u64::from(u32::MAX))));
    let after = Stamp::at(WallTime(Duration::from_secs(u64::from(u32::MAX) + 2)));
    assert!(after.follows(before) && !before.follows(after));
    let wall = WallTime(Duration::from_secs(u64::from(u32::MAX) + 2));
    assert_eq!(before.age_s(wall), 2);
}

#[test]
fn only_so_many_senders_are_kept() {
    let mut marks = Marks::default();
    for last in 1..=20 {
        marks.note(IpAddr::from([10, 0, 0, last]), stamp());
    }
    let known = |last| !marks.admits(ip(last), stamp(), SIGNED_AT, &authentication());
    assert!(known("10.0.0.20") && known("10.0.0.13"));
    assert!(!known("10.0.0.12"));
}

#[test]
fn keys_that_cannot_be_used_say_why_and_are_never_shown() {
    assert_eq!(Key::new(0, &[1; 32]), Err(KeyError::Id));
    let short = Key::new(3, &[1; 31]).unwrap_err();
    assert_eq!(short.to_string(), "key 3 has 31 octets; a key has 32 to 64");
    assert!(Key::new(3, &[1; 65]).is_err());
    assert_eq!(
        Authentication::new(vec![key(1), key(1)], 1),
        Err(KeyError::Twice(1))
    );
    assert_eq!(
        Authentication::new(vec![key(1)], 2),
        Err(KeyError::NoActive(2))
    );
    assert_eq!(Authentication::new(vec![], 1), Err(KeyError::NoActive(1)));
    let shown = format!("{:?}", v4(authentication()));
    assert!(shown.contains("Key(7, hidden)"), "{shown}");
    assert!(!shown.contains("31, 32]"), "{shown}");
}
