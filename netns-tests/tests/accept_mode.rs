//! Accept_Mode (RFC 9568 §6.1) and the profile of the RFC.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{LIMIT, measured};
use netns_tests::{
    Address, Device as _, Host, Lab, MacWatch, Observer, PairConfig, Tandem, wait_until, within,
};

fn config() -> PairConfig {
    PairConfig {
        vips: vec![
            (IpAddr::V6(Address::VIP6_LINK_LOCAL), 64),
            (IpAddr::V6(Address::VIP6), 64),
            (IpAddr::V4(Address::VIP4), 24),
        ],
        ..PairConfig::default()
    }
}

/// The file with further lines for the virtual router.
fn file(host: Host, lines: &str) -> String {
    let text = config().tandem(host);
    let more = text.replace("vrid = 51\n", &format!("vrid = 51\n{lines}\n"));
    assert_ne!(text, more);
    more
}

/// How a connection of the client fares: none when it is taken.
fn connect(lab: &Lab, address: IpAddr) -> Option<ErrorKind> {
    let target = SocketAddr::new(address, Address::HTTP);
    let tried = lab
        .net(Host::Client)
        .enter(|| TcpStream::connect_timeout(&target, Duration::from_millis(400)).map(drop));
    tried.unwrap().err().map(|error| error.kind())
}

/// Whether the client has the hardware address of `address`.
fn is_resolved(lab: &Lab, address: IpAddr) -> bool {
    let shown = lab
        .net(Host::Client)
        .ip(&format!("neigh show {address}"))
        .unwrap();
    shown.contains("lladdr")
}

fn tables(lab: &Lab, host: Host) -> String {
    let run = || {
        std::process::Command::new("nft")
            .args(["list", "ruleset"])
            .output()
    };
    let output = lab.net(host).enter(run).unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn reload(node: &Tandem<'_>, text: &str) {
    node.write_config(text).unwrap();
    let (code, out, err) = node.cli(&["reload"]).unwrap();
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn packets_to_the_address_are_taken_iff_owner_or_accept_mode() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let mut nodes = [Host::Lb1, Host::Lb2].map(|host| {
            let node = Tandem::new(&lab, host, &config()).unwrap();
            node.write_config(&file(host, "accept_mode = false"))
                .unwrap();
            node
        });
        for node in &mut nodes {
            node.start().unwrap();
        }
        let one = &nodes[0];
        one.wait_state("active", LIMIT).unwrap();
        one.wait_ready(LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();

        // Found, and not answered: neither accepted nor refused.
        for address in [IpAddr::V4(Address::VIP4), IpAddr::V6(Address::VIP6)] {
            assert_eq!(
                connect(&lab, address),
                Some(ErrorKind::TimedOut),
                "{address}"
            );
            wait_until(&format!("{address} is found"), LIMIT, || {
                is_resolved(&lab, address)
            })
            .unwrap();
        }
        let (code, shown, err) = one.cli(&["vrrp"]).unwrap();
        assert_eq!(code, 0, "{err}");
        assert!(
            shown.contains("packets to these addresses are dropped"),
            "{shown}"
        );
        assert!(tables(&lab, Host::Lb1).contains("tandem_accept_51_"));

        // The owner takes them whatever the mode; then the mode itself, in place.
        let before = one.last_transition().unwrap();
        let owner = file(Host::Lb1, "accept_mode = false")
            .replace("priority = { lb1 = 200", "priority = { lb1 = 255");
        reload(one, &owner);
        wait_until("the owner answers", LIMIT, || {
            connect(&lab, Address::VIP4.into()).is_none()
        })
        .unwrap();
        reload(one, &file(Host::Lb1, "accept_mode = false"));
        wait_until("no longer", LIMIT, || {
            connect(&lab, Address::VIP4.into()) == Some(ErrorKind::TimedOut)
        })
        .unwrap();
        reload(one, &file(Host::Lb1, "accept_mode = true"));
        wait_until("accept mode answers", LIMIT, || {
            connect(&lab, Address::VIP4.into()).is_none()
        })
        .unwrap();
        assert_eq!(one.last_transition().unwrap(), before, "{}", one.tail());
        assert!(!tables(&lab, Host::Lb1).contains("tandem_accept"));

        // Neighbours still find the other one; a stop leaves nothing.
        wait_until("lb2 drops what comes", LIMIT, || {
            tables(&lab, Host::Lb2).contains("tandem_accept_51_")
        })
        .unwrap();
        nodes[1].stop(LIMIT).unwrap();
        assert!(!tables(&lab, Host::Lb2).contains("tandem"));
    });
}

#[test]
fn without_nftables_nothing_is_taken_that_must_not_be() {
    let lab = Lab::new().unwrap();
    let mut one = Tandem::new(&lab, Host::Lb1, &config()).unwrap();
    one.write_config(&file(Host::Lb1, "accept_mode = false"))
        .unwrap();
    one.look_for_programs_in(lab.folder());
    one.start().unwrap();
    one.wait_state("fault", LIMIT).unwrap();
    wait_until("it says why", LIMIT, || {
        let routers = netns_tests::get(&one.socket(), "/vrrp").unwrap();
        let why = routers[0]["why"].as_str().unwrap_or_default();
        why.starts_with("`accept_mode = false` needs nftables: start nft")
    })
    .unwrap();
    assert_eq!(lab.holders(Address::VIP4), []);
    // It takes part as soon as it can, without a restart.
    std::os::unix::fs::symlink("/usr/sbin/nft", lab.folder().join("nft")).unwrap();
    one.wait_state("active", LIMIT).unwrap();
    assert!(tables(&lab, Host::Lb1).contains("tandem_accept_51_"));
}

#[test]
fn the_profile_of_the_rfc_is_the_rfcs_router() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let observer = Observer::start(&lab).unwrap();
        let watch = MacWatch::start(&lab, Host::Lb1).unwrap();
        let began = Instant::now();
        let mut nodes = [Host::Lb1, Host::Lb2].map(|host| {
            let node = Tandem::new(&lab, host, &config()).unwrap();
            let text = file(host, "profile = \"rfc9568\"");
            let text: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with("advert_interval") && !line.starts_with("preempt"))
                .collect();
            node.write_config(&text.join("\n")).unwrap();
            node
        });
        for node in &mut nodes {
            node.start().unwrap();
        }
        nodes[0].wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        let adverts = within("it advertises", LIMIT, || {
            let adverts = observer.adverts(Host::Lb1.v4(), began);
            (adverts.len() >= 2).then_some(adverts)
        });
        assert_eq!(adverts.unwrap()[0].1.interval, 100);
        wait_until("it sends from the virtual MAC", LIMIT, || {
            let mut frames = watch.virtual_frames(began).into_iter();
            frames.any(|sent| sent.mac == [0, 0, 0x5e, 0, 1, 51])
        })
        .unwrap();
        let routers = netns_tests::get(&nodes[0].socket(), "/vrrp").unwrap();
        assert_eq!(routers[0]["virtual_mac"], "00:00:5e:00:01:33");
        assert_eq!(routers[0]["accepts"], false);
        assert_eq!(routers[0]["checksum_sent"], "rfc9568");
        assert_eq!(routers[0]["advert_interval_ms"], 1000);

        // The other one understands the farewell, and takes over with the same MAC.
        let stopped = nodes[0].stop(LIMIT).unwrap();
        nodes[1].wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
        let announced = within("it is announced", LIMIT, || {
            let announced = observer.announcements(Address::VIP4, stopped);
            (!announced.is_empty()).then_some(announced)
        });
        let wrong = announced.unwrap().into_iter();
        assert_eq!(
            wrong
                .filter(|(_, mac)| *mac != [0, 0, 0x5e, 0, 1, 51])
                .count(),
            0
        );
    });
}
