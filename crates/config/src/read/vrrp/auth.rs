//! `auth` of a virtual router: the clear-text password of version 2.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ::vrrp::{Password, Version};

use crate::Code;
use crate::read::Files;
use crate::tree::Item;

/// Reads the password; without file access it is all zero.
pub(super) fn read(item: &Item<'_>, version: Version, files: Files<'_>) -> Option<Password> {
    let section =
        item.section_or("a table like { password_file = \"/etc/tandem/vrrp.password\" }")?;
    let password = section.get("password_file");
    let hmac = section.get("hmac_file");
    if password.is_none() && hmac.is_none() {
        section.missing(
            "password_file",
            "password_file = \"/etc/tandem/vrrp.password\"",
        );
    }
    section.finish();
    if let Some(hmac) = hmac
        && hmac.string_like("the path of a file").is_some()
    {
        hmac.not_supported(
            "authentication by HMAC",
            "remove `auth`; version 2 can have a `password_file`",
        );
    }
    let password = password?;
    let file = password.string_like("the path of a file")?;
    if version == Version::V3 {
        password.not_supported(
            "a password in version 3",
            "remove `auth`, or write `version = 2`",
        );
        return None;
    }
    if !files.access {
        return Password::new(&[0]);
    }
    read_password(&password, &files.folder.join(file))
}

/// The first 8 bytes of the first line: what Keepalived uses of its `auth_pass`.
fn read_password(item: &Item<'_>, path: &Path) -> Option<Password> {
    let mut bytes = Vec::new();
    if let Err(error) = File::open(path).and_then(|file| file.take(256).read_to_end(&mut bytes)) {
        let message = format!("cannot read the password from {}: {error}", path.display());
        item.error(Code::File, message, None);
        return None;
    }
    let line = bytes
        .split(|b| matches!(b, b'\n' | b'\r' | 0))
        .next()
        .unwrap_or_default();
    if line.len() > 8 {
        let message = format!(
            "the password in {} is longer than 8 bytes; the rest is not used",
            path.display()
        );
        item.found()
            .warning(Code::Password, &item.place(), message, None);
    }
    let password = Password::new(&line[..line.len().min(8)]);
    if password.is_none() {
        item.error(
            Code::File,
            format!("the password file {} is empty", path.display()),
            None,
        );
    }
    password
}
