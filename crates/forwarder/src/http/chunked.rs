//! The chunked coding (RFC 9112 §7.1): checks it, and says which bytes of it to pass on.
//!
//! ```text
//!   chunk  = size [ ; ext ] CRLF  data CRLF          size in hex, > 0
//!   body   = *chunk  1*"0" [ ; ext ] CRLF  *( trailer CRLF )  CRLF
//! ```
//!
//! Works in place: what is not passed on (extensions always; all framing when the next hop wants data only) is
//! squeezed out of the bytes given. Trailers are collected and written anew.

use crate::http::fields::{Field, write_field};

/// What goes to the next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Emit {
    /// Chunks and trailers, extensions removed.
    Framed,
    /// Data alone.
    Data,
    /// Data alone; trailers are to be taken apart from it.
    Apart,
}

/// Why the coding is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChunkError {
    /// Not a size in hex, or one above 2^60.
    Size,
    /// A control character in an extension, or too many bytes of extensions.
    Extension,
    /// CR LF is not where it must be.
    LineEnd,
    /// The trailer section is malformed or too long.
    Trailer,
}

impl ChunkError {
    /// The words for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Size => "chunk size",
            Self::Extension => "chunk extension",
            Self::LineEnd => "chunk line end",
            Self::Trailer => "trailer section",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In the size, after this many digits.
    Size(u8),
    /// In an extension.
    Extension,
    /// After the CR of the size line.
    SizeLf,
    /// In the data.
    Data,
    /// After the data.
    DataCr,
    /// After the CR that ends the data.
    DataLf,
    /// At the start of the trailer section.
    TrailerStart,
    /// In the trailer section.
    Trailer,
    /// After the CR of the last empty line.
    EndLf,
    /// After the end.
    Done,
}

/// Bytes of extensions in one body; the limit stops a body that is all extension.
const MAX_EXTENSIONS: u32 = 16 * 1024;
/// Bytes of a trailer section.
const MAX_TRAILERS: usize = 16 * 1024;
/// Fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;
/// Largest chunk: four bits below what would overflow.
const MAX_SIZE: u64 = 1 << 60;

/// A chunked body on its way through.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    emit: Emit,
    remaining: u64,
    data: u64,
    extensions: u32,
    trailers: Vec<u8>,
}

/// What one call made of the bytes it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Passed {
    /// The first so many bytes of the buffer are to be passed on.
    pub(crate) kept: usize,
    /// So many of the bytes given belong to this body; the rest stand where they stood.
    pub(crate) consumed: usize,
}

impl Chunked {
    /// At the start of a body.
    pub(crate) fn new(emit: Emit) -> Self {
        Self {
            state: State::Size(0),
            emit,
            remaining: 0,
            data: 0,
            extensions: 0,
            trailers: Vec::new(),
        }
    }

    /// True once the last byte of the body was seen.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data so far.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    /// The rewritten trailer section with its final empty line, to be sent after the last kept byte; empty if that
    /// line was among the kept bytes.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        if self.is_done() {
            std::mem::take(&mut self.trailers)
        } else {
            Vec::new()
        }
    }

    /// Goes through the bytes that have come.
    pub(crate) fn filter(&mut self, buf: &mut [u8]) -> Result<Passed, ChunkError> {
        let (mut read, mut kept) = (0, 0);
        while read < buf.len() && self.state != State::Done {
            if self.state == State::Data {
                let available = buf.len() - read;
                let run =
                    usize::try_from(self.remaining).map_or(available, |left| left.min(available));
                if read != kept {
                    buf.copy_within(read..read + run, kept);
                }
                read += run;
                kept += run;
                self.data += run as u64;
                self.remaining -= run as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            let byte = buf[read];
            read += 1;
            if self.step(byte)? && self.emit == Emit::Framed {
                buf[kept] = byte;
                kept += 1;
            }
        }
        Ok(Passed {
            kept,
            consumed: read,
        })
    }

    /// One byte of framing; true if it is passed on to a next hop that wants the framing.
    fn step(&mut self, byte: u8) -> Result<bool, ChunkError> {
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => self.digit(digits, byte),
            (State::Size(1..), b'\r') => self.next(State::SizeLf, true),
            (State::Size(1..), b';') => self.extension(byte),
            (State::Size(_), _) => Err(ChunkError::Size),
            (State::Extension, b'\r') => self.next(State::SizeLf, true),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension(byte),
            (State::Extension, _) => Err(ChunkError::Extension),
            (State::SizeLf, b'\n') if self.remaining == 0 => self.next(State::TrailerStart, true),
            (State::SizeLf, b'\n') => self.next(State::Data, true),
            (State::DataCr, b'\r') => self.next(State::DataLf, true),
            (State::DataLf, b'\n') => self.next(State::Size(0), true),
            (State::TrailerStart, b'\r') => self.next(State::EndLf, true),
            (State::EndLf, b'\n') => self.next(State::Done, true),
            (State::TrailerStart | State::Trailer, _) => self.trailer(byte),
            (State::SizeLf | State::DataCr | State::DataLf | State::EndLf, _) => {
                Err(ChunkError::LineEnd)
            }
            (State::Data | State::Done, _) => Ok(false),
        }
    }

    fn next(&mut self, state: State, pass: bool) -> Result<bool, ChunkError> {
        self.state = state;
        Ok(pass)
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<bool, ChunkError> {
        let value = char::from(byte).to_digit(16).map_or(0, u64::from);
        let size = if digits == 0 { 0 } else { self.remaining };
        if digits >= 16 || size >= MAX_SIZE >> 4 {
            return Err(ChunkError::Size);
        }
        self.remaining = size << 4 | value;
        self.next(State::Size(digits + 1), true)
    }

    fn extension(&mut self, _byte: u8) -> Result<bool, ChunkError> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(ChunkError::Extension);
        }
        self.next(State::Extension, false)
    }

    fn trailer(&mut self, byte: u8) -> Result<bool, ChunkError> {
        self.trailers.push(byte);
        self.state = State::Trailer;
        if byte == b'\n' && !self.trailers.ends_with(b"\r\n") || self.trailers.len() > MAX_TRAILERS
        {
            return Err(ChunkError::Trailer);
        }
        if self.trailers.ends_with(b"\r\n\r\n") {
            self.trailers = match self.emit {
                Emit::Framed | Emit::Apart => rewrite_trailers(&self.trailers)?,
                Emit::Data => Vec::new(),
            };
            self.state = State::Done;
        }
        Ok(false)
    }
}

/// Trailers parsed and written again, without those that must not be trailers (RFC 9110 §6.5.1).
fn rewrite_trailers(section: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) =
        httparse::parse_headers(section, &mut headers)
    else {
        return Err(ChunkError::Trailer);
    };
    let mut out = Vec::with_capacity(section.len());
    for field in fields
        .iter()
        .filter(|field| Field::of(field.name.as_bytes()) == Field::Other)
    {
        write_field(&mut out, field.name, field.value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

#[cfg(test)]
mod tests;
