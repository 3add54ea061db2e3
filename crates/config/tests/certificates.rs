//! Files of certificates: what is taken, what is refused with which words, and what is worth a warning.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balancer::CheckTls;
use config::{Facts, Outcome, diff, load};
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm, date_time_ymd};

/// 2030-01-01.
const NOW: Duration = Duration::from_secs(1_893_456_000);
const DAY: Duration = Duration::from_secs(86_400);

/// Chain and key in PEM form, valid for the whole of 2029 to 2031.
fn pair(names: &[&str], algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn ecdsa(names: &[&str]) -> (String, String) {
    pair(names, &rcgen::PKCS_ECDSA_P256_SHA256)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, cert: &str, key: &str) {
        fs::write(self.0.path().join("app.pem"), cert).unwrap();
        let path = self.0.path().join("app.key");
        fs::write(&path, key).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, rules: &str, now: SystemTime) -> Outcome {
        let text = format!(
            "[listener.web]\nbind = \"10.0.0.1:443\"\nrespond = \"close\"\ntls = {{ certificates = [\"app\"] }}\n\
             {rules}[certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n"
        );
        let facts = Facts {
            file_access: true,
            now: Some(now),
            ..Facts::default()
        };
        load(&self.0.path().join("t.toml"), &text, &facts)
    }

    /// What is said, without the name of the folder.
    fn said(&self, rules: &str, now: SystemTime) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        let outcome = self.load(rules, now);
        let lines = outcome
            .report
            .lines(Path::new("t.toml"))
            .replace(&folder, "");
        lines
            .lines()
            // There is no pair here, which is shown elsewhere.
            .filter(|line| !line.contains("warning[W076]"))
            .map(|line| line.trim_start_matches("t.toml:").to_owned())
            .collect()
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

#[test]
fn what_the_files_hold_is_read() {
    let folder = Folder::new();
    let rows = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA P-256"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "ECDSA P-521"),
        (&rcgen::PKCS_RSA_SHA256, "RSA 2048"),
        (&rcgen::PKCS_ED25519, "Ed25519"),
    ];
    for (algorithm, kind) in rows {
        let (cert, key) = pair(&["App.example.com", "*.example.org"], algorithm);
        folder.write(&cert, &key);
        let outcome = folder.load("", now());
        assert_eq!(folder.said("", now()), Vec::<String>::new());
        let config = outcome.config.unwrap();
        let content = config.certificates[0].content.as_ref().unwrap();
        assert_eq!(content.names, ["app.example.com", "*.example.org"]);
        assert_eq!(content.key_kind, kind);
        assert_eq!(content.not_after, UNIX_EPOCH + NOW + 365 * DAY);
        assert!(
            !format!("{config:?}").contains("PRIVATE KEY"),
            "the key is shown"
        );
        assert_eq!(
            config.listeners[0].tls.as_ref().unwrap().certificates,
            ["app"]
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_errors_that_name_the_remedy() {
    let folder = Folder::new();
    let (cert, key) = ecdsa(&["a.example"]);
    let (other, other_key) = ecdsa(&["a.example"]);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let rows = [
        (
            (String::new(), key.clone()),
            "6:8: error[E040]: certificate `app`: app.pem holds no certificate; it must be in PEM form: BEGIN CERTIFICATE",
        ),
        (
            (garbage.to_owned(), key.clone()),
            "6:8: error[E040]: certificate `app`: certificate 1 in app.pem is not one; it must be in PEM form: BEGIN CERTIFICATE",
        ),
        (
            (cert.clone(), cert.clone()),
            "7:7: error[E040]: certificate `app`: app.key holds no private key that is not encrypted; it must be in PEM form; \
             take the password away with `openssl pkey -in app.key -out NEW`",
        ),
        (
            (cert.clone(), other_key.clone()),
            "7:7: error[E040]: certificate `app`: the key in app.key does not match the certificate in app.pem; give the key the \
             certificate was made with",
        ),
        (
            (format!("{cert}{other}"), other_key.clone()),
            "7:7: error[E040]: certificate `app`: the key in app.key does not match the certificate in app.pem; it matches \
             certificate 2 in that file: put that one first",
        ),
        (
            (cert.repeat(17), key.clone()),
            "6:8: error[E040]: certificate `app`: app.pem holds more than 16 certificates; give the certificate and those between \
             it and the root",
        ),
    ];
    for ((cert, key), expected) in rows {
        folder.write(&cert, &key);
        assert_eq!(folder.said("", now()), [expected]);
        assert!(folder.load("", now()).config.is_none());
    }
    fs::remove_file(folder.0.path().join("app.pem")).unwrap();
    let missing = "6:8: error[E040]: certificate `app`: cannot read app.pem: No such file or directory (os error 2); check that it \
                   exists, and that root owns it or may read it";
    assert_eq!(folder.said("", now()), [missing]);
}

#[test]
fn what_works_but_not_for_long_or_not_for_everybody_is_a_warning() {
    let folder = Folder::new();
    let (cert, key) = ecdsa(&["a.example.com", "*.example.org"]);
    folder.write(&cert, &key);
    let at = |text: &str| format!("6:8: warning[E040]: certificate `app`: {text}");
    let end = now() + 365 * DAY;
    assert_eq!(folder.said("", end - 14 * DAY), Vec::<String>::new());
    assert_eq!(
        folder.said("", end - 13 * DAY),
        [at("it expires in 13 days; renew it")]
    );
    assert_eq!(
        folder.said("", end - DAY),
        [at("it expires in 1 day; renew it")]
    );
    assert_eq!(
        folder.said("", end + 2 * DAY),
        [at("it expired 2 days ago: clients refuse it; renew it")]
    );
    let early = at("it is valid only in 1 day; is the clock of this host right?");
    assert_eq!(folder.said("", now() - 366 * DAY), [early]);
    assert!(
        folder.load("", end + 2 * DAY).config.is_some(),
        "old ones are better than none"
    );

    let rule = |host: &str| {
        format!("[[listener.web.rule]]\nwhen = {{ host = \"{host}\" }}\nrespond = 404\n")
    };
    for covered in [
        "a.example.com",
        "A.example.com",
        "x.example.org",
        "*.example.org",
        "a*.example.net",
    ] {
        assert_eq!(
            folder.said(&rule(covered), now()),
            Vec::<String>::new(),
            "{covered}"
        );
    }
    for foreign in [
        "b.example.com",
        "example.org",
        "x.y.example.org",
        "*.example.com",
    ] {
        let said = folder.said(&rule(foreign), now());
        let expected = format!(
            "4:25: warning[E040]: no certificate of listener `web` is for {foreign}, which rule `1` waits for; clients refuse the \
             connection: add a certificate for that name"
        );
        assert_eq!(said, [expected]);
    }

    folder.write(&cert.repeat(2), &key);
    assert_eq!(
        folder.said("", now()),
        [at(
            "its chain holds the certificate itself twice; remove the second one"
        )]
    );
    folder.write(&cert, &key);
    let path = folder.0.path().join("app.key");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let open = at(
        "everybody on this host may read its key (mode 0644); take that right away with `chmod o-r`",
    );
    assert_eq!(folder.said("", now()), [open]);
    let (nameless, key) = ecdsa(&[]);
    folder.write(&nameless, &key);
    let nobody =
        at("it is for no DNS name; clients ask for a subjectAltName: have it made with one");
    assert_eq!(folder.said("", now()), [nobody]);
}

#[test]
fn another_certificate_in_the_same_files_is_a_change() {
    let folder = Folder::new();
    let read = || folder.load("", now()).config.unwrap();
    let (cert, key) = ecdsa(&["a.example"]);
    folder.write(&cert, &key);
    let old = read();
    assert_eq!(diff(&old, &read()), []);
    let (cert, key) = ecdsa(&["a.example", "b.example"]);
    folder.write(&cert, &key);
    let changes: Vec<String> = diff(&old, &read())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(
        changes[0],
        "certificate.app: names a.example -> a.example, b.example (for the next handshake)"
    );
    assert!(
        changes[1].starts_with("certificate.app: serial "),
        "{changes:?}"
    );
}

#[test]
fn without_file_access_nothing_is_read() {
    let text = "[listener.web]\nbind = \"10.0.0.1:443\"\nrespond = \"close\"\n\
                tls = { min = \"1.3\", alpn = [\"http/1.1\"], certificates = [\"app\"], hsts = \"1d\" }\n\
                [certificate.app]\ncert = \"/nowhere/app.pem\"\nkey = \"/nowhere/app.key\"\n";
    let outcome = load(Path::new("t.toml"), text, &Facts::default());
    let config = outcome.config.unwrap();
    assert_eq!(config.certificates[0].content, None);
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!((tls.min.as_str(), tls.hsts), ("1.3", Some(DAY)));
}

/// A listener of this kind for TLS, with these lines.
fn tls_listener(protocol: &str, lines: &str) -> Vec<String> {
    let text = format!(
        "[listener.mail]\nbind = \"10.0.0.1:993\"\nprotocol = \"{protocol}\"\nrespond = \"close\"\n{lines}\n\
         [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n"
    );
    let outcome = load(Path::new("t.toml"), &text, &Facts::default());
    let lines = outcome.report.lines(Path::new("t.toml"));
    let lines = lines.lines().filter(|line| !line.contains("warning[W076]"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_tls_listener_ends_tls_if_it_has_certificates() {
    let said = |lines| tls_listener("tls", lines);
    let unused = "t.toml:6:1: warning[E051]: certificate `app` is used by no listener and no group; name it in `certificates` of a listener or in `tls` of a group, or remove it";
    assert_eq!(said(""), [unused]);
    assert_eq!(
        said("tls = { certificates = [\"app\"] }"),
        Vec::<String>::new()
    );
    assert_eq!(
        said("tls = { min = \"1.3\" }"),
        [
            "t.toml:1:1: error[E041]: the tls listener [listener.mail] has no certificate; add a `tls` table with `certificates = [\"NAME\"]`",
            unused,
        ]
    );
    assert_eq!(
        said("tls = { certificates = [\"app\"], alpn = [\"h2\"] }"),
        [
            "t.toml:5:33: error[E041]: `alpn` is for http, but the listener's protocol is tls; remove it, or write `protocol = \"http\"`"
        ]
    );
    assert_eq!(
        tls_listener("https", "h2c = true\ntls = { certificates = [\"app\"] }"),
        [
            "t.toml:5:1: error[E041]: `h2c` is for clear text, but the listener's protocol is https; remove it: inside TLS, `alpn` is what offers HTTP/2"
        ]
    );
    assert_eq!(
        tls_listener("tcp", "tls = { certificates = [\"app\"] }"),
        [
            "t.toml:5:1: error[E041]: `tls` is for https and tls, but the listener's protocol is tcp; remove it"
        ]
    );
}

/// A certificate of an authority, and a list of nobody that was to be followed by another at the end of 2029.
fn authority() -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let issuer = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let list = rcgen::CertificateRevocationListParams {
        this_update: date_time_ymd(2029, 1, 1),
        next_update: date_time_ymd(2030, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).unwrap().pem().unwrap();
    (issuer.as_ref().pem(), list)
}

#[test]
fn a_listener_says_who_its_clients_have_to_be() {
    let folder = Folder::new();
    let (cert, key) = ecdsa(&["a.example"]);
    folder.write(&cert, &key);
    let (ca, crl) = authority();
    let put = |name: &str, text: &str| fs::write(folder.0.path().join(name), text).unwrap();
    put("ca.pem", &ca);
    put("ca.crl", &crl);
    put("empty", "");
    put("half", &ca[..ca.len() / 2]);
    put(
        "odd",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    );
    let load_at = |keys: &str, now: SystemTime| {
        let text = format!(
            "[listener.web]\nbind = \"10.0.0.1:443\"\nrespond = \"close\"\n\
             [listener.web.tls]\ncertificates = [\"app\"]\n{keys}\n\
             [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n"
        );
        let facts = Facts {
            file_access: true,
            now: Some(now),
            ..Facts::default()
        };
        load(&folder.0.path().join("t.toml"), &text, &facts)
    };
    let said = |keys: &str, now| {
        let place = format!("{}/", folder.0.path().display());
        let lines = load_at(keys, now).report.lines(Path::new("t.toml"));
        let lines = lines.replace(&place, "");
        let lines = lines.lines().filter(|line| !line.contains("warning[W076]"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = "client_ca = \"ca.pem\"\nclient_crl = \"ca.crl\"\nclient_certificate = \"allow\"";
    let before = now() - DAY;
    assert_eq!(said(whole, before), Vec::<String>::new());
    let config = load_at(whole, before).config.unwrap();
    let clients = config.listeners[0].tls.as_ref().unwrap().clients.as_ref();
    let clients = clients.unwrap();
    assert_eq!(clients.certificate.as_str(), "allow");
    assert_eq!(*config.authorities[&clients.ca], *ca);
    assert_eq!(config.revocations[clients.crl.as_ref().unwrap()].text, crl);
    let default = load_at("client_ca = \"ca.pem\"", before).config.unwrap();
    let default = default.listeners[0].tls.as_ref().unwrap().clients.clone();
    assert_eq!(default.unwrap().certificate.as_str(), "require");
    assert_eq!(
        said(whole, now() + DAY),
        [
            "t.toml:7:14: warning[E040]: `client_crl`: its next list was due 24 h ago: what was revoked since then is not known; \
          get the present list from the authority"
        ]
    );

    let pem = "give the certificates of authorities in PEM form: BEGIN CERTIFICATE";
    let rows = [
        (
            "client_ca = \"none.pem\"",
            "6:13",
            "`client_ca`: cannot read none.pem: No such file or directory (os error 2); \
          check that it exists, and that root owns it or may read it"
                .to_owned(),
        ),
        (
            "client_ca = \"empty\"",
            "6:13",
            format!("`client_ca`: empty holds no certificate of an authority; {pem}"),
        ),
        (
            "client_ca = \"half\"",
            "6:13",
            format!("`client_ca`: half is not in PEM form; {pem}"),
        ),
        (
            "client_ca = \"ca.pem\"\nclient_crl = \"ca.pem\"",
            "7:14",
            "`client_crl`: ca.pem holds no revocation list; it must be in \
          PEM form: BEGIN X509 CRL; `openssl crl -inform der -in OLD -out NEW` makes it so"
                .to_owned(),
        ),
        (
            "client_ca = \"ca.pem\"\nclient_crl = \"odd\"",
            "7:14",
            "`client_crl`: revocation list 1 in odd cannot be used; give whole \
          lists of version 2, as authorities publish them"
                .to_owned(),
        ),
    ];
    for (keys, place, expected) in rows {
        assert_eq!(
            said(keys, before),
            [format!("t.toml:{place}: error[E040]: {expected}")]
        );
        assert!(load_at(keys, before).config.is_none());
    }
}

#[test]
fn other_authorities_and_lists_are_a_change() {
    let folder = Folder::new();
    let (cert, key) = ecdsa(&["a.example"]);
    folder.write(&cert, &key);
    let (ca, crl) = authority();
    let put = |name: &str, text: &str| fs::write(folder.0.path().join(name), text).unwrap();
    let read = |tls: &str| {
        let text = format!(
            "[listener.web]\nbind = \"10.0.0.1:443\"\nrespond = \"close\"\ntls = {{ certificates = [\"app\"]{tls} }}\n\
             [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n"
        );
        let facts = Facts {
            file_access: true,
            ..Facts::default()
        };
        load(&folder.0.path().join("t.toml"), &text, &facts)
            .config
            .unwrap()
    };
    let keys = |old: &config::Config, new: &config::Config| -> Vec<String> {
        let changes = diff(old, new);
        assert!(
            changes
                .iter()
                .all(|change| change.effect == "for the next connection")
        );
        changes.into_iter().map(|change| change.key).collect()
    };
    put("ca.pem", &ca);
    put("ca.crl", &crl);
    let (none, some) = (
        read(""),
        read(", client_ca = \"ca.pem\", client_crl = \"ca.crl\""),
    );
    assert_eq!(
        keys(&none, &some),
        ["tls.client_ca", "tls.client_certificate", "tls.client_crl"]
    );
    let (other_ca, other_crl) = authority();
    put("ca.pem", &other_ca);
    put("ca.crl", &other_crl);
    let other = read(", client_ca = \"ca.pem\", client_crl = \"ca.crl\"");
    assert_eq!(keys(&some, &other), ["tls.client_ca", "tls.client_crl"]);
}

#[test]
fn a_group_says_whom_its_targets_have_to_be() {
    let folder = Folder::new();
    let (cert, _) = ecdsa(&["ca.example"]);
    fs::write(folder.0.path().join("ca.pem"), &cert).unwrap();
    fs::write(folder.0.path().join("empty.pem"), "").unwrap();
    let load_with = |tls: &str| {
        let text = format!(
            "[listener.web]\nbind = \"10.0.0.1:80\"\nforward = \"app\"\n\
             [group.app]\ntargets = [\"10.0.0.2:8443\"]\ntls = {tls}\n"
        );
        let facts = Facts {
            file_access: true,
            ..Facts::default()
        };
        load(&folder.0.path().join("t.toml"), &text, &facts)
    };
    let said = |tls| {
        let place = format!("{}/", folder.0.path().display());
        let outcome = load_with(tls);
        let lines = outcome
            .report
            .lines(Path::new("t.toml"))
            .replace(&place, "");
        lines.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let config = load_with("{ name = \"Web.internal\", ca = \"ca.pem\" }")
        .config
        .unwrap();
    let tls = config.groups[0].tls.as_ref().unwrap();
    assert_eq!(tls.name.as_deref(), Some("web.internal"));
    assert_eq!(config.authorities[&tls.ca].as_ref(), cert);
    assert_eq!(load_with("\"off\"").config.unwrap().groups[0].tls, None);
    let told = "{ name = \"web.internal\", ca = \"ca.pem\" }\nhealth = { tcp = true, tls = true }";
    let group = &load_with(told).config.unwrap().groups[0];
    assert_eq!(group.health.tls, CheckTls::On(tls.clone()));
    // Where nobody says whom to trust it is whom `tls = {}` would.
    let usual = load_with("{}").config.unwrap();
    let checks = load_with("\"off\"\nhealth = { tcp = true, tls = true }");
    let checks = checks.config.unwrap();
    let usual_tls = usual.groups[0].tls.clone().unwrap();
    assert_eq!(checks.groups[0].health.tls, CheckTls::On(usual_tls));
    assert_eq!(
        (&checks.groups[0].tls, checks.authorities),
        (&None, usual.authorities)
    );
    assert_eq!(
        said("{ ca = \"empty.pem\" }"),
        [
            "t.toml:6:14: error[E040]: empty.pem holds no certificate of an authority; give `ca` a file in PEM form; without it that of the package ca-certificates"
        ]
    );
    assert_eq!(
        said("{ name = \"a b\", ca = \"ca.pem\" }"),
        [
            "t.toml:6:16: error[E010]: expected a name like \"web.internal\", as certificates have it, got \"a b\""
        ]
    );
}

/// Runs openssl in the folder.
fn openssl(folder: &Path, words: &str) {
    let made = std::process::Command::new("openssl")
        .current_dir(folder)
        .args(words.split_whitespace())
        .output()
        .expect("openssl is installed (scripts/setup)");
    assert!(made.status.success(), "openssl {words}: {made:?}");
}

/// What a responder says for a day, of a certificate that is on its list with this letter.
fn answer(folder: &Path, letter: &str, serial: &str, file: &str) {
    let revoked = if letter == "R" { "290101000000Z" } else { "" };
    let line = format!("{letter}\t310101000000Z\t{revoked}\t{serial}\tunknown\t/CN=a\n");
    fs::write(folder.join("index.txt"), line).unwrap();
    openssl(
        folder,
        &format!(
            "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert app.pem -ndays 1 -respout {file}"
        ),
    );
}

#[test]
fn what_a_responder_says_is_taken_if_it_is_good_news_of_the_certificate_that_holds() {
    let folder = Folder::new();
    let at = folder.0.path();
    let ec = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 30 -x509";
    openssl(
        at,
        &format!("req {ec} -subj /CN=ca -keyout ca.key -out ca.pem"),
    );
    let leaf = "-CA ca.pem -CAkey ca.key -subj /CN=a -addext subjectAltName=DNS:a.example -set_serial 0x00ab12";
    openssl(at, &format!("req {ec} {leaf} -keyout app.key -out app.pem"));
    answer(at, "V", "AB12", "good");
    answer(at, "R", "AB12", "revoked");
    answer(at, "V", "CD34", "unknown");
    fs::write(at.join("garbage"), "no answer").unwrap();
    openssl(
        at,
        &format!("req {ec} {leaf}00 -keyout app.key -out app.pem"),
    );
    answer(at, "V", "AB1200", "other");
    openssl(at, &format!("req {ec} {leaf} -keyout app.key -out app.pem"));

    let load_at = |ocsp: &str, now: SystemTime| {
        let text = format!(
            "[pair]\nnodes = {{ a = \"10.0.0.1\" }}\n[listener.web]\nbind = \"10.0.0.1:443\"\nrespond = \"close\"\n\
             tls = {{ certificates = [\"app\"] }}\n\
             [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\nocsp = \"{ocsp}\"\n"
        );
        let facts = Facts {
            node_override: Some("a".to_owned()),
            file_access: true,
            now: Some(now),
            ..Facts::default()
        };
        load(&at.join("t.toml"), &text, &facts)
    };
    let now = SystemTime::now();
    let rows = [
        ("good", now, None),
        (
            "good",
            now - DAY,
            Some("good holds at another time than this"),
        ),
        (
            "good",
            now + 2 * DAY,
            Some("good holds at another time than this"),
        ),
        (
            "revoked",
            now,
            Some("revoked says that the certificate was revoked"),
        ),
        (
            "unknown",
            now,
            Some("unknown says that nobody knows the certificate"),
        ),
        ("other", now, Some("other is about another certificate")),
        (
            "garbage",
            now,
            Some("garbage is not the answer of an OCSP responder"),
        ),
        (
            "app.pem",
            now,
            Some("app.pem is not the answer of an OCSP responder"),
        ),
        (
            "missing",
            now,
            Some("cannot read missing: No such file or directory (os error 2)"),
        ),
    ];
    for (file, now, problem) in rows {
        let outcome = load_at(file, now);
        let lines = outcome.report.lines(Path::new("t.toml"));
        let lines = lines.replace(&format!("{}/", at.display()), "");
        let said = lines.lines().find(|line| line.starts_with("t.toml:10:8: "));
        let expected = problem.map(|problem| {
            format!("t.toml:10:8: warning[E040]: certificate `app`: {problem}: clients get the certificate without it; ask the \
                     responder again: `openssl ocsp -issuer CA -cert CERT -url URL -respout FILE`")
        });
        assert_eq!(said.map(str::to_owned), expected, "{lines}");
        let config = outcome
            .config
            .expect("the certificate is served all the same");
        let content = config.certificates[0].content.as_ref().unwrap();
        let staple = content.staple.as_ref().unwrap().as_ref();
        match problem {
            Some(_) => assert!(staple.is_err()),
            None => {
                let staple = staple.unwrap();
                assert_eq!(staple.der, fs::read(at.join(file)).unwrap());
                let left = staple.until.unwrap().duration_since(now).unwrap();
                assert!(left > DAY / 2 && left <= DAY, "{left:?}");
            }
        }
    }
    // Any octets, without a panic.
    let good = fs::read(at.join("good")).unwrap();
    for place in (0..good.len()).step_by(19) {
        let mut changed = good.clone();
        changed[place] ^= 0x55;
        fs::write(at.join("changed"), &changed).unwrap();
        assert!(load_at("changed", now).config.is_some());
        fs::write(at.join("changed"), &good[..place]).unwrap();
        let cut = load_at("changed", now).config.unwrap();
        let staple = cut.certificates[0].content.as_ref().unwrap().staple.clone();
        assert!(staple.unwrap().is_err());
    }
}
