//! Certificates and keys in files: read, understood, and checked against each other.
//!
//! No octet of a key is ever part of a message.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ocsp::{self, Staple, StapleError};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::public_key::PublicKey;

/// The largest file that is read, in octets.
const SIZE_LIMIT: u64 = 256 * 1024;
/// The most certificates in one file.
const MAX_CHAIN: usize = 16;
/// Before its end a certificate is warned about for so long.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);
const DAY_S: u64 = 86_400;

/// One `[certificate.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The name in the file.
    pub name: String,
    /// The file with the certificate and its chain.
    pub cert_file: PathBuf,
    /// The file with the private key; may be the same.
    pub key_file: PathBuf,
    /// The file with what a responder says of the certificate, if there is one.
    pub ocsp_file: Option<PathBuf>,
    /// What they hold; `None` without file access.
    pub content: Option<Arc<CertificateContent>>,
}

/// What the two files of a certificate hold.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateContent {
    /// The chain in PEM form.
    pub chain: String,
    /// The private key in PEM form.
    pub key: String,
    /// The DNS names the certificate is for, in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// Who signed it.
    pub issuer: String,
    /// What kind of key it has, such as `ECDSA P-256`.
    pub key_kind: String,
    /// When it begins to be valid.
    pub not_before: SystemTime,
    /// When it ceases to be valid.
    pub not_after: SystemTime,
    /// What clients who ask get of a responder's word on it, or why they get nothing; `None` without a file.
    pub staple: Option<Result<Staple, StapleError>>,
    /// The chain holds the certificate itself once more.
    leaf_twice: bool,
    /// Permissions of the file with the key.
    key_mode: u32,
}

/// The key is not shown.
impl fmt::Debug for CertificateContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateContent")
            .field("names", &self.names)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// It is the one with the key.
        of_key: bool,
    },
    /// The file has no certificate in it.
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    /// A certificate cannot be understood.
    #[error("certificate {number} in {path} is not one")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
    },
    /// The file has more certificates than a chain can have.
    #[error("{0} holds more than {MAX_CHAIN} certificates")]
    LongChain(PathBuf),
    /// The file has no private key in it.
    #[error("{0} holds no private key that is not encrypted")]
    NoKey(PathBuf),
    /// The private key is of a kind that is not known.
    #[error("the key in {0} cannot be used")]
    StrangeKey(PathBuf),
    /// The private key belongs to another certificate.
    #[error("the key in {key} does not match the certificate in {cert}")]
    Mismatch {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// The certificate it does match, counted from 1, if it is in the same file.
        matches: Option<usize>,
    },
}

impl CertificateError {
    /// True if the file with the key is at fault.
    pub fn is_about_key(&self) -> bool {
        match self {
            Self::Unreadable { of_key, .. } => *of_key,
            Self::NoKey(_) | Self::StrangeKey(_) | Self::Mismatch { .. } => true,
            Self::NoCertificate(_) | Self::Malformed { .. } | Self::LongChain(_) => false,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check that it exists, and that root owns it or may read it".to_owned()
            }
            Self::NoCertificate(_) | Self::Malformed { .. } => {
                "it must be in PEM form: BEGIN CERTIFICATE".to_owned()
            }
            Self::LongChain(_) => {
                "give the certificate and those between it and the root".to_owned()
            }
            Self::NoKey(path) => format!(
                "it must be in PEM form; take the password away with `openssl pkey -in {} -out NEW`",
                path.display()
            ),
            Self::StrangeKey(_) => {
                "use RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519".to_owned()
            }
            Self::Mismatch {
                matches: Some(number),
                ..
            } => {
                format!("it matches certificate {number} in that file: put that one first")
            }
            Self::Mismatch { matches: None, .. } => {
                "give the key the certificate was made with".to_owned()
            }
        }
    }
}

/// Something about a certificate that works, but not for long or not for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateWarning {
    /// What is the matter.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Certificate {
    /// Reads the files. The word of a responder that does not hold at this time is left out; without a time nobody asks.
    ///
    /// # Errors
    /// If certificate or key cannot be read or understood, or they do not belong together.
    pub fn read(&self, now: Option<SystemTime>) -> Result<CertificateContent, CertificateError> {
        read(self, now)
    }
}

fn read(
    wanted: &Certificate,
    now: Option<SystemTime>,
) -> Result<CertificateContent, CertificateError> {
    let (cert_file, key_file) = (&wanted.cert_file, &wanted.key_file);
    let (chain, _) = text(cert_file, false)?;
    let (key, key_mode) = text(key_file, true)?;
    let certificates = certificates(cert_file, &chain)?;
    let private = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| CertificateError::NoKey(key_file.to_owned()))?;
    let private = aws_lc_rs::sign::any_supported_type(&private)
        .map_err(|_| CertificateError::StrangeKey(key_file.to_owned()))?;
    let matches = |certificate: &CertificateDer<'static>| {
        let pair = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&private));
        pair.keys_match().is_ok()
    };
    match certificates.iter().position(matches) {
        Some(0) => {}
        other => {
            return Err(CertificateError::Mismatch {
                cert: cert_file.to_owned(),
                key: key_file.to_owned(),
                matches: other.map(|index| index + 1),
            });
        }
    }
    let malformed = || CertificateError::Malformed {
        path: cert_file.to_owned(),
        number: 1,
    };
    let (leaf, others) = certificates.split_first().ok_or_else(malformed)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| malformed())?;
    Ok(CertificateContent {
        names: names(&parsed),
        serial: parsed.raw_serial_as_string().replace(':', ""),
        issuer: parsed.issuer().to_string(),
        key_kind: key_kind(&parsed),
        not_before: time(parsed.validity().not_before.timestamp()),
        not_after: time(parsed.validity().not_after.timestamp()),
        staple: wanted
            .ocsp_file
            .as_ref()
            .map(|path| ocsp::read(path, parsed.raw_serial(), now)),
        leaf_twice: others.contains(leaf),
        key_mode,
        chain,
        key,
    })
}

/// A file as text, and its permissions.
fn text(path: &Path, of_key: bool) -> Result<(String, u32), CertificateError> {
    let unreadable = |reason: String| CertificateError::Unreadable {
        path: path.to_owned(),
        reason,
        of_key,
    };
    let io = |error: std::io::Error| unreadable(error.to_string());
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    let mut text = String::new();
    let read = file.take(SIZE_LIMIT + 1).read_to_string(&mut text);
    if read.map_err(io)? as u64 > SIZE_LIMIT {
        return Err(unreadable("it is larger than 256 KiB".to_owned()));
    }
    Ok((text, metadata.permissions().mode() & 0o7777))
}

fn certificates(path: &Path, text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut found = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
        if index == MAX_CHAIN {
            return Err(CertificateError::LongChain(path.to_owned()));
        }
        let malformed = || CertificateError::Malformed {
            path: path.to_owned(),
            number: index + 1,
        };
        let certificate = certificate.map_err(|_| malformed())?;
        x509_parser::parse_x509_certificate(&certificate).map_err(|_| malformed())?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(CertificateError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| &extension.value.general_names);
    let dns = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _other_kinds => None,
    });
    dns.collect()
}

fn key_kind(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        // The coordinates of P-521 are padded to whole octets.
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size().min(521)),
        Ok(_) | Err(_) => "Ed25519".to_owned(),
    }
}

fn time(seconds: i64) -> SystemTime {
    let length = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds {
        0.. => UNIX_EPOCH.checked_add(length),
        _ => UNIX_EPOCH.checked_sub(length),
    };
    time.unwrap_or(UNIX_EPOCH)
}

impl CertificateContent {
    /// Whether one of its names covers a host name without wildcards, or is the same pattern.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            *name == host
                || name
                    .strip_prefix("*.")
                    .is_some_and(|rest| parent == Some(rest))
        })
    }

    /// What is worth a warning about its validity at this time.
    pub fn time_warning(&self, now: SystemTime) -> Option<CertificateWarning> {
        let days = |time: Duration| match time.as_secs() / DAY_S {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        let (message, remedy) = match (
            self.not_after.duration_since(now),
            now.duration_since(self.not_before),
        ) {
            (_, Err(early)) => (
                format!("it is valid only in {}", days(early.duration())),
                "is the clock of this host right?",
            ),
            (Err(late), _) => (
                format!(
                    "it expired {} ago: clients refuse it",
                    days(late.duration())
                ),
                "renew it",
            ),
            (Ok(left), Ok(_)) if left < EXPIRY_WARNING => {
                (format!("it expires in {}", days(left)), "renew it")
            }
            (Ok(_), Ok(_)) => return None,
        };
        Some(CertificateWarning { message, remedy })
    }

    /// Why the word of a responder is not passed on, where it should be.
    pub fn staple_warning(&self) -> Option<CertificateWarning> {
        let error = self.staple.as_ref()?.as_ref().err()?;
        Some(CertificateWarning {
            message: format!("{error}: clients get the certificate without it"),
            remedy: "ask the responder again: `openssl ocsp -issuer CA -cert CERT -url URL -respout FILE`",
        })
    }

    /// Everything that is worth a warning at this time.
    pub fn warnings(&self, now: SystemTime) -> Vec<CertificateWarning> {
        let mut warnings: Vec<CertificateWarning> = self.time_warning(now).into_iter().collect();
        let mut warn = |message: String, remedy| {
            warnings.push(CertificateWarning { message, remedy });
        };
        if self.leaf_twice {
            warn(
                "its chain holds the certificate itself twice".to_owned(),
                "remove the second one",
            );
        }
        if self.key_mode & 0o004 != 0 {
            warn(
                format!(
                    "everybody on this host may read its key (mode {:04o})",
                    self.key_mode
                ),
                "take that right away with `chmod o-r`",
            );
        }
        warnings
    }
}
