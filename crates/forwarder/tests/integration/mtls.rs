//! Certificates of clients, and ours towards targets: who is let in, what targets are told, what a changed demand ends.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use balancer::{
    Check, ClientCertificate, ClientTlsSettings, GroupSettings, ListenerSettings, Protocol,
    TargetTlsSettings, TlsSettings,
};
use forwarder::{AccessLogFormat, CertificateMaterial, Forwarder, Materials};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::access_log::Log;
use crate::support::*;
use crate::tls::{ANY, ONLY_1_2, ONLY_1_3, TlsClient, Versions, causes, certificate};

/// Somebody who vouches for clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A certificate for somebody of this name, with this serial number.
    fn vouches(
        &self,
        name: &str,
        serial: u64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateMaterial {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        CertificateMaterial {
            name: name.to_owned(),
            names: Vec::new(),
            chain: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
            staple: None,
        }
    }

    fn revokes(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A listener that asks its clients who they are, and what it needs.
struct Door {
    place: Place,
    forwarder: Forwarder,
    own: CertificateMaterial,
    origin: Origin,
    notes: Notes,
}

impl Door {
    fn new() -> Self {
        let (origin, notes) = noting();
        Self {
            place: place(),
            forwarder: forwarder(),
            own: certificate("one", &["a.example"]),
            origin,
            notes,
        }
    }

    fn asks(&self, certificate: ClientCertificate, ca: &Authority, revoked: Option<&[u64]>) {
        let lists = revoked.map(|serials| ca.revokes(serials));
        self.apply(certificate, ca.pem(), lists);
    }

    /// All of these authorities may vouch for clients.
    fn asks_any(&self, certificate: ClientCertificate, all: &[&Authority]) {
        self.apply(certificate, all.iter().map(|ca| ca.pem()).collect(), None);
    }

    fn apply(&self, certificate: ClientCertificate, authorities: String, lists: Option<String>) {
        let mut tls = TlsSettings::new(["one"]);
        tls.clients = Some(ClientTlsSettings {
            ca: "clients.pem".to_owned(),
            crl: lists.as_ref().map(|_| "clients.crl".to_owned()),
            certificate,
        });
        let listener = ListenerSettings {
            tls: Some(tls),
            ..ListenerSettings::new("web", Protocol::Https, vec![self.place.address], "g")
        };
        let lists = lists.map(|lists| ("clients.crl".to_owned(), lists));
        let materials = Materials {
            certificates: vec![self.own.clone()],
            authorities: [("clients.pem".to_owned(), authorities)].into(),
            revocations: lists.into_iter().collect(),
            ..Materials::default()
        };
        let groups = vec![group("g", &[self.origin.address])];
        self.forwarder
            .apply_with(vec![listener], groups, &materials)
            .unwrap();
    }

    /// A client that shows this certificate, or none.
    fn client(&self, shown: Option<&CertificateMaterial>, versions: Versions) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_slice(self.own.chain.as_bytes()).unwrap();
        roots.add(own).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let (chain, key) = parts(shown);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }

    /// Asks once; how the handshake went, if the client was let in.
    fn ask(&self, client: &Arc<ClientConfig>) -> Option<HandshakeKind> {
        let mut client = TlsClient::connect(self.place.address, client, "a.example").ok()?;
        let forged = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Client-Cert-Name: CN=forged\r\n\
                      x_client_cert_name: CN=forged\r\nClient-Cert: :forged:\r\nClient-Cert-Chain: :forged:\r\n\r\n";
        client.stream.write_all(forged.as_bytes()).ok()?;
        // In TLS 1.3 a refusal comes only with the answer.
        let answer = read_answer(&mut client.stream, &mut client.input)?;
        assert_eq!(answer.status, 200);
        client.stream.conn.handshake_kind()
    }

    /// What the target was told last about the client.
    fn told(&self) -> Option<String> {
        let notes = self.notes.lock().unwrap();
        let head = &notes.last().unwrap().head;
        assert!(!head.contains("forged"), "{head}");
        let mut lines = head.lines();
        let line = lines.find_map(|line| line.strip_prefix("X-Client-Cert-Name: "));
        line.map(str::to_owned)
    }
}

fn parts(material: &CertificateMaterial) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(material.chain.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes()).unwrap();
    (chain.map(Result::unwrap).collect(), key)
}

#[test]
fn only_those_an_authority_vouches_for_are_let_in_and_targets_learn_who_they_are() {
    let (door, ca) = (Door::new(), Authority::new("clients"));
    door.asks(ClientCertificate::Require, &ca, None);
    let alice = ca.vouches("alice", 1, |_| {});
    let others = [
        None,
        Some(Authority::new("clients").vouches("alice", 1, |_| {})),
        Some(ca.vouches("server", 2, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })),
        Some(ca.vouches("old", 3, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })),
        Some(ca.vouches("young", 4, |params| {
            params.not_before = date_time_ymd(2090, 1, 1);
            params.not_after = date_time_ymd(2091, 1, 1);
        })),
    ];
    for (round, versions) in [ONLY_1_2, ONLY_1_3].into_iter().enumerate() {
        let client = door.client(Some(&alice), versions);
        assert_ne!(door.ask(&client), Some(HandshakeKind::Resumed));
        assert_eq!(door.told().as_deref(), Some("CN=alice,O=Example"));
        assert_eq!(door.ask(&client), Some(HandshakeKind::Resumed));
        assert_eq!(
            door.told().as_deref(),
            Some("CN=alice,O=Example"),
            "who comes back is still the same"
        );
        for other in &others {
            let client = door.client(other.as_ref(), versions);
            assert_eq!(door.ask(&client), None, "{other:?}");
        }
        eventually("all of them are counted", || {
            causes(&door.forwarder, "client-unverified@handshake") == 5 * (round as u64 + 1)
        });
    }
    let handshakes = door.forwarder.snapshot().listeners[0].handshakes;
    assert_eq!((handshakes.total(), handshakes.resumed()), (4, 2));
}

#[test]
fn where_a_certificate_is_allowed_who_has_none_is_nobody_and_a_wrong_one_is_refused() {
    let (door, ca) = (Door::new(), Authority::new("clients"));
    door.asks(ClientCertificate::Allow, &ca, None);
    for versions in [ONLY_1_2, ONLY_1_3] {
        assert!(door.ask(&door.client(None, versions)).is_some());
        assert_eq!(door.told(), None);
        let alice = ca.vouches("alice", 1, |_| {});
        assert!(door.ask(&door.client(Some(&alice), versions)).is_some());
        assert_eq!(door.told().as_deref(), Some("CN=alice,O=Example"));
        let stranger = Authority::new("others").vouches("alice", 1, |_| {});
        assert_eq!(door.ask(&door.client(Some(&stranger), versions)), None);
    }
}

#[test]
fn who_was_revoked_is_refused_also_with_a_ticket_from_before() {
    let (door, ca) = (Door::new(), Authority::new("clients"));
    let (alice, bob) = (ca.vouches("alice", 1, |_| {}), ca.vouches("bob", 2, |_| {}));
    for versions in [ONLY_1_2, ONLY_1_3] {
        let clients = [&alice, &bob].map(|one| door.client(Some(one), versions));
        door.asks(ClientCertificate::Require, &ca, Some(&[]));
        for client in &clients {
            assert!(door.ask(client).is_some());
            assert_eq!(door.ask(client), Some(HandshakeKind::Resumed));
        }
        door.asks(ClientCertificate::Require, &ca, Some(&[2]));
        assert_eq!(door.ask(&clients[0]), Some(HandshakeKind::Full));
        assert_eq!(door.ask(&clients[1]), None, "bob was revoked");
        eventually("it is counted", || {
            causes(&door.forwarder, "client-unverified@handshake") > 0
        });
    }
}

#[test]
fn a_ticket_is_none_where_more_is_asked() {
    let (door, ca) = (Door::new(), Authority::new("clients"));
    for versions in [ONLY_1_2, ONLY_1_3] {
        let nobody = door.client(None, versions);
        door.asks(ClientCertificate::Allow, &ca, None);
        assert!(door.ask(&nobody).is_some());
        assert_eq!(door.ask(&nobody), Some(HandshakeKind::Resumed));
        door.asks(ClientCertificate::Require, &ca, None);
        assert_eq!(door.ask(&nobody), None);

        let alice = ca.vouches("alice", 1, |_| {});
        let alice = door.client(Some(&alice), versions);
        assert!(door.ask(&alice).is_some());
        door.asks(ClientCertificate::Require, &Authority::new("others"), None);
        assert_eq!(door.ask(&alice), None, "others decide who comes in");
    }
}

#[test]
fn a_ticket_of_somebody_whose_authority_was_taken_away_does_not_resume() {
    let door = Door::new();
    let (ours, partners) = (Authority::new("ours"), Authority::new("partners"));
    let (alice, bob) = (
        ours.vouches("alice", 1, |_| {}),
        partners.vouches("bob", 1, |_| {}),
    );
    let unverified = || causes(&door.forwarder, "client-unverified@handshake");
    let resumed = || door.forwarder.snapshot().listeners[0].handshakes.resumed();
    for versions in [ONLY_1_2, ONLY_1_3] {
        for demand in [ClientCertificate::Require, ClientCertificate::Allow] {
            let clients = [&alice, &bob].map(|one| door.client(Some(one), versions));
            door.asks_any(demand, &[&ours, &partners]);
            for client in &clients {
                assert!(door.ask(client).is_some());
                assert_eq!(door.ask(client), Some(HandshakeKind::Resumed));
            }
            let before = (unverified(), resumed());
            door.asks_any(demand, &[&ours]);
            assert_eq!(door.ask(&clients[1]), None, "{demand:?}");
            // It was refused for what it showed, so it was asked anew.
            eventually("it is counted", || unverified() == before.0 + 1);
            assert_eq!(resumed(), before.1);
            assert_ne!(door.ask(&clients[0]), Some(HandshakeKind::Resumed));
            assert_eq!(door.told().as_deref(), Some("CN=alice,O=Example"));
            assert_eq!(door.ask(&clients[0]), Some(HandshakeKind::Resumed));
        }
    }
}

#[test]
fn the_access_log_tells_how_clients_came_and_why_they_did_not() {
    let (door, ca) = (Door::new(), Authority::new("clients"));
    let log = Log::begin(&door.forwarder, AccessLogFormat::Json);
    door.asks(ClientCertificate::Require, &ca, None);
    let alice = ca.vouches("alice", 1, |_| {});
    let client = door.client(Some(&alice), ONLY_1_3);
    assert!(door.ask(&client).is_some() && door.ask(&client).is_some());
    assert_eq!(door.ask(&door.client(None, ONLY_1_3)), None);
    let lines = log.lines(3);
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap_or("").to_owned();
    // Threads write each for itself, so nothing is said about the order.
    let served = |line: &&serde_json::Value| line["status"].as_u64() == Some(200);
    let (served, others): (Vec<_>, Vec<_>) = lines.iter().partition(served);
    assert_eq!((served.len(), others.len()), (2, 1), "{lines:?}");
    for line in &served {
        assert_eq!(text(line, "tls"), "1.3", "{lines:?}");
        assert_eq!(text(line, "cipher"), "TLS_AES_256_GCM_SHA384");
        assert_eq!(text(line, "key_exchange"), "X25519MLKEM768");
        assert_eq!(text(line, "sni"), "a.example");
        assert_eq!(text(line, "client_cert"), "CN=alice,O=Example");
    }
    let resumed = served
        .iter()
        .filter(|line| line["tls_resumed"].as_bool() == Some(true));
    assert_eq!(resumed.count(), 1, "{lines:?}");
    let refused = others[0];
    assert_eq!(text(refused, "cause"), "client-unverified@handshake");
    assert_eq!(text(refused, "detail"), "no certificate");
    assert_eq!(text(refused, "proto"), "tls");
}

/// A target that lets in only those `ca` vouches for, and answers with the length of what it was shown.
fn picky_origin(own: &CertificateMaterial, ca: &Authority) -> Origin {
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.as_ref().der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (chain, key) = parts(own);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    Origin::start(move |tcp, _| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        let mut input = Vec::new();
        while read_request(&mut stream, &mut input).is_some() {
            let shown = stream.conn.peer_certificates().unwrap()[0].len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{shown:4}");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn targets_are_shown_who_we_are_by_requests_and_checks_and_a_changed_certificate_by_new_connections()
 {
    let (place, forwarder) = (place(), forwarder());
    let ca = Authority::new("balancers");
    let internal = certificate("internal", &["web.internal"]);
    let origin = picky_origin(&internal, &ca);
    let apply = |shown: Option<&CertificateMaterial>| {
        let mut group = GroupSettings {
            tls: Some(TargetTlsSettings {
                name: Some("web.internal".to_owned()),
                ca: "ca.pem".to_owned(),
                certificate: shown.map(|_| "us".to_owned()),
            }),
            ..group("g", &[origin.address])
        };
        group.health.check = Check::http("/");
        group.health.every = Duration::from_millis(50);
        group.health.fast = Duration::from_millis(20);
        let certificates = shown.map(|shown| CertificateMaterial {
            name: "us".to_owned(),
            ..shown.clone()
        });
        let materials = Materials {
            certificates: certificates.into_iter().collect(),
            authorities: [("ca.pem".to_owned(), internal.chain.clone())].into(),
            ..Materials::default()
        };
        forwarder.apply_with(vec![http_listener(&place)], vec![group], &materials)
    };
    let check = || forwarder.snapshot().groups[0].targets[0].check.as_str();
    let length = |shown: &CertificateMaterial| format!("{:4}", parts(shown).0[0].len());

    apply(None).unwrap();
    eventually("the check is refused", || check() == "down");
    assert_eq!(Client::connect(place.address).get("/").status, 502);
    let first = ca.vouches("lb", 1, |_| {});
    let second = ca.vouches("lb of another length", 2, |_| {});
    apply(Some(&first)).unwrap();
    eventually("the check is let in", || check() == "up");
    let mut client = Client::connect(place.address);
    assert_eq!(client.get("/").text(), length(&first));
    apply(Some(&second)).unwrap();
    assert_eq!(
        client.get("/").text(),
        length(&second),
        "a kept connection of another certificate is not used"
    );
    let strange = CertificateMaterial {
        key: first.key.clone(),
        ..second.clone()
    };
    let refused = apply(Some(&strange)).unwrap_err().to_string();
    assert_eq!(refused, "group g cannot do TLS");
    assert_eq!(client.get("/").text(), length(&second), "nothing changed");
}

#[test]
fn http2_streams_carry_the_name_as_well() {
    let (door, ca) = (Door::new(), Authority::new("clients"));
    door.asks(ClientCertificate::Require, &ca, None);
    let mut config = (*door.client(Some(&ca.vouches("alice", 1, |_| {})), ANY)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = door.place.address;
    crate::http2::client(async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = "a.example".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, tcp).await.unwrap();
        let (send, _connection) = crate::http2::converse(stream).await;
        let forged = http::Request::builder()
            .uri("https://a.example/")
            .header("x-client-cert-name", "CN=forged")
            .body(())
            .unwrap();
        for _ in 0..2 {
            let (answer, _) = crate::http2::start(&send, forged.clone(), true).await;
            assert_eq!(answer.await.unwrap().status(), 200);
            assert_eq!(door.told().as_deref(), Some("CN=alice,O=Example"));
        }
    });
}
