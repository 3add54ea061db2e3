//! What the commands that order send, and what they print.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::*;

const OVERRIDES: &str = include_str!("../../control/tests/recorded/overrides.json");

fn result() -> String {
    let list: Value = serde_json::from_str(OVERRIDES).unwrap();
    json!({
        "set": list[0], "cleared": [], "shares": [], "kept": true, "applied": true, "handover": null,
        "notes": ["this node only: lb2 has orders of its own"],
    })
    .to_string()
}

#[test]
fn each_command_sends_its_order_and_says_that_it_stays() {
    let cases: [(&[&str], Value); 12] = [
        (
            &["drain", "app/a", "--for", "2h", "--why", "disk swap"],
            json!({"order": "drain", "target": "app/a", "for_s": 7200, "why": "disk swap"}),
        ),
        (
            &["maint", "app/a"],
            json!({"order": "maint", "target": "app/a", "for_s": null, "why": null}),
        ),
        (
            &["maint", "on", "--why", "new kernel"],
            json!({"order": "node", "maint": true, "for_s": null, "why": "new kernel"}),
        ),
        (
            &["maint", "off"],
            json!({"order": "node", "maint": false, "for_s": null, "why": null}),
        ),
        (
            &["ready", "app/a"],
            json!({"order": "ready", "target": "app/a"}),
        ),
        (
            &["weight", "app/a", "5", "--for", "10m"],
            json!({"order": "weight", "target": "app/a", "weight": 5, "for_s": 600, "why": null}),
        ),
        (
            &["weight", "site", "web-v1=75", "web-v2=25"],
            json!({"order": "split", "rule": "site", "weights": {"web-v1": 75, "web-v2": 25}, "for_s": null, "why": null}),
        ),
        (
            &["canary", "site", "web-v2=25", "--for", "1h"],
            json!({"order": "canary", "rule": "site", "group": "web-v2", "percent": 25, "for_s": 3600, "why": null}),
        ),
        (
            &["switch", "site", "green", "--why", "release 7"],
            json!({"order": "canary", "rule": "site", "group": "green", "percent": 100, "for_s": null, "why": "release 7"}),
        ),
        (
            &["weight", "site", "--reset"],
            json!({"order": "reset", "subject": "site"}),
        ),
        (
            &["overrides", "--clear", "app/a"],
            json!({"order": "clear", "subject": "app/a"}),
        ),
        (
            &["overrides", "--clear"],
            json!({"order": "clear", "subject": null}),
        ),
    ];
    for (args, sent) in cases {
        let daemon = Daemon::knowing("POST /orders", &result());
        let output = daemon.run(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", err(&output));
        let request = daemon.requests().remove(0);
        let body = request.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), sent);
        assert!(
            out(&output)
                .ends_with("kept across reload and restart, until cleared (tandem overrides)\n"),
            "{}",
            out(&output)
        );
    }
    let daemon = Daemon::knowing("POST /orders", &result());
    let output = daemon.run(&["--json", "drain", "app/a"]);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["set"]["by"], "alice");
}

#[test]
fn a_refused_order_is_1_with_its_remedy() {
    let refusal = json!({"error": "group app has no target `c`", "remedy": "there is: a, b"});
    let daemon = Daemon::new(vec![(
        "POST /orders",
        json_answer(409, &refusal.to_string()),
    )]);
    let output = daemon.run(&["drain", "app/c"]);
    assert_eq!(
        (code(&output), err(&output).as_str()),
        (
            1,
            "error: group app has no target `c`\nhelp: there is: a, b\n"
        )
    );
}

#[test]
fn overrides_are_listed_all_or_of_one_subject() {
    let daemon = Daemon::knowing("GET /overrides", OVERRIDES);
    let output = daemon.run(&["overrides"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("(matches nothing)"));
    let output = daemon.run(&["--json", "overrides", "web/site"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["by"]),
        (1, &json!("bob"))
    );
    let output = daemon.run(&["overrides", "x"]);
    assert_eq!(code(&output), 2, "{}", out(&output));
}

#[test]
fn an_order_that_says_too_little_or_too_much_is_wrong_usage() {
    for args in [
        &["drain"][..],
        &["weight", "site"],
        &["weight", "site", "x"],
        &["weight", "site", "a=1", "--reset"],
        &["drain", "app/a", "--for", "soon"],
        &["maint", "of"],
        &["maint", "off", "--for", "2h"],
    ] {
        let output = run(tandem().args(args));
        assert_eq!(code(&output), 2, "{args:?}");
    }
}

#[test]
fn sessions_that_match_are_ended_by_their_numbers() {
    let session = |id: &str| {
        json!({"id": id, "kind": "tcp", "listener": "db", "group": "db", "target": "db1", "client": "198.51.100.7:50112",
            "age_s": 7500, "bytes_in": 1, "bytes_out": 2})
    };
    let list = json!({"total": 2, "sessions": [session("0.17"), session("1.3")]});
    let ended = json!({"ended": ["0.17", "1.3"], "not_found": []});
    let daemon = Daemon::new(vec![
        (
            "GET /sessions?older_s=3600&group=db",
            json_answer(200, &list.to_string()),
        ),
        ("POST /kill", json_answer(200, &ended.to_string())),
    ]);
    let output = daemon.run(&["sessions", "--older", "1h", "--target", "db"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("\n0.17  198.51.100.7:50112  tcp   2h05m"));
    let output = daemon.run(&["kill", "--older", "1h", "--target", "db"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "2 ended\n"));
    let sent = daemon.requests().pop().unwrap();
    assert!(
        sent.ends_with("\r\n\r\n{\"sessions\":[\"0.17\",\"1.3\"]}"),
        "{sent}"
    );

    let gone = json!({"ended": [], "not_found": ["0.9"]});
    let daemon = Daemon::knowing("POST /kill", &gone.to_string());
    let output = daemon.run(&["kill", "0.9"]);
    assert_eq!(code(&output), 1);
    assert_eq!(out(&output), "nothing was ended\nnot there any more: 0.9\n");
    for wrong in [&["kill"][..], &["kill", "0.9", "--older", "1h"]] {
        assert_eq!(code(&daemon.run(wrong)), 2, "{wrong:?}");
    }
}
