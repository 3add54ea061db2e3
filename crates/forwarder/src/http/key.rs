//! What a group that hashes picks by: found in a request head, without keeping any of it.

use std::net::IpAddr;

use balancer::rule::pairs;
use balancer::{HashKey, PickKey};

use crate::http::request::RequestHead;

/// The key of a request; `None` if it does not have what is wanted, or has it empty.
pub(crate) fn of_request(
    wanted: &HashKey,
    head: &RequestHead<'_, '_>,
    client: IpAddr,
) -> Option<PickKey> {
    let (path, query) = head.path_and_query();
    let value = match wanted {
        HashKey::Source => return Some(PickKey::of_address(client)),
        HashKey::Path => path.as_bytes(),
        // An absolute target says better than the field what the host is.
        HashKey::Header(name) if name.eq_ignore_ascii_case("host") => head.host.as_bytes(),
        HashKey::Header(name) => head.values(name).next()?,
        HashKey::Cookie(name) => {
            let mut pairs = head.values("cookie").flat_map(|value| pairs(value, b';'));
            pairs.find(|(other, _)| *other == name.as_bytes())?.1
        }
        HashKey::Query(name) => {
            let mut pairs = pairs(query.as_bytes(), b'&');
            pairs.find(|(other, _)| *other == name.as_bytes())?.1
        }
    };
    (!value.is_empty()).then(|| PickKey::of_bytes(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::mem::MaybeUninit;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::http::request::{self, MAX_FIELDS};

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn key(wanted: &HashKey, head: &str) -> Option<PickKey> {
        let mut head = head.as_bytes().to_vec();
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let head = request::parse(&mut head, &mut room, 8192).unwrap();
        of_request(wanted, &head, PEER)
    }

    fn get(path: &str, fields: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
    }

    fn text(value: &str) -> Option<PickKey> {
        Some(PickKey::of_bytes(value.as_bytes()))
    }

    #[test]
    fn the_source_is_the_address() {
        let source = key(&HashKey::Source, &get("/", ""));
        assert_eq!(source, Some(PickKey::of_address(PEER)));
    }

    #[test]
    fn the_path_ends_at_the_query() {
        let path = |target: &str| key(&HashKey::Path, &get(target, ""));
        assert_eq!(path("/a/b"), text("/a/b"));
        assert_eq!(path("/a/b?c=/d?e"), text("/a/b"));
        assert_eq!(path("http://b.test/a/b?c"), text("/a/b"));
    }

    #[test]
    fn a_header_is_found_in_any_case() {
        let header = |fields: &str| key(&HashKey::Header("X-User".to_owned()), &get("/", fields));
        assert_eq!(header("x-uSER:  ann \r\n"), text("ann"));
        assert_eq!(header("X-User: ann\r\nX-User: bob\r\n"), text("ann"));
        assert_eq!(header("X-User:\r\n"), None);
        assert_eq!(header("X-Users: ann\r\n"), None);
    }

    #[test]
    fn the_host_is_that_of_an_absolute_target() {
        let host = |target: &str| key(&HashKey::Header("host".to_owned()), &get(target, ""));
        assert_eq!(host("/"), text("a.test"));
        assert_eq!(host("http://b.test/"), text("b.test"));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let cookie = |fields: &str| key(&HashKey::Cookie("SID".to_owned()), &get("/", fields));
        assert_eq!(cookie("Cookie: a=1; SID=x=y;b=2\r\n"), text("x=y"));
        assert_eq!(cookie("Cookie: a=1\r\ncookie:  SID=2\r\n"), text("2"));
        assert_eq!(cookie("Cookie: XSID=1; SIDX=2; sid=3\r\n"), None);
        assert_eq!(cookie("Cookie: SID\r\n"), None);
        assert_eq!(cookie("Cookie: SID=; \r\n"), None);
        assert_eq!(cookie(""), None);
    }

    #[test]
    fn a_query_parameter_is_found_by_its_whole_name() {
        let query = |target: &str| key(&HashKey::Query("user".to_owned()), &get(target, ""));
        assert_eq!(query("/?a=1&user=ann%20b&user=c"), text("ann%20b"));
        assert_eq!(query("/?xuser=1&user=2"), text("2"));
        assert_eq!(query("/user=1"), None);
        assert_eq!(query("/?user"), None);
        assert_eq!(query("/?user=&a=1"), None);
    }
}
