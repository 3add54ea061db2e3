//! Log lines to standard error, from a thread of their own.
//!
//! Nothing that decides ever waits for a log: lines go through a bounded queue and are counted as lost when it is full.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use config::{Level, LogFormat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::waiting::{self, In, Out};

/// Lines that may wait for a slow standard error before further ones are dropped.
const QUEUED_LINES: usize = 4096;

/// How long the end of a process waits for what is still to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Lets a reload change the level. What has been logged before it goes is written, unless that takes too long.
pub(crate) struct LogHandle {
    lines: Lines,
    set_level: Box<dyn Fn(Level)>,
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        let (written, all) = sync_channel(1);
        if self.lines.0.put(Line::Last(written)) {
            let _ = all.recv_timeout(LAST_LINES);
        }
    }
}

/// What the writer thread is given.
enum Line {
    Words(Vec<u8>),
    /// To be answered once everything before it is written.
    Last(SyncSender<()>),
}

/// Takes lines for the writer thread; what finds no room is lost.
#[derive(Clone)]
struct Lines(In<Line>);

impl Lines {
    /// Without the thread nothing is written, and that costs nothing.
    fn start() -> Self {
        let (lines, taken) = waiting::queue(QUEUED_LINES);
        let thread = std::thread::Builder::new()
            .name("tandem-log".to_owned())
            .stack_size(256 * 1024);
        let _ = thread.spawn(move || write_lines(taken));
        Self(lines)
    }
}

impl Write for Lines {
    /// Each call is a line.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.put(Line::Words(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn write_lines(lines: Out<Line>) {
    let mut stderr = std::io::stderr();
    for line in lines {
        match line {
            // A line that cannot be written has nobody to be told to.
            Line::Words(words) => drop(stderr.write_all(&words)),
            Line::Last(written) => drop(written.try_send(())),
        }
    }
}

impl LogHandle {
    /// Changes the level from here on.
    pub(crate) fn set_level(&self, level: Level) {
        (self.set_level)(level);
    }
}

/// Starts logging. `TANDEM_LOG` in the environment overrides the level, in the syntax of tracing's filters.
pub(crate) fn start(level: Level, format: LogFormat) -> LogHandle {
    let lines = Lines::start();
    let writer = lines.clone();
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false);
    // A second start in one process would be a mistake of ours that costs log lines only.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    LogHandle {
        lines,
        set_level: Box::new(move |level| {
            let _ = handle.reload(self::filter(level));
        }),
    }
}

fn filter(level: Level) -> EnvFilter {
    std::env::var("TANDEM_LOG")
        .ok()
        .and_then(|directives| EnvFilter::try_new(directives).ok())
        .unwrap_or_else(|| EnvFilter::new(level.as_str()))
}

/// Writes `words` straight to standard error: for a process that is about to end, or has no log of its own.
///
/// A standard error that takes nothing (a full pipe that nobody reads) costs the words, never the caller's time.
pub(crate) fn last_words(words: &str) {
    let stderr = std::io::stderr();
    let mut polled = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let writable = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready == 1);
    if writable && !words.is_empty() {
        let _ = writeln!(stderr.lock(), "{}", words.trim_end());
    }
}
