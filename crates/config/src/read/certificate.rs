//! `[certificate.NAME]`.

use std::path::PathBuf;
use std::sync::Arc;

use super::Files;
use crate::Code;
use crate::certificate::{Certificate, CertificateContent, CertificateWarning};
use crate::tree::{At, Item, Place, Section};

/// A certificate as written, with what its files hold.
#[derive(Debug)]
pub(crate) struct CertificateDraft {
    /// The name, at the table's header.
    pub(crate) name: At<String>,
    /// Where its file is named, or else its table.
    pub(crate) place: Place,
    /// `None` after an error.
    pub(crate) certificate: Option<Certificate>,
}

pub(super) fn read(name: At<String>, section: Section<'_>, files: Files<'_>) -> CertificateDraft {
    let cert = section.require("cert", "cert = \"/etc/tandem/app.pem\"");
    let key = section.require("key", "key = \"/etc/tandem/app.key\"");
    let ocsp = section.get("ocsp");
    section.finish();
    let path = |item: &Item<'_>| -> Option<PathBuf> {
        Some(files.folder.join(item.string_like("the path of a file")?))
    };
    let place = match &cert {
        Some(cert) => cert.place(),
        None => name.place.clone(),
    };
    let paths = (cert.as_ref().and_then(path), key.as_ref().and_then(path));
    let (Some(cert), Some(key), (Some(cert_file), Some(key_file))) = (cert, key, paths) else {
        return CertificateDraft {
            name,
            place,
            certificate: None,
        };
    };
    let mut certificate = Certificate {
        name: name.value.clone(),
        cert_file,
        key_file,
        ocsp_file: ocsp.as_ref().and_then(path),
        content: None,
    };
    if files.access {
        certificate.content = content(&certificate, (&cert, &key, ocsp.as_ref()), files);
    }
    let usable = !files.access || certificate.content.is_some();
    CertificateDraft {
        name,
        place,
        certificate: usable.then_some(certificate),
    }
}

/// What the files hold; what is wrong with it is reported.
fn content(
    certificate: &Certificate,
    (cert, key, ocsp): (&Item<'_>, &Item<'_>, Option<&Item<'_>>),
    files: Files<'_>,
) -> Option<Arc<CertificateContent>> {
    let name = &certificate.name;
    let content = match certificate.read(files.now) {
        Ok(content) => content,
        Err(error) => {
            let item = if error.is_about_key() { key } else { cert };
            let message = format!("certificate `{name}`: {error}");
            item.error(Code::File, message, error.remedy());
            return None;
        }
    };
    let warn = |item: &Item<'_>, warning: CertificateWarning| {
        let message = format!("certificate `{name}`: {}", warning.message);
        let remedy = warning.remedy.to_owned();
        item.found()
            .warning(Code::File, &item.place(), message, remedy);
    };
    for warning in files.now.into_iter().flat_map(|now| content.warnings(now)) {
        warn(cert, warning);
    }
    if let (Some(ocsp), Some(warning)) = (ocsp, content.staple_warning()) {
        warn(ocsp, warning);
    }
    Some(Arc::new(content))
}
