//! Clients that are too large to be installed for every test: gRPC for Python and a browser.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use netns_tests::{Host, Lab, Process, wait_until};

use crate::common::LIMIT;
use crate::pair::{Pair, said};

/// A program that is beside this file.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// Debian's Python, whose packages `scripts/clients` installs.
fn python(name: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-u").arg(beside(name));
    command
}

/// Starts a target on the first backend.
fn target(lab: &Lab, name: &str) -> Process {
    Process::start(lab.net(Host::Backend1), name, &mut python(name)).unwrap()
}

#[test]
#[ignore = "needs gRPC for Python: scripts/clients installs it and runs this"]
fn grpc_calls_and_streams_go_on_across_a_reload() {
    let lab = Lab::new().unwrap();
    let server = target(&lab, "grpc_server.py");
    let pair = Pair::start(
        &lab,
        "[[listener.secure.rule]]\nwhen = { path = \"/lab.Echo/*\" }\nforward = \"calls\"\n\
         [[listener.clear.rule]]\nwhen = { path = \"/lab.Echo/*\" }\nforward = \"calls\"\n\
         [group.calls]\ntargets = [\"10.0.0.21:9000\"]\nhttp = \"2\"\nhealth = { grpc = \"lab.Echo\", every = \"1s\" }\n",
    );
    for where_to in ["10.0.0.10:443", "10.0.0.10:8081"] {
        let mut command = python("grpc_client.py");
        command.arg(where_to).arg(lab.folder().join("app.pem"));
        let mut client = pair.client(&mut command);
        let mut out = BufReader::new(client.stdout.take().unwrap());
        let mut told = String::new();
        // It says `half` with its streams open, and waits for a line.
        while !told.ends_with("half\n") && out.read_line(&mut told).unwrap() > 0 {}
        if told.ends_with("half\n") {
            pair.reload();
            writeln!(client.stdin.as_mut().unwrap(), "go on").unwrap();
        }
        out.read_to_string(&mut told).unwrap();
        let ended = client.wait_with_output().unwrap();
        let (errors, logs) = (said(&ended), pair.logs());
        assert!(
            ended.status.success(),
            "{told}{errors}\n{:?}\n{logs}",
            server.log()
        );
        let _ = writeln!(std::io::stderr(), "{where_to}\n{told}");
    }
}

#[test]
#[ignore = "needs Chromium: scripts/clients installs it and runs this"]
fn a_browser_goes_on_across_a_reload_a_handover_and_the_death_of_a_node() {
    let lab = Lab::new().unwrap();
    let server = target(&lab, "site.py");
    let pair = Pair::start(
        &lab,
        "[[listener.secure.rule]]\nwhen = { path = \"/site/*\" }\nforward = \"site\"\n\
         [group.site]\ntargets = [\"10.0.0.21:9001\"]\nhealth = { http = \"/site/healthz\", every = \"1s\" }\n",
    );
    let mut command = Command::new("timeout");
    command
        .args([
            "120",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args(["--disable-dev-shm-usage", "--ignore-certificate-errors"])
        .arg("--host-resolver-rules=MAP app.test 10.0.0.10")
        .arg(format!(
            "--user-data-dir={}",
            lab.folder().join("profile").display()
        ))
        .args(["--dump-dom", "https://app.test/site/"]);
    let browser = pair.client(&mut command);
    wait_until("the page has come to its middle", 3 * LIMIT, || {
        pair.held() == 1
    })
    .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", server.log(), pair.logs()));
    pair.reload();
    pair.release();
    let waits_for = |what: &str, pair: &Pair<'_>| {
        let asked = format!("/site/{what} ");
        wait_until(&format!("the page {what}"), 3 * LIMIT, || {
            server.log().iter().any(|line| line.contains(&asked))
        })
        .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", server.log(), pair.logs()));
    };
    waits_for("lets-the-node-leave", &pair);
    pair.order(Host::Lb1, &["handover"]);
    waits_for("lets-the-node-die", &pair);
    pair.kill(Host::Lb2);
    let ended = browser.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(
        told.contains("protocols: h2<") && told.contains("verdict: all well"),
        "{told}\n{:?}\n{}",
        server.log(),
        pair.logs()
    );
}
