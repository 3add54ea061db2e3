//! Orders that stand beside the file: how long they last, who gave them, what is said when they cannot be kept.

#![allow(clippy::unwrap_used)]

mod node;

use std::io::{Read, Write};
use std::net::TcpStream;

use node::{Node, Origin, free_port, wait_until};
use serde_json::{Value, json};

/// Two targets, `a` and `b`, and a rule that shares between two groups.
fn prepared() -> (Node, [Origin; 2], u16) {
    let origins = [Origin::start(), Origin::start()];
    let port = free_port();
    let [a, b] = [origins[0].port, origins[1].port];
    let node = Node::prepare(&format!(
        "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nforward = \"app\"\n\
         [[listener.web.rule]]\nname = \"site\"\nwhen = {{ path = \"/site/*\" }}\nforward = {{ blue = 95, green = 5 }}\n\
         [group.app]\ntargets = [{{ name = \"a\", address = \"127.0.0.1:{a}\" }}, {{ name = \"b\", address = \"127.0.0.1:{b}\" }}]\n\
         [group.blue]\ntargets = [\"127.0.0.1:{a}\"]\n[group.green]\ntargets = [\"127.0.0.1:{b}\"]\n"
    ));
    (node, origins, port)
}

fn ask(port: u16, path: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn target(node: &Node, group: usize, target: usize) -> Value {
    node.status().unwrap()["groups"][group]["targets"][target].clone()
}

/// How many of ten requests each target of `app` gets.
fn shares(node: &Node, port: u16) -> [u64; 2] {
    let totals = || [0, 1].map(|n| target(node, 0, n)["requests_total"].as_u64().unwrap());
    let before = totals();
    (0..10).for_each(|_| ask(port, "/"));
    let after = totals();
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn orders_outlive_a_restart_and_a_reload_and_end_when_they_are_cleared() {
    let (mut node, _origins, port) = prepared();
    node.start();
    node.wait_for_service(port);
    let drained = node
        .order(&json!({"order": "drain", "target": "app/a", "why": "disk swap", "for_s": 7200}));
    assert_eq!(
        (&drained["kept"], &drained["applied"]),
        (&json!(true), &json!(true)),
        "{drained}"
    );
    assert_eq!(shares(&node, port), [0, 10]);
    let split =
        node.order(&json!({"order": "split", "rule": "site", "weights": {"blue": 0, "green": 1}}));
    assert_eq!(
        split["shares"],
        json!([{"group": "blue", "weight": 0}, {"group": "green", "weight": 1}])
    );
    node.order(&json!({"order": "weight", "target": "app/b", "weight": 7}));

    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
    node.start();
    node.wait_for_service(port);
    let shown = target(&node, 0, 0);
    assert_eq!(shown["state"], "drain", "{shown}");
    assert_eq!(shown["why"], "by root: disk swap");
    let shown = target(&node, 0, 1);
    assert_eq!(
        (&shown["weight"], &shown["weight_in_file"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(shares(&node, port), [0, 10]);
    (0..10).for_each(|_| ask(port, "/site/x"));
    assert_eq!(target(&node, 2, 0)["requests_total"], 10);

    let list = node.get("/overrides").unwrap();
    let words: Vec<(&str, &str)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!(
                (&entry["by"], &entry["matches"]),
                (&json!("root"), &json!(true))
            );
            let word = |key: &str| entry[key].as_str().unwrap();
            (word("subject"), word("words"))
        })
        .collect();
    assert_eq!(
        words,
        [
            ("app/a", "drain"),
            ("app/b", "weight 7"),
            ("web/site", "blue=0 green=1")
        ]
    );
    assert_eq!(node.status().unwrap()["overrides"], list);
    let metrics = node.text("/metrics");
    assert!(
        metrics.contains("tandem_override{subject=\"web/site\",kind=\"split\"} "),
        "{metrics}"
    );

    // The file loses a target and gets it back: the order waits for it.
    let file = std::fs::read_to_string(node.folder().join("tandem.toml")).unwrap();
    node.write_config(&file.replace("name = \"a\"", "name = \"other\""));
    assert_eq!(node.post("/reload").unwrap()["outcome"], "applied");
    assert_eq!(node.get("/overrides").unwrap()[0]["matches"], false);
    assert_eq!(target(&node, 0, 0)["order"], "ready");
    node.write_config(&file);
    assert_eq!(node.post("/reload").unwrap()["outcome"], "applied");
    assert_eq!(target(&node, 0, 0)["state"], "drain");

    let ready = node.order(&json!({"order": "ready", "target": "app/a"}));
    assert_eq!(ready["cleared"][0]["words"], "drain", "{ready}");
    let reset = node.order(&json!({"order": "reset", "subject": "app/b"}));
    assert_eq!(reset["cleared"][0]["words"], "weight 7", "{reset}");
    assert_eq!(shares(&node, port), [5, 5]);
    node.order(&json!({"order": "clear"}));
    assert_eq!(node.get("/overrides").unwrap(), json!([]));
    let events = node.get("/events?since=0").unwrap().to_string();
    for words in [
        "drain ordered by root until ",
        "cleared by root; it was weight 7 ordered by root",
        "rule web/site",
    ] {
        assert!(events.contains(words), "{words} is missing in {events}");
    }
}

#[test]
fn an_order_with_a_time_ends_by_itself() {
    let (mut node, _origins, port) = prepared();
    node.start();
    node.wait_for_service(port);
    let order = node.order(&json!({"order": "maint", "target": "app/b", "for_s": 1}));
    assert_eq!(order["set"]["words"], "maint");
    assert_eq!(target(&node, 0, 1)["state"], "maint");
    wait_until("its time is over", || {
        target(&node, 0, 1)["state"] == "up" && node.get("/overrides").unwrap() == json!([])
    });
    let events = node.get("/events?since=0").unwrap().to_string();
    assert!(events.contains("its time is over"), "{events}");
    wait_until("it is said since when", || {
        target(&node, 0, 1)["since"].is_string()
    });
}

#[test]
fn what_makes_no_sense_is_refused_with_a_remedy_and_changes_nothing() {
    let (mut node, _origins, port) = prepared();
    node.start();
    node.wait_for_service(port);
    for (order, error, remedy) in [
        (
            json!({"order": "drain", "target": "app/c"}),
            "group app has no target `c`",
            "there is: a, b",
        ),
        (
            json!({"order": "weight", "target": "app/a", "weight": 1000}),
            "weight 1000 is too large",
            "give 0 to 999",
        ),
        (
            json!({"order": "split", "rule": "site", "weights": {"red": 5}}),
            "rule site does not share with a group `red`",
            "its groups are blue, green",
        ),
        (
            json!({"order": "split", "rule": "web/site", "weights": {"blue": 0, "green": 0}}),
            "rule web/site would be left without any group",
            "give one of its groups a weight above 0",
        ),
        (
            json!({"order": "drain", "target": "app/a", "for_s": 0}),
            "an order for 0 s makes no sense",
            "give a time above zero and below ten years, or none",
        ),
        (
            json!({"order": "drain", "target": "app/a", "why": "x".repeat(201)}),
            "the reason is longer than 200 characters",
            "say it shorter",
        ),
        (
            json!({"order": "clear", "subject": "app/a"}),
            "nothing is ordered for `app/a`",
            "`tandem overrides` lists what is",
        ),
    ] {
        let answer = node.order(&order);
        assert_eq!(
            (&answer["error"], &answer["remedy"]),
            (&json!(error), &json!(remedy))
        );
    }
    assert!(node.order(&json!({"order": "dance"}))["error"].is_string());
    let ready = node.order(&json!({"order": "ready", "target": "app/a"}));
    assert_eq!(ready["notes"][0], "it was ready already", "{ready}");
    assert_eq!(node.get("/overrides").unwrap(), json!([]));
}

#[test]
fn a_state_directory_that_cannot_be_written_is_said_and_the_order_holds() {
    let (mut node, _origins, port) = prepared();
    let state = node.folder().join("state");
    std::fs::remove_dir(&state).unwrap();
    std::fs::write(&state, "no folder").unwrap();
    node.start();
    node.wait_for_service(port);
    let order = node.order(&json!({"order": "drain", "target": "app/a"}));
    assert_eq!(
        (&order["kept"], &order["applied"]),
        (&json!(false), &json!(true))
    );
    assert!(
        order["notes"]
            .to_string()
            .contains("a restart would lose it"),
        "{order}"
    );
    assert_eq!(shares(&node, port), [0, 10]);
    let problems = node.status().unwrap()["problems"].to_string();
    assert!(
        problems.contains("orders could not be written"),
        "{problems}"
    );
    std::fs::remove_file(&state).unwrap();
    wait_until("it is written after all", || {
        let problems = node.status().unwrap()["problems"].to_string();
        state.join("overrides.json").exists() && !problems.contains("orders could not")
    });
}
