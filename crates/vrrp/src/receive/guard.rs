//! The check of the authentication trailer, between the VRID and the checksum.

use std::net::IpAddr;

use super::{Datagram, Expectation};
use crate::authentication::{
    AuthMode, Authentication, Marks, Proof, Signed, TRAILER_LEN, WallTime, claimed_stamp, verify,
};
use crate::counters::Reject;
use crate::wire::FIXED_LEN;

/// What a virtual router that authenticates needs besides its [`Expectation`]: the time, and what it has heard.
#[derive(Debug)]
pub struct Guard<'g> {
    /// Our wall clock.
    pub wall: WallTime,
    /// The highest stamps seen; moved by what is accepted, and by nothing else.
    pub marks: &'g mut Marks,
}

/// A payload parted into message and trailer.
#[derive(Clone, Copy)]
pub(super) struct Parted<'a> {
    pub(super) message: &'a [u8],
    pub(super) trailer: Option<&'a [u8; TRAILER_LEN]>,
}

impl<'a> Parted<'a> {
    /// Parts a payload whose message has `len` octets. A trailer may be there if the virtual router knows any, or is
    /// none of ours.
    pub(super) fn new(
        payload: &'a [u8],
        len: usize,
        expected: Option<&Expectation>,
    ) -> Result<Self, Reject> {
        let (message, rest) = payload.split_at_checked(len).ok_or(Reject::Length)?;
        let takes_trailer = expected.is_none_or(|expected| expected.authentication.is_some());
        match rest.try_into() {
            Ok(trailer) if takes_trailer => Ok(Self {
                message,
                trailer: Some(trailer),
            }),
            _ if rest.is_empty() => Ok(Self {
                message,
                trailer: None,
            }),
            _ => Err(Reject::Length),
        }
    }
}

/// Whether a packet may be believed; its proof if it is signed. Moves no mark.
pub(super) fn authenticate(
    datagram: &Datagram<'_>,
    parted: Parted<'_>,
    authentication: &Authentication,
    guard: Option<&Guard<'_>>,
) -> Result<Option<Proof>, Reject> {
    let Some(trailer) = parted.trailer else {
        return match authentication.mode {
            AuthMode::Enforce => Err(Reject::TrailerMissing),
            AuthMode::Permissive | AuthMode::ReceiveOnly => Ok(None),
        };
    };
    let signed = Signed {
        source: datagram.source,
        message: parted.message,
    };
    let proof = verify(authentication, signed, trailer)?;
    // Without a clock nothing can be called fresh.
    let guard = guard.ok_or(Reject::Stale)?;
    check_age(authentication, datagram.source, proof, guard)?;
    Ok(Some(proof))
}

/// The message of something that `seal` has signed, if it is to be believed; moves the mark of its sender.
///
/// # Errors
/// [`Reject::Short`], or what is wrong with the trailer.
pub fn open_sealed<'p>(
    authentication: &Authentication,
    source: IpAddr,
    packet: &'p [u8],
    guard: Guard<'_>,
) -> Result<&'p [u8], Reject> {
    let (message, trailer) = packet
        .split_last_chunk::<TRAILER_LEN>()
        .ok_or(Reject::Short)?;
    if message.len() < FIXED_LEN {
        return Err(Reject::Short);
    }
    let proof = verify(authentication, Signed { source, message }, trailer)?;
    check_age(authentication, source, proof, &guard)?;
    guard.marks.note(source, proof.stamp);
    Ok(message)
}

fn check_age(
    authentication: &Authentication,
    source: IpAddr,
    proof: Proof,
    guard: &Guard<'_>,
) -> Result<(), Reject> {
    if !authentication.is_fresh(proof.stamp, guard.wall) {
        return Err(Reject::Stale);
    }
    let marks = &guard.marks;
    if !marks.admits(source, proof.stamp, guard.wall, authentication) {
        return Err(Reject::Replay);
    }
    Ok(())
}

/// Whole seconds by which our clock is ahead of the stamp a packet ends with; negative if the sender's is ahead.
///
/// Meant for packets refused as [`Reject::Stale`] or [`Reject::Replay`]: only those are known to be signed by a holder
/// of the key.
#[must_use]
pub fn claimed_skew_s(payload: &[u8], wall: WallTime) -> Option<i64> {
    claimed_stamp(payload).map(|stamp| stamp.age_s(wall))
}
