//! Request heads: parsed strictly, and written anew for the target.
//!
//! Nothing of the client's head reaches the target as it was, but the method, the request target and the fields that
//! mean nothing to this hop. Framing is written from what was understood (RFC 9112 §6), so that both ends agree on it.

use std::io::Write as _;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

use balancer::Fields;
use http::Method;

use crate::blocks::{self, Block};
use crate::http::body::Framing;
use crate::http::changes::{RequestChanges, write_set};
use crate::http::fields::{
    self, Connection, Field, FieldRun, content_length, list, write_address, write_field,
    write_number,
};
use crate::http::grpc;
use crate::http::head::{FieldLines, FieldRoom, Header, MAX_FIELDS, Place, RequestLine};
use crate::http::scan::ScanError;
use crate::http::sticky;

/// A request that is not forwarded: the status to answer with, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rejection {
    /// Status of the answer.
    pub(crate) status: u16,
    /// What is wrong, in a few words; a bounded set.
    pub(crate) detail: &'static str,
}

const fn bad(detail: &'static str) -> Rejection {
    Rejection {
        status: 400,
        detail,
    }
}

impl From<ScanError> for Rejection {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::BareLf => bad("line ends with lf alone"),
            ScanError::NotHttp => bad("not http"),
            ScanError::FirstLine => Rejection {
                status: 414,
                detail: "request target too long",
            },
            ScanError::TooLarge => Rejection {
                status: 431,
                detail: "head too large",
            },
            ScanError::TooManyFields => Rejection {
                status: 431,
                detail: "too many fields",
            },
        }
    }
}

/// Tells a target who the client is; nobody else's word about that is passed on.
const CLIENT_NAME: &str = "X-Client-Cert-Name";

/// A request head, understood.
#[derive(Debug)]
pub(crate) struct RequestHead<'h, 'b> {
    /// The method.
    pub(crate) method: Method,
    /// Host and port the request is for, from the target if it is absolute; empty if HTTP/1.0 sent none.
    pub(crate) host: &'b str,
    /// Path with query, or `*`.
    pub(crate) path: &'b str,
    /// What the loop has to know.
    pub(crate) facts: RequestFacts,
    connection: Connection,
    headers: FieldLines<'h, 'b>,
    /// Where the query begins in the path, behind the question mark.
    query_at: Option<usize>,
}

/// What is needed of a request after its head was written on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFacts {
    /// How long its body is.
    pub(crate) framing: Framing,
    /// The client speaks HTTP/1.0: no chunks, no interim answers.
    pub(crate) http10: bool,
    /// The client wants to go on after the answer.
    pub(crate) keep_alive: bool,
    /// The client may be waiting for a 100 before it sends the body.
    pub(crate) expects_continue: bool,
    /// The client asks for another protocol.
    pub(crate) upgrade: bool,
    /// The method is HEAD: the answer has no body.
    pub(crate) is_head: bool,
    /// A call of gRPC.
    pub(crate) grpc: bool,
    /// The client would rather have an answer of our own in JSON.
    pub(crate) wants_json: bool,
}

/// What the fields say, gathered before any of it is judged.
#[derive(Default)]
struct Gathered<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    transfer_encoding: Option<&'b [u8]>,
    connection: Connection,
    upgrade: bool,
    expects_continue: bool,
    wants_json: bool,
}

/// Parses a complete head as delimited by [`crate::http::scan::HeadScan`].
pub(crate) fn parse<'h, 'b>(
    head: &'b mut [u8],
    room: &'h mut FieldRoom,
    url_bytes: usize,
) -> Result<RequestHead<'h, 'b>, Rejection> {
    later_minor_as_1_1(head)?;
    let head: &'b [u8] = head;
    let mut request = httparse::Request::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let mut found = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    match parser.parse_request_with_uninit_headers(&mut request, head, &mut found) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {
            let fields = request.headers.iter();
            room.clear();
            room.extend(fields.map(|field| Place::found(head, field.name.as_bytes(), field.value)));
            let line = Line {
                method: request.method.unwrap_or_default().as_bytes(),
                target: request.path.unwrap_or_default(),
                http10: request.version == Some(0),
                may_have_fragment: true,
            };
            judge(line, FieldLines::new(head, room), url_bytes)
        }
        Ok(_) => Err(bad("malformed head")),
        Err(error) => Err(malformed(error)),
    }
}

/// The same for a head that was taken apart by [`crate::http::head::of_request`].
pub(crate) fn understand<'h, 'b>(
    head: &'b [u8],
    line: &RequestLine,
    room: &'h FieldRoom,
    url_bytes: usize,
) -> Result<RequestHead<'h, 'b>, Rejection> {
    let (method, target) = line.parts(head);
    let line = Line {
        method,
        target: std::str::from_utf8(target).map_err(|_| bad("malformed request line"))?,
        http10: line.http10,
        may_have_fragment: false,
    };
    judge(line, FieldLines::new(head, room), url_bytes)
}

/// The parts of a first line.
struct Line<'b> {
    method: &'b [u8],
    target: &'b str,
    http10: bool,
    may_have_fragment: bool,
}

/// Says what a head means, or why it is not accepted.
fn judge<'h, 'b>(
    line: Line<'b>,
    headers: FieldLines<'h, 'b>,
    url_bytes: usize,
) -> Result<RequestHead<'h, 'b>, Rejection> {
    let http10 = line.http10;
    let method = Method::from_bytes(line.method).map_err(|_| bad("malformed method"))?;
    if method == Method::TRACE || method == Method::CONNECT {
        return Err(Rejection {
            status: 405,
            detail: "method not allowed",
        });
    }
    let gathered = gather(headers)?;
    if line.may_have_fragment && line.target.contains('#') {
        return Err(bad("fragment in target"));
    }
    let (authority, path) = split_target(&method, line.target)?;
    if path.len() > url_bytes {
        return Err(Rejection {
            status: 414,
            detail: "request target too long",
        });
    }
    let host = judge_host(authority, gathered.host, http10)?;
    let framing = judge_framing(&gathered, http10)?;
    let connection = gathered.connection;
    let facts = RequestFacts {
        framing,
        http10,
        keep_alive: !connection.close && (!http10 || connection.keep_alive),
        expects_continue: gathered.expects_continue && !http10,
        upgrade: gathered.upgrade && connection.upgrade && !http10 && framing == Framing::None,
        is_head: method == Method::HEAD,
        grpc: grpc::is_call(&method, headers),
        wants_json: gathered.wants_json,
    };
    let query_at = memchr::memchr(b'?', path.as_bytes());
    Ok(RequestHead {
        method,
        host,
        path,
        facts,
        connection,
        headers,
        query_at: query_at.map(|at| at + 1),
    })
}

/// A later minor version is understood as 1.1 (RFC 9110 §2.5); the parser knows 1.0 and 1.1 only.
fn later_minor_as_1_1(head: &mut [u8]) -> Result<(), Rejection> {
    let Some(end) = memchr::memchr(b'\r', head) else {
        return Err(bad("malformed head"));
    };
    match head[..end].last_chunk_mut::<9>() {
        Some([b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor]) => {
            if minor.is_ascii_digit() && *minor > b'1' {
                *minor = b'1';
            }
            Ok(())
        }
        Some([b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Rejection {
                status: 505,
                detail: "http version",
            })
        }
        Some(_) | None => Err(bad("no http version")),
    }
}

fn malformed(error: httparse::Error) -> Rejection {
    match error {
        httparse::Error::TooManyHeaders => Rejection {
            status: 431,
            detail: "too many fields",
        },
        httparse::Error::HeaderName => bad("malformed field name"),
        httparse::Error::HeaderValue => bad("malformed field value"),
        httparse::Error::Token => bad("malformed request line"),
        httparse::Error::Version => bad("malformed version"),
        httparse::Error::NewLine | httparse::Error::Status => bad("malformed head"),
    }
}

fn gather<'b>(headers: FieldLines<'_, 'b>) -> Result<Gathered<'b>, Rejection> {
    let mut gathered = Gathered::default();
    let mut h2c = false;
    for place in headers.places() {
        // Of most fields nobody wants to know.
        let value = || headers.at(place).value;
        match place.field {
            Field::Host => {
                if gathered.host.replace(value()).is_some() {
                    return Err(bad("host given twice"));
                }
            }
            Field::ContentLength => {
                let length = content_length(value()).ok_or(bad("malformed content-length"))?;
                if gathered.length.replace(length).is_some() {
                    return Err(bad("content-length given twice"));
                }
            }
            Field::TransferEncoding => {
                if gathered.transfer_encoding.replace(value()).is_some() {
                    return Err(bad("transfer-encoding given twice"));
                }
            }
            Field::Connection => {
                gathered
                    .connection
                    .read(value())
                    .map_err(|_| bad("connection lists too many names"))?;
            }
            Field::Upgrade => {
                gathered.upgrade = true;
                // A target that took this up would speak HTTP/2 through a tunnel nobody looks into.
                h2c |= list(value()).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
            }
            Field::Expect => {
                if !value().eq_ignore_ascii_case(b"100-continue") {
                    return Err(Rejection {
                        status: 417,
                        detail: "unknown expectation",
                    });
                }
                gathered.expects_continue = true;
            }
            Field::Te
            | Field::Hop
            | Field::ForwardedFor
            | Field::ForwardedProto
            | Field::ForwardedHost
            | Field::ForwardedPort
            | Field::Forwarded
            | Field::RequestId
            | Field::ClientName
            | Field::ClientCert
            | Field::Disguised => {}
            Field::Other => {
                if headers.is(place, "accept") {
                    gathered.wants_json |= fields::prefers_json(value());
                }
            }
        }
    }
    gathered.upgrade &= !h2c;
    Ok(gathered)
}

/// The authority (of an absolute target) and the path with query.
fn split_target<'b>(
    method: &Method,
    target: &'b str,
) -> Result<(Option<&'b str>, &'b str), Rejection> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" && *method == Method::OPTIONS {
        return Ok((None, target));
    }
    let scheme_end = target.find("://").ok_or(bad("malformed target"))?;
    let scheme = &target[..scheme_end];
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(bad("malformed target"));
    }
    let rest = &target[scheme_end + 3..];
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.is_empty() || path.starts_with('?') {
        return Err(bad("malformed target"));
    }
    let whole = if *method == Method::OPTIONS { "*" } else { "/" };
    Ok((Some(authority), if path.is_empty() { whole } else { path }))
}

/// The host the request is for: an absolute target wins over the field (RFC 9112 §3.2.2), which must be there once all
/// the same.
fn judge_host<'b>(
    authority: Option<&'b str>,
    field: Option<&'b [u8]>,
    http10: bool,
) -> Result<&'b str, Rejection> {
    let field = match field {
        Some(value) if is_host(value) => {
            std::str::from_utf8(value).map_err(|_| bad("malformed host"))?
        }
        Some(_) => return Err(bad("malformed host")),
        None if http10 => "",
        None => return Err(bad("no host")),
    };
    match authority {
        Some(authority) if is_host(authority.as_bytes()) => Ok(authority),
        Some(_) => Err(bad("malformed target")),
        None => Ok(field),
    }
}

/// True if it may be a host, with its port (RFC 3986 §3.2.2, §3.2.3).
fn is_host(text: &[u8]) -> bool {
    let odd = blocks::find(text, 0, Block::not_of_hosts);
    text[odd..].iter().all(|byte| is_host_byte(*byte)) && has_no_odd_port(text)
}

/// True if nothing but digits stands behind the host: somebody else might see another host in the rest.
fn has_no_odd_port(text: &[u8]) -> bool {
    let (end, after) = match text {
        // Colons between brackets are the address's.
        [b'[', ..] => (b']', 1),
        _ => (b':', 0),
    };
    let port = (text.iter().position(|byte| *byte == end)).map(|at| &text[at + after..]);
    match port {
        None => end == b':',
        Some([b':', digits @ ..]) => digits.iter().all(u8::is_ascii_digit),
        Some(rest) => rest.is_empty(),
    }
}

/// A byte of `uri-host [":" port]` (RFC 3986 §3.2.2), `,` left out: it would make one host of two.
fn is_host_byte(byte: u8) -> bool {
    const HOST_BYTES: [bool; 256] = {
        let mut allowed = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            allowed[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let (marks, mut at) = (b"-._~:[]%!$&'()*+;=", 0);
        while at < marks.len() {
            allowed[marks[at] as usize] = true;
            at += 1;
        }
        allowed
    };
    HOST_BYTES[usize::from(byte)]
}

/// How long the body is, or why nobody can tell (RFC 9112 §6.1, §6.3).
fn judge_framing(gathered: &Gathered<'_>, http10: bool) -> Result<Framing, Rejection> {
    let Some(coding) = gathered.transfer_encoding else {
        return Ok(gathered.length.map_or(Framing::None, Framing::Length));
    };
    if http10 {
        return Err(bad("transfer-encoding in http/1.0"));
    }
    if gathered.length.is_some() {
        return Err(bad("content-length with transfer-encoding"));
    }
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    if list(coding).all(|name| name.eq_ignore_ascii_case(b"chunked")) {
        return Err(bad("transfer-encoding given twice"));
    }
    Err(Rejection {
        status: 501,
        detail: "unknown transfer-encoding",
    })
}

/// What the target is told about the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientFacts<'a> {
    /// Address the client's connection comes from.
    pub(crate) peer: IpAddr,
    /// Address the client connected to.
    pub(crate) local: SocketAddr,
    /// The client's connection is encrypted.
    pub(crate) https: bool,
    /// The client's own `X-Forwarded-*` fields are believed.
    pub(crate) trusted: bool,
    /// Who the client is, by a certificate that was verified.
    pub(crate) name: Option<&'a str>,
}

impl Fields for RequestHead<'_, '_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.values(name).any(test)
    }
}

impl<'b> RequestHead<'_, 'b> {
    /// The values of the fields of this name, in any case.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers.named(name).map(|header| header.value)
    }

    /// The same, the last field first.
    pub(crate) fn values_backwards(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers.named(name).rev().map(|header| header.value)
    }

    /// The id of the request that is passed on, if the client sent one that is believed.
    pub(crate) fn believed_id(&self, trusted: bool) -> Option<&'b [u8]> {
        if !trusted {
            return None;
        }
        self.values("x-request-id").find(|id| is_request_id(id))
    }

    /// The fields as they came.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Header<'b>> {
        self.headers.iter()
    }

    /// The path without query, and the query without question mark.
    pub(crate) fn path_and_query(&self) -> (&'b str, &'b str) {
        match self.query_at {
            Some(at) => (&self.path[..at - 1], &self.path[at..]),
            None => (self.path, ""),
        }
    }

    /// Appends the head as the target gets it.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        client: &ClientFacts<'_>,
        changes: &RequestChanges<'_>,
    ) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let edits = changes.edits.filter(|edits| !edits.is_empty());
        let drops = |name: &str| edits.is_some_and(|edits| edits.drops(name));
        if !drops("host") {
            out.extend_from_slice(b"Host: ");
            self.write_host(out, client);
            out.extend_from_slice(b"\r\n");
        }
        let mut kept = Kept {
            id: drops("x-request-id"),
            ..Kept::default()
        };
        let mut run = FieldRun::new(self.headers.head());
        // Nearly always: what is not known is passed on as it is.
        let plain = edits.is_none() && self.connection.others == 0 && !changes.hides_cookies();
        for place in self.headers.places() {
            let known = place.field != Field::Other;
            if plain && !known && place.neat {
                run.pass_neat(out, place);
                continue;
            }
            let header = self.headers.at(place);
            let passes = plain && !known
                || !edits.is_some_and(|edits| edits.drops(header.name()))
                    && self.passes(
                        out,
                        &header,
                        (client.trusted, changes),
                        (&mut run, &mut kept),
                    );
            if passes {
                run.pass(out, &header);
            }
        }
        run.flush(out);
        if let Some(edits) = edits {
            write_set(out, edits);
        }
        self.write_forwarded(out, client, &kept);
        if let Some(name) = client.name.filter(|_| !drops(CLIENT_NAME)) {
            write_field(out, CLIENT_NAME, name.as_bytes());
        }
        if !kept.id {
            out.extend_from_slice(b"X-Request-Id: ");
            out.extend_from_slice(&changes.id);
            out.extend_from_slice(b"\r\n");
        }
        match self.facts.framing {
            Framing::None | Framing::UntilClose => {}
            Framing::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                write_number(out, length);
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        if self.facts.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// What the client asked for, or came to.
    fn write_host(&self, out: &mut Vec<u8>, client: &ClientFacts<'_>) {
        if self.host.is_empty() && self.facts.http10 {
            let _ = write!(out, "{}", client.local); // writing to memory cannot fail
        } else {
            out.extend_from_slice(self.host.as_bytes());
        }
    }

    /// True if a field is passed on as it is; what is to be written instead is written here.
    fn passes(
        &self,
        out: &mut Vec<u8>,
        header: &Header<'_>,
        (trusted, changes): (bool, &RequestChanges<'_>),
        (run, kept): (&mut FieldRun<'_>, &mut Kept),
    ) -> bool {
        let pass = match header.place.field {
            Field::Other => !self.connection.lists(self.headers, header.name),
            Field::Upgrade => self.facts.upgrade,
            Field::Expect => self.facts.expects_continue,
            Field::ForwardedProto => trusted && !std::mem::replace(&mut kept.proto, true),
            Field::ForwardedHost => trusted && !std::mem::replace(&mut kept.host, true),
            Field::ForwardedPort => trusted && !std::mem::replace(&mut kept.port, true),
            Field::Forwarded | Field::ClientCert => trusted,
            Field::RequestId => {
                let believed = trusted && !kept.id && is_request_id(header.value);
                kept.id |= believed;
                believed
            }
            Field::Te => {
                // The one member that concerns the message and not the hop: trailers are relayed.
                if list(header.value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")) {
                    run.flush(out);
                    write_field(out, "TE", b"trailers");
                }
                false
            }
            Field::Host
            | Field::ContentLength
            | Field::TransferEncoding
            | Field::Connection
            | Field::Hop
            | Field::ForwardedFor
            | Field::ClientName
            | Field::Disguised => false,
        };
        let cookie = pass && changes.hides_cookies() && header.is("cookie");
        if cookie {
            run.flush(out);
            sticky::write_others(out, header.name, header.value, &changes.hidden);
        }
        pass && !cookie
    }

    /// The `X-Forwarded-*` fields that are ours to write.
    fn write_forwarded(&self, out: &mut Vec<u8>, client: &ClientFacts<'_>, kept: &Kept) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if client.trusted {
            let is_earlier = |header: &Header<'_>| header.place.field == Field::ForwardedFor;
            for header in self.headers.iter().filter(is_earlier) {
                out.extend_from_slice(header.value);
                out.extend_from_slice(b", ");
            }
        }
        write_address(out, client.peer);
        match (kept.proto, client.https) {
            (true, _) => out.extend_from_slice(b"\r\n"),
            (false, true) => out.extend_from_slice(b"\r\nX-Forwarded-Proto: https\r\n"),
            (false, false) => out.extend_from_slice(b"\r\nX-Forwarded-Proto: http\r\n"),
        }
        if !kept.host {
            out.extend_from_slice(b"X-Forwarded-Host: ");
            self.write_host(out, client);
            out.extend_from_slice(b"\r\n");
        }
        if !kept.port {
            out.extend_from_slice(b"X-Forwarded-Port: ");
            fields::write_number(out, u64::from(client.local.port()));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Fields of a trusted client that were passed on and are not to be written again.
#[derive(Default)]
struct Kept {
    proto: bool,
    host: bool,
    port: bool,
    id: bool,
}

/// An id of a request as others make them: not too long, and harmless in a log.
fn is_request_id(value: &[u8]) -> bool {
    (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests;
