//! Frames (RFC 9113 §4, §6): their headers read and written, the sizes and kinds there are.
//!
//! ```text
//!   | length (24) | kind (8) | flags (8) | - stream (31) | payload ...
//! ```

/// Bytes before the payload (§4.1).
pub(crate) const HEADER_BYTES: usize = 9;
/// Bytes of a payload, either way: what everybody has to take (§4.2).
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;
/// What a client begins with (§3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// SETTINGS and PING that only confirm.
pub(crate) const ACK: u8 = 0x1;
/// The last frame of a direction of a stream.
pub(crate) const END_STREAM: u8 = 0x1;
/// The last frame of a header block.
pub(crate) const END_HEADERS: u8 = 0x4;
/// The payload begins with the length of what it ends with and means nothing.
pub(crate) const PADDED: u8 = 0x8;
/// HEADERS that begin with what PRIORITY says.
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// Settings (§6.5.2, RFC 8441 §3), as far as they mean something to us.
pub(crate) const ENABLE_PUSH: u16 = 0x2;
/// Streams at once.
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
/// The window a stream begins with.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// Bytes of a payload.
pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
/// Bytes of a header list.
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// Tunnels may be asked for.
pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// The bits of a number of a stream, the highest being reserved.
const STREAM_BITS: u32 = 0x7fff_ffff;

/// Kinds of frames (§6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A piece of a body.
    Data,
    /// The beginning of a header block.
    Headers,
    /// Read and left out.
    Priority,
    /// The end of a stream before its time.
    RstStream,
    /// What a peer wants of the other.
    Settings,
    /// Nothing a client may send.
    PushPromise,
    /// A question whether the peer is there.
    Ping,
    /// The end of the connection is near.
    GoAway,
    /// More may be sent.
    WindowUpdate,
    /// More of a header block.
    Continuation,
    /// One of an extension, to be left out (§5.5).
    Unknown,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Self::Data,
        Self::Headers,
        Self::Priority,
        Self::RstStream,
        Self::Settings,
        Self::PushPromise,
        Self::Ping,
        Self::GoAway,
        Self::WindowUpdate,
        Self::Continuation,
    ];

    fn of(number: u8) -> Self {
        let known = Self::ALL.get(usize::from(number));
        known.copied().unwrap_or(Self::Unknown)
    }
}

/// Errors (§7), as far as we say them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// All is well.
    NoError = 0x0,
    /// Something the protocol does not allow.
    ProtocolError = 0x1,
    /// The answer broke off.
    InternalError = 0x2,
    /// More than the window took, or a window beyond its end.
    FlowControlError = 0x3,
    /// A frame on a stream that has ended.
    StreamClosed = 0x5,
    /// A frame of a size it cannot have.
    FrameSizeError = 0x6,
    /// A stream beyond the limit, of which nothing was looked at.
    RefusedStream = 0x7,
    /// A header block that cannot be read.
    CompressionError = 0x9,
    /// Too much of something.
    EnhanceYourCalm = 0xb,
}

/// What stands before a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Bytes of the payload.
    pub(crate) length: usize,
    /// What it is.
    pub(crate) kind: Kind,
    /// What is special about it.
    pub(crate) flags: u8,
    /// The stream it is about; 0 for the connection.
    pub(crate) stream: u32,
}

impl Header {
    /// The header that bytes begin with; `None` if they are too few.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [high, middle, low, kind, flags, a, b, c, d] = *bytes.first_chunk()?;
        Some(Self {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([a, b, c, d]) & STREAM_BITS,
        })
    }

    /// True if this flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is wrong with a frame of this kind on this stream, with a payload of this size.
    pub(crate) fn fault(&self) -> Option<Reason> {
        let length = self.length;
        let fits = match self.kind {
            Kind::Priority => length == 5,
            Kind::RstStream | Kind::WindowUpdate => length == 4,
            Kind::Settings if self.has(ACK) => length == 0,
            Kind::Settings => length.is_multiple_of(6) && length <= MAX_PAYLOAD,
            Kind::Ping => length == 8,
            Kind::GoAway => (8..=MAX_PAYLOAD).contains(&length),
            Kind::Data | Kind::Headers | Kind::PushPromise | Kind::Continuation | Kind::Unknown => {
                length <= MAX_PAYLOAD
            }
        };
        let belongs = match self.kind {
            Kind::Data | Kind::Headers | Kind::Priority | Kind::RstStream | Kind::Continuation => {
                self.stream != 0
            }
            Kind::Settings | Kind::Ping | Kind::GoAway => self.stream == 0,
            // A client promises nothing (§8.4).
            Kind::PushPromise => false,
            Kind::WindowUpdate | Kind::Unknown => true,
        };
        match (fits, belongs) {
            (false, _) => Some(Reason::FrameSizeError),
            (true, false) => Some(Reason::ProtocolError),
            (true, true) => None,
        }
    }

    /// The header in bytes.
    pub(crate) fn bytes(length: usize, kind: Kind, flags: u8, stream: u32) -> [u8; HEADER_BYTES] {
        debug_assert!(length <= MAX_PAYLOAD, "no peer has to take more");
        let [_, high, middle, low] = (length as u32).to_be_bytes();
        let [a, b, c, d] = stream.to_be_bytes();
        [high, middle, low, kind as u8, flags, a, b, c, d]
    }
}

/// Appends a whole frame.
pub(crate) fn write(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&Header::bytes(payload.len(), kind, flags, stream));
    out.extend_from_slice(payload);
}

/// Appends the end of a stream before its time.
pub(crate) fn write_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    write(
        out,
        Kind::RstStream,
        0,
        stream,
        &(reason as u32).to_be_bytes(),
    );
}

/// Appends that so many bytes more may be sent, on a stream or, if it is 0, on all together.
pub(crate) fn write_window(out: &mut Vec<u8>, stream: u32, more: u32) {
    write(out, Kind::WindowUpdate, 0, stream, &more.to_be_bytes());
}

/// Appends that the connection ends; `last` is the last stream that is served.
pub(crate) fn write_goaway(out: &mut Vec<u8>, last: u32, reason: Reason) {
    let (last, reason) = (last.to_be_bytes(), (reason as u32).to_be_bytes());
    write(out, Kind::GoAway, 0, 0, [last, reason].as_flattened());
}

/// Appends settings.
pub(crate) fn write_settings(out: &mut Vec<u8>, pairs: &[(u16, u32)]) {
    out.extend_from_slice(&Header::bytes(6 * pairs.len(), Kind::Settings, 0, 0));
    for (id, value) in pairs {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends a PING, or the answer to one.
pub(crate) fn write_ping(out: &mut Vec<u8>, flags: u8, token: &[u8]) {
    write(out, Kind::Ping, flags, 0, token);
}

/// Makes HEADERS of the header block that stands behind room for a header at `start`; what is too long for one frame goes on in
/// CONTINUATION.
pub(crate) fn finish_headers(out: &mut Vec<u8>, start: usize, flags: u8, stream: u32) {
    let block = start + HEADER_BYTES;
    let length = out.len() - block;
    let (length, rest) = match length <= MAX_PAYLOAD {
        true => (length, Vec::new()),
        false => (MAX_PAYLOAD, out.split_off(block + MAX_PAYLOAD)),
    };
    let ends = if rest.is_empty() { END_HEADERS } else { 0 };
    let header = Header::bytes(length, Kind::Headers, flags | ends, stream);
    out[start..block].copy_from_slice(&header);
    let count = rest.chunks(MAX_PAYLOAD).len();
    for (at, piece) in rest.chunks(MAX_PAYLOAD).enumerate() {
        let ends = if at + 1 == count { END_HEADERS } else { 0 };
        write(out, Kind::Continuation, ends, stream, piece);
    }
}

/// The four bytes at the beginning of a payload as a number, without the highest bit.
pub(crate) fn number(payload: &[u8]) -> u32 {
    let bytes = payload.first_chunk().copied().unwrap_or_default();
    u32::from_be_bytes(bytes) & STREAM_BITS
}

/// The payload of DATA and HEADERS without what it is padded with (§6.1); `None` if that is more than there is.
pub(crate) fn unpadded(header: Header, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    let length = rest.len().checked_sub(usize::from(*padding))?;
    Some(&rest[..length])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_in_bytes() {
        let mut out = Vec::new();
        write_goaway(&mut out, 5, Reason::EnhanceYourCalm);
        assert_eq!(out, [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]);
        out.clear();
        write_window(&mut out, 3, 65_536);
        assert_eq!(out, [0, 0, 4, 8, 0, 0, 0, 0, 3, 0, 1, 0, 0]);
        out.clear();
        write_reset(&mut out, 0x7fff_ffff, Reason::CompressionError);
        assert_eq!(out, [0, 0, 4, 3, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9]);
    }

    #[test]
    fn what_padding_may_be() {
        let padded = |flags, payload: &'static [u8]| {
            let bytes = Header::bytes(payload.len(), Kind::Data, flags, 1);
            unpadded(Header::read(&bytes).unwrap(), payload)
        };
        assert_eq!(padded(0, b"abc"), Some(&b"abc"[..]));
        assert_eq!(padded(PADDED, b"\x01ab"), Some(&b"a"[..]));
        assert_eq!(padded(PADDED, b"\x02ab"), Some(&b""[..]));
        assert_eq!(padded(PADDED, b"\x03ab"), None);
        assert_eq!(padded(PADDED, b""), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(length in 0..=MAX_PAYLOAD, kind in 0..10u8, flags: u8, stream in 0..=STREAM_BITS) {
            let kind = Kind::of(kind);
            let header = Header { length, kind, flags, stream };
            let bytes = Header::bytes(length, kind, flags, stream);
            prop_assert_eq!(Header::read(&bytes), Some(header));
            let mut reserved = bytes;
            reserved[5] |= 0x80;
            prop_assert_eq!(Header::read(&reserved), Some(header));
        }
    }
}
