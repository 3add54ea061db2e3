//! Field names the codec treats in a way of their own, and the list syntax of the Connection field.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use crate::http::head::{FieldLines, Header, Place};

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

/// For each first letter, by its place in the alphabet, the lengths of the names that are known, a bit each.
const KNOWN: [u32; 32] = {
    let mut known = [0; 32];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].as_bytes();
        known[(name[0] & 0x1f) as usize] |= 1 << name.len();
        at += 1;
    }
    known
};

/// The names that [`Field::known`] knows.
const NAMES: [&str; 19] = [
    "te",
    "host",
    "expect",
    "upgrade",
    "forwarded",
    "connection",
    "keep-alive",
    "client-cert",
    "x-request-id",
    "content-length",
    "http2-settings",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "proxy-connection",
    "transfer-encoding",
    "x-forwarded-proto",
    "client-cert-chain",
    "x-client-cert-name",
];

impl Field {
    /// Sorts a field name.
    pub(crate) fn of(name: &[u8]) -> Field {
        match Field::of_plain(name) {
            Field::Other if name.contains(&b'_') => Field::disguised(name),
            field => field,
        }
    }

    /// Sorts a field name in which there is no `_`.
    #[inline(always)]
    pub(crate) fn of_plain(name: &[u8]) -> Field {
        // The first letter and the length rule out nearly every name that is not meant.
        let first = name.first().map_or(0, |first| usize::from(first & 0x1f));
        match KNOWN[first] >> name.len().min(31) & 1 {
            0 => Field::Other,
            _ => Field::known(name),
        }
    }

    // Apart, so that what is asked of every name stays short.
    #[inline(never)]
    fn known(name: &[u8]) -> Field {
        // Those of nearly every head, as nearly everybody writes them, are compared in one go.
        if name == b"Host" {
            return Field::Host;
        }
        if name == b"Content-Length" {
            return Field::ContentLength;
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let first = name.first().map(u8::to_ascii_lowercase);
        match (name.len(), first) {
            (2, Some(b't')) if is("te") => Field::Te,
            (4, Some(b'h')) if is("host") => Field::Host,
            (6, Some(b'e')) if is("expect") => Field::Expect,
            (7, Some(b'u')) if is("upgrade") => Field::Upgrade,
            (9, Some(b'f')) if is("forwarded") => Field::Forwarded,
            (10, Some(b'c')) if is("connection") => Field::Connection,
            (10, Some(b'k')) if is("keep-alive") => Field::Hop,
            (11, Some(b'c')) if is("client-cert") => Field::ClientCert,
            (12, Some(b'x')) if is("x-request-id") => Field::RequestId,
            (14, Some(b'c')) if is("content-length") => Field::ContentLength,
            (14, Some(b'h')) if is("http2-settings") => Field::Hop,
            (15, Some(b'x')) if is("x-forwarded-for") => Field::ForwardedFor,
            (16, Some(b'x')) if is("x-forwarded-host") => Field::ForwardedHost,
            (16, Some(b'x')) if is("x-forwarded-port") => Field::ForwardedPort,
            (16, Some(b'p')) if is("proxy-connection") => Field::Hop,
            (17, Some(b't')) if is("transfer-encoding") => Field::TransferEncoding,
            (17, Some(b'x')) if is("x-forwarded-proto") => Field::ForwardedProto,
            (17, Some(b'c')) if is("client-cert-chain") => Field::ClientCert,
            (18, Some(b'x')) if is("x-client-cert-name") => Field::ClientName,
            _ => Field::Other,
        }
    }

    /// CGI-like servers read `X_Forwarded_For` as `X-Forwarded-For`.
    fn disguised(name: &[u8]) -> Field {
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
            let plain = name.iter().map(|byte| {
                if *byte == b'_' {
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
    pub(crate) fn lists(&self, headers: FieldLines<'_, '_>, name: &[u8]) -> bool {
        self.others > 0
            && headers
                .iter()
                .filter(|header| header.place.field == Field::Connection)
                .any(|header| list(header.value).any(|token| token.eq_ignore_ascii_case(name)))
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

/// True if JSON is the first kind of answer that an Accept field names.
pub(crate) fn prefers_json(accept: &[u8]) -> bool {
    let end = accept.iter().position(|byte| matches!(byte, b',' | b';'));
    let first = accept[..end.unwrap_or(accept.len())].trim_ascii();
    let kind = first.strip_prefix(b"application/");
    kind.is_some_and(|kind| kind == b"json" || kind.ends_with(b"+json"))
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

const CRLF: &[u8] = b"\r\n";

/// Appends `name: value` and a line end.
pub(crate) fn write_field(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: &[u8]) {
    out.extend_from_slice(name.as_ref());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Fields on their way from one head to another: what stands in the old head just as it is to be written is copied in
/// one piece.
#[derive(Debug)]
pub(crate) struct FieldRun<'h> {
    head: &'h [u8],
    run: Range<usize>,
}

impl<'h> FieldRun<'h> {
    /// Nothing of this head is passed on yet.
    pub(crate) fn new(head: &'h [u8]) -> Self {
        Self { head, run: 0..0 }
    }

    /// Passes the first line on, which is so long with its end.
    pub(crate) fn begin(&mut self, line_bytes: usize) {
        self.run = 0..line_bytes;
    }

    /// Passes a field of the head on.
    #[inline]
    pub(crate) fn pass(&mut self, out: &mut Vec<u8>, header: &Header<'_>) {
        if !header.place.neat {
            self.flush(out);
            return write_field(out, header.name, header.value);
        }
        self.pass_neat(out, &header.place);
    }

    /// Passes a field of the head on that stands at a neat place.
    #[inline]
    pub(crate) fn pass_neat(&mut self, out: &mut Vec<u8>, place: &Place) {
        let name = place.name as usize;
        if self.run.end != name {
            self.flush(out);
            self.run.start = name;
        }
        self.run.end = place.end as usize + CRLF.len();
    }

    /// Writes what was passed on. To be called before anything else is written, and at the end.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head[self.run.clone()]);
        self.run = 0..0;
    }
}

/// The numbers below 100 in two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// The numbers of an IPv4 address in digits, a dot behind each.
const OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[b'.'; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut from = match octet {
            0..10 => 2,
            10..100 => 1,
            _ => 0,
        };
        let mut to = 0;
        while from < 3 {
            octets[octet][to] = b'0' + digits[from] as u8;
            (from, to) = (from + 1, to + 1);
        }
        octet += 1;
    }
    octets
};

/// How long each of these is.
const OCTET_BYTES: [u8; 256] = {
    let mut lengths = [4; 256];
    let mut octet = 0;
    while octet < 100 {
        lengths[octet] = if octet < 10 { 2 } else { 3 };
        octet += 1;
    }
    lengths
};

/// Every byte in two digits of base 16.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
        byte += 1;
    }
    pairs
};

/// Appends a number in decimal digits.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    if number >= 10_000 {
        if number < 100_000 {
            let [a, b, c, d] = four_digits(number);
            return out.extend_from_slice(&[b'0' + (number / 10_000) as u8, a, b, c, d]);
        }
        write_number(out, number / 10_000);
        return out.extend_from_slice(&four_digits(number % 10_000));
    }
    // Always four are written, from the first that counts, and those behind the last are taken back.
    let zeros = usize::from(number < 1_000) + usize::from(number < 100) + usize::from(number < 10);
    let digits = u32::from_le_bytes(four_digits(number)) >> (8 * zeros);
    out.extend_from_slice(&digits.to_le_bytes());
    out.truncate(out.len() - zeros);
}

/// Appends a status, which nearly always has three digits.
#[inline]
pub(crate) fn write_status(out: &mut Vec<u8>, status: u16) {
    let [_, digits @ ..] = four_digits(u64::from(status));
    match status {
        100..1000 => out.extend_from_slice(&digits),
        _ => write_number(out, u64::from(status)),
    }
}

/// The last four digits of a number.
#[inline]
pub(crate) fn four_digits(number: u64) -> [u8; 4] {
    let [a, b] = PAIRS[(number / 100 % 100) as usize];
    let [c, d] = PAIRS[(number % 100) as usize];
    [a, b, c, d]
}

/// Appends an address; an IPv4 address inside an IPv6 one as the former.
pub(crate) fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let (mut text, mut end) = ([0; 16], 0);
            for octet in address.octets() {
                text[end..end + 4].copy_from_slice(&OCTETS[usize::from(octet)]);
                end += usize::from(OCTET_BYTES[usize::from(octet)]);
            }
            // All of it in one piece, and what is too much of it is taken back.
            out.extend_from_slice(&text);
            out.truncate(out.len() - (text.len() + 1 - end));
        }
        IpAddr::V6(address) => drop(write!(out, "{address}")), // writing to memory cannot fail
    }
}

/// A number in 32 digits of base 16.
pub(crate) fn hex(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&HEX[usize::from(byte)]);
    }
    digits
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::head::{self, FieldRoom};
    use crate::http::scan::HeadLimits;

    #[test]
    fn names_are_known_in_any_case() {
        for name in NAMES {
            assert_ne!(Field::of(name.as_bytes()), Field::Other, "{name}");
        }
        assert_eq!(Field::of(b"HoSt"), Field::Host);
        assert_eq!(Field::of(b"Proxy-Connection"), Field::Hop);
        assert_eq!(Field::of(b"x-a"), Field::Other);
        assert_eq!(Field::of(b"X_Forwarded-For"), Field::Disguised);
        assert_eq!(Field::of(b"Content_Length"), Field::Disguised);
        assert_eq!(Field::of(b"X-Client-Cert-Name"), Field::ClientName);
        assert_eq!(Field::of(b"X_Client_Cert-name"), Field::Disguised);
        assert_eq!(Field::of(b"client_cert"), Field::Disguised);
        assert_eq!(Field::of(b"X_Something_Else"), Field::Other);
    }

    #[test]
    fn who_would_rather_have_json() {
        for accept in [
            "application/json",
            " application/json;q=0.9, text/html",
            "application/problem+json, */*",
        ] {
            assert!(prefers_json(accept.as_bytes()), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html, application/json",
            "application/jsonp",
        ] {
            assert!(!prefers_json(accept.as_bytes()), "{accept}");
        }
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
        let head = b"connection: close, x-a\r\n";
        let places = [Place::found(head, &head[..10], &head[12..22])];
        let headers = FieldLines::new(head, &places);
        assert!(connection.lists(headers, b"X-A"));
        assert!(!connection.lists(headers, b"x-b"));
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
        for number in [
            0,
            7,
            10,
            99,
            100,
            909,
            1_000,
            9_090,
            10_000,
            65_535,
            100_000,
            10_000_000_001,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn fields_are_copied_as_they_are_written() {
        let text = b"GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc:3\r\nd: 4 \r\ne: \r\nf: 6\r\n\r\n";
        let mut room = FieldRoom::lend();
        let limits = HeadLimits {
            bytes: 1_000,
            first_line: 1_000,
            fields: 10,
        };
        let (_, length) = head::of_request(text, &mut room, &limits).unwrap();
        assert_eq!(length, text.len());
        let fields = FieldLines::new(text, &room);
        let passed = |names: &str| {
            let (mut out, mut run) = (Vec::new(), FieldRun::new(text));
            for field in fields.iter().filter(|field| names.contains(field.name())) {
                run.pass(&mut out, &field);
            }
            run.flush(&mut out);
            String::from_utf8(out).unwrap_or_default()
        };
        assert_eq!(
            passed("abcdef"),
            "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: \r\nf: 6\r\n"
        );
        assert_eq!(passed("acf"), "a: 1\r\nc: 3\r\nf: 6\r\n");
        assert_eq!(passed(""), "");
    }

    #[test]
    fn addresses_in_digits() {
        let mut all: Vec<[u8; 4]> = (0..=255)
            .map(|octet| [octet, 0, 255 - octet, octet])
            .collect();
        all.extend([[1, 22, 255, 100], [255; 4]]);
        for octets in all {
            let mut out = Vec::new();
            write_address(&mut out, IpAddr::from(octets));
            assert_eq!(out, IpAddr::from(octets).to_string().into_bytes());
        }
    }

    #[test]
    fn digits_of_base_16() {
        let number = 0x0123_4567_89ab_cdef_u128;
        assert_eq!(hex(number).as_slice(), format!("{number:032x}").as_bytes());
    }
}
