//! Passive health: what live traffic says about a target, and who is taken out for it.
//!
//! ```text
//!          errors in a row, and others can take over            time is up, one request claims it
//!   Ok ------------------------------------------> Ejected ------------------------------------> Probing
//!    ^                                               ^  ^                                           |
//!    |                                               |  +---------- it fails: n + 1 times as long --+
//!    |                                               +------------- it never ended: the next one ---+
//!    +--------------------------------------------------------------------- it succeeds ------------+
//! ```
//!
//! A check that passes does not bring a target back: `/healthz` may be fine while requests fail. In the way of a request
//! that goes well there is one atomic read; the lock is for the moment in which somebody may be taken out.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use std::sync::atomic::{Ordering::AcqRel, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::queue::Queue;
use crate::settings::{GroupSettings, OutlierSettings};
use crate::target::{Health, Order, Outcome, TargetState};

/// Part of the time out by which it may be longer or shorter, in percent.
const JITTER_PERCENT: u32 = 10;

/// What live traffic says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing against it.
    Ok,
    /// It is out; once the time is up, one request may try it.
    Ejected,
    /// One request is trying it.
    Probing,
}

impl Phase {
    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Ejected,
            2 => Self::Probing,
            _ => Self::Ok,
        }
    }

    fn to_u8(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Ejected => 1,
            Self::Probing => 2,
        }
    }
}

/// Why a target was taken out, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ejection {
    /// When one request may try it.
    pub until: Instant,
    /// The n-th time in short order, from 1.
    pub times: u32,
    /// Errors in a row that led to it.
    pub errors: u32,
    /// The last of them.
    pub last: Outcome,
    /// When it was brought back, if it was.
    ended_at: Option<Instant>,
}

/// The passive health of one target; part of its state.
#[derive(Debug, Default)]
pub(crate) struct Passive {
    phase: AtomicU8,
    /// Errors since the last success.
    errors: AtomicU32,
    /// The current ejection, or the last one.
    ejection: ArcSwapOption<Ejection>,
    ejections_total: AtomicU64,
}

impl Passive {
    pub(crate) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Acquire))
    }

    pub(crate) fn ejections_total(&self) -> u64 {
        self.ejections_total.load(Relaxed)
    }

    /// The ejection in force.
    pub(crate) fn ejection(&self) -> Option<Ejection> {
        match self.phase() {
            Phase::Ok => None,
            Phase::Ejected | Phase::Probing => self.ejection.load().as_deref().copied(),
        }
    }

    /// True if it is not out, or may be tried again.
    pub(crate) fn may_be_used(&self, now: Instant) -> bool {
        match self.phase() {
            Phase::Ok => true,
            Phase::Ejected => self.is_due(now),
            Phase::Probing => false,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let ejection = self.ejection.load();
        ejection
            .as_ref()
            .is_none_or(|ejection| ejection.until <= now)
    }

    /// True if nothing but errors came lately, also where it could not be taken out for them.
    fn is_bad(&self, now: Instant, settings: &OutlierSettings) -> bool {
        match self.phase() {
            Phase::Ok => self.errors.load(Relaxed) >= settings.consecutive_errors,
            Phase::Ejected => !self.is_due(now),
            Phase::Probing => true,
        }
    }

    /// Claims the one request that may try a target whose time is up.
    pub(crate) fn claim(&self, now: Instant) -> bool {
        self.is_due(now) && self.change(Phase::Ejected, Phase::Probing)
    }

    fn change(&self, from: Phase, to: Phase) -> bool {
        let exchanged = self
            .phase
            .compare_exchange(from.to_u8(), to.to_u8(), AcqRel, Acquire);
        exchanged.is_ok()
    }

    /// How often in short order it will have been out with this time: each healthy stretch as long as the first time
    /// out takes one off.
    fn times(&self, now: Instant, settings: &OutlierSettings) -> u32 {
        let last = self.ejection.load();
        let Some(last) = last.as_deref() else {
            return 1;
        };
        let Some(ended_at) = last.ended_at else {
            return last.times.saturating_add(1);
        };
        let healthy = now.saturating_duration_since(ended_at).as_millis();
        let forgiven = healthy / settings.eject.as_millis().max(1);
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        last.times.saturating_sub(forgiven).saturating_add(1)
    }

    /// Takes it out, or prolongs that.
    fn eject(&self, now: Instant, settings: &OutlierSettings, last: Outcome, random: u64) {
        let times = self.times(now, settings);
        self.ejection.store(Some(Arc::new(Ejection {
            until: now + jittered(settings.length(times), random),
            times,
            errors: self.errors.load(Relaxed),
            last,
            ended_at: None,
        })));
        self.ejections_total.fetch_add(1, Relaxed);
        self.phase.store(Phase::Ejected.to_u8(), Release);
    }

    fn bring_back(&self, now: Instant) {
        if let Some(ejection) = self.ejection.load().as_deref() {
            let ended_at = Some(now);
            let ended = Ejection {
                ended_at,
                ..*ejection
            };
            self.ejection.store(Some(Arc::new(ended)));
        }
        self.errors.store(0, Relaxed);
        self.phase.store(Phase::Ok.to_u8(), Release);
    }
}

fn jittered(length: Duration, random: u64) -> Duration {
    let span = u64::from(2 * JITTER_PERCENT);
    let percent = u64::from(100 - JITTER_PERCENT) + (random >> 32) % (span + 1);
    length * u32::try_from(percent).unwrap_or(100) / 100
}

/// What the targets of a group share: whom a bad one would leave, and who waits for a place.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) outlier: Option<OutlierSettings>,
    pub(crate) slow_start: bool,
    checked: bool,
    /// Every target that has a weight.
    members: Vec<Arc<TargetState>>,
    /// Held while it is decided whether one more may be taken out.
    deciding: Arc<Mutex<()>>,
    pub(crate) queue: Arc<Queue>,
}

impl Guard {
    pub(crate) fn new(
        settings: &GroupSettings,
        members: Vec<Arc<TargetState>>,
        previous: Option<&Guard>,
    ) -> Self {
        Self {
            outlier: settings.outlier.clone(),
            slow_start: settings.slow_start.is_some(),
            checked: settings.health.check.is_on(),
            members,
            deciding: previous.map_or_else(Arc::default, |guard| Arc::clone(&guard.deciding)),
            queue: previous.map_or_else(Arc::default, |guard| Arc::clone(&guard.queue)),
        }
    }

    /// True if live traffic speaks against the target.
    pub(crate) fn condemns(&self, state: &TargetState, now: Instant) -> bool {
        let settings = self.outlier.as_ref();
        settings.is_some_and(|settings| state.passive.is_bad(now, settings))
    }

    /// Takes in how the use of a target ended; `probe` if it was the one request that was to try it.
    pub(crate) fn observe(
        &self,
        now: Instant,
        state: &TargetState,
        outcome: Outcome,
        probe: bool,
        random: u64,
    ) {
        let Some(settings) = &self.outlier else {
            if probe {
                state.passive.bring_back(now);
            }
            return;
        };
        let passive = &state.passive;
        match (outcome.verdict(settings.count_5xx), probe) {
            (Verdict::Good, true) => {
                passive.bring_back(now);
                if self.slow_start {
                    state.warm_up(now);
                }
            }
            (Verdict::Good, false) => {
                if passive.errors.load(Relaxed) > 0 && passive.phase() == Phase::Ok {
                    passive.errors.store(0, Relaxed);
                }
            }
            (Verdict::Bad, true) => passive.eject(now, settings, outcome, random),
            (Verdict::Bad, false) => self.blame(now, settings, state, outcome, random),
            (Verdict::None, true) => self.give_up_probe(state),
            (Verdict::None, false) => {}
        }
    }

    /// The request that was to try the target ended without saying anything about it: the next one will.
    pub(crate) fn give_up_probe(&self, state: &TargetState) {
        state.passive.change(Phase::Probing, Phase::Ejected);
    }

    fn blame(
        &self,
        now: Instant,
        settings: &OutlierSettings,
        state: &TargetState,
        outcome: Outcome,
        random: u64,
    ) {
        let passive = &state.passive;
        let errors = passive.errors.fetch_add(1, Relaxed).saturating_add(1);
        if errors < settings.consecutive_errors || passive.phase() != Phase::Ok {
            return;
        }
        let _deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        if passive.phase() == Phase::Ok && self.can_do_without(settings, state) {
            passive.eject(now, settings, outcome, random);
        }
    }

    /// True if the group may lose one more, and has another one to send its traffic to.
    fn can_do_without(&self, settings: &OutlierSettings, candidate: &TargetState) -> bool {
        let others = || {
            self.members
                .iter()
                .filter(|member| !std::ptr::eq(member.as_ref(), candidate))
        };
        let out = others().filter(|member| member.passive.phase() != Phase::Ok);
        let takes_over = |member: &&Arc<TargetState>| {
            member.order() == Order::Ready
                && (!self.checked || member.health() != Health::Down)
                && member.passive.phase() == Phase::Ok
        };
        out.count() < settings.allowed(self.members.len()) && others().any(|one| takes_over(&one))
    }
}

/// What an outcome says about the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Good,
    Bad,
    /// Nothing.
    None,
}

#[cfg(test)]
mod tests;
