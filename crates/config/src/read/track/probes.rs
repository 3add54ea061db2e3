//! `probes` of `[vrrp.NAME.track]`: what most scripts ask, built in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::checks::only_one;
use super::link_name;
use crate::Code;
use crate::model::Probe;
use crate::read::health;
use crate::tree::{Item, Section};

/// Port of DNS.
const DNS_PORT: u16 = 53;
/// Port of HTTP.
const HTTP_PORT: u16 = 80;

pub(super) fn read(section: &Section<'_>) -> Option<Probe> {
    let mut ways = Vec::new();
    let interface = section.get("interface");
    let link = interface.as_ref().map(link_name);
    if let Some(item) = section.get("ping") {
        let probe = address(&item).map(|address| Probe::Ping {
            address,
            interface: link.clone().flatten(),
        });
        ways.push((item, probe));
    }
    if let Some(item) = section.get("arp") {
        let probe = v4(&item).map(|address| Probe::Arp {
            address,
            interface: link.clone().flatten().unwrap_or_default(),
        });
        ways.push((item, probe));
    }
    if let Some(item) = section.get("tcp") {
        let address = socket(&item, None, "an address and port like \"10.0.0.1:443\"");
        ways.push((item, address.map(|address| Probe::Tcp { address })));
    }
    if let Some(item) = section.get("http") {
        let probe = http(section, &item);
        ways.push((item, probe));
    }
    if let Some(item) = section.get("dns") {
        let probe = dns(section, &item);
        ways.push((item, probe));
    }
    let all = "`ping`, `arp`, `tcp`, `http` and `dns`";
    let probe = only_one(section, ways, "ping = \"10.0.0.1\"", all)?;
    if let Some(item) = interface
        && !matches!(probe, Probe::Ping { .. } | Probe::Arp { .. })
    {
        let message = "`interface` is for probes by `ping` and `arp`";
        item.error(Code::CheckProtocol, message, "remove it".to_owned());
        return None;
    }
    if link == Some(None) {
        return None;
    }
    Some(probe)
}

fn address(item: &Item<'_>) -> Option<IpAddr> {
    const FORM: &str = "an address like \"10.0.0.1\"";
    let parsed = item.string_like(FORM)?.parse().ok();
    if parsed.is_none() {
        item.expected(FORM, None);
    }
    parsed
}

fn v4(item: &Item<'_>) -> Option<Ipv4Addr> {
    match address(item)? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => {
            let remedy = format!("write ping = \"{address}\"");
            item.error(Code::Family, "ARP is for IPv4", remedy);
            None
        }
    }
}

/// An address with a port; without one if `port` says which is usual.
fn socket(item: &Item<'_>, port: Option<u16>, form: &str) -> Option<SocketAddr> {
    let found = parse_socket(item.string_like(form)?, port).filter(|found| found.port() != 0);
    if found.is_none() {
        item.expected(form, None);
    }
    found
}

fn parse_socket(text: &str, port: Option<u16>) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let with_usual = || Some(SocketAddr::new(bare.parse().ok()?, port?));
    text.parse().ok().or_else(with_usual)
}

/// `http://ADDRESS[:PORT]/PATH`
fn http(section: &Section<'_>, item: &Item<'_>) -> Option<Probe> {
    const FORM: &str = "an address like \"http://10.0.0.1:8080/healthz\"";
    let host = section.get("host").map(|item| {
        item.string_like("a host name like \"app.internal\"")
            .map(str::to_owned)
    });
    let status = section.get("status").map(|item| health::statuses(&item));
    let text = item.string_like(FORM)?;
    let parsed = text.strip_prefix("http://").and_then(|rest| {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let sound = path.chars().all(|c| c.is_ascii_graphic() && c != '#');
        let address = parse_socket(authority, Some(HTTP_PORT)).filter(|_| sound)?;
        Some((authority, address, path))
    });
    let Some((authority, address, path)) = parsed.filter(|(_, address, _)| address.port() != 0)
    else {
        item.expected(FORM, None);
        return None;
    };
    let ranges = status.unwrap_or_else(|| vec![200..=399]);
    Some(Probe::Http {
        address,
        host: host.unwrap_or_else(|| Some(authority.to_owned()))?,
        path: if path.is_empty() { "/" } else { path }.to_owned(),
        status: ranges.into_iter().map(|range| range.into_inner()).collect(),
    })
}

fn dns(section: &Section<'_>, item: &Item<'_>) -> Option<Probe> {
    let name = match section.get("name") {
        Some(item) => Some(domain(&item)?),
        None => None,
    };
    let form = "the address of a server like \"10.0.0.53\"";
    Some(Probe::Dns {
        server: socket(item, Some(DNS_PORT), form)?,
        name: name.unwrap_or_else(|| ".".to_owned()),
    })
}

/// A name as DNS has it: labels of 1 to 63 bytes, 253 in all.
fn domain(item: &Item<'_>) -> Option<String> {
    const FORM: &str = "a name like \"example.com\"";
    let text = item.string_like(FORM)?;
    let labels = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if text == "." || (labels.len() <= 253 && labels.split('.').all(label)) {
        return Some(text.to_owned());
    }
    item.expected(FORM, None);
    None
}
