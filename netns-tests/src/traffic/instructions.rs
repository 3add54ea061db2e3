//! User instructions of a request, counted by callgrind: the same in each run, where times depend on the machine and on what
//! else it does.
//!
//! Counted is the process that serves, from the time when it has answered some requests: what it needs to start, and to have
//! connections and pages, is left out.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::load::{Job, Load};
use super::measurement::{Comparison, with_load};
use super::rivals::{Rival, Running, connects};
use crate::NetNs;
use crate::device::program;
use crate::process::Process;
use crate::wait::wait_until;

/// Requests that are answered before it counts.
const WARM_UP: u64 = 2_000;
/// Requests that are counted.
const REQUESTS: u64 = 10_000;
/// Longest start, and longest wait for these answers, under callgrind, which takes some fifty times as long for everything.
const PATIENCE: Duration = Duration::from_secs(120);

/// User instructions for each request of this work. What callgrind has written down of it stays in the folder `keep`, if there is one.
///
/// # Errors
/// When the proxy does not start or nothing gets through.
pub fn instructions(
    comparison: &Comparison,
    rival: Rival,
    keep: Option<&Path>,
) -> anyhow::Result<f64> {
    let namespace = NetNs::create(&format!("tdm-{}-count", std::process::id()))?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let file = rival.configure(folder, comparison.setup)?;
    let mut command = match rival {
        Rival::Tandem => tandem(rival.command(&file, folder)?, folder)?,
        Rival::Haproxy => counted(&rival.command(&file, folder)?, folder),
        Rival::Nginx => {
            // All of it in one process: a worker could not be told anything.
            let mut command = counted(&rival.command(&file, folder)?, folder);
            command.args(["-g", "master_process off;"]);
            command
        }
    };
    let start = || start(&namespace, rival, &mut command);
    let job = Job {
        target: match comparison.raw {
            true => rival.tcp(),
            false => rival.speaking(comparison.speech),
        },
        work: comparison.work,
        speech: comparison.speech,
    };
    let answered = with_load(&namespace, start, job, |load, running| {
        answer(load, WARM_UP)?;
        order(running, folder, "zero")?;
        let answered = answer(load, REQUESTS)?;
        order(running, folder, "dump")?;
        Ok(answered)
    })?;
    let (file, total) = counted_in(folder).context("callgrind has left no count")?;
    if let Some(keep) = keep {
        std::fs::create_dir_all(keep)?;
        let name = format!("{}, {}.callgrind", comparison.title, rival.title());
        std::fs::copy(file, keep.join(name.replace('/', " ")))?;
    }
    Ok(total as f64 / answered as f64)
}

/// Lets the clients work until so many answers have come; how many it were.
fn answer(load: &mut Load, requests: u64) -> anyhow::Result<u64> {
    let (mut answered, limit) = (0, Instant::now() + PATIENCE);
    while answered < requests {
        anyhow::ensure!(Instant::now() < limit, "{answered} answers in {PATIENCE:?}");
        answered += load.run(Duration::from_millis(20), true)?.good;
    }
    Ok(answered)
}

/// A command under callgrind, which leaves its count in `folder`.
fn counted(command: &Command, folder: &Path) -> Command {
    let mut under = Command::new("valgrind");
    under.args(options(folder)).arg(command.get_program());
    under.args(command.get_args());
    under
}

/// What valgrind is told: to count, where to write that down, and where orders come to it ([`order`]).
fn options(folder: &Path) -> [String; 3] {
    let folder = folder.display();
    [
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={folder}/callgrind.%p"),
        format!("--vgdb-prefix={folder}/orders"),
    ]
}

/// The same for the forwarder alone: callgrind does not know every system call of the keeper. The keeper starts its processes
/// from its own file; over that, where nobody else sees it, a script is laid once it runs, and the forwarder starts anew.
fn tandem(command: Command, folder: &Path) -> anyhow::Result<Command> {
    let (own, real) = (folder.join("tandemd"), folder.join("counted"));
    for copy in [&own, &real] {
        std::fs::copy(program("tandemd")?, copy)?;
    }
    let (real, options) = (real.display(), options(folder).join(" "));
    let script = folder.join("instead");
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in\n*\" --role forwarder \"*)\n  exec valgrind {options} \
         {real} \"$@\" ;;\n*) exec {real} \"$@\" ;;\nesac\n"
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

/// Tells callgrind something, as to begin anew or to write down what it has counted; done when this returns.
fn order(running: &Running, folder: &Path, what: &str) -> anyhow::Result<()> {
    let pid = counting(running).context("what is counted has ended")?;
    let told = Command::new("vgdb")
        .arg(format!("--pid={pid}"))
        .arg(format!("--vgdb-prefix={}/orders", folder.display()))
        .arg(what)
        .output()
        .context("vgdb")?;
    anyhow::ensure!(
        told.status.success(),
        "callgrind was not told to {what}: {}",
        String::from_utf8_lossy(&told.stderr)
    );
    Ok(())
}

/// What was written down. Beside it is a file of what will be counted until the end, which is empty.
fn counted_in(folder: &Path) -> Option<(PathBuf, u64)> {
    let files = std::fs::read_dir(folder).ok()?.flatten();
    let mut counts =
        files.filter(|file| file.file_name().to_string_lossy().starts_with("callgrind."));
    counts.find_map(|file| {
        let text = std::fs::read(file.path()).ok()?;
        let text = String::from_utf8_lossy(&text);
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: "))?;
        Some((file.path(), total.trim().parse().ok()?))
    })
}
