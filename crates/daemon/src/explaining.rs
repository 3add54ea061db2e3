//! What would become of a request, asked of the forwarder that runs.

use std::time::Instant;

use balancer::{Group, StickySettings};
use control::ErrorAnswer;
use forwarder::Forwarder;
use serde_json::Value;

/// Answers a question of `tandem explain`.
pub(crate) fn answer(forwarder: Option<&Forwarder>, question: Value) -> Result<Value, ErrorAnswer> {
    let forwarder = forwarder.ok_or_else(|| refusal("the forwarder has no configuration yet"))?;
    let question: config::Question = serde_json::from_value(question)
        .map_err(|error| refusal(format!("the body is no question: {error}")))?;
    let readable = Readable(forwarder);
    let explained = config::explain(
        &forwarder.plan(),
        &question,
        Instant::now(),
        Some(&readable),
    );
    let explanation = explained.map_err(|error| refusal(error.to_string()))?;
    serde_json::to_value(explanation).map_err(|error| refusal(error.to_string()))
}

fn refusal(error: impl Into<String>) -> ErrorAnswer {
    ErrorAnswer {
        error: error.into(),
        remedy: None,
    }
}

/// Cookies as the forwarder reads them.
struct Readable<'f>(&'f Forwarder);

impl config::Cookies for Readable<'_> {
    fn mark(&self, of: Option<&Group>, sticky: &StickySettings, value: &[u8]) -> Option<u64> {
        self.0.cookie_mark(of, sticky, value)
    }
}
