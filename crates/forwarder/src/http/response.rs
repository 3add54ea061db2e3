//! Response heads: parsed strictly, and written anew for the client.

use std::mem::MaybeUninit;

use crate::http::body::Framing;
use crate::http::changes::AnswerChanges;
use crate::http::fields::{
    Connection, Field, FieldRun, content_length, write_field, write_number, write_status,
};
use crate::http::grpc;
use crate::http::head::{FieldLines, FieldRoom, Header, MAX_FIELDS, Place, StatusLine};
use crate::http::request::RequestFacts;
use crate::http::scan::HeadLimits;
use crate::http::sticky;

/// Limits on a target's head, more generous than on a client's.
pub(crate) const RESPONSE_LIMITS: HeadLimits = HeadLimits {
    bytes: 64 * 1024 - 1,
    first_line: 16 * 1024,
    fields: MAX_FIELDS,
};

/// A response head that cannot be passed on, and why; all of them are the target's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BadResponse {
    /// Not a response in HTTP/1.x.
    #[error("not http/1")]
    NotHttp,
    /// More than one Content-Length, or one that is no number.
    #[error("content-length")]
    ContentLength,
    /// A Transfer-Encoding other than chunked.
    #[error("transfer-encoding")]
    TransferEncoding,
    /// A 101 nobody asked for.
    #[error("unasked 101")]
    Unasked,
    /// The Connection field lists too many names.
    #[error("connection")]
    Connection,
}

/// A response head, understood.
#[derive(Debug)]
pub(crate) struct ResponseHead<'h, 'b> {
    /// The status, 100..=999.
    pub(crate) status: u16,
    /// How long its body is.
    pub(crate) framing: Framing,
    /// The target keeps the connection open.
    pub(crate) keep_alive: bool,
    length: Option<u64>,
    reason: &'b [u8],
    /// How much of the head is a first line as we would write it; 0 if it is not.
    line_bytes: usize,
    connection: Connection,
    headers: FieldLines<'h, 'b>,
}

/// Parses a complete head as delimited by [`crate::http::scan::HeadScan`].
pub(crate) fn parse<'h, 'b>(
    head: &'b [u8],
    room: &'h mut FieldRoom,
    request: &RequestFacts,
) -> Result<ResponseHead<'h, 'b>, BadResponse> {
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let mut found = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let parsed = config.parse_response_with_uninit_headers(&mut response, head, &mut found);
    if parsed != Ok(httparse::Status::Complete(head.len())) {
        return Err(BadResponse::NotHttp);
    }
    let fields = response.headers.iter();
    room.clear();
    room.extend(fields.map(|field| Place::found(head, field.name.as_bytes(), field.value)));
    let line = Line {
        status: response.code.unwrap_or_default(),
        http10: response.version == Some(0),
        reason: response.reason.unwrap_or_default().as_bytes(),
        neat_bytes: 0,
    };
    judge(line, FieldLines::new(head, room), request)
}

/// The same for a head that was taken apart by [`crate::http::head::of_response`].
pub(crate) fn understand<'h, 'b>(
    head: &'b [u8],
    line: &StatusLine,
    room: &'h FieldRoom,
    request: &RequestFacts,
) -> Result<ResponseHead<'h, 'b>, BadResponse> {
    let line = Line {
        status: line.status,
        http10: line.http10,
        reason: line.reason(head),
        neat_bytes: line.neat_bytes(),
    };
    judge(line, FieldLines::new(head, room), request)
}

/// The parts of a first line.
struct Line<'b> {
    status: u16,
    http10: bool,
    reason: &'b [u8],
    neat_bytes: usize,
}

/// Says what a head means, or why it cannot be passed on.
fn judge<'h, 'b>(
    line: Line<'b>,
    headers: FieldLines<'h, 'b>,
    request: &RequestFacts,
) -> Result<ResponseHead<'h, 'b>, BadResponse> {
    let Line {
        status,
        http10,
        reason,
        neat_bytes,
    } = line;
    if status < 100 {
        return Err(BadResponse::NotHttp);
    }
    if status == 101 && !request.upgrade {
        return Err(BadResponse::Unasked);
    }
    let Gathered {
        length,
        chunked,
        connection,
    } = gather(headers, http10)?;
    let framing = match (status, chunked, length) {
        (100..=199 | 204 | 304, _, _) => Framing::None,
        _ if request.is_head => Framing::None,
        (_, true, _) => Framing::Chunked,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    };
    // Both fields: chunked wins, but a sender this confused is not asked again (RFC 9112 §6.3).
    let confused = chunked && length.is_some();
    let keep_alive = !http10 && !connection.close && !confused && framing != Framing::UntilClose;
    Ok(ResponseHead {
        status,
        framing,
        keep_alive,
        length,
        reason,
        line_bytes: neat_bytes,
        connection,
        headers,
    })
}

/// What the fields say, gathered before any of it is judged.
#[derive(Default)]
struct Gathered {
    length: Option<u64>,
    chunked: bool,
    connection: Connection,
}

fn gather(headers: FieldLines<'_, '_>, http10: bool) -> Result<Gathered, BadResponse> {
    let mut gathered = Gathered::default();
    for place in headers.places() {
        let value = || headers.at(place).value;
        match place.field {
            Field::ContentLength => {
                let length = content_length(value()).ok_or(BadResponse::ContentLength)?;
                if gathered.length.replace(length).is_some() {
                    return Err(BadResponse::ContentLength);
                }
            }
            Field::TransferEncoding => {
                let repeated = std::mem::replace(&mut gathered.chunked, true);
                if repeated || http10 || !value().eq_ignore_ascii_case(b"chunked") {
                    return Err(BadResponse::TransferEncoding);
                }
            }
            Field::Connection => {
                gathered
                    .connection
                    .read(value())
                    .map_err(|_| BadResponse::Connection)?;
            }
            Field::Host
            | Field::Upgrade
            | Field::Expect
            | Field::Te
            | Field::Hop
            | Field::ForwardedFor
            | Field::ForwardedProto
            | Field::ForwardedHost
            | Field::ForwardedPort
            | Field::Forwarded
            | Field::RequestId
            | Field::ClientName
            | Field::ClientCert
            | Field::Disguised
            | Field::Other => {}
        }
    }
    Ok(gathered)
}

impl ResponseHead<'_, '_> {
    /// True for an answer before the answer, 101 left out: that one is final.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// True if both sides go on with WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        let mut fields = self.headers.iter();
        self.status == 101
            && fields.any(|field| {
                field.place.field == Field::Upgrade
                    && field.value.eq_ignore_ascii_case(b"websocket")
            })
    }

    /// The status a call of gRPC has ended with, if it has no trailers.
    pub(crate) fn grpc_status(&self) -> Option<u16> {
        let mut headers = self.headers.iter();
        headers.find_map(|header| grpc::status_of(header.name, header.value))
    }

    /// Appends the head as the client gets it. `close`: the connection ends with this answer.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        request: &RequestFacts,
        changes: &AnswerChanges,
        close: bool,
    ) {
        let mut run = FieldRun::new(self.headers.head());
        match self.line_bytes {
            0 => self.write_line(out),
            neat => run.begin(neat),
        }
        if self.is_interim() {
            run.flush(out);
            for header in self.passed() {
                write_field(out, header.name, header.value);
            }
            out.extend_from_slice(b"\r\n");
            return;
        }
        self.write_fields(out, run, changes);
        changes.write(out);
        self.write_framing(out, request);
        if self.status == 101 {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        } else if close {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if request.http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        write_status(out, self.status);
        out.push(b' ');
        out.extend_from_slice(self.reason);
        out.extend_from_slice(b"\r\n");
    }

    /// The target's own fields, but those that are changed, behind what is in the run already.
    fn write_fields(&self, out: &mut Vec<u8>, mut run: FieldRun<'_>, changes: &AnswerChanges) {
        let changed = changes.changes_fields();
        if !changed && !changes.is_private() {
            return self.pass_fields(out, run);
        }
        let mut said = !changes.is_private() || changes.drops("cache-control");
        for header in self.passed() {
            if changed && changes.drops(header.name()) {
                continue;
            }
            if changes.is_private() && header.is("cache-control") {
                run.flush(out);
                said |= sticky::write_cache_control(out, header.name, header.value);
            } else {
                run.pass(out, &header);
            }
        }
        run.flush(out);
        if !said {
            write_field(out, "Cache-Control", b"private");
        }
    }

    /// The target's own fields, as they are.
    fn pass_fields(&self, out: &mut Vec<u8>, mut run: FieldRun<'_>) {
        let plain = self.connection.others == 0;
        for place in self.headers.places() {
            let known = place.field != Field::Other;
            if plain && !known && place.neat {
                run.pass_neat(out, place);
                continue;
            }
            let header = self.headers.at(place);
            if plain && !known || self.passes(&header) {
                run.pass(out, &header);
            }
        }
        run.flush(out);
    }

    /// The fields that are passed on, in their order.
    fn passed(&self) -> impl Iterator<Item = Header<'_>> {
        let plain = self.connection.others == 0;
        let fields = self.headers.iter();
        fields.filter(move |header| {
            plain && header.place.field == Field::Other || self.passes(header)
        })
    }

    fn passes(&self, header: &Header<'_>) -> bool {
        match header.place.field {
            Field::ContentLength
            | Field::TransferEncoding
            | Field::Connection
            | Field::Hop
            | Field::Te => false,
            Field::Upgrade => self.status == 101 || self.status == 426,
            Field::Host
            | Field::Expect
            | Field::ForwardedFor
            | Field::ForwardedProto
            | Field::ForwardedHost
            | Field::ForwardedPort
            | Field::Forwarded
            | Field::RequestId
            | Field::ClientName
            | Field::ClientCert
            | Field::Disguised
            | Field::Other => !self.connection.lists(self.headers, header.name),
        }
    }

    fn write_framing(&self, out: &mut Vec<u8>, request: &RequestFacts) {
        let length = match self.framing {
            // An answer to HEAD, or 304, tells the length of what it does not bring; a 204 has none.
            Framing::None if self.status != 204 && self.status != 101 => self.length,
            Framing::Length(length) => Some(length),
            Framing::Chunked if !request.http10 => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                None
            }
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
        if let Some(length) = length {
            out.extend_from_slice(b"Content-Length: ");
            write_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests;
