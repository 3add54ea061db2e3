//! Which of several targets gets a request or a connection.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use balancer::{Algorithm, GroupSettings, HashKey, Protocol, TargetSettings};
use forwarder::Forwarder;
use socket2::{Domain, Socket, Type};

use crate::support::*;

fn hash(key: HashKey) -> Algorithm {
    Algorithm::ConsistentHash { key, vnodes: 160 }
}

/// Targets with names of their own, so that who owns a key does not depend on the ports of this run.
fn named(group: &mut GroupSettings) {
    for (target, name) in group.targets.iter_mut().zip(["one", "two", "three"]) {
        name.clone_into(&mut target.name);
    }
}

fn hashing(targets: &[SocketAddr], key: HashKey) -> (Forwarder, Place) {
    proxy_with(targets, |_, group| {
        named(group);
        group.algorithm = hash(key);
    })
}

/// The origin that answers this user, on a connection of its own.
fn served_by(place: &Place, user: usize) -> String {
    let mut client = Client::connect(place.address);
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: test\r\nX-User: user-{user}\r\n\r\n"
    ));
    client.answer().text().to_owned()
}

#[test]
fn a_header_that_is_hashed_always_leads_to_the_same_target() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, place) = hashing(
        &[a.address, b.address],
        HashKey::Header("x-user".to_owned()),
    );
    let first: Vec<String> = (0..20).map(|user| served_by(&place, user)).collect();
    for _ in 0..3 {
        let again: Vec<String> = (0..20).map(|user| served_by(&place, user)).collect();
        assert_eq!(again, first);
    }
    let of_a = first.iter().filter(|origin| *origin == "a").count();
    assert!((4..=16).contains(&of_a), "{first:?}");

    // On one connection too, and whatever the order of the targets.
    let mut settings = group("g", &[a.address, b.address]);
    named(&mut settings);
    settings.algorithm = hash(HashKey::Header("X-User".to_owned()));
    settings.targets.reverse();
    forwarder
        .apply(vec![http_listener(&place)], vec![settings])
        .unwrap();
    let mut client = Client::connect(place.address);
    for (user, origin) in first.iter().enumerate() {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: test\r\nX-User: user-{user}\r\n\r\n"
        ));
        assert_eq!(client.answer().text(), origin, "user {user}");
    }
    assert_eq!(forwarder.snapshot().groups[0].algorithm, "consistent-hash");
}

#[test]
fn requests_without_the_key_go_round() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (_forwarder, place) = hashing(&[a.address, b.address], HashKey::Cookie("SID".to_owned()));
    let mut client = Client::connect(place.address);
    let mut counts = BTreeMap::new();
    for _ in 0..10 {
        *counts.entry(client.get("/").text().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("a".into(), 5), ("b".into(), 5)]));
}

#[test]
fn keys_of_a_target_that_refuses_are_served_by_the_next() {
    let (dead, alive) = (dead_place(), Origin::answering("b"));
    let (forwarder, place) = hashing(
        &[dead.address, alive.address],
        HashKey::Header("X-User".to_owned()),
    );
    for user in 0..20 {
        assert_eq!(served_by(&place, user), "b");
    }
    let targets = &forwarder.snapshot().groups[0].targets;
    assert!(
        targets[0].errors_total > 0,
        "some were its own: {targets:?}"
    );
}

#[test]
fn least_connections_leaves_alone_a_target_where_a_request_hangs() {
    // Answers at once, but /hang only when the test lets go.
    let gate = Arc::new(Mutex::new(()));
    let origin = |name: &'static str| {
        let gate = Arc::clone(&gate);
        Origin::http(move |request| {
            if request.head.starts_with("GET /hang ") {
                drop(gate.lock());
            }
            format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}").into_bytes()
        })
    };
    let hold = gate.lock().unwrap();
    let (a, b) = (origin("a"), origin("b"));
    let (forwarder, place) = proxy_with(&[a.address, b.address], |_, group| {
        group.algorithm = Algorithm::LeastConnections;
    });
    let mut hanging = Client::connect(place.address);
    hanging.send("GET /hang HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it hangs", || in_flight(&forwarder.snapshot()) == 1);
    let busy = forwarder.snapshot().groups[0].targets[0].in_flight == 1;
    let idle = if busy { "b" } else { "a" };
    let mut client = Client::connect(place.address);
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), idle);
    }
    drop(hold);
    assert_ne!(hanging.answer().text(), idle);
    eventually("nothing hangs", || in_flight(&forwarder.snapshot()) == 0);
    let mut both: Vec<String> = (0..2).map(|_| client.get("/").text().to_owned()).collect();
    both.sort();
    assert_eq!(both, ["a", "b"], "idle ones take turns");
}

#[test]
fn a_backup_is_used_only_without_the_primary() {
    let (primary, backup) = (Origin::answering("p"), Origin::answering("b"));
    let (forwarder, place) = proxy_with(&[backup.address, primary.address], |_, group| {
        group.targets[0].backup = true;
    });
    let mut client = Client::connect(place.address);
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "p");
    }
    forwarder
        .order("g", &primary.address.to_string(), balancer::Order::Maint)
        .unwrap();
    assert_eq!(client.get("/").text(), "b");
    forwarder
        .order("g", &primary.address.to_string(), balancer::Order::Ready)
        .unwrap();
    assert_eq!(client.get("/").text(), "p");
}

#[test]
fn first_goes_on_with_the_second_when_the_first_refuses() {
    let (dead, alive) = (dead_place(), Origin::answering("second"));
    let spare = Origin::answering("third");
    let targets = [dead.address, alive.address, spare.address];
    let (_forwarder, place) = proxy_with(&targets, |_, group| {
        group.algorithm = Algorithm::First;
    });
    let mut client = Client::connect(place.address);
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "second");
    }
}

#[test]
fn the_algorithm_is_changed_under_a_connection_that_goes_on() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, place) = proxy(&[a.address, b.address]);
    let mut client = Client::connect(place.address);
    let mut both: Vec<String> = (0..2).map(|_| client.get("/").text().to_owned()).collect();
    both.sort();
    assert_eq!(both, ["a", "b"]);
    let mut settings = group("g", &[a.address, b.address]);
    settings.algorithm = Algorithm::First;
    forwarder
        .apply(vec![http_listener(&place)], vec![settings])
        .unwrap();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "a");
    }
    assert_eq!(forwarder.snapshot().groups[0].algorithm, "first");
}

// ---- TCP ----

/// A target that says its name to whoever connects, and keeps the connection until the other side ends it.
fn greeting(name: &'static [u8; 1]) -> Origin {
    Origin::start(move |mut stream, _| {
        stream.write_all(name).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

fn tcp_proxy(targets: Vec<TargetSettings>, algorithm: Algorithm) -> (Forwarder, Place) {
    proxy_with(&[], |listener, group| {
        listener.protocol = Protocol::Tcp;
        group.targets = targets;
        named(group);
        group.algorithm = algorithm;
    })
}

/// Connects from an address of loopback and reads the name of the target.
fn greeted(place: &Place, from: Ipv4Addr) -> (TcpStream, u8) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&place.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut name = [0];
    stream.read_exact(&mut name).unwrap();
    (stream, name[0])
}

#[test]
fn a_client_address_that_is_hashed_always_leads_to_the_same_target() {
    let targets = [greeting(b"a"), greeting(b"b")];
    let targets = targets
        .iter()
        .map(|origin| TargetSettings::new(origin.address));
    let (_forwarder, place) = tcp_proxy(targets.collect(), hash(HashKey::Source));
    let round = || -> Vec<u8> {
        (1..=16)
            .map(|host| greeted(&place, Ipv4Addr::new(127, 0, 3, host)).1)
            .collect()
    };
    let first = round();
    assert_eq!(round(), first);
    assert!(first.contains(&b'a') && first.contains(&b'b'), "{first:?}");
}

#[test]
fn least_connections_spreads_connections_that_stay() {
    let targets = [greeting(b"a"), greeting(b"b")];
    let mut targets: Vec<_> = targets
        .iter()
        .map(|origin| TargetSettings::new(origin.address))
        .collect();
    targets[1].weight = 3;
    let (forwarder, place) = tcp_proxy(targets, Algorithm::LeastConnections);
    let held: Vec<_> = (0..40)
        .map(|_| greeted(&place, Ipv4Addr::LOCALHOST))
        .collect();
    let counts: Vec<u32> = forwarder.snapshot().groups[0]
        .targets
        .iter()
        .map(|target| target.in_flight)
        .collect();
    assert!(counts[0].abs_diff(10) <= 1, "{counts:?}");
    assert_eq!(counts.iter().sum::<u32>(), held.len() as u32);
}
