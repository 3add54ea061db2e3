//! What happens when this machine has no port left towards a target; alone in its process because it has a network of
//! its own, with few ports. Needs root.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use balancer::{Algorithm, Check, GroupSettings, ListenerSettings, Protocol};
use forwarder::{Forwarder, ForwarderSettings, TargetSnapshot};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

const LIMIT: Duration = Duration::from_secs(20);
/// Ports of the network.
const PORTS: usize = 32;
/// Time between two checks.
const EVERY: Duration = Duration::from_millis(20);

/// Sends back what it gets.
fn echo(port: u16) -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut room = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut room) {
                    if stream.write_all(&room[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A client with an address of its own, and a port that is none of those that are given out.
fn connect(number: usize, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let own = Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1).unwrap());
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&SocketAddr::from((own, 50_000)).into())
        .unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn is_served(stream: &mut TcpStream) -> bool {
    let mut word = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut word).is_ok() && word == *b"hello"
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let limit_at = Instant::now() + LIMIT;
    while !look() {
        assert!(Instant::now() < limit_at, "not so in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn target(forwarder: &Forwarder, place: usize) -> TargetSnapshot {
    forwarder.snapshot().groups[0].targets[place].clone()
}

#[test]
fn without_ports_to_one_target_another_is_taken_and_none_is_blamed() {
    unshare(CloneFlags::CLONE_NEWNET)
        .expect("a network of one's own, for which this test needs root");
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.unwrap().success());
    let range = format!("40000 {}", 40_000 + PORTS - 1);
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();

    let (first, second) = (echo(9_001), echo(9_002));
    let place = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_000));
    let forwarder = Forwarder::start(ForwarderSettings { threads: 1 }).unwrap();
    let mut group = GroupSettings::new("g", [first, second]);
    group.algorithm = Algorithm::First;
    group.health.check = Check::Tcp;
    (group.health.every, group.health.fast, group.health.fall) = (EVERY, EVERY, 1);
    let listener = ListenerSettings::new("raw", Protocol::Tcp, vec![place], "g");
    forwarder.apply(vec![listener], vec![group]).unwrap();
    eventually("both are well", || {
        (0..2).all(|place| target(&forwarder, place).check.as_str() == "up")
    });

    let mut clients = Vec::new();
    let mut refused = 0;
    for number in 0..2 * PORTS + 8 {
        let mut client = connect(number, place);
        match is_served(&mut client) {
            true => clients.push(client),
            false => refused += 1,
        }
    }
    // Checks take a port now and then.
    assert!(
        clients.len() > PORTS && refused > 0,
        "{} served",
        clients.len()
    );
    // The last one may see its end before it is counted.
    eventually("each refusal is counted once", || {
        forwarder.snapshot().listeners[0].causes == [("used-up@connect", refused)]
    });
    // Time for many checks that find no port.
    std::thread::sleep(10 * EVERY);
    for place in 0..2 {
        let target = target(&forwarder, place);
        let standing = (
            target.check.as_str(),
            target.errors_total,
            target.ejections_total,
        );
        assert_eq!(standing, ("up", 0, 0), "{}: {}", target.name, target.why);
    }
    assert!(
        clients.iter_mut().all(is_served),
        "those who are there stay"
    );

    clients.truncate(PORTS / 2);
    eventually("there is room again", || {
        is_served(&mut connect(200, place))
    });
}
