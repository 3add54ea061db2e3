//! Whom a node believes: unicast peers alone, and only what is signed where keys are configured.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{LIMIT, assert_at_least, assert_blackout, assert_within, measured, probe, watch_on};
use netns_tests::{
    Address, Device, Host, Injector, Junk, Lab, Observer, PairConfig, Part, Tandem, get, wait_until,
};

/// Two keys, as the key file has them.
const KEY_1: &str = "1 hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
const KEY_2: &str = "2 this is the second key of 44 octets in ASCII\n";

/// Milliseconds after which a farewell must have moved the address: silence alone takes 260 at least.
const TOLD: f64 = 250.0;

/// How many packets a node refused, by reason.
fn rejects(node: &Tandem<'_>) -> serde_json::Value {
    let (code, out, err) = node.cli(&["--json", "vrrp"]).unwrap();
    assert_eq!(code, 0, "{err}");
    let routers: serde_json::Value = serde_json::from_str(&out).unwrap();
    routers[0]["rejects"].clone()
}

#[test]
fn without_its_unicast_address_a_node_is_at_fault() {
    let lab = Lab::new().unwrap();
    let config = PairConfig {
        unicast: true,
        ..PairConfig::default()
    };
    // A second address stays on the link: it must not stand in for the configured one.
    lab.net(Host::Lb1)
        .ip("addr add 10.0.0.9/24 dev eth0")
        .unwrap();
    lab.net(Host::Lb1)
        .sysctl("ipv4/conf/eth0/promote_secondaries", "1")
        .unwrap();
    let (one, _two) = Tandem::pair(&lab, &config).unwrap();
    lab.net(Host::Lb1)
        .ip("addr del 10.0.0.2/24 dev eth0")
        .unwrap();
    one.wait_state("fault", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
    let (_, shown, _) = one.cli(&["vrrp"]).unwrap();
    assert!(shown.contains("unicast source 10.0.0.2"), "{shown}");
    lab.net(Host::Lb1)
        .ip("addr add 10.0.0.2/24 dev eth0")
        .unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
}

/// Has everything of VRRP leave a host with this TTL, as if it had come through routers; 255 as it is.
fn send_with_ttl(lab: &Lab, host: Host, ttl: u8) {
    let rules = format!(
        "table ip hops\ndelete table ip hops\ntable ip hops {{ chain out {{ type filter hook output priority 0; ip protocol 112 ip ttl set {ttl}; }}; }}"
    );
    let run = || Command::new("nft").arg(rules).output();
    let done = lab.net(host).enter(run).unwrap().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn what_comes_through_routers_is_believed_as_far_as_the_file_says() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            unicast: true,
            ..signed()
        };
        let mut nodes = [Host::Lb1, Host::Lb2].map(|host| {
            let node = Tandem::new(&lab, host, &config).unwrap();
            let text = config.tandem(host);
            let routed = text.replace("vrid = 51\n", "vrid = 51\nunicast_min_ttl = 254\n");
            assert_ne!(text, routed);
            node.write_config(&routed).unwrap();
            node
        });
        send_with_ttl(&lab, Host::Lb1, 254);
        for node in &mut nodes {
            node.start().unwrap();
        }
        let [one, two] = &nodes;
        one.wait_state("active", LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        let accepted = || -> u64 {
            let routers = get(&two.socket(), "/vrrp").unwrap();
            routers[0]["counters"]["accepted"].as_u64().unwrap()
        };
        let heard = accepted();
        wait_until("advertisements are believed", LIMIT, || {
            accepted() >= heard + 5
        })
        .unwrap();
        assert!(rejects(two)["hop_limit"].is_null(), "{}", rejects(two));

        // One router more than the file knows of.
        send_with_ttl(&lab, Host::Lb1, 253);
        two.wait_state("active", LIMIT).unwrap();
        wait_until("they are counted", LIMIT, || {
            rejects(two)["hop_limit"].as_u64() >= Some(3)
        })
        .unwrap();
        send_with_ttl(&lab, Host::Lb1, 255);
        two.wait_state("backup", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    });
}

fn signed() -> PairConfig {
    PairConfig {
        keys: Some(KEY_1.into()),
        ..PairConfig::default()
    }
}

#[test]
fn what_is_not_signed_moves_nothing_and_a_signed_pair_fails_over() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = signed();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        // A good advertisement of priority 1, which an Active router would answer, but for the signature.
        let observer = Observer::start(&lab).unwrap();
        let begun = Instant::now();
        Injector::start(&lab, &[Junk::Losing], 51, 1000, Duration::from_secs(1))
            .unwrap()
            .finish()
            .unwrap();
        let own = observer.adverts(Host::Lb1.v4(), begun).len();
        let most = begun.elapsed().as_millis() / config.interval.as_millis() + 4;
        assert!(
            own as u128 <= most,
            "{own} advertisements, at most {most} are its own: junk was answered"
        );
        let after = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        assert_eq!(after, before, "{}", one.tail());
        let missing = rejects(&one)["trailer_missing"].as_u64().unwrap();
        assert_at_least("counted", missing as f64, 700.0);
        let (_, shown, _) = one.cli(&["vrrp"]).unwrap();
        assert!(shown.contains("unauthenticated: "), "{shown}");

        // The farewell of the last will is signed too: the director dies, and the other node knows at once.
        let prober = probe(&lab, &config);
        let killed = one.kill(Part::Director).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        let reason = two.last_transition().unwrap()["reason"].clone();
        assert_eq!(reason, "10.0.0.2 said that it leaves");
        let (_, summary) = watch_on(prober, killed);
        assert_blackout(&summary, TOLD, [&one, &two]);
        // The new director's advertisements are later than the will's farewell, and believed.
        one.wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        assert_eq!(rejects(&two)["replay"], serde_json::Value::Null);
    });
}

#[test]
fn another_key_parts_the_nodes_and_both_say_so() {
    let lab = Lab::new().unwrap();
    let (one, two) = Tandem::pair(&lab, &signed()).unwrap();
    two.write_keys(&KEY_1.replace("00010203", "ffffffff"))
        .unwrap();
    let (code, out, err) = two.cli(&["reload"]).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("secret of auth"), "{out}");
    two.wait_state("active", LIMIT).unwrap();
    wait_until("lb1 says what it refuses", LIMIT, || {
        let (_, shown, _) = one.cli(&["vrrp"]).unwrap();
        shown.contains("wrong HMAC")
    })
    .unwrap();
    two.write_keys(KEY_1).unwrap();
    assert_eq!(two.cli(&["reload"]).unwrap().0, 0);
    two.wait_state("backup", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
}

#[test]
fn a_rollout_and_a_rotation_by_reload_cost_nothing() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        let steps = [
            (KEY_1.to_owned(), "mode = \"receive-only\""),
            (KEY_1.to_owned(), "mode = \"permissive\""),
            (KEY_1.to_owned(), "mode = \"enforce\""),
            (format!("{KEY_1}{KEY_2}"), "active_key = 1"),
            (format!("{KEY_1}{KEY_2}"), "active_key = 2"),
            (KEY_2.to_owned(), "active_key = 2"),
        ];
        for (keys, option) in steps {
            for (node, host) in [(&two, Host::Lb2), (&one, Host::Lb1)] {
                node.write_keys(&keys).unwrap();
                let auth = format!("vrid = 51\nauth = {{ hmac_file = \"vrrp.key\", {option} }}\n");
                let text = config.tandem(host).replace("vrid = 51\n", &auth);
                node.write_config(&text).unwrap();
                let (code, out, err) = node.cli(&["reload"]).unwrap();
                assert_eq!(code, 0, "{out}{err}");
                // Five intervals with the two nodes at different steps: that is what must cost nothing.
                std::thread::sleep(5 * config.interval);
            }
        }
        let after = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        assert_eq!(after, before, "{}\n{}", one.tail(), two.tail());
        let (_, shown, _) = two.cli(&["vrrp"]).unwrap();
        assert!(shown.contains("the peer signs with key 2"), "{shown}");
        assert!(!shown.contains("second key"), "{shown}");
        let cut = Instant::now();
        one.kill(Part::All).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        assert_within("took over after", cut.elapsed(), Duration::from_secs(2));
    });
}

#[test]
fn a_better_router_of_strangers_with_our_vrid_takes_nothing_from_a_signed_pair() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (one, two) = Tandem::pair(&lab, &signed()).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        let strangers = PairConfig {
            vips: vec![("10.0.0.99".parse().unwrap(), 24)],
            priorities: (254, 254),
            listener: false,
            pair: false,
            ..PairConfig::default()
        };
        // Keepalived would not do: one that gets anything it refuses never takes over.
        let mut stranger = Tandem::new(&lab, Host::Backend1, &strangers).unwrap();
        let observer = Observer::start(&lab).unwrap();
        let begun = Instant::now();
        stranger.start().unwrap();
        wait_until("the stranger advertises", LIMIT, || {
            observer.adverts(Host::Backend1.v4(), begun).len() >= 10
        })
        .unwrap();
        let after = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        assert_eq!(after, before, "{}", one.tail());
        let (_, shown, _) = one.cli(&["vrrp"]).unwrap();
        assert!(shown.contains("10.0.0.21"), "{shown}");
        assert!(
            rejects(&one)["trailer_missing"].as_u64() >= Some(5),
            "{shown}"
        );
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb1]);
    });
}
