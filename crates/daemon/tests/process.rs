//! The three processes of a node as the service manager and a client see them: a load balancer on loopback, without virtual routers.

#![allow(clippy::unwrap_used)]

mod node;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::sys::signal::Signal;
use node::{LIMIT, Node, Origin, free_port, wait_until};

#[test]
fn the_service_manager_hears_ready_then_the_watchdog_then_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let origin = Origin::start();
    let mut node = Node::prepare(&Node::balancer_config(free_port(), &origin));
    node.environment("NOTIFY_SOCKET", folder.path().join("notify"));
    node.start();
    let mut said = String::new();
    let mut hear = |wanted: &str| {
        while !said.contains(wanted) {
            let mut buffer = [0; 4096];
            let count = manager
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("no {wanted} after {said:?}: {error}"));
            said.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            said.push('\n');
        }
        said.clear();
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    node.terminate();
    hear("STOPPING=1");
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_service_manager_that_does_not_read_keeps_the_keeper_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &path).is_ok() {}
    let origin = Origin::start();
    let port = free_port();
    let mut node = Node::prepare(&Node::balancer_config(port, &origin));
    node.environment("NOTIFY_SOCKET", &path);
    node.start();
    node.wait_for_service(port);
    let director = node.child("tandem-director").unwrap();
    node::kill(director);
    wait_until("another director runs", || {
        node.child("tandem-director")
            .is_some_and(|pid| pid != director)
    });
    manager.set_nonblocking(true).unwrap();
    let mut said = String::new();
    wait_until("the manager hears that the service is ready", || {
        let mut buffer = [0; 4096];
        while let Ok(count) = manager.recv(&mut buffer) {
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        said.contains("READY=1")
    });
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_broken_configuration_is_refused_with_every_error() {
    let mut node =
        Node::prepare("[listener.web]\nbind = \"127.0.0.1:1\"\nforward = \"nobody\"\nbnid = 1\n");
    node.start();
    assert_eq!(node.wait().code(), Some(78));
    let log = node.log();
    assert!(
        log.contains("unknown key `bnid`") && log.contains("`nobody`, which does not exist"),
        "{log}"
    );
}

#[test]
fn a_new_director_adopts_the_forwarder_and_no_connection_notices() {
    let (mut node, _origin, port) = serving();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(ask_over(&mut connection), "200");
    let (forwarder, director) = (
        node.child("tandem-forward").unwrap(),
        node.child("tandem-director").unwrap(),
    );
    node::kill(director);
    wait_until("another director answers", || {
        node.child("tandem-director")
            .is_some_and(|pid| pid != director)
            && node
                .status()
                .is_some_and(|status| status["forwarder"]["state"] == "running")
    });
    assert_eq!(node.child("tandem-forward"), Some(forwarder));
    assert_eq!(ask_over(&mut connection), "200");
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_director_that_starts_again_beside_a_broken_file_uses_the_last_good_one() {
    let (node, _origin, port) = serving();
    wait_until("the configuration is kept", || {
        node.folder().join("state/last-good.toml").exists()
    });
    node.write_config("this is no configuration");
    let director = node.child("tandem-director").unwrap();
    node::kill(director);
    let broken = |status: serde_json::Value| {
        status["problems"]
            .to_string()
            .contains("the last good configuration runs")
    };
    wait_until("the problem is shown", || node.status().is_some_and(broken));
    node.wait_for_service(port);
}

#[test]
fn a_killed_forwarder_is_started_again() {
    let (node, _origin, port) = serving();
    let forwarder = node.child("tandem-forward").unwrap();
    node::kill(forwarder);
    wait_until("another forwarder runs", || {
        node.child("tandem-forward")
            .is_some_and(|pid| pid != forwarder)
    });
    node.wait_for_service(port);
    let status = node.status().unwrap();
    assert_eq!(status["forwarder"]["restarts"], 1, "{status}");
}

#[test]
fn a_frozen_forwarder_is_replaced() {
    let (node, _origin, port) = serving();
    let forwarder = node.child("tandem-forward").unwrap();
    node::freeze(forwarder);
    wait_until("another forwarder runs", || {
        node.child("tandem-forward")
            .is_some_and(|pid| pid != forwarder)
    });
    node.wait_for_service(port);
    let status = node.status().unwrap();
    assert_eq!(status["forwarder"]["restarts"], 1, "{status}");
}

#[test]
fn a_port_that_somebody_else_has_is_told_and_taken_when_it_is_free() {
    let origin = Origin::start();
    let port = free_port();
    let somebody = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut node = Node::prepare(&Node::balancer_config(port, &origin));
    node.start();
    let told = |status: serde_json::Value| {
        let problems = status["problems"].to_string();
        status["state"] == "no_service"
            && status["forwarder"]["state"] == "down"
            && problems.contains("cannot bind 127.0.0.1")
            && problems.contains("tries again")
    };
    wait_until("the status tells", || node.status().is_some_and(told));
    drop(somebody);
    node.wait_for_service(port);
    let good = |status: serde_json::Value| status["state"] == "good";
    wait_until("nothing is wrong any more", || {
        node.status().is_some_and(good)
    });
    // Said once by each forwarder, however often it tries.
    let restarts = node.status().unwrap()["forwarder"]["restarts"].as_u64();
    let log = node.log();
    let said = log.matches("does not serve the configuration").count() as u64;
    assert!((1..=1 + restarts.unwrap()).contains(&said), "{log}");
}

#[test]
fn a_stop_lets_a_request_in_flight_finish() {
    let (mut node, origin, port) = serving();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection
        .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    wait_until("the origin has the request", || origin.slow_requests() == 1);
    node.terminate();
    wait_until("the director is gone", || {
        node.child("tandem-director").is_none()
    });
    origin.release();
    let mut answer = String::new();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    connection.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("slow"),
        "{answer}"
    );
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn virtual_routers_without_privileges_end_with_77_and_say_what_is_missing() {
    let mut node =
        Node::prepare("[vrrp.main]\ninterface = \"lo\"\nvrid = 51\nvips = [\"10.0.0.10/24\"]\n");
    node.run_as_nobody();
    node.start();
    assert_eq!(node.wait().code(), Some(77), "{}", node.log());
    assert!(node.log().contains("CAP_NET_ADMIN"), "{}", node.log());
}

#[test]
fn a_load_balancer_alone_runs_as_anybody() {
    let origin = Origin::start();
    let port = free_port();
    let mut node = Node::prepare(&Node::balancer_config(port, &origin));
    node.run_as_nobody();
    node.start();
    node.wait_for_service(port);
}

#[test]
fn a_reload_that_cannot_be_bound_changes_nothing() {
    let origin = Origin::start();
    let (port, taken) = (
        free_port(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let good = Node::balancer_config(port, &origin);
    let mut node = Node::prepare(&good);
    node.start();
    node.wait_for_service(port);
    let second = format!(
        "[listener.second]\nbind = \"{}\"\nforward = \"app\"\n",
        taken.local_addr().unwrap()
    );
    node.write_config(&format!("{good}{second}"));
    let result = node.post("/reload").unwrap();
    assert_eq!(result["outcome"], "failed", "{result}");
    assert!(result["error"].to_string().contains("second"), "{result}");
    node.wait_for_service(port);
    drop(taken);
    assert_eq!(node.post("/reload").unwrap()["outcome"], "applied");
    let names = node.status().unwrap()["listeners"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(names, 2);
}

#[test]
fn the_access_log_is_opened_again_by_a_signal_moved_by_a_reload_and_whole_at_the_end() {
    let origin = Origin::start();
    let port = free_port();
    let mut node = Node::prepare("");
    let (first, second) = (node.folder().join("one.log"), node.folder().join("two.log"));
    let config = |path: &Path| {
        format!(
            "[global]\naccess_log = {{ to = {path:?} }}\n{}",
            Node::balancer_config(port, &origin)
        )
    };
    node.open_folder();
    node.write_config(&config(&first));
    node.start();
    node.wait_for_service(port);
    let lines = |path: &Path| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .count()
    };
    wait_until("lines are written", || lines(&first) > 0);
    std::fs::rename(&first, node.folder().join("one.log.1")).unwrap();
    node.signal(Signal::SIGUSR1);
    wait_until("the file is there again", || first.exists());
    node.wait_for_service(port);
    wait_until("lines are written", || lines(&first) > 0);
    node.write_config(&config(&second));
    assert_eq!(node.post("/reload").unwrap()["outcome"], "applied");
    node.wait_for_service(port);
    let figures = node.status().unwrap()["forwarder"]["access_log"].clone();
    assert_eq!(figures["to"], second.to_str().unwrap(), "{figures}");
    assert_eq!(figures["lost"], 0, "{figures}");
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
    let text = std::fs::read_to_string(&second).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["status"], &last["listener"]),
        (&200.into(), &"web".into())
    );
}

#[test]
fn an_access_log_that_cannot_be_written_is_a_problem_and_no_outage() {
    let origin = Origin::start();
    let port = free_port();
    let mut node = Node::prepare(&format!(
        "[global]\naccess_log = {{ to = \"/dev/full\" }}\n{}",
        Node::balancer_config(port, &origin)
    ));
    node.start();
    node.wait_for_service(port);
    let told = |status: serde_json::Value| {
        let problems = status["problems"].to_string();
        problems.contains("access log lines are lost") && problems.contains("No space left")
    };
    wait_until("it is told", || {
        node.wait_for_service(port);
        node.status().is_some_and(told)
    });
}

/// A node that serves, its origin, and the port of its listener.
fn serving() -> (Node, Origin, u16) {
    let origin = Origin::start();
    let port = free_port();
    let mut node = Node::prepare(&Node::balancer_config(port, &origin));
    node.start();
    node.wait_for_service(port);
    (node, origin, port)
}

/// One request over a connection that stays open; the status code.
fn ask_over(connection: &mut TcpStream) -> String {
    connection
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"fine") {
        let count = connection.read(&mut buffer).unwrap();
        assert_ne!(
            count,
            0,
            "closed after {}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer[9..12]).into_owned()
}
