//! Cookies that keep a client where it is: read from requests, hidden from targets, written into answers.
//!
//! ```text
//!   rule: which group? ──► group: which target? ──► each attempt: is it the one? ──► answer: Set-Cookie, if anything changed
//! ```
//! A cookie that is not ours, or too old, is no cookie. It is set again once a third of its time has passed, so that a
//! client that keeps coming stays bound, and not with each answer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use balancer::rule::pairs;
use balancer::{
    Binding, BindingCounts, BoundPick, Group, GroupMark, Lease, Rule, Split, StickySettings,
    Target, TargetMark,
};

use crate::buffers::Buffer;
use crate::http::fields::{list, write_field, write_number};
use crate::http::request::RequestHead;
use crate::http::routing::Asking;
use crate::seal::{Bond, Token};
use crate::worker::Worker;

/// Cookies of one name that are looked at: a client may have some of other paths or domains.
const MAX_LOOKED_AT: usize = 4;
/// A cookie is set again once this part of its time has passed.
const RENEWED_AFTER: u64 = 3;

/// How a request stands with what its client is bound to.
#[derive(Debug, Default)]
pub(crate) struct Sticking {
    /// The target it is bound to.
    bound: Option<Bound<TargetMark>>,
    /// That target is merely full: the client is to find it again.
    full: bool,
    binding: Binding,
    https: bool,
    /// Bytes of cookies that are set whichever the target is.
    common: usize,
}

#[derive(Clone, Copy, Debug)]
struct Bound<M> {
    mark: M,
    /// The cookie is to be set again.
    stale: bool,
}

/// The group a client gets of several: the one it is bound to, or one that is drawn and that it is bound to from now on.
pub(super) fn choose<'p>(
    split: &'p Split,
    rule: &Rule,
    sticky: &StickySettings,
    head: &RequestHead<'_, '_>,
    asking: &Asking<'_>,
    cookies: &mut Buffer,
) -> Option<&'p Arc<Group>> {
    let (now, counts) = (Instant::now(), rule.bindings());
    let bound = read(head, sticky, Bond::Group, asking.worker, counts);
    let bound = bound.map(|bound| bound.with(Token::group));
    let kept = bound.and_then(|bound| Some((split.bound(now, bound.mark)?, bound.stale)));
    let (group, binding, set) = match kept {
        Some((group, stale)) => (Some(group), Binding::Hit, stale),
        None => {
            let binding = bound.map_or(Binding::New, |_| Binding::Moved);
            (split.draw(now, asking.worker.random()), binding, true)
        }
    };
    counts.count(group.map_or(Binding::None, |_| binding));
    if let Some(group) = group.filter(|_| set) {
        let mark = group.mark();
        let GroupMark(mark) = mark;
        write(
            cookies,
            sticky,
            Bond::Group,
            mark,
            asking.worker,
            asking.is_https(head),
        );
    }
    group
}

impl Sticking {
    /// Reads which target of the group the client is bound to. `cookies` are set in any case.
    pub(super) fn of_request(
        group: &Group,
        head: &RequestHead<'_, '_>,
        asking: &Asking<'_>,
        cookies: &Buffer,
    ) -> Self {
        let Some(sticky) = &group.settings().sticky else {
            return Self::default();
        };
        let bond = Bond::Target(group.mark());
        let bound = read(head, sticky, bond, asking.worker, group.bindings());
        Self {
            bound: bound.map(|bound| bound.with(Token::target)),
            https: asking.is_https(head),
            common: cookies.held(),
            ..Self::default()
        }
    }

    /// The target the client is bound to, if that can serve it and was not tried for this request.
    pub(crate) fn pick(&mut self, group: &Group, random: u64, first: bool) -> Option<Lease> {
        let bound = self.bound.filter(|_| first)?;
        match group.pick_bound(Instant::now(), random, bound.mark, &[]) {
            BoundPick::Leased(lease) => Some(lease),
            BoundPick::Full => {
                self.full = true;
                None
            }
            BoundPick::Gone => None,
        }
    }

    /// The request goes to this target: the client is bound to it, unless it is already or is to find its own again.
    pub(crate) fn met(
        &mut self,
        group: &Group,
        target: &Target,
        worker: &Worker,
        cookies: &mut Buffer,
    ) {
        let Some(sticky) = &group.settings().sticky else {
            return;
        };
        let is_target = |bound: &Bound<TargetMark>| {
            group
                .bound(bound.mark)
                .is_some_and(|other| other.id() == target.id())
        };
        let (binding, set) = match &self.bound {
            None => (Binding::New, true),
            Some(bound) if is_target(bound) => (Binding::Hit, bound.stale),
            Some(_) => (Binding::Moved, !self.full),
        };
        self.binding = binding;
        cookies.truncate(self.common); // an attempt before this one may have bound it elsewhere
        if set {
            let TargetMark(mark) = TargetMark::of(&target.settings().name);
            let bond = Bond::Target(group.mark());
            write(cookies, sticky, bond, mark, worker, self.https);
        }
    }

    /// Counts what became of it, once the request is done; `None` for a group that binds nobody.
    pub(crate) fn count(&self, group: &Group) -> Option<Binding> {
        group.settings().sticky.as_ref()?;
        group.bindings().count(self.binding);
        Some(self.binding)
    }
}

impl Bound<Token> {
    fn with<M>(self, mark: impl FnOnce(Token) -> M) -> Bound<M> {
        Bound {
            mark: mark(self.mark),
            stale: self.stale,
        }
    }
}

/// What a cookie of the request says, if one of this name is ours and not too old.
fn read(
    head: &RequestHead<'_, '_>,
    sticky: &StickySettings,
    bond: Bond,
    worker: &Worker,
    counts: &BindingCounts,
) -> Option<Bound<Token>> {
    let named = |(name, _): &(&[u8], &[u8])| *name == sticky.cookie.as_bytes();
    let values = head
        .values("cookie")
        .flat_map(|value| pairs(value, b';'))
        .filter(named)
        .map(|(_, value)| value);
    let mut values = values.take(MAX_LOOKED_AT).peekable();
    values.peek()?;
    let now = wall_seconds();
    let Some(token) = values.find_map(|text| worker.sealer.open(bond, text, now, sticky.ttl))
    else {
        counts.count_refused();
        return None;
    };
    let age = now.saturating_sub(token.issued);
    Some(Bound {
        mark: token,
        stale: age >= sticky.ttl.as_secs().div_ceil(RENEWED_AFTER),
    })
}

/// Appends a Set-Cookie field that binds to what has this mark.
fn write(
    cookies: &mut Buffer,
    sticky: &StickySettings,
    bond: Bond,
    mark: u64,
    worker: &Worker,
    https: bool,
) {
    let token = Token {
        mark,
        issued: wall_seconds(),
    };
    let random = [worker.random(), worker.random()];
    let text = worker.sealer.seal(bond, token, random);
    let out = cookies.vec();
    for part in [b"Set-Cookie: ", sticky.cookie.as_bytes(), b"=", &text] {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"; Path=/; Max-Age=");
    write_number(out, sticky.ttl.as_secs());
    out.extend_from_slice(b"; HttpOnly; SameSite=Lax");
    if https {
        out.extend_from_slice(b"; Secure");
    }
    out.extend_from_slice(b"\r\n");
}

/// Seconds since 1970. A clock before that is at 1970.
pub(crate) fn wall_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.as_ref().map_or(0, Duration::as_secs)
}

/// Appends a Cookie field without the cookies of these names; nothing if there are no others.
pub(super) fn write_others(out: &mut Vec<u8>, name: &[u8], value: &[u8], hidden: &[Option<&str>]) {
    let is_hidden = |cookie: &[u8]| {
        let mut hidden = hidden.iter().flatten();
        hidden.any(|name| name.as_bytes() == cookie)
    };
    if !pairs(value, b';').any(|(cookie, _)| is_hidden(cookie)) {
        return write_field(out, name, value);
    }
    let others = value.split(|byte| *byte == b';').filter(|part| {
        let cookie = pairs(part, b';').next();
        cookie.is_some_and(|(cookie, _)| !is_hidden(cookie))
    });
    for (number, cookie) in others.enumerate() {
        if number == 0 {
            out.extend_from_slice(name);
        }
        out.extend_from_slice(if number == 0 { b": " } else { b"; " });
        out.extend_from_slice(cookie.trim_ascii());
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a Cache-Control field of an answer that sets a cookie for one client alone: without what would let others
/// have it from a cache. True if it says already that nobody may.
pub(super) fn write_cache_control(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    let is = |member: &[u8], word: &str| member.eq_ignore_ascii_case(word.as_bytes());
    let shares = |member: &&[u8]| {
        let directive = member
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default();
        is(directive, "public") || is(directive, "s-maxage")
    };
    let (mut first, mut forbids) = (true, false);
    for member in list(value).filter(|member| !shares(member)) {
        out.extend_from_slice(if first { name } else { b"" });
        out.extend_from_slice(if first { b": " } else { b", " });
        out.extend_from_slice(member);
        first = false;
        forbids |= is(member, "private") || is(member, "no-store");
    }
    if !first {
        out.extend_from_slice(b"\r\n");
    }
    forbids
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn others(value: &str, hidden: &[Option<&str>]) -> String {
        let mut out = b"Host: a\r\n".to_vec();
        write_others(&mut out, b"Cookie", value.as_bytes(), hidden);
        let text = String::from_utf8(out).unwrap();
        text.strip_prefix("Host: a\r\n").unwrap().to_owned()
    }

    #[test]
    fn targets_do_not_see_our_cookies() {
        let hidden = [None, Some("T"), Some("G")];
        let rows = [
            ("a=1; T=x; b=2", "Cookie: a=1; b=2\r\n"),
            ("T=x", ""),
            ("T=x; G=y;T=z", ""),
            (" T= x ;a= 1 ", "Cookie: a= 1\r\n"),
            ("T =x", "Cookie: T =x\r\n"),
            ("T=x;; a", "Cookie: a\r\n"),
            ("t=x;  TT=1;b", "Cookie: t=x;  TT=1;b\r\n"),
            ("", "Cookie: \r\n"),
        ];
        for (value, expected) in rows {
            assert_eq!(others(value, &hidden), expected, "{value:?}");
        }
    }

    #[test]
    fn an_answer_that_binds_is_for_one_client() {
        let rows = [
            ("public, max-age=60", "Cache-Control: max-age=60\r\n", false),
            ("PUBLIC", "", false),
            (
                "s-maxage=5,max-age=1",
                "Cache-Control: max-age=1\r\n",
                false,
            ),
            ("private", "Cache-Control: private\r\n", true),
            (
                "max-age=1, No-Store",
                "Cache-Control: max-age=1, No-Store\r\n",
                true,
            ),
            (
                "private=\"a, b\", max-age=1",
                "Cache-Control: private=\"a, b\", max-age=1\r\n",
                false,
            ),
        ];
        for (value, expected, forbids) in rows {
            let mut out = Vec::new();
            let said = write_cache_control(&mut out, b"Cache-Control", value.as_bytes());
            assert_eq!(
                (String::from_utf8(out).unwrap().as_str(), said),
                (expected, forbids),
                "{value}"
            );
        }
    }
}
