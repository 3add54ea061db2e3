//! Programs that the runner runs for the director, and what became of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A program to run: without a shell, in a process group of its own, with nothing in its environment but what is said here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// The program's absolute path and its arguments. Never empty.
    pub run: Vec<String>,
    /// Environment variables, besides `PATH` and `LANG`.
    pub environment: Vec<(String, String)>,
    /// How long it may take, in milliseconds, before it and all that it started are ended.
    pub limit_ms: u64,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// How it ended.
    pub end: RunEnd,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The beginning of what it wrote to standard output and standard error, in one line.
    pub output: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal, which the runner did not send.
    Signalled(i32),
    /// It was ended when its time was over.
    TimedOut,
    /// Its time is over and it cannot be ended, for example because it waits for a disk.
    Unkillable,
    /// It could not be started, and why.
    NotStarted(String),
    /// The runner ended before it did, and how.
    Lost(String),
}

impl RunReport {
    /// A report of a program that did not run.
    #[must_use]
    pub fn without_run(end: RunEnd) -> Self {
        Self {
            end,
            took_ms: 0,
            output: String::new(),
        }
    }

    /// Whether it ended by itself with exit code 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.end == RunEnd::Exited(0)
    }
}

/// In words, such as `exit code 2: /var is full`.
impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            RunEnd::Exited(code) => write!(f, "exit code {code}")?,
            RunEnd::Signalled(signal) => write!(f, "ended by signal {signal}")?,
            RunEnd::TimedOut => write!(f, "ended because it took {} ms", self.took_ms)?,
            RunEnd::Unkillable => {
                write!(f, "took {} ms and cannot be ended", self.took_ms)?;
            }
            RunEnd::NotStarted(why) => write!(f, "does not start: {why}")?,
            RunEnd::Lost(how) => write!(f, "lost: the runner ended with {how}")?,
        }
        if self.output.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.output)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_as_sentences() {
        let report = |end, output: &str| {
            let report = RunReport {
                end,
                took_ms: 2000,
                output: output.to_owned(),
            };
            report.to_string()
        };
        assert_eq!(report(RunEnd::Exited(2), "full"), "exit code 2: full");
        assert_eq!(report(RunEnd::Exited(0), ""), "exit code 0");
        assert_eq!(report(RunEnd::Signalled(11), ""), "ended by signal 11");
        assert_eq!(
            report(RunEnd::TimedOut, "half"),
            "ended because it took 2000 ms: half"
        );
        assert_eq!(
            report(RunEnd::Unkillable, ""),
            "took 2000 ms and cannot be ended"
        );
        assert_eq!(
            report(RunEnd::NotStarted("no such file".to_owned()), ""),
            "does not start: no such file"
        );
        assert!(!RunReport::without_run(RunEnd::Exited(1)).succeeded());
        assert!(RunReport::without_run(RunEnd::Exited(0)).succeeded());
    }
}
