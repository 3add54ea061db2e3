//! What a rule changes in heads on their way, besides what the codec itself writes.

use std::sync::Arc;
use std::time::Duration;

use balancer::{HeaderEdits, Rule};

use crate::buffers::Buffer;
use crate::http::fields::{write_field, write_number};

/// Changes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestChanges<'a> {
    /// What the rule says, if there is one.
    pub(crate) edits: Option<&'a HeaderEdits>,
    /// Cookies of these names are for us alone.
    pub(crate) hidden: [Option<&'a str>; 2],
    /// Written unless the client has an id that is believed.
    pub(crate) id: [u8; 32],
}

impl RequestChanges<'_> {
    /// True if cookies are to be looked through.
    pub(crate) fn hides_cookies(&self) -> bool {
        self.hidden.iter().any(Option::is_some)
    }
}

/// Changes of an answer.
#[derive(Debug, Default)]
pub(crate) struct AnswerChanges {
    /// The rule the request met.
    pub(crate) rule: Option<Arc<Rule>>,
    /// For how long the client is to come by https only; it must have come so (RFC 6797).
    pub(crate) hsts: Option<Duration>,
    /// Whole Set-Cookie fields to add, line ends included: they are for one client alone.
    pub(crate) cookies: Buffer,
}

impl AnswerChanges {
    /// True if there are fields that are not passed on.
    pub(crate) fn changes_fields(&self) -> bool {
        self.edits().is_some() || self.hsts.is_some()
    }

    /// True if a field of this name, in any case, is not passed on.
    pub(crate) fn drops(&self, name: &str) -> bool {
        self.edits().is_some_and(|edits| edits.drops(name))
            || self.hsts.is_some() && name.eq_ignore_ascii_case(HSTS)
    }

    /// True if the answer is for one client alone, because of what is added.
    pub(crate) fn is_private(&self) -> bool {
        !self.cookies.is_empty()
    }

    /// Appends the fields that are added.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if let Some(edits) = self.edits() {
            write_set(out, edits);
        }
        write_hsts(out, self.hsts);
        out.extend_from_slice(self.cookies.as_slice());
    }

    /// What the rule changes in the fields of answers.
    pub(crate) fn edits(&self) -> Option<&HeaderEdits> {
        let rule = self.rule.as_ref()?;
        let edits = &rule.settings().answer_headers;
        (!edits.is_empty()).then_some(edits)
    }
}

/// A trailer section without the fields that a rule sets or removes: some take trailers for fields of the head.
pub(crate) fn edit_trailers(section: Vec<u8>, edits: Option<&HeaderEdits>) -> Vec<u8> {
    let Some(edits) = edits.filter(|edits| !edits.is_empty() && !section.is_empty()) else {
        return section;
    };
    let stays = |line: &&[u8]| {
        let name = line.split(|byte| *byte == b':').next();
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        !name.is_some_and(|name| edits.drops(name))
    };
    let lines = section.split_inclusive(|byte| *byte == b'\n');
    lines.filter(stays).flatten().copied().collect()
}

/// The name of the field that tells browsers to come by https only.
const HSTS: &str = "strict-transport-security";

/// Appends the field that tells the client to come by https only, if that is wanted.
pub(crate) fn write_hsts(out: &mut Vec<u8>, hsts: Option<Duration>) {
    if let Some(hsts) = hsts {
        out.extend_from_slice(b"Strict-Transport-Security: max-age=");
        write_number(out, hsts.as_secs());
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the fields that are set.
pub(crate) fn write_set(out: &mut Vec<u8>, edits: &HeaderEdits) {
    for (name, value) in &edits.set {
        write_field(out, name, value.as_bytes());
    }
}
