//! A TCP connection: given to a target, another one if that does not take it, and relayed until both sides are done.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{
    Action, Group, HashKey, Lease, Listener, NoPick, PickKey, RequestView, Route, Rule, TargetId,
};

use crate::access_log::record::Record;
use crate::alarm::Alarm;
use crate::buffers::Buffer;
use crate::cause::Cause;
use crate::idlers::IdleSlot;
use crate::leaving::unless_left;
use crate::listener::Admission;
use crate::relay::{self, Moved, RelayEnd, RelayTimeouts};
use crate::sessions::Subject;
use crate::sockets::First;
use crate::stream::Stream;
use crate::upstream::{Announced, Upstream};
use crate::waiting;
use crate::worker::Worker;

/// How long a connection that tries a target has to last if nothing comes back on it: some only listen.
const TRIAL: Duration = Duration::from_secs(1);

/// A connection as it comes in.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The connection.
    pub(crate) stream: Stream,
    /// What was read of it already.
    pub(crate) read: Buffer,
    /// The name the client asks for in TLS.
    pub(crate) sni: Option<String>,
}

impl Opening {
    /// A connection of which nothing is known.
    pub(crate) fn plain(stream: Stream) -> Self {
        Self {
            stream,
            read: Buffer::default(),
            sni: None,
        }
    }

    /// A connection whose TLS ends here.
    pub(crate) fn decrypted(stream: Stream) -> Self {
        Self {
            sni: stream
                .facts()
                .and_then(|facts| facts.server_name.as_deref())
                .map(str::to_owned),
            stream,
            read: Buffer::default(),
        }
    }
}

/// Serves one connection.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    opening: Opening,
    (peer, local): (SocketAddr, SocketAddr),
    admission: Admission,
) {
    let listener = admission.listener().current.load_full();
    let mut record = Record::new(Instant::now());
    record.tell_connection(&worker.pen, peer.ip(), "tcp");
    record.tell_encryption(&worker.pen, opening.stream.facts(), opening.sni.as_deref());
    let met = |rule: &Arc<Rule>| record.tell_rule(&worker.pen, Some(rule));
    let asked = (peer, opening.sni.as_deref());
    let Some(group) = route(&worker, &listener, asked, met) else {
        record.close_by_rule();
        record.write(&worker.pen, &listener, peer);
        return;
    };
    admission.listener().count_request(worker.index, false);
    let causes = &admission.listener().causes;
    let end = forward(
        &worker,
        &listener,
        &group,
        (opening, (peer, local)),
        &mut record,
    )
    .await;
    if let Err(cause) = end {
        causes.count(cause);
        record.fault = Some((cause, ""));
        tracing::debug!(listener = listener.settings().name, client = %peer, reason = cause.as_str(), "connection cut");
    }
    record.group = Some(group);
    record.account_bytes(admission.listener(), worker.index);
    record.write(&worker.pen, &listener, peer);
}

/// Has a connection relayed to its end; what did not go well.
async fn forward(
    worker: &Worker,
    listener: &Listener,
    group: &Group,
    (opening, (peer, local)): (Opening, (SocketAddr, SocketAddr)),
    record: &mut Record,
) -> Result<(), Cause> {
    let settings = listener.settings();
    let Opening {
        stream: mut client,
        mut read,
        ..
    } = opening;
    if client.take_first(&mut read, worker.lookout()).is_err() {
        client.reset_on_close();
        return Err(Cause::TunnelClientReset);
    }
    let announced = Announced::to(group, (peer, local));
    let mut alarm = Alarm::new(settings.timeouts.tunnel);
    let mut slot = IdleSlot::new(&worker.idlers);
    let waiting = read.as_slice().len();
    let waits = (&mut client, &mut read, &mut alarm, &mut slot);
    let (lease, mut target) = match open(worker, group, (peer, announced), waits, record).await {
        Ok(opened) => opened,
        Err(cause) => {
            // A refusal the client can tell from an empty answer.
            client.reset_on_close();
            return Err(cause);
        }
    };
    let timeouts = RelayTimeouts {
        idle: settings.timeouts.tunnel,
        half_closed: settings.timeouts.half_closed,
    };
    let moved = Moved::default();
    moved.up.sent_before(waiting - read.as_slice().len());
    let end = {
        let streams = (&mut client, &mut target.stream);
        let mut relaying = pin!(relay::run(
            streams,
            read,
            Buffer::default(),
            (timeouts, &moved),
            &mut alarm
        ));
        let on_down = group.settings().on_down;
        let subject = Subject {
            listener: &settings.name,
            group,
            target: lease.target(),
            client: peer,
            begun_at: record.begun_at(),
            moved: &moved,
            tunnel: false,
        };
        let tried_at = lease.is_trial().then(Instant::now);
        let subject = (&subject, worker.index);
        unless_left(subject, on_down, (&mut slot, local.ip()), |cx| {
            let moving = relaying.as_mut().poll(cx);
            if let Some(tried_at) = tried_at.filter(|_| lease.is_trial() && moving.is_pending()) {
                let now = Instant::now();
                if moved.down.count() > 0 || now - tried_at >= TRIAL {
                    lease.serves(now);
                }
            }
            moving
        })
        .await
    };
    if matches!(
        end,
        RelayEnd::Left | RelayEnd::Died | RelayEnd::Stopped | RelayEnd::Moved | RelayEnd::Ordered
    ) {
        client.reset_on_close();
        target.stream.reset_on_close();
    }
    record.bytes_in = moved.up.count();
    record.bytes_out = moved.down.count();
    let now = record.ended(Instant::now());
    lease.finish(now, end.outcome());
    end.cause().map_or(Ok(()), Err)
}

/// The group a connection or flow goes to, `met` told the rule that says so; `None` if it is to be closed.
pub(crate) fn route(
    worker: &Worker,
    listener: &Listener,
    (peer, sni): (SocketAddr, Option<&str>),
    met: impl FnOnce(&Arc<Rule>),
) -> Option<Arc<Group>> {
    let view = RequestView {
        sni,
        ..RequestView::of_connection(peer.ip().to_canonical())
    };
    // Without a path nothing can be understood in two ways.
    let Route { rule, action } = listener.route(&view, &mut String::new()).ok()?;
    if let Some(rule) = rule {
        rule.count();
        met(rule);
    }
    match action {
        Action::Forward(group) => Some(Arc::clone(group)),
        Action::Split(split) => split.draw(Instant::now(), worker.random()).map(Arc::clone),
        Action::Close | Action::Redirect(_) | Action::Respond(_) => None,
    }
}

/// A target that takes the connection, and perhaps some of what was read from the client.
async fn open(
    worker: &Worker,
    group: &Group,
    (peer, announced): (SocketAddr, Option<Announced>),
    (client, read, alarm, slot): (&mut Stream, &mut Buffer, &mut Alarm, &mut IdleSlot),
    record: &mut Record,
) -> Result<(Lease, Upstream), Cause> {
    // The address is all a connection shows.
    let by_source = group.hash_key() == Some(&HashKey::Source);
    let key = by_source.then(|| PickKey::of_address(peer.ip()));
    let settings = group.settings();
    let way = worker.targets.way(settings);
    let mut tried: Vec<TargetId> = Vec::new();
    let mut failed = None;
    loop {
        let leased = match group.try_pick(Instant::now(), worker.random(), key, &tried) {
            Ok(lease) => Ok(lease),
            Err(NoPick::Nobody) => Err(Cause::NoTarget),
            Err(NoPick::Full) => {
                let begun_at = Instant::now();
                let waiting = waiting::wait(worker, group, (key, &tried), client, alarm);
                // Few have to wait: the others need no room for it.
                let waited = Box::pin(waiting).await;
                record.queued(begun_at);
                waited
            }
        };
        let lease = leased.map_err(|cause| failed.unwrap_or(cause))?;
        let target = Arc::clone(lease.target());
        record.attempt(Arc::clone(&target));
        let begun_at = Instant::now();
        let way = (&way, announced);
        let limit = settings.timeouts.connect;
        let first = match read.is_empty() {
            true => First::Target,
            false => First::With(read),
        };
        let opened =
            Upstream::connect(&target, way, (limit, first), worker.lookout(), alarm, slot).await;
        record.connected(begun_at);
        match opened {
            Ok(upstream) => return Ok((lease, upstream)),
            Err(error) => {
                tracing::debug!(group = settings.name, target = target.settings().name, %error, "not taken");
                lease.finish(Instant::now(), error.outcome());
                if tried.len() >= settings.retry.tries as usize {
                    return Err(error.cause());
                }
                failed = Some(error.cause());
                tried.push(target.id());
                group.budget().count_retry();
            }
        }
    }
}
