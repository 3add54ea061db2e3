//! The director's side of the stream to the forwarder, and what it believes of the data plane.
//!
//! The director never waits here: orders are queued, answers and silence are seen when they come.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use config::Config;
use control::internal::{DerivedKey, FromForwarder, Pulse, ToForwarder, read_frame, write_frame};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::tracking::DataPlane;

/// A forwarder that says nothing for this long cannot be trusted with clients.
const SILENCE_LIMIT: Duration = Duration::from_secs(1);
/// The same for one that has yet to say its first word.
const FIRST_WORD_LIMIT: Duration = Duration::from_secs(5);
/// Orders that may wait for a forwarder that does not read.
const QUEUED_ORDERS: usize = 16;
/// Of these, places that questions leave free for what changes something.
const KEPT_FREE: usize = 8;
/// A forwarder that has been stuck for this long is killed, so that another one can be started.
const HOPELESS_AFTER: Duration = Duration::from_secs(4);
/// A configuration that a forwarder could not put to work, because somebody else has its port for example, is given to it again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The forwarder process as the keeper reports it, and the stream to it.
pub(super) struct Plane {
    configured: bool,
    process: Option<Process>,
    ended_with: Option<String>,
    restarts: u64,
    messages: mpsc::Sender<(u64, FromForwarder)>,
    link_number: u64,
    stuck_since: Option<Instant>,
    given_up: bool,
    usable: BTreeMap<String, usize>,
    refusal: Option<Refusal>,
}

/// Why a forwarder that runs serves nothing.
struct Refusal {
    why: String,
    again_at: Instant,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Taken {
    /// It will be carried out.
    Queued,
    /// No forwarder runs. One that starts is told everything.
    Nobody,
    /// The forwarder has not taken the orders before it.
    Full,
}

struct Process {
    pid: u32,
    started_at: Instant,
    orders: mpsc::Sender<ToForwarder>,
    /// The last pulse or, before the first, the beginning of the stream.
    heard_at: Instant,
    pulse: Option<Pulse>,
}

impl Process {
    /// How long it may say nothing.
    fn silence_limit(&self) -> Duration {
        match self.pulse {
            Some(_) => SILENCE_LIMIT,
            None => FIRST_WORD_LIMIT,
        }
    }
}

impl Plane {
    /// Messages of forwarders go to `messages`, with the number of the stream they came from.
    pub(super) fn new(messages: mpsc::Sender<(u64, FromForwarder)>) -> Self {
        Self {
            configured: false,
            process: None,
            ended_with: None,
            restarts: 0,
            messages,
            link_number: 0,
            stuck_since: None,
            given_up: false,
            usable: BTreeMap::new(),
            refusal: None,
        }
    }

    /// Whether the configuration has listeners, so that a forwarder should run.
    pub(super) fn set_configured(&mut self, configured: bool) {
        self.configured = configured;
    }

    /// A forwarder runs and `stream` leads to it.
    pub(super) fn started(&mut self, pid: u32, restarts: u64, uptime: Duration, stream: OwnedFd) {
        self.restarts = restarts;
        self.ended_with = None;
        self.stuck_since = None;
        self.given_up = false;
        self.usable.clear();
        self.refusal = None;
        self.link_number += 1;
        let now = Instant::now();
        let started_at = now.checked_sub(uptime).unwrap_or(now);
        match open(self.link_number, stream, self.messages.clone()) {
            Ok(orders) => {
                self.process = Some(Process {
                    pid,
                    started_at,
                    orders,
                    heard_at: now,
                    pulse: None,
                })
            }
            Err(error) => tracing::warn!(%error, "no stream to the forwarder"),
        }
    }

    /// The forwarder has ended.
    pub(super) fn ended(&mut self, how: String) {
        self.process = None;
        self.usable.clear();
        self.refusal = None;
        self.ended_with = Some(how);
    }

    /// Notes a pulse; those of an earlier stream are passed over.
    pub(super) fn on_pulse(&mut self, now: Instant, link_number: u64, pulse: Pulse) {
        if link_number == self.link_number
            && let Some(process) = &mut self.process
        {
            process.heard_at = now;
            process.pulse = Some(pulse);
            if pulse.listening {
                self.refusal = None;
            }
        }
    }

    /// The forwarder cannot put to work what it was given. True if that is news: it serves nothing, and did not say so before. One that
    /// serves an earlier configuration goes on with that.
    pub(super) fn on_refused(&mut self, now: Instant, why: &str) -> bool {
        let is_serving = |process: &Process| process.pulse.is_some_and(|pulse| pulse.listening);
        if self.process.as_ref().is_none_or(is_serving) {
            return true;
        }
        let is_news = self.refusal.as_ref().is_none_or(|known| known.why != why);
        self.refusal = Some(Refusal {
            why: why.to_owned(),
            again_at: now + AGAIN_AFTER,
        });
        is_news
    }

    /// Whether the configuration should be given to the forwarder once more.
    pub(super) fn take_again(&mut self, now: Instant) -> bool {
        let Some(refusal) = self.refusal.as_mut().filter(|known| known.again_at <= now) else {
            return false;
        };
        refusal.again_at = now + AGAIN_AFTER;
        true
    }

    /// When [`Self::take_again`] has something to say.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.refusal.as_ref().map(|refusal| refusal.again_at)
    }

    /// Notes how many targets of each group are usable, unless it is of an earlier stream.
    pub(super) fn on_usable(&mut self, link_number: u64, usable: BTreeMap<String, usize>) {
        if link_number == self.link_number && self.process.is_some() {
            self.usable = usable;
        }
    }

    /// Usable targets by group; empty as long as the forwarder has not said anything.
    pub(super) fn usable(&self) -> &BTreeMap<String, usize> {
        &self.usable
    }

    /// This process itself was away: silence of the forwarder counts from here.
    pub(super) fn excuse(&mut self, now: Instant) {
        if let Some(process) = &mut self.process {
            process.heard_at = now;
        }
    }

    /// Queues an order that changes something.
    pub(super) fn order(&self, order: ToForwarder) -> Taken {
        let Some(process) = &self.process else {
            return Taken::Nobody;
        };
        match process.orders.try_send(order) {
            Ok(()) => Taken::Queued,
            Err(mpsc::error::TrySendError::Closed(_)) => Taken::Nobody,
            Err(mpsc::error::TrySendError::Full(_)) => Taken::Full,
        }
    }

    /// Queues a question; false when there is nobody to ask, or too many questions wait.
    pub(super) fn ask(&self, question: ToForwarder) -> bool {
        let room = |process: &&Process| process.orders.capacity() > KEPT_FREE;
        self.process
            .as_ref()
            .filter(room)
            .is_some_and(|process| process.orders.try_send(question).is_ok())
    }

    /// What the director believes of the data plane.
    pub(super) fn view(&self, now: Instant) -> DataPlane {
        if !self.configured {
            return DataPlane::Off;
        }
        let Some(process) = &self.process else {
            return self
                .ended_with
                .clone()
                .map_or(DataPlane::Starting, DataPlane::Down);
        };
        let limit = process.silence_limit();
        let is_silent = now.saturating_duration_since(process.heard_at) > limit;
        match process.pulse {
            Some(pulse) if pulse.stalled => {
                DataPlane::Stuck("a thread of the forwarder does not turn".to_owned())
            }
            Some(_) if is_silent => {
                DataPlane::Stuck("the forwarder has not been heard for a second".to_owned())
            }
            None if is_silent => DataPlane::Stuck("the forwarder has said nothing yet".to_owned()),
            Some(pulse) if pulse.listening => DataPlane::Serving {
                first_health_round_done: pulse.first_health_round_done,
            },
            Some(_) | None => match &self.refusal {
                Some(refusal) => DataPlane::Refused(refusal.why.clone()),
                None => DataPlane::Starting,
            },
        }
    }

    /// Whether the forwarder has been stuck for so long that another one should be started; said once for each.
    pub(super) fn take_hopeless(&mut self, now: Instant) -> bool {
        if !matches!(self.view(now), DataPlane::Stuck(_)) {
            self.stuck_since = None;
            return false;
        }
        let since = *self.stuck_since.get_or_insert(now);
        let hopeless = now.saturating_duration_since(since) >= HOPELESS_AFTER && !self.given_up;
        self.given_up |= hopeless;
        hopeless
    }

    /// When silence turns into a fault, if nothing is heard until then.
    pub(super) fn silence_at(&self, now: Instant) -> Option<Instant> {
        let process = self.process.as_ref()?;
        let at = process.heard_at + process.silence_limit() + Duration::from_millis(1);
        (at > now).then_some(at)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    pub(super) fn uptime(&self, now: Instant) -> Option<Duration> {
        self.process
            .as_ref()
            .map(|process| now.saturating_duration_since(process.started_at))
    }

    /// The generation of the configuration that the forwarder serves, once it serves one.
    pub(super) fn generation(&self) -> Option<u64> {
        let pulse = self.process.as_ref()?.pulse?;
        Some(pulse.generation).filter(|generation| *generation > 0)
    }

    pub(super) fn pulse_age(&self, now: Instant) -> Option<Duration> {
        let process = self.process.as_ref()?;
        process.pulse?;
        Some(now.saturating_duration_since(process.heard_at))
    }
}

/// What cookie keys are derived for: another purpose or form of cookie is another text.
const COOKIES: &str = "tandem cookies 1";
/// The same for session tickets.
const TICKETS: &str = "tandem tickets 1";

/// The same for the marks by which people tell keys of tickets apart.
const TICKET_MARKS: &str = "tandem ticket marks 1";

/// Marks of the keys that session tickets are made of, the one in use first. They are derived beside the keys and tell nothing of them.
pub(super) fn ticket_marks(config: &Config) -> Vec<String> {
    let secret = config.pair.as_ref().and_then(|pair| pair.secret.as_ref());
    let derived = secret.map_or_else(Vec::new, |secret| secret.derive(TICKET_MARKS));
    let mark = |key: [u8; 32]| {
        key[..4]
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect()
    };
    derived.into_iter().map(mark).collect()
}

/// The order to serve a configuration.
pub(super) fn configure(generation: u64, path: &Path, text: &str, config: &Config) -> ToForwarder {
    let secret = config.pair.as_ref().and_then(|pair| pair.secret.as_ref());
    let derive = |purpose| {
        let keys = secret.map_or_else(Vec::new, |secret| secret.derive(purpose));
        keys.into_iter().map(DerivedKey).collect()
    };
    ToForwarder::Configure {
        generation,
        path: path.display().to_string(),
        node: config.node.clone(),
        text: text.to_owned(),
        cookie_keys: derive(COOKIES),
        ticket_keys: derive(TICKETS),
        certificates: super::certificates::texts(config),
        authorities: super::certificates::authorities(config),
        revocations: super::certificates::revocations(config),
    }
}

/// Starts the two tasks of a stream.
fn open(
    number: u64,
    stream: OwnedFd,
    messages: mpsc::Sender<(u64, FromForwarder)>,
) -> std::io::Result<mpsc::Sender<ToForwarder>> {
    let stream = std::os::unix::net::UnixStream::from(stream);
    stream.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(stream)?.into_split();
    let (orders, queue) = mpsc::channel(QUEUED_ORDERS);
    tokio::task::spawn_local(read_messages(number, reader, messages));
    tokio::task::spawn_local(write_orders(writer, queue));
    Ok(orders)
}

async fn read_messages(
    number: u64,
    mut reader: OwnedReadHalf,
    messages: mpsc::Sender<(u64, FromForwarder)>,
) {
    while let Ok(Some(message)) = read_frame(&mut reader).await {
        if messages.send((number, message)).await.is_err() {
            return;
        }
    }
}

async fn write_orders(mut writer: OwnedWriteHalf, mut orders: mpsc::Receiver<ToForwarder>) {
    while let Some(order) = orders.recv().await {
        if write_frame(&mut writer, &order).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is believed of a forwarder so long after it was introduced; with a first word at once, or none.
    fn view_after(wait: Duration, speaks: bool) -> DataPlane {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut plane = Plane::new(mpsc::channel(1).0);
            plane.set_configured(true);
            let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            plane.started(1, 0, Duration::from_secs(3600), ours.into());
            let now = Instant::now();
            if speaks {
                plane.on_pulse(
                    now,
                    1,
                    Pulse {
                        listening: true,
                        ..Pulse::default()
                    },
                );
            }
            plane.view(now + wait)
        })
    }

    #[test]
    fn silence_is_a_fault_also_before_the_first_word() {
        let millis = Duration::from_millis;
        assert!(matches!(
            view_after(millis(900), true),
            DataPlane::Serving { .. }
        ));
        assert!(matches!(
            view_after(millis(1100), true),
            DataPlane::Stuck(_)
        ));
        assert!(matches!(
            view_after(millis(4900), false),
            DataPlane::Starting
        ));
        assert!(matches!(
            view_after(millis(5100), false),
            DataPlane::Stuck(_)
        ));
    }

    #[test]
    fn who_cannot_serve_what_it_was_given_is_no_longer_starting_and_is_asked_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut plane = Plane::new(mpsc::channel(1).0);
            plane.set_configured(true);
            let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            plane.started(1, 0, Duration::ZERO, ours.into());
            let now = Instant::now();
            plane.on_pulse(now, 1, Pulse::default());
            assert!(plane.on_refused(now, "port 80 is in use"));
            assert!(!plane.on_refused(now, "port 80 is in use"));
            let refused = DataPlane::Refused("port 80 is in use".to_owned());
            assert_eq!(plane.view(now), refused);
            assert!(!plane.take_again(now + Duration::from_millis(1999)));
            assert!(plane.take_again(now + Duration::from_secs(2)));
            assert!(!plane.take_again(now + Duration::from_secs(3)));
            let listening = Pulse {
                listening: true,
                ..Pulse::default()
            };
            plane.on_pulse(now, 1, listening);
            assert!(matches!(plane.view(now), DataPlane::Serving { .. }));
            assert_eq!(plane.again_at(), None);
            // One that serves goes on with what it has.
            assert!(plane.on_refused(now, "port 81 is in use"));
            assert_eq!(plane.again_at(), None);
        });
    }
}
