//! Finds the end of a head in bytes that come in any pieces, looking at each byte once.
//!
//! Lines end with CR LF only: a bare LF is where two parsers disagree about the end of a head (RFC 9112 §2.2 allows
//! to accept it; request smuggling says no). What the lines mean is not looked at here.

/// Limits a head is held to while it comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Bytes in all, empty line included.
    pub(crate) bytes: usize,
    /// Bytes of the first line.
    pub(crate) first_line: usize,
    /// Lines after the first.
    pub(crate) fields: usize,
}

/// Where a scan stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scanned {
    /// The head is not complete.
    More,
    /// The head is the bytes from `start` (empty lines before it are skipped) to before `end`.
    Complete { start: usize, end: usize },
    /// It cannot become a head that is accepted.
    Refused(ScanError),
}

/// Why a head is not accepted, as far as its lines tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScanError {
    /// A line ends with LF alone.
    BareLf,
    /// The first byte cannot begin a head, or the first line names no version.
    NotHttp,
    /// The first line is too long.
    FirstLine,
    /// The head has too many bytes.
    TooLarge,
    /// The head has too many fields.
    TooManyFields,
}

/// Empty lines that may come before a head (RFC 9112 §2.2 asks for at least one).
const MAX_EMPTY_LINES: u32 = 4;

/// A scan in progress. The same bytes, and those that came after them, are given at each call.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct HeadScan {
    start: usize,
    line_start: usize,
    scanned: usize,
    lines: usize,
    empty_lines: u32,
}

impl HeadScan {
    /// True if nothing was looked at yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    /// Looks at what has been added to `buf` since the last call.
    pub(crate) fn scan(&mut self, buf: &[u8], limits: &HeadLimits) -> Scanned {
        while let Some(offset) = buf
            .get(self.scanned..)
            .and_then(|rest| memchr::memchr(b'\n', rest))
        {
            let newline = self.scanned + offset;
            if newline == self.line_start || buf[newline - 1] != b'\r' {
                return Scanned::Refused(ScanError::BareLf);
            }
            let length = newline - 1 - self.line_start;
            self.scanned = newline + 1;
            if length == 0 && self.lines > 0 {
                return match self.scanned - self.start > limits.bytes {
                    true => Scanned::Refused(ScanError::TooLarge),
                    false => Scanned::Complete {
                        start: self.start,
                        end: self.scanned,
                    },
                };
            }
            let line = &buf[self.line_start..newline - 1];
            if self.lines == 0 && line.first().is_some_and(|first| !first.is_ascii_graphic()) {
                return Scanned::Refused(ScanError::NotHttp);
            }
            if let Some(error) = self.line(length, limits) {
                return Scanned::Refused(error);
            }
            if self.lines == 1 && self.line_start == self.start && !names_version(line) {
                return Scanned::Refused(ScanError::NotHttp);
            }
            self.line_start = self.scanned;
        }
        self.scanned = buf.len();
        self.unfinished(buf, limits)
    }

    fn line(&mut self, length: usize, limits: &HeadLimits) -> Option<ScanError> {
        if length == 0 {
            self.empty_lines += 1;
            self.start = self.scanned;
            return (self.empty_lines > MAX_EMPTY_LINES).then_some(ScanError::NotHttp);
        }
        self.lines += 1;
        if self.lines == 1 && length > limits.first_line {
            return Some(ScanError::FirstLine);
        }
        (self.lines > limits.fields + 1).then_some(ScanError::TooManyFields)
    }

    /// Refuses early what no further byte can mend.
    fn unfinished(&self, buf: &[u8], limits: &HeadLimits) -> Scanned {
        let first = buf.get(self.start).copied();
        if first.is_some_and(|byte| !byte.is_ascii_graphic() && byte != b'\r') {
            return Scanned::Refused(ScanError::NotHttp);
        }
        let length = buf.len() - self.start;
        // A line is as long as what comes before its end, of which the first byte may be here already.
        let line = length - usize::from(buf.ends_with(b"\r"));
        if self.lines == 0 && line > limits.first_line {
            return Scanned::Refused(ScanError::FirstLine);
        }
        if length > limits.bytes {
            return Scanned::Refused(ScanError::TooLarge);
        }
        Scanned::More
    }
}

/// Whether the first line of a request or of an answer says which version it is of. One of HTTP/0.9 does not, and its sender waits for
/// the answer.
fn names_version(line: &[u8]) -> bool {
    let last_word = memchr::memrchr(b' ', line).map(|space| &line[space + 1..]);
    line.starts_with(b"HTTP/") || last_word.is_some_and(|word| word.starts_with(b"HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 60,
        first_line: 20,
        fields: 3,
    };

    fn scan(text: &str) -> Scanned {
        HeadScan::default().scan(text.as_bytes(), &LIMITS)
    }

    #[test]
    fn what_lines_tell() {
        let refused = Scanned::Refused;
        let rows = [
            (
                "GET / HTTP/1.1\r\n\r\n",
                Scanned::Complete { start: 0, end: 18 },
            ),
            (
                "GET / HTTP/1.1\r\na: b\r\n\r\nrest",
                Scanned::Complete { start: 0, end: 24 },
            ),
            (
                "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                Scanned::Complete { start: 4, end: 22 },
            ),
            ("GET / HTTP/1.1\r\n\r", Scanned::More),
            ("\r\nGET / HTTP/1.1\r\n", Scanned::More),
            ("HTTP/1.1 200 OK\r\n", Scanned::More),
            ("GET /\r\n", refused(ScanError::NotHttp)),
            ("\r\nGET /\r\n", refused(ScanError::NotHttp)),
            ("GET / FTP/1.1\r\n", refused(ScanError::NotHttp)),
            ("GET / HTTP/1.1\n\n", refused(ScanError::BareLf)),
            ("GET / HTTP/1.1\r\na: b\n", refused(ScanError::BareLf)),
            ("\nGET / HTTP/1.1\r\n\r\n", refused(ScanError::BareLf)),
            ("GET / HTTP/1.1\r\n\n", refused(ScanError::BareLf)),
            ("\r\n\r\n\r\n\r\n\r\n", refused(ScanError::NotHttp)),
            ("\x16\x03\x01", refused(ScanError::NotHttp)),
            (" GET / HTTP/1.1\r\n\r\n", refused(ScanError::NotHttp)),
            ("GET /123456789012345\r", Scanned::More),
            ("GET /1234567890123456\r", refused(ScanError::FirstLine)),
            ("GET /12345678901234567", refused(ScanError::FirstLine)),
            (
                "GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n",
                refused(ScanError::TooManyFields),
            ),
            (
                "GET / HTTP/1.1\r\na: 23456789012345678901234567890123456789012345678",
                refused(ScanError::TooLarge),
            ),
        ];
        for (text, want) in rows {
            assert_eq!(scan(text), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_pieces_give_what_the_whole_gives(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cut in 0usize..60,
        ) {
            let whole = HeadScan::default().scan(&bytes, &LIMITS);
            let mut pieces = HeadScan::default();
            let cut = cut.min(bytes.len());
            let first = pieces.scan(&bytes[..cut], &LIMITS);
            let last = if first == Scanned::More { pieces.scan(&bytes, &LIMITS) } else { first };
            // A refusal may come earlier, and for another reason, when the bytes come in pieces.
            match (whole, last) {
                (Scanned::Refused(_), Scanned::Refused(_)) => {}
                (whole, last) => prop_assert_eq!(whole, last),
            }
        }
    }
}
