//! Targets, clients and addresses for the tests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use balancer::{Check, GroupSettings, ListenerSettings, Protocol};
use forwarder::{Forwarder, ForwarderSettings, Snapshot};
use socket2::{Domain, Socket, Type};

/// No wait in a test is longer: what takes longer has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A free address on loopback, kept free for the forwarder by a socket that is bound and does not listen.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    _holder: Socket,
}

pub(crate) fn place() -> Place {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.set_reuse_port(true).unwrap();
    holder
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = holder.local_addr().unwrap().as_socket().unwrap();
    Place {
        address,
        _holder: holder,
    }
}

/// An address nobody listens on, while the value lives.
pub(crate) fn dead_place() -> Place {
    place()
}

/// A target: a thread for each connection.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    /// Hands each connection with its number (from 0) to `serve`.
    pub(crate) fn start(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Origin {
        Self::start_at(Ipv4Addr::LOCALHOST, serve)
    }

    /// The same at another address of this host.
    pub(crate) fn start_at(
        ip: Ipv4Addr,
        serve: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = count.fetch_add(1, SeqCst);
                let serve = Arc::clone(&serve);
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || serve(stream, number));
            }
        });
        Origin {
            address,
            connections,
        }
    }

    /// Answers every request with 200 and this body, as long as the connection lives.
    pub(crate) fn answering(body: &'static str) -> Origin {
        Self::http(move |_| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        })
    }

    /// Answers every request with the bytes `answer` makes of it.
    pub(crate) fn http(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Self::start(move |mut stream, _| {
            let mut input = Vec::new();
            while let Some(request) = read_request(&mut stream, &mut input) {
                if stream.write_all(&answer(&request)).is_err() {
                    return;
                }
            }
        })
    }

    /// Reads one request, sends these bytes, and closes.
    pub(crate) fn saying(answer: &'static [u8]) -> Origin {
        Self::start(move |mut stream, _| {
            if read_request(&mut stream, &mut Vec::new()).is_some() {
                stream.write_all(answer).unwrap();
            }
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// A request as a target received it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Received {
    pub(crate) head: String,
    /// The body as it came, chunked coding included.
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn has_line(&self, line: &str) -> bool {
        self.head.split("\r\n").any(|other| other == line)
    }
}

/// Where targets note what they received.
pub(crate) type Notes = Arc<Mutex<Vec<Received>>>;

/// A target that notes each request and answers 200 without a body.
pub(crate) fn noting() -> (Origin, Notes) {
    let notes = Notes::default();
    let noted = Arc::clone(&notes);
    let origin = Origin::http(move |request| {
        noted.lock().unwrap().push(request.clone());
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    (origin, notes)
}

/// Reads until `end`; `None` if the peer closes before.
pub(crate) fn read_until(
    stream: &mut impl Read,
    input: &mut Vec<u8>,
    end: &[u8],
) -> Option<Vec<u8>> {
    let mut buf = [0; 16 * 1024];
    loop {
        if let Some(at) = input.windows(end.len()).position(|window| window == end) {
            let rest = input.split_off(at + end.len());
            return Some(std::mem::replace(input, rest));
        }
        match stream.read(&mut buf) {
            Ok(count) if count > 0 => input.extend_from_slice(&buf[..count]),
            _ => return None,
        }
    }
}

fn read_exactly(stream: &mut impl Read, input: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    let mut buf = [0; 16 * 1024];
    while input.len() < count {
        match stream.read(&mut buf) {
            Ok(read) if read > 0 => input.extend_from_slice(&buf[..read]),
            _ => return None,
        }
    }
    let rest = input.split_off(count);
    Some(std::mem::replace(input, rest))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    lines
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn read_body(stream: &mut impl Read, input: &mut Vec<u8>, head: &str) -> Option<Vec<u8>> {
    if field(head, "Transfer-Encoding").is_some() {
        return read_until(stream, input, b"0\r\n\r\n");
    }
    let length = field(head, "Content-Length").map_or(0, |length| length.parse().unwrap());
    read_exactly(stream, input, length)
}

pub(crate) fn read_request(stream: &mut impl Read, input: &mut Vec<u8>) -> Option<Received> {
    let head = read_until(stream, input, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let body = read_body(stream, input, &head)?;
    Some(Received { head, body })
}

/// An answer as a client received it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn read_head(stream: &mut impl Read, input: &mut Vec<u8>) -> Option<Answer> {
    let head = String::from_utf8(read_until(stream, input, b"\r\n\r\n")?).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Answer {
        status,
        head,
        body: Vec::new(),
    })
}

/// The next answer; `None` if the connection ends before it is whole.
pub(crate) fn read_answer(stream: &mut impl Read, input: &mut Vec<u8>) -> Option<Answer> {
    let mut answer = read_head(stream, input)?;
    if answer.status >= 200 && answer.status != 204 && answer.status != 304 {
        answer.body = read_body(stream, input, &answer.head)?;
    }
    Some(answer)
}

/// A client that keeps its connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            input: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next head, without waiting for a body.
    pub(crate) fn head(&mut self) -> Option<Answer> {
        read_head(&mut self.stream, &mut self.input)
    }

    /// The next answer; `None` if the connection ends before it is whole.
    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        read_answer(&mut self.stream, &mut self.input)
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.answer()
    }

    /// Everything until the end of the connection; `Err` if that was a reset.
    pub(crate) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.input);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }
}

/// Sends bytes on a new connection and returns everything that comes back until the end.
pub(crate) fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(address);
    client.send(bytes);
    String::from_utf8_lossy(&client.rest().unwrap()).into_owned()
}

/// The status of the first answer in `text`.
pub(crate) fn status_of(text: &str) -> u16 {
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// A forwarder with two threads and nothing to do.
pub(crate) fn forwarder() -> Forwarder {
    Forwarder::start(ForwarderSettings { threads: 2 }).unwrap()
}

/// A group without checks.
pub(crate) fn group(name: &str, targets: &[SocketAddr]) -> GroupSettings {
    let mut group = GroupSettings::new(name, targets.iter().copied());
    group.health.check = Check::Off;
    group
}

/// An HTTP listener that forwards to group `g`.
pub(crate) fn http_listener(place: &Place) -> ListenerSettings {
    ListenerSettings::new("web", Protocol::Http, vec![place.address], "g")
}

/// A forwarder with one HTTP listener and these targets.
pub(crate) fn proxy(targets: &[SocketAddr]) -> (Forwarder, Place) {
    proxy_with(targets, |_, _| {})
}

/// The same, settings changed.
pub(crate) fn proxy_with(
    targets: &[SocketAddr],
    change: impl FnOnce(&mut ListenerSettings, &mut GroupSettings),
) -> (Forwarder, Place) {
    let place = place();
    let forwarder = forwarder();
    let (mut listener, mut group) = (http_listener(&place), group("g", targets));
    change(&mut listener, &mut group);
    forwarder.apply(vec![listener], vec![group]).unwrap();
    (forwarder, place)
}

/// Waits until what `look` sees is so.
pub(crate) fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let limit_at = Instant::now() + 3 * LIMIT;
    while !look() {
        assert!(Instant::now() < limit_at, "not so in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Requests or connections in flight at all targets.
pub(crate) fn in_flight(snapshot: &Snapshot) -> u32 {
    snapshot
        .groups
        .iter()
        .flat_map(|group| &group.targets)
        .map(|target| target.in_flight)
        .sum()
}
