//! The trailer of 28 octets behind the message.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |    type: 1    |    key id     |          reserved: 0          |
//! +---------------+---------------+-------------------------------+
//! |                            seconds                            |
//! +-------------------------------+-------------------------------+
//! |          1/65536 s            |            counter            |
//! +-------------------------------+-------------------------------+
//! |          HMAC-SHA256, the first 16 of its 32 octets           |
//! +---------------------------------------------------------------+
//! ```
//! The HMAC covers a prefix of 20 octets (family, version, VRID, zero, source address), the message with its checksum
//! as zero, and the trailer with the HMAC as zero. The checksum of IPv4 covers the message alone; that of IPv6 covers
//! the trailer as well.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Authentication, Key, Stamp};
use crate::counters::Reject;

/// Octets of the trailer.
pub const TRAILER_LEN: usize = 28;
/// Type of the trailer: HMAC-SHA256 cut to 128 bits.
const TYPE_HMAC_SHA256: u8 = 1;
/// Octets before the HMAC.
const HEAD_LEN: usize = 12;
/// Octets of the HMAC that are sent.
const MAC_LEN: usize = 16;
/// Octets of the prefix.
const PREFIX_LEN: usize = 20;
/// Where the checksum of the message is.
const CHECKSUM: std::ops::Range<usize> = 6..8;

/// What an HMAC is made over, besides the trailer's own head.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    /// Source address of the packet; the family follows from it.
    pub(crate) source: IpAddr,
    /// The message, at least its fixed part. Its checksum counts as zero.
    pub(crate) message: &'a [u8],
}

/// A trailer that holds: by which key, and when it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Number of the key.
    pub key: u8,
    /// When it was signed, by the sender's clock.
    pub stamp: Stamp,
}

/// The trailer for a message; `None` if the mode is not to sign.
pub(crate) fn sign(
    authentication: &Authentication,
    signed: Signed<'_>,
    stamp: Stamp,
) -> Option<[u8; TRAILER_LEN]> {
    let key = authentication
        .signs()
        .then(|| authentication.key(authentication.active()))??;
    let mut trailer = [0; TRAILER_LEN];
    trailer[0] = TYPE_HMAC_SHA256;
    trailer[1] = key.id();
    trailer[4..HEAD_LEN].copy_from_slice(&stamp.octets());
    let mac = mac(key, signed, &trailer[..HEAD_LEN])
        .finalize()
        .into_bytes();
    trailer[HEAD_LEN..].copy_from_slice(&mac[..MAC_LEN]);
    Some(trailer)
}

/// Signs a message that is no advertisement: the trailer goes behind it. The message has at least eight octets; its seventh and eighth are
/// left out of the signature. Nothing happens if the mode is not to sign.
///
/// # Panics
/// With a shorter message.
pub fn seal(authentication: &Authentication, source: IpAddr, message: &mut Vec<u8>, stamp: Stamp) {
    assert!(message.len() >= CHECKSUM.end, "a message has eight octets");
    let trailer = sign(authentication, Signed { source, message }, stamp);
    message.extend_from_slice(trailer.as_ref().map_or(&[], <[u8; _]>::as_slice));
}

/// Whether a trailer was made with one of our keys for just this message. Says nothing of its age.
pub(crate) fn verify(
    authentication: &Authentication,
    signed: Signed<'_>,
    trailer: &[u8; TRAILER_LEN],
) -> Result<Proof, Reject> {
    let [TYPE_HMAC_SHA256, id, 0, 0, ..] = *trailer else {
        return Err(Reject::TrailerForm);
    };
    let key = authentication.key(id).ok_or(Reject::KeyUnknown)?;
    // Compares in constant time.
    mac(key, signed, &trailer[..HEAD_LEN])
        .verify_truncated_left(&trailer[HEAD_LEN..])
        .map_err(|_| Reject::Hmac)?;
    Ok(Proof {
        key: id,
        stamp: stamp_of(trailer),
    })
}

/// The stamp a packet ends with, whether or not it holds; `None` if it is too short to have one.
pub(crate) fn claimed_stamp(payload: &[u8]) -> Option<Stamp> {
    payload.last_chunk::<TRAILER_LEN>().map(stamp_of)
}

fn stamp_of(trailer: &[u8; TRAILER_LEN]) -> Stamp {
    let octets = trailer[4..HEAD_LEN].try_into();
    Stamp::from_octets(octets.expect("eight octets lie between"))
}

fn mac(key: &Key, signed: Signed<'_>, head: &[u8]) -> Hmac<Sha256> {
    let Signed { source, message } = signed;
    let mut prefix = [0; PREFIX_LEN];
    prefix[1] = message[0] >> 4;
    prefix[2] = message[1];
    match source {
        IpAddr::V4(source) => {
            prefix[0] = 4;
            prefix[4..8].copy_from_slice(&source.octets());
        }
        IpAddr::V6(source) => {
            prefix[0] = 6;
            prefix[4..20].copy_from_slice(&source.octets());
        }
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&key.secret).expect("an HMAC takes a key of any length");
    mac.update(&prefix);
    mac.update(&message[..CHECKSUM.start]);
    mac.update(&[0; 2]);
    mac.update(&message[CHECKSUM.end..]);
    mac.update(head);
    mac.update(&[0; MAC_LEN]);
    mac
}
