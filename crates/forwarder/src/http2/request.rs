//! Request heads from HTTP/2 to HTTP/1.1 (RFC 9113 §8.3.1).
//!
//! Written only here and judged by the strict codec like any client's: what must not be in a head is refused there. The
//! names, values and pseudo-fields themselves are checked where they are decoded.

use std::io::Write as _;

use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use crate::http::fields::write_field;

/// How the body is framed for the served end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Upload {
    /// There is none.
    None,
    /// As long as the head says.
    Plain,
    /// Nobody said how long: in chunks.
    Chunked,
    /// No body but another protocol, both ways, once the target agrees.
    Tunnel,
}

/// A request that must not be passed on, in a few words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Appends the head. `has_body`: the client did not end the stream with it. `nonce`: a number nobody can guess.
pub(crate) fn write(
    out: &mut Vec<u8>,
    parts: &Parts,
    has_body: bool,
    nonce: u128,
) -> Result<Upload, Malformed> {
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let differs = |named: &HeaderValue| {
        authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(named.as_bytes()))
    };
    if parts.headers.get_all(HOST).iter().any(differs) {
        return Err(Malformed("host and :authority differ"));
    }
    let upload = match (has_body, parts.headers.contains_key(CONTENT_LENGTH)) {
        (true, true) if is_websocket(parts) => return Err(Malformed("a tunnel has no length")),
        (true, false) if is_websocket(parts) => Upload::Tunnel,
        (false, _) => Upload::None,
        (true, true) => Upload::Plain,
        (true, false) => Upload::Chunked,
    };
    let method = match upload {
        Upload::Tunnel => "GET",
        Upload::None | Upload::Plain | Upload::Chunked => parts.method.as_str(),
    };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    // Only CONNECT has none, and is refused for itself.
    let target = parts
        .uri
        .path_and_query()
        .map_or("*", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        write_field(out, "host", authority);
    }
    for (name, value) in &parts.headers {
        if is_padded(value.as_bytes()) {
            return Err(Malformed("blanks around a value"));
        }
        let is_said = *name == COOKIE || *name == HOST && authority.is_some();
        if !is_said {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    write_cookies(out, parts);
    match upload {
        Upload::Chunked => write_field(out, "transfer-encoding", b"chunked"),
        Upload::Tunnel => {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
            // 21 digits, one letter and the padding are 16 bytes in base64 (RFC 6455 §4.1).
            let _ = write!(out, "sec-websocket-key: {:021x}A==\r\n", nonce >> 44); // writing to memory cannot fail
        }
        Upload::None | Upload::Plain => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(upload)
}

/// True if a value begins or ends with white space, which would be lost on the way (RFC 9113 §8.2.1).
fn is_padded(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

/// True if the client asks for WebSocket on this stream (RFC 8441 §5).
fn is_websocket(parts: &Parts) -> bool {
    let protocol = parts.extensions.get::<Protocol>();
    parts.method == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// The crumbs of the cookie in one field, as HTTP/1.1 wants it (RFC 9113 §8.2.3).
fn write_cookies(out: &mut Vec<u8>, parts: &Parts) {
    let mut crumbs = parts.headers.get_all(COOKIE).iter();
    let Some(first) = crumbs.next() else {
        return;
    };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for crumb in crumbs {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(crumb.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a piece of a body as a chunk.
pub(crate) fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    let _ = write!(out, "{:x}\r\n", data.len()); // writing to memory cannot fail
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a body in chunks, with its trailers.
pub(crate) fn write_end(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        write_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Request;

    use super::*;

    fn written(
        request: http::request::Builder,
        has_body: bool,
    ) -> Result<(String, Upload), Malformed> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        let upload = write(&mut out, &parts, has_body, 0x5eed << 44)?;
        Ok((String::from_utf8(out).unwrap(), upload))
    }

    #[test]
    fn pseudo_fields_become_the_request_line_and_the_host() {
        let request = Request::get("https://example.com/a?b=c").header("x-a", "1");
        assert_eq!(
            written(request, false),
            Ok((
                "GET /a?b=c HTTP/1.1\r\nhost: example.com\r\nx-a: 1\r\n\r\n".to_owned(),
                Upload::None
            ))
        );
    }

    #[test]
    fn websocket_on_a_stream_becomes_an_upgrade() {
        let request =
            Request::connect("https://a/chat").extension(Protocol::from_static("websocket"));
        let (head, upload) = written(request, true).unwrap();
        assert_eq!(upload, Upload::Tunnel);
        let fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: 000000000000000005eedA==\r\n";
        assert_eq!(
            head,
            format!("GET /chat HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
        );
        let other = Request::connect("https://a/").extension(Protocol::from_static("other"));
        assert!(
            written(other, true).unwrap().0.starts_with("CONNECT / "),
            "to be refused"
        );
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let request = Request::get("https://a/")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let (head, _) = written(request, false).unwrap();
        assert!(head.ends_with("\r\ncookie: a=1; b=2\r\n\r\n"), "{head}");
    }

    #[test]
    fn a_body_of_unknown_length_goes_in_chunks() {
        let (head, upload) = written(Request::post("https://a/"), true).unwrap();
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        assert_eq!(upload, Upload::Chunked);
        let known = Request::post("https://a/").header("content-length", "3");
        let (head, upload) = written(known, true).unwrap();
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(upload, Upload::Plain);
    }

    #[test]
    fn what_would_be_lost_or_misread_on_the_way_is_malformed() {
        for value in [" a", "a ", "\ta", "a\t", " "] {
            let padded = Request::get("https://a/").header("x-a", value);
            assert_eq!(
                written(padded, false),
                Err(Malformed("blanks around a value"))
            );
        }
        let empty = Request::get("https://a/").header("x-a", "");
        assert!(written(empty, false).is_ok());
        let tunnel = Request::connect("https://a/chat")
            .extension(Protocol::from_static("websocket"))
            .header("content-length", "3");
        assert_eq!(
            written(tunnel, true),
            Err(Malformed("a tunnel has no length"))
        );
    }

    #[test]
    fn a_host_may_repeat_the_authority_but_not_contradict_it() {
        let same = Request::get("https://a/").header("host", "A");
        assert_eq!(
            written(same, false).unwrap().0,
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        let other = Request::get("https://a/").header("host", "b");
        assert_eq!(
            written(other, false),
            Err(Malformed("host and :authority differ"))
        );
        let both = Request::get("https://a/")
            .header("host", "a")
            .header("host", "b");
        assert!(written(both, false).is_err());
        let alone = Request::get("/x").header("host", "b");
        assert_eq!(
            written(alone, false).unwrap().0,
            "GET /x HTTP/1.1\r\nhost: b\r\n\r\n"
        );
    }
}
