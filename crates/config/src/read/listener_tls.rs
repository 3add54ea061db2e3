//! `[listener.NAME.tls]`.

use std::time::Duration;

use balancer::{Alpn, TlsSettings, TlsVersion};

use super::client_tls::{self, ClientTlsDraft};
use super::listener::{ListenerProtocol, http_only};
use super::{Files, duplicates, too_many, unfit};
use crate::Code;
use crate::tree::{At, Item, Section};

/// The table, with what it names.
#[derive(Default)]
pub(super) struct TlsDraft {
    pub(super) settings: Option<TlsSettings>,
    pub(super) certificates: Vec<At<String>>,
    pub(super) clients: Option<ClientTlsDraft>,
}

/// Reads `tls` of a listener.
pub(super) fn read(
    listener: &Section<'_>,
    protocol: ListenerProtocol,
    files: Files<'_>,
) -> TlsDraft {
    let item = listener.get("tls");
    let section = item.as_ref().and_then(Item::section);
    let read = section
        .map(|section| table(section, protocol, files))
        .unwrap_or_default();
    if let Some(item) = &item
        && !protocol.speaks_tls()
    {
        unfit(item, "is for https and tls", protocol, "remove it");
    }
    // Without the table, a tls listener leaves TLS to the targets.
    let needed =
        protocol == ListenerProtocol::Https || protocol == ListenerProtocol::Tls && item.is_some();
    if needed && read.certificates.is_empty() {
        let message = format!(
            "the {} listener {} has no certificate",
            protocol.as_str(),
            listener.label()
        );
        let remedy = "add a `tls` table with `certificates = [\"NAME\"]`".to_owned();
        listener
            .found()
            .error(Code::ProtocolOption, listener.place(), message, remedy);
    }
    read
}

fn table(section: Section<'_>, protocol: ListenerProtocol, files: Files<'_>) -> TlsDraft {
    let names = section.get("certificates").map(|item| {
        let names = item.strings();
        too_many(&item, names.len());
        duplicates(section.found(), &names, |name| {
            format!("certificate `{name}`")
        });
        names
    });
    let names = names.unwrap_or_default();
    let mut settings = TlsSettings::new(names.iter().map(|name| name.value.clone()));
    let versions = &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    if let Some(min) = section.get("min").and_then(|item| item.word(versions)) {
        settings.min = min;
    }
    if !protocol.speaks_http() {
        // What is spoken inside is nobody's business here.
        settings.alpn.clear();
    }
    if let Some(item) = http_only(&section, "alpn", protocol) {
        settings.alpn = alpn(&item).unwrap_or(settings.alpn);
    }
    if let Some(item) = http_only(&section, "hsts", protocol)
        && !item.is_off()
    {
        settings.hsts =
            item.duration_in(Duration::from_secs(1)..=Duration::from_secs(730 * 86_400));
    }
    let clients = client_tls::read(&section, files);
    settings.clients = clients.as_ref().map(|clients| clients.settings.clone());
    section.finish();
    TlsDraft {
        settings: Some(settings),
        certificates: names,
        clients,
    }
}

fn alpn(item: &Item<'_>) -> Option<Vec<Alpn>> {
    let items = item.list("a list like [\"h2\", \"http/1.1\"]")?;
    if items.is_empty() {
        let remedy = "write [\"h2\", \"http/1.1\"], or remove the line".to_owned();
        item.error(Code::MissingKey, "`alpn` is empty", remedy);
    }
    let words = &[("h2", Alpn::Http2), ("http/1.1", Alpn::Http1)];
    let protocols = items.iter();
    let protocols: Vec<At<Alpn>> = protocols
        .filter_map(|item| Some(item.at(item.word(words)?)))
        .collect();
    duplicates(item.found(), &protocols, |alpn| {
        format!("{:?}", alpn.as_str())
    });
    Some(protocols.into_iter().map(|at| at.value).collect())
}
