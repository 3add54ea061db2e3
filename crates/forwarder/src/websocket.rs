//! WebSocket inside a tunnel: where its frames begin and end, and the frame that says that it is over (RFC 6455 §5).
//!
//! ```text
//!   0               1               2
//!  +-+-----+-------+-+-------------+------------------+---------------+---------
//!  |F| RSV | opcode|M| length      | longer length    | masking key   | payload
//!  | |     |   (4) | |  (7)        | (16 or 64 bits)  | (32 bits, if M)|
//!  +-+-----+-------+-+-------------+------------------+---------------+---------
//! ```
//!
//! Nothing is checked or changed on the way: frames are only counted through, so that one of our own can be put between two of them when a
//! tunnel has to be ended.

/// A frame that ends the conversation.
const CLOSE: u8 = 0x8;
/// The peer is going away (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;
/// FIN, in the first byte of a frame.
const FIN: u8 = 0x80;
/// Whether there is a masking key, in the second byte of a frame.
const MASKED: u8 = 0x80;
const MASK_BYTES: u64 = 4;
/// In place of the length: it follows in so many bytes.
const LENGTH_IN_2: u8 = 126;
const LENGTH_IN_8: u8 = 127;

/// Where in its frames one direction of a tunnel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frames {
    /// Between two frames.
    Between,
    /// Behind the first byte of a frame.
    Begun {
        /// It ends the conversation.
        close: bool,
    },
    /// In a longer length.
    Length {
        close: bool,
        masked: bool,
        /// Bytes of it still to come.
        left: u8,
        value: u64,
    },
    /// In the payload, the masking key before it being a part of it here.
    Payload { close: bool, left: u64 },
    /// Nobody knows: it is no WebSocket, or bytes went by unseen.
    Unknown,
    /// Behind a frame that ends the conversation: nothing may follow.
    Closed,
}

impl Frames {
    /// Goes on behind these bytes.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !matches!(self, Self::Unknown | Self::Closed) {
            bytes = self.step(bytes);
        }
    }

    /// Goes on behind so many bytes nobody has looked at.
    pub(crate) fn pass_unseen(&mut self, count: u64) {
        *self = match *self {
            Self::Payload { close, left } if count <= left => Self::in_payload(close, left - count),
            Self::Closed => Self::Closed,
            _ if count == 0 => return,
            Self::Between
            | Self::Begun { .. }
            | Self::Length { .. }
            | Self::Payload { .. }
            | Self::Unknown => Self::Unknown,
        };
    }

    /// One piece of a frame further; the bytes behind it.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (first, rest) = match bytes.split_first() {
            Some((first, rest)) => (*first, rest),
            None => return bytes,
        };
        match *self {
            Self::Between => {
                *self = Self::Begun {
                    close: first & 0x0f == CLOSE,
                };
                rest
            }
            Self::Begun { close } => {
                let masked = first & MASKED != 0;
                *self = match first & !MASKED {
                    LENGTH_IN_2 => Self::length(close, masked, 2),
                    LENGTH_IN_8 => Self::length(close, masked, 8),
                    length => Self::payload(close, masked, u64::from(length)),
                };
                rest
            }
            Self::Length {
                close,
                masked,
                left,
                value,
            } => {
                let value = value << 8 | u64::from(first);
                *self = match left {
                    0 | 1 => Self::payload(close, masked, value),
                    left => Self::Length {
                        close,
                        masked,
                        left: left - 1,
                        value,
                    },
                };
                rest
            }
            Self::Payload { close, left } => {
                let passed =
                    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *self = Self::in_payload(close, left - passed as u64);
                &bytes[passed..]
            }
            Self::Unknown | Self::Closed => &[],
        }
    }

    fn length(close: bool, masked: bool, bytes: u8) -> Self {
        Self::Length {
            close,
            masked,
            left: bytes,
            value: 0,
        }
    }

    fn payload(close: bool, masked: bool, length: u64) -> Self {
        let key = if masked { MASK_BYTES } else { 0 };
        Self::in_payload(close, length.saturating_add(key))
    }

    fn in_payload(close: bool, left: u64) -> Self {
        match (left, close) {
            (0, true) => Self::Closed,
            (0, false) => Self::Between,
            (left, close) => Self::Payload { close, left },
        }
    }
}

/// What says to a client that the tunnel ends because something behind it goes away.
pub(crate) fn farewell_to_client() -> [u8; 4] {
    let [high, low] = GOING_AWAY.to_be_bytes();
    [FIN | CLOSE, 2, high, low]
}

/// The same to a target, which takes masked frames alone. The mask keeps what is sent from looking like something else to those in between
/// (RFC 6455 §10.3).
pub(crate) fn farewell_to_target(mask: [u8; 4]) -> [u8; 8] {
    let [high, low] = GOING_AWAY.to_be_bytes();
    let [a, b, c, d] = mask;
    [FIN | CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as somebody else would write it.
    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        let mask = if masked { 0x80 } else { 0 };
        match length {
            0..126 => out.push(mask | length as u8),
            126..0x1_0000 => {
                out.push(mask | 126);
                out.extend((length as u16).to_be_bytes());
            }
            _ => {
                out.push(mask | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            out.extend([1, 2, 3, 4]);
        }
        // Looks like frames, and is none.
        out.extend(std::iter::repeat_n(0x88, length));
        out
    }

    fn after(bytes: &[u8]) -> Frames {
        let mut frames = Frames::Between;
        frames.pass(bytes);
        frames
    }

    #[test]
    fn a_frame_ends_where_it_says() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let whole = frame(2, masked, length);
                assert_eq!(after(&whole), Frames::Between, "{length}");
                let short = after(&whole[..whole.len() - 1]);
                assert!(
                    !matches!(short, Frames::Between | Frames::Closed),
                    "{short:?}"
                );
                let closing = [frame(1, masked, length), frame(8, masked, 2)].concat();
                assert_eq!(after(&closing), Frames::Closed);
                assert_eq!(after(&[&closing[..], b"junk"].concat()), Frames::Closed);
            }
        }
        assert_eq!(after(&farewell_to_client()), Frames::Closed);
        assert_eq!(after(&farewell_to_target([7, 8, 9, 1])), Frames::Closed);
        assert_eq!(farewell_to_client(), [0x88, 2, 0x03, 0xe9]);
        assert_eq!(
            farewell_to_target([1, 2, 3, 4]),
            [0x88, 0x82, 1, 2, 3, 4, 2, 0xeb]
        );
    }

    #[test]
    fn what_goes_by_unseen_may_be_payload_and_nothing_else() {
        let whole = frame(2, true, 70_000);
        let mut frames = after(&whole[..20]);
        frames.pass_unseen(60_000);
        frames.pass(&whole[60_020..]);
        assert_eq!(frames, Frames::Between);
        frames.pass_unseen(0);
        assert_eq!(frames, Frames::Between);
        frames.pass_unseen(1);
        assert_eq!(frames, Frames::Unknown);
        frames.pass(&whole);
        assert_eq!(frames, Frames::Unknown, "for good");
        let mut frames = after(&whole[..20]);
        frames.pass_unseen(whole.len() as u64);
        assert_eq!(frames, Frames::Unknown);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            at in 0..400usize,
        ) {
            let at = at.min(bytes.len());
            let mut in_two = after(&bytes[..at]);
            in_two.pass(&bytes[at..]);
            prop_assert_eq!(in_two, after(&bytes));
            let mut one_by_one = Frames::Between;
            bytes.chunks(1).for_each(|byte| one_by_one.pass(byte));
            prop_assert_eq!(one_by_one, after(&bytes));
        }
    }
}
