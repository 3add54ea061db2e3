//! The event loop that is all clients and all origins at once.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::ClientConfig;
use socket2::{Domain, Protocol, Socket, Type};

use super::clients::{Answered, ClientSide};
use super::origin::{Answers, OriginSide};
use super::session::Session;
use super::{Speech, Work, secrecy};

/// Octets read at once.
const BUFFER: usize = 256 * 1024;
/// Octets that come out of TLS at once.
const PLAIN: usize = 64 * 1024;
/// The token of the origin's listening socket.
const LISTENER: u64 = u64::MAX;
/// Latencies kept; more requests are counted, their latencies not kept.
const KEPT: usize = 4_000_000;

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers that were whole and good.
    pub good: u64,
    /// Connections that ended early, and answers with another status.
    pub bad: u64,
    /// From when a request was due to the end of its answer, in nanoseconds, in no order.
    pub latencies_ns: Vec<u64>,
}

/// Where clients tell what they saw.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) tally: Tally,
    measuring: bool,
}

impl Ledger {
    /// One in which everything counts.
    #[cfg(test)]
    pub(super) fn measuring() -> Ledger {
        Ledger {
            tally: Tally::default(),
            measuring: true,
        }
    }

    /// An answer came to a request that was due at `due`.
    pub(super) fn answered(&mut self, due: Instant, now: Instant, good: bool) {
        if !self.measuring {
            return;
        }
        if !good {
            self.tally.bad += 1;
            return;
        }
        self.tally.good += 1;
        if self.tally.latencies_ns.len() < KEPT {
            let took = now.saturating_duration_since(due).as_nanos();
            let took = u64::try_from(took).unwrap_or(u64::MAX);
            self.tally.latencies_ns.push(took);
        }
    }

    /// A connection ended that still had something to do.
    fn lost(&mut self) {
        if self.measuring {
            self.tally.bad += 1;
        }
    }
}

/// What clients ask whom, and how they speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) target: SocketAddr,
    pub(super) work: Work,
    pub(super) speech: Speech,
}

/// Clients of one proxy, and the origin behind it.
#[derive(Debug)]
pub(super) struct Load {
    epoll: Epoll,
    listener: TcpListener,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    answers: Answers,
    buffer: Vec<u8>,
    plain: Vec<u8>,
    job: Job,
    tls: Option<Arc<ClientConfig>>,
    request: Vec<u8>,
    ledger: Ledger,
    /// Connections without a request, for work at a fixed rate.
    idle: Vec<usize>,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Client(ClientSide),
    Session(Box<Session>),
    Origin(OriginSide),
}

impl Load {
    /// An origin at `origin`, and clients that have a job.
    pub(super) fn new(origin: TcpListener, job: Job) -> anyhow::Result<Load> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        origin.set_nonblocking(true)?;
        epoll.add(&origin, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Load {
            epoll,
            listener: origin,
            peers: Vec::new(),
            free: Vec::new(),
            answers: Answers::default(),
            buffer: vec![0; BUFFER],
            plain: vec![0; PLAIN],
            job,
            tls: secrecy::config(job.speech)?,
            request: request(job.work, job.target),
            ledger: Ledger::default(),
            idle: Vec::new(),
        })
    }

    /// Opens the clients' connections.
    pub(super) fn open(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.job.work.clients() {
            self.connect().context("connect to the proxy")?;
        }
        Ok(())
    }

    /// Works for `time`; what happens in it is counted if `measuring`.
    pub(super) fn run(&mut self, time: Duration, measuring: bool) -> anyhow::Result<Tally> {
        self.ledger = Ledger {
            tally: Tally::default(),
            measuring,
        };
        let begun = Instant::now();
        let end = begun + time;
        let mut pace = match self.job.work {
            Work::FixedRate { rate, .. } => Some(Pace {
                next: begun,
                gap: Duration::from_secs(1) / rate.max(1),
            }),
            Work::KeepAlive { .. } | Work::ConnectEach { .. } | Work::Once { .. } => None,
        };
        let mut events = vec![EpollEvent::empty(); 512];
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(std::mem::take(&mut self.ledger.tally));
            }
            let mut wait = end - now;
            if let Some(pace) = &mut pace {
                while pace.next <= now {
                    let Some(index) = self.idle.pop() else { break };
                    self.begin(index, pace.next);
                    pace.next += pace.gap;
                }
                wait = wait.min(pace.next.saturating_duration_since(now));
            }
            // Whole milliseconds only: a wait of less is spent asking again, on a core of its own.
            let wait = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
            let count = match self.epoll.wait(&mut events, EpollTimeout::from(wait)) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                self.handle(event.data())?;
            }
        }
    }

    fn handle(&mut self, token: u64) -> anyhow::Result<()> {
        if token == LISTENER {
            return self.accept().context("accept at the origin");
        }
        let index = usize::try_from(token)?;
        let Some(Some(peer)) = self.peers.get_mut(index) else {
            return Ok(());
        };
        let next = match &mut peer.side {
            Side::Origin(side) => {
                serve(&mut peer.stream, side, &mut self.answers, &mut self.buffer)
            }
            Side::Client(side) => ask(&mut peer.stream, side, &self.request, &mut self.buffer),
            Side::Session(session) => {
                let buffers = (&mut self.buffer[..], &mut self.plain[..]);
                session.turn(&mut peer.stream, buffers, &mut self.ledger)
            }
        };
        match next {
            Next::Wait => {}
            Next::Gone => self.lose(index),
            Next::Answered => self.answered(index),
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    self.add(stream, Side::Origin(OriginSide::default()))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn connect(&mut self) -> anyhow::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.job.target.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
                return Err(error.into());
            }
            _ => {}
        }
        if self.job.speech != Speech::Clear {
            let Job { work, speech, .. } = self.job;
            let session = Session::new(speech, work, self.tls.as_ref(), &self.request)?;
            self.add(socket.into(), Side::Session(Box::new(session)))?;
            return Ok(());
        }
        let mut side = ClientSide::new(Instant::now());
        let paced = matches!(self.job.work, Work::FixedRate { .. });
        if !paced {
            side.begin(Instant::now());
        }
        let index = self.add(socket.into(), Side::Client(side))?;
        if paced {
            self.idle.push(index);
        }
        Ok(())
    }

    fn add(&mut self, stream: TcpStream, side: Side) -> io::Result<usize> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll
            .add(stream.as_fd(), EpollEvent::new(flags, index as u64))?;
        self.peers[index] = Some(Peer { stream, side });
        Ok(index)
    }

    fn begin(&mut self, index: usize, due: Instant) {
        let Some(Some(peer)) = self.peers.get_mut(index) else {
            return;
        };
        let Side::Client(side) = &mut peer.side else {
            return;
        };
        side.begin(due);
        if send(&mut peer.stream, &self.request, &mut side.sent).is_err() {
            self.lose(index);
        }
    }

    /// A connection ended that still had something to do, or was the origin's.
    fn lose(&mut self, index: usize) {
        self.free.push(index);
        let Some(peer) = self.peers[index].take() else {
            return;
        };
        let busy = match &peer.side {
            Side::Client(side) => side.busy,
            Side::Session(session) => session.is_busy(),
            Side::Origin(_) => return,
        };
        if busy {
            self.ledger.lost();
        }
        self.idle.retain(|other| *other != index);
        // Closed first: a port is not had twice.
        drop(peer);
        // A refused connection is told by the count; the next one begins when somebody asks.
        let _ = self.connect();
    }

    fn answered(&mut self, index: usize) {
        let now = Instant::now();
        let Some(Some(peer)) = self.peers.get_mut(index) else {
            return;
        };
        let Side::Client(side) = &mut peer.side else {
            return;
        };
        side.busy = false;
        self.ledger.answered(side.due, now, true);
        match self.job.work {
            Work::KeepAlive { .. } => self.begin(index, now),
            Work::FixedRate { .. } => self.idle.push(index),
            Work::ConnectEach { .. } => self.lose(index),
            Work::Once { .. } => {}
        }
    }
}

#[derive(Debug)]
struct Pace {
    next: Instant,
    gap: Duration,
}

/// What becomes of a connection after an event.
pub(super) enum Next {
    /// It goes on.
    Wait,
    /// Its request was answered.
    Answered,
    /// It has ended.
    Gone,
}

fn serve(
    stream: &mut TcpStream,
    side: &mut OriginSide,
    answers: &mut Answers,
    buffer: &mut [u8],
) -> Next {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Next::Gone,
            Ok(count) => {
                side.take(&buffer[..count], answers);
                if count < buffer.len() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return Next::Gone,
        }
    }
    match send(stream, &side.out, &mut side.sent) {
        Ok(()) => {
            if side.sent == side.out.len() {
                side.out.clear();
                side.sent = 0;
            }
            Next::Wait
        }
        Err(_) => Next::Gone,
    }
}

fn ask(stream: &mut TcpStream, side: &mut ClientSide, request: &[u8], buffer: &mut [u8]) -> Next {
    if side.busy && side.sent < request.len() && send(stream, request, &mut side.sent).is_err() {
        return Next::Gone;
    }
    loop {
        match stream.read(buffer) {
            Ok(0) => return Next::Gone,
            Ok(count) => match side.take(&buffer[..count]) {
                Answered::Good => return Next::Answered,
                Answered::Bad => return Next::Gone,
                Answered::NotYet if count < buffer.len() => return Next::Wait,
                Answered::NotYet => {}
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait,
            Err(_) => return Next::Gone,
        }
    }
}

/// Sends what the socket takes.
pub(super) fn send(stream: &mut TcpStream, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
    while *sent < bytes.len() {
        match stream.write(&bytes[*sent..]) {
            Ok(count) => *sent += count,
            // Not connected yet says the same as a full buffer: the event comes.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::NotConnected
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a browser sends, more or less.
fn request(work: Work, target: SocketAddr) -> Vec<u8> {
    let path = work.answer().path();
    let post = match work {
        Work::KeepAlive { post, .. } => post as usize,
        Work::ConnectEach { .. } | Work::FixedRate { .. } | Work::Once { .. } => 0,
    };
    let method = if post > 0 { "POST" } else { "GET" };
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bench/1.0 (X11; Linux x86_64)\r\n\
         Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef; theme=dark\r\n"
    );
    if post > 0 {
        request += &format!("Content-Length: {post}\r\n");
    }
    if matches!(work, Work::ConnectEach { .. }) {
        request += "Connection: close\r\n";
    }
    request += "\r\n";
    let mut request = request.into_bytes();
    request.resize(request.len() + post, b'p');
    request
}
