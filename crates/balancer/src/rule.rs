//! Rules: what a request has to be like, in words and as a test.
//!
//! The conditions of a rule all have to hold; of the values of one condition, one has to. Which rule a request meets
//! first is found by `index`; this file knows one rule at a time.

use std::fmt;
use std::net::IpAddr;

use http::Method;

use crate::pattern::{AddressSet, Glob};

pub(crate) mod index;
pub(crate) mod shadow;
#[cfg(test)]
mod tests;

/// The fields (headers) of a request, wherever they are kept.
pub trait Fields: fmt::Debug {
    /// Whether `test` holds for the value of some field of this name, in any case.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// No fields: a connection whose bytes are not looked at.
#[derive(Clone, Copy, Debug)]
pub struct NoFields;

impl Fields for NoFields {
    fn any(&self, _name: &str, _test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

impl Fields for Vec<(String, String)> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .any(|(_, value)| test(value.as_bytes()))
    }
}

/// What rules may look at in a request; a TCP connection has only addresses.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Address of the client: of the peer, or what a trusted peer says in its name.
    pub source: IpAddr,
    /// Address the connection comes from.
    pub peer: IpAddr,
    /// Method; `None` on a TCP listener.
    pub method: Option<&'a Method>,
    /// Host as sent, port included; empty on a TCP listener or if none was sent.
    pub host: &'a str,
    /// Path without query, as sent; empty on a TCP listener.
    pub path: &'a str,
    /// Query without its question mark, as sent; empty if there is none.
    pub query: &'a str,
    /// The name a TLS client asks for, if it was read.
    pub sni: Option<&'a str>,
    /// The fields.
    pub fields: &'a dyn Fields,
}

impl<'a> RequestView<'a> {
    /// What is known of a connection whose bytes are not looked at.
    pub fn of_connection(peer: IpAddr) -> RequestView<'static> {
        RequestView {
            source: peer,
            peer,
            method: None,
            host: "",
            path: "",
            query: "",
            sni: None,
            fields: &NoFields,
        }
    }

    /// The host without port and without the dot of a full name.
    pub fn host_name(&self) -> &'a str {
        let end = match self.host.strip_prefix('[') {
            Some(rest) => rest.find(']').map(|at| at + 2),
            None => self.host.bytes().position(|byte| byte == b':'),
        };
        let name = &self.host[..end.unwrap_or(self.host.len())];
        name.strip_suffix('.').unwrap_or(name)
    }

    /// The port the client sees, if it named one.
    pub fn host_port(&self) -> Option<u16> {
        let (_, port) = self.host.rsplit_once(':')?;
        port.parse().ok() // the last part of a bare IPv6 address has its bracket and is no number
    }
}

/// One condition of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// The host, without its port, in any case.
    Host(Vec<Glob>),
    /// The normal form of the path ([`crate::normal`]), without the query.
    Path(Vec<Glob>),
    /// The method, exactly.
    Method(Vec<String>),
    /// A field of this name has one of the values, in any case.
    Header(String, Vec<Glob>),
    /// A query parameter of this name has one of the values, both in any case; nothing is decoded.
    Query(String, Vec<Glob>),
    /// A cookie of exactly this name has one of the values.
    Cookie(String, Vec<Glob>),
    /// The address of the client.
    Source(AddressSet),
    /// The address the connection comes from.
    PeerSource(AddressSet),
    /// The name a TLS client asks for, in any case.
    Sni(Vec<Glob>),
    /// These conditions do not all hold.
    Not(Vec<Condition>),
}

impl Condition {
    /// Whether it holds. The path of `view` is its normal form here.
    pub(crate) fn holds(&self, view: &RequestView<'_>) -> bool {
        match self {
            Self::Host(patterns) => {
                let host = view.host_name().as_bytes();
                patterns.iter().any(|pattern| pattern.matches(host))
            }
            Self::Path(patterns) => any_matches(patterns, view.path.as_bytes()),
            Self::Method(methods) => view
                .method
                .is_some_and(|method| methods.iter().any(|wanted| wanted == method.as_str())),
            Self::Header(name, patterns) => {
                header(view, name, &mut |value| any_matches(patterns, value))
            }
            Self::Query(name, patterns) => {
                query(view.query, name).any(|value| any_matches(patterns, value))
            }
            Self::Cookie(name, patterns) => {
                cookie(view.fields, name, &mut |value| any_matches(patterns, value))
            }
            Self::Source(set) => set.contains(view.source),
            Self::PeerSource(set) => set.contains(view.peer),
            Self::Sni(patterns) => view
                .sni
                .is_some_and(|name| any_matches(patterns, name.as_bytes())),
            Self::Not(inner) => !inner.iter().all(|condition| condition.holds(view)),
        }
    }

    /// What it looks at; conditions that look at the same can be compared.
    fn subject(&self) -> (&'static str, &str) {
        match self {
            Self::Host(_) => ("host", ""),
            Self::Path(_) => ("path", ""),
            Self::Method(_) => ("method", ""),
            Self::Header(name, _) => ("header", name),
            Self::Query(name, _) => ("query", name),
            Self::Cookie(name, _) => ("cookie", name),
            Self::Source(_) => ("source", ""),
            Self::PeerSource(_) => ("peer_source", ""),
            Self::Sni(_) => ("sni", ""),
            Self::Not(_) => ("not", ""),
        }
    }

    /// Whether it holds wherever `other` does; only the plain cases are seen.
    fn includes(&self, other: &Condition) -> bool {
        if self.subject() != other.subject() {
            return false;
        }
        match (self, other) {
            (Self::Method(wide), Self::Method(narrow)) => {
                narrow.iter().all(|method| wide.contains(method))
            }
            (Self::Source(wide), Self::Source(narrow))
            | (Self::PeerSource(wide), Self::PeerSource(narrow)) => wide.includes(narrow),
            (Self::Not(_), Self::Not(_)) => self == other,
            (wide, narrow) => match (wide.patterns(), narrow.patterns()) {
                (Some(wide), Some(narrow)) => narrow
                    .iter()
                    .all(|pattern| wide.iter().any(|wide| wide.includes(pattern))),
                (_, _) => false,
            },
        }
    }

    fn patterns(&self) -> Option<&[Glob]> {
        match self {
            Self::Host(patterns)
            | Self::Path(patterns)
            | Self::Header(_, patterns)
            | Self::Query(_, patterns)
            | Self::Cookie(_, patterns)
            | Self::Sni(patterns) => Some(patterns),
            Self::Method(_) | Self::Source(_) | Self::PeerSource(_) | Self::Not(_) => None,
        }
    }

    /// Whether it looks at the path, or one inside it does.
    pub(crate) fn sees_path(&self) -> bool {
        match self {
            Self::Path(_) => true,
            Self::Not(inner) => inner.iter().any(Condition::sees_path),
            Self::Host(_)
            | Self::Method(_)
            | Self::Header(..)
            | Self::Query(..)
            | Self::Cookie(..)
            | Self::Source(_)
            | Self::PeerSource(_)
            | Self::Sni(_) => false,
        }
    }
}

/// Whether `narrow` can only hold where `wide` does, both being all the conditions of a rule.
pub(crate) fn covers(wide: &[Condition], narrow: &[Condition]) -> bool {
    wide.iter()
        .all(|condition| narrow.iter().any(|other| condition.includes(other)))
}

/// As in the file: `host app.example.com, path /api/* or /v?/api/*`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(patterns) => write!(f, "host {}", alternatives(patterns)),
            Self::Path(patterns) => write!(f, "path {}", alternatives(patterns)),
            Self::Method(methods) => write!(f, "method {}", alternatives(methods)),
            Self::Header(name, patterns) => write!(f, "header {name}: {}", alternatives(patterns)),
            Self::Query(name, patterns) => write!(f, "query {name}={}", alternatives(patterns)),
            Self::Cookie(name, patterns) => write!(f, "cookie {name}={}", alternatives(patterns)),
            Self::Source(set) => write!(f, "source {}", alternatives(set.prefixes())),
            Self::PeerSource(set) => write!(f, "peer_source {}", alternatives(set.prefixes())),
            Self::Sni(patterns) => write!(f, "sni {}", alternatives(patterns)),
            Self::Not(inner) => write!(f, "not ({})", Conditions(inner)),
        }
    }
}

/// All conditions of a rule, in words.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'c>(pub &'c [Condition]);

impl fmt::Display for Conditions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("everything");
        }
        f.write_str(&joined(self.0, ", "))
    }
}

fn alternatives<T: fmt::Display>(values: &[T]) -> String {
    joined(values, " or ")
}

fn joined<T: fmt::Display>(values: &[T], between: &str) -> String {
    let words: Vec<String> = values.iter().map(T::to_string).collect();
    words.join(between)
}

fn any_matches(patterns: &[Glob], text: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// Whether the test holds for a field of this name; an absolute target says better than the field what the host is.
fn header(view: &RequestView<'_>, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    match name.eq_ignore_ascii_case("host") {
        true => test(view.host.as_bytes()),
        false => view.fields.any(name, test),
    }
}

/// Whether the test holds for a cookie of this name.
pub(crate) fn cookie(fields: &dyn Fields, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    fields.any("cookie", &mut |value| {
        pairs(value, b';').any(|(other, value)| other == name.as_bytes() && test(value))
    })
}

/// The values of the query parameters of this name.
fn query<'q>(query: &'q str, name: &str) -> impl Iterator<Item = &'q [u8]> {
    pairs(query.as_bytes(), b'&')
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// The pairs `name=value`, white space around each removed; a name alone has an empty value.
pub fn pairs(text: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(move |byte| *byte == separator)
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        })
}
