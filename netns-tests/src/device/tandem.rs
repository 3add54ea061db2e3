//! Tandem as a node under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{Device, Part};
use crate::config::{Auth, PairConfig};
use crate::control;
use crate::lab::{Host, Lab};
use crate::process::{Process, comm};
use crate::wait::wait_until;

/// The names children give themselves, as the kernel cuts them (15 octets).
const DIRECTOR: &str = "tandem-director";
const FORWARDER: &str = "tandem-forward";
const RUNNER: &str = "tandem-runner";

/// One `tandemd` with a folder of its own for configuration, socket and state.
#[derive(Debug)]
pub struct Tandem<'lab> {
    lab: &'lab Lab,
    host: Host,
    folder: PathBuf,
    /// Where it finds other programs, if not where this one does.
    programs: Option<PathBuf>,
    /// Its own copy of the daemon, if not the one that was built.
    own_program: Option<PathBuf>,
    process: Option<Process>,
    full_disk: bool,
    clock: Option<PathBuf>,
}

impl<'lab> Tandem<'lab> {
    /// A node on `host`, with its configuration written but not started.
    ///
    /// # Errors
    /// When the files cannot be written or the programs are not built.
    pub fn new(lab: &'lab Lab, host: Host, config: &PairConfig) -> anyhow::Result<Tandem<'lab>> {
        program("tandemd")?;
        let folder = lab.folder().join(format!("tandem-{}", host.name()));
        std::fs::create_dir_all(folder.join("state"))?;
        if let Auth::V2Password(password) = &config.auth {
            std::fs::write(folder.join(PairConfig::PASSWORD_FILE), password)?;
        }
        if let Some(keys) = &config.keys {
            write_keys(&folder, keys)?;
        }
        let tandem = Tandem {
            lab,
            host,
            folder,
            programs: None,
            own_program: None,
            process: None,
            full_disk: false,
            clock: None,
        };
        tandem.write_config(&config.tandem(host))?;
        Ok(tandem)
    }

    /// Both nodes of a pair, started, lb1 Active and lb2 ready to take over.
    ///
    /// # Errors
    /// When they do not come to that within half a minute.
    pub fn pair(
        lab: &'lab Lab,
        config: &PairConfig,
    ) -> anyhow::Result<(Tandem<'lab>, Tandem<'lab>)> {
        let mut one = Tandem::new(lab, Host::Lb1, config)?;
        let mut two = Tandem::new(lab, Host::Lb2, config)?;
        one.start()?;
        two.start()?;
        Tandem::wait_pair([&one, &two], config)?;
        Ok((one, two))
    }

    /// Waits until the first of two started nodes is Active with the address, and the other ready to take over.
    ///
    /// # Errors
    /// When they do not come to that within half a minute.
    pub fn wait_pair([one, two]: [&Tandem<'lab>; 2], config: &PairConfig) -> anyhow::Result<()> {
        let limit = Duration::from_secs(30) + 4 * config.interval;
        one.wait_state("active", limit)?;
        two.wait_state("backup", limit)?;
        one.wait_ready(limit)?;
        two.wait_ready(limit)?;
        one.lab.wait_holder(config.address(), one.host, limit)?;
        Ok(())
    }

    /// From the next start on its state directory is on a disk without an octet of room, seen by this node alone.
    pub fn fill_disk(&mut self) {
        self.full_disk = true;
    }

    /// From the next start on it has a clock on the wall of its own; the monotonic clock stays that of the kernel.
    ///
    /// # Errors
    /// When the file that sets the clock cannot be written.
    pub fn give_clock(&mut self) -> anyhow::Result<()> {
        self.clock = Some(self.folder.join("clock"));
        self.set_clock("+0")
    }

    /// Sets that clock at once, relative to the kernel's: `+3600`, `-3600`.
    ///
    /// # Errors
    /// When it has none, or the file cannot be written.
    pub fn set_clock(&self, offset_s: &str) -> anyhow::Result<()> {
        let path = self.clock.as_ref().context("no clock of its own")?;
        // In one step, so that no half of it is read.
        let next = path.with_extension("next");
        std::fs::write(&next, format!("{offset_s}\n"))?;
        std::fs::rename(&next, path).context("set the clock")
    }

    /// Installs a program for this node alone, where an earlier one is replaced as a package does it: another file under the same name, and
    /// another by an octet at its end. From the next start on it is the one that is started.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn install_program(&mut self) -> anyhow::Result<()> {
        let path = self.folder.join("tandemd");
        let next = path.with_extension("next");
        let built = if path.exists() {
            &path
        } else {
            &program("tandemd")?
        };
        std::fs::copy(built, &next).context("copy the program")?;
        let mut file = std::fs::OpenOptions::new().append(true).open(&next)?;
        std::io::Write::write_all(&mut file, b"\n")?;
        drop(file);
        std::fs::rename(&next, &path).context("replace the program")?;
        self.own_program = Some(path);
        Ok(())
    }

    fn daemon(&self) -> anyhow::Result<PathBuf> {
        match &self.own_program {
            Some(path) => Ok(path.clone()),
            None => program("tandemd"),
        }
    }

    /// Lets it find other programs, `nft` among them, in this folder only, from the next start on.
    pub fn look_for_programs_in(&mut self, folder: &Path) {
        self.programs = Some(folder.to_owned());
    }

    /// Where its configuration is.
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("tandem.toml")
    }

    /// Where its journal and its recordings are.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("tandem.sock")
    }

    /// Replaces the configuration file; nothing is told to the daemon.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_config(&self, text: &str) -> anyhow::Result<()> {
        std::fs::write(self.config_path(), text).context("write the configuration")
    }

    /// Replaces the key file; nothing is told to the daemon.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_keys(&self, keys: &str) -> anyhow::Result<()> {
        write_keys(&self.folder, keys)
    }

    /// Runs `tandem` against this node: exit code, standard output, standard error.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn cli(&self, words: &[&str]) -> anyhow::Result<(i32, String, String)> {
        let mut command = Command::new(program("tandem")?);
        command.arg("--socket").arg(self.socket()).args(words);
        let output = self
            .lab
            .net(self.host)
            .enter(|| command.output())?
            .context("run tandem")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        ))
    }

    /// What `GET /status` answers.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub fn status(&self) -> anyhow::Result<Value> {
        control::get(&self.socket(), "/status")
    }

    /// What `GET /metrics` answers.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub fn metrics(&self) -> anyhow::Result<String> {
        control::get_text(&self.socket(), "/metrics")
    }

    /// The VRRP state, lower case; `unreachable` while the socket does not answer.
    pub fn state(&self) -> String {
        let state = self
            .status()
            .ok()
            .and_then(|status| Some(status["vrrp"][0]["state"].as_str()?.to_owned()));
        state.unwrap_or_else(|| "unreachable".into())
    }

    /// When and why the state changed last; differs between any two transitions.
    pub fn last_transition(&self) -> anyhow::Result<Value> {
        Ok(self.status()?["vrrp"][0]["last_transition"].clone())
    }

    /// How many packets each receive check has dropped, all checks together.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub fn rejected(&self) -> anyhow::Result<u64> {
        let routers = control::get(&self.socket(), "/vrrp")?;
        let counts = routers[0]["rejects"]
            .as_object()
            .context("no rejects in the answer")?;
        Ok(counts.values().filter_map(Value::as_u64).sum())
    }

    /// Waits for a VRRP state.
    ///
    /// # Errors
    /// When it is not reached within `limit`; the last log lines are in the error.
    pub fn wait_state(&self, state: &str, limit: Duration) -> anyhow::Result<Duration> {
        wait_until(&format!("{} is {state}", self.host.name()), limit, || {
            self.state() == state
        })
        .with_context(|| format!("{} is {}\n{}", self.host.name(), self.state(), self.tail()))
    }

    /// Waits until the forwarder runs and, if there are groups, every target was found usable.
    ///
    /// # Errors
    /// When that does not happen within `limit`.
    pub fn wait_ready(&self, limit: Duration) -> anyhow::Result<Duration> {
        let mut last = Value::Null;
        wait_until(&format!("{} is ready", self.host.name()), limit, || {
            let Ok(status) = self.status() else {
                return false;
            };
            let groups = status["groups"].as_array().cloned().unwrap_or_default();
            let usable = groups.iter().all(|group| group["usable"] == group["total"]);
            let forwarder = status["forwarder"]["state"].as_str();
            let ready = usable
                && (forwarder == Some("running")
                    || (forwarder == Some("off") && groups.is_empty()));
            last = status;
            ready
        })
        .with_context(|| format!("status {last:#}\n{}", self.tail()))
    }

    /// Whether the started process is still there.
    pub fn running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::running)
    }

    /// Waits until the started process has ended by itself.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> anyhow::Result<std::process::ExitStatus> {
        self.process
            .as_mut()
            .context("tandemd was never started")?
            .wait_end(limit)
    }

    /// How many lines were logged from `from` to `to`.
    pub fn log_lines_between(&self, from: Instant, to: Instant) -> usize {
        self.process
            .as_ref()
            .map_or(0, |process| process.lines_between(from, to))
    }

    /// The last log lines, for error messages.
    pub fn tail(&self) -> String {
        let log = self.log();
        log[log.len().saturating_sub(30)..].join("\n")
    }
}

impl Device for Tandem<'_> {
    fn product(&self) -> &'static str {
        "tandem"
    }

    fn host(&self) -> Host {
        self.host
    }

    fn start(&mut self) -> anyhow::Result<()> {
        ensure!(
            !self.running(),
            "tandemd runs on {} already",
            self.host.name()
        );
        // What a killed one left behind would answer for the one to be started.
        let _ = std::fs::remove_file(self.socket());
        let mut command = if self.full_disk {
            on_a_full_disk(&self.folder.join("state"), &self.daemon()?)
        } else {
            Command::new(self.daemon()?)
        };
        command
            .arg("--config")
            .arg(self.config_path())
            .args(["--node", self.host.name()]);
        command
            .arg("--socket")
            .arg(self.socket())
            .arg("--state-dir")
            .arg(self.folder.join("state"));
        if let Some(folder) = &self.programs {
            command.env("PATH", folder);
        }
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", clock_library()?);
            command.env("FAKETIME_TIMESTAMP_FILE", clock);
            command.env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            command.env("DONT_FAKE_MONOTONIC", "1");
        }
        let process = Process::start(
            self.lab.net(self.host),
            &format!("tandemd on {}", self.host.name()),
            &mut command,
        )?;
        self.process = Some(process);
        Ok(())
    }

    fn stop(&mut self, limit: Duration) -> anyhow::Result<Instant> {
        let process = self.process.as_mut().context("tandemd was never started")?;
        let moment = Instant::now();
        process.signal(nix::sys::signal::Signal::SIGTERM)?;
        let status = process.wait_end(limit)?;
        ensure!(
            status.success(),
            "tandemd on {} ended with {status}",
            self.host.name()
        );
        Ok(moment)
    }

    fn handover(&self) -> anyhow::Result<Option<Instant>> {
        let moment = Instant::now();
        let (code, out, err) = self.cli(&["handover"])?;
        ensure!(code == 0, "tandem handover ended with {code}: {out}{err}");
        Ok(Some(moment))
    }

    fn pids(&self, part: Part) -> Vec<u32> {
        let all = self.lab.net(self.host).pids();
        let named = |name: &str| {
            all.iter()
                .copied()
                .filter(|pid| comm(*pid) == name)
                .collect::<Vec<_>>()
        };
        let keeper = self
            .process
            .as_ref()
            .map(Process::pid)
            .filter(|pid| all.contains(pid));
        match part {
            Part::Keeper => keeper.into_iter().collect(),
            Part::Director => named(DIRECTOR),
            Part::Forwarder => named(FORWARDER),
            Part::Runner => named(RUNNER),
            Part::All => keeper
                .into_iter()
                .chain(named(DIRECTOR))
                .chain(named(FORWARDER))
                .chain(named(RUNNER))
                .collect(),
        }
    }

    fn log(&self) -> Vec<String> {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }
}

impl Drop for Tandem<'_> {
    fn drop(&mut self) {
        // Orphans of a killed keeper are no longer below our process: the namespace is the family.
        self.lab.net(self.host).kill_all();
    }
}

/// A key file as the daemon takes it: nobody else may read it.
fn write_keys(folder: &Path, keys: &str) -> anyhow::Result<()> {
    let path = folder.join(PairConfig::KEY_FILE);
    std::fs::write(&path, keys).context("write the keys")?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

/// What gives a program a clock of its own, as Debian installs it.
fn clock_library() -> anyhow::Result<PathBuf> {
    std::fs::read_dir("/usr/lib")?
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .context("libfaketime is not installed: run scripts/setup")
}

/// Where a program of ours was built: `TANDEM_BIN_DIR`, or the folder this program itself was built to.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let folder = match std::env::var_os("TANDEM_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let exe = std::env::current_exe()?;
            let folder = exe.parent().unwrap_or(Path::new("."));
            if folder.ends_with("deps") {
                folder.join("..")
            } else {
                folder.to_owned()
            }
        }
    };
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "{} is not built: run scripts/test, or cargo build -p daemon -p cli",
        path.display()
    );
    Ok(path)
}

/// Begins a command with a mount namespace of its own, in which `folder` is a small file system that is full. The mount goes with the
/// processes that see it.
fn on_a_full_disk(folder: &Path, program: &Path) -> Command {
    let script = r#"mount -t tmpfs -o size=16k tmpfs "$1" || exit 1
        cat /dev/zero >"$1/ballast" 2>/dev/null
        shift
        exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(script).arg("sh").arg(folder).arg(program);
    command
}
