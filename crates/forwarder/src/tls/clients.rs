//! Who clients have to be: those an authority of the operator's vouches for, and has not revoked.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use balancer::{ClientCertificate, ClientTlsSettings};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::targets::roots;
use super::{Materials, TlsError, provider};

/// What checks the certificates of a listener's clients; without settings nobody is asked for one.
pub(super) fn verifier(
    settings: Option<&ClientTlsSettings>,
    materials: &Materials,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(settings) = settings else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let missing = || TlsError::NoAuthority(settings.ca.clone());
    let authorities = materials.authorities.get(&settings.ca);
    let roots = roots(&settings.ca, authorities.ok_or_else(missing)?)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if let Some(path) = &settings.crl {
        builder = builder.with_crls(lists(path, materials)?);
    }
    builder = match settings.certificate {
        ClientCertificate::Require => builder,
        ClientCertificate::Allow => builder.allow_unauthenticated(),
    };
    let unusable = settings.crl.as_ref().unwrap_or(&settings.ca);
    builder
        .build()
        .map_err(|_| TlsError::NoRevocations(unusable.clone()))
}

/// What has been revoked. A certificate none of the lists is about is refused: nobody can say that it still holds.
fn lists(
    path: &str,
    materials: &Materials,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let missing = || TlsError::NoRevocations(path.to_owned());
    let text = materials.revocations.get(path).ok_or_else(missing)?;
    let lists = CertificateRevocationListDer::pem_slice_iter(text.as_bytes());
    let lists = lists.collect::<Result<Vec<_>, _>>();
    lists.map_err(|source| TlsError::Pem {
        name: path.to_owned(),
        source,
    })
}

/// What tells one demand on clients from another; empty where there is none.
pub(super) fn fingerprint(settings: Option<&ClientTlsSettings>, materials: &Materials) -> Vec<u8> {
    let Some(settings) = settings else {
        return Vec::new();
    };
    let authorities = materials.authorities.get(&settings.ca);
    let crl = settings.crl.as_ref();
    let lists = crl.and_then(|path| materials.revocations.get(path));
    let mut context = Context::new(&SHA256);
    for part in [
        settings.certificate.as_str(),
        authorities.map_or("", String::as_str),
        lists.map_or("", String::as_str),
    ] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().to_vec()
}
