//! The same pair in other shapes: both address families, unicast advertisements, a TCP listener.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{LIMIT, assert_blackout, assert_lost, measured, probe, watch_on};
use netns_tests::{
    Address, Device as _, Host, Lab, Observer, PairConfig, Part, Tandem, TcpEcho, wait_until,
};

#[test]
fn both_families_move_as_one() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            vips: vec![
                (IpAddr::V4(Address::VIP4), 24),
                (IpAddr::V6(Address::VIP6_LINK_LOCAL), 64),
                (IpAddr::V6(Address::VIP6), 64),
            ],
            ..PairConfig::default()
        };
        let observer = Observer::start(&lab).unwrap();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let began = Instant::now();
        wait_until("both families are advertised", LIMIT, || {
            !observer.adverts(Host::Lb1.v4(), began).is_empty()
                && !observer.adverts(Host::Lb1.link_local(), began).is_empty()
        })
        .unwrap();

        // Over IPv6, on purpose: nothing is lost, and IPv4 has moved along.
        let prober = probe(&lab, &config);
        let asked = Instant::now();
        let (code, out, err) = one.cli(&["handover"]).unwrap();
        assert_eq!(code, 0, "tandem handover: {out}{err}");
        two.wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [&one, &two]);
        for address in [
            IpAddr::V4(Address::VIP4),
            IpAddr::V6(Address::VIP6_LINK_LOCAL),
            IpAddr::V6(Address::VIP6),
        ] {
            assert_eq!(lab.holders(address), [Host::Lb2], "{address}");
        }

        // And by accident: the whole node dies.
        let prober = probe(&lab, &config);
        let killed = two.kill(Part::All).unwrap();
        one.wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, killed);
        assert_blackout(&summary, 400.0, [&one, &two]);
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        lab.wait_holder(Address::VIP6, Host::Lb1, LIMIT).unwrap();
    });
}

#[test]
fn a_pair_in_unicast_fails_over() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let mut nodes: Vec<Tandem<'_>> = [Host::Lb1, Host::Lb2]
            .into_iter()
            .map(|host| {
                let node = Tandem::new(&lab, host, &config).unwrap();
                let text = config.tandem(host);
                let unicast = text.replace("vrid = 51\n", "vrid = 51\nunicast = true\n");
                assert_ne!(text, unicast, "{text}");
                node.write_config(&unicast).unwrap();
                node
            })
            .collect();
        let observer = Observer::start(&lab).unwrap();
        let began = Instant::now();
        for node in &mut nodes {
            node.start().unwrap();
        }
        let (one, two) = (&nodes[0], &nodes[1]);
        Tandem::wait_pair([one, two], &config).unwrap();

        let prober = probe(&lab, &config);
        let asked = Instant::now();
        let (code, out, err) = one.cli(&["handover"]).unwrap();
        assert_eq!(code, 0, "tandem handover: {out}{err}");
        two.wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [one, two]);

        let prober = probe(&lab, &config);
        let killed = nodes[1].kill(Part::All).unwrap();
        nodes[0].wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, killed);
        assert_blackout(&summary, 400.0, [&nodes[0], &nodes[1]]);
        assert!(
            observer.adverts(Host::Lb1.v4(), began).is_empty(),
            "a third host heard an advertisement"
        );
    });
}

#[test]
fn a_tcp_listener_relays_both_ways_and_keeps_half_closed_connections() {
    let lab = Lab::new().unwrap();
    let _echo = TcpEcho::start(lab.net(Host::Backend1), 5432).unwrap();
    let config = PairConfig {
        extra: format!(
            "\n[listener.db]\nbind = \"{}:5432\"\nprotocol = \"tcp\"\nforward = \"db\"\n\
             \n[group.db]\ntargets = [\"{}:5432\"]\nhealth = {{ tcp = true, every = \"1s\" }}\n",
            Address::VIP4,
            Host::Backend1.v4()
        ),
        ..PairConfig::default()
    };
    let (one, _two) = Tandem::pair(&lab, &config).unwrap();
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let answer = lab
        .net(Host::Client)
        .enter(|| -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect((Address::VIP4, 5432))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let mut writer = stream.try_clone()?;
            let copy = sent.clone();
            let thread = std::thread::spawn(move || {
                writer.write_all(&copy)?;
                writer.shutdown(Shutdown::Write)
            });
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            thread.join().unwrap()?;
            Ok(answer)
        })
        .unwrap()
        .unwrap();
    assert_eq!(answer.len(), sent.len());
    assert!(answer == sent, "the octets came back in another order");
    let status = one.status().unwrap();
    let listeners = status["listeners"].as_array().unwrap();
    let db = listeners.iter().find(|listener| listener["name"] == "db");
    assert_eq!(db.unwrap()["connections_total"], 1, "{status}");
}

#[test]
fn a_tracked_interface_moves_the_priority_and_the_reason_is_shown() {
    measured(|| {
        let lab = Lab::new().unwrap();
        for host in [Host::Lb1, Host::Lb2] {
            lab.net(host)
                .ip("link add eth1 type veth peer name far1")
                .unwrap();
            lab.net(host).ip("link set far1 up").unwrap();
            lab.net(host).ip("link set eth1 up").unwrap();
        }
        let config = PairConfig {
            extra: "\n[vrrp.main.track]\ninterfaces = [{ name = \"eth1\", weight = -150 }]\n"
                .into(),
            ..PairConfig::default()
        };
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        lab.net(Host::Lb1).ip("link set eth1 down").unwrap();
        two.wait_state("active", LIMIT).unwrap();
        one.wait_state("backup", LIMIT).unwrap();
        let (code, shown, err) = one.cli(&["vrrp"]).unwrap();
        assert_eq!(code, 0, "{err}");
        assert!(shown.contains("200 - 150 eth1 is down = 50"), "{shown}");
        lab.net(Host::Lb1).ip("link set eth1 up").unwrap();
        one.wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    });
}
