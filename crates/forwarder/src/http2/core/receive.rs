//! What comes from the client: frames, one after the other.

use std::time::Instant;

use super::{Begun, Core, End, Fault, GOODBYE, Leaving, MAX_WINDOW};
use crate::http2::frame::{self, ACK, END_STREAM, HEADER_BYTES, Header, Kind, PREFACE, Reason};
use crate::http2::head::Upload;
use crate::http2::manners;

/// The connection cannot go on.
pub(super) type Ended = Result<(), Reason>;

impl Core {
    /// Takes whole frames from the beginning of `bytes`; how many bytes they were. Nothing is taken once there is a fault.
    pub(crate) fn receive(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.fault.is_none() {
            let rest = &bytes[taken..];
            if self.begun == Begun::No {
                let known = PREFACE.len().min(rest.len());
                if rest[..known] != PREFACE[..known] {
                    self.fault = Some(Fault::Foreign);
                }
                if known < PREFACE.len() {
                    break;
                }
                self.begun = Begun::Preface;
                taken += known;
                continue;
            }
            let Some(header) = Header::read(rest) else {
                break;
            };
            if let Err(reason) = self.admit(header) {
                self.fault = Some(Fault::Broken(reason));
                break;
            }
            let Some(payload) = rest[HEADER_BYTES..].get(..header.length) else {
                break;
            };
            taken += HEADER_BYTES + header.length;
            if let Err(reason) = self.take(now, header, payload) {
                self.fault = Some(Fault::Broken(reason));
            } else if self.manners.is_exhausted() {
                self.fault = Some(Fault::TooMuch);
            }
        }
        if std::mem::take(&mut self.wider) {
            self.flush();
        }
        taken
    }

    /// Bytes that are still to come of what `partial` begins with, of which nothing could be taken.
    pub(crate) fn missing(&self, partial: &[u8]) -> usize {
        let whole = match (self.begun, Header::read(partial)) {
            (Begun::No, _) => PREFACE.len(),
            (Begun::Preface | Begun::Whole, None) => HEADER_BYTES,
            (Begun::Preface | Begun::Whole, Some(header)) => HEADER_BYTES + header.length,
        };
        whole.saturating_sub(partial.len()).max(1)
    }

    /// The number of the header block of which a part is still to come; `partial`: what has come of the next frame.
    pub(crate) fn unfinished(&self, partial: &[u8]) -> Option<u32> {
        let begins = |header: Header| self.has_begun() && header.kind == Kind::Headers;
        match self.block {
            Some(_) => Some(self.blocks),
            None => Header::read(partial)
                .filter(|header| begins(*header))
                .map(|_| self.blocks.wrapping_add(1)),
        }
    }

    /// Judges a frame by its header.
    fn admit(&mut self, header: Header) -> Ended {
        if self.begun == Begun::Preface && (header.kind != Kind::Settings || header.has(ACK)) {
            return Err(Reason::ProtocolError);
        }
        if let Some(reason) = header.fault() {
            return Err(reason);
        }
        // Nothing comes between the pieces of a header block (§6.10).
        let fits = match &self.block {
            Some(block) => header.kind == Kind::Continuation && header.stream == block.stream,
            None => header.kind != Kind::Continuation,
        };
        fits.then_some(()).ok_or(Reason::ProtocolError)
    }

    fn take(&mut self, now: Instant, header: Header, payload: &[u8]) -> Ended {
        match header.kind {
            Kind::Data => return self.take_data(now, header, payload),
            Kind::Headers => return self.take_headers(now, header, payload),
            Kind::Continuation => return self.take_continuation(now, header, payload),
            Kind::WindowUpdate => return self.take_window(now, header, payload),
            Kind::Priority | Kind::RstStream | Kind::Settings | Kind::Ping | Kind::GoAway => {}
            Kind::PushPromise | Kind::Unknown => {}
        }
        // All others only make work.
        self.manners.spend(now, manners::FRAME);
        match header.kind {
            Kind::Priority => self.take_priority(now, header.stream, payload),
            Kind::RstStream => return self.take_reset(now, header.stream),
            Kind::Settings if header.has(ACK) => {}
            Kind::Settings => return self.take_settings(payload),
            Kind::Ping if !header.has(ACK) => frame::write_ping(self.out.vec(), ACK, payload),
            Kind::Ping if payload == GOODBYE && self.leaving == Leaving::Told => self.leave_now(),
            Kind::GoAway => self.client_leaves = true,
            Kind::Ping
            | Kind::Data
            | Kind::Headers
            | Kind::PushPromise
            | Kind::WindowUpdate
            | Kind::Continuation
            | Kind::Unknown => {}
        }
        Ok(())
    }

    /// True if a stream was never opened (§5.1).
    fn is_idle(&self, stream: u32) -> bool {
        stream > self.highest || stream.is_multiple_of(2)
    }

    /// Who closed a stream, if that was lately: true for us.
    pub(super) fn closed_by(&self, stream: u32) -> Option<bool> {
        let mut recent = self.recent.iter().rev();
        let found = recent.find(|(other, _)| *other == stream);
        found.map(|(_, by_us)| *by_us)
    }

    fn take_data(&mut self, now: Instant, header: Header, payload: &[u8]) -> Ended {
        if self.is_idle(header.stream) {
            return Err(Reason::ProtocolError);
        }
        let data = frame::unpadded(header, payload).ok_or(Reason::ProtocolError)?;
        let length = header.length as u32;
        // What nobody reads counts, too (§6.9.1).
        let left = self.window.checked_sub(length);
        self.window = left.ok_or(Reason::FlowControlError)?;
        let ends = header.has(END_STREAM);
        if data.is_empty() && !ends {
            self.manners.spend(now, manners::FRAME);
        }
        let Some(at) = self.find(header.stream) else {
            self.give_back(length);
            if self.closed_by(header.stream) != Some(true) {
                frame::write_reset(self.out.vec(), header.stream, Reason::StreamClosed);
                self.manners.spend(now, manners::RESET);
            }
            return Ok(());
        };
        let slot = &mut self.slots[at];
        let fault = if slot.said {
            Some(Reason::StreamClosed)
        } else if length > slot.window {
            Some(Reason::FlowControlError)
        } else {
            let left = slot.left.map(|left| left.checked_sub(data.len() as u64));
            let fits = match left {
                None => true,
                Some(Some(left)) => !ends || left == 0,
                Some(None) => false,
            };
            slot.left = left.flatten();
            (!fits).then_some(Reason::ProtocolError)
        };
        if let Some(reason) = fault {
            self.give_back(length);
            self.fail(now, at, reason);
            return Ok(());
        }
        slot.window -= length;
        slot.body.extend(data);
        let padding = length - data.len() as u32;
        let more = slot.give_back(padding);
        self.give_back(padding);
        if let Some(more) = more.filter(|_| !ends) {
            frame::write_window(self.out.vec(), header.stream, more);
        }
        if ends {
            self.said(at);
        }
        self.told.wake(at);
        Ok(())
    }

    /// The client has said all of its request.
    pub(super) fn said(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.said = true;
        if slot.upload == Upload::Chunked && slot.tail.is_empty() {
            slot.tail.extend(b"0\r\n\r\n");
        }
        if slot.has_sent() {
            self.close(at, End::Served, false);
        }
    }

    fn take_priority(&mut self, now: Instant, stream: u32, payload: &[u8]) {
        if frame::number(payload) != stream {
            return;
        }
        match self.find(stream) {
            Some(at) => self.fail(now, at, Reason::ProtocolError),
            None => {
                frame::write_reset(self.out.vec(), stream, Reason::ProtocolError);
                self.manners.spend(now, manners::RESET);
            }
        }
    }

    fn take_reset(&mut self, now: Instant, stream: u32) -> Ended {
        if self.is_idle(stream) {
            return Err(Reason::ProtocolError);
        }
        if let Some(at) = self.find(stream) {
            self.close(at, End::Reset, false);
            self.manners.spend(now, manners::RESET);
            self.told.wake(at);
        }
        Ok(())
    }

    fn take_settings(&mut self, payload: &[u8]) -> Ended {
        self.begun = Begun::Whole;
        let pairs = payload.as_chunks::<6>().0;
        for [id_high, id_low, a, b, c, d] in pairs {
            let value = u32::from_be_bytes([*a, *b, *c, *d]);
            match u16::from_be_bytes([*id_high, *id_low]) {
                frame::ENABLE_PUSH | frame::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                    return Err(Reason::ProtocolError);
                }
                frame::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(Reason::ProtocolError);
                }
                frame::INITIAL_WINDOW_SIZE => self.change_windows(i64::from(value))?,
                // What we write is within what everybody has to take.
                _ => {}
            }
        }
        frame::write(self.out.vec(), Kind::Settings, ACK, 0, &[]);
        Ok(())
    }

    /// Changes the windows of all streams (§6.9.2).
    fn change_windows(&mut self, first: i64) -> Ended {
        if first > MAX_WINDOW {
            return Err(Reason::FlowControlError);
        }
        let change = first - self.first_window;
        self.first_window = first;
        for nth in 0..self.open.len() {
            let (_, at) = self.open[nth];
            let slot = &mut self.slots[at];
            slot.send_window += change;
            if slot.send_window > MAX_WINDOW {
                return Err(Reason::FlowControlError);
            }
            if slot.waits() {
                self.stand_in_line(at);
            }
        }
        self.wider = true;
        Ok(())
    }

    fn take_window(&mut self, now: Instant, header: Header, payload: &[u8]) -> Ended {
        let more = i64::from(frame::number(payload));
        self.manners.widens(now);
        if header.stream == 0 {
            self.send_window += more;
            if more == 0 {
                return Err(Reason::ProtocolError);
            }
            if self.send_window > MAX_WINDOW {
                return Err(Reason::FlowControlError);
            }
            self.wider = true;
            return Ok(());
        }
        if self.is_idle(header.stream) {
            return Err(Reason::ProtocolError);
        }
        // One that is closed may not know it yet.
        let Some(at) = self.find(header.stream) else {
            return Ok(());
        };
        let slot = &mut self.slots[at];
        slot.send_window += more;
        let beyond = slot.send_window > MAX_WINDOW;
        match (more, beyond) {
            (0, _) => self.fail(now, at, Reason::ProtocolError),
            (_, true) => self.fail(now, at, Reason::FlowControlError),
            (_, false) if slot.waits() => {
                self.stand_in_line(at);
                self.wider = true;
            }
            (_, false) => {}
        }
        Ok(())
    }
}
