//! What every child process does first: its name, its signals.

use nix::sys::signal::SigSet;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Role;

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
