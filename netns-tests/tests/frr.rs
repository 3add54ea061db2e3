//! Debian's FRR as the peer, over IPv4 and IPv6, in either role, with the virtual MAC on our side and without; its own has it always, and it
//! knows no unicast. FRR keeps its addresses on links that it holds down while Backup, so
//! everything is seen from other hosts: advertisements, announcements, and who answers for the address.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::succession::{
    alone, assert_silent_takeover, assert_told_takeover, limit, takeover, virtual_mac,
};
use common::{LIMIT, measured};
use netns_tests::{Device, Frr, Host, Lab, Observer, PairConfig, Tandem, within};

/// What a busy machine of two cores may add to a timer; FRR also cuts its skew to whole centiseconds.
const SLACK: Duration = Duration::from_millis(150);

/// FRR on one node, Tandem on the other.
struct Stage<'lab> {
    lab: &'lab Lab,
    config: &'lab PairConfig,
    observer: Observer,
    frr: Host,
}

impl Stage<'_> {
    fn v6(&self) -> bool {
        self.config.address().is_ipv6()
    }

    fn source(&self, host: Host) -> IpAddr {
        match (host == self.frr, self.v6()) {
            (true, v6) => Frr::source(host, v6),
            (false, true) => IpAddr::V6(host.link_local()),
            (false, false) => IpAddr::V4(host.v4()),
        }
    }

    fn mac(&self, host: Host) -> [u8; 6] {
        if host == self.frr || self.config.virtual_mac {
            Frr::virtual_mac(self.config, self.v6())
        } else {
            host.mac()
        }
    }

    /// `on` advertises and nobody else does; the client finds the addresses there.
    fn converged(&self, on: Host) {
        within("it alone advertises", limit(self.config), || {
            let since = Instant::now().checked_sub(5 * self.config.interval)?;
            let of = |host| self.observer.adverts(self.source(host), since).len();
            (of(on) >= 4 && of(on.other()) == 0).then_some(())
        })
        .unwrap();
        for (vip, _) in &self.config.vips {
            if matches!(vip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
                continue;
            }
            let mut found = None;
            let right = within("the client finds it there", LIMIT, || {
                found = asked(self.lab, *vip);
                (found == Some(self.mac(on))).then_some(())
            });
            assert!(right.is_ok(), "{vip} is at {found:02x?}");
        }
    }

    fn takeover(&self, event: Instant, from: Host, to: Host) -> Duration {
        let sources = (self.source(from), self.source(to));
        takeover(&self.observer, self.config, event, sources)
    }

    fn assert_silent(&self, by: Host, took: Duration) {
        assert_silent_takeover(self.config, by, took, SLACK);
    }

    fn assert_told(&self, by: Host, took: Duration) {
        assert_told_takeover(self.config, by, took, SLACK);
    }
}

/// Where the client finds an address, asked anew.
fn asked(lab: &Lab, vip: IpAddr) -> Option<[u8; 6]> {
    let client = lab.net(Host::Client);
    // What it knew before does not count; that it knew nothing is no failure.
    let _ = client.ip(&format!("neigh del {vip} dev eth0"));
    client
        .enter(|| {
            let from: SocketAddr = match vip {
                IpAddr::V4(_) => (Host::Client.v4(), 0).into(),
                IpAddr::V6(_) => (Host::Client.v6(), 0).into(),
            };
            UdpSocket::bind(from)?.send_to(b"?", (vip, 9))
        })
        .ok()?
        .ok()?;
    within("the neighbour answers", Duration::from_millis(500), || {
        let told = client.ip(&format!("neigh show {vip} dev eth0")).ok()?;
        let mut words = told.split_whitespace();
        words.find(|word| *word == "lladdr")?;
        let octets: Vec<u8> = (words.next()?.split(':'))
            .filter_map(|hex| u8::from_str_radix(hex, 16).ok())
            .collect();
        octets.try_into().ok()
    })
    .ok()
}

fn tandem_preferred(config: PairConfig) {
    let config = alone(config);
    let lab = Lab::new().unwrap();
    let mut tandem = Tandem::new(&lab, Host::Lb1, &config).unwrap();
    let mut frr = Frr::new(&lab, Host::Lb2, &config).unwrap();
    let stage = Stage {
        observer: Observer::start(&lab).unwrap(),
        lab: &lab,
        config: &config,
        frr: Host::Lb2,
    };
    frr.start().unwrap();
    stage.converged(Host::Lb2);

    // It comes second and takes over as the better one.
    tandem.start().unwrap();
    tandem.wait_state("active", LIMIT).unwrap();
    stage.converged(Host::Lb1);

    // It is cut off: FRR takes over in the time of the RFC. Healed, the better one has the address alone again.
    let cut = Instant::now();
    lab.partition(Host::Lb1).unwrap();
    let took = stage.takeover(cut, Host::Lb1, Host::Lb2);
    stage.assert_silent(Host::Lb2, took);
    lab.heal(Host::Lb1).unwrap();
    stage.converged(Host::Lb1);

    // It leaves and says so.
    let stopped = tandem.stop(LIMIT).unwrap();
    let took = stage.takeover(stopped, Host::Lb1, Host::Lb2);
    stage.assert_told(Host::Lb2, took);
    stage.converged(Host::Lb2);
}

fn frr_preferred(config: PairConfig) {
    let config = alone(config);
    let lab = Lab::new().unwrap();
    let mut frr = Frr::new(&lab, Host::Lb1, &config).unwrap();
    let mut tandem = Tandem::new(&lab, Host::Lb2, &config).unwrap();
    let stage = Stage {
        observer: Observer::start(&lab).unwrap(),
        lab: &lab,
        config: &config,
        frr: Host::Lb1,
    };
    tandem.start().unwrap();
    tandem.wait_state("active", LIMIT).unwrap();
    stage.converged(Host::Lb2);

    // The better one comes: Tandem yields.
    frr.start().unwrap();
    tandem.wait_state("backup", LIMIT).unwrap();
    stage.converged(Host::Lb1);

    // It is cut off without a word: Tandem takes over. Healed, it has to yield again.
    let cut = Instant::now();
    lab.partition(Host::Lb1).unwrap();
    let took = stage.takeover(cut, Host::Lb1, Host::Lb2);
    stage.assert_silent(Host::Lb2, took);
    tandem.wait_state("active", LIMIT).unwrap();
    lab.heal(Host::Lb1).unwrap();
    tandem.wait_state("backup", LIMIT).unwrap();
    stage.converged(Host::Lb1);

    // It leaves and says so: Tandem takes over within its skew.
    let stopped = frr.stop(LIMIT).unwrap();
    let took = stage.takeover(stopped, Host::Lb1, Host::Lb2);
    stage.assert_told(Host::Lb2, took);
    stage.converged(Host::Lb2);
}

#[test]
fn ipv4_tandem_preferred() {
    measured(|| tandem_preferred(PairConfig::default()));
}

#[test]
fn ipv4_frr_preferred() {
    measured(|| frr_preferred(PairConfig::default()));
}

#[test]
fn ipv6_tandem_preferred() {
    measured(|| tandem_preferred(PairConfig::ipv6()));
}

#[test]
fn ipv6_frr_preferred() {
    measured(|| frr_preferred(PairConfig::ipv6()));
}

#[test]
fn virtual_mac_ipv4_tandem_preferred() {
    measured(|| tandem_preferred(virtual_mac(PairConfig::default())));
}

#[test]
fn virtual_mac_ipv4_frr_preferred() {
    measured(|| frr_preferred(virtual_mac(PairConfig::default())));
}

#[test]
fn virtual_mac_ipv6_tandem_preferred() {
    measured(|| tandem_preferred(virtual_mac(PairConfig::ipv6())));
}

#[test]
fn virtual_mac_ipv6_frr_preferred() {
    measured(|| frr_preferred(virtual_mac(PairConfig::ipv6())));
}
