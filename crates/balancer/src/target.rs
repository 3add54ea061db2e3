//! One target of a group, and the state of it that outlives a reload.
//!
//! What is observed ([`Health`] by checks, [`Phase`] by traffic) and what was ordered ([`Order`]) are axes of their own.
//! All state is atomic: threads share it without a lock. Only what checks are counted in has one, far from the way of requests.

use std::net::SocketAddr;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release, Ordering::SeqCst,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::checked::{CheckTotals, Checked};
use crate::health::{HealthChange, HealthMachine};
use crate::latency::{Histogram, Timings};
use crate::passive::{Ejection, Guard, Passive, Phase, Verdict};
use crate::settings::TargetSettings;

/// Place of a target in its group, counted from 0; meaningful only together with that group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetId(pub(crate) u32);

impl TargetId {
    /// The place as an index into [`crate::Group::targets`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the health check has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// No check has finished yet.
    Unknown,
    /// It passes.
    Up,
    /// It fails.
    Down,
}

impl Health {
    /// The word used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Up,
            2 => Self::Down,
            _ => Self::Unknown,
        }
    }

    fn to_u8(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Up => 1,
            Self::Down => 2,
        }
    }
}

/// What the operator has ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Takes part.
    Ready,
    /// Gets nothing that is not bound to it; what it has goes on.
    Drain,
    /// Gets nothing at all; what is in flight goes on.
    Maint,
}

impl Order {
    /// The word used in status and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Drain,
            2 => Self::Maint,
            _ => Self::Ready,
        }
    }

    fn to_u8(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Drain => 1,
            Self::Maint => 2,
        }
    }
}

/// How the use of a target ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did what it should.
    Ok,
    /// It answered with this status, 500 or above.
    ServerError(u16),
    /// It answered a call of gRPC with this status, not 0.
    GrpcError(u16),
    /// No connection could be opened.
    ConnectFailed,
    /// It closed or reset the connection in the middle.
    Reset,
    /// It was silent for too long.
    TimedOut,
    /// What it sent was not understood.
    BadResponse,
    /// The client left first; says nothing about the target.
    ClientGone,
}

impl Outcome {
    /// True if the target is to blame. Of its own answers these are 502, 503 and 504, and UNAVAILABLE
    /// of gRPC: it says that it cannot serve.
    pub fn is_error(self) -> bool {
        self.verdict(false) == Verdict::Bad
    }

    /// What it says about the target; `count_5xx`: every answer from 500 on is bad.
    pub(crate) fn verdict(self, count_5xx: bool) -> Verdict {
        match self {
            Self::Ok => Verdict::Good,
            Self::ServerError(502..=504) => Verdict::Bad,
            Self::ServerError(_) if count_5xx => Verdict::Bad,
            Self::ServerError(_) => Verdict::Good,
            // It is unavailable; or something went wrong inside it. The others are about what the client wants.
            Self::GrpcError(14) => Verdict::Bad,
            Self::GrpcError(2 | 13 | 15) if count_5xx => Verdict::Bad,
            Self::GrpcError(_) => Verdict::Good,
            Self::ClientGone => Verdict::None,
            Self::ConnectFailed | Self::Reset | Self::TimedOut | Self::BadResponse => Verdict::Bad,
        }
    }

    /// What went wrong, in words: `connect failed`, `http 503`.
    pub fn words(self) -> String {
        match self {
            Self::Ok => "ok".to_owned(),
            Self::ServerError(status) => format!("http {status}"),
            Self::GrpcError(status) => format!("grpc {status}"),
            Self::ConnectFailed => "connect failed".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::TimedOut => "timeout".to_owned(),
            Self::BadResponse => "bad answer".to_owned(),
            Self::ClientGone => "client gone".to_owned(),
        }
    }
}

/// A target as a member of one group in one plan.
#[derive(Debug)]
pub struct Target {
    pub(crate) id: TargetId,
    pub(crate) settings: TargetSettings,
    pub(crate) state: Arc<TargetState>,
    pub(crate) guard: Arc<Guard>,
    /// Where it is checked, if that is not where it listens.
    pub(crate) checked_at: Option<SocketAddr>,
}

impl Target {
    /// Its place in the group.
    pub fn id(&self) -> TargetId {
        self.id
    }

    /// What the operator wrote about it.
    pub fn settings(&self) -> &TargetSettings {
        &self.settings
    }

    /// Why its check fails, with the place if it is not checked where it listens: `at 10.9.1.12:9000: connect refused 3/3`.
    pub fn why(&self) -> Option<String> {
        let why = self.state.why()?;
        Some(match self.checked_at {
            Some(place) => format!("at {place}: {why}"),
            None => why.as_ref().clone(),
        })
    }

    /// What is known about it, shared with the plans before and after.
    pub fn state(&self) -> &Arc<TargetState> {
        &self.state
    }
}

/// What is known about a target; carried from plan to plan by (group, target) name while the address stays.
#[derive(Debug)]
pub struct TargetState {
    in_flight: AtomicU32,
    requests_total: AtomicU64,
    errors_total: AtomicU64,
    /// Its answers by the first digit of their status, from 1 on.
    answers: [AtomicU64; 5],
    first_byte: Histogram,
    health: AtomicU8,
    order: AtomicU8,
    why: ArcSwapOption<String>,
    /// There is such a time: nearly always there is none, and that is seen sooner so.
    leaves: AtomicBool,
    leave_at: ArcSwapOption<Instant>,
    pub(crate) passive: Passive,
    /// How often its check has begun to fail.
    falls: AtomicU32,
    checked: Mutex<Checked>,
    /// Whether the check that failed last heard nothing at all.
    silent: AtomicBool,
    /// It was added to a group that was there already, and has not been up yet.
    added: bool,
    /// It is in its slow start, or was in one that nobody has looked at since.
    warming: AtomicBool,
    warming_since: ArcSwapOption<Instant>,
}

impl Default for TargetState {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            requests_total: AtomicU64::new(0),
            errors_total: AtomicU64::new(0),
            answers: Default::default(),
            first_byte: Histogram::default(),
            health: AtomicU8::new(Health::Unknown.to_u8()),
            order: AtomicU8::new(Order::Ready.to_u8()),
            why: ArcSwapOption::empty(),
            leaves: AtomicBool::new(false),
            leave_at: ArcSwapOption::empty(),
            passive: Passive::default(),
            falls: AtomicU32::new(0),
            checked: Mutex::default(),
            silent: AtomicBool::new(false),
            added: false,
            warming: AtomicBool::new(false),
            warming_since: ArcSwapOption::empty(),
        }
    }
}

/// A whole share; what a target in its slow start gets is a part of it.
pub(crate) const WHOLE_SHARE: u32 = 1024;
/// The share a slow start begins with.
const FIRST_SHARE: u32 = WHOLE_SHARE / 10;

impl TargetState {
    /// The state of a target that joins a group others are in already.
    pub(crate) fn added() -> Self {
        Self {
            added: true,
            ..Self::default()
        }
    }

    /// Requests (HTTP) or connections (TCP) it is serving.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests or connections it was ever picked for.
    pub fn requests_total(&self) -> u64 {
        self.requests_total.load(Relaxed)
    }

    /// Requests or connections that failed by its fault ([`Outcome::is_error`]).
    pub fn errors_total(&self) -> u64 {
        self.errors_total.load(Relaxed)
    }

    /// Counts an answer of its own, by its status.
    pub fn count_answer(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.answers.get(class)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Its answers by the first digit of their status: 1xx first, 5xx last.
    pub fn answers_total(&self) -> [u64; 5] {
        std::array::from_fn(|class| self.answers[class].load(Relaxed))
    }

    /// Counts how long it took to begin an answer.
    pub fn count_first_byte(&self, took: Duration) {
        self.first_byte.observe(took);
    }

    /// How long it took to begin its answers.
    pub fn first_byte(&self) -> Timings {
        self.first_byte.read()
    }

    /// What the last checks have found.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Relaxed))
    }

    /// Records what the checks have found.
    pub fn set_health(&self, health: Health) {
        self.health.store(health.to_u8(), Relaxed);
    }

    /// What the operator has ordered.
    pub fn order(&self) -> Order {
        Order::from_u8(self.order.load(Relaxed))
    }

    /// Records an order.
    pub fn set_order(&self, order: Order) {
        self.order.store(order.to_u8(), Relaxed);
    }

    /// Follows an order of which the connections have to end by `leave_at`. One that is followed already changes
    /// nothing; who is ready again begins slowly, where the group has a slow start.
    pub fn obey(&self, now: Instant, order: Order, leave_at: Instant) {
        if self.order() == order {
            return;
        }
        match order {
            Order::Ready => {
                self.set_leave_at(None);
                self.warm_up(now);
            }
            Order::Drain | Order::Maint => self.set_leave_at(Some(leave_at)),
        }
        self.set_order(order);
    }

    /// Why the check fails, e.g. `connect refused 3/3`; `None` while it passes.
    pub fn why(&self) -> Option<Arc<String>> {
        self.why.load_full()
    }

    /// Records why the check fails.
    pub fn set_why(&self, why: Option<String>) {
        self.why.store(why.map(Arc::new));
    }

    /// The time by which whatever uses it must end, if it is to be left.
    pub fn leave_at(&self) -> Option<Instant> {
        if !self.leaves.load(Acquire) {
            return None;
        }
        self.leave_at.load().as_deref().copied()
    }

    /// Sets, or takes back, the time by which whatever uses it must end.
    pub fn set_leave_at(&self, leave_at: Option<Instant>) {
        let leaves = leave_at.is_some();
        self.leave_at.store(leave_at.map(Arc::new));
        self.leaves.store(leaves, Release);
    }

    /// What live traffic says.
    pub fn passive(&self) -> Phase {
        self.passive.phase()
    }

    /// Why live traffic has taken it out, while it has.
    pub fn ejection(&self) -> Option<Ejection> {
        self.passive.ejection()
    }

    /// How often it was taken out.
    pub fn ejections_total(&self) -> u64 {
        self.passive.ejections_total()
    }

    /// How often its check has begun to fail: whoever waits for the target can tell that this has
    /// happened since it began.
    pub fn falls(&self) -> u32 {
        self.falls.load(Relaxed)
    }

    /// What its checks have found, up to `now`.
    pub fn checks_total(&self, now: Instant) -> CheckTotals {
        self.checked().totals(now)
    }

    fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the check that failed last heard nothing at all: the target is gone, not busy or leaving.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Relaxed)
    }

    /// Takes over what a check has found, the reason first: whoever sees the health finds its reason.
    pub fn observe(&self, now: Instant, machine: &HealthMachine, change: Option<HealthChange>) {
        let passed = machine.why().is_none();
        self.checked().count(now, passed, machine.health());
        self.set_why(machine.why());
        self.silent.store(machine.is_silent(), Relaxed);
        match change.map(|change| (change.from, change.to)) {
            Some((_, Health::Down)) => {
                self.falls.fetch_add(1, Relaxed);
            }
            Some((Health::Down, Health::Up)) => self.warm_up(now),
            Some((Health::Unknown, Health::Up)) if self.added => self.warm_up(now),
            Some(_) | None => {}
        }
        self.set_health(machine.health());
    }

    /// Begins a slow start, where the group has one.
    pub fn warm_up(&self, now: Instant) {
        self.warming_since.store(Some(Arc::new(now)));
        self.warming.store(true, Relaxed);
    }

    /// The share of its traffic it is ready for, of [`WHOLE_SHARE`]: grows over `length` from a tenth.
    pub(crate) fn share(&self, now: Instant, length: Option<Duration>) -> u32 {
        let Some(length) = length.filter(|_| self.warming.load(Relaxed)) else {
            return WHOLE_SHARE;
        };
        let Some(since) = self.warming_since.load_full() else {
            return WHOLE_SHARE;
        };
        let elapsed = now.saturating_duration_since(*since);
        if elapsed >= length {
            self.warming.store(false, Relaxed);
            return WHOLE_SHARE;
        }
        let whole = u128::from(WHOLE_SHARE);
        let grown = elapsed.as_nanos() * whole / length.as_nanos().max(1);
        u32::try_from(grown).unwrap_or(WHOLE_SHARE).max(FIRST_SHARE)
    }

    /// How much of its slow start is done, in percent; `None` if it is not in one.
    pub fn warm_percent(&self, now: Instant, length: Option<Duration>) -> Option<u32> {
        let share = self.share(now, length);
        (share < WHOLE_SHARE).then_some(share * 100 / WHOLE_SHARE)
    }

    /// True if it has as much to do as it may have.
    pub(crate) fn is_full(&self, limit: Option<u32>) -> bool {
        // Sequentially consistent with the line of those who wait: see `Queue::waiting`.
        limit.is_some_and(|limit| self.in_flight.load(SeqCst) >= limit)
    }

    /// Counts one more, unless that would be above the limit.
    pub(crate) fn start(&self, limit: Option<u32>) -> bool {
        match limit {
            None => {
                self.in_flight.fetch_add(1, Relaxed);
            }
            Some(limit) => {
                let one_more = |count: u32| (count < limit).then_some(count + 1);
                let started = self.in_flight.fetch_update(SeqCst, SeqCst, one_more);
                if started.is_err() {
                    return false;
                }
            }
        }
        self.requests_total.fetch_add(1, Relaxed);
        true
    }

    pub(crate) fn ended(&self, outcome: Option<Outcome>) {
        let before = self.in_flight.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "a lease ends once");
        if outcome.is_some_and(Outcome::is_error) {
            self.errors_total.fetch_add(1, Relaxed);
        }
    }
}
