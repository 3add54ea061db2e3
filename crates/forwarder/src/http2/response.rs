//! Answers from HTTP/1.1 to HTTP/2: heads, bodies without their framing, trailers.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderMap, Response, StatusCode};

use crate::http::body::{Body, Framing};
use crate::http::chunked::Emit;
use crate::http::request::{MAX_FIELDS, RequestFacts};
use crate::http::response::{self, RESPONSE_LIMITS, ResponseHead};
use crate::http::scan::{HeadScan, Scanned};

/// Fields there is room for without asking for more.
const EXPECTED_FIELDS: usize = 12;
/// Fields of a trailer section that are passed on.
const MAX_TRAILERS: usize = 64;

/// A head in the bytes an answer begins with.
#[derive(Debug)]
pub(crate) enum Head {
    /// Not all of it has come.
    Incomplete,
    /// An answer before the answer; so many bytes of it.
    Interim(Response<()>, usize),
    /// The answer; so many bytes of it, and its body.
    Final(Response<()>, usize, Body),
}

/// What cannot be put into HTTP/2. The served end writes nothing of the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unfit;

/// Reads a head from the beginning of `bytes`.
pub(crate) fn head(bytes: &[u8], request: &RequestFacts) -> Result<Head, Unfit> {
    let (start, end) = match HeadScan::default().scan(bytes, &RESPONSE_LIMITS) {
        Scanned::More => return Ok(Head::Incomplete),
        Scanned::Complete { start, end } => (start, end),
        Scanned::Refused(_) => return Err(Unfit),
    };
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    // The values of its fields are parts of this.
    let block = Bytes::copy_from_slice(&bytes[start..end]);
    let head = response::parse(&block, &mut room, request).map_err(|_| Unfit)?;
    let mut response = translate(&head, &block)?;
    if head.is_interim() {
        return Ok(Head::Interim(response, end));
    }
    let framing = match (request.upgrade, head.status) {
        (true, 101) => {
            switch(&mut response);
            Framing::UntilClose
        }
        (true, 200..=299) => {
            // To a client that asked for another protocol it would mean that it was agreed to.
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            head.framing
        }
        _ => head.framing,
    };
    let body = Body::new(framing, Emit::Apart, None);
    Ok(Head::Final(response, end, body))
}

/// What was agreed to is said by the status alone (RFC 8441 §5).
fn switch(response: &mut Response<()>) {
    *response.status_mut() = StatusCode::OK;
    for name in [UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
}

fn translate(head: &ResponseHead<'_, '_>, block: &Bytes) -> Result<Response<()>, Unfit> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| Unfit)?;
    response.headers_mut().reserve(EXPECTED_FIELDS);
    for field in head.fields() {
        let value = HeaderValue::from_maybe_shared(block.slice_ref(field.value));
        let value = value.map_err(|_| Unfit)?;
        add(response.headers_mut(), field.name, value)?;
    }
    Ok(response)
}

/// Adds a field.
pub(crate) fn append(map: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), Unfit> {
    let value = HeaderValue::from_bytes(value).map_err(|_| Unfit)?;
    add(map, name, value)
}

fn add(map: &mut HeaderMap, name: &str, value: HeaderValue) -> Result<(), Unfit> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unfit)?;
    map.try_append(name, value).map_err(|_| Unfit)?;
    Ok(())
}

/// The trailer section as it comes out of a body, if there is anything in it.
pub(crate) fn trailers(section: &[u8]) -> Result<Option<HeaderMap>, Unfit> {
    let mut room = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let fields = match httparse::parse_headers(section, &mut room) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) if section.is_empty() => &[],
        Ok(httparse::Status::Partial) | Err(_) => return Err(Unfit),
    };
    let mut map = HeaderMap::new();
    for field in fields {
        append(&mut map, field.name, field.value)?;
    }
    Ok((!map.is_empty()).then_some(map))
}

/// What the codec has to know of the request of a stream.
pub(crate) fn facts(is_head: bool, upgrade: bool) -> RequestFacts {
    RequestFacts {
        framing: Framing::None,
        http10: false,
        keep_alive: true,
        expects_continue: true,
        upgrade,
        is_head,
        grpc: false,
        wants_json: false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_head_loses_what_belongs_to_the_connection() {
        let bytes = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n";
        let Ok(Head::Final(response, length, mut body)) = head(bytes, &facts(false, false)) else {
            panic!("no answer");
        };
        assert_eq!((response.status().as_u16(), length), (200, bytes.len() - 3));
        assert_eq!(response.headers().len(), 1);
        let mut rest = *b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
        let passed = body.filter(&mut rest).unwrap();
        assert_eq!(&rest[..passed.kept], b"abc");
        assert!(body.is_done());
        let section = trailers(&body.take_trailers()).unwrap().unwrap();
        assert_eq!(section["x-t"], "1");
    }

    #[test]
    fn interim_and_incomplete_heads() {
        assert!(matches!(
            head(b"HTTP/1.1 103 Early", &facts(false, false)),
            Ok(Head::Incomplete)
        ));
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200";
        let Ok(Head::Interim(response, length)) = head(early, &facts(false, false)) else {
            panic!("no interim answer");
        };
        assert_eq!(
            (response.status().as_u16(), &early[length..]),
            (103, &b"HTTP/1.1 200"[..])
        );
    }

    #[test]
    fn an_answer_to_head_says_how_long_it_would_be() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let Ok(Head::Final(response, _, body)) = head(bytes, &facts(true, false)) else {
            panic!("no answer");
        };
        assert_eq!(response.headers()["content-length"], "5");
        assert!(body.is_done());
    }

    #[test]
    fn no_trailers_are_none() {
        assert_eq!(trailers(b""), Ok(None));
        assert_eq!(trailers(b"\r\n"), Ok(None));
    }
}
