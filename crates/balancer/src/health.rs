//! Rise and fall of one target, from the results of its checks.
//!
//! ```text
//!              pass                    fall failures in a row
//!   Unknown ----------> Up <------------------------------------+
//!      |                 |  --------------------------------->  Down
//!      |  fail           |                                       ^
//!      +-----------------+---------------------------------------+
//!                           Down -> Up: rise passes in a row
//! ```
//!
//! The first result decides at once, both ways: a node that has just started must not count on a target about which
//! the only thing known is a failure. While a change is pending the next check comes after `fast` instead of `every`.
//! Running the checks is not done here.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::settings::HealthSettings;
use crate::target::Health;

/// Why one check failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckFailure {
    /// Nobody listens there.
    ConnectRefused,
    /// No connection within the time limit.
    ConnectTimeout,
    /// No connection for another reason, in the system's words.
    ConnectFailed(String),
    /// Connected, but not to whom it should be, in words.
    Tls(String),
    /// Connected, but no answer within the time limit.
    Timeout,
    /// The connection ended before an answer.
    Closed,
    /// The answer was not HTTP.
    NotHttp,
    /// The answer had a status that was not wanted.
    Status {
        /// The status.
        got: u16,
        /// The statuses that pass.
        want: Vec<RangeInclusive<u16>>,
    },
    /// The body did not contain this text.
    Body(String),
    /// The call ended with this status of gRPC; 0 if the answer was none.
    Grpc(u16),
    /// The service says of itself that it does not serve; this is the number of what it says.
    NotServing(u64),
    /// The datagram that answered did not contain what was wanted.
    Answer,
}

impl CheckFailure {
    /// True if nothing was heard: the machine is gone, cut off or frozen. A refusal, or an answer that says no, comes
    /// from one that is alive and may be about to finish what it has.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::ConnectTimeout | Self::ConnectFailed(_) | Self::Timeout => true,
            Self::ConnectRefused
            | Self::Tls(_)
            | Self::Closed
            | Self::NotHttp
            | Self::Status { .. }
            | Self::Body(_)
            | Self::Grpc(_)
            | Self::NotServing(_)
            | Self::Answer => false,
        }
    }
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectRefused => f.write_str("connect refused"),
            Self::ConnectTimeout => f.write_str("connect timeout"),
            Self::ConnectFailed(cause) => write!(f, "connect failed: {cause}"),
            Self::Tls(cause) => write!(f, "tls: {cause}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Closed => f.write_str("closed without an answer"),
            Self::NotHttp => f.write_str("answer is not http"),
            Self::Status { got, want } => {
                write!(f, "http {got} (want ")?;
                for (index, range) in want.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    if range.start() == range.end() {
                        write!(f, "{comma}{}", range.start())?;
                    } else {
                        write!(f, "{comma}{}-{}", range.start(), range.end())?;
                    }
                }
                f.write_str(")")
            }
            Self::Body(want) => write!(f, "body lacks {want:?}"),
            Self::Grpc(0) => f.write_str("answer is not that of a health check"),
            Self::Grpc(status) => write!(f, "grpc status {status}"),
            Self::NotServing(what) => {
                let word = match what {
                    2 => "not serving",
                    3 => "service unknown",
                    _ => "unknown",
                };
                write!(f, "grpc health is {word}")
            }
            Self::Answer => f.write_str("answer is not the one expected"),
        }
    }
}

/// A change of health.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthChange {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
}

/// Counts passes and failures of one target.
#[derive(Debug)]
pub struct HealthMachine {
    settings: HealthSettings,
    health: Health,
    /// Passes in a row; 0 after a failure.
    passes: u32,
    /// Failures in a row; 0 after a pass.
    failures: u32,
    /// Results in all.
    results: u64,
    last_failure: Option<CheckFailure>,
}

/// Part of the interval by which each wait may be longer or shorter, in percent.
const JITTER_PERCENT: u32 = 10;

impl HealthMachine {
    /// A target nothing is known about.
    pub fn new(settings: HealthSettings) -> Self {
        Self::resume(settings, Health::Unknown)
    }

    /// A target that is known from before, e.g. after its check was changed by a reload.
    pub fn resume(settings: HealthSettings, health: Health) -> Self {
        Self {
            settings,
            health,
            passes: 0,
            failures: 0,
            results: 0,
            last_failure: None,
        }
    }

    /// The health after the results so far.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes the result of one check.
    pub fn observe(
        &mut self,
        _now: Instant,
        result: Result<(), CheckFailure>,
    ) -> Option<HealthChange> {
        self.results = self.results.saturating_add(1);
        match result {
            Ok(()) => {
                self.passes = self.passes.saturating_add(1);
                self.failures = 0;
                self.last_failure = None;
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.passes = 0;
                self.last_failure = Some(failure);
            }
        }
        let passed = self.passes > 0;
        let to = match (self.health, passed) {
            (Health::Unknown, true) => Health::Up,
            (Health::Unknown, false) => Health::Down,
            (Health::Up, false) if self.failures >= self.settings.fall => Health::Down,
            (Health::Down, true) if self.passes >= self.settings.rise => Health::Up,
            (Health::Up, true | false) => Health::Up,
            (Health::Down, true | false) => Health::Down,
        };
        let from = std::mem::replace(&mut self.health, to);
        (from != to).then_some(HealthChange { from, to })
    }

    /// When the next check is due. The first is due at once; the second comes at a random place in the interval, so
    /// that the checks of many targets spread out; all later ones vary by a tenth.
    pub fn next_check_at(&self, now: Instant, rng: u64) -> Instant {
        if self.results == 0 {
            return now;
        }
        if self.pending() {
            return now + jittered(self.settings.fast, rng);
        }
        if self.results == 1 {
            return now + self.settings.every.mul_f64(fraction(rng));
        }
        now + jittered(self.settings.every, rng)
    }

    /// True while results contradict the health, so that a change may be near.
    pub fn pending(&self) -> bool {
        match self.health {
            Health::Unknown => true,
            Health::Up => self.failures > 0,
            Health::Down => self.passes > 0,
        }
    }

    /// True if the last check failed and heard nothing.
    pub fn is_silent(&self) -> bool {
        self.last_failure
            .as_ref()
            .is_some_and(CheckFailure::is_silence)
    }

    /// Why it fails, with the count: `http 503 (want 200-399) 3/3`; `None` after a pass.
    pub fn why(&self) -> Option<String> {
        let failure = self.last_failure.as_ref()?;
        let fall = self.settings.fall;
        Some(format!("{failure} {}/{fall}", self.failures.min(fall)))
    }
}

/// `rng` as a number from 0 to below 1.
fn fraction(rng: u64) -> f64 {
    // 53 bits are what a f64 holds exactly.
    (rng >> 11) as f64 / (1u64 << 53) as f64
}

fn jittered(length: Duration, rng: u64) -> Duration {
    let share = f64::from(JITTER_PERCENT) / 100.0;
    length.mul_f64(1.0 - share + 2.0 * share * fraction(rng))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// Half of the range: no jitter.
    const MIDDLE: u64 = 1 << 63;

    fn refused() -> Result<(), CheckFailure> {
        Err(CheckFailure::ConnectRefused)
    }

    fn change(from: Health, to: Health) -> Option<HealthChange> {
        Some(HealthChange { from, to })
    }

    #[test]
    fn the_first_result_decides() {
        let now = Instant::now();
        let mut machine = HealthMachine::new(HealthSettings::default());
        assert_eq!(machine.next_check_at(now, MIDDLE), now);
        assert_eq!(
            machine.observe(now, Ok(())),
            change(Health::Unknown, Health::Up)
        );
        let mut machine = HealthMachine::new(HealthSettings::default());
        assert_eq!(
            machine.observe(now, refused()),
            change(Health::Unknown, Health::Down)
        );
        assert_eq!(machine.why().unwrap(), "connect refused 1/3");
    }

    #[test]
    fn rise_2_fall_3() {
        let now = Instant::now();
        let mut machine = HealthMachine::new(HealthSettings::default());
        machine.observe(now, Ok(()));
        assert_eq!(machine.observe(now, refused()), None);
        assert_eq!(machine.observe(now, refused()), None);
        assert_eq!(
            machine.observe(now, Ok(())),
            None,
            "two failures and a pass: the count starts again"
        );
        assert_eq!(machine.observe(now, refused()), None);
        assert_eq!(machine.observe(now, refused()), None);
        assert_eq!(
            machine.observe(now, refused()),
            change(Health::Up, Health::Down)
        );
        assert_eq!(machine.observe(now, refused()), None);
        assert_eq!(machine.observe(now, Ok(())), None);
        assert_eq!(machine.observe(now, refused()), None);
        assert_eq!(machine.observe(now, Ok(())), None);
        assert_eq!(
            machine.observe(now, Ok(())),
            change(Health::Down, Health::Up)
        );
        assert_eq!(machine.why(), None);
    }

    #[test]
    fn checks_come_faster_while_a_change_is_pending() {
        let now = Instant::now();
        let mut machine = HealthMachine::resume(HealthSettings::default(), Health::Up);
        machine.observe(now, Ok(()));
        machine.observe(now, Ok(()));
        assert_eq!(machine.next_check_at(now, MIDDLE), now + 5 * SECOND);
        machine.observe(now, refused());
        assert_eq!(machine.next_check_at(now, MIDDLE), now + SECOND);
        machine.observe(now, refused());
        machine.observe(now, refused());
        assert_eq!(
            machine.next_check_at(now, MIDDLE),
            now + 5 * SECOND,
            "down for good: back to the interval"
        );
        machine.observe(now, Ok(()));
        assert_eq!(machine.next_check_at(now, MIDDLE), now + SECOND);
    }

    #[test]
    fn jitter_is_a_tenth_either_way_and_the_second_check_is_anywhere() {
        let now = Instant::now();
        let mut machine = HealthMachine::resume(HealthSettings::default(), Health::Up);
        machine.observe(now, Ok(()));
        assert_eq!(machine.next_check_at(now, 0), now);
        assert_eq!(
            machine.next_check_at(now, MIDDLE),
            now + Duration::from_millis(2500)
        );
        machine.observe(now, Ok(()));
        assert_eq!(
            machine.next_check_at(now, 0),
            now + Duration::from_millis(4500)
        );
        let latest = machine.next_check_at(now, u64::MAX);
        assert!(
            latest <= now + Duration::from_millis(5500)
                && latest > now + Duration::from_millis(5499)
        );
    }

    #[test]
    fn the_words_for_a_failure() {
        let status = CheckFailure::Status {
            got: 503,
            want: vec![200..=399],
        };
        assert_eq!(status.to_string(), "http 503 (want 200-399)");
        let status = CheckFailure::Status {
            got: 404,
            want: vec![200..=200, 301..=302],
        };
        assert_eq!(status.to_string(), "http 404 (want 200,301-302)");
        let mut machine = HealthMachine::resume(HealthSettings::default(), Health::Up);
        for _ in 0..5 {
            machine.observe(
                Instant::now(),
                Err(CheckFailure::Status {
                    got: 503,
                    want: vec![200..=399],
                }),
            );
        }
        assert_eq!(machine.why().unwrap(), "http 503 (want 200-399) 3/3");
    }
}
