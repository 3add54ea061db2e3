//! The path that rules compare with: what a target would take the sent one for.
//!
//! `/a/../x` and `/a/%2e%2e/x` are `/x` to most targets; a rule that compared what was sent could be passed by. So
//! unreserved characters are decoded, dot segments are removed (RFC 3986 §6.2.2, §5.2.4) and several slashes count as one.
//! The target still gets the path as it was sent.
//!
//! Targets disagree whether `%2f`, `%5c` and `\` separate segments. Such a path has two readings, and who routes by it
//! has to look at both ([`Reading`]).

/// What separates segments, besides `/`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Nothing.
    Strict,
    /// `%2f`, `%5c` and `\`.
    Lenient,
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
        match Segment::of(segment) {
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
        if after.is_none() && Segment::of(segment) != Segment::Named {
            room.push('/');
        }
        rest = after;
    }
    Ok(room)
}

/// True if the path has a second reading ([`Reading::Lenient`]).
pub fn has_two_readings(path: &str) -> bool {
    path.bytes().any(|byte| byte == b'\\')
        || escapes(path).any(|(_, byte)| matches!(byte, b'/' | b'\\'))
}

/// The text with its unreserved characters decoded, as a pattern must be written to match anything.
pub fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    decode(text, &mut out);
    out
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
    fn of(text: &str) -> Segment {
        let mut rest = text;
        let mut dots = 0;
        while let Some(after) = ["%2e", "%2E", "."]
            .iter()
            .find_map(|dot| rest.strip_prefix(dot))
        {
            (rest, dots) = (after, dots + 1);
        }
        match (rest.is_empty(), dots) {
            (true, 0) => Segment::Empty,
            (true, 1) => Segment::Here,
            (true, 2) => Segment::Up,
            (_, _) => Segment::Named,
        }
    }
}

/// The first segment, and what follows the separator after it.
fn split_segment(text: &str, reading: Reading) -> (&str, Option<&str>) {
    let encoded = |at: usize| match reading {
        Reading::Strict => None,
        Reading::Lenient => match text.as_bytes().get(at..at + 3)? {
            [b'%', b'2', b'f' | b'F'] | [b'%', b'5', b'c' | b'C'] => Some(3),
            _ => None,
        },
    };
    for (at, byte) in text.bytes().enumerate() {
        let separator = match byte {
            b'/' => Some(1),
            b'\\' if reading == Reading::Lenient => Some(1),
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
                normal(path, Reading::Strict),
                Ok(expected.to_owned()),
                "{path}"
            );
        }
        for path in ["/a//../x", "/a//./../x", "//../x"] {
            assert_eq!(normal(path, Reading::Strict), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn the_second_reading() {
        for (path, expected) in [
            ("/public/..%2fadmin", "/admin"),
            ("/public/..%5Cadmin", "/admin"),
            ("/public/..\\admin", "/admin"),
            ("/admin%2fx", "/admin/x"),
        ] {
            assert!(has_two_readings(path));
            assert_eq!(normal(path, Reading::Lenient), Ok(expected.to_owned()));
            assert_ne!(normal(path, Reading::Strict), Ok(expected.to_owned()));
        }
        assert!(!has_two_readings("/a/%2e%2e/b%2"));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal(path in "/[a./%2eEfF5c\\\\é]{0,16}", lenient in any::<bool>()) {
            let reading = if lenient { Reading::Lenient } else { Reading::Strict };
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
