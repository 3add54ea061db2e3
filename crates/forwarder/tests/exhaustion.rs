//! A storm of connections against a process with few descriptors; alone in its process because the limit is the
//! process's. `TANDEM_STORM_CONNECTIONS` says how many connects in all, 600 at a time (1,200 unless given).
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use balancer::{Check, GroupSettings, ListenerSettings, Protocol};
use forwarder::{Forwarder, ForwarderSettings, ListenerSnapshot};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);
/// Connects at a time.
const WAVE: usize = 600;
/// Connections there is room for, each with one to its target.
const ROOM: u32 = 100;
/// What a forwarder keeps for everything else.
const RESERVED: u64 = 256;
/// Clients that are there all the time.
const BASE: usize = 4;

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

fn read_head(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).ok()?;
        head.push(octet[0]);
    }
    Some(())
}

/// Takes connections into its queue, where they need no descriptor of this process.
fn sink() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(4096).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A place nobody else gets.
fn place() -> (Socket, SocketAddr) {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.set_reuse_port(true).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    holder.bind(&any.into()).unwrap();
    let address = holder.local_addr().unwrap().as_socket().unwrap();
    (holder, address)
}

/// One of the storm: it never waits, and leaves with a reset.
fn stormer() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket
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
    let stream = TcpStream::connect(address).unwrap();
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

fn shown(forwarder: &Forwarder, name: &str) -> ListenerSnapshot {
    let mut listeners = forwarder.snapshot().listeners.into_iter();
    listeners.find(|listener| listener.name == name).unwrap()
}

/// Leaves this process so many descriptors more than it has open.
fn leave_descriptors(count: u64) {
    let open = u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
    let before = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(open + count),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
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

#[test]
fn a_storm_of_connections_harms_nobody_who_is_there_and_leaves_nothing_behind() {
    let total = std::env::var("TANDEM_STORM_CONNECTIONS").map_or(2 * WAVE, |n| n.parse().unwrap());
    let (web_holder, web) = place();
    let (raw_holder, raw) = place();
    let (queue, sink) = sink();
    let mut wave: Vec<Socket> = (0..WAVE).map(|_| stormer()).collect();
    leave_descriptors(RESERVED + 2 * u64::from(ROOM));

    let forwarder = Forwarder::start(ForwarderSettings { threads: 1 }).unwrap();
    let group = |name: &str, target| {
        let mut group = GroupSettings::new(name, [target]);
        group.health.check = Check::Off;
        group
    };
    let groups = vec![group("app", origin()), group("sink", sink)];
    let listeners = vec![
        ListenerSettings::new("web", Protocol::Http, vec![web], "app"),
        ListenerSettings::new("raw", Protocol::Tcp, vec![raw], "sink"),
    ];
    forwarder.apply(listeners, groups).unwrap();
    drop((web_holder, raw_holder));

    let base = Arc::new(Base::default());
    let clients: Vec<_> = (0..BASE)
        .map(|_| {
            let (base, stream) = (Arc::clone(&base), connect(web));
            std::thread::spawn(move || base.run(stream))
        })
        .collect();
    base.wait_for_more(100);

    let mut connects = 0;
    while connects < total {
        for socket in &wave {
            // It is on its way, or refused for now: it is a storm.
            let _ = socket.connect(&raw.into());
        }
        connects += wave.len();
        let full = ROOM - BASE as u32;
        eventually("there is no room left", || {
            shown(&forwarder, "raw").connections >= full
        });
        base.wait_for_more(500);
        assert!(shown(&forwarder, "raw").connections <= full);
        wave.clear();
        // Those of the wave that are over.
        while queue.accept().is_ok() {}
        if connects < total {
            wave.extend((0..WAVE).map(|_| stormer()));
        }
    }
    let over_at = Instant::now();
    let mut new = connect(web);
    ask(&mut new).unwrap();
    let new_after = over_at.elapsed();
    eventually("nothing is left", || {
        shown(&forwarder, "raw").connections == 0
    });
    let left_after = over_at.elapsed();
    base.wait_for_more(100);
    base.over.store(true, Relaxed);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());

    let good = base.good.load(Relaxed);
    eprintln!(
        "{connects} connects, {good} requests beside them; then a new client was served after {new_after:?}, nothing was left after {left_after:?}"
    );
    assert_eq!(shown(&forwarder, "web").causes, []);
    let causes = shown(&forwarder, "raw").causes;
    assert!(
        causes.iter().all(|(word, _)| *word != "used-up@connect"),
        "{causes:?}"
    );
}
