//! Clients who are there before, during and after what happens to a forwarder, and what they need: a target, a place to
//! listen at, and the certainty that none of them has noticed anything.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forwarder::{Forwarder, ListenerSnapshot};
use socket2::{Domain, Socket, Type};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// Answers every request on every connection.
pub(crate) fn origin() -> SocketAddr {
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

/// A place on this address that nobody else gets, until it is dropped.
pub(crate) fn place(ip: Ipv4Addr) -> (Socket, SocketAddr) {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.set_reuse_port(true).unwrap();
    let any = SocketAddr::from((ip, 0));
    holder.bind(&any.into()).unwrap();
    let address = holder.local_addr().unwrap().as_socket().unwrap();
    (holder, address)
}

pub(crate) fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    read_head(stream).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut body = [0; 2];
    stream.read_exact(&mut body)?;
    match &body {
        b"ok" => Ok(()),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
    let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

pub(crate) fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let limit_at = Instant::now() + LIMIT;
    while !look() {
        assert!(Instant::now() < limit_at, "not so in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn shown(forwarder: &Forwarder, name: &str) -> ListenerSnapshot {
    let mut listeners = forwarder.snapshot().listeners.into_iter();
    listeners.find(|listener| listener.name == name).unwrap()
}

/// Requests that were answered, and those that were not, on connections that are kept.
#[derive(Default)]
pub(crate) struct Base {
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

    /// One client at each of these addresses, from now until `leave`.
    pub(crate) fn start(addresses: &[SocketAddr]) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let base = Arc::<Self>::default();
        let clients = (addresses.iter())
            .map(|address| {
                let (base, stream) = (Arc::clone(&base), connect(*address));
                std::thread::spawn(move || base.run(stream))
            })
            .collect();
        (base, clients)
    }

    /// Answers until now.
    pub(crate) fn answers(&self) -> u64 {
        self.good.load(Relaxed)
    }

    /// Every client ends, with the request it is at.
    pub(crate) fn leave(&self, clients: Vec<JoinHandle<()>>) {
        self.over.store(true, Relaxed);
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    }

    pub(crate) fn wait_for_more(&self, count: u64) {
        let until = self.good.load(Relaxed) + count;
        eventually("the base load goes on", || {
            self.good.load(Relaxed) >= until || self.bad.load(Relaxed) > 0
        });
        assert_eq!(self.bad.load(Relaxed), 0, "errors of the base load");
    }
}
