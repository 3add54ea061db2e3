//! Handshakes of clients: each has a time limit, and a thread has only so many at once.
//!
//! At that number the one that has taken longest makes room: those who mean it are done within a round trip or two.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Instant;

use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::facts::{Facts, Secured};
use super::hello::{self, Hello, MAX_HELLO_BYTES};
use super::session::Session;
use crate::access_log::record::Record;
use crate::buffers::{self, Buffer, with_scratch};
use crate::cause::Cause;
use crate::listener::Admission;
use crate::stream::Stream;
use crate::tcp::Opening;
use crate::worker::Worker;

/// Handshakes of one thread at once.
const MAX_PENDING: usize = 1024;

/// The handshakes of one thread, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pending: RefCell<VecDeque<(u64, Rc<Notify>)>>,
    next: Cell<u64>,
}

impl Handshakes {
    fn begin(self: &Rc<Self>) -> Pending {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let evicted = Rc::new(Notify::new());
        let mut pending = self.pending.borrow_mut();
        pending.push_back((number, Rc::clone(&evicted)));
        if pending.len() > MAX_PENDING
            && let Some((_, oldest)) = pending.pop_front()
        {
            oldest.notify_one();
        }
        Pending {
            all: Rc::clone(self),
            number,
            evicted,
        }
    }
}

/// One handshake, until dropped.
#[derive(Debug)]
struct Pending {
    all: Rc<Handshakes>,
    number: u64,
    evicted: Rc<Notify>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut pending = self.all.pending.borrow_mut();
        if let Ok(at) = pending.binary_search_by_key(&self.number, |(number, _)| *number) {
            pending.remove(at);
        }
    }
}

/// Why nothing came of a handshake, with more words from a bounded set.
type Failure = (Cause, &'static str);

/// Makes an encrypted connection of a plain one; `None` if nothing comes of it, which is counted and logged.
pub(crate) async fn accept(
    worker: &Worker,
    stream: TcpStream,
    peer: SocketAddr,
    admission: &Admission,
) -> Option<Stream> {
    let begun_at = Instant::now();
    let listener = admission.listener();
    let acceptor = TlsAcceptor::from(listener.acceptor.load_full()?);
    let limit = listener.current.load().settings().timeouts.handshake;
    let pending = worker.handshakes.begin();
    let result = tokio::select! {
        biased;
        result = acceptor.accept(stream) => result.map_err(|error| failure(&error)),
        () = pending.evicted.notified() => Err((Cause::HandshakeLimit, "")),
        () = tokio::time::sleep(limit) => Err((Cause::HandshakeTimeout, "")),
    };
    drop(pending);
    let result = result.and_then(|stream| {
        let connection = stream.get_ref().1;
        let facts = Facts::of(connection)?;
        listener.handshakes.count(&facts);
        let session = Session::new(stream.into_inner());
        Ok(Stream::Server(Box::new(Secured::new(session, facts))))
    });
    result
        .map_err(|failure| note(worker, admission, (peer, begun_at), failure))
        .ok()
}

/// Counts a handshake that came to nothing, and writes its line.
fn note(
    worker: &Worker,
    admission: &Admission,
    (peer, begun_at): (SocketAddr, Instant),
    (cause, detail): Failure,
) {
    let listener = admission.listener();
    listener.causes.count(cause);
    let current = listener.current.load();
    tracing::debug!(listener = current.settings().name, client = %peer, reason = cause.as_str(), detail, "no TLS");
    let mut record = Record::new(begun_at);
    record.tell_connection(&worker.pen, peer.ip(), "tls");
    record.fault = Some((cause, detail));
    record.write(&worker.pen, &current, peer);
}

/// Reads of a connection what its client asks for, and answers nothing; `None` if it does not ask in TLS, which is counted.
pub(crate) async fn overhear(
    worker: &Worker,
    mut stream: TcpStream,
    peer: SocketAddr,
    admission: &Admission,
) -> Option<Opening> {
    let begun_at = Instant::now();
    let listener = admission.listener();
    let limit = listener.current.load().settings().timeouts.handshake;
    let pending = worker.handshakes.begin();
    let result = tokio::select! {
        biased;
        result = read_hello(&mut stream) => result,
        () = pending.evicted.notified() => Err(Cause::HandshakeLimit),
        () = tokio::time::sleep(limit) => Err(Cause::HandshakeTimeout),
    };
    drop(pending);
    let opening = result.map(|(sni, read)| Opening {
        sni,
        read,
        ..Opening::plain(Stream::Plain(stream))
    });
    opening
        .map_err(|cause| note(worker, admission, (peer, begun_at), (cause, "")))
        .ok()
}

/// The name asked for, and all that was read on the way.
async fn read_hello(stream: &mut TcpStream) -> Result<(Option<String>, Buffer), Cause> {
    let mut read = Buffer::default();
    loop {
        let more = poll_fn(|cx| {
            with_scratch(|scratch| {
                let room = MAX_HELLO_BYTES - read.held();
                let count = ready!(buffers::poll_read(stream, cx, &mut scratch[..room]));
                let count = count.map_err(|_| Cause::HandshakeAborted)?;
                read.extend(&scratch[..count]);
                Poll::Ready(Ok(count > 0))
            })
        });
        if !more.await? {
            return Err(Cause::HandshakeAborted);
        }
        match hello::read(read.as_slice()) {
            Hello::More => {}
            Hello::Asks(name) => return Ok((name, read)),
            Hello::Malformed => return Err(Cause::HandshakeRefused),
        }
    }
}

/// What the client did: nobody else is there to do anything.
fn failure(error: &io::Error) -> Failure {
    use rustls::Error;
    let said = error
        .get_ref()
        .and_then(|said| said.downcast_ref::<Error>());
    match said {
        None => (Cause::HandshakeAborted, ""),
        Some(Error::NoCertificatesPresented) => (Cause::HandshakeUnverified, "no certificate"),
        Some(Error::InvalidCertificate(error)) => (Cause::HandshakeUnverified, fault(error)),
        Some(Error::NoApplicationProtocol) => (Cause::HandshakeIncompatible, "alpn"),
        // The one thing rustls has no word of its own for: no certificate the client can check.
        Some(Error::General(_)) => (Cause::HandshakeIncompatible, "signatures"),
        Some(Error::PeerIncompatible(_)) => (Cause::HandshakeIncompatible, ""),
        Some(Error::AlertReceived(_)) => (Cause::HandshakeDeclined, ""),
        Some(_) => (Cause::HandshakeRefused, ""),
    }
}

/// What is wrong with a client's certificate.
fn fault(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not valid yet"
        }
        CertificateError::Revoked => "revoked",
        CertificateError::UnknownIssuer => "unknown issuer",
        CertificateError::UnknownRevocationStatus => "on no revocation list",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not for clients"
        }
        CertificateError::BadSignature => "bad signature",
        _ => "malformed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let all = Rc::new(Handshakes::default());
        let mut begun: Vec<Pending> = (0..MAX_PENDING).map(|_| all.begin()).collect();
        let finished = begun.remove(1);
        drop(finished);
        begun.push(all.begin());
        let is_evicted = |pending: &Pending| {
            let mut notified = std::pin::pin!(pending.evicted.notified());
            notified.as_mut().enable()
        };
        assert!(begun.iter().all(|pending| !is_evicted(pending)));
        let one_more = all.begin();
        assert!(is_evicted(&begun[0]) && !is_evicted(&begun[1]) && !is_evicted(&one_more));
        assert_eq!(all.pending.borrow().len(), MAX_PENDING);
        drop((begun, one_more));
        assert_eq!(all.pending.borrow().len(), 0);
    }
}
