//! What concerns TLS: whom listeners and groups trust, and what they show.

use balancer::{CheckTls, ClientTlsSettings, TargetTlsSettings, TlsSettings};

use super::{Part, list, or};
use crate::certificate::Certificate;
use crate::model::Config;
use crate::units::show_duration;

/// `tls` of a listener.
pub(super) fn listener(part: &mut Part, tls: &TlsSettings, config: &Config) {
    part.set("tls.min", tls.min.as_str());
    part.set("tls.alpn", list(&tls.alpn));
    part.set("tls.certificates", list(&tls.certificates));
    part.set("tls.hsts", or(tls.hsts.map(show_duration), "off"));
    match &tls.clients {
        Some(settings) => clients(part, settings, config),
        None => part.set("tls.client_ca", "off"),
    }
}

fn clients(part: &mut Part, clients: &ClientTlsSettings, config: &Config) {
    let ca = config.authorities.get(&clients.ca).map(|text| &**text);
    part.set("tls.client_ca", with_digest(&clients.ca, ca));
    let crl = clients.crl.as_ref().map(|path| {
        let lists = config.revocations.get(path);
        with_digest(path, lists.map(|lists| lists.text.as_str()))
    });
    part.set("tls.client_crl", or(crl, "off"));
    part.set("tls.client_certificate", clients.certificate.as_str());
}

/// `tls` of a group.
pub(super) fn targets(tls: &TargetTlsSettings, config: &Config) -> String {
    let name = tls.name.as_deref().unwrap_or("each its own address");
    let ca = config.authorities.get(&tls.ca).map(|text| &**text);
    let ca = with_digest(&tls.ca, ca);
    let shown = tls.certificate.as_ref();
    let shown = shown.map_or(String::new(), |name| format!(", shown certificate {name}"));
    format!("{name}, vouched for by {ca}{shown}")
}

/// `health.tls` of a group.
pub(super) fn checks(tls: &CheckTls, config: &Config) -> String {
    match tls {
        CheckTls::AsTraffic => "as the traffic".to_owned(),
        CheckTls::Off => "off".to_owned(),
        CheckTls::On(settings) => targets(settings, config),
    }
}

/// A file, and what tells its content from another.
fn with_digest(path: &str, text: Option<&str>) -> String {
    let digest = text.map_or(String::new(), |text| format!(" ({})", crate::hash(text)));
    format!("{path}{digest}")
}

/// `[certificate.NAME]`.
pub(super) fn certificate(certificate: &Certificate) -> Part {
    let mut part = Part {
        summary: certificate.cert_file.display().to_string(),
        ..Part::default()
    };
    part.set("cert", certificate.cert_file.display());
    part.set("key", certificate.key_file.display());
    let ocsp = certificate.ocsp_file.as_ref();
    part.set("ocsp", or(ocsp.map(|path| path.display()), "off"));
    if let Some(content) = &certificate.content {
        part.set("serial", &content.serial);
        part.set("names", list(&content.names));
    }
    part.secret.certificate = certificate.content.clone();
    part
}
