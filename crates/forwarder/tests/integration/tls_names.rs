//! First words of clients as they may come, at a listener that routes by the name in them: in pieces, without a name, with
//! a second name that is encrypted.

use std::sync::Arc;

use balancer::{ListenerSettings, RuleAction};
use forwarder::{CertificateMaterial, Forwarder};
use rustls::ClientConfig;
use rustls::client::{EchConfig, EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128 as HPKE;
use rustls::crypto::hpke::Hpke;
use rustls::pki_types::EchConfigListBytes;

use crate::support::*;
use crate::tls::{ANY, ONLY_1_2, TlsClient, Versions, certificate, get, trusting};
use crate::tls_targets::{by_name, https_origin, tls_listener};

/// Octets before the length of a record and with it.
const RECORD_HEAD: usize = 5;

/// A listener that sends `a.example` and `b.example` to a target each, and all others to a third.
struct Crossing {
    place: Place,
    _forwarder: Forwarder,
    certificates: [CertificateMaterial; 3],
    origins: [Origin; 3],
}

impl Crossing {
    fn new() -> Self {
        let certificates =
            ["a.example", "b.example", "127.0.0.1"].map(|name| certificate(name, &[name]));
        let [a, b, other] = &certificates;
        let origins = [
            https_origin(a, "a"),
            https_origin(b, "b"),
            https_origin(other, "default"),
        ];
        let (place, forwarder) = (place(), forwarder());
        let listener = ListenerSettings {
            rules: vec![by_name("a.example", "a"), by_name("b.example", "b")],
            default: RuleAction::Forward("other".to_owned()),
            ..tls_listener(&place)
        };
        let groups = ["a", "b", "other"].into_iter().zip(&origins);
        let groups = groups.map(|(name, origin)| group(name, &[origin.address]));
        forwarder.apply(vec![listener], groups.collect()).unwrap();
        Self {
            place,
            _forwarder: forwarder,
            certificates,
            origins,
        }
    }

    /// A client that believes each of the targets.
    fn client(&self, versions: Versions) -> Arc<ClientConfig> {
        trusting(&self.certificates.each_ref(), versions)
    }

    /// The same, with the extension for an encrypted hello.
    fn client_with_ech(&self, mode: EchMode) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let mut roots = rustls::RootCertStore::empty();
        for one in &self.certificates {
            roots.add(crate::tls::der(one)).unwrap();
        }
        let builder = builder.with_ech(mode).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Connections that each target was given so far.
    fn given(&self) -> [usize; 3] {
        self.origins.each_ref().map(Origin::connections)
    }
}

/// The same message in records that carry `size` octets each, each record by itself.
fn records(hello: &[u8], size: usize) -> Vec<Vec<u8>> {
    let pieces = hello[RECORD_HEAD..].chunks(size);
    let record = |piece: &[u8]| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&hello[..3], &length, piece].concat()
    };
    pieces.map(record).collect()
}

#[test]
fn a_hello_in_any_packets_and_records_goes_where_its_name_leads() {
    let crossing = Crossing::new();
    for versions in [ONLY_1_2, ANY] {
        let client = crossing.client(versions);
        for (name, body) in [
            ("a.example", "a"),
            ("b.example", "b"),
            ("127.0.0.1", "default"),
        ] {
            let ask = |pieces: &dyn Fn(&[u8]) -> Vec<Vec<u8>>| {
                let address = crossing.place.address;
                let connected = TlsClient::connect_in_pieces(address, &client, name, pieces);
                assert_eq!(connected.unwrap().get("/").text(), body);
            };
            ask(&|hello| hello.chunks(50).map(<[u8]>::to_vec).collect());
            // The first packet ends within the head of the record, the second within the name.
            let at = |hello: &[u8]| {
                let found = hello
                    .windows(name.len())
                    .position(|at| at == name.as_bytes());
                found.map_or(hello.len() / 2, |at| at + 3)
            };
            ask(&|hello| {
                let at = at(hello);
                vec![
                    hello[..3].to_vec(),
                    hello[3..at].to_vec(),
                    hello[at..].to_vec(),
                ]
            });
            for size in [100, 500] {
                ask(&|hello| records(hello, size));
                ask(&|hello| vec![records(hello, size).concat()]);
            }
        }
    }
}

#[test]
fn who_asks_for_nobody_is_sent_where_the_listener_sends_all_others() {
    let crossing = Crossing::new();
    let client = crossing.client(ANY);
    // An address is no name: nothing is asked for.
    let answer = get(crossing.place.address, &client, "127.0.0.1").unwrap();
    assert_eq!(answer.text(), "default");
    assert_eq!(crossing.given(), [0, 0, 1]);
}

#[test]
fn of_a_hello_with_an_encrypted_one_inside_the_outer_name_counts() {
    let crossing = Crossing::new();
    let (key, _) = HPKE.generate_key_pair().unwrap();
    // What browsers send where there is nothing to encrypt: it leads nowhere else.
    let grease = EchGreaseConfig::new(HPKE, key.clone());
    let client = crossing.client_with_ech(EchMode::Grease(grease));
    let answer = get(crossing.place.address, &client, "a.example").unwrap();
    assert_eq!(answer.text(), "a");
    assert_eq!(crossing.given(), [1, 0, 0]);

    // One for b.example, in an envelope addressed to a.example (RFC 9849 §4).
    let public_name = b"a.example";
    let contents = [
        &[7, 0, 0x20, 0, key.0.len() as u8][..], // its id; X25519 with HKDF-SHA256
        &key.0,
        &[0, 4, 0, 1, 0, 1], // HKDF-SHA256 with AES-128-GCM
        &[0, public_name.len() as u8],
        public_name,
        &[0, 0],
    ]
    .concat();
    let config = [&[0xfe, 0x0d, 0, contents.len() as u8][..], &contents].concat();
    let list = [&[0, config.len() as u8][..], &config].concat();
    let sealed = EchConfig::new(EchConfigListBytes::from(list), &[HPKE as &dyn Hpke]).unwrap();
    let client = crossing.client_with_ech(EchMode::Enable(sealed));
    let refused = get(crossing.place.address, &client, "b.example").unwrap_err();
    // The target of the outer name cannot open it, and says so under that name.
    assert!(
        refused.to_string().contains("Ech") || refused.to_string().contains("Encrypted"),
        "{refused}"
    );
    assert_eq!(crossing.given(), [2, 0, 0]);
}
