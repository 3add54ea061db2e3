//! TLS on a running pair: sessions that go on on the other node and after a restart, certificates that are replaced under load.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use common::{LIMIT, certificate, measured};
use netns_tests::{Device as _, Host, Lab, PairConfig, Part, Tandem, wait_until};

const KEY: &str = "1 hex:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n";
const PORT: u16 = 443;

/// The folder of a node's configuration.
fn folder(node: &Tandem<'_>) -> std::path::PathBuf {
    node.config_path().parent().unwrap().to_owned()
}

/// A pair with an https listener at the floating address that binds its clients, the same certificate and key on both.
fn secure_pair<'lab>(lab: &'lab Lab, config: &PairConfig) -> (Tandem<'lab>, Tandem<'lab>) {
    certificate(lab.folder());
    let listener = format!(
        "\n[listener.secure]\nbind = \"{}:{PORT}\"\nforward = \"app\"\ntls = {{ certificates = [\"app\"] }}\n\
         [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n",
        config.address()
    );
    let node = |host| {
        let mut node = Tandem::new(lab, host, config).unwrap();
        node.write_keys(KEY).unwrap();
        for file in ["app.pem", "app.key"] {
            std::fs::copy(lab.folder().join(file), folder(&node).join(file)).unwrap();
        }
        let key = "key_file = \"vrrp.key\"\n[vrrp.main]\n";
        let text = config.tandem(host).replace("[vrrp.main]\n", key) + &listener;
        node.write_config(&text).unwrap();
        node.start().unwrap();
        node
    };
    let (one, two) = (node(Host::Lb1), node(Host::Lb2));
    Tandem::wait_pair([&one, &two], config).unwrap();
    (one, two)
}

/// What openssl tells of one request to the floating address.
fn s_client(lab: &Lab, config: &PairConfig, words: &[&str]) -> String {
    let vip = SocketAddr::new(config.address(), PORT);
    let run = || {
        let mut client = Command::new("timeout")
            .args([
                "20",
                "openssl",
                "s_client",
                "-ign_eof",
                "-servername",
                "app.test",
                "-connect",
            ])
            .arg(vip.to_string())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
        let _ = client.stdin.take().unwrap().write_all(request); // it may be gone
        let told = client.wait_with_output().unwrap();
        String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr)
    };
    lab.net(Host::Client).enter(run).unwrap()
}

/// The node that answered.
fn served_by(told: &str) -> Option<&str> {
    let line = told.lines().find(|line| line.contains(" via "))?;
    line.trim().split_once(" via ").map(|(_, node)| node)
}

#[test]
fn sessions_go_on_on_the_other_node_and_after_a_restart_and_cookies_stay_with_tls() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            extra: "sticky = { cookie = \"T\", ttl = \"1h\" }\n".to_owned(),
            ..PairConfig::default()
        };
        let (one, two) = secure_pair(&lab, &config);
        let session = |version: &str| lab.folder().join(version).display().to_string();
        let versions = [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")];
        for (word, version) in versions {
            let told = s_client(&lab, &config, &[word, "-sess_out", &session(version)]);
            assert!(told.contains(&format!("New, {version}")), "{told}");
            assert_eq!(served_by(&told), Some("10.0.0.2"), "{told}");
            let cookie = told.lines().find(|line| line.starts_with("Set-Cookie: T="));
            assert!(cookie.unwrap_or("").contains("; Secure"), "{told}");
        }
        // A client comes back with the session it had first, whoever has made it.
        let come_back = |node: &str| {
            for (word, version) in versions {
                let told = s_client(&lab, &config, &[word, "-sess_in", &session(version)]);
                assert!(told.contains(&format!("Reused, {version}")), "{told}");
                assert_eq!(served_by(&told), Some(node), "{told}");
            }
        };
        let hand_over = |from: &Tandem<'_>, to: &Tandem<'_>, host| {
            let (code, out, err) = from.cli(&["handover"]).unwrap();
            assert_eq!(code, 0, "tandem handover: {out}{err}");
            to.wait_state("active", LIMIT).unwrap();
            lab.wait_holder(config.address(), host, LIMIT).unwrap();
        };
        hand_over(&one, &two, Host::Lb2);
        come_back("10.0.0.3");

        let pid = || one.status().unwrap()["forwarder"]["pid"].as_u64();
        let before = pid();
        one.kill(Part::Forwarder).unwrap();
        wait_until("another forwarder runs", LIMIT, || {
            pid().is_some() && pid() != before
        })
        .unwrap();
        one.wait_ready(LIMIT).unwrap();
        hand_over(&two, &one, Host::Lb1);
        come_back("10.0.0.2");
        let listener = |node: &Tandem<'_>| {
            let status = node.status().unwrap();
            let mut all = status["listeners"].as_array().unwrap().clone().into_iter();
            all.find(|listener| listener["name"] == "secure").unwrap()
        };
        for node in [&one, &two] {
            wait_until("both sessions are counted", LIMIT, || {
                listener(node)["resumed_total"] == 2
            })
            .unwrap_or_else(|error| panic!("{error}: {:#}", listener(node)));
        }
    });
}

/// The serial number of the certificate that a node has in use.
fn serial(node: &Tandem<'_>) -> String {
    let status = node.status().unwrap();
    status["certificates"][0]["serial"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_certificate_is_replaced_on_both_nodes_under_load_and_a_broken_file_changes_nothing() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (one, two) = secure_pair(&lab, &config);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let url = format!("https://{}:{PORT}/", config.address());
    let ask = || {
        let asked = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--insecure",
                "--max-time",
                "20",
                &url,
            ])
            .output()
            .expect("curl is installed (scripts/setup)");
        // Each is a handshake of its own.
        assert!(asked.status.success(), "{asked:?}");
        served.fetch_add(1, SeqCst);
    };
    let replace = |node: &Tandem<'_>| {
        for file in ["app.pem", "app.key"] {
            let to = folder(node).join(file);
            std::fs::copy(lab.folder().join(file), to.with_extension("new")).unwrap();
            std::fs::rename(to.with_extension("new"), to).unwrap();
        }
    };
    let problems = |node: &Tandem<'_>| node.status().unwrap()["problems"].to_string();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let work = || {
                        while !stop.load(SeqCst) {
                            ask();
                        }
                    };
                    lab.net(Host::Client).enter(work).unwrap();
                })
            })
            .collect();
        let load_goes_on = || {
            let before = served.load(SeqCst);
            wait_until("handshakes go on", LIMIT, || {
                served.load(SeqCst) > before + 6
            })
            .unwrap();
        };
        load_goes_on();
        let old = serial(&one);
        certificate(lab.folder());
        replace(&one);
        replace(&two);
        wait_until("both have the new one in use", LIMIT, || {
            serial(&one) != old && serial(&one) == serial(&two)
        })
        .unwrap();
        load_goes_on();

        let good = serial(&one);
        std::fs::write(folder(&one).join("app.pem"), "half a certificate").unwrap();
        wait_until("the broken one is complained about", LIMIT, || {
            problems(&one).contains("holds no certificate; the one read before stays in use")
        })
        .unwrap();
        let (code, out, _) = one.cli(&["reload"]).unwrap();
        assert_eq!(code, 78, "{out}");
        assert_eq!(serial(&one), good);
        load_goes_on();
        stop.store(true, SeqCst);
        for client in clients {
            client.join().expect("no handshake failed");
        }
    });
}
