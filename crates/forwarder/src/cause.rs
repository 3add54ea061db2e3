//! Why something was not answered or relayed as it should: a bounded set of words, the same in answers, logs and
//! counters. Each says what happened and where.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:literal;)*) => {
        /// Why something did not go well.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            const ALL: &[Cause] = &[$(Cause::$name,)*];

            /// The word.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Cause::$name => $word,)*
                }
            }

            /// The usual status of the answer; 0 if it comes too late for one.
            pub(crate) fn status(self) -> u16 {
                match self {
                    $(Cause::$name => $status,)*
                }
            }
        }
    };
}

causes! {
    /// What the client said in the handshake was not understood: it may be no TLS at all.
    HandshakeRefused = "client-malformed@handshake", 0;
    /// The client asked for nothing in TLS that is offered.
    HandshakeIncompatible = "client-incompatible@handshake", 0;
    /// The client refused what it was offered, its certificate mostly.
    HandshakeDeclined = "client-refused@handshake", 0;
    /// The client showed no certificate that is believed.
    HandshakeUnverified = "client-unverified@handshake", 0;
    /// The client left before the TLS handshake was done.
    HandshakeAborted = "client-abort@handshake", 0;
    /// The TLS handshake took too long.
    HandshakeTimeout = "client-timeout@handshake", 0;
    /// Too many TLS handshakes at once: the oldest made room.
    HandshakeLimit = "limit@handshake", 0;
    /// The request head was malformed.
    Malformed = "client-malformed@headers", 400;
    /// The request head was too large, in one of the ways it can be.
    HeadLimit = "limit@headers", 431;
    /// The request asked for something that is not offered.
    Unsupported = "unsupported@headers", 501;
    /// A client of HTTP/2 made more work with its frames than it may.
    FrameLimit = "limit@frames", 0;
    /// The request head did not come in time.
    HeaderTimeout = "client-timeout@headers", 408;
    /// The request body did not come in time.
    BodyTimeout = "client-timeout@body", 408;
    /// The request body was malformed.
    BadBody = "client-malformed@body", 400;
    /// The request body was longer than allowed.
    BodyTooLarge = "limit@body", 413;
    /// No target may be tried.
    NoTarget = "target-down@pick", 503;
    /// Every target has as much to do as it may have, and as many wait as may.
    QueueFull = "limit@queue", 503;
    /// No target had a place in time.
    QueueTimeout = "queue-timeout@queue", 503;
    /// The client closed its side while it waited for a place.
    QueueClientGone = "client-abort@queue", 503;
    /// No target took the connection.
    ConnectFailed = "connect-refused@connect", 502;
    /// This machine had no descriptor, port or memory left for a connection to a target.
    ConnectUsedUp = "used-up@connect", 503;
    /// The target is not whom it should be, or cannot do TLS as it should.
    TlsFailed = "tls-failed@connect", 502;
    /// The target did not take the connection in time.
    ConnectTimeout = "connect-timeout@connect", 504;
    /// The target closed a kept connection under a request that must not be repeated.
    ReusedClosed = "reused-closed@headers", 502;
    /// The target closed before it answered.
    TargetReset = "target-reset@headers", 502;
    /// The target did not answer in time.
    TargetTimeout = "target-timeout@headers", 504;
    /// The target did not read the request in time.
    TargetStalled = "target-timeout@request", 504;
    /// The target was found dead before it answered.
    TargetDied = "target-down@headers", 502;
    /// The target was found dead before it took the connection.
    ConnectDied = "target-down@connect", 502;
    /// What the target answered was not understood.
    BadResponse = "target-malformed@headers", 502;
    /// The target broke its answer off, or its body was malformed.
    TargetCut = "target-reset@body", 0;
    /// The target fell silent in the middle of its answer.
    TargetCutTimeout = "target-timeout@body", 0;
    /// The client left before an answer began.
    ClientGoneEarly = "client-abort@request", 0;
    /// The client left, or stopped reading, while it was answered.
    ClientGone = "client-abort@answer", 0;
    /// The target is to be left, and the time for that has passed.
    Drained = "drain-limit@target", 502;
    /// The client reset a tunnel.
    TunnelClientReset = "client-reset@tunnel", 0;
    /// The target reset a tunnel.
    TunnelTargetReset = "target-reset@tunnel", 0;
    /// The target of a tunnel was found dead.
    TunnelTargetDied = "target-down@tunnel", 0;
    /// The node was stopped, and a tunnel was still open when its time was up.
    TunnelStopped = "node-stop@tunnel", 0;
    /// Somebody ordered the end of a tunnel.
    TunnelOrdered = "ordered@tunnel", 0;
    /// The address of a tunnel went to the other node.
    TunnelMoved = "failover@tunnel", 0;
    /// The address went to the other node before the request was answered whole.
    Moved = "failover@request", 502;
    /// Nothing moved in a tunnel for too long.
    TunnelTimeout = "idle-timeout@tunnel", 0;
    /// A proxy that is believed did not say, in the PROXY protocol, whose its connection is.
    ProxyHeader = "client-malformed@proxy", 400;
    /// The client had as many connections or flows as it may have.
    ClientLimit = "limit@client", 503;
    /// A datagram was longer than any may be.
    Truncated = "truncated@datagram", 0;
    /// A datagram came from an address that cannot be answered.
    BadSource = "bad-source@datagram", 0;
    /// A datagram was longer than the way to the target allows.
    TooLong = "too-long@datagram", 0;
    /// A datagram came faster than those before it were taken; the kernel dropped it.
    Overrun = "overrun@datagram", 0;
    /// The listener's rules close what comes from there.
    Refused = "refused@rule", 403;
    /// A flow made room for another one.
    FlowEvicted = "evicted@flow", 0;
    /// There was no room for a flow.
    FlowLimit = "limit@flow", 0;
    /// This machine had no descriptor or port left for a flow.
    UsedUp = "used-up@flow", 0;
    /// The target's machine said that nobody listens, or there is no way to it.
    Unreachable = "target-unreachable@flow", 0;
    /// The way to the target was full.
    TargetFull = "target-full@flow", 0;
    /// The target answered more often than it was asked.
    Unasked = "unasked@answer", 0;
    /// The way to the client was full, or is not there.
    AnswerLost = "client-full@answer", 0;
}

/// How often each cause came up.
#[derive(Debug)]
pub(crate) struct CauseCounters(Vec<AtomicU64>);

impl Default for CauseCounters {
    fn default() -> Self {
        Self(Cause::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl CauseCounters {
    /// Counts one more.
    pub(crate) fn count(&self, cause: Cause) {
        self.count_many(cause, 1);
    }

    /// Counts so many more.
    pub(crate) fn count_many(&self, cause: Cause, more: usize) {
        if let Some(counter) = self.0.get(cause as usize)
            && more > 0
        {
            counter.fetch_add(more as u64, Relaxed);
        }
    }

    /// The causes that came up, always in the same order.
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let counts = Cause::ALL
            .iter()
            .zip(&self.0)
            .map(|(cause, count)| (cause.as_str(), count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_word_and_a_counter_of_its_own() {
        let counters = CauseCounters::default();
        Cause::ALL.iter().for_each(|cause| counters.count(*cause));
        counters.count(Cause::NoTarget);
        let read = counters.read();
        let words: std::collections::BTreeSet<_> = read.iter().map(|(word, _)| word).collect();
        assert_eq!(
            (read.len(), words.len()),
            (Cause::ALL.len(), Cause::ALL.len())
        );
        let twice: Vec<_> = read.iter().filter(|(_, count)| *count != 1).collect();
        assert_eq!(twice, [&("target-down@pick", 2)]);
    }
}
