//! The virtual MAC (RFC 9568 §7.3): what neighbours learn, what leaves which node, what is left on the host afterwards.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{LIMIT, assert_blackout, assert_lost, measured, probe, watch_on};
use netns_tests::{
    Address, Device as _, Host, Lab, MacWatch, Observer, PairConfig, Part, Tandem, wait_until,
    within,
};

const MAC_V4: &str = "00:00:5e:00:01:33";
const MAC_V6: &str = "00:00:5e:00:02:33";
const MAC_V4_OCTETS: [u8; 6] = [0, 0, 0x5e, 0, 1, 0x33];

/// How often the addresses move in the normal run; `TANDEM_FAILOVERS=20` for more.
const FAILOVERS: usize = 6;

fn config() -> PairConfig {
    PairConfig {
        virtual_mac: true,
        ..PairConfig::default()
    }
}

fn both_families() -> PairConfig {
    PairConfig {
        vips: vec![
            (IpAddr::V6(Address::VIP6_LINK_LOCAL), 64),
            (IpAddr::V6(Address::VIP6), 64),
            (IpAddr::V4(Address::VIP4), 24),
        ],
        ..config()
    }
}

/// The hardware address the client has for `address`, once it has one.
fn neighbour(lab: &Lab, address: IpAddr) -> String {
    let entry = within("the client knows the neighbour", LIMIT, || {
        let shown = lab
            .net(Host::Client)
            .ip(&format!("neigh show {address}"))
            .ok()?;
        let mut words = shown.split_whitespace();
        words.find(|word| *word == "lladdr")?;
        words.next().map(str::to_owned)
    });
    entry.unwrap()
}

/// The client tries a connection to `address`: it asks who that is if it does not know.
fn connect(lab: &Lab, address: IpAddr) {
    let target = SocketAddr::new(address, Address::HTTP);
    wait_until(&format!("{address} answers"), LIMIT, || {
        let tried = lab
            .net(Host::Client)
            .enter(|| TcpStream::connect_timeout(&target, Duration::from_millis(500)).map(drop));
        // Refused is an answer, too: the listener is on the last address only.
        match tried {
            Ok(Ok(())) => true,
            Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            Err(_) => false,
        }
    })
    .unwrap();
}

fn virtual_links(lab: &Lab, host: Host) -> String {
    lab.net(host).ip("-o link show type macvlan").unwrap()
}

fn setting(lab: &Lab, host: Host, key: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/eth0/{key}");
    let read = lab.net(host).enter(|| std::fs::read_to_string(&path));
    read.unwrap().unwrap().trim().to_owned()
}

#[test]
fn neighbours_know_the_virtual_mac_over_failovers_and_a_backup_sends_nothing_from_it() {
    measured(|| {
        let rounds = std::env::var("TANDEM_FAILOVERS")
            .ok()
            .map_or(FAILOVERS, |text| text.parse().unwrap());
        let lab = Lab::new().unwrap();
        let config = both_families();
        let watches = [Host::Lb1, Host::Lb2].map(|host| MacWatch::start(&lab, host).unwrap());
        let began = Instant::now();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let mut active = Host::Lb1;
        for round in 0..=rounds {
            let (holder, other) = if active == Host::Lb1 {
                (&one, &two)
            } else {
                (&two, &one)
            };
            holder.wait_state("active", LIMIT).unwrap();
            other.wait_state("backup", LIMIT).unwrap();
            lab.wait_holder(Address::VIP4, active, LIMIT).unwrap();
            let settled = Instant::now();
            // The host has to ask for the client: its question must not name the address with its own hardware address.
            lab.net(active).ip("neigh flush dev eth0").unwrap();
            for (address, mac) in [
                (IpAddr::V4(Address::VIP4), MAC_V4),
                (IpAddr::V6(Address::VIP6), MAC_V6),
            ] {
                connect(&lab, address);
                assert_eq!(neighbour(&lab, address), mac, "round {round}, {address}");
            }
            let frames = |host: Host| &watches[usize::from(host == Host::Lb2)];
            within(
                "the active node advertises from the virtual MAC",
                LIMIT,
                || (frames(active).virtual_frames(settled).len() >= 3).then_some(()),
            )
            .unwrap();
            let silent = frames(active.other()).virtual_frames(settled);
            assert!(silent.is_empty(), "round {round}: {silent:?}");
            if round < rounds {
                let (code, out, err) = holder.cli(&["handover"]).unwrap();
                assert_eq!(code, 0, "{out}{err}");
                active = active.other();
            }
        }
        for watch in &watches {
            let said = watch.sent(began);
            let wrong = said.iter().filter_map(|sent| sent.arp_sender);
            let wrong: Vec<_> = wrong
                .filter(|(address, mac)| *address == Address::VIP4 && *mac != MAC_V4_OCTETS)
                .collect();
            assert!(wrong.is_empty(), "{wrong:?}");
        }
        let vips = virtual_links(&lab, active);
        assert!(
            vips.contains("tandem: virtual router 51 (main) on eth0"),
            "{vips}"
        );
        let (code, shown, _) = one.cli(&["vrrp"]).unwrap();
        assert_eq!(code, 0);
        assert!(shown.contains(MAC_V4) && shown.contains(MAC_V6), "{shown}");
    });
}

#[test]
fn a_planned_move_loses_nothing_and_a_death_no_more_than_without() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = config();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let prober = probe(&lab, &config);
        let asked = Instant::now();
        let (code, out, err) = one.cli(&["handover"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        two.wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [&one, &two]);

        let prober = probe(&lab, &config);
        let killed = two.kill(Part::Director).unwrap();
        one.wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, killed);
        // Silence alone would take 260 ms at least.
        assert_blackout(&summary, 250.0, [&one, &two]);

        // Put back in place when somebody takes it away.
        lab.net(Host::Lb1)
            .ip("addr del 10.0.0.10/24 dev td4.51.2")
            .unwrap_or_else(|error| panic!("{error:#}: {}", virtual_links(&lab, Host::Lb1)));
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        assert_eq!(one.state(), "active");
    });
}

#[test]
fn the_host_gets_its_settings_back_after_a_stop_and_after_a_kill() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let net = lab.net(Host::Lb1);
        net.sysctl("ipv4/conf/eth0/arp_announce", "1").unwrap();
        let (mut one, two) = Tandem::pair(&lab, &config()).unwrap();
        let both = || {
            (
                setting(&lab, Host::Lb1, "arp_ignore"),
                setting(&lab, Host::Lb1, "arp_announce"),
            )
        };
        let (before, held) = (("0".into(), "1".into()), ("1".into(), "2".into()));
        assert_eq!(both(), held);
        // Somebody loads the settings of the host again: ours are back before the address is.
        net.sysctl("ipv4/conf/eth0/arp_announce", "0").unwrap();
        for node in [&one, &two] {
            node.wait_ready(LIMIT).unwrap();
            let (code, out, err) = node.cli(&["handover"]).unwrap();
            assert_eq!(code, 0, "{out}{err}");
        }
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        assert_eq!(both(), held);
        one.stop(LIMIT).unwrap();
        assert_eq!(both(), before);
        assert_eq!(virtual_links(&lab, Host::Lb1), "");

        // Killed, it leaves its link behind, without the address once the lease is over.
        two.wait_state("active", LIMIT).unwrap();
        one.start().unwrap();
        one.wait_state("active", LIMIT).unwrap();
        one.kill(Part::All).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
        assert_eq!(both(), held);
        assert!(virtual_links(&lab, Host::Lb1).contains(MAC_V4));

        // The next run, which wants no virtual MAC, takes away what that one left.
        one.write_config(&PairConfig::default().tandem(Host::Lb1))
            .unwrap();
        one.start().unwrap();
        one.wait_ready(LIMIT).unwrap();
        assert_eq!(both(), before);
        assert_eq!(virtual_links(&lab, Host::Lb1), "");
    });
}

#[test]
fn the_interface_may_vanish_and_the_virtual_link_comes_again() {
    let lab = Lab::new().unwrap();
    let observer = Observer::start(&lab).unwrap();
    let (one, two) = Tandem::pair(&lab, &config()).unwrap();
    let net = lab.net(Host::Lb1);
    net.ip("link del eth0").unwrap();
    two.wait_state("active", LIMIT).unwrap();
    lab.plug(Host::Lb1).unwrap();
    one.wait_state("active", LIMIT).unwrap();
    two.wait_state("backup", LIMIT).unwrap();
    let since = Instant::now();
    within("lb1 advertises", LIMIT, || {
        (observer.adverts(Host::Lb1.v4(), since).len() >= 3).then_some(())
    })
    .unwrap();
    assert_eq!(setting(&lab, Host::Lb1, "arp_announce"), "2");

    // Somebody takes the virtual link itself away.
    let links = virtual_links(&lab, Host::Lb1);
    let name = links.split([':', '@']).nth(1).unwrap().trim();
    net.ip(&format!("link del {name}")).unwrap();
    two.wait_state("active", LIMIT).unwrap();
    one.wait_state("active", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();

    // A reload to the interface's own MAC and back.
    let plain = PairConfig::default();
    for (config, links) in [(&plain, 0), (&config(), 1)] {
        one.write_config(&config.tandem(Host::Lb1)).unwrap();
        let (code, out, err) = one.cli(&["reload"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        one.wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        wait_until("its links follow", LIMIT, || {
            virtual_links(&lab, Host::Lb1).lines().count() == links
        })
        .unwrap();
    }
}

#[test]
fn announcements_carry_the_virtual_mac() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let observer = Observer::start(&lab).unwrap();
        let began = Instant::now();
        // Without a listener, whose start would be a fault of its own.
        let config = PairConfig {
            listener: false,
            ..both_families()
        };
        let (one, _two) = Tandem::pair(&lab, &config).unwrap();
        // Making the links is no fault.
        let routers = netns_tests::get(&one.socket(), "/vrrp").unwrap();
        let changes = routers[0]["transitions"].as_array().unwrap();
        let states: Vec<_> = changes.iter().rev().map(|change| &change["to"]).collect();
        assert_eq!(states, ["backup", "active"], "{changes:#?}");
        for (address, mac) in [
            (IpAddr::V4(Address::VIP4), MAC_V4_OCTETS),
            (IpAddr::V6(Address::VIP6), [0, 0, 0x5e, 0, 2, 0x33]),
            (
                IpAddr::V6(Address::VIP6_LINK_LOCAL),
                [0, 0, 0x5e, 0, 2, 0x33],
            ),
        ] {
            let announced = within(&format!("{address} is announced"), LIMIT, || {
                let announced = observer.announcements(address, began);
                (!announced.is_empty()).then_some(announced)
            });
            let announced = announced.unwrap();
            assert!(
                announced.iter().all(|(_, found)| *found == mac),
                "{address}: {announced:?}"
            );
        }
    });
}

/// Frames of the peer come from the very MAC that our own link has: the kernel must not keep them from the interface below.
#[test]
fn a_peer_with_the_same_virtual_mac_is_heard_while_active() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            pair: false,
            listener: false,
            ..both_families()
        };
        let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
        two.start().unwrap();
        two.wait_state("active", LIMIT).unwrap();
        // The better one comes while the other is Active, and later they both are, unheard of each other.
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        one.start().unwrap();
        one.wait_state("active", LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        lab.partition(Host::Lb1).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        assert_eq!(one.state(), "active");
        lab.heal(Host::Lb1).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        assert_eq!(one.state(), "active");
    });
}
