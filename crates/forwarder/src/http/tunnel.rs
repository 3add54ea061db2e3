//! Both sides have left HTTP: what they say is relayed, and counted as a tunnel. A WebSocket that is ended by us is ended in its own words.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use balancer::{Group, Outcome, Target};
use tokio::io::AsyncWrite as _;

use crate::http::connection::{After, Connection};
use crate::http::exchange::ClientSide;
use crate::leaving::unless_left;
use crate::relay::{self, Moved, RelayEnd, RelayTimeouts};
use crate::sessions::Subject;
use crate::stream::Stream;
use crate::upstream::Upstream;
use crate::websocket;

/// A connection to a target that has left HTTP.
pub(crate) struct Switched {
    /// The connection.
    pub(crate) upstream: Box<Upstream>,
    /// For WebSocket.
    pub(crate) websocket: bool,
}

/// Relays bytes until both sides are done, or have to be. What that says about the target, and what becomes of the client.
pub(crate) async fn serve(
    connection: &mut Connection,
    (group, target): (&Group, &Target),
    Switched {
        mut upstream,
        websocket,
    }: Switched,
) -> (Outcome, After) {
    let _open = connection.tunnel();
    let _ = connection.client.stream.settle();
    let settings = &connection.listener.settings().timeouts;
    let timeouts = RelayTimeouts {
        idle: settings.tunnel,
        half_closed: settings.half_closed,
    };
    let client = connection.ends().0;
    let begun_at = connection.client.record.begun_at();
    let Connection {
        client:
            ClientSide {
                stream,
                input,
                alarm,
                record,
            },
        worker,
        listener,
        slot,
        local,
        ..
    } = &mut *connection;
    let from_client = std::mem::take(input);
    let from_target = std::mem::take(&mut upstream.input);
    let moved = match websocket {
        true => Moved::by_frames(),
        false => Moved::default(),
    };
    let end = {
        let streams = (stream, &mut upstream.stream);
        let mut relaying = pin!(relay::run(
            streams,
            from_client,
            from_target,
            (timeouts, &moved),
            alarm
        ));
        let subject = Subject {
            listener: &listener.settings().name,
            group,
            target,
            client,
            begun_at,
            moved: &moved,
            tunnel: true,
        };
        let on_down = group.settings().on_down;
        unless_left(
            (&subject, worker.index),
            on_down,
            (slot, local.ip()),
            |cx| relaying.as_mut().poll(cx),
        )
        .await
    };
    record.bytes_in += moved.up.count();
    record.bytes_out += moved.down.count();
    if let Some(cause) = end.cause() {
        connection.note(cause, "");
    }
    let told = say_goodbye(connection, &mut upstream, &moved, end).await;
    let after = match end {
        // It may be sending still, or say goodbye as well.
        _ if told => After::Linger,
        RelayEnd::TargetGone
        | RelayEnd::Left
        | RelayEnd::Died
        | RelayEnd::Stopped
        | RelayEnd::Moved
        | RelayEnd::Ordered => After::Reset,
        RelayEnd::Done | RelayEnd::ClientGone | RelayEnd::TimedOut => After::Close,
    };
    (end.outcome(), after)
}

/// A WebSocket that we end is ended in its own words, where it is known that they stand between two frames and are taken at once. True if
/// the client was told.
async fn say_goodbye(
    connection: &mut Connection,
    upstream: &mut Upstream,
    moved: &Moved,
    end: RelayEnd,
) -> bool {
    let target = match end {
        RelayEnd::Left
        | RelayEnd::TimedOut
        | RelayEnd::Stopped
        | RelayEnd::Moved
        | RelayEnd::Ordered => Some(&mut upstream.stream),
        RelayEnd::Died => None,
        RelayEnd::Done | RelayEnd::ClientGone | RelayEnd::TargetGone => return false,
    };
    if let Some(target) = target.filter(|_| moved.up.is_between_frames()) {
        let [a, b, c, d, ..] = connection.worker.random().to_le_bytes();
        let words = websocket::farewell_to_target([a, b, c, d]);
        // A target that does not take them sees an end without words.
        let _ = say_at_once(target, &words).await;
    }
    let client = &mut connection.client.stream;
    moved.down.is_between_frames() && say_at_once(client, &websocket::farewell_to_client()).await
}

/// Sends a few bytes; false if they are not taken at once.
async fn say_at_once(stream: &mut Stream, words: &[u8]) -> bool {
    poll_fn(|cx| {
        let written = Pin::new(&mut *stream).poll_write(cx, words);
        let whole = matches!(written, Poll::Ready(Ok(count)) if count == words.len());
        let said = whole && matches!(Pin::new(&mut *stream).poll_flush(cx), Poll::Ready(Ok(())));
        Poll::Ready(said)
    })
    .await
}
