//! The protocol under frames nobody planned, in pieces nobody planned, and against a client that keeps its own accounts.
//!
//! As long as `TANDEM_FUZZ_SECONDS` says, like [`crate::http::fuzz`]:
//! `TANDEM_FUZZ_SECONDS=600 cargo test --release -p forwarder --lib http2::fuzz`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::http::fuzz::fuzz;
use crate::http2::core::{Core, End, Fault, Limits};
use crate::http2::frame::{
    self, ACK, END_HEADERS, END_STREAM, HEADER_BYTES, Header, Kind, PADDED, PREFACE, WITH_PRIORITY,
};

const LIMITS: Limits = Limits {
    streams: 4,
    header_bytes: 400,
};

/// A header block of one request, by the static table (RFC 7541 appendix A), with these bytes behind it.
fn block(method: u8, more: &[u8]) -> Vec<u8> {
    [&[0x80 | method, 0x84, 0x86, 0x41, 1, b'a'][..], more].concat()
}

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, kind, flags, stream, payload);
    out
}

fn core(now: Instant, settings: &[(u16, u32)]) -> Core {
    let mut core = Core::new(LIMITS, 7, now);
    core.out().clear();
    let mut begin = PREFACE.to_vec();
    frame::write_settings(&mut begin, settings);
    assert_eq!(core.receive(now, &begin), begin.len());
    core.out().clear();
    core
}

/// Frames as a client might send them, and some that it must not.
fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = proptest::sample::select(
        &[
            Kind::Data,
            Kind::Headers,
            Kind::Headers,
            Kind::Priority,
            Kind::RstStream,
            Kind::Settings,
            Kind::PushPromise,
            Kind::Ping,
            Kind::GoAway,
            Kind::WindowUpdate,
            Kind::Continuation,
            Kind::Unknown,
        ][..],
    );
    let flags = proptest::sample::select(
        &[
            0,
            ACK,
            END_HEADERS,
            END_HEADERS | END_STREAM,
            PADDED,
            END_HEADERS | PADDED,
            END_HEADERS | WITH_PRIORITY,
        ][..],
    );
    let payload = prop_oneof![
        Just(block(2, b"")),
        Just(block(3, b"")),
        Just(block(3, b"\x5c\x011")),
        Just(b"\x40\x03x-a\x03123".to_vec()),
        Just(b"\xbe".to_vec()),
        Just(vec![0, 0, 0, 9]),
        Just(vec![0, 0, 0, 0, 16]),
        Just(vec![0, 4, 0, 0, 0, 9]),
        vec(any::<u8>(), 0..40),
    ];
    (kind, flags, 0..12u32, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let mess = prop_oneof![
        20 => some_frame(),
        1 => vec(any::<u8>(), 1..30),
    ];
    vec(mess, 0..30).prop_map(|frames| frames.concat())
}

/// Gives a core these bytes in these pieces, like a connection does. Whoever serves streams answers at once, and not the same
/// way for all.
fn converse(bytes: &[u8], pieces: &[usize]) -> (Vec<u8>, Option<Fault>) {
    let now = Instant::now();
    let mut core = core(now, &[]);
    let (mut kept, mut at) = (Vec::new(), 0);
    let mut said = Vec::new();
    for piece in pieces.iter().copied().chain([bytes.len()]) {
        let end = bytes.len().min(at + piece);
        kept.extend_from_slice(&bytes[at..end]);
        at = end;
        let taken = core.receive(now, &kept);
        kept.drain(..taken);
        if core.fault().is_none() && !kept.is_empty() {
            assert!((1..=HEADER_BYTES + frame::MAX_PAYLOAD).contains(&core.missing(&kept)));
        }
        said.extend_from_slice(core.out().as_slice());
        core.out().clear();
    }
    (said, core.fault())
}

#[test]
fn frames_in_any_order_and_pieces() {
    let pieces = vec(1usize..60, 0..30);
    fuzz((bytes(), pieces), |(bytes, pieces)| {
        let whole = converse(&bytes, &[]);
        prop_assert_eq!(converse(&bytes, &pieces), whole);
        Ok(())
    });
}

/// Whoever serves a stream: what is left of the answer.
struct Served {
    answer: Vec<u8>,
    written: usize,
    /// What was read of the request.
    request: Vec<u8>,
}

/// What a client knows of a stream.
#[derive(Default)]
struct Asked {
    window: i64,
    body: Vec<u8>,
    answered: bool,
    ended: bool,
    reset: bool,
}

/// A client that keeps its own accounts.
struct Client {
    /// What the server may still send.
    window: i64,
    first_window: i64,
    /// What may still be sent to the server, on each stream and on all.
    send_windows: BTreeMap<u32, i64>,
    send_window: i64,
    streams: BTreeMap<u32, Asked>,
}

impl Client {
    fn new(first_window: u32) -> Self {
        Self {
            window: 65_535,
            first_window: first_window.into(),
            send_windows: BTreeMap::new(),
            send_window: 1 << 20,
            streams: BTreeMap::new(),
        }
    }

    /// Reads what the server says, and checks it against the accounts.
    fn hear(&mut self, said: &[u8]) -> Result<(), TestCaseError> {
        let mut rest = said;
        while let Some(header) = Header::read(rest) {
            let payload = &rest[HEADER_BYTES..HEADER_BYTES + header.length];
            rest = &rest[HEADER_BYTES + header.length..];
            let asked = self.streams.get_mut(&header.stream);
            match header.kind {
                Kind::Headers | Kind::Data => {
                    let asked = asked.expect("a stream that was asked on");
                    prop_assert!(!asked.ended && !asked.reset, "nothing after the end");
                    prop_assert_eq!(header.kind == Kind::Headers, !asked.answered);
                    asked.answered = true;
                    asked.ended = header.has(END_STREAM);
                    if header.kind == Kind::Data {
                        asked.body.extend_from_slice(payload);
                        asked.window -= payload.len() as i64;
                        self.window -= payload.len() as i64;
                        let held = payload.is_empty() || asked.window >= 0 && self.window >= 0;
                        prop_assert!(held, "no more than the windows take");
                    }
                }
                Kind::RstStream => asked.expect("a stream that was asked on").reset = true,
                Kind::WindowUpdate if header.stream == 0 => {
                    self.send_window += i64::from(frame::number(payload));
                    prop_assert!(self.send_window <= 1 << 20);
                }
                Kind::WindowUpdate => {
                    let window = self.send_windows.entry(header.stream).or_default();
                    *window += i64::from(frame::number(payload));
                    prop_assert!(*window <= 65_535);
                }
                Kind::Settings | Kind::Ping => {}
                Kind::Priority
                | Kind::PushPromise
                | Kind::GoAway
                | Kind::Continuation
                | Kind::Unknown => prop_assert!(false, "{:?} is not said here", header.kind),
            }
        }
        prop_assert!(rest.is_empty());
        Ok(())
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A client asks, with a body of this size to come, or without.
    Ask(Option<u16>),
    /// It sends of a body.
    Send(u16),
    /// It lets so much more come on a stream, or on all.
    Widen(bool, u16),
    /// It changes the first window.
    First(u16),
    /// It resets a stream.
    Reset,
    /// A server reads of a request.
    Read(u16),
    /// It writes of its answer.
    Write(u16),
    /// All that waits is sent.
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => proptest::option::of(1..40_000u16).prop_map(Step::Ask),
        4 => any::<u16>().prop_map(Step::Send),
        4 => (any::<bool>(), 1..20_000u16).prop_map(|(all, more)| Step::Widen(all, more)),
        1 => (0..3000u16).prop_map(Step::First),
        1 => Just(Step::Reset),
        4 => any::<u16>().prop_map(Step::Read),
        6 => any::<u16>().prop_map(Step::Write),
        4 => Just(Step::Drain),
    ]
}

/// An answer of this size: of known length, in chunks, or with trailers.
fn answer(size: usize) -> Vec<u8> {
    let body = vec![b'z'; size];
    match size % 3 {
        0 => [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes(),
            &body,
        ]
        .concat(),
        _ => {
            let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in body.chunks(1000) {
                out.extend(format!("{:x}\r\n", piece.len()).bytes());
                out.extend(piece);
                out.extend(b"\r\n");
            }
            out.extend(b"0\r\n\r\n");
            out
        }
    }
}

/// A core with whoever serves its streams, and its client.
struct World {
    now: Instant,
    core: Core,
    client: Client,
    served: BTreeMap<usize, Served>,
    slots: BTreeMap<u32, usize>,
    unsent: BTreeMap<u32, usize>,
    sent: BTreeMap<u32, usize>,
    next: u32,
}

impl World {
    fn new(first_window: u32) -> Self {
        let now = Instant::now();
        Self {
            now,
            core: core(now, &[(frame::INITIAL_WINDOW_SIZE, first_window)]),
            client: Client::new(first_window),
            served: BTreeMap::new(),
            slots: BTreeMap::new(),
            unsent: BTreeMap::new(),
            sent: BTreeMap::new(),
            next: 1,
        }
    }

    fn say(&mut self, frame: &[u8]) -> Result<(), TestCaseError> {
        // Long after the last one: manners are not what this is about.
        self.now += Duration::from_secs(1);
        prop_assert_eq!(self.core.receive(self.now, frame), frame.len());
        prop_assert_eq!(self.core.fault(), None);
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let open = self.client.streams.iter();
        let open = open.filter(|(_, asked)| !asked.ended && !asked.reset);
        // The one that has waited longest.
        let stream = open.map(|(stream, _)| *stream).next();
        match (step, stream) {
            (Step::Ask(size), _) => self.ask(size.map(usize::from))?,
            (Step::Send(much), _) => self.send(much.into())?,
            (Step::Widen(true, more), _) => {
                self.client.window += i64::from(more);
                let mut frame = Vec::new();
                frame::write_window(&mut frame, 0, more.into());
                self.say(&frame)?;
            }
            (Step::Widen(false, more), Some(stream)) => {
                let asked = self.client.streams.get_mut(&stream).expect("it is open");
                asked.window += i64::from(more);
                let mut frame = Vec::new();
                frame::write_window(&mut frame, stream, more.into());
                self.say(&frame)?;
            }
            (Step::First(first), _) => {
                let change = i64::from(first) - self.client.first_window;
                self.client.first_window = first.into();
                let streams = self.client.streams.values_mut();
                streams.for_each(|asked| asked.window += change);
                let mut frame = Vec::new();
                frame::write_settings(&mut frame, &[(frame::INITIAL_WINDOW_SIZE, first.into())]);
                self.say(&frame)?;
            }
            (Step::Reset, Some(stream)) => {
                self.client
                    .streams
                    .get_mut(&stream)
                    .expect("it is open")
                    .reset = true;
                self.unsent.remove(&stream);
                self.say(&frame(Kind::RstStream, 0, stream, &[0, 0, 0, 8]))?;
            }
            (Step::Read(much), Some(stream)) => self.read(stream, much.into()),
            (Step::Write(much), Some(stream)) => self.write(stream, much.into()),
            (Step::Drain, _) => {}
            (Step::Widen(false, _) | Step::Reset | Step::Read(_) | Step::Write(_), None) => {}
        }
        self.settle()
    }

    fn ask(&mut self, size: Option<usize>) -> Result<(), TestCaseError> {
        if self.slots.len() == LIMITS.streams as usize {
            return Ok(());
        }
        let stream = self.next;
        self.next += 2;
        let asked = Asked {
            window: self.client.first_window,
            ..Asked::default()
        };
        self.client.streams.insert(stream, asked);
        self.client.send_windows.insert(stream, 65_535);
        let flags = match size {
            None => END_HEADERS | END_STREAM,
            Some(size) => {
                self.unsent.insert(stream, size);
                END_HEADERS
            }
        };
        self.core.told().woken.clear();
        self.say(&frame(Kind::Headers, flags, stream, &block(3, b"")))?;
        let at = *self.core.told().woken.last().expect("it has begun");
        self.slots.insert(stream, at);
        let served = Served {
            answer: answer(stream as usize * 997 % 40_000),
            written: 0,
            request: Vec::new(),
        };
        prop_assert!(
            self.served.insert(at, served).is_none(),
            "the slot was free"
        );
        Ok(())
    }

    fn send(&mut self, much: usize) -> Result<(), TestCaseError> {
        let Some((stream, left)) = self.unsent.iter().next().map(|(a, b)| (*a, *b)) else {
            return Ok(());
        };
        let window = self.client.send_windows[&stream].min(self.client.send_window);
        let padding = much % 3 * 10;
        let room = usize::try_from(window).unwrap_or(0).min(frame::MAX_PAYLOAD);
        let count = much.min(left).min(room.saturating_sub(padding + 1));
        if count == 0 {
            return Ok(());
        }
        let mut payload = vec![padding as u8];
        payload.resize(1 + count, b'q');
        payload.resize(1 + count + padding, 0);
        let ends = if count == left { END_STREAM } else { 0 };
        *self
            .client
            .send_windows
            .get_mut(&stream)
            .expect("it was asked") -= payload.len() as i64;
        self.client.send_window -= payload.len() as i64;
        *self.sent.entry(stream).or_default() += count;
        match left - count {
            0 => drop(self.unsent.remove(&stream)),
            left => drop(self.unsent.insert(stream, left)),
        }
        self.say(&frame(Kind::Data, PADDED | ends, stream, &payload))
    }

    fn read(&mut self, stream: u32, much: usize) {
        let at = self.slots[&stream];
        let mut room = vec![0; 64 + much];
        let served = self.served.get_mut(&at).expect("it is served");
        if let Some(count) = self.core.read(at, &mut room) {
            served.request.extend_from_slice(&room[..count]);
        }
    }

    fn write(&mut self, stream: u32, much: usize) {
        let at = self.slots[&stream];
        let served = self.served.get_mut(&at).expect("it is served");
        let rest = &served.answer[served.written..];
        let piece = IoSlice::new(&rest[..much.min(rest.len())]);
        served.written += self.core.write(at, &[piece]).unwrap_or(0);
    }

    /// All that was said is heard, and streams that have ended make room.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        loop {
            let said = self.core.out().as_slice().to_vec();
            self.core.out().clear();
            self.client.hear(&said)?;
            self.core.flush();
            if self.core.out().is_empty() {
                break;
            }
        }
        let ended: Vec<(u32, usize)> = self
            .slots
            .iter()
            .map(|(stream, at)| (*stream, *at))
            .filter(|(_, at)| self.core.end_of(*at).is_some())
            .collect();
        for (stream, at) in ended {
            self.finish(stream, at)?;
        }
        Ok(())
    }

    fn finish(&mut self, stream: u32, at: usize) -> Result<(), TestCaseError> {
        let served = self.served.remove(&at).expect("it is served");
        let end = self.core.end_of(at);
        let asked = &self.client.streams[&stream];
        self.slots.remove(&stream);
        if end == Some(End::Served) {
            let size = stream as usize * 997 % 40_000;
            prop_assert!(asked.ended && served.written == served.answer.len());
            prop_assert_eq!(asked.body.len(), size);
        } else {
            prop_assert!(asked.reset);
        }
        self.unsent.remove(&stream);
        if !self.core.rest(self.now, at, false) {
            self.core.vacate(at);
        }
        Ok(())
    }

    /// Goes on until everything that was asked for is there.
    fn complete(&mut self) -> Result<(), TestCaseError> {
        let asked: BTreeSet<u32> = self.slots.keys().copied().collect();
        for stream in asked {
            let mut turns = 0;
            while self.slots.contains_key(&stream) {
                self.take(Step::Send(20_000))?;
                for _ in 0..4 {
                    if self.slots.contains_key(&stream) {
                        self.read(stream, 40_000);
                        self.settle()?;
                    }
                }
                if !self.slots.contains_key(&stream) {
                    continue;
                }
                self.write(stream, 40_000);
                let asked = self.client.streams.get_mut(&stream).expect("it was asked");
                asked.window += 60_000;
                self.client.window += 60_000;
                let mut frames = Vec::new();
                frame::write_window(&mut frames, 0, 60_000);
                frame::write_window(&mut frames, stream, 60_000);
                self.say(&frames)?;
                self.settle()?;
                turns += 1;
                prop_assert!(turns < 20, "it goes on");
            }
        }
        prop_assert!(!self.core.is_busy());
        Ok(())
    }
}

#[test]
fn accounts_of_both_sides_agree() {
    let strategy = (0..70_000u32, vec(step(), 0..120));
    fuzz(strategy, |(first_window, steps)| {
        let mut world = World::new(first_window);
        for step in steps {
            world.take(step)?;
        }
        world.complete()
    });
}
