//! The first words of a TLS client (RFC 8446 §4.1.2, RFC 6066 §3), read without answering them: whom it asks for.
//!
//! ```text
//! record     | 22 | major minor | length (2) | fragment ...            one or more, RFC 8446 §5.1
//! handshake  |  1 | length (3)  | ClientHello                          over all fragments
//! hello      | version (2) | random (32) | session <0..32> | ciphers <2..> | compressions <1..> | extensions <..>
//! extension  | type (2) | length (2) | body;    type 0: list of (name type 0, name <1..>)
//! ```

/// Bytes of a hello that are read at most, heads of records included: post-quantum key shares need some 2 KiB.
pub(crate) const MAX_HELLO_BYTES: usize = 16 * 1024;

const RECORD_HEAD: usize = 5;
const HANDSHAKE_HEAD: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Length of a fragment (RFC 8446 §5.1).
const MAX_FRAGMENT: usize = 16 * 1024;
const VERSION_AND_RANDOM: usize = 2 + 32;
/// Length of a DNS name.
const MAX_NAME: usize = 253;

/// What the bytes so far say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Hello {
    /// Not all is there.
    More,
    /// It asks for this name, in lower case, or for none.
    Asks(Option<String>),
    /// This is no TLS, or no way to begin it.
    Malformed,
}

/// Reads the beginning of a connection.
pub(crate) fn read(bytes: &[u8]) -> Hello {
    let mut handshake = Vec::new();
    let mut rest = bytes;
    loop {
        if !begins_like_a_record(rest) {
            return Hello::Malformed;
        }
        let Some((head, after)) = rest.split_at_checked(RECORD_HEAD) else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > MAX_FRAGMENT {
            return Hello::Malformed;
        }
        let have = length.min(after.len());
        handshake.extend_from_slice(&after[..have]);
        if is_whole(&handshake) || have < length {
            break;
        }
        rest = &after[have..];
    }
    if handshake.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Hello::Malformed;
    }
    match (body(&handshake), bytes.len() >= MAX_HELLO_BYTES) {
        (Some(hello), _) => server_name(hello).map_or(Hello::Malformed, Hello::Asks),
        (None, true) => Hello::Malformed,
        (None, false) => Hello::More,
    }
}

fn begins_like_a_record(bytes: &[u8]) -> bool {
    let kind = bytes.first().is_none_or(|kind| *kind == HANDSHAKE);
    kind && bytes.get(1).is_none_or(|major| *major == 3)
}

/// The hello inside a handshake message, if all of it is there.
fn body(handshake: &[u8]) -> Option<&[u8]> {
    let (head, rest) = handshake.split_at_checked(HANDSHAKE_HEAD)?;
    let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
    rest.get(..length)
}

fn is_whole(handshake: &[u8]) -> bool {
    body(handshake).is_some()
}

/// The name in a hello; `None` if the hello is malformed.
fn server_name(hello: &[u8]) -> Option<Option<String>> {
    let mut hello = Bytes(hello);
    hello.take(VERSION_AND_RANDOM)?;
    hello.list_8()?; // session
    hello.list_16()?; // cipher suites
    hello.list_8()?; // compression methods
    if hello.0.is_empty() {
        return Some(None);
    }
    let mut extensions = hello.list_16()?;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let extension = extensions.list_16()?;
        if kind == SERVER_NAME {
            return host_name(extension);
        }
    }
    Some(None)
}

fn host_name(mut extension: Bytes<'_>) -> Option<Option<String>> {
    let mut names = extension.list_16()?;
    while !names.0.is_empty() {
        let kind = names.take(1)?[0];
        let name = names.list_16()?.0;
        if kind == HOST_NAME {
            let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            let sound = (1..=MAX_NAME).contains(&name.len()) && name.iter().all(known);
            let name = sound.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())?;
            return Some(Some(name.trim_end_matches('.').to_owned()));
        }
    }
    Some(None)
}

/// Bytes that are taken from the front.
#[derive(Clone, Copy)]
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A list whose length stands before it in one byte.
    fn list_8(&mut self) -> Option<Bytes<'b>> {
        let length = self.take(1)?[0];
        self.take(length.into()).map(Bytes)
    }

    /// A list whose length stands before it in two bytes.
    fn list_16(&mut self) -> Option<Bytes<'b>> {
        let length = self.number()?;
        self.take(length.into()).map(Bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a client of rustls says first.
    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(crate::tls::provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same message in records of `size` bytes each.
    fn in_pieces(hello: &[u8], size: usize) -> Vec<u8> {
        let pieces = hello[RECORD_HEAD..].chunks(size);
        pieces
            .flat_map(|piece| {
                let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                [&[HANDSHAKE, 3, 1][..], &length, piece].concat()
            })
            .collect()
    }

    fn asks(name: &str) -> Hello {
        Hello::Asks(Some(name.to_owned()))
    }

    #[test]
    fn the_name_is_found_however_the_hello_comes() {
        let hello = hello("Mail.Example.COM");
        assert!(hello.len() > 1000, "there is a post-quantum key share");
        assert_eq!(read(&hello), asks("mail.example.com"));
        for size in [1, 5, 100, 1000] {
            assert_eq!(read(&in_pieces(&hello, size)), asks("mail.example.com"));
        }
        for end in 0..hello.len() {
            assert_eq!(read(&hello[..end]), Hello::More, "after {end} bytes");
        }
        let followed = [&hello[..], b"anything"].concat();
        assert_eq!(read(&followed), asks("mail.example.com"));
    }

    #[test]
    fn who_asks_for_nobody_is_understood() {
        assert_eq!(read(&hello("192.0.2.1")), Hello::Asks(None));
    }

    #[test]
    fn what_is_no_hello_is_refused_at_once() {
        let odd: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\n",
            b"\x16\x02\x00",
            b"\x15\x03\x01\x00\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        ];
        for bytes in odd {
            assert_eq!(read(bytes), Hello::Malformed, "{bytes:02x?}");
        }
        let endless = in_pieces(
            &[
                &[0; RECORD_HEAD][..],
                &[1, 0xff, 0, 0],
                &[0; MAX_HELLO_BYTES],
            ]
            .concat(),
            4000,
        );
        assert_eq!(read(&endless[..MAX_HELLO_BYTES - 1]), Hello::More);
        assert_eq!(read(&endless[..MAX_HELLO_BYTES]), Hello::Malformed);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let hello = hello("mail.example.com");
        let at = hello.windows(4).position(|bytes| bytes == b"mail").unwrap();
        for byte in [0, b' ', b'/', 0xff, b'\n'] {
            let mut hello = hello.clone();
            hello[at] = byte;
            assert_eq!(read(&hello), Hello::Malformed);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
        }

        #[test]
        fn a_hello_with_a_wrong_byte_is_read_without_panic(at in 0usize..1600, byte in any::<u8>(), end in 0usize..1600) {
            thread_local!(static HELLO: Vec<u8> = hello("mail.example.com"));
            let mut hello = HELLO.with(Clone::clone);
            let at = at % hello.len();
            hello[at] = byte;
            let end = end.min(hello.len());
            read(&hello[..end]);
            read(&hello);
        }
    }
}
