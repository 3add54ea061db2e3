//! Thousands of connections at once against a listener that takes few: those who are there notice nothing, and when the
//! crowd has gone everything is as before. The crowd are processes of their own, because what one process may hold open is
//! limited; alone in its process for the same reason. `TANDEM_CROWD` says how many connections (8,000 unless given).
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs
)]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use balancer::{Check, GroupSettings, ListenerSettings, Protocol};
use forwarder::{Forwarder, ForwarderSettings, ListenerSnapshot};
use socket2::{Domain, Socket, Type};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// Connections of the crowd, unless told otherwise.
const CROWD: usize = 8_000;
/// Processes of the crowd.
const PARTS: usize = 4;
/// Connections the listener takes; all others wait in the kernel.
const TAKEN: u32 = 500;
/// Clients that are there all the time.
const BASE: usize = 4;
/// Where a process of the crowd is told how many connections to open, and to whom.
const ORDERS: &str = "TANDEM_CROWD_ORDERS";

fn read_head(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).ok()?;
        head.push(octet[0]);
    }
    Some(())
}

/// Answers every request on every connection.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while read_head(&mut stream).is_some() {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).unwrap();
                }
            });
        }
    });
    address
}

/// A place on every address that nobody else gets, until it is dropped.
fn place() -> (Socket, SocketAddr) {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.set_reuse_port(true).unwrap();
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    holder.bind(&any.into()).unwrap();
    let address = holder.local_addr().unwrap().as_socket().unwrap();
    (holder, address)
}

fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    read_head(stream).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut body = [0; 2];
    stream.read_exact(&mut body)?;
    match &body {
        b"ok" => Ok(()),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
    let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let limit_at = Instant::now() + LIMIT;
    while !look() {
        assert!(Instant::now() < limit_at, "not so in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

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
        Self { child, stay }
    }

    /// The connections it has begun, once it has begun all.
    fn begun(&mut self) -> usize {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let mut words = lines.map_while(Result::ok);
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

/// Requests that were answered, and those that were not, on connections that are kept.
#[derive(Default)]
struct Base {
    good: AtomicU64,
    bad: AtomicU64,
    over: AtomicBool,
}

impl Base {
    fn run(self: Arc<Self>, mut stream: TcpStream) {
        while !self.over.load(Relaxed) {
            let count = match ask(&mut stream) {
                Ok(()) => &self.good,
                Err(_) => &self.bad,
            };
            count.fetch_add(1, Relaxed);
        }
    }

    fn wait_for_more(&self, count: u64) {
        let until = self.good.load(Relaxed) + count;
        eventually("the base load goes on", || {
            self.good.load(Relaxed) >= until || self.bad.load(Relaxed) > 0
        });
        assert_eq!(self.bad.load(Relaxed), 0, "errors of the base load");
    }
}

fn shown(forwarder: &Forwarder, name: &str) -> ListenerSnapshot {
    let mut listeners = forwarder.snapshot().listeners.into_iter();
    listeners.find(|listener| listener.name == name).unwrap()
}

#[test]
fn a_crowd_that_connects_at_once_waits_its_turn_and_harms_nobody_who_is_there() {
    let total = std::env::var("TANDEM_CROWD").map_or(CROWD, |n| n.parse().unwrap());
    let ((web_holder, web), (raw_holder, raw)) = (place(), place());
    let forwarder = Forwarder::start(ForwarderSettings { threads: 2 }).unwrap();
    let mut group = GroupSettings::new("app", [origin()]);
    group.health.check = Check::Off;
    let mut crowded = ListenerSettings::new("raw", Protocol::Tcp, vec![raw], "app");
    crowded.limits.connections = TAKEN;
    let quiet = ListenerSettings::new("web", Protocol::Http, vec![web], "app");
    forwarder.apply(vec![quiet, crowded], vec![group]).unwrap();
    drop((web_holder, raw_holder));

    // Half of them at the listener that is about to be crowded.
    let base = Arc::new(Base::default());
    let clients: Vec<_> = (0..BASE)
        .map(|number| {
            let stream = connect([web, raw][number % 2]);
            let base = Arc::clone(&base);
            std::thread::spawn(move || base.run(stream))
        })
        .collect();
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
    let before = base.good.load(Relaxed);
    base.wait_for_more(1_000);
    ask(&mut connect(web)).unwrap();
    assert_eq!(shown(&forwarder, "raw").connections, TAKEN);

    drop(crowd);
    let over_at = Instant::now();
    ask(&mut connect(raw)).unwrap();
    let new_after = over_at.elapsed();
    eventually("nothing of the crowd is left", || {
        shown(&forwarder, "raw").connections <= BASE as u32 / 2
    });
    let left_after = over_at.elapsed();
    base.wait_for_more(100);
    base.over.store(true, Relaxed);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let beside = base.good.load(Relaxed) - before;
    eprintln!(
        "{begun} connections, {beside} requests beside them; then a new client was served after {new_after:?}, nothing was left after {left_after:?}"
    );
    assert_eq!(shown(&forwarder, "web").causes, []);
}
