//! Places in the text, and the collection of what is found there.

use std::cell::RefCell;
use std::ops::Range;

use crate::report::Lines;
use crate::{Code, Problem, Severity};

/// Where collecting ends: far beyond what anybody would read.
const MAX_FOUND: usize = 2_000;

/// A place in the text and the key path that leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes of the text.
    pub(crate) span: Range<usize>,
    /// Key path, such as `group.api.targets[1]`.
    pub(crate) key: String,
}

/// A value with the place it was read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands.
    pub(crate) place: Place,
}

/// Collects problems. Shared by reference between everything that reads one text.
#[derive(Debug)]
pub(crate) struct Findings<'s> {
    lines: Lines<'s>,
    problems: RefCell<Vec<Problem>>,
}

impl<'s> Findings<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Findings {
            lines: Lines::of(source),
            problems: RefCell::default(),
        }
    }

    /// The line of a place, for messages that name a second place.
    pub(crate) fn line(&self, place: &Place) -> usize {
        self.lines.position(place.span.start).0
    }

    pub(crate) fn error(
        &self,
        code: Code,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.add(Severity::Error, code, place, message.into(), remedy.into());
    }

    pub(crate) fn warning(
        &self,
        code: Code,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.add(
            Severity::Warning,
            code,
            place,
            message.into(),
            remedy.into(),
        );
    }

    fn add(
        &self,
        severity: Severity,
        code: Code,
        place: &Place,
        message: String,
        remedy: Option<String>,
    ) {
        if self.problems.borrow().len() >= MAX_FOUND {
            return;
        }
        let (line, column) = self.lines.position(place.span.start);
        let (span, key) = (place.span.clone(), clean(&place.key));
        let (message, remedy) = (clean(&message), remedy.as_deref().map(clean));
        self.problems.borrow_mut().push(Problem {
            code,
            severity,
            line,
            column,
            key,
            message,
            remedy,
            span,
        });
    }

    /// How much was found so far.
    pub(crate) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Everything found, in the order of finding.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// The text as it can be shown on one line of a terminal: nothing in it moves the cursor or turns the direction.
fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escaped = |c: char| c.is_control() || turns(c);
    if !text.contains(escaped) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if escaped(c) {
                c.escape_unicode().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}
