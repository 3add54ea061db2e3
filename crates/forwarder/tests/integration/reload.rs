//! Plans exchanged under load, listeners that come and go, and draining.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use balancer::{ListenerSettings, Protocol};
use forwarder::{ApplyError, CheckStanding};

use crate::support::*;

/// Asks until told to stop, on a kept and on a new connection in turn; the number of answers. Panics on any failure.
fn load(address: SocketAddr, stop: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let mut kept = Client::connect(address);
        let mut answers = 0;
        while !stop.load(SeqCst) {
            let answer = kept.get("/");
            assert_eq!(answer.status, 200, "{}", answer.head);
            let answer = Client::connect(address).get("/");
            assert_eq!(answer.status, 200, "{}", answer.head);
            answers += 2;
        }
        answers
    })
}

#[test]
fn reloads_under_load_fail_no_request() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (web, other) = (place(), place());
    let forwarder = forwarder();
    let apply = |targets: &[SocketAddr], with_other: bool| {
        let mut listeners = vec![http_listener(&web)];
        if with_other {
            listeners.push(ListenerSettings::new(
                "other",
                Protocol::Tcp,
                vec![other.address],
                "g",
            ));
        }
        forwarder
            .apply(listeners, vec![group("g", targets)])
            .unwrap();
    };
    apply(&[a.address], false);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| load(web.address, Arc::clone(&stop)))
        .collect();
    for round in 0..100 {
        match round % 3 {
            0 => apply(&[b.address], true),
            1 => apply(&[a.address, b.address], false),
            _ => apply(&[a.address], true),
        }
        thread::sleep(Duration::from_millis(5));
    }
    stop.store(true, SeqCst);
    let answers: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert!(answers > 200, "{answers}");
    eventually("nothing in flight", || {
        in_flight(&forwarder.snapshot()) == 0
    });
    let snapshot = forwarder.snapshot();
    let web = snapshot
        .listeners
        .iter()
        .find(|listener| listener.name == "web")
        .unwrap();
    assert_eq!(
        usize::try_from(web.requests_total).unwrap(),
        answers,
        "the counters were kept"
    );
}

#[test]
fn a_request_in_flight_finishes_on_the_plan_it_started_with() {
    let go = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&go);
    let slow = Origin::start(move |mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        eventually("told to go", || may.load(SeqCst));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
            .unwrap();
    });
    let new = Origin::answering("new");
    let (forwarder, place) = proxy(&[slow.address]);
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("asked", || in_flight(&forwarder.snapshot()) == 1);
    forwarder
        .apply(
            vec![http_listener(&place)],
            vec![group("g", &[new.address])],
        )
        .unwrap();
    go.store(true, SeqCst);
    assert_eq!(client.answer().text(), "old");
    assert_eq!(client.get("/").text(), "new");
}

#[test]
fn a_removed_listener_stops_accepting_and_lets_its_connections_end() {
    let origin = Origin::answering("a");
    let (forwarder, web) = proxy(&[origin.address]);
    let mut kept = Client::connect(web.address);
    kept.get("/");
    let mut idle = Client::connect(web.address);
    idle.get("/");
    forwarder
        .apply(vec![], vec![group("g", &[origin.address])])
        .unwrap();
    eventually("refused", || TcpStream::connect(web.address).is_err());
    kept.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = kept.answer();
    assert_eq!(
        (answer.status, answer.text(), answer.field("Connection")),
        (200, "a", Some("close"))
    );
    assert_eq!(kept.rest().unwrap(), b"");
    let begin = Instant::now();
    assert_eq!(
        idle.rest().unwrap(),
        b"",
        "an idle one is closed without waiting for its time"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_bind_that_fails_changes_nothing() {
    let origin = Origin::answering("a");
    let (forwarder, web) = proxy(&[origin.address]);
    // Without SO_REUSEPORT the address is taken for good.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = place();
    let address = taken.local_addr().unwrap();
    let listeners = vec![
        http_listener(&web),
        ListenerSettings::new("free", Protocol::Http, vec![free.address], "other"),
        ListenerSettings::new("wanted", Protocol::Http, vec![address], "other"),
    ];
    let error = forwarder
        .apply(listeners, vec![group("g", &[]), group("other", &[])])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("listener wanted cannot bind {address}")
    );
    match error {
        ApplyError::Bind { source, .. } => assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse),
        other => panic!("{other}"),
    }
    assert!(
        TcpStream::connect(free.address).is_err(),
        "nothing stays bound"
    );
    assert_eq!(forwarder.snapshot().listeners.len(), 1);
    assert_eq!(
        Client::connect(web.address).get("/").text(),
        "a",
        "the groups are those of before"
    );
    assert!(forwarder.ready().listening);
}

#[test]
fn settings_that_do_not_fit_change_nothing() {
    let origin = Origin::answering("a");
    let (forwarder, web) = proxy(&[origin.address]);
    let error = forwarder
        .apply(vec![http_listener(&web)], vec![])
        .unwrap_err();
    assert!(matches!(error, ApplyError::Plan(_)), "{error}");
    assert_eq!(Client::connect(web.address).get("/").text(), "a");
}

#[test]
fn a_socket_is_handed_from_listener_to_listener_without_closing() {
    let (a, b) = (Origin::answering("a"), Origin::answering("b"));
    let (forwarder, web) = proxy(&[a.address]);
    let mut kept = Client::connect(web.address);
    assert_eq!(kept.get("/").text(), "a");
    let renamed = ListenerSettings::new("renamed", Protocol::Http, vec![web.address], "h");
    forwarder
        .apply(vec![renamed], vec![group("h", &[b.address])])
        .unwrap();
    assert_eq!(Client::connect(web.address).get("/").text(), "b");
    let snapshot = forwarder.snapshot();
    assert_eq!(
        (
            snapshot.listeners.len(),
            snapshot.listeners[0].name.as_str()
        ),
        (1, "renamed")
    );
    kept.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(
        kept.answer().field("Connection"),
        Some("close"),
        "its listener is gone"
    );
}

#[test]
fn settings_of_a_listener_change_without_its_sockets() {
    let (origin, notes) = noting();
    let (forwarder, web) = proxy(&[origin.address]);
    let mut kept = Client::connect(web.address);
    kept.get("/");
    let mut listener = http_listener(&web);
    listener.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    forwarder
        .apply(vec![listener], vec![group("g", &[origin.address])])
        .unwrap();
    kept.send("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n");
    kept.answer();
    assert!(notes.lock().unwrap()[1].has_line("X-Forwarded-For: 9.9.9.9, 127.0.0.1"));
    assert_eq!(forwarder.snapshot().listeners[0].connections_total, 1);
}

#[test]
fn draining_waits_for_what_is_in_flight() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let slow = Origin::start(move |mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        thread::sleep(Duration::from_millis(300)); // outlasts the beginning of the drain
        count.fetch_add(1, SeqCst);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
            .unwrap();
    });
    let (forwarder, web) = proxy(&[slow.address]);
    let mut client = Client::connect(web.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("asked", || in_flight(&forwarder.snapshot()) == 1);
    let begin = Instant::now();
    let answered = thread::spawn(move || client.answer().text().to_owned());
    forwarder.drain(LIMIT);
    assert_eq!(served.load(SeqCst), 1);
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    assert_eq!(answered.join().unwrap(), "a");
    assert!(TcpStream::connect(web.address).is_err());
    assert!(!forwarder.ready().listening);
}

#[test]
fn draining_ends_at_its_limit() {
    let stuck = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        thread::sleep(LIMIT);
    });
    let (forwarder, web) = proxy(&[stuck.address]);
    let mut client = Client::connect(web.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("asked", || in_flight(&forwarder.snapshot()) == 1);
    let begin = Instant::now();
    forwarder.drain(Duration::from_millis(200));
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn threads_that_turn_are_not_stalled() {
    let (forwarder, _web) = proxy(&[]);
    thread::sleep(Duration::from_millis(1200)); // longer than the silence that counts as a stall
    let ready = forwarder.ready();
    assert!(ready.listening && ready.first_health_round_done);
    // One that a busy machine has kept from turning turns again.
    eventually("none is stalled", || !forwarder.ready().stalled);
}

#[test]
fn a_reload_does_not_cost_readiness() {
    let silent = Origin::start(|stream, _| {
        thread::sleep(LIMIT);
        drop(stream);
    });
    let origin = Origin::answering("a");
    let web = place();
    let forwarder = Arc::new(forwarder());
    assert!(
        !forwarder.ready().listening && !forwarder.ready().first_health_round_done,
        "nothing is in force"
    );
    let apply = |targets: &[SocketAddr]| {
        let mut group = group("g", targets);
        group.health.check = balancer::Check::http("/");
        forwarder
            .apply(vec![http_listener(&web)], vec![group])
            .unwrap();
    };
    apply(&[origin.address]);
    eventually("checked", || {
        forwarder.snapshot().groups[0].targets[0].check == CheckStanding::Up
    });
    // Nobody has asked yet whether it is ready.
    apply(&[origin.address, silent.address]);
    assert!(
        forwarder.ready().first_health_round_done,
        "the first round was done before the reload"
    );
    let stop = Arc::new(AtomicBool::new(false));
    let watch = {
        let (forwarder, stop) = (Arc::clone(&forwarder), Arc::clone(&stop));
        thread::spawn(move || {
            while !stop.load(SeqCst) {
                let ready = forwarder.ready();
                assert!(
                    ready.listening && ready.first_health_round_done,
                    "{ready:?}"
                );
            }
        })
    };
    for _ in 0..20 {
        apply(&[origin.address, silent.address]);
        apply(&[origin.address]);
    }
    stop.store(true, SeqCst);
    watch.join().unwrap();
}

#[test]
fn a_listener_that_changes_its_protocol_keeps_its_address() {
    let origin = Origin::answering("a");
    let (forwarder, web) = proxy(&[origin.address]);
    let mut kept = Client::connect(web.address);
    kept.get("/");
    let tcp = ListenerSettings::new("web", Protocol::Tcp, vec![web.address], "g");
    forwarder
        .apply(vec![tcp], vec![group("g", &[origin.address])])
        .unwrap();
    kept.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(kept.answer().field("Connection"), Some("close"));
    let mut raw = Client::connect(web.address);
    assert_eq!(raw.get("/").field("Connection"), None, "relayed as it is");
    assert_eq!(forwarder.snapshot().listeners[0].protocol, Protocol::Tcp);
}
