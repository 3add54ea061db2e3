//! HTTP/2 towards targets: connections that are shared, inside TLS too, streams both ways, checks.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use forwarder::Forwarder;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::http2::*;
use crate::support::*;
use crate::tls::certificate;
use crate::tls_targets::{encrypted, server, vouching};

/// A target that speaks HTTP/2 only: answers with what it was asked, body and trailers sent back.
fn echoing() -> (SocketAddr, Arc<AtomicUsize>) {
    echoing_inside(None)
}

/// The same, inside TLS if there is an acceptor.
fn echoing_inside(acceptor: Option<TlsAcceptor>) -> (SocketAddr, Arc<AtomicUsize>) {
    speaking(acceptor, |request, respond| {
        Box::pin(echo(request, respond))
    })
}

/// What a target does with a stream.
pub(crate) type Handler = fn(
    Request<RecvStream>,
    h2::server::SendResponse<Bytes>,
) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A target that speaks HTTP/2, inside TLS if there is an acceptor; and how many connections it has got.
pub(crate) fn speaking(
    acceptor: Option<TlsAcceptor>,
    handler: Handler,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => attend(stream, handler).await,
                        Some(acceptor) => {
                            attend(acceptor.accept(stream).await.unwrap(), handler).await;
                        }
                    }
                });
            }
        });
    });
    (address, connections)
}

async fn attend(stream: impl AsyncRead + AsyncWrite + Unpin, handler: Handler) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(handler(request, respond));
    }
}

async fn echo(request: Request<RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    if parts.uri.path() == "/reset" {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    }
    if parts.uri.path() == "/refuse" {
        return respond.send_reset(Reason::REFUSED_STREAM);
    }
    let mut response = Response::new(());
    let asked = format!("{} {}", parts.method, parts.uri);
    response
        .headers_mut()
        .insert("x-asked", asked.parse().unwrap());
    if let Some(te) = parts.headers.get("te") {
        response.headers_mut().insert("x-te", te.clone());
    }
    if parts.uri.path() == "/only-trailers" {
        response
            .headers_mut()
            .insert("grpc-status", "12".parse().unwrap());
        respond.send_response(response, true).unwrap();
        return;
    }
    let mut send = respond.send_response(response, false).unwrap();
    // Each piece goes back before the next has come.
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        send_all(&mut send, piece).await;
    }
    let mut trailers = body.trailers().await.unwrap().unwrap_or_default();
    trailers.insert("grpc-status", "0".parse().unwrap());
    send.send_trailers(trailers).unwrap();
}

/// A forwarder between HTTP/2 and HTTP/2.
pub(crate) fn both_sides(target: SocketAddr) -> (Forwarder, Place) {
    proxy_with(&[target], |listener, group| {
        listener.h2c = true;
        group.http2 = true;
    })
}

#[test]
fn requests_share_a_connection_to_a_target_that_speaks_http_2() {
    let (target, connections) = echoing();
    let (_forwarder, place) = both_sides(target);
    client(async {
        let (send, _connection) = connect(place.address).await;
        for number in 0..20 {
            let response = get(&send, &format!("/{number}?q")).await;
            let asked = format!("GET http://example.com/{number}?q");
            assert_eq!(response.headers()["x-asked"], asked);
            let mut response = response;
            let (_, trailers) = read(response.body_mut()).await.unwrap();
            assert_eq!(trailers.unwrap()["grpc-status"], "0");
        }
    });
    // One client, one thread.
    assert_eq!(connections.load(SeqCst), 1);
    // Clients of HTTP/1.1 are served by the same targets.
    let mut client = Client::connect(place.address);
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!(answer.field("x-asked"), Some("POST http://a/x"));
    assert!(
        answer.text().starts_with("3\r\nabc\r\n0\r\n"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_shared_connection_that_is_old_gets_no_other_request() {
    let (target, connections) = echoing();
    let (_forwarder, place) = proxy_with(&[target], |_, group| {
        group.http2 = true;
        group.timeouts.pool_age = Duration::from_millis(1);
    });
    let mut client = Client::connect(place.address);
    for count in 1..=3 {
        assert_eq!(client.get("/x").status, 200);
        assert_eq!(connections.load(SeqCst), count);
        std::thread::sleep(Duration::from_millis(2)); // what makes it old is time
    }
}

#[test]
fn inside_tls_a_target_is_asked_for_http_2_in_the_handshake() {
    let internal = certificate("internal", &["web.internal"]);
    let mut config = server(&internal);
    // Who asks for anything else is refused.
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (target, connections) = echoing_inside(Some(TlsAcceptor::from(Arc::new(config))));
    let (place, forwarder) = (place(), forwarder());
    let mut group = encrypted(&[target], "web.internal");
    group.http2 = true;
    group.health.check = balancer::Check::http("/healthz");
    group.health.http2 = true;
    let listener = http_listener(&place);
    forwarder
        .apply_with(vec![listener], vec![group], &vouching(&internal))
        .unwrap();
    eventually("the check passes", || {
        forwarder.snapshot().groups[0].targets[0].check.as_str() == "up"
    });
    let checks = connections.load(SeqCst);
    let mut client = Client::connect(place.address);
    for _ in 0..5 {
        let answer = client.get("/x");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("x-asked"), Some("GET https://test/x"));
    }
    assert!(
        connections.load(SeqCst) <= checks + 2,
        "they share a connection"
    );
}

#[test]
fn a_call_streams_both_ways_at_the_same_time_with_its_trailers() {
    let (target, _) = echoing();
    let (_forwarder, place) = both_sides(target);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let mut asked = request("POST", "/service/Method");
        asked
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        asked
            .headers_mut()
            .insert("content-type", "application/grpc".parse().unwrap());
        let (response, mut up) = start(&send, asked, false).await;
        let mut response = response.await.unwrap();
        assert_eq!(response.headers()["x-te"], "trailers");
        for message in ["one", "two", "three"] {
            up.send_data(message.into(), false).unwrap();
            let back = response.body_mut().data().await.unwrap().unwrap();
            assert_eq!(back, message, "each is answered before the next is sent");
        }
        let big = Bytes::from(vec![7; 1 << 20]);
        let sending = tokio::spawn(async move {
            send_all(&mut up, big).await;
            up.send_data(Bytes::new(), true).unwrap();
        });
        let (rest, trailers) = read(response.body_mut()).await.unwrap();
        sending.await.unwrap();
        assert_eq!(rest.len(), 1 << 20);
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
        let only = get(&send, "/only-trailers").await;
        assert_eq!(only.headers()["grpc-status"], "12");
        assert!(text(only).await.is_empty());
    });
}

#[test]
fn a_target_that_resets_a_stream_fails_that_request_alone() {
    let (target, connections) = echoing();
    let (_forwarder, place) = both_sides(target);
    client(async {
        let (send, _connection) = connect(place.address).await;
        assert_eq!(get(&send, "/").await.status(), 200);
        for path in ["/reset", "/refuse"] {
            assert_eq!(get(&send, path).await.status(), 502, "{path}");
        }
        assert_eq!(get(&send, "/").await.status(), 200);
    });
    assert!(connections.load(SeqCst) < 5, "{}", connections.load(SeqCst));
}

#[test]
fn checks_ask_in_the_protocol_of_the_target() {
    let (target, _) = echoing();
    let (forwarder, _place) = proxy_with(&[target], |_, group| {
        group.http2 = true;
        group.health.check = balancer::Check::http("/healthz");
        group.health.http2 = true;
    });
    eventually("the check passes", || {
        let targets = &forwarder.snapshot().groups[0].targets;
        targets[0].check.as_str() == "up"
    });
}
