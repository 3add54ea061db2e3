//! The keeper: starts, watches and restarts director, forwarder and runner, and executes the director's last will.
//!
//! It has no configuration and speaks to nobody outside: all it reads are signals, exits and the messages of its own director.
//! One thread, one `poll`, no runtime.
//!
//! ```text
//!   director exits or misses its beat ──► will executed (priority 0, addresses off) ──► started again, later each time
//!   director says Replace and exits ──► the next one is started at once; the will waits until it has resumed
//!   forwarder or runner exits         ──► director told, started again
//!   SIGTERM ──► director asked to leave ──► it says Done and exits ──► forwarder and runner drained ──► exit
//!   keeper dies ──► the kernel sends the director SIGTERM, and it leaves by itself
//! ```

mod child;
mod manager;
mod replace;
mod supervise;
mod will;
mod worker;

use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use control::internal::{FromKeeper, ToKeeper};
use linux::process::{Capability, SinglePages};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::args::Args;
use crate::log;
use supervise::Keeper;

/// When memory runs out, the kernel should take almost anything before the keeper and the director, which inherits this.
const OOM_SCORE: i32 = -900;
/// Real-time priority of the keeper, above the director's: it must run when the director spins.
const REALTIME_PRIORITY: u8 = 21;

/// Runs until told to stop; the exit code is the director's where that says more.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    linux::process::map_large_memory();
    let signals = block_signals().context("set up signals")?;
    let mut keeper = Keeper::new(args.clone()).context("prepare the keeper")?;
    let (pages, refused) = prepare_process();
    for refused in refused {
        log::last_words(&refused);
    }
    keeper.practise(pages);
    keeper.start_director().context("start the director")?;
    loop {
        if let Some(code) = keeper.finished() {
            return Ok(code);
        }
        wait(&signals, &keeper)?;
        while let Ok(Some(info)) = signals.read_signal() {
            keeper.on_signal(Signal::try_from(info.ssi_signo as i32).ok());
        }
        let now = Instant::now();
        keeper.read_director(now);
        keeper.reap(now);
        keeper.run_due(now);
    }
}

/// Blocks until a signal, an exit, a message or a deadline.
fn wait(signals: &SignalFd, keeper: &Keeper) -> anyhow::Result<()> {
    let timeout = keeper.next_deadline().map_or(PollTimeout::NONE, |at| {
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    let mut fds: Vec<BorrowedFd<'_>> = vec![signals.as_fd()];
    fds.extend(keeper.watched());
    let mut polled: Vec<PollFd<'_>> = fds
        .into_iter()
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    match poll(&mut polled, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("wait for signals and children"),
    }
}

fn block_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// What the keeper keeps of root's powers: its own will, and what its children are given.
const CAPABILITIES: [Capability; 11] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_NICE,
    Capability::CAP_IPC_LOCK,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_KILL,
    Capability::CAP_CHOWN,
];

/// What makes the keeper hard to kill and quick to run; each refusal in words, said once.
fn prepare_process() -> (SinglePages, Vec<String>) {
    let mut refused = Vec::new();
    if let Err(error) = linux::process::oom_score(OOM_SCORE) {
        refused.push(format!(
            "keeper: out-of-memory score stays as it is: {error}"
        ));
    }
    linux::process::trim_memory();
    let pages = linux::process::release_program();
    if let Err(error) = pages.lock_memory() {
        refused.push(format!("keeper: memory is not locked: {error}"));
    }
    if let Err(error) = linux::process::realtime(REALTIME_PRIORITY) {
        refused.push(format!("keeper: no real-time scheduling: {error}"));
    }
    if let Err(error) = linux::process::keep_capabilities(&CAPABILITIES) {
        refused.push(format!("keeper: capabilities are not dropped: {error}"));
    }
    (pages, refused)
}

/// What the keeper's exit code becomes when the director ends like this before it was ever ready.
fn exit_code_of(status: std::process::ExitStatus) -> ExitCode {
    match status.code() {
        Some(0) => ExitCode::SUCCESS,
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}

/// Encodes a message for a channel; these types always become JSON.
fn encode<T: serde::Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages between the processes are plain data")
}

fn decode(bytes: &[u8]) -> Option<ToKeeper> {
    serde_json::from_slice(bytes).ok()
}

/// A request from a signal to the director.
fn request_of(signal: Signal) -> Option<FromKeeper> {
    match signal {
        Signal::SIGTERM | Signal::SIGINT => Some(FromKeeper::Stop),
        Signal::SIGHUP => Some(FromKeeper::Reload),
        Signal::SIGUSR2 => Some(FromKeeper::Restart),
        _ => None,
    }
}
