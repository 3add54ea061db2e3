//! Thousands of connections at once against a listener that takes few: those who are there notice nothing, and when the
//! crowd has gone everything is as before. The crowd are processes of their own, because what one process may hold open is
//! limited; alone in its process for the same reason. `TANDEM_CROWD` says how many connections (8,000 unless given).
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs
)]

mod steady;

use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use balancer::{Check, GroupSettings, ListenerSettings, Protocol};
use forwarder::{Forwarder, ForwarderSettings};
use socket2::{Domain, Socket, Type};
use steady::{Base, ask, connect, eventually, origin, place, shown};

/// Connections of the crowd, unless told otherwise.
const CROWD: usize = 8_000;
/// Processes of the crowd.
const PARTS: usize = 4;
/// Connections the listener takes; all others wait in the kernel.
const TAKEN: u32 = 500;
/// Where a process of the crowd is told how many connections to open, and to whom.
const ORDERS: &str = "TANDEM_CROWD_ORDERS";

/// One process of the crowd: connects, says how often, and stays until nobody listens to it any more.
#[test]
#[ignore = "a part of the test below, which starts it as processes of their own"]
fn a_part_of_the_crowd() {
    let orders = std::env::var(ORDERS).unwrap();
    let (count, to) = orders.split_once(' ').unwrap();
    let (count, to): (usize, SocketAddr) = (count.parse().unwrap(), to.parse().unwrap());
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        // On its way, as all of them are.
        let _ = socket.connect(&to.into());
        crowd.push(socket);
    }
    println!("\ncrowd {}", crowd.len());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// A process of the crowd, until dropped.
struct Part {
    child: Child,
    stay: Option<ChildStdin>,
    /// What it says; open until its end, which it announces as well.
    words: Lines<BufReader<ChildStdout>>,
}

impl Part {
    fn start(count: usize, to: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_part_of_the_crowd", "--ignored", "--nocapture"])
            .env(ORDERS, format!("{count} {to}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stay = child.stdin.take();
        let words = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stay, words }
    }

    /// The connections it has begun, once it has begun all.
    fn begun(&mut self) -> usize {
        let mut words = self.words.by_ref().map_while(Result::ok);
        let told = words.find_map(|line| Some(line.strip_prefix("crowd ")?.to_owned()));
        told.expect("a part of the crowd ended early")
            .parse()
            .unwrap()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.stay.take();
        let _ = self.child.wait();
    }
}

#[test]
fn a_crowd_that_connects_at_once_waits_its_turn_and_harms_nobody_who_is_there() {
    let total = std::env::var("TANDEM_CROWD").map_or(CROWD, |n| n.parse().unwrap());
    let ((web_holder, web), (raw_holder, raw)) =
        (place(Ipv4Addr::UNSPECIFIED), place(Ipv4Addr::UNSPECIFIED));
    let forwarder = Forwarder::start(ForwarderSettings { threads: 2 }).unwrap();
    let mut group = GroupSettings::new("app", [origin()]);
    group.health.check = Check::Off;
    let mut crowded = ListenerSettings::new("raw", Protocol::Tcp, vec![raw], "app");
    crowded.limits.connections = TAKEN;
    let quiet = ListenerSettings::new("web", Protocol::Http, vec![web], "app");
    forwarder.apply(vec![quiet, crowded], vec![group]).unwrap();
    drop((web_holder, raw_holder));

    // Half of them at the listener that is about to be crowded.
    let (base, clients) = Base::start(&[web, raw, web, raw]);
    base.wait_for_more(100);

    // One address for each part of the crowd: a client has ports for less than a half of it towards one.
    let door = |number| SocketAddr::from(([127, 0, 0, number], raw.port()));
    let mut crowd: Vec<Part> = (1..=PARTS)
        .map(|part| Part::start(total / PARTS, door(u8::try_from(part).unwrap())))
        .collect();
    let begun: usize = crowd.iter_mut().map(Part::begun).sum();
    assert_eq!(begun, total / PARTS * PARTS);
    eventually("no more are taken", || {
        shown(&forwarder, "raw").connections == TAKEN
    });
    let before = base.answers();
    base.wait_for_more(1_000);
    ask(&mut connect(web)).unwrap();
    assert_eq!(shown(&forwarder, "raw").connections, TAKEN);

    drop(crowd);
    let over_at = Instant::now();
    ask(&mut connect(raw)).unwrap();
    let new_after = over_at.elapsed();
    eventually("nothing of the crowd is left", || {
        shown(&forwarder, "raw").connections <= 2
    });
    let left_after = over_at.elapsed();
    base.wait_for_more(100);
    base.leave(clients);
    let beside = base.answers() - before;
    eprintln!(
        "{begun} connections, {beside} requests beside them; then a new client was served after {new_after:?}, nothing was left after {left_after:?}"
    );
    assert_eq!(shown(&forwarder, "web").causes, []);
}
