//! Programs with a process group of their own, so that what they start can be ended with them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{kill_process_group, set_parent_process_death_signal};

use super::Signal;
use super::child::pid;

/// Has `command` start in a process group of its own, whose number is the child's process id, and has the kernel send `signal` to the child
/// when the *thread* that starts it ends.
#[allow(unsafe_code)]
pub fn lead_group(command: &mut Command, signal: Signal) {
    command.process_group(0);
    let number = signal.number();
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe things may be done: it makes one system
    // call, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || Ok(set_parent_process_death_signal(Some(number))?));
    }
}

/// Sends `signal` to every member of the process group `id` that this process may signal.
///
/// The number is safe to use as long as the child that leads the group has not been waited for: until then it cannot come to mean another.
///
/// # Errors
/// `ESRCH` when the group has no members, `EPERM` when none of them may be signalled.
pub fn signal_group(id: u32, signal: Signal) -> io::Result<()> {
    let group =
        pid(id).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a process id"))?;
    Ok(kill_process_group(group, signal.number())?)
}
