//! One stream as its connection knows it: what has come of its request, how far its answer is, its windows.

use crate::buffers::Buffer;
use crate::http::body::Body;
use crate::http2::answer::Asked;
use crate::http2::head::Upload;

/// What a client may send of a request's body before it was passed on: the window a stream begins with (RFC 9113 §6.9.2).
pub(crate) const STREAM_WINDOW: u32 = 65_535;
/// So much of it is given back at a time.
const GIVEN_BACK: u32 = STREAM_WINDOW / 2;
/// The line before a chunk is not longer than this.
const CHUNK_LINE: usize = 10;

/// How a stream has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The answer was sent whole.
    Served,
    /// The client reset it, broke the rules of it, or is gone.
    Reset,
    /// We reset it: the answer broke off.
    Cut,
    /// The same, the client having left what was whole.
    Left,
}

/// How far an answer is.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its head has yet to come; what has come of it.
    Head(Buffer),
    /// Its body is on the way.
    Body(Body),
    /// Nothing more comes.
    Done,
}

/// A place for a stream.
#[derive(Debug)]
pub(super) struct Slot {
    /// The number of the stream; 0 if there is none.
    pub(super) stream: u32,
    /// How it has ended, if it has.
    pub(super) end: Option<End>,

    /// The head of the request, not read yet.
    pub(super) head: Buffer,
    /// What of its body was not read yet.
    pub(super) body: Buffer,
    /// What goes behind the body: the last chunk with the trailers.
    pub(super) tail: Buffer,
    pub(super) upload: Upload,
    /// What of the body is still to come, if its length was told.
    pub(super) left: Option<u64>,
    /// The client has said all of it.
    pub(super) said: bool,
    /// Who serves it reads to here and no further.
    pub(super) ends_here: bool,
    /// What may still be sent to us.
    pub(super) window: u32,
    /// What was read, and the client does not know of.
    pub(super) unreported: u32,

    pub(super) asked: Asked,
    pub(super) answer: Answer,
    /// What of the answer's body waits for the client.
    pub(super) held: Buffer,
    /// The trailers that go behind it, in lines.
    pub(super) trailers: Vec<u8>,
    /// What may still be sent by us; less than nothing if the client has changed its mind.
    pub(super) send_window: i64,
    /// It is in the line of those that wait for the client.
    pub(super) in_line: bool,
    /// Who serves it has more to say.
    pub(super) has_more: bool,
    /// Who serves it has said that nothing more comes.
    pub(super) shut: bool,
    /// Bytes of the answer's body that were sent.
    pub(super) sent: u64,
}

impl Slot {
    pub(super) fn vacant() -> Self {
        Self {
            stream: 0,
            end: None,
            head: Buffer::default(),
            body: Buffer::default(),
            tail: Buffer::default(),
            upload: Upload::None,
            left: None,
            said: false,
            ends_here: false,
            window: 0,
            unreported: 0,
            asked: Asked::default(),
            answer: Answer::Done,
            held: Buffer::default(),
            trailers: Vec::new(),
            send_window: 0,
            in_line: false,
            has_more: false,
            shut: false,
            sent: 0,
        }
    }

    /// A stream begins whose head was written into this place.
    pub(super) fn begin(&mut self, stream: u32, send_window: i64, whole: bool) {
        debug_assert!(self.stream == 0 && self.held.is_empty() && self.body.is_empty());
        self.stream = stream;
        self.end = None;
        self.said = whole;
        self.ends_here = false;
        self.window = STREAM_WINDOW;
        self.unreported = 0;
        self.answer = Answer::Head(Buffer::default());
        self.send_window = send_window;
        self.has_more = false;
        self.shut = false;
        self.sent = 0;
    }

    /// True if the stream goes on.
    pub(super) fn is_open(&self) -> bool {
        self.stream != 0 && self.end.is_none()
    }

    /// True if there is something of the answer that the client has not taken.
    pub(super) fn waits(&self) -> bool {
        !self.held.is_empty() || self.has_more
    }

    /// True if all of the answer was sent.
    pub(super) fn has_sent(&self) -> bool {
        matches!(self.answer, Answer::Done) && self.held.is_empty() && self.trailers.is_empty()
    }

    /// Nothing of it is wanted any more.
    pub(super) fn forget(&mut self) {
        self.head.release();
        self.body.release();
        self.tail.release();
        self.held.release();
        self.trailers = Vec::new();
        self.answer = Answer::Done;
    }

    /// True if who serves it has read all there was, and may go on.
    pub(super) fn is_at_rest(&self) -> bool {
        let read = self.head.is_empty() && self.body.is_empty() && self.tail.is_empty();
        read && !self.shut && !self.ends_here
    }

    /// Puts what is there into `room`; `None` if nothing is there yet, 0 if nothing more comes. With it, how much of it is body.
    pub(super) fn read(&mut self, room: &mut [u8]) -> Option<(usize, u32)> {
        if !self.head.is_empty() {
            return Some((take(&mut self.head, room), 0));
        }
        if !self.body.is_empty() {
            let body = match self.upload {
                Upload::Chunked => self.read_chunk(room)?,
                Upload::None | Upload::Plain(_) | Upload::Tunnel => {
                    let count = take(&mut self.body, room);
                    (count, count)
                }
            };
            return Some((body.0, body.1 as u32));
        }
        if !self.tail.is_empty() {
            return Some((take(&mut self.tail, room), 0));
        }
        let ended = self.ends_here || self.said && self.upload == Upload::Tunnel;
        ended.then_some((0, 0))
    }

    /// All that is there becomes one chunk, however small the pieces were that it came in.
    fn read_chunk(&mut self, room: &mut [u8]) -> Option<(usize, usize)> {
        let most = room.len().checked_sub(CHUNK_LINE + 2)?;
        let count = self.body.as_slice().len().min(most);
        let mut line = [0; CHUNK_LINE];
        let begin = chunk_line(&mut line, count);
        let line = &line[begin..];
        let (end, after) = (line.len() + count, line.len() + count + 2);
        room[..line.len()].copy_from_slice(line);
        take(&mut self.body, &mut room[line.len()..end]);
        room[end..after].copy_from_slice(b"\r\n");
        Some((after, count))
    }

    /// So much was read: what the client may be told that it can send again, once it is worth it.
    pub(super) fn give_back(&mut self, count: u32) -> Option<u32> {
        self.unreported += count;
        let worth_it = self.unreported >= GIVEN_BACK && !self.said;
        worth_it.then(|| {
            let more = std::mem::take(&mut self.unreported);
            self.window += more;
            more
        })
    }
}

fn take(from: &mut Buffer, room: &mut [u8]) -> usize {
    let count = from.as_slice().len().min(room.len());
    room[..count].copy_from_slice(&from.as_slice()[..count]);
    from.consume(count);
    count
}

/// Writes the line before a chunk at the end of `line`; where it begins.
fn chunk_line(line: &mut [u8; CHUNK_LINE], size: usize) -> usize {
    let mut at = CHUNK_LINE - 2;
    line[at..].copy_from_slice(b"\r\n");
    let mut left = size;
    while left > 0 {
        at -= 1;
        line[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    at
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_one_chunk() {
        let mut slot = Slot::vacant();
        slot.begin(1, 0, false);
        slot.upload = Upload::Chunked;
        for piece in [&b"one "[..], b"", b"and two more "] {
            slot.body.extend(piece);
        }
        slot.tail.extend(b"0\r\n\r\n");
        slot.said = true;
        let mut room = [0; 64];
        let mut read = |slot: &mut Slot| {
            slot.read(&mut room)
                .map(|(count, body)| (room[..count].to_vec(), body))
        };
        assert_eq!(
            read(&mut slot).unwrap(),
            (b"11\r\none and two more \r\n".to_vec(), 17)
        );
        assert_eq!(read(&mut slot).unwrap(), (b"0\r\n\r\n".to_vec(), 0));
        assert_eq!(read(&mut slot), None, "the next request may come");
        slot.ends_here = true;
        assert_eq!(read(&mut slot).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn a_window_is_given_back_by_halves() {
        let mut slot = Slot::vacant();
        slot.begin(1, 0, false);
        slot.window = 0;
        assert_eq!(slot.give_back(GIVEN_BACK - 1), None);
        assert_eq!(slot.give_back(1), Some(GIVEN_BACK));
        assert_eq!((slot.window, slot.unreported), (GIVEN_BACK, 0));
    }

    #[test]
    fn sizes_of_chunks() {
        for (size, text) in [
            (1, "1\r\n"),
            (16, "10\r\n"),
            (0xabcdef, "abcdef\r\n"),
            (0xffff_ffff, "ffffffff\r\n"),
        ] {
            let mut line = [0; CHUNK_LINE];
            let at = chunk_line(&mut line, size);
            assert_eq!(&line[at..], text.as_bytes());
        }
    }
}
