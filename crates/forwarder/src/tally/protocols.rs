//! What clients of a listener speak: their handshakes by version, their connections and streams of HTTP/2.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::tls::facts::Facts;

/// Completed TLS handshakes, by version and whether an earlier session was resumed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HandshakeFigures {
    /// New sessions in TLS 1.2.
    pub full_12: u64,
    /// New sessions in TLS 1.3.
    pub full_13: u64,
    /// Resumed sessions in TLS 1.2.
    pub resumed_12: u64,
    /// Resumed sessions in TLS 1.3.
    pub resumed_13: u64,
}

impl HandshakeFigures {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.full_12 + self.full_13 + self.resumed()
    }

    /// Those that resumed a session.
    pub fn resumed(&self) -> u64 {
        self.resumed_12 + self.resumed_13
    }
}

/// Counts handshakes. They cost so much that nobody notices whom else the counters are shared with.
#[derive(Debug, Default)]
pub(crate) struct HandshakeCounts([AtomicU64; 4]);

impl HandshakeCounts {
    /// One more was completed.
    pub(crate) fn count(&self, facts: &Facts) {
        let version = usize::from(facts.version == "1.3");
        let resumed = usize::from(facts.resumed);
        self.0[2 * resumed + version].fetch_add(1, Relaxed);
    }

    /// What was counted.
    pub(crate) fn read(&self) -> HandshakeFigures {
        let [full_12, full_13, resumed_12, resumed_13] =
            self.0.each_ref().map(|count| count.load(Relaxed));
        HandshakeFigures {
            full_12,
            full_13,
            resumed_12,
            resumed_13,
        }
    }
}

/// HTTP/2 with clients.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Http2Figures {
    /// Connections open.
    pub connections: u32,
    /// Connections ever opened.
    pub connections_total: u64,
    /// Streams that are being served.
    pub streams: u64,
    /// Requests ever read, which are streams.
    pub requests_total: u64,
}

/// What one thread has counted.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Share {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Counts connections and streams.
#[derive(Debug)]
pub(crate) struct Http2Counts {
    connections: AtomicU32,
    connections_total: AtomicU64,
    shares: Box<[Share]>,
}

impl Http2Counts {
    /// Nothing counted yet, by so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            connections: AtomicU32::new(0),
            connections_total: AtomicU64::new(0),
            shares: (0..threads).map(|_| Share::default()).collect(),
        }
    }

    /// One more connection.
    pub(crate) fn enter(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.connections_total.fetch_add(1, Relaxed);
    }

    /// One of them is over.
    pub(crate) fn leave(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// This thread has read the request of a stream.
    pub(crate) fn begin(&self, thread: usize) {
        self.more(thread, |share| &share.begun);
    }

    /// A request that this thread has read is over.
    pub(crate) fn end(&self, thread: usize) {
        self.more(thread, |share| &share.ended);
    }

    fn more(&self, thread: usize, of: fn(&Share) -> &AtomicU64) {
        if let Some(share) = self.shares.get(thread) {
            // Only this thread writes here.
            let count = of(share);
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
    }

    /// What was counted.
    pub(crate) fn read(&self) -> Http2Figures {
        let sum = |of: fn(&Share) -> &AtomicU64| -> u64 {
            self.shares
                .iter()
                .map(|share| of(share).load(Relaxed))
                .sum()
        };
        // What has ended is read first: it had begun.
        let ended = sum(|share| &share.ended);
        let begun = sum(|share| &share.begun);
        Http2Figures {
            connections: self.connections.load(Relaxed),
            connections_total: self.connections_total.load(Relaxed),
            streams: begun.saturating_sub(ended),
            requests_total: begun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_all_threads() {
        let counts = Http2Counts::new(2);
        counts.enter();
        counts.enter();
        counts.leave();
        for thread in [0, 1, 1, 7] {
            counts.begin(thread);
        }
        counts.end(1);
        let expected = Http2Figures {
            connections: 1,
            connections_total: 2,
            streams: 2,
            requests_total: 3, // the fourth was nobody's
        };
        assert_eq!(counts.read(), expected);
    }

    #[test]
    fn handshakes_by_version_and_kind() {
        let counts = HandshakeCounts::default();
        for (version, resumed) in [("1.2", false), ("1.3", true), ("1.3", true), ("1.3", false)] {
            counts.count(&Facts {
                version,
                cipher: "",
                key_exchange: None,
                alpn: None,
                server_name: None,
                resumed,
                client: None,
            });
        }
        let expected = HandshakeFigures {
            full_12: 1,
            full_13: 1,
            resumed_12: 0,
            resumed_13: 2,
        };
        assert_eq!(counts.read(), expected);
        assert_eq!((expected.total(), expected.resumed()), (4, 2));
    }
}
