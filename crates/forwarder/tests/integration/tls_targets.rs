//! TLS beyond https: connections routed by the name they ask for, TLS that ends before a TCP target, TLS to targets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use balancer::{
    Check, CheckTls, Condition, Glob, GroupSettings, ListenerSettings, Protocol, RuleAction,
    RuleSettings, TargetTlsSettings, TlsSettings,
};
use forwarder::{CertificateMaterial, Materials};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::*;
use crate::tls::{ANY, TlsClient, causes, certificate, get, materials, trusting};

/// How a target with this certificate speaks TLS.
pub(crate) fn server(certificate: &CertificateMaterial) -> ServerConfig {
    let chain = CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap()
}

/// A target that speaks TLS; `serve` gets what is inside.
fn tls_origin(
    certificate: &CertificateMaterial,
    serve: impl Fn(&mut dyn ReadWrite) + Send + Sync + 'static,
) -> Origin {
    let config = Arc::new(server(certificate));
    Origin::start(move |tcp, _| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        serve(&mut stream);
        stream.conn.send_close_notify();
        let _ = stream.flush();
    })
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// The same, answering each request with this body.
pub(crate) fn https_origin(certificate: &CertificateMaterial, body: &'static str) -> Origin {
    tls_origin(certificate, move |mut stream| {
        let mut input = Vec::new();
        while read_request(&mut stream, &mut input).is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream
                .write_all(format!("{head}{body}").as_bytes())
                .is_err()
            {
                return;
            }
        }
    })
}

pub(crate) fn by_name(name: &str, group: &str) -> RuleSettings {
    RuleSettings::new(
        name,
        vec![Condition::Sni(vec![Glob::any_case(name)])],
        group,
    )
}

pub(crate) fn tls_listener(place: &Place) -> ListenerSettings {
    ListenerSettings {
        default: RuleAction::Close,
        ..ListenerSettings::new("web", Protocol::Tls, vec![place.address], "g")
    }
}

#[test]
fn connections_go_where_their_names_lead_and_nobody_looks_inside() {
    let (place, forwarder) = (place(), forwarder());
    let (a, b) = (
        certificate("a", &["a.example"]),
        certificate("b", &["x.b.example"]),
    );
    let (first, second) = (https_origin(&a, "first"), https_origin(&b, "second"));
    let listener = ListenerSettings {
        rules: vec![by_name("a.example", "a"), by_name("*.b.example", "b")],
        ..tls_listener(&place)
    };
    let groups = vec![group("a", &[first.address]), group("b", &[second.address])];
    forwarder.apply(vec![listener], groups).unwrap();
    let (trust_a, trust_b) = (trusting(&[&a], ANY), trusting(&[&b], ANY));
    assert_eq!(
        get(place.address, &trust_a, "a.example").unwrap().text(),
        "first"
    );
    assert_eq!(
        get(place.address, &trust_b, "x.b.example").unwrap().text(),
        "second"
    );
    assert!(
        get(place.address, &trust_a, "c.example").is_err(),
        "nobody waits for that name"
    );

    let mut plain = Client::connect(place.address);
    plain.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(plain.rest().unwrap_or_default(), b"");
    eventually("it is counted", || {
        causes(&forwarder, "client-malformed@handshake") == 1
    });
    let listener = &forwarder.snapshot().listeners[0];
    assert_eq!(
        (listener.protocol.as_str(), listener.handshakes.total()),
        ("tls", 0)
    );
}

#[test]
fn a_client_that_never_asks_is_cut() {
    let (place, forwarder) = (place(), forwarder());
    let mut listener = tls_listener(&place);
    listener.timeouts.handshake = Duration::from_millis(200);
    forwarder.apply(vec![listener], Vec::new()).unwrap();
    let mut silent = Client::connect(place.address);
    silent.send([0x16, 0x03, 0x01]);
    assert_eq!(silent.rest().unwrap_or_default(), b"");
    eventually("it is counted", || {
        causes(&forwarder, "client-timeout@handshake") == 1
    });
}

#[test]
fn tls_can_end_before_a_target_that_speaks_anything() {
    let (place, forwarder) = (place(), forwarder());
    let one = certificate("one", &["a.example"]);
    let origin = Origin::start(|mut stream, _| {
        let mut buf = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buf) {
            stream.write_all(&buf[..count]).unwrap();
        }
    });
    let mut tls = TlsSettings::new(["one"]);
    tls.alpn.clear();
    let listener = ListenerSettings {
        tls: Some(tls),
        rules: vec![by_name("a.example", "g")],
        ..tls_listener(&place)
    };
    let groups = vec![group("g", &[origin.address])];
    forwarder
        .apply_with(vec![listener], groups, &materials(&[&one]))
        .unwrap();
    let mut client =
        TlsClient::connect(place.address, &trusting(&[&one], ANY), "a.example").unwrap();
    for word in ["one", "two"] {
        client.send(word);
        let read = read_until(&mut client.stream, &mut client.input, word.as_bytes());
        assert_eq!(read.unwrap(), word.as_bytes());
    }
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    assert_eq!(
        client.stream.read(&mut [0; 16]).unwrap(),
        0,
        "the end comes back"
    );
}

pub(crate) fn encrypted(targets: &[SocketAddr], name: &str) -> GroupSettings {
    GroupSettings {
        tls: Some(TargetTlsSettings {
            name: Some(name.to_owned()),
            ca: "ca.pem".to_owned(),
            certificate: None,
        }),
        ..group("g", targets)
    }
}

pub(crate) fn vouching(certificate: &CertificateMaterial) -> Materials {
    let authority = ("ca.pem".to_owned(), certificate.chain.clone());
    Materials {
        authorities: [authority].into(),
        ..Materials::default()
    }
}

#[test]
fn targets_are_reached_inside_tls_if_they_are_who_they_should_be() {
    let (place, forwarder) = (place(), forwarder());
    let internal = certificate("internal", &["web.internal"]);
    let origin = https_origin(&internal, "inside");
    let apply = |name: &str, authority: &CertificateMaterial| {
        let groups = vec![encrypted(&[origin.address], name)];
        forwarder
            .apply_with(vec![http_listener(&place)], groups, &vouching(authority))
            .unwrap();
    };
    apply("web.internal", &internal);
    let mut client = Client::connect(place.address);
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "inside");
    }
    assert_eq!(origin.connections(), 1, "the connection is kept");
    apply("web.internal", &internal);
    assert_eq!(client.get("/").text(), "inside");
    assert_eq!(
        origin.connections(),
        1,
        "what stays as it was keeps its connections"
    );

    apply("other.internal", &internal);
    let refused = client.get("/");
    assert_eq!(
        refused.status, 502,
        "a kept connection to somebody else is not used"
    );
    assert!(
        refused.text().contains("tls-failed@connect"),
        "{}",
        refused.text()
    );
    let stranger = certificate("stranger", &["web.internal"]);
    apply("web.internal", &stranger);
    assert_eq!(
        Client::connect(place.address).get("/").status,
        502,
        "nobody vouches for it"
    );
    assert_eq!(causes(&forwarder, "tls-failed@connect"), 2);
}

#[test]
fn a_plain_target_is_no_encrypted_one() {
    let (place, forwarder) = (place(), forwarder());
    let internal = certificate("internal", &["web.internal"]);
    let origin = Origin::start(|mut stream, _| {
        stream.write_all(b"220 ready\r\n").unwrap();
        // Until the other has had enough.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let groups = vec![encrypted(&[origin.address], "web.internal")];
    let listener = http_listener(&place);
    forwarder
        .apply_with(vec![listener.clone()], groups, &vouching(&internal))
        .unwrap();
    assert_eq!(Client::connect(place.address).get("/").status, 502);
    let nobody = vec![encrypted(&[origin.address], "web.internal")];
    let refused = forwarder
        .apply(vec![listener], nobody)
        .unwrap_err()
        .to_string();
    assert_eq!(refused, "group g cannot do TLS");
}

#[test]
fn checks_speak_as_requests_do() {
    let (place, forwarder) = (place(), forwarder());
    let internal = certificate("internal", &["web.internal"]);
    let origin = https_origin(&internal, "well");
    let apply = |name: &str, check: Check| {
        let mut group = encrypted(&[origin.address], name);
        group.health.check = check;
        group.health.every = Duration::from_millis(50);
        group.health.fast = Duration::from_millis(20);
        forwarder
            .apply_with(
                vec![http_listener(&place)],
                vec![group],
                &vouching(&internal),
            )
            .unwrap();
    };
    let target = || {
        let target = forwarder.snapshot().groups[0].targets[0].clone();
        (target.check.as_str(), target.why)
    };
    apply("web.internal", Check::http("/"));
    eventually("it is well", || target().0 == "up");
    apply("other.internal", Check::Tcp);
    eventually("it is somebody else", || {
        let (check, why) = target();
        check == "down" && why.contains("tls: invalid peer certificate")
    });
}

#[test]
fn checks_are_inside_tls_or_in_plain_text_as_they_are_told() {
    let internal = certificate("internal", &["web.internal"]);
    let (inside, plain) = (https_origin(&internal, "well"), Origin::answering("well"));
    let named = |name: &str| encrypted(&[], name).tls;
    let on = |name: &str| CheckTls::On(named(name).unwrap());
    let (own, none) = (named("web.internal"), None);
    // What the traffic is in, where the target is checked, if not at its own address, and how; whether that passes.
    let rows = [
        (&own, &plain, None, CheckTls::AsTraffic, false),
        (&own, &plain, None, CheckTls::Off, true),
        (&own, &inside, None, CheckTls::Off, false),
        (&own, &plain, Some(&inside), on("web.internal"), true),
        (&own, &inside, Some(&plain), CheckTls::AsTraffic, true),
        (&none, &inside, None, CheckTls::AsTraffic, false),
        (&none, &inside, None, on("web.internal"), true),
        (&none, &inside, None, on("other.internal"), false),
        (&none, &plain, Some(&inside), on("web.internal"), true),
        (&none, &plain, Some(&inside), CheckTls::AsTraffic, false),
    ];
    for (row, (traffic, target, check, tls, passes)) in rows.into_iter().enumerate() {
        let (place, forwarder) = (place(), forwarder());
        let mut group = group("g", &[target.address]);
        group.tls = traffic.clone();
        group.targets[0].check = check.map(|check| check.address);
        group.health.check = Check::http("/");
        group.health.tls = tls;
        let listener = http_listener(&place);
        forwarder
            .apply_with(vec![listener], vec![group], &vouching(&internal))
            .unwrap();
        eventually("checked", || forwarder.ready().first_health_round_done);
        let target = forwarder.snapshot().groups[0].targets[0].clone();
        let passed = target.check.as_str() == "up";
        assert_eq!(passed, passes, "row {row}: {}", target.why);
    }
}

/// A target inside TLS that sends back everything, then a word, once its client's direction has ended.
fn encrypted_echo_after_the_end(certificate: &CertificateMaterial) -> Origin {
    tls_origin(certificate, |stream| {
        let mut all = Vec::new();
        // Anything but the end said inside TLS is an error here.
        if stream.read_to_end(&mut all).is_ok() {
            all.extend_from_slice(b" - over");
            let _ = stream.write_all(&all);
        }
    })
}

#[test]
fn bytes_are_relayed_to_targets_inside_tls_and_each_end_is_passed_on() {
    let (place, forwarder) = (place(), forwarder());
    let internal = certificate("internal", &["db.internal"]);
    let origin = encrypted_echo_after_the_end(&internal);
    let listener = ListenerSettings::new("raw", Protocol::Tcp, vec![place.address], "g");
    let groups = vec![encrypted(&[origin.address], "db.internal")];
    forwarder
        .apply_with(vec![listener], groups, &vouching(&internal))
        .unwrap();
    // More than is ever copied before a pipe would be tried: there is none through TLS.
    let long: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let mut client = Client::connect(place.address);
    client.send("hello ");
    client.send(&long);
    client.stream.shutdown(Shutdown::Write).unwrap();
    let back = client.rest().unwrap();
    assert!(back.starts_with(b"hello ") && back.ends_with(b" - over"));
    assert_eq!(back.len(), 6 + long.len() + 7);
    assert!(back[6..6 + long.len()] == long, "it came back changed");
    eventually("given back", || in_flight(&forwarder.snapshot()) == 0);
    let causes = forwarder.snapshot().listeners[0].causes.clone();
    assert!(causes.iter().all(|(_, count)| *count == 0), "{causes:?}");
}

#[test]
fn a_connection_to_a_target_that_is_somebody_else_is_reset() {
    let (place, forwarder) = (place(), forwarder());
    let internal = certificate("internal", &["db.internal"]);
    let origin = encrypted_echo_after_the_end(&internal);
    let listener = ListenerSettings::new("raw", Protocol::Tcp, vec![place.address], "g");
    let groups = vec![encrypted(&[origin.address], "other.internal")];
    forwarder
        .apply_with(vec![listener], groups, &vouching(&internal))
        .unwrap();
    let mut client = Client::connect(place.address);
    assert!(client.rest().is_err(), "a reset, not an empty answer");
    eventually("it is counted", || {
        causes(&forwarder, "tls-failed@connect") == 1
    });
    let target = forwarder.snapshot().groups[0].targets[0].clone();
    assert!(target.errors_total >= 1, "held against the target");
}

#[test]
fn tls_ends_here_and_begins_anew_to_the_target() {
    let (place, forwarder) = (place(), forwarder());
    let (outside, internal) = (
        certificate("one", &["a.example"]),
        certificate("internal", &["db.internal"]),
    );
    let origin = encrypted_echo_after_the_end(&internal);
    let mut tls = TlsSettings::new(["one"]);
    tls.alpn.clear();
    let listener = ListenerSettings {
        tls: Some(tls),
        rules: vec![by_name("a.example", "g")],
        ..tls_listener(&place)
    };
    let groups = vec![encrypted(&[origin.address], "db.internal")];
    let known = Materials {
        authorities: vouching(&internal).authorities,
        ..materials(&[&outside])
    };
    forwarder
        .apply_with(vec![listener], groups, &known)
        .unwrap();
    let mut client =
        TlsClient::connect(place.address, &trusting(&[&outside], ANY), "a.example").unwrap();
    client.send("secret");
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    let mut back = Vec::new();
    // Without the end said inside TLS this is an error.
    client.stream.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"secret - over");
}
