//! Scheduling, limits and clocks.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Puts the calling thread under SCHED_RR with `priority` (1..=99). Its children start without.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE or where the control group allows no real time; `EINVAL` for the priority.
#[allow(unsafe_code)]
pub fn realtime(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority.into(),
    };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 names the calling thread; the kernel reads `parameters`, which lives across the call, and keeps no
    // pointer to it.
    let result = unsafe { libc::sched_setscheduler(0, policy, &parameters) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets how readily the kernel ends this process when memory runs out: -1000 (never) to 1000 (first).
///
/// # Errors
/// `EACCES` for a lower value than before without CAP_SYS_RESOURCE; `EINVAL` outside the range.
pub fn oom_score(score: i32) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Raises the limit of open descriptors as far as it goes without a privilege; returns the limit.
///
/// # Errors
/// What the system says.
pub fn raise_nofile() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// How many descriptors a process may open at most, once it has raised its limit.
///
/// # Errors
/// What the system says.
pub fn nofile_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(hard)
}

/// Time since some fixed moment, standing still while the machine is suspended. What [`std::time::Instant`] counts.
pub fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// Time since the machine was started, running on while it is suspended. The difference to [`monotonic`] grows by
/// just the time it slept.
pub fn boottime() -> Duration {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
