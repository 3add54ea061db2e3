//! A value of the file, read as one of the types that occur in it.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::suggest::closest;
use super::{At, Findings, Place, Section};
use crate::Code;
use crate::units::{self, show_duration, show_size};

/// A value with the place of its key. Every reader reports what does not fit and answers `None`.
#[derive(Clone, Debug)]
pub(crate) struct Item<'d> {
    value: &'d Spanned<DeValue<'d>>,
    key: String,
    key_span: Range<usize>,
    found: &'d Findings<'d>,
}

impl<'d> Item<'d> {
    pub(super) fn new(
        value: &'d Spanned<DeValue<'d>>,
        key: String,
        key_span: Range<usize>,
        found: &'d Findings<'d>,
    ) -> Item<'d> {
        Item {
            value,
            key,
            key_span,
            found,
        }
    }

    /// Where the value stands.
    pub(crate) fn place(&self) -> Place {
        Place {
            span: self.value.span(),
            key: self.key.clone(),
        }
    }

    /// Where the key stands; for elements of a list, the value.
    pub(crate) fn key_place(&self) -> Place {
        Place {
            span: self.key_span.clone(),
            key: self.key.clone(),
        }
    }

    pub(crate) fn found(&self) -> &'d Findings<'d> {
        self.found
    }

    /// The key's own name.
    pub(crate) fn name(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or(&self.key)
    }

    /// The value with its place.
    pub(crate) fn at<T>(&self, value: T) -> At<T> {
        At {
            value,
            place: self.place(),
        }
    }

    pub(crate) fn error(
        &self,
        code: Code,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.found.error(code, &self.place(), message, remedy);
    }

    // ---- what kind of value it is ----

    pub(crate) fn as_str(&self) -> Option<&'d str> {
        self.value.get_ref().as_str()
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    pub(crate) fn is_integer(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// `"off"` or `false`.
    pub(crate) fn is_off(&self) -> bool {
        self.as_str() == Some("off") || self.as_bool() == Some(false)
    }

    /// Reports a value of another type or form; `got` is filled in.
    pub(crate) fn expected(&self, what: &str, suggestion: Option<String>) {
        let message = format!("expected {what}, got {}", self.shown());
        self.error(
            Code::WrongType,
            message,
            suggestion.map(|text| format!("did you mean {text}?")),
        );
    }

    fn shown(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) if text.chars().count() > 60 => "a long text".to_owned(),
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    // ---- containers ----

    /// A table.
    pub(crate) fn section(&self) -> Option<Section<'d>> {
        self.section_or("a table like { key = value }")
    }

    /// A table, where other forms are possible as well: `what` names them all.
    pub(crate) fn section_or(&self, what: &str) -> Option<Section<'d>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Section::new(table, self.place(), self.found)),
            _ => {
                self.expected(what, None);
                None
            }
        }
    }

    /// A list.
    pub(crate) fn list(&self, what: &str) -> Option<Vec<Item<'d>>> {
        match self.value.get_ref() {
            DeValue::Array(values) => Some(
                values
                    .iter()
                    .enumerate()
                    .map(|(i, value)| {
                        Item::new(
                            value,
                            format!("{}[{i}]", self.key),
                            value.span(),
                            self.found,
                        )
                    })
                    .collect(),
            ),
            _ => {
                let suggestion = self.as_str().map(|text| format!("[{text:?}]"));
                self.expected(what, suggestion);
                None
            }
        }
    }

    /// One value or a list of them.
    pub(crate) fn one_or_many(&self) -> Vec<Item<'d>> {
        match self.value.get_ref() {
            DeValue::Array(_) => self.list("a list").unwrap_or_default(),
            _ => vec![self.clone()],
        }
    }

    /// One text or a list of texts.
    pub(crate) fn strings(&self) -> Vec<At<String>> {
        let items = self.one_or_many();
        items
            .iter()
            .filter_map(|item| Some(item.at(item.string()?.to_owned())))
            .collect()
    }

    // ---- scalars ----

    /// A text that is not empty.
    pub(crate) fn string(&self) -> Option<&'d str> {
        self.string_like("a text like \"name\"")
    }

    /// A text that is not empty; `what` says of which form.
    pub(crate) fn string_like(&self, what: &str) -> Option<&'d str> {
        match self.as_str() {
            Some("") | None => {
                self.expected(what, None);
                None
            }
            text => text,
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        let value = self.as_bool();
        if value.is_none() {
            let suggestion = match self.as_str() {
                Some("true" | "yes" | "on") => Some("true".to_owned()),
                Some("false" | "no" | "off") => Some("false".to_owned()),
                _ => None,
            };
            self.expected("true or false", suggestion);
        }
        value
    }

    /// A whole number in a range.
    pub(crate) fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            let digits = self.as_str().filter(|text| text.parse::<i64>().is_ok());
            self.expected("a whole number", digits.map(str::to_owned));
            return None;
        };
        match parse_integer(number) {
            Some(value) if range.contains(&value) => Some(value),
            _ => {
                self.out_of_range(range.start(), range.end(), number);
                None
            }
        }
    }

    /// A whole number in a range, as the type it is kept in. The range must fit the type.
    pub(crate) fn number<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        self.integer(range)
            .and_then(|value| T::try_from(value).ok())
    }

    pub(crate) fn out_of_range(&self, from: impl Display, to: impl Display, got: impl Display) {
        let message = format!("`{}` must be from {from} to {to}, got {got}", self.name());
        self.error(Code::OutOfRange, message, None);
    }

    /// A duration of any length.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let hint = match (self.as_str(), self.value.get_ref()) {
            (Some(text), _) => match units::duration(text) {
                Ok(value) => return Some(value),
                Err(error) => error.suggestion,
            },
            (None, DeValue::Integer(number)) => parse_integer(number)
                .filter(|n| *n >= 0)
                .map(|n| format!("{n}s")),
            (None, _) => None,
        };
        self.expected(
            "a duration like \"5s\"",
            hint.map(|text| format!("{text:?}")),
        );
        None
    }

    /// A duration in a range.
    pub(crate) fn duration_in(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.duration()?;
        if range.contains(&value) {
            return Some(value);
        }
        let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
        self.out_of_range(from, to, show_duration(value));
        None
    }

    /// A size in bytes, in a range.
    pub(crate) fn size_in(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let hint = match (self.as_str(), self.value.get_ref()) {
            (Some(text), _) => match units::size(text) {
                Ok(value) if range.contains(&value) => return Some(value),
                Ok(value) => {
                    self.out_of_range(
                        show_size(*range.start()),
                        show_size(*range.end()),
                        show_size(value),
                    );
                    return None;
                }
                Err(error) => error.suggestion,
            },
            (None, DeValue::Integer(number)) => parse_integer(number)
                .and_then(|n| u64::try_from(n).ok())
                .map(show_size),
            (None, _) => None,
        };
        self.expected(
            "a size like \"32KiB\"",
            hint.map(|text| format!("{text:?}")),
        );
        None
    }

    /// A percentage.
    pub(crate) fn percent(&self) -> Option<u8> {
        let hint = match self.as_str().map(units::percent) {
            Some(Ok(value)) => return Some(value),
            Some(Err(error)) => error.suggestion,
            None => None,
        };
        self.expected(
            "a percentage like \"50%\"",
            hint.map(|text| format!("{text:?}")),
        );
        None
    }

    /// One of a list of words.
    pub(crate) fn word<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let list = format!("\"{}\"", names.join("\", \""));
        let text = self.string_like(&format!("one of {list}"))?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(value.clone());
        }
        let remedy = closest(text, names).map(|name| format!("did you mean {name:?}?"));
        let message = format!("`{}` must be one of {list}, got {text:?}", self.name());
        self.error(Code::NotInList, message, remedy);
        None
    }

    /// One of a list of HTTP statuses.
    pub(crate) fn status_of(&self, statuses: &[i64]) -> Option<i64> {
        let status = self.integer(100..=599)?;
        if statuses.contains(&status) {
            return Some(status);
        }
        let list: Vec<String> = statuses.iter().map(i64::to_string).collect();
        let message = format!(
            "`{}` must be one of {}, got {status}",
            self.name(),
            list.join(", ")
        );
        self.error(Code::NotInList, message, None);
        None
    }
}

fn parse_integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
