//! What of gRPC matters on the way: which requests are calls, how they have ended, and how our own refusals are said to them.
//!
//! A call ends with `grpc-status`, among the trailers or, if there is no message, in the head. Its HTTP status is 200 in both
//! cases, so that it says nothing about the target.

use std::io::Write as _;

use crate::http::answer::Refusal;
use crate::http::head::FieldLines;
use http::Method;

/// The field a call ends with.
const STATUS: &[u8] = b"grpc-status";
/// The content type of calls, alone or with `+` or `;` and more.
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// INTERNAL, UNAVAILABLE and the like, as far as we say them.
const UNKNOWN: u16 = 2;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

/// True for a call. `grpc-web` is another protocol, whose statuses are in its messages.
pub(crate) fn is_call(method: &Method, headers: FieldLines<'_, '_>) -> bool {
    let mut types = headers.named("content-type");
    *method == Method::POST
        && types.any(|header| {
            let rest = header.value.strip_prefix(CONTENT_TYPE);
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
}

/// The status a call has ended with, among fields in lines.
pub(crate) fn status_among(fields: &[u8]) -> Option<u16> {
    let mut lines = fields.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let (name, rest) = line.split_at_checked(STATUS.len())?;
        let value = rest.strip_prefix(b":")?;
        status_of(name, value.trim_ascii())
    })
}

/// The status a call has ended with, if this field says it.
pub(crate) fn status_of(name: &[u8], value: &[u8]) -> Option<u16> {
    let is_number = matches!(value.len(), 1..=4) && value.iter().all(u8::is_ascii_digit);
    let fold = |number, digit: &u8| number * 10 + u16::from(digit - b'0');
    (name.eq_ignore_ascii_case(STATUS) && is_number).then(|| value.iter().fold(0, fold))
}

/// What a refusal is to a call, by its HTTP status.
pub(crate) fn status(refusal: &Refusal) -> u16 {
    match refusal.status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        413 | 414 | 431 => RESOURCE_EXHAUSTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Appends a refusal as a call understands it: a head with the status and nothing after it.
pub(crate) fn write(out: &mut Vec<u8>, refusal: &Refusal) {
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: {}\r\ngrpc-message: {}\r\nContent-Length: 0\r\n\r\n",
        status(refusal),
        refusal.cause.as_str()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;
    use crate::http::head::Place;

    #[test]
    fn which_requests_are_calls() {
        let is_call = |method, value: &'static str| {
            let head = format!("Content-Type: {value}\r\n").into_bytes();
            let places = [Place::found(&head, &head[..12], &head[14..head.len() - 2])];
            is_call(&method, FieldLines::new(&head, &places))
        };
        assert!(is_call(Method::POST, "application/grpc"));
        assert!(is_call(Method::POST, "application/grpc+proto"));
        assert!(is_call(Method::POST, "application/grpc;x=y"));
        assert!(!is_call(Method::POST, "application/grpc-web"));
        assert!(!is_call(Method::POST, "application/json"));
        assert!(!is_call(Method::GET, "application/grpc"));
    }

    #[test]
    fn how_calls_end() {
        for (fields, status) in [
            (&b"x-a: 1\r\ngrpc-status: 14\r\n\r\n"[..], Some(14)),
            (b"Grpc-Status:0\r\n\r\n", Some(0)),
            (b"grpc-status: x\r\n\r\n", None),
            (b"grpc-status: 99999\r\n\r\n", None),
            (b"grpc-status-details-bin: 1\r\n\r\n", None),
            (b"grpc-status", None),
            (b"", None),
        ] {
            assert_eq!(status_among(fields), status, "{fields:?}");
        }
    }

    #[test]
    fn a_refusal_is_a_head_with_a_status() {
        let mut out = Vec::new();
        write(&mut out, &Cause::NoTarget.into());
        assert_eq!(
            out,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\ngrpc-message: target-down@pick\r\n\
              Content-Length: 0\r\n\r\n"
        );
        assert_eq!(status(&Cause::BodyTooLarge.into()), 8);
        assert_eq!(status(&Cause::TargetTimeout.into()), 14);
        assert_eq!(status(&Cause::BadBody.into()), 13);
    }
}
