//! Writes header blocks (RFC 7541 §6): by the table everybody has, and in plain bytes beyond it.
//!
//! It fills no table. So it has no state, the peer needs no memory for it, what is secret is in no table that a guess could be
//! compared with (§7.1), and nothing is looked for twice.

use crate::http2::hpack::table::STATIC;

/// The largest number of a byte with four bits for it, minus one.
const FOUR_BITS: usize = 15;
/// The same of seven bits.
const SEVEN_BITS: usize = 127;

/// A literal that no table keeps (§6.2.2).
const WITHOUT_INDEXING: u8 = 0x00;
/// A literal that nobody on the way may keep in a table (§6.2.3).
const NEVER_INDEXED: u8 = 0x10;
/// A field of the table (§6.1).
const INDEXED: u8 = 0x80;
/// A table of size 0 (§6.3).
const NO_TABLE: u8 = 0x20;

/// Number of `:status` with a value that is not in the table.
const STATUS: usize = 8;

/// Says that no table is filled; goes before the first block, so that a peer that allows a smaller one later is content
/// (§4.2).
pub(crate) fn write_no_table(out: &mut Vec<u8>) {
    out.push(NO_TABLE);
}

/// Appends the status of an answer.
pub(crate) fn write_status(out: &mut Vec<u8>, status: [u8; 3]) {
    let known = match &status {
        b"200" => 8,
        b"204" => 9,
        b"206" => 10,
        b"304" => 11,
        b"400" => 12,
        b"404" => 13,
        b"500" => 14,
        _ => {
            out.push(WITHOUT_INDEXING | STATUS as u8);
            return write_text(out, &status);
        }
    };
    out.push(INDEXED | known);
}

/// Appends a field; its name is made lower case (RFC 9113 §8.2).
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let number = number_of(name);
    let form = match number {
        Some(AUTHORIZATION | COOKIE | PROXY_AUTHORIZATION | SET_COOKIE) => NEVER_INDEXED,
        Some(_) | None => WITHOUT_INDEXING,
    };
    match number {
        Some(number) => write_number(out, form, FOUR_BITS, number),
        None => {
            out.push(form);
            write_number(out, 0, SEVEN_BITS, name.len());
            let at = out.len();
            out.extend_from_slice(name);
            out[at..].make_ascii_lowercase();
        }
    }
    write_text(out, value);
}

const AUTHORIZATION: usize = 23;
const COOKIE: usize = 32;
const PROXY_AUTHORIZATION: usize = 49;
const SET_COOKIE: usize = 55;

/// The number of a name in the table, which it has in any case. Names of requests alone are left out.
fn number_of(name: &[u8]) -> Option<usize> {
    let candidates: &[u8] = match name.len() {
        3 => &[21],
        4 => &[33, 34, 45, 59],
        5 => &[22],
        6 => &[32, 54],
        7 => &[36, 52],
        8 => &[46],
        10 => &[55],
        11 => &[53],
        12 => &[31],
        13 => &[18, 23, 24, 30, 44],
        14 => &[28],
        16 => &[26, 27, 29, 61],
        18 => &[48],
        19 => &[25, 49],
        25 => &[56],
        27 => &[20],
        _ => &[],
    };
    let mut candidates = candidates.iter().map(|number| usize::from(*number));
    candidates.find(|number| STATIC[number - 1].0.as_bytes().eq_ignore_ascii_case(name))
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_number(out, 0, SEVEN_BITS, text.len());
    out.extend_from_slice(text);
}

/// Appends a number in the bits of `most`, those above them being `form` (§5.1).
fn write_number(out: &mut Vec<u8>, form: u8, most: usize, number: usize) {
    if number < most {
        return out.push(form | number as u8);
    }
    out.push(form | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_numbers() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let of_answers = !name.starts_with(':');
            if let Some(number) = number_of(name.as_bytes()) {
                assert!(of_answers && number == at + 1, "{name}");
            }
        }
        for (name, number) in [
            (&b"Content-Length"[..], 28),
            (b"set-cookie", SET_COOKIE),
            (b"DATE", 33),
            (b"www-authenticate", 61),
            (b"access-control-allow-origin", 20),
            (b"strict-transport-security", 56),
        ] {
            assert_eq!(number_of(name), Some(number));
        }
        assert_eq!((number_of(b"x-a"), number_of(b"")), (None, None));
    }

    #[test]
    fn fields_as_they_are_written() {
        let mut out = Vec::new();
        write_status(&mut out, *b"200");
        write_status(&mut out, *b"302");
        write_field(&mut out, b"Age", b"7");
        write_field(&mut out, b"X-A", b"1");
        write_field(&mut out, b"Set-Cookie", b"a");
        assert_eq!(
            out,
            b"\x88\x08\x03302\x0f\x06\x017\x00\x03x-a\x011\x1f\x28\x01a"
        );
    }

    #[test]
    fn numbers_of_any_size() {
        for (number, bytes) in [
            (0, &[0x00][..]),
            (126, &[126]),
            (127, &[127, 0]),
            (254, &[127, 127]),
            (255, &[127, 0x80, 1]),
            (1337, &[127, 0xba, 0x09]),
        ] {
            let mut out = Vec::new();
            write_number(&mut out, 0, SEVEN_BITS, number);
            assert_eq!(out, bytes, "{number}");
        }
    }
}
