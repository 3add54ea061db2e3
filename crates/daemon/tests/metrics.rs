//! Metrics on a TCP address: there when the file says so, opened and closed by a reload, and nothing else answered there.

#![allow(clippy::unwrap_used)]

mod node;

use std::io::{Read, Write};
use std::net::TcpStream;

use node::{Node, Origin, free_port, wait_until};

fn configuration(port: Option<u16>) -> String {
    let metrics = port.map_or_else(|| "off".to_owned(), |port| format!("127.0.0.1:{port}"));
    format!(
        "[global]\nmetrics = \"{metrics}\"\n[listener.web]\nbind = \"127.0.0.1:{}\"\nprotocol = \"http\"\nrespond = 404\n",
        free_port()
    )
}

fn ask(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn metrics_are_answered_where_the_file_says_and_nothing_else_is() {
    let [first, second] = [free_port(), free_port()];
    let mut node = Node::prepare(&configuration(Some(first)));
    node.start();
    wait_until("metrics are answered", || {
        ask(first, "GET /metrics").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    });
    let answer = ask(first, "GET /metrics").unwrap();
    assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("tandem_config_info"), "{answer}");
    for (request, status) in [
        ("GET /status", "404"),
        ("POST /reload", "404"),
        ("POST /metrics", "405"),
        ("junk", "400"),
    ] {
        let answer = ask(first, request).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
    }

    node.write_config(&configuration(Some(second)));
    assert!(node.post("/reload").is_some());
    wait_until("metrics have moved", || {
        ask(second, "GET /metrics").is_some()
    });
    assert_eq!(ask(first, "GET /metrics"), None);
    node.write_config(&configuration(None));
    assert!(node.post("/reload").is_some());
    wait_until("metrics are gone", || ask(second, "GET /metrics").is_none());
}

#[test]
fn an_address_that_is_taken_is_a_problem_and_no_reason_to_end() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut node = Node::prepare(&configuration(Some(taken.local_addr().unwrap().port())));
    node.start();
    wait_until("it is said", || {
        let status = node.status();
        status.is_some_and(|status| {
            status["problems"]
                .to_string()
                .contains("metrics are not answered at")
        })
    });
}

#[test]
fn times_are_histograms_and_blame_can_be_told_from_the_figures() {
    let (origin, port) = (Origin::start(), free_port());
    let mut node = Node::prepare(&Node::balancer_config(port, &origin));
    node.start();
    node.wait_for_service(port);
    wait_until("the request is in the metrics", || {
        let text = node.text("/metrics");
        let told = [
            "tandem_request_seconds_bucket{listener=\"web\",class=\"2xx\",le=\"+Inf\"}",
            "tandem_first_byte_seconds_count{group=\"app\"}",
            "tandem_connect_seconds_sum{group=\"app\"}",
            "tandem_target_answers_total{group=\"app\",target=\"127.0.0.1:",
            "tandem_group_fail_open{group=\"app\"} 0",
            "tandem_forwarder_up 1",
            "tandem_listener_connections_total{listener=\"web\"}",
            "tandem_listener_connections_limit{listener=\"web\"} 20000",
            "result=\"passed\"}",
            "state=\"up\"} 1",
            "tandem_target_ejected{group=\"app\",target=\"127.0.0.1:",
            "tandem_target_check_up{group=\"app\",target=\"127.0.0.1:",
            "tandem_target_falls_total{group=\"app\",target=\"127.0.0.1:",
            "tandem_target_down_seconds_total{group=\"app\",target=\"127.0.0.1:",
            "tandem_listener_bytes_total{listener=\"web\",direction=\"out\"}",
        ];
        told.into_iter().all(|line| text.contains(line))
    });
    assert!(node.post("/reload").is_some());
    wait_until("the reload is counted", || {
        let text = node.text("/metrics");
        text.contains("tandem_config_reloads_total{result=\"unchanged\"} 1")
    });
}
