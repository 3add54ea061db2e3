//! WebSocket, over HTTP/1.1 and on a stream of HTTP/2: counted, timed, drained; and clients of HTTP/2 that stay with a target.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balancer::{GroupSettings, ListenerSettings, StickySettings};
use bytes::Bytes;
use forwarder::{AccessLogFormat, Forwarder};
use h2::SendStream;
use h2::client::SendRequest;
use http::{Request, Response};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::access_log::Log;
use crate::http2::*;
use crate::support::*;
use crate::tls::{ANY, certificate, https, materials, trusting};

/// A target that agrees to WebSocket and sends back what it gets.
fn echoing() -> Origin {
    Origin::start(|mut stream, _| {
        if read_request(&mut stream, &mut Vec::new()).is_none() {
            return;
        }
        stream.set_read_timeout(None).unwrap();
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                    Sec-WebSocket-Accept: x\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut buf = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..count]).is_err() {
                return;
            }
        }
    })
}

fn proxied(origin: &Origin, change: impl FnOnce(&mut ListenerSettings)) -> (Forwarder, Place) {
    proxy_with(&[origin.address], |listener, _| {
        listener.h2c = true;
        change(listener);
    })
}

/// A tunnel over HTTP/1.1 that has echoed something.
fn open_plain(place: &Place) -> Client {
    let mut client = Client::connect(place.address);
    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 101);
    client.send("ping");
    let mut back = [0; 4];
    client.stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
    client
}

/// The same on a stream of HTTP/2.
async fn open_framed(send: &SendRequest<Bytes>) -> (Response<h2::RecvStream>, SendStream<Bytes>) {
    soon(|| send.is_extended_connect_protocol_enabled()).await;
    let mut asked = request("CONNECT", "/chat");
    let websocket = h2::ext::Protocol::from_static("websocket");
    asked.extensions_mut().insert(websocket);
    let (response, mut up) = start(send, asked, false).await;
    let mut response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    up.send_data("ping".into(), false).unwrap();
    assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "ping");
    (response, up)
}

/// Tunnels open and ever opened, requests, those of them in HTTP/2.
fn counts(forwarder: &Forwarder) -> (u32, u64, u64, u64) {
    let listener = &forwarder.snapshot().listeners[0];
    (
        listener.tunnels,
        listener.tunnels_total,
        listener.requests_total,
        listener.http2_requests_total,
    )
}

#[test]
fn tunnels_are_counted_and_logged_in_both_protocols() {
    let origin = echoing();
    let (forwarder, place) = proxied(&origin, |_| {});
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let plain = open_plain(&place);
    assert_eq!(counts(&forwarder), (1, 1, 1, 0));
    assert_eq!(in_flight(&forwarder.snapshot()), 1);
    drop(plain);
    eventually("it is closed", || counts(&forwarder) == (0, 1, 1, 0));
    client(async {
        let (send, _connection) = connect(place.address).await;
        let (mut response, mut up) = open_framed(&send).await;
        assert_eq!(counts(&forwarder), (1, 2, 2, 1));
        up.send_data(Bytes::new(), true).unwrap();
        assert_eq!(read(response.body_mut()).await.unwrap().0, b"");
        soon(|| counts(&forwarder) == (0, 2, 2, 1)).await;
    });
    // Each thread writes its own lines: which comes first is not said.
    let mut lines = log.lines(2);
    lines.sort_by_key(|line| line["proto"].to_string());
    for (line, proto) in lines.iter().zip(["HTTP/1.1", "HTTP/2"]) {
        assert_eq!(
            (&line["proto"], &line["status"]),
            (&proto.into(), &101.into())
        );
        assert_eq!(line["path"], "/chat");
    }
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends_in_its_own_time_in_both_protocols() {
    let origin = echoing();
    let (forwarder, place) = proxied(&origin, |listener| {
        listener.timeouts.tunnel = Duration::from_millis(300);
        // Not the time of a connection that has something to say.
        listener.timeouts.keepalive = Duration::from_millis(50);
    });
    let silent = |count| {
        let causes = forwarder.snapshot().listeners[0].causes.clone();
        causes.contains(&("idle-timeout@tunnel", count))
    };
    let mut plain = open_plain(&place);
    assert_eq!(plain.rest().unwrap(), b"");
    eventually("it was counted", || silent(1));
    client(async {
        let (send, _connection) = connect(place.address).await;
        let (mut response, _up) = open_framed(&send).await;
        // Its end is seen, one way or the other, and the connection goes on.
        let _ = read(response.body_mut()).await;
        soon(|| silent(2)).await;
        assert_eq!(in_flight(&forwarder.snapshot()), 0);
    });
}

#[test]
fn tunnels_go_on_while_their_listener_leaves_and_end_when_their_target_must_be_left() {
    let origin = echoing();
    let short = |targets: &[SocketAddr]| GroupSettings {
        drain: Duration::from_millis(300),
        ..group("g", targets)
    };
    let (place, forwarder) = (place(), forwarder());
    let mut listener = http_listener(&place);
    listener.h2c = true;
    let groups = vec![short(&[origin.address])];
    forwarder.apply(vec![listener], groups.clone()).unwrap();
    let mut plain = open_plain(&place);
    client(async {
        let (send, connection) = connect(place.address).await;
        let (mut response, mut up) = open_framed(&send).await;
        // The listener goes; its group stays, so that nothing hurries.
        forwarder.apply(Vec::new(), groups).unwrap();
        plain.send("more");
        let mut back = [0; 4];
        plain.stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"more");
        up.send_data("more".into(), false).unwrap();
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "more");

        forwarder.apply(Vec::new(), vec![short(&[])]).unwrap();
        let cut = plain.rest().unwrap_err();
        assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(read(response.body_mut()).await.is_err(), "the same");
        drop((up, response));
        // Told to go when the listener went, it goes when it has nothing left.
        connection.await.unwrap().expect("a goodbye, not an error");
        drop(send);
    });
}

#[test]
fn a_client_of_http_2_inside_tls_stays_with_its_target() {
    let origins = ["0", "1", "2"].map(Origin::answering);
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let (place, forwarder) = (place(), forwarder());
    let one = certificate("one", &["a.example"]);
    let mut group = group("g", &addresses);
    group.sticky = Some(StickySettings {
        cookie: "T".to_owned(),
        ttl: Duration::from_secs(3600),
    });
    let listener = https(&place, &["one"]);
    forwarder
        .apply_with(vec![listener], vec![group], &materials(&[&one]))
        .unwrap();
    let mut config = (*trusting(&[&one], ANY)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    client(async {
        let tcp = TcpStream::connect(place.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = connector.connect(name, tcp).await.unwrap();
        let (send, _connection) = converse(stream).await;
        let first = get(&send, "/").await;
        let cookie = first.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.contains("; Secure"), "{cookie}");
        let number = text(first).await;
        let cookie = cookie.split(';').next().unwrap();
        for _ in 0..6 {
            // In crumbs, as clients of HTTP/2 may send it.
            let mut asked: Request<()> = request("GET", "/");
            for crumb in ["a=b", cookie, "c=d"] {
                asked.headers_mut().append("cookie", crumb.parse().unwrap());
            }
            let next = start(&send, asked, true).await.0.await.unwrap();
            assert!(
                !next.headers().contains_key("set-cookie"),
                "it has it already"
            );
            assert_eq!(text(next).await, number);
        }
        let others = [get(&send, "/").await, get(&send, "/").await];
        for other in others {
            assert!(other.headers().contains_key("set-cookie"));
        }
    });
}
