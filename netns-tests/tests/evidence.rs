//! What a node knows besides advertisements: a switch that loses them, one-way loss, strangers with the address or the virtual router id,
//! the gateway.

#![allow(clippy::unwrap_used)]

mod common;

use common::{LIMIT, measured};
use netns_tests::{
    Address, Device as _, Host, Lab, PairConfig, Part, Shot, Stranger, Tandem, wait_until,
};

/// The switch loses the multicasts to a host, as one does that snoops IGMP and has no querier; everything else passes.
fn lose_multicasts_to(lab: &Lab, host: Host, lost: bool) {
    let flood = if lost { "off" } else { "on" };
    lab.switch()
        .bridge(&format!("link set dev {} mcast_flood {flood}", host.name()))
        .unwrap();
}

/// What `tandem vrrp` shows.
fn shown(node: &Tandem<'_>) -> String {
    let (_, out, err) = node.cli(&["vrrp"]).unwrap();
    // A sentence may go on in the next line.
    let words: Vec<&str> = out.split_whitespace().collect();
    assert!(!words.is_empty(), "{err}");
    words.join(" ")
}

fn wait_shown(node: &Tandem<'_>, words: &str) {
    wait_until(words, LIMIT, || shown(node).contains(words))
        .map_err(|error| format!("{error}: {}", shown(node)))
        .unwrap();
}

fn pair() -> PairConfig {
    PairConfig {
        listener: false,
        ..PairConfig::default()
    }
}

fn both<'lab>(lab: &'lab Lab, config: &PairConfig) -> (Tandem<'lab>, Tandem<'lab>) {
    let mut one = Tandem::new(lab, Host::Lb1, config).unwrap();
    let two = Tandem::new(lab, Host::Lb2, config).unwrap();
    one.start().unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    (one, two)
}

#[test]
fn a_node_that_never_heard_anybody_leaves_an_address_that_answers_alone() {
    for config in [
        pair(),
        PairConfig {
            listener: false,
            ..PairConfig::ipv6()
        },
    ] {
        let lab = Lab::new().unwrap();
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
        one.start().unwrap();
        let vip = config.address();
        lab.wait_holder(vip, Host::Lb1, LIMIT).unwrap();
        lose_multicasts_to(&lab, Host::Lb2, true);
        two.start().unwrap();
        two.wait_state("fault", LIMIT).unwrap();
        let why = "answers at 02:00:00:00:00:02 although no advertisement was ever heard";
        assert!(shown(&two).contains(why), "{}", shown(&two));
        assert!(shown(&two).contains("address answers:"), "{}", shown(&two));
        assert_eq!(lab.holders(vip), [Host::Lb1]);
        // The switch is mended: it hears, and is an ordinary backup.
        lose_multicasts_to(&lab, Host::Lb2, false);
        two.wait_state("backup", LIMIT).unwrap();
        lose_multicasts_to(&lab, Host::Lb2, true);
        // What it has heard once is gone when it falls silent.
        two.wait_state("active", LIMIT).unwrap();
    }
}

#[test]
fn it_takes_over_when_nothing_answers_any_more_or_the_policy_says_so() {
    let lab = Lab::new().unwrap();
    let (mut one, mut two) = both(&lab, &pair());
    lose_multicasts_to(&lab, Host::Lb2, true);
    two.start().unwrap();
    two.wait_state("fault", LIMIT).unwrap();
    one.stop(LIMIT).unwrap();
    two.wait_state("active", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
    two.stop(LIMIT).unwrap();

    let config = PairConfig {
        extra: "\n[vrrp.main.evidence]\naddress_answers = \"promote\"\n".into(),
        ..pair()
    };
    one.start().unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
    two.start().unwrap();
    two.wait_state("active", LIMIT).unwrap();
    assert!(
        shown(&two).contains("taking over all the same"),
        "{}",
        shown(&two)
    );
}

#[test]
fn one_way_loss_is_named_with_the_hardware_address_of_the_other() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (one, mut two) = both(&lab, &pair());
        two.start().unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        wait_shown(&two, "peer 10.0.0.2");
        lose_multicasts_to(&lab, Host::Lb2, true);
        // As VRRP has it, silence means death; but the neighbours are told twice, and that is seen.
        two.wait_state("active", LIMIT).unwrap();
        wait_shown(&one, "is claimed by 02:00:00:00:00:03");
        wait_shown(&two, "is claimed by 02:00:00:00:00:02");
        lose_multicasts_to(&lab, Host::Lb2, false);
        two.wait_state("backup", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    });
}

/// A switch that delivers multicasts to those alone who have asked for them, over IPv6, where Linux does so (ports that lose all of them, as in
/// the other scenarios, are what a switch without a querier makes of IPv4). One that forgets who asked costs a takeover, which is named;
/// who takes over asks again.
#[test]
fn a_snooping_switch_serves_the_pair_and_one_that_forgets_is_named() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let snoops = "mcast_snooping 1 mcast_querier 1 mcast_query_response_interval 50";
        lab.switch()
            .ip(&format!("link set dev br0 type bridge {snoops}"))
            .unwrap();
        let config = PairConfig {
            listener: false,
            ..PairConfig::ipv6()
        };
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
        one.start().unwrap();
        lab.wait_holder(config.address(), Host::Lb1, LIMIT).unwrap();
        two.start().unwrap();
        let registered = |host: Host| {
            let known = lab.switch().bridge("mdb show dev br0").unwrap();
            let mut lines = known.lines();
            lines.any(|line| {
                line.contains("ff02::12") && line.contains(&format!("port {}", host.name()))
            })
        };
        wait_until("both are registered", LIMIT, || {
            registered(Host::Lb1) && registered(Host::Lb2)
        })
        .unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        wait_shown(&two, "peer fe80::ff:fe00:2");
        wait_shown(&two, "heard");

        let before = two.last_transition().unwrap();
        // Nobody asks, and in time the switch forgets. (It is told twice by who joins, unasked.)
        wait_until("the backup takes over", LIMIT, || {
            // It may have been forgotten already.
            let _ = lab.switch().bridge("mdb del dev br0 port lb2 grp ff02::12");
            two.last_transition().unwrap() != before
        })
        .unwrap();
        wait_shown(&one, "is active with priority 100, ours is 200");
        wait_until("it is registered again", LIMIT, || registered(Host::Lb2)).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        lab.wait_holder(config.address(), Host::Lb1, LIMIT).unwrap();
        wait_shown(&two, "backup -> active: no active router heard for");
        wait_shown(
            &two,
            "active -> backup: fe80::ff:fe00:2 is active with priority 200",
        );
    });
}

/// Somebody else's router has the number of ours. Without keys it is believed, as the RFC has it; but it is named.
#[test]
fn strangers_with_our_virtual_router_id_are_named() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = pair();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap());
        let theirs = ["10.0.0.77".parse().unwrap()];
        let mut stranger = Stranger::new(&lab).unwrap();
        let advertises = |priority: u8, vrid: u8| {
            Shot::v3(vrid, &theirs).but(|shot| {
                shot.priority = priority;
                shot.interval = [0, 10];
            })
        };
        let mut meanwhile = |shot: &Shot, what: &str, done: &dyn Fn() -> bool| {
            wait_until(what, LIMIT, || {
                stranger.shoot(shot).unwrap();
                done()
            })
            .map_err(|error| format!("{error:#}\n{}\n{}", shown(&one), shown(&two)))
            .unwrap();
        };

        // Another number is another virtual router: counted, in case somebody looks for it.
        meanwhile(&advertises(254, 99), "an unknown id is counted", &|| {
            shown(&one).contains("unknown vrid") || shown(&one).contains("unknown_vrid")
        });
        // Ours, and a lower priority: nothing moves, and both nodes say who it is and what is odd about it.
        let list = "10.0.0.100 lists other addresses: 10.0.0.77";
        meanwhile(&advertises(50, config.vrid), "it is named", &|| {
            shown(&one).contains(list)
                && shown(&two).contains(list)
                && shown(&one).contains("10.0.0.100 is active with priority 50, ours is 200")
        });
        let after = [&one, &two].map(|node| node.last_transition().unwrap());
        assert_eq!(after, before, "{}", one.tail());
        // A better one is obeyed. What decided is told, and what was odd.
        meanwhile(&advertises(254, config.vrid), "it is obeyed", &|| {
            one.state() == "backup" && lab.holders(Address::VIP4).is_empty()
        });
        let (_, why, _) = one.cli(&["why", "main"]).unwrap();
        assert!(
            why.contains("10.0.0.100 is active with priority 254, ours is 200"),
            "{why}"
        );
        assert!(why.contains("10.0.0.77"), "{why}");
        // It goes; the pair is a pair again.
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
    });
}

#[test]
fn a_stranger_with_the_address_is_named_and_answered() {
    let lab = Lab::new().unwrap();
    let config = pair();
    let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
    one.start().unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    let net = lab.net(Host::Backend2);
    net.ip(&format!("addr add {}/24 dev eth0", Address::VIP4))
        .unwrap();
    // The probe three seconds after the takeover finds it.
    wait_shown(&one, "is claimed by 02:00:00:00:00:16");
    let (_, out, _) = one.cli(&["--json", "vrrp"]).unwrap();
    let routers: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(
        routers[0]["counters"]["address_conflicts"].as_u64() >= Some(1),
        "{out}"
    );
    assert_eq!(one.state(), "active");
}

#[test]
fn a_node_that_receives_nothing_says_so() {
    let lab = Lab::new().unwrap();
    let (_one, mut two) = both(&lab, &pair());
    lab.net(Host::Lb2)
        .ip(&format!("route add default via {}", Host::Client.v4()))
        .unwrap();
    // The switch's own port is a host of IPv6 as well and would speak to the node, partition or not.
    lab.switch()
        .sysctl("ipv6/conf/lb2/disable_ipv6", "1")
        .unwrap();
    lab.partition(Host::Lb2).unwrap();
    two.start().unwrap();
    // Nothing speaks against it, so it does as VRRP says; but it does not keep silent about it.
    two.wait_state("active", LIMIT).unwrap();
    wait_shown(
        &two,
        "nothing at all was received in the 3 s since the takeover, not even of the gateway",
    );
    assert!(shown(&two).contains("deaf:"), "{}", shown(&two));
    lab.heal(Host::Lb2).unwrap();
    two.wait_state("backup", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
}

#[test]
fn the_gateway_shows_that_a_takeover_was_seen() {
    let lab = Lab::new().unwrap();
    let gateway = Host::Client.v4();
    lab.net(Host::Lb1)
        .ip(&format!("route add default via {gateway}"))
        .unwrap();
    let mut one = Tandem::new(&lab, Host::Lb1, &pair()).unwrap();
    one.start().unwrap();
    one.wait_state("active", LIMIT).unwrap();
    wait_shown(&one, &format!("the gateway {gateway} answered"));
    assert!(shown(&one).contains("eth0 has received"), "{}", shown(&one));
    assert!(
        shown(&one).contains("probes for the addresses"),
        "{}",
        shown(&one)
    );
}

const PAIR_KEY: &str = "hex:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n";

/// A pair with a second path over a cable of its own, at `evidence`.
fn pair_with_second_path<'lab>(lab: &'lab Lab, evidence: &str) -> (Tandem<'lab>, Tandem<'lab>) {
    let (left, right) = (lab.net(Host::Lb1), lab.net(Host::Lb2));
    left.ip(&format!(
        "link add hb0 type veth peer name hb0 netns {}",
        right.name()
    ))
    .unwrap();
    for (net, address) in [(left, "10.9.0.2"), (right, "10.9.0.3")] {
        net.ip(&format!("addr add {address}/24 dev hb0")).unwrap();
        net.ip("link set hb0 up").unwrap();
    }
    let config = PairConfig {
        extra: format!("\n[vrrp.main.evidence]\n{evidence}\n"),
        ..pair()
    };
    let path = "key_file = \"vrrp.key\"\nheartbeat = { lb1 = \"10.9.0.2:5112\", lb2 = \"10.9.0.3:5112\" }\n[vrrp.main]";
    let node = |host| {
        let mut node = Tandem::new(lab, host, &config).unwrap();
        node.write_keys(PAIR_KEY).unwrap();
        let text = config
            .tandem(host)
            .replace("[vrrp.main]\n", &format!("{path}\n"));
        node.write_config(&text).unwrap();
        node.start().unwrap();
        node
    };
    let (one, two) = (node(Host::Lb1), node(Host::Lb2));
    one.wait_state("active", LIMIT).unwrap();
    two.wait_state("backup", LIMIT).unwrap();
    wait_shown(&two, "peer 10.0.0.2");
    wait_shown(&two, "on the second path that it is active");
    wait_shown(&one, "on the second path that it is backup");
    (one, two)
}

#[test]
fn a_peer_that_lives_on_the_second_path_is_not_replaced_if_the_policy_says_so() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (one, two) = pair_with_second_path(&lab, "peer_lives = \"hold\"");
        lose_multicasts_to(&lab, Host::Lb2, true);
        two.wait_state("fault", LIMIT).unwrap();
        let why = "on the second path that it is active: a fault between the nodes";
        assert!(shown(&two).contains(why), "{}", shown(&two));
        assert!(shown(&two).contains("fault between:"), "{}", shown(&two));
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb1]);
        let metrics = two.metrics().unwrap();
        assert!(
            metrics.contains("tandem_pair_sync_age_seconds{peer=\"lb1\"} "),
            "{metrics}"
        );
        // It is heard again.
        lose_multicasts_to(&lab, Host::Lb2, false);
        two.wait_state("backup", LIMIT).unwrap();
        // A fault between the nodes, and then the peer dies.
        lose_multicasts_to(&lab, Host::Lb2, true);
        two.wait_state("fault", LIMIT).unwrap();
        one.kill(Part::All).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
        let (code, out, _) = two.cli(&["status"]).unwrap();
        assert_eq!(code, 3, "degraded: the second path is silent\n{out}");
        assert!(out.contains("no heartbeat: lb1"), "{out}");
    });
}

#[test]
fn by_default_it_is_replaced_and_the_fault_is_named() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (one, two) = pair_with_second_path(&lab, "peer_lives = \"promote\"");
        lose_multicasts_to(&lab, Host::Lb2, true);
        two.wait_state("active", LIMIT).unwrap();
        wait_shown(&two, "a fault between the nodes; taking over all the same");
        lose_multicasts_to(&lab, Host::Lb2, false);
        two.wait_state("backup", LIMIT).unwrap();
        // A peer that dies says nothing more, on either path: no delay and no such alarm.
        one.kill(Part::All).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        assert_eq!(
            shown(&two).matches("fault between:").count(),
            1,
            "{}",
            shown(&two)
        );
    });
}
