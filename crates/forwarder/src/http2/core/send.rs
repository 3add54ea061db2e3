//! What goes to the client: answers of the streams, as far as the windows and the connection take them.

use std::io::IoSlice;

use super::{Answer, Core, End, OUT_BYTES, STREAM_WINDOW};
use crate::buffers::Buffer;
use crate::http::body::Body;
use crate::http::chunked::Emit;
use crate::http2::answer::{self, Head};
use crate::http2::frame::{self, END_STREAM, HEADER_BYTES, Header, Kind, MAX_PAYLOAD, Reason};

/// Bytes of an answer that wait for the client's window, for each stream: a frame. A client has a hundred of these.
pub(crate) const HELD_BYTES: usize = DATA_BYTES;
/// Bytes of heads that wait for the connection behind what it holds of bodies, and one more.
const HEADS_BYTES: usize = 16 * 1024;
/// Bytes of a DATA frame: with its header it fills a record of TLS.
const DATA_BYTES: usize = MAX_PAYLOAD - HEADER_BYTES;
/// Less than this is no frame because there is no room for more.
const LEAST_BYTES: usize = 1024;
/// Bytes of a head that has not come whole.
const HEAD_BYTES: usize = STREAM_WINDOW as usize;

impl Core {
    /// Writes of the answer, as HTTP/1.1 has it; how much of it was taken, or `None` if the client has to take some before.
    pub(crate) fn write(&mut self, at: usize, slices: &[IoSlice<'_>]) -> Option<usize> {
        let mut written = 0;
        for slice in slices {
            let taken = self.write_some(at, slice);
            written += taken;
            if taken < slice.len() {
                break;
            }
        }
        let wanted = slices.iter().any(|slice| !slice.is_empty());
        if written == 0 && wanted {
            self.slots[at].has_more = true;
            self.stand_in_line(at);
            return None;
        }
        Some(written)
    }

    /// Who serves the stream in this slot says nothing more; `whole`: and has said everything.
    pub(crate) fn shut_down(&mut self, at: usize, whole: bool) {
        let slot = &mut self.slots[at];
        slot.shut = true;
        if !slot.is_open() {
            return;
        }
        match &slot.answer {
            Answer::Done => {}
            Answer::Body(body) if whole && body.may_end() => {
                slot.answer = Answer::Done;
                if slot.held.is_empty() {
                    self.write_end(at);
                }
            }
            Answer::Head(_) | Answer::Body(_) => self.cut_stream(at, End::Cut),
        }
    }

    /// Resets a stream whose answer broke off, or is not taken.
    pub(crate) fn cut_stream(&mut self, at: usize, end: End) {
        let slot = &self.slots[at];
        if !slot.is_open() {
            return;
        }
        let (reason, end) = match slot.has_sent() {
            // Only what the client would still say is cut off.
            true => (Reason::NoError, End::Served),
            false => (Reason::InternalError, end),
        };
        frame::write_reset(self.out.vec(), slot.stream, reason);
        self.close(at, end, true);
    }

    fn write_some(&mut self, at: usize, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let slot = &self.slots[at];
            let count = match &slot.answer {
                // Nobody is there to read it.
                Answer::Done => rest.len(),
                Answer::Head(_) => self.write_head(at, rest),
                // Nobody passes those who wait.
                Answer::Body(_) if slot.held.is_empty() && self.line.is_empty() => {
                    match self.write_data(at, rest) {
                        0 => self.hold(at, rest),
                        count => count,
                    }
                }
                Answer::Body(_) => self.hold(at, rest),
            };
            if count == 0 {
                break;
            }
            taken += count;
        }
        taken
    }

    /// Takes of a head, and writes it once it is whole.
    fn write_head(&mut self, at: usize, bytes: &[u8]) -> usize {
        // Bodies leave some room for heads, which could find none for ever otherwise.
        if self.out.as_slice().len() >= OUT_BYTES + HEADS_BYTES {
            return 0;
        }
        let slot = &mut self.slots[at];
        let Answer::Head(begun) = &mut slot.answer else {
            return 0;
        };
        let mut begun = std::mem::take(begun);
        let (head, count) = if begun.is_empty()
            && let Some(end) = answer::end_of_head(bytes)
        {
            (&bytes[..end], end)
        } else {
            let before = begun.as_slice().len();
            begun.extend(bytes);
            match answer::end_of_head(begun.as_slice()) {
                Some(end) => (&begun.as_slice()[..end], end - before),
                None if begun.as_slice().len() > HEAD_BYTES => {
                    self.cut_stream(at, End::Cut);
                    return bytes.len();
                }
                None => {
                    slot.answer = Answer::Head(begun);
                    return bytes.len();
                }
            }
        };
        let (stream, asked) = (slot.stream, slot.asked);
        let first = !std::mem::replace(&mut self.has_answered, true);
        let out = self.out.vec();
        let start = out.len();
        let read = Self::write_headers(out, (stream, 0, first), |out| {
            answer::write_head(out, head, asked)
        });
        match read {
            Ok(Head::Interim) => slot.answer = Answer::Head(Buffer::default()),
            Ok(Head::Final(framing)) => {
                let body = Body::new(framing, Emit::Apart, None);
                let whole = body.is_done();
                slot.answer = Answer::Body(body);
                if whole {
                    // The flags stand behind length and kind.
                    out[start + 4] |= END_STREAM;
                    slot.answer = Answer::Done;
                    self.sent(at);
                }
            }
            Err(answer::Unfit) => {
                out.truncate(start);
                self.cut_stream(at, End::Cut);
            }
        }
        count
    }

    /// Bytes of a stream's answer that are worth fetching at this moment; 0 if the client has to take some before.
    pub(crate) fn appetite(&mut self, at: usize) -> usize {
        let slot = &mut self.slots[at];
        let begins = !matches!(slot.answer, Answer::Body(_));
        if begins || slot.held.is_empty() && self.line.is_empty() {
            // Each frame of it has a header.
            let frames = (self.out_room() + HEADER_BYTES) / MAX_PAYLOAD * DATA_BYTES;
            return self.window(at).min(frames).max(HELD_BYTES);
        }
        let room = HELD_BYTES.saturating_sub(slot.held.as_slice().len());
        if room == 0 {
            slot.has_more = true;
        }
        room
    }

    /// Bytes that can be sent of a stream's answer, as its windows are.
    fn window(&self, at: usize) -> usize {
        let window = self.slots[at].send_window.min(self.send_window);
        usize::try_from(window).unwrap_or(0)
    }

    /// Bytes of a DATA frame, and those behind it, that the connection has room for; 0 if a frame would be too small.
    fn out_room(&self) -> usize {
        let room = OUT_BYTES.saturating_sub(self.out.as_slice().len() + HEADER_BYTES);
        if room < LEAST_BYTES { 0 } else { room }
    }

    /// Bytes of a stream's answer that can be sent in one frame at this moment.
    fn room(&self, at: usize) -> usize {
        self.window(at).min(self.out_room()).min(DATA_BYTES)
    }

    /// Sends what there is room for; how much that is.
    fn write_data(&mut self, at: usize, bytes: &[u8]) -> usize {
        let count = self.room(at).min(bytes.len());
        let slot = &mut self.slots[at];
        let Answer::Body(body) = &mut slot.answer else {
            return 0;
        };
        if count == 0 {
            return 0;
        }
        let out = self.out.vec_for(HEADER_BYTES + count, OUT_BYTES);
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.extend_from_slice(&bytes[..count]);
        let Ok(passed) = body.filter(&mut out[start + HEADER_BYTES..]) else {
            out.truncate(start);
            self.cut_stream(at, End::Cut);
            return bytes.len();
        };
        out.truncate(start + HEADER_BYTES + passed.kept);
        slot.send_window -= passed.kept as i64;
        self.send_window -= passed.kept as i64;
        slot.sent += passed.kept as u64;
        let done = body.is_done();
        if done {
            slot.trailers = body.take_trailers();
            slot.answer = Answer::Done;
        }
        let ends = done && slot.trailers.is_empty();
        if passed.kept == 0 && !ends {
            out.truncate(start);
        } else {
            let flags = if ends { END_STREAM } else { 0 };
            let header = Header::bytes(passed.kept, Kind::Data, flags, slot.stream);
            out[start..start + HEADER_BYTES].copy_from_slice(&header);
            self.manners.sent_data();
        }
        match (done, ends) {
            (true, true) => self.sent(at),
            (true, false) => self.write_end(at),
            (false, _) => {}
        }
        count
    }

    /// Keeps what there is no room for at this moment; how much that is.
    fn hold(&mut self, at: usize, bytes: &[u8]) -> usize {
        let slot = &mut self.slots[at];
        let Answer::Body(body) = &mut slot.answer else {
            return 0;
        };
        let count = bytes
            .len()
            .min(HELD_BYTES.saturating_sub(slot.held.as_slice().len()));
        if count == 0 {
            return 0;
        }
        // A client that never takes all of it makes it no longer.
        slot.held.compact();
        let held = slot.held.vec();
        let start = held.len();
        held.extend_from_slice(&bytes[..count]);
        let Ok(passed) = body.filter(&mut held[start..]) else {
            self.cut_stream(at, End::Cut);
            return bytes.len();
        };
        held.truncate(start + passed.kept);
        if body.is_done() {
            slot.trailers = body.take_trailers();
            slot.answer = Answer::Done;
        }
        match (slot.held.is_empty(), &slot.answer) {
            (true, Answer::Done) => self.write_end(at),
            (true, Answer::Head(_) | Answer::Body(_)) => {}
            (false, _) => self.stand_in_line(at),
        }
        count
    }

    /// Ends an answer all of which was sent.
    fn write_end(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let (stream, trailers) = (slot.stream, std::mem::take(&mut slot.trailers));
        let out = self.out.vec();
        let start = out.len();
        let any = Self::write_headers(out, (stream, END_STREAM, false), |out| {
            answer::write_trailers(out, &trailers)
        });
        if !any {
            out.truncate(start);
            frame::write(out, Kind::Data, END_STREAM, stream, &[]);
        }
        self.sent(at);
    }

    /// All of an answer was sent: the stream is closed, unless it is a tunnel of which the client goes on.
    fn sent(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        match (slot.said, slot.asked.tunnel) {
            (true, _) => self.close(at, End::Served, false),
            (false, true) => {}
            (false, false) => {
                // What it still sends is not wanted (RFC 9113 §8.1).
                frame::write_reset(self.out.vec(), slot.stream, Reason::NoError);
                self.close(at, End::Served, true);
            }
        }
    }

    /// A stream waits for its turn. One that waits for its own window is in nobody's way: it stands in line when that is wider.
    pub(super) fn stand_in_line(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let may_go = slot.held.is_empty() || slot.send_window > 0;
        if may_go && !std::mem::replace(&mut slot.in_line, true) {
            self.line.push_back(at);
        }
    }

    /// Lets those who wait for the client go on, in turns, as far as there is room.
    pub(crate) fn flush(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) && self.out_room() > 0 {
            for _ in 0..self.line.len() {
                // Who is not served in this turn is the first in the next one.
                if self.out_room() == 0 {
                    return;
                }
                let Some(at) = self.line.pop_front() else {
                    break;
                };
                moved |= self.flush_one(at);
            }
        }
    }

    /// Sends a frame of what a stream holds; true if anything was moved. It stays in line if it holds more that may go.
    fn flush_one(&mut self, at: usize) -> bool {
        let room = self.room(at);
        let slot = &mut self.slots[at];
        slot.in_line = false;
        if !slot.is_open() {
            return false;
        }
        let count = room.min(slot.held.as_slice().len());
        if count > 0 {
            let last = count == slot.held.as_slice().len() && slot.trailers.is_empty();
            let ends = last && matches!(slot.answer, Answer::Done);
            let flags = if ends { END_STREAM } else { 0 };
            frame::write(
                self.out.vec_for(HEADER_BYTES + count, OUT_BYTES),
                Kind::Data,
                flags,
                slot.stream,
                &slot.held.as_slice()[..count],
            );
            self.manners.sent_data();
            slot.held.consume(count);
            slot.send_window -= count as i64;
            slot.sent += count as u64;
            self.send_window -= count as i64;
            if ends {
                self.sent(at);
            } else if slot.held.is_empty() && matches!(slot.answer, Answer::Done) {
                self.write_end(at);
            }
        }
        let slot = &mut self.slots[at];
        if slot.is_open() && !slot.held.is_empty() {
            self.stand_in_line(at);
        }
        let slot = &mut self.slots[at];
        let can_go_on = !slot.is_open() || slot.held.as_slice().len() <= HELD_BYTES / 2;
        if can_go_on && (slot.has_more || !slot.is_open()) {
            slot.has_more = false;
            self.told.wake(at);
        }
        count > 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::http2::core::Limits;
    use crate::http2::frame::{END_HEADERS, INITIAL_WINDOW_SIZE, PREFACE};

    #[test]
    fn a_client_that_never_takes_all_of_it_makes_what_waits_no_longer() {
        let mut now = Instant::now();
        let limits = Limits {
            streams: 1,
            header_bytes: 400,
        };
        let mut core = Core::new(limits, 0, now);
        let mut begin = PREFACE.to_vec();
        frame::write_settings(&mut begin, &[(INITIAL_WINDOW_SIZE, 0)]);
        frame::write_window(&mut begin, 0, 0x7000_0000);
        // GET http://a/ in numbers of the static table.
        let block = b"\x82\x84\x86\x41\x01a";
        let flags = END_HEADERS | END_STREAM;
        frame::write(&mut begin, Kind::Headers, flags, 1, block);
        assert_eq!(core.receive(now, &begin), begin.len());
        let at = core.told().woken[0];
        // However much has come of the target: no more is fetched than can be held.
        assert_eq!(core.appetite(at), HELD_BYTES);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
        assert_eq!(core.write(at, &[IoSlice::new(head)]), Some(head.len()));
        let (piece, mut taken) = ([b'x'; HELD_BYTES], 0);
        for _ in 0..1000 {
            taken += core.write(at, &[IoSlice::new(&piece)]).unwrap_or(0);
            let mut wider = Vec::new();
            frame::write_window(&mut wider, 1, 1000);
            now += Duration::from_secs(1);
            assert_eq!(core.receive(now, &wider), wider.len());
            core.out().clear();
            let held = &core.slots[at].held;
            assert!(held.as_slice().len() <= HELD_BYTES && !held.is_empty());
            assert!(held.held() <= 3 * HELD_BYTES, "{}", held.held());
            assert_eq!(core.appetite(at), 1000);
        }
        assert!(taken > 900_000, "{taken}");
    }

    /// A client that always has 32 streams open, and whoever serves them.
    struct Crowd {
        core: Core,
        now: Instant,
        answer: Vec<u8>,
        /// What was written of the answers, by their slots.
        written: BTreeMap<usize, usize>,
        next: u32,
        /// Streams of DATA frames, in the order in which they were sent.
        sent: Vec<u32>,
        unread: Vec<u8>,
    }

    impl Crowd {
        fn new() -> Self {
            let now = Instant::now();
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n".to_vec();
            answer.resize(answer.len() + 65_536, b'x');
            let limits = Limits {
                streams: 100,
                header_bytes: 400,
            };
            let mut core = Core::new(limits, 0, now);
            core.out().clear();
            let mut begin = PREFACE.to_vec();
            frame::write_settings(&mut begin, &[(INITIAL_WINDOW_SIZE, 0x3fff_ffff)]);
            frame::write_window(&mut begin, 0, 0x3fff_ffff);
            assert_eq!(core.receive(now, &begin), begin.len());
            core.out().clear();
            Self {
                core,
                now,
                answer,
                written: BTreeMap::new(),
                next: 1,
                sent: Vec::new(),
                unread: Vec::new(),
            }
        }

        fn ask(&mut self) {
            let mut ask = Vec::new();
            let flags = END_HEADERS | END_STREAM;
            let block = b"\x82\x84\x86\x41\x01a";
            frame::write(&mut ask, Kind::Headers, flags, self.next, block);
            self.next += 2;
            assert_eq!(self.core.receive(self.now, &ask), ask.len());
        }

        /// Everybody who was told says as much as is taken.
        fn answer(&mut self) {
            for at in std::mem::take(&mut self.core.told().woken) {
                let asked = self.core.read(at, &mut [0; 1000]);
                if asked.is_some_and(|count| count > 0) {
                    self.written.insert(at, 0);
                }
                let Some(written) = self.written.get_mut(&at) else {
                    continue;
                };
                while let rest @ [_, ..] = &self.answer[*written..] {
                    let piece = &rest[..rest.len().min(16 * 1024)];
                    match self.core.write(at, &[IoSlice::new(piece)]) {
                        Some(count) => *written += count,
                        None => break,
                    }
                }
                if self.core.end_of(at).is_some() {
                    self.written.remove(&at);
                    self.core.rest(self.now, at, true);
                    self.core.vacate(at);
                }
            }
        }

        /// The client takes so many bytes, and asks again for each answer that has ended.
        fn take(&mut self, count: usize) {
            let out = self.core.out();
            let count = count.min(out.as_slice().len());
            self.unread.extend_from_slice(&out.as_slice()[..count]);
            out.consume(count);
            if self.core.out().is_empty() {
                self.core.flush();
            }
            let mut ended = 0;
            while let Some(header) = Header::read(&self.unread)
                && self.unread.len() >= HEADER_BYTES + header.length
            {
                self.unread.drain(..HEADER_BYTES + header.length);
                if header.kind == Kind::Data {
                    self.sent.push(header.stream);
                    ended += usize::from(header.has(END_STREAM));
                }
            }
            (0..ended).for_each(|_| self.ask());
        }
    }

    #[test]
    fn whoever_waits_for_the_connection_is_passed_by_nobody() {
        // However little the client takes at a time: at most times the connection has some room.
        for taken in [1_000, 10_000, 50_000, 1_000_000] {
            let mut crowd = Crowd::new();
            (0..32).for_each(|_| crowd.ask());
            while crowd.sent.len() < 2_000 {
                crowd.answer();
                crowd.take(taken);
            }
            let mut last = BTreeMap::new();
            for (at, stream) in crowd.sent.iter().enumerate() {
                let since = at - last.insert(*stream, at).unwrap_or(at);
                assert!(
                    since <= 33,
                    "stream {stream} waits for {since} frames of others"
                );
            }
            let least = crowd.next - 2 * 32 - 40;
            for stream in (1..least).step_by(2) {
                assert!(last.contains_key(&stream), "{stream} of {}", crowd.next);
            }
        }
    }
}
