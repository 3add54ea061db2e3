//! Files with keys. No octet of a key is ever part of a message.
//!
//! ```text
//! # id  value
//! 1     hex:000102...          64 to 128 hexadecimal digits
//! 2     an ASCII text of 32 to 64 octets
//! ```
//! A line without a number is key 1, so that a key file of Keepalived can be used as it is.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ::vrrp::{Authentication, Key};

use super::Files;
use crate::Code;
use crate::model::PairSecret;
use crate::tree::Item;

/// A key with its octets, for what else is made of it.
pub(super) struct PlainKey {
    key: Key,
    octets: Vec<u8>,
}

/// The largest key file, in octets.
const SIZE_LIMIT: u64 = 16 * 1024;
/// The most keys of a pair: each is tried on each cookie that is not known.
const MAX_PAIR_KEYS: usize = 4;
/// What a key stands for that may not be read here.
const UNKNOWN_KEY: [u8; 32] = [0; 32];
/// Permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

/// The keys of the file that `item` names, and the one to sign with: `active`, or the only one. Without file access a
/// key of zeros stands for all of them.
pub(super) fn read(
    item: &Item<'_>,
    active: Option<&Item<'_>>,
    files: Files<'_>,
) -> Option<Authentication> {
    let path = item.string_like("the path of a file");
    let wanted = match active {
        Some(item) => Some(item.number::<u8>(1..=255)?),
        None => None,
    };
    let path = files.folder.join(path?);
    if !files.access {
        let id = wanted.unwrap_or(1);
        return Key::new(id, &UNKNOWN_KEY)
            .and_then(|key| Authentication::new(vec![key], id))
            .ok();
    }
    let keys: Vec<Key> = keys(item, &path)?
        .into_iter()
        .map(|plain| plain.key)
        .collect();
    let id = match (wanted, &keys[..]) {
        (Some(id), _) => id,
        (None, [only]) => only.id(),
        (None, _) => {
            let message = format!("{} has {} keys", path.display(), keys.len());
            let remedy = "say which one signs: `active_key = 1`".to_owned();
            item.error(Code::MissingKey, message, remedy);
            return None;
        }
    };
    Authentication::new(keys, id)
        .map_err(|error| {
            let place = active.unwrap_or(item);
            place.error(Code::File, format!("{}: {error}", path.display()), None);
        })
        .ok()
}

/// The keys of the pair in the file that `item` names: the first is in use, what the others made is believed. Without file
/// access a key of zeros stands for all of them.
pub(super) fn of_pair(item: &Item<'_>, files: Files<'_>) -> Option<(Authentication, PairSecret)> {
    let path = files.folder.join(item.string_like("the path of a file")?);
    let keys = match files.access {
        true => keys(item, &path)?,
        false => vec![PlainKey {
            key: Key::new(1, &UNKNOWN_KEY).ok()?,
            octets: UNKNOWN_KEY.to_vec(),
        }],
    };
    if keys.len() > MAX_PAIR_KEYS {
        let message = format!("{} has {} keys", path.display(), keys.len());
        let remedy = format!("keep the one in use first, and at most {MAX_PAIR_KEYS} in all");
        item.error(Code::File, message, remedy);
        return None;
    }
    let first = keys.first()?.key.id();
    let (keys, octets) = keys
        .into_iter()
        .map(|plain| (plain.key, plain.octets))
        .unzip();
    let authentication = Authentication::new(keys, first)
        .map_err(|error| item.error(Code::File, format!("{}: {error}", path.display()), None))
        .ok()?;
    Some((authentication, PairSecret::new(octets)))
}

fn keys(item: &Item<'_>, path: &Path) -> Option<Vec<PlainKey>> {
    let text = match text(path) {
        Ok(text) => text,
        Err(problem) => {
            let message = format!("cannot use the key file {}: {problem}", path.display());
            item.error(Code::File, message, None);
            return None;
        }
    };
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match key(line) {
            Ok(key) => keys.push(key),
            Err(problem) => {
                let message = format!("{} line {}: {problem}", path.display(), index + 1);
                let remedy = "write for example `1 hex:` and 64 digits, as `openssl rand -hex 32` makes them";
                item.error(Code::File, message, remedy.to_owned());
                return None;
            }
        }
    }
    if keys.is_empty() {
        let message = format!("the key file {} holds no key", path.display());
        item.error(Code::File, message, None);
        return None;
    }
    Some(keys)
}

fn text(path: &Path) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let file = File::open(path).map_err(words)?;
    let mode = file.metadata().map_err(words)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(format!(
            "others than its owner may use it (mode {:04o}); `chmod 600` it",
            mode & 0o7777
        ));
    }
    let mut text = String::new();
    let read = file.take(SIZE_LIMIT + 1).read_to_string(&mut text);
    match read {
        Ok(len) if len as u64 > SIZE_LIMIT => Err("it is larger than 16 KiB".to_owned()),
        Ok(_) => Ok(text),
        Err(error) => Err(words(error)),
    }
}

/// One line: a number and a value, or a value alone.
fn key(line: &str) -> Result<PlainKey, String> {
    let numbered = line
        .split_once(char::is_whitespace)
        .and_then(|(id, value)| Some((id.parse::<u16>().ok()?, value.trim())));
    let (id, value) = numbered.unwrap_or((1, line));
    let id = u8::try_from(id).map_err(|_| "a key has a number from 1 to 255".to_owned())?;
    let octets = match value.strip_prefix("hex:") {
        Some(digits) => decoded(digits).ok_or("`hex:` needs pairs of hexadecimal digits")?,
        None if value.is_ascii() => value.as_bytes().to_vec(),
        None => return Err("a key that is not `hex:` is plain ASCII".to_owned()),
    };
    let key = Key::new(id, &octets).map_err(|error| error.to_string())?;
    Ok(PlainKey { key, octets })
}

/// The octets of pairs of hexadecimal digits.
pub(super) fn decoded(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let (pairs, []) = digits.as_ref()?.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
