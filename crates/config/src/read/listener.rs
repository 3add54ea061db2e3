//! `[listener.NAME]`.

use std::net::SocketAddr;
use std::time::Duration;

use balancer::{ListenerLimits, ListenerTimeouts, RuleAction, RuleSettings, TlsSettings};

use super::action;
use super::client_tls::ClientTlsDraft;
use super::listener_tls::{self, TlsDraft};
use super::rule::{self, RulePlace};
use super::{Files, too_many, unfit};
use crate::Code;
use crate::tree::{At, Item, Place, Section};

/// What is spoken with clients, as the file can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    Http,
    Https,
    Tcp,
    Tls,
    Udp,
}

impl ListenerProtocol {
    const WORDS: &'static [(&'static str, ListenerProtocol)] = &[
        ("http", ListenerProtocol::Http),
        ("https", ListenerProtocol::Https),
        ("tcp", ListenerProtocol::Tcp),
        ("tls", ListenerProtocol::Tls),
        ("udp", ListenerProtocol::Udp),
    ];

    /// The word of the file.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, protocol)| *protocol == self)
            .map_or("", |(word, _)| word)
    }

    /// What a port stands for if nobody says.
    fn guess(port: u16) -> ListenerProtocol {
        match port {
            80 => ListenerProtocol::Http,
            443 => ListenerProtocol::Https,
            _ => ListenerProtocol::Tcp,
        }
    }

    /// True if clients begin with a TLS handshake.
    pub(crate) fn speaks_tls(self) -> bool {
        matches!(self, ListenerProtocol::Https | ListenerProtocol::Tls)
    }

    /// True if requests can be seen.
    pub(crate) fn speaks_http(self) -> bool {
        matches!(self, ListenerProtocol::Http | ListenerProtocol::Https)
    }
}

/// A listener as written.
#[derive(Debug)]
pub(crate) struct ListenerDraft {
    /// The name, at the table's header.
    pub(crate) name: At<String>,
    pub(crate) binds: Vec<At<SocketAddr>>,
    pub(crate) protocol: ListenerProtocol,
    /// Where the file says that trusted proxies say whose their connections are, if so.
    pub(crate) accept_proxy: Option<Place>,
    pub(crate) action: Option<RuleAction>,
    pub(crate) rules: Vec<RuleSettings>,
    /// Where the rules stand.
    pub(crate) rule_places: Vec<RulePlace>,
    /// Every group it or one of its rules names.
    pub(crate) groups: Vec<At<String>>,
    /// Every certificate it names.
    pub(crate) certificates: Vec<At<String>>,
    pub(crate) tls: Option<TlsSettings>,
    /// Who its clients have to be, if they are asked.
    pub(crate) clients: Option<ClientTlsDraft>,
    pub(crate) timeouts: ListenerTimeouts,
    pub(crate) limits: ListenerLimits,
    /// Where the file limits its connections, if it does.
    pub(crate) connections_place: Option<Place>,
    /// Clients may begin in HTTP/2.
    pub(crate) h2c: bool,
}

pub(super) fn read(name: At<String>, section: Section<'_>, files: Files<'_>) -> ListenerDraft {
    let binds = binds(&section);
    let protocol = protocol(&section, &binds);
    let main = action::read(&section, protocol);
    let mut groups = main.groups;
    let rules = section.get("rule").map(|item| rule::read(&item, protocol));
    let rules = rules.unwrap_or_default();
    groups.extend(rules.groups);
    let timeouts = section
        .section("timeouts")
        .map(|section| timeouts(section, protocol))
        .unwrap_or_default();
    let (limits, connections_place) = section
        .section("limits")
        .map(|section| limits(section, protocol))
        .unwrap_or_default();
    let TlsDraft {
        settings: tls,
        certificates,
        clients,
    } = listener_tls::read(&section, protocol, files);
    let accept_proxy = section.get("accept_proxy");
    let accept_proxy = accept_proxy.filter(|item| item.boolean() == Some(true));
    let accept_proxy = accept_proxy.map(|item| item.place().clone());
    let h2c = h2c(&section, protocol);
    section.finish();
    ListenerDraft {
        name,
        binds,
        protocol,
        accept_proxy,
        action: main.action,
        rules: rules.rules,
        rule_places: rules.places,
        groups,
        certificates,
        tls,
        clients,
        timeouts,
        limits,
        connections_place,
        h2c,
    }
}

fn binds(section: &Section<'_>) -> Vec<At<SocketAddr>> {
    let Some(item) = section.require("bind", "bind = \"192.0.2.10:80\"") else {
        return Vec::new();
    };
    let items = item.one_or_many();
    too_many(&item, items.len());
    if items.is_empty() {
        item.error(
            Code::MissingKey,
            "`bind` is empty",
            "write at least one like \"192.0.2.10:80\"".to_owned(),
        );
    }
    items
        .iter()
        .filter_map(|item| Some(item.at(item.socket_address("192.0.2.10:80")?)))
        .collect()
}

fn protocol(section: &Section<'_>, binds: &[At<SocketAddr>]) -> ListenerProtocol {
    let item = section.get("protocol");
    let said = item.as_ref().map(|item| item.word(ListenerProtocol::WORDS));
    let guesses: Vec<ListenerProtocol> = binds
        .iter()
        .map(|bind| ListenerProtocol::guess(bind.value.port()))
        .collect();
    let first = guesses.first().copied().unwrap_or(ListenerProtocol::Tcp);
    if item.is_none() && guesses.iter().any(|guess| *guess != first) {
        let message = format!(
            "the ports of {} stand for different protocols",
            section.label()
        );
        let remedy = "add for example `protocol = \"http\"`".to_owned();
        section
            .found()
            .error(Code::MissingKey, section.place(), message, remedy);
    }
    said.flatten().unwrap_or(first)
}

/// A key that makes sense for HTTP only, reported where it stands elsewhere.
pub(super) fn http_only<'d>(
    section: &Section<'d>,
    key: &'static str,
    protocol: ListenerProtocol,
) -> Option<Item<'d>> {
    let item = section.get(key)?;
    if !protocol.speaks_http() {
        let remedy = "remove it, or write `protocol = \"http\"`";
        unfit(&item, "is for http", protocol, remedy);
    }
    Some(item)
}

/// HTTP/2 by prior knowledge, which there is in clear text only.
fn h2c(section: &Section<'_>, protocol: ListenerProtocol) -> bool {
    let Some(item) = http_only(section, "h2c", protocol) else {
        return false;
    };
    let wanted = item.boolean().unwrap_or_default();
    if wanted && protocol == ListenerProtocol::Https {
        let remedy = "remove it: inside TLS, `alpn` is what offers HTTP/2";
        unfit(&item, "is for clear text", protocol, remedy);
    }
    wanted
}

/// The same for TLS.
fn tls_only<'d>(
    section: &Section<'d>,
    key: &'static str,
    protocol: ListenerProtocol,
) -> Option<Item<'d>> {
    let item = section.get(key)?;
    if !protocol.speaks_tls() {
        unfit(&item, "is for https and tls", protocol, "remove it");
    }
    Some(item)
}

fn timeouts(section: Section<'_>, protocol: ListenerProtocol) -> ListenerTimeouts {
    let usual = ListenerTimeouts::default();
    let limits = Duration::from_millis(1)..=Duration::from_secs(30 * 86_400);
    let read = |item: Option<Item<'_>>, usual| {
        item.and_then(|item| item.duration_in(limits.clone()))
            .unwrap_or(usual)
    };
    let timeouts = ListenerTimeouts {
        handshake: read(tls_only(&section, "handshake", protocol), usual.handshake),
        header: read(http_only(&section, "header", protocol), usual.header),
        body_idle: read(http_only(&section, "body_idle", protocol), usual.body_idle),
        keepalive: read(http_only(&section, "keepalive", protocol), usual.keepalive),
        age: http_only(&section, "age", protocol)
            .filter(|item| !item.is_off())
            .and_then(|item| item.duration_in(limits.clone())),
        tunnel: read(section.get("tunnel"), usual.tunnel),
        half_closed: read(section.get("half_closed"), usual.half_closed),
    };
    section.finish();
    timeouts
}

/// The limits, and where the one of the connections stands.
fn limits(section: Section<'_>, protocol: ListenerProtocol) -> (ListenerLimits, Option<Place>) {
    let mut limits = ListenerLimits::default();
    let connections = section.get("connections");
    if let Some(item) = &connections {
        limits.connections = item.number(1..=10_000_000).unwrap_or(limits.connections);
    }
    if let Some(bytes) =
        http_only(&section, "header_bytes", protocol).and_then(|item| item.size_in(1024..=1 << 20))
    {
        limits.header_bytes = u32::try_from(bytes).unwrap_or(limits.header_bytes);
    }
    if let Some(item) = http_only(&section, "header_fields", protocol) {
        limits.header_fields = item.number(8..=256).unwrap_or(limits.header_fields);
    }
    if let Some(bytes) =
        http_only(&section, "url_bytes", protocol).and_then(|item| item.size_in(256..=64 * 1024))
    {
        limits.url_bytes = u32::try_from(bytes).unwrap_or(limits.url_bytes);
    }
    if let Some(item) = http_only(&section, "requests", protocol)
        && !item.is_off()
    {
        limits.requests = item.number(1..=65_535);
    }
    if let Some(item) = http_only(&section, "body_bytes", protocol)
        && !item.is_off()
    {
        limits.body_bytes = item.size_in(0..=1 << 50);
    }
    if let Some(item) = http_only(&section, "streams", protocol) {
        limits.streams = item.number(1..=10_000).unwrap_or(limits.streams);
    }
    if let Some(item) = section.get("per_ip")
        && !item.is_off()
    {
        limits.per_ip = item.number(1..=10_000_000);
    }
    let connections_place = connections.map(|item| item.place().clone());
    section.finish();
    (limits, connections_place)
}
