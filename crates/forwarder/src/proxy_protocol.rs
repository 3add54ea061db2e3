//! The PROXY protocol (versions 1 and 2, as HAProxy specifies it): a header before everything else that says whose
//! connection it is.
//!
//! ```text
//!   v1   PROXY TCP4 192.0.2.7 192.0.2.10 41000 443\r\n           at most 107 octets
//!   v2   0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a | 21 | 11 | length | source, destination, ports, TLVs
//!        signature                             |    family and transport
//!                                              version and command: 20 LOCAL, 21 PROXY
//! ```
//!
//! What deviates in anything is refused: who sends this is a machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use balancer::SendProxy;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of a v2 header before its addresses.
const V2_HEAD: usize = 16;
/// Octets after that which are read: addresses and what else is told; more is refused.
const V2_MAX_REST: usize = 4096;
/// Octets of a v1 header at most.
const V1_MAX: usize = 107;
/// Octets that tell what it is. No header of either version is shorter.
const FIRST: usize = SIGNATURE.len();
/// Time to a complete header.
const LIMIT: Duration = Duration::from_secs(3);

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The connection is for the client at this address.
    Client(SocketAddr),
    /// It is the peer's own (a health check), or it does not say whose.
    Peer,
}

/// A header that is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Malformed {
    /// It begins with something else.
    #[error("no PROXY header")]
    Missing,
    /// It is longer than it may be.
    #[error("a PROXY header that is too long")]
    TooLong,
    /// It is neither in the form of v1 nor of v2.
    #[error("a malformed PROXY header")]
    Form,
    /// It did not come in time, or not to its end.
    #[error("no complete PROXY header in time")]
    Incomplete,
}

/// Reads a header and nothing behind it.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Origin, Malformed> {
    let read = tokio::time::timeout(LIMIT, read_all(stream)).await;
    read.unwrap_or(Err(Malformed::Incomplete))
}

async fn read_all(stream: &mut TcpStream) -> Result<Origin, Malformed> {
    let mut header = vec![0; FIRST];
    take(stream, &mut header).await?;
    if header == SIGNATURE {
        header.resize(V2_HEAD, 0);
        take(stream, &mut header[FIRST..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > V2_MAX_REST {
            return Err(Malformed::TooLong);
        }
        header.resize(V2_HEAD + rest, 0);
        take(stream, &mut header[V2_HEAD..]).await?;
        return parse_v2(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(Malformed::Missing);
    }
    while header.last() != Some(&b'\n') {
        let mut room = [0; V1_MAX];
        let left = V1_MAX - header.len();
        if left == 0 {
            return Err(Malformed::TooLong);
        }
        // Looked at first: what comes behind the line belongs to whoever reads next.
        let seen = stream.peek(&mut room[..left]).await;
        let seen = seen.map_err(|_| Malformed::Incomplete)?;
        let line = memchr::memchr(b'\n', &room[..seen]).map_or(seen, |at| at + 1);
        if line == 0 {
            return Err(Malformed::Incomplete);
        }
        take(stream, &mut room[..line]).await?;
        header.extend_from_slice(&room[..line]);
    }
    parse_v1(&header)
}

async fn take(stream: &mut TcpStream, room: &mut [u8]) -> Result<(), Malformed> {
    let read = stream.read_exact(room).await;
    read.map(drop).map_err(|_| Malformed::Incomplete)
}

/// A whole v1 header, the end of its line included.
fn parse_v1(header: &[u8]) -> Result<Origin, Malformed> {
    let line = header.strip_suffix(b"\r\n").ok_or(Malformed::Form)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Form)?;
    let words: Vec<&str> = line.split(' ').collect();
    match &words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(Origin::Peer),
        [
            "PROXY",
            family,
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let address = |text: &str| -> Option<IpAddr> {
                match *family {
                    "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                    "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                    _ => None,
                }
            };
            let end = |ip, at| Some(SocketAddr::new(address(ip)?, port(at)?));
            let ends = end(source, source_port).zip(end(destination, destination_port));
            let (client, _) = ends.ok_or(Malformed::Form)?;
            Ok(Origin::Client(client))
        }
        _ => Err(Malformed::Form),
    }
}

/// Digits without a sign or a leading zero.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// A whole v2 header.
fn parse_v2(header: &[u8]) -> Result<Origin, Malformed> {
    let (head, rest) = header.split_at_checked(V2_HEAD).ok_or(Malformed::Form)?;
    let told = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if !head.starts_with(SIGNATURE) || rest.len() != told {
        return Err(Malformed::Form);
    }
    match (head[12], head[13]) {
        // LOCAL: whatever else it says is to be passed over.
        (0x20, _) => Ok(Origin::Peer),
        // PROXY for TCP over IPv4, over IPv6, for a UNIX stream, for something else.
        (0x21, 0x11) => {
            let addresses = rest.first_chunk::<12>().ok_or(Malformed::Form)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let address = Ipv4Addr::new(a, b, c, d).into();
            let port = u16::from_be_bytes([high, low]);
            Ok(Origin::Client(SocketAddr::new(address, port)))
        }
        (0x21, 0x21) => {
            let addresses = rest.first_chunk::<36>().ok_or(Malformed::Form)?;
            let (source, others) = addresses.split_first_chunk::<16>().ok_or(Malformed::Form)?;
            let port = u16::from_be_bytes([others[16], others[17]]);
            Ok(Origin::Client(SocketAddr::new(
                Ipv6Addr::from(*source).into(),
                port,
            )))
        }
        (0x21, 0x31) if rest.len() >= 216 => Ok(Origin::Peer),
        (0x21, 0x00) => Ok(Origin::Peer),
        _ => Err(Malformed::Form),
    }
}

/// The header of a connection from a client to an address of ours; a check of our own has neither.
pub(crate) fn header(version: SendProxy, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let ends = ends.map(|(client, local)| (canonical(client), canonical(local)));
    match version {
        SendProxy::V1 => match ends {
            Some((client, local)) if client.is_ipv4() == local.is_ipv4() => {
                let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
                let (from, to) = (client.ip(), local.ip());
                let (from_port, to_port) = (client.port(), local.port());
                format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
            }
            Some(_) | None => b"PROXY UNKNOWN\r\n".to_vec(),
        },
        SendProxy::V2 => {
            let (what, family, addresses) = match ends {
                None => (0x20, 0x00, Vec::new()),
                Some((SocketAddr::V4(client), SocketAddr::V4(local))) => {
                    let ips = [client.ip().octets(), local.ip().octets()].concat();
                    (0x21, 0x11, with_ports(ips, client.port(), local.port()))
                }
                Some((client, local)) => {
                    let v6 = |ip| match ip {
                        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                        IpAddr::V6(ip) => ip.octets(),
                    };
                    let ips = [v6(client.ip()), v6(local.ip())].concat();
                    (0x21, 0x21, with_ports(ips, client.port(), local.port()))
                }
            };
            let length = if addresses.is_empty() {
                0
            } else {
                addresses.len() as u8
            };
            let head = [&SIGNATURE[..], &[what, family, 0, length]].concat();
            [head, addresses].concat()
        }
    }
}

fn with_ports(mut addresses: Vec<u8>, from: u16, to: u16) -> Vec<u8> {
    addresses.extend_from_slice(&from.to_be_bytes());
    addresses.extend_from_slice(&to.to_be_bytes());
    addresses
}

#[cfg(test)]
mod tests;
