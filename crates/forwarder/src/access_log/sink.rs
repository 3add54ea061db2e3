//! Where lines are written to. Nothing here waits longer than a moment for somebody who does not read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::AccessLogTarget;

/// The journal of systemd takes entries here.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// What an entry of the journal says besides the line: the level "info", and the name to look for.
const ENTRY_HEAD: &[u8] = b"PRIORITY=6\nSYSLOG_IDENTIFIER=tandem-access\nMESSAGE=";
/// What a pipe that has room takes without making the writer wait (PIPE_BUF).
const PIECE_BYTES: usize = 4096;
/// Patience with a sink that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks for something else to do.
const GLANCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// An open sink.
#[derive(Debug)]
pub(super) enum Sink {
    /// A file, or a pipe or socket that others read.
    Stream {
        file: File,
        /// It may make a writer wait.
        may_block: bool,
        /// The last line was not written to its end.
        torn: bool,
    },
    /// The journal.
    Journal {
        socket: UnixDatagram,
        entry: Vec<u8>,
    },
}

/// What settings ask for.
#[derive(Debug)]
pub(super) enum Opened {
    /// A sink.
    Sink(Sink),
    /// Lines are not wanted.
    Nothing,
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct WriteError {
    /// Whole lines that were written.
    pub(super) written: u64,
    /// Why the others were not.
    pub(super) source: io::Error,
}

impl Sink {
    /// Opens it.
    pub(super) fn open(target: &AccessLogTarget) -> io::Result<Opened> {
        let file = match target {
            AccessLogTarget::Off => return Ok(Opened::Nothing),
            AccessLogTarget::Journal => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(JOURNAL)?;
                socket.set_nonblocking(true)?;
                let entry = ENTRY_HEAD.to_vec();
                return Ok(Opened::Sink(Sink::Journal { socket, entry }));
            }
            AccessLogTarget::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
            // A pipe without a reader is an error at once and not something to wait for.
            AccessLogTarget::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(path)?,
        };
        let may_block = !file.metadata()?.is_file();
        Ok(Opened::Sink(Sink::Stream {
            file,
            may_block,
            torn: false,
        }))
    }

    /// Writes whole lines. Gives up when the sink takes nothing for a second, or when `interrupted` says that there is
    /// something else to do than to wait for it.
    pub(super) fn write(
        &mut self,
        lines: &[u8],
        interrupted: impl Fn() -> bool,
    ) -> Result<(), WriteError> {
        match self {
            Sink::Stream {
                file,
                may_block,
                torn,
            } => write_stream(file, *may_block, torn, lines, interrupted),
            Sink::Journal { socket, entry } => {
                let each = lines.split_inclusive(|byte| *byte == b'\n');
                for (line, written) in each.zip(0..) {
                    entry.truncate(ENTRY_HEAD.len());
                    entry.extend_from_slice(line);
                    send(socket, entry, &interrupted)
                        .map_err(|source| WriteError { written, source })?;
                }
                Ok(())
            }
        }
    }
}

fn write_stream(
    file: &mut File,
    may_block: bool,
    torn: &mut bool,
    lines: &[u8],
    interrupted: impl Fn() -> bool,
) -> Result<(), WriteError> {
    if *torn {
        // What is left of the torn line stays a line of its own.
        let begun = patiently(file.as_fd(), may_block, &interrupted, || {
            (&*file).write(b"\n")
        });
        begun.map_err(|source| WriteError { written: 0, source })?;
        *torn = false;
    }
    let mut at = 0;
    while at < lines.len() {
        let piece = if may_block { PIECE_BYTES } else { lines.len() };
        let end = lines.len().min(at + piece);
        let count = patiently(file.as_fd(), may_block, &interrupted, || {
            (&*file).write(&lines[at..end])
        });
        match count {
            Ok(count) => at += count,
            Err(source) => {
                let done = &lines[..at];
                *torn = !done.is_empty() && !done.ends_with(b"\n");
                let written = done.iter().filter(|byte| **byte == b'\n').count() as u64;
                return Err(WriteError { written, source });
            }
        }
    }
    Ok(())
}

fn send(socket: &UnixDatagram, entry: &[u8], interrupted: impl Fn() -> bool) -> io::Result<()> {
    patiently(socket.as_fd(), false, interrupted, || socket.send(entry)).map(drop)
}

/// Tries until it is done, it fails, or patience ends. `looks_first`: the attempt itself may wait, unless there is room.
fn patiently(
    fd: BorrowedFd<'_>,
    looks_first: bool,
    interrupted: impl Fn() -> bool,
    attempt: impl Fn() -> io::Result<usize>,
) -> io::Result<usize> {
    let limit_at = Instant::now() + PATIENCE;
    let mut look = looks_first;
    loop {
        let has_room = !look || {
            let mut polled = [PollFd::new(&fd, PollFlags::OUT)];
            poll(&mut polled, Some(&GLANCE))? > 0
        };
        if has_room {
            match attempt() {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => look = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
        if Instant::now() >= limit_at || interrupted() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nobody reads what is written",
            ));
        }
    }
}
