//! The configuration of a pair, written out for either product.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use crate::lab::{Address, Host};

/// VRRP version and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Version 3, which has no authentication.
    V3,
    /// Version 2 with a text password of at most eight octets.
    V2Password(String),
}

/// A pair's configuration. The defaults are the pair of the README: one IPv4 address, VRRP version 3, 100 ms, the
/// first node preferred at once, one HTTP listener on the address and two origins behind it.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Version and password.
    pub auth: Auth,
    /// The virtual router.
    pub vrid: u8,
    /// The floating addresses with their prefix lengths.
    pub vips: Vec<(IpAddr, u8)>,
    /// From one advertisement to the next.
    pub interval: Duration,
    /// `true`, `false` or a table, as TOML; `None` leaves the product's default.
    pub preempt: Option<String>,
    /// Priorities of lb1 and lb2.
    pub priorities: (u8, u8),
    /// Whether the node knows that the other is one of its own kind (`[pair]`).
    pub pair: bool,
    /// Whether the addresses have the virtual MAC.
    pub virtual_mac: bool,
    /// Whether there is a listener with its group.
    pub listener: bool,
    /// From one health check of a target to the next.
    pub health_every: Duration,
    /// The log level (Tandem only).
    pub log: &'static str,
    /// Whether advertisements go from address to address instead of to the group.
    pub unicast: bool,
    /// Keys to sign with, as a key file holds them (Tandem only).
    pub keys: Option<String>,
    /// More TOML at the end (Tandem only).
    pub extra: String,
}

impl Default for PairConfig {
    fn default() -> Self {
        PairConfig {
            auth: Auth::V3,
            vrid: 51,
            vips: vec![(IpAddr::V4(Address::VIP4), 24)],
            interval: Duration::from_millis(100),
            preempt: Some("true".into()),
            priorities: (200, 100),
            pair: true,
            virtual_mac: false,
            listener: true,
            health_every: Duration::from_secs(1),
            log: "info",
            unicast: false,
            keys: None,
            extra: String::new(),
        }
    }
}

impl PairConfig {
    /// IPv6 addresses instead of the IPv4 one: a link-local one first (RFC 9568 §5.2.9), then a routable one.
    pub fn ipv6() -> PairConfig {
        PairConfig {
            vips: vec![
                (IpAddr::V6(Address::VIP6_LINK_LOCAL), 64),
                (IpAddr::V6(Address::VIP6), 64),
            ],
            ..PairConfig::default()
        }
    }

    /// Version 2 with a text password, at one second, the fastest version 2 can say.
    pub fn v2_password() -> PairConfig {
        PairConfig {
            auth: Auth::V2Password("s3cret12".into()),
            interval: Duration::from_secs(1),
            ..PairConfig::default()
        }
    }

    /// Where the password is, beside the configuration.
    pub(crate) const PASSWORD_FILE: &str = "vrrp.password";

    /// Where the keys are, beside the configuration.
    pub(crate) const KEY_FILE: &str = "vrrp.key";

    /// The address a node sends advertisements from in unicast: of the family of the VIPs.
    pub fn unicast_address(&self, host: Host) -> IpAddr {
        match self.address() {
            IpAddr::V4(_) => IpAddr::V4(host.v4()),
            IpAddr::V6(_) => IpAddr::V6(host.v6()),
        }
    }

    /// The address probes ask: the last one listed.
    pub fn address(&self) -> IpAddr {
        self.vips
            .last()
            .map_or(IpAddr::V4(Address::VIP4), |(address, _)| *address)
    }

    /// The priority of a node.
    pub fn priority(&self, host: Host) -> u8 {
        if host == Host::Lb1 {
            self.priorities.0
        } else {
            self.priorities.1
        }
    }

    /// When a backup of this priority takes over from a dead Active router at the latest: three intervals and the skew
    /// (RFC 9568 §6.1; version 2 counts the skew in seconds, RFC 3768 §6.1).
    pub fn down_interval(&self, backup: Host) -> Duration {
        let steps = 256 - u32::from(self.priority(backup));
        let skew = match self.auth {
            Auth::V3 => self.interval * steps / 256,
            Auth::V2Password(_) => Duration::from_secs(1) * steps / 256,
        };
        3 * self.interval + skew
    }

    /// The file for `tandemd`.
    pub fn tandem(&self, node: Host) -> String {
        let mut text = format!(
            "[global]\nlog = {{ level = \"{}\", format = \"text\" }}\n\n",
            self.log
        );
        if self.pair {
            let _ = writeln!(
                text,
                "[pair]\nnodes = {{ lb1 = \"{}\", lb2 = \"{}\" }}\n",
                Host::Lb1.v4(),
                Host::Lb2.v4()
            );
        }
        let vips: Vec<_> = self
            .vips
            .iter()
            .map(|(address, length)| format!("\"{address}/{length}\""))
            .collect();
        let _ = writeln!(
            text,
            "[vrrp.main]\ninterface = \"eth0\"\nvrid = {}\nvips = [{}]",
            self.vrid,
            vips.join(", ")
        );
        let _ = writeln!(
            text,
            "advert_interval = \"{}ms\"",
            self.interval.as_millis()
        );
        if let Auth::V2Password(_) = &self.auth {
            let file = Self::PASSWORD_FILE;
            let _ = writeln!(text, "version = 2\nauth = {{ password_file = \"{file}\" }}");
        }
        if self.unicast {
            let (one, two) = (
                self.unicast_address(Host::Lb1),
                self.unicast_address(Host::Lb2),
            );
            let _ = writeln!(text, "unicast = {{ lb1 = \"{one}\", lb2 = \"{two}\" }}");
        }
        if self.keys.is_some() {
            let _ = writeln!(text, "auth = {{ hmac_file = \"{}\" }}", Self::KEY_FILE);
        }
        if self.virtual_mac {
            let _ = writeln!(text, "virtual_mac = true");
        }
        let (first, second) = self.priorities;
        if self.pair {
            let _ = writeln!(text, "priority = {{ lb1 = {first}, lb2 = {second} }}");
        } else {
            let _ = writeln!(text, "priority = {}", self.priority(node));
        }
        if let Some(preempt) = &self.preempt {
            let _ = writeln!(text, "preempt = {preempt}");
        }
        if self.listener {
            let bind = match self.address() {
                IpAddr::V4(v4) => format!("{v4}:{}", Address::HTTP),
                IpAddr::V6(v6) => format!("[{v6}]:{}", Address::HTTP),
            };
            let _ = writeln!(
                text,
                "\n[listener.web]\nbind = \"{bind}\"\nforward = \"app\""
            );
            let _ = writeln!(
                text,
                "\n[group.app]\ntargets = [\"{}:{port}\", \"{}:{port}\"]\nhealth = {{ http = \"/healthz\", every = \"{}ms\" }}",
                Host::Backend1.v4(),
                Host::Backend2.v4(),
                self.health_every.as_millis(),
                port = Address::ORIGIN
            );
        }
        text + &self.extra
    }

    /// The file for HAProxy beside Keepalived: the plain proxy people put there.
    pub fn haproxy(&self) -> String {
        let (one, two, port) = (Host::Backend1.v4(), Host::Backend2.v4(), Address::ORIGIN);
        let every = self.health_every.as_millis();
        format!(
            "global\n    maxconn 8000\n\
             defaults\n    mode http\n    timeout connect 3s\n    timeout client 30s\n    timeout server 30s\n\
             frontend web\n    bind :::{}  v4v6\n    default_backend app\n\
             backend app\n    balance roundrobin\n    option httpchk GET /healthz\n\
             \x20   server backend1 {one}:{port} check inter {every}ms\n\
             \x20   server backend2 {two}:{port} check inter {every}ms\n",
            Address::HTTP
        )
    }
}
