//! `tls` of a group: whom its targets have to be, and who vouches for them.

use std::path::Path;
use std::sync::Arc;

use balancer::TargetTlsSettings;
use rustls::pki_types::ServerName;

use super::Files;
use crate::Code;
use crate::tree::{At, Findings, Item, Place};
use crate::trust::read_authorities;

/// Whom this host trusts, where nobody says otherwise.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `tls` as written, with what its file holds.
#[derive(Clone, Debug)]
pub(crate) struct TargetTlsDraft {
    pub(crate) settings: TargetTlsSettings,
    /// The authorities in PEM form; `None` without file access or after an error.
    pub(crate) authorities: Option<Arc<str>>,
    /// The certificate it names.
    pub(crate) certificate: Option<At<String>>,
}

/// Reads `tls`; `Some(None)` if it is off, `None` after an error.
pub(super) fn read(item: &Item<'_>, files: Files<'_>) -> Option<Option<TargetTlsDraft>> {
    if item.is_off() {
        return Some(None);
    }
    let section = item.section_or("\"off\" or a table like { name = \"web.internal\" }")?;
    let name = section.get("name");
    let ca = section.get("ca");
    let certificate = section.get("certificate");
    section.finish();
    let name = match &name {
        Some(name) => Some(server_name(name)?),
        None => None,
    };
    let path = match &ca {
        Some(ca) => files.folder.join(ca.string_like("the path of a file")?),
        None => Path::new(SYSTEM).to_owned(),
    };
    let authorities = match files.access {
        true => authorities(&path, &ca.as_ref().unwrap_or(item).place(), item.found()),
        false => None,
    };
    let ca = path.display().to_string();
    let certificate = match &certificate {
        Some(item) => Some(item.at(item.string_like("the name of a certificate")?.to_owned())),
        None => None,
    };
    Some(Some(TargetTlsDraft {
        settings: TargetTlsSettings {
            name,
            ca,
            certificate: certificate.as_ref().map(|name| name.value.clone()),
        },
        authorities,
        certificate,
    }))
}

fn server_name(item: &Item<'_>) -> Option<String> {
    let what = "a name like \"web.internal\", as certificates have it";
    let name = item.string_like(what)?;
    if ServerName::try_from(name).is_err() {
        item.expected(what, None);
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// What `tls = {}` says, which nobody has written: `place` is what asks for it.
pub(super) fn usual(place: &Place, files: Files<'_>, found: &Findings<'_>) -> TargetTlsDraft {
    TargetTlsDraft {
        settings: TargetTlsSettings {
            name: None,
            ca: SYSTEM.to_owned(),
            certificate: None,
        },
        authorities: match files.access {
            true => authorities(Path::new(SYSTEM), place, found),
            false => None,
        },
        certificate: None,
    }
}

/// Whom a file trusts; what is wrong with it is reported.
fn authorities(path: &Path, place: &Place, found: &Findings<'_>) -> Option<Arc<str>> {
    match read_authorities(path) {
        Ok(text) => Some(text),
        Err(error) => {
            let remedy =
                "give `ca` a file in PEM form; without it that of the package ca-certificates";
            found.error(Code::File, place, error.to_string(), remedy.to_owned());
            None
        }
    }
}
