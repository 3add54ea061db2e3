//! Who the client is, when it comes through proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::http::request::RequestHead;

/// The address of the client: that of the peer, unless the peer is trusted; then the last address in `X-Forwarded-For`
/// that is not trusted itself. What stands before that one anybody could have written.
pub(crate) fn client(
    head: &RequestHead<'_, '_>,
    peer: IpAddr,
    peer_is_trusted: bool,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer.to_canonical();
    if !peer_is_trusted {
        return client;
    }
    for value in head.values_backwards("x-forwarded-for") {
        for text in value.rsplit(|byte| *byte == b',') {
            let Some(address) = address(text.trim_ascii()) else {
                return client; // nothing before it can be believed
            };
            client = address;
            if !trusted.iter().any(|net| net.contains(&address)) {
                return client;
            }
        }
    }
    client
}

/// An address, perhaps with a port as some proxies write it.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {

    use super::*;
    use crate::http::head::FieldRoom;
    use crate::http::request;

    fn found(fields: &str, peer: &str) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"]
            .map(|net| net.parse().unwrap())
            .to_vec();
        let peer: IpAddr = peer.parse().unwrap();
        let is_trusted = trusted.iter().any(|net| net.contains(&peer));
        let mut bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
        let mut room = FieldRoom::lend();
        let head = request::parse(&mut bytes, &mut room, 8192).unwrap();
        client(&head, peer, is_trusted, &trusted).to_string()
    }

    #[test]
    fn the_last_that_is_not_trusted() {
        let rows = [
            ("", "192.0.2.1", "192.0.2.1"),
            ("", "10.0.0.1", "10.0.0.1"),
            (
                "X-Forwarded-For: 198.51.100.7\r\n",
                "192.0.2.1",
                "192.0.2.1",
            ),
            (
                "X-Forwarded-For: 198.51.100.7\r\n",
                "10.0.0.1",
                "198.51.100.7",
            ),
            (
                "X-Forwarded-For: 1.1.1.1, 198.51.100.7 ,10.0.0.9\r\n",
                "10.0.0.1",
                "198.51.100.7",
            ),
            (
                "X-Forwarded-For: 198.51.100.7\r\nx-forwarded-for: 10.0.0.9\r\n",
                "10.0.0.1",
                "198.51.100.7",
            ),
            (
                "X-Forwarded-For: 10.0.0.8, 10.0.0.9\r\n",
                "10.0.0.1",
                "10.0.0.8",
            ),
            (
                "X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.9\r\n",
                "10.0.0.1",
                "10.0.0.9",
            ),
            (
                "X-Forwarded-For: 198.51.100.7:4711\r\n",
                "10.0.0.1",
                "198.51.100.7",
            ),
            (
                "X-Forwarded-For: [2001:db8::7]:4711\r\n",
                "fd00::1",
                "2001:db8::7",
            ),
            (
                "X-Forwarded-For: ::ffff:198.51.100.7\r\n",
                "10.0.0.1",
                "198.51.100.7",
            ),
            ("X-Forwarded-For: ,\r\n", "10.0.0.1", "10.0.0.1"),
        ];
        for (fields, peer, expected) in rows {
            assert_eq!(found(fields, peer), expected, "{fields:?} from {peer}");
        }
    }
}
