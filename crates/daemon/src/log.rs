//! Log lines to standard error, from a thread of their own.
//!
//! Nothing that decides ever waits for a log: lines go through a bounded queue and are counted as lost when it is full.

use std::io::Write;
use std::os::fd::AsFd;

use config::{Level, LogFormat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that may wait for a slow standard error before further ones are dropped.
const QUEUED_LINES: usize = 4096;

/// Keeps the writer thread alive and lets a reload change the level.
pub(crate) struct LogHandle {
    _guard: WorkerGuard,
    set_level: Box<dyn Fn(Level)>,
}

impl LogHandle {
    /// Changes the level from here on.
    pub(crate) fn set_level(&self, level: Level) {
        (self.set_level)(level);
    }
}

/// Starts logging. `TANDEM_LOG` in the environment overrides the level, in the syntax of tracing's filters.
pub(crate) fn start(level: Level, format: LogFormat) -> LogHandle {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES)
        .lossy(true)
        .thread_name("tandem-log")
        .finish(std::io::stderr());
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false);
    // A second start in one process would be a mistake of ours that costs log lines only.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    LogHandle {
        _guard: guard,
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
