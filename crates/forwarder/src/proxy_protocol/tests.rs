//! Headers of both versions: examples, deviations, and any octets at all.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

#[test]
fn lines_of_version_1() {
    let client = |text| Ok(Origin::Client(at(text)));
    let rows: [(&str, Result<Origin, Malformed>); 20] = [
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 41000 443\r\n",
            client("192.0.2.7:41000"),
        ),
        (
            "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
            client("255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 2001:db8::7 ::1 1 2\r\n",
            client("[2001:db8::7]:1"),
        ),
        ("PROXY UNKNOWN\r\n", Ok(Origin::Peer)),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(Origin::Peer)),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 41000 443\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 41000\r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 41000 443 \r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4  192.0.2.7 192.0.2.10 41000 443\r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4 192.0.2.07 192.0.2.10 41000 443\r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 041000 443\r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 +1 443\r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 65536 443\r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.10 1 -2\r\n",
            Err(Malformed::Form),
        ),
        ("PROXY TCP4 2001:db8::7 ::1 1 2\r\n", Err(Malformed::Form)),
        (
            "PROXY TCP6 192.0.2.7 192.0.2.10 1 2\r\n",
            Err(Malformed::Form),
        ),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Err(Malformed::Form)),
        (
            "PROXY UDP4 192.0.2.7 192.0.2.10 1 2\r\n",
            Err(Malformed::Form),
        ),
        (
            "PROXY tcp4 192.0.2.7 192.0.2.10 1 2\r\n",
            Err(Malformed::Form),
        ),
        ("PROXY \r\n", Err(Malformed::Form)),
    ];
    for (line, want) in rows {
        assert_eq!(parse_v1(line.as_bytes()), want, "{line:?}");
    }
}

#[test]
fn headers_of_version_2() {
    let v4 = [192, 0, 2, 7, 192, 0, 2, 10, 0xa0, 0x28, 1, 187];
    let mut v6 = [0; 36];
    (v6[0], v6[15], v6[33]) = (0xfd, 1, 9);
    let unix = [0; 216];
    let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
    let client = |text| Ok(Origin::Client(at(text)));
    let rows = [
        (v2(0x21, 0x11, &v4), client("192.0.2.7:41000")),
        (v2(0x21, 0x11, &with_tlv), client("192.0.2.7:41000")),
        (v2(0x21, 0x21, &v6), client("[fd00::1]:9")),
        (v2(0x20, 0x00, &[]), Ok(Origin::Peer)),
        (v2(0x20, 0x11, &v4), Ok(Origin::Peer)),
        (v2(0x21, 0x00, &[]), Ok(Origin::Peer)),
        (v2(0x21, 0x31, &unix), Ok(Origin::Peer)),
        (v2(0x21, 0x31, &unix[1..]), Err(Malformed::Form)),
        (v2(0x21, 0x11, &v4[1..]), Err(Malformed::Form)),
        (v2(0x21, 0x21, &v6[1..]), Err(Malformed::Form)),
        (v2(0x21, 0x12, &v4), Err(Malformed::Form)),
        (v2(0x21, 0x41, &v4), Err(Malformed::Form)),
        (v2(0x22, 0x11, &v4), Err(Malformed::Form)),
        (v2(0x11, 0x11, &v4), Err(Malformed::Form)),
        (v2(0x21, 0x11, &v4)[..27].to_vec(), Err(Malformed::Form)),
        (
            [v2(0x21, 0x11, &v4), vec![0]].concat(),
            Err(Malformed::Form),
        ),
        (SIGNATURE.to_vec(), Err(Malformed::Form)),
    ];
    for (header, want) in rows {
        assert_eq!(parse_v2(&header), want, "{header:x?}");
    }
}

#[test]
fn what_is_sent() {
    let ends = Some((at("192.0.2.7:41000"), at("192.0.2.10:443")));
    assert_eq!(
        header(SendProxy::V1, ends),
        b"PROXY TCP4 192.0.2.7 192.0.2.10 41000 443\r\n"
    );
    let v4 = [192, 0, 2, 7, 192, 0, 2, 10, 0xa0, 0x28, 1, 187];
    assert_eq!(header(SendProxy::V2, ends), v2(0x21, 0x11, &v4));
    let mixed = Some((at("192.0.2.7:41000"), at("[2001:db8::1]:443")));
    assert_eq!(header(SendProxy::V1, mixed), b"PROXY UNKNOWN\r\n");
    assert_eq!(
        parse_v2(&header(SendProxy::V2, mixed)),
        Ok(Origin::Client(at("[::ffff:192.0.2.7]:41000")))
    );
    assert_eq!(header(SendProxy::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(header(SendProxy::V2, None), v2(0x20, 0, &[]));
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>()
            .prop_map(IpAddr::V6)
            .prop_filter("is IPv6", |ip| ip.to_canonical().is_ipv6()),
    ]
}

proptest! {
    #[test]
    fn what_is_sent_is_understood(from in address(), to in address(), ports in any::<(u16, u16)>()) {
        let ends = (SocketAddr::new(from, ports.0), SocketAddr::new(to, ports.1));
        let want = Ok(Origin::Client(ends.0));
        if from.is_ipv4() == to.is_ipv4() {
            let line = header(SendProxy::V1, Some(ends));
            prop_assert!(line.len() <= V1_MAX);
            prop_assert_eq!(parse_v1(&line), want);
            prop_assert_eq!(parse_v2(&header(SendProxy::V2, Some(ends))), want);
        }
    }

    #[test]
    fn any_octets_are_a_header_or_are_not(
        octets in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 0usize..300,
    ) {
        let _ = parse_v1(&octets);
        let _ = parse_v2(&octets);
        let after = v2(0x21, octets.first().copied().unwrap_or(0), &octets);
        let _ = parse_v2(&after);
        let _ = parse_v2(&after[..cut.min(after.len())]);
        let _ = parse_v1(&[b"PROXY TCP4 ", &octets[..], b"\r\n"].concat());
    }
}
