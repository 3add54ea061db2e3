//! TLS: certificates chosen by name, handshakes held to a time and a number.
//!
//! The protocol itself is rustls with the primitives of AWS-LC. Which files hold certificates and keys is not known here.
//!
//! - [`certificates`]: a chain with its key, and which of them a client gets.
//! - [`clients`]: who clients have to be.
//! - [`facts`]: what a handshake has agreed upon, for those who tell others.
//! - [`acceptor`]: what a listener does with a client that wants TLS.
//! - [`handshake`]: from a TCP connection to an encrypted one.
//! - [`hello`]: whom a client asks for, read in passing.
//! - [`name`]: whom a certificate is for, in words.
//! - [`session`]: what comes after a handshake.
//! - [`targets`]: connections to targets.
//! - [`tickets`]: how clients come back to their sessions.

pub(crate) mod acceptor;
pub(crate) mod certificates;
mod clients;
pub(crate) mod facts;
pub(crate) mod handshake;
mod hello;
mod name;
pub(crate) mod session;
pub(crate) mod targets;
pub(crate) mod tickets;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use certificates::CertificateMaterial;
pub use tickets::TicketSecret;

/// What goes with a plan and is no setting: what the named files hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Materials {
    /// Certificates by the names that listeners use.
    pub certificates: Vec<CertificateMaterial>,
    /// Whom targets and clients may be vouched for by, in PEM form, by the names of the files that settings use.
    pub authorities: BTreeMap<String, String>,
    /// What has been revoked, in PEM form, by the names of the files that listeners use.
    pub revocations: BTreeMap<String, String>,
    /// What session tickets are made with, the one in use first; without any they are this process's own.
    pub tickets: Vec<TicketSecret>,
}

/// Why TLS cannot be set up. Whoever reads the files finds out before.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A listener speaks TLS, but nothing says how.
    #[error("there are no settings for TLS")]
    NoSettings,
    /// A listener names none.
    #[error("no certificate is named")]
    NoCertificate,
    /// A listener names one that is not there.
    #[error("there is no certificate {0}")]
    UnknownCertificate(String),
    /// The PEM text of a certificate or its key cannot be read.
    #[error("certificate {name} is not in PEM form")]
    Pem {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used together.
    #[error("certificate {name} cannot be used with its key")]
    Rejected {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Nobody knows what has been revoked.
    #[error("{0} holds no usable revocation list")]
    NoRevocations(String),
    /// There is nobody to vouch for targets or clients.
    #[error("{0} holds no certificate of an authority")]
    NoAuthority(String),
    /// The name targets should have is none.
    #[error("{0:?} is no name a certificate can have")]
    BadName(String),
    /// The settings cannot be used.
    #[error("the settings for TLS cannot be used")]
    Settings(#[source] rustls::Error),
}

/// The primitives.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(provider)
}
