//! Redirects: where a client is sent instead, made of the request's own URL.
//!
//! The location is always absolute, and every part that comes from the client is put where it cannot become another
//! part: a host only if it is a plain name or address, everything else percent-encoded.

use std::fmt;
use std::io::Write as _;

/// What a client is redirected to: the parts that are not given stay as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `https` or `http`.
    pub https: Option<bool>,
    /// The host, without port.
    pub host: Option<Template>,
    /// The port. Not given, it stays, or is that of the scheme if the scheme changes.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<Template>,
    /// The query; an empty text drops it.
    pub query: Option<Template>,
}

impl Redirect {
    /// To the same URL with `https`, for good (301).
    pub fn to_https() -> Self {
        Self {
            status: 301,
            https: Some(true),
            host: None,
            port: None,
            path: None,
            query: None,
        }
    }
}

/// A URL in parts, as the client sees it.
#[derive(Clone, Copy, Debug)]
pub struct Url<'a> {
    /// The scheme.
    pub https: bool,
    /// The host without port.
    pub host: &'a str,
    /// The port, if the client named one.
    pub port: Option<u16>,
    /// The path as sent.
    pub path: &'a str,
    /// The query as sent, without its question mark.
    pub query: &'a str,
}

/// Text with variables of the form `#{path}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// A part of the request's URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variable {
    /// `http` or `https`.
    Protocol,
    /// The host without port.
    Host,
    /// The port.
    Port,
    /// The path with its slash; after a text that ends with a slash, without.
    Path,
    /// The query without its question mark.
    Query,
}

impl Variable {
    const ALL: [Variable; 5] = [
        Self::Protocol,
        Self::Host,
        Self::Port,
        Self::Path,
        Self::Query,
    ];

    /// The word between the braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Host => "host",
            Self::Port => "port",
            Self::Path => "path",
            Self::Query => "query",
        }
    }
}

/// Why a text is no template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// A brace is missing.
    #[error("`#{{` at offset {0} is not closed")]
    Open(usize),
    /// There is no such variable.
    #[error("there is no variable #{{{0}}}; there are protocol, host, port, path, query")]
    Unknown(String),
    /// Something stands in the text that cannot stand in a URL.
    #[error("{0:?} cannot stand in this part of a URL")]
    Character(char),
}

impl Template {
    /// Reads a template. Characters that cannot stand in a path or query are not accepted.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let (mut rest, mut offset) = (text, 0);
        while let Some(at) = rest.find("#{") {
            let open = offset + at;
            push_text(&mut parts, &rest[..at])?;
            let inside = &rest[at + 2..];
            let end = inside.find('}').ok_or(TemplateError::Open(open))?;
            let name = &inside[..end];
            let variable = Variable::ALL
                .into_iter()
                .find(|variable| variable.as_str() == name)
                .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            parts.push(Part::Variable(variable));
            rest = &inside[end + 1..];
            offset = text.len() - rest.len();
        }
        push_text(&mut parts, rest)?;
        Ok(Self(parts))
    }

    /// The variables in it.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable(variable) => Some(*variable),
        })
    }

    /// The text before the first variable.
    pub fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Variable(_)) | None => "",
        }
    }

    /// Appends it; a slash it begins with is left out if one is there already.
    fn write(&self, out: &mut Vec<u8>, url: &Url<'_>) {
        for (number, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    let doubled = number == 0 && out.last() == Some(&b'/');
                    let shorter = text.strip_prefix('/').filter(|_| doubled);
                    out.extend_from_slice(shorter.unwrap_or(text).as_bytes());
                }
                Part::Variable(Variable::Protocol) => out.extend_from_slice(scheme(url.https)),
                Part::Variable(Variable::Host) => encode(out, url.host),
                Part::Variable(Variable::Port) => {
                    write_port(out, url.port.unwrap_or(usual_port(url.https)))
                }
                Part::Variable(Variable::Path) => {
                    let slash_is_there = out.last() == Some(&b'/');
                    let path = url.path.strip_prefix('/').filter(|_| slash_is_there);
                    encode(out, path.unwrap_or(url.path));
                }
                Part::Variable(Variable::Query) => encode(out, url.query),
            }
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
    let odd = |c: &char| !u8::try_from(*c).is_ok_and(stands_for_itself);
    if let Some(odd) = text.chars().find(odd) {
        return Err(TemplateError::Character(odd));
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

/// As written in the file.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(variable) => write!(f, "#{{{}}}", variable.as_str()),
        })
    }
}

/// As a URL with variables, and the status: `301 to #{protocol}://app.example.com/#{path}`.
impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |part: &Option<Template>, same: &str| {
            part.as_ref().map_or(same.to_owned(), Template::to_string)
        };
        let protocol = match self.https {
            Some(true) => "https",
            Some(false) => "http",
            None => "#{protocol}",
        };
        write!(
            f,
            "{} to {protocol}://{}",
            self.status,
            or(&self.host, "#{host}")
        )?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let (path, query) = (or(&self.path, "#{path}"), or(&self.query, "#{query}"));
        write!(f, "{path}")?;
        if !query.is_empty() {
            write!(f, "?{query}")?;
        }
        Ok(())
    }
}

/// The client named a host that no redirect may lead to: not a plain name or address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the host of the request is no plain name")]
pub struct OddHost;

impl Redirect {
    /// Appends the location. Never a CR, LF, blank or anything else that could end the field or the part of the URL.
    pub fn write_location(&self, out: &mut Vec<u8>, url: &Url<'_>) -> Result<(), OddHost> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if url.host.is_empty() || !url.host.bytes().all(plain) {
            return Err(OddHost);
        }
        let https = self.https.unwrap_or(url.https);
        out.extend_from_slice(scheme(https));
        out.extend_from_slice(b"://");
        match &self.host {
            Some(host) => host.write(out, url),
            None => out.extend_from_slice(url.host.as_bytes()),
        }
        let same_scheme = https == url.https;
        let port = self.port.or(url.port.filter(|_| same_scheme));
        if let Some(port) = port.filter(|port| *port != usual_port(https)) {
            out.push(b':');
            write_port(out, port);
        }
        let path_at = out.len();
        out.push(b'/');
        match &self.path {
            Some(path) => path.write(out, url),
            None => encode(out, url.path.strip_prefix('/').unwrap_or(url.path)),
        }
        debug_assert!(out[path_at] == b'/', "a path begins with a slash");
        let query_at = out.len();
        out.push(b'?');
        match &self.query {
            Some(query) => query.write(out, url),
            None => encode(out, url.query),
        }
        if out.len() == query_at + 1 {
            out.pop();
        }
        Ok(())
    }
}

fn scheme(https: bool) -> &'static [u8] {
    if https { b"https" } else { b"http" }
}

fn usual_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn write_port(out: &mut Vec<u8>, port: u16) {
    let _ = write!(out, "{port}"); // writing to memory cannot fail
}

/// A byte that may stand in a path or query: RFC 3986 §3.3 and §3.4, and `%`, which begins an escape.
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte)
}

fn encode(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if stands_for_itself(byte) {
            out.push(byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url<'a>(host: &'a str, path: &'a str, query: &'a str) -> Url<'a> {
        Url {
            https: false,
            host,
            port: None,
            path,
            query,
        }
    }

    fn location(redirect: &Redirect, url: &Url<'_>) -> Result<String, OddHost> {
        let mut out = Vec::new();
        redirect.write_location(&mut out, url)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn template(text: &str) -> Option<Template> {
        Some(Template::parse(text).unwrap())
    }

    fn nothing_but(change: impl FnOnce(&mut Redirect)) -> Redirect {
        let mut redirect = Redirect {
            https: None,
            ..Redirect::to_https()
        };
        change(&mut redirect);
        redirect
    }

    #[test]
    fn parts_that_are_not_named_stay() {
        let plain = url("shop.example.com", "/a/b", "x=1&y");
        let with_port = Url {
            port: Some(8080),
            ..plain
        };
        let rows = [
            (
                Redirect::to_https(),
                plain,
                "https://shop.example.com/a/b?x=1&y",
            ),
            (
                Redirect::to_https(),
                with_port,
                "https://shop.example.com/a/b?x=1&y",
            ),
            (
                nothing_but(|to| to.host = template("app.example.com")),
                with_port,
                "http://app.example.com:8080/a/b?x=1&y",
            ),
            (
                nothing_but(|to| to.port = Some(81)),
                plain,
                "http://shop.example.com:81/a/b?x=1&y",
            ),
            (
                nothing_but(|to| to.port = Some(80)),
                with_port,
                "http://shop.example.com/a/b?x=1&y",
            ),
            (
                nothing_but(|to| to.path = template("/shop#{path}")),
                plain,
                "http://shop.example.com/shop/a/b?x=1&y",
            ),
            (
                nothing_but(|to| to.path = template("/shop/#{path}")),
                plain,
                "http://shop.example.com/shop/a/b?x=1&y",
            ),
            (
                nothing_but(|to| to.path = template("/#{path}")),
                plain,
                "http://shop.example.com/a/b?x=1&y",
            ),
            (
                nothing_but(|to| to.query = template("")),
                plain,
                "http://shop.example.com/a/b",
            ),
            (
                nothing_but(|to| {
                    to.query = template("from=#{protocol}://#{host}:#{port}#{path}&#{query}")
                }),
                plain,
                "http://shop.example.com/a/b?from=http://shop.example.com:80/a/b&x=1&y",
            ),
            (
                nothing_but(|to| to.host = template("www.#{host}")),
                plain,
                "http://www.shop.example.com/a/b?x=1&y",
            ),
        ];
        for (redirect, url, expected) in rows {
            assert_eq!(
                location(&redirect, &url).as_deref(),
                Ok(expected),
                "{redirect}"
            );
        }
    }

    #[test]
    fn a_path_never_becomes_a_host() {
        let https = Redirect::to_https();
        for (path, expected) in [
            ("//evil.example/x", "https://a.example//evil.example/x"),
            ("/\\evil.example", "https://a.example/%5Cevil.example"),
            ("/a b\"<>", "https://a.example/a%20b%22%3C%3E"),
            ("/é", "https://a.example/%C3%A9"),
            ("@evil.example", "https://a.example/@evil.example"),
            ("/a%0d%0aX: y", "https://a.example/a%0d%0aX:%20y"),
        ] {
            assert_eq!(
                location(&https, &url("a.example", path, "")).as_deref(),
                Ok(expected)
            );
        }
        for host in ["", "a@evil", "a/b", "a%2fevil", "a b", "a\r\nX: y"] {
            assert_eq!(
                location(&https, &url(host, "/", "")),
                Err(OddHost),
                "{host:?}"
            );
        }
    }

    #[test]
    fn texts_that_are_no_templates() {
        assert_eq!(
            Template::parse("/a#{pth}"),
            Err(TemplateError::Unknown("pth".to_owned()))
        );
        assert_eq!(Template::parse("/a#{path"), Err(TemplateError::Open(2)));
        assert_eq!(Template::parse("/a b"), Err(TemplateError::Character(' ')));
        assert_eq!(
            Template::parse("/a\r\nb"),
            Err(TemplateError::Character('\r'))
        );
        assert_eq!(Template::parse("/a#b"), Err(TemplateError::Character('#')));
    }

    proptest! {
        #[test]
        fn nothing_of_the_client_ends_the_field_or_the_authority(path in any::<String>(), query in any::<String>()) {
            let redirect = nothing_but(|to| to.path = template("/x/#{path}"));
            let location = location(&redirect, &url("a.example", &path, &query)).unwrap();
            prop_assert!(location.starts_with("http://a.example/x/"));
            prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
