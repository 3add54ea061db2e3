//! Network namespaces with names of our own, entered by threads.
//!
//! A thread joins a namespace and everything it opens or starts belongs there, so that a daemon's process id is
//! its own and no wrapper stands between. Names are `tdm-PID-N-HOST`: the process id says whose they are, so a
//! later run can sweep what a killed one left behind.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};

use crate::process::{alive, pid_of};
use crate::wait::wait_until;

const RUN_NETNS: &str = "/run/netns";
/// Every namespace and temporary directory of the laboratory begins with this.
pub(crate) const PREFIX: &str = "tdm-";

/// One network namespace; deleted when dropped.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// Makes the namespace, with `lo` up and IPv6 addresses usable at once.
    ///
    /// # Errors
    /// When `ip netns add` fails: no root, or the name is taken.
    pub fn create(name: &str) -> anyhow::Result<NetNs> {
        run(Command::new("ip").args(["netns", "add", name]))
            .context("make a network namespace (needs root and iproute2)")?;
        let namespace = NetNs {
            name: name.to_owned(),
        };
        namespace.enter(|| -> anyhow::Result<()> {
            for (key, value) in [
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/default/dad_transmits", "0"),
                ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/default/router_solicitations", "0"),
                ("ipv4/ip_local_port_range", "1024 65535"),
                // Servers listen there: a client's own port among them would keep one from starting.
                ("ipv4/ip_local_reserved_ports", "8000-9999"),
                ("ipv4/tcp_tw_reuse", "1"),
            ] {
                write_sysctl(key, value)?;
            }
            Ok(())
        })??;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn file(&self) -> anyhow::Result<File> {
        let path = PathBuf::from(RUN_NETNS).join(&self.name);
        File::open(&path).with_context(|| format!("open {}", path.display()))
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let file = self.file()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || -> anyhow::Result<T> {
                setns(&file, CloneFlags::CLONE_NEWNET).context("enter the namespace")?;
                Ok(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a named thread that lives inside the namespace.
    ///
    /// # Errors
    /// When the namespace does not exist or no thread can be started. A thread that cannot enter ends at once.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<T>>> {
        let file = self.file()?;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).context("enter the namespace")?;
                work()
            })?;
        Ok(thread)
    }

    /// Starts a program inside the namespace; the process is the program itself, with no wrapper around it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> anyhow::Result<Child> {
        let what = command.get_program().to_string_lossy().into_owned();
        self.enter(|| command.spawn())?
            .with_context(|| format!("start {what}"))
    }

    /// Runs one `ip` command inside the namespace (`"link set lo up"`) and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the error holds its words.
    pub fn ip(&self, words: &str) -> anyhow::Result<String> {
        run(Command::new("ip")
            .args(["-n", &self.name])
            .args(words.split_whitespace()))
    }

    /// Runs several `ip` commands, one a line, in one go.
    ///
    /// # Errors
    /// When one fails; the error names its line.
    pub fn ip_batch(&self, lines: &str) -> anyhow::Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "ip -batch in {}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Runs one `bridge` command inside the namespace.
    ///
    /// # Errors
    /// When it fails; the error holds its words.
    pub fn bridge(&self, words: &str) -> anyhow::Result<String> {
        run(Command::new("bridge")
            .args(["-n", &self.name])
            .args(words.split_whitespace()))
    }

    /// Sets a sysctl of this namespace; `key` is a path below `/proc/sys/net`.
    ///
    /// # Errors
    /// When there is no such key or the value is refused.
    pub fn sysctl(&self, key: &str, value: &str) -> anyhow::Result<()> {
        self.enter(|| write_sysctl(key, value))?
    }

    /// The processes that live in this namespace, orphans of daemons included.
    pub fn pids(&self) -> Vec<u32> {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(ours) = self.file().and_then(|file| Ok(file.metadata()?.ino())) else {
            return Vec::new();
        };
        let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        numbers
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != std::process::id())
            .filter(|pid| {
                std::fs::metadata(format!("/proc/{pid}/ns/net"))
                    .is_ok_and(|found| found.ino() == ours)
            })
            .collect()
    }

    /// Kills every process that lives in this namespace, until none is left (at most half a minute).
    pub fn kill_all(&self) {
        let _ = wait_until("the namespace is empty", Duration::from_secs(30), || {
            let pids = self.pids();
            for pid in &pids {
                let _ = kill(pid_of(*pid), Signal::SIGKILL);
            }
            !pids.into_iter().any(alive)
        });
    }

    /// Does this namespace hold the address on any link? Asked of the kernel, in well under a millisecond.
    pub fn has_address(&self, address: std::net::IpAddr) -> bool {
        self.enter(|| holds(address)).unwrap_or(false)
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["netns", "del", &self.name]));
    }
}

/// Is the address on any link of the calling thread's namespace?
pub(crate) fn holds(address: std::net::IpAddr) -> bool {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return false;
    };
    all.filter_map(|entry| entry.address).any(|found| {
        let found = found
            .as_sockaddr_in()
            .map(|v4| std::net::IpAddr::V4(v4.ip()))
            .or_else(|| {
                found
                    .as_sockaddr_in6()
                    .map(|v6| std::net::IpAddr::V6(v6.ip()))
            });
        found == Some(address)
    })
}

fn write_sysctl(key: &str, value: &str) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/sys/net/{key}"), value)
        .with_context(|| format!("set sysctl net/{key} to {value}"))
}

/// Runs a command to its end and returns its standard output.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes what laboratories of dead processes left: their daemons, namespaces and temporary directories.
pub(crate) fn sweep_stale() {
    for name in entries(RUN_NETNS).chain(entries(&std::env::temp_dir().to_string_lossy())) {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let Some(owner) = owner else { continue };
        if PathBuf::from(format!("/proc/{owner}")).exists() {
            continue;
        }
        if PathBuf::from(RUN_NETNS).join(&name).exists() {
            let pids = run(Command::new("ip").args(["netns", "pids", &name])).unwrap_or_default();
            for pid in pids.split_whitespace().filter_map(|word| word.parse().ok()) {
                let _ = kill(pid_of(pid), Signal::SIGKILL);
            }
            let _ = run(Command::new("ip").args(["netns", "del", &name]));
        }
        let _ = std::fs::remove_dir_all(std::env::temp_dir().join(&name));
    }
}

fn entries(folder: &str) -> impl Iterator<Item = String> + use<> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(PREFIX))
        .collect::<Vec<_>>()
        .into_iter()
}
