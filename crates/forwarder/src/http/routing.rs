//! Where a request goes: asks the listener's rules, and makes of their action what the connection has to do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{Action, Group, Listener, PickKey, RequestView, Route, Rule, Split, Url};

use crate::buffers::Buffer;
use crate::cause::Cause;
use crate::http::answer::{self, OwnAnswer, Refusal};
use crate::http::request::{Rejection, RequestHead};
use crate::http::sticky::{self, Sticking};
use crate::worker::Worker;

/// What a request is asked about besides its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) listener: &'a Listener,
    /// Address the connection comes from.
    pub(super) peer: IpAddr,
    /// Address of the client.
    pub(super) source: IpAddr,
    /// The peer's `X-Forwarded-Proto` is believed.
    pub(super) trusted: bool,
    /// Address and port the client connected to, in text, for a client that names no host.
    pub(super) local: std::net::SocketAddr,
    /// The connection is encrypted.
    pub(super) https: bool,
    /// The connection ends with the answer, whatever the client wants.
    pub(super) closing: bool,
    /// For drawing by weight, and for what binds clients.
    pub(super) worker: &'a Worker,
}

impl Asking<'_> {
    /// True if the client speaks https, with us or with a trusted proxy.
    pub(super) fn is_https(&self, head: &RequestHead<'_, '_>) -> bool {
        let said = head.values("x-forwarded-proto").next();
        match said.filter(|_| self.trusted) {
            Some(said) => said.eq_ignore_ascii_case(b"https"),
            None => self.https,
        }
    }

    /// For how long the client is to come by https only.
    pub(super) fn hsts(&self) -> Option<Duration> {
        let tls = self.listener.settings().tls.as_ref();
        tls.filter(|_| self.https).and_then(|tls| tls.hsts)
    }
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// To a target of this group.
    Group {
        group: Arc<Group>,
        /// What the group picks by, if it hashes and the request has it.
        key: Option<PickKey>,
        /// What the client is bound to.
        sticking: Sticking,
    },
    /// To nobody: this is the whole answer, with its status.
    Answer(u16, Buffer),
    /// To nobody, without an answer.
    Nowhere,
}

/// A destination, and the rule that led there.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) rule: Option<Arc<Rule>>,
    pub(super) destination: Destination,
    /// Whole Set-Cookie fields for the answer.
    pub(super) cookies: Buffer,
}

/// Decides about one request. `room` is for the normal form of its path.
pub(super) fn route(
    head: &RequestHead<'_, '_>,
    asking: &Asking<'_>,
    room: &mut String,
) -> Result<Routed, Refusal> {
    let (path, query) = head.path_and_query();
    let view = RequestView {
        source: asking.source,
        peer: asking.peer,
        method: Some(&head.method),
        host: head.host,
        path,
        query,
        sni: None,
        fields: head,
    };
    let Route { rule, action } = asking
        .listener
        .route(&view, room)
        .map_err(|_| ambiguous())?;
    if let Some(rule) = rule {
        rule.count();
    }
    let own = |answer: OwnAnswer<'_>| {
        let mut out = Buffer::default();
        let edits = rule.map(|rule| &rule.settings().answer_headers);
        let close = asking.closing || !answer::may_go_on(&head.facts);
        answer.write(out.vec(), edits, &head.facts, close);
        Destination::Answer(answer.status, out)
    };
    let mut cookies = Buffer::default();
    let to_group = |group: &Arc<Group>, cookies: &Buffer| Destination::Group {
        group: Arc::clone(group),
        key: group.hash_key().and_then(|wanted| wanted.of_request(&view)),
        sticking: Sticking::of_request(group, head, asking, cookies),
    };
    let destination = match action {
        Action::Forward(group) => to_group(group, &cookies),
        Action::Split(split) => match one_of(split, rule, head, asking, &mut cookies) {
            Some(group) => to_group(group, &cookies),
            None => Destination::Nowhere,
        },
        Action::Redirect(redirect) => {
            let mut location = Buffer::default();
            let named = located(head, asking, &view);
            redirect
                .write_location(location.vec(), &named.url(path, query))
                .map_err(|_| odd_host())?;
            own(OwnAnswer {
                status: redirect.status,
                content_type: None,
                location: location.as_slice(),
                body: b"",
                hsts: asking.hsts(),
            })
        }
        Action::Respond(fixed) => own(OwnAnswer {
            status: fixed.status,
            content_type: fixed.content_type.as_deref(),
            location: b"",
            body: fixed.body.as_bytes(),
            hsts: asking.hsts(),
        }),
        Action::Close => Destination::Nowhere,
    };
    Ok(Routed {
        rule: rule.map(Arc::clone),
        destination,
        cookies,
    })
}

/// One group of several: by weight, or the one the client is bound to where the rule says so.
fn one_of<'p>(
    split: &'p Split,
    rule: Option<&Arc<Rule>>,
    head: &RequestHead<'_, '_>,
    asking: &Asking<'_>,
    cookies: &mut Buffer,
) -> Option<&'p Arc<Group>> {
    let sticky = rule.and_then(|rule| Some((rule, rule.settings().sticky.as_ref()?)));
    match sticky {
        Some((rule, settings)) => sticky::choose(split, rule, settings, head, asking, cookies),
        None => split.draw(Instant::now(), asking.worker.random()),
    }
}

fn ambiguous() -> Refusal {
    Rejection {
        status: 400,
        detail: "ambiguous path",
    }
    .into()
}

fn odd_host() -> Refusal {
    Refusal {
        detail: "malformed host",
        ..Cause::Malformed.into()
    }
}

/// The place the client thinks it has come to.
struct Located<'a> {
    https: bool,
    host: std::borrow::Cow<'a, str>,
    port: Option<u16>,
}

impl Located<'_> {
    fn url<'u>(&'u self, path: &'u str, query: &'u str) -> Url<'u> {
        Url {
            https: self.https,
            host: &self.host,
            port: self.port,
            path,
            query,
        }
    }
}

fn located<'a>(
    head: &RequestHead<'_, 'a>,
    asking: &Asking<'_>,
    view: &RequestView<'a>,
) -> Located<'a> {
    let https = asking.is_https(head);
    if !head.host.is_empty() {
        return Located {
            https,
            host: view.host_name().into(),
            port: view.host_port(),
        };
    }
    let host = match asking.local.ip().to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    Located {
        https,
        host: host.into(),
        port: Some(asking.local.port()),
    }
}
