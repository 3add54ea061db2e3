//! A point in time as the messages carry it: RFC 3339 in UTC, to the millisecond. No time zones, no leap seconds, no clock.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const MS_PER_DAY: i64 = 86_400_000;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, written `2026-03-04T05:06:07.089Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time as of RFC 3339")]
pub struct TimestampError(String);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// How long before `now` this is; zero when it is later (clocks may be set back).
    pub fn age(self, now: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(now.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of_days(self.0.div_euclid(MS_PER_DAY));
        let ms = self.0.rem_euclid(MS_PER_DAY);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1000
        )
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        parse(text)
            .map(Self)
            .ok_or_else(|| TimestampError(text.to_owned()))
    }
}

/// `YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm|-hh:mm)` in milliseconds since the epoch.
fn parse(text: &str) -> Option<i64> {
    let head = text.get(..19)?;
    let number = |from: usize, to: usize, limits: std::ops::RangeInclusive<i64>| {
        let digits = head.get(from..to)?;
        let value = digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse::<i64>().ok())??;
        limits.contains(&value).then_some(value)
    };
    let separators = [(4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":")];
    if !separators
        .iter()
        .all(|(at, byte)| head.as_bytes()[*at] == byte[0])
    {
        return None;
    }
    let (year, month, day) = (
        number(0, 4, 0..=9999)?,
        number(5, 7, 1..=12)?,
        number(8, 10, 1..=31)?,
    );
    let (hour, minute, second) = (
        number(11, 13, 0..=23)?,
        number(14, 16, 0..=59)?,
        number(17, 19, 0..=60)?,
    );
    let days = days_of_date(year, month, day);
    if date_of_days(days) != (year, month, day) {
        return None;
    }
    let (fraction_ms, zone) = split_fraction(&text[19..])?;
    let seconds = hour * 3600 + minute * 60 + second - offset_seconds(zone)?;
    Some(days * MS_PER_DAY + seconds * 1000 + fraction_ms)
}

/// Milliseconds of a leading `.123456` (none: 0) and what follows it.
fn split_fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(after_dot) = rest.strip_prefix('.') else {
        return Some((0, rest));
    };
    let end = after_dot.find(|c: char| !c.is_ascii_digit())?;
    let digits = &after_dot[..end];
    let millis = format!("{digits:0<3}").get(..3)?.parse().ok()?;
    (end > 0).then_some((millis, &after_dot[end..]))
}

/// Seconds east of UTC.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let two_digits = |s: &str| {
        (s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse::<i64>().ok())?
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is the last.
fn days_of_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

/// The reverse of [`days_of_date`].
fn date_of_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Seconds worked out with `date -u -d TEXT +%s`.
    const KNOWN: &[(&str, i64)] = &[
        ("1970-01-01T00:00:00.000Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2000-02-29T12:00:00.500Z", 951_825_600_500),
        ("2024-12-31T23:59:59.000Z", 1_735_689_599_000),
        ("2026-03-04T05:06:07.089Z", 1_772_600_767_089),
        ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
    ];

    #[test]
    fn known_times_both_ways() {
        for (text, millis) in KNOWN {
            assert_eq!(Timestamp::from_millis(*millis).to_string(), *text);
            assert_eq!(
                text.parse::<Timestamp>().unwrap().as_millis(),
                *millis,
                "{text}"
            );
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in -146_097..146_097 {
            let (y, m, d) = date_of_days(day);
            assert_eq!(days_of_date(y, m, d), day);
        }
    }

    #[test]
    fn other_forms_of_the_same_instant() {
        for text in [
            "2026-03-04T05:06:07Z",
            "2026-03-04T07:06:07+02:00",
            "2026-03-04T01:36:07.0000001-03:30",
        ] {
            assert_eq!(
                text.parse::<Timestamp>().unwrap().as_millis(),
                1_772_600_767_000,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let bad = [
            "",
            "2026",
            "2026-03-04 05:06:07Z",
            "2026-03-04T05:06:07",
            "2026-13-04T05:06:07Z",
            "2026-02-29T05:06:07Z",
            "2026-03-04T24:06:07Z",
            "2026-03-04T05:06:07.Z",
            "2026-03-04T05:06:07.1",
            "2026-03-04T05:06:07+2:00",
            "+026-03-04T05:06:07Z",
            "2026-03-04T05:06:07é",
            "éééééééééééééé",
            "2026-03-04T05:06:07+02",
        ];
        for text in bad {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn age_never_goes_below_zero() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
        assert_eq!(early.age(late), Duration::from_millis(2_500));
        assert_eq!(late.age(early), Duration::ZERO);
    }

    #[test]
    fn from_the_system_clock() {
        assert_eq!(
            Timestamp::from(UNIX_EPOCH + Duration::from_millis(1500)).as_millis(),
            1500
        );
        assert_eq!(
            Timestamp::from(UNIX_EPOCH - Duration::from_millis(1500)).as_millis(),
            -1500
        );
    }
}
