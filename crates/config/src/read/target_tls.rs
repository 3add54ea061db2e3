//! `tls` of a group: whom its targets have to be, and who vouches for them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use balancer::TargetTlsSettings;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use super::Files;
use crate::Code;
use crate::tree::Item;

/// Whom this host trusts, where nobody says otherwise.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The largest file that is read, in octets.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// `tls` as written, with what its file holds.
#[derive(Clone, Debug)]
pub(crate) struct TargetTlsDraft {
    pub(crate) settings: TargetTlsSettings,
    /// The authorities in PEM form; `None` without file access or after an error.
    pub(crate) authorities: Option<Arc<str>>,
}

/// Reads `tls`; `Some(None)` if it is off, `None` after an error.
pub(super) fn read(item: &Item<'_>, files: Files<'_>) -> Option<Option<TargetTlsDraft>> {
    if item.is_off() {
        return Some(None);
    }
    let section = item.section_or("\"off\" or a table like { name = \"web.internal\" }")?;
    let name = section.get("name");
    let ca = section.get("ca");
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
        true => authorities(&path, ca.as_ref().unwrap_or(item)),
        false => None,
    };
    let ca = path.display().to_string();
    Some(Some(TargetTlsDraft {
        settings: TargetTlsSettings { name, ca },
        authorities,
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

/// The text of a file with at least one certificate; what is wrong with it is reported.
fn authorities(path: &Path, item: &Item<'_>) -> Option<Arc<str>> {
    let (path_words, mut text) = (path.display(), String::new());
    let read = File::open(path).and_then(|file| file.take(SIZE_LIMIT).read_to_string(&mut text));
    let problem = match read {
        Err(error) => format!("cannot read the authorities in {path_words}: {error}"),
        Ok(_) => {
            let mut found = CertificateDer::pem_slice_iter(text.as_bytes());
            if found.any(|certificate| certificate.is_ok()) {
                return Some(text.into());
            }
            format!("{path_words} holds no certificate of an authority")
        }
    };
    let remedy = "give `ca` a file in PEM form; without it that of the package ca-certificates";
    item.error(Code::File, problem, remedy.to_owned());
    None
}
