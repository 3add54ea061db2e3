//! The journal: every change an operator cares about, with its reason.
//!
//! Events are kept in memory, handed to followers, logged, and written to a file by a thread of its own: a full or hung disk costs
//! lines of the file and nothing else.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use control::{Event, EventKind, Timestamp};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::sync::broadcast;

use super::flight::Lane;
use crate::waiting::{self, In, Out};

/// Events kept in memory.
const KEPT: usize = 1000;
/// Events that may wait for the disk.
const QUEUED: usize = 1024;
/// Events that may wait for a follower before it misses some.
const FOLLOWER_LAG: usize = 256;
/// At this size the file is renamed to `journal.jsonl.1` and a new one begun, in octets.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// What happened, before it gets its number and time.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: EventKind,
    pub(super) subject: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) reason: String,
}

impl Entry {
    /// Something that happened to `subject`, without a state before and after.
    pub(super) fn new(
        kind: EventKind,
        subject: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            subject: subject.into(),
            from: None,
            to: None,
            reason: reason.into(),
        }
    }

    /// With a state before and after.
    pub(super) fn states(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.from = Some(from.into());
        self.to = Some(to.into());
        self
    }
}

pub(super) struct Journal {
    node: String,
    last_seq: u64,
    recent: VecDeque<Arc<Event>>,
    followers: broadcast::Sender<Arc<Event>>,
    file: Option<In<Arc<Event>>>,
    lost: Arc<AtomicU64>,
    /// What the flight recorder knows of the node.
    pub(super) lane: Lane,
}

impl Journal {
    /// Continues the journal of `state_dir`; without a usable directory it lives in memory only, and the error says so.
    pub(super) fn open(node: &str, state_dir: &Path) -> (Self, Option<std::io::Error>) {
        let path = state_dir.join("journal.jsonl");
        let recent = read_tail(&path);
        let lost = Arc::new(AtomicU64::new(0));
        let (file, error) = match open_file(&path) {
            Ok(file) => (Some(start_writer(path, file, Arc::clone(&lost))), None),
            Err(error) => (None, Some(error)),
        };
        let journal = Self {
            node: node.to_owned(),
            last_seq: recent.back().map_or(0, |event| event.seq),
            recent,
            followers: broadcast::Sender::new(FOLLOWER_LAG),
            file,
            lost,
            lane: Lane::default(),
        };
        (journal, error)
    }

    /// Numbers, keeps, publishes and logs one entry; its number is the answer.
    pub(super) fn record(&mut self, entry: Entry) -> u64 {
        log(&entry);
        self.keep(entry)
    }

    fn keep(&mut self, entry: Entry) -> u64 {
        self.last_seq += 1;
        let event = Arc::new(Event {
            seq: self.last_seq,
            at: Timestamp::from(SystemTime::now()),
            node: self.node.clone(),
            subject: entry.subject,
            from: entry.from,
            to: entry.to,
            reason: entry.reason,
            kind: entry.kind,
        });
        self.lane.journaled(Instant::now(), &event);
        if let Some(file) = &self.file
            && !file.put(Arc::clone(&event))
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        // Nobody following is the usual case.
        let _ = self.followers.send(Arc::clone(&event));
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
        self.last_seq
    }

    /// Records in a journal that nobody reads and a file in memory, and drops both: see [`super::practice`].
    pub(super) fn practise(&self, entry: Entry) {
        let (line, events) = waiting::queue(1);
        let mut journal = Self {
            node: self.node.clone(),
            last_seq: self.last_seq,
            recent: VecDeque::new(),
            followers: broadcast::Sender::new(1),
            file: Some(line),
            lost: Arc::default(),
            lane: Lane::default(),
        };
        journal.keep(entry);
        let lost = Arc::clone(&journal.lost);
        // The file ends with the journal.
        drop(journal);
        if let Ok(file) = memfd_create("tandem-practice", MFdFlags::MFD_CLOEXEC) {
            write_events(Path::new(""), File::from(file), events, &lost);
        }
    }

    /// Lines that could not be written to the file.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Events numbered above `seq`, oldest first, as far as they are kept.
    pub(super) fn since(&self, seq: u64) -> Vec<Arc<Event>> {
        self.recent
            .iter()
            .filter(|event| event.seq > seq)
            .cloned()
            .collect()
    }

    /// Each event from here on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.followers.subscribe()
    }
}

/// Writes its line.
pub(super) fn log(entry: &Entry) {
    let Entry {
        kind,
        subject,
        from,
        to,
        reason,
    } = entry;
    let (from, to) = (from.as_deref(), to.as_deref());
    match kind {
        EventKind::Alarm => tracing::warn!(subject, reason, "alarm"),
        EventKind::Hook if to != Some("ok") => tracing::warn!(subject, reason, "hook failed"),
        EventKind::Transition => tracing::info!(subject, from, to, reason, "transition"),
        // The forwarder has logged it already, with more beside it.
        EventKind::Health => tracing::debug!(subject, from, to, reason, "health"),
        EventKind::Address
        | EventKind::Process
        | EventKind::Config
        | EventKind::Order
        | EventKind::Daemon
        | EventKind::Tracking
        | EventKind::Hook
        | EventKind::Other => tracing::info!(subject, from, to, reason, "event"),
    }
}

/// The last events of the file; lines that are none are passed over.
fn read_tail(path: &Path) -> VecDeque<Arc<Event>> {
    let mut recent = VecDeque::new();
    let Ok(file) = File::open(path) else {
        return recent;
    };
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        if let Ok(event) = serde_json::from_str(&line) {
            if recent.len() == KEPT {
                recent.pop_front();
            }
            recent.push_back(Arc::new(event));
        }
    }
    recent
}

fn open_file(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn start_writer(path: PathBuf, file: File, lost: Arc<AtomicU64>) -> In<Arc<Event>> {
    let (sender, events) = waiting::queue(QUEUED);
    let thread = std::thread::Builder::new()
        .name("tandem-journal".to_owned())
        .stack_size(256 * 1024);
    // Without the thread the journal lives in memory only: nothing is put in, and that costs nothing.
    let _ = thread.spawn(move || write_events(&path, file, events, &lost));
    sender
}

fn write_events(path: &Path, mut file: File, events: Out<Arc<Event>>, lost: &AtomicU64) {
    let mut broken = false;
    for event in events {
        let Ok(mut line) = serde_json::to_vec(&*event) else {
            continue;
        };
        line.push(b'\n');
        if std::mem::take(&mut broken) {
            // What was written of a lost line must not spoil this one.
            line.insert(0, b'\n');
        }
        // A full disk costs this line.
        if file.write_all(&line).is_err() {
            broken = true;
            lost.fetch_add(1, Ordering::Relaxed);
        }
        if file.metadata().is_ok_and(|about| about.len() > FILE_LIMIT) {
            let _ = std::fs::rename(path, path.with_extension("jsonl.1"));
            if let Ok(fresh) = open_file(path) {
                file = fresh;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_after_a_restart_and_garbage_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, error) = Journal::open("lb1", folder.path());
        assert!(error.is_none());
        first.record(
            Entry::new(
                EventKind::Transition,
                "vrrp main",
                "priority 0 from the peer",
            )
            .states("backup", "active"),
        );
        first.record(Entry::new(EventKind::Config, "config", "loaded"));
        drop(first);
        let path = folder.path().join("journal.jsonl");
        while std::fs::read_to_string(&path).unwrap().lines().count() < 2 {
            std::thread::yield_now();
        }
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{ half a li\n")
            .unwrap();
        let (mut second, _) = Journal::open("lb1", folder.path());
        second.record(Entry::new(EventKind::Daemon, "director", "started"));
        let seqs: Vec<u64> = second.since(1).iter().map(|event| event.seq).collect();
        assert_eq!(seqs, [2, 3]);
        assert_eq!(second.since(0)[0].to.as_deref(), Some("active"));
    }

    #[test]
    fn without_a_directory_it_lives_in_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (mut journal, error) = Journal::open("lb1", file.path());
        assert!(error.is_some());
        journal.record(Entry::new(EventKind::Daemon, "director", "started"));
        assert_eq!(journal.since(0).len(), 1);
    }
}
