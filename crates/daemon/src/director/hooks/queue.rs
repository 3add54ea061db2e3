//! Which hook runs next: in order for each virtual router, one of each at a time, bounded everywhere.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use control::internal::runner::{Program, RunReport};
use control::{Timestamp, VrrpState};

/// Calls of one virtual router that may wait. Beyond it the oldest is dropped, so that the newest state is told in any case.
const WAITING: usize = 16;
/// Hooks that may run at once, of all virtual routers together.
const AT_ONCE: usize = 32;

/// One run of a hook that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::director) struct Call {
    pub(in crate::director) program: Program,
    /// State before and after.
    pub(in crate::director) states: (VrrpState, VrrpState),
    /// Number of the change in the journal.
    pub(in crate::director) event: u64,
}

/// Hooks of all virtual routers, by their names.
#[derive(Debug, Default)]
pub(in crate::director) struct Queue {
    lanes: BTreeMap<String, Lane>,
    /// Lanes with something to run and nothing running, in order.
    ready: VecDeque<String>,
    /// Lanes by the number of their run.
    runs: BTreeMap<u64, String>,
}

/// What waits, runs and ran for one virtual router.
#[derive(Debug, Default)]
pub(in crate::director) struct Lane {
    waiting: VecDeque<Call>,
    running: Option<(Call, Instant)>,
    pub(in crate::director) counts: Counts,
    pub(in crate::director) last: Option<Ran>,
}

/// What became of the calls of one virtual router.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::director) struct Counts {
    pub(in crate::director) succeeded: u64,
    pub(in crate::director) failed: u64,
    pub(in crate::director) dropped: u64,
}

/// A call that has ended.
#[derive(Debug, Clone)]
pub(in crate::director) struct Ran {
    pub(in crate::director) name: String,
    pub(in crate::director) call: Call,
    pub(in crate::director) report: RunReport,
    pub(in crate::director) at: Timestamp,
}

impl Queue {
    /// Adds a call for the virtual router `name`; the call that had to make room for it.
    pub(super) fn push(&mut self, name: &str, call: Call) -> Option<Call> {
        let lane = self.lanes.entry(name.to_owned()).or_default();
        let dropped = match lane.waiting.len() {
            WAITING => lane.waiting.pop_front(),
            _ => None,
        };
        lane.counts.dropped += u64::from(dropped.is_some());
        lane.waiting.push_back(call);
        if lane.running.is_none() && lane.waiting.len() == 1 {
            self.ready.push_back(name.to_owned());
        }
        dropped
    }

    /// Starts what may run by `start`, which gives the number of the run, or none when nothing more can be started for now.
    pub(super) fn start(&mut self, now: Instant, mut start: impl FnMut(&Program) -> Option<u64>) {
        while self.runs.len() < AT_ONCE {
            let Some(name) = self.ready.front() else {
                return;
            };
            let Some(lane) = self.lanes.get_mut(name) else {
                self.ready.pop_front();
                continue;
            };
            let Some(call) = lane.waiting.pop_front() else {
                self.ready.pop_front();
                continue;
            };
            let Some(number) = start(&call.program) else {
                lane.waiting.push_front(call);
                return;
            };
            lane.running = Some((call, now));
            if let Some(name) = self.ready.pop_front() {
                self.runs.insert(number, name);
            }
        }
    }

    /// A run has ended; none when it is none of these.
    pub(super) fn ran(&mut self, number: u64, report: RunReport, at: Timestamp) -> Option<Ran> {
        let name = self.runs.remove(&number)?;
        let lane = self.lanes.get_mut(&name)?;
        let (call, _) = lane.running.take()?;
        if report.succeeded() {
            lane.counts.succeeded += 1;
        } else {
            lane.counts.failed += 1;
        }
        if !lane.waiting.is_empty() {
            self.ready.push_back(name.clone());
        }
        let ran = Ran {
            name,
            call,
            report,
            at,
        };
        lane.last = Some(ran.clone());
        Some(ran)
    }

    /// Forgets idle virtual routers that `stays` does not know.
    pub(super) fn forget(&mut self, stays: impl Fn(&str) -> bool) {
        self.lanes
            .retain(|name, lane| lane.is_busy() || stays(name));
    }

    /// Whether anything runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.lanes.values().any(Lane::is_busy)
    }

    /// What there is of a virtual router, if it ever had a call.
    pub(in crate::director) fn lane(&self, name: &str) -> Option<&Lane> {
        self.lanes.get(name)
    }
}

impl Lane {
    fn is_busy(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    /// How many calls wait.
    pub(in crate::director) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What runs, and since when.
    pub(in crate::director) fn running(&self) -> Option<&(Call, Instant)> {
        self.running.as_ref()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use control::internal::runner::RunEnd;

    use super::*;

    fn call(event: u64) -> Call {
        Call {
            program: Program {
                run: vec![format!("/bin/hook{event}")],
                environment: Vec::new(),
                limit_ms: 1000,
            },
            states: (VrrpState::Backup, VrrpState::Active),
            event,
        }
    }

    fn at() -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn end(code: i32) -> RunReport {
        RunReport::without_run(RunEnd::Exited(code))
    }

    /// Starts what may run, numbers from `next` on; the events whose hooks were started.
    fn start(queue: &mut Queue, next: &mut u64) -> Vec<String> {
        let mut started = Vec::new();
        queue.start(Instant::now(), |program| {
            started.push(program.run[0].clone());
            *next += 1;
            Some(*next)
        });
        started
    }

    #[test]
    fn one_runs_at_a_time_in_order_and_routers_do_not_wait_for_each_other() {
        let (mut queue, mut next) = (Queue::default(), 0);
        for (name, event) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            assert_eq!(queue.push(name, call(event)), None);
        }
        assert_eq!(start(&mut queue, &mut next), ["/bin/hook1", "/bin/hook3"]);
        assert_eq!(start(&mut queue, &mut next), Vec::<String>::new());
        let ran = queue.ran(1, end(0), at()).unwrap();
        assert_eq!((ran.name.as_str(), ran.call.event), ("a", 1));
        assert_eq!(start(&mut queue, &mut next), ["/bin/hook2"]);
        assert!(queue.ran(99, end(0), at()).is_none(), "not one of these");
        queue.ran(3, end(1), at()).unwrap();
        assert_eq!(start(&mut queue, &mut next), ["/bin/hook4"]);
        queue.ran(2, end(0), at()).unwrap();
        queue.ran(4, end(0), at()).unwrap();
        assert!(!queue.is_busy());
        let counts = queue.lane("a").unwrap().counts;
        assert_eq!((counts.succeeded, counts.failed, counts.dropped), (2, 1, 0));
    }

    #[test]
    fn the_oldest_makes_room_and_the_newest_is_run() {
        let (mut queue, mut next) = (Queue::default(), 0);
        queue.push("a", call(0));
        start(&mut queue, &mut next);
        let dropped: Vec<u64> = (1..=40)
            .filter_map(|event| queue.push("a", call(event)))
            .map(|call| call.event)
            .collect();
        assert_eq!(dropped, (1..=24).collect::<Vec<u64>>());
        let mut events = Vec::new();
        for number in 1.. {
            let Some(ran) = queue.ran(number, end(0), at()) else {
                break;
            };
            events.push(ran.call.event);
            start(&mut queue, &mut next);
        }
        assert_eq!(events[0], 0);
        assert_eq!(events[1..], (25..=40).collect::<Vec<u64>>());
        assert_eq!(queue.lane("a").unwrap().counts.dropped, 24);
    }

    #[test]
    fn hooks_that_cannot_be_started_wait_and_the_number_at_once_is_limited() {
        let (mut queue, mut next) = (Queue::default(), 0);
        for router in 0..100 {
            queue.push(&format!("r{router}"), call(router));
        }
        queue.start(Instant::now(), |_| None);
        assert_eq!(queue.lane("r0").unwrap().waiting(), 1);
        assert_eq!(start(&mut queue, &mut next).len(), AT_ONCE);
        queue.ran(7, end(0), at()).unwrap();
        assert_eq!(start(&mut queue, &mut next), ["/bin/hook32"]);
    }

    #[test]
    fn a_router_that_is_gone_is_forgotten_when_its_hooks_have_run() {
        let (mut queue, mut next) = (Queue::default(), 0);
        queue.push("a", call(1));
        start(&mut queue, &mut next);
        queue.forget(|_| false);
        assert!(queue.is_busy());
        queue.ran(1, end(0), at()).unwrap();
        queue.forget(|_| false);
        assert!(queue.lane("a").is_none());
    }
}
