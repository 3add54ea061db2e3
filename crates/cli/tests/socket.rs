//! The program against a daemon that answers from recordings: what it asks, what it prints, how it ends.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::{Value, json};
use support::*;

fn changed_status(change: impl FnOnce(&mut Value)) -> String {
    let mut status: Value = serde_json::from_str(STATUS).unwrap();
    change(&mut status);
    status.to_string()
}

#[test]
fn status_prints_the_screen_and_its_code_is_the_verdict() {
    for (verdict, expected) in [("good", 0), ("degraded", 3), ("no_service", 4)] {
        let daemon = Daemon::knowing(
            "GET /status",
            &changed_status(|status| status["state"] = json!(verdict)),
        );
        let output = daemon.run(&["status"]);
        assert_eq!(code(&output), expected);
        assert!(
            out(&output).starts_with("pair    lb1* ACTIVE "),
            "{}",
            out(&output)
        );
        assert!(
            out(&output).contains("\nLISTENER  BIND               CONNS  REQ/S    5XX  ACTION\n")
        );
        assert!(
            out(&output).ends_with(
                "! group app: 1 of 2 targets is down: 10.0.0.22:8080 (connect refused)\n"
            )
        );
        assert_eq!(err(&output), "");
    }
}

#[test]
fn json_is_the_answer_of_the_daemon_even_where_it_is_newer() {
    let text = changed_status(|status| status["of_tomorrow"] = json!({"x": 1}));
    let daemon = Daemon::knowing("GET /status", &text);
    for args in [["--json", "status"], ["status", "--json"]] {
        let output = daemon.run(&args);
        assert_eq!(code(&output), 3);
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed, serde_json::from_str::<Value>(&text).unwrap());
        assert!(
            out(&output).contains("\n  \"node\": \"lb1\""),
            "not pretty: {}",
            out(&output)
        );
    }
}

#[test]
fn chunked_answers_are_understood() {
    let (first, rest) = STATUS.split_at(100);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:X}\r\n{rest}\r\n0\r\n\r\n",
        first.len(),
        rest.len()
    );
    let output = Daemon::new(vec![("GET /status", answer.into_bytes())]).run(&["status"]);
    assert_eq!(code(&output), 3, "{}", err(&output));
}

#[test]
fn vrrp_and_targets_take_a_name() {
    let daemon = Daemon::new(vec![
        ("GET /vrrp", json_answer(200, VRRP)),
        ("GET /status", json_answer(200, STATUS)),
    ]);
    let output = daemon.run(&["vrrp", "main"]);
    assert_eq!(code(&output), 0);
    assert!(
        out(&output).contains("  priority    200 - 30 eth2 down = 170\n"),
        "{}",
        out(&output)
    );
    assert_eq!(code(&daemon.run(&["vrrp"])), 0);
    let output = daemon.run(&["vrrp", "nain"]);
    assert_eq!(
        (code(&output), err(&output).as_str()),
        (2, "error: no virtual router `nain`; there is: main\n")
    );

    let output = daemon.run(&["targets", "app"]);
    assert_eq!(code(&output), 0);
    assert!(
        out(&output).starts_with("app  round-robin  1/2 usable\n"),
        "{}",
        out(&output)
    );
    assert!(!out(&output).contains("db1"));
    let output = daemon.run(&["--json", "targets", "db"]);
    let groups: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(groups.as_array().unwrap().len(), 1);
    assert_eq!(groups[0]["targets"][0]["name"], "db1");
    let output = daemon.run(&["targets", "x"]);
    assert_eq!(
        (code(&output), err(&output).as_str()),
        (2, "error: no group `x`; there is: app, db\n")
    );
}

#[test]
fn why_by_number_by_name_and_without() {
    let recording: Value = serde_json::from_str(WHY).unwrap();
    let mut summary = recording.clone();
    for key in ["facts", "complete", "omitted"] {
        summary.as_object_mut().unwrap().remove(key);
    }
    let refusal = json!({"error": "there is no recording of event 7", "remedy": "`tandem why --list` shows the recordings there are"});
    let daemon = Daemon::new(vec![
        ("GET /why?seq=41", json_answer(200, WHY)),
        ("GET /why?seq=7", json_answer(404, &refusal.to_string())),
        ("GET /why", json_answer(200, WHY)),
        (
            "GET /recordings",
            json_answer(200, &json!([summary]).to_string()),
        ),
    ]);
    for args in [
        &["why"][..],
        &["why", "--last"],
        &["why", "41"],
        &["why", "main"],
    ] {
        let output = daemon.run(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", err(&output));
        assert!(out(&output).contains("decided by  silence"), "{args:?}");
    }
    let output = daemon.run(&["--json", "why"]);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, recording);
    let output = daemon.run(&["why", "--list"]);
    assert!(out(&output).starts_with("    41  "), "{}", out(&output));
    let output = daemon.run(&["why", "nain"]);
    assert_eq!(
        (code(&output), err(&output).as_str()),
        (2, "error: no recording of `nain`; there is: main\n")
    );
    let output = daemon.run(&["why", "7"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("there is no recording of event 7"));
    assert!(err(&output).contains("tandem why --list"));
}

#[test]
fn why_of_a_target_is_its_state_and_its_events() {
    let events = json!([
        {"seq": 7, "at": "2026-03-04T05:06:07Z", "node": "lb1", "subject": "target app/10.0.0.22:8080", "from": "up",
            "to": "down", "reason": "connect refused 3/3", "kind": "health"},
        {"seq": 8, "at": "2026-03-04T05:06:08Z", "node": "lb1", "subject": "target app/10.0.0.21:8080", "from": "up",
            "to": "down", "reason": "another one", "kind": "health"},
    ]);
    let daemon = Daemon::new(vec![
        ("GET /status", json_answer(200, STATUS)),
        ("GET /events", json_answer(200, &events.to_string())),
    ]);
    let output = daemon.run(&["why", "target", "app/10.0.0.22:8080"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).starts_with("app/10.0.0.22:8080  down"));
    assert!(out(&output).contains("up -> down: connect refused 3/3\n"));
    assert!(!out(&output).contains("another one"));
    let output = daemon.run(&["--json", "why", "target", "app/10.0.0.22:8080"]);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["target"]["state"], "down");
    assert_eq!(told["events"][0]["seq"], 7);
    let output = daemon.run(&["why", "target", "app/nobody"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("no target `app/nobody`; there is: app/10.0.0.21:8080"));
    assert_eq!(code(&daemon.run(&["why", "goal", "app/10.0.0.22:8080"])), 2);
}

#[test]
fn a_pair_that_agrees_is_0_and_one_that_does_not_3() {
    let facts = json!({"version": "0.1.0", "config_hash": "8f3a17c0ffee", "said_at": "2026-03-04T05:06:07Z"});
    let node = |name: &str, this: bool, facts: &Value| json!({"name": name, "address": "10.0.0.2", "this": this, "heard_ms": null, "clock_ahead_ms": null, "facts": facts});
    let pair = |other: &Value, differences: Value| {
        json!({"nodes": [node("lb1", true, &facts), node("lb2", false, other)], "differences": differences})
            .to_string()
    };
    let agrees = pair(&facts, json!([]));
    assert_eq!(
        code(&Daemon::knowing("GET /pair", &agrees).run(&["pair"])),
        0
    );
    let differs = pair(&facts, json!(["lb2 runs tandemd 0.2.0, lb1 0.1.0"]));
    let output = Daemon::knowing("GET /pair", &differs).run(&["pair"]);
    assert_eq!(code(&output), 3);
    assert!(out(&output).ends_with("! lb2 runs tandemd 0.2.0, lb1 0.1.0\n"));
    let silent = pair(&Value::Null, json!([]));
    assert_eq!(
        code(&Daemon::knowing("GET /pair", &silent).run(&["pair"])),
        3
    );
}

#[test]
fn events_since_a_number_or_a_time() {
    let daemon = Daemon::new(vec![
        ("GET /events?since=0", json_answer(200, EVENTS)),
        ("GET /events?since=43", json_answer(200, "[]")),
    ]);
    let output = daemon.run(&["events"]);
    assert_eq!((code(&output), out(&output).lines().count()), (0, 3));
    let output = daemon.run(&["events", "--since", "43"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, ""));
    let output = daemon.run(&["events", "--since", "2026-03-04T05:05:50Z"]);
    assert_eq!((code(&output), out(&output).lines().count()), (0, 2));
    let output = daemon.run(&["--json", "events", "--since", "2026-03-04T05:05:50Z"]);
    let kept: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        kept.as_array()
            .unwrap()
            .iter()
            .map(|event| event["seq"].clone())
            .collect::<Vec<_>>(),
        [42, 43]
    );
    assert_eq!(code(&daemon.run(&["events", "--since", "yesterday"])), 2);
}

#[test]
fn events_are_followed_as_they_happen() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("sock")).unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let events: Vec<Value> = serde_json::from_str(EVENTS).unwrap();
    let chunk = |text: String| format!("{:x}\r\n{text}\r\n", text.len());
    let (first, second) = (
        chunk(format!("{}\n\n", events[0])),
        chunk(format!("{}\n", events[1])),
    );
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let request = read_request(&mut connection);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        connection
            .write_all(format!("{head}{first}").as_bytes())
            .unwrap();
        wait.recv().unwrap();
        connection.write_all(second.as_bytes()).unwrap();
        wait.recv().unwrap();
        connection.write_all(b"0\r\n\r\n").unwrap();
        request
    });
    let mut program = tandem();
    let program = program
        .arg("--socket")
        .arg(folder.path("sock"))
        .args(["events", "-f"]);
    let mut program = program
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("backup -> active"));
    go.send(()).unwrap();
    assert!(lines.next().unwrap().unwrap().contains("up -> down"));
    go.send(()).unwrap();
    assert!(lines.next().is_none());
    let output = program.wait_with_output().unwrap();
    assert_eq!(code(&output), 69);
    assert!(
        err(&output).starts_with("error: the daemon ended the stream of events\nhelp: "),
        "{}",
        err(&output)
    );
    assert!(
        server
            .join()
            .unwrap()
            .starts_with("GET /events?since=0&follow=1 HTTP/1.1\r\n")
    );
}

#[test]
fn reload_applied_refused_and_failed() {
    let result = |outcome: &str, problems: Value, error: Value| {
        json!({"outcome": outcome, "at": "2026-03-04T05:06:07Z", "path": "/etc/t.toml", "hash": "8f3a17c0ffee", "generation": 14,
            "changes": if outcome == "applied" { json!(["group app: weight 1 -> 2"]) } else { json!([]) },
            "problems": problems, "error": error})
        .to_string()
    };
    let daemon = Daemon::knowing("POST /reload", &result("applied", json!([]), Value::Null));
    let output = daemon.run(&["reload"]);
    assert_eq!(code(&output), 0);
    assert_eq!(
        out(&output),
        "reloaded /etc/t.toml: generation 14, 8f3a17c0ffee\n  group app: weight 1 -> 2\n"
    );
    assert!(daemon.requests()[0].ends_with("\r\n\r\n{}"));

    let status = changed_status(|status| status["forwarder"]["generation"] = json!(14));
    let applied = result("applied", json!([]), Value::Null);
    let daemon = Daemon::new(vec![
        ("POST /reload", json_answer(200, &applied)),
        ("GET /status", json_answer(200, &status)),
    ]);
    let output = daemon.run(&["reload", "--wait"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).ends_with(
        "in force: the forwarder serves generation 14: 2 listeners, 2 of 3 targets usable\n"
    ));
    let output = daemon.run(&["--json", "reload", "--wait"]);
    assert!(out(&output).contains("\"in_force\": true"));

    let problem = json!([{"code": "E021", "severity": "error", "line": 33, "column": 11,
        "message": "group `apii` does not exist", "remedy": "closest: `api`"}]);
    let daemon = Daemon::knowing("POST /reload", &result("refused", problem, Value::Null));
    let output = daemon.run(&["reload"]);
    assert_eq!(code(&output), 78);
    let expected = "\
/etc/t.toml:33:11: error[E021]: group `apii` does not exist; closest: `api`
1 error. The running configuration (generation 14) was not changed.
";
    assert_eq!(out(&output), expected);
    assert_eq!(code(&daemon.run(&["--json", "reload"])), 78);

    let daemon = Daemon::knowing(
        "POST /reload",
        &result("failed", json!([]), json!("cannot bind")),
    );
    let output = daemon.run(&["reload"]);
    assert_eq!(code(&output), 1);
    assert!(out(&output).starts_with("could not be put to work: cannot bind\n"));
}

#[test]
fn handover_done_not_done_and_refused() {
    let done = r#"{"handed_over": true, "took_ms": 31, "to": "lb2"}"#;
    let daemon = Daemon::knowing("POST /handover", done);
    let output = daemon.run(&["handover", "main"]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "handed over to lb2 in 31ms\n")
    );
    assert!(daemon.requests()[0].ends_with("\r\n\r\n{\"name\":\"main\"}"));

    let not = r#"{"handed_over": false, "took_ms": 300, "reason": "nobody took over"}"#;
    let output = Daemon::knowing("POST /handover", not).run(&["handover"]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (1, "not handed over after 300ms: nobody took over\n")
    );

    let no = json_answer(
        409,
        r#"{"error": "this node is not active", "remedy": "ask lb2"}"#,
    );
    let output = Daemon::new(vec![("POST /handover", no)]).run(&["handover"]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        err(&output),
        "error: this node is not active\nhelp: ask lb2\n"
    );
    assert_eq!(out(&output), "");
}

#[test]
fn nobody_listens_is_69_and_says_how_to_start() {
    let folder = Folder::new();
    let commands: [&[&str]; 6] = [
        &["status"],
        &["vrrp"],
        &["events", "-f"],
        &["reload"],
        &["handover"],
        &["targets"],
    ];
    for args in commands {
        let output = without_daemon(&folder, args, &[]);
        assert_eq!(code(&output), 69, "{args:?}");
        let socket = folder.path("nobody");
        let start = format!(
            "error: no daemon listens on {}: No such file",
            socket.display()
        );
        assert!(err(&output).starts_with(&start), "{}", err(&output));
        assert!(err(&output).contains("help: start the daemon with `systemctl start tandemd`"));
        assert_eq!(out(&output), "");
    }
    drop(UnixListener::bind(folder.path("nobody")).unwrap());
    assert_eq!(code(&without_daemon(&folder, &["status"], &[])), 69);
}

#[test]
fn socket_of_others_is_77_and_names_the_group() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("sock")).unwrap();
    std::fs::set_permissions(folder.path("sock"), PermissionsExt::from_mode(0o000)).unwrap();
    let program = folder.path("tandem");
    std::fs::copy(env!("CARGO_BIN_EXE_tandem"), &program).unwrap();
    let mut command = std::process::Command::new(program);
    command
        .arg("--socket")
        .arg(folder.path("sock"))
        .arg("status");
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Root may use every socket, so the program runs as somebody without any rights.
        command.uid(65_534).gid(65_534);
    }
    let output = run(&mut command);
    assert_eq!(code(&output), 77, "{}", err(&output));
    let expected = format!(
        "error: no permission to use {}\nhelp: become root or a member of the group `",
        folder.path("sock").display()
    );
    assert!(err(&output).starts_with(&expected), "{}", err(&output));
    drop(listener);
}

#[test]
fn permission_refused_is_77() {
    let no = json_answer(403, r#"{"error": "only root may hand over"}"#);
    let output = Daemon::new(vec![("POST /handover", no)]).run(&["handover"]);
    assert_eq!(
        (code(&output), err(&output).as_str()),
        (77, "error: only root may hand over\n")
    );
}

#[test]
fn nonsense_is_a_fault_and_no_panic() {
    let not_status = json_answer(200, r#"{"state": "good"}"#);
    let cases: Vec<(Vec<u8>, i32)> = vec![
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), 1),
        (json_answer(200, "<html>"), 1),
        (not_status, 1),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec(),
            1,
        ),
        (vec![0xff; 50_000], 1),
        (Vec::new(), 69),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec(),
            69,
        ),
    ];
    for (answer, expected) in cases {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
        let daemon = Daemon::new(vec![("GET /status", answer)]);
        for args in [&["status"][..], &["--json", "status"]] {
            let output = daemon.run(args);
            assert_eq!(code(&output), expected, "{shown:?}: {}", err(&output));
            assert!(err(&output).starts_with("error: "), "{}", err(&output));
            assert!(!err(&output).contains("panicked"));
            assert_eq!(out(&output), "");
        }
    }
}

#[test]
fn control_characters_of_the_daemon_stay_off_the_terminal() {
    let text = changed_status(|status| status["problems"] = json!(["red \u{1b}[31malert"]));
    let output = Daemon::knowing("GET /status", &text).run(&["status"]);
    assert!(
        out(&output).ends_with("! red ?[31malert\n"),
        "{}",
        out(&output)
    );
}

#[test]
fn reader_that_left_is_no_fault() {
    let daemon = Daemon::knowing("GET /status", STATUS);
    for args in [
        &["status"][..],
        &["--json", "status"],
        &["completion", "bash"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = tandem();
        let program = program
            .arg("--socket")
            .arg(&daemon.socket)
            .args(args)
            .stdout(writer)
            .stderr(Stdio::piped());
        let output = program.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{args:?}");
    }
}
