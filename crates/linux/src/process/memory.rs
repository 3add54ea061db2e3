//! Memory of this process: what is given back, and what never leaves it again.

use std::io;
use std::ops::Range;

use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};

/// Locks the memory of the process, so that it never waits for a disk: the libraries whole, everything else from its first touch on, because
/// most of the stacks of threads and of a program that can do many things is never touched.
///
/// Of the program, that is what has run since [`release_program`]. What has to be ready although it has not run yet, the caller has to let
/// run once, for practice.
///
/// # Errors
/// `ENOMEM` or `EPERM` when the limit is too low and CAP_IPC_LOCK is missing.
#[allow(unsafe_code)]
pub fn lock_memory() -> io::Result<()> {
    let always = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    mlockall(always | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT))?;
    let own = program();
    for library in mappings().iter().filter(|mapping| mapping.path != own) {
        let range = &library.range;
        // SAFETY: the range is one mapping of this process; locking reads its pages in and changes nothing.
        let locked = unsafe { libc::mlock(range.start as *const libc::c_void, range.len()) };
        if locked != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives the system back the pages of the program; those that are needed come back at once, from the file. A start runs much that is not
/// needed again. Call it before [`lock_memory`]: what is locked stays.
#[allow(unsafe_code)]
pub fn release_program() {
    let own = program();
    let unchanged = |mapping: &&Mapping| mapping.path == own && !mapping.changed;
    for Mapping { range, .. } in mappings().iter().filter(unchanged) {
        let start = range.start as *mut libc::c_void;
        // SAFETY: the range is one mapping of a file that this process cannot write to and has not changed: its next touch reads the same
        // octets again. A refusal leaves everything as it is.
        unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    }
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

/// A part of a file, code or constants, that is mapped and cannot be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    path: String,
    /// Whether pages of it are no longer those of the file: addresses were put in when it was loaded.
    changed: bool,
}

/// The file this code is in.
fn program() -> String {
    let here = program as fn() -> String as usize;
    let all = mappings();
    let own = all
        .into_iter()
        .find(|mapping| mapping.range.contains(&here));
    own.map(|own| own.path).unwrap_or_default()
}

/// Programs and libraries; none if that cannot be told.
fn mappings() -> Vec<Mapping> {
    parse(&std::fs::read_to_string("/proc/self/smaps").unwrap_or_default())
}

/// Reads proc_pid_smaps(5): a line as `55d0c0a00000-55d0c0c00000 r-xp 00200000 fe:00 1234    /usr/sbin/tandemd` for each mapping, and lines
/// as `Anonymous:   4 kB` after it.
fn parse(smaps: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    let mut inside = false;
    for line in smaps.lines() {
        if let Some(mapping) = heading(line) {
            inside = mapping.is_some();
            found.extend(mapping);
        } else if let (true, Some(mapping)) = (inside, found.last_mut())
            && let Some(anonymous) = line.strip_prefix("Anonymous:")
        {
            mapping.changed = anonymous.trim() != "0 kB";
        }
    }
    found
}

/// What a line that begins a mapping says; `None` for another line, `Some(None)` for a mapping of another kind.
fn heading(line: &str) -> Option<Option<Mapping>> {
    let mut fields = line.splitn(6, ' ');
    let (from, to) = fields.next()?.split_once('-')?;
    let number = |hex| usize::from_str_radix(hex, 16).ok();
    let range = number(from)?..number(to)?;
    let rights = fields.next()?;
    let path = fields.nth(3).unwrap_or_default().trim_start();
    let unchanging = matches!(rights, "r-xp" | "r--p") && path.starts_with('/');
    Some(unchanging.then(|| Mapping {
        range,
        path: path.to_owned(),
        changed: true,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 12                         /usr/sbin/a program (deleted)
Size:                  8 kB
Anonymous:             0 kB
3000-9000 r-xp 00002000 fe:00 12                         /usr/sbin/a program (deleted)
Anonymous:             0 kB
9000-a000 r--p 00008000 fe:00 12                         /usr/sbin/a program (deleted)
Anonymous:             4 kB
a000-b000 rw-p 00009000 fe:00 12                         /usr/sbin/a program (deleted)
Anonymous:             0 kB
b000-c000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
c000-d000 r--p 00000000 00:00 0 
Anonymous:             0 kB
d000-e000 r-xp 00000000 fe:00 13                         /lib/c.so
";

    #[test]
    fn what_is_of_a_file_and_cannot_be_written_is_program_or_library() {
        let mapping = |range, path: &str, changed| Mapping {
            range,
            path: path.to_owned(),
            changed,
        };
        let program = "/usr/sbin/a program (deleted)";
        let expected = [
            mapping(0x1000..0x3000, program, false),
            mapping(0x3000..0x9000, program, false),
            mapping(0x9000..0xa000, program, true),
            mapping(0xd000..0xe000, "/lib/c.so", true),
        ];
        assert_eq!(parse(SMAPS), expected);
    }

    #[test]
    fn this_program_is_found_and_its_pages_come_back() {
        assert!(program().starts_with('/'));
        assert!(mappings().iter().any(|mapping| mapping.path == program()));
        release_program();
        assert!(program().starts_with('/'));
    }
}
