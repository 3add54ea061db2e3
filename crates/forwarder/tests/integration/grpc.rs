//! Calls of gRPC: how they end counts, refusals are said to them in their own way, targets are checked by a call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use balancer::{Check, CheckTls, HealthSettings};
use bytes::Bytes;
use forwarder::{AccessLogFormat, Forwarder, TargetStanding};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio_rustls::TlsAcceptor;

use crate::access_log::Log;
use crate::http2::*;
use crate::http2_targets::*;
use crate::support::*;
use crate::tls::certificate;
use crate::tls_targets::{encrypted, server, vouching};

/// Calls of `/late` the targets have read.
static LATE: AtomicUsize = AtomicUsize::new(0);

/// A target of gRPC: `/status/N` ends with N after a message, `/only/N` with nothing but N; the last part of a service name
/// is what its health is.
async fn serve(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let mut asked = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        asked.extend(piece);
    }
    let path = parts.uri.path().to_owned();
    let mut head = Response::new(());
    let fields = head.headers_mut();
    fields.insert("content-type", "application/grpc".parse().unwrap());
    if let Some(timeout) = parts.headers.get("grpc-timeout") {
        fields.insert("x-timeout", timeout.clone());
    }
    if path == "/late" {
        LATE.fetch_add(1, SeqCst);
        return respond.send_reset(Reason::INTERNAL_ERROR);
    }
    if let Some(status) = path.strip_prefix("/only/") {
        fields.insert("grpc-status", status.parse().unwrap());
        respond.send_response(head, true).unwrap();
        return;
    }
    let (message, status) = match path.as_str() {
        "/grpc.health.v1.Health/Check" => health(&asked),
        _ => (
            asked,
            path.strip_prefix("/status/").unwrap_or("0").to_owned(),
        ),
    };
    let mut send = respond.send_response(head, false).unwrap();
    send.send_data(message.into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    send.send_trailers(trailers).unwrap();
}

/// Message and status about the service that was asked for.
fn health(asked: &[u8]) -> (Vec<u8>, String) {
    let service = asked.get(7..).unwrap_or_default();
    let says = |status| (vec![0, 0, 0, 0, 2, 8, status], "0".to_owned());
    match service {
        b"" | b"well" => says(1),
        b"ill" => says(2),
        _ => (Vec::new(), "5".to_owned()),
    }
}

fn target() -> SocketAddr {
    speaking(None, |request, respond| Box::pin(serve(request, respond))).0
}

/// A call with one message; its head, and its status wherever it is said.
async fn call(
    send: &h2::client::SendRequest<Bytes>,
    path: &str,
) -> Result<(HeaderMap, Option<String>), h2::Error> {
    let mut asked = request("POST", path);
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "7S"),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    let (response, mut up) = start(send, asked, false).await;
    up.send_data(Bytes::from_static(&[0, 0, 0, 0, 1, 7]), true)?;
    let mut response = response.await?;
    assert_eq!(response.status(), 200);
    let (_, trailers) = read(response.body_mut()).await?;
    let fields = response.headers().clone();
    let status = trailers.as_ref().unwrap_or(&fields).get("grpc-status");
    let status = status.map(|status| status.to_str().unwrap().to_owned());
    Ok((fields, status))
}

fn errors(forwarder: &Forwarder) -> u64 {
    let targets = &forwarder.snapshot().groups[0].targets;
    targets.iter().map(|target| target.errors_total).sum()
}

#[test]
fn how_calls_end_is_counted_and_logged_and_deadlines_pass() {
    let (forwarder, place) = both_sides(target());
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let counted = [
        ("/status/0", 0),
        ("/status/14", 1),
        ("/only/14", 2),
        ("/only/5", 2),
        ("/status/4", 2),
        ("/status/13", 2),
    ];
    client(async {
        let (send, _connection) = connect(place.address).await;
        for (path, errors_so_far) in counted {
            let (head, status) = call(&send, path).await.unwrap();
            assert_eq!(head["x-timeout"], "7S");
            assert_eq!(status.as_deref(), path.rsplit('/').next());
            soon(|| errors(&forwarder) == errors_so_far).await;
        }
    });
    let lines = log.lines(counted.len());
    for (line, (path, _)) in lines.iter().zip(counted) {
        let status: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(
            (&line["grpc"], &line["status"]),
            (&status.into(), &200.into()),
            "{line}"
        );
    }
}

#[test]
fn a_target_that_is_unavailable_again_and_again_is_taken_out() {
    let (forwarder, place) = proxy_with(&[target(), target()], |listener, group| {
        listener.h2c = true;
        group.http2 = true;
        group.outlier.as_mut().unwrap().consecutive_errors = 3;
    });
    client(async {
        let (send, _connection) = connect(place.address).await;
        for _ in 0..6 {
            call(&send, "/only/14").await.unwrap();
        }
        soon(|| {
            let snapshot = forwarder.snapshot();
            let ejected = snapshot.groups[0]
                .targets
                .iter()
                .find(|target| target.state == TargetStanding::Ejected);
            ejected.is_some_and(|target| target.why.contains("grpc 14"))
        })
        .await;
    });
}

#[test]
fn refusals_are_said_in_the_way_of_calls_and_to_others_as_before() {
    let (forwarder, place) = both_sides(dead_place().address);
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let (head, status) = call(&send, "/x").await.unwrap();
        assert_eq!(status.as_deref(), Some("14"));
        assert_eq!(head["content-type"], "application/grpc");
        assert_eq!(head["grpc-message"], "connect-refused@connect");
        assert_eq!(get(&send, "/x").await.status(), 502);
    });
    let lines = log.lines(2);
    assert_eq!(
        (&lines[0]["status"], &lines[0]["grpc"]),
        (&200.into(), &14.into())
    );
    assert_eq!(lines[0]["cause"], "connect-refused@connect");
    assert_eq!(
        (&lines[1]["status"], lines[1].get("grpc")),
        (&502.into(), None)
    );
}

#[test]
fn a_call_that_was_sent_is_never_sent_again() {
    let (_forwarder, place) = proxy_with(&[target(), target()], |listener, group| {
        listener.h2c = true;
        group.http2 = true;
        group.retry.tries = 3;
    });
    client(async {
        let (send, _connection) = connect(place.address).await;
        for round in 1..=4 {
            let (_, status) = call(&send, "/late").await.unwrap();
            assert_eq!(status.as_deref(), Some("14"));
            assert_eq!(LATE.load(SeqCst), round);
        }
    });
}

/// A check that asks about this service, often.
fn check(service: &str) -> HealthSettings {
    HealthSettings {
        check: Check::Grpc {
            service: service.to_owned(),
            host: None,
        },
        every: Duration::from_millis(50),
        timeout: LIMIT,
        fast: Duration::from_millis(20),
        http2: true,
        ..HealthSettings::default()
    }
}

#[test]
fn targets_are_checked_by_a_call() {
    let target = target();
    for (service, check_is, why) in [
        ("", "up", ""),
        ("well", "up", ""),
        ("ill", "down", "grpc health is not serving"),
        ("other", "down", "grpc status 5"),
    ] {
        let (forwarder, _place) = proxy_with(&[target], |_, group| {
            group.http2 = true;
            group.health = check(service);
        });
        eventually(service, || {
            let target = &forwarder.snapshot().groups[0].targets[0];
            target.check.as_str() == check_is && target.why.contains(why)
        });
    }
    // Who speaks HTTP/1.1 only cannot answer.
    let (forwarder, _place) = proxy_with(&[Origin::answering("ok").address], |_, group| {
        group.health = check("");
    });
    eventually("it is no target of gRPC", || {
        forwarder.snapshot().groups[0].targets[0].check.as_str() == "down"
    });
}

#[test]
fn targets_are_checked_by_a_call_inside_tls() {
    let internal = certificate("internal", &["web.internal"]);
    let mut config = server(&internal);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (target, _) = speaking(Some(acceptor), |request, respond| {
        Box::pin(serve(request, respond))
    });
    let (place, forwarder) = (place(), forwarder());
    let mut group = encrypted(&[target], "web.internal");
    group.http2 = true;
    group.health = check("well");
    let mut listener = http_listener(&place);
    listener.h2c = true;
    // The traffic is neither in TLS nor in HTTP/2: the check says what it needs.
    let mut plain = group.clone();
    plain.name = "plain".to_owned();
    plain.http2 = false;
    plain.health.http2 = false;
    plain.health.tls = CheckTls::On(plain.tls.take().unwrap());
    forwarder
        .apply_with(vec![listener], vec![group, plain], &vouching(&internal))
        .unwrap();
    eventually("the checks pass", || {
        let groups = forwarder.snapshot().groups;
        groups
            .iter()
            .all(|group| group.targets[0].check.as_str() == "up")
    });
    client(async {
        let (send, _connection) = connect(place.address).await;
        let (_, status) = call(&send, "/status/0").await.unwrap();
        assert_eq!(status.as_deref(), Some("0"));
    });
}
