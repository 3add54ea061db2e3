//! Heads of requests, from the fields of HTTP/2 to a head of HTTP/1.1 (RFC 9113 §8.3.1).
//!
//! Written only here and judged by the strict codec like any client's: what must not be in a head of either protocol is refused
//! there. What HTTP/2 alone knows or forbids is judged here.

use std::io::Write as _;
use std::ops::Range;

use crate::http::fields::{content_length, write_field};

/// How the body is framed for the served end.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Upload {
    /// There is none.
    #[default]
    None,
    /// As long as the head says.
    Plain(u64),
    /// Nobody said how long: in chunks.
    Chunked,
    /// No body but another protocol, both ways, once the target agrees.
    Tunnel,
}

/// A request that must not be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Malformed {
    /// It is none at all: its stream is reset (RFC 9113 §8.1.1).
    Reset(&'static str),
    /// It would not mean the same to others: 400.
    Refused(&'static str),
}

use Malformed::{Refused, Reset};

/// A request that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    /// What follows the head.
    pub(crate) upload: Upload,
    /// The method is HEAD: the answer has no body.
    pub(crate) is_head: bool,
}

/// Pseudo-fields: where they stand among the texts.
#[derive(Default)]
struct Pseudo {
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    protocol: Option<Range<usize>>,
}

/// A head in the making.
pub(crate) struct Head<'o> {
    out: &'o mut Vec<u8>,
    /// Values of pseudo-fields; behind them, once others have come, the crumbs of the cookie.
    texts: &'o mut Vec<u8>,
    pseudo: Pseudo,
    /// Where the cookie begins among the texts, once other fields than pseudo-fields have come.
    cookie_at: Option<usize>,
    length: Option<u64>,
    /// A host has come.
    has_host: bool,
    tunnel: bool,
    is_head: bool,
    /// The stream ends with the head.
    whole: bool,
    fault: Option<Malformed>,
}

impl<'o> Head<'o> {
    /// To be appended to `out`; `texts` is room. `whole`: the stream ends with it.
    pub(crate) fn new(out: &'o mut Vec<u8>, texts: &'o mut Vec<u8>, whole: bool) -> Self {
        texts.clear();
        Self {
            out,
            texts,
            pseudo: Pseudo::default(),
            cookie_at: None,
            length: None,
            has_host: false,
            tunnel: false,
            is_head: false,
            whole,
            fault: None,
        }
    }

    /// The next field.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        let taken = match name.first() {
            Some(b':') => self.pseudo(name, value),
            Some(_) | None => self.plain(name, value),
        };
        self.fault = taken.err();
    }

    /// The end of the fields. `nonce`: a number nobody can guess.
    pub(crate) fn finish(mut self, nonce: u128) -> Result<Written, Malformed> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let cookie_at = self.begin()?;
        let cookie = &self.texts[cookie_at..];
        if !cookie.is_empty() {
            write_field(self.out, "cookie", cookie);
        }
        let upload = match (self.whole, self.length) {
            (false, Some(_)) if self.tunnel => return Err(Refused("a tunnel has no length")),
            (false, None) if self.tunnel => Upload::Tunnel,
            (true, Some(1..)) => return Err(Reset("a length without a body")),
            (true, _) => Upload::None,
            (false, Some(length)) => Upload::Plain(length),
            (false, None) => Upload::Chunked,
        };
        match upload {
            Upload::Chunked => write_field(self.out, "transfer-encoding", b"chunked"),
            Upload::Tunnel => {
                self.out
                    .extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
                // 21 digits, one letter and the padding are 16 bytes in base64 (RFC 6455 §4.1). Writing to memory cannot fail.
                let _ = write!(self.out, "sec-websocket-key: {:021x}A==\r\n", nonce >> 44);
            }
            Upload::None | Upload::Plain(_) => {}
        }
        self.out.extend_from_slice(b"\r\n");
        Ok(Written {
            upload,
            is_head: self.is_head,
        })
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if self.cookie_at.is_some() {
            return Err(Reset("a pseudo-field after a field"));
        }
        let place = match name {
            b":method" => &mut self.pseudo.method,
            b":scheme" => &mut self.pseudo.scheme,
            b":authority" => &mut self.pseudo.authority,
            b":path" => &mut self.pseudo.path,
            b":protocol" => &mut self.pseudo.protocol,
            _ => return Err(Reset("unknown pseudo-field")),
        };
        let start = self.texts.len();
        let twice = place.replace(start..start + value.len()).is_some();
        // None of them can have blanks, nor what ends a line.
        let fits = !value.is_empty() && value.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        if twice || !fits {
            return Err(Reset("malformed pseudo-field"));
        }
        self.texts.extend_from_slice(value);
        Ok(())
    }

    /// Writes the request line and the host once the pseudo-fields are there; says where the cookie begins.
    fn begin(&mut self) -> Result<usize, Malformed> {
        if let Some(cookie_at) = self.cookie_at {
            return Ok(cookie_at);
        }
        let texts = &self.texts[..];
        let Pseudo {
            method,
            scheme,
            authority,
            path,
            protocol,
        } = &self.pseudo;
        let [method, scheme, authority, path, protocol] =
            [method, scheme, authority, path, protocol]
                .map(|range| range.clone().map(|range| &texts[range]));
        let method = method.ok_or(Reset("no :method"))?;
        if !method.iter().all(|byte| is_token(*byte)) {
            return Err(Reset("malformed :method"));
        }
        let connects = method == b"CONNECT";
        match (connects, protocol) {
            // To be refused for itself.
            (true, None) if scheme.is_some() || path.is_some() => {
                return Err(Reset("connect with a target"));
            }
            (false, Some(_)) => return Err(Reset(":protocol without connect")),
            (true, None) => {}
            (_, Some(_)) | (false, None) => {
                let path = path.ok_or(Reset("no :path"))?;
                if scheme.is_none() || !(path.starts_with(b"/") || path == b"*") {
                    return Err(Reset("no target"));
                }
            }
        }
        self.is_head = method == b"HEAD";
        self.tunnel = connects && protocol == Some(b"websocket");
        let method = match self.tunnel && !self.whole {
            true => b"GET",
            false => method,
        };
        self.out.extend_from_slice(method);
        self.out.push(b' ');
        self.out.extend_from_slice(path.unwrap_or(b"*"));
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
        if let Some(authority) = authority {
            write_field(self.out, "host", authority);
        }
        let cookie_at = self.texts.len();
        self.cookie_at = Some(cookie_at);
        Ok(cookie_at)
    }

    fn plain(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let cookie_at = self.begin()?;
        check(name, value)?;
        match name {
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" => return Err(Reset("a field of the connection")),
            b"te" if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(Reset("te other than trailers"));
            }
            b"host" => {
                if std::mem::replace(&mut self.has_host, true) {
                    return Err(Refused("two hosts"));
                }
                if let Some(authority) = &self.pseudo.authority {
                    let same = self.texts[authority.clone()].eq_ignore_ascii_case(value);
                    return same
                        .then_some(())
                        .ok_or(Refused("host and :authority differ"));
                }
            }
            b"cookie" => {
                // Its crumbs are one field to HTTP/1.1 (RFC 9113 §8.2.3).
                if self.texts.len() > cookie_at {
                    self.texts.extend_from_slice(b"; ");
                }
                self.texts.extend_from_slice(value);
                return Ok(());
            }
            b"content-length" => {
                let length = content_length(value).ok_or(Reset("malformed content-length"))?;
                if self
                    .length
                    .replace(length)
                    .is_some_and(|other| other != length)
                {
                    return Err(Reset("two lengths"));
                }
            }
            _ => {}
        }
        write(self.out, name, value);
        Ok(())
    }
}

/// Appends a field of trailers (RFC 9113 §8.1).
pub(crate) fn trailer(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    check(name, value)?;
    write(out, name, value);
    Ok(())
}

fn write(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What a field may be made of (RFC 9113 §8.2.1).
fn check(name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let is_name = |byte: &u8| is_token(*byte) && !byte.is_ascii_uppercase();
    if name.is_empty() || !name.iter().all(is_name) {
        return Err(Reset("malformed field name"));
    }
    // All bytes are looked at, which is faster than to stop at the first.
    let odd = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    if value.iter().fold(false, |found, byte| found | odd(byte)) {
        return Err(Reset("malformed field value"));
    }
    // They would be lost on the way.
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return Err(Refused("blanks around a value"));
    }
    Ok(())
}

/// A byte of a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

static TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        token[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        token[others[at] as usize] = true;
        at += 1;
    }
    token
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn written(fields: Fields<'_>, whole: bool) -> Result<(String, Upload), Malformed> {
        let (mut out, mut texts) = (Vec::new(), b"rest".to_vec());
        let mut head = Head::new(&mut out, &mut texts, whole);
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        let written = head.finish(0x5eed << 44)?;
        Ok((String::from_utf8(out).unwrap(), written.upload))
    }

    /// The same with what every request has.
    fn asked(method: &str, more: Fields<'_>, whole: bool) -> Result<(String, Upload), Malformed> {
        let pseudo = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "a"),
            (":path", "/x?y"),
        ];
        written(&[&pseudo[..], more].concat(), whole)
    }

    #[test]
    fn pseudo_fields_become_the_request_line_and_the_host() {
        let head = "GET /x?y HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n".to_owned();
        assert_eq!(
            asked("GET", &[("x-a", "1")], true),
            Ok((head, Upload::None))
        );
        let alone = [
            (":path", "/"),
            (":scheme", "http"),
            (":method", "GET"),
            ("host", "b"),
        ];
        assert_eq!(
            written(&alone, true).unwrap().0,
            "GET / HTTP/1.1\r\nhost: b\r\n\r\n"
        );
    }

    #[test]
    fn websocket_on_a_stream_becomes_an_upgrade() {
        assert_eq!(
            asked("CONNECT", &[], false),
            Err(Reset("connect with a target"))
        );
        let connect = |protocol, whole| {
            let pseudo = [
                (":method", "CONNECT"),
                (":protocol", protocol),
                (":scheme", "https"),
                (":authority", "a"),
                (":path", "/chat"),
            ];
            written(&pseudo, whole).unwrap()
        };
        let (head, upload) = connect("websocket", false);
        assert_eq!(upload, Upload::Tunnel);
        let fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: 000000000000000005eedA==\r\n";
        assert_eq!(
            head,
            format!("GET /chat HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
        );
        for (head, _) in [connect("other", false), connect("websocket", true)] {
            assert!(head.starts_with("CONNECT /chat "), "to be refused: {head}");
        }
        let plain = [(":method", "CONNECT"), (":authority", "a:1")];
        assert!(written(&plain, false).unwrap().0.starts_with("CONNECT * "));
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let crumbs = [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2")];
        let (head, _) = asked("GET", &crumbs, true).unwrap();
        assert!(
            head.ends_with("\r\nx-a: 1\r\ncookie: a=1; b=2\r\n\r\n"),
            "{head}"
        );
    }

    #[test]
    fn a_body_of_unknown_length_goes_in_chunks() {
        let (head, upload) = asked("POST", &[], false).unwrap();
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        assert_eq!(upload, Upload::Chunked);
        let (head, upload) = asked("POST", &[("content-length", "3")], false).unwrap();
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(upload, Upload::Plain(3));
    }

    #[test]
    fn what_would_be_lost_or_misread_on_the_way_is_malformed() {
        for value in [" a", "a ", "\ta", "a\t", " "] {
            let padded = asked("GET", &[("x-a", value)], true);
            assert_eq!(padded, Err(Refused("blanks around a value")));
        }
        assert!(asked("GET", &[("x-a", "")], true).is_ok());
        for (name, value) in [
            ("X-A", "1"),
            ("x a", "1"),
            ("", "1"),
            ("x:a", "1"),
            ("x-a", "a\r\nb"),
            ("x-a", "a\0"),
            ("te", "gzip"),
            ("connection", "close"),
            ("content-length", "+1"),
            ("content-length", "1"),
            (":path", "/"),
            (":odd", "1"),
        ] {
            let refused = asked("GET", &[("x-b", "1"), (name, value)], true);
            assert!(matches!(refused, Err(Reset(_))), "{name}: {refused:?}");
        }
    }

    #[test]
    fn a_host_may_repeat_the_authority_but_not_contradict_it() {
        let (head, _) = asked("GET", &[("host", "A")], true).unwrap();
        assert_eq!(head, "GET /x?y HTTP/1.1\r\nhost: a\r\n\r\n");
        let differs = Err(Refused("host and :authority differ"));
        assert_eq!(asked("GET", &[("host", "b")], true), differs);
        for again in ["a", "b"] {
            let refused = asked("GET", &[("host", "a"), ("host", again)], true);
            assert_eq!(refused, Err(Refused("two hosts")));
        }
    }
}
