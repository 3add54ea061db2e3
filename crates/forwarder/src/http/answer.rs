//! Answers of our own: small, final, with the cause in one word for whoever reads the body or the log.

use std::io::Write as _;

use crate::http::body::BodyError;
use crate::http::request::RequestFacts;

/// Why a request was not answered by a target. The words are a bounded set, the same in body, log and counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The request was not acceptable; the words say why.
    Rejected(&'static str),
    /// The head did not come in time.
    HeaderTimeout,
    /// The body did not come in time.
    BodyTimeout,
    /// The body was malformed.
    BadBody,
    /// The body was longer than allowed.
    BodyTooLarge,
    /// No target may be tried.
    NoTarget,
    /// No target took the connection.
    ConnectFailed,
    /// The target did not take the connection in time.
    ConnectTimeout,
    /// The target closed a kept connection under a request that must not be repeated.
    ReusedClosed,
    /// The target closed before it answered.
    TargetReset,
    /// The target did not answer in time.
    TargetTimeout,
    /// The target did not read the request in time.
    TargetStalled,
    /// What the target answered was not understood.
    BadResponse,
}

impl Cause {
    /// The cause a broken body is.
    pub(crate) fn of_body(error: BodyError) -> Cause {
        match error {
            BodyError::TooLarge => Self::BodyTooLarge,
            BodyError::Chunked(_) => Self::BadBody,
        }
    }

    /// The status that goes with it, unless the rejection brings its own.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Rejected(_) | Self::BadBody => 400,
            Self::HeaderTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::NoTarget => 503,
            Self::ConnectFailed | Self::ReusedClosed | Self::TargetReset | Self::BadResponse => 502,
            Self::ConnectTimeout | Self::TargetTimeout | Self::TargetStalled => 504,
        }
    }

    /// The word: what happened, and where.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rejected(detail) => detail,
            Self::HeaderTimeout => "client-timeout@headers",
            Self::BodyTimeout => "client-timeout@body",
            Self::BadBody => "client-malformed@body",
            Self::BodyTooLarge => "limit@body",
            Self::NoTarget => "target-down@pick",
            Self::ConnectFailed => "connect-refused@connect",
            Self::ConnectTimeout => "connect-timeout@connect",
            Self::ReusedClosed => "reused-closed@headers",
            Self::TargetReset => "target-reset@headers",
            Self::TargetTimeout => "target-timeout@headers",
            Self::TargetStalled => "target-timeout@request",
            Self::BadResponse => "target-malformed@headers",
        }
    }
}

/// Appends a whole answer. `request` is `None` if there is no head to answer to.
pub(crate) fn write(
    out: &mut Vec<u8>,
    status: u16,
    cause: Cause,
    request: Option<&RequestFacts>,
    close: bool,
) {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let length = status.to_string().len() + reason.len() + cause.as_str().len() + 3;
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n"
    );
    if status == 405 {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if request.is_some_and(|request| request.http10) {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !request.is_some_and(|request| request.is_head) {
        let _ = write!(out, "{status} {reason}\n{}\n", cause.as_str());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_body() {
        for cause in [
            Cause::NoTarget,
            Cause::Rejected("no host"),
            Cause::TargetTimeout,
        ] {
            let mut out = Vec::new();
            write(&mut out, cause.status(), cause, None, true);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{text}"
            );
            assert!(body.contains(cause.as_str()) && head.ends_with("Connection: close"));
        }
    }
}
