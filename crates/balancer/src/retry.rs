//! May a failed attempt be made again, and where: one pure function; and how many may be, of all requests of a group.
//!
//! The rule behind the table: a request that may have been acted upon is repeated only if repeating it changes
//! nothing (RFC 9110 §9.2.2), and never once the client may have seen part of an answer. The race in mind is a target
//! that closes a kept connection just as the next request is written on it (RFC 9112 §9.3.1).
//!
//! What may have been acted upon costs the budget of the group when it is repeated: when all targets are in trouble,
//! retries must not multiply their load. What reached nobody costs nothing: another target gets just what it would have
//! got if the first had been known to be gone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;

/// How far the request body had come when the attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyProgress {
    /// The request has no body.
    None,
    /// It has one, but none of it was written to the target.
    NotStarted,
    /// Some or all was written, and all of it is still held.
    Held,
    /// Some or all was written and is gone.
    Gone,
}

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No connection could be opened: refused, unreachable or timed out.
    Connect,
    /// The target closed or reset the connection.
    Closed,
    /// The target was found dead while it was waited for.
    Dead,
    /// The target was silent for too long.
    TimedOut,
    /// What the target sent was not understood.
    BadResponse,
}

/// One failed attempt to have a request answered.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// True if at least one byte of the request head was taken by the connection.
    pub head_written: bool,
    /// How far the body had come.
    pub body: BodyProgress,
    /// True if the connection had served a request before.
    pub reused: bool,
    /// True if at least one byte of an answer was read.
    pub response_seen: bool,
    /// What went wrong.
    pub failure: Failure,
    /// Further targets tried for this request so far.
    pub moves: u32,
    /// Most further targets to try.
    pub tries: u32,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Give up and answer with the error.
    No,
    /// Try once more on a new connection, to the same target.
    FreshConnection,
    /// Try another target.
    OtherTarget,
}

/// Decides whether a failed attempt may be made again. `budget` is asked last, and only if that costs something.
pub fn decide_retry(attempt: &Attempt<'_>, budget: impl FnOnce() -> bool) -> Retry {
    if attempt.response_seen {
        return Retry::No;
    }
    let moves_on = attempt.moves < attempt.tries;
    match attempt.failure {
        Failure::Connect if moves_on => Retry::OtherTarget,
        Failure::Closed if attempt.reused && repeatable(attempt) => Retry::FreshConnection,
        Failure::Closed | Failure::Dead => {
            if moves_on && repeatable(attempt) && budget() {
                Retry::OtherTarget
            } else {
                Retry::No
            }
        }
        Failure::Connect | Failure::TimedOut | Failure::BadResponse => Retry::No,
    }
}

/// True if the request may be written once more without being acted upon twice.
fn repeatable(attempt: &Attempt<'_>) -> bool {
    if !attempt.head_written {
        return attempt.body != BodyProgress::Gone;
    }
    match attempt.body {
        BodyProgress::None | BodyProgress::Held => attempt.method.is_idempotent(),
        // A kept connection that closes under a head was closing before it.
        BodyProgress::NotStarted => attempt.reused || attempt.method.is_idempotent(),
        BodyProgress::Gone => false,
    }
}

/// What is left for retries in one group: a part of its requests of the last seconds, and a few more.
#[derive(Debug, Default)]
pub struct RetryBudget {
    account: Mutex<Account>,
    retries_total: AtomicU64,
}

#[derive(Debug, Default)]
struct Account {
    tokens: f64,
    settled_at: Option<Instant>,
    /// Picks of the group when it was settled.
    picks: u64,
    /// Retries since then; they are picks, but earn nothing.
    granted: u64,
    refused_total: u64,
}

impl RetryBudget {
    /// Retries a second that are free, so that a group with few requests can retry at all.
    pub const FREE_PER_SECOND: f64 = 10.0;
    /// How long what was earned can be spent.
    pub const KEPT_FOR: Duration = Duration::from_secs(10);

    /// Takes in the requests since the last call: `picks` is the number of all picks of the group so far. Called about
    /// once a second, so that requests long ago earn nothing now.
    pub fn settle(&self, now: Instant, picks: u64, percent: u8) {
        self.account().settle(now, picks, percent);
    }

    /// Takes a retry from the budget, if there is one.
    pub fn take(&self, now: Instant, picks: u64, percent: u8) -> bool {
        let mut account = self.account();
        account.settle(now, picks, percent);
        let granted = account.tokens >= 1.0;
        if granted {
            account.tokens -= 1.0;
            account.granted += 1;
        } else {
            account.refused_total += 1;
        }
        granted
    }

    /// Counts a retry, whether it cost something or not.
    pub fn count_retry(&self) {
        self.retries_total.fetch_add(1, Relaxed);
    }

    /// Retries that were made.
    pub fn retries_total(&self) -> u64 {
        self.retries_total.load(Relaxed)
    }

    /// Retries the budget did not allow.
    pub fn refused_total(&self) -> u64 {
        self.account().refused_total
    }

    /// Never held for longer than some arithmetic, and only by those who repeat something.
    fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn settle(&mut self, now: Instant, picks: u64, percent: u8) {
        let kept_for = RetryBudget::KEPT_FOR.as_secs_f64();
        // Nothing is known of the time before: as if it had been idle for long.
        let elapsed = self.settled_at.map_or(kept_for, |at| {
            now.saturating_duration_since(at).as_secs_f64()
        });
        let recent = if elapsed > kept_for {
            kept_for / elapsed
        } else {
            1.0
        };
        let requests = picks
            .saturating_sub(self.picks)
            .saturating_sub(self.granted);
        let earned = requests as f64 * recent * f64::from(percent) / 100.0;
        let free = RetryBudget::FREE_PER_SECOND * elapsed.min(kept_for);
        self.tokens = self.tokens * (1.0 - elapsed / kept_for).max(0.0) + earned + free;
        self.settled_at = Some(now);
        self.picks = picks;
        self.granted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(method: &Method) -> Attempt<'_> {
        Attempt {
            method,
            head_written: true,
            body: BodyProgress::None,
            reused: true,
            response_seen: false,
            failure: Failure::Closed,
            moves: 0,
            tries: 2,
        }
    }

    fn decide(attempt: Attempt<'_>) -> Retry {
        decide_retry(&attempt, || true)
    }

    /// The rows of the reused-connection table.
    #[test]
    fn a_reused_connection_that_closes() {
        use BodyProgress::{Gone, Held, None, NotStarted};
        let patch = Method::PATCH;
        let odd = Method::from_bytes(b"BREW").unwrap_or_default();
        let rows = [
            (&Method::GET, None, Retry::FreshConnection),
            (&Method::HEAD, None, Retry::FreshConnection),
            (&Method::OPTIONS, None, Retry::FreshConnection),
            (&Method::DELETE, None, Retry::FreshConnection),
            (&Method::DELETE, Held, Retry::FreshConnection),
            (&Method::PUT, Held, Retry::FreshConnection),
            (&Method::PUT, NotStarted, Retry::FreshConnection),
            (&Method::PUT, Gone, Retry::No),
            (&Method::POST, None, Retry::No),
            (&Method::POST, Held, Retry::No),
            (&Method::POST, Gone, Retry::No),
            (&Method::POST, NotStarted, Retry::FreshConnection),
            (&patch, Held, Retry::No),
            (&odd, None, Retry::No),
            (&odd, NotStarted, Retry::FreshConnection),
        ];
        for (method, body, want) in rows {
            let got = decide(Attempt {
                body,
                ..attempt(method)
            });
            assert_eq!(got, want, "{method} {body:?}");
        }
    }

    #[test]
    fn nothing_written_may_be_written_again_whatever_the_method() {
        for method in [&Method::GET, &Method::POST] {
            let got = decide(Attempt {
                head_written: false,
                ..attempt(method)
            });
            assert_eq!(got, Retry::FreshConnection, "{method}");
        }
    }

    /// A target that closes a new connection, or is found dead: elsewhere, if that may be.
    #[test]
    fn a_fresh_connection_that_closes() {
        use BodyProgress::{Gone, Held, None, NotStarted};
        let rows = [
            (&Method::GET, None, Retry::OtherTarget),
            (&Method::HEAD, None, Retry::OtherTarget),
            (&Method::DELETE, None, Retry::OtherTarget),
            (&Method::PUT, Held, Retry::OtherTarget),
            (&Method::PUT, Gone, Retry::No),
            (&Method::POST, None, Retry::No),
            (&Method::POST, NotStarted, Retry::No),
            (&Method::POST, Held, Retry::No),
            (&Method::PATCH, Held, Retry::No),
        ];
        for ((method, body, want), failure) in rows
            .into_iter()
            .flat_map(|row| [(row, Failure::Closed), (row, Failure::Dead)])
        {
            let attempt = Attempt {
                body,
                failure,
                reused: false,
                ..attempt(method)
            };
            assert_eq!(decide(attempt), want, "{method} {body:?} {failure:?}");
        }
    }

    #[test]
    fn a_begun_answer_or_a_silence_is_final() {
        for failure in [Failure::Closed, Failure::Dead, Failure::Connect] {
            let seen = Attempt {
                response_seen: true,
                failure,
                ..attempt(&Method::GET)
            };
            assert_eq!(decide(seen), Retry::No);
        }
        for failure in [Failure::TimedOut, Failure::BadResponse] {
            let ended = Attempt {
                failure,
                ..attempt(&Method::GET)
            };
            assert_eq!(decide(ended), Retry::No);
        }
    }

    #[test]
    fn other_targets_are_tried_as_often_as_told_for_any_method() {
        let failed = |moves, tries| Attempt {
            failure: Failure::Connect,
            head_written: false,
            moves,
            tries,
            ..attempt(&Method::POST)
        };
        assert_eq!(decide(failed(0, 2)), Retry::OtherTarget);
        assert_eq!(decide(failed(1, 2)), Retry::OtherTarget);
        assert_eq!(decide(failed(2, 2)), Retry::No);
        assert_eq!(decide(failed(0, 0)), Retry::No);
    }

    #[test]
    fn the_budget_is_for_what_may_have_been_acted_upon() {
        let broke = |attempt| decide_retry(&attempt, || false);
        let dead = Attempt {
            failure: Failure::Dead,
            ..attempt(&Method::GET)
        };
        assert_eq!(broke(dead), Retry::No);
        let refused = Attempt {
            failure: Failure::Connect,
            ..attempt(&Method::GET)
        };
        assert_eq!(broke(refused), Retry::OtherTarget);
        assert_eq!(broke(attempt(&Method::GET)), Retry::FreshConnection);
        let unasked = || -> bool { panic!("what is refused anyway costs nothing") };
        assert_eq!(
            decide_retry(
                &Attempt {
                    failure: Failure::Dead,
                    ..attempt(&Method::POST)
                },
                unasked
            ),
            Retry::No
        );
    }

    #[test]
    fn a_quiet_group_can_retry_a_hundred_times_and_then_ten_times_a_second() {
        let (budget, start) = (RetryBudget::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let taken = |ms| (0..1000).filter(|_| budget.take(at(ms), 0, 20)).count();
        assert_eq!(taken(0), 100);
        assert_eq!(taken(0), 0);
        assert_eq!(taken(1_000), 10);
        assert_eq!(taken(3_000), 20);
        assert_eq!(taken(60_000), 100, "what is older than ten seconds is gone");
        assert_eq!(budget.refused_total(), 4_770);
    }

    #[test]
    fn a_busy_group_can_retry_a_fifth_of_its_requests() {
        let (budget, start) = (RetryBudget::default(), Instant::now());
        let (mut picks, mut granted) = (0, 0);
        // 1,000 requests a second, of which every other one asks for a retry, and gets picked again if it may.
        for ms in 0..60_000u64 {
            picks += 1;
            if ms % 2 == 0 && budget.take(start + Duration::from_millis(ms), picks, 20) {
                picks += 1;
                granted += 1;
            }
        }
        // 200 and 10 a second, and what was there at the beginning.
        assert!((12_500..=12_800).contains(&granted), "{granted}");
    }

    #[test]
    fn requests_of_long_ago_earn_nothing() {
        let (budget, start) = (RetryBudget::default(), Instant::now());
        budget.settle(start, 0, 20);
        // A million requests in an hour: 278 a second.
        budget.settle(start + Duration::from_secs(3600), 1_000_000, 20);
        let now = start + Duration::from_secs(3600);
        let taken = (0..10_000)
            .filter(|_| budget.take(now, 1_000_000, 20))
            .count();
        assert_eq!(taken, 100 + 2 * 278 - 1);
    }
}
