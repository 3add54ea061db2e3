//! User instructions of a request, counted by callgrind: the same in each run, where times depend on the machine and on what
//! else it does.
//!
//! Counted is the process that serves. What it needs to start is left out by counting twice, with few requests and with many.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::load::Job;
use super::measurement::{Comparison, with_load};
use super::rivals::{Rival, Running, connects};
use crate::NetNs;
use crate::device::program;
use crate::process::Process;
use crate::wait::wait_until;

/// Requests of the first count, and of the second.
const REQUESTS: [u64; 2] = [2_000, 12_000];
/// Longest start, work and end under callgrind, which takes some fifty times as long for everything.
const PATIENCE: Duration = Duration::from_secs(120);

/// User instructions for each request of this work.
///
/// # Errors
/// When the proxy does not start or nothing gets through.
pub fn instructions(comparison: &Comparison, rival: Rival) -> anyhow::Result<f64> {
    let namespace = NetNs::create(&format!("tdm-{}-count", std::process::id()))?;
    let mut counts = Vec::new();
    for requests in REQUESTS {
        counts.push(count(comparison, rival, requests, &namespace)?);
    }
    let [(few, little), (many, much)] = counts[..] else {
        anyhow::bail!("two counts");
    };
    Ok((much - little) as f64 / (many - few) as f64)
}

/// Requests that were answered, and instructions in all.
fn count(
    comparison: &Comparison,
    rival: Rival,
    requests: u64,
    namespace: &NetNs,
) -> anyhow::Result<(u64, u64)> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let file = rival.configure(folder, comparison.setup)?;
    let mut command = match rival {
        Rival::Tandem => tandem(rival.command(&file, folder)?, folder)?,
        Rival::Haproxy | Rival::Nginx => counted(&rival.command(&file, folder)?, folder),
    };
    let start = || start(namespace, rival, &mut command);
    let job = Job {
        target: rival.speaking(comparison.speech),
        work: comparison.work,
        speech: comparison.speech,
    };
    let answered = with_load(namespace, start, job, |load, running| {
        let (mut answered, limit) = (0, Instant::now() + PATIENCE);
        while answered < requests {
            anyhow::ensure!(Instant::now() < limit, "{answered} answers in {PATIENCE:?}");
            answered += load.run(Duration::from_millis(20), true)?.good;
        }
        end(running)?;
        Ok(answered)
    })?;
    let mut total = None;
    wait_until("callgrind has counted", PATIENCE, || {
        total = counted_in(folder);
        total.is_some()
    })?;
    Ok((answered, total.context("no count")?))
}

/// A command under callgrind, which leaves its count in `folder`.
fn counted(command: &Command, folder: &Path) -> Command {
    let mut under = Command::new("valgrind");
    under.arg("--tool=callgrind").arg(format!(
        "--callgrind-out-file={}/callgrind.%p",
        folder.display()
    ));
    under.arg(command.get_program()).args(command.get_args());
    under
}

/// The same for the forwarder alone: callgrind does not know every system call of the keeper. The keeper starts its processes
/// from its own file; over that, where nobody else sees it, a script is laid once it runs, and the forwarder starts anew.
fn tandem(command: Command, folder: &Path) -> anyhow::Result<Command> {
    let (own, real) = (folder.join("tandemd"), folder.join("counted"));
    for copy in [&own, &real] {
        std::fs::copy(program("tandemd")?, copy)?;
    }
    let (real, folder_text) = (real.display(), folder.display());
    let script = folder.join("instead");
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in\n*\" --role forwarder \"*)\n  exec valgrind --tool=callgrind \
         --callgrind-out-file={folder_text}/callgrind.%p {real} \"$@\" ;;\n*) exec {real} \"$@\" ;;\nesac\n"
    );
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let (own, script) = (own.display(), script.display());
    let mut under = Command::new("unshare");
    under.args(["-m", "sh", "-c"]).arg(format!(
        "{own} \"$@\" & keeper=$!; until pid=$(pgrep -P $keeper -f 'role forwarder'); do sleep 0.1; done; \
         mount --bind {script} {own} && kill -9 $pid; wait $keeper"
    ));
    under.arg("sh").args(command.get_args());
    Ok(under)
}

/// Starts it and waits until what is counted listens.
fn start(namespace: &NetNs, rival: Rival, command: &mut Command) -> anyhow::Result<Running> {
    let process = namespace.enter(|| Process::start_here(rival.title(), command))??;
    let running = Running { process };
    let listens = || {
        counting(&running).is_some() && namespace.enter(|| connects(rival.http())).unwrap_or(false)
    };
    wait_until(&format!("{} listens", rival.title()), PATIENCE, listens)
        .with_context(|| running.process.log().join("\n"))?;
    Ok(running)
}

/// The process that is counted.
fn counting(running: &Running) -> Option<u32> {
    let is_counting = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|path| path.display().to_string().contains("callgrind"))
    };
    running.tree().into_iter().find(is_counting)
}

/// Lets what is counted end, so that it leaves its count.
fn end(running: &Running) -> anyhow::Result<()> {
    let pid = counting(running).context("what is counted has ended")?;
    Ok(kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM)?)
}

/// The sum of the counts that are there.
fn counted_in(folder: &Path) -> Option<u64> {
    let files = std::fs::read_dir(folder).ok()?.flatten();
    let counts = files.filter(|file| file.file_name().to_string_lossy().starts_with("callgrind."));
    let totals = counts.map(|file| {
        let text = std::fs::read(file.path()).ok()?;
        let text = String::from_utf8_lossy(&text);
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: "))?;
        total.trim().parse::<u64>().ok()
    });
    let totals: Option<Vec<u64>> = totals.collect();
    totals
        .filter(|totals| !totals.is_empty())
        .map(|totals| totals.iter().sum())
}
