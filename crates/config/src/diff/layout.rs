//! A configuration as keys with values in the words of the file.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use ::vrrp::{Authentication, ChecksumPolicy, Password, PeerKnowledge, Preempt, Settings, Version};
use balancer::{
    Check, Conditions, GroupSettings, ListenerSettings, OnAllDown, RuleAction, RuleSettings,
    SendProxy, StickySettings,
};
use std::sync::Arc;

mod tls;

use super::Subject;
use crate::certificate::CertificateContent;
use crate::model::{Config, Effect, Global, Hooks, Pair, PairSecret, Track, Vrrp, Watch};
use crate::units::{show_duration, show_size};

/// One part: what distinguishes it in a word, and all its keys.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Shown when the whole part comes or goes.
    pub(super) summary: String,
    /// Every key with its value.
    pub(super) keys: BTreeMap<String, String>,
    pub(super) secret: Secret,
}

/// What is compared, but never shown.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Secret {
    password: Option<Password>,
    authentication: Option<Arc<Authentication>>,
    pair: Option<PairSecret>,
    certificate: Option<Arc<CertificateContent>>,
}

impl Part {
    fn set(&mut self, key: &str, value: impl Display) {
        self.keys.insert(key.to_owned(), value.to_string());
    }

    fn time(&mut self, key: &str, value: Duration) {
        self.set(key, show_duration(value));
    }
}

/// Lays out every part.
pub(super) fn of(config: &Config) -> BTreeMap<(Subject, String), Part> {
    let mut parts = BTreeMap::new();
    parts.insert((Subject::Global, String::new()), global(&config.global));
    if let Some(value) = &config.pair {
        parts.insert((Subject::Pair, String::new()), pair(value));
    }
    parts.extend(
        config
            .vrrp
            .iter()
            .map(|value| ((Subject::Vrrp, value.name.clone()), vrrp(value))),
    );
    parts.extend(config.listeners.iter().map(|value| {
        (
            (Subject::Listener, value.name.clone()),
            listener(value, config),
        )
    }));
    parts.extend(
        config
            .groups
            .iter()
            .map(|value| ((Subject::Group, value.name.clone()), group(value, config))),
    );
    let certificates = config.certificates.iter();
    parts.extend(certificates.map(|value| {
        let part = (Subject::Certificate, value.name.clone());
        (part, tls::certificate(value))
    }));
    parts
}

fn global(global: &Global) -> Part {
    let mut part = Part::default();
    part.set("log.level", global.log.level.as_str());
    part.set("log.format", global.log.format.as_str());
    let access_log = &global.access_log;
    part.set("access_log.to", &access_log.to);
    part.set("access_log.format", access_log.format.as_str());
    part.set("access_log.query", !access_log.without_query);
    part.set(
        "socket.path",
        or(
            global.socket.path.as_ref().map(|path| path.display()),
            "default",
        ),
    );
    part.set("socket.group", or(global.socket.group.as_ref(), "none"));
    part.set("metrics", or(global.metrics, "off"));
    part.set("threads", or(global.threads, "auto"));
    part.set("user", or(global.user.as_ref(), "none"));
    part.set("trusted_proxies", list(&global.trusted_proxies));
    let fifo = global.notify_fifo.as_ref().map(|path| path.display());
    part.set("notify_fifo", or(fifo, "none"));
    part
}

fn pair(pair: &Pair) -> Part {
    let nodes: Vec<String> = pair
        .nodes
        .iter()
        .map(|node| format!("{} {}", node.name, node.address))
        .collect();
    let mut part = Part {
        summary: list(&nodes),
        ..Part::default()
    };
    part.set("nodes", list(&nodes));
    part.set("this node", &pair.this_node().name);
    let heartbeat = pair.heartbeat.as_ref();
    part.set(
        "heartbeat",
        or(
            heartbeat.map(|beat| format!("{} to {}", beat.own, beat.peer)),
            "off",
        ),
    );
    part.secret.authentication = heartbeat.map(|beat| Arc::clone(&beat.authentication));
    part.secret.pair = pair.secret.clone();
    part
}

fn track(part: &mut Part, track: &Track) {
    part.set("track.forwarder", track.forwarder);
    let weighted = |name: &str, weight: Option<i16>| match weight {
        Some(weight) => format!("{name} {weight:+}"),
        None => name.to_owned(),
    };
    let interfaces = track.interfaces.iter();
    let interfaces = interfaces.map(|interface| weighted(&interface.name, interface.weight));
    part.set("track.interfaces", list(&interfaces.collect::<Vec<_>>()));
    let groups = track.groups.iter().map(|group| {
        let name = format!("{} min_usable {}", group.name, group.min_usable);
        weighted(&name, group.weight)
    });
    part.set("track.groups", list(&groups.collect::<Vec<_>>()));
    for tracked in &track.checks {
        let key = format!("track.{}", tracked.label());
        let effect = match tracked.effect {
            Effect::Fault => "fault".to_owned(),
            Effect::Weight(weight) => format!("weight {weight:+}"),
            Effect::Number(factor) => format!("the number times {factor}"),
        };
        let Watch {
            probe,
            every,
            timeout,
        } = &tracked.watch;
        let (every, timeout) = (show_duration(*every), show_duration(*timeout));
        let (rise, fall) = (tracked.rise, tracked.fall);
        part.set(
            &key,
            format!(
                "{probe}, every {every}, timeout {timeout}, rise {rise}, fall {fall}, {effect}"
            ),
        );
    }
}

fn hooks(part: &mut Part, hooks: &Hooks) {
    for hook in &hooks.programs {
        part.set(&format!("hooks.{}", hook.on.as_str()), list(&hook.run));
    }
    part.time("hooks.timeout", hooks.timeout);
}

fn vrrp(vrrp: &Vrrp) -> Part {
    let vips: Vec<String> = vrrp
        .vips
        .iter()
        .map(|vip| format!("{}/{}", vip.address, vip.prefix_len))
        .collect();
    let mut part = Part {
        summary: list(&vips),
        ..Part::default()
    };
    let settings = &vrrp.settings;
    part.set("group", or(vrrp.group.as_ref(), "none"));
    part.set("interface", &vrrp.interface);
    part.set("vips", list(&vips));
    part.set("vrid", settings.vrid);
    part.set(
        "version",
        match settings.version {
            Version::V2 => "2",
            Version::V3 => "3",
        },
    );
    part.set(
        "checksum",
        match settings.checksum {
            ChecksumPolicy::Auto => "auto",
            ChecksumPolicy::Fixed(form) => form.as_str(),
        },
    );
    part.set("off_link", taken(!settings.off_link_drops));
    part.set("other_list", taken(!settings.list_mismatch_drops));
    part.set("priority", settings.priority);
    part.set(
        "priority of the other node",
        or(vrrp.peer_priority, "not known"),
    );
    vrrp_times(&mut part, vrrp);
    part.set("virtual_mac", vrrp.virtual_mac);
    part.set("accept_mode", vrrp.accept_mode);
    part.set(
        "timing",
        match settings.peer {
            PeerKnowledge::Pair => "of a pair",
            PeerKnowledge::Unknown => "of the RFC",
        },
    );
    track(&mut part, &vrrp.track);
    hooks(&mut part, &vrrp.hooks);
    part.set(
        "unicast",
        match &vrrp.unicast {
            Some(unicast) => format!("{} to {}", unicast.source, list(&unicast.peers)),
            None => "off".to_owned(),
        },
    );
    let routed: Vec<String> = settings
        .least_hop_limits
        .iter()
        .map(|(peer, least)| format!("{least} from {peer}"))
        .collect();
    part.set(
        "evidence.address_answers",
        vrrp.evidence.address_answers.as_str(),
    );
    part.set("evidence.peer_lives", vrrp.evidence.peer_lives.as_str());
    part.set("unicast_min_ttl", list(&routed));
    part.set("auth", auth(settings));
    part.secret = Secret {
        password: settings.password.clone(),
        authentication: settings.authentication.clone(),
        ..Secret::default()
    };
    part
}

fn taken(accepted: bool) -> &'static str {
    if accepted { "accept" } else { "drop" }
}

/// Everything about authentication that is no secret.
fn auth(settings: &Settings) -> String {
    let Some(hmac) = &settings.authentication else {
        let password = settings.password.as_ref();
        return password.map_or("none", |_| "password").to_owned();
    };
    let ids: Vec<u8> = hmac.ids().collect();
    format!(
        "hmac {}, signs with key {} of {}, anti_replay {}, window {} s",
        hmac.mode.as_str(),
        hmac.active(),
        list(&ids),
        hmac.freshness.as_str(),
        hmac.window_s()
    )
}

fn vrrp_times(part: &mut Part, vrrp: &Vrrp) {
    let settings = &vrrp.settings;
    part.time("advert_interval", settings.advert_interval.as_duration());
    part.set(
        "preempt",
        match settings.preempt {
            Preempt::Immediately => "at once".to_owned(),
            Preempt::After(delay) => format!("after {}", show_duration(delay)),
            Preempt::Never => "never".to_owned(),
        },
    );
    part.set("vip_lease", or(vrrp.lease.map(show_duration), "off"));
    let times: Vec<String> = vrrp
        .announce
        .schedule
        .iter()
        .copied()
        .map(show_duration)
        .collect();
    part.set("garp.schedule", list(&times));
    part.set(
        "garp.refresh",
        or(vrrp.announce.refresh.map(show_duration), "off"),
    );
}

fn listener(listener: &ListenerSettings, config: &Config) -> Part {
    let mut part = Part {
        summary: list(&listener.binds),
        ..Part::default()
    };
    part.set("bind", list(&listener.binds));
    part.set("protocol", listener.protocol.as_str());
    part.set("accept_proxy", listener.accept_proxy);
    part.set("action", action(&listener.default));
    rules(&mut part, &listener.rules);
    if let Some(tls) = &listener.tls {
        tls::listener(&mut part, tls, config);
    }
    let timeouts = &listener.timeouts;
    part.time("timeouts.handshake", timeouts.handshake);
    part.time("timeouts.header", timeouts.header);
    part.time("timeouts.body_idle", timeouts.body_idle);
    part.time("timeouts.keepalive", timeouts.keepalive);
    part.set("timeouts.age", or(timeouts.age.map(show_duration), "off"));
    part.time("timeouts.tunnel", timeouts.tunnel);
    part.time("timeouts.half_closed", timeouts.half_closed);
    let limits = &listener.limits;
    part.set("limits.connections", limits.connections);
    part.set("limits.per_ip", or(limits.per_ip, "off"));
    part.set("limits.requests", or(limits.requests, "off"));
    part.set(
        "limits.header_bytes",
        show_size(u64::from(limits.header_bytes)),
    );
    part.set("limits.header_fields", limits.header_fields);
    part.set("limits.url_bytes", show_size(u64::from(limits.url_bytes)));
    part.set(
        "limits.body_bytes",
        or(limits.body_bytes.map(show_size), "off"),
    );
    part.set("limits.streams", limits.streams);
    part.set("h2c", listener.h2c);
    part
}

/// Rules whose order is shown name by name; of more, a digest.
const SHOWN_RULES: usize = 20;

fn rules(part: &mut Part, rules: &[RuleSettings]) {
    if rules.is_empty() {
        return;
    }
    for rule in rules {
        part.set(&format!("rule {}", rule.name), rule_words(rule));
    }
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    part.set(
        "rule order",
        match names.len() {
            0..=SHOWN_RULES => list(&names),
            count => format!("{count} rules, {}", crate::hash(&names.join("\n"))),
        },
    );
}

/// Everything a rule says: two rules with the same words do the same.
fn rule_words(rule: &RuleSettings) -> String {
    let mut words = format!("{}: {}", Conditions(&rule.when), action(&rule.action));
    if let Some(sticky) = &rule.sticky {
        words.push_str(&format!("; sticky by {}", sticky_words(sticky)));
    }
    for (whose, edits) in [
        ("", &rule.request_headers),
        (" of the answer", &rule.answer_headers),
    ] {
        for (name, value) in &edits.set {
            words.push_str(&format!("; set {name}: {value}{whose}"));
        }
        for name in &edits.remove {
            words.push_str(&format!("; remove {name}{whose}"));
        }
    }
    words
}

/// `TANDEM for 1d`.
fn sticky_words(sticky: &StickySettings) -> String {
    format!("{} for {}", sticky.cookie, show_duration(sticky.ttl))
}

fn action(action: &RuleAction) -> String {
    match action {
        RuleAction::Forward(_) | RuleAction::Split(_) => format!("forward to {action}"),
        RuleAction::Respond(answer) => {
            let kind = answer.content_type.as_deref().unwrap_or("no content type");
            match answer.body.as_str() {
                "" => format!("{action} ({kind})"),
                body => format!("{action} ({kind}, {body:?})"),
            }
        }
        RuleAction::Redirect(_) | RuleAction::Close => action.to_string(),
    }
}

fn group(group: &GroupSettings, config: &Config) -> Part {
    let targets: Vec<&str> = group
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    let mut part = Part {
        summary: list(&targets),
        ..Part::default()
    };
    part.set("algorithm", &group.algorithm);
    for target in &group.targets {
        let address = target.address.to_string();
        // Who has no name is called by its address, which need not be said twice.
        let place = match target.name == address {
            true => String::new(),
            false => address + " ",
        };
        part.set(
            &format!("target {}", target.name),
            format!(
                "{place}weight {}{}{}",
                target.weight,
                if target.backup { " backup" } else { "" },
                target
                    .check
                    .map_or(String::new(), |place| format!(" checked at {place}"))
            ),
        );
    }
    let health = &group.health;
    part.set(
        "health",
        match &health.check {
            Check::Off => "off".to_owned(),
            Check::Tcp => "tcp".to_owned(),
            Check::Http {
                path,
                host,
                status,
                body,
            } => {
                let statuses: Vec<String> = status
                    .iter()
                    .map(|range| format!("{}-{}", range.start(), range.end()))
                    .collect();
                let host = host
                    .as_ref()
                    .map_or(String::new(), |host| format!(" host {host}"));
                let body = body
                    .as_ref()
                    .map_or(String::new(), |body| format!(" body {body:?}"));
                format!("http {path}{host} status {}{body}", list(&statuses))
            }
            Check::Grpc { service, host } => {
                let host = host
                    .as_ref()
                    .map_or(String::new(), |host| format!(" host {host}"));
                format!("grpc {service:?}{host}")
            }
            Check::Udp { send, expect } => {
                let expect = expect.as_deref().map_or("any".to_owned(), hex);
                format!("udp send {} expect {expect}", hex(send))
            }
        },
    );
    part.time("health.every", health.every);
    part.time("health.timeout", health.timeout);
    part.set("health.rise", health.rise);
    part.set("health.fall", health.fall);
    part.set("health.port", or(health.port, "target's own"));
    part.set("health.tls", tls::checks(&health.tls, config));
    let timeouts = &group.timeouts;
    part.time("timeouts.connect", timeouts.connect);
    part.time("timeouts.first_byte", timeouts.first_byte);
    part.time("timeouts.idle", timeouts.idle);
    part.time("timeouts.pool_idle", timeouts.pool_idle);
    part.time("timeouts.pool_age", timeouts.pool_age);
    part.time("drain", group.drain);
    part.set(
        "tls",
        or(
            group.tls.as_ref().map(|tls| tls::targets(tls, config)),
            "off",
        ),
    );
    part.set("http", if group.http2 { "2" } else { "1.1" });
    part.set(
        "on_all_down",
        match group.on_all_down {
            OnAllDown::Try => "try",
            OnAllDown::Refuse => "503",
        },
    );
    part.set("sticky", or(group.sticky.as_ref().map(sticky_words), "off"));
    part.set("on_down", group.on_down.as_str());
    part.set(
        "send_proxy",
        or(group.send_proxy.map(SendProxy::as_str), "off"),
    );
    part.time("udp.idle", group.udp.idle);
    part.set("udp.responses", or(group.udp.responses, "off"));
    protection(&mut part, group);
    part
}

fn hex(octets: &[u8]) -> String {
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("hex:{digits}")
}

fn protection(part: &mut Part, group: &GroupSettings) {
    match &group.outlier {
        None => part.set("outlier", "off"),
        Some(outlier) => {
            part.set("outlier.consecutive_errors", outlier.consecutive_errors);
            part.set("outlier.count_5xx", outlier.count_5xx);
            part.time("outlier.eject", outlier.eject);
            part.set(
                "outlier.max_ejected",
                format_args!("{}%", outlier.max_ejected),
            );
        }
    }
    part.set("retry.tries", group.retry.tries);
    part.set("retry.budget", format_args!("{}%", group.retry.budget));
    part.set("slow_start", or(group.slow_start.map(show_duration), "off"));
    let limits = &group.limits;
    part.set("limits.per_target", or(limits.per_target, "off"));
    part.set("limits.queue", limits.queue);
    part.time("limits.queue_for", limits.queue_for);
}

fn list<T: Display>(values: &[T]) -> String {
    let words: Vec<String> = values.iter().map(T::to_string).collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

fn or<T: Display>(value: Option<T>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), |value| value.to_string())
}
