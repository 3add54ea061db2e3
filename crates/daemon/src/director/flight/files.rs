//! Recordings on disk, `flight/SEQ.json` in the state directory: written by a thread of its own, so that a full or hung disk costs a
//! recording and nothing else. What is lost is counted, and said once until it works again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use control::Recording;

/// Name of the folder in the state directory.
const FOLDER: &str = "flight";
/// Name of a folder in that one, while something is written for practice.
const PRACTICE: &str = "practice";
/// Files kept; the oldest goes first.
const FILES: usize = 64;
/// Octets of all files.
const OCTETS: u64 = 8 * 1024 * 1024;
/// Recordings that may wait for the disk.
const QUEUED: usize = 64;
/// Largest file that is read, in octets.
const READ_LIMIT: u64 = 1024 * 1024;

/// What became of recordings.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    pub(super) lost: AtomicU64,
}

/// What the thread is given.
enum Item {
    Keep(Arc<Recording>),
    /// To be written and removed again.
    Practise(Arc<Recording>),
}

/// The director's side of the thread.
pub(super) struct Files {
    queue: SyncSender<Item>,
    /// What an earlier run left behind, oldest first; read by the thread, taken when somebody asks.
    earlier: Receiver<Recording>,
    pub(super) counts: Arc<Counts>,
}

impl Files {
    /// Starts the thread; the newest `keep` recordings of earlier runs come back by and by.
    pub(super) fn start(state_dir: &Path, keep: usize) -> Self {
        let (queue, recordings) = sync_channel(QUEUED);
        let (found, earlier) = channel();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let folder = state_dir.join(FOLDER);
        let thread = std::thread::Builder::new()
            .name("tandem-flight".to_owned())
            .stack_size(256 * 1024);
        // Without the thread the queue is closed: every recording is counted as lost.
        let _ = thread.spawn(move || {
            for recording in read_newest(&folder, keep) {
                // The director may have ended meanwhile.
                let _ = found.send(recording);
            }
            write_all(&folder, &recordings, &shared);
        });
        Self {
            queue,
            earlier,
            counts,
        }
    }

    /// Without a thread: nothing is written.
    pub(super) fn nowhere() -> Self {
        Self {
            queue: sync_channel(1).0,
            earlier: channel().1,
            counts: Arc::default(),
        }
    }

    /// Hands one over to be written; never waits.
    pub(super) fn write(&self, recording: Arc<Recording>) {
        if self.queue.try_send(Item::Keep(recording)).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has one written that is nobody's, beside the others, and removed again: see [`crate::director::practice`].
    pub(super) fn practise(&self, recording: Arc<Recording>) {
        // Where there is no room there is enough practice.
        let _ = self.queue.try_send(Item::Practise(recording));
    }

    /// What has been read of earlier runs since the last call.
    pub(super) fn earlier(&self) -> impl Iterator<Item = Recording> + '_ {
        self.earlier.try_iter()
    }
}

fn write_all(folder: &Path, items: &Receiver<Item>, counts: &Counts) {
    let mut failing = false;
    for item in items {
        let recording = match item {
            Item::Keep(recording) => recording,
            Item::Practise(recording) => {
                let aside = folder.join(PRACTICE);
                let _ = write(&aside, &recording);
                // It was never there, or a disk that does not work is about to be told of.
                let _ = std::fs::remove_dir_all(&aside);
                continue;
            }
        };
        match write(folder, &recording) {
            Ok(()) => {
                counts.written.fetch_add(1, Ordering::Relaxed);
                failing = false;
            }
            Err(error) => {
                counts.lost.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(folder = %folder.display(), %error, "a flight recording is not written");
                }
            }
        }
    }
}

/// Writes beside and renames, so that a file is whole or not there; then makes room.
fn write(folder: &Path, recording: &Recording) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("{:010}.json", recording.summary.seq));
    let beside = path.with_extension("new");
    let text = serde_json::to_vec(recording)?;
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        // Half a file must not take the room that the next one needs.
        let _ = std::fs::remove_file(&beside);
    }
    prune(&list(folder)?);
    written
}

/// Removes the oldest beyond the limits.
fn prune(files: &[(PathBuf, u64)]) {
    let mut octets = 0;
    for (number, (path, size)) in files.iter().rev().enumerate() {
        octets += size;
        if number >= FILES || (octets > OCTETS && number > 0) {
            // The next write tries again.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Every recording with its size, oldest first: numbers have ten digits.
fn list(folder: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            files.push((path, entry.metadata()?.len()));
        }
    }
    files.sort();
    Ok(files)
}

/// The newest recordings that can be read, oldest first.
fn read_newest(folder: &Path, keep: usize) -> Vec<Recording> {
    let files = list(folder).unwrap_or_default();
    let newest = files.iter().skip(files.len().saturating_sub(keep));
    newest
        .filter(|(_, size)| *size <= READ_LIMIT)
        .filter_map(|(path, _)| serde_json::from_slice(&std::fs::read(path).ok()?).ok())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::director::flight::tests::recording;

    #[test]
    fn the_newest_files_stay_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        for seq in 1..=70 {
            write(folder.path(), &recording(seq)).unwrap();
        }
        std::fs::write(folder.path().join("0000000071.json"), "{ half").unwrap();
        let files = list(folder.path()).unwrap();
        assert_eq!(files.len(), FILES + 1);
        let seqs: Vec<u64> = read_newest(folder.path(), 4)
            .iter()
            .map(|recording| recording.summary.seq)
            .collect();
        assert_eq!(seqs, [68, 69, 70]);
    }

    #[test]
    fn practice_leaves_nothing_behind_and_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::start(folder.path(), 4);
        files.practise(Arc::new(recording(1)));
        files.write(Arc::new(recording(2)));
        while files.counts.written.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(files.counts.written.load(Ordering::Relaxed), 1);
        let left = std::fs::read_dir(folder.path().join(FOLDER)).unwrap();
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let not_a_folder = tempfile::NamedTempFile::new().unwrap();
        let files = Files::start(not_a_folder.path(), 4);
        files.write(Arc::new(recording(1)));
        while files.counts.lost.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(files.counts.written.load(Ordering::Relaxed), 0);
    }
}
