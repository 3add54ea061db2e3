//! The thread that writes blocks of lines, and the channel to it.
//!
//! The channel is bounded and nobody waits for room in it. What the writer is told besides (other settings, to open
//! the file again) is left in a place of its own, where it looks before each block and while it waits for its sink.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pen::BLOCK_BYTES;
use super::sink::{Opened, Sink, WriteError};
use super::{AccessLogFigures, AccessLogSettings, AccessLogTarget};

/// Blocks that may wait for the writer; beyond that their lines are lost.
const MAX_BLOCKS: usize = 64;
/// Emptied blocks that go back to a worker.
const MAX_SPARES: usize = 4;
/// A block that has grown beyond this is given back to the system.
const MAX_SPARE_BYTES: usize = 4 * BLOCK_BYTES;
/// Room of a block beyond its size: for the line that fills it.
const ROOM: usize = 2 * 1024;
/// Least time between two attempts to open a sink that cannot be opened, and between two log lines about trouble.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(1);
/// Time for what is under way when the log ends or is to be whole.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Lines on their way to the writer.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The lines, each with its line end.
    pub(super) bytes: Vec<u8>,
    /// How many they are.
    pub(super) lines: u64,
}

/// What comes through the channel.
#[derive(Debug)]
enum Message {
    Block(Block, SyncSender<Vec<u8>>),
    /// Orders may have come.
    Look,
    /// To be confirmed once all that was said before is done.
    Flush(Sender<()>),
}

/// One worker's end of the channel.
#[derive(Debug)]
pub(crate) struct Inlet {
    messages: SyncSender<Message>,
    figures: Arc<Figures>,
    spares_in: SyncSender<Vec<u8>>,
    spares: Receiver<Vec<u8>>,
}

impl Inlet {
    /// Hands a block over, or counts its lines as lost; an empty one in its place.
    pub(super) fn give(&self, block: Block) -> Block {
        let lines = block.lines;
        let message = Message::Block(block, self.spares_in.clone());
        let bytes = match self.messages.try_send(message) {
            Ok(()) => self.spares.try_recv().ok(),
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.figures.lost.fetch_add(lines, Relaxed);
                match message {
                    Message::Block(mut block, _) => {
                        block.bytes.clear();
                        Some(block.bytes)
                    }
                    Message::Look | Message::Flush(_) => None,
                }
            }
        };
        Block {
            bytes: bytes.unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES + ROOM)),
            lines: 0,
        }
    }
}

/// What has become of lines; shared by everybody.
#[derive(Debug, Default)]
struct Figures {
    written: AtomicU64,
    lost: AtomicU64,
    why: Mutex<String>,
}

/// What the writer is to do besides writing.
#[derive(Debug, Default)]
struct Orders {
    settings: Option<AccessLogSettings>,
    reopen: bool,
}

/// The door to the writer thread. It ends when this and every inlet are gone.
#[derive(Debug)]
pub(crate) struct Desk {
    messages: SyncSender<Message>,
    orders: Arc<Mutex<Orders>>,
    figures: Arc<Figures>,
    settings: Mutex<AccessLogSettings>,
}

impl Desk {
    /// Starts the thread, which writes nothing until it is told where. Fails if the system refuses a thread.
    pub(crate) fn start() -> io::Result<Desk> {
        let (messages, received) = sync_channel(MAX_BLOCKS);
        let orders = Arc::<Mutex<Orders>>::default();
        let figures = Arc::<Figures>::default();
        let writer = Writer {
            settings: AccessLogSettings::default(),
            sink: None,
            orders: Arc::clone(&orders),
            figures: Arc::clone(&figures),
            opened_at: None,
            warned_at: None,
        };
        std::thread::Builder::new()
            .name("tandem-access".to_owned())
            .spawn(move || writer.run(&received))?;
        Ok(Desk {
            messages,
            orders,
            figures,
            settings: Mutex::default(),
        })
    }

    /// An end of the channel for one worker.
    pub(crate) fn inlet(&self) -> Inlet {
        let (spares_in, spares) = sync_channel(MAX_SPARES);
        Inlet {
            messages: self.messages.clone(),
            figures: Arc::clone(&self.figures),
            spares_in,
            spares,
        }
    }

    /// Lines go there from here on; where they went before. Does not wait.
    pub(crate) fn set(&self, settings: AccessLogSettings) -> AccessLogSettings {
        whole(&self.orders).settings = Some(settings.clone());
        self.call();
        std::mem::replace(&mut whole(&self.settings), settings)
    }

    /// The file is opened again, because the one that is open was renamed. Does not wait.
    pub(crate) fn reopen(&self) {
        whole(&self.orders).reopen = true;
        self.call();
    }

    /// Waits until what was handed over is written, a second at most.
    pub(crate) fn flush(&self) {
        let (done, confirmed) = channel();
        let limit_at = Instant::now() + FLUSH_LIMIT;
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.messages.try_send(message) {
            if Instant::now() >= limit_at {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = limit_at.saturating_duration_since(Instant::now());
        // A sink that takes nothing costs its lines.
        let _ = confirmed.recv_timeout(left);
    }

    /// What has become of lines.
    pub(crate) fn figures(&self) -> AccessLogFigures {
        AccessLogFigures {
            written: self.figures.written.load(Relaxed),
            lost: self.figures.lost.load(Relaxed),
            why: whole(&self.figures.why).clone(),
        }
    }

    /// A full channel needs no call: the writer looks before each block.
    fn call(&self) {
        let _ = self.messages.try_send(Message::Look);
    }
}

fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    settings: AccessLogSettings,
    sink: Option<Sink>,
    orders: Arc<Mutex<Orders>>,
    figures: Arc<Figures>,
    /// When the sink was opened, or could not be.
    opened_at: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(TROUBLE_INTERVAL) {
                Ok(message) => {
                    self.obey();
                    match message {
                        Message::Block(block, home) => self.write(block, &home),
                        Message::Look => {}
                        // Whoever asked may have stopped waiting.
                        Message::Flush(done) => drop(done.send(())),
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.obey(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn obey(&mut self) {
        let orders = std::mem::take(&mut *whole(&self.orders));
        if let Some(settings) = orders.settings
            && settings != self.settings
        {
            self.settings = settings;
            self.open();
        } else if orders.reopen {
            self.open();
        }
    }

    /// Opens what the settings say. A file that cannot be opened leaves nothing open: lines do not go where nobody
    /// looks for them.
    fn open(&mut self) {
        self.sink = None;
        self.opened_at = Some(Instant::now());
        match Sink::open(&self.settings.to) {
            Ok(Opened::Nothing) => self.good(),
            Ok(Opened::Sink(sink)) => {
                self.sink = Some(sink);
                self.good();
            }
            Err(error) => self.trouble(&error),
        }
    }

    fn write(&mut self, mut block: Block, home: &SyncSender<Vec<u8>>) {
        let tried_lately = self
            .opened_at
            .is_some_and(|at| at.elapsed() < TROUBLE_INTERVAL);
        if self.sink.is_none() && !tried_lately {
            self.open();
        }
        if self.settings.to == AccessLogTarget::Off {
            return; // lines that were on their way when they ceased to be wanted
        }
        let orders = Arc::clone(&self.orders);
        let interrupted = || {
            let orders = whole(&orders);
            orders.settings.is_some() || orders.reopen
        };
        let result = match &mut self.sink {
            Some(sink) => sink.write(&block.bytes, interrupted),
            None => Err(WriteError {
                written: 0,
                source: io::Error::other("it is not open"),
            }),
        };
        let (written, trouble) = match result {
            Ok(()) => (block.lines, None),
            Err(error) => (error.written.min(block.lines), Some(error.source)),
        };
        self.figures.written.fetch_add(written, Relaxed);
        self.figures.lost.fetch_add(block.lines - written, Relaxed);
        match (trouble, self.sink.is_some()) {
            (None, _) => self.good(),
            (Some(error), true) => self.trouble(&error),
            // Why it is not open has been said.
            (Some(_), false) => {}
        }
        if block.bytes.capacity() <= MAX_SPARE_BYTES {
            block.bytes.clear();
            // A worker that has enough of them, or has ended, leaves it to the system.
            let _ = home.try_send(block.bytes);
        }
    }

    fn good(&self) {
        let mut why = whole(&self.figures.why);
        if !why.is_empty() {
            why.clear();
            tracing::info!(
                lost = self.figures.lost.load(Relaxed),
                "access log lines can be written again"
            );
        }
    }

    fn trouble(&mut self, error: &io::Error) {
        let words = format!("{}: {error}", self.settings.to);
        *whole(&self.figures.why) = words;
        if self
            .warned_at
            .is_none_or(|at| at.elapsed() >= 10 * TROUBLE_INTERVAL)
        {
            self.warned_at = Some(Instant::now());
            let lost = self.figures.lost.load(Relaxed);
            tracing::warn!(to = %self.settings.to, %error, lost, "access log lines are lost");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
