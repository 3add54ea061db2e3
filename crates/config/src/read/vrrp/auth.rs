//! `auth` of a virtual router: the clear-text password of version 2, the HMAC of version 3.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use ::vrrp::{AuthMode, Authentication, Freshness, Password, Version};

use crate::Code;
use crate::read::{Files, keys};
use crate::tree::{Item, Section};

/// `auth` as written: nothing, a password, or keys.
#[derive(Debug, Default)]
pub(crate) struct AuthDraft {
    pub(crate) password: Option<Password>,
    pub(crate) hmac: Option<HmacDraft>,
}

/// Authentication by HMAC as written.
#[derive(Debug)]
pub(crate) struct HmacDraft {
    /// Keys and mode. Freshness and window are those below, or what follows from pair and interval.
    pub(crate) authentication: Authentication,
    pub(crate) freshness: Option<Freshness>,
    pub(crate) window: Option<Duration>,
}

const MODES: &[(&str, AuthMode)] = &[
    ("enforce", AuthMode::Enforce),
    ("permissive", AuthMode::Permissive),
    ("receive-only", AuthMode::ReceiveOnly),
];
const FRESHNESS: &[(&str, Freshness)] = &[
    ("time", Freshness::Window),
    ("monotonic", Freshness::Growth),
];
/// Keys of `auth` that go with `hmac_file` alone.
const OF_HMAC: [&str; 4] = ["active_key", "mode", "anti_replay", "window"];

/// Reads `auth`; `None` after an error. Without file access a password is all zero, and so are keys.
pub(super) fn read(item: &Item<'_>, version: Version, files: Files<'_>) -> Option<AuthDraft> {
    let section = item.section_or("a table like { hmac_file = \"/etc/tandem/vrrp.key\" }")?;
    let draft = match version {
        Version::V2 => of_version_2(&section, files),
        Version::V3 => of_version_3(&section, files),
    };
    section.finish();
    draft
}

fn of_version_2(section: &Section<'_>, files: Files<'_>) -> Option<AuthDraft> {
    let password = section.get("password_file");
    if let Some(file) = section.get("hmac_file") {
        let message = "version 2 has no authentication by HMAC";
        let remedy = "write `version = 3` on both nodes, or a `password_file`".to_owned();
        file.error(Code::ProtocolOption, message, remedy);
    } else if password.is_none() {
        section.missing(
            "password_file",
            "password_file = \"/etc/tandem/vrrp.password\"",
        );
    }
    refuse_hmac_keys(section);
    Some(AuthDraft {
        password: Some(read_password(&password?, files)?),
        hmac: None,
    })
}

fn of_version_3(section: &Section<'_>, files: Files<'_>) -> Option<AuthDraft> {
    let file = section.get("hmac_file");
    if let Some(password) = section.get("password_file") {
        let message = "version 3 has no password";
        let remedy = "write `version = 2`, or an `hmac_file`".to_owned();
        password.error(Code::ProtocolOption, message, remedy);
    } else if file.is_none() {
        section.missing("hmac_file", "hmac_file = \"/etc/tandem/vrrp.key\"");
    }
    Some(AuthDraft {
        password: None,
        hmac: Some(hmac(section, file, files)?),
    })
}

fn refuse_hmac_keys(section: &Section<'_>) {
    for item in OF_HMAC.iter().filter_map(|key| section.get(key)) {
        let message = format!("`{}` goes with `hmac_file`", item.name());
        item.found().error(
            Code::ProtocolOption,
            &item.key_place(),
            message,
            "remove it".to_owned(),
        );
    }
}

fn hmac(section: &Section<'_>, file: Option<Item<'_>>, files: Files<'_>) -> Option<HmacDraft> {
    let active = section.get("active_key");
    let mode = section.get("mode").map(|item| item.word(MODES));
    let freshness = section.get("anti_replay").map(|item| item.word(FRESHNESS));
    let window = section
        .get("window")
        .map(|item| item.duration_in(Duration::from_secs(1)..=Duration::from_secs(300)));
    let mut authentication = keys::read(&file?, active.as_ref(), files)?;
    authentication.mode = mode.unwrap_or(Some(AuthMode::Enforce))?;
    Some(HmacDraft {
        authentication,
        freshness: freshness.unwrap_or_default(),
        window: window.unwrap_or_default(),
    })
}

/// The password; all zero without file access.
fn read_password(password: &Item<'_>, files: Files<'_>) -> Option<Password> {
    let file = password.string_like("the path of a file")?;
    if !files.access {
        return Password::new(&[0]);
    }
    password_of(password, &files.folder.join(file))
}

/// The first 8 bytes of the first line: what Keepalived uses of its `auth_pass`.
fn password_of(item: &Item<'_>, path: &Path) -> Option<Password> {
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
