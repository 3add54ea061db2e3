//! `client_ca` of a listener and what goes with it: who clients have to be, and who vouches for them.

use std::path::PathBuf;
use std::sync::Arc;

use balancer::{ClientCertificate, ClientTlsSettings};

use super::Files;
use crate::Code;
use crate::tree::{Item, Section};
use crate::trust::{Revocations, TrustError, read_authorities, read_revocations};

/// Who clients have to be, with what the files hold.
#[derive(Debug)]
pub(crate) struct ClientTlsDraft {
    pub(crate) settings: ClientTlsSettings,
    /// The authorities in PEM form; `None` without file access or after an error.
    pub(crate) authorities: Option<Arc<str>>,
    /// What they have revoked; `None` also without `client_crl`.
    pub(crate) revocations: Option<Arc<Revocations>>,
}

/// Reads the keys that begin with `client_`; `None` if there are none, or after an error.
pub(super) fn read(section: &Section<'_>, files: Files<'_>) -> Option<ClientTlsDraft> {
    let ca = section.get("client_ca");
    let others = [section.get("client_crl"), section.get("client_certificate")];
    let Some(ca) = ca else {
        for item in others.iter().flatten() {
            let message = format!("`{}` without `client_ca`", item.name());
            let remedy = "add `client_ca = \"/etc/tandem/clients.pem\"`, or remove it".to_owned();
            item.found()
                .error(Code::MissingKey, &item.key_place(), message, remedy);
        }
        return None;
    };
    let [crl, certificate] = others;
    let words = &[
        ("require", ClientCertificate::Require),
        ("allow", ClientCertificate::Allow),
    ];
    let certificate = match &certificate {
        Some(item) => item.word(words)?,
        None => ClientCertificate::default(),
    };
    let path = |item: &Item<'_>| -> Option<PathBuf> {
        Some(files.folder.join(item.string_like("the path of a file")?))
    };
    let ca_path = path(&ca)?;
    let crl_path = match &crl {
        Some(item) => Some(path(item)?),
        None => None,
    };
    let authorities = files
        .access
        .then(|| usable(&ca, read_authorities(&ca_path)))
        .flatten();
    let revocations = crl.as_ref().zip(crl_path.as_deref());
    let revocations = revocations
        .filter(|_| files.access)
        .and_then(|(item, path)| usable(item, read_revocations(path)));
    if let (Some(item), Some(now), Some(revocations)) = (&crl, files.now, &revocations)
        && let Some(words) = revocations.time_warning(now)
    {
        let message = format!("`client_crl`: {words}");
        let remedy = "get the present list from the authority".to_owned();
        item.found()
            .warning(Code::File, &item.place(), message, remedy);
    }
    Some(ClientTlsDraft {
        settings: ClientTlsSettings {
            ca: ca_path.display().to_string(),
            crl: crl_path.map(|path| path.display().to_string()),
            certificate,
        },
        authorities,
        revocations,
    })
}

/// What a file holds; what is wrong with it is reported.
fn usable<T>(item: &Item<'_>, read: Result<T, TrustError>) -> Option<T> {
    match read {
        Ok(content) => Some(content),
        Err(error) => {
            let message = format!("`{}`: {error}", item.name());
            item.error(Code::File, message, error.remedy().to_owned());
            None
        }
    }
}
