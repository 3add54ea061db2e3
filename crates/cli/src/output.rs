//! The one place that writes to standard output and standard error.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::{self, StdoutLock, Write as _};

use serde_json::Value;

use crate::exit::Failure;

/// Standard output, held for the whole run. Errors of writing are returned, a broken pipe among them.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: StdoutLock<'static>,
}

impl Output {
    pub(crate) fn new(stdout: StdoutLock<'static>) -> Self {
        Self { stdout }
    }

    /// Writes a screen. What came from elsewhere is made harmless first: no control character reaches the terminal.
    pub(crate) fn screen(&mut self, text: &str) -> Result<(), Failure> {
        self.raw(harmless(text).as_bytes())
    }

    /// Writes JSON over several lines.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.raw(format!("{value:#}\n").as_bytes())
    }

    /// Writes JSON on one line.
    pub(crate) fn json_line(&mut self, value: &Value) -> Result<(), Failure> {
        self.raw(format!("{value}\n").as_bytes())
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes)?;
        self.stdout.flush()?;
        Ok(())
    }
}

/// Writes a failure to standard error: what went wrong with its causes, then what to do about it.
pub(crate) fn complain(failure: &Failure) {
    // There is nowhere left to report that standard error is gone.
    let _ = io::stderr()
        .lock()
        .write_all(harmless(&complaint(failure)).as_bytes());
}

fn complaint(failure: &Failure) -> String {
    let mut text = format!("error: {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text.push('\n');
    if let Some(remedy) = failure.remedy() {
        let _ = writeln!(text, "help: {remedy}");
    }
    text
}

/// Replaces control characters but the line feed by a question mark.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[31mb\tc\r\nd\u{9b}e"), "a?[31mb?c?\nd?e");
    }

    #[test]
    fn complaint_names_cause_and_remedy() {
        let failure = Failure::File {
            path: "x.toml".to_owned(),
            source: io::Error::other("disk on fire"),
        };
        assert_eq!(
            complaint(&failure),
            "error: cannot read x.toml: disk on fire\n"
        );
        let failure = Failure::Configuration {
            message: "no good".to_owned(),
            remedy: "try again".to_owned(),
        };
        assert_eq!(complaint(&failure), "error: no good\nhelp: try again\n");
    }
}
