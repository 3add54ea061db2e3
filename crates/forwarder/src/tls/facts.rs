//! What a handshake has agreed upon, for targets, the access log and whoever else tells others about it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use rustls::server::ServerConnection;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use tokio::net::TcpStream;

use super::name::{self, Nameless};
use super::session::Session;
use crate::cause::Cause;

/// What is known of a client's encrypted connection.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The version of TLS.
    pub(crate) version: &'static str,
    /// The cipher suite, as IANA calls it.
    pub(crate) cipher: &'static str,
    /// The group of the key exchange; there is none in a session of TLS 1.2 that was resumed.
    pub(crate) key_exchange: Option<&'static str>,
    /// What is spoken inside, if the client said.
    pub(crate) alpn: Option<&'static str>,
    /// The name the client has asked for, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// An earlier session goes on.
    pub(crate) resumed: bool,
    /// Who the client is, by the certificate that was verified.
    pub(crate) client: Option<Box<str>>,
}

impl Facts {
    /// What a connection whose handshake is done tells; what is wrong with its client's certificate, if there is.
    pub(super) fn of(connection: &ServerConnection) -> Result<Self, (Cause, &'static str)> {
        let certificates = connection.peer_certificates();
        let shown = certificates.and_then(<[_]>::first);
        let client = shown.map(name::of).transpose().map_err(|nameless| {
            let detail = match nameless {
                Nameless::Expired => "expired",
                Nameless::Unusable => "no usable name",
            };
            (Cause::HandshakeUnverified, detail)
        })?;
        let group = connection.negotiated_key_exchange_group();
        Ok(Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                Some(_) | None => "unknown",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("unknown", |suite| cipher(suite.suite())),
            key_exchange: group.and_then(|group| group.name().as_str()),
            alpn: match connection.alpn_protocol() {
                Some(b"h2") => Some("h2"),
                Some(b"http/1.1") => Some("http/1.1"),
                Some(_) | None => None,
            },
            server_name: connection.server_name().map(Into::into),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client,
        })
    }
}

/// Those of TLS 1.3 have other names here.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// A client's connection inside TLS. However it ends, the client is told so (RFC 8446 §6.1), unless it is cut.
#[derive(Debug)]
pub(crate) struct Secured {
    /// The connection.
    pub(crate) session: Session<ServerConnection>,
    /// What its handshake has agreed upon.
    pub(crate) facts: Rc<Facts>,
    cut: Cell<bool>,
}

impl Secured {
    /// A connection whose handshake is done.
    pub(super) fn new(session: Session<ServerConnection>, facts: Facts) -> Self {
        Self {
            session,
            facts: Rc::new(facts),
            cut: Cell::new(false),
        }
    }

    /// Lets it end without a word and with a reset when it is dropped: nobody is to take what has come for all there is.
    pub(crate) fn reset_on_close(&self) {
        self.cut.set(true);
        // Without it the peer still misses the word.
        let _ = self.session.tcp.set_zero_linger();
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        if self.cut.get() {
            return;
        }
        let Session {
            tcp, connection, ..
        } = &mut self.session;
        // Nothing happens if it was said before.
        connection.send_close_notify();
        while connection.wants_write() {
            match connection.write_tls(&mut Unwaiting(tcp)) {
                Ok(1..) => {}
                // A client that takes nothing is not waited for.
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// Writes what there is room for.
struct Unwaiting<'t>(&'t TcpStream);

impl io::Write for Unwaiting<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.try_write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
