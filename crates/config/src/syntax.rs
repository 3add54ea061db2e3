//! What is no TOML, and how much of the rest can be believed all the same.

use toml::Spanned;
use toml::de::{DeTable, Error};

use crate::tree::{Findings, Place};
use crate::{Code, Problem};

/// The longest text that is read, in bytes.
const MAX_TEXT: usize = 8 << 20;

/// Where the text is no TOML.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Lines, from 1, with an error of syntax.
    lines: Vec<usize>,
    /// From this byte on nothing is known: a list or table was never closed.
    unknown_from: Option<usize>,
}

/// Parses as much as can be parsed and reports what cannot.
pub(crate) fn parse<'d>(text: &'d str, found: &Findings<'_>) -> (Spanned<DeTable<'d>>, Damage) {
    if text.len() > MAX_TEXT {
        let place = Place {
            span: 0..0,
            key: String::new(),
        };
        found.error(Code::Syntax, &place, "the file is larger than 8 MiB", None);
        return (
            Spanned::new(0..0, DeTable::new()),
            Damage {
                lines: vec![1],
                unknown_from: Some(0),
            },
        );
    }
    let (tree, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| start(error, text));
    let unclosed = errors
        .iter()
        .any(|error| error.message().starts_with("unclosed array"));
    let cut = errors
        .iter()
        .find(|error| unclosed && is_in_list(error))
        .map(|error| start(error, text));
    let mut damage = Damage {
        lines: Vec::new(),
        unknown_from: cut,
    };
    for error in &errors {
        let start = start(error, text);
        if cut.is_some_and(|cut| start > cut) {
            break;
        }
        let end = error
            .span()
            .map_or(start, |span| span.end)
            .clamp(start, text.len());
        let place = Place {
            span: start..end,
            key: String::new(),
        };
        let line = found.line(&place);
        // One mistake often breaks the rest of its line; only the first error of a line says what it is.
        if damage.lines.last() != Some(&line) {
            damage.lines.push(line);
            let (message, remedy) = explain(error, text, start);
            found.error(Code::Syntax, &place, message, remedy);
        }
    }
    (tree, damage)
}

fn start(error: &Error, text: &str) -> usize {
    let start = error
        .span()
        .map_or(text.len(), |span| span.start)
        .min(text.len());
    (0..=start)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

fn is_in_list(error: &Error) -> bool {
    let message = error.message();
    message.starts_with("missing comma between array")
        || message.starts_with("unclosed array")
        || message.contains("in array")
}

/// The parser's words, and what to do in the usual cases.
fn explain(error: &Error, text: &str, start: usize) -> (String, Option<String>) {
    let message = error.message();
    let value = value_at(text, start);
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| message.starts_with(prefix));
    let remedy = if starts(&[
        "string values must be quoted",
        "invalid float",
        "invalid integer",
        "invalid datetime",
    ]) {
        Some(match value {
            "yes" | "on" | "True" | "TRUE" => "did you mean true?".to_owned(),
            "no" | "False" | "FALSE" => "did you mean false?".to_owned(),
            value => format!("put it in quotes: \"{value}\""),
        })
    } else if starts(&[
        "invalid basic string",
        "invalid literal string",
        "invalid multi-line",
    ]) {
        Some("the closing quote is missing".to_owned())
    } else if starts(&["duplicate key"]) {
        Some("a table or key can be written once only: put both together".to_owned())
    } else if starts(&["unclosed array", "missing comma between array"])
        || message.contains("in array")
    {
        Some("a list needs commas between its values and a `]` at its end".to_owned())
    } else if starts(&["unclosed inline table", "missing comma between key-value"]) {
        Some("a table in braces needs commas between its keys and a `}` at its end".to_owned())
    } else if starts(&["unclosed table"]) {
        Some("the closing `]` of the table's name is missing".to_owned())
    } else if starts(&["key with no value"]) {
        Some("write `key = value`".to_owned())
    } else {
        None
    };
    (format!("not TOML: {message}"), remedy)
}

/// The unquoted word around a place.
fn value_at(text: &str, at: usize) -> &str {
    let outside =
        |c: char| c.is_whitespace() || matches!(c, '=' | ',' | '{' | '}' | '[' | ']' | '#' | '"');
    let from = text[..at].rfind(outside).map_or(0, |i| {
        i + text[i..].chars().next().map_or(1, char::len_utf8)
    });
    let to = text[at..].find(outside).map_or(text.len(), |i| at + i);
    &text[from..to]
}

impl Damage {
    /// Leaves out what may be a mere consequence of an error of syntax: everything about parts that are missing or
    /// do not fit each other, and everything on a broken line.
    pub(crate) fn trustworthy(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        if self.lines.is_empty() {
            return problems;
        }
        problems.retain(|problem| match problem.code {
            Code::Syntax => true,
            Code::WrongType | Code::NotInList | Code::UnknownKey | Code::OutOfRange => {
                let known = self
                    .unknown_from
                    .is_none_or(|from| problem.span.end <= from);
                known && !self.lines.contains(&problem.line)
            }
            _ => false,
        });
        problems
    }
}
