//! Memory, scheduling, limits and clocks.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Locks the memory of the process: what has been touched once never waits for a disk again. What is never touched takes no memory:
/// most of the stacks of threads, and of a program that does other work in other processes.
///
/// # Errors
/// `ENOMEM` or `EPERM` when the limit is too low and CAP_IPC_LOCK is missing.
pub fn lock_memory() -> io::Result<()> {
    let always = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    Ok(mlockall(
        always | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT),
    )?)
}

/// Gives the system back what was needed for the start only: memory that was allocated and freed again, and the pages of the program,
/// which come back from the system's cache as they are used. Call it before [`lock_memory`], or they are locked with the rest.
#[allow(unsafe_code)]
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer, may be called from any thread at any time, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
    for code in own_code() {
        let address = code.start as *mut libc::c_void;
        // SAFETY: the range is one mapping of this process, of a file, that cannot be written: its pages are always what the file
        // says, and are read from it again when they are used next. A refusal leaves them where they are.
        unsafe {
            libc::madvise(address, code.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Where the code of the program is: mappings of its file that can be executed and not written; none if that cannot be told.
fn own_code() -> Vec<std::ops::Range<usize>> {
    let (Ok(program), Ok(maps)) = (
        std::fs::read_link("/proc/self/exe"),
        std::fs::read_to_string("/proc/self/maps"),
    ) else {
        return Vec::new();
    };
    let program = program.to_string_lossy();
    maps.lines()
        .filter_map(|line| code_mapping(line, &program))
        .collect()
}

/// `55d0c0a00000-55d0c0c00000 r-xp 00200000 fe:00 1234    /usr/sbin/tandemd`
fn code_mapping(line: &str, program: &str) -> Option<std::ops::Range<usize>> {
    let (range, rest) = line.split_once(' ')?;
    let of_program = rest.starts_with("r-xp ") && rest.ends_with(&format!(" {program}"));
    let (from, to) = range.split_once('-').filter(|_| of_program)?;
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
    fn only_the_code_of_the_program_is_its_code() {
        let line = |rights, path| format!("1000-3000 {rights} 00000000 fe:00 12    {path}");
        let program = "/usr/sbin/tandemd";
        let found = |line: String| code_mapping(&line, program);
        assert_eq!(found(line("r-xp", program)), Some(0x1000..0x3000));
        assert_eq!(found(line("rwxp", program)), None);
        assert_eq!(found(line("r--p", program)), None);
        assert_eq!(found(line("r-xp", "/usr/lib/libc.so.6")), None);
        assert_eq!(found("1000-3000 r-xp".to_owned()), None);
    }

    #[test]
    fn a_program_runs_on_without_the_pages_of_its_code() {
        assert!(!own_code().is_empty());
        trim_memory();
        assert!(!own_code().is_empty());
    }
}
