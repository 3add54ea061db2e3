//! `global.access_log`: where a line for each request goes, and how it looks.

use balancer::{AccessLogFormat, AccessLogSettings, AccessLogTarget};

use crate::Code;
use crate::tree::Item;

const FORMATS: &[(&str, AccessLogFormat)] = &[
    ("json", AccessLogFormat::Json),
    ("logfmt", AccessLogFormat::Logfmt),
];

pub(super) fn read(item: &Item<'_>) -> Option<AccessLogSettings> {
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
    Some(AccessLogSettings {
        to: to.unwrap_or_default(),
        format: format.unwrap_or_default(),
        without_query: query == Some(false),
    })
}

fn to(item: &Item<'_>) -> Option<AccessLogTarget> {
    let text = item.string_like("a path, \"stderr\", \"journal\" or \"off\"")?;
    match text {
        "off" => Some(AccessLogTarget::Off),
        "stderr" => Some(AccessLogTarget::Stderr),
        "journal" => Some(AccessLogTarget::Journal),
        path if path.starts_with('/') && !path.ends_with('/') => {
            Some(AccessLogTarget::File(path.into()))
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
