//! The path that rules compare with: what a target would take the sent one for.
//!
//! `/a/../x` and `/a/%2e%2e/x` are `/x` to most targets; a rule that compared what was sent could be passed by. So
//! unreserved characters are decoded, dot segments are removed (RFC 3986 §6.2.2, §5.2.4) and several slashes count as one.
//! The target still gets the path as it was sent.
//!
//! Targets disagree whether `%2f`, `%5c` and `\` separate segments, and whether `..;x` climbs: each takes some of them so, and
//! not others. Such a path has several readings, and who routes by it has to look at each ([`Reading::others`]).

/// What a target takes for more than it is; [`Reading::STRICT`] is none of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading(u8);

/// `\` separates segments.
const BACKSLASH: u8 = 1;
/// `%2f` does.
const ESCAPED_SLASH: u8 = 1 << 1;
/// `%5c` does.
const ESCAPED_BACKSLASH: u8 = 1 << 2;
/// The parameters of a segment are no part of it, so that `..;x` is `..`.
const PARAMETERS: u8 = 1 << 3;

impl Reading {
    /// Segments are separated by `/` alone, and nothing of them is left out.
    pub const STRICT: Self = Self(0);

    /// Every other way to read this path: nearly always none, sixteen less one at most.
    pub fn others(path: &str) -> impl Iterator<Item = Self> {
        let written = path.bytes().map(|byte| match byte {
            b'\\' => BACKSLASH,
            b';' => PARAMETERS,
            _ => 0,
        });
        let escaped = escapes(path).map(|(_, byte)| match byte {
            b'/' => ESCAPED_SLASH,
            b'\\' => ESCAPED_BACKSLASH,
            b';' => PARAMETERS,
            _ => 0,
        });
        let doubts = written.chain(escaped).fold(0, |all, one| all | one);
        (1..=doubts)
            .filter(move |some| some & !doubts == 0)
            .map(Self)
    }

    fn takes(self, what: u8) -> bool {
        self.0 & what != 0
    }
}

/// A path that climbs out of a segment of which nobody knows whether it is there (`/a//../x`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the path can be understood in two ways")]
pub struct Ambiguous;

/// The normal form of a path without query; `room` is used if it differs from what was sent.
///
/// A path that does not begin with `/` (the `*` of OPTIONS) is left as it is.
pub fn normalise<'a>(
    path: &'a str,
    reading: Reading,
    room: &'a mut String,
) -> Result<&'a str, Ambiguous> {
    let Some(inside) = path.strip_prefix('/').filter(|_| !is_normal(path)) else {
        return Ok(path);
    };
    room.clear();
    let mut rest = Some(inside);
    let mut unsure = false;
    while let Some(text) = rest {
        let (segment, after) = split_segment(text, reading);
        match Segment::of(segment, reading) {
            Segment::Empty => unsure |= after.is_some(),
            Segment::Here => {}
            Segment::Up if unsure => return Err(Ambiguous),
            Segment::Up => room.truncate(room.rfind('/').unwrap_or(0)),
            Segment::Named => {
                unsure = false;
                room.push('/');
                decode(segment, room);
            }
        }
        // A path that ends with `/`, `/.` or `/..` names what is inside.
        if after.is_none() && Segment::of(segment, reading) != Segment::Named {
            room.push('/');
        }
        rest = after;
    }
    Ok(room)
}

/// The text with its unreserved characters decoded, as a pattern must be written to match anything.
pub fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    decode(text, &mut out);
    out
}

/// What is odd anywhere in a path.
const ODD: u8 = 1;
/// What is odd behind a slash.
const JOINS: u8 = 2;
/// What each byte is of these.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    kinds[b'%' as usize] = ODD;
    kinds[b'\\' as usize] = ODD;
    kinds[b';' as usize] = ODD;
    kinds[b'/' as usize] = JOINS;
    kinds[b'.' as usize] = JOINS;
    kinds
};

/// True if the path certainly is its own normal form, and has no other reading: so it is with nearly all paths.
pub(crate) fn is_plain(path: &str) -> bool {
    let mut behind_slash = 0;
    path.bytes().all(|byte| {
        let kind = KINDS[usize::from(byte)];
        let odd = kind & (ODD | behind_slash);
        behind_slash = if byte == b'/' { JOINS } else { 0 };
        odd == 0
    })
}

/// True if there is certainly nothing to do, which is so for nearly all paths.
fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    let plain = |byte: &u8| !matches!(byte, b'%' | b'\\');
    let joint = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    bytes.iter().all(plain) && !bytes.windows(2).any(joint)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Segment {
    Empty,
    Here,
    Up,
    Named,
}

impl Segment {
    fn of(text: &str, reading: Reading) -> Segment {
        let mut rest = text;
        let mut dots = 0;
        while let Some(after) = ["%2e", "%2E", "."]
            .iter()
            .find_map(|dot| rest.strip_prefix(dot))
        {
            (rest, dots) = (after, dots + 1);
        }
        let parameters =
            || rest.starts_with(';') || rest.starts_with("%3b") || rest.starts_with("%3B");
        let ends = rest.is_empty() || dots > 0 && reading.takes(PARAMETERS) && parameters();
        match (ends, dots) {
            (true, 0) => Segment::Empty,
            (true, 1) => Segment::Here,
            (true, 2) => Segment::Up,
            (_, _) => Segment::Named,
        }
    }
}

/// The first segment, and what follows the separator after it.
fn split_segment(text: &str, reading: Reading) -> (&str, Option<&str>) {
    let encoded = |at: usize| {
        let what = match text.as_bytes().get(at..at + 3)? {
            [b'%', b'2', b'f' | b'F'] => ESCAPED_SLASH,
            [b'%', b'5', b'c' | b'C'] => ESCAPED_BACKSLASH,
            _ => return None,
        };
        reading.takes(what).then_some(3)
    };
    for (at, byte) in text.bytes().enumerate() {
        let separator = match byte {
            b'/' => Some(1),
            b'\\' if reading.takes(BACKSLASH) => Some(1),
            b'%' => encoded(at),
            _ => None,
        };
        if let Some(length) = separator {
            return (&text[..at], Some(&text[at + length..]));
        }
    }
    (text, None)
}

/// Appends `text`, unreserved characters decoded (RFC 3986 §2.3) and all other escapes in upper case.
fn decode(text: &str, out: &mut String) {
    let mut from = 0;
    for (at, byte) in escapes(text) {
        out.push_str(&text[from..at]);
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.extend(
                    text[at + 1..at + 3]
                        .chars()
                        .map(|digit| digit.to_ascii_uppercase()),
                );
            }
        }
        from = at + 3;
    }
    out.push_str(&text[from..]);
}

/// The escapes `%XX`, with their places and what they stand for.
fn escapes(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    text.bytes().enumerate().filter_map(move |(at, byte)| {
        let [high, low] = text.as_bytes().get(at + 1..at + 3)? else {
            return None;
        };
        (byte == b'%').then_some((at, digit(*high)? * 16 + digit(*low)?))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str, reading: Reading) -> Result<String, Ambiguous> {
        normalise(path, reading, &mut String::new()).map(str::to_owned)
    }

    #[test]
    fn what_targets_take_paths_for() {
        let rows = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a/../x", "/x"),
            ("/a/%2e%2E/x", "/x"),
            ("/a/.%2e/x", "/x"),
            ("/a/./x", "/a/x"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/../../x", "/x"),
            ("/..", "/"),
            ("//a///b", "/a/b"),
            ("/a//", "/a/"),
            ("//", "/"),
            ("/%61dmin", "/admin"),
            ("/%7euser/%2d", "/~user/-"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%20b%3f", "/a%20b%3F"),
            ("/a%2", "/a%2"),
            ("/a%zz", "/a%zz"),
            ("/.../x", "/.../x"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("*", "*"),
        ];
        for (path, expected) in rows {
            assert_eq!(
                normal(path, Reading::STRICT),
                Ok(expected.to_owned()),
                "{path}"
            );
        }
        for path in ["/a//../x", "/a//./../x", "//../x"] {
            assert_eq!(normal(path, Reading::STRICT), Err(Ambiguous), "{path}");
        }
    }

    fn others(path: &str) -> Vec<String> {
        let normal = |reading| normal(path, reading).unwrap_or_else(|_| "ambiguous".to_owned());
        Reading::others(path).map(normal).collect()
    }

    #[test]
    fn every_other_reading() {
        let rows: [(&str, &[&str]); 9] = [
            ("/public/..%2fadmin", &["/admin"]),
            ("/public/..%5Cadmin", &["/admin"]),
            ("/public/..\\admin", &["/admin"]),
            ("/admin%2fx", &["/admin/x"]),
            ("/public/..;/admin", &["/admin"]),
            ("/public/%2e.%3bx=1/admin", &["/admin"]),
            ("/a;b/c", &["/a;b/c"]),
            // A target may take one of them for a separator and not the other.
            (
                "/x\\y%2f..%2fadmin",
                &["/x/y%2F..%2Fadmin", "/admin", "/x/admin"],
            ),
            ("/a/%2e%2e/b%2", &[]),
        ];
        for (path, expected) in rows {
            assert_eq!(others(path), expected, "{path}");
        }
        assert_eq!(others("/\\%2f%5c;").len(), 15);
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal(path in "/[a./%2eEfF5c;\\\\é]{0,16}", reading in (0u8..16).prop_map(Reading)) {
            if is_plain(&path) {
                prop_assert_eq!(normal(&path, reading), Ok(path.clone()));
                prop_assert_eq!(Reading::others(&path).count(), 0);
            }
            if let Ok(once) = normal(&path, reading) {
                prop_assert!(once.starts_with('/'));
                prop_assert!(once.split('/').all(|part| part != "." && part != ".."), "{}", once);
                prop_assert!(!once.contains("//"), "{}", once);
                let again = normal(&once, reading);
                // Decoding makes an escape only out of what was no escape before (`%%32e`): that is not decoded twice.
                prop_assert!(path.contains("%%") || path.contains('%') && once.contains('%') || again == Ok(once.clone()), "{:?}", again);
            }
        }
    }
}
