//! The flight recorder: the last minute of every virtual router in memory, and a recording of it for each change of state.
//!
//! Each virtual router has a [`Lane`], and so has the node (in the journal). A change of state is recorded at once, and again when the
//! time after it has passed. Everything is bounded: facts of a lane, recordings in memory, files. What finds no room is counted.

mod files;
mod lane;
mod node;
mod turn;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use control::{RecorderStatus, Recording, RecordingSummary, What};

use self::files::Files;
pub(super) use self::lane::Lane;

/// What belongs to the story of a change after it: announcements, the last words of the other router.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Recordings in memory; the oldest goes first.
const KEPT: usize = 32;
/// Facts of all recordings in memory, some 16 octets each and up to 200 where no other has it: when hundreds of virtual routers change at
/// once, each recording has the changes of the others. The files go further back.
const FACTS_KEPT: usize = 2_000;
/// Changes that may wait for their recording to be completed.
const SETTLING: usize = 128;
/// Recordings made in one turn of the loop.
const BATCH: usize = 2;
/// Facts of a recording; older ones are omitted.
const FACTS: usize = 400;

/// A change of state that is to be recorded.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    /// Number of the virtual router in the director.
    pub(super) instance: u64,
    pub(super) at: Instant,
    pub(super) summary: RecordingSummary,
}

pub(super) struct Recorder {
    fresh: VecDeque<Moved>,
    settling: VecDeque<Moved>,
    kept: VecDeque<Arc<Recording>>,
    files: Files,
    passed_over: u64,
}

impl Recorder {
    /// Continues with what earlier runs left in `state_dir`.
    pub(super) fn start(state_dir: &Path) -> Self {
        Self {
            fresh: VecDeque::new(),
            settling: VecDeque::new(),
            kept: VecDeque::new(),
            files: Files::start(state_dir, KEPT),
            passed_over: 0,
        }
    }

    /// A change of state has happened.
    pub(super) fn moved(&mut self, moved: Moved) {
        if self.fresh.len() == SETTLING {
            self.passed_over += 1;
        } else {
            self.fresh.push_back(moved);
        }
    }

    /// When the next recording is to be made.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let fresh = self.fresh.front().map(|moved| moved.at);
        let settled = self.settling.front().map(|moved| moved.at + AFTERMATH);
        fresh.into_iter().chain(settled).min()
    }

    /// Makes a recording with a recorder of its own, drops both, and has it written for practice: see [`super::practice`].
    pub(super) fn practise(&self, moved: Moved, lane: &Lane, node: &Lane) {
        let mut recorder = Self {
            fresh: VecDeque::new(),
            settling: VecDeque::new(),
            kept: VecDeque::new(),
            files: Files::nowhere(),
            passed_over: 0,
        };
        let settled_at = moved.at + AFTERMATH;
        recorder.moved(moved);
        recorder.run_due(settled_at, node, |_| Some(lane));
        for recording in recorder.kept {
            self.files.practise(recording);
        }
    }

    /// Makes what is due, some in each turn. `lane` finds the lane of a virtual router, if it is still there.
    pub(super) fn run_due<'l>(
        &mut self,
        now: Instant,
        node: &Lane,
        lane: impl Fn(u64) -> Option<&'l Lane>,
    ) {
        for _ in 0..BATCH {
            let Some(moved) = self.fresh.pop_front() else {
                break;
            };
            if let Some(lane) = lane(moved.instance) {
                self.keep(record(&moved, lane, node, false));
            }
            if self.settling.len() < SETTLING {
                self.settling.push_back(moved);
            }
        }
        for _ in 0..BATCH {
            let settled = |moved: &Moved| moved.at + AFTERMATH <= now;
            if !self.settling.front().is_some_and(settled) {
                break;
            }
            let Some(moved) = self.settling.pop_front() else {
                break;
            };
            if let Some(lane) = lane(moved.instance) {
                self.keep(record(&moved, lane, node, true));
            }
        }
    }

    fn keep(&mut self, recording: Recording) {
        self.take_earlier();
        let recording = Arc::new(recording);
        self.files.write(Arc::clone(&recording));
        let seq = recording.summary.seq;
        match self.kept.iter_mut().find(|kept| kept.summary.seq == seq) {
            Some(kept) => *kept = recording,
            None => self.kept.push_back(recording),
        }
        self.make_room();
    }

    /// The oldest recordings go; the newest stays in any case.
    fn make_room(&mut self) {
        let mut facts: usize = self.kept.iter().map(|kept| kept.facts.len()).sum();
        while self.kept.len() > KEPT || (facts > FACTS_KEPT && self.kept.len() > 1) {
            let oldest = self.kept.pop_front();
            facts -= oldest.map_or(0, |oldest| oldest.facts.len());
        }
    }

    /// Takes over what has been read of earlier runs: it is older than everything of this one.
    fn take_earlier(&mut self) {
        let earlier: Vec<Recording> = self.files.earlier().collect();
        for recording in earlier.into_iter().rev() {
            if self.kept.len() < KEPT {
                self.kept.push_front(Arc::new(recording));
            }
        }
        self.make_room();
    }

    /// The heads of all recordings in memory, oldest first.
    pub(super) fn list(&mut self) -> Vec<RecordingSummary> {
        self.take_earlier();
        self.kept
            .iter()
            .map(|recording| recording.summary.clone())
            .collect()
    }

    /// The latest recording that is wanted.
    pub(super) fn latest(
        &mut self,
        wanted: impl Fn(&RecordingSummary) -> bool,
    ) -> Option<Arc<Recording>> {
        self.take_earlier();
        self.kept
            .iter()
            .rev()
            .find(|recording| wanted(&recording.summary))
            .cloned()
    }

    /// What has been written and what has been lost.
    pub(super) fn status(&self, journal_lines_lost: u64) -> RecorderStatus {
        let counts = &self.files.counts;
        RecorderStatus {
            written: counts.written.load(Ordering::Relaxed),
            lost: counts.lost.load(Ordering::Relaxed) + self.passed_over,
            journal_lines_lost,
        }
    }
}

/// Puts the facts of a virtual router and of the node together, in order of time.
fn record(moved: &Moved, lane: &Lane, node: &Lane, complete: bool) -> Recording {
    let until = moved.at + AFTERMATH;
    let own = format!("vrrp {}", moved.summary.name);
    let of_others = |what: &What| !matches!(what, What::Node { subject, .. } if *subject == own);
    let mut facts = lane.around(moved.at, until);
    facts.extend(
        node.around(moved.at, until)
            .into_iter()
            .filter(|fact| of_others(&fact.what)),
    );
    // Facts of one instant stay in the order in which they were noted.
    facts.sort_by_key(|fact| fact.at_us);
    let beyond = facts.len().saturating_sub(FACTS);
    facts.drain(..beyond);
    facts.shrink_to_fit();
    Recording {
        summary: moved.summary.clone(),
        complete,
        omitted: lane.omitted(moved.at) + beyond as u64,
        facts,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use control::{Timestamp, TransitionStatus, VrrpState};

    fn summary(seq: u64, name: &str) -> RecordingSummary {
        RecordingSummary {
            seq,
            node: "lb1".to_owned(),
            name: name.to_owned(),
            vrid: 51,
            interface: "eth0".to_owned(),
            cause: "silence".to_owned(),
            transition: TransitionStatus {
                from: VrrpState::Backup,
                to: VrrpState::Active,
                reason: "no active router heard for 361 ms".to_owned(),
                at: Timestamp::from_millis(1_000),
            },
        }
    }

    pub(super) fn recording(seq: u64) -> Recording {
        Recording {
            summary: summary(seq, "main"),
            complete: true,
            omitted: 0,
            facts: Vec::new(),
        }
    }

    fn happened(words: &str) -> What {
        What::Happened {
            words: words.to_owned(),
        }
    }

    #[test]
    fn a_change_is_recorded_at_once_and_again_with_what_came_after() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::start(folder.path());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut lane, mut node) = (Lane::default(), Lane::default());
        lane.note(at(0), happened("before"));
        for subject in ["vrrp main", "forwarder"] {
            let subject = subject.to_owned();
            let words = "ended".to_owned();
            node.note(at(50), What::Node { subject, words });
        }
        recorder.moved(Moved {
            instance: 3,
            at: at(100),
            summary: summary(41, "main"),
        });
        assert_eq!(recorder.deadline(), Some(at(100)));
        recorder.run_due(at(100), &node, |number| (number == 3).then_some(&lane));
        let first = recorder.latest(|_| true).unwrap();
        let kinds: Vec<i64> = first.facts.iter().map(|fact| fact.at_us).collect();
        assert_eq!((kinds, first.complete), (vec![-100_000, -50_000], false));
        lane.note(at(150), happened("after"));
        lane.note(at(2101), happened("too late to belong to it"));
        assert_eq!(recorder.deadline(), Some(at(2100)));
        recorder.run_due(at(2099), &node, |_| Some(&lane));
        assert!(!recorder.latest(|_| true).unwrap().complete);
        recorder.run_due(at(2100), &node, |_| Some(&lane));
        let second = recorder.latest(|summary| summary.seq == 41).unwrap();
        assert_eq!((second.facts.len(), second.complete), (3, true));
        assert_eq!((recorder.deadline(), recorder.list().len()), (None, 1));
        while recorder.status(0).written < 2 {
            std::thread::yield_now();
        }
        let mut next = Recorder::start(folder.path());
        while next.list().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(next.latest(|_| true).unwrap().facts.len(), 3);
    }

    #[test]
    fn recordings_full_of_facts_leave_room_for_few_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::start(folder.path());
        for seq in 0..40 {
            let mut full = recording(seq);
            full.facts = vec![
                control::Fact {
                    at_us: 0,
                    what: Arc::new(What::Claim),
                };
                FACTS
            ];
            recorder.keep(full);
        }
        let seqs: Vec<u64> = recorder.list().iter().map(|summary| summary.seq).collect();
        assert_eq!(seqs, [35, 36, 37, 38, 39]);
    }

    #[test]
    fn when_everything_changes_at_once_the_rest_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::start(folder.path());
        let now = Instant::now();
        for seq in 0..1000 {
            recorder.moved(Moved {
                instance: seq,
                at: now,
                summary: summary(seq, "main"),
            });
        }
        assert_eq!(recorder.status(0).lost, 1000 - SETTLING as u64);
        let (lane, node) = (Lane::default(), Lane::default());
        let mut turns = 0;
        while recorder.deadline() == Some(now) {
            recorder.run_due(now, &node, |_| Some(&lane));
            turns += 1;
        }
        assert_eq!((turns, recorder.list().len()), (SETTLING / BATCH, KEPT));
    }
}
