//! `[certificate.NAME]`: checked for form only, as nothing uses certificates yet.

use crate::Code;
use crate::tree::{At, Section};

pub(super) fn read(name: At<String>, section: Section<'_>) -> At<String> {
    for key in ["cert", "key"] {
        if let Some(item) = section.require(key, &format!("{key} = \"/etc/tandem/app.pem\"")) {
            item.string_like("the path of a file");
        }
    }
    let message = format!("certificate `{}` is not supported yet", name.value);
    section.found().error(
        Code::NotSupported,
        section.place(),
        message,
        "remove the table".to_owned(),
    );
    section.finish();
    name
}
