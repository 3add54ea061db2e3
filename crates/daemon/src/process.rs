//! What every child process does first: its name, its signals, its log, its one thread.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context;
use nix::sys::signal::SigSet;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Role};
use crate::log::{self, LogHandle};

/// Names the process after its role and opens the signals that the keeper holds back for itself.
pub(crate) fn adopt(role: Role) -> nix::Result<()> {
    let name = std::ffi::CString::new(role.process_name()).expect("role names hold no NUL");
    nix::sys::prctl::set_name(&name)?;
    SigSet::empty().thread_set_mask()
}

/// Signals that a terminal or a service manager sends to the whole group.
pub(crate) const GROUP_SIGNALS: [SignalKind; 3] = [
    SignalKind::interrupt(),
    SignalKind::hangup(),
    SignalKind::user_defined1(),
];

/// Keeps these signals from ending a child: what to do about them is for the keeper to say.
pub(crate) fn ignore(kinds: &[SignalKind]) -> std::io::Result<()> {
    for kind in kinds {
        let mut signals = signal(*kind)?;
        tokio::task::spawn_local(async move { while signals.recv().await.is_some() {} });
    }
    Ok(())
}

/// Runs a child other than the director until `serve` ends: with a log of its own, in which what was `refused` at its start comes first, and
/// on one thread. Other threads end with the process; there is nothing left that they could finish.
pub(crate) fn serve<F>(
    args: &Args,
    refused: Vec<String>,
    serve: impl FnOnce(LogHandle) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let format = if args.json_log {
        config::LogFormat::Json
    } else {
        config::LogFormat::Text
    };
    // Threads begin here: they have only the powers that are left.
    let log = log::start(config::Level::Info, format);
    for refused in refused {
        tracing::warn!("{refused}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let code = tokio::task::LocalSet::new().block_on(&runtime, serve(log));
    runtime.shutdown_background();
    code
}
