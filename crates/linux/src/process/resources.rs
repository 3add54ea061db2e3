//! Memory, scheduling, limits and clocks.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Locks the memory of the process, so that it never waits for a disk: its program whole, everything else from its first touch
/// on, because most of the stacks of threads is never touched.
///
/// # Errors
/// `ENOMEM` or `EPERM` when the limit is too low and CAP_IPC_LOCK is missing.
pub fn lock_memory() -> io::Result<()> {
    let always = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    mlockall(always | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT))?;
    lock_program()
}

/// Locks the program and its libraries in memory, all of them: what is needed on the worst day may never have run before.
///
/// # Errors
/// As [`lock_memory`].
#[allow(unsafe_code)]
pub fn lock_program() -> io::Result<()> {
    for program in programs() {
        // SAFETY: the range is one mapping of this process; locking reads its pages in and changes nothing.
        let locked = unsafe { libc::mlock(program.start as *const libc::c_void, program.len()) };
        if locked != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives the system back memory that was allocated and freed again. Call it before [`lock_memory`], or it is locked with the rest.
#[allow(unsafe_code)]
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer, may be called from any thread at any time, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Where the program and its libraries are, code and constants; none if that cannot be told.
fn programs() -> Vec<std::ops::Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(program_mapping).collect()
}

/// `55d0c0a00000-55d0c0c00000 r-xp 00200000 fe:00 1234    /usr/sbin/tandemd`
fn program_mapping(line: &str) -> Option<std::ops::Range<usize>> {
    let (range, rest) = line.split_once(' ')?;
    let of_file = rest
        .split_ascii_whitespace()
        .nth(4)
        .is_some_and(|path| path.starts_with('/'));
    let unchanging = rest.starts_with("r-xp ") || rest.starts_with("r--p ");
    let (from, to) = range.split_once('-').filter(|_| of_file && unchanging)?;
    let number = |hex| usize::from_str_radix(hex, 16).ok();
    Some(number(from)?..number(to)?)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_a_file_and_cannot_be_written_is_program() {
        let line = |rights, path| format!("1000-3000 {rights} 00000000 fe:00 12    {path}");
        let found = |line: String| program_mapping(&line);
        for rights in ["r-xp", "r--p"] {
            assert_eq!(
                found(line(rights, "/usr/sbin/tandemd")),
                Some(0x1000..0x3000)
            );
        }
        assert_eq!(found(line("rw-p", "/usr/sbin/tandemd")), None);
        assert_eq!(found(line("r-xp", "[vdso]")), None);
        assert_eq!(found("1000-3000 r-xp 00000000 00:00 0".to_owned()), None);
        assert!(!programs().is_empty());
    }
}
