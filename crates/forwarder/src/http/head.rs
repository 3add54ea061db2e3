//! Takes a head apart: its first line, and where its fields stand.
//!
//! Nearly every head is as it should be, written as everybody writes it, and whole when it is first seen. Such a one is
//! gone through once, many bytes at a time ([`of_request`], [`of_response`]). Whatever is odd about a head, right or wrong, is
//! left to [`crate::http::scan`] and to `httparse`, which know everything that may be accepted, and what is wrong.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use crate::blocks::{self, Block};
use crate::http::fields::Field;
use crate::http::scan::HeadLimits;

/// Fields of a head that are looked at, whatever the limit configured.
pub(crate) const MAX_FIELDS: usize = 256;

/// Where a field stands in its head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// What it is called.
    pub(crate) field: Field,
    /// It stands there as we would write it: `name: value` and a line end.
    pub(crate) neat: bool,
    /// Where its name begins, and its line.
    pub(crate) name: u32,
    colon: u32,
    value: u32,
    /// Where its value ends.
    pub(crate) end: u32,
}

impl Place {
    /// How long its name is.
    #[inline]
    fn name_bytes(&self) -> usize {
        (self.colon - self.name) as usize
    }

    /// The place of a field that somebody else has found, by where its parts are in memory.
    pub(crate) fn found(head: &[u8], name: &[u8], value: &[u8]) -> Place {
        let start = |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        let (name_at, value_at) = (start(name), start(value));
        let (colon, end) = (name_at + name.len(), value_at + value.len());
        let neat = head.get(colon..value_at) == Some(b": ")
            && head.get(end..).is_some_and(|rest| rest.starts_with(CRLF));
        Place {
            field: Field::of(name),
            neat,
            name: name_at as u32,
            colon: colon as u32,
            value: value_at as u32,
            end: end as u32,
        }
    }
}

/// A field of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'b> {
    /// Its name, as it is written; a token.
    pub(crate) name: &'b [u8],
    /// Its value, white space around it left out.
    pub(crate) value: &'b [u8],
    /// Where it stands.
    pub(crate) place: Place,
}

impl<'b> Header<'b> {
    /// True if it is called so, in any case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Its name as text.
    pub(crate) fn name(&self) -> &'b str {
        // A token is ASCII.
        std::str::from_utf8(self.name).unwrap_or_default()
    }
}

/// The fields of a head, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldLines<'h, 'b> {
    head: &'b [u8],
    places: &'h [Place],
}

impl<'h, 'b> FieldLines<'h, 'b> {
    /// Those of `head` that stand at `places`.
    pub(crate) fn new(head: &'b [u8], places: &'h [Place]) -> Self {
        Self { head, places }
    }

    /// Where they stand.
    #[inline]
    pub(crate) fn places(&self) -> &'h [Place] {
        self.places
    }

    /// The one at a place.
    #[inline]
    pub(crate) fn at(&self, place: &Place) -> Header<'b> {
        let part = |from: u32, to: u32| self.head.get(from as usize..to as usize);
        Header {
            name: part(place.name, place.colon).unwrap_or_default(),
            value: part(place.value, place.end).unwrap_or_default(),
            place: *place,
        }
    }

    /// True if the one at a place is called so, in any case.
    #[inline]
    pub(crate) fn is(&self, place: &Place, name: &str) -> bool {
        // The length rules out nearly all others.
        place.name_bytes() == name.len() && self.at(place).is(name)
    }

    /// Those that are called so, in any case.
    #[inline]
    pub(crate) fn named(
        self,
        name: &str,
    ) -> impl DoubleEndedIterator<Item = Header<'b>> + use<'h, 'b, '_> {
        let places = self.places.iter();
        let named = places.filter(move |place| self.is(place, name));
        named.map(move |place| self.at(place))
    }

    /// The head they are of.
    pub(crate) fn head(&self) -> &'b [u8] {
        self.head
    }

    /// One after the other.
    #[inline]
    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = Header<'b>> + use<'h, 'b> {
        self.places.iter().map(move |place| self.at(place))
    }
}

/// Room for the places of the fields of one head, which a thread uses again.
#[derive(Debug)]
pub(crate) struct FieldRoom(Vec<Place>);

thread_local! {
    static ROOM: Cell<Vec<Place>> = const { Cell::new(Vec::new()) };
}

impl FieldRoom {
    /// The room of this thread, or another if that is in use.
    pub(crate) fn lend() -> FieldRoom {
        FieldRoom(ROOM.take())
    }
}

impl Drop for FieldRoom {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.0);
        // The room is gone while the thread ends.
        let _ = ROOM.try_with(|spare| spare.set(room));
    }
}

impl Deref for FieldRoom {
    type Target = Vec<Place>;

    fn deref(&self) -> &Vec<Place> {
        &self.0
    }
}

impl DerefMut for FieldRoom {
    fn deref_mut(&mut self) -> &mut Vec<Place> {
        &mut self.0
    }
}

const CRLF: &[u8] = b"\r\n";

/// The first line of a request, by where its parts end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine {
    method_end: usize,
    target_end: usize,
    /// It says HTTP/1.0.
    pub(crate) http10: bool,
}

impl RequestLine {
    /// The method and the target of the head it is of.
    pub(crate) fn parts<'b>(&self, head: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        let part = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
        let method = part(0, self.method_end);
        (method, part(self.method_end + 1, self.target_end))
    }
}

/// Takes apart the head of a request that stands whole at the start of `text`, with its length. The target has no fragment, and
/// is ASCII. `None` if it is not whole, or something about it is odd.
pub(crate) fn of_request(
    text: &[u8],
    room: &mut FieldRoom,
    limits: &HeadLimits,
) -> Option<(RequestLine, usize)> {
    let method_end = match text.first_chunk()? {
        b"GET " => 3,
        _ => blocks::find(text, 0, Block::not_of_names),
    };
    let target = method_end + 1;
    let target_end = blocks::find(text, target, Block::not_of_targets);
    let http10 = match text.get(target_end..)?.first_chunk()? {
        b" HTTP/1.1\r\n" => false,
        b" HTTP/1.0\r\n" => true,
        _ => return None,
    };
    let line_end = target_end + b" HTTP/1.1".len();
    if method_end == 0
        || text.get(method_end) != Some(&b' ')
        || target_end == target
        || line_end > limits.first_line
    {
        return None;
    }
    let line = RequestLine {
        method_end,
        target_end,
        http10,
    };
    let length = fields(text, line_end + CRLF.len(), room, limits)?;
    Some((line, length))
}

/// The first line of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLine {
    /// The three digits.
    pub(crate) status: u16,
    /// It says HTTP/1.0.
    pub(crate) http10: bool,
    reason_end: usize,
}

impl StatusLine {
    /// The reason, of the head it is of.
    pub(crate) fn reason<'b>(&self, head: &'b [u8]) -> &'b [u8] {
        head.get(REASON_AT..self.reason_end).unwrap_or_default()
    }

    /// How long it is with its end, if it is as we would write it; otherwise 0.
    pub(crate) fn neat_bytes(&self) -> usize {
        match self.http10 {
            true => 0,
            false => self.reason_end + CRLF.len(),
        }
    }
}

/// Where a reason begins: behind the version and the status.
const REASON_AT: usize = b"HTTP/1.1 200 ".len();

/// The same for the head of an answer. Its reason is ASCII.
pub(crate) fn of_response(
    text: &[u8],
    room: &mut FieldRoom,
    limits: &HeadLimits,
) -> Option<(StatusLine, usize)> {
    let [version @ .., hundreds, tens, ones, b' '] = text.first_chunk::<REASON_AT>()? else {
        return None;
    };
    let http10 = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return None,
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let status = digit(hundreds)? * 100 + digit(tens)? * 10 + digit(ones)?;
    let reason_end = blocks::find(text, REASON_AT, Block::controls);
    let reason = text.get(REASON_AT..reason_end)?;
    if !text.get(reason_end..)?.starts_with(CRLF)
        || !reason.is_ascii()
        || reason_end > limits.first_line
    {
        return None;
    }
    let line = StatusLine {
        status,
        http10,
        reason_end,
    };
    let length = fields(text, reason_end + CRLF.len(), room, limits)?;
    Some((line, length))
}

/// Finds the fields from `from` on; where the head ends.
fn fields(text: &[u8], from: usize, room: &mut FieldRoom, limits: &HeadLimits) -> Option<usize> {
    let room = &mut room.0;
    room.clear();
    let most = limits.fields.min(MAX_FIELDS);
    let mut name = from;
    while room.len() < most {
        let rest = text.get(name..)?;
        if rest.first() == Some(&b'\r') {
            break;
        }
        let Some((called, spaces)) = name_of(rest) else {
            break;
        };
        let colon = name + called.len();
        let value = colon + 1 + spaces;
        let line_end = line_end(text, value)?;
        if text.get(line_end..)?.first_chunk() != Some(b"\r\n") {
            return None;
        }
        let end = match text.get(value..line_end)?.last() {
            Some(b' ') => value + text[value..line_end].trim_ascii_end().len(),
            Some(_) | None => line_end,
        };
        room.push(Place {
            field: Field::of_plain(called),
            neat: spaces == 1 && end == line_end,
            name: name as u32,
            colon: colon as u32,
            value: value as u32,
            end: end as u32,
        });
        name = line_end + CRLF.len();
    }
    let end = name + CRLF.len();
    (text.get(name..end)? == CRLF && end <= limits.bytes).then_some(end)
}

/// Where the first control character is from `from` on; `None` if that is not in `text` at all.
#[inline(always)]
fn line_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    // As `blocks::find`, but with less before the first block: most values are short.
    while let Some(block) = text.get(at..)?.first_chunk() {
        let found = Block::of(block).controls();
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += blocks::BYTES;
    }
    Some(blocks::find(text, at, Block::controls))
}

/// The name at the start of a line, and how many spaces there are behind its colon. `None` if there is no name.
#[inline(always)]
fn name_of(line: &[u8]) -> Option<(&[u8], usize)> {
    // Nearly always the name is shorter than a block, and one space is behind its colon.
    if let Some(block) = line.first_chunk::<{ blocks::BYTES }>() {
        let at = Block::of(block).not_of_names().trailing_zeros() as usize;
        if (1..blocks::BYTES).contains(&at)
            && let Some((name, [b':', b' ', first, ..])) = line.split_at_checked(at)
            && *first != b' '
        {
            return Some((name, 1));
        }
    }
    long_name_of(line)
}

/// The same for whatever it may look like.
#[inline(never)]
fn long_name_of(line: &[u8]) -> Option<(&[u8], usize)> {
    let name_bytes = blocks::find(line, 0, Block::not_of_names);
    let (name, behind) = line.split_at_checked(name_bytes)?;
    let value = behind.strip_prefix(b":")?;
    let is_space = |byte: &&u8| **byte == b' ';
    let spaces = value.iter().take_while(is_space).count();
    (!name.is_empty()).then_some((name, spaces))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
