//! Answers of our own: small and final, with the cause in a word for whoever reads the body.

use std::io::Write as _;
use std::time::Duration;

use balancer::HeaderEdits;

use crate::cause::Cause;
use crate::http::body::{BodyError, Framing};
use crate::http::changes::{write_hsts, write_set};
use crate::http::fields::write_field;
use crate::http::request::{Rejection, RequestFacts};

/// A body nobody wants is read up to this size, so that the connection can go on.
pub(crate) const DRAINED_BYTES: u64 = 64 * 1024;

/// What is answered instead of forwarding or relaying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// Status of the answer.
    pub(crate) status: u16,
    /// Why.
    pub(crate) cause: Cause,
    /// More words, from a bounded set; may be empty.
    pub(crate) detail: &'static str,
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        debug_assert!(cause.status() != 0, "it is not too late for an answer");
        Self {
            status: cause.status(),
            cause,
            detail: "",
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Cause::BodyTooLarge.into(),
            BodyError::Chunked(error) => Self {
                detail: error.as_str(),
                ..Cause::BadBody.into()
            },
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let cause = match rejection.status {
            400 => Cause::Malformed,
            414 | 431 => Cause::HeadLimit,
            _ => Cause::Unsupported,
        };
        Self {
            status: rejection.status,
            cause,
            detail: rejection.detail,
        }
    }
}

/// Name of the field that tells a trusted proxy what went wrong.
const CAUSE_FIELD: &str = "X-Tandem-Cause";

/// Appends a whole answer. `request` is `None` if there is no head to answer to. The cause is a field as well, and not only
/// a word in the body, if `to_trusted`.
pub(crate) fn write(
    out: &mut Vec<u8>,
    refusal: &Refusal,
    request: Option<&RequestFacts>,
    (close, to_trusted): (bool, bool),
) {
    let Refusal { status, cause, .. } = *refusal;
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let reason = reason.unwrap_or_default();
    let (kind, body) = body(
        refusal,
        reason,
        request.is_some_and(|facts| facts.wants_json),
    );
    let length = body.len();
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    );
    if status == 405 {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    if to_trusted {
        write_field(out, CAUSE_FIELD, cause.as_str().as_bytes());
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if request.is_some_and(|request| request.http10) {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !request.is_some_and(|request| request.is_head) {
        out.extend_from_slice(body.as_bytes());
    }
}

/// The body of an answer, and what it is.
fn body(refusal: &Refusal, reason: &str, json: bool) -> (&'static str, String) {
    let Refusal {
        status,
        cause,
        detail,
    } = *refusal;
    let cause = cause.as_str();
    // Reasons, causes and details are words of our own: nothing in them has to be escaped.
    match (json, detail.is_empty()) {
        (false, true) => ("text/plain", format!("{status} {reason}\n{cause}\n")),
        (false, false) => (
            "text/plain",
            format!("{status} {reason}\n{cause}: {detail}\n"),
        ),
        (true, _) => (
            "application/json",
            format!(
                "{{\"status\":{status},\"error\":\"{reason}\",\"cause\":\"{cause}\",\"detail\":\"{detail}\"}}\n"
            ),
        ),
    }
}

/// True if the connection can go on after an answer that does not wait for the body: the client wants it, and the body
/// is worth reading. Whoever waits for a 100 may or may not send its body after such an answer, so nobody knows what
/// comes next.
pub(crate) fn may_go_on(request: &RequestFacts) -> bool {
    let worth_it = match request.framing {
        Framing::None | Framing::Chunked => true,
        Framing::Length(length) => length <= DRAINED_BYTES,
        Framing::UntilClose => false,
    };
    request.keep_alive && !request.expects_continue && worth_it
}

/// An answer that a rule asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnAnswer<'a> {
    /// The status, 200..=599.
    pub(crate) status: u16,
    /// Content-Type.
    pub(crate) content_type: Option<&'a str>,
    /// Location; empty for none.
    pub(crate) location: &'a [u8],
    /// The body.
    pub(crate) body: &'a [u8],
    /// For how long the client is to come by https only.
    pub(crate) hsts: Option<Duration>,
}

impl OwnAnswer<'_> {
    /// Appends the whole answer.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        edits: Option<&HeaderEdits>,
        request: &RequestFacts,
        close: bool,
    ) {
        let status = http::StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|status| status.canonical_reason());
        let (status, reason) = (self.status, reason.unwrap_or_default());
        // Writing to memory cannot fail.
        let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
        let drops = |name: &str| edits.is_some_and(|edits| edits.drops(name));
        if let Some(kind) = self.content_type.filter(|_| !drops("content-type")) {
            write_field(out, "Content-Type", kind.as_bytes());
        }
        if !self.location.is_empty() && !drops("location") {
            write_field(out, "Location", self.location);
        }
        if let Some(edits) = edits {
            write_set(out, edits);
        }
        write_hsts(out, self.hsts);
        let has_body = !matches!(status, 204 | 304);
        if has_body {
            let _ = write!(out, "Content-Length: {}\r\n", self.body.len());
        }
        if close {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if request.http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if has_body && !request.is_head {
            out.extend_from_slice(self.body);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_body() {
        let detailed = Rejection {
            status: 400,
            detail: "no host",
        };
        for refusal in [
            Cause::NoTarget.into(),
            Refusal::from(detailed),
            Cause::TargetTimeout.into(),
        ] {
            let mut out = Vec::new();
            write(&mut out, &refusal, None, (true, false));
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{text}"
            );
            assert!(body.contains(refusal.cause.as_str()) && head.ends_with("Connection: close"));
        }
    }

    #[test]
    fn the_whole_of_a_refusal() {
        let mut out = Vec::new();
        write(
            &mut out,
            &Rejection {
                status: 405,
                detail: "method not allowed",
            }
            .into(),
            None,
            (true, false),
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 63\r\n\
             Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\nConnection: close\r\n\r\n\
             405 Method Not Allowed\nunsupported@headers: method not allowed\n"
        );
    }
}
