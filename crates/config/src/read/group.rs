//! `[group.NAME]` and `[defaults.group]`.

use std::net::SocketAddr;
use std::time::Duration;

use balancer::{
    Algorithm, CheckTls, GroupSettings, GroupTimeouts, OnAllDown, OnDown, SendProxy,
    StickySettings, TargetSettings, UdpSettings,
};

use super::algorithm;
use super::health::{self, HealthDraft};
use super::protection::ProtectionDraft;
use super::sticky;
use super::target_tls::{self, TargetTlsDraft};
use super::{Files, duplicate, duplicates, too_many};
use crate::Code;
use crate::tree::{At, Findings, Item, Place, Section};

/// A group as written, completed by the defaults.
#[derive(Debug)]
pub(crate) struct GroupDraft {
    /// The name, at the table's header.
    pub(crate) name: At<String>,
    pub(crate) targets: Vec<TargetDraft>,
    common: Common,
    /// How its targets are checked inside TLS, if they are told to be.
    check_tls: Option<TargetTlsDraft>,
}

/// One target.
#[derive(Debug)]
pub(crate) struct TargetDraft {
    pub(crate) address: At<SocketAddr>,
    /// Where it is checked instead.
    pub(crate) check: Option<At<SocketAddr>>,
    name: String,
    weight: u32,
    backup: bool,
}

impl GroupDraft {
    /// How its targets are checked.
    pub(crate) fn health(&self) -> &HealthDraft {
        &self.common.health
    }

    /// True if every check goes to a place that is for checks alone.
    pub(crate) fn is_checked_elsewhere(&self) -> bool {
        let each = || self.targets.iter().all(|target| target.check.is_some());
        self.common.health.port.is_some() || (!self.targets.is_empty() && each())
    }

    /// Where it is written that connections begin with the address of the client, if so.
    pub(crate) fn send_proxy_place(&self) -> Option<&Place> {
        let at = self.common.send_proxy.as_ref();
        at.filter(|at| at.value.is_some()).map(|at| &at.place)
    }

    /// Where `udp` is written for this group.
    pub(crate) fn udp_place(&self) -> Option<&Place> {
        self.common.udp.place.as_ref()
    }

    /// How a target is chosen, if that was written.
    pub(crate) fn algorithm(&self) -> Option<&At<Algorithm>> {
        self.common.algorithm.as_ref()
    }

    /// How clients stay with their target, if they do, and where that was written.
    pub(crate) fn sticky(&self) -> Option<At<StickySettings>> {
        let At { value, place } = self.common.sticky.clone()?;
        value.map(|value| At { value, place })
    }

    /// How its targets are reached inside TLS, if they are.
    pub(crate) fn tls(&self) -> Option<&TargetTlsDraft> {
        self.common.tls.as_ref()?.as_ref()
    }

    /// How its targets are reached or checked inside TLS.
    pub(crate) fn all_tls(&self) -> impl Iterator<Item = &TargetTlsDraft> {
        self.tls().into_iter().chain(&self.check_tls)
    }

    /// The settings, with the defaults of the product for what nobody wrote.
    pub(crate) fn settings(&self) -> GroupSettings {
        let name = self.name.value.clone();
        let mut settings = GroupSettings::new(name, []);
        let common = &self.common;
        if let Some(algorithm) = &common.algorithm {
            settings.algorithm = algorithm.value.clone();
        }
        settings.health = common.health.settings();
        settings.http2 = common.http2.unwrap_or_default();
        settings.health.http2 = settings.http2;
        if let Some(tls) = &self.check_tls {
            settings.health.tls = CheckTls::On(tls.settings.clone());
        }
        settings.tls = self.tls().map(|tls| tls.settings.clone());
        settings.timeouts = common.timeouts.settings();
        settings.on_all_down = common.on_all_down.unwrap_or(settings.on_all_down);
        settings.send_proxy = common.send_proxy.as_ref().and_then(|at| at.value);
        settings.on_down = common.on_down.unwrap_or_default();
        settings.drain = common.drain.unwrap_or(settings.drain);
        settings.sticky = self.sticky().map(|sticky| sticky.value);
        common.protection.apply(&mut settings);
        settings.udp = common.udp.settings();
        settings.targets = self.targets.iter().map(TargetDraft::settings).collect();
        settings
    }
}

impl TargetDraft {
    fn settings(&self) -> TargetSettings {
        TargetSettings {
            name: self.name.clone(),
            address: self.address.value,
            check: self.check.as_ref().map(|at| at.value),
            weight: self.weight,
            backup: self.backup,
        }
    }
}

/// What a group and the defaults have in common: only what was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    algorithm: Option<At<Algorithm>>,
    health: HealthDraft,
    timeouts: Timeouts,
    on_all_down: Option<OnAllDown>,
    on_down: Option<OnDown>,
    send_proxy: Option<At<Option<SendProxy>>>,
    drain: Option<Duration>,
    http2: Option<bool>,
    tls: Option<Option<TargetTlsDraft>>,
    protection: ProtectionDraft,
    sticky: Option<At<Option<StickySettings>>>,
    udp: UdpDraft,
}

impl Common {
    /// Reads every key but `targets`.
    pub(super) fn read(section: &Section<'_>, files: Files<'_>) -> Common {
        let algorithm = section
            .get("algorithm")
            .and_then(|item| algorithm::read(&item));
        let health = section
            .get("health")
            .map(|item| health::read(&item))
            .unwrap_or_default();
        health.check_times(section.found());
        let timeouts = section
            .section("timeouts")
            .map(Timeouts::read)
            .unwrap_or_default();
        let words = [("try", OnAllDown::Try), ("503", OnAllDown::Refuse)];
        let on_all_down = section
            .get("on_all_down")
            .and_then(|item| item.word(&words));
        let words = [("keep", OnDown::Keep), ("close", OnDown::Close)];
        let on_down = section.get("on_down").and_then(|item| item.word(&words));
        let words = [
            ("v1", Some(SendProxy::V1)),
            ("v2", Some(SendProxy::V2)),
            ("off", None),
        ];
        let send_proxy = section
            .get("send_proxy")
            .and_then(|item| Some(item.at(item.word(&words)?)));
        let day = Duration::from_secs(86_400);
        let drain = section
            .get("drain")
            .and_then(|item| item.duration_in(Duration::ZERO..=day));
        let http2 = section
            .get("http")
            .and_then(|item| item.word(&[("1.1", false), ("2", true)]));
        let protection = ProtectionDraft::read(section);
        let sticky = section
            .get("sticky")
            .and_then(|item| Some(item.at(sticky::read(&item)?)));
        let udp = section.get("udp").map(|item| UdpDraft::read(&item));
        let tls = section
            .get("tls")
            .and_then(|item| target_tls::read(&item, files));
        Common {
            tls,
            sticky,
            http2,
            udp: udp.unwrap_or_default(),
            protection,
            algorithm,
            health,
            timeouts,
            on_all_down,
            on_down,
            send_proxy,
            drain,
        }
    }

    fn over(self, defaults: &Common) -> Common {
        Common {
            algorithm: self.algorithm.or_else(|| defaults.algorithm.clone()),
            health: self.health.over(&defaults.health),
            timeouts: self.timeouts.over(&defaults.timeouts),
            on_all_down: self.on_all_down.or(defaults.on_all_down),
            on_down: self.on_down.or(defaults.on_down),
            send_proxy: self.send_proxy.or_else(|| defaults.send_proxy.clone()),
            drain: self.drain.or(defaults.drain),
            http2: self.http2.or(defaults.http2),
            tls: self.tls.or_else(|| defaults.tls.clone()),
            protection: self.protection.over(&defaults.protection),
            sticky: self.sticky.or_else(|| defaults.sticky.clone()),
            udp: self.udp.over(&defaults.udp),
        }
    }
}

pub(super) fn read(
    name: At<String>,
    section: Section<'_>,
    defaults: &Common,
    files: Files<'_>,
) -> GroupDraft {
    let targets = targets(&section);
    let common = Common::read(&section, files).over(defaults);
    common.protection.check(&section);
    let wanted = common.health.tls.as_ref().filter(|tls| tls.value);
    let check_tls = wanted.map(|wanted| match &common.tls {
        Some(Some(tls)) => tls.clone(),
        Some(None) | None => target_tls::usual(&wanted.place, files, section.found()),
    });
    section.finish();
    GroupDraft {
        name,
        targets,
        common,
        check_tls,
    }
}

// ---- targets ----

fn targets(section: &Section<'_>) -> Vec<TargetDraft> {
    let Some(item) = section.require("targets", "targets = [\"10.0.0.21:8080\"]") else {
        return Vec::new();
    };
    let Some(items) = item.list("a list like [\"10.0.0.21:8080\"]") else {
        return Vec::new();
    };
    too_many(&item, items.len());
    if items.is_empty() {
        item.error(
            Code::Unused,
            "the group has no targets",
            "write at least one like \"10.0.0.21:8080\"".to_owned(),
        );
    }
    let targets: Vec<TargetDraft> = items.iter().filter_map(target).collect();
    let found = section.found();
    let addresses: Vec<_> = targets
        .iter()
        .map(|target| target.address.clone())
        .collect();
    duplicates(found, &addresses, |address| format!("target {address}"));
    same_name(&targets, found);
    if !targets.is_empty()
        && targets.len() == items.len()
        && targets.iter().all(|target| target.weight == 0)
    {
        let message = "every target has weight 0, so none gets any traffic";
        item.error(
            Code::Weights,
            message,
            "give at least one of them a weight".to_owned(),
        );
    }
    targets
}

/// Reports targets of other addresses with one name; a target without a name is called by its address.
fn same_name(targets: &[TargetDraft], found: &Findings<'_>) {
    for (index, second) in targets.iter().enumerate() {
        let same = |first: &&TargetDraft| {
            first.name == second.name && first.address.value != second.address.value
        };
        if let Some(first) = targets[..index].iter().find(same) {
            let what = format!("target name `{}`", second.name);
            duplicate(found, &what, &first.address, &second.address);
        }
    }
}

const ADDRESS: &str = "10.0.0.21:8080";

/// An address, or a table with address, check, name, weight and backup.
fn target(item: &Item<'_>) -> Option<TargetDraft> {
    if !item.is_table() {
        let address = item.at(item.socket_address(ADDRESS)?);
        return Some(TargetDraft {
            name: address.value.to_string(),
            address,
            check: None,
            weight: 1,
            backup: false,
        });
    }
    let section = item.section()?;
    let address = section.require("address", "address = \"10.0.0.21:8080\"");
    let address = address.and_then(|item| Some(item.at(item.socket_address(ADDRESS)?)));
    let check = section
        .get("check")
        .and_then(|item| Some(item.at(item.socket_address("10.9.0.21:9000")?)));
    let name = section
        .get("name")
        .and_then(|item| item.string())
        .map(str::to_owned);
    let weight = section
        .get("weight")
        .and_then(|item| item.number(0..=i64::from(TargetSettings::MAX_WEIGHT)));
    let backup = section.get("backup").and_then(|item| item.boolean());
    section.finish();
    let address = address?;
    let name = name.unwrap_or_else(|| address.value.to_string());
    Some(TargetDraft {
        address,
        check,
        name,
        weight: weight.unwrap_or(1),
        backup: backup.unwrap_or(false),
    })
}

// ---- timeouts ----

/// The time limits that were written.
#[derive(Clone, Copy, Debug, Default)]
struct Timeouts {
    connect: Option<Duration>,
    first_byte: Option<Duration>,
    idle: Option<Duration>,
    pool_idle: Option<Duration>,
    pool_age: Option<Duration>,
}

impl Timeouts {
    fn read(section: Section<'_>) -> Timeouts {
        let limits = Duration::from_millis(1)..=Duration::from_secs(86_400);
        let get = |key| {
            section
                .get(key)
                .and_then(|item: Item<'_>| item.duration_in(limits.clone()))
        };
        let timeouts = Timeouts {
            connect: get("connect"),
            first_byte: get("first_byte"),
            idle: get("idle"),
            pool_idle: get("pool_idle"),
            pool_age: get("pool_age"),
        };
        section.finish();
        timeouts
    }

    fn over(self, defaults: &Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.or(defaults.connect),
            first_byte: self.first_byte.or(defaults.first_byte),
            idle: self.idle.or(defaults.idle),
            pool_idle: self.pool_idle.or(defaults.pool_idle),
            pool_age: self.pool_age.or(defaults.pool_age),
        }
    }

    fn settings(&self) -> GroupTimeouts {
        let usual = GroupTimeouts::default();
        GroupTimeouts {
            connect: self.connect.unwrap_or(usual.connect),
            first_byte: self.first_byte.unwrap_or(usual.first_byte),
            idle: self.idle.unwrap_or(usual.idle),
            pool_idle: self.pool_idle.unwrap_or(usual.pool_idle),
            pool_age: self.pool_age.unwrap_or(usual.pool_age),
        }
    }
}

// ---- udp ----

/// What was written about flows.
#[derive(Clone, Debug, Default)]
struct UdpDraft {
    idle: Option<Duration>,
    responses: Option<u32>,
    /// Where it stands, not inherited.
    place: Option<Place>,
}

impl UdpDraft {
    fn read(item: &Item<'_>) -> UdpDraft {
        let form = "a table like { idle = \"30s\", responses = 1 }";
        let Some(section) = item.section_or(form) else {
            return UdpDraft::default();
        };
        let (idle, responses) = (section.get("idle"), section.get("responses"));
        let times = Duration::from_millis(100)..=Duration::from_secs(86_400);
        let draft = UdpDraft {
            idle: idle.and_then(|item| item.duration_in(times)),
            responses: responses.and_then(|item| item.number(1..=1_000_000)),
            place: Some(item.key_place()),
        };
        section.finish();
        draft
    }

    fn over(self, defaults: &UdpDraft) -> UdpDraft {
        UdpDraft {
            idle: self.idle.or(defaults.idle),
            responses: self.responses.or(defaults.responses),
            place: self.place,
        }
    }

    fn settings(&self) -> UdpSettings {
        let usual = UdpSettings::default();
        UdpSettings {
            idle: self.idle.unwrap_or(usual.idle),
            responses: self.responses,
        }
    }
}
