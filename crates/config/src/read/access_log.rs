//! `global.access_log`: where a line for each request goes, and how it looks.

use crate::Code;
use crate::model::{AccessLog, AccessLogFormat, AccessLogTo};
use crate::tree::Item;

const FORMATS: &[(&str, AccessLogFormat)] = &[
    ("json", AccessLogFormat::Json),
    ("logfmt", AccessLogFormat::Logfmt),
];

pub(super) fn read(item: &Item<'_>) -> Option<AccessLog> {
    if item.is_off() {
        return None;
    }
    let example = "{ to = \"/var/log/tandem/access.log\" }";
    let section = item.section_or(&format!("a table like {example}"))?;
    let to = section
        .require("to", "to = \"/var/log/tandem/access.log\"")
        .and_then(|item| to(&item));
    let format = section.get("format").and_then(|item| item.word(FORMATS));
    let query = section.get("query").and_then(|item| item.boolean());
    section.finish();
    Some(AccessLog {
        to: to.unwrap_or_default(),
        format: format.unwrap_or_default(),
        query: query.unwrap_or(true),
    })
}

fn to(item: &Item<'_>) -> Option<AccessLogTo> {
    let text = item.string_like("a path, \"stderr\", \"journal\" or \"off\"")?;
    match text {
        "off" => Some(AccessLogTo::Off),
        "stderr" => Some(AccessLogTo::Stderr),
        "journal" => Some(AccessLogTo::Journal),
        path if path.starts_with('/') && !path.ends_with('/') => {
            Some(AccessLogTo::File(path.into()))
        }
        _ => {
            item.error(
                Code::WrongType,
                format!("the access log cannot go to {text:?}"),
                "write the path of a file that begins with `/`, or \"stderr\", \"journal\" or \"off\""
                    .to_owned(),
            );
            None
        }
    }
}
