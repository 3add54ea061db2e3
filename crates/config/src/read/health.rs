//! `health` of a group or of `[defaults.group]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use balancer::{Check, CheckTls, HealthSettings};

use crate::Code;
use crate::tree::{At, Findings, Item, Place, Section};
use crate::units::show_duration;

/// The keys that were written; what is missing comes from the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct HealthDraft {
    pub(crate) kind: Option<At<CheckKind>>,
    pub(super) every: Option<Duration>,
    pub(super) timeout: Option<At<Duration>>,
    pub(super) rise: Option<u32>,
    pub(super) fall: Option<u32>,
    pub(crate) port: Option<u16>,
    pub(super) host: Option<String>,
    pub(super) status: Option<Vec<RangeInclusive<u16>>>,
    pub(super) body: Option<String>,
    /// Whether checks are inside TLS.
    pub(crate) tls: Option<At<bool>>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckKind {
    Off,
    Tcp,
    Http(String),
    /// The service asked about; empty for all of the target.
    Grpc(String),
    Udp {
        send: Vec<u8>,
        /// `None` for any answer.
        expect: Option<Vec<u8>>,
    },
}

impl HealthDraft {
    /// What this says, completed by `defaults`. What belongs to one kind of check is not inherited by another.
    pub(super) fn over(self, defaults: &HealthDraft) -> HealthDraft {
        let same_kind = self.kind.is_none();
        let inherit = defaults.clone();
        let every = self.every.or(inherit.every);
        // An inherited limit gives way to a shorter interval, without a word.
        let fits = |timeout: &At<Duration>| {
            timeout.value < every.unwrap_or(HealthSettings::default().every)
        };
        HealthDraft {
            timeout: self.timeout.or(inherit.timeout.filter(fits)),
            every,
            rise: self.rise.or(inherit.rise),
            fall: self.fall.or(inherit.fall),
            port: self.port.or(inherit.port.filter(|_| same_kind)),
            host: self.host.or(inherit.host.filter(|_| same_kind)),
            status: self.status.or(inherit.status.filter(|_| same_kind)),
            body: self.body.or(inherit.body.filter(|_| same_kind)),
            tls: self.tls.or(inherit.tls.filter(|_| same_kind)),
            kind: self.kind.or(inherit.kind),
        }
    }

    /// Reports a time limit that is not shorter than the interval.
    pub(super) fn check_times(&self, found: &Findings<'_>) {
        let every = self.every.unwrap_or(HealthSettings::default().every);
        if let Some(At { value, place }) = &self.timeout
            && *value >= every
        {
            let (limit, every) = (show_duration(*value), show_duration(every));
            let message =
                format!("`timeout` must be shorter than `every`, got {limit} and {every}");
            found.error(Code::OutOfRange, place, message, None);
        }
    }

    /// The checked settings. A time limit nobody wrote is four fifths of the interval at most.
    pub(super) fn settings(&self) -> HealthSettings {
        let usual = HealthSettings::default();
        let every = self.every.unwrap_or(usual.every);
        let check = match self.kind.as_ref().map(|kind| &kind.value) {
            Some(CheckKind::Off) => Check::Off,
            Some(CheckKind::Http(path)) => Check::Http {
                path: path.clone(),
                host: self.host.clone(),
                status: self.status.clone().unwrap_or_else(|| vec![200..=399]),
                body: self.body.clone(),
            },
            Some(CheckKind::Grpc(service)) => Check::Grpc {
                service: service.clone(),
                host: self.host.clone(),
            },
            Some(CheckKind::Udp { send, expect }) => Check::Udp {
                send: send.clone(),
                expect: expect.clone(),
            },
            Some(CheckKind::Tcp) | None => Check::Tcp,
        };
        HealthSettings {
            check,
            every,
            timeout: self
                .timeout
                .as_ref()
                .map_or(usual.timeout.min(every * 4 / 5), |timeout| timeout.value),
            rise: self.rise.unwrap_or(usual.rise),
            fall: self.fall.unwrap_or(usual.fall),
            fast: usual.fast.min(every),
            port: self.port,
            http2: false,
            tls: match self.tls {
                Some(At { value: false, .. }) => CheckTls::Off,
                // The group knows whom to expect.
                Some(At { value: true, .. }) | None => CheckTls::AsTraffic,
            },
        }
    }
}

const FORM: &str = "\"off\" or a table like { http = \"/healthz\", every = \"5s\" }";

pub(super) fn read(item: &Item<'_>) -> HealthDraft {
    if item.is_off() {
        return HealthDraft {
            kind: Some(item.at(CheckKind::Off)),
            ..HealthDraft::default()
        };
    }
    if item.as_str() == Some("tcp") {
        item.expected(FORM, Some("{ tcp = true }".to_owned()));
        return HealthDraft::default();
    }
    let Some(section) = item.section_or(FORM) else {
        return HealthDraft::default();
    };
    let times = Duration::from_millis(100)..=Duration::from_secs(3600);
    let kind = kind(&section);
    let every = section
        .get("every")
        .and_then(|item| item.duration_in(times.clone()));
    let timeout = section
        .get("timeout")
        .and_then(|item| Some(item.at(item.duration_in(times)?)));
    let count = |key| {
        section
            .get(key)
            .and_then(|item: Item<'_>| item.number(1..=100))
    };
    let (rise, fall) = (count("rise"), count("fall"));
    let port = section.get("port").and_then(|item| item.number(1..=65535));
    let (host, status) = (
        http_only(&section, "host", &kind),
        http_only(&section, "status", &kind),
    );
    let host = host
        .and_then(|item| item.string_like("a host name like \"app.internal\""))
        .map(str::to_owned);
    let status = status.map(|item| statuses(&item));
    let body = http_only(&section, "body", &kind).and_then(|item| body(&item));
    let tls = section
        .get("tls")
        .and_then(|item| Some(item.at(item.boolean()?)));
    section.finish();
    HealthDraft {
        kind,
        every,
        timeout,
        rise,
        fall,
        port,
        host,
        status,
        body,
        tls,
    }
}

/// Text the answer must contain.
fn body(item: &Item<'_>) -> Option<String> {
    let text = item.string_like("a text like \"ready\"")?;
    if text.len() > 1024 {
        let message = format!("`body` must have at most 1024 bytes, got {}", text.len());
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    Some(text.to_owned())
}

/// A key that only an HTTP check can have.
fn http_only<'d>(
    section: &Section<'d>,
    key: &'static str,
    kind: &Option<At<CheckKind>>,
) -> Option<Item<'d>> {
    let item = section.get(key)?;
    let misplaced = match kind.as_ref().map(|kind| &kind.value) {
        Some(CheckKind::Tcp | CheckKind::Udp { .. }) => true,
        Some(CheckKind::Grpc(_)) => key != "host",
        Some(CheckKind::Http(_) | CheckKind::Off) | None => false,
    };
    if misplaced {
        let message = format!("`{key}` is for a check by http");
        section.found().error(
            Code::CheckProtocol,
            &item.key_place(),
            message,
            "remove it".to_owned(),
        );
    }
    Some(item)
}

fn kind(section: &Section<'_>) -> Option<At<CheckKind>> {
    let mut kinds: Vec<At<CheckKind>> = Vec::new();
    if let Some(item) = section.get("http")
        && let Some(path) = path(&item)
    {
        kinds.push(item.at(CheckKind::Http(path)));
    }
    if let Some(item) = section.get("grpc")
        && let Some(service) = service(&item)
    {
        kinds.push(item.at(CheckKind::Grpc(service)));
    }
    if let Some(item) = section.get("tcp") {
        match item.boolean() {
            Some(true) => kinds.push(item.at(CheckKind::Tcp)),
            Some(false) => {
                let remedy = "remove the line, or write health = \"off\"".to_owned();
                item.error(Code::NotInList, "`tcp = false` says nothing", remedy);
            }
            None => {}
        }
    }
    if let Some(item) = section.get("udp")
        && let Some(kind) = udp(&item)
    {
        kinds.push(item.at(kind));
    }
    if let [first, second, ..] = &kinds[..] {
        let place: &Place = if first.place.span.start < second.place.span.start {
            &second.place
        } else {
            &first.place
        };
        let message =
            "more than one kind of check: there is one of `http`, `grpc`, `tcp` and `udp`";
        section.found().error(
            Code::Duplicate,
            place,
            message,
            "remove all but one".to_owned(),
        );
    }
    kinds.into_iter().next()
}

/// The name of a service of gRPC, at most as long as a length of one byte says it.
fn service(item: &Item<'_>) -> Option<String> {
    if item.as_str() == Some("") {
        return Some(String::new());
    }
    let name = item.string_like("a service like \"shop.Orders\", or \"\" for all of the target")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if let Some(bad) = name.chars().find(|c| !fits(*c)) {
        let message = format!("the name of a service cannot contain {bad:?}");
        item.error(Code::Pattern, message, None);
        return None;
    }
    if name.len() > 127 {
        let message = format!(
            "the name of a service has at most 127 letters, got {}",
            name.len()
        );
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    Some(name.to_owned())
}

fn path(item: &Item<'_>) -> Option<String> {
    let path = item.string_like("a path like \"/healthz\"")?;
    if !path.starts_with('/') {
        let message = format!("expected a path like \"/healthz\", got {path:?}");
        let remedy = (!path.contains("://")).then(|| format!("did you mean \"/{path}\"?"));
        item.error(Code::Pattern, message, remedy);
        return None;
    }
    if let Some(bad) = path.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        item.error(
            Code::Pattern,
            format!("a path cannot contain {bad:?}"),
            "write it percent-encoded".to_owned(),
        );
        return None;
    }
    Some(path.to_owned())
}

/// The most octets of a datagram that is sent, or that is looked for in the answer.
const MAX_OCTETS: usize = 1200;

fn udp(item: &Item<'_>) -> Option<CheckKind> {
    let form = "a table like { send = \"hex:0000\", expect = \"any\" }";
    let section = item.section_or(form)?;
    let send = section.require("send", "send = \"hex:0000\"");
    let send = send.and_then(|item| octets(&item));
    let expect = section.get("expect");
    let any = expect
        .as_ref()
        .is_none_or(|item| item.as_str() == Some("any"));
    let expect = expect.filter(|_| !any).map(|item| octets(&item));
    section.finish();
    Some(CheckKind::Udp {
        send: send?,
        expect: match expect {
            Some(octets) => Some(octets?),
            None => None,
        },
    })
}

/// What a datagram holds: a text, or `hex:` and pairs of hexadecimal digits.
fn octets(item: &Item<'_>) -> Option<Vec<u8>> {
    let text = item.string_like("a text, or \"hex:\" and pairs of hexadecimal digits")?;
    let octets = match text.strip_prefix("hex:") {
        Some(digits) => super::keys::decoded(digits),
        None => Some(text.as_bytes().to_vec()),
    };
    let Some(octets) = octets else {
        let message = format!("`hex:` needs pairs of hexadecimal digits, got {text:?}");
        item.error(Code::Pattern, message, None);
        return None;
    };
    if octets.is_empty() || octets.len() > MAX_OCTETS {
        let message = format!("expected 1 to {MAX_OCTETS} octets, got {}", octets.len());
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    Some(octets)
}

/// A status, a range like "200-399", or a list of these.
pub(super) fn statuses(item: &Item<'_>) -> Vec<RangeInclusive<u16>> {
    item.one_or_many().iter().filter_map(status).collect()
}

fn status(item: &Item<'_>) -> Option<RangeInclusive<u16>> {
    const FORM: &str = "a status like 200 or a range like \"200-399\"";
    if item.is_integer() {
        let status = item.number(100..=599)?;
        return Some(status..=status);
    }
    let text = item.string_like(FORM)?;
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
        (Ok(from), Ok(to)) if from >= 100 && to <= 599 && from <= to => Some(from..=to),
        (Ok(_), Ok(_)) => {
            item.error(
                Code::OutOfRange,
                format!("statuses are from 100 to 599, got {text:?}"),
                None,
            );
            None
        }
        _ => {
            let several = text.contains(',').then(|| {
                let each = text.split(',').map(|one| format!("{:?}", one.trim()));
                format!("[{}]", each.collect::<Vec<_>>().join(", "))
            });
            item.expected(FORM, several);
            None
        }
    }
}
