//! TCP listeners: bytes both ways, ends and resets passed on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use balancer::{Check, ListenerSettings, OnDown, Protocol};
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

/// 32 MiB each way, in which every eight bytes tell their place.
#[test]
fn much_goes_both_ways_at_once_and_arrives_whole() {
    const WORDS: u64 = 4 << 20;
    fn send(mut stream: TcpStream) {
        let mut piece = Vec::new();
        for at in 0..WORDS {
            piece.extend_from_slice(&at.to_be_bytes());
            // Pieces of every size, so that full and empty pipes follow each other.
            if piece.len() as u64 > at % 200_003 {
                stream.write_all(&piece).unwrap();
                piece.clear();
            }
        }
        stream.write_all(&piece).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    fn receive(stream: &mut TcpStream) {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all.len() as u64, WORDS * 8);
        let words = all.chunks_exact(8).zip(0u64..);
        assert!(words.into_iter().all(|(word, at)| word == at.to_be_bytes()));
    }
    let checked = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&checked);
    let origin = Origin::start(move |mut stream, _| {
        let sender = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || send(sender));
        receive(&mut stream);
        sending.join().unwrap();
        noted.store(true, SeqCst);
    });
    let (forwarder, place) = tcp_proxy(&[origin.address], |_| {});
    let mut client = Client::connect(place.address).stream;
    let sender = client.try_clone().unwrap();
    let sending = std::thread::spawn(move || send(sender));
    receive(&mut client);
    sending.join().unwrap();
    eventually("the target has everything", || checked.load(SeqCst));
    eventually("given back", || in_flight(&forwarder.snapshot()) == 0);
    assert_eq!(forwarder.snapshot().listeners[0].causes, []);
}

#[test]
fn a_reset_in_the_middle_of_a_long_stream_is_a_reset() {
    let origin = Origin::start(|mut stream, _| {
        let piece = vec![7; 1 << 20];
        for _ in 0..8 {
            stream.write_all(&piece).unwrap();
        }
        let _ = stream.read(&mut [0; 8]);
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (_forwarder, place) = tcp_proxy(&[origin.address], |_| {});
    let mut client = Client::connect(place.address);
    let mut all = vec![0; 8 << 20];
    client.stream.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == 7));
    client.send("x");
    let error = client.rest().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn who_left_while_it_waited_for_room_is_not_given_to_a_target() {
    let origin = Origin::answering("a");
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.protocol = Protocol::Tcp;
        listener.limits.connections = 1;
    });
    let mut first = Client::connect(place.address);
    assert_eq!(first.get("/").text(), "a");
    for _ in 0..20 {
        let gone = socket2::Socket::from(Client::connect(place.address).stream);
        gone.set_linger(Some(Duration::ZERO)).unwrap();
    }
    let mut last = Client::connect(place.address);
    last.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    drop(first);
    assert_eq!(last.answer().text(), "a");
    assert_eq!(origin.connections(), 2, "the first and the last");
}

#[test]
fn a_client_gets_no_more_connections_than_its_own_limit() {
    let origin = echo_after_the_end();
    let (forwarder, place) = tcp_proxy(&[origin.address], |listener| {
        listener.limits.per_ip = Some(2);
    });
    let connect = |host: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let from = SocketAddr::from(([127, 0, 0, host], 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&place.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    };
    let is_served = |mut stream: &TcpStream| {
        let written = stream.write_all(b"x").is_ok() && stream.shutdown(Shutdown::Write).is_ok();
        let mut answer = String::new();
        written && stream.read_to_string(&mut answer).is_ok() && answer == "x - over"
    };
    let first = [connect(1), connect(1)];
    eventually("both there", || {
        forwarder.snapshot().listeners[0].connections == 2
    });
    assert!(!is_served(&connect(1)));
    assert!(is_served(&connect(2)), "another client is not concerned");
    assert_eq!(
        forwarder.snapshot().listeners[0].causes,
        [("limit@client", 1)]
    );
    assert!(first.iter().all(is_served), "what it has goes on");
    drop(first);
    eventually("gone", || {
        forwarder.snapshot().listeners[0].connections == 0
    });
    assert!(is_served(&connect(1)));
    // Whom it trusts stands for many clients.
    let mut settings = ListenerSettings::new("web", Protocol::Tcp, vec![place.address], "g");
    settings.limits.per_ip = Some(1);
    settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    forwarder
        .apply(vec![settings], vec![group("g", &[origin.address])])
        .unwrap();
    let many = [connect(1), connect(1), connect(1)];
    assert!(many.iter().all(is_served));
}

#[test]
fn connections_to_a_target_that_goes_down_end_where_the_group_says_so() {
    for on_down in [OnDown::Close, OnDown::Keep] {
        let healthy = Arc::new(AtomicBool::new(true));
        let switch = Arc::clone(&healthy);
        let check = Origin::http(move |_| match switch.load(SeqCst) {
            true => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
            false => b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        });
        let origin = Origin::start(|mut stream, _| {
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
        });
        let (forwarder, place) = proxy_with(&[origin.address], |listener, group| {
            listener.protocol = Protocol::Tcp;
            group.on_down = on_down;
            group.health.check = Check::http("/");
            group.health.port = Some(check.address.port());
            group.health.every = Duration::from_millis(50);
            group.health.fast = Duration::from_millis(20);
        });
        eventually("checked", || forwarder.ready().first_health_round_done);
        let mut client = Client::connect(place.address);
        client.send("a");
        client.stream.read_exact(&mut [0]).unwrap();
        healthy.store(false, SeqCst);
        eventually("down", || forwarder.snapshot().groups[0].usable == 0);
        match on_down {
            OnDown::Close => {
                let error = client.rest().unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                eventually("counted", || {
                    forwarder.snapshot().listeners[0].causes == [("target-down@tunnel", 1)]
                });
            }
            OnDown::Keep => {
                client.send("b");
                client.stream.read_exact(&mut [0]).unwrap();
            }
        }
    }
}
