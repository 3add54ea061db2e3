//! What one worker thread writes with: a block that fills with lines, and a clock that costs no call.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::line::{Line, digits};
use super::writer::{Block, Inlet};
use super::{AccessLogFormat, AccessLogSettings, AccessLogTarget};

/// A block of this size is handed over at once; a smaller one at the next tick.
pub(super) const BLOCK_BYTES: usize = 32 * 1024;

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    /// Their format.
    pub(crate) format: AccessLogFormat,
    /// Queries are left out.
    pub(crate) without_query: bool,
}

impl Shape {
    /// The shape that settings ask for; `None` if there are to be no lines.
    pub(crate) fn of(settings: &AccessLogSettings) -> Option<Shape> {
        (settings.to != AccessLogTarget::Off).then_some(Shape {
            format: settings.format,
            without_query: settings.without_query,
        })
    }
}

/// The pen of one thread. Without an inlet it writes nothing.
#[derive(Debug, Default)]
pub(crate) struct Pen {
    shape: Cell<Option<Shape>>,
    block: RefCell<Block>,
    clock: Cell<Option<Clock>>,
    date: RefCell<Date>,
    inlet: Option<Inlet>,
}

impl Pen {
    /// A pen whose blocks go to `inlet`; silent until it is told a shape.
    pub(crate) fn new(inlet: Inlet) -> Self {
        Self {
            inlet: Some(inlet),
            ..Self::default()
        }
    }

    /// How lines look; `None` if there are to be none.
    pub(crate) fn shape(&self) -> Option<Shape> {
        self.shape.get()
    }

    /// Changes how lines look, from the next one on.
    pub(crate) fn set_shape(&self, shape: Option<Shape>) {
        self.hand_over();
        self.set_clock();
        self.shape.set(shape.filter(|_| self.inlet.is_some()));
    }

    /// Called several times a second: hands over what there is, and looks at the clock.
    pub(crate) fn tick(&self) {
        if self.shape.get().is_some() {
            self.set_clock();
            self.hand_over();
        }
    }

    /// Writes a line about something that began at `at`, if lines are wanted.
    pub(crate) fn write(&self, at: Instant, fields: impl FnOnce(&mut Line<'_>, Shape)) {
        let Some(shape) = self.shape.get() else {
            return;
        };
        let full = {
            let mut block = self.block.borrow_mut();
            let mut line = Line::new(&mut block.bytes, shape.format);
            line.begin(|out| self.write_time(out, at));
            fields(&mut line, shape);
            line.end();
            block.lines += 1;
            block.bytes.len() >= BLOCK_BYTES
        };
        if full {
            self.hand_over();
        }
    }

    /// Gives the block to the writer.
    pub(crate) fn hand_over(&self) {
        let mut block = self.block.borrow_mut();
        match &self.inlet {
            Some(inlet) if block.lines > 0 => *block = inlet.give(std::mem::take(&mut *block)),
            Some(_) | None => {}
        }
    }

    fn set_clock(&self) {
        self.clock.set(Some(Clock {
            instant: Instant::now(),
            since_epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }));
    }

    fn write_time(&self, out: &mut Vec<u8>, at: Instant) {
        let since_epoch = self.clock.get().map(|clock| clock.since_epoch(at));
        let since_epoch = since_epoch.unwrap_or_default();
        let mut date = self.date.borrow_mut();
        date.set(since_epoch.as_secs());
        out.extend_from_slice(&date.text);
        let [hundreds, tens, ones] = digits(u64::from(since_epoch.subsec_millis()));
        out.extend_from_slice(&[b'.', hundreds, tens, ones, b'Z']);
    }
}

/// The time of day at one moment, from which others are counted.
#[derive(Clone, Copy, Debug)]
struct Clock {
    instant: Instant,
    since_epoch: Duration,
}

impl Clock {
    fn since_epoch(&self, at: Instant) -> Duration {
        match at.checked_duration_since(self.instant) {
            Some(after) => self.since_epoch + after,
            None => self
                .since_epoch
                .saturating_sub(self.instant.duration_since(at)),
        }
    }
}

/// A second in text, kept because the next line mostly falls into the same one.
#[derive(Debug)]
struct Date {
    second: u64,
    text: [u8; 19],
}

impl Default for Date {
    fn default() -> Self {
        Self {
            second: 0,
            text: *b"1970-01-01T00:00:00",
        }
    }
}

impl Date {
    fn set(&mut self, second: u64) {
        if self.second == second {
            return;
        }
        self.second = second;
        let (year, month, day) = date_of(second / 86_400);
        let of_day = second % 86_400;
        self.text[..4].copy_from_slice(&digits::<4>(year));
        let parts = [month, day, of_day / 3600, of_day / 60 % 60, of_day % 60];
        // Each with what stands before it, which never changes.
        for (place, number) in self.text[4..].chunks_exact_mut(3).zip(parts) {
            place[1..].copy_from_slice(&digits::<2>(number));
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years are taken to begin in March,
/// so that the day that is not always there is the last.
fn date_of(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const BEFORE_1970: u64 = 719_468;
    /// Days of 400 years, after which everything repeats.
    const ERA: u64 = 146_097;
    let days = days + BEFORE_1970;
    let (era, of_era) = (days / ERA, days % ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let rows = [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (1_767_225_599, "2025-12-31T23:59:59"),
        ];
        let mut date = Date::default();
        for (second, want) in rows {
            date.set(second);
            assert_eq!(String::from_utf8(date.text.to_vec()).unwrap(), want);
        }
    }

    #[test]
    fn moments_before_the_clock_was_looked_at_count_backwards() {
        let instant = Instant::now() + Duration::from_secs(5);
        let clock = Clock {
            instant,
            since_epoch: Duration::from_secs(100),
        };
        let at = |offset: u64| clock.since_epoch(instant - Duration::from_secs(offset));
        assert_eq!(at(2), Duration::from_secs(98));
        let later = clock.since_epoch(instant + Duration::from_secs(2));
        assert_eq!(later, Duration::from_secs(102));
    }

    #[test]
    fn a_pen_without_an_inlet_writes_nothing() {
        let pen = Pen::default();
        pen.set_shape(Some(Shape {
            format: AccessLogFormat::Json,
            without_query: false,
        }));
        pen.write(Instant::now(), |_, _| panic!("nobody wants lines"));
        assert_eq!(pen.block.borrow().lines, 0);
    }
}
