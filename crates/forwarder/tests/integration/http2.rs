//! HTTP/2 from clients, to targets that speak HTTP/1.1.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use balancer::{ListenerSettings, Protocol};
use bytes::Bytes;
use forwarder::{AccessLogFormat, Forwarder, ForwarderSettings};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::access_log::Log;
use crate::support::*;
use crate::tls::{ANY, secure, trusting};

/// A forwarder with one listener that takes HTTP/2 in clear text.
pub(crate) fn h2c(targets: &[SocketAddr]) -> (Forwarder, Place) {
    proxy_with(targets, |listener, _| listener.h2c = true)
}

/// Runs a client to its end, which must come in time.
pub(crate) fn client<R>(work: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(3 * LIMIT, work)
            .await
            .expect("it ends in time")
    })
}

pub(crate) type Connection = JoinHandle<Result<(), h2::Error>>;

pub(crate) async fn connect(address: SocketAddr) -> (SendRequest<Bytes>, Connection) {
    converse(TcpStream::connect(address).await.unwrap()).await
}

pub(crate) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> (SendRequest<Bytes>, Connection) {
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    (send.ready().await.unwrap(), connection)
}

pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://example.com{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

pub(crate) async fn start(
    send: &SendRequest<Bytes>,
    request: Request<()>,
    end: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut send = send.clone().ready().await.unwrap();
    send.send_request(request, end).unwrap()
}

pub(crate) async fn get(send: &SendRequest<Bytes>, path: &str) -> Response<RecvStream> {
    start(send, request("GET", path), true)
        .await
        .0
        .await
        .unwrap()
}

/// Waits until what `look` sees is so, the client going on meanwhile.
pub(crate) async fn soon(mut look: impl FnMut() -> bool) {
    while !look() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The body with its trailers, or how it broke off.
pub(crate) async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok((all, body.trailers().await?))
}

pub(crate) async fn text(mut response: Response<RecvStream>) -> String {
    let (body, _) = read(response.body_mut()).await.unwrap();
    String::from_utf8(body).unwrap()
}

/// Sends all of it as the window allows.
pub(crate) async fn send_all(send: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let room = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
        let piece = data.split_to(room.min(data.len()));
        send.send_data(piece, false).unwrap();
    }
}

/// The head of each request in the body of its answer.
fn showing() -> Origin {
    Origin::http(|request| {
        let body = request.head.clone() + &String::from_utf8_lossy(&request.body);
        format!("HTTP/1.1 200 OK\r\nX-Kind: shown\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
}

#[test]
fn a_request_becomes_one_of_http_1_and_the_answer_comes_back() {
    let origin = showing();
    let (_forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let mut asked = request("GET", "/a?b=c");
        asked.headers_mut().append("cookie", "x=1".parse().unwrap());
        asked.headers_mut().append("cookie", "y=2".parse().unwrap());
        let response = start(&send, asked, true).await.0.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-kind"], "shown");
        for hop in ["connection", "x-hop", "transfer-encoding"] {
            assert!(!response.headers().contains_key(hop), "{hop}");
        }
        let shown = text(response).await;
        for line in [
            "GET /a?b=c HTTP/1.1",
            "Host: example.com",
            "cookie: x=1; y=2",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Proto: http",
        ] {
            assert!(shown.contains(&format!("{line}\r\n")), "{line} in {shown}");
        }
    });
}

#[test]
fn streams_are_served_side_by_side_on_one_connection() {
    let origin = Origin::http(|request| {
        // The first to come waits longest.
        let number: u64 = request.head[5..]
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100 - number));
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{number:02}").into_bytes()
    });
    let (forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let mut asked = Vec::new();
        for number in 0..50 {
            asked.push(
                start(&send, request("GET", &format!("/{number}")), true)
                    .await
                    .0,
            );
        }
        for (number, response) in asked.into_iter().enumerate() {
            assert_eq!(text(response.await.unwrap()).await, format!("{number:02}"));
        }
    });
    let listener = &forwarder.snapshot().listeners[0];
    assert_eq!(
        (listener.connections_total, listener.requests_total),
        (1, 50)
    );
}

#[test]
fn bodies_larger_than_any_window_stream_both_ways() {
    const SIZE: usize = 5 << 20;
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        let request = read_request(&mut stream, &mut input).unwrap();
        let sum: u64 = request.body.iter().map(|byte| u64::from(*byte)).sum();
        let head = format!("HTTP/1.1 200 OK\r\nX-Sum: {sum}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let piece = [b'z'; 1 << 16];
        for _ in 0..SIZE / piece.len() {
            stream.write_all(b"10000\r\n").unwrap();
            stream.write_all(&piece).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\nX-Check: good\r\n\r\n").unwrap();
    });
    let (_forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let mut asked = request("POST", "/up");
        let length = SIZE.to_string().parse().unwrap();
        asked.headers_mut().insert("content-length", length);
        let (response, mut body) = start(&send, asked, false).await;
        send_all(&mut body, vec![1; SIZE].into()).await;
        body.send_data(Bytes::new(), true).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.headers()["x-sum"], SIZE.to_string());
        let (down, trailers) = read(response.body_mut()).await.unwrap();
        assert_eq!(down.len(), SIZE);
        assert_eq!(trailers.unwrap()["x-check"], "good");
    });
}

#[test]
fn a_body_of_unknown_length_reaches_the_target_in_chunks_with_its_trailers() {
    let origin = Origin::start(|mut stream, _| {
        let all = read_until(&mut stream, &mut Vec::new(), b"x-t: 1\r\n\r\n").unwrap();
        let all = String::from_utf8(all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        let right = head.contains("\r\nTransfer-Encoding: chunked")
            && body.starts_with("3\r\nabc\r\n0\r\n");
        let status = if right { 200 } else { 500 };
        let answer = format!("HTTP/1.1 {status} Seen\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let (_forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let (response, mut body) = start(&send, request("POST", "/"), false).await;
        body.send_data("abc".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-t", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn answers_of_our_own_and_to_head_have_no_wrong_body() {
    let (_forwarder, place) = h2c(&[dead_place().address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let refused = get(&send, "/").await;
        assert_eq!(refused.status(), 502);
        assert!(!text(refused).await.is_empty(), "the cause in words");
        let head = start(&send, request("HEAD", "/"), true)
            .await
            .0
            .await
            .unwrap();
        assert_eq!(head.status(), 502);
        assert!(head.body().is_end_stream());
    });
}

#[test]
fn an_answer_that_breaks_off_is_reset_and_not_ended() {
    for broken in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let origin = Origin::saying(broken);
        let (_forwarder, place) = h2c(&[origin.address]);
        client(async {
            let (send, _connection) = connect(place.address).await;
            let (response, _) = start(&send, request("GET", "/"), true).await;
            let error = match response.await {
                Ok(mut response) => read(response.body_mut()).await.unwrap_err(),
                // The reset was faster than what came before it.
                Err(error) => error,
            };
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        });
    }
    let origin = Origin::saying(b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let (_forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        assert_eq!(text(get(&send, "/").await).await, "until the end");
    });
}

#[test]
fn a_stream_the_client_resets_frees_its_target() {
    let origin = Origin::start(|mut stream, _| {
        read_request(&mut stream, &mut Vec::new());
        // Says nothing until the connection is closed.
        let _ = stream.read(&mut [0; 1]);
    });
    let (forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, _connection) = connect(place.address).await;
        let (response, mut stream) = start(&send, request("GET", "/"), true).await;
        soon(|| in_flight(&forwarder.snapshot()) == 1).await;
        stream.send_reset(Reason::CANCEL);
        assert!(response.await.is_err());
        soon(|| in_flight(&forwarder.snapshot()) == 0).await;
    });
}

#[test]
fn each_stream_has_its_line_in_the_access_log_also_one_that_was_reset() {
    let origin = Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut input) {
            if request.head.starts_with("GET /never") {
                let _ = stream.read(&mut [0; 1]);
                return;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .unwrap();
        }
    });
    let (forwarder, place) = h2c(&[origin.address]);
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    client(async {
        let (send, _connection) = connect(place.address).await;
        assert_eq!(text(get(&send, "/a").await).await, "ok");
        let (response, mut stream) = start(&send, request("GET", "/never"), true).await;
        soon(|| in_flight(&forwarder.snapshot()) == 1).await;
        stream.send_reset(Reason::CANCEL);
        assert!(response.await.is_err());
        soon(|| in_flight(&forwarder.snapshot()) == 0).await;
    });
    let lines = log.lines(2);
    assert_eq!(
        (&lines[0]["proto"], &lines[0]["status"]),
        (&"HTTP/2".into(), &200.into())
    );
    assert_eq!(lines[0]["cause"], "ok");
    assert_eq!(
        (&lines[1]["path"], &lines[1]["cause"]),
        (&"/never".into(), &"client-abort@request".into())
    );
}

#[test]
fn a_removed_listener_says_goodbye_and_finishes_what_was_begun() {
    let origin = Origin::http(|_| {
        std::thread::sleep(Duration::from_millis(300));
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast".to_vec()
    });
    let (forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (send, connection) = connect(place.address).await;
        let (response, _) = start(&send, request("GET", "/"), true).await;
        soon(|| in_flight(&forwarder.snapshot()) == 1).await;
        forwarder.apply(Vec::new(), Vec::new()).unwrap();
        assert_eq!(text(response.await.unwrap()).await, "last");
        connection.await.unwrap().expect("a goodbye, not an error");
        assert!(send.ready().await.is_err(), "no more streams");
    });
}

#[test]
fn a_connection_takes_no_more_streams_than_it_may_have() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.h2c = true;
        listener.limits.requests = Some(2);
    });
    client(async {
        let (send, connection) = connect(place.address).await;
        for _ in 0..2 {
            assert_eq!(text(get(&send, "/").await).await, "a");
        }
        // It was told so, and has nothing left.
        assert!(connection.await.unwrap().is_ok());
        let (send, _connection) = connect(place.address).await;
        assert_eq!(text(get(&send, "/").await).await, "a");
    });
}

#[test]
fn who_opens_streams_only_to_reset_them_is_cut_off_and_others_are_served() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&arrived);
    let origin = Origin::http(move |_| {
        counted.fetch_add(1, SeqCst);
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let (_forwarder, place) = h2c(&[origin.address]);
    client(async {
        let (other, _other) = connect(place.address).await;
        let (send, connection) = connect(place.address).await;
        let mut opened = 0;
        for _ in 0..10_000 {
            let Ok(mut ready) = send.clone().ready().await else {
                break;
            };
            let Ok((_, mut stream)) = ready.send_request(request("GET", "/"), true) else {
                break;
            };
            stream.send_reset(Reason::CANCEL);
            opened += 1;
            tokio::task::yield_now().await;
        }
        let error = connection.await.unwrap().unwrap_err();
        // It may still be sending when the connection is closed over it: the reset is faster than the words.
        let cut = error.is_io() || error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        assert!(cut, "{error:?} after {opened}");
        assert!(opened < 10_000);
        assert_eq!(text(get(&other, "/").await).await, "ok");
    });
    assert!(arrived.load(SeqCst) < 1000, "few of them reached a target");
}

/// Sends this frame again and again; true if the connection was closed for it.
fn is_cut_off(address: SocketAddr, frame: &[u8]) -> bool {
    let mut client = Client::connect(address);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS
    let mut answers = client.stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
    let frames = frame.repeat(10);
    let _ = (0..2000).try_for_each(|_| client.stream.write_all(&frames));
    match reader.join().unwrap() {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn who_floods_with_frames_is_cut_off_and_others_are_served() {
    let origin = Origin::answering("ok");
    let (_forwarder, place) = h2c(&[origin.address]);
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let settings = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    let unknown = vec![0, 0, 0, 99, 0, 0, 0, 0, 1];
    let priority = [&[0, 0, 5, 2, 0, 0, 0, 0, 1][..], &[0, 0, 0, 0, 9]].concat();
    // HEADERS of stream 1 that do not end, then more of them.
    let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    let more = [&[0, 0, 9, 9, 0, 0, 0, 0, 1][..], b"\x00\x03x-a\x031bc"].concat();
    for frame in [
        ping,
        settings,
        unknown,
        priority,
        [&headers[..], &more.repeat(20)].concat(),
    ] {
        let (address, kind) = (place.address, frame[3]);
        client(async {
            let (other, _connection) = connect(address).await;
            let flooding = tokio::task::spawn_blocking(move || is_cut_off(address, &frame));
            while !flooding.is_finished() {
                assert_eq!(text(get(&other, "/").await).await, "ok");
            }
            let cut_off = flooding.await.unwrap();
            assert!(cut_off, "frames of kind {kind} are put up with");
        });
    }
}

#[test]
fn inside_tls_the_handshake_says_which_protocol() {
    let origin = showing();
    let (_forwarder, place, certificate) = secure(&[origin.address], |_| {});
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut config = (*trusting(&[&certificate], ANY)).clone();
        config.alpn_protocols = offered
            .iter()
            .map(|alpn| alpn.as_bytes().to_vec())
            .collect();
        let connector = TlsConnector::from(Arc::new(config));
        client(async {
            let tcp = TcpStream::connect(place.address).await.unwrap();
            let name = ServerName::try_from("a.example").unwrap();
            let stream = connector.connect(name, tcp).await.unwrap();
            let alpn = stream.get_ref().1.alpn_protocol();
            assert_eq!(alpn, agreed.map(str::as_bytes));
            if agreed != Some("h2") {
                return;
            }
            let (send, _connection) = converse(stream).await;
            let shown = text(get(&send, "/").await).await;
            assert!(shown.contains("X-Forwarded-Proto: https\r\n"), "{shown}");
        });
    }
}

#[test]
fn clients_of_http_1_are_served_beside() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = h2c(&[origin.address]);
    let mut client = Client::connect(place.address);
    for piece in ["G", "ET / HT", "TP/1.1\r\nHost: a\r\n\r\n"] {
        client.send(piece);
    }
    assert_eq!(client.answer().text(), "a");
    assert_eq!(client.get("/").text(), "a");
    // The beginning of one and the rest of the other.
    let said = exchange(place.address, "PRI * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(&said), 400);
}

#[test]
fn where_it_is_not_allowed_it_is_no_request() {
    let (_forwarder, place) = proxy(&[dead_place().address]);
    let said = exchange(place.address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(status_of(&said), 505, "{said}");
}

#[test]
fn websocket_on_a_stream_is_an_upgrade_to_the_target() {
    let origin = Origin::start(|mut stream, _| {
        let request = read_request(&mut stream, &mut Vec::new()).unwrap();
        if request.head.starts_with("GET /no ") {
            return stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
                .unwrap();
        }
        assert!(request.has_line("Connection: upgrade"), "{}", request.head);
        let key = request.head.split("sec-websocket-key: ").nth(1).unwrap();
        assert_eq!(key.find("==\r\n"), Some(22));
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                    Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello";
        stream.write_all(head.as_bytes()).unwrap();
        let mut buf = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buf) {
            stream.write_all(&buf[..count]).unwrap();
        }
    });
    let (_forwarder, place) = h2c(&[origin.address]);
    let asked = |path| {
        let mut asked = request("CONNECT", path);
        asked
            .extensions_mut()
            .insert(h2::ext::Protocol::from_static("websocket"));
        asked
    };
    client(async {
        let (send, _connection) = connect(place.address).await;
        soon(|| send.is_extended_connect_protocol_enabled()).await;
        let (response, mut up) = start(&send, asked("/chat"), false).await;
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        for hop in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!response.headers().contains_key(hop), "{hop}");
        }
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "hello");
        for message in ["one", "two"] {
            up.send_data(message.into(), false).unwrap();
            assert_eq!(response.body_mut().data().await.unwrap().unwrap(), message);
        }
        up.send_data(Bytes::new(), true).unwrap();
        let (rest, _) = read(response.body_mut()).await.unwrap();
        assert!(rest.is_empty(), "the end reaches the target and comes back");

        let (refused, _up) = start(&send, asked("/no"), false).await;
        assert_eq!(refused.await.unwrap().status(), 502);
    });
}

#[test]
fn to_find_out_what_is_spoken_takes_nothing_from_the_time_for_a_head() {
    let origin = Origin::answering("x");
    let (place, clock) = (place(), place());
    // One thread, so that what is due earlier happens earlier.
    let forwarder = Forwarder::start(ForwarderSettings { threads: 1 }).unwrap();
    let listener = |place: &Place, name: &str, header: u64, h2c: bool| {
        let mut listener = ListenerSettings {
            h2c,
            ..ListenerSettings::new(name, Protocol::Http, vec![place.address], "g")
        };
        listener.timeouts.header = Duration::from_millis(header);
        listener
    };
    let listeners = vec![
        listener(&place, "h2c", 400, true),
        listener(&clock, "clock", 600, false),
    ];
    forwarder
        .apply(listeners, vec![group("g", &[origin.address])])
        .unwrap();
    let mut slow = Client::connect(place.address);
    // It may become either.
    slow.send("P");
    let mut silent = Client::connect(clock.address);
    assert_eq!(silent.rest().unwrap(), b"");
    // Its time was over before; had it begun anew, it would still have some.
    slow.stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let rest = String::from_utf8(slow.rest().unwrap()).unwrap();
    assert_eq!(status_of(&rest), 408, "{rest}");
}
