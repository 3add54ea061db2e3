//! What a rule changes in heads on their way, besides what the codec itself writes.

use std::sync::Arc;

use balancer::{HeaderEdits, Rule};

use crate::buffers::Buffer;
use crate::http::fields::write_field;

/// Changes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestChanges<'a> {
    /// What the rule says, if there is one.
    pub(crate) edits: Option<&'a HeaderEdits>,
    /// Written as 32 digits unless the client has an id that is believed.
    pub(crate) id: u128,
}

/// Changes of an answer.
#[derive(Debug, Default)]
pub(crate) struct AnswerChanges {
    /// The rule the request met.
    pub(crate) rule: Option<Arc<Rule>>,
    /// Whole fields to add, line ends included.
    pub(crate) fields: Buffer,
}

impl AnswerChanges {
    /// True if a field of this name, in any case, is not passed on.
    pub(crate) fn drops(&self, name: &str) -> bool {
        self.edits().is_some_and(|edits| edits.drops(name))
    }

    /// Appends the fields that are added.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if let Some(edits) = self.edits() {
            write_set(out, edits);
        }
        out.extend_from_slice(self.fields.as_slice());
    }

    fn edits(&self) -> Option<&HeaderEdits> {
        let rule = self.rule.as_ref()?;
        let edits = &rule.settings().answer_headers;
        (!edits.is_empty()).then_some(edits)
    }
}

/// Appends the fields that are set.
pub(crate) fn write_set(out: &mut Vec<u8>, edits: &HeaderEdits) {
    for (name, value) in &edits.set {
        write_field(out, name, value.as_bytes());
    }
}
