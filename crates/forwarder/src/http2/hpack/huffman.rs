//! The code of RFC 7541 appendix B: short for what is frequent in heads, up to 30 bits for the rest.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and a longer one is larger than
//! all shorter ones. So the lengths say everything, and the tables are made of them when this is compiled.

/// Bits of the code of each byte.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
/// Bits of the longest code.
const LONGEST: usize = 30;
/// Codes of up to so many bits are looked up in one step.
const SHORT: u32 = 10;
/// Padding is shorter than this.
const MAX_PADDING: u32 = 8;

/// A text that was not written in this code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable;

/// The bytes in the order of their codes.
const ORDER: [u8; 256] = {
    let mut order = [0; 256];
    let mut filled = 0;
    let mut length = 1;
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                order[filled] = symbol as u8;
                filled += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    order
};

/// Codes of one length: the first of them, how many there are, where their bytes begin in [`ORDER`].
#[derive(Clone, Copy)]
struct Run {
    first: u32,
    count: u32,
    at: u32,
}

const RUNS: [Run; LONGEST + 1] = {
    let mut runs = [Run {
        first: 0,
        count: 0,
        at: 0,
    }; LONGEST + 1];
    let (mut code, mut at, mut length) = (0, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        let mut count = 0;
        let mut symbol = 0;
        while symbol < 256 {
            count += (LENGTHS[symbol] as usize == length) as u32;
            symbol += 1;
        }
        runs[length] = Run {
            first: code,
            count,
            at,
        };
        code += count;
        at += count;
        length += 1;
    }
    runs
};

/// By the next ten bits: the byte, and above it the length of its code; 0 if that is longer.
static QUICK: [u16; 1 << SHORT] = {
    let mut quick = [0; 1 << SHORT];
    let mut length = 1;
    while length <= SHORT {
        let run = RUNS[length as usize];
        let mut number = 0;
        while number < run.count {
            let symbol = ORDER[(run.at + number) as usize] as u16;
            let begin = (run.first + number) << (SHORT - length);
            let mut rest = 0;
            while rest < 1 << (SHORT - length) {
                quick[(begin + rest) as usize] = symbol | (length as u16) << 8;
                rest += 1;
            }
            number += 1;
        }
        length += 1;
    }
    quick
};

/// Appends the text that was written as `code`.
pub(crate) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    // The next bits are the highest.
    let (mut bits, mut have) = (0u64, 0u32);
    let mut rest = code;
    loop {
        while have <= 56
            && let Some((byte, after)) = rest.split_first()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
            rest = after;
        }
        let (byte, length) = match QUICK[(bits >> (64 - SHORT)) as usize] {
            0 => match long(bits) {
                Some(found) => found,
                // The end of the text, or a code that is none.
                None => break,
            },
            entry => (entry.to_le_bytes()[0], u32::from(entry >> 8)),
        };
        if length > have {
            break;
        }
        out.push(byte);
        bits <<= length;
        have -= length;
    }
    // What is left is the beginning of the one code that no byte has: ones alone (§5.2).
    let is_padding = rest.is_empty() && have < MAX_PADDING && bits.leading_ones() >= have;
    is_padding.then_some(()).ok_or(Unreadable)
}

/// The byte whose code these bits begin with, that code being a long one.
fn long(bits: u64) -> Option<(u8, u32)> {
    (SHORT + 1..=LONGEST as u32).find_map(|length| {
        let run = RUNS[length as usize];
        let number = ((bits >> (64 - length)) as u32).checked_sub(run.first)?;
        (number < run.count).then(|| (ORDER[(run.at + number) as usize], length))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The code of a byte, and its length.
    fn code_of(byte: u8) -> (u64, u32) {
        let at = ORDER.iter().position(|other| *other == byte).unwrap() as u32;
        let length = u32::from(LENGTHS[usize::from(byte)]);
        let run = RUNS[length as usize];
        (u64::from(run.first + at - run.at), length)
    }

    pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let (code, length) = code_of(*byte);
            bits.extend((0..length).rev().map(|at| code >> at & 1));
        }
        bits.resize(bits.len().next_multiple_of(8), 1);
        let byte = |bits: &[u64]| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8);
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn examples_of_the_rfc() {
        for (code, text) in [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
        ] {
            let mut out = Vec::new();
            assert_eq!(decode(code, &mut out), Ok(()));
            assert_eq!(out, text.as_bytes());
            assert_eq!(encode(text.as_bytes()), code);
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for code in [
            // Padding of eight bits, of zeros, the code that no byte has, the end inside a code.
            &[0x07, 0xff][..],
            &[0x00],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff],
            &[0x1f, 0xff, 0xff, 0xff, 0xfc],
            &[0xff, 0xfe],
        ] {
            assert_eq!(decode(code, &mut Vec::new()), Err(Unreadable), "{code:x?}");
        }
        assert_eq!(decode(&[], &mut Vec::new()), Ok(()));
    }

    #[test]
    fn every_byte_has_a_code_of_its_own() {
        for byte in 0..=255 {
            let mut out = Vec::new();
            decode(&encode(&[byte; 3]), &mut out).unwrap();
            assert_eq!(out, [byte; 3]);
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(text: Vec<u8>) {
            let mut out = Vec::new();
            prop_assert_eq!(decode(&encode(&text), &mut out), Ok(()));
            prop_assert_eq!(out, text);
        }

        #[test]
        fn what_is_read_was_written_so(code: Vec<u8>) {
            let mut out = Vec::new();
            if decode(&code, &mut out).is_ok() {
                prop_assert_eq!(encode(&out), code);
            }
        }
    }
}
