//! A planned restart of the director: nobody takes over and no request is lost; and what happens when it does not work out.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{LIMIT, assert_blackout, assert_lost, measured, probe, watch_on};
use netns_tests::{
    Address, Device as _, Host, Keepalived, Lab, Observer, PairConfig, Part, Tandem, VipWatch,
    wait_until,
};

fn restart(node: &Tandem<'_>) {
    let (code, out, err) = node.cli(&["restart"]).unwrap();
    assert_eq!(code, 0, "{out}{err}\n{}", node.tail());
    assert!(out.contains("still active for main"), "{out}");
}

#[test]
fn a_planned_restart_moves_nothing_and_loses_nothing() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let (director, forwarder) = (one.pids(Part::Director), one.pids(Part::Forwarder));
        let before = two.last_transition().unwrap();
        let observer = Observer::start(&lab).unwrap();
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let prober = probe(&lab, &config);

        let asked = Instant::now();
        restart(&one);
        assert_ne!(one.pids(Part::Director), director, "another director runs");
        assert_eq!(
            one.pids(Part::Forwarder),
            forwarder,
            "the forwarder runs on"
        );
        one.wait_state("active", LIMIT).unwrap();
        // Long enough for a peer that had not heard of the pause, and for the pause itself to end.
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [&one, &two]);
        assert_eq!(two.last_transition().unwrap(), before, "{}", two.tail());
        assert!(
            observer.adverts(Host::Lb2.v4(), asked).is_empty(),
            "lb2 spoke"
        );
        assert_eq!(
            watch.log().gains(asked),
            0,
            "the address stayed where it was"
        );
        let said = observer.adverts(Host::Lb1.v4(), asked);
        let last = said.last().unwrap().1.clone();
        assert!(
            said.iter().all(|(_, advert)| advert.priority > 0),
            "no farewell"
        );
        assert_eq!(last.priority, 200);
        // The same by a signal to the keeper.
        let director = one.pids(Part::Director);
        let keeper = nix::unistd::Pid::from_raw(one.pids(Part::Keeper)[0].cast_signed());
        nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGUSR2).unwrap();
        wait_until("another director has gone on", LIMIT, || {
            let (_, events, _) = one.cli(&["events"]).unwrap_or_default();
            events.matches("resumed after a planned restart").count() == 2
        })
        .unwrap();
        assert_ne!(one.pids(Part::Director), director);
        assert_eq!(two.last_transition().unwrap(), before, "{}", two.tail());
        // The pause is over: a director that dies from here on is replaced at once.
        one.kill(Part::Director).unwrap();
        two.wait_state("active", LIMIT).unwrap();
    });
}

/// Which file a process runs, by inode; the second word is whether it still has its name.
fn file_of(pid: u32) -> (u64, bool) {
    use std::os::unix::fs::MetadataExt as _;
    let link = format!("/proc/{pid}/exe");
    let name = std::fs::read_link(&link).unwrap();
    let deleted = name.to_string_lossy().ends_with(" (deleted)");
    (std::fs::metadata(&link).unwrap().ino(), !deleted)
}

/// Asks over a connection that stays open.
fn ask(connection: &mut TcpStream) {
    connection
        .write_all(b"GET / HTTP/1.1\r\nHost: tandem.example\r\n\r\n")
        .unwrap();
    let mut answer = [0; 4096];
    let length = connection.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A package has put another program in place of the one that runs.
#[test]
fn an_upgrade_takes_the_program_on_disk_and_cuts_no_connection() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        let mut two = Tandem::new(&lab, Host::Lb2, &config).unwrap();
        one.install_program().unwrap();
        one.start().unwrap();
        one.wait_state("active", LIMIT).unwrap();
        two.start().unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        one.wait_ready(LIMIT).unwrap();
        two.wait_ready(LIMIT).unwrap();
        let before = two.last_transition().unwrap();
        let parts = [Part::Director, Part::Keeper, Part::Forwarder];
        let [old, keeper, forwarder] = parts.map(|part| one.pids(part)[0]);
        let (first, named) = file_of(old);
        assert!(named, "it runs the file that has the name");

        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let prober = probe(&lab, &config);
        let vip = (Address::VIP4, Address::HTTP).into();
        let client = lab.net(Host::Client);
        let open = client.enter(|| TcpStream::connect_timeout(&vip, LIMIT));
        let mut open = open.unwrap().unwrap();
        open.set_read_timeout(Some(LIMIT)).unwrap();
        ask(&mut open);

        one.install_program().unwrap();
        assert_eq!(file_of(old), (first, false), "the old one runs on");
        let asked = Instant::now();
        restart(&one);
        let director = one.pids(Part::Director)[0];
        let (second, named) = file_of(director);
        assert!(
            named && second != first,
            "the director is the program on disk"
        );
        let unchanged = [Part::Keeper, Part::Forwarder].map(|part| one.pids(part)[0]);
        assert_eq!(
            unchanged,
            [keeper, forwarder],
            "keeper and forwarder are those of before"
        );
        assert_eq!(file_of(forwarder), (first, false));

        // The same connection through the same forwarder, of which the next director knows all.
        ask(&mut open);
        one.wait_ready(LIMIT).unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [&one, &two]);
        ask(&mut open);
        assert_eq!(
            watch.log().gains(asked),
            0,
            "the address stayed where it was"
        );
        assert_eq!(two.last_transition().unwrap(), before, "{}", two.tail());
        assert_eq!(one.state(), "active");
        // And once more, from the second program to a third.
        one.install_program().unwrap();
        restart(&one);
        let (third, _) = file_of(one.pids(Part::Director)[0]);
        assert!(third != second && third != first);
        ask(&mut open);
        assert_eq!(two.last_transition().unwrap(), before, "{}", two.tail());
    });
}

#[test]
fn a_director_that_does_not_go_on_is_replaced_by_the_peer_with_a_farewell() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let prober = probe(&lab, &config);
        // What the next director reads knows nothing of the virtual router that it is to go on for.
        let text = config.tandem(Host::Lb1);
        let other = text.replace("[vrrp.main]", "[vrrp.other]");
        one.write_config(&other).unwrap();
        let asked = Instant::now();
        let (code, out, err) = one.cli(&["restart"]).unwrap();
        assert_eq!(code, 1, "{out}{err}");
        assert!(out.contains("NOT RESUMED"), "{out}");
        two.wait_state("active", LIMIT).unwrap();
        let (_, why, _) = two.cli(&["why", "main"]).unwrap();
        assert!(
            why.contains("said that it leaves") || why.contains("priority"),
            "{why}"
        );
        wait_until("lb2 has the address", LIMIT, || {
            watch.log().gained_after(Host::Lb2, asked).is_some()
        })
        .unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_blackout(&summary, 2000.0, [&one, &two]);
    });
}

#[test]
fn version_2_refuses_and_says_what_to_do() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (one, two) = Tandem::pair(&lab, &PairConfig::v2_password()).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap());
        let director = one.pids(Part::Director);
        let (code, out, err) = one.cli(&["restart"]).unwrap();
        assert_ne!(code, 0, "{out}{err}");
        let said = format!("{out}{err}");
        assert!(said.contains("main speaks VRRPv2"), "{said}");
        assert!(said.contains("tandem handover"), "{said}");
        assert_eq!(one.pids(Part::Director), director);
        // The backup is not active for anything: it may be restarted at any time.
        let (code, out, err) = two.cli(&["restart"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("active for nothing"), "{out}");
        assert_eq!(one.last_transition().unwrap(), before[0]);
    });
}

#[test]
fn keepalived_waits_through_the_pause_as_well() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            pair: false,
            interval: Duration::from_millis(100),
            ..PairConfig::default()
        };
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        let mut two = Keepalived::new(&lab, Host::Lb2, &config).unwrap();
        one.start().unwrap();
        one.wait_state("active", LIMIT).unwrap();
        one.wait_ready(LIMIT).unwrap();
        two.start().unwrap();
        let observer = Observer::start(&lab).unwrap();
        wait_until("keepalived is backup", LIMIT, || {
            two.log().iter().any(|line| line.contains("BACKUP STATE"))
        })
        .unwrap();
        let asked = Instant::now();
        restart(&one);
        wait_until("a second of advertisements after it", LIMIT, || {
            observer.adverts(Host::Lb1.v4(), asked).len() > 20
        })
        .unwrap();
        assert!(
            observer.adverts(Host::Lb2.v4(), asked).is_empty(),
            "keepalived took over:\n{}",
            two.log().join("\n")
        );
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb1]);
    });
}

#[test]
fn a_group_of_both_families_goes_on_as_one() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            extra: format!(
                "\n[vrrp.second]\ninterface = \"eth0\"\nvrid = 52\ngroup = \"edge\"\nvips = [\"{}/64\", \"{}/64\"]\nadvert_interval = \"100ms\"\npreempt = true\npriority = {{ lb1 = 200, lb2 = 100 }}\n",
                Address::VIP6_LINK_LOCAL,
                Address::VIP6
            ),
            ..PairConfig::default()
        };
        let nodes = [Host::Lb1, Host::Lb2].map(|host| {
            let mut node = Tandem::new(&lab, host, &config).unwrap();
            let text = config.tandem(host);
            node.write_config(&text.replace("[vrrp.main]", "[vrrp.main]\ngroup = \"edge\""))
                .unwrap();
            node.start().unwrap();
            node
        });
        let [one, two] = &nodes;
        one.wait_state("active", LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        one.wait_ready(LIMIT).unwrap();
        lab.wait_holder(Address::VIP6, Host::Lb1, LIMIT).unwrap();
        let before = two.last_transition().unwrap();
        let observer = Observer::start(&lab).unwrap();
        let asked = Instant::now();
        let (code, out, err) = one.cli(&["restart"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("still active for main, second"), "{out}");
        for source in [
            Host::Lb1.v4().into(),
            std::net::IpAddr::V6(Host::Lb1.link_local()),
        ] {
            wait_until("it advertises as before", LIMIT, || {
                observer.adverts(source, asked).len() > 20
            })
            .unwrap();
        }
        for address in [Address::VIP4.into(), std::net::IpAddr::V6(Address::VIP6)] {
            lab.wait_holder(address, Host::Lb1, LIMIT).unwrap();
        }
        assert_eq!(two.last_transition().unwrap(), before, "{}", two.tail());
    });
}
