//! The second path: each node of a pair tells the other over UDP, on another network, that it lives and what its virtual routers are.
//!
//! Pure: octets and instants in, octets and views out. What is said is signed with the pair's key and made for one exchange: it carries a
//! number that the other has drawn at its start, so that nothing recorded before can be sent again, and a stamp that grows, so that nothing
//! recorded since can.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::NodeFacts;
use serde::{Deserialize, Serialize};
use vrrp::{Authentication, Guard, Marks, Sequencer, WallTime};

#[cfg(test)]
mod tests;

/// Begins every message: a version no advertisement has, so that neither can stand for the other under one key.
const PREAMBLE: [u8; 8] = [0xf1, b'T', b'H', b'B', 1, 0, 0, 0];
/// Virtual routers told of; of more, nothing is said.
const ROUTERS: usize = 200;
/// Beats without which the other is not alive.
const MISSED: u32 = 4;

/// What one node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// Drawn by the sender at its start.
    own: u64,
    /// What the receiver has drawn, as far as the sender knows.
    yours: u64,
    /// Between two beats, in milliseconds.
    interval_ms: u64,
    /// What there is to know.
    summary: Summary,
}

/// A node in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Hash of its configuration.
    pub(super) config_hash: String,
    /// State (lower case) and effective priority, by name of the virtual router.
    pub(super) routers: BTreeMap<String, (String, u8)>,
    /// What people want to know of it; not in every message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) facts: Option<Box<NodeFacts>>,
}

/// The other node, as it said itself last.
#[derive(Debug, Clone)]
struct Heard {
    at: Instant,
    interval: Duration,
    summary: Summary,
}

/// What the other node has told of itself for people, and how far its clock was ahead of ours when that arrived.
#[derive(Debug, Clone)]
pub(super) struct HeardFacts {
    pub(super) facts: NodeFacts,
    pub(super) clock_ahead_ms: i64,
}

/// The exchange with the other node.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) own: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) peer_name: String,
    interval: Duration,
    authentication: Arc<Authentication>,
    nonce: u64,
    peer_nonce: u64,
    sequencer: Sequencer,
    marks: Marks,
    in_exchange: bool,
    heard: Option<Heard>,
    facts: Option<HeardFacts>,
    next_at: Instant,
    refused: BTreeMap<&'static str, u64>,
}

impl Heartbeat {
    /// An exchange in which nothing has been said. `nonce` is drawn at random.
    pub(super) fn new(
        now: Instant,
        settings: &config::Heartbeat,
        interval: Duration,
        nonce: u64,
    ) -> Self {
        Self {
            own: settings.own,
            peer: settings.peer,
            peer_name: settings.peer_name.clone(),
            interval,
            authentication: Arc::clone(&settings.authentication),
            nonce,
            peer_nonce: 0,
            sequencer: Sequencer::default(),
            marks: Marks::default(),
            in_exchange: false,
            heard: None,
            facts: None,
            next_at: now,
            refused: BTreeMap::new(),
        }
    }

    /// What it was made from.
    pub(super) fn settings(&self) -> (config::Heartbeat, Duration) {
        let settings = config::Heartbeat {
            own: self.own,
            peer: self.peer,
            peer_name: self.peer_name.clone(),
            authentication: Arc::clone(&self.authentication),
        };
        (settings, self.interval)
    }

    /// When the next beat is due.
    pub(super) fn deadline(&self) -> Instant {
        self.next_at
    }

    /// The next beat, if it is due. `draw` is a number drawn at random, for a new exchange if one begins.
    pub(super) fn due(
        &mut self,
        now: Instant,
        wall: WallTime,
        draw: u64,
        summary: impl FnOnce() -> Summary,
    ) -> Option<Vec<u8>> {
        if now < self.next_at {
            return None;
        }
        self.next_at = now + self.interval;
        if self.in_exchange && !self.is_alive(now) {
            self.begin_anew(draw);
        }
        let mut summary = summary();
        while summary.routers.len() > ROUTERS {
            summary.routers.pop_last();
        }
        let beat = Beat {
            own: self.nonce,
            yours: self.peer_nonce,
            interval_ms: u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
            summary,
        };
        let mut message = PREAMBLE.to_vec();
        message.extend(serde_json::to_vec(&beat).expect("a beat is plain data"));
        let stamp = self.sequencer.next(wall, &self.authentication);
        vrrp::seal(&self.authentication, self.own.ip(), &mut message, stamp);
        Some(message)
    }

    /// Takes what has arrived. What is not believed is counted, and may begin an exchange with a node that has started; nothing else.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        wall: WallTime,
        draw: u64,
        source: IpAddr,
        packet: &[u8],
    ) {
        if let Err(reason) = self.believe(now, wall, draw, source, packet) {
            *self.refused.entry(reason).or_default() += 1;
        }
    }

    fn believe(
        &mut self,
        now: Instant,
        wall: WallTime,
        draw: u64,
        source: IpAddr,
        packet: &[u8],
    ) -> Result<(), &'static str> {
        if source != self.peer.ip() {
            return Err("source");
        }
        let authentication = Arc::clone(&self.authentication);
        let open = |marks| {
            vrrp::open_sealed(&authentication, source, packet, Guard { wall, marks })
                .map_err(vrrp::Reject::as_str)
        };
        let mut unmarked = Marks::default();
        let message = open(&mut unmarked)?;
        let body = message.strip_prefix(&PREAMBLE).ok_or("preamble")?;
        let beat: Beat = serde_json::from_slice(body).map_err(|_| "body")?;
        if self.in_exchange && !self.is_alive(now) {
            self.begin_anew(draw);
        }
        let known = beat.own == self.peer_nonce;
        if beat.yours != self.nonce || (self.in_exchange && !known) {
            // It has not heard us yet, or this is old. During an exchange the other's number does not change by that.
            if !self.in_exchange {
                self.peer_nonce = beat.own;
            }
            return Err("not_for_this_exchange");
        }
        open(&mut self.marks)?;
        self.peer_nonce = beat.own;
        self.in_exchange = true;
        let mut summary = beat.summary;
        if let Some(facts) = summary.facts.take() {
            let ours = i64::try_from(wall.0.as_millis()).unwrap_or(i64::MAX);
            let clock_ahead_ms = facts.said_at.as_millis().saturating_sub(ours);
            self.facts = Some(HeardFacts {
                facts: *facts,
                clock_ahead_ms,
            });
        }
        self.heard = Some(Heard {
            at: now,
            interval: Duration::from_millis(beat.interval_ms.clamp(10, 10_000)),
            summary,
        });
        Ok(())
    }

    /// Another number for another exchange: what was said in the last one counts no more.
    fn begin_anew(&mut self, draw: u64) {
        self.nonce = draw;
        self.marks = Marks::default();
        self.in_exchange = false;
        self.facts = None;
    }

    /// Whether the other was heard lately.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.heard
            .as_ref()
            .is_some_and(|heard| now < heard.at + heard.interval * MISSED)
    }

    /// When the other was heard last, and what it said.
    pub(super) fn heard(&self) -> Option<(Instant, &Summary)> {
        self.heard.as_ref().map(|heard| (heard.at, &heard.summary))
    }

    /// What the other one has told of itself for people, if it is alive.
    pub(super) fn heard_facts(&self, now: Instant) -> Option<&HeardFacts> {
        self.facts.as_ref().filter(|_| self.is_alive(now))
    }

    /// The other's state of one virtual router, if it is alive: when that was said, the state and the priority.
    pub(super) fn peer_router(&self, now: Instant, name: &str) -> Option<(Instant, &str, u8)> {
        let heard = self.heard.as_ref().filter(|_| self.is_alive(now))?;
        let (state, priority) = heard.summary.routers.get(name)?;
        Some((heard.at, state, *priority))
    }

    /// How many were refused, by reason.
    pub(super) fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }
}
