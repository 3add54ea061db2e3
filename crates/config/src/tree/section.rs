//! A table of the file, read key by key.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest::{closest, homes, translated};
use super::{Findings, Item, Place};
use crate::Code;

/// A table. Every key that is asked for is known; what is left over is reported by [`Section::finish`].
#[derive(Debug)]
pub(crate) struct Section<'d> {
    table: &'d DeTable<'d>,
    place: Place,
    found: &'d Findings<'d>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    /// The whole file.
    pub(crate) fn root(table: &'d Spanned<DeTable<'d>>, found: &'d Findings<'d>) -> Section<'d> {
        Section::new(
            table.get_ref(),
            Place {
                span: 0..0,
                key: String::new(),
            },
            found,
        )
    }

    pub(super) fn new(
        table: &'d DeTable<'d>,
        place: Place,
        found: &'d Findings<'d>,
    ) -> Section<'d> {
        Section {
            table,
            place,
            found,
            asked: RefCell::default(),
        }
    }

    /// Where the table begins: its header, or the whole of an inline table.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn found(&self) -> &'d Findings<'d> {
        self.found
    }

    /// The table as people write it, such as `[group.api]`.
    pub(crate) fn label(&self) -> String {
        match self.place.key.as_str() {
            "" => "the file".to_owned(),
            key => match numbered(key) {
                Some((list, number)) => format!("number {number} of [[{list}]]"),
                None => format!("[{key}]"),
            },
        }
    }

    /// The value of a key, if it is there.
    pub(crate) fn get(&self, key: &'static str) -> Option<Item<'d>> {
        self.asked.borrow_mut().push(key);
        let (name, value) = self.table.get_key_value(key)?;
        Some(self.item(name, value))
    }

    /// The value of a key that must be there; `example` is a line that could be added.
    pub(crate) fn require(&self, key: &'static str, example: &str) -> Option<Item<'d>> {
        let item = self.get(key);
        if item.is_none() {
            self.missing(key, example);
        }
        item
    }

    /// Reports a key that is not there.
    pub(crate) fn missing(&self, key: &str, example: &str) {
        let message = format!("missing key `{key}` in {}", self.label());
        self.found.error(
            Code::MissingKey,
            &self.place,
            message,
            format!("add for example `{example}`"),
        );
    }

    /// A sub-table, if it is there and a table.
    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'d>> {
        self.get(key)?.section()
    }

    /// Every entry of a table whose keys are names of the operator's choice, in the order of the file.
    pub(crate) fn entries(&self) -> Vec<(String, Item<'d>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        entries
            .into_iter()
            .map(|(name, value)| (name.get_ref().to_string(), self.item(name, value)))
            .collect()
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for (name, value) in self.table.iter() {
            if !asked.contains(&name.get_ref().as_ref()) {
                self.unknown(name.get_ref(), &self.item(name, value), &asked);
            }
        }
    }

    fn unknown(&self, key: &str, item: &Item<'d>, asked: &[&'static str]) {
        let near = translated(key, asked).or_else(|| closest(key, asked.iter().copied()));
        let homes = homes(key, &self.place.key);
        let homes = (!homes.is_empty()).then(|| format!("[{}]", homes.join("] or [")));
        let remedy = match (near, homes) {
            (Some(near), Some(homes)) => {
                format!("did you mean `{near}`, or does it belong under {homes}?")
            }
            (Some(near), None) => format!("did you mean `{near}`?"),
            (None, Some(homes)) => format!("it belongs under {homes}"),
            (None, None) => {
                let mut known = asked.to_vec();
                known.sort_unstable();
                known.dedup();
                format!("known keys: {}", known.join(", "))
            }
        };
        let message = format!("unknown key `{key}` in {}", self.label());
        self.found
            .error(Code::UnknownKey, &item.key_place(), message, remedy);
    }

    fn item(
        &self,
        name: &'d Spanned<std::borrow::Cow<'d, str>>,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Item<'d> {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let part = name.get_ref();
        let quoted = if !part.is_empty() && part.chars().all(bare) {
            part.to_string()
        } else {
            format!("{part:?}")
        };
        let key = match self.place.key.as_str() {
            "" => quoted,
            parent => format!("{parent}.{quoted}"),
        };
        Item::new(value, key, name.span(), self.found)
    }
}

/// `listener.web.rule[0]` as people count: the first of `listener.web.rule`. `None` for what is in no list.
fn numbered(key: &str) -> Option<(&str, usize)> {
    let (list, place) = key.strip_suffix(']')?.rsplit_once('[')?;
    Some((list, place.parse::<usize>().ok()? + 1))
}
