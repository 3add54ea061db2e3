//! Debian's Keepalived as a node under test, with HAProxy beside it when there is a listener.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{Device, Part};
use crate::config::{Auth, PairConfig};
use crate::lab::{Host, Lab};
use crate::process::{Process, comm, process_tree};
use crate::wait::wait_until;

/// One Keepalived, and one HAProxy that is started anew 100 ms after it died, as Debian's unit does.
#[derive(Debug)]
pub struct Keepalived<'lab> {
    lab: &'lab Lab,
    host: Host,
    folder: PathBuf,
    listener: bool,
    process: Option<Process>,
    proxy: Option<Process>,
}

impl<'lab> Keepalived<'lab> {
    /// A node on `host`, with its files written but not started.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn new(
        lab: &'lab Lab,
        host: Host,
        config: &PairConfig,
    ) -> anyhow::Result<Keepalived<'lab>> {
        let folder = lab.folder().join(format!("keepalived-{}", host.name()));
        std::fs::create_dir_all(&folder)?;
        let check = folder.join("check");
        std::fs::write(
            &check,
            format!(
                "#!/bin/sh\nkill -0 $(cat {}/haproxy.pid)\n",
                folder.display()
            ),
        )?;
        std::fs::set_permissions(&check, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let script = config.listener.then(|| check.display().to_string());
        std::fs::write(
            folder.join("keepalived.conf"),
            keepalived_config(config, host, script.as_deref()),
        )?;
        std::fs::write(folder.join("haproxy.cfg"), config.haproxy())?;
        Ok(Keepalived {
            lab,
            host,
            folder,
            listener: config.listener,
            process: None,
            proxy: None,
        })
    }

    /// Both nodes of a pair, started, lb1 Active with its proxy answering, lb2's proxy running.
    ///
    /// # Errors
    /// When they do not come to that within half a minute.
    pub fn pair(
        lab: &'lab Lab,
        config: &PairConfig,
    ) -> anyhow::Result<(Keepalived<'lab>, Keepalived<'lab>)> {
        let mut one = Keepalived::new(lab, Host::Lb1, config)?;
        let mut two = Keepalived::new(lab, Host::Lb2, config)?;
        one.start()?;
        two.start()?;
        let limit = Duration::from_secs(30);
        lab.wait_holder(config.address(), Host::Lb1, limit)
            .with_context(|| one.log().join("\n"))?;
        wait_until("lb2's Keepalived is Backup", limit, || {
            two.said("Entering BACKUP STATE")
        })?;
        Ok((one, two))
    }

    /// Replaces the configuration file; nothing is told to the daemon.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_config(&self, text: &str) -> anyhow::Result<()> {
        std::fs::write(self.folder.join("keepalived.conf"), text).context("write the configuration")
    }

    /// Has it logged a line with these words?
    pub fn said(&self, words: &str) -> bool {
        self.log().iter().any(|line| line.contains(words))
    }

    fn start_proxy(&mut self) -> anyhow::Result<()> {
        // Debian's unit says Restart=always, with systemd's pause of 100 ms.
        let script = format!(
            "cd {}; while :; do haproxy -db -f haproxy.cfg & echo $! >haproxy.pid; wait $!; sleep 0.1; done",
            self.folder.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        self.proxy = Some(Process::start(
            self.lab.net(self.host),
            "haproxy",
            &mut command,
        )?);
        let address = std::net::SocketAddr::from((self.host.v4(), crate::lab::Address::HTTP));
        wait_until("HAProxy listens", Duration::from_secs(30), || {
            let tried = self.lab.net(Host::Client).enter(|| {
                std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
            });
            tried.unwrap_or(false)
        })?;
        Ok(())
    }
}

impl Device for Keepalived<'_> {
    fn product(&self) -> &'static str {
        "keepalived"
    }

    fn host(&self) -> Host {
        self.host
    }

    fn start(&mut self) -> anyhow::Result<()> {
        if self.listener && self.proxy.is_none() {
            self.start_proxy()?;
        }
        ensure!(
            self.process
                .as_mut()
                .is_none_or(|process| !process.running()),
            "keepalived runs already"
        );
        let mut command = Command::new("keepalived");
        command
            .args(["-n", "-l", "-D", "-P", "-f"])
            .arg(self.folder.join("keepalived.conf"));
        for (option, file) in [
            ("-p", "keepalived.pid"),
            ("-r", "vrrp.pid"),
            ("-c", "checkers.pid"),
        ] {
            let path = self.folder.join(file);
            let _ = std::fs::remove_file(&path);
            command.arg(option).arg(path);
        }
        self.process = Some(Process::start(
            self.lab.net(self.host),
            "keepalived",
            &mut command,
        )?);
        Ok(())
    }

    fn stop(&mut self, limit: Duration) -> anyhow::Result<Instant> {
        let process = self
            .process
            .as_mut()
            .context("keepalived was never started")?;
        let moment = Instant::now();
        process.signal(nix::sys::signal::Signal::SIGTERM)?;
        process.wait_end(limit)?;
        Ok(moment)
    }

    fn pids(&self, part: Part) -> Vec<u32> {
        let all = self.lab.net(self.host).pids();
        let keeper = self
            .process
            .as_ref()
            .map(Process::pid)
            .filter(|pid| all.contains(pid));
        // With -P there is one child only, the one that speaks VRRP; check scripts come and go below that.
        let director = || {
            let tree = keeper.map(process_tree).unwrap_or_default();
            tree.into_iter().nth(1).or_else(|| {
                all.iter()
                    .copied()
                    .find(|pid| comm(*pid) == "keepalived" && Some(*pid) != keeper)
            })
        };
        let proxies = || {
            all.iter()
                .copied()
                .filter(|pid| comm(*pid) == "haproxy")
                .collect::<Vec<_>>()
        };
        match part {
            Part::Keeper => keeper.into_iter().collect(),
            Part::Director => director().into_iter().collect(),
            Part::Forwarder => proxies(),
            Part::Runner => Vec::new(),
            Part::All => keeper
                .into_iter()
                .chain(director())
                .chain(proxies())
                .collect(),
        }
    }

    fn log(&self) -> Vec<String> {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }
}

impl Drop for Keepalived<'_> {
    fn drop(&mut self) {
        // The loop that starts HAProxy anew must go first.
        self.proxy = None;
        self.lab.net(self.host).kill_all();
    }
}

/// The file for Keepalived; `check` is the script people use to tie the address to their proxy.
pub fn keepalived_config(config: &PairConfig, host: Host, check: Option<&str>) -> String {
    let version = if matches!(config.auth, Auth::V3) {
        3
    } else {
        2
    };
    let vips: Vec<_> = config
        .vips
        .iter()
        .map(|(address, length)| format!("        {address}/{length}"))
        .collect();
    let interval = config.interval.as_secs_f64();
    let mut text = format!(
        "global_defs {{\n    router_id {name}\n    vrrp_version {version}\n    script_user root\n    enable_script_security\n}}\n",
        name = host.name()
    );
    if let Some(check) = check {
        text += &format!(
            "vrrp_script proxy {{\n    script \"{check}\"\n    interval 1\n    fall 1\n    rise 1\n}}\n"
        );
    }
    text += &format!(
        "vrrp_instance main {{\n    state BACKUP\n    interface eth0\n    virtual_router_id {}\n    priority {}\n    advert_int {interval}\n",
        config.vrid,
        config.priority(host)
    );
    if config.virtual_mac {
        text += "    use_vmac\n";
    }
    if config.preempt.as_deref() == Some("false") {
        text += "    nopreempt\n";
    }
    if let Auth::V2Password(password) = &config.auth {
        text += &format!(
            "    authentication {{\n        auth_type PASS\n        auth_pass {password}\n    }}\n"
        );
    }
    if config
        .vips
        .iter()
        .all(|(address, _)| matches!(address, IpAddr::V6(_)))
    {
        text += "    native_ipv6\n";
    }
    if config.unicast {
        // Over IPv6 it would send with the system's default hop limit.
        text += &format!(
            "    unicast_src_ip {}\n    unicast_ttl 255\n    unicast_peer {{\n        {}\n    }}\n",
            config.unicast_address(host),
            config.unicast_address(host.other())
        );
    }
    text += &format!("    virtual_ipaddress {{\n{}\n    }}\n", vips.join("\n"));
    if check.is_some() {
        text += "    track_script {\n        proxy\n    }\n";
    }
    text + "}\n"
}
