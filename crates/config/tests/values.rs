//! What a file without errors becomes.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use balancer::{
    AccessLogFormat, AccessLogSettings, AccessLogTarget, Algorithm, Check, CheckTls, Conditions,
    FixedAnswer, GroupSettings, HashKey, OnAllDown, OutlierSettings, Protocol, RuleAction,
    TargetLimits,
};
use config::{Config, Facts, Level, LogFormat, TrackedInterface, Unicast, VipAddress, load};
use vrrp::{ChecksumForm, ChecksumPolicy, PeerKnowledge, Preempt, Priority, Version, Vrid};

fn on(node: &str, text: &str) -> Config {
    let facts = Facts {
        host_name: node.to_owned(),
        ..Facts::default()
    };
    let outcome = load(Path::new("t.toml"), text, &facts);
    assert_eq!(outcome.report.lines(Path::new("t.toml")), "");
    outcome.config.unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The shortest real pair (`config/pair.toml`).
const PAIR: &str = r#"
[pair]
nodes = { lb1 = "10.0.0.2", lb2 = "10.0.0.3" }
[vrrp.main]
interface = "eth0"
vrid = 51
vips = ["10.0.0.10/24"]
[listener.web]
bind = "10.0.0.10:80"
forward = "app"
[group.app]
targets = ["10.0.0.21:8080", "10.0.0.22:8080"]
health = { http = "/healthz" }
"#;

#[test]
fn the_shortest_pair_gets_the_defaults_of_the_product() {
    let config = on("lb2", PAIR);
    assert_eq!(config.node.as_deref(), Some("lb2"));
    let pair = config.pair.unwrap();
    assert_eq!((pair.this, pair.this_node().address), (1, ip("10.0.0.3")));
    assert_eq!(
        pair.others()
            .map(|node| node.name.as_str())
            .collect::<Vec<_>>(),
        ["lb1"]
    );
    let [vrrp] = &config.vrrp[..] else {
        panic!("one virtual router")
    };
    assert_eq!(
        (vrrp.name.as_str(), vrrp.interface.as_str()),
        ("main", "eth0")
    );
    assert_eq!(
        vrrp.vips,
        [VipAddress {
            address: ip("10.0.0.10"),
            prefix_len: 24
        }]
    );
    assert_eq!(vrrp.lease, Some(Duration::from_secs(2)));
    assert_eq!(
        vrrp.announce.schedule,
        [0, 50, 200, 1000, 5000].map(Duration::from_millis)
    );
    assert_eq!(vrrp.announce.refresh, None);
    assert!(vrrp.track.forwarder && vrrp.track.interfaces.is_empty());
    assert_eq!(vrrp.unicast, None);
    let settings = &vrrp.settings;
    assert_eq!(
        (settings.name.as_str(), settings.vrid),
        ("main", Vrid::new(51).unwrap())
    );
    assert_eq!(
        (settings.version, settings.checksum),
        (Version::V3, ChecksumPolicy::Auto)
    );
    assert_eq!(settings.priority, Priority::new(100));
    assert_eq!(settings.advert_interval.centis(), 10);
    assert_eq!(settings.preempt, Preempt::After(Duration::from_secs(30)));
    assert_eq!(settings.peer, PeerKnowledge::Pair);
    assert!(
        settings.unicast_peers.is_empty()
            && settings.password.is_none()
            && !settings.list_mismatch_drops
    );
    assert_eq!(
        on("lb1", PAIR).vrrp[0].settings.priority,
        Priority::new(200)
    );
}

#[test]
fn the_listener_and_its_group_of_the_shortest_pair() {
    let config = on("lb1", PAIR);
    let [web] = &config.listeners[..] else {
        panic!("one listener")
    };
    assert_eq!((web.name.as_str(), web.protocol), ("web", Protocol::Http));
    assert_eq!(web.binds, ["10.0.0.10:80".parse().unwrap()]);
    assert_eq!(web.default, RuleAction::Forward("app".to_owned()));
    let [app] = &config.groups[..] else {
        panic!("one group")
    };
    assert_eq!(
        app.targets
            .iter()
            .map(|t| (t.name.as_str(), t.weight))
            .collect::<Vec<_>>(),
        [("10.0.0.21:8080", 1), ("10.0.0.22:8080", 1)]
    );
    assert_eq!(
        app.health.check,
        Check::Http {
            path: "/healthz".to_owned(),
            host: None,
            status: vec![200..=399],
            body: None,
        }
    );
    assert_eq!(
        (app.health.every, app.health.timeout),
        (Duration::from_secs(5), Duration::from_secs(2))
    );
    assert_eq!(
        (app.health.rise, app.health.fall, app.health.fast),
        (2, 3, Duration::from_secs(1))
    );
    assert_eq!(
        (app.drain, app.on_all_down),
        (Duration::from_secs(300), OnAllDown::Try)
    );
}

#[test]
fn every_key_of_a_virtual_router_is_heard() {
    let text = r#"
[pair]
nodes = { lb1 = "10.0.0.2", lb2 = "10.0.0.3" }
[vrrp.main]
interface = { lb1 = "eth0", lb2 = "ens3" }
vrid = 7
version = 2
vips = ["10.0.0.10", "10.0.0.11/24"]
advert_interval = "3s"
priority = { lb2 = 90, lb1 = 120 }
preempt = true
unicast = { lb1 = "10.9.0.2", lb2 = "10.9.0.3" }
virtual_mac = false
vip_lease = "off"
garp = { schedule = ["0ms", "2s"], refresh = "60s" }
[vrrp.main.track]
forwarder = false
interfaces = ["eth1", { name = "eth2", weight = -30 }]
"#;
    let vrrp = on("lb2", text).vrrp.remove(0);
    assert_eq!(vrrp.interface, "ens3");
    assert_eq!(
        vrrp.vips
            .iter()
            .map(|vip| vip.prefix_len)
            .collect::<Vec<_>>(),
        [32, 24]
    );
    assert_eq!(
        (vrrp.lease, vrrp.announce.refresh),
        (None, Some(Duration::from_secs(60)))
    );
    assert_eq!(vrrp.announce.schedule, [0, 2000].map(Duration::from_millis));
    assert_eq!(
        vrrp.unicast,
        Some(Unicast {
            source: ip("10.9.0.3"),
            peers: vec![ip("10.9.0.2")]
        })
    );
    assert_eq!(
        vrrp.track.interfaces,
        [
            TrackedInterface {
                name: "eth1".to_owned(),
                weight: None
            },
            TrackedInterface {
                name: "eth2".to_owned(),
                weight: Some(-30)
            },
        ]
    );
    assert!(!vrrp.track.forwarder);
    let settings = vrrp.settings.clone();
    assert_eq!(
        (settings.version, settings.advert_interval.centis()),
        (Version::V2, 300)
    );
    assert_eq!(
        (settings.priority, settings.preempt),
        (Priority::new(90), Preempt::Immediately)
    );
    assert_eq!(settings.unicast_peers, [ip("10.9.0.2")]);
    assert!(settings.list_mismatch_drops);
}

#[test]
fn the_checksum_form_can_be_fixed() {
    let text = PAIR.replace("vrid = 51", "vrid = 51\nchecksum = \"rfc9568\"");
    assert_eq!(
        on("lb1", &text).vrrp[0].settings.checksum,
        ChecksumPolicy::Fixed(ChecksumForm::Rfc9568)
    );
}

#[test]
fn whose_advertisements_count_follows_the_version_unless_told_otherwise() {
    let drops = |lines: &str| {
        let text = PAIR.replace("vrid = 51", &format!("vrid = 51\n{lines}"));
        let settings = on("lb1", &text).vrrp[0].settings.clone();
        (settings.off_link_drops, settings.list_mismatch_drops)
    };
    assert_eq!(drops(""), (false, false));
    assert_eq!(drops("version = 2"), (false, true));
    assert_eq!(
        drops("version = 2\nother_list = \"accept\""),
        (false, false)
    );
    assert_eq!(
        drops("off_link = \"drop\"\nother_list = \"drop\""),
        (true, true)
    );
    // The default may be said where there is no choice.
    assert_eq!(
        drops("off_link = \"accept\"\nunicast = true"),
        (false, false)
    );
}

#[test]
fn version_2_has_an_interval_of_a_second_unless_told_otherwise() {
    let text = "[vrrp.a]\ninterface = \"eth0\"\nvrid = 1\nversion = 2\nvips = [\"10.0.0.1/24\"]\n";
    assert_eq!(on("x", text).vrrp[0].settings.advert_interval.centis(), 100);
}

#[test]
fn unicast_between_the_nodes_of_the_pair() {
    let text = PAIR.replace("vrid = 51", "vrid = 51\nunicast = true");
    let unicast = on("lb1", &text).vrrp[0].unicast.clone().unwrap();
    assert_eq!(
        unicast,
        Unicast {
            source: ip("10.0.0.2"),
            peers: vec![ip("10.0.0.3")]
        }
    );
}

#[test]
fn a_virtual_router_without_a_pair_knows_nothing_of_its_peer() {
    let text =
        "[vrrp.a]\ninterface = \"eth0\"\nvrid = 1\nvips = [\"10.0.0.1/24\"]\npreempt = false\n";
    let config = on("alone", text);
    assert_eq!((config.node.as_deref(), config.pair), (Some("alone"), None));
    let vrrp = &config.vrrp[0];
    assert_eq!(vrrp.settings.peer, PeerKnowledge::Unknown);
    assert_eq!(
        (vrrp.settings.priority, vrrp.settings.preempt),
        (Priority::new(100), Preempt::Never)
    );
    assert!(
        !vrrp.track.forwarder,
        "without listeners there is no forwarder to follow"
    );
}

#[test]
fn three_nodes_are_no_pair_and_each_has_half_the_priority_of_the_one_before() {
    let text = PAIR.replace(
        "lb2 = \"10.0.0.3\"",
        "lb2 = \"10.0.0.3\", lb3 = \"10.0.0.4\"",
    );
    let settings = on("lb3", &text).vrrp[0].settings.clone();
    assert_eq!(
        (settings.priority, settings.peer),
        (Priority::new(50), PeerKnowledge::Unknown)
    );
}

#[test]
fn every_key_of_global_is_heard() {
    let text = format!(
        "{PAIR}[global]\nlog = {{ level = \"debug\", format = \"json\" }}\naccess_log = {{ to = \"off\" }}\n\
         metrics = \"off\"\nsocket = {{ path = \"/run/t.sock\", group = \"adm\" }}\n\
         trusted_proxies = [\"192.0.2.0/24\", \"fd00::1\"]\nthreads = 4\nuser = \"nobody\"\n"
    );
    let config = on("lb1", &text);
    let global = config.global;
    assert_eq!(
        (global.log.level, global.log.format),
        (Level::Debug, LogFormat::Json)
    );
    assert_eq!(global.socket.path, Some(PathBuf::from("/run/t.sock")));
    assert_eq!(
        (global.socket.group.as_deref(), global.user.as_deref()),
        (Some("adm"), Some("nobody"))
    );
    assert_eq!(global.threads, Some(4));
    assert_eq!(global.access_log, AccessLogSettings::default());
    let proxies: Vec<String> = global
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["192.0.2.0/24", "fd00::1/128"]);
    assert_eq!(config.listeners[0].trusted_proxies, global.trusted_proxies);
    assert_eq!(
        on("lb1", &text.replace("threads = 4", "threads = \"auto\""))
            .global
            .threads,
        None
    );
}

#[test]
fn every_key_of_the_access_log_is_heard() {
    let rows = [
        ("\"off\"", AccessLogTarget::Off, AccessLogFormat::Json, true),
        (
            "{ to = \"stderr\" }",
            AccessLogTarget::Stderr,
            AccessLogFormat::Json,
            true,
        ),
        (
            "{ to = \"journal\", format = \"logfmt\" }",
            AccessLogTarget::Journal,
            AccessLogFormat::Logfmt,
            true,
        ),
        (
            "{ to = \"/a/b\", format = \"json\", query = false }",
            AccessLogTarget::File("/a/b".into()),
            AccessLogFormat::Json,
            false,
        ),
    ];
    for (text, to, format, query) in rows {
        let text = format!("{PAIR}[global]\naccess_log = {text}\n");
        assert_eq!(
            on("lb1", &text).global.access_log,
            AccessLogSettings {
                to,
                format,
                without_query: !query
            }
        );
    }
}

#[test]
fn every_key_of_a_listener_is_heard() {
    let text = r#"
[listener.web]
bind = ["0.0.0.0:8080", "[::1]:8080"]
protocol = "http"
respond = "close"
timeouts = { header = "1s", body_idle = "2s", keepalive = "3s", age = "6s", tunnel = "4s", half_closed = "5s" }
limits = { connections = 6, header_bytes = "7KiB", body_bytes = "8MiB", per_ip = "off", streams = 9, header_fields = 10, url_bytes = "1KiB", requests = 11 }
accept_proxy = false
h2c = true
[listener.raw]
bind = "0.0.0.0:9"
respond = "close"
"#;
    let listeners = on("x", text).listeners;
    let web = &listeners[0];
    assert_eq!(
        (web.protocol, &web.default),
        (Protocol::Http, &RuleAction::Close)
    );
    let times = [
        web.timeouts.header,
        web.timeouts.body_idle,
        web.timeouts.keepalive,
    ];
    assert_eq!(times, [1, 2, 3].map(Duration::from_secs));
    assert_eq!(
        [web.timeouts.tunnel, web.timeouts.half_closed],
        [4, 5].map(Duration::from_secs)
    );
    assert_eq!(
        (web.limits.connections, web.limits.header_bytes),
        (6, 7 * 1024)
    );
    assert_eq!(web.limits.body_bytes, Some(8 << 20));
    assert_eq!((web.limits.header_fields, web.limits.url_bytes), (10, 1024));
    assert_eq!(web.limits.requests, Some(11));
    assert_eq!(web.timeouts.age, Some(Duration::from_secs(6)));
    let other = &listeners[1];
    assert_eq!((other.limits.requests, other.timeouts.age), (None, None));
    assert_eq!((web.limits.streams, web.h2c), (9, true));
    assert_eq!(listeners[1].protocol, Protocol::Tcp);
}

#[test]
fn a_group_starts_from_the_defaults_key_by_key() {
    let text = r#"
[listener.a]
bind = "0.0.0.0:1"
forward = "plain"
[listener.b]
bind = "0.0.0.0:2"
forward = "own"
[listener.c]
bind = "0.0.0.0:3"
forward = "unchecked"
[defaults.group]
health = { http = "/up", host = "h.internal", body = "fine", tls = false, every = "4s", timeout = "2s", rise = 5, fall = 6, port = 99 }
timeouts = { connect = "1s", idle = "2s" }
on_all_down = "503"
drain = "10s"
outlier = { consecutive_errors = 7, eject = "20s", max_ejected = "40%", count_5xx = true }
retry = { tries = 3, budget = "10%" }
slow_start = "15s"
limits = { per_target = 50, queue = 60, queue_for = "7s" }
[group.plain]
targets = ["10.0.0.1:1"]
outlier = { eject = "2s" }
limits = { queue = 9 }
retry = { tries = 1 }
[group.own]
targets = [{ name = "one", address = "10.0.0.1:1", weight = 7, backup = false }]
algorithm = "round_robin"
health = { tcp = true, every = "1s", fall = 1 }
timeouts = { connect = "9s", first_byte = "8s", pool_idle = "7s", pool_age = "6m" }
on_all_down = "try"
slow_start = "0s"
outlier = "off"
retry = "off"
limits = "off"
http = "1.1"
[group.unchecked]
targets = ["10.0.0.1:1"]
health = "off"
"#;
    let groups = on("x", text).groups;
    let plain = &groups[0];
    let check = Check::Http {
        path: "/up".to_owned(),
        host: Some("h.internal".to_owned()),
        status: vec![200..=399],
        body: Some("fine".to_owned()),
    };
    assert_eq!((&plain.health.check, plain.health.port), (&check, Some(99)));
    assert_eq!(
        (plain.health.every, plain.health.timeout),
        (Duration::from_secs(4), Duration::from_secs(2))
    );
    assert_eq!((plain.health.rise, plain.health.fall), (5, 6));
    assert_eq!(
        (plain.on_all_down, plain.drain),
        (OnAllDown::Refuse, Duration::from_secs(10))
    );
    assert_eq!(
        (plain.timeouts.connect, plain.timeouts.idle),
        (Duration::from_secs(1), Duration::from_secs(2))
    );
    let own = &groups[1];
    // Another kind of check takes nothing that belongs to the first, and the inherited 2 s do not fit into 1 s.
    assert_eq!((&own.health.check, own.health.port), (&Check::Tcp, None));
    assert_eq!(
        (own.health.every, own.health.timeout),
        (Duration::from_secs(1), Duration::from_millis(800))
    );
    assert_eq!((own.health.rise, own.health.fall), (5, 1));
    assert_eq!(
        (own.targets[0].name.as_str(), own.targets[0].weight),
        ("one", 7)
    );
    let times = [
        own.timeouts.connect,
        own.timeouts.first_byte,
        own.timeouts.idle,
        own.timeouts.pool_idle,
        own.timeouts.pool_age,
    ];
    assert_eq!(times, [9, 8, 2, 7, 360].map(Duration::from_secs));
    assert_eq!(
        (own.on_all_down, own.drain),
        (OnAllDown::Try, Duration::from_secs(10))
    );
    assert_eq!(groups[2].health.check, Check::Off);
    assert_eq!(plain.health.tls, CheckTls::Off);
    assert_eq!(own.health.tls, CheckTls::AsTraffic);
    protection(plain, own);
}

fn protection(plain: &GroupSettings, own: &GroupSettings) {
    let outlier = OutlierSettings {
        consecutive_errors: 7,
        count_5xx: true,
        eject: Duration::from_secs(2),
        max_ejected: 40,
    };
    assert_eq!((&plain.outlier, &own.outlier), (&Some(outlier), &None));
    assert_eq!((plain.retry.tries, plain.retry.budget), (1, 10));
    assert_eq!((own.retry.tries, own.retry.budget), (0, 10));
    assert_eq!(plain.slow_start, Some(Duration::from_secs(15)));
    assert_eq!(own.slow_start, None);
    let limits = TargetLimits {
        per_target: Some(50),
        queue: 9,
        queue_for: Duration::from_secs(7),
    };
    assert_eq!((&plain.limits, own.limits.per_target), (&limits, None));
}

#[test]
fn every_algorithm_can_be_written() {
    let hash = |key, vnodes| Algorithm::ConsistentHash { key, vnodes };
    let rows = [
        ("\"round_robin\"", Algorithm::RoundRobin),
        ("\"least_connections\"", Algorithm::LeastConnections),
        ("\"power_of_two\"", Algorithm::PowerOfTwo),
        ("\"random\"", Algorithm::Random),
        ("\"first\"", Algorithm::First),
        (
            "{ consistent_hash = \"source\" }",
            hash(HashKey::Source, 160),
        ),
        (
            "{ consistent_hash = \"path\", vnodes = 1 }",
            hash(HashKey::Path, 1),
        ),
        (
            "{ consistent_hash = \"header:X-User\", vnodes = 1024 }",
            hash(HashKey::Header("X-User".to_owned()), 1024),
        ),
        (
            "{ consistent_hash = \"cookie:SID\" }",
            hash(HashKey::Cookie("SID".to_owned()), 160),
        ),
        (
            "{ consistent_hash = \"query:u[id]\" }",
            hash(HashKey::Query("u[id]".to_owned()), 160),
        ),
    ];
    for (written, algorithm) in rows {
        let text = format!("{PAIR}algorithm = {written}\n");
        assert_eq!(on("lb1", &text).groups[0].algorithm, algorithm, "{written}");
    }
    // A group takes the algorithm of the defaults, whole.
    let text = format!("{PAIR}[defaults.group]\nalgorithm = {{ consistent_hash = \"path\" }}\n");
    assert_eq!(
        on("lb1", &text).groups[0].algorithm,
        hash(HashKey::Path, 160)
    );
}

#[test]
fn a_tcp_listener_can_hash_the_source() {
    let text = "[listener.db]\nbind = \"0.0.0.0:5432\"\nforward = \"db\"\n[group.db]\n\
                targets = [\"10.0.0.1:5432\", { address = \"10.0.0.2:5432\", backup = true }]\n\
                algorithm = { consistent_hash = \"source\" }\n";
    let groups = on("x", text).groups;
    let backups: Vec<bool> = groups[0]
        .targets
        .iter()
        .map(|target| target.backup)
        .collect();
    assert_eq!(backups, [false, true]);
}

#[test]
fn the_hash_is_that_of_the_text_on_every_node() {
    // printf '...' | sha256sum | cut -c 1-12
    let text = "[listener.a]\nbind = \"0.0.0.0:99\"\nrespond = \"close\"\n";
    assert_eq!(on("x", text).hash, "94bd53207b4f");
    assert_eq!(on("lb1", PAIR).hash, on("lb2", PAIR).hash);
    assert_ne!(on("x", &format!("{text}\n")).hash, on("x", text).hash);
}

#[test]
fn the_profile_of_the_rfc_has_its_defaults_and_every_key_goes_before_them() {
    let text = PAIR.replace(
        "vrid = 51",
        "vrid = 51\nprofile = \"rfc9568\"\naccept_mode = true",
    );
    let vrrp = on("lb1", &text).vrrp.remove(0);
    let settings = &vrrp.settings;
    assert_eq!((vrrp.virtual_mac, vrrp.accept_mode), (true, true));
    assert_eq!(
        settings.advert_interval.as_duration(),
        Duration::from_secs(1)
    );
    assert_eq!(settings.preempt, Preempt::Immediately);
    assert_eq!(settings.peer, PeerKnowledge::Unknown);
    assert_eq!(
        settings.checksum,
        ChecksumPolicy::Fixed(ChecksumForm::Rfc9568)
    );
    let text = text.replace(
        "accept_mode = true",
        "virtual_mac = false\nadvert_interval = \"200ms\"\npreempt = false\nchecksum = \"auto\"",
    );
    let facts = Facts {
        host_name: "lb1".to_owned(),
        ..Facts::default()
    };
    let vrrp = load(Path::new("t.toml"), &text, &facts)
        .config
        .unwrap()
        .vrrp
        .remove(0);
    assert_eq!((vrrp.virtual_mac, vrrp.accept_mode), (false, false));
    assert_eq!(
        vrrp.settings.advert_interval.as_duration(),
        Duration::from_millis(200)
    );
    assert_eq!(vrrp.settings.preempt, Preempt::Never);
    assert_eq!(vrrp.settings.checksum, ChecksumPolicy::Auto);
}

#[test]
fn rules_become_conditions_and_actions() {
    let config = on(
        "lb1",
        "[listener.web]\nbind = \"0.0.0.0:80\"\nrespond = 404\n\
         [[listener.web.rule]]\nname = \"api\"\n\
         when = { host = \"App.example.com\", path = [\"/%61pi/*\", \"/v?/*\"], method = \"GET\", header = { X-Beta = \"Yes\" }, \
         query = { Page = \"*\" }, cookie = { theme = \"Dark\" }, source = \"10.0.0.0/8\", peer_source = \"192.0.2.1\", \
         not = { source = [\"10.1.0.0/16\", \"::1\"] } }\n\
         set_headers = { X-Edge = \"1\" }\nremove_headers = [\"X-Internal\"]\nset_answer_headers = { Server = \"\" }\n\
         forward = { app = 95, next = 5 }\n\
         [[listener.web.rule]]\nwhen = { path = \"/old/*\" }\nredirect = { host = \"new.example.com\", path = \"/x#{path}\", status = 308 }\n\
         [[listener.web.rule]]\nredirect = \"https\"\n\
         [group.app]\ntargets = [\"10.0.0.1:80\"]\n[group.next]\ntargets = [\"10.0.0.2:80\"]\n",
    );
    let web = &config.listeners[0];
    assert_eq!(web.default, RuleAction::Respond(FixedAnswer::plain(404)));
    let words: Vec<String> = web
        .rules
        .iter()
        .map(|rule| {
            format!(
                "{}: {} -> {}",
                rule.name,
                Conditions(&rule.when),
                rule.action
            )
        })
        .collect();
    assert_eq!(
        words,
        [
            "api: host app.example.com, path /api/* or /v?/*, method GET, source 10.0.0.0/8, peer_source 192.0.2.1/32, \
             header x-beta: yes, query page=*, cookie theme=Dark, not (source 10.1.0.0/16 or ::1/128) -> app 95, next 5",
            "2: path /old/* -> redirect 308 to #{protocol}://new.example.com/x#{path}?#{query}",
            "3: everything -> redirect 301 to https://#{host}#{path}?#{query}",
        ]
    );
    assert_eq!(
        web.rules[0].request_headers.set,
        [("X-Edge".to_owned(), "1".to_owned())]
    );
    assert_eq!(web.rules[0].request_headers.remove, ["X-Internal"]);
    assert_eq!(
        web.rules[0].answer_headers.set,
        [("Server".to_owned(), String::new())]
    );
}

#[test]
fn as_many_rules_as_a_listener_may_have_fit_into_a_file() {
    let mut text = "[listener.web]\nbind = \"0.0.0.0:80\"\nrespond = 404\n".to_owned();
    for number in 0..10_000 {
        text += &format!(
            "[[listener.web.rule]]\nname = \"customer-{number}\"\n\
             when = {{ host = \"customer-{number}.example.com\", path = \"/customers/{number}/*\" }}\nrespond = 200\n"
        );
    }
    assert_eq!(on("lb1", &text).listeners[0].rules.len(), 10_000);
}
