//! The last configuration that was taken into use, kept in the state directory: what a director starts from that has to start again beside a
//! broken file.
//!
//! A thread writes it, one at a time and the latest last; it ends when there is nothing more to write. A disk that hangs holds up nobody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::load::{self, Loaded};

/// Its name in the state directory.
const FILE: &str = "last-good.toml";

/// The loop's side.
#[derive(Debug)]
pub(super) struct LastGood {
    folder: PathBuf,
    slot: Arc<Mutex<Slot>>,
}

/// Locked for a moment at a time, never while something is written.
#[derive(Debug, Default)]
struct Slot {
    text: Option<String>,
    is_written: bool,
}

impl LastGood {
    /// Keeps texts in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            slot: Arc::default(),
        }
    }

    /// Has a text kept, in place of any that is not written yet.
    pub(super) fn keep(&self, text: String) {
        let mut slot = lock(&self.slot);
        slot.text = Some(text);
        if std::mem::replace(&mut slot.is_written, true) {
            return;
        }
        drop(slot);
        let (folder, slot) = (self.folder.clone(), Arc::clone(&self.slot));
        let thread = std::thread::Builder::new()
            .name("tandem-keep".to_owned())
            .stack_size(256 * 1024);
        if let Err(error) = thread.spawn(move || write_all(&folder, &slot)) {
            lock(&self.slot).is_written = false;
            tracing::warn!(%error, "no thread to keep the configuration");
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_all(folder: &Path, slot: &Mutex<Slot>) {
    while let Some(text) = next(slot) {
        if let Err(error) = write(folder, &text) {
            tracing::warn!(folder = %folder.display(), %error, "the configuration is not kept for a restart");
        }
    }
}

/// The next text; after none somebody else has to write.
fn next(slot: &Mutex<Slot>) -> Option<String> {
    let mut slot = lock(slot);
    let text = slot.text.take();
    slot.is_written = text.is_some();
    text
}

fn write(folder: &Path, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let beside = folder.join("last-good.toml.new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, folder.join(FILE))
}

/// Reads what was kept.
///
/// # Errors
/// When there is nothing, or it cannot be read.
pub(super) fn read(state_dir: &Path, node: Option<String>) -> io::Result<Loaded> {
    load::load_from_disk(&state_dir.join(FILE), node)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_many_that_come_at_once_the_latest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(folder.path());
        for number in 0..100 {
            last_good.keep(number.to_string());
        }
        while lock(&last_good.slot).is_written {
            std::thread::sleep(Duration::from_millis(1));
        }
        let kept = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(kept, "99");
    }
}
