//! Header blocks from the client: requests that begin, trailers, and what of both is refused.

use std::time::Instant;

use super::receive::Ended;
use super::slot::Slot;
use super::{Block, Core, DYING, Fault, KEPT_BYTES, Leaving};
use crate::cause::Cause;
use crate::http2::answer::Asked;
use crate::http2::frame::{self, END_HEADERS, END_STREAM, Header, Reason, WITH_PRIORITY};
use crate::http2::head::{self, Head, Malformed, Upload};
use crate::http2::hpack::decoder::Read;
use crate::http2::hpack::encoder;
use crate::http2::manners;

impl Core {
    pub(super) fn take_headers(&mut self, now: Instant, header: Header, payload: &[u8]) -> Ended {
        let mut fragment = frame::unpadded(header, payload).ok_or(Reason::ProtocolError)?;
        let mut odd = false;
        if header.has(WITH_PRIORITY) {
            odd = frame::number(fragment) == header.stream;
            fragment = fragment.get(5..).ok_or(Reason::FrameSizeError)?;
        }
        let whole = header.has(END_STREAM);
        self.blocks = self.blocks.wrapping_add(1);
        if header.has(END_HEADERS) {
            return self.take_block(now, (header.stream, whole, odd), fragment);
        }
        self.block = Some(Block {
            stream: header.stream,
            whole,
            odd,
            bytes: fragment.to_vec(),
        });
        Ok(())
    }

    pub(super) fn take_continuation(
        &mut self,
        now: Instant,
        header: Header,
        payload: &[u8],
    ) -> Ended {
        self.manners.spend(now, manners::FRAME);
        let Some(mut block) = self.block.take() else {
            return Err(Reason::ProtocolError);
        };
        block.bytes.extend_from_slice(payload);
        if header.has(END_HEADERS) {
            let Block {
                stream,
                whole,
                odd,
                bytes,
            } = block;
            return self.take_block(now, (stream, whole, odd), &bytes);
        }
        // Twice what may be in it, as it would be in the worst code; and a frame more, so that 431 can be said.
        let most = 2 * self.limits.header_bytes as usize + 2 * frame::MAX_PAYLOAD;
        if block.bytes.len() > most {
            self.fault = Some(Fault::TooMuch);
        }
        self.block = Some(block);
        Ok(())
    }

    /// Takes a whole header block.
    fn take_block(
        &mut self,
        now: Instant,
        (stream, whole, odd): (u32, bool, bool),
        block: &[u8],
    ) -> Ended {
        if stream.is_multiple_of(2) {
            return Err(Reason::ProtocolError);
        }
        if let Some(at) = self.find(stream) {
            return self.take_trailers(now, (at, whole), block);
        }
        if stream <= self.highest {
            return match self.closed_by(stream) {
                // It may have been on the way.
                Some(true) => self.skip_block(block),
                Some(false) => Err(Reason::StreamClosed),
                None => Err(Reason::ProtocolError),
            };
        }
        if matches!(self.leaving, Leaving::Final(last) if stream > last) {
            return self.skip_block(block);
        }
        self.highest = stream;
        let Some(at) = self.place() else {
            self.skip_block(block)?;
            self.refuse(now, stream, Reason::RefusedStream, manners::RESET / 2);
            return Ok(());
        };
        let begun = self.take_request(now, (stream, whole, odd), at, block)?;
        if !begun {
            self.slots[at].head.release();
        }
        Ok(())
    }

    /// Resets a stream that was not begun.
    fn refuse(&mut self, now: Instant, stream: u32, reason: Reason, cost: u32) {
        frame::write_reset(self.out.vec(), stream, reason);
        self.remember(stream, true);
        self.manners.spend(now, cost);
    }

    /// Reads a block for the table's sake alone.
    fn skip_block(&mut self, block: &[u8]) -> Ended {
        let read = self.decoder.read(block, 0, |_, _| {});
        read.map(|_| ()).map_err(|_| Reason::CompressionError)
    }

    /// A slot for a stream: one where somebody waits, if there is one. It stays in its list.
    fn place(&mut self) -> Option<usize> {
        if self.open.len() >= self.limits.streams as usize {
            return None;
        }
        if let Some(at) = self.resting.last().or(self.vacant.last()) {
            return Some(*at);
        }
        let most = self.limits.streams as usize + DYING;
        (self.slots.len() < most).then(|| {
            self.slots.push(Slot::vacant());
            self.vacant.push(self.slots.len() - 1);
            self.slots.len() - 1
        })
    }

    /// Takes a request; true if its stream has begun.
    fn take_request(
        &mut self,
        now: Instant,
        (stream, whole, odd): (u32, bool, bool),
        at: usize,
        block: &[u8],
    ) -> Result<bool, Reason> {
        let slot = &mut self.slots[at];
        let mut head = Head::new(slot.head.vec(), &mut self.texts, whole);
        let limit = self.limits.header_bytes as usize;
        let read = self
            .decoder
            .read(block, limit, |name, value| head.field(name, value));
        let read = read.map_err(|_| Reason::CompressionError)?;
        let written = head.finish(self.nonce ^ u128::from(stream) << 64);
        if self.texts.capacity() > KEPT_BYTES {
            self.texts = Vec::new();
        }
        let written = match (read, written) {
            _ if odd => Err(Malformed::Reset("a stream that depends on itself")),
            (Read::TooLarge, _) => {
                self.told.notes.push((Cause::HeadLimit, "header list"));
                self.manners.spend(now, manners::RESET);
                self.answer(stream, *b"431", whole);
                return Ok(false);
            }
            (Read::Whole, written) => written,
        };
        match written {
            Ok(written) => {
                slot.upload = written.upload;
                slot.left = match written.upload {
                    Upload::Plain(length) => Some(length),
                    Upload::None | Upload::Chunked | Upload::Tunnel => None,
                };
                slot.asked = Asked {
                    is_head: written.is_head,
                    tunnel: written.upload == Upload::Tunnel,
                };
                slot.begin(stream, self.first_window, whole);
                match self.resting.pop() {
                    Some(_) => {}
                    None => drop(self.vacant.pop()),
                }
                self.open.push((stream, at));
                self.told.wake(at);
                Ok(true)
            }
            Err(Malformed::Reset(why)) => {
                self.told.notes.push((Cause::Malformed, why));
                self.refuse(now, stream, Reason::ProtocolError, manners::RESET);
                Ok(false)
            }
            Err(Malformed::Refused(why)) => {
                self.told.notes.push((Cause::Malformed, why));
                self.manners.spend(now, manners::RESET);
                self.answer(stream, *b"400", whole);
                Ok(false)
            }
        }
    }

    fn take_trailers(&mut self, now: Instant, (at, whole): (usize, bool), block: &[u8]) -> Ended {
        let Self {
            slots,
            decoder,
            limits,
            ..
        } = self;
        let slot = &mut slots[at];
        let mut malformed = false;
        let chunked = slot.upload == Upload::Chunked && !slot.said;
        let mut lines = std::mem::take(&mut slot.tail);
        if chunked {
            lines.extend(b"0\r\n");
        }
        let limit = limits.header_bytes as usize;
        let mut unread = Vec::new();
        let read = decoder.read(block, limit, |name, value| {
            let out = if chunked { lines.vec() } else { &mut unread };
            malformed |= head::trailer(out, name, value).is_err();
        });
        let read = read.map_err(|_| Reason::CompressionError)?;
        if chunked {
            lines.extend(b"\r\n");
        }
        slot.tail = lines;
        let fault = match (slot.said, whole) {
            (true, _) => Some(Reason::StreamClosed),
            (false, false) => Some(Reason::ProtocolError),
            (false, true) if malformed || slot.left.is_some_and(|left| left > 0) => {
                Some(Reason::ProtocolError)
            }
            (false, true) if read == Read::TooLarge => Some(Reason::EnhanceYourCalm),
            (false, true) => None,
        };
        match fault {
            Some(reason) => self.fail(now, at, reason),
            None => {
                self.said(at);
                self.told.wake(at);
            }
        }
        Ok(())
    }

    /// Answers a request that is not served: with a status and nothing else.
    fn answer(&mut self, stream: u32, status: [u8; 3], whole: bool) {
        let first = !std::mem::replace(&mut self.has_answered, true);
        let out = self.out.vec();
        Self::write_headers(out, (stream, END_STREAM, first), |out| {
            encoder::write_status(out, status);
        });
        if !whole {
            frame::write_reset(out, stream, Reason::NoError);
        }
        self.remember(stream, !whole);
    }
}
