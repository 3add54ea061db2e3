//! The checks that only version 2 has.

use super::*;

#[test]
fn v2_authentication_type_has_to_match() {
    assert!(check(&v2(None), &datagram(&V2_PLAIN)).is_ok());
    assert_eq!(check(&v2(None), &datagram(&V2_PASS)), Err(Reject::AuthType));
    assert_eq!(
        check(&v2(Some(b"s3cret")), &datagram(&V2_PLAIN)),
        Err(Reject::AuthType)
    );
    let type_2 = changed(V2_PASS, &[(4, 2)]);
    assert_eq!(
        check(&v2(Some(b"s3cret")), &datagram(&type_2)),
        Err(Reject::AuthType)
    );
    assert_eq!(check(&v2(None), &datagram(&type_2)), Err(Reject::AuthType));
}

#[test]
fn a_v2_password_has_to_match() {
    assert!(check(&v2(Some(b"s3cret")), &datagram(&V2_PASS)).is_ok());
    assert_eq!(
        check(&v2(Some(b"s3cres")), &datagram(&V2_PASS)),
        Err(Reject::Password)
    );
    assert_eq!(
        check(&v2(Some(b"s3cret1")), &datagram(&V2_PASS)),
        Err(Reject::Password)
    );
}

#[test]
fn v2_authentication_data_of_type_0_is_ignored() {
    let garbage = changed(V2_PLAIN, &[(12, 0xde), (13, 0xad), (19, 0xff)]);
    assert!(check(&v2(None), &datagram(&garbage)).is_ok());
}

#[test]
fn another_v2_interval_is_refused() {
    for seconds in [2, 40, 41, 255] {
        let message = changed(V2_PLAIN, &[(5, seconds)]);
        assert_eq!(
            check(&v2(None), &datagram(&message)),
            Err(Reject::V2Interval),
            "{seconds} s"
        );
    }
    let ours = Settings {
        advert_interval: Interval::from_centis(200).unwrap(),
        ..v2(None)
    };
    let message = changed(V2_PLAIN, &[(5, 2)]);
    assert_eq!(
        check(&ours, &datagram(&message))
            .unwrap()
            .interval()
            .centis(),
        200
    );
}
