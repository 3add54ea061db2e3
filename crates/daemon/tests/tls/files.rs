//! Files of certificates in every state they may be found in, under load: what is bad changes nothing, what is good is taken.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::{answer, certificate, config, curl, problems};
use crate::node::{NOBODY, Node, Origin, free_port, wait_until};

/// Makes what a certificate and its key are behind: a folder for each version, and a link to the one in use, as certbot and
/// Kubernetes have it.
fn version(node: &Node, number: u32) {
    let folder = node.folder().join(format!("v{number}"));
    std::fs::create_dir(&folder).unwrap();
    certificate(&folder, "app", "app.test", "60");
    let link = node.folder().join("link.new");
    symlink(format!("v{number}"), &link).unwrap();
    std::fs::rename(link, node.folder().join("live")).unwrap();
}

/// Ends the load, also when something is found wrong.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

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
fn bad_files_change_nothing_and_a_link_that_moves_on_is_followed_while_others_shake_hands() {
    let origin = Origin::start();
    let ports = [free_port(), free_port()];
    let text = config(ports, &origin).replace("\"app.", "\"live/app.");
    let mut node = Node::prepare(&text);
    version(&node, 1);
    certificate(node.folder(), "other", "other.test", "30");
    node.start();
    let serial = || {
        let status = node.status().unwrap();
        status["certificates"][0]["serial"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    wait_until("https answers", || {
        curl(&node, ports[1], "other", &[]).is_ok()
    });
    let complained = |what: &str| {
        let words = format!("waiting for {what:?}");
        wait_until(&words, || problems(&node).contains(what));
        assert!(problems(&node).contains("the one read before stays in use"));
    };
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(SeqCst) {
                let more = ["--connect-to", "::127.0.0.1:"];
                curl(&node, ports[1], "other", &more).expect("a handshake");
                asked.fetch_add(1, SeqCst);
            }
        });
        let _stop = Stop(&stop);
        let first = serial();
        let live = |name: &str| node.folder().join("live").join(name);
        let good = ["app.pem", "app.key"].map(|name| std::fs::read(live(name)).unwrap());
        let mend = || {
            for (name, bytes) in ["app.pem", "app.key"].into_iter().zip(&good) {
                let _ = std::fs::remove_file(live(name));
                std::fs::write(live(name), bytes).unwrap();
            }
            wait_until("all is well again", || {
                !problems(&node).contains("certificate app")
            });
        };

        // The key of another one.
        std::fs::copy(node.folder().join("other.key"), live("app.key")).unwrap();
        complained("does not match the certificate");
        mend();
        // Nothing that could be read.
        std::fs::remove_file(live("app.key")).unwrap();
        std::fs::create_dir(live("app.key")).unwrap();
        complained("live/app.key");
        std::fs::remove_dir(live("app.key")).unwrap();
        mend();
        // A key that became somebody else's, and nothing else: root without its powers is nobody there.
        let owned_by = |who: u32| chown(live("app.key"), Some(who), Some(who)).unwrap();
        std::fs::set_permissions(live("app.key"), Permissions::from_mode(0o600)).unwrap();
        owned_by(NOBODY);
        complained("Permission denied");
        owned_by(0);
        wait_until("it may be read again", || {
            !problems(&node).contains("certificate app")
        });
        std::fs::remove_file(live("app.pem")).unwrap();
        complained("o such file");
        mend();
        assert_eq!(serial(), first, "nothing has changed");

        // It is replaced as a whole, both files at once.
        version(&node, 2);
        wait_until("the next version is in use", || serial() != first);
        let second = serial();
        assert!(!problems(&node).contains("certificate app"));

        // One that was good once is better than none: the rest has to be served, and clients are who judges.
        let folder = node.folder().join("v2");
        openssl_at(
            "-90d",
            &folder,
            "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 30 -subj /CN=app.test -keyout app.key -out app.pem",
        );
        wait_until("the expired one is told", || {
            serial() != second && problems(&node).contains("certificate app: it expired")
        });
        version(&node, 3);
        wait_until("the third version is in use", || {
            !problems(&node).contains("certificate app")
        });
        stop.store(true, SeqCst);
        load.join().expect("no handshake failed");
    });
    assert!(asked.load(SeqCst) > 20, "the load was no load");
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
