//! `check` and `diff` on files, with and without a daemon.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::*;

const PAIR: &str = r#"
[pair]
nodes = { lb1 = "10.0.0.2", lb2 = "10.0.0.3" }

[vrrp.main]
interface = "eth0"
vrid = 51
vips = ["10.0.0.10/24"]

[listener.web]
bind = "10.0.0.10:80"
forward = "app"

[group.app]
targets = ["10.0.0.21:8080", "10.0.0.22:8080"]
health = { http = "/healthz" }
"#;

fn with_another_target() -> String {
    PAIR.replace(
        "\"10.0.0.22:8080\"]",
        "\"10.0.0.22:8080\", \"10.0.0.23:8080\"]",
    )
}

fn with_a_misspelt_key() -> String {
    PAIR.replace("forward =", "forwrad =")
}

#[test]
fn good_file_is_0() {
    let folder = Folder::new();
    let file = folder.write("t.toml", PAIR);
    let output = without_daemon(&folder, &["check", "--node", "lb2"], &[&file]);
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    let start = format!("{}: good (", file.display());
    assert!(out(&output).starts_with(&start), "{}", out(&output));
    assert!(
        out(&output).ends_with(", read as lb2): 1 virtual router, 1 listener, 1 group\n"),
        "{}",
        out(&output)
    );
}

#[test]
fn errors_are_78_a_line_each() {
    let folder = Folder::new();
    let file = folder.write("t.toml", &with_a_misspelt_key());
    let output = without_daemon(&folder, &["check", "--node", "lb1"], &[&file]);
    assert_eq!(code(&output), 78);
    let line = format!("{}:12:1: error[E012]: ", file.display());
    assert!(out(&output).contains(&line), "{}", out(&output));
    assert!(out(&output).contains("`forward`"), "{}", out(&output));

    let output = without_daemon(&folder, &["--json", "check", "--node", "lb1"], &[&file]);
    assert_eq!(code(&output), 78);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["usable"], false);
    let problems = report["problems"].as_array().unwrap();
    assert!(
        problems
            .iter()
            .any(|problem| problem["code"] == "E012" && problem["line"] == 12),
        "{report}"
    );
}

#[test]
fn unknown_node_is_an_error_with_the_list() {
    let folder = Folder::new();
    let file = folder.write("t.toml", PAIR);
    let output = without_daemon(&folder, &["check", "--node", "lb9"], &[&file]);
    assert_eq!(code(&output), 78);
    assert!(
        out(&output).contains("E020") && out(&output).contains("lb1"),
        "{}",
        out(&output)
    );
}

#[test]
fn json_of_a_good_file_names_hash_and_node() {
    let folder = Folder::new();
    let file = folder.write("t.toml", PAIR);
    let output = without_daemon(&folder, &["--json", "check", "--node", "lb1"], &[&file]);
    assert_eq!(code(&output), 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["usable"], &report["node"]),
        (&json!(true), &json!("lb1"))
    );
    assert_eq!(report["hash"].as_str().unwrap().len(), 12);
}

#[test]
fn missing_file_is_78() {
    let folder = Folder::new();
    let file = folder.path("missing.toml");
    for command in ["check", "diff"] {
        let output = without_daemon(&folder, &[command], &[&file]);
        assert_eq!(code(&output), 78);
        assert!(
            err(&output).starts_with(&format!(
                "error: cannot read {}: No such file",
                file.display()
            )),
            "{}",
            err(&output)
        );
    }
}

#[test]
fn diff_of_two_files() {
    let folder = Folder::new();
    let (old, new) = (
        folder.write("old.toml", PAIR),
        folder.write("new.toml", &with_another_target()),
    );
    let against = |a: &std::path::Path, b: &std::path::Path, args: &[&str]| {
        let args = [
            args,
            &["diff", "--node", "lb1", "--against", b.to_str().unwrap()],
        ]
        .concat();
        without_daemon(&folder, &args, &[a])
    };
    let output = against(&new, &old, &[]);
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    assert!(out(&output).contains("10.0.0.23:8080"), "{}", out(&output));
    let output = against(&new, &new, &[]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "nothing would change\n")
    );
    let output = against(&new, &old, &["--json"]);
    let changes: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!changes.as_array().unwrap().is_empty());

    let bad = folder.write("bad.toml", &with_a_misspelt_key());
    let output = against(&bad, &old, &[]);
    assert_eq!(code(&output), 78);
    assert!(out(&output).contains("error[E012]"), "{}", out(&output));
    let output = against(&new, &bad, &[]);
    assert_eq!(code(&output), 78);
    assert!(
        err(&output).contains("bad.toml has errors, so there is nothing to compare with"),
        "{}",
        err(&output)
    );
}

#[test]
fn diff_against_what_the_daemon_runs_is_read_as_its_node() {
    let folder = Folder::new();
    let (same, new) = (
        folder.write("same.toml", PAIR),
        folder.write("new.toml", &with_another_target()),
    );
    let config = json!({"path": "/etc/tandem/tandem.toml", "hash": "8f3a17c0ffee", "text": PAIR})
        .to_string();
    let daemon = Daemon::new(vec![
        ("GET /config", json_answer(200, &config)),
        ("GET /status", json_answer(200, STATUS)),
    ]);
    let output = daemon.run(&["diff", same.to_str().unwrap()]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "nothing would change\n"),
        "{}",
        err(&output)
    );
    let output = daemon.run(&["diff", new.to_str().unwrap()]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("10.0.0.23:8080"), "{}", out(&output));
}

#[test]
fn diff_without_a_daemon_points_to_against() {
    let folder = Folder::new();
    let file = folder.write("t.toml", PAIR);
    let output = without_daemon(&folder, &["diff"], &[&file]);
    assert_eq!(code(&output), 69);
    assert!(err(&output).starts_with(
        "error: there is no running configuration to compare with: no daemon listens on "
    ));
    assert!(
        err(&output).ends_with("help: compare with a file: --against FILE\n"),
        "{}",
        err(&output)
    );
}

#[test]
fn the_file_of_the_other_node_is_compared_where_that_is_asked() {
    let folder = Folder::new();
    let file = folder.write("t.toml", PAIR);
    let path = file.to_str().unwrap();
    let output = without_daemon(&folder, &["--json", "check", "--node", "lb1"], &[&file]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let own = report["hash"].as_str().unwrap().to_owned();
    let check = |peers: Value, strict: bool| {
        let mut status: Value = serde_json::from_str(STATUS).unwrap();
        status["pair"]["nodes"][1]["config_hash"] = peers;
        let daemon = Daemon::knowing("GET /status", &status.to_string());
        let mut args = vec!["check", "--node", "lb1", "--peer", path];
        args.extend(strict.then_some("--strict"));
        let output = daemon.run(&args);
        (code(&output), out(&output))
    };
    let (good, text) = check(json!(own), false);
    assert!(good == 0 && !text.contains("E061"), "{text}");
    let (warned, text) = check(json!("0123456789ab"), false);
    let line = format!("{path}: warning[E061]: lb2 runs 0123456789ab, this file is {own};");
    assert!(warned == 0 && text.contains(&line), "{text}");
    assert_eq!(check(json!("0123456789ab"), true).0, 1);
    let (_, text) = check(Value::Null, false);
    assert!(text.contains("what lb2 runs is not known"), "{text}");
}
