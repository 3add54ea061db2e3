//! WebSocket, over HTTP/1.1 and on a stream of HTTP/2: counted, timed, drained; and clients of HTTP/2 that stay with a target.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balancer::{GroupSettings, ListenerSettings, StickySettings};
use bytes::Bytes;
use forwarder::{AccessLogFormat, Forwarder, SessionQuery};
use h2::SendStream;
use h2::client::SendRequest;
use http::{Request, Response};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::access_log::Log;
use crate::http2::*;
use crate::support::*;
use crate::tls::{ANY, TlsClient, certificate, https, materials, trusting};

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

/// Tunnels open and ever opened, requests, those of them in HTTP/2, those of these that are served.
fn counts(forwarder: &Forwarder) -> (u32, u64, u64, u64, u64) {
    let listener = &forwarder.snapshot().listeners[0];
    (
        listener.tunnels,
        listener.tunnels_total,
        listener.requests_total,
        listener.http2.requests_total,
        listener.http2.streams,
    )
}

#[test]
fn tunnels_are_counted_and_logged_in_both_protocols() {
    let origin = echoing();
    let (forwarder, place) = proxied(&origin, |_| {});
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let plain = open_plain(&place);
    assert_eq!(counts(&forwarder), (1, 1, 1, 0, 0));
    assert_eq!(in_flight(&forwarder.snapshot()), 1);
    drop(plain);
    eventually("it is closed", || counts(&forwarder) == (0, 1, 1, 0, 0));
    client(async {
        let (send, _connection) = connect(place.address).await;
        let (mut response, mut up) = open_framed(&send).await;
        assert_eq!(counts(&forwarder), (1, 2, 2, 1, 1));
        up.send_data(Bytes::new(), true).unwrap();
        assert_eq!(read(response.body_mut()).await.unwrap().0, b"");
        soon(|| counts(&forwarder) == (0, 2, 2, 1, 0)).await;
    });
    // Each thread writes its own lines: which comes first is not said.
    let mut lines = log.lines(2);
    lines.sort_by_key(|line| line["proto"].to_string());
    // As each client has said and seen it.
    let said = [("HTTP/1.1", "GET", 101), ("HTTP/2", "CONNECT", 200)];
    for (line, (proto, method, status)) in lines.iter().zip(said) {
        assert_eq!(line["proto"], proto, "{line}");
        assert_eq!(
            (&line["method"], &line["status"]),
            (&method.into(), &status.into()),
            "{line}"
        );
        assert_eq!(
            (&line["path"], &line["cause"]),
            (&"/chat".into(), &"ok".into())
        );
    }
}

#[test]
fn a_target_that_does_not_take_up_a_tunnel_is_not_taken_for_one_that_does() {
    let origin = Origin::answering("a page");
    let (forwarder, place) = proxied(&origin, |_| {});
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    client(async {
        let (send, _connection) = connect(place.address).await;
        soon(|| send.is_extended_connect_protocol_enabled()).await;
        let mut asked = request("CONNECT", "/chat");
        let websocket = h2::ext::Protocol::from_static("websocket");
        asked.extensions_mut().insert(websocket);
        let (response, _up) = start(&send, asked, false).await;
        assert_eq!(
            response.await.unwrap().status(),
            502,
            "200 would be a tunnel"
        );
    });
    let line = log.lines(1).remove(0);
    assert_eq!(
        (&line["method"], &line["status"]),
        (&"CONNECT".into(), &502.into()),
        "{line}"
    );
    assert_eq!(line["cause"], "target-malformed@headers");
    let listener = &forwarder.snapshot().listeners[0];
    assert!(listener.causes.contains(&("target-malformed@headers", 1)));
    let target = &forwarder.snapshot().groups[0].targets[0];
    assert_eq!(
        (target.answers_total, target.errors_total),
        ([0, 1, 0, 0, 0], 0),
        "it was a page"
    );
    assert_eq!(
        (listener.tunnels_total, listener.request_times[0].0),
        (0, "5xx")
    );
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

/// A target that agrees to WebSocket, sends back a frame for each, and tells what comes after the first.
fn talking() -> (Origin, Receiver<Vec<u8>>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |mut stream, _| {
        if read_request(&mut stream, &mut Vec::new()).is_none() {
            return;
        }
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.read_exact(&mut [0; ASKED.len()]).unwrap();
        stream.write_all(&ANSWERED).unwrap();
        let mut rest = Vec::new();
        // It may end with a reset as well.
        let _ = stream.read_to_end(&mut rest);
        let _ = tell.lock().unwrap().send(rest);
    });
    (origin, told)
}

/// "hi" as a client and as a target write it, and the end, 1001, as clients read it.
const ASKED: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
const ANSWERED: [u8; 4] = [0x81, 0x02, b'h', b'i'];
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// What a target reads of the end: the frame is masked.
fn says_going_away(rest: &[u8]) -> bool {
    let [0x88, 0x82, a, b, _, _, high, low] = *rest else {
        return false;
    };
    [high ^ a, low ^ b] == [0x03, 0xe9]
}

fn switch_to_websocket(client: &mut impl TalkingClient) {
    client
        .put(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.take::<1>()[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    client.put(&ASKED);
    assert_eq!(client.take(), ANSWERED);
}

/// A client of HTTP/1.1, encrypted or not.
trait TalkingClient {
    fn put(&mut self, bytes: &[u8]);
    fn take<const N: usize>(&mut self) -> [u8; N];
    /// All there is until the end, which must be in order.
    fn take_rest(&mut self) -> Vec<u8>;
}

impl<S: Read + Write> TalkingClient for S {
    fn put(&mut self, bytes: &[u8]) {
        self.write_all(bytes).unwrap();
        self.flush().unwrap();
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn take_rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

#[test]
fn a_websocket_that_is_ended_is_told_so_on_both_sides() {
    let one = certificate("one", &["a.example"]);
    type End = fn(&Forwarder, GroupSettings);
    let ends: [(End, Duration, &str); 5] = [
        // Its target leaves the group and its time is up; it says nothing for too long; the node is stopped; the address goes; it is ordered.
        (
            |forwarder, group| {
                let group = GroupSettings {
                    targets: Vec::new(),
                    ..group
                };
                forwarder.apply(Vec::new(), vec![group]).unwrap();
            },
            LIMIT,
            "drain-limit@target",
        ),
        (|_, _| {}, Duration::from_millis(300), "idle-timeout@tunnel"),
        (
            |forwarder, _| forwarder.drain(Duration::from_millis(600)),
            LIMIT,
            "node-stop@tunnel",
        ),
        (
            |forwarder, _| forwarder.cut(&[[127, 0, 0, 1].into()]),
            LIMIT,
            "failover@tunnel",
        ),
        (
            |forwarder, _| {
                let open = forwarder.sessions(&SessionQuery::default()).listed;
                assert!(!open.is_empty() && open.iter().all(|session| session.tunnel));
                let ids: Vec<_> = open.iter().map(|session| session.id).collect();
                assert_eq!(forwarder.end_sessions(&ids).len(), ids.len());
            },
            LIMIT,
            "ordered@tunnel",
        ),
    ];
    for (end, tunnel, cause) in ends {
        let (origin, told) = talking();
        let (clear, secure, forwarder) = (place(), place(), forwarder());
        let mut listener = http_listener(&clear);
        listener.h2c = true;
        listener.timeouts.tunnel = tunnel;
        let encrypted = ListenerSettings {
            name: "encrypted".to_owned(),
            timeouts: listener.timeouts.clone(),
            ..https(&secure, &["one"])
        };
        let mut group = group("g", &[origin.address]);
        group.drain = Duration::from_millis(300);
        let log = Log::begin(&forwarder, AccessLogFormat::Json);
        forwarder
            .apply_with(
                vec![listener, encrypted],
                vec![group.clone()],
                &materials(&[&one]),
            )
            .unwrap();
        let mut plain = Client::connect(clear.address).stream;
        switch_to_websocket(&mut plain);
        let mut config = (*trusting(&[&one], ANY)).clone();
        config.alpn_protocols = Vec::new();
        let mut inside = TlsClient::connect(secure.address, &Arc::new(config), "a.example")
            .unwrap()
            .stream;
        switch_to_websocket(&mut inside);
        client(async {
            let (send, _connection) = connect(clear.address).await;
            soon(|| send.is_extended_connect_protocol_enabled()).await;
            let mut asked = request("CONNECT", "/chat");
            let websocket = h2::ext::Protocol::from_static("websocket");
            asked.extensions_mut().insert(websocket);
            let (response, mut up) = start(&send, asked, false).await;
            let mut response = response.await.unwrap();
            up.send_data(Bytes::from_static(&ASKED), false).unwrap();
            let answered = response.body_mut().data().await.unwrap().unwrap();
            assert_eq!(answered, &ANSWERED[..]);

            std::thread::scope(|scope| {
                // Stopping takes until everybody is gone.
                scope.spawn(|| end(&forwarder, group.clone()));
                assert_eq!(plain.take_rest(), GOING_AWAY, "{cause}");
                assert_eq!(inside.take_rest(), GOING_AWAY, "{cause}");
                drop((plain, inside));
            });
            let (rest, _) = read(response.body_mut()).await.expect("ended in order");
            assert_eq!(rest, GOING_AWAY, "{cause}");
            drop((up, response));
        });
        for _ in 0..3 {
            let rest = told.recv_timeout(LIMIT).unwrap();
            assert!(says_going_away(&rest), "{cause}: {rest:02x?}");
        }
        for line in log.lines(3) {
            assert_eq!(line["cause"], cause, "{line}");
        }
    }
}

#[test]
fn a_websocket_that_is_ended_in_the_middle_of_a_frame_is_cut() {
    let (origin, told) = talking();
    let (place, forwarder) = (place(), forwarder());
    let mut group = group("g", &[origin.address]);
    group.drain = Duration::from_millis(300);
    let apply = |group: &GroupSettings| {
        forwarder
            .apply(vec![http_listener(&place)], vec![group.clone()])
            .unwrap();
    };
    apply(&group);
    let mut client = Client::connect(place.address).stream;
    switch_to_websocket(&mut client);
    // The beginning of a frame: what comes behind it would be taken for its payload.
    client.put(&[0x82, 0xfe, 1, 0]);
    group.targets.clear();
    apply(&group);
    // Towards the client nothing is half said.
    assert_eq!(client.take_rest(), GOING_AWAY);
    let rest = told.recv_timeout(LIMIT).unwrap();
    assert_eq!(rest, [0x82, 0xfe, 1, 0], "nothing of ours");
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
