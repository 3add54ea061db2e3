//! Debian's Keepalived as the peer: one node of its pair replaced at a time. Version 2 with a password, version 3
//! over IPv4 and over IPv6; multicast and unicast; with the virtual MAC and without; Tandem as the preferred node and as the other one.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::succession::{
    alone, assert_silent_takeover, assert_told_takeover, limit, takeover, virtual_mac,
};
use common::{LIMIT, assert_within, measured};
use netns_tests::{
    Auth, Device, Host, Keepalived, Lab, Observer, PairConfig, Part, Tandem, within,
};

/// What a two-core machine may add to a timer, and Keepalived's own slack.
const SLACK: Duration = Duration::from_millis(100);

/// Lease of two seconds, a second between the kernel's looks, and time to look for ourselves on a busy machine.
const LEASE_BOUND: Duration = Duration::from_secs(5);

fn source(config: &PairConfig, host: Host) -> IpAddr {
    if config.unicast {
        return config.unicast_address(host);
    }
    match config.address() {
        IpAddr::V4(_) => IpAddr::V4(host.v4()),
        IpAddr::V6(_) => IpAddr::V6(host.link_local()),
    }
}

struct Stage<'lab> {
    lab: &'lab Lab,
    config: &'lab PairConfig,
    observer: Observer,
}

impl Stage<'_> {
    fn limit(&self) -> Duration {
        limit(self.config)
    }

    /// The preferred node has the address alone, and advertises five times without a word of the other one. That one may take over
    /// meanwhile where a busy machine keeps a peer from its turn; it has to end.
    fn converged(&self, on: Host) {
        for (address, _) in &self.config.vips {
            self.lab.wait_holder(*address, on, self.limit()).unwrap();
        }
        let from = Instant::now();
        let (speaks, silent) = [on, on.other()]
            .map(|host| source(self.config, host))
            .into();
        within(
            "five advertisements of one node alone",
            self.limit(),
            || {
                let others = self.observer.adverts(silent, from);
                let since = others.last().map_or(from, |(at, _)| *at);
                (self.observer.adverts(speaks, since).len() >= 5).then_some(())
            },
        )
        .unwrap_or_else(|error| panic!("{error:#}: {}", self.conversation(from)));
        for (address, _) in &self.config.vips {
            self.lab.wait_holder(*address, on, self.limit()).unwrap();
        }
    }

    /// Who advertised when, in milliseconds since `from`, and with which priority.
    fn conversation(&self, from: Instant) -> String {
        let mut said: Vec<_> = [Host::Lb1, Host::Lb2]
            .into_iter()
            .flat_map(|host| self.observer.adverts(source(self.config, host), from))
            .collect();
        said.sort_by_key(|(at, _)| *at);
        let word = |(at, advert): &(Instant, netns_tests::Advert)| {
            let ms = at.duration_since(from).as_millis();
            format!("{ms} {} {}", advert.source, advert.priority)
        };
        said.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    fn takeover(&self, event: Instant, from: Host, to: Host) -> Duration {
        let sources = (source(self.config, from), source(self.config, to));
        takeover(&self.observer, self.config, event, sources)
    }

    fn assert_silent(&self, by: Host, took: Duration) {
        assert_silent_takeover(self.config, by, took, SLACK);
    }

    fn assert_told(&self, by: Host, took: Duration) {
        assert_told_takeover(self.config, by, took, SLACK);
    }
}

/// A laboratory whose watching host sees what the nodes say to each other.
fn laboratory(config: &PairConfig) -> Lab {
    let lab = Lab::new().unwrap();
    if config.unicast {
        lab.flood_to_nodes().unwrap();
    }
    lab
}

fn tandem_preferred(config: PairConfig) {
    let config = alone(config);
    let lab = laboratory(&config);
    let observer = Observer::start(&lab).unwrap();
    let mut tandem = Tandem::new(&lab, Host::Lb1, &config).unwrap();
    let mut peer = Keepalived::new(&lab, Host::Lb2, &config).unwrap();
    let stage = Stage {
        lab: &lab,
        config: &config,
        observer,
    };
    peer.start().unwrap();
    stage
        .lab
        .wait_holder(config.address(), Host::Lb2, stage.limit())
        .unwrap();

    // It comes second and takes over as the better one.
    tandem.start().unwrap();
    tandem.wait_state("active", stage.limit()).unwrap();
    stage.converged(Host::Lb1);
    assert_eq!(tandem.rejected().unwrap(), 0, "{}", tandem.tail());

    // It dies: Keepalived takes over in the time of the RFC, and the dead node's address goes.
    let killed = tandem.kill(Part::All).unwrap();
    let took = stage.takeover(killed, Host::Lb1, Host::Lb2);
    stage.assert_silent(Host::Lb2, took);
    lab.wait_holder(config.address(), Host::Lb2, LIMIT).unwrap();
    assert_within("the address stayed", killed.elapsed(), LEASE_BOUND + took);

    // It returns and takes over again; then it leaves and says so.
    tandem.start().unwrap();
    stage.converged(Host::Lb1);
    let stopped = tandem.stop(LIMIT).unwrap();
    let took = stage.takeover(stopped, Host::Lb1, Host::Lb2);
    stage.assert_told(Host::Lb2, took);
    stage.converged(Host::Lb2);
}

fn keepalived_preferred(config: PairConfig) {
    let config = alone(config);
    let lab = laboratory(&config);
    let observer = Observer::start(&lab).unwrap();
    let mut peer = Keepalived::new(&lab, Host::Lb1, &config).unwrap();
    let mut tandem = Tandem::new(&lab, Host::Lb2, &config).unwrap();
    let stage = Stage {
        lab: &lab,
        config: &config,
        observer,
    };
    tandem.start().unwrap();
    tandem.wait_state("active", stage.limit()).unwrap();
    stage.converged(Host::Lb2);

    // The better one comes: Tandem yields.
    peer.start().unwrap();
    tandem.wait_state("backup", stage.limit()).unwrap();
    stage.converged(Host::Lb1);
    assert_eq!(tandem.rejected().unwrap(), 0, "{}", tandem.tail());

    // It leaves and says so: Tandem takes over within its skew.
    let stopped = peer.stop(LIMIT).unwrap();
    let took = stage.takeover(stopped, Host::Lb1, Host::Lb2);
    stage.assert_told(Host::Lb2, took);
    stage.converged(Host::Lb2);

    // It returns; then it is cut off without a word. Healed, the better one has the address alone again.
    peer.start().unwrap();
    stage.converged(Host::Lb1);
    let cut = Instant::now();
    lab.partition(Host::Lb1).unwrap();
    let took = stage.takeover(cut, Host::Lb1, Host::Lb2);
    stage.assert_silent(Host::Lb2, took);
    tandem.wait_state("active", LIMIT).unwrap();
    lab.heal(Host::Lb1).unwrap();
    tandem.wait_state("backup", stage.limit()).unwrap();
    stage.converged(Host::Lb1);
}

#[test]
fn version_2_with_a_password_tandem_preferred() {
    measured(|| {
        let config = PairConfig::v2_password();
        assert!(matches!(config.auth, Auth::V2Password(_)));
        tandem_preferred(config);
    });
}

#[test]
fn version_2_with_a_password_keepalived_preferred() {
    measured(|| {
        keepalived_preferred(PairConfig::v2_password());
    });
}

#[test]
fn version_3_ipv4_tandem_preferred() {
    measured(|| {
        tandem_preferred(PairConfig::default());
    });
}

#[test]
fn version_3_ipv4_keepalived_preferred() {
    measured(|| {
        keepalived_preferred(PairConfig::default());
    });
}

#[test]
fn version_3_ipv6_tandem_preferred() {
    measured(|| {
        tandem_preferred(PairConfig::ipv6());
    });
}

#[test]
fn version_3_ipv6_keepalived_preferred() {
    measured(|| {
        keepalived_preferred(PairConfig::ipv6());
    });
}

#[test]
fn virtual_mac_ipv4_tandem_preferred() {
    measured(|| {
        tandem_preferred(virtual_mac(PairConfig::default()));
    });
}

#[test]
fn virtual_mac_ipv4_keepalived_preferred() {
    measured(|| {
        keepalived_preferred(virtual_mac(PairConfig::default()));
    });
}

#[test]
fn virtual_mac_ipv6_tandem_preferred() {
    measured(|| {
        tandem_preferred(virtual_mac(PairConfig::ipv6()));
    });
}

#[test]
fn virtual_mac_ipv6_keepalived_preferred() {
    measured(|| {
        keepalived_preferred(virtual_mac(PairConfig::ipv6()));
    });
}

/// From address to address.
fn unicast(config: PairConfig) -> PairConfig {
    PairConfig {
        unicast: true,
        ..config
    }
}

#[test]
fn unicast_version_2_tandem_preferred() {
    measured(|| tandem_preferred(unicast(PairConfig::v2_password())));
}

#[test]
fn unicast_version_2_keepalived_preferred() {
    measured(|| keepalived_preferred(unicast(PairConfig::v2_password())));
}

#[test]
fn unicast_ipv4_tandem_preferred() {
    measured(|| tandem_preferred(unicast(PairConfig::default())));
}

#[test]
fn unicast_ipv4_keepalived_preferred() {
    measured(|| keepalived_preferred(unicast(PairConfig::default())));
}

#[test]
fn unicast_ipv6_tandem_preferred() {
    measured(|| tandem_preferred(unicast(PairConfig::ipv6())));
}

#[test]
fn unicast_ipv6_keepalived_preferred() {
    measured(|| keepalived_preferred(unicast(PairConfig::ipv6())));
}

#[test]
fn unicast_virtual_mac_ipv4_tandem_preferred() {
    measured(|| tandem_preferred(unicast(virtual_mac(PairConfig::default()))));
}

#[test]
fn unicast_virtual_mac_ipv4_keepalived_preferred() {
    measured(|| keepalived_preferred(unicast(virtual_mac(PairConfig::default()))));
}

#[test]
fn unicast_virtual_mac_ipv6_tandem_preferred() {
    measured(|| tandem_preferred(unicast(virtual_mac(PairConfig::ipv6()))));
}

#[test]
fn unicast_virtual_mac_ipv6_keepalived_preferred() {
    measured(|| keepalived_preferred(unicast(virtual_mac(PairConfig::ipv6()))));
}
