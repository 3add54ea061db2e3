//! The two tables of RFC 7541: one that everybody has (appendix A), one that the fields of a connection fill (§2.3.2).

use std::collections::VecDeque;

/// What an entry counts for beside its bytes (§4.1).
const ENTRY_BYTES: usize = 32;

/// A field: name and value.
pub(crate) type Entry<'a> = (&'a [u8], &'a [u8]);

/// The fields everybody knows, the first being number 1.
#[rustfmt::skip]
pub(crate) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// The fields of a connection, the last to come being the first.
#[derive(Debug)]
pub(crate) struct Table {
    /// Names and values of the entries, one after the other; before them, those of entries that are gone.
    bytes: Vec<u8>,
    /// The oldest first.
    entries: VecDeque<Place>,
    /// What the entries count for.
    size: usize,
    /// What they may count for.
    max_size: usize,
}

/// Where an entry stands in the bytes.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    name: usize,
    value: usize,
}

impl Place {
    fn size(self) -> usize {
        self.name + self.value + ENTRY_BYTES
    }
}

/// What a field counts for, in a table and in a list.
pub(crate) fn size_of((name, value): Entry<'_>) -> usize {
    name.len() + value.len() + ENTRY_BYTES
}

impl Table {
    /// An empty one that may grow to this size.
    pub(crate) fn new(max_size: usize) -> Self {
        Self {
            bytes: Vec::new(),
            entries: VecDeque::new(),
            size: 0,
            max_size,
        }
    }

    /// The entry of this number, from 1 on through both tables.
    pub(crate) fn find(&self, number: usize) -> Option<Entry<'_>> {
        let number = number.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(number) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let behind = number - STATIC.len();
        let at = self.entries.len().checked_sub(behind + 1)?;
        let place = *self.entries.get(at)?;
        let (name, rest) = self.bytes[place.start..].split_at(place.name);
        Some((name, &rest[..place.value]))
    }

    /// Changes what the entries may count for.
    pub(crate) fn resize(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.make_room(0);
        if self.entries.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Adds a field, for which the oldest make room; one that is too large leaves nothing (§4.4).
    pub(crate) fn insert(&mut self, field: Entry<'_>) {
        let needed = size_of(field);
        self.make_room(needed);
        if needed > self.max_size {
            return;
        }
        // What is gone takes no more room than what may be there.
        if self.bytes.len() > 2 * self.max_size {
            self.compact();
        }
        let (name, value) = field;
        self.entries.push_back(Place {
            start: self.bytes.len(),
            name: name.len(),
            value: value.len(),
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.size += needed;
    }

    fn make_room(&mut self, needed: usize) {
        while self.size + needed > self.max_size
            && let Some(oldest) = self.entries.pop_front()
        {
            self.size -= oldest.size();
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    fn compact(&mut self) {
        let gone = self
            .entries
            .front()
            .map_or(self.bytes.len(), |place| place.start);
        self.bytes.drain(..gone);
        self.entries
            .iter_mut()
            .for_each(|place| place.start -= gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_come_is_the_first() {
        let mut table = Table::new(4096);
        assert_eq!(table.find(0), None);
        assert_eq!(table.find(61), Some((&b"www-authenticate"[..], &b""[..])));
        assert_eq!(table.find(62), None);
        table.insert((b"a", b"1"));
        table.insert((b"b", b"2"));
        assert_eq!(table.find(62), Some((&b"b"[..], &b"2"[..])));
        assert_eq!(table.find(63), Some((&b"a"[..], &b"1"[..])));
        assert_eq!(table.find(64), None);
        assert_eq!(table.find(usize::MAX), None);
    }

    #[test]
    fn the_oldest_make_room_and_what_is_too_large_leaves_nothing() {
        let mut table = Table::new(2 * (ENTRY_BYTES + 2));
        for byte in b'a'..=b'z' {
            table.insert((&[byte], b"1"));
        }
        assert_eq!(table.find(62), Some((&b"z"[..], &b"1"[..])));
        assert_eq!(table.find(63), Some((&b"y"[..], &b"1"[..])));
        assert_eq!(table.find(64), None);
        table.resize(ENTRY_BYTES + 2);
        assert_eq!((table.find(62).is_some(), table.find(63)), (true, None));
        table.insert((b"name", b"value"));
        assert_eq!((table.find(62), table.size), (None, 0));
    }

    #[test]
    fn it_takes_no_more_memory_than_it_may() {
        let mut table = Table::new(4096);
        for number in 0..10_000u32 {
            table.insert((&number.to_be_bytes(), &[b'x'; 100]));
            assert_eq!(
                table.find(62).map(|(name, _)| name),
                Some(&number.to_be_bytes()[..])
            );
            assert!(table.size <= 4096 && table.bytes.capacity() <= 5 * 4096);
        }
    }
}
