//! Points and lengths of time as a person writes them, and what goes with an order that stays.

use std::str::FromStr;
use std::time::Duration;

use control::Timestamp;

/// What may be said with an order that stays.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Terms {
    /// Let it end by itself after this time: 90s, 10m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    pub(crate) length: Option<Duration>,
    /// The reason, for whoever looks later
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
}

impl Terms {
    /// Its length in seconds.
    pub(crate) fn for_s(&self) -> Option<u64> {
        self.length.map(|length| length.as_secs())
    }
}

/// A length of time as an argument.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    age(text).ok_or_else(|| "expected a time like 90s, 10m, 2h or 1d".to_owned())
}

/// Where a list of events begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// After the event of this number.
    Number(u64),
    /// After this time.
    Time(Timestamp),
    /// So long ago.
    Age(Duration),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        age(text).map(Self::Age).ok_or_else(|| {
            "expected an age like 10m, a time like 2026-03-04T05:06:07Z, or an event number"
                .to_owned()
        })
    }
}

/// `90s`, `10m`, `2h`, `1d`
fn age(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(seconds)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn since_in_its_three_forms() {
        assert_eq!("41".parse(), Ok(Since::Number(41)));
        assert_eq!("90s".parse(), Ok(Since::Age(Duration::from_secs(90))));
        assert_eq!("10m".parse(), Ok(Since::Age(Duration::from_secs(600))));
        assert_eq!("2h".parse(), Ok(Since::Age(Duration::from_secs(7200))));
        assert_eq!("1d".parse(), Ok(Since::Age(Duration::from_secs(86_400))));
        let time = Since::Time(Timestamp::from_millis(1_772_600_767_000));
        assert_eq!("2026-03-04T05:06:07Z".parse(), Ok(time));
        for bad in [
            "",
            "m",
            "-1m",
            "1.5h",
            "10 m",
            "10é",
            "99999999999999999999d",
            "213503982334602d",
        ] {
            assert!(bad.parse::<Since>().is_err(), "{bad}");
        }
    }
}
