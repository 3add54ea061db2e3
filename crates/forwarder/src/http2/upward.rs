//! HTTP/2 to a target: one stream that looks like a connection of its own, which answers once and closes.
//!
//! ```text
//!   http::exchange ── HTTP/1.1 in memory ── Upward ==h2== target      many of them share one connection
//! ```
//!
//! So a request goes to a target of either protocol by the same loop. Opening, sharing and leaving the connections
//! underneath is [`super::sessions`]'s.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tokio::io::ReadBuf;

use crate::buffers::Buffer;
use crate::http::body::Body;
use crate::http::chunked::Emit;
use crate::http::fields::{Field, write_field, write_number};
use crate::http::head::FieldRoom;
use crate::http::request;
use crate::http::response::RESPONSE_LIMITS;
use crate::http::scan::{HeadScan, Scanned};
use crate::http2::unread::{Unread, UnreadOf};

/// Fields of a trailer section that are passed on.
const MAX_TRAILERS: usize = 64;

/// How streams on one connection are opened.
#[derive(Clone)]
pub(crate) struct Opener {
    /// The connection.
    pub(crate) send: SendRequest<Bytes>,
    /// What it is: `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The heads of it that wait.
    pub(crate) unread: Unread,
}

/// A stream to a target.
pub(crate) struct Upward {
    asking: Asking,
    answering: Answering,
    /// Bytes of the answer that were not read yet.
    out: Buffer,
    /// Heads of it that wait, once it was opened.
    unread: Option<UnreadOf>,
    /// Held as long as the stream is: tells the session how many there are.
    _share: Rc<()>,
}

impl std::fmt::Debug for Upward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upward").finish_non_exhaustive()
    }
}

enum Asking {
    /// The head as far as it has come.
    Head(Buffer, Opener),
    /// The whole head, waiting for its turn, and the bytes of the body that came with it.
    Turn(Box<Turn>),
    /// The body is on the way.
    Body {
        stream: SendStream<Bytes>,
        body: Body,
        /// What the target has not taken.
        pending: Bytes,
    },
    /// All of it was sent.
    Sent,
    /// It cannot go on.
    Failed,
}

struct Turn {
    request: Request<()>,
    body: Body,
    rest: Vec<u8>,
    opener: Opener,
}

enum Answering {
    /// Nothing was asked yet.
    Unasked,
    /// Its head has yet to come.
    Head {
        response: ResponseFuture,
        is_head: bool,
    },
    /// Its body is on the way.
    Body { body: RecvStream, chunked: bool },
    /// All of it was read.
    Done,
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl Upward {
    /// A stream that is as good as a connection nothing was written to.
    pub(crate) fn new(opener: Opener, share: Rc<()>) -> Self {
        Self {
            asking: Asking::Head(Buffer::default(), opener),
            answering: Answering::Unasked,
            out: Buffer::default(),
            unread: None,
            _share: share,
        }
    }

    /// Takes bytes of the request.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Asking::Head(head, _) = &mut self.asking {
            head.extend(data);
            self.head_came()?;
            // Whether it is sent at once does not change what was taken.
            let _ = self.poll_send(cx)?;
            return Poll::Ready(Ok(data.len()));
        }
        ready!(self.poll_send(cx))?;
        let Asking::Body { body, pending, .. } = &mut self.asking else {
            return Poll::Ready(Err(broken("bytes after the request")));
        };
        *pending = filtered(body, data.to_vec())?;
        let _ = self.poll_send(cx)?;
        Poll::Ready(Ok(data.len()))
    }

    /// The head is made a request once all of it is there.
    fn head_came(&mut self) -> io::Result<()> {
        let Asking::Head(head, _) = &self.asking else {
            return Ok(());
        };
        let Scanned::Complete { start, end } =
            HeadScan::default().scan(head.as_slice(), &RESPONSE_LIMITS)
        else {
            return Ok(());
        };
        let Asking::Head(head, opener) = std::mem::replace(&mut self.asking, Asking::Failed) else {
            return Ok(());
        };
        let mut bytes = head.into_vec();
        let rest = bytes.split_off(end);
        let (request, body) = translate(&mut bytes[start..], opener.scheme)
            .ok_or_else(|| broken("no head for http/2"))?;
        self.asking = Asking::Turn(Box::new(Turn {
            request,
            body,
            rest,
            opener,
        }));
        Ok(())
    }

    /// Sends what can be sent; ready if nothing is left to send at this moment.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Asking::Turn(turn) = &mut self.asking {
            ready!(turn.opener.send.poll_ready(cx)).map_err(broken)?;
            let Asking::Turn(turn) = std::mem::replace(&mut self.asking, Asking::Failed) else {
                return Poll::Ready(Ok(()));
            };
            self.ask(*turn)?;
        }
        let Asking::Body {
            stream,
            body,
            pending,
        } = &mut self.asking
        else {
            return Poll::Ready(Ok(()));
        };
        while !pending.is_empty() {
            stream.reserve_capacity(pending.len());
            let room = match ready!(stream.poll_capacity(cx)) {
                Some(room) => room.map_err(broken)?,
                None => return Poll::Ready(Err(broken("the target takes no more"))),
            };
            let piece = pending.split_to(room.min(pending.len()));
            stream.send_data(piece, false).map_err(broken)?;
        }
        if body.is_done() {
            match trailers(&body.take_trailers()).map_err(|_| broken("trailers"))? {
                None => stream.send_data(Bytes::new(), true),
                Some(trailers) => stream.send_trailers(trailers),
            }
            .map_err(broken)?;
            self.asking = Asking::Sent;
        }
        Poll::Ready(Ok(()))
    }

    fn ask(&mut self, turn: Turn) -> io::Result<()> {
        let Turn {
            request,
            mut body,
            rest,
            mut opener,
        } = turn;
        let is_head = request.method() == Method::HEAD;
        let whole = body.is_done();
        let (response, stream) = (opener.send).send_request(request, whole).map_err(broken)?;
        self.unread = Some(opener.unread.open(stream.stream_id().as_u32()));
        self.answering = Answering::Head { response, is_head };
        self.asking = match whole {
            true => Asking::Sent,
            false => Asking::Body {
                pending: filtered(&mut body, rest)?,
                stream,
                body,
            },
        };
        Ok(())
    }

    /// Reads of the answer.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.out.is_empty() {
                let count = self.out.as_slice().len().min(buf.remaining());
                buf.put_slice(&self.out.as_slice()[..count]);
                self.out.consume(count);
                return Poll::Ready(Ok(()));
            }
            // The body goes on while the answer is waited for.
            let _ = self.poll_send(cx)?;
            match &mut self.answering {
                Answering::Unasked => return Poll::Pending,
                Answering::Done => return Poll::Ready(Ok(())),
                Answering::Head { .. } => ready!(self.poll_head(cx))?,
                Answering::Body { .. } => ready!(self.poll_body(cx))?,
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Answering::Head { response, is_head } = &mut self.answering else {
            return Poll::Ready(Ok(()));
        };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            let interim = interim.map_err(broken)?;
            self.head_read();
            write_line(self.out.vec(), interim.status());
            write_fields(self.out.vec(), interim.headers());
            self.out.vec().extend_from_slice(b"\r\n");
            return Poll::Ready(Ok(()));
        }
        let response = ready!(Pin::new(response).poll(cx)).map_err(broken)?;
        let chunked = write_head(self.out.vec(), &response, *is_head);
        self.head_read();
        let body = response.into_body();
        self.answering = match body.is_end_stream() {
            true => Answering::Done,
            false => Answering::Body { body, chunked },
        };
        Poll::Ready(Ok(()))
    }

    fn head_read(&self) {
        if let Some(unread) = &self.unread {
            unread.read();
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Answering::Body { body, chunked } = &mut self.answering else {
            return Poll::Ready(Ok(()));
        };
        if let Some(data) = ready!(body.poll_data(cx)) {
            let data = data.map_err(broken)?;
            match *chunked {
                // An empty chunk would be the end.
                true if data.is_empty() => {}
                true => write_chunk(self.out.vec(), &data),
                false => self.out.extend(&data),
            }
            let taken = body.flow_control().release_capacity(data.len());
            return Poll::Ready(taken.map_err(broken));
        }
        let trailers = ready!(body.poll_trailers(cx)).map_err(broken)?;
        if *chunked {
            write_end(self.out.vec(), trailers.as_ref());
        }
        self.answering = Answering::Done;
        Poll::Ready(Ok(()))
    }
}

/// What of these bytes is body.
fn filtered(body: &mut Body, mut bytes: Vec<u8>) -> io::Result<Bytes> {
    let passed = body
        .filter(&mut bytes)
        .map_err(|_| broken("malformed body"))?;
    bytes.truncate(passed.kept);
    Ok(Bytes::from(bytes))
}

/// A head of ours as a request of HTTP/2 (RFC 9113 §8.3.1), and its body.
fn translate(head: &mut [u8], scheme: &str) -> Option<(Request<()>, Body)> {
    let mut room = FieldRoom::lend();
    let head = request::parse(head, &mut room, RESPONSE_LIMITS.first_line).ok()?;
    let mut fields = HeaderMap::with_capacity(16);
    for field in head.fields() {
        match field.place.field {
            Field::Host
            | Field::TransferEncoding
            | Field::Connection
            | Field::Upgrade
            | Field::Hop => {}
            Field::ContentLength
            | Field::Expect
            | Field::Te
            | Field::ForwardedFor
            | Field::ForwardedProto
            | Field::ForwardedHost
            | Field::ForwardedPort
            | Field::Forwarded
            | Field::RequestId
            | Field::ClientName
            | Field::ClientCert
            | Field::Disguised
            | Field::Other => append(&mut fields, field.name(), field.value).ok()?,
        }
    }
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(head.host)
        .path_and_query(head.path);
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri.build().ok()?;
    *request.headers_mut() = fields;
    Some((request, Body::new(head.facts.framing, Emit::Apart, None)))
}

fn write_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, u64::from(status.as_u16()));
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        write_field(out, name.as_str(), value.as_bytes());
    }
}

/// Appends the head of an answer; true if its body goes in chunks. The connection it seems to come on is not used again:
/// the stream is over with it.
fn write_head(out: &mut Vec<u8>, response: &Response<RecvStream>, is_head: bool) -> bool {
    write_line(out, response.status());
    write_fields(out, response.headers());
    write_field(out, "connection", b"close");
    let known = response
        .headers()
        .contains_key(http::header::CONTENT_LENGTH);
    let bodiless = is_head || matches!(response.status().as_u16(), 204 | 304);
    let chunked = !known && !bodiless && !response.body().is_end_stream();
    if chunked {
        write_field(out, "transfer-encoding", b"chunked");
    } else if !known && !bodiless {
        write_field(out, "content-length", b"0");
    }
    out.extend_from_slice(b"\r\n");
    chunked
}

/// Appends a piece of a body as a chunk.
fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    let _ = write!(out, "{:x}\r\n", data.len()); // writing to memory cannot fail
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a body in chunks, with its trailers.
fn write_end(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        write_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// What cannot be put into HTTP/2. The served end writes nothing of the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Unfit;

/// Adds a field.
fn append(map: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), Unfit> {
    let value = HeaderValue::from_bytes(value).map_err(|_| Unfit)?;
    add(map, name, value)
}

fn add(map: &mut HeaderMap, name: &str, value: HeaderValue) -> Result<(), Unfit> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unfit)?;
    map.try_append(name, value).map_err(|_| Unfit)?;
    Ok(())
}

/// The trailer section as it comes out of a body, if there is anything in it.
fn trailers(section: &[u8]) -> Result<Option<HeaderMap>, Unfit> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_ours_becomes_a_request() {
        let mut head = b"POST /a?b HTTP/1.1\r\nHost: example.com:8080\r\nX-A: 1\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let (request, mut body) = translate(&mut head, "http").unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://example.com:8080/a?b");
        let names: Vec<&str> = request
            .headers()
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        assert_eq!(names, ["x-a", "te"]);
        assert_eq!(
            filtered(&mut body, b"3\r\nabc\r\n0\r\n\r\n".to_vec()).unwrap(),
            "abc"
        );
        assert!(body.is_done());
    }

    #[test]
    fn what_no_uri_can_say_is_no_request() {
        assert!(translate(&mut b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec(), "http").is_none());
    }
}
