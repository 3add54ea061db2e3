//! What consistent hashing goes by: a number made of the client's address or of something in a request.
//!
//! The hash is FNV-1a with 64 bits (offset basis `cbf29ce484222325`, prime `100000001b3`), followed by the 64-bit
//! finaliser of MurmurHash3 (multipliers `ff51afd7ed558ccd` and `c4ceb9fe1a85ec53`, shifts by 33). It is part of what
//! nodes agree on: both nodes of a pair, and every version of the software, must give a client the same target. It
//! never changes, and it has no secret: whoever chooses keys can choose their target.

use std::net::IpAddr;

use crate::rule::{RequestView, pairs};
use crate::settings::HashKey;

/// A hashed key; any number is possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PickKey(pub(crate) u64);

impl PickKey {
    /// The key of a client address: 4 or 16 octets; an IPv4-mapped IPv6 address is the IPv4 address.
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_bytes(&address.octets()),
            IpAddr::V6(address) => Self::of_bytes(&address.octets()),
        }
    }

    /// The key of some text, byte for byte.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hash([bytes]))
    }
}

impl HashKey {
    /// The key of a request; `None` if it does not have what is wanted, or has it empty. Of several fields, cookies or
    /// parameters the first counts.
    pub fn of_request(&self, view: &RequestView<'_>) -> Option<PickKey> {
        let mut found = None;
        let mut keep = |value: &[u8]| {
            found = (!value.is_empty()).then(|| PickKey::of_bytes(value));
            true
        };
        match self {
            Self::Source => return Some(PickKey::of_address(view.source)),
            Self::Path => keep(view.path.as_bytes()),
            // An absolute target says better than the field what the host is.
            Self::Header(name) if name.eq_ignore_ascii_case("host") => keep(view.host.as_bytes()),
            Self::Header(name) => view.fields.any(name, &mut keep),
            Self::Cookie(name) => view.fields.any("cookie", &mut |value| {
                named(value, b';', name).is_some_and(&mut keep)
            }),
            Self::Query(name) => named(view.query.as_bytes(), b'&', name).is_some_and(&mut keep),
        };
        found
    }
}

/// The value of the first pair of this name.
fn named<'t>(text: &'t [u8], separator: u8, name: &str) -> Option<&'t [u8]> {
    let mut pairs = pairs(text, separator);
    let found = pairs.find(|(other, _)| *other == name.as_bytes());
    found.map(|(_, value)| value)
}

/// The hash of the parts, as if they were one text.
pub(crate) fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let bytes = parts.into_iter().flatten();
    bytes
        .fold(Hash::default(), |hash, byte| hash.with(*byte))
        .value()
}

/// A hash under way: what came so far can be had at every byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// With one more byte.
    pub(crate) fn with(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The hash of the bytes so far.
    pub(crate) fn value(self) -> u64 {
        let state = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        state ^ (state >> 33)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_it_always_was() {
        // Worked out apart from this code, from the definition above.
        assert_eq!(hash([b"".as_slice()]), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash([b"a".as_slice()]), 0x82a2_a958_a9be_ce5b);
        assert_eq!(
            PickKey::of_bytes(b"10.0.0.21:8080"),
            PickKey(0xdccc_29f3_89bc_18b8)
        );
        assert_eq!(
            hash([b"10.0.0".as_slice(), b".21:8080"]),
            0xdccc_29f3_89bc_18b8
        );
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let key = |text: &str| PickKey::of_address(text.parse().unwrap());
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("192.0.2.1"), PickKey::of_bytes(&[192, 0, 2, 1]));
        assert_ne!(key("2001:db8::1"), key("2001:db8::2"));
    }

    fn key(wanted: &HashKey, path: &str, query: &str, fields: &[(&str, &str)]) -> Option<PickKey> {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        wanted.of_request(&RequestView {
            source: "192.0.2.7".parse().unwrap(),
            host: "a.test",
            path,
            query,
            fields: &fields,
            ..RequestView::of_connection("192.0.2.8".parse().unwrap())
        })
    }

    fn text(value: &str) -> Option<PickKey> {
        Some(PickKey::of_bytes(value.as_bytes()))
    }

    #[test]
    fn the_source_is_the_address_of_the_client_and_the_path_has_no_query() {
        let source = PickKey::of_address("192.0.2.7".parse().unwrap());
        assert_eq!(key(&HashKey::Source, "/", "", &[]), Some(source));
        assert_eq!(key(&HashKey::Path, "/a/b", "c=/d", &[]), text("/a/b"));
    }

    #[test]
    fn a_header_is_found_in_any_case_and_the_host_is_that_of_the_request() {
        let header =
            |fields: &[(&str, &str)]| key(&HashKey::Header("X-User".to_owned()), "/", "", fields);
        assert_eq!(header(&[("x-uSER", "ann")]), text("ann"));
        assert_eq!(header(&[("X-User", "ann"), ("X-User", "bob")]), text("ann"));
        assert_eq!(header(&[("X-User", ""), ("X-User", "bob")]), None);
        assert_eq!(header(&[("X-Users", "ann")]), None);
        let host = HashKey::Header("host".to_owned());
        assert_eq!(key(&host, "/", "", &[("Host", "b.test")]), text("a.test"));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let cookie = |values: &[&str]| {
            let fields: Vec<_> = values.iter().map(|value| ("Cookie", *value)).collect();
            key(&HashKey::Cookie("SID".to_owned()), "/", "", &fields)
        };
        assert_eq!(cookie(&["a=1; SID=x=y;b=2"]), text("x=y"));
        assert_eq!(cookie(&["a=1", "SID=2"]), text("2"));
        assert_eq!(cookie(&["XSID=1; SIDX=2; sid=3"]), None);
        assert_eq!(cookie(&["SID"]), None);
        assert_eq!(cookie(&["SID=; "]), None);
        assert_eq!(cookie(&[]), None);
    }

    #[test]
    fn a_query_parameter_is_found_by_its_whole_name() {
        let query = |query: &str| key(&HashKey::Query("user".to_owned()), "/", query, &[]);
        assert_eq!(query("a=1&user=ann%20b&user=c"), text("ann%20b"));
        assert_eq!(query("xuser=1&user=2"), text("2"));
        assert_eq!(query("user"), None);
        assert_eq!(query("user=&a=1"), None);
        assert_eq!(query(""), None);
    }
}
