//! Memory of this process: what is given back, and what never leaves it again.

use std::io;
use std::ops::Range;

use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};

/// Size of a page where this runs. On a machine with larger ones advice for single pages is refused, and nothing but memory is lost.
const PAGE: usize = 4096;

/// A program whose pages were given back, see [`release_program`].
///
/// As long as this lives, the first touch of a page of the program brings in that page and not the fifteen around it, as it usually does:
/// what is locked then is what is used. That takes a mapping for each page, so it should not live longer than it takes to touch what matters.
#[derive(Debug)]
#[must_use = "pages are loaded singly as long as this lives"]
pub struct SinglePages {
    program: Vec<Range<usize>>,
    libraries: Vec<Range<usize>>,
}

/// Gives the system back the pages of the program; those that are needed come back at once, from the file. A start runs much that is not
/// needed again. What is locked already stays.
pub fn release_program() -> SinglePages {
    let here = release_program as fn() -> SinglePages as usize;
    let all = mappings();
    let own = all.iter().find(|mapping| mapping.range.contains(&here));
    let own = own.map(|own| own.path.clone()).unwrap_or_default();
    let (program, libraries): (Vec<Mapping>, Vec<Mapping>) =
        all.into_iter().partition(|mapping| mapping.path == own);
    let ranges = |mappings: Vec<Mapping>| mappings.into_iter().map(|mapping| mapping.range);
    let unchanged = program.into_iter().filter(|mapping| !mapping.changed);
    let released = SinglePages {
        program: ranges(unchanged.collect()).collect(),
        libraries: ranges(libraries).collect(),
    };
    for range in &released.program {
        // Pages beside each other are advised differently: the kernel looks around a page no further than to the end of its mapping.
        for page in range.clone().step_by(2 * PAGE) {
            advise(&(page..page + PAGE), libc::MADV_RANDOM);
        }
        advise(range, libc::MADV_DONTNEED);
    }
    released
}

impl SinglePages {
    /// Locks the memory of the process, so that it never waits for a disk: the libraries whole, everything else from its first touch on,
    /// because most of the stacks of threads and of a program that can do many things is never touched.
    ///
    /// Of the program, that is what has run since [`release_program`]. What has to be ready although it has not run yet, the caller has to
    /// let run once, for practice.
    ///
    /// # Errors
    /// `ENOMEM` or `EPERM` when the limit is too low and CAP_IPC_LOCK is missing.
    #[allow(unsafe_code)]
    pub fn lock_memory(&self) -> io::Result<()> {
        let always = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
        mlockall(always | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT))?;
        for range in &self.libraries {
            // SAFETY: the range is one mapping of this process; locking reads its pages in and changes nothing.
            let locked = unsafe { libc::mlock(range.start as *const libc::c_void, range.len()) };
            if locked != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

impl Drop for SinglePages {
    fn drop(&mut self) {
        for range in &self.program {
            advise(range, libc::MADV_NORMAL);
        }
    }
}

/// Advises the kernel about unchanged pages of this program.
#[allow(unsafe_code)]
fn advise(range: &Range<usize>, advice: libc::c_int) {
    let start = range.start as *mut libc::c_void;
    // SAFETY: the range is one of a file that this process cannot write to and has not changed: whatever the advice, its next touch reads
    // the same octets again. A refusal leaves everything as it is.
    unsafe { libc::madvise(start, range.len(), advice) };
}

/// From here on what is allocated in one piece of 64 KiB or more is a mapping of its own: untouched pages of it take no memory, and it goes
/// back when it is freed, also where memory is locked.
#[allow(unsafe_code)]
pub fn map_large_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes no pointer and may be called at any time; what is allocated already stays as it is.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
    }
}

/// Gives the system back memory that was allocated and freed again, and what the stack of the main thread, if that calls, has been deeper
/// before. Call it before memory is locked, or it is locked with the rest.
#[allow(unsafe_code)]
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer, may be called from any thread at any time, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
    release_stack();
}

/// Pages below the stack pointer that are left alone: calls from here take less.
const STACK_KEPT: usize = 2 * PAGE;

#[allow(unsafe_code)]
fn release_stack() {
    let marker = 0_u8;
    let here = std::hint::black_box(&raw const marker) as usize;
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    if let Some(unused) = unused_stack(&smaps, here) {
        let start = unused.start as *mut libc::c_void;
        // SAFETY: these pages belong to the stack of this thread, below everything that is in use: nobody has a pointer there, and a deeper
        // call finds zeros, which it overwrites.
        unsafe { libc::madvise(start, unused.len(), libc::MADV_DONTNEED) };
    }
}

/// What lies below `here` on the stack of the main thread; none if `here` is not on it.
fn unused_stack(smaps: &str, here: usize) -> Option<Range<usize>> {
    let mut stacks = smaps.lines().filter(|line| line.ends_with("[stack]"));
    let stack = stacks.find_map(|line| range(line).filter(|range| range.contains(&here)))?;
    let unused = stack.start..(here - here % PAGE).saturating_sub(STACK_KEPT);
    (!unused.is_empty()).then_some(unused)
}

/// A part of a file, code or constants, that is mapped and cannot be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    path: String,
    /// Whether pages of it are no longer those of the file: addresses were put in when it was loaded.
    changed: bool,
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
    let range = range(line)?;
    let mut fields = line.splitn(6, ' ').skip(1);
    let rights = fields.next()?;
    let path = fields.nth(3).unwrap_or_default().trim_start();
    let unchanging = matches!(rights, "r-xp" | "r--p") && path.starts_with('/');
    Some(unchanging.then(|| Mapping {
        range,
        path: path.to_owned(),
        changed: true,
    }))
}

/// The addresses at the beginning of such a line.
fn range(line: &str) -> Option<Range<usize>> {
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    let number = |hex| usize::from_str_radix(hex, 16).ok();
    Some(number(from)?..number(to)?)
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
    fn of_the_stack_what_is_below_the_pages_in_use_is_unused() {
        let smaps = "7000-20000 rw-p 00000000 00:00 0 \nRss: 4 kB\n30000-50000 rw-p 00000000 00:00 0          [stack]\n";
        assert_eq!(unused_stack(smaps, 0x4_2345), Some(0x3_0000..0x4_0000));
        assert_eq!(unused_stack(smaps, 0x3_2fff), None);
        assert_eq!(
            unused_stack(smaps, 0x1_0000),
            None,
            "the stack of another thread"
        );
    }

    #[test]
    fn pages_are_mappings_of_their_own_as_long_as_they_are_loaded_singly() {
        let count = || mappings().len();
        let before = count();
        let released = release_program();
        assert!(!released.program.is_empty());
        assert!(count() > before + 100, "{before} before, {} after", count());
        drop(released);
        assert_eq!(count(), before);
    }
}
