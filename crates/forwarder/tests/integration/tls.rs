//! Listeners with TLS, seen by clients of rustls: versions, names, resumption, limits, bodies, and certificates that change.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{ListenerSettings, Protocol, RuleAction, TlsSettings, TlsVersion};
use forwarder::{CertificateMaterial, Forwarder, Materials, TicketSecret};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::support::*;

/// A certificate that signs itself.
pub(crate) fn certificate(name: &str, names: &[&str]) -> CertificateMaterial {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names.clone()).unwrap();
    CertificateMaterial {
        name: name.to_owned(),
        names,
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
        staple: None,
    }
}

pub(crate) fn materials(certificates: &[&CertificateMaterial]) -> Materials {
    Materials {
        certificates: certificates.iter().map(|one| (*one).clone()).collect(),
        ..Materials::default()
    }
}

pub(crate) fn https(place: &Place, certificates: &[&str]) -> ListenerSettings {
    ListenerSettings {
        tls: Some(TlsSettings::new(certificates.iter().copied())),
        ..ListenerSettings::new("web", Protocol::Https, vec![place.address], "g")
    }
}

/// A forwarder with one https listener and these targets.
pub(crate) fn secure(
    targets: &[SocketAddr],
    change: impl FnOnce(&mut ListenerSettings),
) -> (Forwarder, Place, CertificateMaterial) {
    let (place, forwarder) = (place(), forwarder());
    let one = certificate("one", &["a.example"]);
    let mut listener = https(&place, &["one"]);
    change(&mut listener);
    let groups = vec![group("g", targets)];
    forwarder
        .apply_with(vec![listener], groups, &materials(&[&one]))
        .unwrap();
    (forwarder, place, one)
}

/// What a client believes in.
pub(crate) fn trusting(
    certificates: &[&CertificateMaterial],
    versions: Versions,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(der(certificate)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The certificate itself.
pub(crate) fn der(material: &CertificateMaterial) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(material.chain.as_bytes()).unwrap()
}

pub(crate) type Versions = &'static [&'static rustls::SupportedProtocolVersion];
pub(crate) static ONLY_1_2: Versions = &[&rustls::version::TLS12];
pub(crate) static ONLY_1_3: Versions = &[&rustls::version::TLS13];
pub(crate) static ANY: Versions = rustls::ALL_VERSIONS;

pub(crate) struct TlsClient {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    pub(crate) input: Vec<u8>,
}

impl TlsClient {
    pub(crate) fn connect(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    /// The same, the first message sent in pieces, each a packet of its own; `pieces` makes them of it.
    pub(crate) fn connect_in_pieces(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
        pieces: impl FnOnce(&[u8]) -> Vec<Vec<u8>>,
    ) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        let mut hello = Vec::new();
        stream.conn.write_tls(&mut hello)?;
        for piece in pieces(&hello) {
            stream.sock.write_all(&piece)?;
            // So that each piece is a read of its own.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        self.answer()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    fn answer(&mut self) -> Answer {
        read_answer(&mut self.stream, &mut self.input).expect("an answer")
    }
}

pub(crate) fn get(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Answer> {
    Ok(TlsClient::connect(address, config, name)?.get("/"))
}

pub(crate) fn causes(forwarder: &Forwarder, word: &str) -> u64 {
    let listeners = forwarder.snapshot().listeners;
    let causes = listeners.iter().flat_map(|listener| &listener.causes);
    causes
        .filter(|(cause, _)| *cause == word)
        .map(|(_, count)| count)
        .sum()
}

#[test]
fn requests_go_through_in_both_versions_and_the_target_is_told() {
    let (origin, notes) = noting();
    let (forwarder, place, one) = secure(&[origin.address], |_| {});
    for versions in [ONLY_1_2, ONLY_1_3] {
        let mut client =
            TlsClient::connect(place.address, &trusting(&[&one], versions), "a.example").unwrap();
        assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(client.get("/1").status, 200);
        assert_eq!(client.get("/2").status, 200, "the connection goes on");
    }
    let notes = notes.lock().unwrap();
    assert_eq!(notes.len(), 4);
    let port = format!("X-Forwarded-Port: {}", place.address.port());
    for request in notes.iter() {
        assert!(request.has_line("X-Forwarded-Proto: https"), "{request:?}");
        assert!(request.has_line(&port), "{request:?}");
    }
    let listener = &forwarder.snapshot().listeners[0];
    assert_eq!(listener.protocol.as_str(), "https");
    let handshakes = listener.handshakes;
    assert_eq!((listener.requests_total, handshakes.total()), (4, 2));
}

#[test]
fn the_name_asked_for_decides_about_the_certificate() {
    let (place, forwarder) = (place(), forwarder());
    let origin = Origin::answering("x");
    let all = [
        certificate("first", &["a.example"]),
        certificate("wild", &["*.b.example"]),
    ];
    let all = [&all[0], &all[1]];
    let listener = https(&place, &["first", "wild"]);
    let groups = vec![group("g", &[origin.address])];
    forwarder
        .apply_with(vec![listener], groups, &materials(&all))
        .unwrap();
    // A client takes only the certificate it trusts, and only for the name it asked for.
    let (first, wild) = (trusting(&all[..1], ANY), trusting(&all[1..], ANY));
    assert!(get(place.address, &first, "a.example").is_ok());
    assert!(get(place.address, &wild, "x.b.example").is_ok());
    assert!(
        get(place.address, &wild, "a.example").is_err(),
        "that name has another"
    );
    assert!(
        get(place.address, &first, "c.example").is_err(),
        "the first is not for that name"
    );
    let nameless = trusting(&all[..1], ANY);
    let failed = get(place.address, &nameless, "127.0.0.1").unwrap_err();
    assert!(
        failed.to_string().contains("not valid for name"),
        "the first came: {failed}"
    );
}

#[test]
fn the_oldest_version_is_what_the_listener_says() {
    let origin = Origin::answering("x");
    let (forwarder, place, one) = secure(&[origin.address], |listener| {
        listener.tls.as_mut().unwrap().min = TlsVersion::V1_3;
    });
    assert!(get(place.address, &trusting(&[&one], ONLY_1_3), "a.example").is_ok());
    assert!(get(place.address, &trusting(&[&one], ONLY_1_2), "a.example").is_err());
    eventually("the refusal is counted", || {
        causes(&forwarder, "client-incompatible@handshake") == 1
    });
}

#[test]
fn a_client_that_comes_back_resumes_on_any_thread_and_over_a_reload() {
    let origin = Origin::answering("x");
    for versions in [ONLY_1_2, ONLY_1_3] {
        let (forwarder, place, one) = secure(&[origin.address], |_| {});
        let config = trusting(&[&one], versions);
        assert_eq!(
            get(place.address, &config, "a.example").unwrap().status,
            200
        );
        let listener = ListenerSettings {
            default: RuleAction::Forward("h".to_owned()),
            ..https(&place, &["one"])
        };
        let groups = vec![group("h", &[origin.address])];
        forwarder
            .apply_with(vec![listener], groups, &materials(&[&one]))
            .unwrap();
        for _ in 0..8 {
            let mut client = TlsClient::connect(place.address, &config, "a.example").unwrap();
            assert_eq!(client.get("/").status, 200);
            assert_eq!(
                client.stream.conn.handshake_kind(),
                Some(HandshakeKind::Resumed)
            );
        }
        let handshakes = forwarder.snapshot().listeners[0].handshakes;
        assert_eq!((handshakes.total(), handshakes.resumed()), (9, 8));
    }
}

#[test]
fn a_client_resumes_on_another_node_that_has_the_secret_of_the_pair() {
    let origin = Origin::answering("x");
    let one = certificate("one", &["a.example"]);
    let node = |secret: u8| {
        let (place, forwarder) = (place(), forwarder());
        let materials = Materials {
            tickets: vec![TicketSecret([secret; 32])],
            ..materials(&[&one])
        };
        let groups = vec![group("g", &[origin.address])];
        let listeners = vec![https(&place, &["one"])];
        forwarder.apply_with(listeners, groups, &materials).unwrap();
        (forwarder, place)
    };
    let (first, second, stranger) = (node(1), node(1), node(2));
    for versions in [ONLY_1_2, ONLY_1_3] {
        let config = trusting(&[&one], versions);
        let kind_at = |node: &(Forwarder, Place)| {
            let mut client = TlsClient::connect(node.1.address, &config, "a.example").unwrap();
            assert_eq!(client.get("/").status, 200);
            client.stream.conn.handshake_kind()
        };
        assert_ne!(kind_at(&first), Some(HandshakeKind::Resumed));
        assert_eq!(kind_at(&second), Some(HandshakeKind::Resumed));
        assert_ne!(kind_at(&stranger), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn large_bodies_go_both_ways_whole_also_to_one_who_reads_late() {
    let origin = Origin::http(|request| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            request.body.len()
        );
        [head.into_bytes(), request.body.clone()].concat()
    });
    let (_forwarder, place, one) = secure(&[origin.address], |_| {});
    let mut client =
        TlsClient::connect(place.address, &trusting(&[&one], ANY), "a.example").unwrap();
    let body: Vec<u8> = (0..8 * 1024 * 1024u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "the body came back changed");
    }
}

#[test]
fn each_piece_of_an_answer_comes_at_once() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |mut stream, _| {
        read_request(&mut stream, &mut Vec::new()).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for _ in 0..3 {
            stream.write_all(b"4\r\nabcd\r\n").unwrap();
            // The next piece is sent once the client has this one.
            wait.lock().unwrap().recv_timeout(LIMIT).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let (_forwarder, place, one) = secure(&[origin.address], |_| {});
    let mut client =
        TlsClient::connect(place.address, &trusting(&[&one], ANY), "a.example").unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    for _ in 0..3 {
        read_until(&mut client.stream, &mut client.input, b"abcd\r\n").expect("a piece");
        go.send(()).unwrap();
    }
    read_until(&mut client.stream, &mut client.input, b"0\r\n\r\n").expect("the end");
}

#[test]
fn who_stalls_or_speaks_no_tls_is_cut_and_the_others_are_served() {
    let origin = Origin::answering("x");
    let (forwarder, place, one) = secure(&[origin.address], |listener| {
        listener.timeouts.handshake = Duration::from_millis(300);
    });
    let begun = Instant::now();
    let mut silent: Vec<Client> = (0..20).map(|_| Client::connect(place.address)).collect();
    let mut half: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(place.address);
            client.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
            client
        })
        .collect();
    let config = trusting(&[&one], ANY);
    assert_eq!(
        get(place.address, &config, "a.example").unwrap().status,
        200
    );
    for client in silent.iter_mut().chain(&mut half) {
        // A reset is an end, too.
        let _ = client.rest();
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    eventually("all are counted", || {
        causes(&forwarder, "client-timeout@handshake") == 40
    });

    let mut plain = Client::connect(place.address);
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let told = plain.rest().unwrap_or_default();
    assert!(!told.starts_with(b"HTTP/"), "{told:?}");
    eventually("it is counted", || {
        causes(&forwarder, "client-malformed@handshake") == 1
    });
    drop(Client::connect(place.address));
    eventually("it is counted", || {
        causes(&forwarder, "client-abort@handshake") == 1
    });
    eventually("nothing is left", || {
        forwarder.snapshot().listeners[0].connections == 0
    });
}

#[test]
fn the_end_of_a_connection_is_said_inside_tls() {
    let origin = Origin::answering("x");
    let (_forwarder, place, one) = secure(&[origin.address], |_| {});
    let mut client =
        TlsClient::connect(place.address, &trusting(&[&one], ANY), "a.example").unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    // Without the alert this is an error: the end could be anybody's.
    assert_eq!(client.stream.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn the_end_is_said_also_to_who_is_silent_for_too_long() {
    let echo = Origin::start(|mut stream, _| {
        let _ = stream.read_to_end(&mut Vec::new()); // until the other has had enough
    });
    let short = Duration::from_millis(200);
    for (protocol, alpn) in [
        (Protocol::Https, "http/1.1"),
        (Protocol::Https, "h2"),
        (Protocol::Tls, ""),
    ] {
        let (_forwarder, place, one) = secure(&[echo.address], |listener| {
            listener.protocol = protocol;
            listener.timeouts.header = short;
            listener.timeouts.keepalive = short;
            listener.timeouts.tunnel = short;
        });
        let mut config = (*trusting(&[&one], ANY)).clone();
        config.alpn_protocols.clear();
        if !alpn.is_empty() {
            config.alpn_protocols.push(alpn.as_bytes().to_vec());
        }
        let config = Arc::new(config);
        let mut client = TlsClient::connect(place.address, &config, "a.example").unwrap();
        if alpn == "h2" {
            // The preface, and SETTINGS without one.
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        }
        // Without the word this is an error.
        let end = client.stream.read_to_end(&mut Vec::new());
        assert!(end.is_ok(), "{protocol:?} {alpn}: {end:?}");
    }
}

#[test]
fn nothing_is_taken_before_the_handshake_is_done() {
    let (origin, notes) = noting();
    let (_forwarder, place, one) = secure(&[origin.address], |_| {});
    let mut config = (*trusting(&[&one], ONLY_1_3)).clone();
    config.enable_early_data = true;
    let config = Arc::new(config);
    assert_eq!(
        get(place.address, &config, "a.example").unwrap().status,
        200
    );
    let name = ServerName::try_from("a.example").unwrap();
    let mut connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    assert!(
        connection.early_data().is_none(),
        "the ticket allows early data"
    );
    let mut client = TlsClient::connect(place.address, &config, "a.example").unwrap();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(
        client.stream.conn.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    assert!(!client.stream.conn.is_early_data_accepted());
    assert_eq!(notes.lock().unwrap().len(), 2);
}

#[test]
fn browsers_are_told_to_come_by_https_if_that_is_wanted() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=1\r\n\r\n"
            .to_vec()
    });
    let (_forwarder, place, one) = secure(&[origin.address], |_| {});
    let config = trusting(&[&one], ANY);
    let field = |address| {
        let answer = get(address, &config, "a.example").unwrap();
        let fields = answer.head.matches("Strict-Transport-Security").count();
        (
            fields,
            answer.field("Strict-Transport-Security").map(str::to_owned),
        )
    };
    assert_eq!(
        field(place.address),
        (1, Some("max-age=1".to_owned())),
        "the target's own"
    );
    let hsts = Some(Duration::from_secs(86_400));
    let (_forwarder, place, one) = secure(&[origin.address], |listener| {
        listener.tls.as_mut().unwrap().hsts = hsts;
    });
    let config = trusting(&[&one], ANY);
    let answer = get(place.address, &config, "a.example").unwrap();
    assert_eq!(answer.head.matches("Strict-Transport-Security").count(), 1);
    assert_eq!(
        answer.field("Strict-Transport-Security"),
        Some("max-age=86400")
    );
    let (_forwarder, place, one) = secure(&[origin.address], |listener| {
        listener.tls.as_mut().unwrap().hsts = hsts;
        listener.default = RuleAction::Respond(balancer::FixedAnswer::plain(404));
    });
    let answer = get(place.address, &trusting(&[&one], ANY), "a.example").unwrap();
    assert_eq!(
        (answer.status, answer.field("Strict-Transport-Security")),
        (404, Some("max-age=86400"))
    );
}

#[test]
fn a_protocol_inside_is_relayed() {
    let origin = Origin::start(|mut stream, _| {
        read_request(&mut stream, &mut Vec::new()).unwrap();
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n",
            )
            .unwrap();
        let mut buf = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buf) {
            stream.write_all(&buf[..count]).unwrap();
        }
    });
    let (_forwarder, place, one) = secure(&[origin.address], |_| {});
    let mut client =
        TlsClient::connect(place.address, &trusting(&[&one], ANY), "a.example").unwrap();
    client
        .send("GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n");
    let head = read_until(&mut client.stream, &mut client.input, b"\r\n\r\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    for word in ["one", "two"] {
        client.send(word);
        assert_eq!(
            read_until(&mut client.stream, &mut client.input, word.as_bytes()).unwrap(),
            word.as_bytes()
        );
    }
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    assert_eq!(
        client.stream.read(&mut [0; 16]).unwrap(),
        0,
        "the end comes back"
    );
}

#[test]
fn a_certificate_is_exchanged_under_connections_that_live() {
    let origin = Origin::answering("x");
    let (forwarder, place, old) = secure(&[origin.address], |_| {});
    let mut kept = TlsClient::connect(place.address, &trusting(&[&old], ANY), "a.example").unwrap();
    assert_eq!(kept.get("/").status, 200);
    let new = certificate("one", &["a.example"]);
    let apply = |material: &CertificateMaterial| {
        let groups = vec![group("g", &[origin.address])];
        forwarder.apply_with(
            vec![https(&place, &["one"])],
            groups,
            &materials(&[material]),
        )
    };
    apply(&new).unwrap();
    assert!(get(place.address, &trusting(&[&new], ANY), "a.example").is_ok());
    assert!(get(place.address, &trusting(&[&old], ANY), "a.example").is_err());
    assert_eq!(kept.get("/").status, 200);

    let broken = CertificateMaterial {
        key: old.key.clone(),
        ..new.clone()
    };
    let refused = apply(&broken).unwrap_err().to_string();
    assert_eq!(refused, "listener web cannot do TLS");
    assert!(
        get(place.address, &trusting(&[&new], ANY), "a.example").is_ok(),
        "nothing changed"
    );
}
