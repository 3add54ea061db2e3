//! Interfaces that move below a running node: they come late, vanish, are renamed, made anew, put under masters, and lose their address. The
//! node says why it takes no part, the other one has the address meanwhile, and it comes back with everything that belongs to it.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{LIMIT, measured};
use netns_tests::{
    Address, Device as _, Host, Lab, Observer, PairConfig, Tandem, wait_until, within,
};
use serde_json::Value;

/// A pair without a listener: the address alone is looked at.
fn config() -> PairConfig {
    PairConfig {
        listener: false,
        ..PairConfig::default()
    }
}

/// The node says why it takes no part, gives the address up everywhere, and the other one has it.
fn assert_out(lab: &Lab, one: &Tandem<'_>, two: &Tandem<'_>, why: &str) {
    wait_until(&format!("lb1 says: {why}"), LIMIT, || {
        one.state() == "fault" && reason(one).contains(why)
    })
    .unwrap_or_else(|error| panic!("{error:#}: {}\n{}", reason(one), one.tail()));
    two.wait_state("active", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
}

/// It is Active again, alone, and heard: the other one follows it because of its advertisements.
fn assert_back(lab: &Lab, observer: &Observer, one: &Tandem<'_>, two: &Tandem<'_>) {
    let since = Instant::now();
    one.wait_state("active", LIMIT).unwrap();
    two.wait_state("backup", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    within("five advertisements of lb1", LIMIT, || {
        (observer.adverts(Host::Lb1.v4(), since).len() >= 5).then_some(())
    })
    .unwrap();
    within("its address is announced", LIMIT, || {
        (!observer.announcements(Address::VIP4, since).is_empty()).then_some(())
    })
    .unwrap();
}

/// Why it is in its state, as `tandem vrrp` says.
fn reason(node: &Tandem<'_>) -> String {
    let routers = netns_tests::get(&node.socket(), "/vrrp").unwrap_or(Value::Null);
    routers[0]["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_link_that_comes_late_is_renamed_and_is_made_anew() {
    let lab = Lab::new().unwrap();
    let observer = Observer::start(&lab).unwrap();
    let config = config();
    let net = lab.net(Host::Lb1);

    // It has another name when the node starts.
    net.ip("link set eth0 name away0").unwrap();
    let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
    let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
    one.start().unwrap();
    two.start().unwrap();
    assert_out(&lab, &one, &two, "interface eth0 does not exist");
    net.ip("link set eth0 down").unwrap_err();
    net.ip("link set away0 name eth0").unwrap();
    assert_back(&lab, &observer, &one, &two);

    // It is renamed while the address is on it: the address goes at once, not with its lease.
    net.ip("link set eth0 name away0").unwrap();
    assert_out(&lab, &one, &two, "interface eth0 does not exist");
    net.ip("link set away0 name eth0").unwrap();
    assert_back(&lab, &observer, &one, &two);

    // It vanishes, and another one of that name is made: new index, new sockets, new group memberships.
    net.ip("link del eth0").unwrap();
    assert_out(&lab, &one, &two, "interface eth0 does not exist");
    lab.plug(Host::Lb1).unwrap();
    assert_back(&lab, &observer, &one, &two);

    // The other one hears it, and it hears the other one: it would not follow a handover otherwise.
    let (code, out, err) = one.cli(&["handover"]).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
    one.wait_state("backup", LIMIT).unwrap();
    let promote = net.enter(|| {
        std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/promote_secondaries").unwrap()
    });
    assert_eq!(promote.unwrap().trim(), "1", "the new link has its setting");
}

#[test]
fn an_address_that_is_lost_is_a_fault_until_it_is_back() {
    let lab = Lab::new().unwrap();
    let observer = Observer::start(&lab).unwrap();
    let (one, two) = Tandem::pair(&lab, &config()).unwrap();
    let net = lab.net(Host::Lb1);
    net.ip("addr del 10.0.0.2/24 dev eth0").unwrap();
    assert_out(
        &lab,
        &one,
        &two,
        "eth0 has no IPv4 address to advertise from",
    );
    net.ip("addr add 10.0.0.2/24 dev eth0").unwrap();
    assert_back(&lab, &observer, &one, &two);
}

#[test]
fn a_link_under_a_bridge_is_a_fault_until_it_leaves() {
    let lab = Lab::new().unwrap();
    let observer = Observer::start(&lab).unwrap();
    let (one, two) = Tandem::pair(&lab, &config()).unwrap();
    let net = lab.net(Host::Lb1);
    net.ip_batch("link add br9 type bridge\nlink set br9 up\nlink set eth0 master br9\n")
        .unwrap();
    let why = "interface eth0 is a port of the bridge br9, which takes its frames";
    assert_out(&lab, &one, &two, why);
    // From one master to another without a moment on its own.
    net.ip_batch("link add br8 type bridge\nlink set br8 up\nlink set eth0 master br8\n")
        .unwrap();
    let why = "interface eth0 is a port of the bridge br8, which takes its frames";
    assert_out(&lab, &one, &two, why);
    net.ip("link set eth0 nomaster").unwrap();
    assert_back(&lab, &observer, &one, &two);
    let (code, out, err) = one.cli(&["handover"]).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
}

#[test]
fn a_master_may_come_later_and_change_its_ports_and_its_hardware_address() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let observer = Observer::start(&lab).unwrap();
        let config = config();
        let net = lab.net(Host::Lb1);
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        let text = config.tandem(Host::Lb1);
        let on_master = text.replace(
            "interface = \"eth0\"",
            "interface = { lb1 = \"br9\", lb2 = \"eth0\" }",
        );
        assert_ne!(text, on_master);
        one.write_config(&on_master).unwrap();
        let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
        one.start().unwrap();
        two.start().unwrap();
        assert_out(&lab, &one, &two, "interface br9 does not exist");

        net.ip_batch(
            "addr flush dev eth0\nlink add br9 type bridge mcast_snooping 0 forward_delay 0\n\
         link set eth0 master br9\nlink set br9 up\naddr add 10.0.0.2/24 dev br9\n",
        )
        .unwrap();
        assert_back(&lab, &observer, &one, &two);

        // Another hardware address while it is Active: the neighbours are told again.
        let since = Instant::now();
        net.ip("link set br9 address 02:00:00:00:00:99").unwrap();
        within("the new hardware address is announced", LIMIT, || {
            let announced = observer.announcements(Address::VIP4, since);
            announced
                .iter()
                .any(|(_, mac)| *mac == [2, 0, 0, 0, 0, 0x99])
                .then_some(())
        })
        .unwrap();
        assert_eq!(one.state(), "active", "{}", one.tail());

        // Its only port leaves: no carrier.
        net.ip("link set eth0 nomaster").unwrap();
        assert_out(&lab, &one, &two, "interface br9 has no carrier");
        net.ip("link set eth0 master br9").unwrap();
        assert_back(&lab, &observer, &one, &two);
    });
}
