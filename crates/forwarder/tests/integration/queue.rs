//! Limits of targets and the line of those who wait for a place: what clients see of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use balancer::{Algorithm, GroupSettings, Protocol, TargetLimits};
use forwarder::Forwarder;

use crate::support::*;

/// A target that answers when told, and counts how many it has at once.
struct Gate {
    origin: Origin,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
    served: Arc<Mutex<Vec<String>>>,
}

fn gate(hold: Duration) -> Gate {
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (open, served) = (
        Arc::<AtomicBool>::default(),
        Arc::<Mutex<Vec<String>>>::default(),
    );
    let inside = (
        Arc::clone(&now),
        Arc::clone(&most),
        Arc::clone(&open),
        Arc::clone(&served),
    );
    let origin = Origin::http(move |request| {
        let (now, most, open, served) = &inside;
        let count = now.fetch_add(1, SeqCst) + 1;
        most.fetch_max(count, SeqCst);
        let path = request.head.split(' ').nth(1).unwrap_or_default();
        served.lock().unwrap().push(path.to_owned());
        let limit_at = Instant::now() + LIMIT;
        while !open.load(SeqCst) && Instant::now() < limit_at {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(hold);
        now.fetch_sub(1, SeqCst);
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    Gate {
        origin,
        now,
        most,
        open,
        served,
    }
}

fn limit(group: &mut GroupSettings, per_target: u32, queue: u32, queue_for: Duration) {
    group.limits = TargetLimits {
        per_target: Some(per_target),
        queue,
        queue_for,
    };
}

fn queued(forwarder: &Forwarder) -> u32 {
    forwarder.snapshot().groups[0].queued
}

pub(crate) fn asking(place: &Place, path: &str) -> Client {
    let mut client = Client::connect(place.address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

#[test]
fn those_beyond_the_limit_wait_in_order_of_arrival() {
    let gate = gate(Duration::ZERO);
    let (forwarder, place) = proxy_with(&[gate.origin.address], |_, group| {
        limit(group, 1, 100, LIMIT);
    });
    let mut clients = vec![asking(&place, "/0")];
    eventually("at the target", || gate.now.load(SeqCst) == 1);
    for number in 1..8u32 {
        clients.push(asking(&place, &format!("/{number}")));
        eventually("in the line", || queued(&forwarder) == number);
    }
    gate.open.store(true, SeqCst);
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(gate.most.load(SeqCst), 1);
    let want: Vec<_> = (0..8).map(|number| format!("/{number}")).collect();
    assert_eq!(*gate.served.lock().unwrap(), want);
    let group = &forwarder.snapshot().groups[0];
    assert_eq!((group.queued, group.queue_totals.waited), (0, 7));
}

#[test]
fn a_full_line_and_a_long_wait_are_503_with_their_cause() {
    let gate = gate(Duration::ZERO);
    let (forwarder, place) = proxy_with(&[gate.origin.address], |_, group| {
        limit(group, 1, 1, Duration::from_millis(300));
    });
    let _first = asking(&place, "/");
    eventually("at the target", || gate.now.load(SeqCst) == 1);
    let begin = Instant::now();
    let mut waiting = asking(&place, "/");
    eventually("in the line", || queued(&forwarder) == 1);
    let refused = asking(&place, "/").answer();
    assert_eq!((refused.status, last_line(&refused)), (503, "limit@queue"));
    let late = waiting.answer();
    assert_eq!(
        (late.status, last_line(&late)),
        (503, "queue-timeout@queue")
    );
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let totals = forwarder.snapshot().groups[0].queue_totals;
    let counted = (totals.waited, totals.overflows, totals.timeouts);
    assert_eq!(counted, (1, 1, 1));
    gate.open.store(true, SeqCst);
    eventually("free", || in_flight(&forwarder.snapshot()) == 0);
    assert_eq!(waiting.get("/").status, 200, "its connection goes on");
}

pub(crate) fn last_line(answer: &Answer) -> &str {
    answer.text().lines().last().unwrap_or_default()
}

#[test]
fn a_client_that_leaves_leaves_the_line() {
    let gate = gate(Duration::ZERO);
    let (forwarder, place) = proxy_with(&[gate.origin.address], |_, group| {
        limit(group, 1, 10, LIMIT);
    });
    let mut first = asking(&place, "/first");
    eventually("at the target", || gate.now.load(SeqCst) == 1);
    let gone = asking(&place, "/gone");
    eventually("in the line", || queued(&forwarder) == 1);
    let mut last = asking(&place, "/last");
    eventually("in the line", || queued(&forwarder) == 2);
    drop(gone);
    eventually("left", || queued(&forwarder) == 1);
    gate.open.store(true, SeqCst);
    assert_eq!((first.answer().status, last.answer().status), (200, 200));
    assert_eq!(*gate.served.lock().unwrap(), ["/first", "/last"]);
    // Whoever closed only its own direction reads why.
    assert_eq!(
        forwarder.snapshot().listeners[0].causes,
        [("client-abort@queue", 1)]
    );
}

#[test]
fn a_line_is_served_when_a_target_comes_back() {
    let gate = gate(Duration::ZERO);
    let other = Origin::answering("b");
    let (forwarder, place) = proxy_with(&[gate.origin.address, other.address], |_, group| {
        limit(group, 1, 10, LIMIT);
    });
    let name = other.address.to_string();
    forwarder.order("g", &name, balancer::Order::Drain).unwrap();
    let _first = asking(&place, "/");
    eventually("at the target", || gate.now.load(SeqCst) == 1);
    let mut waiting = [
        asking(&place, "/"),
        asking(&place, "/"),
        asking(&place, "/"),
    ];
    eventually("in the line", || queued(&forwarder) == 3);
    forwarder.order("g", &name, balancer::Order::Ready).unwrap();
    for client in &mut waiting {
        assert_eq!(client.answer().text(), "b");
    }
}

#[test]
fn tcp_connections_wait_as_well() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy_with(&[origin.address], |listener, group| {
        listener.protocol = Protocol::Tcp;
        limit(group, 1, 1, LIMIT);
    });
    let mut first = Client::connect(place.address);
    assert_eq!(first.get("/").text(), "a");
    let mut second = asking(&place, "/");
    eventually("in the line", || queued(&forwarder) == 1);
    let refused = Client::connect(place.address).rest();
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    drop(first);
    assert_eq!(second.answer().text(), "a");
}

#[test]
fn under_load_nobody_is_above_the_limit_and_everybody_is_served() {
    let gates = [
        gate(Duration::from_millis(2)),
        gate(Duration::from_millis(2)),
    ];
    gates.iter().for_each(|gate| gate.open.store(true, SeqCst));
    let targets = gates.each_ref().map(|gate| gate.origin.address);
    let (forwarder, place) = proxy_with(&targets, |_, group| {
        group.algorithm = Algorithm::LeastConnections;
        limit(group, 3, 100, LIMIT);
    });
    let address = place.address;
    let work = |_| {
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            (0..40).filter(|_| client.get("/").status == 200).count()
        })
    };
    let clients: Vec<_> = (0..24).map(work).collect();
    let served: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert_eq!(served, 24 * 40);
    for gate in &gates {
        let most = gate.most.load(SeqCst);
        // The target sees the end of a request a moment after the forwarder.
        assert!((2..=4).contains(&most), "{most}");
    }
    eventually("all given back", || in_flight(&forwarder.snapshot()) == 0);
    let group = &forwarder.snapshot().groups[0];
    assert_eq!(group.queued, 0);
    assert!(group.queue_totals.waited > 100, "{:?}", group.queue_totals);
}
