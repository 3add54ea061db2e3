//! One child process: how it is started, watched and delayed after it failed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use linux::channel::Channel;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::args::{Args, Role};

/// A child that lived this long has proved itself: its next restart is immediate again.
const PROVEN_AFTER: Duration = Duration::from_secs(10);
/// First delay of a restart after a child failed again quickly; doubled each time up to [`LONGEST_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest delay between restarts.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// A running child and the keeper's end of the channel to it.
pub(super) struct Running {
    process: Child,
    pidfd: OwnedFd,
    pub(super) channel: Channel,
    pub(super) started_at: Instant,
}

impl Running {
    /// Starts `role` from this very executable, its end of a channel as standard input.
    pub(super) fn start(
        args: &Args,
        role: Role,
        restarts: u64,
        extra: &[String],
    ) -> std::io::Result<Self> {
        Self::start_image(args, role, restarts, extra, Image::Own)
    }

    /// The same from `image`.
    pub(super) fn start_image(
        args: &Args,
        role: Role,
        restarts: u64,
        extra: &[String],
        image: Image,
    ) -> std::io::Result<Self> {
        let (ours, theirs) = linux::channel::pair()?;
        ours.set_nonblocking(true)?;
        let process = Command::new(image.path())
            .envs(allocator(role))
            .arg0(role.process_name())
            .args(args.for_role(role, restarts))
            .args(extra)
            .stdin(Stdio::from(theirs.into_fd()))
            .stdout(Stdio::null())
            .spawn()?;
        let pid = Pid::from_child(&process);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self {
            process,
            pidfd,
            channel: ours,
            started_at: Instant::now(),
        })
    }

    /// Becomes readable when the child has ended.
    pub(super) fn exit_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The exit status, once it has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// SIGKILL, and waits for the end, which follows at once.
    pub(super) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Which program a child is started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// The one that the keeper runs itself, also where the file has been replaced.
    Own,
    /// What is there under its name by now.
    OnDisk,
}

impl Image {
    fn path(self) -> std::path::PathBuf {
        match self {
            Self::Own => executable(),
            Self::OnDisk => on_disk().unwrap_or_else(executable),
        }
    }
}

/// What the system's allocator is told. The forwarder takes and gives back the same few sizes for each request, and many requests
/// at a time: glibc keeps seven of a size for each thread and goes a long way for the eighth. Others do not know this word.
fn allocator(role: Role) -> Option<(&'static str, &'static str)> {
    const WORD: &str = "GLIBC_TUNABLES";
    let ours = role == Role::Forwarder && std::env::var_os(WORD).is_none();
    ours.then_some((WORD, "glibc.malloc.tcache_count=127"))
}

/// The file under the name of the program that runs, if there is one. The kernel marks the name of a file that has been replaced.
fn on_disk() -> Option<std::path::PathBuf> {
    let name = std::fs::read_link("/proc/self/exe").ok()?.into_os_string();
    let name = name.into_string().ok()?;
    let path = std::path::PathBuf::from(name.strip_suffix(" (deleted)").unwrap_or(&name));
    path.exists().then_some(path)
}

/// The executable on disk, or, where it has been replaced or removed, the image that runs.
fn executable() -> std::path::PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| "/proc/self/exe".into())
}

/// When a failed child may be started again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    pub(super) restarts: u64,
    pub(super) start_at: Option<Instant>,
}

impl Backoff {
    /// Plans the restart of a child that had run since `started_at`.
    pub(super) fn failed(&mut self, now: Instant, started_at: Instant) {
        let proven = now.saturating_duration_since(started_at) >= PROVEN_AFTER;
        self.failures = if proven { 0 } else { self.failures + 1 };
        self.restarts += 1;
        self.start_at = Some(now + self.delay());
    }

    fn delay(&self) -> Duration {
        match self.failures {
            0 | 1 => Duration::ZERO,
            n => LONGEST_DELAY.min(FIRST_DELAY * 2_u32.pow((n - 2).min(10))),
        }
    }

    /// Whether a restart is due; it is then no longer planned.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        self.start_at.take_if(|at| *at <= now).is_some()
    }
}

/// An exit status in words: `signal 9` or `exit code 1`.
pub(super) fn status_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_and_a_proven_child_starts_over() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let mut delays = Vec::new();
        for _ in 0..9 {
            backoff.failed(start, start);
            delays.push(backoff.start_at.expect("a failed child is started again") - start);
        }
        let millis: Vec<u128> = delays.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.failed(start + Duration::from_secs(11), start);
        assert_eq!(backoff.start_at, Some(start + Duration::from_secs(11)));
        assert_eq!(backoff.restarts, 10);
        assert!(!backoff.take_due(start + Duration::from_secs(10)));
        assert!(backoff.take_due(start + Duration::from_secs(11)));
        assert!(!backoff.take_due(start + Duration::from_secs(12)));
    }
}
