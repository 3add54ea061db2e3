//! Field names the codec treats in a way of their own, and the list syntax of the Connection field.

use httparse::Header;

/// A field name, sorted by what the codec does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// Host.
    Host,
    /// Content-Length.
    ContentLength,
    /// Transfer-Encoding.
    TransferEncoding,
    /// Connection.
    Connection,
    /// Upgrade.
    Upgrade,
    /// Expect.
    Expect,
    /// TE.
    Te,
    /// Keep-Alive, Proxy-Connection, HTTP2-Settings: meant for one hop, never passed on.
    Hop,
    /// X-Forwarded-For.
    ForwardedFor,
    /// X-Forwarded-Proto.
    ForwardedProto,
    /// X-Forwarded-Host.
    ForwardedHost,
    /// X-Forwarded-Port.
    ForwardedPort,
    /// Forwarded (RFC 7239).
    Forwarded,
    /// X-Request-Id.
    RequestId,
    /// X-Client-Cert-Name: ours alone to say.
    ClientName,
    /// Client-Cert, Client-Cert-Chain (RFC 9440): a certificate that somebody else has verified.
    ClientCert,
    /// Looks like one of the above to a server that takes `_` for `-`.
    Disguised,
    /// Any other: passed on as it is.
    Other,
}

impl Field {
    /// Sorts a field name.
    pub(crate) fn of(name: &str) -> Field {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            2 if is("te") => Field::Te,
            4 if is("host") => Field::Host,
            6 if is("expect") => Field::Expect,
            7 if is("upgrade") => Field::Upgrade,
            9 if is("forwarded") => Field::Forwarded,
            10 if is("connection") => Field::Connection,
            10 if is("keep-alive") => Field::Hop,
            11 if is("client-cert") => Field::ClientCert,
            12 if is("x-request-id") => Field::RequestId,
            14 if is("content-length") => Field::ContentLength,
            14 if is("http2-settings") => Field::Hop,
            15 if is("x-forwarded-for") => Field::ForwardedFor,
            16 if is("x-forwarded-host") => Field::ForwardedHost,
            16 if is("x-forwarded-port") => Field::ForwardedPort,
            16 if is("proxy-connection") => Field::Hop,
            17 if is("transfer-encoding") => Field::TransferEncoding,
            17 if is("x-forwarded-proto") => Field::ForwardedProto,
            17 if is("client-cert-chain") => Field::ClientCert,
            18 if is("x-client-cert-name") => Field::ClientName,
            11 | 12 | 14..=18 if name.contains('_') => Field::disguised(name),
            _ => Field::Other,
        }
    }

    /// CGI-like servers read `X_Forwarded_For` as `X-Forwarded-For`.
    fn disguised(name: &str) -> Field {
        let imitated = [
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-proto",
            "content-length",
            "transfer-encoding",
            "client-cert",
            "client-cert-chain",
            "x-client-cert-name",
        ];
        let same = |other: &&str| {
            let plain = name.bytes().map(|byte| {
                if byte == b'_' {
                    b'-'
                } else {
                    byte.to_ascii_lowercase()
                }
            });
            plain.eq(other.bytes())
        };
        if imitated.iter().any(same) {
            Field::Disguised
        } else {
            Field::Other
        }
    }
}

/// What the Connection fields of a head say.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Connection {
    /// `close` is listed.
    pub(crate) close: bool,
    /// `keep-alive` is listed.
    pub(crate) keep_alive: bool,
    /// `upgrade` is listed.
    pub(crate) upgrade: bool,
    /// Other names are listed: fields of these names are for this hop only.
    pub(crate) others: u32,
}

/// Names that may be listed in Connection; each is compared with each field.
const MAX_LISTED: u32 = 32;

impl Connection {
    /// Reads one more Connection field; `Err` if it lists too many names.
    pub(crate) fn read(&mut self, value: &[u8]) -> Result<(), TooManyListed> {
        for token in list(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.others += 1;
                if self.others > MAX_LISTED {
                    return Err(TooManyListed);
                }
            }
        }
        Ok(())
    }

    /// True if a field of this name is for this hop only, by what the Connection fields among `headers` list.
    pub(crate) fn lists(&self, headers: &[Header<'_>], name: &str) -> bool {
        self.others > 0
            && headers
                .iter()
                .filter(|header| Field::of(header.name) == Field::Connection)
                .any(|header| {
                    list(header.value).any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
                })
    }
}

/// Connection lists more names than are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooManyListed;

/// The members of a comma-separated list, white space removed, empty ones left out (RFC 9110 §5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(|token| token.trim_ascii())
        .filter(|token| !token.is_empty())
}

/// A Content-Length value: digits only, no sign, no list (RFC 9112 §6.3; a repeated or listed value is an attack or
/// a fault, never needed).
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        value
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
    )
}

/// Appends `name: value` and a line end.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal digits.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(Field::of("HoSt"), Field::Host);
        assert_eq!(Field::of("Proxy-Connection"), Field::Hop);
        assert_eq!(Field::of("x-a"), Field::Other);
        assert_eq!(Field::of("X_Forwarded-For"), Field::Disguised);
        assert_eq!(Field::of("Content_Length"), Field::Disguised);
        assert_eq!(Field::of("X-Client-Cert-Name"), Field::ClientName);
        assert_eq!(Field::of("X_Client_Cert-name"), Field::Disguised);
        assert_eq!(Field::of("client_cert"), Field::Disguised);
        assert_eq!(Field::of("X_Something_Else"), Field::Other);
    }

    #[test]
    fn connection_lists() {
        let mut connection = Connection::default();
        assert_eq!(connection.read(b" close ,, X-A,Upgrade"), Ok(()));
        assert_eq!(
            connection,
            Connection {
                close: true,
                keep_alive: false,
                upgrade: true,
                others: 1
            }
        );
        let headers = [Header {
            name: "connection",
            value: b"close, x-a",
        }];
        assert!(connection.lists(&headers, "X-A"));
        assert!(!connection.lists(&headers, "x-b"));
        assert_eq!(
            connection.read("a,".repeat(40).as_bytes()),
            Err(TooManyListed)
        );
    }

    #[test]
    fn lengths_are_digits() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"18"), Some(18));
        for wrong in ["", "+3", "0x3", "3, 3", "3 ", "-1", "99999999999999999999"] {
            assert_eq!(content_length(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn numbers_in_digits() {
        for number in [0, 7, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
