//! The control socket: HTTP/1.1 with JSON on a unix socket.
//!
//! It parses and writes; every answer comes from the director's loop by way of a bounded queue. Connections and their time are limited,
//! so that a client that says nothing costs nothing.

mod ordering;
mod sessions;

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control::{
    ConfigText, ErrorAnswer, Event, HandoverRequest, HandoverResult, KillRequest, OrderRequest,
    OverrideStatus, PairReport, Recording, RecordingSummary, ReloadResult, RestartResult,
    SessionsRequest, SimulateRequest, SimulateResult, Status, VrrpDetail, path,
};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use super::questions::NoAnswer;
use super::stories::Wanted;

/// Connections served at once; further ones wait in the kernel.
const CONNECTIONS: usize = 32;
/// Requests that may wait for the director.
const QUEUED_REQUESTS: usize = 32;
/// How long a client may take to say what it wants.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin: longer than a reload that waits for another one.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// How long the forwarder may take to say what would become of a request.
const EXPLAIN_LIMIT: Duration = Duration::from_secs(3);
/// How long an answer waits for fresh figures of the forwarder before it takes the last known.
const SNAPSHOT_LIMIT: Duration = Duration::from_millis(300);
/// Largest body of a request, in octets.
const BODY_LIMIT: usize = 64 * 1024;
/// Between two signs of life to a follower of events.
const FOLLOW_HEARTBEAT: Duration = Duration::from_secs(5);

/// The content type of metrics.
pub(super) const METRICS_KIND: &str = "text/plain; version=0.0.4";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Events so far and each one after them.
pub(super) type Following = (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>);

/// What the socket asks of the director.
pub(super) enum Request {
    /// Ask the forwarder for fresh figures; answered when they are there.
    Refresh(oneshot::Sender<()>),
    Status(oneshot::Sender<Status>),
    Pair(oneshot::Sender<Result<PairReport, ErrorAnswer>>),
    Vrrp(oneshot::Sender<Vec<VrrpDetail>>),
    Config(oneshot::Sender<ConfigText>),
    Events {
        since: u64,
        answer: oneshot::Sender<Following>,
    },
    Recordings(oneshot::Sender<Vec<RecordingSummary>>),
    Why {
        wanted: Wanted,
        answer: oneshot::Sender<Result<Arc<Recording>, ErrorAnswer>>,
    },
    Metrics(oneshot::Sender<String>),
    Reload(oneshot::Sender<ReloadResult>),
    Explain {
        question: serde_json::Value,
        answer: super::questions::Answer,
    },
    Sessions {
        request: SessionsRequest,
        answer: super::questions::Answer,
    },
    Kill {
        request: KillRequest,
        /// The user who orders.
        by: String,
        answer: super::questions::Answer,
    },
    Overrides(oneshot::Sender<Vec<OverrideStatus>>),
    Order {
        order: OrderRequest,
        /// The user who orders.
        by: String,
        answer: super::overrides::Answer,
    },
    Simulate {
        what: String,
        answer: oneshot::Sender<Result<SimulateResult, ErrorAnswer>>,
    },
    Restart(oneshot::Sender<Result<RestartResult, ErrorAnswer>>),
    Handover {
        order: HandoverRequest,
        answer: oneshot::Sender<Result<HandoverResult, ErrorAnswer>>,
    },
}

/// Binds the socket, readable and writable for its owner and, where named, a group; a left-over of an earlier director is replaced.
pub(super) fn bind(
    socket: &Path,
    group: Option<u32>,
) -> std::io::Result<std::os::unix::net::UnixListener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    std::os::unix::fs::chown(socket, None, group)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves until the process ends; requests arrive at the receiver, also those of whoever else has the sender.
pub(super) fn start(
    listener: std::os::unix::net::UnixListener,
) -> std::io::Result<(mpsc::Sender<Request>, mpsc::Receiver<Request>)> {
    let listener = UnixListener::from_std(listener)?;
    let (requests, queue) = mpsc::channel(QUEUED_REQUESTS);
    tokio::task::spawn_local(accept(listener, requests.clone()));
    Ok((requests, queue))
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Request>) {
    let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::task::spawn_local(async move {
                    serve(stream, requests).await;
                    drop(place);
                });
            }
            // Out of descriptors: the next attempt may find some.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: UnixStream, requests: mpsc::Sender<Request>) {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let requests = requests.clone();
        async move { Ok::<_, Infallible>(answer(request, uid, &requests).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off has its reasons; there is nobody to tell.
    let _ = connection.await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    uid: Option<u32>,
    requests: &mpsc::Sender<Request>,
) -> Response<Body> {
    tokio::time::timeout(ANSWER_LIMIT, dispatch(request, uid, requests))
        .await
        .unwrap_or_else(|_| {
            refuse(
                StatusCode::GATEWAY_TIMEOUT,
                "the director did not answer in time",
                Some("look at its log"),
            )
        })
}

async fn dispatch(
    request: hyper::Request<Incoming>,
    uid: Option<u32>,
    requests: &mpsc::Sender<Request>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let method = request.method().clone();
    let wanted = request.uri().path().to_owned();
    match (&method, wanted.as_str()) {
        (&Method::GET, path::STATUS) => {
            refresh(requests).await;
            json(ask(requests, Request::Status).await)
        }
        (&Method::GET, path::PAIR) => {
            refresh(requests).await;
            match ask(requests, Request::Pair).await {
                Some(Ok(report)) => json(Some(report)),
                Some(Err(refusal)) => full_json(StatusCode::CONFLICT, &refusal),
                None => gone(),
            }
        }
        (&Method::GET, path::VRRP) => json(ask(requests, Request::Vrrp).await),
        (&Method::GET, path::CONFIG) => json(ask(requests, Request::Config).await),
        (&Method::GET, path::EVENTS) => events(&query, requests).await,
        (&Method::GET, path::RECORDINGS) => json(ask(requests, Request::Recordings).await),
        (&Method::GET, path::WHY) => why(&query, requests).await,
        (&Method::GET, path::METRICS) => metrics(requests).await.map_or_else(gone, |text| {
            full(StatusCode::OK, METRICS_KIND, text.into_bytes())
        }),
        (&Method::GET, path::OVERRIDES) => json(ask(requests, Request::Overrides).await),
        (&Method::GET, path::SESSIONS) => sessions::list(&query, requests).await,
        (&Method::POST, path::KILL) => sessions::kill(request, uid, requests).await,
        (&Method::POST, path::ORDERS) => ordering::order(request, uid, requests).await,
        (&Method::POST, path::EXPLAIN) => explain(request, requests).await,
        (&Method::POST, path::RELOAD) => json(ask(requests, Request::Reload).await),
        (&Method::POST, path::HANDOVER) => handover(request, requests).await,
        (&Method::POST, path::SIMULATE) => simulate(request, requests).await,
        (&Method::POST, path::RESTART) => match ask(requests, Request::Restart).await {
            Some(Ok(result)) => json(Some(result)),
            Some(Err(refusal)) => full_json(StatusCode::CONFLICT, &refusal),
            None => gone(),
        },
        (
            _,
            path::STATUS
            | path::PAIR
            | path::VRRP
            | path::CONFIG
            | path::EVENTS
            | path::WHY
            | path::RECORDINGS
            | path::METRICS
            | path::OVERRIDES
            | path::SESSIONS
            | path::KILL
            | path::ORDERS
            | path::EXPLAIN
            | path::RELOAD
            | path::HANDOVER
            | path::RESTART
            | path::SIMULATE,
        ) => refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            &format!("{wanted} does not take {method}"),
            Some("GET shows, POST orders"),
        ),
        _ => refuse(
            StatusCode::NOT_FOUND,
            &format!("there is no {wanted}"),
            Some("try /status, /vrrp, /config, /events, /why, /overrides or /metrics"),
        ),
    }
}

/// Sends a request to the director's loop and waits for its answer; none when the director ends.
async fn ask<T>(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Option<T> {
    let (answer, wait) = oneshot::channel();
    requests.send(request(answer)).await.ok()?;
    wait.await.ok()
}

/// Metrics as text; none when the director ends.
pub(super) async fn metrics(requests: &mpsc::Sender<Request>) -> Option<String> {
    refresh(requests).await;
    ask(requests, Request::Metrics).await
}

/// What would become of a request.
async fn explain(
    request: hyper::Request<Incoming>,
    requests: &mpsc::Sender<Request>,
) -> Response<Body> {
    let body = match read_body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let Ok(question) = serde_json::from_slice(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "the body is no JSON", None);
    };
    let asked = ask(requests, |answer| Request::Explain { question, answer });
    answered(asked, "ask a file: --config FILE").await
}

/// What the forwarder answers to a question.
async fn answered(
    asked: impl Future<Output = Option<Result<serde_json::Value, NoAnswer>>>,
    remedy: &str,
) -> Response<Body> {
    match tokio::time::timeout(EXPLAIN_LIMIT, asked).await {
        Ok(Some(Ok(answer))) => json(Some(answer)),
        Ok(Some(Err(NoAnswer::Nobody(refusal)))) => full_json(StatusCode::CONFLICT, &refusal),
        Ok(Some(Err(NoAnswer::Senseless(refusal)))) => full_json(StatusCode::BAD_REQUEST, &refusal),
        Ok(None) => gone(),
        Err(_) => refuse(
            StatusCode::GATEWAY_TIMEOUT,
            "the forwarder did not answer in time",
            Some(remedy),
        ),
    }
}

async fn refresh(requests: &mpsc::Sender<Request>) {
    // Without an answer in time the last known figures are shown, with their age.
    let _ = tokio::time::timeout(SNAPSHOT_LIMIT, ask(requests, Request::Refresh)).await;
}

async fn handover(
    request: hyper::Request<Incoming>,
    requests: &mpsc::Sender<Request>,
) -> Response<Body> {
    let body = match read_body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let order = if body.is_empty() {
        Ok(HandoverRequest::default())
    } else {
        serde_json::from_slice(&body)
    };
    match order {
        Ok(order) => match ask(requests, |answer| Request::Handover { order, answer }).await {
            Some(Ok(result)) => json(Some(result)),
            Some(Err(refusal)) => full_json(StatusCode::CONFLICT, &refusal),
            None => gone(),
        },
        Err(error) => refuse(
            StatusCode::BAD_REQUEST,
            &format!("the body is no handover order: {error}"),
            Some("send {} or {\"name\": \"main\"}"),
        ),
    }
}

/// The body of a request, or the answer to one that has none that can be read.
async fn read_body(request: hyper::Request<Incoming>) -> Result<Bytes, Response<Body>> {
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect();
    let whole = body.await.map(http_body_util::Collected::to_bytes);
    whole.map_err(|_| {
        refuse(
            StatusCode::BAD_REQUEST,
            "the body did not arrive whole",
            None,
        )
    })
}

async fn simulate(
    request: hyper::Request<Incoming>,
    requests: &mpsc::Sender<Request>,
) -> Response<Body> {
    let body = Limited::new(request.into_body(), BODY_LIMIT)
        .collect()
        .await;
    let order = body
        .ok()
        .and_then(|body| serde_json::from_slice::<SimulateRequest>(&body.to_bytes()).ok());
    let Some(SimulateRequest { what }) = order else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "the body is no assumption",
            Some("send {\"what\": \"eth0 down\"}"),
        );
    };
    match ask(requests, |answer| Request::Simulate { what, answer }).await {
        Some(Ok(result)) => json(Some(result)),
        Some(Err(refusal)) => full_json(StatusCode::CONFLICT, &refusal),
        None => gone(),
    }
}

async fn why(query: &str, requests: &mpsc::Sender<Request>) -> Response<Body> {
    let wanted = match (query_value(query, "seq"), query_value(query, "name")) {
        (Some(seq), _) => match seq.parse() {
            Ok(seq) => Wanted::Event(seq),
            Err(_) => {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    "seq is no event number",
                    Some("GET /recordings lists them"),
                );
            }
        },
        (None, Some(name)) => Wanted::Router(name.to_owned()),
        (None, None) => Wanted::Latest,
    };
    match ask(requests, |answer| Request::Why { wanted, answer }).await {
        Some(Ok(recording)) => json(Some(&*recording)),
        Some(Err(refusal)) => full_json(StatusCode::NOT_FOUND, &refusal),
        None => gone(),
    }
}

async fn events(query: &str, requests: &mpsc::Sender<Request>) -> Response<Body> {
    let since = match query_value(query, "since").map_or(Ok(0), str::parse) {
        Ok(since) => since,
        Err(_) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                "since is no event number",
                Some("use the seq of an event"),
            );
        }
    };
    let Some((past, future)) = ask(requests, |answer| Request::Events { since, answer }).await
    else {
        return gone();
    };
    if query_value(query, "follow") != Some("1") {
        let past: Vec<&Event> = past.iter().map(|event| &**event).collect();
        return json(Some(past));
    }
    let mut first = Vec::new();
    past.iter().for_each(|event| push_line(&mut first, event));
    let stream =
        futures_util::stream::unfold((Some(first), future), |(first, mut future)| async move {
            let bytes = match first {
                Some(first) => first,
                None => next_line(&mut future).await?,
            };
            Some((
                Ok::<_, Infallible>(Frame::data(Bytes::from(bytes))),
                (None, future),
            ))
        });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/x-ndjson"),
    );
    response
}

/// The next event as a line, or an empty line as a sign of life; none when the director ends.
async fn next_line(future: &mut broadcast::Receiver<Arc<Event>>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    match tokio::time::timeout(FOLLOW_HEARTBEAT, future.recv()).await {
        Ok(Ok(event)) => push_line(&mut line, &event),
        Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => line.push(b'\n'),
        Ok(Err(broadcast::error::RecvError::Closed)) => return None,
    }
    Some(line)
}

fn push_line(line: &mut Vec<u8>, event: &Event) {
    line.extend(serde_json::to_vec(event).unwrap_or_default());
    line.push(b'\n');
}

fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn json<T: Serialize>(value: Option<T>) -> Response<Body> {
    value.map_or_else(gone, |value| full_json(StatusCode::OK, &value))
}

fn full_json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    full(
        status,
        "application/json",
        serde_json::to_vec(value).unwrap_or_default(),
    )
}

fn full(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(kind),
    );
    response
}

fn refuse(status: StatusCode, error: &str, remedy: Option<&str>) -> Response<Body> {
    full_json(
        status,
        &ErrorAnswer {
            error: error.to_owned(),
            remedy: remedy.map(str::to_owned),
        },
    )
}

fn gone() -> Response<Body> {
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        "the director is ending",
        None,
    )
}
