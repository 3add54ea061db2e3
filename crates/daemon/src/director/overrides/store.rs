//! Where orders are kept: a file in the state directory, written whole by a thread of its own.
//!
//! The loop leaves the text in a slot and goes on; a disk that hangs or is full costs nothing but the confirmation. What
//! could not be written is tried again until it can, or something newer is to be written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::book::Book;

/// The file in the state directory.
const FILE: &str = "overrides.json";
/// Largest file that is read, in octets.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;
/// After a failure it is tried again this much later.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// What became of a text that was to be kept.
#[derive(Debug)]
pub(in crate::director) struct Kept {
    /// The number it was given.
    pub(super) number: u64,
    /// Why it is not on disk; it will be tried again.
    pub(super) error: Option<String>,
}

/// The loop's side.
#[derive(Debug)]
pub(super) struct Store {
    slot: Arc<Slot>,
    /// What the thread begins with; there is none before the first text: its stack is memory that is locked.
    start: Option<(PathBuf, mpsc::Sender<Kept>)>,
}

#[derive(Debug, Default)]
struct Slot {
    text: Mutex<Option<(u64, String)>>,
    filled: Condvar,
}

impl Store {
    /// A store in a state directory that answers to `results`.
    pub(super) fn new(state_dir: &Path, results: mpsc::Sender<Kept>) -> Self {
        Self {
            slot: Arc::default(),
            start: Some((state_dir.join(FILE), results)),
        }
    }

    /// Has a text kept, in place of any that is not written yet.
    pub(super) fn keep(&mut self, number: u64, text: String) {
        *self.slot.text() = Some((number, text));
        self.slot.filled.notify_one();
        if let Some((path, results)) = self.start.take() {
            let filled = Arc::clone(&self.slot);
            let thread = std::thread::Builder::new()
                .name("tandem-orders".to_owned())
                .stack_size(256 * 1024);
            let spawned = thread.spawn(move || filled.write_all(&path, &results));
            if let Err(error) = spawned {
                tracing::warn!(%error, "no thread to keep orders");
            }
        }
    }
}

impl Slot {
    fn text(&self) -> MutexGuard<'_, Option<(u64, String)>> {
        // Each change is one assignment.
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes until nobody wants to hear of it.
    fn write_all(&self, path: &Path, results: &mpsc::Sender<Kept>) {
        loop {
            let (number, text) = self.next();
            let error = write(path, &text).err();
            if let Some(error) = &error {
                tracing::warn!(path = %path.display(), %error, "orders are not kept over a restart");
            }
            let failed = error.is_some();
            let error = error.map(|error| error.to_string());
            if results.blocking_send(Kept { number, error }).is_err() {
                return;
            }
            if failed {
                self.wait_to_retry().get_or_insert((number, text));
            }
        }
    }

    /// Waits for a while, or until something newer is to be written.
    fn wait_to_retry(&self) -> MutexGuard<'_, Option<(u64, String)>> {
        let wait = self
            .filled
            .wait_timeout_while(self.text(), RETRY_DELAY, |text| text.is_none());
        wait.unwrap_or_else(PoisonError::into_inner).0
    }

    fn next(&self) -> (u64, String) {
        let mut text = self.text();
        loop {
            if let Some(next) = text.take() {
                return next;
            }
            text = self
                .filled
                .wait(text)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes beside, then in place, so that a reader finds the old text or the new one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let beside = path.with_extension("json.new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(beside, path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// Reads what was kept; what is wrong with it, in words. A file that makes no sense is put aside.
pub(super) fn read(state_dir: &Path) -> (Book, Option<String>) {
    let path = state_dir.join(FILE);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Book::default(), None),
        Err(error) => return (Book::default(), Some(unread(&path, &error.to_string()))),
    };
    match Book::from_text(&text) {
        Ok((book, 0)) => (book, None),
        Ok((book, left_out)) => {
            let what = format!("{left_out} entries are not understood");
            (book, Some(unread(&path, &what)))
        }
        Err(error) => (Book::default(), Some(unread(&path, &error))),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > SIZE_LIMIT {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    std::fs::read_to_string(path)
}

/// The sentence for the operator; the file is kept beside, as the next order writes a new one.
fn unread(path: &Path, what: &str) -> String {
    let aside: PathBuf = path.with_extension("json.broken");
    let kept = match std::fs::copy(path, &aside) {
        Ok(_) => format!("; a copy is in {}", aside.display()),
        Err(_) => String::new(),
    };
    format!(
        "orders in {} could not all be read: {what}{kept}",
        path.display()
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn prepared(folder: &Path) -> (Store, mpsc::Receiver<Kept>) {
        let (sender, results) = mpsc::channel(4);
        (Store::new(folder, sender), results)
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("not/there/yet");
        assert!(read(&state).1.is_none(), "no file is no fault");
        let (mut store, mut results) = prepared(&state);
        store.keep(3, Book::default().to_text());
        let kept = results.blocking_recv().unwrap();
        assert_eq!((kept.number, kept.error), (3, None));
        assert!(read(&state).1.is_none());
        assert!(!state.join("overrides.json.new").exists());
    }

    #[test]
    fn a_file_that_makes_no_sense_is_said_and_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "half a fi").unwrap();
        let (book, said) = read(folder.path());
        assert_eq!(book.iter().count(), 0);
        assert!(said.unwrap().contains("could not all be read"));
        let aside = std::fs::read_to_string(folder.path().join("overrides.json.broken"));
        assert_eq!(aside.unwrap(), "half a fi");
    }

    #[test]
    fn a_disk_that_refuses_is_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::write(&state, "a file where a folder should be").unwrap();
        let (mut store, mut results) = prepared(&state);
        store.keep(1, "{}".to_owned());
        assert!(results.blocking_recv().unwrap().error.is_some());
        std::fs::remove_file(&state).unwrap();
        let kept = results.blocking_recv().unwrap();
        assert_eq!((kept.number, kept.error), (1, None));
    }
}
