//! One stream: its request goes through a conduit to be served, the answer comes back the same way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};

use crate::alarm::Alarm;
use crate::buffers::Buffer;
use crate::http::body::Body;
use crate::http::request::RequestFacts;
use crate::http2::conduit::{Ended, Outlet};
use crate::http2::connection::Client;
use crate::http2::lane::Begun;
use crate::http2::request::{self, Upload};
use crate::http2::response::{self, Head, Unfit};

/// A piece of a body of up to this size is copied.
const COPIED_BYTES: usize = 4 * 1024;

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The answer was sent whole.
    Served,
    /// The client reset it, or its request broke off.
    Reset,
    /// We reset it: the answer broke off, or the client did not take it.
    Cut,
    /// The same, the client having left what was whole.
    Left,
}

/// Serves one stream to its end. True if the served end of its conduit is where it began, and can serve another.
pub(crate) async fn serve(
    client: &Client,
    outlet: &Outlet,
    serving: Pin<&mut impl Future<Output = ()>>,
    (request, mut respond): Begun,
) -> bool {
    let (parts, body) = request.into_parts();
    let mut head = Ok(Upload::None);
    let nonce = client.nonce();
    outlet.push(|out| head = request::write(out, &parts, !body.is_end_stream(), nonce));
    let upload = match head {
        Ok(upload) => upload,
        Err(malformed) => {
            client.note_malformed(malformed);
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            // A client that is gone need not be told.
            let _ = respond.send_response(answer, true);
            client.ended(End::Reset);
            return false;
        }
    };
    // A length without a body would have the served end wait for one.
    let ends_itself = upload == Upload::None && !parts.headers.contains_key(CONTENT_LENGTH);
    if upload == Upload::None && !ends_itself {
        outlet.end();
    }
    let bridge = Bridge {
        outlet,
        body,
        upload,
        uploaded: upload == Upload::None,
        unreleased: 0,
        answer: Answer::Head(respond),
        facts: response::facts(parts.method == Method::HEAD, upload == Upload::Tunnel),
        held: Buffer::default(),
        idle: client.body_idle(),
        stalled: None,
    };
    drop(parts);
    let (end, served) = carry(serving, bridge).await;
    client.ended(end);
    end == End::Served && ends_itself && !served && outlet.is_at_rest()
}

/// Polls both ends of the conduit until the stream has ended; with it, whether the served end has, too.
async fn carry(
    mut serving: Pin<&mut impl Future<Output = ()>>,
    mut bridge: Bridge<'_>,
) -> (End, bool) {
    let mut served = false;
    poll_fn(|cx| {
        loop {
            served = served || serving.as_mut().poll(cx).is_ready();
            if let Poll::Ready(end) = bridge.poll(cx) {
                let end = match end {
                    End::Cut if (served || bridge.has_all()) && bridge.stalled.is_some() => {
                        End::Left
                    }
                    end => end,
                };
                return Poll::Ready((end, served));
            }
            if !bridge.outlet.take_moved() {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Between the stream and the conduit.
struct Bridge<'o> {
    outlet: &'o Outlet,
    body: RecvStream,
    upload: Upload,
    uploaded: bool,
    /// What the client is not told yet that it may send again.
    unreleased: usize,
    answer: Answer,
    facts: RequestFacts,
    /// Bytes of the answer that are not a whole head yet.
    held: Buffer,
    /// How long a client may take nothing of an answer.
    idle: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Alarm>,
}

enum Answer {
    /// Its head has yet to come.
    Head(SendResponse<Bytes>),
    /// Its body is on the way.
    Body {
        send: SendStream<Bytes>,
        body: Body,
        /// What the client has not taken.
        pending: Bytes,
    },
}

/// The stream cannot go on.
struct Broken;

impl From<h2::Error> for Broken {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

impl From<Unfit> for Broken {
    fn from(_: Unfit) -> Self {
        Self
    }
}

impl Bridge<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let reset = match &mut self.answer {
            Answer::Head(respond) => respond.poll_reset(cx),
            Answer::Body { send, .. } => send.poll_reset(cx),
        };
        if reset.is_ready() || self.poll_upload(cx).is_err() {
            return Poll::Ready(End::Reset);
        }
        match ready!(self.poll_answer(cx)) {
            Ok(()) => Poll::Ready(End::Served),
            Err(Broken) => {
                match &mut self.answer {
                    Answer::Head(respond) => respond.send_reset(Reason::INTERNAL_ERROR),
                    Answer::Body { send, .. } => send.send_reset(Reason::INTERNAL_ERROR),
                }
                Poll::Ready(End::Cut)
            }
        }
    }

    /// True if the served end has said all of its answer.
    fn has_all(&self) -> bool {
        match &self.answer {
            Answer::Head(_) => false,
            Answer::Body { body, .. } => body.is_done(),
        }
    }

    /// Moves the body of the request as far as there is room for it.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        self.release();
        while !self.uploaded && self.outlet.has_room() {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(data)) => {
                    let data = data?;
                    self.push(&data);
                    self.unreleased += data.len();
                }
                Poll::Ready(None) => match self.body.poll_trailers(cx) {
                    Poll::Ready(trailers) => {
                        let trailers = trailers?;
                        if self.upload == Upload::Chunked {
                            self.outlet
                                .push(|out| request::write_end(out, trailers.as_ref()));
                        }
                        self.outlet.end();
                        self.uploaded = true;
                    }
                    Poll::Pending => return Ok(()),
                },
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Lets the client send as much again as the served end has taken: all that waits is within the windows.
    fn release(&mut self) {
        let taken = self.unreleased.saturating_sub(self.outlet.waiting());
        if taken > 0 {
            self.unreleased -= taken;
            // A stream that is over has given all of it back.
            let _ = self.body.flow_control().release_capacity(taken);
        }
    }

    fn push(&self, data: &[u8]) {
        match self.upload {
            // An empty chunk would be the end.
            Upload::Chunked if data.is_empty() => {}
            Upload::Chunked => self.outlet.push(|out| request::write_chunk(out, data)),
            Upload::Plain | Upload::Tunnel | Upload::None => {
                self.outlet.push(|out| out.extend_from_slice(data));
            }
        }
    }

    /// Moves the answer; ready once all of it is with the client's connection.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            match &mut self.answer {
                Answer::Head(_) => {
                    if ready!(self.poll_head())? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Answer::Body { pending, .. } if pending.is_empty() => {
                    if ready!(self.poll_body())? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Answer::Body { .. } => {
                    if ready!(self.poll_send(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// Sends what the client's window takes; true if that was the last of it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        let Answer::Body {
            send,
            body,
            pending,
        } = &mut self.answer
        else {
            return Poll::Ready(Ok(false));
        };
        send.reserve_capacity(pending.len());
        let room = match send.poll_capacity(cx) {
            Poll::Ready(Some(room)) => room?.min(pending.len()),
            Poll::Ready(None) => return Poll::Ready(Err(Broken)),
            Poll::Pending => {
                let idle = self.idle;
                let alarm = self.stalled.get_or_insert_with(|| Alarm::new(idle));
                return alarm.poll(cx).map(|()| Err(Broken));
            }
        };
        self.stalled = None;
        let piece = pending.split_to(room);
        if !pending.is_empty() || !body.is_done() {
            send.send_data(piece, false)?;
            return Poll::Ready(Ok(false));
        }
        finish(send, body, piece)?;
        Poll::Ready(Ok(true))
    }

    /// Passes on the heads that have come; true if the answer is whole with its head.
    fn poll_head(&mut self) -> Poll<Result<bool, Broken>> {
        let Answer::Head(respond) = &mut self.answer else {
            return Poll::Ready(Ok(false));
        };
        let (came, ended) = self.outlet.take();
        if self.held.is_empty() {
            self.held = came;
        } else {
            self.held.extend(came.as_slice());
        }
        match response::head(self.held.as_slice(), &self.facts)? {
            Head::Incomplete if ended == Ended::No => Poll::Pending,
            Head::Incomplete => Poll::Ready(Err(Broken)),
            Head::Interim(head, length) => {
                self.held.consume(length);
                respond.send_informational(head)?;
                Poll::Ready(Ok(false))
            }
            Head::Final(head, length, body) => {
                self.held.consume(length);
                let whole = body.is_done();
                let send = respond.send_response(head, whole)?;
                self.answer = Answer::Body {
                    send,
                    body,
                    pending: Bytes::new(),
                };
                Poll::Ready(Ok(whole))
            }
        }
    }

    /// Takes what has come of the body; true if that was all of it.
    fn poll_body(&mut self) -> Poll<Result<bool, Broken>> {
        let Answer::Body {
            send,
            body,
            pending,
        } = &mut self.answer
        else {
            return Poll::Ready(Ok(false));
        };
        let (came, ended) = match std::mem::take(&mut self.held) {
            held if held.is_empty() => self.outlet.take(),
            held => (held, Ended::No),
        };
        if came.is_empty() {
            return match ended {
                Ended::No => Poll::Pending,
                Ended::Whole if body.may_end() => {
                    send.send_data(Bytes::new(), true)?;
                    Poll::Ready(Ok(true))
                }
                Ended::Whole | Ended::Broken => Poll::Ready(Err(Broken)),
            };
        }
        let piece = filtered(came, body)?;
        if piece.is_empty() && body.is_done() {
            finish(send, body, piece)?;
            return Poll::Ready(Ok(true));
        }
        *pending = piece;
        Poll::Ready(Ok(false))
    }
}

/// What is in these bytes of a body. Little is copied: what it came in can then be used again.
fn filtered(mut came: Buffer, body: &mut Body) -> Result<Bytes, Broken> {
    let passed = body.filter(came.as_mut_slice()).map_err(|_| Broken)?;
    if passed.kept <= COPIED_BYTES {
        return Ok(Bytes::copy_from_slice(&came.as_slice()[..passed.kept]));
    }
    let mut came = came.into_vec();
    came.truncate(passed.kept);
    Ok(Bytes::from(came))
}

/// Sends the last piece of a body, and what comes after it.
fn finish(send: &mut SendStream<Bytes>, body: &mut Body, piece: Bytes) -> Result<(), Broken> {
    match response::trailers(&body.take_trailers())? {
        None => send.send_data(piece, true)?,
        Some(trailers) => {
            if !piece.is_empty() {
                send.send_data(piece, false)?;
            }
            send.send_trailers(trailers)?;
        }
    }
    Ok(())
}
