//! The protocol of one connection with a client (RFC 9113), without the connection: bytes in, bytes out.
//!
//! ```text
//!   bytes ── receive ──> heads and bodies of requests, one slot for each stream ── read ──> who serves them
//!   bytes <── out ────── frames of all streams, as their windows take them <───── write ── who serves them
//! ```
//!
//! A stream (RFC 9113 §5.1) that a client opens is in a slot until it is closed; the slot is free again once nobody serves it any
//! more. Knows no socket, no task and no clock. What it wants to be done is left in [`Told`].

use std::collections::VecDeque;
use std::time::Instant;

use crate::buffers::Buffer;
use crate::cause::Cause;
use crate::http2::frame::{self, Reason};
use crate::http2::hpack::decoder::Decoder;
use crate::http2::hpack::encoder;
use crate::http2::manners::{self, Manners};

mod heads;
mod receive;
mod send;
mod slot;

pub(crate) use slot::End;
use slot::{Answer, STREAM_WINDOW, Slot};

/// What a client may send of all its requests' bodies before they were passed on.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// So much of it is given back at a time.
const GIVEN_BACK: u32 = CONNECTION_WINDOW / 4;
/// The window of a connection before anything was said (RFC 9113 §6.9.2).
const FIRST_WINDOW: u32 = 65_535;
/// The end of every window (§6.9.1).
const MAX_WINDOW: i64 = 0x7fff_ffff;
/// Bytes that wait for the connection before streams have to wait.
const OUT_BYTES: usize = 64 * 1024;
/// Answers to PING, SETTINGS and the like that may wait beyond that before nothing more is read.
const CONTROL_BYTES: usize = 32 * 1024;
/// Slots beside those of the streams allowed: for streams that were reset and are still being given up.
const DYING: usize = 64;
/// Streams that were closed lately and are remembered.
const RECENT: usize = 32;
/// Memory that is kept for texts.
const KEPT_BYTES: usize = 1024;
/// What the PING brings that goes with a goodbye.
const GOODBYE: [u8; 8] = *b"farewell";
/// No stream has a higher number.
const LAST_STREAM: u32 = 0x7fff_ffff;

/// What a client may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Streams at once.
    pub(crate) streams: u32,
    /// Bytes of a header list.
    pub(crate) header_bytes: u32,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It is no HTTP/2.
    Foreign,
    /// The rules were broken.
    Broken(Reason),
    /// There was too much of something.
    TooMuch,
}

/// What is to be done by whoever has the connection.
#[derive(Default, Debug)]
pub(crate) struct Told {
    /// Slots whose streams have something new.
    pub(crate) woken: Vec<usize>,
    /// What is to be counted.
    pub(crate) notes: Vec<(Cause, &'static str)>,
}

impl Told {
    fn wake(&mut self, at: usize) {
        // Pieces of one body come after each other.
        if self.woken.last() != Some(&at) {
            self.woken.push(at);
        }
    }
}

/// How far the beginning is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begun {
    /// Nothing was said.
    No,
    /// SETTINGS have yet to come.
    Preface,
    /// It has begun.
    Whole,
}

/// How far the end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    No,
    /// The client was told; streams it has opened before it knew are served.
    Told,
    /// Streams after this one are not.
    Final(u32),
}

/// A header block of which a part has come (RFC 9113 §4.3).
#[derive(Debug)]
struct Block {
    stream: u32,
    whole: bool,
    /// The stream was said to depend on itself.
    odd: bool,
    bytes: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Core {
    limits: Limits,
    manners: Manners,
    /// A number nobody can guess.
    nonce: u128,
    begun: Begun,
    leaving: Leaving,
    /// The client has said that it ends the connection.
    client_leaves: bool,
    fault: Option<Fault>,
    told: Told,

    decoder: Decoder,
    texts: Vec<u8>,
    block: Option<Block>,
    /// Header blocks that were begun.
    blocks: u32,

    slots: Vec<Slot>,
    /// Open streams and their slots, in order of their numbers.
    open: Vec<(u32, usize)>,
    /// Slots where somebody waits for a stream.
    resting: Vec<usize>,
    /// Slots where nobody does.
    vacant: Vec<usize>,
    /// The last stream that was opened.
    highest: u32,
    /// Streams that were closed lately: the number, and whether it was by us.
    recent: VecDeque<(u32, bool)>,

    /// What the client may still send, of all streams.
    window: u32,
    /// What was taken of it, and the client does not know of.
    unreported: u32,
    /// What we may still send, of all streams.
    send_window: i64,
    /// What we may send of a stream that begins.
    first_window: i64,
    /// Slots whose answers wait for the client, in turns.
    line: VecDeque<usize>,
    /// A window has become wider.
    wider: bool,
    /// Frames for the client.
    out: Buffer,
    /// The first header block was written.
    has_answered: bool,
}

impl Core {
    /// Begins: what we have to say first is in `out` already.
    pub(crate) fn new(limits: Limits, nonce: u128, now: Instant) -> Self {
        let mut out = Buffer::default();
        let settings = [
            (frame::MAX_CONCURRENT_STREAMS, limits.streams),
            (frame::MAX_HEADER_LIST_SIZE, limits.header_bytes),
            (frame::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        frame::write_settings(out.vec(), &settings);
        frame::write_window(out.vec(), 0, CONNECTION_WINDOW - FIRST_WINDOW);
        Self {
            limits,
            manners: Manners::new(now),
            nonce,
            begun: Begun::No,
            leaving: Leaving::No,
            client_leaves: false,
            fault: None,
            told: Told::default(),
            decoder: Decoder::new(),
            texts: Vec::new(),
            block: None,
            blocks: 0,
            slots: Vec::new(),
            open: Vec::new(),
            resting: Vec::new(),
            vacant: Vec::new(),
            highest: 0,
            recent: VecDeque::new(),
            window: CONNECTION_WINDOW,
            unreported: 0,
            send_window: i64::from(FIRST_WINDOW),
            first_window: i64::from(FIRST_WINDOW),
            line: VecDeque::new(),
            wider: false,
            out,
            has_answered: false,
        }
    }

    /// True once the client has begun as it must.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun == Begun::Whole
    }

    /// True if there are streams.
    pub(crate) fn is_busy(&self) -> bool {
        !self.open.is_empty()
    }

    /// True if no more streams are served and none is left.
    pub(crate) fn is_over(&self) -> bool {
        let leaves = self.client_leaves || matches!(self.leaving, Leaving::Final(_));
        leaves && self.open.is_empty()
    }

    /// Why the connection cannot go on, if it cannot.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What is to be done.
    pub(crate) fn told(&mut self) -> &mut Told {
        &mut self.told
    }

    /// What is to be sent.
    pub(crate) fn out(&mut self) -> &mut Buffer {
        &mut self.out
    }

    /// True if so much is to be sent that nothing more should be read.
    pub(crate) fn is_choked(&self) -> bool {
        self.out.as_slice().len() >= OUT_BYTES + CONTROL_BYTES
    }

    /// Tells the client that the connection ends; streams it has begun are served.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Told;
            frame::write_goaway(self.out.vec(), LAST_STREAM, Reason::NoError);
            frame::write_ping(self.out.vec(), 0, &GOODBYE);
        }
    }

    /// Streams the client has begun, and those it has passed over.
    pub(crate) fn streams_total(&self) -> u32 {
        self.highest.div_ceil(2)
    }

    /// Tells the client which stream is the last that is served.
    pub(crate) fn leave_now(&mut self) {
        if !matches!(self.leaving, Leaving::Final(_)) {
            self.leaving = Leaving::Final(self.highest);
            frame::write_goaway(self.out.vec(), self.highest, Reason::NoError);
        }
    }

    /// Ends everything, with these words.
    pub(crate) fn cut(&mut self, reason: Reason) {
        self.give_up();
        frame::write_goaway(self.out.vec(), self.highest, reason);
        self.leaving = Leaving::Final(self.highest);
    }

    /// The client is gone, or was cut off: so are all streams.
    pub(crate) fn give_up(&mut self) {
        while let Some((_, at)) = self.open.pop() {
            self.slots[at].forget();
            self.slots[at].end = Some(End::Reset);
            self.told.wake(at);
        }
    }

    /// The slot of an open stream.
    fn find(&self, stream: u32) -> Option<usize> {
        let found = self
            .open
            .binary_search_by_key(&stream, |(stream, _)| *stream);
        found.ok().map(|at| self.open[at].1)
    }

    /// A stream is closed; whoever serves it is to see how.
    fn close(&mut self, at: usize, end: End, by_us: bool) {
        let slot = &mut self.slots[at];
        let stream = slot.stream;
        slot.end = Some(end);
        if end != End::Served || !slot.said {
            slot.ends_here = true;
            self.discard(at);
        }
        if let Ok(place) = self
            .open
            .binary_search_by_key(&stream, |(stream, _)| *stream)
        {
            self.open.remove(place);
        }
        self.remember(stream, by_us);
    }

    /// Nothing of a stream is wanted any more.
    fn discard(&mut self, at: usize) {
        let unread = self.slots[at].body.as_slice().len() as u32;
        self.slots[at].forget();
        self.give_back(unread);
    }

    fn remember(&mut self, stream: u32, by_us: bool) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((stream, by_us));
    }

    /// Resets a stream whose client has broken its rules.
    fn fail(&mut self, now: Instant, at: usize, reason: Reason) {
        frame::write_reset(self.out.vec(), self.slots[at].stream, reason);
        self.close(at, End::Reset, true);
        self.manners.spend(now, manners::RESET);
        self.told.wake(at);
    }

    /// So much of the connection's window was taken.
    fn give_back(&mut self, count: u32) {
        self.unreported += count;
        if self.unreported >= GIVEN_BACK {
            let more = std::mem::take(&mut self.unreported);
            self.window += more;
            frame::write_window(self.out.vec(), 0, more);
        }
    }

    /// Appends HEADERS, split as needed, written by `write`. `flags`: END_STREAM or nothing.
    fn write_headers<R>(
        out: &mut Vec<u8>,
        (stream, flags, first): (u32, u8, bool),
        write: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> R {
        let at = out.len();
        out.extend_from_slice(&[0; frame::HEADER_BYTES]);
        if first {
            encoder::write_no_table(out);
        }
        let done = write(out);
        frame::finish_headers(out, at, flags, stream);
        done
    }
}

/// For who serves the streams.
impl Core {
    /// How the stream in this slot has ended, if it has.
    pub(crate) fn end_of(&self, at: usize) -> Option<End> {
        self.slots[at].end
    }

    /// True if there is a stream in this slot.
    pub(crate) fn is_taken(&self, at: usize) -> bool {
        self.slots[at].stream != 0
    }

    /// True if the stream in this slot is a tunnel.
    pub(crate) fn is_tunnel(&self, at: usize) -> bool {
        self.slots[at].asked.tunnel
    }

    /// True if the answer in this slot is all there, and the client has not taken it; with it, how much it has taken.
    pub(crate) fn waits_for_client(&self, at: usize) -> Option<u64> {
        let slot = &self.slots[at];
        let waits = slot.is_open() && matches!(slot.answer, Answer::Done) && !slot.has_sent();
        waits.then_some(slot.sent)
    }

    /// Reads of the request; see [`Slot::read`].
    pub(crate) fn read(&mut self, at: usize, room: &mut [u8]) -> Option<usize> {
        let slot = &mut self.slots[at];
        let (count, body) = slot.read(room)?;
        if body > 0 {
            let (stream, open) = (slot.stream, slot.is_open());
            if let Some(more) = slot.give_back(body).filter(|_| open) {
                frame::write_window(self.out.vec(), stream, more);
            }
            self.give_back(body);
        }
        Some(count)
    }

    /// The stream in this slot has ended; true if whoever has served it waits for the next one there, which it can unless it
    /// has `gone`.
    pub(crate) fn rest(&mut self, now: Instant, at: usize, gone: bool) -> bool {
        let slot = &mut self.slots[at];
        let served = slot.end == Some(End::Served);
        match slot.end {
            Some(End::Served) => self.manners.earn(),
            Some(End::Left) => self.manners.spend(now, manners::RESET),
            // Paid for when it was reset.
            Some(End::Reset | End::Cut) | None => {}
        }
        let rests = served && !gone && slot.is_at_rest();
        if rests {
            slot.stream = 0;
            slot.end = None;
            self.resting.push(at);
        } else {
            slot.ends_here = true;
            self.discard(at);
        }
        rests
    }

    /// Nobody serves in this slot any more.
    pub(crate) fn vacate(&mut self, at: usize) {
        self.discard(at);
        let slot = &mut self.slots[at];
        slot.stream = 0;
        slot.end = None;
        self.resting.retain(|other| *other != at);
        self.vacant.push(at);
        // Between streams a connection is small.
        if self.vacant.len() == self.slots.len() {
            self.slots = Vec::new();
            self.vacant = Vec::new();
            self.resting = Vec::new();
            self.line = VecDeque::new();
            self.open = Vec::new();
            self.recent.shrink_to_fit();
        }
    }

    /// Slots where somebody waits; nobody does from here on.
    pub(crate) fn take_resting(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.resting)
    }
}
