//! What the program says without a daemon: help, usage, completions.
#![allow(clippy::unwrap_used)]

mod support;

use support::*;

#[test]
fn help_names_every_command_and_exit_code() {
    let output = run(tandem().arg("--help"));
    assert_eq!(code(&output), 0);
    let commands = [
        "status",
        "pair",
        "top",
        "vrrp",
        "targets",
        "events",
        "why",
        "reload",
        "handover",
        "drain",
        "maint",
        "ready",
        "weight",
        "canary",
        "switch",
        "metrics",
        "sessions",
        "kill",
        "overrides",
        "restart",
        "simulate",
        "explain",
        "rules",
        "check",
        "diff",
        "completion",
    ];
    for word in commands.iter().chain(&[
        "--socket",
        "--json",
        "/run/tandem/tandem.sock",
        "Examples:",
        "  69  ",
        "  78  ",
    ]) {
        assert!(
            out(&output).contains(word),
            "{word} is missing:\n{}",
            out(&output)
        );
    }
    for command in commands {
        let output = run(tandem().args([command, "--help"]));
        assert_eq!(code(&output), 0);
        assert!(
            out(&output).contains(&format!("  tandem {command}")),
            "no example:\n{}",
            out(&output)
        );
    }
}

#[test]
fn wrong_usage_is_2() {
    let cases: [&[&str]; 7] = [
        &[],
        &["statsu"],
        &["status", "x"],
        &["--sokcet", "x", "status"],
        &["completion", "tcsh"],
        &["events", "--since"],
        &["--json"],
    ];
    for args in cases {
        let output = run(tandem().args(args));
        assert_eq!(code(&output), 2, "{args:?}");
        assert_eq!(out(&output), "");
        assert!(!err(&output).is_empty());
    }
    assert!(
        err(&run(tandem().arg("statsu"))).contains("'status'"),
        "no suggestion"
    );
}

#[test]
fn version_is_named() {
    let output = run(tandem().arg("--version"));
    assert_eq!(
        (code(&output), out(&output)),
        (0, format!("tandem {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn completions_know_the_commands() {
    let marks = [
        ("bash", "complete -F _tandem"),
        ("zsh", "#compdef tandem"),
        ("fish", "complete -c tandem"),
    ];
    for (shell, mark) in marks {
        let output = run(tandem().args(["completion", shell]));
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains(mark), "{shell}");
        assert!(out(&output).contains("handover"), "{shell}");
    }
}
