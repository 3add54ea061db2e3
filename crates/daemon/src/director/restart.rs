//! A planned restart of the director: nobody takes over, and no connection is touched.
//!
//! ```text
//!   ordered ──► pause announced, three times; leases prolonged ──► Replace to the keeper, exit
//!                                                                     │
//!   resumed ◄── claimed, advertised as ever ◄── data plane and checks known ◄── the next director, from the program on disk
//! ```
//!
//! A router that advertises a longer interval is believed to be there for three of it (RFC 9568 §6.1). The will of the first director
//! waits with the keeper until the next one has resumed: should that not come to be, the peer takes over by a farewell.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use control::internal::ToKeeper;
use control::{ErrorAnswer, EventKind, RestartResult};
use tokio::sync::oneshot;
use vrrp::{Event, PhaseName};

use super::instance::Instance;
use super::journal::Entry;
use super::{Director, testament};

/// How long the next director may take: less than the three seconds twice that the announced pause allows.
const RESUME_LIMIT: Duration = Duration::from_millis(4500);
/// Between two announcements of the pause.
const REPEAT: Duration = Duration::from_millis(50);
/// How often the pause is announced.
const TIMES: u32 = 3;
/// How long the kernel, and hooks that run, may take before the restart is given up.
const PREPARE_LIMIT: Duration = Duration::from_secs(2);
/// For the answer to be on its way before the process ends.
const ANSWER_TIME: Duration = Duration::from_millis(50);

type Answer = oneshot::Sender<Result<RestartResult, ErrorAnswer>>;

/// A restart that is to come, and one that has been.
#[derive(Default)]
pub(super) struct Restart {
    stage: Stage,
    /// Virtual routers to go on for, that have not begun.
    awaited: BTreeSet<String>,
    /// A director before this one waits for the word that all of them have gone on.
    unsaid: Option<Instant>,
    /// Changes of state are no news to anybody: they are those of going on.
    pub(super) quiet: bool,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// The pause is being announced for these, by number.
    Preparing {
        routers: Vec<u64>,
        said: u32,
        repeat_at: Instant,
        give_up_at: Instant,
        answer: Option<Answer>,
    },
    /// Everything is prepared.
    Going {
        routers: Vec<u64>,
        at: Instant,
    },
    Gone,
}

impl Restart {
    /// Goes on for `routers`, as the keeper said; none if no director has left anything.
    pub(super) fn resuming(now: Instant, routers: Option<&str>) -> Self {
        let names = routers.map(|names| names.split(',').filter(|name| !name.is_empty()));
        Self {
            awaited: names.into_iter().flatten().map(str::to_owned).collect(),
            unsaid: routers.map(|_| now),
            ..Self::default()
        }
    }

    /// The addresses that are left in place.
    ///
    /// # Errors
    /// When the configuration does not know one of the virtual routers any more: the will takes its addresses away.
    pub(super) fn addresses(&self, config: &config::Config) -> anyhow::Result<Vec<IpAddr>> {
        let mut kept = Vec::new();
        for name in &self.awaited {
            let router = config.vrrp.iter().find(|router| router.name == *name);
            let router = router.with_context(|| {
                format!("go on for virtual router `{name}`, which the configuration has no more")
            })?;
            kept.extend(router.vips.iter().map(|vip| vip.address));
        }
        Ok(kept)
    }

    /// Whether this virtual router begins where another director left off, and not by itself.
    pub(super) fn awaits(&self, name: &str) -> bool {
        self.awaited.contains(name)
    }

    /// Whether the process has nothing left to do because the next one goes on.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Gone)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Idle | Stage::Gone => None,
            Stage::Preparing {
                repeat_at,
                give_up_at,
                ..
            } => Some(*repeat_at.min(give_up_at)),
            Stage::Going { at, .. } => Some(*at),
        }
    }
}

impl Director {
    /// Begins a restart, or says why there can be none now.
    pub(super) fn begin_restart(&mut self, now: Instant, answer: Option<Answer>) {
        let routers = match self.restart_candidates() {
            Ok(routers) => routers,
            Err(refusal) => return self.refuse_restart(answer, refusal),
        };
        self.journal.record(Entry::new(
            EventKind::Order,
            "director",
            format!("restart ordered, {} virtual routers go on", routers.len()),
        ));
        for number in &routers {
            self.on_paused(*number, |instance, wires| instance.begin_pause(now, wires));
        }
        self.restart.stage = Stage::Preparing {
            routers,
            said: 1,
            repeat_at: now + REPEAT,
            give_up_at: now + PREPARE_LIMIT,
            answer,
        };
    }

    fn refuse_restart(&mut self, answer: Option<Answer>, refusal: ErrorAnswer) {
        let words = format!("restart refused: {}", refusal.error);
        self.journal
            .record(Entry::new(EventKind::Order, "director", words));
        if let Some(answer) = answer {
            // Whoever asked may have gone.
            let _ = answer.send(Err(refusal));
        }
    }

    /// The virtual routers that another director has to go on for.
    fn restart_candidates(&self) -> Result<Vec<u64>, ErrorAnswer> {
        let busy = [
            (!matches!(self.restart.stage, Stage::Idle), "a restart"),
            (self.restart.unsaid.is_some(), "a restart"),
            (self.handover.is_some(), "a handover"),
            (!self.reload.is_idle(), "a reload"),
            (self.leaving.is_some(), "a stop"),
        ];
        if let Some((_, what)) = busy.iter().find(|(busy, _)| *busy) {
            return Err(ErrorAnswer {
                error: format!("{what} is under way"),
                remedy: Some("wait for it to end".to_owned()),
            });
        }
        let mut routers = Vec::new();
        for instance in self.instances.iter().filter(|one| !one.departing) {
            let carries_on = instance.carries_on().map_err(|error| ErrorAnswer {
                error,
                remedy: Some(
                    "`tandem handover` first: a node that is not active can be restarted at any time"
                        .to_owned(),
                ),
            })?;
            routers.extend(carries_on.then_some(instance.number));
        }
        Ok(routers)
    }

    /// Does what is due of a restart.
    pub(super) fn run_due_restart(&mut self, now: Instant) {
        self.resume_due(now);
        match std::mem::take(&mut self.restart.stage) {
            Stage::Idle => {}
            Stage::Gone => self.restart.stage = Stage::Gone,
            Stage::Preparing {
                routers,
                said,
                repeat_at,
                give_up_at,
                answer,
            } => {
                let stands = |number: &u64| self.is_steady(*number, |_| true);
                if !routers.iter().all(stands) {
                    return self.give_up_restart(now, &routers, answer, "a virtual router moved");
                }
                if give_up_at <= now {
                    let why = "leases or hooks were not ready in time";
                    return self.give_up_restart(now, &routers, answer, why);
                }
                let again = repeat_at <= now && said < TIMES;
                if again {
                    for number in &routers {
                        self.on_paused(*number, |instance, wires| instance.say_pause(now, wires));
                    }
                }
                let said = said + u32::from(again);
                let prolonged = |number: &u64| self.is_steady(*number, Instance::is_prolonged);
                if said == TIMES && routers.iter().all(prolonged) && !self.hooks.is_busy() {
                    self.answer_restart(&routers, answer);
                    let at = now + ANSWER_TIME;
                    self.restart.stage = Stage::Going { routers, at };
                } else {
                    let repeat_at = if again { now + REPEAT } else { repeat_at };
                    // What is waited for beyond that comes as an input.
                    let repeat_at = if said == TIMES { give_up_at } else { repeat_at };
                    self.restart.stage = Stage::Preparing {
                        routers,
                        said,
                        repeat_at,
                        give_up_at,
                        answer,
                    };
                }
            }
            Stage::Going { routers, at } if now < at => {
                self.restart.stage = Stage::Going { routers, at };
            }
            Stage::Going { routers, .. } => self.go(now, routers),
        }
    }

    fn answer_restart(&self, routers: &[u64], answer: Option<Answer>) {
        if let Some(answer) = answer {
            let _ = answer.send(Ok(RestartResult {
                routers: self.names_of(routers),
            }));
        }
    }

    /// The last step: the keeper is told, and this process ends.
    fn go(&mut self, now: Instant, routers: Vec<u64>) {
        let message = ToKeeper::Replace {
            routers: self.names_of(&routers),
            limit_ms: RESUME_LIMIT.as_millis() as u64,
        };
        let steady = |number: &u64| self.is_steady(*number, |_| true);
        if !routers.iter().all(steady) {
            self.give_up_restart(now, &routers, None, "a virtual router moved");
        } else if !testament::send(&self.keeper, &message) {
            self.give_up_restart(now, &routers, None, "the keeper takes no message");
        } else {
            self.restart.stage = Stage::Gone;
        }
    }

    fn give_up_restart(
        &mut self,
        now: Instant,
        routers: &[u64],
        answer: Option<Answer>,
        why: &str,
    ) {
        for number in routers {
            self.on_paused(*number, |instance, wires| instance.end_pause(now, wires));
        }
        let error = format!("given up, nothing has changed: {why}");
        let remedy = Some("`tandem events` shows what happened; try again".to_owned());
        self.refuse_restart(answer, ErrorAnswer { error, remedy });
    }

    fn names_of(&self, routers: &[u64]) -> Vec<String> {
        let positions = routers
            .iter()
            .filter_map(|number| self.instances.position(*number));
        positions
            .map(|index| self.instances[index].config.name.clone())
            .collect()
    }

    /// Whether a virtual router is Active and nothing else, and `also` holds for it.
    fn is_steady(&self, number: u64, also: impl Fn(&Instance) -> bool) -> bool {
        let position = self.instances.position(number);
        position.is_some_and(|index| {
            let instance = &self.instances[index];
            instance.router.phase() == PhaseName::Active && instance.is_holding() && also(instance)
        })
    }

    fn on_paused(
        &mut self,
        number: u64,
        act: impl FnOnce(&mut Instance, &super::Wires) -> Vec<super::instance::Notice>,
    ) {
        if let Some(index) = self.instances.position(number) {
            let notices = act(&mut self.instances[index], &self.wires);
            self.on_notices(notices);
        }
    }

    /// Lets virtual routers go on that another director has left in place, as soon as nothing can keep them from it, and says so to the
    /// keeper when all of them have.
    fn resume_due(&mut self, now: Instant) {
        let Some(since) = self.restart.unsaid else {
            return;
        };
        for index in 0..self.instances.len() {
            let instance = &self.instances[index];
            let name = instance.config.name.clone();
            if self.judged.is_some() && self.restart.awaits(&name) && instance.may_resume() {
                self.restart.awaited.remove(&name);
                self.restart.quiet = true;
                self.start_with(now, index, Event::Resume);
                self.restart.quiet = false;
            }
        }
        let claims = |instance: &Instance| instance.router.phase() == PhaseName::Claiming;
        let done = self.restart.awaited.is_empty()
            && !self.instances.iter().any(claims)
            && self.instances.is_willed();
        if done && testament::send(&self.keeper, &ToKeeper::Resumed) {
            self.restart.unsaid = None;
            let took = now.saturating_duration_since(since).as_millis();
            self.journal.record(Entry::new(
                EventKind::Daemon,
                "director",
                format!("resumed after a planned restart, {took} ms after it began"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_keeper_says_is_awaited() {
        let now = Instant::now();
        let restart = Restart::resuming(now, Some("main,edge"));
        assert!(restart.awaits("main") && restart.awaits("edge") && !restart.awaits(""));
        assert!(restart.unsaid.is_some());
        let none = Restart::resuming(now, Some(""));
        assert!(none.awaited.is_empty() && none.unsaid.is_some());
        assert!(Restart::resuming(now, None).unsaid.is_none());
        assert_eq!((none.deadline(), none.is_gone()), (None, false));
    }
}
