//! Looks at sixteen bytes at once: where the first one is that does not belong to a class.

use wide::u8x16;

/// Bytes looked at together.
pub(crate) const BYTES: usize = 16;

/// Sixteen bytes of a text. Each of the methods gives a bit to every byte that is odd, the first byte the lowest one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block(u8x16);

/// Place of the first byte that is odd by one of the methods of [`Block`]; the end of the text if none is.
#[inline(always)]
pub(crate) fn find_first(text: &[u8], odd: impl Fn(Block) -> u32) -> usize {
    let mut rest = text;
    while let Some((whole, behind)) = rest.split_first_chunk() {
        let found = odd(Block::of(whole));
        if found != 0 {
            return text.len() - rest.len() + found.trailing_zeros() as usize;
        }
        rest = behind;
    }
    text.len() - rest.len() + find_in_few(rest, odd)
}

/// The same for a text of less than [`BYTES`].
#[inline(never)]
fn find_in_few(text: &[u8], odd: impl Fn(Block) -> u32) -> usize {
    let mut bytes = [0; BYTES];
    bytes[..text.len()].copy_from_slice(text);
    let found = odd(Block::of(&bytes)).trailing_zeros() as usize;
    text.len().min(found)
}

/// The same from `from` on.
#[inline]
pub(crate) fn find(text: &[u8], from: usize, odd: impl Fn(Block) -> u32) -> usize {
    from + find_first(text.get(from..).unwrap_or_default(), odd)
}

fn all(byte: u8) -> u8x16 {
    u8x16::splat(byte)
}

fn is(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(all(byte))
}

/// Those of `count` bytes from `first` on.
fn among(bytes: u8x16, first: u8, count: u8) -> u8x16 {
    let moved = bytes - all(first);
    moved.min(all(count - 1)).simd_eq(moved)
}

fn others(bytes: u8x16) -> u32 {
    bytes.to_bitmask() ^ 0xffff
}

impl Block {
    /// These bytes.
    #[inline]
    pub(crate) fn of(bytes: &[u8; BYTES]) -> Block {
        Block(u8x16::new(*bytes))
    }

    /// Control characters, the tab among them.
    #[inline]
    pub(crate) fn controls(self) -> u32 {
        (among(self.0, 0, 0x20) | is(self.0, 0x7f)).to_bitmask()
    }

    /// All but letters, digits and `-`.
    #[inline]
    pub(crate) fn not_of_names(self) -> u32 {
        let letters = among(self.0 | all(0x20), b'a', 26);
        others(letters | among(self.0, b'0', 10) | is(self.0, b'-'))
    }

    /// All but letters, digits, `-`, `.` and `:`: what there is in nearly every host with its port.
    #[inline]
    pub(crate) fn not_of_hosts(self) -> u32 {
        let letters = among(self.0 | all(0x20), b'a', 26);
        // The colon is behind the digits.
        let others_known = among(self.0, b'0', 11) | among(self.0, b'-', 2);
        others(letters | others_known)
    }

    /// All but what can be seen of ASCII, and `#`.
    #[inline]
    pub(crate) fn not_of_targets(self) -> u32 {
        let seen = among(self.0, b'!', b'~' - b' ');
        others(seen) | is(self.0, b'#').to_bitmask()
    }

    /// What does not stand for itself between quotes: all but ASCII that is printed, and `"` and `\`.
    #[inline]
    pub(crate) fn not_of_quotes(self) -> u32 {
        let printed = among(self.0, b' ', b'~' - b' ' + 1);
        others(printed) | (is(self.0, b'"') | is(self.0, b'\\')).to_bitmask()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes a byte odd, by a method and in words.
    type Class = (fn(Block) -> u32, fn(u8) -> bool);

    const CLASSES: [Class; 5] = [
        (Block::not_of_hosts, |byte| {
            !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'.' | b':')
        }),
        (Block::controls, |byte| byte.is_ascii_control()),
        (Block::not_of_names, |byte| {
            !byte.is_ascii_alphanumeric() && byte != b'-'
        }),
        (Block::not_of_targets, |byte| {
            !byte.is_ascii_graphic() || byte == b'#'
        }),
        (Block::not_of_quotes, |byte| {
            !(byte.is_ascii_graphic() || byte == b' ') || matches!(byte, b'"' | b'\\')
        }),
    ];

    #[test]
    fn every_byte_at_every_place() {
        for (odd, is_odd) in CLASSES {
            for byte in 0..=u8::MAX {
                for place in 0..40 {
                    let mut text = [b'a'; 40];
                    text[place] = byte;
                    let expected = if is_odd(byte) { place } else { 40 };
                    assert_eq!(find(&text, 0, odd), expected, "{byte} at {place}");
                }
            }
        }
    }

    #[test]
    fn a_search_begins_where_it_is_told_to_and_finds_the_first() {
        let text = b"ab:cdefghijklmnopqrstuvwxyz:0:";
        assert_eq!(find(text, 0, Block::not_of_names), 2);
        assert_eq!(find(text, 3, Block::not_of_names), 27);
        assert_eq!(find(text, 28, Block::not_of_names), 29);
        assert_eq!(find(text, 30, Block::not_of_names), 30);
        assert_eq!(find(text, 99, Block::not_of_names), 99);
    }
}
