//! Files of certificates whose time is over.

use std::path::Path;
use std::process::Command;

use super::{answer, certificate, config, curl, problems};
use crate::node::{Node, Origin, free_port, wait_until};

/// Runs openssl at another time than now.
fn openssl_at(time: &str, folder: &Path, words: &str) {
    let library = std::fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime is installed (scripts/setup)");
    let made = Command::new("openssl")
        .current_dir(folder)
        .env("LD_PRELOAD", library)
        .env("FAKETIME", time)
        .args(words.split_whitespace())
        .output()
        .unwrap();
    assert!(made.status.success(), "openssl {words}: {made:?}");
}

#[test]
fn the_word_of_a_responder_is_not_passed_on_when_its_time_is_over() {
    let origin = Origin::start();
    let ports = [free_port(), free_port()];
    let key = "key = \"app.key\"\n";
    let text = config(ports, &origin).replace(key, &format!("{key}ocsp = \"app.ocsp\"\n"));
    let mut node = Node::prepare(&text);
    certificate(node.folder(), "app", "app.test", "30");
    certificate(node.folder(), "other", "other.test", "30");
    // What is known of it stays; it was said almost a minute ago, and for a minute.
    answer(node.folder());
    let folder = node.folder().to_owned();
    let say_again = || {
        openssl_at(
            "-50s",
            &folder,
            "ocsp -index index.txt -CA app.pem -rsigner app.pem -rkey app.key -issuer app.pem -cert app.pem -nmin 1 -respout app.new",
        );
        std::fs::rename(folder.join("app.new"), folder.join("app.ocsp")).unwrap();
    };
    say_again();
    node.start();
    let told = || {
        let asked = Command::new("openssl")
            .args(["s_client", "-status", "-servername", "app.test", "-connect"])
            .arg(format!("127.0.0.1:{}", ports[1]))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&asked.stdout).into_owned()
    };
    wait_until("it is passed on", || {
        let passed = told().contains("OCSP Response Status: successful");
        if !passed && problems(&node).contains("OCSP") {
            // This machine was too slow: it was over before it was seen.
            say_again();
        }
        passed
    });
    wait_until("it is over, and said to be", || {
        problems(&node).contains("clients get the certificate without it")
    });
    wait_until("clients get none", || {
        told().contains("OCSP response: no response sent")
    });
    assert!(
        curl(&node, ports[1], "app", &[]).is_ok(),
        "the certificate is as good as ever"
    );
}
