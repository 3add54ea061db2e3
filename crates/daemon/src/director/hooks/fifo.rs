//! The FIFO that tells each change of state as a line, as Keepalived's `notify_fifo` does.
//!
//! ```text
//!   INSTANCE "main" MASTER 200
//!   GROUP "edge" MASTER 0
//! ```
//!
//! A thread of its own opens and writes it, never blocking on a reader: what nobody reads is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use control::VrrpState;
use nix::errno::Errno;
use nix::sys::stat::Mode;

/// Lines that may wait for the thread.
const QUEUED: usize = 256;

/// The FIFO of the configuration, if there is one.
#[derive(Debug, Default)]
pub(in crate::director) struct Fifo {
    path: Option<PathBuf>,
    lines: Option<SyncSender<String>>,
    figures: Arc<Figures>,
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Figures {
    written: AtomicU64,
    dropped: AtomicU64,
    /// What is wrong besides that nobody reads.
    trouble: Mutex<Option<String>>,
}

impl Fifo {
    /// Writes to the FIFO at `path` from here on, which is made if it is not there; or to none.
    pub(super) fn follow(&mut self, path: Option<&Path>) {
        if self.path.as_deref() == path {
            return;
        }
        self.path = path.map(Path::to_owned);
        self.figures = Arc::default();
        self.lines = path.and_then(|path| start(path.to_owned(), Arc::clone(&self.figures)));
    }

    /// Tells a change of state. Groups have no priority of their own: theirs is 0, as with Keepalived.
    pub(super) fn say(&self, group: bool, name: &str, to: VrrpState, priority: u8) {
        let Some(lines) = &self.lines else { return };
        let line = line(group, name, to, priority);
        if lines.try_send(line).is_err() {
            self.figures.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where it is, lines written, lines dropped; none without a FIFO.
    pub(in crate::director) fn counts(&self) -> Option<(&Path, u64, u64)> {
        let path = self.path.as_deref()?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some((
            path,
            count(&self.figures.written),
            count(&self.figures.dropped),
        ))
    }

    /// What is wrong with it, besides that nobody reads.
    pub(in crate::director) fn problem(&self) -> Option<String> {
        let path = self.path.as_deref()?;
        let trouble = self.figures.trouble.lock().ok()?;
        let words = trouble.as_ref()?;
        Some(format!(
            "notify_fifo {} is not written: {words}",
            path.display()
        ))
    }
}

fn line(group: bool, name: &str, to: VrrpState, priority: u8) -> String {
    let kind = if group { "GROUP" } else { "INSTANCE" };
    let state = match to {
        VrrpState::Active => "MASTER",
        VrrpState::Backup => "BACKUP",
        VrrpState::Fault => "FAULT",
        VrrpState::Initialize => "STOP",
    };
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    format!("{kind} \"{name}\" {state} {priority}\n")
}

fn start(path: PathBuf, figures: Arc<Figures>) -> Option<SyncSender<String>> {
    let (sender, lines) = sync_channel(QUEUED);
    let thread = std::thread::Builder::new()
        .name("tandem-fifo".to_owned())
        .stack_size(256 * 1024);
    let spawned = thread.spawn(move || write_lines(&path, &lines, &figures));
    spawned
        .inspect_err(|error| tracing::warn!(%error, "no thread to write the FIFO"))
        .ok()
        .map(|_| sender)
}

fn write_lines(path: &Path, lines: &Receiver<String>, figures: &Figures) {
    figures.note(make(path));
    let mut open = None;
    for line in lines {
        match write_line(path, &mut open, line.as_bytes()) {
            Ok(()) => {
                figures.written.fetch_add(1, Ordering::Relaxed);
                figures.note(Ok(()));
            }
            Err(error) => {
                figures.dropped.fetch_add(1, Ordering::Relaxed);
                figures.note(if nobody_reads(&error) {
                    Ok(())
                } else {
                    Err(error)
                });
            }
        }
    }
}

/// A FIFO that is there is left as it is, with its owner and permissions.
fn make(path: &Path) -> std::io::Result<()> {
    match nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a whole line or nothing of it: it is shorter than PIPE_BUF.
fn write_line(path: &Path, open: &mut Option<File>, line: &[u8]) -> std::io::Result<()> {
    if let Some(file) = open {
        match file.write_all(line) {
            // Its reader has gone; there may be another one.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => *open = None,
            done => return done,
        }
    }
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(std::io::Error::other("it is no FIFO; remove the file"));
    }
    file.write_all(line)?;
    *open = Some(file);
    Ok(())
}

/// No reader, or one that does not keep up.
fn nobody_reads(error: &std::io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::ENXIO | Errno::EAGAIN | Errno::EPIPE))
}

impl Figures {
    fn note(&self, done: std::io::Result<()>) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = done.err().map(|error| error.to_string());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    fn wait(what: &str, fact: impl Fn() -> bool) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !fact() {
            assert!(std::time::Instant::now() < until, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_look_as_those_of_keepalived() {
        assert_eq!(
            line(false, "main", VrrpState::Active, 200),
            "INSTANCE \"main\" MASTER 200\n"
        );
        assert_eq!(
            line(true, "edge", VrrpState::Initialize, 0),
            "GROUP \"edge\" STOP 0\n"
        );
        assert_eq!(
            line(false, "a\nb", VrrpState::Fault, 1),
            "INSTANCE \"ab\" FAULT 1\n"
        );
    }

    #[test]
    fn without_a_reader_lines_are_dropped_and_with_one_they_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mut fifo = Fifo::default();
        fifo.follow(Some(&path));
        let counts = || {
            fifo.counts()
                .map(|(_, written, dropped)| (written, dropped))
        };
        fifo.say(false, "main", VrrpState::Backup, 100);
        wait("dropped", || counts() == Some((0, 1)));
        assert_eq!(fifo.problem(), None);
        // Both ends, so that opening it does not wait for the writer.
        let both = OpenOptions::new().read(true).write(true).open(&path);
        let mut reader = BufReader::new(both.unwrap());
        fifo.say(false, "main", VrrpState::Active, 200);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "INSTANCE \"main\" MASTER 200\n");
        wait("written", || counts() == Some((1, 1)));
        drop(reader);
        fifo.say(false, "main", VrrpState::Fault, 200);
        wait("dropped again", || counts() == Some((1, 2)));
    }

    #[test]
    fn what_is_no_fifo_is_not_written_and_a_reader_that_sleeps_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "kept").unwrap();
        let mut fifo = Fifo::default();
        fifo.follow(Some(&path));
        fifo.say(false, "main", VrrpState::Active, 200);
        wait("a problem", || fifo.problem().is_some());
        assert!(fifo.problem().unwrap().contains("it is no FIFO"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");

        let path = folder.path().join("fifo");
        fifo.follow(Some(&path));
        wait("the fifo is there", || path.exists());
        let _sleeps = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let all = || {
            fifo.counts()
                .map_or(0, |(_, written, dropped)| written + dropped)
        };
        let total = 5000;
        for _ in 0..total {
            fifo.say(false, &"x".repeat(60), VrrpState::Active, 200);
        }
        wait("every line is written or counted", || all() == total);
        let (_, written, dropped) = fifo.counts().unwrap();
        assert!(written > 0 && dropped > 0, "{written} {dropped}");
    }
}
