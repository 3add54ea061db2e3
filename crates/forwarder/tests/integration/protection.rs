//! Targets that fail, die and freeze under load: what clients see of it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use balancer::{Algorithm, Check, GroupSettings, HealthSettings, OutlierSettings, Protocol};
use forwarder::{Forwarder, PassiveStanding, TargetSnapshot, TargetStanding};
use socket2::{Domain, Socket, Type};

use crate::queue::{asking, last_line};
use crate::support::*;

fn target(forwarder: &Forwarder, index: usize) -> TargetSnapshot {
    forwarder.snapshot().groups[0].targets[index].clone()
}

fn eject_for(group: &mut GroupSettings, length: Duration) {
    group.outlier = Some(OutlierSettings {
        eject: length,
        ..OutlierSettings::default()
    });
}

// ---- ejection ----

/// A target that answers with a status that can be changed.
fn with_status(status: u16) -> (Origin, Arc<AtomicUsize>) {
    let status = Arc::new(AtomicUsize::new(usize::from(status)));
    let current = Arc::clone(&status);
    let origin = Origin::http(move |_| {
        let status = current.load(SeqCst);
        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    (origin, status)
}

#[test]
fn one_that_answers_503_is_taken_out_and_comes_back_by_one_request() {
    let ((bad, status), (good, _)) = (with_status(503), with_status(200));
    let (forwarder, place) = proxy_with(&[bad.address, good.address], |_, group| {
        eject_for(group, Duration::from_secs(1));
    });
    let mut client = Client::connect(place.address);
    let answers: Vec<_> = (0..30).map(|_| client.get("/").status).collect();
    let failed = answers.iter().filter(|status| **status == 503).count();
    assert_eq!(failed, 5, "{answers:?}");
    let out = target(&forwarder, 0);
    assert_eq!(
        (out.state, out.passive, out.ejections_total),
        (TargetStanding::Ejected, PassiveStanding::Ejected, 1)
    );
    assert!(out.why.ends_with("5 errors, last http 503"), "{}", out.why);
    assert_eq!(forwarder.snapshot().groups[0].usable, 1);

    // It stays out as long as the one request now and then fails, and each time longer.
    let failed = |client: &mut Client| (0..10).filter(|_| client.get("/").status == 503).count();
    eventually("tried in vain", || {
        let failed = failed(&mut client);
        assert!(failed <= 1, "one request and not all");
        failed == 1
    });
    assert_eq!(target(&forwarder, 0).ejections_total, 2);
    status.store(200, SeqCst);
    eventually("back", || {
        assert_eq!(failed(&mut client), 0);
        target(&forwarder, 0).state == TargetStanding::Up
    });
}

#[test]
fn a_probe_that_hangs_is_one_request() {
    let hang = Arc::new(AtomicBool::new(false));
    let hanging = Arc::clone(&hang);
    let odd = Origin::start(move |mut stream, _| {
        let mut input = Vec::new();
        while read_request(&mut stream, &mut input).is_some() {
            if hanging.load(SeqCst) {
                let _ = stream.read_to_end(&mut Vec::new());
                return;
            }
            stream
                .write_all(b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        }
    });
    let (good, _) = with_status(200);
    let (forwarder, place) = proxy_with(&[odd.address, good.address], |_, group| {
        eject_for(group, Duration::from_secs(1));
        group.timeouts.first_byte = Duration::from_secs(3);
    });
    let mut client = Client::connect(place.address);
    (0..10).for_each(|_| drop(client.get("/")));
    assert_eq!(target(&forwarder, 0).state, TargetStanding::Ejected);
    hang.store(true, SeqCst);
    let mut probes = Vec::new();
    eventually("probing", || {
        let mut client = Client::connect(place.address);
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        probes.push(client);
        target(&forwarder, 0).state == TargetStanding::Probing
    });
    assert!((0..20).all(|_| client.get("/").status == 200));
    assert_eq!(target(&forwarder, 0).in_flight, 1);
    // It is not answered in time, and so fails.
    eventually("out again", || {
        target(&forwarder, 0).state == TargetStanding::Ejected
    });
}

/// A target nobody listens at, until somebody does: one of two, the other is well.
fn comes_up_later() -> (Place, std::net::TcpListener) {
    let place = dead_place();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&place.address.into()).unwrap();
    (place, socket.into())
}

/// Takes connections from here on, and answers what it is sent with its own name.
fn come_up(listener: std::net::TcpListener) {
    Socket::from(listener.try_clone().unwrap())
        .listen(128)
        .unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut stream, mut piece) = (stream, [0; 64]);
                while stream.read(&mut piece).is_ok_and(|count| count > 0) {
                    stream.write_all(b"late").unwrap();
                }
            });
        }
    });
}

#[test]
fn one_long_connection_that_tries_a_target_does_not_keep_the_others_away() {
    let (late, listener) = comes_up_later();
    let steady = Origin::start(|mut stream, _| {
        let mut piece = [0; 64];
        while stream.read(&mut piece).is_ok_and(|count| count > 0) {
            stream.write_all(b"good").unwrap();
        }
    });
    let (forwarder, place) = proxy_with(&[late.address, steady.address], |listener, group| {
        listener.protocol = Protocol::Tcp;
        eject_for(group, Duration::from_millis(300));
    });
    let connect = || {
        let mut client = Client::connect(place.address);
        client.send("x");
        let mut word = [0; 4];
        client.stream.read_exact(&mut word).unwrap();
        (client, word == *b"late")
    };
    eventually("taken out", || {
        connect();
        target(&forwarder, 0).state == TargetStanding::Ejected
    });
    come_up(listener);
    // The one that tries it stays, as connections to databases do.
    let mut kept = Vec::new();
    eventually("tried", || {
        let (client, late) = connect();
        kept.push(client);
        late
    });
    eventually("the others follow", || {
        let (client, late) = connect();
        kept.push(client);
        late
    });
    assert_eq!(target(&forwarder, 0).state, TargetStanding::Up);
}

#[test]
fn a_tunnel_that_tries_a_target_does_not_keep_the_others_away() {
    let (good, _) = with_status(200);
    let tunnels = Arc::<AtomicBool>::default();
    let opens = Arc::clone(&tunnels);
    let door = Origin::start(move |mut stream, _| {
        let mut input = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut input) {
            if request.has_line("Upgrade: websocket") && opens.load(SeqCst) {
                let head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
                return;
            }
            let status = if opens.load(SeqCst) { 200 } else { 503 };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (forwarder, place) = proxy_with(&[door.address, good.address], |_, group| {
        eject_for(group, Duration::from_millis(300));
    });
    let mut client = Client::connect(place.address);
    eventually("taken out", || {
        client.get("/");
        target(&forwarder, 0).state == TargetStanding::Ejected
    });
    tunnels.store(true, SeqCst);
    let mut open = Vec::new();
    eventually("tried by a tunnel", || {
        let mut client = Client::connect(place.address);
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let switched = client.head().unwrap().status == 101;
        open.push(client);
        switched
    });
    eventually("back for all", || {
        target(&forwarder, 0).state == TargetStanding::Up
    });
}

#[test]
fn connections_that_are_refused_take_a_tcp_target_out() {
    let (dead, alive) = (dead_place(), Origin::answering("a"));
    let (forwarder, place) = proxy_with(&[dead.address, alive.address], |listener, _| {
        listener.protocol = Protocol::Tcp;
    });
    for _ in 0..20 {
        assert_eq!(Client::connect(place.address).get("/").text(), "a");
    }
    assert_eq!(target(&forwarder, 0).errors_total, 5);
    assert_eq!(target(&forwarder, 0).state, TargetStanding::Ejected);
}

// ---- targets that die under load ----

/// A target that can be killed and started again on its address, which is kept for it meanwhile.
struct Mortal {
    place: Arc<Place>,
    alive: Arc<AtomicBool>,
    posts: Arc<Mutex<Vec<String>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Mortal {
    fn start(place: &Arc<Place>, posts: &Arc<Mutex<Vec<String>>>) -> Mortal {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&place.address.into()).unwrap();
        socket.listen(128).unwrap();
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true).unwrap();
        let alive = Arc::new(AtomicBool::new(true));
        let mut mortal = Mortal {
            place: Arc::clone(place),
            alive,
            posts: Arc::clone(posts),
            accepting: None,
        };
        mortal.accepting = Some(mortal.accept(listener));
        mortal
    }

    fn accept(&self, listener: std::net::TcpListener) -> JoinHandle<()> {
        let (alive, posts) = (Arc::clone(&self.alive), Arc::clone(&self.posts));
        std::thread::spawn(move || {
            while alive.load(SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (alive, posts) = (Arc::clone(&alive), Arc::clone(&posts));
                        std::thread::spawn(move || live(stream, &alive, &posts));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        })
    }

    /// As a process that is killed: no answer any more, connections reset, nobody listens.
    fn kill(&mut self) {
        self.alive.store(false, SeqCst);
        let _ = self.accepting.take().unwrap().join();
    }
}

/// Answers after a moment, notes each POST, and dies with its target.
fn live(stream: std::net::TcpStream, alive: &AtomicBool, posts: &Mutex<Vec<String>>) {
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(2)))
        .unwrap();
    let mut stream = Socket::from(stream);
    let (mut input, mut piece) = (Vec::new(), [0; 4096]);
    while alive.load(SeqCst) {
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => input.extend_from_slice(&piece[..count]),
            Err(_) => continue,
        }
        let mut whole = &input[..];
        if let Some(request) = read_request(&mut whole, &mut Vec::new()) {
            input.clear();
            if request.head.starts_with("POST ") {
                let path = request.head.split(' ').nth(1).unwrap_or_default();
                posts.lock().unwrap().push(path.to_owned());
            }
            std::thread::sleep(Duration::from_millis(3));
            if alive.load(SeqCst) {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                let _ = stream.write_all(answer);
            }
        }
    }
    let _ = stream.set_linger(Some(Duration::ZERO));
}

/// What clients got that asked without a pause.
#[derive(Default, Debug)]
struct Tally {
    gets: usize,
    failed_gets: Vec<String>,
    posts: usize,
}

/// Clients that send GETs, and a POST now and then, each with a path of its own.
fn load(address: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<Tally>> {
    let work = |number: usize| {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            let (mut tally, mut count) = (Tally::default(), 0);
            let mut client = Client::connect(address);
            while !stop.load(SeqCst) {
                count += 1;
                let posts = count % 4 == 0;
                if posts {
                    client.send(format!(
                        "POST /{number}-{count} HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nxy"
                    ));
                } else {
                    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
                }
                let answer = client.try_answer();
                let closed = answer.as_ref().is_none_or(|answer| {
                    answer
                        .field("Connection")
                        .is_some_and(|field| field == "close")
                });
                let good = answer.as_ref().is_some_and(|answer| answer.status == 200);
                match (posts, good) {
                    (true, _) => tally.posts += 1,
                    (false, true) => tally.gets += 1,
                    (false, false) => tally.failed_gets.push(format!("{answer:?}")),
                }
                if closed {
                    client = Client::connect(address);
                }
            }
            tally
        })
    };
    (0..6).map(work).collect()
}

fn quick_check(group: &mut GroupSettings) {
    group.health = HealthSettings {
        check: Check::Tcp,
        every: Duration::from_millis(500),
        timeout: Duration::from_millis(400),
        fast: Duration::from_millis(50),
        ..HealthSettings::default()
    };
}

#[test]
fn targets_killed_and_flapping_under_load_fail_no_get_and_repeat_no_post() {
    let posts = Arc::<Mutex<Vec<String>>>::default();
    let start = || Mortal::start(&Arc::new(place()), &posts);
    let (steady, mut flapping) = ([start(), start()], start());
    let targets = [&steady[0], &flapping, &steady[1]].map(|target| target.place.address);
    let (forwarder, place) = proxy_with(&targets, |_, group| {
        quick_check(group);
        eject_for(group, Duration::from_secs(1));
        group.algorithm = Algorithm::LeastConnections;
    });
    eventually("checked", || forwarder.snapshot().groups[0].usable == 3);
    let stop = Arc::new(AtomicBool::new(false));
    let clients = load(place.address, &stop);
    for _ in 0..4 {
        let before = target(&forwarder, 1).requests_total;
        eventually("used", || {
            target(&forwarder, 1).requests_total > before + 20
        });
        flapping.kill();
        eventually("noticed", || {
            target(&forwarder, 1).state != TargetStanding::Up
        });
        flapping = Mortal::start(&flapping.place, &posts);
        eventually("back", || target(&forwarder, 1).state == TargetStanding::Up);
    }
    stop.store(true, SeqCst);
    let tallies: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    let failed: Vec<_> = tallies
        .iter()
        .flat_map(|tally| &tally.failed_gets)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(tallies.iter().map(|tally| tally.gets).sum::<usize>() > 100);
    let mut posts = posts.lock().unwrap().clone();
    assert!(tallies.iter().map(|tally| tally.posts).sum::<usize>() >= posts.len());
    let all = posts.len();
    posts.sort_unstable();
    posts.dedup();
    assert_eq!(posts.len(), all, "a POST was sent twice");
    assert!(forwarder.snapshot().groups[0].retries_total > 0);
}

/// What a target that freezes is told and tells.
#[derive(Default)]
struct Freeze {
    requests: AtomicBool,
    checks: AtomicBool,
    held_gets: AtomicUsize,
    held_posts: AtomicUsize,
}

/// A target that accepts and answers until it freezes: as a stopped process, it then takes connections and says nothing.
fn freezing(body: &'static str) -> (Origin, Arc<Freeze>) {
    let freeze = Arc::<Freeze>::default();
    let told = Arc::clone(&freeze);
    let origin = Origin::start(move |mut stream, _| {
        let mut input = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut input) {
            let is_check = request.head.starts_with("GET /check ");
            let frozen = if is_check {
                &told.checks
            } else {
                &told.requests
            };
            if frozen.load(SeqCst) && !is_check {
                let is_get = request.head.starts_with("GET ");
                let held = if is_get {
                    &told.held_gets
                } else {
                    &told.held_posts
                };
                held.fetch_add(1, SeqCst);
            }
            let limit_at = Instant::now() + LIMIT;
            while frozen.load(SeqCst) && Instant::now() < limit_at {
                std::thread::sleep(Duration::from_millis(1));
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (origin, freeze)
}

#[test]
fn when_a_target_freezes_what_waits_for_it_goes_elsewhere_at_once_but_a_post_does_not() {
    let ((freezes, freeze), (other, _)) = (freezing("a"), freezing("b"));
    let (forwarder, place) = proxy_with(&[freezes.address, other.address], |_, group| {
        quick_check(group);
        group.health.check = Check::http("/check");
    });
    eventually("checked", || forwarder.snapshot().groups[0].usable == 2);
    freeze.requests.store(true, SeqCst);
    // Some of each kind wait for the frozen one before its checks notice.
    let mut gets: Vec<_> = (0..8).map(|_| asking(&place, "/")).collect();
    let mut posts: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::connect(place.address);
            client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nxy");
            client
        })
        .collect();
    eventually("held", || {
        freeze.held_gets.load(SeqCst) > 0 && freeze.held_posts.load(SeqCst) > 0
    });
    freeze.checks.store(true, SeqCst);
    // The default limit for the first byte is a minute; an answer after less than ten seconds was not waited for so long.
    for client in &mut gets {
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "b"));
    }
    let statuses: Vec<_> = posts.iter_mut().map(|client| client.answer()).collect();
    assert!(statuses.iter().any(|answer| answer.status == 502));
    for answer in &statuses {
        assert!(
            answer.status == 200 || last_line(answer) == "target-down@headers",
            "{answer:?}"
        );
    }
    assert_eq!(target(&forwarder, 0).state, TargetStanding::Down);
    let mut client = Client::connect(place.address);
    assert!(
        (0..20).all(|_| client.get("/").text() == "b"),
        "none after it"
    );
    freeze.requests.store(false, SeqCst);
    freeze.checks.store(false, SeqCst);
}

#[test]
fn one_that_says_it_is_leaving_is_waited_for_by_a_post_and_by_whoever_has_nobody_else() {
    for method in ["POST", "GET"] {
        waited_for(method);
    }
}

fn waited_for(method: &str) {
    // Its check answers 503 while it finishes what it has.
    let (leaving, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (is_leaving, has_begun) = (Arc::clone(&leaving), Arc::clone(&begun));
    let origin = Origin::http(move |request| {
        let is_check = request.head.starts_with("GET /check ");
        if !is_check {
            has_begun.store(true, SeqCst);
            let limit_at = Instant::now() + LIMIT;
            while !is_leaving.load(SeqCst) && Instant::now() < limit_at {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(400));
        }
        let status = if is_leaving.load(SeqCst) && is_check {
            503
        } else {
            200
        };
        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| {
        quick_check(group);
        group.health.check = Check::http("/check");
        group.health.timeout = Duration::from_secs(2);
    });
    eventually("checked", || forwarder.snapshot().groups[0].usable == 1);
    let mut client = Client::connect(place.address);
    client.send(format!(
        "{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nxy"
    ));
    eventually("at the target", || begun.load(SeqCst));
    leaving.store(true, SeqCst);
    eventually("down", || {
        target(&forwarder, 0).state == TargetStanding::Down
    });
    assert_eq!(client.answer().status, 200, "{method}");
}

#[test]
fn a_get_that_is_reset_goes_to_another_target_and_a_post_does_not() {
    let resetting = Origin::start(|mut stream, _| {
        let _ = read_request(&mut stream, &mut Vec::new());
        let stream = Socket::from(stream);
        let _ = stream.set_linger(Some(Duration::ZERO));
    });
    let good = Origin::answering("a");
    let (forwarder, place) = proxy_with(&[resetting.address, good.address], |_, group| {
        group.outlier = None;
    });
    for _ in 0..6 {
        assert_eq!(asking(&place, "/").answer().text(), "a");
    }
    // A retry takes the next turn, so that the next request begins where this one did.
    assert_eq!(forwarder.snapshot().groups[0].retries_total, 6);
    let mut statuses: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::connect(place.address);
            client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nxy");
            client.answer().status
        })
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

#[test]
fn retries_end_with_the_budget() {
    let resetting = || {
        Origin::start(|mut stream, _| {
            let _ = read_request(&mut stream, &mut Vec::new());
        })
    };
    let targets = [resetting(), resetting()];
    let (forwarder, place) = proxy_with(&targets.each_ref().map(|t| t.address), |_, group| {
        group.outlier = None;
        group.retry.budget = 0;
    });
    // A hundred are there at the beginning, and ten more come with each second.
    let begin = Instant::now();
    for _ in 0..250 {
        assert_eq!(asking(&place, "/").answer().status, 502);
    }
    let group = &forwarder.snapshot().groups[0];
    let most = 100 + 10 * (begin.elapsed().as_secs() + 1);
    assert!(
        group.retries_total >= 100 && group.retries_total <= most,
        "{} in {:?}",
        group.retries_total,
        begin.elapsed()
    );
    assert_eq!(group.retries_total + group.retries_refused_total, 250);
}
