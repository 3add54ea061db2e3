//! Answers of an OCSP responder (RFC 6960) in a file: read, and held against the certificate they are stapled to.
//!
//! ```text
//! response  | status | [0] { type, OCTET STRING { basic } }
//! basic     | data { [0] version?, responder, produced at, answers ... } | algorithm | signature | ...
//! answer    | certificate { algorithm, name hash, key hash, serial } | [0] good, [1] revoked, [2] unknown | this update | [0] next update?
//! ```
//! The signature is the clients' to check: they know whom to believe.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::asn1_rs::{Any, Class, FromDer as _, Tag};
use x509_parser::time::ASN1Time;

/// The largest answer that is read, in octets.
const SIZE_LIMIT: u64 = 64 * 1024;
/// `id-pkix-ocsp-basic`, 1.3.6.1.5.5.7.48.1.1.
const BASIC: [u8; 9] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const SUCCESSFUL: &[u8] = &[0];
const GOOD: Tag = Tag(0);
const REVOKED: Tag = Tag(1);

/// An answer that says a certificate is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staple {
    /// As the responder sent it.
    pub der: Vec<u8>,
    /// When it ceases to hold; `None` if it does not say.
    pub until: Option<SystemTime>,
}

/// Why an answer is not stapled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StapleError {
    /// It cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is no answer of a responder.
    #[error("{0} is not the answer of an OCSP responder")]
    Malformed(PathBuf),
    /// It says nothing about the certificate.
    #[error("{0} is about another certificate")]
    Other(PathBuf),
    /// It says that the certificate was revoked.
    #[error("{0} says that the certificate was revoked")]
    Revoked(PathBuf),
    /// It says that the responder does not know the certificate.
    #[error("{0} says that nobody knows the certificate")]
    Unknown(PathBuf),
    /// It does not hold at this time.
    #[error("{0} holds at another time than this")]
    Stale(PathBuf),
}

/// Reads what a file says of the certificate with this serial number; without a time it is not asked whether it holds.
pub(crate) fn read(
    path: &Path,
    serial: &[u8],
    now: Option<SystemTime>,
) -> Result<Staple, StapleError> {
    let unreadable = |error: std::io::Error| StapleError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let mut der = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(SIZE_LIMIT)
        .read_to_end(&mut der)
        .map_err(unreadable)?;
    let path = path.to_owned();
    let Some(answers) = answers(&der) else {
        return Err(StapleError::Malformed(path));
    };
    let about = |answer: &&Answer<'_>| unsigned(answer.serial) == unsigned(serial);
    let Some(answer) = answers.iter().find(about) else {
        return Err(StapleError::Other(path));
    };
    match answer.status {
        GOOD => {}
        REVOKED => return Err(StapleError::Revoked(path)),
        _ => return Err(StapleError::Unknown(path)),
    }
    let holds = |now| answer.since <= now && answer.until.is_none_or(|until| now < until);
    if now.is_some_and(|now| !holds(now)) {
        return Err(StapleError::Stale(path));
    }
    let until = answer.until;
    Ok(Staple { der, until })
}

/// What is said of one certificate.
struct Answer<'d> {
    serial: &'d [u8],
    status: Tag,
    since: SystemTime,
    until: Option<SystemTime>,
}

/// The answers in a response; `None` if it is none, or not a successful one.
fn answers(der: &[u8]) -> Option<Vec<Answer<'_>>> {
    let mut response = Parts(Parts(der).next(Tag::Sequence)?);
    if response.next(Tag::Enumerated)? != SUCCESSFUL {
        return None;
    }
    let mut typed = Parts(Parts(response.context(0)?).next(Tag::Sequence)?);
    if typed.next(Tag::Oid)? != BASIC {
        return None;
    }
    let mut basic = Parts(Parts(typed.next(Tag::OctetString)?).next(Tag::Sequence)?);
    let mut data = Parts(basic.next(Tag::Sequence)?);
    // The version comes only where it is not the first.
    if data.peek()? == (Class::ContextSpecific, Tag(0)) {
        data.any()?;
    }
    data.any()?; // who answers
    data.next(Tag::GeneralizedTime)?;
    let mut all = Parts(data.next(Tag::Sequence)?);
    let mut answers = Vec::new();
    while !all.0.is_empty() {
        answers.push(answer(Parts(all.next(Tag::Sequence)?))?);
    }
    Some(answers)
}

fn answer(mut parts: Parts<'_>) -> Option<Answer<'_>> {
    let mut certificate = Parts(parts.next(Tag::Sequence)?);
    certificate.next(Tag::Sequence)?;
    certificate.next(Tag::OctetString)?;
    certificate.next(Tag::OctetString)?;
    let serial = certificate.next(Tag::Integer)?;
    let status = parts.any()?;
    if status.class() != Class::ContextSpecific {
        return None;
    }
    let since = parts.time()?;
    let until = match parts.peek() {
        Some((Class::ContextSpecific, Tag(0))) => Some(Parts(parts.context(0)?).time()?),
        Some(_) | None => None,
    };
    Some(Answer {
        serial,
        status: status.tag(),
        since,
        until,
    })
}

/// A number without the octets that only say it is not negative.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    &number[zeros..]
}

/// Values one after the other.
struct Parts<'d>(&'d [u8]);

impl<'d> Parts<'d> {
    fn any(&mut self) -> Option<Any<'d>> {
        let (rest, any) = Any::from_der(self.0).ok()?;
        self.0 = rest;
        Some(any)
    }

    /// What the next value holds, which is of this kind.
    fn next(&mut self, tag: Tag) -> Option<&'d [u8]> {
        let any = self.any()?;
        (any.class() == Class::Universal && any.tag() == tag).then_some(any.data)
    }

    /// The same for one that the context gives its meaning.
    fn context(&mut self, number: u32) -> Option<&'d [u8]> {
        let any = self.any()?;
        let is_it = any.class() == Class::ContextSpecific && any.tag() == Tag(number);
        is_it.then_some(any.data)
    }

    fn peek(&self) -> Option<(Class, Tag)> {
        let any = Parts(self.0).any()?;
        Some((any.class(), any.tag()))
    }

    fn time(&mut self) -> Option<SystemTime> {
        let (rest, time) = ASN1Time::from_der(self.0).ok()?;
        self.0 = rest;
        let seconds = u64::try_from(time.timestamp()).ok()?;
        Some(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}
