//! Takes connections from one listening socket and starts a task for each.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use balancer::Protocol;
use tokio::net::{TcpListener, TcpStream};
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

/// Accepts until told to stop; then takes what is waiting and closes the socket.
pub(crate) async fn run(
    worker: Rc<Worker>,
    socket: TcpListener,
    owner: SocketOwner,
    stop: Rc<Notify>,
) {
    let mut logged_at = None;
    let mut stopping = std::pin::pin!(stop.notified());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::select! {
                    biased;
                    admission = admission(&owner, peer) => match admission {
                        Some(admission) => start(&worker, stream, peer, admission),
                        // A refusal the client can tell from an empty answer.
                        None => drop(stream.set_zero_linger()),
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
    take_waiting(&worker, &socket, &owner);
}

/// Connections whose handshake was complete would be reset when the socket closes: they are served instead.
fn take_waiting(worker: &Rc<Worker>, socket: &TcpListener, owner: &SocketOwner) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok((stream, peer))) = socket.poll_accept(&mut cx) {
        match owner.load().admit(peer.ip()) {
            Ok(admission) => start(worker, stream, peer, admission),
            Err(NoAdmission::Full | NoAdmission::Client) => {}
        }
    }
}

/// Waits until the listener has room; `None` if the client has as many connections as it may.
async fn admission(owner: &SocketOwner, peer: SocketAddr) -> Option<Admission> {
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
        tokio::time::sleep(LIMIT_PAUSE).await;
    }
}

/// Every stage of a connection is a task of its own: none is larger than it has to be for as long as it lasts.
fn start(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, admission: Admission) {
    let announced = {
        let current = admission.listener().current.load();
        let settings = current.settings();
        settings.accept_proxy && settings.trusts(peer.ip())
    };
    match announced {
        true => drop(spawn_local(hear(
            Rc::clone(worker),
            stream,
            peer,
            admission,
        ))),
        false => serve(worker, stream, peer, admission),
    }
}

/// Hears from a proxy for which client its connection is, and serves that client.
async fn hear(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    mut admission: Admission,
) {
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
        Ok(client) => serve(&worker, stream, client, admission),
        Err(cause) => {
            admission.listener().causes.count(cause);
            let _ = stream.set_zero_linger();
        }
    }
}

fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, admission: Admission) {
    let worker = Rc::clone(worker);
    match admission.listener().protocol {
        Protocol::Http if !admission.listener().current.load().settings().h2c => {
            let stream = Stream::Plain(stream);
            speak(worker, stream, peer, admission, (false, None));
        }
        Protocol::Http => drop(spawn_local(http(worker, stream, peer, admission))),
        Protocol::Https => drop(spawn_local(https(worker, stream, peer, admission))),
        Protocol::Tcp => {
            let opening = tcp::Opening::plain(stream);
            drop(spawn_local(tcp::serve(worker, opening, peer, admission)));
        }
        Protocol::Tls => drop(spawn_local(tls(worker, stream, peer, admission))),
        // Its sockets have no connections.
        Protocol::Udp => {}
    }
}

async fn http(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, admission: Admission) {
    let current = admission.listener().current.load_full();
    let mut alarm = Alarm::new(current.settings().timeouts.header);
    let http2 = preface::is_next(&stream, &mut alarm).await;
    let stream = Stream::Plain(stream);
    speak(worker, stream, peer, admission, (http2, Some(alarm)));
}

async fn https(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, admission: Admission) {
    if let Some(stream) = handshake::accept(&worker, stream, peer, &admission).await {
        let http2 = stream.speaks_http2();
        speak(worker, stream, peer, admission, (http2, None));
    }
}

async fn tls(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, admission: Admission) {
    let ends = admission.listener().acceptor.load().is_some();
    let opening = if ends {
        let stream = handshake::accept(&worker, stream, peer, &admission).await;
        stream.map(tcp::Opening::decrypted)
    } else {
        handshake::overhear(&worker, stream, peer, &admission).await
    };
    if let Some(opening) = opening {
        tcp::serve(worker, opening, peer, admission).await;
    }
}

/// Starts to serve a client: whether in HTTP/2, and how long it has left to begin if that took time to find out.
fn speak(
    worker: Rc<Worker>,
    stream: Stream,
    peer: SocketAddr,
    admission: Admission,
    (http2, alarm): (bool, Option<Alarm>),
) {
    // Without an address the connection is gone already.
    let Some(Ok(local)) = stream.tcp().map(TcpStream::local_addr) else {
        return;
    };
    let ends = (peer, local);
    if http2 {
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
    use tokio::task::LocalSet;

    use super::*;
    use crate::access_log::pen::Pen;
    use crate::listener::{Room, SharedListener};
    use crate::seal::Sealer;

    /// A listener whose group has no targets, and the address of a socket that is its own.
    async fn listening() -> (TcpListener, std::net::SocketAddr, SocketOwner) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let settings = ListenerSettings::new("web", Protocol::Http, vec![address], "g");
        let plan = Plan::build(vec![settings], vec![GroupSettings::new("g", [])], None).unwrap();
        let listener = Arc::clone(plan.listener("web").unwrap());
        let shared = SharedListener::new(listener, 1, Arc::new(Room::new(16)));
        (socket, address, Arc::new(ArcSwap::from_pointee(shared)))
    }

    #[test]
    fn a_connection_that_waits_for_a_request_is_small() {
        let runtime = crate::worker::runtime().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (_socket, address, owner) = listening().await;
            let worker = Rc::new(Worker::new(0, Pen::default(), Sealer::default()));
            let client = Stream::Plain(TcpStream::connect(address).await.unwrap());
            let admission = owner.load_full().admit(address.ip()).unwrap();
            let ends = (address, address);
            let serving = http::connection::serve(worker, client, ends, admission, None);
            let bytes = size_of_val(&serving);
            assert!(bytes <= 400, "{bytes} for each connection, idle or not");
        });
    }

    #[test]
    fn what_waits_when_a_socket_closes_is_served() {
        let runtime = crate::worker::runtime().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (socket, address, owner) = listening().await;
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
