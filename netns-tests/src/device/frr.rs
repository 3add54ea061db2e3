//! Debian's FRR as a node under test: `zebra` and `vrrpd`, on macvlans made by hand as its manual asks for.
//!
//! The addresses stay on the macvlans whatever the state; while FRR is Backup it holds those links down (protodown). So who has an
//! address is seen from another host, not on FRR's.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;

use super::{Device, Part};
use crate::config::PairConfig;
use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::wait::wait_until;

/// Where Debian has the daemons.
const PROGRAMS: &str = "/usr/lib/frr";

/// One FRR with its two daemons.
#[derive(Debug)]
pub struct Frr<'lab> {
    lab: &'lab Lab,
    host: Host,
    folder: PathBuf,
    links: Vec<&'static str>,
    zebra: Option<Process>,
    vrrpd: Option<Process>,
}

impl<'lab> Frr<'lab> {
    /// A node on `host`, with its links made and its files written, but not started.
    ///
    /// # Errors
    /// When the links cannot be made.
    pub fn new(lab: &'lab Lab, host: Host, config: &PairConfig) -> anyhow::Result<Frr<'lab>> {
        let folder = lab.folder().join(format!("frr-{}", host.name()));
        std::fs::create_dir_all(&folder)?;
        // The daemons run as a user of their own and keep their sockets here.
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        std::fs::write(folder.join("zebra.conf"), "")?;
        std::fs::write(folder.join("vrrpd.conf"), frr_config(config, host))?;
        let mut frr = Frr {
            lab,
            host,
            folder,
            links: Vec::new(),
            zebra: None,
            vrrpd: None,
        };
        for v6 in [false, true] {
            frr.make_link(config, v6)?;
        }
        Ok(frr)
    }

    /// The address its advertisements come from: over IPv6 one of the macvlan.
    pub fn source(host: Host, v6: bool) -> IpAddr {
        if v6 {
            IpAddr::V6([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host.v4().octets()[3])].into())
        } else {
            IpAddr::V4(host.v4())
        }
    }

    /// The hardware address neighbours find its addresses at (RFC 9568 §7.3).
    pub fn virtual_mac(config: &PairConfig, v6: bool) -> [u8; 6] {
        [0, 0, 0x5e, 0, 1 + u8::from(v6), config.vrid]
    }

    /// The macvlan of one family with its addresses, if there are any; it is down.
    fn make_link(&mut self, config: &PairConfig, v6: bool) -> anyhow::Result<()> {
        let vips: Vec<_> = (config.vips.iter())
            .filter(|(vip, _)| vip.is_ipv6() == v6)
            .collect();
        if vips.is_empty() {
            return Ok(());
        }
        let link = if v6 { "vrrp6" } else { "vrrp4" };
        self.links.push(link);
        let mac = Self::virtual_mac(config, v6).map(|octet| format!("{octet:02x}"));
        let net = self.lab.net(self.host);
        // Else the interface below answers for the addresses of the macvlan, and speaks in their name.
        for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
            net.sysctl(&format!("ipv4/conf/eth0/{key}"), value)?;
        }
        net.ip(&format!(
            "link add {link} link eth0 type macvlan mode bridge"
        ))?;
        net.ip(&format!("link set {link} addrgenmode none"))?;
        let mut orders = format!("link set {link} address {}\n", mac.join(":"));
        for (vip, length) in vips {
            let nodad = if v6 { " nodad" } else { "" };
            orders += &format!("addr add {vip}/{length} dev {link}{nodad}\n");
        }
        if v6 {
            // Of several link-local addresses FRR takes the one the kernel lists first: the last one added.
            let source = Self::source(self.host, true);
            orders += &format!("addr add {source}/64 dev {link} nodad\n");
        }
        net.ip_batch(&orders)
    }

    /// The links are there for FRR alone: up, they answer for the addresses whether it runs or not.
    fn set_links(&self, state: &str) -> anyhow::Result<()> {
        for link in &self.links {
            self.lab
                .net(self.host)
                .ip(&format!("link set {link} {state}"))?;
        }
        Ok(())
    }

    fn start_one(&self, name: &str) -> anyhow::Result<Process> {
        let mut command = Command::new(format!("{PROGRAMS}/{name}"));
        command
            .arg("-f")
            .arg(self.folder.join(format!("{name}.conf")))
            .arg("-i")
            .arg(self.folder.join(format!("{name}.pid")))
            .arg("-z")
            .arg(self.zserv())
            .arg("--vty_socket")
            .arg(&self.folder)
            .args(["-P", "0", "--log", "stdout", "--log-level", "info"]);
        Process::start(
            self.lab.net(self.host),
            &format!("{name} on {}", self.host.name()),
            &mut command,
        )
    }

    fn zserv(&self) -> PathBuf {
        self.folder.join("zserv.api")
    }

    /// Has it logged a line with these words?
    pub fn said(&self, words: &str) -> bool {
        self.log().iter().any(|line| line.contains(words))
    }
}

impl Device for Frr<'_> {
    fn product(&self) -> &'static str {
        "frr"
    }

    fn host(&self) -> Host {
        self.host
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let runs = |process: &mut Option<Process>| process.as_mut().is_some_and(Process::running);
        ensure!(!runs(&mut self.vrrpd), "vrrpd runs already");
        if !runs(&mut self.zebra) {
            let _ = std::fs::remove_file(self.zserv());
            self.zebra = Some(self.start_one("zebra")?);
            let zserv = self.zserv();
            wait_until("zebra has its socket", Duration::from_secs(30), || {
                zserv.exists()
            })
            .with_context(|| self.log().join("\n"))?;
        }
        self.set_links("up")?;
        self.vrrpd = Some(self.start_one("vrrpd")?);
        Ok(())
    }

    fn stop(&mut self, limit: Duration) -> anyhow::Result<Instant> {
        let vrrpd = self.vrrpd.as_mut().context("vrrpd was never started")?;
        let moment = Instant::now();
        vrrpd.signal(Signal::SIGTERM)?;
        vrrpd.wait_end(limit)?;
        self.set_links("down")?;
        Ok(moment)
    }

    fn pids(&self, part: Part) -> Vec<u32> {
        let all = self.lab.net(self.host).pids();
        let of = |process: &Option<Process>| {
            let pid = process.as_ref().map(Process::pid);
            pid.filter(|pid| all.contains(pid))
        };
        match part {
            Part::Keeper => of(&self.zebra).into_iter().collect(),
            Part::Director => of(&self.vrrpd).into_iter().collect(),
            Part::Forwarder | Part::Runner => Vec::new(),
            Part::All => of(&self.zebra).into_iter().chain(of(&self.vrrpd)).collect(),
        }
    }

    fn log(&self) -> Vec<String> {
        let logs = [&self.zebra, &self.vrrpd];
        let logs = logs.into_iter().flatten();
        logs.flat_map(Process::log).collect()
    }
}

impl Drop for Frr<'_> {
    fn drop(&mut self) {
        self.lab.net(self.host).kill_all();
    }
}

/// The file for `vrrpd`. The interval is in milliseconds there.
pub fn frr_config(config: &PairConfig, host: Host) -> String {
    let vrid = config.vrid;
    let mut text = format!(
        "interface eth0\n vrrp {vrid} version 3\n vrrp {vrid} priority {}\n vrrp {vrid} advertisement-interval {}\n",
        config.priority(host),
        config.interval.as_millis()
    );
    for (vip, _) in &config.vips {
        let family = if vip.is_ipv6() { "ipv6" } else { "ip" };
        text += &format!(" vrrp {vrid} {family} {vip}\n");
    }
    if config.preempt.as_deref() == Some("false") {
        text += &format!(" no vrrp {vrid} preempt\n");
    }
    text
}
