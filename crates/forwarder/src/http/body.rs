//! Where a body ends (RFC 9112 §6.3), and what of it is passed on.

use crate::http::chunked::{ChunkError, Chunked, Emit, Passed};

/// How long a body is, as its head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// The chunked coding tells.
    Chunked,
    /// Until the sender closes; answers only.
    UntilClose,
}

/// A body on its way through.
#[derive(Debug)]
pub(crate) struct Body {
    left: Left,
    limit: u64,
}

#[derive(Debug)]
enum Left {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// Why a body is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyError {
    /// The chunked coding is broken.
    Chunked(ChunkError),
    /// It is longer than allowed.
    TooLarge,
}

impl Body {
    /// A body that begins with the next byte.
    pub(crate) fn new(framing: Framing, emit: Emit, limit: Option<u64>) -> Self {
        let left = match framing {
            Framing::None => Left::Length(0),
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunked(Chunked::new(emit)),
            Framing::UntilClose => Left::UntilClose,
        };
        Self {
            left,
            limit: limit.unwrap_or(u64::MAX),
        }
    }

    /// True once its last byte was seen. One that lasts until the sender closes is never done.
    pub(crate) fn is_done(&self) -> bool {
        match &self.left {
            Left::Length(left) => *left == 0,
            Left::Chunked(chunked) => chunked.is_done(),
            Left::UntilClose => false,
        }
    }

    /// True if the sender may close here.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.left, Left::UntilClose) || self.is_done()
    }

    /// Goes through bytes that have come; see [`Chunked::filter`].
    pub(crate) fn filter(&mut self, buf: &mut [u8]) -> Result<Passed, BodyError> {
        match &mut self.left {
            Left::Length(left) => {
                let run = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
                *left -= run as u64;
                Ok(Passed {
                    kept: run,
                    consumed: run,
                })
            }
            Left::Chunked(chunked) => {
                let passed = chunked.filter(buf).map_err(BodyError::Chunked)?;
                if chunked.data() > self.limit {
                    Err(BodyError::TooLarge)
                } else {
                    Ok(passed)
                }
            }
            Left::UntilClose => Ok(Passed {
                kept: buf.len(),
                consumed: buf.len(),
            }),
        }
    }

    /// What is to be sent after the last byte kept; see [`Chunked::take_trailers`].
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        match &mut self.left {
            Left::Chunked(chunked) => chunked.take_trailers(),
            Left::Length(_) | Left::UntilClose => Vec::new(),
        }
    }
}
