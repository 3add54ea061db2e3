//! UDP listeners: flows, their targets, and what ends them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use balancer::{
    Algorithm, Check, GroupSettings, HashKey, HealthSettings, ListenerSettings, Order, Protocol,
    RuleAction,
};
use forwarder::{AccessLogFormat, Forwarder, ForwarderSettings, ListenerSnapshot, TargetStanding};
use socket2::{Domain, Socket, Type};

use crate::access_log::Log;
use crate::support::{LIMIT, Place, eventually, forwarder, group, in_flight};

/// A free address for a UDP listener, kept free by a socket that hears only itself.
struct UdpPlace {
    address: SocketAddr,
    _holder: Socket,
}

fn udp_place(ip: IpAddr) -> UdpPlace {
    try_udp_place(SocketAddr::new(ip, 0)).unwrap()
}

fn try_udp_place(address: SocketAddr) -> std::io::Result<UdpPlace> {
    let holder = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    holder.set_reuse_port(true)?;
    holder.bind(&address.into())?;
    let address = holder.local_addr()?.as_socket().unwrap();
    holder.connect(&address.into())?;
    Ok(UdpPlace {
        address,
        _holder: holder,
    })
}

/// A target that answers each datagram as told, and notes who asked.
struct UdpOrigin {
    address: SocketAddr,
    peers: Arc<Mutex<BTreeSet<SocketAddr>>>,
    received: Arc<AtomicUsize>,
}

fn origin(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> UdpOrigin {
    origin_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), answers)
}

fn origin_at(
    address: SocketAddr,
    answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> UdpOrigin {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    let peers = Arc::new(Mutex::new(BTreeSet::new()));
    let received = Arc::new(AtomicUsize::new(0));
    let (noted, count) = (Arc::clone(&peers), Arc::clone(&received));
    thread::spawn(move || {
        let mut room = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut room) {
            noted.lock().unwrap().insert(peer);
            count.fetch_add(1, SeqCst);
            for answer in answers(&room[..length]) {
                socket.send_to(&answer, peer).unwrap();
            }
        }
    });
    UdpOrigin {
        address,
        peers,
        received,
    }
}

/// Sends back what came, with a mark.
fn marking(mark: u8) -> UdpOrigin {
    origin(move |bytes| vec![[&[mark], bytes].concat()])
}

/// Nobody listens there while the value lives, and the machine says so.
fn nobody() -> UdpPlace {
    udp_place(Ipv4Addr::LOCALHOST.into())
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Several at once: a port that is given back could be had again, with its flow.
fn clients(count: usize) -> Vec<UdpSocket> {
    (0..count).map(|_| client()).collect()
}

fn ask(client: &UdpSocket, place: &UdpPlace, bytes: &[u8]) -> Vec<u8> {
    client.send_to(bytes, place.address).unwrap();
    answer(client, place)
}

fn answer(client: &UdpSocket, place: &UdpPlace) -> Vec<u8> {
    let mut room = vec![0; 65_536];
    let (length, from) = client.recv_from(&mut room).unwrap();
    assert_eq!(from, place.address, "it answers from where it was asked");
    room.truncate(length);
    room
}

fn is_silent(client: &UdpSocket) -> bool {
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let error = client.recv_from(&mut [0; 16]).err();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    error.is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn listener(place: &UdpPlace) -> ListenerSettings {
    ListenerSettings::new("dns", Protocol::Udp, vec![place.address], "g")
}

fn proxy_with(
    targets: &[SocketAddr],
    change: impl FnOnce(&mut ListenerSettings, &mut GroupSettings),
) -> (Forwarder, UdpPlace) {
    let place = udp_place(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let forwarder = forwarder();
    let (mut listener, mut group) = (listener(&place), group("g", targets));
    change(&mut listener, &mut group);
    forwarder.apply(vec![listener], vec![group]).unwrap();
    (forwarder, place)
}

fn shown(forwarder: &Forwarder) -> ListenerSnapshot {
    forwarder.snapshot().listeners[0].clone()
}

fn caused(forwarder: &Forwarder, cause: &str) -> u64 {
    let causes = shown(forwarder).causes;
    let found = causes.iter().find(|(word, _)| *word == cause);
    found.map_or(0, |(_, count)| *count)
}

#[test]
fn a_flow_keeps_its_target_and_the_next_one_gets_another() {
    let (a, b) = (marking(b'a'), marking(b'b'));
    let (forwarder, place) = proxy_with(&[a.address, b.address], |_, _| {});
    let mut marks = BTreeSet::new();
    for client in &clients(4) {
        let mark = ask(client, &place, b"1")[0];
        for round in 0..5 {
            assert_eq!(ask(client, &place, &[round]), [mark, round]);
        }
        marks.insert(mark);
    }
    assert_eq!(marks, BTreeSet::from([b'a', b'b']));
    // An answer is counted when it is sent: the client may have it a moment earlier.
    eventually("all are counted", || {
        shown(&forwarder).datagrams_total == Some((24, 24))
    });
    let listener = shown(&forwarder);
    assert_eq!((listener.connections, listener.requests_total), (4, 4));
    assert_eq!(in_flight(&forwarder.snapshot()), 4);
    let peers = a.peers.lock().unwrap().len() + b.peers.lock().unwrap().len();
    assert_eq!(peers, 4, "each flow has a socket of its own");
}

#[test]
fn datagrams_of_every_size_arrive_whole() {
    let origin = origin(|bytes| vec![bytes.to_vec()]);
    let (forwarder, place) = proxy_with(&[origin.address], |_, _| {});
    let client = client();
    for size in [0, 1, 511, 1472, 1473, 9000, 65_507] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        assert_eq!(ask(&client, &place, &bytes), bytes, "{size}");
    }
    assert_eq!(shown(&forwarder).causes, []);
}

#[test]
fn bursts_go_both_ways_in_order() {
    let origin = origin(|bytes| vec![bytes.to_vec(), bytes.to_vec()]);
    let (_forwarder, place) = proxy_with(&[origin.address], |_, _| {});
    let client = client();
    for round in 0..20u8 {
        for number in 0..50u8 {
            client.send_to(&[round, number], place.address).unwrap();
        }
        for number in 0..50u8 {
            assert_eq!(answer(&client, &place), [round, number]);
            assert_eq!(answer(&client, &place), [round, number]);
        }
    }
}

#[test]
fn the_last_answer_ends_a_flow_and_nothing_more_is_passed_on() {
    let origin = origin(|bytes| vec![bytes.to_vec(); 5]);
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.udp.responses = Some(2);
    });
    let client = client();
    assert_eq!(ask(&client, &place, b"x"), b"x");
    assert_eq!(answer(&client, &place), b"x");
    eventually("the flow is over", || shown(&forwarder).connections == 0);
    assert!(is_silent(&client), "two were asked for, five came");
    assert_eq!(in_flight(&forwarder.snapshot()), 0);
    assert_eq!(ask(&client, &place, b"y"), b"y", "the next flow");
    eventually("two flows", || shown(&forwarder).requests_total == 2);
    assert_eq!(origin.peers.lock().unwrap().len(), 2);
}

#[test]
fn silence_ends_a_flow() {
    let origin = marking(b'a');
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.udp.idle = Duration::from_millis(200);
    });
    let client = client();
    let begin = Instant::now();
    ask(&client, &place, b"x");
    eventually("over", || shown(&forwarder).connections == 0);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(in_flight(&forwarder.snapshot()), 0);
}

#[test]
fn the_same_source_meets_the_same_target_where_the_group_hashes() {
    let origins: Vec<UdpOrigin> = (b'a'..=b'c').map(marking).collect();
    let targets: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let (_forwarder, place) = proxy_with(&targets, |_, group| {
        group.algorithm = Algorithm::ConsistentHash {
            key: HashKey::Source,
            vnodes: 160,
        };
        group.udp.responses = Some(1);
    });
    for host in 1..=5 {
        let from = |_| {
            let client = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, host), 0)).unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            ask(&client, &place, b"?")[0]
        };
        let marks: BTreeSet<u8> = (0..6).map(from).collect();
        assert_eq!(marks.len(), 1, "one target for one address");
    }
}

#[test]
fn a_machine_where_nobody_listens_is_passed_over() {
    let alive = marking(b'a');
    let dead = nobody();
    let (forwarder, place) = proxy_with(&[dead.address, alive.address], |_, group| {
        group.algorithm = Algorithm::First;
    });
    let client = client();
    client.send_to(b"lost", place.address).unwrap();
    eventually("noticed", || {
        caused(&forwarder, "target-unreachable@flow") == 1
    });
    assert_eq!(ask(&client, &place, b"x"), b"ax");
    let targets = &forwarder.snapshot().groups[0].targets;
    assert_eq!(
        (targets[0].errors_total, targets[1].errors_total),
        (1, 0),
        "live traffic says it about the target"
    );
    assert_eq!(shown(&forwarder).connections, 1, "the flow is the same");
}

#[test]
fn five_refusals_take_a_target_out_and_silence_does_not() {
    let (alive, mute) = (marking(b'a'), origin(|_| Vec::new()));
    let dead = nobody();
    let (forwarder, place) = proxy_with(&[dead.address, alive.address], |_, group| {
        group.algorithm = Algorithm::First;
    });
    for (client, round) in clients(5).iter().zip(1..) {
        client.send_to(b"x", place.address).unwrap();
        eventually("refused", || {
            caused(&forwarder, "target-unreachable@flow") == round
        });
    }
    let standing = |forwarder: &Forwarder| forwarder.snapshot().groups[0].targets[0].state;
    assert_eq!(standing(&forwarder), TargetStanding::Ejected);
    assert_eq!(ask(&client(), &place, b"y"), b"ay");

    let (forwarder, place) = proxy_with(&[mute.address, alive.address], |_, group| {
        group.algorithm = Algorithm::First;
        group.udp.idle = Duration::from_millis(100);
    });
    for client in &clients(10) {
        client.send_to(b"nonsense", place.address).unwrap();
    }
    eventually("all over", || {
        let shown = shown(&forwarder);
        shown.connections_total == 10 && shown.connections == 0
    });
    assert_eq!(standing(&forwarder), TargetStanding::Up);
}

#[test]
fn who_asks_again_after_a_second_of_silence_is_sent_to_another_target() {
    let (mute, alive) = (origin(|_| Vec::new()), marking(b'a'));
    let (forwarder, place) = proxy_with(&[mute.address, alive.address], |_, group| {
        group.algorithm = Algorithm::First;
        group.udp.responses = Some(1);
    });
    let client = client();
    client.send_to(b"?", place.address).unwrap();
    eventually("asked", || mute.received.load(SeqCst) == 1);
    let begin = Instant::now();
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut room = [0; 16];
    // It asks every 50 ms.
    let length = loop {
        client.send_to(b"?", place.address).unwrap();
        match client.recv_from(&mut room) {
            Ok((length, _)) => break length,
            Err(_) => assert!(begin.elapsed() < LIMIT, "nobody answers"),
        }
    };
    assert_eq!(room[..length], *b"a?");
    assert!(begin.elapsed() >= Duration::from_millis(900));
    let target = forwarder.snapshot().groups[0].targets[0].clone();
    assert_eq!((target.errors_total, target.state), (0, TargetStanding::Up));
}

fn udp_check(expect: Option<&[u8]>) -> HealthSettings {
    HealthSettings {
        check: Check::Udp {
            send: b"ping".to_vec(),
            expect: expect.map(<[u8]>::to_vec),
        },
        every: Duration::from_millis(50),
        timeout: Duration::from_millis(40),
        fast: Duration::from_millis(20),
        ..HealthSettings::default()
    }
}

#[test]
fn checks_ask_and_judge() {
    let good = origin(|bytes| vec![[b"<", bytes, b">"].concat()]);
    let (other, mute) = (marking(b'x'), origin(|_| Vec::new()));
    let dead = nobody();
    let targets = [good.address, other.address, mute.address, dead.address];
    let (forwarder, _place) = proxy_with(&targets, |_, group| {
        group.health = udp_check(Some(b"ping>"));
    });
    eventually("all are known", || {
        forwarder.ready().first_health_round_done
    });
    let group = &forwarder.snapshot().groups[0];
    let shown: Vec<_> = group
        .targets
        .iter()
        .map(|target| (target.state.as_str(), target.why.clone()))
        .collect();
    assert_eq!(shown[0], ("up", String::new()));
    for (row, why) in [
        (1, "answer is not the one expected"),
        (2, "no answer in time"),
        (3, "connect refused"),
    ] {
        assert!(
            shown[row].0 == "down" && shown[row].1.starts_with(why),
            "{:?}",
            shown[row]
        );
    }
}

#[test]
fn a_flow_leaves_a_target_that_is_found_dead() {
    let deaf = Arc::new(AtomicUsize::new(0));
    let switch = Arc::clone(&deaf);
    let first = origin(move |bytes| match switch.load(SeqCst) {
        0 => vec![[b"1", bytes].concat()],
        _ => Vec::new(),
    });
    let second = marking(b'2');
    let (forwarder, place) = proxy_with(&[first.address, second.address], |_, group| {
        group.algorithm = Algorithm::First;
        group.health = udp_check(None);
    });
    eventually("checked", || forwarder.ready().first_health_round_done);
    let client = client();
    assert_eq!(ask(&client, &place, b"x"), b"1x");
    deaf.store(1, SeqCst);
    eventually("found dead", || {
        forwarder.snapshot().groups[0].targets[0].state == TargetStanding::Down
    });
    assert_eq!(ask(&client, &place, b"y"), b"2y");
    assert_eq!(forwarder.snapshot().groups[0].targets[0].in_flight, 0);
}

#[test]
fn at_the_limit_the_flow_that_is_silent_the_longest_makes_room() {
    let origin = marking(b'a');
    // A thread makes room among its own flows, so there is one.
    let forwarder = Forwarder::start(ForwarderSettings { threads: 1 }).unwrap();
    let place = udp_place(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut listener = listener(&place);
    listener.limits.connections = 8;
    forwarder
        .apply(vec![listener], vec![group("g", &[origin.address])])
        .unwrap();
    let talker = client();
    ask(&talker, &place, b"0");
    let known = origin.peers.lock().unwrap().clone();
    for (client, round) in clients(40).iter().zip(0..) {
        ask(client, &place, &[round]);
        ask(&talker, &place, &[round]);
    }
    assert_eq!(shown(&forwarder).connections, 8);
    assert_eq!(
        caused(&forwarder, "evicted@flow"),
        33,
        "41 flows, 8 of them left"
    );
    let talkers_socket = known.first().unwrap();
    let last = origin.received.load(SeqCst);
    ask(&talker, &place, b"z");
    assert_eq!(origin.received.load(SeqCst), last + 1);
    assert!(origin.peers.lock().unwrap().contains(talkers_socket));
}

#[test]
fn flows_live_through_a_reload_and_follow_a_target_that_is_taken_away() {
    let (a, b) = (marking(b'a'), marking(b'b'));
    let (forwarder, place) = proxy_with(&[a.address], |_, _| {});
    let clients = clients(6);
    for client in &clients {
        assert_eq!(ask(client, &place, b"1"), b"a1");
    }
    let before = a.peers.lock().unwrap().clone();
    // Another name, another limit, one more target: the same sockets and flows.
    let renamed = ListenerSettings {
        name: "renamed".to_owned(),
        ..listener(&place)
    };
    let both = group("g", &[a.address, b.address]);
    forwarder.apply(vec![renamed.clone()], vec![both]).unwrap();
    for client in &clients {
        assert_eq!(ask(client, &place, b"2"), b"a2");
    }
    assert_eq!(*a.peers.lock().unwrap(), before);

    let mut only = group("g", &[b.address]);
    only.drain = Duration::ZERO;
    let mut draining = group("g", &[a.address, b.address]);
    draining.drain = Duration::ZERO;
    forwarder
        .apply(vec![renamed.clone()], vec![draining])
        .unwrap();
    forwarder.apply(vec![renamed], vec![only]).unwrap();
    for client in &clients {
        assert_eq!(ask(client, &place, b"3"), b"b3");
    }
    eventually("left", || in_flight(&forwarder.snapshot()) == 6);
}

#[test]
fn a_target_in_maintenance_keeps_its_flows_until_its_time_is_over() {
    let (a, b) = (marking(b'a'), marking(b'b'));
    let (forwarder, place) = proxy_with(&[a.address, b.address], |_, group| {
        group.algorithm = Algorithm::First;
        group.drain = Duration::from_secs(2);
    });
    let old = client();
    assert_eq!(ask(&old, &place, b"1"), b"a1");
    forwarder
        .order("g", &a.address.to_string(), Order::Maint)
        .unwrap();
    assert_eq!(ask(&old, &place, b"2"), b"a2");
    assert_eq!(ask(&client(), &place, b"2"), b"b2");
    // What is on its way to the old target as the flow moves may get no answer.
    old.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    eventually("moved", || {
        let mut room = [0; 16];
        old.send_to(b"3", place.address).unwrap();
        matches!(old.recv_from(&mut room), Ok((2, _)) if room.starts_with(b"b3"))
    });
}

#[test]
fn a_listener_that_goes_passes_on_the_last_answers_and_frees_its_address() {
    let origin = origin(|bytes| {
        thread::sleep(Duration::from_millis(200));
        vec![bytes.to_vec()]
    });
    let (forwarder, place) = proxy_with(&[origin.address], |_, _| {});
    let client = client();
    client.send_to(b"last", place.address).unwrap();
    eventually("asked", || in_flight(&forwarder.snapshot()) == 1);
    let tcp = crate::support::place();
    let other =
        |place: &Place| ListenerSettings::new("other", Protocol::Tcp, vec![place.address], "g");
    forwarder
        .apply(vec![other(&tcp)], vec![group("g", &[origin.address])])
        .unwrap();
    assert_eq!(answer(&client, &place), b"last");
    // Whoever binds the address next gets everything that comes.
    let next = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    next.set_reuse_port(true).unwrap();
    next.bind(&place.address.into()).unwrap();
    let next = UdpSocket::from(next);
    next.set_read_timeout(Some(LIMIT)).unwrap();
    for number in 0..16 {
        let client = self::client();
        client.send_to(&[number], place.address).unwrap();
        let mut room = [0; 16];
        let (length, _) = next.recv_from(&mut room).unwrap();
        assert_eq!(room[..length], [number]);
    }
    let begin = Instant::now();
    forwarder.drain(LIMIT);
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
}

#[test]
fn a_wildcard_answers_from_the_address_that_was_asked() {
    let origin = marking(b'a');
    for any in ["0.0.0.0", "::"] {
        let place = udp_place(any.parse().unwrap());
        let forwarder = forwarder();
        forwarder
            .apply(vec![listener(&place)], vec![group("g", &[origin.address])])
            .unwrap();
        let asked: &[&str] = match any {
            "::" => &["::1"],
            _ => &["127.0.0.1", "127.0.0.2", "127.1.2.3"],
        };
        let client = UdpSocket::bind((asked[0], 0)).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        for round in 0..100u8 {
            for ip in asked {
                let address = SocketAddr::new(ip.parse().unwrap(), place.address.port());
                client.send_to(&[round], address).unwrap();
                let mut room = [0; 16];
                let (length, from) = client.recv_from(&mut room).unwrap();
                assert_eq!((&room[..length], from), (&[b'a', round][..], address));
            }
        }
        assert_eq!(shown(&forwarder).requests_total, asked.len() as u64);
    }
}

#[test]
fn without_a_target_datagrams_are_dropped_and_counted() {
    let (forwarder, place) = proxy_with(&[], |_, _| {});
    let client = client();
    client.send_to(b"x", place.address).unwrap();
    eventually("counted", || caused(&forwarder, "target-down@pick") == 1);
    assert!(is_silent(&client), "nothing is said by ourselves");
    assert_eq!(shown(&forwarder).connections, 0);
}

#[test]
fn datagrams_and_streams_share_an_address() {
    let udp = marking(b'u');
    // A port that is free for both.
    let (tcp, place) = std::iter::repeat_with(|| {
        let tcp = crate::support::place();
        let udp = try_udp_place(tcp.address).ok()?;
        Some((tcp, udp))
    })
    .find_map(|both| both)
    .unwrap();
    let forwarder = forwarder();
    let tcp = ListenerSettings::new("tcp", Protocol::Tcp, vec![tcp.address], "g");
    forwarder
        .apply(
            vec![listener(&place), tcp],
            vec![group("g", &[udp.address])],
        )
        .unwrap();
    assert_eq!(ask(&client(), &place, b"x"), b"ux");
    std::net::TcpStream::connect(place.address).unwrap();
}

#[test]
fn what_comes_faster_than_it_is_taken_is_counted() {
    let place = udp_place(Ipv4Addr::LOCALHOST.into());
    let forwarder = Forwarder::start(ForwarderSettings { threads: 1 }).unwrap();
    let listener = ListenerSettings {
        default: RuleAction::Close,
        ..listener(&place)
    };
    forwarder.apply(vec![listener], Vec::new()).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    // Several against one, each datagram as long as a datagram can be.
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (enough, client, to) = (Arc::clone(&enough), client(), place.address);
            thread::spawn(move || {
                while !enough.load(SeqCst) {
                    let _ = client.send_to(&[7; 60_000], to);
                }
            })
        })
        .collect();
    eventually("something was dropped and counted", || {
        caused(&forwarder, "overrun@datagram") > 0
    });
    enough.store(true, SeqCst);
    senders.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn a_flow_is_a_line_of_the_access_log_when_it_ends() {
    let echoing = origin(|question| vec![question.to_vec()]);
    let (forwarder, place) = proxy_with(&[echoing.address], |_, group| {
        group.udp.responses = Some(1);
    });
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let client = client();
    assert_eq!(ask(&client, &place, b"hello"), b"hello");
    let line = log.lines(1).remove(0);
    let words = ["proto", "cause", "group", "listener"].map(|key| line[key].as_str().unwrap());
    assert_eq!(words, ["udp", "ok", "g", "dns"], "{line}");
    assert_eq!(line["peer"], client.local_addr().unwrap().to_string());
    assert_eq!(line["target"], echoing.address.to_string());
    let numbers = ["bytes_in", "bytes_out", "attempts"].map(|key| line[key].as_u64());
    assert_eq!(numbers, [Some(5), Some(5), Some(1)], "{line}");
    assert!(line["first_byte_ms"].is_number(), "{line}");
}
