//! What is known besides advertisements of who holds the addresses: answers to probes, claims by others, the gateway, received frames.
//!
//! Pure: facts in, sentences and orders out. It decides one thing: whether a node that has never heard anybody may take over.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use config::OnEvidence;
use vrrp::{Alarm, AlarmKind};

#[cfg(test)]
mod tests;
mod words;

/// How long an answer says that somebody is there.
const FRESH: Duration = Duration::from_secs(3);
/// Between two probes while it is withheld from taking over.
const HELD_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two probes before taking over.
const PROBE_FLOOR: Duration = Duration::from_millis(50);
/// After a takeover, when to ask whether the old holder has really gone: longer than the lease, and once more.
const PROBES_AFTERWARDS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(10)];
/// After a takeover, claims of the one who held the addresses are no conflict.
const GRACE: Duration = Duration::from_secs(1);
/// How long a claim waits to be called a conflict. Whoever takes over claims an address a moment before it advertises: if this node hears the
/// advertisement meanwhile and yields, the claim was rightful, and an announcement against it would mislead neighbours.
const SUSPENSE: Duration = Duration::from_millis(500);
/// Between two announcements against claims of others (RFC 5227 §2.4 asks for ten seconds; neighbours would be misled for as long).
const DEFENCE_INTERVAL: Duration = Duration::from_secs(1);
/// When the gateway is asked after a takeover; then again and again after the last interval.
const ASK_AT: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// Addresses of which an answer is kept.
const KEPT: usize = 32;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// Somebody who said that he has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    mac: Mac,
    at: Instant,
}

/// Claims that are rightful or a conflict, which time tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspicion {
    address: IpAddr,
    first_at: Instant,
    last: Answer,
    claims: u64,
}

/// The gateway since the takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gateway {
    address: Ipv4Addr,
    asked: usize,
    ask_at: Instant,
    answered: Option<Duration>,
}

/// Why it is withheld from taking over.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hold {
    /// Somebody answers for an address.
    Address(String),
    /// The peer says that it is active.
    Peer(String),
}

impl Hold {
    fn words(&self) -> &str {
        match self {
            Self::Address(words) | Self::Peer(words) => words,
        }
    }
}

/// What the peer says on the second path of the same virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerSays {
    /// Its name.
    pub(super) name: String,
    /// When it said so.
    pub(super) at: Instant,
    /// Its state, lower case.
    pub(super) state: String,
}

/// What to do for the sake of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Ask whether somebody has the addresses.
    Probe,
    /// Ask the gateway in the name of an address of ours.
    Ask(Ipv4Addr),
    /// Tell the neighbours again.
    Announce,
    /// Tell a person.
    Alarm(Alarm),
}

/// Everything but advertisements that is known of one virtual router.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    answers: BTreeMap<IpAddr, Answer>,
    peer_heard: bool,
    has_been_active: bool,
    active_since: Option<Instant>,
    probes: u32,
    probe_at: Option<Instant>,
    probes_afterwards: usize,
    held: Option<Hold>,
    changed: bool,
    suspicion: Option<Suspicion>,
    conflicts: u64,
    last_conflict: Option<(IpAddr, Answer)>,
    defended_at: Option<Instant>,
    gateway: Option<Gateway>,
    begun: bool,
    frames_at_start: Option<u64>,
    frames_at_takeover: Option<u64>,
}

impl Evidence {
    /// Takes note of the link's frame counter at the start.
    pub(super) fn begin(&mut self, frames: Option<u64>) {
        self.begun = true;
        self.frames_at_start = self.frames_at_start.or(frames);
    }

    /// Whether [`Evidence::begin`] was called.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// An advertisement was accepted: from here on silence says something.
    pub(super) fn note_peer(&mut self) {
        self.peer_heard = true;
        self.let_go();
    }

    /// Why it is withheld from taking over; none if it is not.
    pub(super) fn obstacle(&self) -> Option<String> {
        self.held.as_ref().map(|hold| hold.words().to_owned())
    }

    /// Whether [`Evidence::obstacle`] has changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether nothing is known yet, so that answers count before it takes over.
    pub(super) fn is_asked(&self) -> bool {
        !self.peer_heard && !self.has_been_active
    }

    /// The gateway of a node that is Active.
    pub(super) fn gateway(&self) -> Option<IpAddr> {
        self.gateway.map(|gateway| IpAddr::V4(gateway.address))
    }

    /// How many claims of others there were.
    pub(super) fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// When [`Evidence::due`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let ask_at = self
            .gateway
            .and_then(|gateway| gateway.answered.is_none().then_some(gateway.ask_at));
        let conflict_at = self
            .suspicion
            .map(|suspicion| suspicion.first_at + SUSPENSE);
        [self.probe_at, ask_at, conflict_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Starts, or goes on, to ask who has the addresses. `listens` is whether it is Backup, and `interval` its own.
    pub(super) fn arm(&mut self, now: Instant, listens: bool) {
        let unknowing = !self.peer_heard && !self.has_been_active;
        let wanted = self.is_held_by_address() || (listens && unknowing);
        let afterwards = self
            .active_since
            .zip(PROBES_AFTERWARDS.get(self.probes_afterwards));
        self.probe_at = match (self.probe_at, afterwards) {
            (Some(at), _) if wanted => Some(at),
            (None, _) if wanted => Some(now),
            (_, Some((since, delay))) => Some(since + *delay),
            (_, None) => None,
        };
    }

    /// It no longer serves: whoever has claimed an address may have it.
    pub(super) fn absolve(&mut self) {
        self.suspicion = None;
    }

    /// What is due.
    pub(super) fn due(
        &mut self,
        now: Instant,
        interval: Duration,
        frames: impl Fn() -> Option<u64>,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probes = self.probes.saturating_add(1);
            self.probe_at = None;
            if self.active_since.is_some() {
                self.probes_afterwards += 1;
                orders.extend(self.deafness(now, frames()).map(Order::Alarm));
            } else if self.is_held_by_address() {
                self.probe_at = Some(now + HELD_PROBE_INTERVAL);
            } else {
                self.probe_at = Some(now + interval.max(PROBE_FLOOR));
            }
            orders.push(Order::Probe);
        }
        self.ask_gateway(now, &mut orders);
        if let Some(suspicion) = (self.suspicion).filter(|it| now >= it.first_at + SUSPENSE) {
            self.suspicion = None;
            orders.extend(self.conflict(now, suspicion));
        }
        if self.is_held_by_address() && !self.is_answered(now) {
            self.let_go();
        }
        orders
    }

    fn ask_gateway(&mut self, now: Instant, orders: &mut Vec<Order>) {
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        let Some(since) = self.active_since else {
            return;
        };
        if gateway.answered.is_some() || gateway.ask_at > now {
            return;
        }
        let beyond = gateway.asked >= ASK_AT.len();
        if beyond {
            // The schedule of announcements has ended, and nothing shows that it was seen.
            orders.push(Order::Announce);
            orders.push(Order::Alarm(Alarm {
                kind: AlarmKind::GatewaySilent,
                words: format!(
                    "the gateway {} has not answered since the takeover {} s ago; the addresses are announced again",
                    gateway.address,
                    (now - since).as_secs()
                ),
            }));
        }
        orders.push(Order::Ask(gateway.address));
        gateway.asked += 1;
        gateway.ask_at = ASK_AT
            .get(gateway.asked)
            .map_or(now + ASK_INTERVAL, |delay| since + *delay);
    }

    /// Some time after a takeover: nothing at all has come in since, although the gateway was asked. A link on which nobody has to speak
    /// may be quiet for as long.
    fn deafness(&self, now: Instant, frames: Option<u64>) -> Option<Alarm> {
        let since = self.active_since?;
        let unanswered = self.gateway?.answered.is_none();
        let deaf = unanswered && self.is_quiet(frames);
        deaf.then(|| Alarm {
            kind: AlarmKind::Deaf,
            words: format!(
                "nothing at all was received in the {} s since the takeover, not even of the gateway: this node is cut off, or deaf",
                (now - since).as_secs()
            ),
        })
    }

    fn is_quiet(&self, frames: Option<u64>) -> bool {
        frames.is_some() && frames == self.frames_at_takeover
    }

    /// The time to take over has come. What to say, and whether to take over all the same.
    pub(super) fn weigh(&mut self, now: Instant, policy: OnEvidence) -> Weighed {
        if self.peer_heard || self.has_been_active {
            return Weighed::Promote(None);
        }
        let Some((address, answer)) = self.fresh(now) else {
            return Weighed::Promote(None);
        };
        let words = format!(
            "{address} answers at {} although no advertisement was ever heard: somebody is active whom this node does not hear",
            show(answer.mac)
        );
        let alarm = |words| Alarm {
            kind: AlarmKind::AddressAnswers,
            words,
        };
        match policy {
            OnEvidence::Promote => {
                Weighed::Promote(Some(alarm(format!("{words}; taking over all the same"))))
            }
            OnEvidence::Hold => {
                self.held = Some(Hold::Address(words.clone()));
                self.changed = true;
                self.probe_at = Some(now + HELD_PROBE_INTERVAL);
                Weighed::Hold(alarm(words))
            }
        }
    }

    /// The active router is silent, and the time to take over has come; `silent_since` is when its next advertisement was due. What the
    /// peer says counts only if it was said after that: before, it may have died meanwhile.
    pub(super) fn weigh_peer(
        &mut self,
        now: Instant,
        silent_since: Instant,
        says: Option<&PeerSays>,
        policy: OnEvidence,
    ) -> Weighed {
        let Some(says) = says.filter(|says| says.state == "active" && says.at > silent_since)
        else {
            return Weighed::Promote(None);
        };
        let words = format!(
            "{} is silent here, but said {} ms ago on the second path that it is active: a fault between the nodes",
            says.name,
            (now - says.at).as_millis()
        );
        let alarm = |words| Alarm {
            kind: AlarmKind::FaultBetween,
            words,
        };
        match policy {
            OnEvidence::Promote => {
                Weighed::Promote(Some(alarm(format!("{words}; taking over all the same"))))
            }
            OnEvidence::Hold => {
                self.held = Some(Hold::Peer(words.clone()));
                self.changed = true;
                Weighed::Hold(alarm(words))
            }
        }
    }

    /// The peer may have something else to say now, or nothing.
    pub(super) fn hear_peer(&mut self, says: Option<&PeerSays>) {
        if self.is_held_by_peer() && says.is_none_or(|says| says.state != "active") {
            self.let_go();
        }
    }

    /// Whether it is withheld by what the peer says.
    pub(super) fn is_held_by_peer(&self) -> bool {
        matches!(self.held, Some(Hold::Peer(_)))
    }

    fn is_held_by_address(&self) -> bool {
        matches!(self.held, Some(Hold::Address(_)))
    }

    /// It has become Active, on a link with this gateway and frame counter.
    pub(super) fn note_active(
        &mut self,
        now: Instant,
        gateway: Option<Ipv4Addr>,
        frames: Option<u64>,
    ) {
        self.has_been_active = true;
        self.active_since = Some(now);
        self.probes_afterwards = 0;
        self.probe_at = None;
        self.frames_at_takeover = frames;
        self.gateway = gateway.map(|address| Gateway {
            address,
            asked: 0,
            ask_at: now,
            answered: None,
        });
    }

    /// It is no longer Active.
    pub(super) fn note_inactive(&mut self) {
        self.active_since = None;
        self.gateway = None;
        self.probe_at = None;
        self.absolve();
    }

    /// Somebody else says that he has an address: one of ours, or the gateway his own.
    pub(super) fn note_claim(&mut self, now: Instant, address: IpAddr, mac: Mac, serves: bool) {
        if let Some(gateway) = &mut self.gateway
            && IpAddr::V4(gateway.address) == address
        {
            if let (None, Some(since)) = (gateway.answered, self.active_since) {
                gateway.answered = Some(now - since);
            }
            return;
        }
        let answer = Answer { mac, at: now };
        if self.answers.len() < KEPT || self.answers.contains_key(&address) {
            self.answers.insert(address, answer);
        }
        if !serves || self.active_since.is_none_or(|since| now < since + GRACE) {
            return;
        }
        let suspicion = self.suspicion.get_or_insert(Suspicion {
            address,
            first_at: now,
            last: answer,
            claims: 0,
        });
        (suspicion.address, suspicion.last) = (address, answer);
        suspicion.claims += 1;
    }

    fn conflict(&mut self, now: Instant, suspicion: Suspicion) -> Vec<Order> {
        let Suspicion { address, last, .. } = suspicion;
        self.conflicts += suspicion.claims;
        self.last_conflict = Some((address, last));
        if self
            .defended_at
            .is_some_and(|at| now < at + DEFENCE_INTERVAL)
        {
            return Vec::new();
        }
        self.defended_at = Some(now);
        let words = format!(
            "{address}, held here, is claimed by {}: two nodes are active, or a stranger has the address; announced again",
            show(last.mac)
        );
        vec![
            Order::Announce,
            Order::Alarm(Alarm {
                kind: AlarmKind::AddressConflict,
                words,
            }),
        ]
    }

    fn fresh(&self, now: Instant) -> Option<(IpAddr, Answer)> {
        let mut answers = self.answers.iter();
        let found = answers.find(|(_, answer)| now < answer.at + FRESH);
        found.map(|(address, answer)| (*address, *answer))
    }

    fn is_answered(&self, now: Instant) -> bool {
        self.fresh(now).is_some()
    }

    fn let_go(&mut self) {
        self.changed |= self.held.take().is_some();
    }
}

/// What [`Evidence::weigh`] comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weighed {
    /// Take over; with something to say if there is evidence against it.
    Promote(Option<Alarm>),
    /// Do not.
    Hold(Alarm),
}

/// `02:00:00:00:00:03`
fn show(mac: Mac) -> String {
    let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}
