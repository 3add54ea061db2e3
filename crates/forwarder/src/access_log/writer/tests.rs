//! Blocks handed over, and what is found where they went.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::*;
use crate::access_log::AccessLogFormat;

/// Longest wait for what must come.
const LIMIT: Duration = Duration::from_secs(20);

fn to_file(path: &Path) -> AccessLogSettings {
    AccessLogSettings {
        to: AccessLogTarget::File(path.to_owned()),
        format: AccessLogFormat::Json,
        without_query: false,
    }
}

fn block(text: &str) -> Block {
    Block {
        bytes: text.as_bytes().to_vec(),
        lines: text.matches('\n').count() as u64,
    }
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let limit_at = Instant::now() + LIMIT;
    while !look() {
        assert!(Instant::now() < limit_at, "not so in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A desk that writes to a file in a folder of its own.
fn desk() -> (Desk, Inlet, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let desk = Desk::start().unwrap();
    desk.set(to_file(&path));
    let inlet = desk.inlet();
    (desk, inlet, folder, path)
}

#[test]
fn blocks_are_written_in_order_and_their_memory_comes_back() {
    let (desk, inlet, _folder, path) = desk();
    let memory = inlet.give(block("a\nb\n"));
    inlet.give(block("c\n"));
    eventually("written", || desk.figures().written == 3);
    assert_eq!(fs::read_to_string(path).unwrap(), "a\nb\nc\n");
    assert_eq!((memory.lines, memory.bytes.len()), (0, 0));
    let given = inlet.spares.try_recv().unwrap();
    assert!(
        given.is_empty() && given.capacity() > 0,
        "emptied, not freed"
    );
}

#[test]
fn a_file_that_was_renamed_is_left_when_told_so() {
    let (desk, inlet, folder, path) = desk();
    inlet.give(block("first\n"));
    eventually("written", || desk.figures().written == 1);
    let old = folder.path().join("access.log.1");
    fs::rename(&path, &old).unwrap();
    inlet.give(block("still the old one\n"));
    eventually("written", || desk.figures().written == 2);
    desk.reopen();
    eventually("opened", || path.exists());
    inlet.give(block("the new one\n"));
    eventually("written", || desk.figures().written == 3);
    assert_eq!(
        fs::read_to_string(old).unwrap(),
        "first\nstill the old one\n"
    );
    assert_eq!(fs::read_to_string(path).unwrap(), "the new one\n");
    assert_eq!(desk.figures().lost, 0);
}

#[test]
fn a_full_disk_costs_lines_and_is_told() {
    let (desk, inlet, _folder, path) = desk();
    desk.set(to_file(Path::new("/dev/full")));
    inlet.give(block("a\nb\n"));
    eventually("lost", || desk.figures().lost == 2);
    let why = desk.figures().why;
    assert!(
        why.starts_with("/dev/full: No space left on device"),
        "{why}"
    );
    desk.set(to_file(&path));
    inlet.give(block("c\n"));
    eventually("written", || desk.figures().written == 1);
    assert_eq!(desk.figures().why, "", "it is good again");
}

#[test]
fn a_folder_that_is_missing_costs_lines_until_it_is_there() {
    let (desk, inlet, folder, _) = desk();
    let path = folder.path().join("missing").join("access.log");
    desk.set(to_file(&path));
    inlet.give(block("a\n"));
    eventually("lost", || desk.figures().lost == 1);
    assert!(
        desk.figures().why.contains("No such file"),
        "{:?}",
        desk.figures()
    );
    fs::create_dir(path.parent().unwrap()).unwrap();
    eventually("written without being told", || {
        inlet.give(block("b\n"));
        desk.figures().written > 0
    });
    assert_eq!(desk.figures().why, "");
}

fn pipe(folder: &Path) -> PathBuf {
    let path = folder.join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    path
}

#[test]
fn a_pipe_that_nobody_reads_costs_lines_and_holds_nobody_up() {
    let (desk, inlet, folder, path) = desk();
    let pipe = pipe(folder.path());
    // Nobody has opened it for reading: that is an error at once.
    desk.set(to_file(&pipe));
    inlet.give(block("a\n"));
    eventually("lost", || desk.figures().lost == 1);
    // Somebody has, but does not read.
    let mut reader = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(&pipe)
        .unwrap();
    desk.reopen();
    let line = format!("{}\n", "x".repeat(1000));
    let begun_at = Instant::now();
    for _ in 0..2000 {
        inlet.give(block(&line));
    }
    assert!(begun_at.elapsed() < LIMIT / 2, "{:?}", begun_at.elapsed());
    eventually("lost", || desk.figures().lost > 1000);
    // What was written are whole lines, but for one that was torn.
    let mut text = Vec::new();
    let _ = reader.read_to_end(&mut text); // ends with what is there for now
    let whole = text.split_inclusive(|byte| *byte == b'\n');
    assert!(
        whole
            .clone()
            .filter(|other| *other != line.as_bytes())
            .count()
            <= 1
    );
    // Whoever waits for it is not held up by a sink that is stuck, nor are other settings.
    desk.set(to_file(&path));
    eventually("somewhere else", || {
        inlet.give(block("y\n"));
        fs::read_to_string(&path)
            .unwrap_or_default()
            .contains("y\n")
    });
}

#[test]
fn after_a_torn_line_the_next_one_stands_alone() {
    let (_desk, _inlet, folder, _) = desk();
    let pipe = pipe(folder.path());
    let mut reader = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(&pipe)
        .unwrap();
    let Ok(Opened::Sink(mut sink)) = Sink::open(&AccessLogTarget::File(pipe)) else {
        panic!("not open");
    };
    let long = format!("{}\n", "x".repeat(100 * 1024));
    let error = sink.write(long.as_bytes(), || true).unwrap_err();
    assert_eq!(error.written, 0);
    let mut text = Vec::new();
    let _ = reader.read_to_end(&mut text); // ends with what is there for now
    sink.write(b"next\n", || true).unwrap();
    let _ = reader.read_to_end(&mut text);
    assert!(text.ends_with(b"x\nnext\n"));
}

#[test]
fn lines_for_which_there_is_no_room_are_counted() {
    let (messages, received) = sync_channel(1);
    let (spares_in, spares) = sync_channel(MAX_SPARES);
    let figures = Arc::<Figures>::default();
    let inlet = Inlet {
        messages,
        figures: Arc::clone(&figures),
        spares_in,
        spares,
    };
    inlet.give(block("a\n"));
    let back = inlet.give(block("b\nc\n"));
    assert_eq!((back.lines, back.bytes.len()), (0, 0));
    assert_eq!(figures.lost.load(Relaxed), 2);
    drop(received);
    inlet.give(block("d\n"));
    assert_eq!(figures.lost.load(Relaxed), 3);
}
