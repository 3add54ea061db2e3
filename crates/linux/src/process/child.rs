//! Parents and children: seeing the end of the one, sharing the end of the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use rustix::process::{getppid, set_parent_process_death_signal};
use tokio::io::Interest;

use crate::readiness::watch;

/// The signals one process of ours sends another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please end (SIGTERM).
    Term,
    /// End (SIGKILL).
    Kill,
}

impl Signal {
    pub(super) fn number(self) -> rustix::process::Signal {
        match self {
            Signal::Term => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        }
    }
}

/// Has the kernel send `signal` to this process when its parent, the process `parent`, ends.
///
/// Tied to the *thread* of the parent that started us: that thread must live as long as the parent. Forgotten when
/// the process changes its user or group or gains capabilities; ask again afterwards.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if the parent had ended before the kernel was asked: no signal will come, and the
/// caller should end by itself.
pub fn die_with_parent(signal: Signal, parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(signal.number()))?;
    let still_there = getppid().is_some_and(|found| Some(found) == pid(parent));
    if still_there {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the parent process has ended",
        ))
    }
}

/// A descriptor that becomes readable when a child ends. It cannot come to mean another process, as a number can.
///
/// The exit status stays with the child: [`std::process::Child::wait`] takes it.
#[derive(Debug)]
pub struct ChildFd {
    fd: OwnedFd,
}

impl ChildFd {
    /// Watches the child `id`, which must not have been waited for yet.
    ///
    /// # Errors
    /// `ESRCH` when there is no such process.
    pub fn open(id: u32) -> io::Result<Self> {
        let pid = pid(id)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a process id"))?;
        Ok(Self {
            fd: pidfd_open(pid, PidfdFlags::empty())?,
        })
    }

    /// Waits for the end, at most `limit`; whether it has ended.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let time = left
                .try_into()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "time out of range"))?;
            let mut watched = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut watched, Some(&time)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the end inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub async fn ended(&self) -> io::Result<()> {
        let watched = watch(self.fd.try_clone()?, Interest::READABLE)?;
        watched.readable().await.map(drop)
    }

    /// Sends a signal; a child that has ended and was waited for is `ESRCH`.
    ///
    /// # Errors
    /// What the system says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.fd, signal.number())?)
    }
}

impl AsFd for ChildFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}
