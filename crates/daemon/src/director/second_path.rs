//! The socket of the second path, and what the node does with what it hears there.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use control::NodeFacts;

use super::Director;
use super::evidence::PeerSays;
use super::heartbeat::{Heartbeat, Summary};
use super::signing;

/// Messages taken before everything else has its turn.
const BATCH: usize = 16;
/// Larger than any message of ours.
const BUFFER: usize = 32 * 1024;
/// Bounds of the time between two beats; within them it is the shortest advertisement interval.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// An address that is not there yet is tried again after this long.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The exchange, if one is configured, and its socket, once it could be opened.
#[derive(Default)]
pub(super) struct SecondPath {
    pub(super) heartbeat: Option<Heartbeat>,
    socket: Option<tokio::net::UdpSocket>,
    retry_at: Option<Instant>,
    error: Option<String>,
    alive: bool,
    /// When the other node is told what people want to know.
    facts_at: Option<Instant>,
}

impl SecondPath {
    /// Waits until there is something to read; for ever without a socket.
    pub(super) async fn readable(&self) {
        match &self.socket {
            Some(socket) if socket.readable().await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat.as_ref()?;
        match self.socket {
            Some(_) => Some(heartbeat.deadline()),
            None => self.retry_at,
        }
    }

    /// What is wrong with it, in words.
    pub(super) fn problem(&self, now: Instant) -> Option<String> {
        let heartbeat = self.heartbeat.as_ref()?;
        if let Some(error) = &self.error {
            return Some(format!("heartbeat from {}: {error}", heartbeat.own));
        }
        if heartbeat.is_alive(now) {
            return None;
        }
        let refused = heartbeat.refused();
        let reasons: Vec<String> = refused
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let heard = heartbeat
            .heard()
            .map_or("was never heard".to_owned(), |(at, _)| {
                format!("was heard {} s ago", (now - at).as_secs())
            });
        let refused = match reasons.is_empty() {
            true => String::new(),
            false => format!("; refused: {}", reasons.join(", ")),
        };
        Some(format!(
            "no heartbeat: {} ({}) {heard}{refused}",
            heartbeat.peer_name, heartbeat.peer
        ))
    }

    /// Hash of the configuration the peer runs, if it is alive.
    pub(super) fn peer_hash(&self, now: Instant) -> Option<String> {
        let heartbeat = self.heartbeat.as_ref()?;
        let (_, summary) = heartbeat.heard().filter(|_| heartbeat.is_alive(now))?;
        Some(summary.config_hash.clone())
    }

    fn open(&mut self, now: Instant) {
        let Some(heartbeat) = &self.heartbeat else {
            return;
        };
        match bind(heartbeat.own) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.error = None;
            }
            Err(error) => {
                self.error = Some(error.to_string());
                self.retry_at = Some(now + RETRY_INTERVAL);
            }
        }
    }
}

fn bind(own: SocketAddr) -> std::io::Result<tokio::net::UdpSocket> {
    let socket = UdpSocket::bind(own)?;
    socket.set_nonblocking(true)?;
    tokio::net::UdpSocket::from_std(socket)
}

impl Director {
    /// Begins the exchange that the configuration asks for, unless it runs already.
    pub(super) fn follow_heartbeat(&mut self, now: Instant) {
        let pair = self.running.config.pair.as_ref();
        let wanted = pair.and_then(|pair| pair.heartbeat.clone());
        let routers = &self.running.config.vrrp;
        let quickest = routers
            .iter()
            .map(|router| router.settings.advert_interval.as_duration())
            .min();
        let interval = quickest
            .unwrap_or(INTERVALS.1)
            .clamp(INTERVALS.0, INTERVALS.1);
        let runs = self.second_path.heartbeat.as_ref().map(Heartbeat::settings);
        if runs
            .as_ref()
            .map(|(settings, interval)| (settings, *interval))
            == wanted.as_ref().map(|wanted| (wanted, interval))
        {
            return;
        }
        self.second_path = SecondPath {
            heartbeat: wanted.map(|wanted| Heartbeat::new(now, &wanted, interval, rand::random())),
            ..SecondPath::default()
        };
        self.second_path.open(now);
    }

    /// Sends what is due, and notices what is no longer said.
    pub(super) fn run_second_path(&mut self, now: Instant) {
        if self.second_path.socket.is_none()
            && self.second_path.retry_at.is_some_and(|at| at <= now)
        {
            self.second_path.open(now);
        }
        let told = self.facts_to_tell(now);
        let tells = told.is_some();
        let summary = || Summary {
            facts: told,
            config_hash: self.running.config.hash.clone(),
            routers: (self.instances.iter())
                .filter(|instance| !instance.departing)
                .map(|instance| {
                    let said = (
                        instance.state().as_str().to_owned(),
                        instance.effective_priority().value(),
                    );
                    (instance.config.name.clone(), said)
                })
                .collect::<BTreeMap<_, _>>(),
        };
        let path = &mut self.second_path;
        let (Some(heartbeat), Some(socket)) = (&mut path.heartbeat, &path.socket) else {
            return;
        };
        if let Some(message) = heartbeat.due(now, signing::wall(), rand::random(), summary) {
            if tells {
                path.facts_at = Some(now + super::pair::INTERVAL);
            }
            let sent = socket.try_send_to(&message, heartbeat.peer);
            path.error = sent
                .err()
                .filter(|error| !is_passing(error))
                .map(|error| error.to_string());
            let alive = heartbeat.is_alive(now);
            if std::mem::replace(&mut path.alive, alive) && !alive {
                self.spread_what_the_peer_says(now);
            }
        }
    }

    /// What the next message tells for people, if that message is due, and they are.
    fn facts_to_tell(&mut self, now: Instant) -> Option<Box<NodeFacts>> {
        let path = &self.second_path;
        let heartbeat = path.heartbeat.as_ref().filter(|_| path.socket.is_some())?;
        let rests = path.facts_at.is_some_and(|at| at > now);
        if heartbeat.deadline() > now || rests {
            return None;
        }
        self.look_at_targets(now);
        Some(Box::new(self.own_facts()))
    }

    /// Takes what waits on the second path.
    pub(super) fn on_heartbeat(&mut self, now: Instant) {
        let mut buffer = [0; BUFFER];
        for _ in 0..BATCH {
            let path = &mut self.second_path;
            let (Some(heartbeat), Some(socket)) = (&mut path.heartbeat, &path.socket) else {
                return;
            };
            match socket.try_recv_from(&mut buffer) {
                Ok((len, source)) => {
                    heartbeat.receive(
                        now,
                        signing::wall(),
                        rand::random(),
                        source.ip(),
                        &buffer[..len],
                    );
                }
                // What an earlier message came to is told here too: a port that nobody listens on, for instance.
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        if let Some(heartbeat) = &self.second_path.heartbeat {
            self.second_path.alive = heartbeat.is_alive(now);
        }
        self.spread_what_the_peer_says(now);
    }

    fn spread_what_the_peer_says(&mut self, now: Instant) {
        let Some(heartbeat) = &self.second_path.heartbeat else {
            return;
        };
        let said: Vec<Option<PeerSays>> = (self.instances.iter())
            .map(|instance| {
                let (at, state, _) = heartbeat.peer_router(now, &instance.config.name)?;
                Some(PeerSays {
                    name: heartbeat.peer_name.clone(),
                    at,
                    state: state.to_owned(),
                })
            })
            .collect();
        for (index, says) in said.into_iter().enumerate() {
            if self.instances[index].evidence.is_held_by_peer() {
                self.instances[index].hear_peer(says);
            } else {
                self.instances.quietly(index).hear_peer(says);
            }
        }
    }
}

/// Nobody listens there yet, or the path is down: the other is silent, which is said elsewhere.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::WouldBlock
    )
}
