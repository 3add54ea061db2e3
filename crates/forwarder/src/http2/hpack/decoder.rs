//! Reads header blocks (RFC 7541 §3.2, §6).

use crate::http2::hpack::huffman;
use crate::http2::hpack::table::{Entry, Table, size_of};

/// What the table of a peer that writes to us may count for, as it is without being told (RFC 9113 §6.5.2).
const TABLE_BYTES: usize = 4096;
/// Changes of the table's size at the beginning of one block: smaller, then larger again (§4.2).
const MAX_RESIZES: u32 = 2;
/// Larger than any number that means something.
const MAX_NUMBER: usize = 1 << 24;
/// Memory that is kept from one block to the next, for each of name and value.
const KEPT_BYTES: usize = 1024;

/// A block that cannot be read: the state of the connection is lost with it (COMPRESSION_ERROR).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable;

impl From<huffman::Unreadable> for Unreadable {
    fn from(_: huffman::Unreadable) -> Self {
        Self
    }
}

/// What was read of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Read {
    /// All of it.
    Whole,
    /// A part of it: the list is larger than allowed.
    TooLarge,
}

/// The reader of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// Texts that were decoded.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Before the first block.
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads a whole block, and hands over its fields in order, until they are larger than `limit` together (RFC 9113
    /// §10.5.1). The table is right after that all the same.
    pub(crate) fn read(
        &mut self,
        block: &[u8],
        limit: usize,
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<Read, Unreadable> {
        let mut bytes = Bytes(block);
        let (mut size, mut resizes) = (0, 0);
        let mut begun = false;
        while let Some(first) = bytes.0.first().copied() {
            if first & 0xe0 == 0x20 {
                let max_size = bytes.number(5)?;
                resizes += 1;
                if begun || resizes > MAX_RESIZES || max_size > TABLE_BYTES {
                    return Err(Unreadable);
                }
                self.table.resize(max_size);
                continue;
            }
            begun = true;
            let mut hand_over = |entry: Entry<'_>| {
                size += size_of(entry);
                if size <= limit {
                    field(entry.0, entry.1);
                }
            };
            if first & 0x80 != 0 {
                let number = bytes.number(7)?;
                hand_over(self.table.find(number).ok_or(Unreadable)?);
            } else {
                self.literal(&mut bytes, first, hand_over)?;
            }
        }
        self.rest();
        Ok(if size <= limit {
            Read::Whole
        } else {
            Read::TooLarge
        })
    }

    /// Reads a field that is not in the tables, or of which the name alone is (§6.2).
    fn literal(
        &mut self,
        bytes: &mut Bytes<'_>,
        first: u8,
        hand_over: impl FnOnce(Entry<'_>),
    ) -> Result<(), Unreadable> {
        let indexed = first & 0x40 != 0;
        let number = bytes.number(if indexed { 6 } else { 4 })?;
        let Self { table, name, value } = self;
        let (known, written) = match number {
            0 => (None, bytes.text(name)?),
            _ => (Some(table.find(number).ok_or(Unreadable)?.0), None),
        };
        let plain = bytes.text(value)?;
        let field_value = plain.unwrap_or(value);
        if let Some(known) = known {
            hand_over((known, field_value));
            if indexed {
                // It may stand in the entry that has to make room.
                name.clear();
                name.extend_from_slice(known);
                table.insert((name, field_value));
            }
        } else {
            let field = (written.unwrap_or(name), field_value);
            hand_over(field);
            if indexed {
                table.insert(field);
            }
        }
        Ok(())
    }

    /// Between blocks little is kept.
    fn rest(&mut self) {
        for text in [&mut self.name, &mut self.value] {
            if text.capacity() > KEPT_BYTES {
                *text = Vec::new();
            }
        }
    }
}

/// What is left of a block.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn byte(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*first)
    }

    /// A number that begins in the last bits of a byte (§5.1).
    fn number(&mut self, bits: u32) -> Result<usize, Unreadable> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.byte()?) & most;
        if number < most {
            return Ok(number);
        }
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << shift;
            if number > MAX_NUMBER || shift > 21 {
                return Err(Unreadable);
            }
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    /// A text (§5.2): as it stands, or decoded in `room`, if it is in the code of Huffman.
    fn text(&mut self, room: &mut Vec<u8>) -> Result<Option<&'b [u8]>, Unreadable> {
        let coded = self.0.first().ok_or(Unreadable)? & 0x80 != 0;
        let length = self.number(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        if !coded {
            return Ok(Some(text));
        }
        room.clear();
        huffman::decode(text, room)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
