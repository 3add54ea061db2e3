//! `sticky` of a group and of a rule.

use std::time::Duration;

use balancer::StickySettings;

use super::rule::is_token;
use crate::Code;
use crate::tree::Item;

/// The longest name of a cookie.
const MAX_NAME: usize = 64;

/// `"off"`, which is `Some(None)`, or `{ cookie = "NAME", ttl = "1h" }`; `None` after an error.
pub(super) fn read(item: &Item<'_>) -> Option<Option<StickySettings>> {
    if item.is_off() {
        return Some(None);
    }
    let section =
        item.section_or("\"off\" or a table like { cookie = \"TANDEM\", ttl = \"1d\" }")?;
    let cookie = section
        .require("cookie", "cookie = \"TANDEM\"")
        .and_then(|item| name(&item));
    let longest = Duration::from_secs(400 * 86_400);
    let ttl = match section.get("ttl") {
        Some(item) => item.duration_in(Duration::from_secs(1)..=longest),
        None => Some(StickySettings::DEFAULT_TTL),
    };
    section.finish();
    Some(Some(StickySettings {
        cookie: cookie?,
        ttl: ttl?,
    }))
}

/// The name of a cookie (RFC 6265 §4.1.1).
fn name(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    if is_token(text) && text.len() <= MAX_NAME {
        return Some(text.to_owned());
    }
    let message = format!("{text:?} is no name of a cookie");
    let remedy = format!("use up to {MAX_NAME} letters, digits, `-` and `_`");
    item.error(Code::Pattern, message, remedy);
    None
}
