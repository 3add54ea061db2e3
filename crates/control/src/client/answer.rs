//! Reads one HTTP/1.1 answer from a connection: head, then body by content length, in chunks, or up to the close
//! (RFC 9112 §6.3, §7.1). Knows neither JSON nor time limits; sizes are limited here.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head, and longest line between chunks, bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("connection failed")]
    Connection(#[from] io::Error),
    #[error("connection closed early")]
    Closed,
    #[error("{what} longer than {limit} bytes")]
    TooLong { what: &'static str, limit: usize },
    #[error("{0}")]
    Malformed(&'static str),
}

/// How the rest of the body is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// So many bytes.
    Bytes(u64),
    /// A chunk's size line comes next.
    ChunkSize,
    /// So many bytes of a chunk, then its line end.
    Chunk(u64),
    /// The line end of a chunk.
    ChunkEnd,
    /// Trailer lines up to an empty one.
    Trailer,
    /// Whatever comes before the close.
    UntilClose,
    /// Nothing.
    Nothing,
}

/// An answer whose head was read. What was read but not yet given out is kept here, so that a dropped wait loses nothing.
#[derive(Debug)]
pub(super) struct Answer<R> {
    connection: R,
    buffer: Vec<u8>,
    status: u16,
    rest: Rest,
}

impl<R: AsyncRead + Unpin> Answer<R> {
    /// Reads up to the empty line after the head.
    pub(super) async fn read_head(connection: R) -> Result<Self, Broken> {
        let mut answer = Self {
            connection,
            buffer: Vec::new(),
            status: 0,
            rest: Rest::Nothing,
        };
        let mut first = true;
        let (mut length, mut chunked) = (None, false);
        let mut head_bytes = 0;
        loop {
            let line = answer.line().await?;
            head_bytes += line.len();
            if head_bytes > HEAD_LIMIT {
                return Err(Broken::TooLong {
                    what: "head",
                    limit: HEAD_LIMIT,
                });
            }
            if first {
                answer.status = status_of(&line)?;
                first = false;
            } else if line.is_empty() {
                break;
            } else {
                read_field(&line, &mut length, &mut chunked)?;
            }
        }
        answer.rest = match (answer.status, chunked, length) {
            (204, _, _) => Rest::Nothing,
            (_, true, _) => Rest::ChunkSize,
            (_, false, Some(length)) => Rest::Bytes(length),
            (_, false, None) => Rest::UntilClose,
        };
        Ok(answer)
    }

    /// HTTP status, 200 to 999.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The whole body, at most `limit` bytes of it.
    pub(super) async fn body(&mut self, limit: usize) -> Result<Vec<u8>, Broken> {
        let too_long = Broken::TooLong {
            what: "body",
            limit,
        };
        if let Rest::Bytes(announced) = self.rest
            && announced > limit as u64
        {
            return Err(too_long);
        }
        let mut body = Vec::new();
        while self.read_some(&mut body).await? {
            if body.len() > limit {
                return Err(too_long);
            }
        }
        Ok(body)
    }

    /// Appends at least one byte of the body to `out`, or returns false at its end.
    pub(super) async fn read_some(&mut self, out: &mut Vec<u8>) -> Result<bool, Broken> {
        loop {
            match self.rest {
                Rest::Nothing | Rest::Bytes(0) => return Ok(false),
                Rest::Bytes(left) => {
                    let taken = self.take_data(left, out).await?;
                    self.rest = Rest::Bytes(left - taken);
                    return Ok(true);
                }
                Rest::UntilClose => {
                    if self.buffer.is_empty() && !self.fill().await? {
                        return Ok(false);
                    }
                    out.append(&mut self.buffer);
                    return Ok(true);
                }
                Rest::ChunkSize => {
                    self.rest = match chunk_size(&self.line().await?)? {
                        0 => Rest::Trailer,
                        size => Rest::Chunk(size),
                    };
                }
                Rest::Chunk(left) => {
                    let taken = self.take_data(left, out).await?;
                    self.rest = if taken == left {
                        Rest::ChunkEnd
                    } else {
                        Rest::Chunk(left - taken)
                    };
                    return Ok(true);
                }
                Rest::ChunkEnd => {
                    if !self.line().await?.is_empty() {
                        return Err(Broken::Malformed("a chunk that does not end where it said"));
                    }
                    self.rest = Rest::ChunkSize;
                }
                Rest::Trailer => {
                    if self.line().await?.is_empty() {
                        self.rest = Rest::Nothing;
                    }
                }
            }
        }
    }

    /// Moves 1 to `left` bytes to `out` and says how many; `left` is above 0.
    async fn take_data(&mut self, left: u64, out: &mut Vec<u8>) -> Result<u64, Broken> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Err(Broken::Closed);
        }
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        out.extend(self.buffer.drain(..count));
        Ok(count as u64)
    }

    /// The next line without its end.
    async fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(Broken::TooLong {
                    what: "head",
                    limit: HEAD_LIMIT,
                });
            }
            if !self.fill().await? {
                return Err(Broken::Closed);
            }
        }
    }

    /// Reads what is there into the buffer; false at the end of the connection.
    async fn fill(&mut self) -> Result<bool, Broken> {
        self.buffer.reserve(8 * 1024);
        Ok(self.connection.read_buf(&mut self.buffer).await? > 0)
    }
}

/// `HTTP/1.1 200 OK`
fn status_of(line: &[u8]) -> Result<u16, Broken> {
    let no_http = Broken::Malformed("the answer is not HTTP/1.1");
    let Some(rest) = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))
    else {
        return Err(no_http);
    };
    let digits = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    match number(digits, 10) {
        Some(status @ 200..=999) if digits.len() == 3 => Ok(status as u16),
        _ => Err(no_http),
    }
}

/// Takes from a header field what says how long the body is.
fn read_field(line: &[u8], length: &mut Option<u64>, chunked: &mut bool) -> Result<(), Broken> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err(Broken::Malformed("a header line without a colon"));
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"content-length") {
        let value =
            number(value, 10).ok_or(Broken::Malformed("a content length that is no number"))?;
        if length
            .replace(value)
            .is_some_and(|earlier| earlier != value)
        {
            return Err(Broken::Malformed("two content lengths"));
        }
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Broken::Malformed("an unknown transfer encoding"));
        }
        *chunked = true;
    }
    Ok(())
}

/// `1a2b;extension`
fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    number(digits, 16).ok_or(Broken::Malformed("a chunk size that is no number"))
}

/// Digits only: no sign, no blank.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let only_digits = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    only_digits.then(|| u64::from_str_radix(text, radix).ok())?
}
