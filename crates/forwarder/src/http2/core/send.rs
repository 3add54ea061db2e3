//! What goes to the client: answers of the streams, as far as the windows and the connection take them.

use std::io::IoSlice;

use super::{Answer, Core, End, OUT_BYTES, STREAM_WINDOW};
use crate::buffers::Buffer;
use crate::http::body::Body;
use crate::http::chunked::Emit;
use crate::http2::answer::{self, Head};
use crate::http2::frame::{self, END_STREAM, HEADER_BYTES, Header, Kind, MAX_PAYLOAD, Reason};

/// Bytes of an answer that wait for the client's window, for each stream. A client has a hundred of these.
pub(crate) const HELD_BYTES: usize = 16 * 1024;
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
                Answer::Body(_) if slot.held.is_empty() => match self.write_data(at, rest) {
                    0 => self.hold(at, rest),
                    count => count,
                },
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
        if self.out.as_slice().len() >= OUT_BYTES {
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

    /// Bytes of a stream's answer that can be sent at this moment.
    fn room(&self, at: usize) -> usize {
        let window = self.slots[at].send_window.min(self.send_window);
        let window = usize::try_from(window).unwrap_or(0);
        let out = OUT_BYTES.saturating_sub(self.out.as_slice().len());
        window.min(out).min(MAX_PAYLOAD)
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
        let out = self.out.vec();
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

    fn stand_in_line(&mut self, at: usize) {
        if !std::mem::replace(&mut self.slots[at].in_line, true) {
            self.line.push_back(at);
        }
    }

    /// Lets those who wait for the client go on, in turns, as far as there is room.
    pub(crate) fn flush(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for _ in 0..self.line.len() {
                let Some(at) = self.line.pop_front() else {
                    break;
                };
                moved |= self.flush_one(at);
            }
        }
    }

    /// Sends a frame of what a stream holds; true if anything was moved. It stays in line if it holds more.
    fn flush_one(&mut self, at: usize) -> bool {
        let room = self.room(at);
        let has_out = self.out.as_slice().len() < OUT_BYTES;
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
                self.out.vec(),
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
        let waits = !slot.held.is_empty() || slot.has_more && !has_out;
        if waits && slot.is_open() {
            slot.in_line = true;
            self.line.push_back(at);
        }
        let slot = &mut self.slots[at];
        let can_go_on = !slot.is_open() || slot.held.as_slice().len() <= HELD_BYTES / 2 && has_out;
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
        }
        assert!(taken > 900_000, "{taken}");
    }
}
