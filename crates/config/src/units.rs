//! Values with units as people write them: durations, sizes, percentages. Text in, value or hint out; no places.

use std::time::Duration;

/// Why a text is not a value of its kind, with what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// What was probably meant, as it would be written.
    pub(crate) suggestion: Option<String>,
}

fn unreadable(suggestion: Option<String>) -> Unreadable {
    Unreadable { suggestion }
}

/// Nanoseconds of each unit of time.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Other ways in which people write the units of time.
const DURATION_WORDS: [(&str, &str); 20] = [
    ("usec", "us"),
    ("µs", "us"),
    ("msec", "ms"),
    ("msecs", "ms"),
    ("millis", "ms"),
    ("S", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("H", "h"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
];

/// Bytes of each unit of size.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Other ways in which people write the units of size.
const SIZE_WORDS: [(&str, &str); 16] = [
    ("b", "B"),
    ("k", "KiB"),
    ("K", "KiB"),
    ("kb", "KiB"),
    ("kB", "KiB"),
    ("KB", "KiB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("M", "MiB"),
    ("mb", "MiB"),
    ("MB", "MiB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("G", "GiB"),
    ("GB", "GiB"),
    ("gib", "GiB"),
];

/// A duration such as `5s`, `100ms` or `1.5h`. One number, one unit.
pub(crate) fn duration(text: &str) -> Result<Duration, Unreadable> {
    let (nanos, scale) = scaled(text, &DURATION_UNITS, &DURATION_WORDS, "s")?;
    // At most 19 decimal digits of precision are kept by `scaled`, so the division is exact enough for nanoseconds.
    let nanos = u64::try_from(nanos / scale).map_err(|_| unreadable(None))?;
    Ok(Duration::from_nanos(nanos))
}

/// A size such as `32KiB`, in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Unreadable> {
    let (bytes, scale) = scaled(text, &SIZE_UNITS, &SIZE_WORDS, "B")?;
    u64::try_from(bytes / scale).map_err(|_| unreadable(None))
}

/// A whole percentage such as `50%`, 0 to 100.
pub(crate) fn percent(text: &str) -> Result<u8, Unreadable> {
    match text.strip_suffix('%').map(str::parse::<u8>) {
        Some(Ok(value)) if value <= 100 => Ok(value),
        _ => {
            let guess = text.trim().parse::<u8>().ok().filter(|n| *n <= 100);
            Err(unreadable(guess.map(|n| format!("{n}%"))))
        }
    }
}

/// Number times unit, as (value, divisor): the divisor is a power of ten for the digits after the point.
fn scaled(
    text: &str,
    units: &[(&str, u64)],
    words: &[(&str, &str)],
    usual: &str,
) -> Result<(u128, u128), Unreadable> {
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let valid = !whole.is_empty()
        && !fraction.contains('.')
        && number.len() <= 19
        && !number.ends_with('.');
    if !valid {
        return Err(unreadable(None));
    }
    let known = units.iter().find(|(name, _)| *name == unit);
    let Some((_, factor)) = known.filter(|_| trimmed == text) else {
        let unit = unit.trim();
        let meant = match unit {
            "" => Some(usual),
            _ => units
                .iter()
                .map(|(name, _)| *name)
                .chain(
                    words
                        .iter()
                        .filter(|(word, _)| *word == unit)
                        .map(|(_, name)| *name),
                )
                .find(|name| *name == unit || words.contains(&(unit, name))),
        };
        return Err(unreadable(meant.map(|unit| format!("{number}{unit}"))));
    };
    let digits: u128 = format!("{whole}{fraction}")
        .parse()
        .map_err(|_| unreadable(None))?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| unreadable(None))?);
    Ok((digits * u128::from(*factor), scale))
}

/// A duration as it would be written: the largest unit that divides it.
pub(crate) fn show_duration(value: Duration) -> String {
    let nanos = value.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut units = DURATION_UNITS.iter().rev();
    match units.find(|(_, factor)| nanos.is_multiple_of(u128::from(*factor))) {
        Some((unit, factor)) => format!("{}{unit}", nanos / u128::from(*factor)),
        None => format!("{nanos}ns"),
    }
}

/// A size as it would be written: the largest unit that divides it.
pub(crate) fn show_size(bytes: u64) -> String {
    let mut units = SIZE_UNITS.iter().rev();
    match units.find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests;
