//! Metrics on a TCP address, for a Prometheus that is elsewhere.
//!
//! Nothing but `/metrics` is answered there. Whoever can reach the address can ask as often as he likes: a text is written for
//! all who ask within a second, and connections and their time are limited.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_local};

use super::server::{self, Request};

/// Connections served at once; further ones wait in the kernel.
const CONNECTIONS: usize = 8;
/// Connections that wait in the kernel.
const BACKLOG: i32 = 64;
/// How long a connection may take, all of it.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// How long a text is answered with.
const FRESH: Duration = Duration::from_secs(1);

/// The address where metrics are answered, if there is one.
#[derive(Debug)]
pub(super) struct Exposition {
    requests: mpsc::Sender<Request>,
    open: Option<(SocketAddr, JoinHandle<()>)>,
    problem: Option<String>,
}

impl Exposition {
    /// Answers nowhere yet; what is asked goes to `requests`.
    pub(super) fn new(requests: mpsc::Sender<Request>) -> Self {
        Self {
            requests,
            open: None,
            problem: None,
        }
    }

    /// Answers at this address from here on, or nowhere. An address that cannot be bound is a problem, and tried again the
    /// next time.
    pub(super) fn follow(&mut self, address: Option<SocketAddr>) {
        if self.open.as_ref().map(|(open, _)| *open) == address {
            return;
        }
        if let Some((_, task)) = self.open.take() {
            task.abort();
        }
        self.problem = None;
        let Some(address) = address else { return };
        match bind(address) {
            Ok(listener) => {
                let task = spawn_local(accept(listener, self.requests.clone()));
                self.open = Some((address, task));
            }
            Err(error) => {
                self.problem = Some(format!("metrics are not answered at {address}: {error}"));
            }
        }
    }

    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }
}

/// The address need not be on this machine yet.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The text written last, and when that was.
type Written = Rc<RefCell<Option<(Bytes, Instant)>>>;

async fn accept(listener: TcpListener, requests: mpsc::Sender<Request>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let written = Written::default();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (requests, written) = (requests.clone(), Rc::clone(&written));
                spawn_local(async move {
                    // Who is slow is left: there is nobody to tell.
                    let serving = serve(stream, requests, written);
                    let _ = tokio::time::timeout(CONNECTION_LIMIT, serving).await;
                    drop(place);
                });
            }
            // Out of descriptors: the next attempt may find some.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: TcpStream, requests: mpsc::Sender<Request>, written: Written) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (requests, written) = (requests.clone(), Rc::clone(&written));
        async move { Ok::<_, Infallible>(answer(&request, &requests, &written).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off has its reasons.
    let _ = connection.await;
}

async fn answer(
    request: &hyper::Request<Incoming>,
    requests: &mpsc::Sender<Request>,
    written: &Written,
) -> Response<Full<Bytes>> {
    if request.uri().path() != control::path::METRICS {
        return say(StatusCode::NOT_FOUND, "only /metrics is answered here\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return say(StatusCode::METHOD_NOT_ALLOWED, "GET shows\n");
    }
    let fresh = written.borrow().clone();
    if let Some((text, at)) = fresh
        && at.elapsed() < FRESH
    {
        return say(StatusCode::OK, text);
    }
    match server::metrics(requests).await {
        Some(text) => {
            let text = Bytes::from(text);
            *written.borrow_mut() = Some((text.clone(), Instant::now()));
            say(StatusCode::OK, text)
        }
        None => say(StatusCode::SERVICE_UNAVAILABLE, "the director is ending\n"),
    }
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(server::METRICS_KIND);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, kind);
    response
}
