//! What the forwarder needs in memory; alone in its process, one test at a time, because memory is the process's.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::sync::Mutex;
use std::time::Duration;

use balancer::GroupSettings;

#[path = "integration/support.rs"]
#[allow(dead_code)] // each test program uses its part
mod support;

use support::*;

const MIB: usize = 1024 * 1024;

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

/// Memory of this process that is in use, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
fn a_large_body_streams_in_bounded_memory_also_past_a_slow_reader() {
    let _turn = TURN.lock();
    const SIZE: usize = 200 * MIB;
    let origin = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
            .unwrap();
        let piece = vec![b'x'; MIB];
        for _ in 0..SIZE / MIB {
            stream.write_all(&piece).unwrap();
        }
    });
    let (_forwarder, place) = proxy(&[origin.address]);
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    client.head().unwrap();
    let before = resident();
    std::thread::sleep(Duration::from_millis(200)); // the target would fill memory in this time
    let (mut total, mut most, mut buf) = (0, 0, vec![0; MIB]);
    loop {
        let count = client.stream.read(&mut buf).unwrap();
        if count == 0 {
            break;
        }
        total += count;
        most = most.max(resident().saturating_sub(before));
    }
    // A part of the body came with the head and is in the client's own buffer.
    assert!(total > SIZE - MIB && total <= SIZE, "{total}");
    // What the target of the test and the client of the test hold is in it: a piece each.
    assert!(most < 4 * MIB, "memory grew by {most}");
}

#[test]
fn clients_that_send_their_head_slowly_cost_little_and_harm_nobody() {
    let _turn = TURN.lock();
    const COUNT: usize = 1000;
    let origin = Origin::answering("a");
    let (forwarder, web) = proxy_with(&[origin.address], |listener, _| {
        // However long a busy machine takes for all of them.
        listener.timeouts.header = Duration::from_secs(120);
    });
    let mut other = Client::connect(web.address);
    assert_eq!(other.get("/").status, 200);
    let before = resident();
    let mut slow: Vec<Client> = (0..COUNT).map(|_| Client::connect(web.address)).collect();
    for piece in ["GET / HT", "TP/1.1\r\n", "Host: a\r\nX-", "Slow: "] {
        for client in &mut slow {
            client.send(piece);
        }
        assert_eq!(other.get("/").status, 200);
    }
    eventually("all are connected", || {
        forwarder.snapshot().listeners[0].connections as usize > COUNT
    });
    let grown = resident().saturating_sub(before);
    // The clients of the test are in it too.
    assert!(grown < 4 * MIB, "memory grew by {grown}");
    for client in &mut slow {
        client.send("yes\r\n\r\n");
    }
    for client in &mut slow {
        assert_eq!(client.head().unwrap().status, 200);
    }
}

/// Upgrades at once, then sends back all it gets.
fn tunnelling() -> Origin {
    Origin::start(|mut stream, _| {
        if read_request(&mut stream, &mut Vec::new()).is_none() {
            return;
        }
        stream.set_read_timeout(None).unwrap();
        let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut buf = [0; 64];
        while let Ok(count) = stream.read(&mut buf) {
            if count == 0 || stream.write_all(&buf[..count]).is_err() {
                break;
            }
        }
    })
}

#[test]
fn a_thousand_reloads_leak_nothing_and_cut_no_tunnel() {
    let _turn = TURN.lock();
    let origin = tunnelling();
    let (web, extra) = (place(), place());
    let forwarder = forwarder();
    let reload = |round: u64| {
        let mut group = GroupSettings::new("g", [origin.address]);
        group.health.check = balancer::Check::Off;
        group.timeouts.first_byte = Duration::from_secs(60 + round % 7);
        let mut listeners = vec![http_listener(&web)];
        if round % 10 < 5 {
            let mut listener = http_listener(&extra);
            listener.name = "extra".into();
            listeners.push(listener);
        }
        forwarder.apply(listeners, vec![group]).unwrap();
    };
    reload(0);
    let mut tunnels: Vec<Client> = (0..100).map(|_| Client::connect(web.address)).collect();
    for tunnel in &mut tunnels {
        tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        assert_eq!(tunnel.head().unwrap().status, 101);
    }
    (0..100).for_each(reload);
    let before = resident();
    (0..1000).for_each(reload);
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 * MIB, "memory grew by {grown}");
    for tunnel in &mut tunnels {
        tunnel.send("ping");
        let mut pong = [0; 4];
        tunnel.stream.read_exact(&mut pong).unwrap();
        assert_eq!(&pong, b"ping");
    }
    assert_eq!(in_flight(&forwarder.snapshot()), 100);
}

#[test]
fn idle_connections_hold_no_buffers() {
    let _turn = TURN.lock();
    const COUNT: usize = 2000;
    let origin = Origin::answering("a");
    let (forwarder, web) = proxy(&[origin.address]);
    let connect = |count: usize| -> Vec<Client> {
        let ask = |_| {
            let mut client = Client::connect(web.address);
            client.get("/");
            client
        };
        (0..count).map(ask).collect()
    };
    let first = connect(200);
    let before = resident();
    let more = connect(COUNT);
    let each = resident().saturating_sub(before) / COUNT;
    assert_eq!(
        forwarder.snapshot().listeners[0].connections as usize,
        first.len() + more.len()
    );
    // Two buffers of the smallest size would be more than this; the clients of the test are in it too.
    assert!(each < 7 * 1024, "{each} bytes for a connection");
}
