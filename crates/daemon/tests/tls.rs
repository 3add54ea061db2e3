//! A daemon with TLS as the usual tools see it: certificates made by openssl, asked for by curl, replaced under load, broken.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "tls/files.rs"]
mod files;
#[path = "tls/matrix.rs"]
mod matrix;
mod node;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use node::{Node, Origin, free_port, wait_until};

/// Makes a certificate that signs itself, and its key.
fn certificate(folder: &Path, file: &str, host: &str, days: &str) -> PathBuf {
    let at = |ending: &str| folder.join(format!("{file}.{ending}"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-days", days, "-subj"])
        .arg(format!("/CN={host}"))
        .args(["-addext", &format!("subjectAltName=DNS:{host}"), "-keyout"])
        .arg(at("key.new"))
        .arg("-out")
        .arg(at("pem.new"))
        .output()
        .expect("openssl is installed (scripts/setup)");
    assert!(made.status.success(), "{made:?}");
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(at("key.new"), owner_only).unwrap();
    for ending in ["key", "pem"] {
        std::fs::rename(at(&format!("{ending}.new")), at(ending)).unwrap();
    }
    at("pem")
}

fn config(ports: [u16; 2], origin: &Origin) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{}\"\nprotocol = \"http\"\nredirect = \"https\"\n\
         [listener.secure]\nbind = \"127.0.0.1:{}\"\nprotocol = \"https\"\nforward = \"app\"\n\
         tls = {{ certificates = [\"app\", \"other\"], hsts = \"1d\" }}\n\
         [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n\
         [certificate.other]\ncert = \"other.pem\"\nkey = \"other.key\"\n\
         [group.app]\ntargets = [\"127.0.0.1:{}\"]\nhealth = {{ tcp = true, every = \"1s\" }}\n",
        ports[0], ports[1], origin.port
    )
}

/// A running daemon with certificates for `app.test` and `other.test`, and the port of its https listener.
fn secure_node() -> (Node, Origin, [u16; 2]) {
    let origin = Origin::start();
    let ports = [free_port(), free_port()];
    let mut node = Node::prepare(&config(ports, &origin));
    certificate(node.folder(), "app", "app.test", "30");
    certificate(node.folder(), "other", "other.test", "5");
    node.start();
    wait_until("https answers", || {
        curl(&node, ports[1], "app", &[]).is_ok()
    });
    (node, origin, ports)
}

/// Asks the host `NAME.test` over https, trusting the certificate NAME alone; what curl prints, or what it complains about.
fn curl(node: &Node, port: u16, name: &str, more: &[&str]) -> Result<String, String> {
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
        .arg(node.folder().join(format!("{name}.pem")))
        .arg("--resolve")
        .arg(format!("{name}.test:{port}:127.0.0.1"))
        .args(more)
        .arg(format!("https://{name}.test:{port}/"))
        .output()
        .expect("curl is installed (scripts/setup)");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match asked.status.success() {
        true => Ok(text(asked.stdout)),
        false => Err(text(asked.stderr)),
    }
}

fn problems(node: &Node) -> String {
    node.status()
        .map_or_else(String::new, |status| status["problems"].to_string())
}

#[test]
fn curl_gets_the_right_certificate_and_the_screens_tell_about_them() {
    let (node, _origin, ports) = secure_node();
    assert_eq!(
        curl(&node, ports[1], "app", &["--tlsv1.3"]),
        Ok("fine".to_owned())
    );
    assert_eq!(
        curl(&node, ports[1], "app", &["--tls-max", "1.2"]),
        Ok("fine".to_owned())
    );
    assert_eq!(curl(&node, ports[1], "other", &[]), Ok("fine".to_owned()));
    for (asked, spoken) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let version = ["--output", "/dev/null", "--write-out", "%{http_version}"];
        let more = [&[asked][..], &version].concat();
        assert_eq!(curl(&node, ports[1], "app", &more), Ok(spoken.to_owned()));
    }
    let head = curl(&node, ports[1], "app", &["--head"]).unwrap();
    assert!(
        head.to_lowercase()
            .contains("strict-transport-security: max-age=86400"),
        "{head}"
    );
    let redirect = Command::new("curl")
        .args([
            "--silent",
            "--head",
            &format!("http://127.0.0.1:{}/a?b", ports[0]),
        ])
        .output()
        .unwrap();
    let redirect = String::from_utf8_lossy(&redirect.stdout).into_owned();
    assert!(
        redirect.contains("Location: https://127.0.0.1/a?b"),
        "{redirect}"
    );

    let status = node.status().unwrap();
    assert_eq!(
        status["listeners"][0]["protocol"], "https",
        "by name: secure, web"
    );
    let secure = &status["listeners"][0];
    assert!(secure["tls12_total"].as_u64() >= Some(1), "{secure:#}");
    assert!(
        secure["http2_connections_total"].as_u64() >= Some(1),
        "{secure:#}"
    );
    let metrics = curl_metrics(&node);
    for told in [
        "tandem_listener_tls_handshakes_total{listener=\"secure\",kind=\"full\",version=\"1.2\"}",
        "tandem_listener_http2_connections_total{listener=\"secure\"}",
        "tandem_listener_http2_streams{listener=\"secure\"} 0",
    ] {
        assert!(metrics.contains(told), "{told} in {metrics}");
    }
    let app = &status["certificates"][0];
    assert_eq!(
        (app["name"].as_str(), app["key"].as_str()),
        (Some("app"), Some("ECDSA P-256"))
    );
    assert_eq!(app["names"][0], "app.test");
    assert!(app["serial"].as_str().unwrap().len() >= 16, "{app}");
    let problems = problems(&node);
    assert!(
        problems.contains("certificate other: it expires in 4 days"),
        "{problems}"
    );
    assert!(!problems.contains("certificate app"), "{problems}");
}

#[test]
fn a_certificate_replaced_under_load_fails_no_handshake_and_a_broken_one_changes_nothing() {
    let (node, _origin, ports) = secure_node();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let serial = || {
        let status = node.status().unwrap();
        status["certificates"][0]["serial"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = serial();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(SeqCst) {
                // Whoever looks at no names is served by the old one and the new one alike.
                curl(&node, ports[1], "other", &["--insecure"]).expect("a handshake");
                asked.fetch_add(1, SeqCst);
            }
        });
        certificate(node.folder(), "app", "app.test", "60");
        wait_until("the new certificate is in use", || serial() != before);
        wait_until("clients get it", || {
            curl(&node, ports[1], "app", &[]).is_ok()
        });

        let good = serial();
        std::fs::write(node.folder().join("app.pem"), "no certificate").unwrap();
        wait_until("the broken one is complained about", || {
            problems(&node)
                .contains("app.pem holds no certificate; the one read before stays in use")
        });
        assert_eq!(serial(), good);
        let refused = node.post("/reload").unwrap();
        assert_eq!(refused["outcome"], "refused", "{refused}");
        assert!(
            refused.to_string().contains("holds no certificate"),
            "{refused}"
        );
        assert!(curl(&node, ports[1], "other", &[]).is_ok(), "it serves on");

        certificate(node.folder(), "app", "app.test", "60");
        wait_until("a good one is taken again", || {
            serial() != good && !problems(&node).contains("certificate app")
        });
        assert!(curl(&node, ports[1], "app", &[]).is_ok());
        stop.store(true, SeqCst);
        load.join().expect("no handshake failed");
    });
    assert!(asked.load(SeqCst) > 5, "the load was no load");
    let metrics = curl_metrics(&node);
    assert!(
        metrics.contains("tandem_cert_not_after_seconds{certificate=\"app\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("tandem_listener_tls_handshakes_total{listener=\"secure\",kind=\"full\",version=\"1.3\"}"),
        "{metrics}"
    );
}

fn curl_metrics(node: &Node) -> String {
    let asked = Command::new("curl")
        .args(["--silent", "--unix-socket"])
        .arg(node.folder().join("socket"))
        .arg("http://x/metrics")
        .output()
        .unwrap();
    String::from_utf8_lossy(&asked.stdout).into_owned()
}

/// Runs openssl in the folder.
fn openssl(folder: &Path, words: &str) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(words.split_whitespace())
        .output()
        .expect("openssl is installed (scripts/setup)");
    assert!(made.status.success(), "openssl {words}: {made:?}");
}

/// An authority, and a certificate of it for a client of this name.
fn client_certificate(folder: &Path, ca: &str, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 30 -subj /CN={ca} -keyout {ca}.key -out {ca}.new"
        ),
    );
    openssl(
        folder,
        &format!(
            "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 30 -CA {ca}.new -CAkey {ca}.key \
             -subj /O=Example/CN={name} -addext basicConstraints=CA:FALSE -addext extendedKeyUsage=clientAuth \
             -keyout {name}.key -out {name}.pem"
        ),
    );
    std::fs::rename(folder.join(format!("{ca}.new")), folder.join(ca)).unwrap();
}

#[test]
fn clients_show_who_they_are_and_authorities_are_read_again_when_their_file_changes() {
    let origin = Origin::start();
    let ports = [free_port(), free_port()];
    let asking = config(ports, &origin).replace("hsts = \"1d\"", "client_ca = \"clients.pem\"");
    let mut node = Node::prepare(&asking);
    certificate(node.folder(), "app", "app.test", "30");
    certificate(node.folder(), "other", "other.test", "30");
    client_certificate(node.folder(), "clients.pem", "alice");
    node.start();
    let ask = |name: &str| {
        let path = |ending: &str| node.folder().join(format!("{name}.{ending}"));
        let (cert, key) = (path("pem"), path("key"));
        let shown = [
            "--cert",
            cert.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ];
        curl(&node, ports[1], "app", &shown)
    };
    wait_until("alice is let in", || ask("alice") == Ok("fine".to_owned()));
    assert!(curl(&node, ports[1], "app", &[]).is_err());
    // Curl may be told sooner than it is counted.
    wait_until("who showed no certificate is counted", || {
        curl_metrics(&node).contains("cause=\"client-unverified@handshake\"} 1")
    });

    std::fs::write(node.folder().join("clients.pem"), "half of it").unwrap();
    wait_until("the broken file is complained about", || {
        problems(&node).contains(
            "clients.pem holds no certificate of an authority; the one read before stays in use",
        )
    });
    assert_eq!(ask("alice"), Ok("fine".to_owned()), "nothing changed");
    let refused = node.post("/reload").unwrap();
    assert_eq!(refused["outcome"], "refused", "{refused}");

    client_certificate(node.folder(), "clients.pem", "bob");
    wait_until("the other authority counts", || {
        ask("bob") == Ok("fine".to_owned()) && ask("alice").is_err()
    });
    assert!(!problems(&node).contains("clients.pem"));
}

/// What a responder says for a day of the certificate `app.pem`.
fn answer(folder: &Path) {
    let serial = Command::new("openssl")
        .current_dir(folder)
        .args(["x509", "-in", "app.pem", "-noout", "-serial"])
        .output()
        .unwrap();
    let serial = String::from_utf8(serial.stdout).unwrap();
    let serial = serial.trim().strip_prefix("serial=").unwrap();
    let line = format!("V\t310101000000Z\t\t{serial}\tunknown\t/CN=app.test\n");
    std::fs::write(folder.join("index.txt"), line).unwrap();
    openssl(
        folder,
        "ocsp -index index.txt -CA app.pem -rsigner app.pem -rkey app.key -issuer app.pem -cert app.pem -ndays 1 -respout app.new",
    );
    std::fs::rename(folder.join("app.new"), folder.join("app.ocsp")).unwrap();
}

#[test]
fn the_word_of_a_responder_is_passed_on_as_long_as_it_holds() {
    let origin = Origin::start();
    let ports = [free_port(), free_port()];
    let text = config(ports, &origin).replace(
        "key = \"app.key\"\n",
        "key = \"app.key\"\nocsp = \"app.ocsp\"\n",
    );
    let mut node = Node::prepare(&text);
    certificate(node.folder(), "app", "app.test", "30");
    certificate(node.folder(), "other", "other.test", "30");
    answer(node.folder());
    node.start();
    let told = |name: &str| {
        let asked = Command::new("openssl")
            .args(["s_client", "-status", "-servername", name, "-connect"])
            .arg(format!("127.0.0.1:{}", ports[1]))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&asked.stdout).into_owned()
    };
    wait_until("the word is passed on", || {
        told("app.test").contains("OCSP Response Status: successful")
    });
    assert!(told("other.test").contains("OCSP response: no response sent"));
    let status = node.status().unwrap();
    assert!(
        status["certificates"][0]["staple_until"].is_string(),
        "{status:#}"
    );

    std::fs::write(node.folder().join("app.ocsp"), "broken").unwrap();
    wait_until("the broken one is complained about", || {
        problems(&node).contains("certificate app: ")
            && problems(&node).contains("app.ocsp is not the answer of an OCSP responder: clients get the certificate without it")
    });
    wait_until("it is not passed on", || {
        told("app.test").contains("OCSP response: no response sent")
    });
    answer(node.folder());
    wait_until("a good one is taken again", || {
        told("app.test").contains("OCSP Response Status: successful")
    });
    assert!(!problems(&node).contains("OCSP"));
}
