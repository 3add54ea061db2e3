//! Origin servers: a small HTTP/1.1 one that says who it is, and a TCP echo.

mod body;

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::body::{Body, Framing, send_back};
use crate::NetNs;

/// How long a request for `/held` waits to be released at most.
const HELD: Duration = Duration::from_secs(60);

/// What the accept loop and its connections share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sick: AtomicBool,
    requests: AtomicU64,
    health_requests: AtomicU64,
    held: AtomicU64,
    released: Mutex<bool>,
    release: Condvar,
}

impl Shared {
    fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.release
                .wait_timeout_while(released, HELD, |released| !*released),
        );
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An HTTP/1.1 origin. `GET /healthz` answers 200 `ok` (or 503 when [`Origin::set_healthy`] says so), `GET /slow/MS`
/// answers after that many milliseconds, `/held` after [`Origin::release`], and `/echo` sends the body back while it comes;
/// every other path answers 200 with `NAME via PEER`, so that a client sees which backend and which node served it.
/// Connections are kept alive.
#[derive(Debug)]
pub struct Origin {
    name: String,
    shared: Arc<Shared>,
}

impl Origin {
    /// Listens on `port` of every address of the namespace.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start(namespace: &NetNs, name: &str, port: u16) -> anyhow::Result<Origin> {
        let shared = Arc::new(Shared::default());
        let listener = bind(namespace, port)?;
        let name = name.to_owned();
        let (serve_name, serve_shared) = (name.clone(), Arc::clone(&shared));
        serve(listener, Arc::clone(&shared), move |stream| {
            // A client that goes away in the middle is no event here.
            let _ = answer_requests(stream, &serve_name, &serve_shared);
        })?;
        Ok(Origin { name, shared })
    }

    /// The name it answers with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `/healthz` passes.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.sick.store(!healthy, Ordering::Relaxed);
    }

    /// Requests answered so far, health checks apart.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Requests for `/held` that wait at this moment.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// From now on `/held` answers at once, also whoever waits.
    pub fn release(&self) {
        let mut released = self
            .shared
            .released
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *released = true;
        self.shared.release.notify_all();
    }

    /// Health checks answered so far.
    pub fn health_requests(&self) -> u64 {
        self.shared.health_requests.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// A TCP server that sends back what it gets and closes its half after the peer closed its own.
#[derive(Debug)]
pub struct TcpEcho {
    shared: Arc<Shared>,
}

impl TcpEcho {
    /// Listens on `port` of every address of the namespace.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start(namespace: &NetNs, port: u16) -> anyhow::Result<TcpEcho> {
        let shared = Arc::new(Shared::default());
        let listener = bind(namespace, port)?;
        serve(listener, Arc::clone(&shared), |stream| {
            let _ = echo(stream);
        })?;
        Ok(TcpEcho { shared })
    }
}

impl Drop for TcpEcho {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn bind(namespace: &NetNs, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = namespace
        .enter(|| TcpListener::bind(address))?
        .with_context(|| format!("bind {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    work: impl Fn(TcpStream) + Clone + Send + 'static,
) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("lab-origin".into())
        .spawn(move || {
            while !shared.stop.load(Ordering::Relaxed) {
                let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut waiting, PollTimeout::from(50_u8));
                while let Ok((stream, _)) = listener.accept() {
                    let work = work.clone();
                    let _ = std::thread::Builder::new()
                        .name("lab-conn".into())
                        .spawn(move || {
                            let _ = stream.set_nonblocking(false);
                            let _ = stream.set_nodelay(true);
                            let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
                            work(stream);
                        });
                }
            }
        })?;
    Ok(())
}

fn answer_requests(stream: TcpStream, name: &str, shared: &Shared) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(request) = read_head(&mut reader, &mut line)? else {
            return Ok(());
        };
        if request.expects {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Body::new(&mut reader, request.framing);
        if request.path == "/echo" {
            shared.requests.fetch_add(1, Ordering::Relaxed);
            send_back(&mut writer, body)?;
            continue;
        }
        io::copy(&mut body, &mut io::sink())?;
        let (status, body) = if request.path == "/healthz" {
            shared.health_requests.fetch_add(1, Ordering::Relaxed);
            if shared.sick.load(Ordering::Relaxed) {
                ("503 Service Unavailable", "sick\n".to_owned())
            } else {
                ("200 OK", "ok\n".to_owned())
            }
        } else {
            if let Some(ms) = request
                .path
                .strip_prefix("/slow/")
                .and_then(|ms| ms.parse().ok())
            {
                std::thread::sleep(Duration::from_millis(ms));
            }
            if request.path == "/held" {
                shared.hold();
            }
            shared.requests.fetch_add(1, Ordering::Relaxed);
            ("200 OK", format!("{name} via {peer}\n"))
        };
        let length = body.len();
        let connection = if request.close { "close" } else { "keep-alive" };
        let sent_body = if request.head_only { "" } else { &body };
        write!(
            writer,
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: {connection}\r\n\r\n{sent_body}"
        )?;
        if request.close {
            return writer.shutdown(Shutdown::Write);
        }
    }
    Ok(())
}

struct Request {
    path: String,
    close: bool,
    head_only: bool,
    expects: bool,
    framing: Framing,
}

/// Reads the head of one request; `None` at a clean end.
fn read_head(reader: &mut BufReader<TcpStream>, line: &mut String) -> io::Result<Option<Request>> {
    line.clear();
    if reader.read_line(line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let mut close = words.next() == Some("HTTP/1.0");
    let mut expects = false;
    let mut framing = Framing::Length(0);
    loop {
        line.clear();
        if reader.read_line(line)? == 0 {
            return Ok(None);
        }
        let header = line.trim().to_ascii_lowercase();
        match header.split_once(':') {
            None => break,
            Some(("connection", value)) => close = value.trim() == "close",
            Some(("content-length", value)) => {
                framing = Framing::Length(value.trim().parse().unwrap_or(0));
            }
            Some(("transfer-encoding", _)) => framing = Framing::Chunked,
            Some(("expect", _)) => expects = true,
            Some(_) => {}
        }
    }
    Ok(Some(Request {
        path,
        close,
        head_only: method == "HEAD",
        expects,
        framing,
    }))
}

fn echo(stream: TcpStream) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = stream;
    io::copy(&mut reader, &mut writer)?;
    writer.shutdown(Shutdown::Write)
}
