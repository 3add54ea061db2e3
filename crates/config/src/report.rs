//! What is wrong with a file: problems with place and remedy, as lines, as drawings and as data.
//!
//! Knows nothing of the configuration itself; it only sorts, counts and prints.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::Code;

/// The most problems one report carries; the rest is counted in [`Report::omitted`].
pub const MAX_PROBLEMS: usize = 50;

/// Whether a problem keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but is probably not what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing wrong with the file, at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The kind of problem.
    pub code: Code,
    /// Whether the file can still be used.
    pub severity: Severity,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, such as `group.api.targets[1].weight`; empty for the whole file.
    pub key: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Bytes of the text the problem is about.
    pub span: Range<usize>,
}

impl Problem {
    /// The stable one-line form: `path:line:column: error[E012]: message; remedy`.
    pub fn one_line(&self, path: &Path) -> String {
        let Problem {
            code, line, column, ..
        } = self;
        let severity = self.severity.as_str();
        format!(
            "{}:{line}:{column}: {severity}[{code}]: {}",
            path.display(),
            self.text()
        )
    }

    /// Message and remedy in one sentence.
    pub fn text(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.message),
            None => self.message.clone(),
        }
    }
}

/// Every problem of one file, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The problems, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many more there are than are listed.
    pub omitted: usize,
}

impl Report {
    /// Sorts by place and cuts at the limit; an error is never cut in favour of a warning.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Report {
        let by_place = |p: &Problem| (p.span.start, p.span.end, p.code, p.key.clone());
        problems.sort_by_key(|p| (p.severity, by_place(p)));
        problems.dedup();
        let omitted = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        problems.sort_by_key(by_place);
        Report { problems, omitted }
    }

    /// Number of listed errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Number of listed warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems
            .iter()
            .filter(|p| p.severity == severity)
            .count()
    }

    /// Whether the file can be used.
    pub fn is_usable(&self) -> bool {
        self.errors() == 0
    }

    /// `2 errors, 1 warning.`, with the number of problems that were left out.
    pub fn summary(&self) -> String {
        let counted = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut text = format!(
            "{}, {}",
            counted(self.errors(), "error"),
            counted(self.warnings(), "warning")
        );
        if self.omitted > 0 {
            let _ = write!(text, ", {} more not listed", self.omitted);
        }
        text.push('.');
        text
    }

    /// The one-line form of every problem, each with a line end; empty for a clean file.
    pub fn lines(&self, path: &Path) -> String {
        self.problems
            .iter()
            .map(|p| p.one_line(path) + "\n")
            .collect()
    }

    /// Every problem drawn into the text it is about, and the summary. `source` is the text that was loaded.
    pub fn render(&self, source: &str, path: &Path, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let path = path.display().to_string();
        let mut out = String::new();
        for problem in &self.problems {
            out.push_str(&draw(&renderer, problem, source, &path));
            out.push_str("\n\n");
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }
}

fn draw(renderer: &Renderer, problem: &Problem, source: &str, path: &str) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let end = problem.span.end.min(source.len());
    let span = problem.span.start.min(end)..end;
    let mark = AnnotationKind::Primary.span(span);
    let snippet = Snippet::source(source).path(path).annotation(mark);
    let title = level
        .primary_title(problem.message.as_str())
        .id(problem.code.as_str());
    let mut group = title.element(snippet);
    if let Some(remedy) = &problem.remedy {
        group = group.element(Level::HELP.message(remedy.as_str()));
    }
    renderer.render(&[group])
}

/// Where the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines<'s> {
    source: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    pub(crate) fn of(source: &'s str) -> Lines<'s> {
        let ends = source
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n');
        Lines {
            source,
            starts: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// Line and column (in characters) of a byte, both from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = self
            .source
            .get(start..offset.min(self.source.len()))
            .unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}
