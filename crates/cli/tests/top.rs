//! `tandem top` at a terminal that `script` (util-linux) makes, and without one.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use support::*;

#[test]
fn without_a_terminal_it_prints_once() {
    let daemon = Daemon::knowing("GET /status", STATUS);
    for args in [&["top"][..], &["top", "--once", "--sort", "name"]] {
        let output = daemon.run(args);
        assert_eq!(code(&output), 0, "{}", err(&output));
        assert!(out(&output).starts_with("pair    lb1*"), "{}", out(&output));
        assert!(
            out(&output).contains("\napp/10.0.0.22:8080 "),
            "{}",
            out(&output)
        );
        assert!(!out(&output).contains('\u{1b}'));
    }
}

#[test]
fn keys_sort_and_leave_and_the_terminal_is_given_back() {
    let daemon = Daemon::knowing("GET /status", STATUS);
    let program = env!("CARGO_BIN_EXE_tandem");
    let order = format!(
        "stty rows 30 cols 100; {program} --socket {} top",
        daemon.socket.display()
    );
    // Whatever goes wrong, it ends.
    let mut child = Command::new("timeout")
        .args(["60", "script", "-qefc", &order, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut wait_for = |words: &str| {
        let mut piece = [0; 4096];
        while !seen.contains(words) {
            let count = screen.read(&mut piece).unwrap();
            assert!(count > 0, "ended without `{words}`: {seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    };
    wait_for("3 targets by req/s");
    keys.write_all(b"e").unwrap();
    wait_for("3 targets by errors");
    keys.write_all(b"q").unwrap();
    // The screen of before.
    wait_for("\u{1b}[?1049l");
    assert!(child.wait().unwrap().success());
}
