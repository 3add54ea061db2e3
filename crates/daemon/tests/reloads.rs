//! Reloads while a process of the node, or the disk, does not answer: each is answered, and what ran runs on.

#![allow(clippy::unwrap_used)]

mod node;

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use node::{Node, Origin, free_port};

/// A node that serves, its origin, and two ports: of its listener and of the one a reload adds.
fn serving() -> (Node, Origin, [u16; 2]) {
    let origin = Origin::start();
    let ports = [free_port(), free_port()];
    let mut node = Node::prepare(&Node::balancer_config(ports[0], &origin));
    node.start();
    node.wait_for_service(ports[0]);
    (node, origin, ports)
}

/// The file with one more listener.
fn with_another(origin: &Origin, [port, more]: [u16; 2]) -> String {
    let config = Node::balancer_config(port, origin);
    format!(
        "{config}[listener.more]\nbind = \"127.0.0.1:{more}\"\nprotocol = \"http\"\nforward = \"app\"\n"
    )
}

#[test]
fn a_reload_during_which_the_forwarder_dies_fails_and_the_next_is_applied() {
    let (node, origin, ports) = serving();
    node.write_config(&with_another(&origin, ports));
    let forwarder = node.child("tandem-forward").unwrap();
    node::freeze(forwarder);
    let answer = node.reload();
    assert_eq!(answer["outcome"], "failed", "{answer}");
    // On a machine that is late itself a silent forwarder is not blamed at once: then the time for the answer may be over first.
    let reasons = [
        "the forwarder ended while it applied it",
        "the forwarder did not answer in time",
    ];
    assert!(
        reasons.iter().any(|reason| answer["error"] == *reason),
        "{answer}"
    );
    node::wait_until("another forwarder runs", || {
        (node.child("tandem-forward")).is_some_and(|pid| pid != forwarder)
    });
    node.wait_for_service(ports[0]);
    let status = node.status().unwrap();
    assert_eq!(
        status["listeners"].as_array().unwrap().len(),
        1,
        "it was told what runs: {status}"
    );
    let answer = node.reload();
    assert_eq!(answer["outcome"], "applied", "{answer}");
    node.wait_for_service(ports[1]);
}

#[test]
fn a_reload_over_which_the_whole_node_is_frozen_is_applied() {
    let (node, origin, ports) = serving();
    node.write_config(&with_another(&origin, ports));
    let children = ["tandem-forward", "tandem-director"].map(|name| node.child(name).unwrap());
    let [forwarder, director] = children;
    node::freeze(forwarder);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| node.reload());
        // It has the file, and waits for the forwarder.
        std::thread::sleep(Duration::from_millis(300));
        node.signal(Signal::SIGSTOP);
        node::freeze(director);
        // Longer than the forwarder has to answer, and than the keeper waits for a director.
        std::thread::sleep(Duration::from_secs(8));
        for pid in [node.keeper(), director, forwarder] {
            node::thaw(pid);
        }
        let answer = asked.join().unwrap();
        assert_eq!(answer["outcome"], "applied", "{answer}\n{}", node.log());
    });
    node.wait_for_service(ports[1]);
    let now = ["tandem-forward", "tandem-director"].map(|name| node.child(name).unwrap());
    assert_eq!(now, children, "nobody was taken for hung: {}", node.log());
}

#[test]
fn a_file_that_cannot_be_read_in_time_fails_the_reload_and_holds_up_nothing() {
    let (node, origin, ports) = serving();
    let path = node.folder().join("tandem.toml");
    std::fs::remove_file(&path).unwrap();
    // Whoever opens it waits for somebody to write.
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    std::thread::scope(|scope| {
        let asked = [(); 2].map(|()| scope.spawn(|| node.reload()));
        assert!(node.status().is_some(), "the director goes on");
        for answer in asked.map(|asked| asked.join().unwrap()) {
            assert_eq!(answer["outcome"], "failed", "{answer}");
        }
    });
    let answer = node.reload();
    let why = "an earlier reload still waits for the disk";
    assert_eq!(answer["error"], why, "no other thread waits: {answer}");
    let fifo = std::fs::OpenOptions::new().write(true).open(&path);
    std::fs::remove_file(&path).unwrap();
    node.write_config(&with_another(&origin, ports));
    drop(fifo.unwrap());
    // What was in the pipe, nothing, is not what was asked for.
    node::wait_until("a reload reads the file", || {
        node.reload()["outcome"] == "applied"
    });
    node.wait_for_service(ports[1]);
}
