//! Single facts of an explanation as text.

use balancer::normal::{Reading, normalise};
use balancer::{ClientCertificate, HeaderEdits, NoFields, Redirect, RequestView, TlsSettings, Url};

use super::Question;

/// The path as rules see it.
pub(super) fn normal_path(path: &str) -> String {
    let mut room = String::new();
    normalise(path, Reading::STRICT, &mut room).map_or_else(|_| path.to_owned(), str::to_owned)
}

/// `set X-Api-Edge: 1`, `remove X-Internal`.
pub(super) fn edits(edits: &HeaderEdits) -> Vec<String> {
    let set = edits
        .set
        .iter()
        .map(|(name, value)| format!("set {name}: {value}"));
    let removed = edits.remove.iter().map(|name| format!("remove {name}"));
    set.chain(removed).collect()
}

/// `TLS 1.2 or newer, inside h2 or http/1.1, certificates app, legacy; clients have to show a certificate`.
pub(super) fn tls(tls: &TlsSettings) -> String {
    let clients = match tls.clients.as_ref().map(|clients| clients.certificate) {
        None => "clients are not asked who they are",
        Some(ClientCertificate::Allow) => "clients may show a certificate",
        Some(ClientCertificate::Require) => "clients have to show a certificate",
    };
    let certificates = tls.certificates.join(", ");
    let min = tls.min.as_str();
    let alpn: Vec<_> = tls.alpn.iter().map(|alpn| alpn.as_str()).collect();
    let alpn = alpn.join(" or ");
    format!("TLS {min} or newer, inside {alpn}, certificates {certificates}; {clients}")
}

/// Where a redirect leads; `None` for a host that is no plain name.
pub(super) fn location(redirect: &Redirect, question: &Question) -> Option<String> {
    let (path, query) = question
        .path
        .split_once('?')
        .unwrap_or((&question.path, ""));
    let view = RequestView {
        host: &question.host,
        fields: &NoFields,
        ..RequestView::of_connection(question.from)
    };
    let url = Url {
        https: question.scheme == "https",
        host: view.host_name(),
        port: view.host_port(),
        path,
        query,
    };
    let mut out = Vec::new();
    redirect.write_location(&mut out, &url).ok()?;
    String::from_utf8(out).ok()
}
