//! TCP listeners: bytes both ways, ends and resets passed on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use balancer::{ListenerSettings, Protocol};
use forwarder::Forwarder;

use crate::support::*;

fn tcp_proxy(
    targets: &[SocketAddr],
    change: impl FnOnce(&mut ListenerSettings),
) -> (Forwarder, Place) {
    proxy_with(targets, |listener, _| {
        listener.protocol = Protocol::Tcp;
        change(listener);
    })
}

/// Sends back everything, then a word, once the client's direction has ended.
fn echo_after_the_end() -> Origin {
    Origin::start(|mut stream, _| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.extend_from_slice(b" - over");
        stream.write_all(&all).unwrap();
    })
}

#[test]
fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let origin = echo_after_the_end();
    let (forwarder, place) = tcp_proxy(&[origin.address], |_| {});
    let mut client = Client::connect(place.address);
    client.send("one ");
    client.send("two");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"one two - over");
    eventually("given back", || in_flight(&forwarder.snapshot()) == 0);
    let snapshot = forwarder.snapshot();
    assert_eq!(
        (
            snapshot.listeners[0].requests_total,
            snapshot.groups[0].targets[0].requests_total
        ),
        (1, 1)
    );
}

#[test]
fn the_end_of_the_targets_direction_leaves_the_clients_open() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&received);
    let origin = Origin::start(move |mut stream, _| {
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        *noted.lock().unwrap() = all;
    });
    let (_forwarder, place) = tcp_proxy(&[origin.address], |_| {});
    let mut client = Client::connect(place.address);
    assert_eq!(client.rest().unwrap(), b"hello");
    client.send("late");
    client.stream.shutdown(Shutdown::Write).unwrap();
    eventually("received", || *received.lock().unwrap() == b"late");
}

#[test]
fn a_reset_by_the_client_is_passed_on_as_a_reset() {
    let reset = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&reset);
    let origin = Origin::start(move |mut stream, _| {
        stream.write_all(b"x").unwrap();
        let error = stream.read(&mut [0; 8]).err();
        let is_reset =
            error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        noted.store(is_reset, SeqCst);
    });
    let (forwarder, place) = tcp_proxy(&[origin.address], |_| {});
    let mut client = Client::connect(place.address);
    client.stream.read_exact(&mut [0]).unwrap();
    let socket = socket2::Socket::from(client.stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    eventually("reset at the target", || reset.load(SeqCst));
    eventually("counted", || {
        forwarder.snapshot().listeners[0].causes == [("client-reset@tunnel", 1)]
    });
}

#[test]
fn a_large_stream_is_whole() {
    const SIZE: usize = 64 * 1024 * 1024;
    let origin = Origin::start(|mut stream, _| {
        let mut piece = Vec::new();
        for round in 0..SIZE / 65_536 {
            piece.clear();
            piece.resize(65_536, u8::try_from(round % 251).unwrap());
            stream.write_all(&piece).unwrap();
        }
    });
    let (_forwarder, place) = tcp_proxy(&[origin.address], |_| {});
    let mut client = Client::connect(place.address);
    let all = client.rest().unwrap();
    assert_eq!(all.len(), SIZE);
    assert!(
        all.chunks(65_536)
            .enumerate()
            .all(|(round, piece)| piece.iter().all(|byte| usize::from(*byte) == round % 251))
    );
}

#[test]
fn a_target_that_refuses_is_passed_over() {
    let (dead, alive) = (dead_place(), echo_after_the_end());
    let (_forwarder, place) = tcp_proxy(&[dead.address, alive.address], |_| {});
    for _ in 0..4 {
        let mut client = Client::connect(place.address);
        client.send("x");
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest().unwrap(), b"x - over");
    }
}

#[test]
fn without_a_target_the_client_is_reset() {
    let dead = dead_place();
    let (_forwarder, place) = tcp_proxy(&[dead.address], |_| {});
    let mut stream = TcpStream::connect(place.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(
        stream.read(&mut [0; 8]).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let origin = Origin::start(|mut stream, _| {
        let _ = stream.read(&mut [0; 8]);
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (_forwarder, place) = tcp_proxy(&[origin.address], |_| {});
    let mut client = Client::connect(place.address);
    client.send("x");
    assert_eq!(
        client.rest().unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

#[test]
fn silence_ends_a_connection_and_half_closed_has_its_own_limit() {
    let quiet = || {
        Origin::start(|mut stream, _| {
            drop(
                stream
                    .read_to_end(&mut Vec::new())
                    .map(|_| std::thread::sleep(LIMIT)),
            )
        })
    };
    let origin = quiet();
    let (_forwarder, place) = tcp_proxy(&[origin.address], |listener| {
        listener.timeouts.tunnel = Duration::from_millis(300);
    });
    let begin = Instant::now();
    let _ = Client::connect(place.address).rest();
    assert!(
        begin.elapsed() >= Duration::from_millis(300) && begin.elapsed() < LIMIT,
        "{:?}",
        begin.elapsed()
    );

    let origin = quiet();
    let (_forwarder, place) = tcp_proxy(&[origin.address], |listener| {
        listener.timeouts.half_closed = Duration::from_millis(200);
    });
    let client = Client::connect(place.address);
    client.stream.shutdown(Shutdown::Write).unwrap();
    let begin = Instant::now();
    let mut client = client;
    let _ = client.rest();
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
}
