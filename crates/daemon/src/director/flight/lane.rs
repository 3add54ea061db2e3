//! What one virtual router, or the node, saw and did in the last minute.
//!
//! Advertisements that are all alike are one fact with a count, so that the steady state costs a few octets and allocates nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Fact, Run, What};
use vrrp::Family;

/// How far back it goes.
pub(super) const SPAN: Duration = Duration::from_secs(60);
/// Facts kept; the oldest goes first.
const FACTS: usize = 256;
/// Runs that are open at the same time: two families both ways, and some rivals.
const OPEN_RUNS: usize = 8;
/// A run ends after this long, so that a minute is some runs and old ones can go.
const RUN_SPAN: Duration = Duration::from_secs(20);
/// A pause of this many intervals ends a run: it is what people look for.
const PAUSE: u32 = 3;
/// What changes in the kernel less often than this is told one by one.
const KERNEL_PAUSE: Duration = Duration::from_millis(200);
/// Facts that room is made for at a time.
const ROOM: usize = 4;
/// Octets of a sentence.
const WORDS: usize = 240;

/// The facts of one virtual router, or of the node.
#[derive(Debug, Default)]
pub(in crate::director) struct Lane {
    facts: VecDeque<Noted>,
    open: Vec<Repeated>,
    /// Facts pushed out before their minute was over, and when the last one was.
    omitted: u64,
    omitted_at: Option<Instant>,
}

/// Small, as a thousand virtual routers have a dozen of them each.
#[derive(Debug, Clone)]
enum Noted {
    Once(Instant, Arc<What>),
    Again(Repeated),
}

/// Times are in microseconds: a run ends before they are more than an hour.
#[derive(Debug, Clone)]
struct Repeated {
    subject: Subject,
    first: Instant,
    count: u32,
    lasting_us: u32,
    longest_gap_us: u32,
    pause_us: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Heard {
        from: IpAddr,
        priority: u8,
        interval_ms: u32,
    },
    Sent {
        v6: bool,
        priority: u8,
    },
    /// The link it happened on, and the words of the last.
    Kernel {
        link: u32,
        words: Box<str>,
    },
}

impl Subject {
    /// Whether both are about the same thing, alike or not.
    fn is_about(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Heard { from: a, .. }, Self::Heard { from: b, .. }) => a == b,
            (Self::Sent { v6: a, .. }, Self::Sent { v6: b, .. }) => a == b,
            (Self::Kernel { link: a, .. }, Self::Kernel { link: b, .. }) => a == b,
            (Self::Heard { .. } | Self::Sent { .. } | Self::Kernel { .. }, _) => false,
        }
    }

    /// Whether a further one counts as the same again. Kernel events do, whatever their words.
    fn is_alike(&self, other: &Self) -> bool {
        matches!(self, Self::Kernel { .. }) || self == other
    }
}

impl Lane {
    /// An advertisement was heard.
    pub(in crate::director) fn heard(
        &mut self,
        now: Instant,
        from: IpAddr,
        priority: u8,
        interval: Duration,
    ) {
        let subject = Subject::Heard {
            from,
            priority,
            interval_ms: small(millis(interval)),
        };
        self.again(now, subject, interval * PAUSE);
    }

    /// An advertisement was sent.
    pub(in crate::director) fn sent(
        &mut self,
        now: Instant,
        family: Family,
        priority: u8,
        interval: Duration,
    ) {
        let v6 = family == Family::V6;
        self.again(now, Subject::Sent { v6, priority }, interval * PAUSE);
    }

    /// Something changed on a link.
    pub(in crate::director) fn kernel(&mut self, now: Instant, link: u32, words: String) {
        let words = bounded(words).into();
        self.again(now, Subject::Kernel { link, words }, KERNEL_PAUSE);
    }

    /// Ends every run: what comes after a change of state is told apart from what was before.
    pub(super) fn divide(&mut self, now: Instant) {
        for run in std::mem::take(&mut self.open) {
            self.keep(now, Noted::Again(run));
        }
    }

    /// Something happened once.
    pub(in crate::director) fn note(&mut self, now: Instant, what: What) {
        self.keep(now, Noted::Once(now, common(shortened(what))));
    }

    fn again(&mut self, now: Instant, subject: Subject, pause: Duration) {
        let place = self
            .open
            .iter()
            .position(|run| run.subject.is_about(&subject));
        if let Some(place) = place {
            let run = &mut self.open[place];
            let lasting = now.saturating_duration_since(run.first);
            let gap_us = small(micros(lasting)).saturating_sub(run.lasting_us);
            let goes_on =
                run.subject.is_alike(&subject) && gap_us <= run.pause_us && lasting < RUN_SPAN;
            if goes_on {
                run.count += 1;
                run.lasting_us += gap_us;
                run.longest_gap_us = run.longest_gap_us.max(gap_us);
                run.subject = subject;
                return;
            }
        }
        if place.is_some() || self.open.len() == OPEN_RUNS {
            let ended = self.open.remove(place.unwrap_or(0));
            self.keep(now, Noted::Again(ended));
        }
        // Most virtual routers send and hear nothing else: no room is kept for more runs than there are.
        self.open.reserve_exact(1);
        self.open.push(Repeated {
            subject,
            first: now,
            count: 1,
            lasting_us: 0,
            longest_gap_us: 0,
            pause_us: small(micros(pause)),
        });
    }

    fn keep(&mut self, now: Instant, noted: Noted) {
        while self
            .facts
            .front()
            .is_some_and(|old| now.saturating_duration_since(old.at()) > SPAN)
        {
            self.facts.pop_front();
        }
        if self.facts.len() == FACTS {
            self.facts.pop_front();
            self.omitted = self.omitted(now) + 1;
            self.omitted_at = Some(now);
        }
        if self.facts.capacity() > 4 * (self.facts.len() + 1) {
            // What was much once, after a change of state, is little in the long run.
            self.facts.shrink_to(2 * self.facts.len());
        }
        if self.facts.len() == self.facts.capacity() {
            self.facts.reserve_exact(ROOM.max(self.facts.len() / ROOM));
        }
        self.facts.push_back(noted);
    }

    /// Everything from a minute before `zero` to `until`, as distances from `zero`, in no particular order.
    pub(super) fn around(&self, zero: Instant, until: Instant) -> Vec<Fact> {
        let from = zero.checked_sub(SPAN);
        let open = self.open.iter().cloned().map(Noted::Again);
        self.facts
            .iter()
            .cloned()
            .chain(open)
            .filter(|noted| from.is_none_or(|from| noted.at() >= from) && noted.began() <= until)
            .map(|noted| noted.fact(zero))
            .collect()
    }

    /// How many facts of the minute before `now` found no room.
    pub(super) fn omitted(&self, now: Instant) -> u64 {
        let recent = |at: Instant| now.saturating_duration_since(at) <= SPAN;
        if self.omitted_at.is_some_and(recent) {
            self.omitted
        } else {
            0
        }
    }
}

impl Noted {
    fn at(&self) -> Instant {
        match self {
            Self::Once(at, _) => *at,
            Self::Again(run) => run.last(),
        }
    }

    fn began(&self) -> Instant {
        match self {
            Self::Once(at, _) => *at,
            Self::Again(run) => run.first,
        }
    }

    fn fact(self, zero: Instant) -> Fact {
        let at_us = distance(zero, self.at());
        let what = match self {
            Self::Once(_, what) => what,
            Self::Again(run) => Arc::new(run.what(zero)),
        };
        Fact { at_us, what }
    }
}

impl Repeated {
    fn last(&self) -> Instant {
        self.first + Duration::from_micros(self.lasting_us.into())
    }

    fn what(self, zero: Instant) -> What {
        let run = Run {
            count: self.count.into(),
            first_us: distance(zero, self.first),
            longest_gap_us: self.longest_gap_us.into(),
        };
        match self.subject {
            Subject::Heard {
                from,
                priority,
                interval_ms,
            } => What::Heard {
                from,
                priority,
                interval_ms: interval_ms.into(),
                run,
            },
            Subject::Sent { v6, priority } => What::Sent {
                family: if v6 {
                    control::Family::Ipv6
                } else {
                    control::Family::Ipv4
                },
                priority,
                run,
            },
            Subject::Kernel { words, .. } => What::Kernel {
                words: words.into(),
                run,
            },
        }
    }
}

/// Microseconds from `zero` to `at`, negative before it.
fn distance(zero: Instant, at: Instant) -> i64 {
    let signed = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    if at >= zero {
        signed(at - zero)
    } else {
        -signed(zero - at)
    }
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Facts of which lanes have the same in common.
const COMMON: usize = 32;

thread_local! {
    /// The facts noted last, oldest first.
    static LAST: RefCell<VecDeque<Arc<What>>> = const { RefCell::new(VecDeque::new()) };
}

/// `what`, as another lane has it that noted the same a moment ago. A thousand virtual routers that take over do the same at the same time.
fn common(what: What) -> Arc<What> {
    LAST.with_borrow_mut(|last| {
        if let Some(same) = last.iter().find(|noted| ***noted == what) {
            return Arc::clone(same);
        }
        if last.len() == COMMON {
            last.pop_front();
        }
        let what = Arc::new(what);
        last.push_back(Arc::clone(&what));
        what
    })
}

/// What is more than fits is the most that fits.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The same with sentences that are not too long: what others cause must not fill the memory.
fn shortened(what: What) -> What {
    match what {
        What::Decision {
            why,
            priority,
            interval_ms,
            learned_interval_ms,
            down_interval_us,
            skew_us,
        } => What::Decision {
            why: bounded(why),
            priority,
            interval_ms,
            learned_interval_ms,
            down_interval_us,
            skew_us,
        },
        What::Transition { from, to, reason } => What::Transition {
            from,
            to,
            reason: bounded(reason),
        },
        What::Alarm { words } => What::Alarm {
            words: bounded(words),
        },
        What::Happened { words } => What::Happened {
            words: bounded(words),
        },
        What::Node { subject, words } => What::Node {
            subject: bounded(subject),
            words: bounded(words),
        },
        short @ (What::Heard { .. }
        | What::Sent { .. }
        | What::Kernel { .. }
        | What::Timer { .. }
        | What::Claim
        | What::Claimed
        | What::Release
        | What::Announce { .. }
        | What::Announced { .. }
        | What::Away { .. }
        | What::Other) => short,
    }
}

fn bounded(mut words: String) -> String {
    if words.len() > WORDS {
        let end = (0..=WORDS).rev().find(|end| words.is_char_boundary(*end));
        words.truncate(end.unwrap_or(0));
        words.push('…');
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer() -> IpAddr {
        "10.0.0.2".parse().unwrap()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_minute_of_advertisements_is_some_runs_and_a_pause_shows() {
        let start = Instant::now();
        let mut lane = Lane::default();
        for tick in 0..1200 {
            // The 900th comes 450 ms late, and everything after it.
            let late = if tick < 900 { 0 } else { 350 };
            let now = start + ms(tick * 100 + late);
            lane.heard(now, peer(), 200, ms(100));
            lane.sent(now, Family::V4, 100, ms(100));
        }
        let zero = start + ms(1199 * 100 + 350);
        let facts = lane.around(zero, zero);
        let heard: Vec<&Fact> = facts
            .iter()
            .filter(|fact| matches!(*fact.what, What::Heard { .. }))
            .collect();
        assert!((4..=6).contains(&heard.len()), "{heard:?}");
        assert!(facts.len() <= 12);
        let all: u64 = heard
            .iter()
            .map(|fact| match *fact.what {
                What::Heard { run, .. } => run.count,
                _ => 0,
            })
            .sum();
        assert!((590..=800).contains(&all), "{all}");
        // One run begins where the pause ended.
        assert!(
            heard.iter().any(
                |fact| matches!(*fact.what, What::Heard { run, .. } if run.first_us == -29_900_000)
            ),
            "{heard:?}"
        );
    }

    #[test]
    fn another_priority_is_another_fact() {
        let start = Instant::now();
        let mut lane = Lane::default();
        lane.heard(start, peer(), 200, ms(100));
        lane.heard(start + ms(100), peer(), 200, ms(100));
        lane.heard(start + ms(150), peer(), 0, ms(100));
        let facts = lane.around(start + ms(200), start + ms(200));
        let run = |count, first_us, longest_gap_us| Run {
            count,
            first_us,
            longest_gap_us,
        };
        let heard = |priority, run| What::Heard {
            from: peer(),
            priority,
            interval_ms: 100,
            run,
        };
        let expected = [
            (-100_000, heard(200, run(2, -200_000, 100_000))),
            (-50_000, heard(0, run(1, -50_000, 0))),
        ];
        let got: Vec<(i64, What)> = facts
            .into_iter()
            .map(|fact| (fact.at_us, What::clone(&fact.what)))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_storm_stays_small_and_loses_nothing_else() {
        let start = Instant::now();
        let mut lane = Lane::default();
        lane.note(
            start,
            What::Alarm {
                words: "é".repeat(1000),
            },
        );
        for change in 0..30_000_u64 {
            let words = format!("address 10.1.0.{} added on dummy0", change % 200);
            lane.kernel(start + ms(change), 7, words);
        }
        let facts = lane.around(start + ms(30_000), start + ms(30_000));
        assert!(facts.len() <= 5, "{facts:?}");
        assert!(
            matches!(&*facts[0].what, What::Alarm { words } if words.len() <= WORDS + 3 && words.ends_with('…'))
        );
    }

    #[test]
    fn the_number_of_facts_is_bounded() {
        let start = Instant::now();
        let mut lane = Lane::default();
        for number in 0..10_000_u64 {
            lane.note(
                start + Duration::from_micros(number),
                What::Timer {
                    name: "advert".to_owned(),
                    late_us: number,
                },
            );
        }
        assert_eq!(lane.around(start, start + ms(100)).len(), FACTS);
        assert_eq!(lane.omitted(start), 10_000 - FACTS as u64);
        assert_eq!(lane.omitted(start + ms(61_000)), 0);
    }
}
