//! Versions and ciphers as openssl sees them, and handshakes that never end.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::node::{Node, Origin, free_port, wait_until};
use super::{certificate, config, curl, openssl};

/// A daemon that has an ECDSA and an RSA certificate for `app.test`.
fn both_kinds() -> (Node, Origin, [u16; 2]) {
    let origin = Origin::start();
    let ports = [free_port(), free_port()];
    let mut node = Node::prepare(&config(ports, &origin));
    certificate(node.folder(), "app", "app.test", "30");
    openssl(
        node.folder(),
        "req -x509 -nodes -newkey rsa:2048 -days 30 -subj /CN=app.test -addext subjectAltName=DNS:app.test \
         -keyout other.key -out other.pem",
    );
    node.start();
    wait_until("https answers", || {
        curl(&node, ports[1], "app", &[]).is_ok()
    });
    (node, origin, ports)
}

/// What openssl tells of one handshake.
fn s_client(port: u16, words: &[&str]) -> String {
    let asked = Command::new("openssl")
        .args(["s_client", "-servername", "app.test", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed (scripts/setup)");
    String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr)
}

/// Every cipher openssl knows, by its name.
fn ciphers(words: &[&str]) -> Vec<String> {
    let listed = Command::new("openssl")
        .arg("ciphers")
        .args(words)
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.trim().split(':').map(str::to_owned).collect()
}

/// The cipher that was agreed upon.
fn agreed(told: &str) -> Option<String> {
    let line = told.lines().find(|line| line.contains(", Cipher is "))?;
    let (_, cipher) = line.split_once(", Cipher is ")?;
    (cipher != "(NONE)").then(|| cipher.to_owned())
}

#[test]
fn versions_and_ciphers_are_those_of_the_policy_and_no_others() {
    let (_node, _origin, ports) = both_kinds();
    for old in ["-tls1", "-tls1_1"] {
        let told = s_client(ports[1], &[old, "-cipher", "ALL:@SECLEVEL=0"]);
        // It is the server that refuses: openssl itself could.
        assert!(told.contains("SSL alert number"), "{old}: {told}");
        assert_eq!(agreed(&told), None);
    }
    let all = ciphers(&["-tls1_2", "-s", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]);
    assert!(all.len() > 50, "{all:?}");
    // Everything is offered, then everything but what was taken, until nothing that is left is taken.
    let (mut left, mut taken) = (all, BTreeSet::new());
    loop {
        let offered = left.join(":") + ":@SECLEVEL=0";
        let told = s_client(ports[1], &["-tls1_2", "-cipher", &offered]);
        let Some(cipher) = agreed(&told) else { break };
        left.retain(|other| *other != cipher);
        assert!(taken.insert(cipher), "{told}");
    }
    let policy = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ];
    assert!(taken.iter().eq(policy), "{taken:?}");
    for (cipher, is_taken) in [
        ("TLS_AES_128_GCM_SHA256", true),
        ("TLS_AES_256_GCM_SHA384", true),
        ("TLS_CHACHA20_POLY1305_SHA256", true),
        ("TLS_AES_128_CCM_SHA256", false),
        ("TLS_AES_128_CCM_8_SHA256", false),
    ] {
        let told = s_client(ports[1], &["-tls1_3", "-ciphersuites", cipher]);
        assert_eq!(agreed(&told).is_some(), is_taken, "{cipher}: {told}");
    }
    // Of what a client offers in any order the same is taken.
    for offered in [
        "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305",
    ] {
        let told = s_client(ports[1], &["-tls1_2", "-cipher", offered]);
        let cipher = agreed(&told);
        assert_eq!(cipher.as_deref(), Some("ECDHE-ECDSA-AES256-GCM-SHA384"));
    }
    // For one name the client gets the certificate whose signature it can check.
    for (signatures, kind) in [
        ("ECDSA+SHA256", "ECDSA"),
        ("RSA-PSS+SHA256", "RSA-PSS"),
        ("RSA-PSS+SHA256:ECDSA+SHA256", "ECDSA"),
    ] {
        let told = s_client(ports[1], &["-sigalgs", signatures]);
        let line = format!("Peer signature type: {kind}");
        assert!(told.contains(&line), "{signatures}: {told}");
    }
    for (offered, spoken) in [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")] {
        let told = s_client(ports[1], &["-alpn", offered]);
        assert!(told.contains(&format!("ALPN protocol: {spoken}")), "{told}");
    }
    let told = s_client(ports[1], &["-alpn", "gopher"]);
    assert!(told.contains("alert no application protocol"), "{told}");
    // Nothing is renegotiated, compressed, or sent before the handshake is done.
    let told = s_client(ports[1], &["-tls1_2"]);
    for line in [
        "Secure Renegotiation IS supported",
        "Compression: NONE",
        "Expansion: NONE",
        "Extended master secret: yes",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let told = s_client(ports[1], &["-tls1_3"]);
    assert!(told.contains("Early data was not sent"), "{told}");
}

/// Memory of the forwarder that is not swapped out, in KiB.
fn resident_kib(node: &Node) -> u64 {
    let pid = node.child("tandem-forward").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[test]
fn three_hundred_handshakes_that_never_end_cost_little_and_hold_nobody_up() {
    let (node, _origin, ports) = both_kinds();
    // The first words of a client, to be cut off anywhere.
    let hello = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = Command::new("openssl")
            .args(["s_client", "-servername", "app.test", "-connect"])
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 16 * 1024];
        let count = std::io::Read::read(&mut stream, &mut bytes).unwrap();
        client.kill().unwrap();
        client.wait().unwrap();
        bytes.truncate(count);
        bytes
    };
    assert!(hello.len() > 200 && hello[0] == 0x16, "{hello:?}");
    let before = resident_kib(&node);
    let connect = |number: usize| {
        let mut stream = TcpStream::connect(("127.0.0.1", ports[1])).unwrap();
        // Nothing, half a hello, or a whole one that is answered and never taken up.
        let end = [0, hello.len() / 2, hello.len()][number % 3];
        stream.write_all(&hello[..end]).unwrap();
        stream
    };
    let stalled: Vec<TcpStream> = (0..300).map(connect).collect();
    wait_until("all of them are there", || {
        node.status().is_some_and(|status| {
            let mut all = status["listeners"].as_array().unwrap().iter();
            let secure = all.find(|listener| listener["name"] == "secure").unwrap();
            secure["connections"].as_u64() >= Some(300)
        })
    });
    for _ in 0..10 {
        // curl gives up after 10 s.
        assert_eq!(curl(&node, ports[1], "app", &[]), Ok("fine".to_owned()));
    }
    let more = resident_kib(&node).saturating_sub(before);
    assert!(more < 64 * 1024, "{more} KiB for 300 handshakes");
    wait_until("those who stall are cut", || {
        let status = node.status().unwrap();
        let mut all = status["listeners"].as_array().unwrap().iter();
        let secure = all.find(|listener| listener["name"] == "secure").unwrap();
        secure["causes"]["client-timeout@handshake"].as_u64() >= Some(300)
    });
    drop(stalled);
}
