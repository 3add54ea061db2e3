//! TLS of the benches: one certificate for all proxies, and clients that all do the same.
//!
//! The certificate is of ECDSA P-256. Clients offer TLS 1.3 with X25519 and AES-256-GCM and nothing else, so that no proxy chooses
//! what is more or less work. They believe whatever is signed: what clients spend is not measured.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme};

use super::Speech;

/// Whom the clients ask for.
const NAME: &str = "bench.example";
/// Tickets kept by the clients together.
const MAX_TICKETS: usize = 4096;

pub(super) fn name() -> anyhow::Result<ServerName<'static>> {
    Ok(ServerName::try_from(NAME)?)
}

/// Where the files of a certificate are.
#[derive(Debug)]
pub(super) struct Files {
    /// The certificate.
    pub(super) certificate: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// Both in one.
    pub(super) both: PathBuf,
}

impl Files {
    /// Those of `folder`, made if they are not there.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Files> {
        let files = Files {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            both: folder.join("both.pem"),
        };
        if !files.both.exists() {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
            std::fs::write(&files.certificate, certificate.pem())?;
            std::fs::write(&files.key, key.serialize_pem())?;
            std::fs::write(&files.both, certificate.pem() + &key.serialize_pem())?;
        }
        Ok(files)
    }
}

/// How clients that speak so set up TLS; `None` if they do not.
pub(super) fn config(speech: Speech) -> anyhow::Result<Option<Arc<ClientConfig>>> {
    let (alpn, resumes) = match speech {
        Speech::Clear
        | Speech::Http2 {
            encrypted: false, ..
        } => return Ok(None),
        Speech::Tls { resumes } => ("http/1.1", resumes),
        Speech::Http2 {
            encrypted: true, ..
        } => ("h2", false),
    };
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        ..aws_lc_rs::default_provider()
    };
    let schemes = provider
        .signature_verification_algorithms
        .supported_schemes();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS of the clients")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believes(schemes)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.into()];
    config.resumption = match resumes {
        true => Resumption::store(Arc::new(Tickets::default())),
        false => Resumption::disabled(),
    };
    Ok(Some(Arc::new(config)))
}

/// Believes everybody.
#[derive(Debug)]
struct Believes(Vec<SignatureScheme>);

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Every ticket a client was given, used once.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _name: ServerName<'static>, value: Tls13ClientSessionValue) {
        if let Ok(mut tickets) = self.0.lock()
            && tickets.len() < MAX_TICKETS
        {
            tickets.push(value);
        }
    }

    fn take_tls13_ticket(&self, _name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().ok()?.pop()
    }
}
