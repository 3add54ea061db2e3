//! Any octets, and every value there and back.

use super::*;
use proptest::prelude::*;

fn any_settings() -> impl Strategy<Value = (Settings, Family, u8, ChecksumForm)> {
    let vips_v4 = prop::collection::vec(any::<[u8; 4]>().prop_map(|a| IpAddr::V4(a.into())), 1..20);
    let vips_v6 =
        prop::collection::vec(any::<[u8; 16]>().prop_map(|a| IpAddr::V6(a.into())), 1..10);
    let password = prop::option::of(prop::collection::vec(any::<u8>(), 1..=8));
    let form = prop::sample::select(vec![ChecksumForm::Rfc5798, ChecksumForm::Rfc9568]);
    let choice = (any::<bool>(), any::<bool>());
    (
        1_u8..,
        1_u16..=4095,
        vips_v4,
        vips_v6,
        password,
        choice,
        any::<u8>(),
        form,
    )
        .prop_map(
            |(vrid, centis, vips_v4, vips_v6, password, (is_v6, is_v2), priority, form)| {
                let (family, vips) = if is_v6 {
                    (Family::V6, vips_v6)
                } else {
                    (Family::V4, vips_v4)
                };
                let mut settings = Settings::new("p", Vrid::new(vrid).unwrap(), vips);
                settings.advert_interval = Interval::from_centis(centis).unwrap();
                if is_v2 && !is_v6 {
                    settings.version = Version::V2;
                    settings.password = password.and_then(|text| Password::new(&text));
                    settings.advert_interval =
                        Interval::from_centis(centis % 40 * 100 + 100).unwrap();
                }
                (settings, family, priority, form)
            },
        )
}

proptest! {
    #[test]
    fn what_is_encoded_is_accepted_as_it_was((settings, family, priority, form) in any_settings()) {
        let mut advert = advertisement(&settings, family, priority);
        advert.checksum = form;
        let octets = advert.encode(group(family));
        let received = match family {
            Family::V4 => parse_ipv4(&octets).unwrap(),
            Family::V6 => datagram_v6(&octets),
        };
        let accepted = check(&settings, &received).unwrap();
        prop_assert_eq!(accepted.priority(), advert.priority);
        prop_assert_eq!(accepted.interval(), advert.interval);
        prop_assert_eq!(accepted.addresses(), &advert.addresses[..]);
        let has_choice = family == Family::V4 && settings.version == Version::V3;
        prop_assert_eq!(accepted.checksum(), has_choice.then_some(form));
        prop_assert!(!accepted.notes().list_differs && !accepted.notes().interval_differs);
    }

    #[test]
    fn any_octets_are_judged_without_panic(octets in prop::collection::vec(any::<u8>(), 0..600), version in 2_u8..4) {
        let _ = parse_ipv4(&octets).map(|datagram| check(&v3(), &datagram));
        let mut octets = octets;
        if let Some(first) = octets.first_mut() {
            *first = version << 4 | 1;
        }
        let _ = check(&v3(), &datagram(&octets));
        let _ = check(&v2(Some(b"s3cret")), &datagram(&octets));
        let _ = check(&ipv6(&["fe80::10"]), &datagram_v6(&octets));
    }

    #[test]
    fn one_changed_bit_never_gives_another_advertisement(bit in 0_usize..96) {
        let mut message = V3_RFC5798;
        message[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check(&v3(), &datagram(&message)).is_err());
    }
}
