//! A client connection that speaks TLS, HTTP/2 or both.
//!
//! ```text
//!   socket <-> TLS, if any <-> HTTP/1.1 or HTTP/2
//! ```

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};

use super::clients::{Answered, ClientSide};
use super::http2::Streams;
use super::load::{Ledger, Next, send};
use super::secrecy;
use super::{Speech, Work};

/// One client connection.
#[derive(Debug)]
pub(super) struct Session {
    tls: Option<Box<Secured>>,
    talk: Talk,
    /// What goes to the socket, and how much of it has gone.
    out: Vec<u8>,
    sent: usize,
    /// Each answer is followed by another request.
    again: bool,
    /// It ends with its answer; the proxy closes it.
    ends: bool,
}

#[derive(Debug)]
struct Secured {
    connection: ClientConnection,
    /// How the handshake has to be.
    kind: HandshakeKind,
    alpn: &'static [u8],
    /// The handshake was as it has to be; unknown before its end.
    as_wanted: Option<bool>,
    closed: bool,
}

#[derive(Debug)]
enum Talk {
    Http1(ClientSide, Vec<u8>),
    Http2(Streams),
}

/// How far one turn has brought a session.
type Turn = Result<(), io::Error>;

impl Session {
    /// A connection that begins its first requests; `request`: one of HTTP/1.1.
    pub(super) fn new(
        speech: Speech,
        work: Work,
        config: Option<&Arc<ClientConfig>>,
        request: &[u8],
    ) -> anyhow::Result<Session> {
        let again = matches!(work, Work::KeepAlive { .. });
        let encrypted = config.is_some();
        let (talk, alpn) = match speech {
            Speech::Clear | Speech::Tls { .. } => {
                let side = ClientSide::new(Instant::now());
                (Talk::Http1(side, request.to_vec()), &b"http/1.1"[..])
            }
            Speech::Http2 { streams, .. } => {
                let streams = Streams::new(
                    &work.answer().path(),
                    work.answer().octets(),
                    streams,
                    encrypted,
                );
                (Talk::Http2(streams), &b"h2"[..])
            }
        };
        let kind = match speech {
            Speech::Tls { resumes: true } => HandshakeKind::Resumed,
            _ => HandshakeKind::Full,
        };
        let tls = match config {
            None => None,
            Some(config) => {
                let mut connection = ClientConnection::new(Arc::clone(config), secrecy::name()?)?;
                connection.set_buffer_limit(None);
                Some(Box::new(Secured {
                    connection,
                    kind,
                    alpn,
                    as_wanted: None,
                    closed: false,
                }))
            }
        };
        let mut session = Session {
            tls,
            talk,
            out: Vec::new(),
            sent: 0,
            again,
            ends: matches!(work, Work::ConnectEach { .. }),
        };
        session.begin(Instant::now());
        session.seal()?;
        Ok(session)
    }

    /// A request is on its way.
    pub(super) fn is_busy(&self) -> bool {
        match &self.talk {
            Talk::Http1(side, _) => side.busy,
            Talk::Http2(streams) => streams.is_busy(),
        }
    }

    fn begin(&mut self, now: Instant) {
        match &mut self.talk {
            Talk::Http1(side, request) => {
                side.begin(now);
                match &mut self.tls {
                    // A connection in memory takes all of it.
                    Some(tls) => drop(tls.connection.writer().write_all(request)),
                    None => self.out.extend_from_slice(request),
                }
            }
            Talk::Http2(streams) => streams.begin_all(now),
        }
    }

    /// Reads what has come, answers it, and sends what there is.
    pub(super) fn turn(
        &mut self,
        stream: &mut TcpStream,
        (buffer, plain): (&mut [u8], &mut [u8]),
        ledger: &mut Ledger,
    ) -> Next {
        let read = loop {
            match stream.read(buffer) {
                Ok(0) => break false,
                Ok(count) => {
                    if self.take(&buffer[..count], plain, ledger).is_err() {
                        return Next::Gone;
                    }
                    // The end of a connection is not told twice.
                    if count < buffer.len() && !self.ends {
                        break true;
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    break true;
                }
                Err(_) => break false,
            }
        };
        let closed = !read || self.tls.as_ref().is_some_and(|tls| tls.closed);
        if closed {
            return Next::Gone;
        }
        let sent = self.seal();
        let sent = sent.and_then(|()| send(stream, &self.out, &mut self.sent));
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        if sent.is_err() {
            Next::Gone
        } else {
            Next::Wait
        }
    }

    /// What the protocols have to say goes to the socket.
    fn seal(&mut self) -> Turn {
        if let Talk::Http2(streams) = &mut self.talk {
            let said = streams.said();
            match &mut self.tls {
                Some(tls) => tls.connection.writer().write_all(said)?,
                None => self.out.extend_from_slice(said),
            }
            said.clear();
        }
        if let Some(tls) = &mut self.tls {
            while tls.connection.wants_write() {
                tls.connection.write_tls(&mut self.out)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8], plain: &mut [u8], ledger: &mut Ledger) -> Turn {
        if self.tls.is_none() {
            return self.hear(bytes, true, ledger);
        }
        while !bytes.is_empty() {
            let Some(tls) = &mut self.tls else { break };
            let count = tls.take(&mut bytes, plain)?;
            let as_wanted = tls.as_wanted.unwrap_or(false);
            if count > 0 {
                self.hear(&plain[..count], as_wanted, ledger)?;
            }
        }
        Ok(())
    }

    /// Takes what was said in HTTP; `good`: an answer counts.
    fn hear(&mut self, bytes: &[u8], good: bool, ledger: &mut Ledger) -> Turn {
        match &mut self.talk {
            Talk::Http2(streams) => streams.take(bytes, self.again, good, ledger),
            Talk::Http1(side, _) => match side.take(bytes) {
                Answered::NotYet => Ok(()),
                Answered::Bad => Err(ErrorKind::InvalidData.into()),
                Answered::Good => {
                    side.busy = false;
                    let now = Instant::now();
                    ledger.answered(side.due, now, good);
                    if self.again {
                        self.begin(now);
                    }
                    Ok(())
                }
            },
        }
    }
}

impl Secured {
    /// Takes records; how much of `plain` they have filled.
    fn take(&mut self, bytes: &mut &[u8], plain: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !bytes.is_empty() && filled < plain.len() / 2 {
            self.connection.read_tls(bytes)?;
            let state = self.connection.process_new_packets();
            let state = state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            self.closed |= state.peer_has_closed();
            while filled < plain.len() {
                match self.connection.reader().read(&mut plain[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        if self.as_wanted.is_none() && !self.connection.is_handshaking() {
            let connection = &self.connection;
            self.as_wanted = Some(
                connection.handshake_kind() == Some(self.kind)
                    && connection.alpn_protocol() == Some(self.alpn)
                    && connection.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            );
        }
        Ok(filled)
    }
}
