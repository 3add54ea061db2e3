//! One line: keys with values, in JSON or logfmt. Every byte of it is printable ASCII.
//!
//! What strangers send is written as text and escaped the same way in both formats: `"` and `\` with a backslash,
//! everything that is not printable ASCII as `\uXXXX` (beyond the first plane as two of them, as JSON has it), bytes
//! that are no UTF-8 as `\ufffd`.

use std::time::Duration;

use super::AccessLogFormat;
use crate::blocks::{BYTES, Block};
use crate::http::fields::{four_digits, write_number, write_status};

/// Bytes that stand for themselves inside quotes.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ' as usize;
    while byte <= b'~' as usize {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

/// What a field is called, as it stands before its value; made by [`key`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// In JSON, before a number.
    pub(crate) json: &'static str,
    /// In JSON, before a text.
    pub(crate) quoted: &'static str,
    /// In logfmt.
    pub(crate) logfmt: &'static str,
}

/// The [`Key`] of a name: each of its forms is one text, so that it is written in one go.
macro_rules! key {
    ($name:literal) => {
        $crate::access_log::line::Key {
            json: concat!(",\"", $name, "\":"),
            quoted: concat!(",\"", $name, "\":\""),
            logfmt: concat!(" ", $name, "="),
        }
    };
}

pub(crate) use key;

/// A whole field that is always the same; made by [`said`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// In JSON.
    pub(crate) json: &'static str,
    /// In logfmt.
    pub(crate) logfmt: &'static str,
}

/// The [`Said`] of a name and a word, or of a name and what has no quotes in JSON either (`name = value`). Nothing of it is to be
/// escaped.
macro_rules! said {
    ($name:literal, $word:literal) => {
        $crate::access_log::line::Said {
            json: concat!(",\"", $name, "\":\"", $word, "\""),
            logfmt: concat!(" ", $name, "=", $word),
        }
    };
    ($name:literal = $value:literal) => {
        $crate::access_log::line::Said {
            json: concat!(",\"", $name, "\":", $value),
            logfmt: concat!(" ", $name, "=", $value),
        }
    };
}

pub(crate) use said;

/// Fields appended to a line.
#[derive(Debug)]
pub(crate) struct Line<'o> {
    out: &'o mut Vec<u8>,
    format: AccessLogFormat,
}

// Keys are constants: where a method is put in place, each is a few stores.
impl<'o> Line<'o> {
    /// Goes on behind what is there: every field but the first of a line.
    pub(crate) fn new(out: &'o mut Vec<u8>, format: AccessLogFormat) -> Self {
        Self { out, format }
    }

    /// Begins a line with its first field, the time, in which nothing is to be escaped.
    pub(crate) fn begin(&mut self, time: impl FnOnce(&mut Vec<u8>)) {
        match self.format {
            AccessLogFormat::Json => {
                self.out.extend_from_slice(b"{\"time\":\"");
                time(self.out);
                self.out.push(b'"');
            }
            AccessLogFormat::Logfmt => {
                self.out.extend_from_slice(b"time=");
                time(self.out);
            }
        }
    }

    /// Ends the line.
    pub(crate) fn end(&mut self) {
        match self.format {
            AccessLogFormat::Json => self.out.extend_from_slice(b"}\n"),
            AccessLogFormat::Logfmt => self.out.push(b'\n'),
        }
    }

    /// A text, of which at most `limit` bytes are written.
    #[inline(always)]
    pub(crate) fn text(&mut self, key: Key, value: &[u8], limit: usize) {
        let value = &value[..value.len().min(limit)];
        match self.format {
            AccessLogFormat::Json => {
                self.out.extend_from_slice(key.quoted.as_bytes());
                escape(self.out, value);
                self.out.push(b'"');
            }
            AccessLogFormat::Logfmt => {
                self.out.extend_from_slice(key.logfmt.as_bytes());
                write_logfmt(self.out, value);
            }
        }
    }

    /// A word of ours, which holds nothing to be escaped.
    #[inline(always)]
    pub(crate) fn word(&mut self, key: Key, value: &str) {
        debug_assert!(is_bare(value.as_bytes()), "a word needs no quotes: {value}");
        self.made(key, |out| out.extend_from_slice(value.as_bytes()));
    }

    /// A field that is always the same.
    #[inline(always)]
    pub(crate) fn said(&mut self, said: Said) {
        match self.format {
            AccessLogFormat::Json => self.out.extend_from_slice(said.json.as_bytes()),
            AccessLogFormat::Logfmt => self.out.extend_from_slice(said.logfmt.as_bytes()),
        }
    }

    /// A text that `value` writes and that holds nothing to be escaped.
    #[inline(always)]
    pub(crate) fn made(&mut self, key: Key, value: impl FnOnce(&mut Vec<u8>)) {
        let quote = self.format == AccessLogFormat::Json;
        let before = if quote { key.quoted } else { key.logfmt };
        self.out.extend_from_slice(before.as_bytes());
        value(self.out);
        if quote {
            self.out.push(b'"');
        }
    }

    /// Fields that were written to another place in the same format.
    pub(crate) fn raw(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    /// A status.
    #[inline(always)]
    pub(crate) fn status(&mut self, key: Key, value: u16) {
        self.key(key);
        write_status(self.out, value);
    }

    /// A number.
    #[inline(always)]
    pub(crate) fn number(&mut self, key: Key, value: u64) {
        self.key(key);
        write_number(self.out, value);
    }

    /// A length of time in milliseconds, with three digits behind the point.
    #[inline(always)]
    pub(crate) fn millis(&mut self, key: Key, value: Duration) {
        self.key(key);
        write_millis(self.out, value);
    }

    #[inline(always)]
    fn key(&mut self, key: Key) {
        match self.format {
            AccessLogFormat::Json => self.out.extend_from_slice(key.json.as_bytes()),
            AccessLogFormat::Logfmt => self.out.extend_from_slice(key.logfmt.as_bytes()),
        }
    }
}

fn write_millis(out: &mut Vec<u8>, value: Duration) {
    let micros = u64::from(value.subsec_micros());
    let millis = value.as_secs().saturating_mul(1000) + micros / 1000;
    let [_, hundreds, tens, ones] = four_digits(micros % 1000);
    if millis < 10 {
        let ms = b'0' + millis as u8;
        return out.extend_from_slice(&[ms, b'.', hundreds, tens, ones]);
    }
    write_number(out, millis);
    out.extend_from_slice(&[b'.', hundreds, tens, ones]);
}

fn write_logfmt(out: &mut Vec<u8>, value: &[u8]) {
    if is_bare(value) {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    escape(out, value);
    out.push(b'"');
}

/// The last `N` decimal digits of a number, zeros in front.
#[inline]
pub(crate) fn digits<const N: usize>(number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// True if logfmt needs no quotes for it.
fn is_bare(value: &[u8]) -> bool {
    let plain = |byte: &u8| PLAIN[usize::from(*byte)] && !matches!(byte, b' ' | b'=');
    !value.is_empty() && value.iter().all(plain)
}

/// True if nothing of it has to be escaped; false may be wrong.
fn is_plain(value: &[u8]) -> bool {
    // The last bytes overlap those before.
    if let Some(last) = value.last_chunk::<BYTES>() {
        let is_plain = |block: &[u8; BYTES]| Block::of(block).not_of_quotes() == 0;
        return value.as_chunks().0.iter().all(is_plain) && is_plain(last);
    }
    match (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        (Some(first), Some(last)) => is_plain_word(*first) && is_plain_word(*last),
        (_, _) => value.iter().all(|byte| PLAIN[usize::from(*byte)]),
    }
}

/// The same for eight bytes at once: each test sets the highest bit of a byte that fails, and perhaps of others then.
fn is_plain_word(word: [u8; 8]) -> bool {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let has = |byte: u8, word: u64| {
        let gone = word ^ each(byte);
        gone.wrapping_sub(each(1)) & !gone
    };
    let word = u64::from_ne_bytes(word);
    let odd = word
        | word.wrapping_add(each(1))
        | word.wrapping_sub(each(b' '))
        | has(b'"', word)
        | has(b'\\', word);
    odd & each(0x80) == 0
}

fn escape(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        return out.extend_from_slice(value);
    }
    let mut rest = value;
    loop {
        let odd = rest.iter().position(|byte| !PLAIN[usize::from(*byte)]);
        let (run, odd) = rest.split_at(odd.unwrap_or(rest.len()));
        out.extend_from_slice(run);
        match odd.first() {
            None => return,
            Some(byte @ (b'"' | b'\\')) => {
                out.extend_from_slice(&[b'\\', *byte]);
                rest = &odd[1..];
            }
            Some(_) => rest = escape_char(out, odd),
        }
    }
}

/// Escapes the first character; what comes after it.
fn escape_char<'v>(out: &mut Vec<u8>, value: &'v [u8]) -> &'v [u8] {
    const LONGEST: usize = 4;
    let begin = &value[..value.len().min(LONGEST)];
    let chunk = begin.utf8_chunks().next();
    let first = chunk
        .as_ref()
        .and_then(|chunk| chunk.valid().chars().next());
    let length = match (first, &chunk) {
        (Some(first), _) => first.len_utf8(),
        (None, Some(chunk)) => chunk.invalid().len(),
        (None, None) => 1,
    };
    let mut units = [0; 2];
    let first = first.unwrap_or(char::REPLACEMENT_CHARACTER);
    for unit in first.encode_utf16(&mut units) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            let digit = char::from_digit(u32::from(*unit >> shift & 0xf), 16);
            out.push(digit.map_or(b'0', |digit| digit as u8));
        }
    }
    &value[length..]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(format: AccessLogFormat, value: &[u8]) -> String {
        let mut out = Vec::new();
        Line::new(&mut out, format).text(key!("k"), value, 100);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_value_becomes() {
        let rows: [(&[u8], &str, &str); 9] = [
            (b"plain", ",\"k\":\"plain\"", " k=plain"),
            (b"two words", ",\"k\":\"two words\"", " k=\"two words\""),
            (b"a=b", ",\"k\":\"a=b\"", " k=\"a=b\""),
            (b"", ",\"k\":\"\"", " k=\"\""),
            (b"a\"b\\", ",\"k\":\"a\\\"b\\\\\"", " k=\"a\\\"b\\\\\""),
            (b"a\nb", ",\"k\":\"a\\u000ab\"", " k=\"a\\u000ab\""),
            (
                "\u{9b}é".as_bytes(),
                ",\"k\":\"\\u009b\\u00e9\"",
                " k=\"\\u009b\\u00e9\"",
            ),
            (
                "😀".as_bytes(),
                ",\"k\":\"\\ud83d\\ude00\"",
                " k=\"\\ud83d\\ude00\"",
            ),
            (
                b"\xff\xe2\x82x",
                ",\"k\":\"\\ufffd\\ufffdx\"",
                " k=\"\\ufffd\\ufffdx\"",
            ),
        ];
        for (value, json, logfmt) in rows {
            assert_eq!(written(AccessLogFormat::Json, value), json);
            assert_eq!(written(AccessLogFormat::Logfmt, value), logfmt);
        }
    }

    #[test]
    fn plain_is_what_stands_for_itself() {
        for byte in 0..=u8::MAX {
            for length in [1, 7, 8, 11, 16, 37] {
                for place in 0..length {
                    let mut value = *b"abc ~}|{zyx!#$%&'()*+,-./09:;<=>?@AZ[";
                    value[place] = byte;
                    assert_eq!(
                        is_plain(&value[..length]),
                        PLAIN[usize::from(byte)],
                        "{byte} at {place} of {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_text_is_cut_at_its_limit() {
        assert_eq!(
            written(AccessLogFormat::Logfmt, &[b'a'; 200]).len(),
            3 + 100
        );
    }

    #[test]
    fn numbers_and_times() {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, AccessLogFormat::Json);
        line.begin(|out| out.extend_from_slice(b"now"));
        line.number(key!("n"), 42);
        line.status(key!("status"), 200);
        line.status(key!("odd"), 1_099);
        line.millis(key!("short"), Duration::from_nanos(7_999));
        line.millis(key!("some"), Duration::from_micros(9_999));
        line.millis(key!("more"), Duration::from_micros(10_010));
        line.millis(key!("long"), Duration::from_millis(12_345));
        line.word(key!("cause"), "ok");
        line.said(said!("proto", "HTTP/2"));
        line.said(said!("reused" = "true"));
        line.end();
        let want = concat!(
            "{\"time\":\"now\",\"n\":42,\"status\":200,\"odd\":1099,",
            "\"short\":0.007,\"some\":9.999,\"more\":10.010,\"long\":12345.000,",
            "\"cause\":\"ok\",\"proto\":\"HTTP/2\",\"reused\":true}\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    proptest! {
        /// Whatever is sent: one line, printable, and the fields behind it stay what they are.
        #[test]
        fn no_value_forges_anything(value in proptest::collection::vec(any::<u8>(), 0..60), json in any::<bool>()) {
            let format = if json { AccessLogFormat::Json } else { AccessLogFormat::Logfmt };
            let mut text = written(format, &value);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
            let inner = if json { text.split_off(",\"k\":".len()) } else { text.split_off(" k=".len()) };
            match inner.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
                Some(quoted) => {
                    let mut escaped = false;
                    for byte in quoted.bytes() {
                        prop_assert!(escaped || byte != b'"', "{inner}");
                        escaped = !escaped && byte == b'\\';
                    }
                    prop_assert!(!escaped, "{inner}");
                }
                None => prop_assert!(!json && is_bare(inner.as_bytes()), "{inner}"),
            }
        }
    }
}
