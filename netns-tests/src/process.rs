//! A started program, its log, its process tree and its end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::NetNs;
use crate::wait::wait_until;

/// A child with its standard output and error collected line by line. Dropping it kills the whole tree.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Process {
    /// Starts `command` inside `namespace`; `name` is for error messages.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(namespace: &NetNs, name: &str, command: &mut Command) -> anyhow::Result<Process> {
        namespace.enter(|| Process::start_here(name, command))?
    }

    /// The same in the namespace and on the cores of the calling thread.
    pub(crate) fn start_here(name: &str, command: &mut Command) -> anyhow::Result<Process> {
        use std::os::unix::process::CommandExt as _;
        // A group of its own: Ctrl-C at the terminal is the laboratory's business, not the daemon's.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let what = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("start {what}"))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child
                .stdout
                .take()
                .map(|out| Box::new(out) as Box<dyn Read + Send>),
            child
                .stderr
                .take()
                .map(|err| Box::new(err) as Box<dyn Read + Send>),
        ];
        for stream in streams.into_iter().flatten() {
            collect(stream, Arc::clone(&log))?;
        }
        Ok(Process {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The process id of the program itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Is the started process still there?
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to the started process alone.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(pid_of(self.child.id()), signal)
            .with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits for its end and returns the exit status.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> anyhow::Result<std::process::ExitStatus> {
        let mut status = None;
        wait_until(&format!("{} ends", self.name), limit, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        status.context("exit status lost")
    }

    /// Everything it has printed so far, one line each.
    pub fn log(&self) -> Vec<String> {
        let lines = self.log.lock().map(|log| log.clone()).unwrap_or_default();
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// How many lines it printed from `from` to `to`.
    pub fn lines_between(&self, from: Instant, to: Instant) -> usize {
        self.log.lock().map_or(0, |log| {
            log.iter().filter(|(at, _)| *at >= from && *at < to).count()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = process_tree(self.child.id());
        // The parent first, so that it cannot start its children anew.
        for pid in &tree {
            let _ = kill(pid_of(*pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

fn collect(
    stream: Box<dyn Read + Send>,
    log: Arc<Mutex<Vec<(Instant, String)>>>,
) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("lab-log".into())
        .spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                if let Ok(mut log) = log.lock() {
                    log.push((Instant::now(), line));
                }
            }
        })?;
    Ok(())
}

/// `root` and all that descends from it, parents before children, as `/proc` shows it.
pub fn process_tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = stat_field(pid, 1).and_then(|field| field.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next];
        tree.extend(children.get(&parent).into_iter().flatten());
        next += 1;
    }
    tree
}

/// A field of `/proc/PID/stat` after the command name: 0 is the state, 1 the parent.
fn stat_field(pid: u32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_whitespace().nth(index).map(str::to_owned)
}

/// Is the process there and not a zombie?
pub(crate) fn alive(pid: u32) -> bool {
    stat_field(pid, 0).is_some_and(|state| state != "Z")
}

/// The command name, `/proc/PID/comm`.
pub(crate) fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

pub(crate) fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

/// A process's proportional memory (PSS) in KiB, from `/proc/PID/smaps_rollup`.
///
/// # Errors
/// When the process is gone or the file has no such line.
pub fn memory_kib(pid: u32) -> anyhow::Result<u64> {
    rolled_up(pid, "Pss:")
}

/// How much of a process's memory is locked, in KiB, shared pages in proportion.
///
/// # Errors
/// As [`memory_kib`].
pub fn locked_kib(pid: u32) -> anyhow::Result<u64> {
    rolled_up(pid, "Locked:")
}

fn rolled_up(pid: u32, key: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    let value = value.with_context(|| format!("no line {key} in {path}"))?;
    Ok(value.trim().trim_end_matches("kB").trim().parse()?)
}

/// How much of the code of its own program a process has in memory, in KiB, from `/proc/PID/smaps`.
///
/// # Errors
/// When the process is gone.
pub fn code_kib(pid: u32) -> anyhow::Result<u64> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let program = program.to_string_lossy();
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut own, mut total) = (false, 0);
    for line in smaps.lines() {
        if let Some(value) = line.strip_prefix("Rss:").filter(|_| own) {
            total += value.trim().trim_end_matches("kB").trim().parse::<u64>()?;
        } else if let Some(rights) = line.split(' ').nth(1).filter(|rights| rights.len() == 4) {
            own = rights == "r-xp" && line.ends_with(&*program);
        }
    }
    Ok(total)
}

/// The processor time all threads of a process have used, in user and in kernel mode.
///
/// # Errors
/// When the process is gone.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
        let path = task?.path().join("schedstat");
        // A thread may end while it is looked at.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let nanos = text.split_whitespace().next().unwrap_or("0").parse()?;
        total += Duration::from_nanos(nanos);
    }
    Ok(total)
}
