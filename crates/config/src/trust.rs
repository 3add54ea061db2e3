//! Whom others may be vouched for by, and what has been revoked: files in PEM form, read and understood.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{BorrowedCertRevocationList, anchor_from_trusted_cert};

/// The largest file that is read, in octets.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// What a file of revocation lists holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    /// The lists in PEM form.
    pub text: String,
    /// When the first of them should have been followed by another; `None` if none of them says.
    pub until: Option<SystemTime>,
}

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is something in it that looks like PEM and is none.
    #[error("{path} is not in PEM form")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// There is no certificate in it that can vouch for another.
    #[error("{0} holds no certificate of an authority")]
    NoAuthority(PathBuf),
    /// There is no revocation list in it.
    #[error("{0} holds no revocation list")]
    NoList(PathBuf),
    /// A revocation list cannot be understood.
    #[error("revocation list {number} in {path} cannot be used")]
    StrangeList {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
    },
}

impl TrustError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check that it exists, and that root owns it or may read it",
            Self::Pem { .. } | Self::NoAuthority(_) => {
                "give the certificates of authorities in PEM form: BEGIN CERTIFICATE"
            }
            Self::NoList(_) => {
                "it must be in PEM form: BEGIN X509 CRL; \
                 `openssl crl -inform der -in OLD -out NEW` makes it so"
            }
            Self::StrangeList { .. } => {
                "give whole lists of version 2, as authorities publish them"
            }
        }
    }
}

/// Reads whom others may be vouched for by: at least one certificate of an authority.
///
/// # Errors
/// If the file cannot be read, or holds none.
pub fn read_authorities(path: &Path) -> Result<Arc<str>, TrustError> {
    let text = text(path)?;
    let mut usable = 0;
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|source| not_pem(path, source))?;
        // Of a system's hundreds one that is not understood takes no trust from the others.
        usable += usize::from(anchor_from_trusted_cert(&certificate).is_ok());
    }
    match usable {
        0 => Err(TrustError::NoAuthority(path.to_owned())),
        _ => Ok(text.into()),
    }
}

/// Reads what has been revoked: at least one list.
///
/// # Errors
/// If the file cannot be read or holds none, or one of them is not understood.
pub fn read_revocations(path: &Path) -> Result<Arc<Revocations>, TrustError> {
    let text = text(path)?;
    let mut until: Option<SystemTime> = None;
    let mut count = 0;
    for list in CertificateRevocationListDer::pem_slice_iter(text.as_bytes()) {
        let list = list.map_err(|source| not_pem(path, source))?;
        count += 1;
        let strange = || TrustError::StrangeList {
            path: path.to_owned(),
            number: count,
        };
        BorrowedCertRevocationList::from_der(&list).map_err(|_| strange())?;
        let (_, parsed) = x509_parser::parse_x509_crl(&list).map_err(|_| strange())?;
        let next = parsed.next_update().map(|next| {
            let seconds = u64::try_from(next.timestamp()).unwrap_or_default();
            UNIX_EPOCH + Duration::from_secs(seconds)
        });
        until = until.into_iter().chain(next).min();
    }
    match count {
        0 => Err(TrustError::NoList(path.to_owned())),
        _ => Ok(Arc::new(Revocations { text, until })),
    }
}

impl Revocations {
    /// What is worth a warning about its age at this time. What has been revoked stays revoked.
    pub fn time_warning(&self, now: SystemTime) -> Option<String> {
        let late = now.duration_since(self.until?).ok()?;
        let hours = late.as_secs() / 3600;
        Some(format!(
            "its next list was due {hours} h ago: what was revoked since then is not known"
        ))
    }
}

fn not_pem(path: &Path, source: pem::Error) -> TrustError {
    TrustError::Pem {
        path: path.to_owned(),
        source,
    }
}

fn text(path: &Path) -> Result<String, TrustError> {
    let unreadable = |reason: String| TrustError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(SIZE_LIMIT + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(unreadable(error.to_string())),
        Ok(length) if length as u64 > SIZE_LIMIT => {
            Err(unreadable("it is larger than 4 MiB".to_owned()))
        }
        Ok(_) => Ok(text),
    }
}
