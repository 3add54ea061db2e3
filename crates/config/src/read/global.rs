//! `[global]`: logs, control socket, threads, user.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::access_log;
use crate::Code;
use crate::model::{Global, Level, Log, LogFormat, Socket};
use crate::tree::{At, Item, Section};

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];
const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// The most forwarder threads that can be asked for.
const MAX_THREADS: i64 = 1024;

/// `[global]` with what is needed to judge the metrics address.
#[derive(Debug, Default)]
pub(crate) struct GlobalDraft {
    pub(crate) global: Global,
    pub(crate) metrics: Option<At<MetricsAddress>>,
}

/// Where metrics are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MetricsAddress {
    /// At this port of the node's own address.
    Node(u16),
    /// There.
    At(SocketAddr),
}

pub(super) fn read(section: Section<'_>) -> GlobalDraft {
    let log = section.section("log").map(log).unwrap_or_default();
    let access_log = section.get("access_log");
    let access_log = access_log.and_then(|item| access_log::read(&item));
    let metrics = section.get("metrics").and_then(|item| metrics(&item));
    let socket = section.section("socket").map(socket).unwrap_or_default();
    let trusted = section.get("trusted_proxies");
    let trusted = trusted
        .and_then(|item| item.list("a list like [\"192.0.2.0/24\"]"))
        .unwrap_or_default();
    let trusted_proxies = trusted
        .iter()
        .filter_map(|item| item.prefix("192.0.2.0/24"))
        .collect();
    let threads = section.get("threads").and_then(|item| threads(&item));
    let user = section
        .get("user")
        .and_then(|item| item.string())
        .map(str::to_owned);
    let notify_fifo = section
        .get("notify_fifo")
        .and_then(|item| super::track::absolute(&item, "/run/tandem/notify.fifo"))
        .map(PathBuf::from);
    section.finish();
    GlobalDraft {
        global: Global {
            log,
            notify_fifo,
            access_log: access_log.unwrap_or_default(),
            socket,
            metrics: None,
            threads,
            user,
            trusted_proxies,
        },
        metrics,
    }
}

fn log(section: Section<'_>) -> Log {
    let level = section.get("level").and_then(|item| item.word(LEVELS));
    let format = section.get("format").and_then(|item| item.word(FORMATS));
    section.finish();
    Log {
        level: level.unwrap_or_default(),
        format: format.unwrap_or_default(),
    }
}

/// `node:9100`, an address with port, or `off`.
fn metrics(item: &Item<'_>) -> Option<At<MetricsAddress>> {
    if item.is_off() {
        return None;
    }
    let text = item.string_like("an address with port like \"node:9100\"")?;
    let own = text
        .strip_prefix("node:")
        .and_then(|port| port.parse::<u16>().ok());
    let address = match own {
        Some(port) => MetricsAddress::Node(port),
        None => MetricsAddress::At(item.socket_address("node:9100")?),
    };
    Some(item.at(address))
}

fn socket(section: Section<'_>) -> Socket {
    let path = section.get("path");
    if let Some(item) = &path
        && item
            .as_str()
            .is_some_and(|path| !path.is_empty() && !path.starts_with('/'))
    {
        item.error(
            Code::OutOfRange,
            "the path of the socket must begin with `/`",
            None,
        );
    }
    let path = path
        .and_then(|item| item.string_like("a path like \"/run/tandem/tandem.sock\""))
        .map(PathBuf::from);
    let group = section
        .get("group")
        .and_then(|item| item.string())
        .map(str::to_owned);
    section.finish();
    Socket { path, group }
}

fn threads(item: &Item<'_>) -> Option<usize> {
    match item.as_str() {
        Some("auto") => None,
        Some(_) => {
            item.expected("\"auto\" or a whole number", None);
            None
        }
        None => item.number(1..=MAX_THREADS),
    }
}
