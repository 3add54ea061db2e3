//! Takes connections from one listening socket and starts a task for each.

use std::cell::Cell;
use std::io;
use std::net::{self, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use balancer::Protocol;
use rustix::net::SocketFlags;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::alarm::Alarm;
use crate::cause::Cause;
use crate::http;
use crate::http2::preface;
use crate::listener::{Admission, NoAdmission};
use crate::proxy_protocol::{self, Origin};
use crate::stream::Stream;
use crate::tcp;
use crate::tls::handshake;
use crate::worker::{SocketOwner, Worker};

/// Pause after an error that would come again at once (no descriptors left).
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two looks at a limit that is reached.
const LIMIT_PAUSE: Duration = Duration::from_millis(10);
/// Least time between two log lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The address of a client, and the one of ours that it has connected to.
type Ends = (SocketAddr, SocketAddr);

/// Has the runtime watch a listening socket, so that connections can be taken from it of which the runtime knows nothing.
#[allow(deprecated)] // it is unsound for what may change its descriptor, which a socket of the standard library does not
pub(crate) fn watch(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Accepts until told to stop; then takes what is waiting and closes the socket.
pub(crate) async fn run(
    worker: Rc<Worker>,
    socket: AsyncFd<TcpListener>,
    owner: SocketOwner,
    stop: Rc<Notify>,
) {
    let bound = socket.get_ref().local_addr().ok();
    let mut logged_at = None;
    // Connections have waited in the kernel's queue for want of room, and perhaps some have left meanwhile.
    let crowded = Cell::new(false);
    let take = |socket: &TcpListener| {
        let taken = accept(socket);
        if matches!(&taken, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            crowded.set(false);
        }
        taken
    };
    let mut stopping = std::pin::pin!(stop.notified());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = socket.async_io(Interest::READABLE, take) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::select! {
                    biased;
                    admission = admission(&owner, peer, &crowded) => match admission {
                        Some(_) if crowded.get() && is_gone(&stream) => {}
                        Some(admission) => start(&worker, stream, (peer, bound), admission),
                        // A refusal the client can tell from an empty answer.
                        None => reset(&stream),
                    },
                    () = &mut stopping => break,
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                log_error(&mut logged_at, &owner, &error);
                tokio::select! {
                    () = tokio::time::sleep(ERROR_PAUSE) => {}
                    () = &mut stopping => break,
                }
            }
        }
    }
    take_waiting(&worker, socket.get_ref(), &owner);
}

/// Takes one connection, which does not block.
fn accept(socket: &TcpListener) -> io::Result<(net::TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = rustix::net::acceptfrom_with(socket, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), peer))
}

/// Lets a connection end with a reset when it is dropped.
fn reset(stream: &net::TcpStream) {
    // Without it the peer sees a plain end.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Connections whose handshake was complete would be reset when the socket closes: they are served instead.
fn take_waiting(worker: &Rc<Worker>, socket: &TcpListener, owner: &SocketOwner) {
    let bound = socket.local_addr().ok();
    while let Ok((stream, peer)) = accept(socket) {
        match owner.load().admit(peer.ip()) {
            Ok(admission) => start(worker, stream, (peer, bound), admission),
            Err(NoAdmission::Full | NoAdmission::Client) => {}
        }
    }
}

/// True if the client has left with a reset. One that has ended its direction may still be waiting for an answer.
fn is_gone(stream: &net::TcpStream) -> bool {
    !matches!(stream.take_error(), Ok(None))
}

/// Waits until the listener has room, which makes it `crowded`; `None` if the client has as many connections as it may.
async fn admission(
    owner: &SocketOwner,
    peer: SocketAddr,
    crowded: &Cell<bool>,
) -> Option<Admission> {
    loop {
        let listener = owner.load_full();
        match listener.admit(peer.ip()) {
            Ok(admission) => return Some(admission),
            Err(NoAdmission::Full) => {}
            Err(NoAdmission::Client) => {
                listener.causes.count(Cause::ClientLimit);
                return None;
            }
        }
        crowded.set(true);
        tokio::time::sleep(LIMIT_PAUSE).await;
    }
}

/// Every stage of a connection is a task of its own: none is larger than it has to be for as long as it lasts. `bound` is where
/// the socket listens.
fn start(
    worker: &Rc<Worker>,
    stream: net::TcpStream,
    (peer, bound): (SocketAddr, Option<SocketAddr>),
    admission: Admission,
) {
    let announced = {
        let current = admission.listener().current.load();
        let settings = current.settings();
        settings.accept_proxy && settings.trusts(peer.ip())
    };
    let exact = bound.filter(|bound| !bound.ip().is_unspecified());
    // Without an address the connection is gone already.
    let Some(local) = exact.or_else(|| stream.local_addr().ok()) else {
        return;
    };
    match announced {
        true => drop(spawn_local(hear(
            Rc::clone(worker),
            stream,
            (peer, local),
            admission,
        ))),
        false => serve(
            worker,
            Stream::Fresh(Some(stream)),
            (peer, local),
            admission,
        ),
    }
}

/// Hears from a proxy for which client its connection is, and serves that client.
async fn hear(
    worker: Rc<Worker>,
    stream: net::TcpStream,
    (peer, local): Ends,
    mut admission: Admission,
) {
    let Ok(mut stream) = TcpStream::from_std(stream) else {
        return;
    };
    let heard = proxy_protocol::read(&mut stream).await;
    let client = match heard {
        Ok(Origin::Peer) => Ok(peer),
        Ok(Origin::Client(client)) => match admission.count_client(client.ip()) {
            Ok(()) => Ok(client),
            Err(NoAdmission::Full | NoAdmission::Client) => Err(Cause::ClientLimit),
        },
        Err(error) => {
            tracing::debug!(client = %peer, %error, "connection refused");
            Err(Cause::ProxyHeader)
        }
    };
    match client {
        Ok(client) => serve(&worker, Stream::Plain(stream), (client, local), admission),
        Err(cause) => {
            admission.listener().causes.count(cause);
            let _ = stream.set_zero_linger();
        }
    }
}

fn serve(worker: &Rc<Worker>, stream: Stream, ends: Ends, admission: Admission) {
    let worker = Rc::clone(worker);
    let protocol = admission.listener().protocol;
    let h2c = admission.listener().current.load().settings().h2c;
    if protocol == Protocol::Http && !h2c {
        return speak(worker, stream, ends, admission, (false, None));
    }
    if protocol == Protocol::Tcp {
        let opening = tcp::Opening::plain(stream);
        return drop(spawn_local(tcp::serve(worker, opening, ends, admission)));
    }
    // One that the runtime cannot be told of is closed.
    let Ok(stream) = stream.into_tcp() else {
        return;
    };
    match protocol {
        Protocol::Http => drop(spawn_local(http(worker, stream, ends, admission))),
        Protocol::Https => drop(spawn_local(https(worker, stream, ends, admission))),
        Protocol::Tls => drop(spawn_local(tls(worker, stream, ends, admission))),
        // Served already; and sockets that have no connections.
        Protocol::Tcp | Protocol::Udp => {}
    }
}

async fn http(worker: Rc<Worker>, stream: TcpStream, ends: Ends, admission: Admission) {
    let current = admission.listener().current.load_full();
    let mut alarm = Alarm::new(current.settings().timeouts.header);
    let http2 = preface::is_next(&stream, &mut alarm).await;
    let stream = Stream::Plain(stream);
    speak(worker, stream, ends, admission, (http2, Some(alarm)));
}

async fn https(worker: Rc<Worker>, stream: TcpStream, ends: Ends, admission: Admission) {
    if let Some(stream) = handshake::accept(&worker, stream, ends.0, &admission).await {
        let http2 = stream.speaks_http2();
        speak(worker, stream, ends, admission, (http2, None));
    }
}

async fn tls(worker: Rc<Worker>, stream: TcpStream, ends: Ends, admission: Admission) {
    let terminates = admission.listener().acceptor.load().is_some();
    let opening = if terminates {
        let stream = handshake::accept(&worker, stream, ends.0, &admission).await;
        stream.map(tcp::Opening::decrypted)
    } else {
        handshake::overhear(&worker, stream, ends.0, &admission).await
    };
    if let Some(opening) = opening {
        tcp::serve(worker, opening, ends, admission).await;
    }
}

/// Starts to serve a client: whether in HTTP/2, and how long it has left to begin if that took time to find out.
fn speak(
    worker: Rc<Worker>,
    stream: Stream,
    ends: Ends,
    mut admission: Admission,
    (http2, alarm): (bool, Option<Alarm>),
) {
    if http2 {
        admission.count_http2();
        let serving = crate::http2::connection::serve(worker, stream, ends, admission, alarm);
        drop(spawn_local(serving));
    } else {
        let serving = http::connection::serve(worker, stream, ends, admission, alarm);
        drop(spawn_local(serving));
    }
}

/// The connection was gone before it was taken: nothing is wrong with the socket.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn log_error(logged_at: &mut Option<Instant>, owner: &SocketOwner, error: &io::Error) {
    if logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
        *logged_at = Some(Instant::now());
        let listener = owner.load().current.load_full();
        tracing::warn!(listener = listener.settings().name, %error, "no connection can be accepted");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use balancer::{GroupSettings, ListenerSettings, Plan};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::access_log::pen::Pen;
    use crate::listener::{Room, SharedListener};
    use crate::seal::Sealer;

    /// A listener whose group has no targets, and the address of a socket that is its own.
    fn listening() -> (AsyncFd<TcpListener>, SocketAddr, SocketOwner) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let socket = watch(socket).unwrap();
        let settings = ListenerSettings::new("web", Protocol::Http, vec![address], "g");
        let plan = Plan::build(vec![settings], vec![GroupSettings::new("g", [])], None).unwrap();
        let listener = Arc::clone(plan.listener("web").unwrap());
        let shared = SharedListener::new(listener, 1, Arc::new(Room::new(16)));
        (socket, address, Arc::new(ArcSwap::from_pointee(shared)))
    }

    #[test]
    fn a_connection_that_waits_for_a_request_is_small() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let (_socket, address, owner) = listening();
            let worker = Rc::new(Worker::new(0, Pen::default(), Sealer::default()));
            let client = Stream::Plain(TcpStream::connect(address).await.unwrap());
            let admission = owner.load_full().admit(address.ip()).unwrap();
            let ends = (address, address);
            let serving = http::connection::serve(worker, client, ends, admission, None);
            let bytes = size_of_val(&serving);
            // With what the runtime adds, a task takes 384 bytes; its next size is 512.
            assert!(bytes <= 280, "{bytes} for each connection, idle or not");
        });
    }

    #[test]
    fn a_connection_whose_bytes_are_relayed_is_small() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let (_socket, address, owner) = listening();
            let worker = Rc::new(Worker::new(0, Pen::default(), Sealer::default()));
            let client = std::net::TcpStream::connect(address).unwrap();
            let opening = tcp::Opening::plain(Stream::Fresh(Some(client)));
            let admission = owner.load_full().admit(address.ip()).unwrap();
            let bytes = size_of_val(&tcp::serve(worker, opening, (address, address), admission));
            // It is moved when it begins, and each of many is there for long.
            assert!(bytes <= 2400, "{bytes} for each connection");
        });
    }

    #[test]
    fn what_waits_when_a_socket_closes_is_served() {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async {
            let (socket, address, owner) = listening();
            let mut client = TcpStream::connect(address).await.unwrap();
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();

            let stop = Rc::new(Notify::new());
            stop.notify_one();
            let worker = Rc::new(Worker::new(0, Pen::default(), Sealer::default()));
            run(worker, socket, owner, stop).await;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(
                TcpStream::connect(address).await.is_err(),
                "the socket is closed"
            );
        });
    }
}
