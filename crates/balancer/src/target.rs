//! One target of a group, and the state of it that outlives a reload.
//!
//! What is observed ([`Health`]) and what was ordered ([`Order`]) are two axes. All state is atomic: threads share it
//! without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwapOption;

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
    /// True if the target is to blame.
    pub fn is_error(self) -> bool {
        match self {
            Self::Ok | Self::ClientGone => false,
            Self::ConnectFailed | Self::Reset | Self::TimedOut | Self::BadResponse => true,
        }
    }
}

/// A target as a member of one group in one plan.
#[derive(Debug)]
pub struct Target {
    pub(crate) id: TargetId,
    pub(crate) settings: TargetSettings,
    pub(crate) state: Arc<TargetState>,
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
    health: AtomicU8,
    order: AtomicU8,
    why: ArcSwapOption<String>,
    leave_at: ArcSwapOption<Instant>,
}

impl Default for TargetState {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            requests_total: AtomicU64::new(0),
            errors_total: AtomicU64::new(0),
            health: AtomicU8::new(Health::Unknown.to_u8()),
            order: AtomicU8::new(Order::Ready.to_u8()),
            why: ArcSwapOption::empty(),
            leave_at: ArcSwapOption::empty(),
        }
    }
}

impl TargetState {
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
        self.leave_at.load().as_deref().copied()
    }

    /// Sets, or takes back, the time by which whatever uses it must end.
    pub fn set_leave_at(&self, leave_at: Option<Instant>) {
        self.leave_at.store(leave_at.map(Arc::new));
    }

    pub(crate) fn started(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests_total.fetch_add(1, Relaxed);
    }

    pub(crate) fn ended(&self, outcome: Option<Outcome>) {
        let before = self.in_flight.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "a lease ends once");
        if outcome.is_some_and(Outcome::is_error) {
            self.errors_total.fetch_add(1, Relaxed);
        }
    }
}
