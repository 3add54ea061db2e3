//! Small pieces of text: relative times, counts, wrapped lines.

use std::time::Duration;

use control::Timestamp;

use super::WIDTH;

/// A length of time in at most two units: `40ms`, `12s`, `4m12s`, `3h05m`, `4d02h`.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{}ms", length.as_millis()),
        (0, 0, 0, _) => format!("{seconds}s"),
        (0, 0, _, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// The same for a distance in milliseconds; tenths below ten seconds, for what moves fast.
pub(super) fn millis(ms: u64) -> String {
    match ms {
        1000..10_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => span(Duration::from_millis(ms)),
    }
}

/// How long requests took: `0.4ms`, `9.2ms`, `41ms`, `1.5s`; a dash if there were none.
pub(super) fn latency(took: Option<Duration>) -> String {
    let Some(took) = took else {
        return "-".to_owned();
    };
    match took.as_micros() {
        0..10_000 => format!("{:.1}ms", took.as_secs_f64() * 1000.0),
        10_000..1_000_000 => format!("{}ms", took.as_millis()),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}

/// A number of octets, by powers of a thousand: `999`, `1.2K`, `34M`, `3.4G`.
pub(super) fn octets(number: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    let mut value = number as f64;
    let mut unit = "";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    match unit.is_empty() || value >= 9.95 {
        true => format!("{value:.0}{unit}"),
        false => format!("{value:.1}{unit}"),
    }
}

/// So many in a second: `0`, `0.4`, `9.2`, `1,204`; a dash if it is not known.
pub(super) fn rate(per_s: Option<f64>) -> String {
    match per_s {
        None => "-".to_owned(),
        Some(few) if few > 0.0 && few < 9.95 => format!("{few:.1}"),
        Some(many) => count(many.round() as u64),
    }
}

/// A length of time that should not lose a millisecond: `100ms`, `1s`, `1.5s`, `333ms`.
pub(super) fn exact(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let fraction = format!("{:03}", ms % 1000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}s", ms / 1000)
}

/// How long ago a time was. Whole seconds: what happened in this one is `0s` old.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    span_of_seconds(at.age(now).as_secs())
}

/// Seconds as [`span`] writes them.
pub(super) fn span_of_seconds(seconds: u64) -> String {
    if seconds == 0 {
        "0s".to_owned()
    } else {
        span(Duration::from_secs(seconds))
    }
}

/// A number with a comma between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes pieces on lines of [`WIDTH`] columns: `first`, then the pieces two blanks apart. A piece that does not fit goes to a
/// line of its own, indented by `indent`; only a piece longer than a line is broken, between words.
pub(super) fn flow(first: &str, indent: usize, pieces: &[String]) -> String {
    let mut lines = Lines {
        done: String::new(),
        line: first.to_owned(),
        fresh: true,
        indent,
    };
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if lines.fits(2, piece) || indent + width(piece) > WIDTH {
            for (number, word) in piece.split(' ').enumerate() {
                lines.add(if number == 0 { 2 } else { 1 }, word);
            }
        } else {
            lines.turn();
            lines.add(2, piece);
        }
    }
    lines.turn();
    lines.done
}

/// Wraps a sentence between words: `first` before it, `indent` blanks before every further line.
pub(super) fn sentence(first: &str, indent: usize, text: &str) -> String {
    flow(first, indent, &[text.to_owned()])
}

/// Lines of `text` no wider than `columns`, broken between words; a longer word stays whole.
pub(super) fn fold(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

struct Lines {
    done: String,
    line: String,
    /// Nothing was added since the line began.
    fresh: bool,
    indent: usize,
}

impl Lines {
    fn fits(&self, gap: usize, text: &str) -> bool {
        let gap = if self.fresh { 0 } else { gap };
        width(&self.line) + gap + width(text) <= WIDTH
    }

    fn add(&mut self, gap: usize, text: &str) {
        if !self.fresh && !self.fits(gap, text) {
            self.turn();
        }
        if !self.fresh {
            self.line.extend(std::iter::repeat_n(' ', gap));
        }
        self.line.push_str(text);
        self.fresh = false;
    }

    fn turn(&mut self) {
        self.done.push_str(self.line.trim_end());
        self.done.push('\n');
        self.line = " ".repeat(self.indent);
        self.fresh = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let cases = [
            (0, "0ms"),
            (40, "40ms"),
            (999, "999ms"),
            (1000, "1s"),
            (12_345, "12s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (252_000, "4m12s"),
            (3_599_999, "59m59s"),
            (3_600_000, "1h00m"),
            (11_100_000, "3h05m"),
            (86_399_999, "23h59m"),
            (86_400_000, "1d00h"),
            (352_800_000, "4d02h"),
            (34_560_000_000, "400d00h"),
        ];
        for (ms, expected) in cases {
            assert_eq!(span(Duration::from_millis(ms)), expected);
        }
        for (ms, expected) in [
            (999, "999ms"),
            (1000, "1.0s"),
            (4289, "4.2s"),
            (9999, "9.9s"),
            (10_000, "10s"),
        ] {
            assert_eq!(millis(ms), expected);
        }
        for (ms, expected) in [
            (100, "100ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (3609, "3.609s"),
            (40_950, "40.95s"),
        ] {
            assert_eq!(exact(ms), expected);
        }
        let now = Timestamp::from_millis(10_000);
        assert_eq!(age(Timestamp::from_millis(9_500), now), "0s");
        assert_eq!(age(Timestamp::from_millis(90_500), now), "0s");
        assert_eq!(age(Timestamp::from_millis(-62_000), now), "1m12s");
    }

    #[test]
    fn counts() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn octets_by_powers_of_a_thousand() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (9_960, "10K"),
            (999_600, "1.0M"),
            (34_000_000, "34M"),
            (u64::MAX, "18447P"),
        ];
        for (number, expected) in cases {
            assert_eq!(octets(number), expected);
        }
    }

    #[test]
    fn rates() {
        let cases = [
            (None, "-"),
            (Some(0.0), "0"),
            (Some(0.04), "0.0"),
            (Some(0.2), "0.2"),
            (Some(9.94), "9.9"),
            (Some(9.96), "10"),
            (Some(1204.4), "1,204"),
        ];
        for (per_s, expected) in cases {
            assert_eq!(rate(per_s), expected);
        }
    }

    #[test]
    fn pieces_stay_whole_where_they_can() {
        let long = "x".repeat(60);
        let text = flow(
            "ab  ",
            4,
            &[
                "one two".to_owned(),
                String::new(),
                long.clone(),
                "three four five".to_owned(),
            ],
        );
        assert_eq!(text, format!("ab  one two  {long}\n    three four five\n"));
        let words = "word ".repeat(20);
        let text = flow("! ", 2, &[words.trim_end().to_owned()]);
        let first = "word ".repeat(15);
        assert_eq!(
            text,
            format!("! {}\n  word word word word word\n", first.trim_end())
        );
    }

    #[test]
    fn word_longer_than_a_line_stays_whole() {
        let long = "x".repeat(100);
        assert_eq!(
            sentence("! ", 2, &format!("a {long} b")),
            format!("! a\n  {long}\n  b\n")
        );
    }
}
