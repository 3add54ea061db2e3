//! What is sent, octet by octet.

use super::*;

#[test]
fn what_is_sent_is_the_literal_octet_by_octet() {
    let header = [
        0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 2, 224, 0, 0, 18,
    ];
    let mut advert = advertisement(&v3(), Family::V4, 100);
    assert_eq!(
        advert.encode(ip("224.0.0.18")),
        [&header[..], &V3_RFC5798].concat()
    );
    advert.checksum = ChecksumForm::Rfc9568;
    assert_eq!(
        advert.encode(ip("224.0.0.18")),
        [&header[..], &V3_RFC9568].concat()
    );
    let v2_header = [
        0x45, 0xc0, 0, 40, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 2, 224, 0, 0, 18,
    ];
    let plain = advertisement(&v2(None), Family::V4, 100).encode(ip("224.0.0.18"));
    assert_eq!(plain, [&v2_header[..], &V2_PLAIN].concat());
    let pass = advertisement(&v2(Some(b"s3cret")), Family::V4, 100).encode(ip("224.0.0.18"));
    assert_eq!(pass, [&v2_header[..], &V2_PASS].concat());
    let v6 = advertisement(&ipv6(&["2001:db8::10", "fe80::10"]), Family::V6, 150);
    assert_eq!(v6.encode(ip("ff02::12")), V3_IPV6);
    let global = advertisement(&ipv6(&["2001:db8::10"]), Family::V6, 150);
    assert_eq!(global.encode(ip("ff02::12")), V3_IPV6_GLOBAL);
}

#[test]
fn unicast_pseudo_headers_use_the_unicast_addresses() {
    let ours = settings(51, 10, &["10.0.0.10"]);
    let packet = advertisement(&ours, Family::V4, 0).encode(ip("10.0.0.3"));
    assert_eq!(packet[16..20], [10, 0, 0, 3]);
    assert_eq!(packet[20..], V3_UNICAST);
}
