//! May a failed attempt be made again, and where: one pure function.
//!
//! The rule behind the table: a request that may have been acted upon is repeated only if repeating it changes
//! nothing (RFC 9110 §9.2.2), and never once the client may have seen part of an answer. The race in mind is a target
//! that closes a kept connection just as the next request is written on it (RFC 9112 §9.3.1).

use http::Method;

/// How far the request body had come when the attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyProgress {
    /// The request has no body.
    None,
    /// It has one, but none of it was written to the target.
    NotStarted,
    /// Some or all was written, and all of it is still held.
    Held,
    /// Some or all was written and is gone.
    Gone,
}

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No connection could be opened: refused, unreachable or timed out.
    Connect,
    /// The target closed or reset the connection.
    Closed,
    /// The target was silent for too long.
    TimedOut,
    /// What the target sent was not understood.
    BadResponse,
}

/// One failed attempt to have a request answered.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// True if at least one byte of the request head was taken by the connection.
    pub head_written: bool,
    /// How far the body had come.
    pub body: BodyProgress,
    /// True if the connection had served a request before.
    pub reused: bool,
    /// True if at least one byte of an answer was read.
    pub response_seen: bool,
    /// What went wrong.
    pub failure: Failure,
    /// Attempts made before this one, for this request.
    pub earlier: u32,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Give up and answer with the error.
    No,
    /// Try once more on a new connection, to the same target.
    FreshConnection,
    /// Try another target.
    OtherTarget,
}

/// Most attempts for one request that could not connect.
const MAX_CONNECT_ATTEMPTS: u32 = 3;

/// Decides whether a failed attempt may be made again.
pub fn decide_retry(attempt: &Attempt<'_>) -> Retry {
    match attempt.failure {
        Failure::Connect if attempt.earlier + 1 < MAX_CONNECT_ATTEMPTS => Retry::OtherTarget,
        Failure::Connect | Failure::TimedOut | Failure::BadResponse => Retry::No,
        Failure::Closed if repeatable(attempt) => Retry::FreshConnection,
        Failure::Closed => Retry::No,
    }
}

/// True if a connection closed under the request may be taken for one that was closing before it.
fn repeatable(attempt: &Attempt<'_>) -> bool {
    if !attempt.reused || attempt.response_seen {
        return false;
    }
    if !attempt.head_written {
        return attempt.body != BodyProgress::Gone;
    }
    match attempt.body {
        BodyProgress::None | BodyProgress::Held => attempt.method.is_idempotent(),
        BodyProgress::NotStarted => true,
        BodyProgress::Gone => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(method: &Method) -> Attempt<'_> {
        Attempt {
            method,
            head_written: true,
            body: BodyProgress::None,
            reused: true,
            response_seen: false,
            failure: Failure::Closed,
            earlier: 0,
        }
    }

    /// The rows of the reused-connection table.
    #[test]
    fn a_reused_connection_that_closes() {
        use BodyProgress::{Gone, Held, None, NotStarted};
        let patch = Method::PATCH;
        let odd = Method::from_bytes(b"BREW").unwrap_or_default();
        let rows = [
            (&Method::GET, None, Retry::FreshConnection),
            (&Method::HEAD, None, Retry::FreshConnection),
            (&Method::OPTIONS, None, Retry::FreshConnection),
            (&Method::DELETE, None, Retry::FreshConnection),
            (&Method::DELETE, Held, Retry::FreshConnection),
            (&Method::PUT, Held, Retry::FreshConnection),
            (&Method::PUT, NotStarted, Retry::FreshConnection),
            (&Method::PUT, Gone, Retry::No),
            (&Method::POST, None, Retry::No),
            (&Method::POST, Held, Retry::No),
            (&Method::POST, Gone, Retry::No),
            (&Method::POST, NotStarted, Retry::FreshConnection),
            (&patch, Held, Retry::No),
            (&odd, None, Retry::No),
            (&odd, NotStarted, Retry::FreshConnection),
        ];
        for (method, body, want) in rows {
            let got = decide_retry(&Attempt {
                body,
                ..attempt(method)
            });
            assert_eq!(got, want, "{method} {body:?}");
        }
    }

    #[test]
    fn nothing_written_may_be_written_again_whatever_the_method() {
        for method in [&Method::GET, &Method::POST] {
            let got = decide_retry(&Attempt {
                head_written: false,
                ..attempt(method)
            });
            assert_eq!(got, Retry::FreshConnection, "{method}");
        }
    }

    #[test]
    fn a_fresh_connection_or_a_begun_answer_is_final() {
        assert_eq!(
            decide_retry(&Attempt {
                reused: false,
                ..attempt(&Method::GET)
            }),
            Retry::No
        );
        assert_eq!(
            decide_retry(&Attempt {
                response_seen: true,
                ..attempt(&Method::GET)
            }),
            Retry::No
        );
        assert_eq!(
            decide_retry(&Attempt {
                failure: Failure::TimedOut,
                ..attempt(&Method::GET)
            }),
            Retry::No
        );
        assert_eq!(
            decide_retry(&Attempt {
                failure: Failure::BadResponse,
                ..attempt(&Method::GET)
            }),
            Retry::No
        );
    }

    #[test]
    fn connecting_is_tried_three_times_for_any_method() {
        let failed = |earlier| Attempt {
            failure: Failure::Connect,
            head_written: false,
            earlier,
            ..attempt(&Method::POST)
        };
        assert_eq!(decide_retry(&failed(0)), Retry::OtherTarget);
        assert_eq!(decide_retry(&failed(1)), Retry::OtherTarget);
        assert_eq!(decide_retry(&failed(2)), Retry::No);
    }
}
