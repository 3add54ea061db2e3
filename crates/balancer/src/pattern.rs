//! Patterns that rules compare with: text with wildcards, and sets of addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// Text with wildcards: `*` stands for any number of bytes, `?` for exactly one.
///
/// The whole text is compared. Nothing can be escaped: neither wildcard is needed literally in a host or a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Glob {
    text: String,
    any_case: bool,
}

impl Glob {
    /// A pattern that tells upper from lower case.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            any_case: false,
        }
    }

    /// A pattern that does not (of ASCII letters).
    pub fn any_case(text: impl Into<String>) -> Self {
        Self {
            text: text.into().to_ascii_lowercase(),
            any_case: true,
        }
    }

    /// The pattern as compared: in lower case if case does not matter.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if the pattern has no wildcard: it stands for one text.
    pub fn is_literal(&self) -> bool {
        !self.text.contains(['*', '?'])
    }

    /// Whether the whole of `text` fits. Takes time in proportion to the two lengths multiplied, at worst.
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        let same = |expected: u8, byte: u8| match self.any_case {
            true => expected == byte.to_ascii_lowercase(),
            false => expected == byte,
        };
        let (mut at, mut from) = (0, 0);
        // Where to go on if what follows the last `*` does not fit: the `*` takes one byte more.
        let mut again: Option<(usize, usize)> = None;
        while from < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    again = Some((at + 1, from));
                    at += 1;
                    continue;
                }
                Some(b'?') => {
                    (at, from) = (at + 1, from + 1);
                    continue;
                }
                Some(expected) if same(*expected, text[from]) => {
                    (at, from) = (at + 1, from + 1);
                    continue;
                }
                Some(_) | None => {}
            }
            let Some((after_star, taken)) = again else {
                return false;
            };
            again = Some((after_star, taken + 1));
            (at, from) = (after_star, taken + 1);
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }

    /// Whether everything `other` stands for fits as well; only the plain cases are seen: the same pattern, a text
    /// without wildcards, and patterns of which each wildcard of the other falls under a `*` here.
    pub fn includes(&self, other: &Glob) -> bool {
        if self == other {
            return true;
        }
        // A `*` or `?` of the other, taken as a letter, can only be taken in by a wildcard here; a `?` here is one
        // letter and must not take in a `*`.
        let hides_star = self.text.contains('?') && other.text.contains('*');
        let case_agrees = self.any_case || !other.any_case;
        case_agrees && !hides_star && self.matches(other.text.as_bytes())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set of addresses, given as prefixes. An IPv4-mapped IPv6 address is the IPv4 address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressSet {
    written: Vec<IpNet>,
    /// First and last address of each stretch, ascending and apart, so that a set of thousands is searched in a few steps.
    stretches: Vec<(IpAddr, IpAddr)>,
}

impl AddressSet {
    /// The addresses in any of the prefixes.
    pub fn new(prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        let written: Vec<IpNet> = prefixes.into_iter().map(|net| net.trunc()).collect();
        let mut ordered: Vec<(IpAddr, IpAddr)> = written
            .iter()
            .map(|net| (net.network(), net.broadcast()))
            .collect();
        ordered.sort_unstable();
        let mut stretches: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(ordered.len());
        for (first, last) in ordered {
            match stretches.last_mut() {
                Some((_, end)) if first <= *end && first.is_ipv4() == end.is_ipv4() => {
                    *end = last.max(*end);
                }
                Some(_) | None => stretches.push((first, last)),
            }
        }
        Self { written, stretches }
    }

    /// The prefixes as given.
    pub fn prefixes(&self) -> &[IpNet] {
        &self.written
    }

    /// Whether the address is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self
            .stretches
            .partition_point(|(first, _)| *first <= address);
        let before = after.checked_sub(1).and_then(|at| self.stretches.get(at));
        before.is_some_and(|(_, last)| address <= *last && address.is_ipv4() == last.is_ipv4())
    }

    /// Whether every address of `other` is in the set.
    pub fn includes(&self, other: &AddressSet) -> bool {
        other.stretches.iter().all(|(first, last)| {
            self.stretches
                .iter()
                .any(|(from, to)| from <= first && last <= to && from.is_ipv4() == first.is_ipv4())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards() {
        let rows = [
            ("/api/*", "/api/", true),
            ("/api/*", "/api/v1/x", true),
            ("/api/*", "/api", false),
            ("/v?/api/*", "/v2/api/x", true),
            ("/v?/api/*", "/v22/api/x", false),
            ("*.png", "/a/b.png", true),
            ("*a*b", "xaybab", true),
            ("*a*b", "xayba", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("/a", "/A", false),
        ];
        for (pattern, text, fits) in rows {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                fits,
                "{pattern} {text}"
            );
        }
        assert!(Glob::any_case("*.Example.com").matches(b"WWW.example.COM"));
        assert!(!Glob::any_case("*.example.com").matches(b"example.com"));
    }

    #[test]
    fn a_pattern_that_would_run_away_elsewhere_ends() {
        let pattern = Glob::new("*a*a*a*a*a*a*a*a*a*a*b");
        assert!(!pattern.matches("a".repeat(8192).as_bytes()));
    }

    #[test]
    fn patterns_within_patterns() {
        let includes = |wide: &str, narrow: &str| Glob::new(wide).includes(&Glob::new(narrow));
        assert!(includes("/api/*", "/api/v1/*"));
        assert!(includes("/api/*", "/api/v1"));
        assert!(includes("*", "/?/*"));
        assert!(includes("/?", "/?"));
        assert!(!includes("/?", "/*"));
        assert!(!includes("/api/v1/*", "/api/*"));
        assert!(!includes("/api/*", "/api"));
    }

    #[test]
    fn prefixes_that_overlap_are_one_stretch() {
        let nets = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32"];
        let set = AddressSet::new(nets.iter().map(|net| net.parse().unwrap()));
        assert_eq!(set.stretches.len(), 3);
        for (address, inside) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::", false),
            ("::", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        let narrow = AddressSet::new(["10.1.2.0/24".parse().unwrap()]);
        assert!(set.includes(&narrow) && !narrow.includes(&set));
    }

    /// The plain definition, by trying everything.
    fn fits(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=text.len()).any(|taken| fits(rest, &text[taken..])),
            (Some((b'?', rest)), Some((_, others))) => fits(rest, others),
            (Some((one, rest)), Some((other, others))) => one == other && fits(rest, others),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_the_plain_definition(pattern in "[ab*?]{0,7}", text in "[ab]{0,8}") {
            prop_assert_eq!(Glob::new(pattern.clone()).matches(text.as_bytes()), fits(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn what_the_narrow_takes_the_wide_takes(wide in "[ab*?]{0,5}", narrow in "[ab*?]{0,5}", text in "[ab]{0,8}") {
            let (wide, narrow) = (Glob::new(wide), Glob::new(narrow));
            if wide.includes(&narrow) && narrow.matches(text.as_bytes()) {
                prop_assert!(wide.matches(text.as_bytes()), "{} {} {}", wide, narrow, text);
            }
        }

        #[test]
        fn a_set_holds_what_one_of_its_prefixes_holds(
            nets in proptest::collection::vec((any::<[u8; 4]>(), 20u8..=32), 0..20),
            near in any::<[u8; 4]>(),
            which in 0usize..20,
        ) {
            let nets: Vec<IpNet> = nets.iter().map(|(octets, bits)| IpNet::new(IpAddr::from(*octets), *bits).unwrap()).collect();
            let set = AddressSet::new(nets.clone());
            let edge = nets.get(which).map_or(IpAddr::from(near), |net| net.broadcast());
            for address in [IpAddr::from(near), edge] {
                prop_assert_eq!(set.contains(address), nets.iter().any(|net| net.contains(&address)));
            }
        }
    }
}
